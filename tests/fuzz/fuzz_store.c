// Rows of the state database, whatever their columns hold: loaded, written again and loaded once more. Input: lines of
// columns separated by tabs, the first of them the table's letter. A column is NULL ("-"), a number ("#5"), a blob ("=text")
// or a text.
#include "agent/engine/store.c"
#include "engine/task.h"
#include "fuzz_dir.h"

static const struct {
	char letter;
	const char *insert;
	int columns;
} tables[] = {
	{'t', "INSERT OR REPLACE INTO task VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", 12},
	{'c', "INSERT OR REPLACE INTO container VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", 17},
	{'r', "INSERT OR REPLACE INTO transition VALUES (?,?,?,?,?,?,?,?,?)", 9},
	{'i', "INSERT OR REPLACE INTO image VALUES (?,?,?,?,?)", 5},
	{'p', "INSERT OR REPLACE INTO pulled VALUES (?,?)", 2},
	{'m', "INSERT OR REPLACE INTO meta VALUES (?,?)", 2},
};

static void bind(sqlite3_stmt *s, int i, const char *column)
{
	if (!column || str_equal(column, "-"))
		sqlite3_bind_null(s, i);
	else if (*column == '#')
		sqlite3_bind_int64(s, i, strtoll(column + 1, NULL, 10));
	else if (*column == '=')
		sqlite3_bind_blob(s, i, column + 1, (int)strlen(column + 1), SQLITE_TRANSIENT);
	else
		sqlite3_bind_text(s, i, column, -1, SQLITE_TRANSIENT);
}

// What SQLite itself refuses (NOT NULL) is not there.
static void insert(struct store *store, char *line)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		sqlite3_stmt *s;
		char *rest = line;
		if (line[0] != tables[i].letter || line[1] != '\t')
			continue;
		strsep(&rest, "\t");
		CHECK(sqlite3_prepare_v2(store->db, tables[i].insert, -1, &s, NULL) == SQLITE_OK);
		for (int column = 1; column <= tables[i].columns; column++)
			bind(s, column, rest ? strsep(&rest, "\t") : NULL);
		sqlite3_step(s);
		sqlite3_finalize(s);
	}
}

struct loaded {
	struct task *tasks[32];
	size_t count;
	struct buf transitions;
};

static void on_task(struct task *task, void *arg)
{
	struct loaded *loaded = arg;
	CHECK(str_starts(task->arn, "arn:") && !task->definition && task->stored && !task->dirty);
	CHECK(task_status_name(task->known) && task_status_name(task->desired));
	for (size_t i = 0; i < task->container_count; i++)
		CHECK(container_status_name(task->containers[i].known) &&
		      container_status_name(task->containers[i].desired));
	if (loaded->count < ARRAY_SIZE(loaded->tasks))
		loaded->tasks[loaded->count++] = task;
	else
		task_free(task);
}

static void on_transition(const struct transition *t, void *arg)
{
	struct loaded *loaded = arg;
	CHECK(t->task_arn);
	CHECK(t->container ? t->status >= 0 && t->status <= CONTAINER_STOPPED
			   : t->status >= 0 && t->status <= TASK_STOPPED);
	buf_printf(&loaded->transitions, "%lld %s\n", (long long)t->id, t->task_arn);
}

static void on_pulled(const char *image, int64_t at_ms, void *arg)
{
	(void)at_ms, (void)arg;
	CHECK(image);
}

static void load(struct store *store, struct loaded *loaded)
{
	struct store_visitor visitor = {.task = on_task, .transition = on_transition, .arg = loaded};
	struct image_set images = {0};
	struct error err = {0};
	int64_t last_transition;
	uint64_t last_sequence;
	CHECK(store_load(store, &visitor, &last_transition, &last_sequence, &err) == 0);
	CHECK(store_load_images(store, &images, &err) == 0);
	for (size_t i = 0; i < images.count; i++)
		CHECK(images.items[i].id);
	CHECK(store_load_pulled(store, on_pulled, NULL, &err) == 0);
	images_free(&images);
}

static void write_again(struct store *store, struct loaded *loaded)
{
	struct error err = {0};
	CHECK(store_begin(store, &err) == 0);
	for (size_t i = 0; i < loaded->count; i++) {
		struct task *task = loaded->tasks[i];
		CHECK(store_put_task(store, task, &err) == 0);
		for (size_t k = 0; k < task->container_count; k++)
			CHECK(store_put_container(store, task, k, &err) == 0);
	}
	CHECK(store_commit(store, &err) == 0);
}

static void check_same(const struct loaded *a, const struct loaded *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++) {
		const struct task *one = NULL, *two = a->tasks[i];
		for (size_t k = 0; k < b->count && !one; k++)
			one = str_equal(b->tasks[k]->arn, two->arn) ? b->tasks[k] : NULL;
		CHECK(one && one->container_count == two->container_count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char empty[] =
		"DELETE FROM task; DELETE FROM container; DELETE FROM transition; DELETE FROM image;"
		"DELETE FROM pulled; DELETE FROM meta";
	static struct store *store;
	struct error err = {0};
	struct loaded first = {0}, second = {0};
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input;
	if (!store) {
		CHECK((store = store_open(fuzz_dir(), &err)));
		CHECK(sqlite3_exec(store->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL) == SQLITE_OK);
	}
	CHECK(sqlite3_exec(store->db, empty, NULL, NULL, NULL) == SQLITE_OK && store_begin(store, &err) == 0);
	for (char *line; (line = strsep(&rest, "\n"));)
		insert(store, line);
	CHECK(store_commit(store, &err) == 0);
	load(store, &first);
	write_again(store, &first);
	load(store, &second);
	check_same(&first, &second);
	for (size_t i = 0; i < first.count; i++)
		task_free(first.tasks[i]);
	for (size_t i = 0; i < second.count; i++)
		task_free(second.tasks[i]);
	buf_free(&first.transitions);
	buf_free(&second.transitions);
	return 0;
}
