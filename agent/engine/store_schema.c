#include "engine/store_schema.h"

#include "common/util.h"

// Migrations only add columns and tables, so that an older version can still read and write. What is there is compared
// with 'schema_sum' before anything is added; then that is made anew.
// clang-format off
static const struct {
	const char *name, *columns;
	const char *summed; // the names of the columns
	const char *key;    // of more than one column, or ""
} tables[] = {
	{"meta", "key TEXT PRIMARY KEY, value TEXT NOT NULL",
	 "key, value", ""},
	{"task", "arn TEXT PRIMARY KEY, sequence INTEGER NOT NULL, definition TEXT NOT NULL, known TEXT NOT NULL,"
	 " desired TEXT NOT NULL, credentials_id TEXT, execution_credentials_id TEXT, reason TEXT,"
	 " known_ms INTEGER NOT NULL, pull_started_ms INTEGER NOT NULL, pull_stopped_ms INTEGER NOT NULL,"
	 " execution_stopped_ms INTEGER NOT NULL",
	 "arn, sequence, definition, known, desired, credentials_id, execution_credentials_id, reason, known_ms,"
	 " pull_started_ms, pull_stopped_ms, execution_stopped_ms", ""},
	{"container", "task TEXT NOT NULL, name TEXT NOT NULL, known TEXT NOT NULL, desired TEXT NOT NULL,"
	 " docker_name TEXT, docker_id TEXT, image_id TEXT, image_digest TEXT, exit_code INTEGER, error_name TEXT,"
	 " error_text TEXT, bindings TEXT, host_ports TEXT, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,"
	 " finished_ms INTEGER NOT NULL, stop_attempts INTEGER NOT NULL",
	 "task, name, known, desired, docker_name, docker_id, image_id, image_digest, exit_code, error_name, error_text,"
	 " bindings, host_ports, created_ms, started_ms, finished_ms, stop_attempts", ", PRIMARY KEY (task, name)"},
	{"transition", "id INTEGER PRIMARY KEY, task TEXT NOT NULL, container TEXT, status INTEGER NOT NULL, reason TEXT,"
	 " exit_code INTEGER, at_ms INTEGER NOT NULL, reported INTEGER NOT NULL DEFAULT 0, refused TEXT",
	 "id, task, container, status, reason, exit_code, at_ms, reported, refused", ""},
	{"image", "id TEXT PRIMARY KEY, names TEXT NOT NULL, size INTEGER NOT NULL, pulled_ms INTEGER NOT NULL,"
	 " last_used_ms INTEGER NOT NULL",
	 "id, names, size, pulled_ms, last_used_ms", ""},
	{"pulled", "image TEXT PRIMARY KEY, at_ms INTEGER NOT NULL",
	 "image, at_ms", ""},
};
// clang-format on

// sum: made when the row is written and compared by the check at the start. SQLite has none of its own, and a flipped bit
// in a status or an id would be believed.
#define TABLE                                                                                                   \
	"CREATE TABLE IF NOT EXISTS %s (%s, sum INTEGER GENERATED ALWAYS AS (row_sum(%s)) STORED CHECK (sum = " \
	"row_sum(%s))"                                                                                          \
	"%s)"
#define SCHEMA_SUM                                                                                                 \
	"(SELECT CAST(row_sum(group_concat(type || ' ' || name || ' ' || tbl_name || ' ' || ifnull(sql, ''))) AS " \
	"TEXT) FROM sqlite_schema)"

static int make_tables(sqlite3 *db)
{
	int r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	for (size_t i = 0; r == SQLITE_OK && i < ARRAY_SIZE(tables); i++) {
		_cleanup_free_ char *text = xasprintf(TABLE, tables[i].name, tables[i].columns, tables[i].summed,
						      tables[i].summed, tables[i].key);
		r = sqlite3_exec(db, text, NULL, NULL, NULL);
	}
	if (r == SQLITE_OK)
		r = sqlite3_exec(
			db,
			"CREATE INDEX IF NOT EXISTS transition_task ON transition (task, id);"
			// Only a new database has no schema yet: what was in a lost one is to be found again.
			"INSERT OR IGNORE INTO meta (key, value) SELECT 'rebuild', '1'"
			" WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'schema');"
			"INSERT OR IGNORE INTO meta (key, value) VALUES ('schema', '1');"
			"INSERT INTO meta (key, value) VALUES ('schema_sum', " SCHEMA_SUM ")"
			" ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value <> excluded.value;"
			"COMMIT",
			NULL, NULL, NULL);
	return r;
}

// Of the values and their types.
static void row_sum(sqlite3_context *context, int count, sqlite3_value **values)
{
	uint64_t sum = FNV1A_START;
	for (int i = 0; i < count; i++) {
		unsigned char type = (unsigned char)sqlite3_value_type(values[i]);
		const unsigned char *text = sqlite3_value_text(values[i]);
		sum = fnv1a(sum, &type, sizeof(type));
		sum = fnv1a(sum, text, text ? (size_t)sqlite3_value_bytes(values[i]) : 0);
	}
	sqlite3_result_int64(context, (int64_t)sum);
}

// The first row's first column: what SQLite or our own comparison found.
static int keep_first(void *found, int count, char **values, char **names)
{
	(void)names;
	char **first = found;
	if (!*first && count > 0)
		*first = xstrdup(values[0] ? values[0] : "");
	return 0;
}

static int query(sqlite3 *db, const char *text, char **found)
{
	return sqlite3_exec(db, text, keep_first, found, NULL);
}

int store_schema_make(sqlite3 *db, char **damage)
{
	_cleanup_free_ char *check = NULL, *any = NULL, *other = NULL;
	// Also the function of the sums: without it no row of ours can be written.
	int r = sqlite3_create_function_v2(db, "row_sum", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
					   NULL, row_sum, NULL, NULL, NULL);
	if (r == SQLITE_OK)
		r = query(db, "PRAGMA integrity_check(1)", &check);
	if (r != SQLITE_OK)
		return r;
	if (!str_equal(check, "ok")) {
		*damage = TAKE(check);
		return SQLITE_OK;
	}
	r = query(db, "SELECT 1 FROM sqlite_schema", &any);
	if (r == SQLITE_OK && any)
		r = query(db, "SELECT 1 FROM meta WHERE key = 'schema_sum' AND value <> " SCHEMA_SUM, &other);
	if (r == SQLITE_OK && other)
		*damage = xstrdup("the definitions of the tables were changed");
	return r != SQLITE_OK || other ? r : make_tables(db);
}

int store_schema_needs_rebuild(sqlite3 *db, bool *needed)
{
	_cleanup_free_ char *found = NULL;
	int r = query(db, "SELECT 1 FROM meta WHERE key = 'rebuild'", &found);
	*needed = found != NULL;
	return r;
}

char *store_schema_meta(sqlite3 *db, const char *key)
{
	char *found = NULL;
	_cleanup_free_ char *text = xasprintf("SELECT value FROM meta WHERE key = '%s'", key);
	if (query(db, text, &found) != SQLITE_OK)
		free(TAKE(found));
	return found;
}
