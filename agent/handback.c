#include "handback.h"

#include "common/util.h"
#include "engine/store.h"
#include <dirent.h>
#include <errno.h>

enum { FILE_MAX = 256 << 20 }; // of the database and of its log
enum { WAL_HEADER = 32 };      // changes with each round of the log (salt)
enum { ATTEMPTS = 20 };

static const char database_name[] = "ecsd.db", log_name[] = "ecsd.db-wal";

struct findings {
	FILE *out;
	struct json_strings told; // tasks whose open reports were printed
	size_t running, unreported, ended;
};

// --- a copy of the database ---

// A log that is not there is an empty one: ecsd ended in good order.
static int read_part(const char *dir, const char *name, size_t max, struct buf *out, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	char chunk[65536];
	size_t n;
	buf_free(out);
	*out = (struct buf){.max = FILE_MAX};
	if (!file)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot read %s", path);
	while (out->len < max &&
	       (n = fread(chunk, 1, max - out->len < sizeof(chunk) ? max - out->len : sizeof(chunk), file)))
		if (buf_append(out, chunk, n) < 0)
			return error_set(err, EFBIG, "%s is larger than %d bytes", path, FILE_MAX);
	return ferror(file) ? error_set_errno(err, EIO, "cannot read %s", path) : 0;
}

static int write_part(const char *dir, const char *name, const struct buf *content, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	unlink(path);
	int r = content->len ? write_file_atomic(path, content->data, content->len, 0600) : 0;
	return r < 0 ? error_set_errno(err, -r, "cannot write %s", path) : 0;
}

// The database first and its log second: whatever a checkpoint moves meanwhile is in both, unless the log begins anew, and
// then its header tells (-EAGAIN). A commit of which the log has only a part does not count.
static int copy(const char *from, const char *to, struct error *err)
{
	struct buf before = {0}, database = {0}, log = {0}, after = {0};
	int r = read_part(from, log_name, WAL_HEADER, &before, err);
	if (r == 0)
		r = read_part(from, database_name, FILE_MAX, &database, err);
	if (r == 0)
		r = read_part(from, log_name, FILE_MAX, &log, err);
	if (r == 0)
		r = read_part(from, log_name, WAL_HEADER, &after, err);
	if (r == 0 && (before.len != after.len || (after.len && memcmp(before.data, after.data, after.len) != 0)))
		r = error_set(err, EAGAIN, "%s/%s changes too fast", from, database_name);
	if (r == 0)
		r = write_part(to, database_name, &database, err);
	if (r == 0)
		r = write_part(to, log_name, &log, err);
	buf_free(&before);
	buf_free(&database);
	buf_free(&log);
	buf_free(&after);
	return r;
}

// With all that opening it has made.
static void remove_copy(const char *dir)
{
	DIR *directory = opendir(dir);
	for (struct dirent *entry; directory && (entry = readdir(directory));)
		unlinkat(dirfd(directory), entry->d_name, 0); // "." and ".." stay
	if (directory)
		closedir(directory);
}

static struct store *open_copy(const char *from, const char *to, struct error *err)
{
	int r = -EAGAIN;
	for (int i = 0; i < ATTEMPTS && (r == -EAGAIN || r == -EBADMSG); i++) {
		if ((r = copy(from, to, err)) < 0)
			continue;
		struct store *store = store_open(to, err);
		if (store && !store_needs_rebuild(store))
			return store;
		r = store ? error_set(err, EBADMSG, "%s/%s has no whole state in it", from, database_name) : -err->code;
		store_close(store);
		remove_copy(to);
	}
	return NULL;
}

// --- what is in it ---

static void on_task(struct task *task, void *arg)
{
	struct findings *findings = arg;
	if (task->known == TASK_STOPPED) {
		findings->ended++;
	} else {
		findings->running++;
		fprintf(findings->out, "task %s has not ended: it is %s, and is to be %s\n", task->arn,
			task_status_name(task->known), task_status_name(task->desired));
	}
	task_free(task);
}

static void on_transition(const struct transition *transition, void *arg)
{
	struct findings *findings = arg;
	for (size_t i = 0; i < findings->told.count; i++) {
		if (str_equal(findings->told.items[i], transition->task_arn))
			return;
	}
	findings->told.items =
		xreallocarray(findings->told.items, findings->told.count + 1, sizeof(*findings->told.items));
	findings->told.items[findings->told.count++] = xstrdup(transition->task_arn);
	findings->unreported++;
	fprintf(findings->out, "task %s has state changes that ECS has not accepted\n", transition->task_arn);
}

static int conclude(const struct findings *findings)
{
	if (findings->running || findings->unreported) {
		fprintf(findings->out,
			"not safe: %zu not ended, %zu with something to report; drain the instance and wait\n",
			findings->running, findings->unreported);
		return 1;
	}
	if (findings->ended)
		fprintf(findings->out,
			"%zu ended tasks are not cleaned up yet, or have logs to be shipped; what is left of them "
			"stays when ecsd ends\n",
			findings->ended);
	fprintf(findings->out, "safe: no task runs, and ECS has been told everything\n");
	return 0;
}

static int check(struct store *store, FILE *out)
{
	struct findings findings = {.out = out};
	struct store_visitor visitor = {.task = on_task, .transition = on_transition, .arg = &findings};
	struct error err = {0};
	int64_t last_transition;
	uint64_t last_sequence;
	int r = store_load(store, &visitor, &last_transition, &last_sequence, &err);
	if (r < 0)
		fprintf(stderr, "ecsd: %s\n", err.message);
	r = r < 0 ? 1 : conclude(&findings);
	for (size_t i = 0; i < findings.told.count; i++)
		free(findings.told.items[i]);
	free(findings.told.items);
	return r;
}

int handback_check(const char *data_dir, FILE *out)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", data_dir, database_name);
	char directory[] = "/tmp/ecsd-handback.XXXXXX";
	struct error err = {0};
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		fprintf(out, "safe: ecsd has no state in %s\n", data_dir);
		return 0;
	}
	if (!mkdtemp(directory)) {
		fprintf(stderr, "ecsd: cannot make a directory in /tmp: %s\n", strerror(errno));
		return 1;
	}
	struct store *store = open_copy(data_dir, directory, &err);
	int code = store ? check(store, out) : 1;
	if (!store)
		fprintf(stderr, "ecsd: %s\n", err.message);
	store_close(store);
	remove_copy(directory);
	rmdir(directory);
	return code;
}
