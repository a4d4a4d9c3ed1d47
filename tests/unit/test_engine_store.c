// The store: what is written comes back, damage is set aside, nothing secret is on disk.
#include "engine/images.h"
#include "engine/store.h"
#include "engine/store_schema.h"

#include "common/util.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ARN "arn:aws:ecs:us-west-2:123456789012:task/lab/0123"

static char directory[64];

static int make_directory_for_test(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/ecsd-store-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf %s", directory);
	return system(command);
}

static struct task *sample(void)
{
	static const char text[] =
		"{\"arn\":\"" ARN "\",\"desiredStatus\":\"RUNNING\",\"containers\":[{\"name\":\"m\",\"image\":\"i\","
		"\"portMappings\":[{\"containerPort\":80}]}],"
		"\"roleCredentials\":{\"secretAccessKey\":\"verySecret\"}}";
	json_object *object = json_parse(text, strlen(text), NULL);
	struct task *task;
	char *reason;
	assert_int_equal(task_decode(object, false, &task, &reason), TASK_ACCEPTED);
	json_object_put(object);
	task->sequence = 3;
	task->known = TASK_CREATED;
	task->credentials_id = xstrdup("cred");
	struct container *c = &task->containers[0];
	c->known = CONTAINER_CREATED;
	c->docker_name = xstrdup("ecs-x");
	c->docker_id = xstrdup("abc");
	c->has_exit_code = true;
	c->exit_code = 137;
	c->host_ports[0] = 32768;
	c->bindings = xcalloc(1, sizeof(*c->bindings));
	c->binding_count = 1;
	c->bindings[0] = (struct port_binding){
		.container_port = 80, .host_port = 32768, .protocol = "tcp", .bind_ip = "0.0.0.0"};
	container_set_error(c, "OutOfMemoryError", "text");
	return task;
}

static void write_sample(void)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	assert_non_null(store);
	struct task *task = sample();
	assert_int_equal(store_begin(store, &err), 0);
	task->known = TASK_NONE;
	assert_int_equal(store_put_task(store, task, &err), 0);
	// Written again when facts have changed: the definition stays as it is, and is in memory as text only.
	task_set_stored(task);
	assert_null(task->definition);
	task->known = TASK_CREATED;
	assert_int_equal(store_put_task(store, task, &err), 0);
	assert_int_equal(store_put_container(store, task, 0, &err), 0);
	struct transition running = {
		.id = 1, .task_arn = ARN, .container = "m", .status = CONTAINER_RUNNING, .at_ms = 5};
	struct transition stopped = {.id = 2, .task_arn = ARN, .status = TASK_STOPPED, .reason = "why", .at_ms = 6};
	assert_int_equal(store_put_transition(store, &running, &err), 0);
	assert_int_equal(store_put_transition(store, &stopped, &err), 0);
	assert_int_equal(store_mark_reported(store, ARN, 1, NULL, &err), 0);
	assert_int_equal(store_mark_rebuilt(store, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	task_free(task);
	store_close(store);
}

struct loaded {
	struct task *task;
	int transitions;
	int64_t id;
	int status;
	char reason[16];
};

static void on_task(struct task *task, void *arg)
{
	((struct loaded *)arg)->task = task;
}

static void on_transition(const struct transition *t, void *arg)
{
	struct loaded *loaded = arg;
	loaded->transitions++;
	loaded->id = t->id;
	loaded->status = t->status;
	snprintf(loaded->reason, sizeof(loaded->reason), "%s", t->reason ? t->reason : "");
}

static void load(struct loaded *loaded, bool *rebuild)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		fail_msg("%s", err.message);
	*rebuild = store_needs_rebuild(store);
	struct store_visitor visitor = {on_task, on_transition, loaded};
	int64_t last;
	uint64_t sequence;
	assert_int_equal(store_load(store, &visitor, &last, &sequence, &err), 0);
	store_close(store);
}

static void test_round_trip(void **state)
{
	(void)state;
	write_sample();
	struct loaded loaded = {0};
	bool rebuild;
	load(&loaded, &rebuild);
	assert_false(rebuild);
	struct container *c = &loaded.task->containers[0];
	assert_int_equal(loaded.task->sequence, 3);
	assert_int_equal(loaded.task->known, TASK_CREATED);
	assert_string_equal(loaded.task->credentials_id, "cred");
	assert_int_equal(c->known, CONTAINER_CREATED);
	assert_string_equal(c->docker_id, "abc");
	assert_true(c->has_exit_code);
	assert_int_equal(c->exit_code, 137);
	assert_int_equal(c->host_ports[0], 32768);
	assert_int_equal(c->binding_count, 1);
	assert_string_equal(c->bindings[0].bind_ip, "0.0.0.0");
	assert_string_equal(c->error.name, "OutOfMemoryError");
	assert_int_equal(loaded.transitions, 1);
	assert_int_equal(loaded.id, 2);
	assert_int_equal(loaded.status, TASK_STOPPED);
	assert_string_equal(loaded.reason, "why");
	task_free(loaded.task);
}

static void test_images(void **state)
{
	(void)state;
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	struct image_set set = {0}, loaded = {0};
	images_use(&set, "sha256:a", "app:1", 77, 1000);
	images_use(&set, "sha256:b", "b", 5, 2000);
	assert_int_equal(store_begin(store, &err), 0);
	for (size_t i = 0; i < set.count; i++)
		assert_int_equal(store_put_image(store, &set.items[i], &err), 0);
	assert_int_equal(store_put_image(store, images_use(&set, "sha256:a", "app:2", 0, 3000), &err), 0);
	assert_int_equal(store_delete_image(store, "sha256:b", &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	store_close(store);
	store = store_open(directory, &err);
	assert_int_equal(store_load_images(store, &loaded, &err), 0);
	assert_int_equal(loaded.count, 1);
	const struct image *a = images_find(&loaded, "sha256:a");
	assert_int_equal(a->names.count, 2);
	assert_string_equal(a->names.items[1], "app:2");
	assert_int_equal(a->size, 77);
	assert_int_equal(a->pulled_ms, 1000);
	assert_int_equal(a->last_used_ms, 3000);
	assert_false(images_dirty(&loaded));
	store_close(store);
	images_free(&set);
	images_free(&loaded);
}

static void test_rollback_leaves_nothing(void **state)
{
	(void)state;
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	struct task *task = sample();
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_task(store, task, &err), 0);
	store_rollback(store);
	store_close(store);
	task_free(task);
	struct loaded loaded = {0};
	bool rebuild;
	load(&loaded, &rebuild);
	assert_null(loaded.task);
}

static void test_delete(void **state)
{
	(void)state;
	write_sample();
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_delete_task(store, ARN, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	store_close(store);
	struct loaded loaded = {0};
	bool rebuild;
	load(&loaded, &rebuild);
	assert_null(loaded.task);
	assert_int_equal(loaded.transitions, 0);
}

static void test_damage_is_set_aside(void **state)
{
	(void)state;
	write_sample();
	_cleanup_free_ char *path = xasprintf("%s/ecsd.db", directory);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	char garbage[8192];
	memset(garbage, 'x', sizeof(garbage));
	assert_int_equal(pwrite(fd, garbage, sizeof(garbage), 0), (ssize_t)sizeof(garbage));
	struct loaded loaded = {0};
	bool rebuild;
	load(&loaded, &rebuild);
	assert_true(rebuild);
	assert_null(loaded.task);
	_cleanup_free_ char *pattern = xasprintf("%s/ecsd.db.corrupt-*", directory);
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	globfree(&found);
	load(&loaded, &rebuild);
	assert_true(rebuild); // a kill before the rebuild is written must not lose it
}

// --- tables that this version adds, or that somebody changed ---

// What store_schema_make() says of a database that has been changed so: NULL, or what is wrong.
static char *schema_after(const char *change)
{
	_cleanup_free_ char *path = xasprintf("%s/ecsd.db", directory);
	char *damage = NULL;
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(store_schema_make(db, &damage), SQLITE_OK); // row_sum(), too
	assert_null(damage);
	assert_int_equal(sqlite3_exec(db, change, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_schema_make(db, &damage), SQLITE_OK);
	if (!damage) // all tables are there, and the next start takes them for what they are
		assert_int_equal(sqlite3_exec(db, "SELECT * FROM pulled", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	return damage;
}

static void test_changed_schema(void **state)
{
	(void)state;
	static const char drop[] = "DROP TABLE pulled;";
	// As a version without that table would have made the database.
	_cleanup_free_ char *older =
		xasprintf("%sUPDATE meta SET value = (SELECT CAST(row_sum(group_concat(type || ' ' || name || ' ' || "
			  "tbl_name || ' ' || ifnull(sql, ''))) AS TEXT) FROM sqlite_schema) WHERE key = 'schema_sum'",
			  drop);
	for (int i = 0; i < 2; i++)
		assert_null(schema_after(older));
	_cleanup_free_ char *damage = schema_after(drop);
	assert_string_equal(damage, "the definitions of the tables were changed");
}

// --- a new database in place of a damaged one, while the agent runs ---

static int rename_error; // of every rename

int rename(const char *from, const char *to)
{
	if (rename_error) {
		errno = rename_error;
		return -1;
	}
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static bool disk_is_full; // for SQLite

static ssize_t write_on_disk(int fd, const void *data, size_t len, off_t offset)
{
	if (disk_is_full) {
		errno = ENOSPC;
		return -1;
	}
	return pwrite(fd, data, len, offset);
}

static void set_disk(bool ours)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	static const char *const names[] = {"pwrite", "pwrite64"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		vfs->xSetSystemCall(vfs, names[i], ours ? (sqlite3_syscall_ptr)write_on_disk : NULL);
}

static size_t files_aside(void)
{
	_cleanup_free_ char *pattern = xasprintf("%s/ecsd.db.corrupt-*Z", directory);
	glob_t found = {0};
	size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	globfree(&found);
	return count;
}

// What engine/commit.c does with it.
static void expect_no_writing(struct store *store)
{
	struct error err = {0};
	assert_int_equal(store_begin(store, &err), -EBADMSG);
	store_rollback(store);
}

static void expect_renewed(struct store *store)
{
	struct error err = {0}, why = {0};
	struct task *task = sample();
	assert_int_equal(store_renew(store, &why, &err), 0);
	assert_int_equal(files_aside(), 1);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_task(store, task, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	task_free(task);
}

static void test_renewed_when_it_can_be(void **state)
{
	(void)state;
	struct error err = {0}, why = {0};
	struct store *store = store_open(directory, &err);
	assert_non_null(store);
	rename_error = EROFS;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(store_renew(store, &why, &err), -EROFS);
		expect_no_writing(store);
	}
	rename_error = 0;
	assert_int_equal(files_aside(), 0);
	expect_renewed(store);
	store_close(store);
}

static void test_renewed_on_a_full_disk(void **state)
{
	(void)state;
	struct error err = {0}, why = {0};
	set_disk(true);
	struct store *store = store_open(directory, &err);
	assert_non_null(store);
	assert_false(store_disk_full(store));
	disk_is_full = true;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(store_renew(store, &why, &err), -ENOSPC);
		assert_true(store_disk_full(store)); // the ballast is given up
		assert_int_equal(files_aside(), 1);
		expect_no_writing(store);
	}
	disk_is_full = false;
	expect_renewed(store);
	store_close(store);
	set_disk(false);
}

static void test_nothing_secret_and_private(void **state)
{
	(void)state;
	write_sample();
	_cleanup_free_ char *command = xasprintf("grep -rq verySecret %s", directory);
	assert_int_not_equal(system(command), 0);
	_cleanup_free_ char *path = xasprintf("%s/ecsd.db", directory);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_images, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_rollback_leaves_nothing, make_directory_for_test,
						remove_directory),
		cmocka_unit_test_setup_teardown(test_delete, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_damage_is_set_aside, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_changed_schema, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_renewed_when_it_can_be, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_renewed_on_a_full_disk, make_directory_for_test, remove_directory),
		cmocka_unit_test_setup_teardown(test_nothing_secret_and_private, make_directory_for_test,
						remove_directory),
	};
	return cmocka_run_group_tests_name("engine: store", tests, NULL, NULL);
}
