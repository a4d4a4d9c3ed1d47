#include "engine/store.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "engine/images.h"
#include "engine/store_codec.h"
#include "engine/store_schema.h"
#include "engine/store_wal.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/stat.h>

enum { CHECKPOINT_FRAMES = 128 }; // 512 KiB of log
enum { LOG_MAX = 64 << 20 };      // a larger one is left to SQLite alone

enum statement {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_PUT_TASK,
	SQL_PUT_CONTAINER,
	SQL_DELETE_TASK,
	SQL_DELETE_CONTAINERS,
	SQL_DELETE_TRANSITIONS,
	SQL_PUT_TRANSITION,
	SQL_MARK,
	SQL_PRUNE,
	SQL_REBUILT,
	SQL_PUT_IDENTITY,
	SQL_DELETE_IDENTITY,
	SQL_PUT_PULLED,
	SQL_DELETE_PULLED,
	SQL_PUT_IMAGE,
	SQL_DELETE_IMAGE,
	SQL_COUNT,
};

// `what` is for error messages.
static const struct {
	const char *what, *text;
} sql[SQL_COUNT] = {
	[SQL_BEGIN] = {"begin", "BEGIN IMMEDIATE"},
	[SQL_COMMIT] = {"commit", "COMMIT"},
	[SQL_ROLLBACK] = {"roll back", "ROLLBACK"},
	[SQL_PUT_TASK] =
		{"write task",
		 "INSERT INTO task (arn, sequence, definition, known, desired, credentials_id, "
		 "execution_credentials_id, reason, known_ms, pull_started_ms, pull_stopped_ms, "
		 "execution_stopped_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (arn) DO UPDATE "
		 "SET sequence=excluded.sequence, known=excluded.known, "
		 "desired=excluded.desired, credentials_id=excluded.credentials_id, "
		 "execution_credentials_id=excluded.execution_credentials_id, reason=excluded.reason, "
		 "known_ms=excluded.known_ms, pull_started_ms=excluded.pull_started_ms, "
		 "pull_stopped_ms=excluded.pull_stopped_ms, execution_stopped_ms=excluded.execution_stopped_ms"},
	[SQL_PUT_CONTAINER] =
		{"write container",
		 "INSERT INTO container (task, name, known, desired, docker_name, docker_id, image_id, "
		 "image_digest, exit_code, error_name, error_text, bindings, host_ports, created_ms, started_ms, "
		 "finished_ms, stop_attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON "
		 "CONFLICT (task, name) DO UPDATE SET known=excluded.known, desired=excluded.desired, "
		 "docker_name=excluded.docker_name, docker_id=excluded.docker_id, image_id=excluded.image_id, "
		 "image_digest=excluded.image_digest, exit_code=excluded.exit_code, "
		 "error_name=excluded.error_name, error_text=excluded.error_text, bindings=excluded.bindings, "
		 "host_ports=excluded.host_ports, created_ms=excluded.created_ms, started_ms=excluded.started_ms, "
		 "finished_ms=excluded.finished_ms, stop_attempts=excluded.stop_attempts"},
	[SQL_DELETE_TASK] = {"forget task", "DELETE FROM task WHERE arn = ?"},
	[SQL_DELETE_CONTAINERS] = {"forget containers", "DELETE FROM container WHERE task = ?"},
	[SQL_DELETE_TRANSITIONS] = {"forget transitions", "DELETE FROM transition WHERE task = ?"},
	[SQL_PUT_TRANSITION] =
		{"write transition",
		 "INSERT INTO transition (id, task, container, status, reason, exit_code, at_ms) VALUES (?, ?, ?, "
		 "?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET task=excluded.task, container=excluded.container, "
		 "status=excluded.status, reason=excluded.reason, exit_code=excluded.exit_code, "
		 "at_ms=excluded.at_ms"},
	[SQL_MARK] = {"mark as reported",
		      "UPDATE transition SET reported = 1, refused = ? WHERE task = ? AND id <= ? AND reported = 0"},
	// A refused task has no row: its report is all there is, and goes when it was delivered.
	[SQL_PRUNE] = {"forget reported",
		       "DELETE FROM transition WHERE task = ?1 AND reported AND ?1 NOT IN (SELECT arn FROM task)"},
	[SQL_PUT_IMAGE] = {"write image",
			   "INSERT INTO image (id, names, size, pulled_ms, last_used_ms) VALUES (?, ?, ?, ?, ?) ON "
			   "CONFLICT (id) DO UPDATE SET names=excluded.names, size=excluded.size, "
			   "pulled_ms=excluded.pulled_ms, last_used_ms=excluded.last_used_ms"},
	[SQL_DELETE_IMAGE] = {"forget image", "DELETE FROM image WHERE id = ?"},
	[SQL_REBUILT] = {"mark as rebuilt", "DELETE FROM meta WHERE key = 'rebuild'"},
	[SQL_PUT_IDENTITY] = {"write identity", "INSERT OR REPLACE INTO meta (key, value) VALUES ('identity', ?)"},
	[SQL_DELETE_IDENTITY] = {"forget identity", "DELETE FROM meta WHERE key = 'identity'"},
	[SQL_PUT_PULLED] = {"write pulled image", "INSERT OR REPLACE INTO pulled (image, at_ms) VALUES (?, ?)"},
	[SQL_DELETE_PULLED] = {"forget pulled image", "DELETE FROM pulled WHERE image = ?"},
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_COUNT];
	char *path, *ballast;
	bool disk_full, needs_rebuild, checkpoint_failing;
	bool marked; // as rebuilt, by the transaction under way
};

// The errno for what SQLite says: EBADMSG is damage, ENOSPC and EROFS are the file system's state, EIO the rest. For a
// COMMIT sqlite3_system_errno() tells nothing, so `system` is errno itself, cleared before the call.
static int error_number(const struct store *store, int system)
{
	switch (sqlite3_errcode(store->db)) {
	case SQLITE_FULL:
		return ENOSPC;
	case SQLITE_READONLY:
		return EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: // our own statements do not fit what is there
		return EBADMSG;
	case SQLITE_IOERR:
		return system == ENOSPC || system == EDQUOT ? ENOSPC : system == EROFS ? EROFS : EIO;
	case SQLITE_CANTOPEN:
		return system ? system : EIO;
	default:
		return EIO;
	}
}

static int failed(struct store *store, struct error *err, const char *what)
{
	int number = error_number(store, errno);
	return error_set(err, number, "%s: %s: %s (%s)", store->path, what, sqlite3_errmsg(store->db),
			 strerror(number));
}

// types: one letter a parameter: s text (NULL allowed), i int64.
static int run(struct store *store, enum statement which, struct error *err, const char *types, ...)
{
	sqlite3_stmt *statement = store->statements[which];
	errno = 0;
	if (!statement) {
		if (sqlite3_prepare_v3(store->db, sql[which].text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
		    SQLITE_OK)
			return failed(store, err, sql[which].what);
		store->statements[which] = statement;
	}
	va_list args;
	va_start(args, types);
	for (int i = 0; types[i]; i++) {
		if (types[i] == 'i') {
			sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t));
		} else {
			const char *text = va_arg(args, const char *);
			if (text)
				sqlite3_bind_text(statement, i + 1, text, -1, SQLITE_TRANSIENT);
			else
				sqlite3_bind_null(statement, i + 1);
		}
	}
	va_end(args);
	int r = sqlite3_step(statement);
	int result = r == SQLITE_DONE || r == SQLITE_ROW ? 0 : failed(store, err, sql[which].what);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return result;
}

// --- ballast: room that is given up when the disk is full, so that stops and reports still can be written ---

static int ballast_take(struct store *store)
{
	_cleanup_close_ int fd = open(store->ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = posix_fallocate(fd, 0, STORE_BALLAST_BYTES);
	if (r != 0) {
		unlink(store->ballast);
		return -r;
	}
	return 0;
}

static void ballast_give_up(struct store *store)
{
	if (store->disk_full)
		return;
	store->disk_full = true;
	unlink(store->ballast);
	log_error("disk is full: new tasks are refused until there is room; running tasks go on", "path=%s",
		  store->path);
}

bool store_disk_full(const struct store *store)
{
	return store->disk_full;
}

bool store_needs_rebuild(const struct store *store)
{
	return store->needs_rebuild;
}

int store_mark_rebuilt(struct store *store, struct error *err)
{
	int r = run(store, SQL_REBUILT, err, "");
	store->marked = r == 0;
	return r;
}

int store_put_identity(struct store *store, const char *text, struct error *err)
{
	return text ? run(store, SQL_PUT_IDENTITY, err, "s", text) : run(store, SQL_DELETE_IDENTITY, err, "");
}

char *store_identity(const struct store *store)
{
	return store->db ? store_schema_meta(store->db, "identity") : NULL;
}

void store_reclaim(struct store *store)
{
	if (!store->disk_full || ballast_take(store) < 0)
		return;
	store->disk_full = false;
	log_info("disk has room again: tasks are accepted", "path=%s", store->path);
}

// --- open ---

// After each commit: moves what was committed into the database when the log has grown. A failure costs nothing but
// room; the commit stands, and the next one tries again.
static int checkpoint(void *arg, sqlite3 *db, const char *name, int frames)
{
	struct store *store = arg;
	if (frames < CHECKPOINT_FRAMES)
		return SQLITE_OK;
	errno = 0;
	bool failing = sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK;
	struct error err;
	if (failing && !store->checkpoint_failing) {
		failed(store, &err, "checkpoint");
		log_error("the database's log cannot be folded in; it grows until that works again", "error=%s",
			  err.message);
	}
	store->checkpoint_failing = failing;
	return SQLITE_OK;
}

static bool log_is_damaged(const struct store *store)
{
	_cleanup_free_ char *path = xasprintf("%s-wal", store->path);
	size_t len;
	_cleanup_free_ char *log = read_file(path, LOG_MAX, &len);
	return log && store_wal_is_damaged(log, len);
}

static int open_database(struct store *store, struct error *err)
{
	// EXCLUSIVE locking keeps the WAL index in memory: no shared-memory file that a full disk could break.
	static const char pragmas[] = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
				      "PRAGMA journal_size_limit=1048576; PRAGMA cache_size=-256;"
				      "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;";
	_cleanup_free_ char *damage = NULL;
	if (log_is_damaged(store))
		return error_set(err, EBADMSG, "%s-wal: the database's log is damaged before its end", store->path);
	mode_t mask = umask(077);
	errno = 0;
	int r = sqlite3_open_v2(store->path, &store->db,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	umask(mask);
	// SQLite opens for reading what cannot be written.
	if (r == SQLITE_OK && sqlite3_db_readonly(store->db, "main") > 0)
		return error_set(err, EROFS, "%s: open: it cannot be written (%s)", store->path,
				 strerror(access(store->path, W_OK) < 0 ? errno : EROFS));
	if (r == SQLITE_OK)
		r = sqlite3_exec(store->db, pragmas, NULL, NULL, NULL);
	sqlite3_wal_hook(store->db, checkpoint, store);
	CRASH_POINT("store.opened");
	if (r == SQLITE_OK)
		r = store_schema_make(store->db, &damage);
	CRASH_POINT("store.schema");
	if (r == SQLITE_OK && damage)
		return error_set(err, EBADMSG, "%s: the database is damaged: %s", store->path, damage);
	if (r == SQLITE_OK)
		r = store_schema_needs_rebuild(store->db, &store->needs_rebuild);
	return r == SQLITE_OK ? 0 : failed(store, err, "open");
}

static void close_database(struct store *store)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	sqlite3_close(store->db);
	store->db = NULL;
}

// A flag in the file can say "read only" too.
static bool is_damage(const struct store *store, int r)
{
	return r == -EBADMSG || (r == -EROFS && access(store->path, W_OK) == 0);
}

static const char *const suffixes[] = {"", "-wal", "-journal", "-shm"}; // of a database's files

static int set_aside(struct store *store, const struct error *why, struct error *err)
{
	char time[40];
	bool any = false;
	format_rfc3339_ms(wall_ms(), time);
	_cleanup_free_ char *aside = xasprintf("%s.corrupt-%s", store->path, time);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_free_ char *from = xasprintf("%s%s", store->path, suffixes[i]);
		_cleanup_free_ char *to = xasprintf("%s%s", aside, suffixes[i]);
		if (rename(from, to) == 0)
			any = true;
		else if (errno != ENOENT)
			return error_set_errno(err, errno, "rename %s to %s", from, to);
	}
	if (any)
		log_error("the state database is damaged and set aside", "error=%s aside=%s", why->message, aside);
	return 0;
}

struct store *store_open(const char *data_dir, struct error *err)
{
	int r = make_directory(data_dir, 0700);
	if (r < 0) {
		error_set_errno(err, -r, "make data directory %s", data_dir);
		return NULL;
	}
	struct store *store = xcalloc(1, sizeof(*store));
	store->path = xasprintf("%s/ecsd.db", data_dir);
	store->ballast = xasprintf("%s/ballast", data_dir);
	struct error why = {0};
	r = open_database(store, &why);
	if (is_damage(store, r)) {
		close_database(store);
		if ((r = set_aside(store, &why, err)) == 0)
			r = open_database(store, &why);
	}
	if (r == -ENOSPC) { // not even room for the schema: the ballast of an earlier run may help
		unlink(store->ballast);
		close_database(store);
		r = open_database(store, &why);
	}
	if (r < 0) {
		error_set(err, why.code ? why.code : -r, "%s", why.message);
		return store_close(store);
	}
	if (ballast_take(store) < 0)
		ballast_give_up(store);
	return store;
}

int store_renew(struct store *store, const struct error *why, struct error *err)
{
	close_database(store);
	int r = set_aside(store, why, err);
	if (r == 0 && (r = open_database(store, err)) < 0) {
		close_database(store);
		for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) { // half of one: nothing to be set aside
			_cleanup_free_ char *path = xasprintf("%s%s", store->path, suffixes[i]);
			unlink(path);
		}
	}
	store_note_failure(store, r);
	return r;
}

struct store *store_close(struct store *store)
{
	if (!store)
		return NULL;
	close_database(store);
	free(store->path);
	free(store->ballast);
	free(store);
	return NULL;
}

// --- writing ---

int store_begin(struct store *store, struct error *err)
{
	if (!store->db)
		return error_set(err, EBADMSG, "%s: there is no new database yet", store->path);
	return run(store, SQL_BEGIN, err, "");
}

void store_rollback(struct store *store)
{
	// SQLite has rolled back by itself after some errors; then there is nothing to do.
	if (store->db && !sqlite3_get_autocommit(store->db))
		(void)run(store, SQL_ROLLBACK, NULL, "");
	store->marked = false;
}

int store_commit(struct store *store, struct error *err)
{
	int r = run(store, SQL_COMMIT, err, "");
	if (r == 0 && store->marked)
		store->needs_rebuild = store->marked = false;
	return r;
}

void store_note_failure(struct store *store, int result)
{
	if (result == -ENOSPC)
		ballast_give_up(store);
}

int store_put_task(struct store *store, const struct task *task, struct error *err)
{
	return run(store, SQL_PUT_TASK, err, "sissssssiiii", task->arn, (int64_t)task->sequence,
		   task->definition_text ? task->definition_text : json_text(task->definition),
		   task_status_name(task->known), task_status_name(task->desired), task->credentials_id,
		   task->execution_credentials_id, task->reason, task->known_ms, task->pull_started_ms,
		   task->pull_stopped_ms, task->execution_stopped_ms);
}

int store_put_container(struct store *store, const struct task *task, size_t index, struct error *err)
{
	const struct container *c = &task->containers[index];
	_cleanup_json_ json_object *bindings = store_encode_bindings(c);
	_cleanup_json_ json_object *ports = store_encode_ports(c);
	char exit_code[16] = "";
	if (c->has_exit_code)
		snprintf(exit_code, sizeof(exit_code), "%d", c->exit_code);
	return run(store, SQL_PUT_CONTAINER, err, "sssssssssssssiiii", task->arn, c->name,
		   container_status_name(c->known), container_status_name(c->desired), c->docker_name, c->docker_id,
		   c->image_id, c->image_digest, c->has_exit_code ? exit_code : NULL, c->error.name, c->error.text,
		   json_text(bindings), json_text(ports), c->created_ms, c->started_ms, c->finished_ms,
		   (int64_t)c->stop_attempts);
}

int store_delete_task(struct store *store, const char *task_arn, struct error *err)
{
	int r = run(store, SQL_DELETE_TRANSITIONS, err, "s", task_arn);
	if (r == 0)
		r = run(store, SQL_DELETE_CONTAINERS, err, "s", task_arn);
	return r < 0 ? r : run(store, SQL_DELETE_TASK, err, "s", task_arn);
}

int store_put_transition(struct store *store, const struct transition *t, struct error *err)
{
	char exit_code[16] = "";
	if (t->has_exit_code)
		snprintf(exit_code, sizeof(exit_code), "%d", t->exit_code);
	return run(store, SQL_PUT_TRANSITION, err, "ississi", t->id, t->task_arn, t->container, (int64_t)t->status,
		   t->reason, t->has_exit_code ? exit_code : NULL, t->at_ms);
}

int store_mark_reported(struct store *store, const char *task_arn, int64_t id, const char *refused_why,
			struct error *err)
{
	int r = run(store, SQL_MARK, err, "ssi", refused_why, task_arn, id);
	return r < 0 ? r : run(store, SQL_PRUNE, err, "s", task_arn);
}

int store_put_pulled(struct store *store, const char *image, int64_t at_ms, struct error *err)
{
	if (at_ms < 0)
		return run(store, SQL_DELETE_PULLED, err, "s", image);
	return run(store, SQL_PUT_PULLED, err, "si", image, at_ms);
}

int store_put_image(struct store *store, const struct image *image, struct error *err)
{
	_cleanup_json_ json_object *names = store_encode_strings(&image->names);
	return run(store, SQL_PUT_IMAGE, err, "ssiii", image->id, json_text(names), image->size, image->pulled_ms,
		   image->last_used_ms);
}

int store_delete_image(struct store *store, const char *id, struct error *err)
{
	return run(store, SQL_DELETE_IMAGE, err, "s", id);
}

// --- loading ---

static char *column_text(sqlite3_stmt *s, int i)
{
	return xstrdup((const char *)sqlite3_column_text(s, i));
}

// Two rows may name one container where a damaged name is a blob.
static void replace_text(char **to, sqlite3_stmt *s, int i)
{
	str_replace(to, (const char *)sqlite3_column_text(s, i));
}

static void read_container(sqlite3_stmt *s, struct container *c)
{
	container_status_parse((const char *)sqlite3_column_text(s, 1), &c->known);
	container_status_parse((const char *)sqlite3_column_text(s, 2), &c->desired);
	replace_text(&c->docker_name, s, 3);
	replace_text(&c->docker_id, s, 4);
	replace_text(&c->image_id, s, 5);
	replace_text(&c->image_digest, s, 6);
	c->has_exit_code = sqlite3_column_type(s, 7) != SQLITE_NULL;
	c->exit_code = sqlite3_column_int(s, 7);
	replace_text(&c->error.name, s, 8);
	replace_text(&c->error.text, s, 9);
	store_decode_bindings((const char *)sqlite3_column_text(s, 10), c);
	store_decode_ports((const char *)sqlite3_column_text(s, 11), c);
	c->created_ms = sqlite3_column_int64(s, 12);
	c->started_ms = sqlite3_column_int64(s, 13);
	c->finished_ms = sqlite3_column_int64(s, 14);
	c->stop_attempts = (uint32_t)sqlite3_column_int(s, 15);
	c->dirty = false;
}

static int load_containers(struct store *store, struct task *task, struct error *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(store->db,
			       "SELECT name, known, desired, docker_name, docker_id, image_id, image_digest, "
			       "exit_code, error_name,"
			       " error_text, bindings, host_ports, created_ms, started_ms, finished_ms, stop_attempts"
			       " FROM container WHERE task = ?",
			       -1, &s, NULL) != SQLITE_OK)
		return failed(store, err, "load containers");
	sqlite3_bind_text(s, 1, task->arn, -1, SQLITE_TRANSIENT);
	int r;
	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		struct container *c = task_container(task, (const char *)sqlite3_column_text(s, 0));
		if (c)
			read_container(s, c);
		else
			log_error("stored container is not in its task's definition; ignored", "task=%s container=%s",
				  task->arn, sqlite3_column_text(s, 0));
	}
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? 0 : failed(store, err, "load containers");
}

static struct task *read_task(sqlite3_stmt *s)
{
	const char *definition = (const char *)sqlite3_column_text(s, 2);
	struct error why = {0};
	_cleanup_json_ json_object *object = json_parse(definition, strlen(definition), &why);
	_cleanup_free_ char *reason = NULL;
	struct task *task = NULL;
	if (!object || task_decode(object, false, &task, &reason) != TASK_ACCEPTED) {
		log_error("stored task cannot be read; ignored", "task=%s error=%s", sqlite3_column_text(s, 0),
			  reason ? reason : why.message);
		return NULL;
	}
	if (!str_equal(task->arn, (const char *)sqlite3_column_text(s, 0))) {
		log_error("stored task has another's definition; ignored", "task=%s definition=%s",
			  sqlite3_column_text(s, 0), task->arn);
		return task_free(task);
	}
	task->sequence = (uint64_t)sqlite3_column_int64(s, 1);
	if (str_equal((const char *)sqlite3_column_text(s, 3), "PULLED") ||
	    !task_status_parse((const char *)sqlite3_column_text(s, 3), &task->known))
		task->known = TASK_NONE;
	task_status_parse((const char *)sqlite3_column_text(s, 4), &task->desired);
	task->credentials_id = column_text(s, 5);
	task->execution_credentials_id = column_text(s, 6);
	task->reason = column_text(s, 7);
	task->known_ms = sqlite3_column_int64(s, 8);
	task->pull_started_ms = sqlite3_column_int64(s, 9);
	task->pull_stopped_ms = sqlite3_column_int64(s, 10);
	task->execution_stopped_ms = sqlite3_column_int64(s, 11);
	task_set_stored(task);
	task->dirty = false;
	return task;
}

static int load_tasks(struct store *store, const struct store_visitor *visitor, uint64_t *last_sequence,
		      struct error *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(store->db, "SELECT * FROM task ORDER BY sequence", -1, &s, NULL) != SQLITE_OK)
		return failed(store, err, "load tasks");
	int r, result = 0;
	while (result == 0 && (r = sqlite3_step(s)) == SQLITE_ROW) {
		struct task *task = read_task(s);
		if (!task)
			continue;
		if (task->sequence > *last_sequence)
			*last_sequence = task->sequence;
		if ((result = load_containers(store, task, err)) < 0)
			task_free(task);
		else
			visitor->task(task, visitor->arg);
	}
	if (result == 0 && r != SQLITE_DONE)
		result = failed(store, err, "load tasks");
	sqlite3_finalize(s);
	return result;
}

static int load_transitions(struct store *store, const struct store_visitor *visitor, int64_t *last, struct error *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(store->db,
			       "SELECT id, task, container, status, reason, exit_code, at_ms, reported FROM transition "
			       "ORDER BY id",
			       -1, &s, NULL) != SQLITE_OK)
		return failed(store, err, "load transitions");
	int r;
	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		struct transition t = {
			.id = sqlite3_column_int64(s, 0),
			.task_arn = (const char *)sqlite3_column_text(s, 1),
			.container = (const char *)sqlite3_column_text(s, 2),
			.status = sqlite3_column_int(s, 3),
			.reason = (const char *)sqlite3_column_text(s, 4),
			.has_exit_code = sqlite3_column_type(s, 5) != SQLITE_NULL,
			.exit_code = sqlite3_column_int(s, 5),
			.at_ms = sqlite3_column_int64(s, 6),
		};
		*last = t.id;
		bool known = t.status >= 0 && t.status <= (t.container ? (int)CONTAINER_STOPPED : (int)TASK_STOPPED);
		if (!known)
			log_error("stored transition has no status that exists; ignored", "task=%s status=%d",
				  t.task_arn, t.status);
		else if (!sqlite3_column_int(s, 7))
			visitor->transition(&t, visitor->arg);
	}
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? 0 : failed(store, err, "load transitions");
}

int store_load_pulled(struct store *store, void (*visit)(const char *image, int64_t at_ms, void *arg), void *arg,
		      struct error *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(store->db, "SELECT image, at_ms FROM pulled ORDER BY at_ms", -1, &s, NULL) != SQLITE_OK)
		return failed(store, err, "load pulled images");
	int r;
	while ((r = sqlite3_step(s)) == SQLITE_ROW)
		if (sqlite3_column_type(s, 0) != SQLITE_NULL) // SQLite lets a text key be NULL
			visit((const char *)sqlite3_column_text(s, 0), sqlite3_column_int64(s, 1), arg);
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? 0 : failed(store, err, "load pulled images");
}

int store_load(struct store *store, const struct store_visitor *visitor, int64_t *last_transition,
	       uint64_t *last_sequence, struct error *err)
{
	*last_transition = 0;
	*last_sequence = 0;
	int r = load_tasks(store, visitor, last_sequence, err);
	return r < 0 ? r : load_transitions(store, visitor, last_transition, err);
}

int store_load_images(struct store *store, struct image_set *set, struct error *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(store->db, "SELECT id, names, size, pulled_ms, last_used_ms FROM image", -1, &s, NULL) !=
	    SQLITE_OK)
		return failed(store, err, "load images");
	int r;
	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		if (sqlite3_column_type(s, 0) == SQLITE_NULL)
			continue;
		set->items = xreallocarray(set->items, set->count + 1, sizeof(*set->items));
		struct image *image = &set->items[set->count++];
		*image = (struct image){.id = column_text(s, 0),
					.size = sqlite3_column_int64(s, 2),
					.pulled_ms = sqlite3_column_int64(s, 3),
					.last_used_ms = sqlite3_column_int64(s, 4)};
		store_decode_strings((const char *)sqlite3_column_text(s, 1), &image->names);
	}
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? 0 : failed(store, err, "load images");
}
