// The take-over into a database on a disk that fails at every single change, and that loses power: all of it is there or
// nothing, and a new attempt completes it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/util.h"
#include "engine/images.h"
#include "takeover/takeover.h"
#include "test_fault_vfs.h"

#define OFFICIAL "tests/data/official-state/register-imds.db"
enum { TASKS = 31, CONTAINERS = 43 };

static char directory[64];
static struct config config;
static unsigned first, last; // changes of the disk that are the take-over's

static struct store *open_store(void)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		fail_msg("%s", err.message);
	return store;
}

static struct takeover *begin(struct store *store)
{
	struct error err = {0};
	struct takeover *takeover = NULL;
	if (takeover_begin(&config, store, &takeover, &err) < 0)
		fail_msg("%s", err.message);
	return takeover;
}

struct counts {
	size_t tasks, containers, transitions;
};

static void on_task(struct task *task, void *arg)
{
	struct counts *counts = arg;
	counts->tasks++;
	counts->containers += task->container_count;
	task_free(task);
}

static void on_transition(const struct transition *transition, void *arg)
{
	(void)transition;
	((struct counts *)arg)->transitions++;
}

// True: all of it; false: nothing.
static bool is_taken_over(struct store *store)
{
	struct counts counts = {0};
	struct store_visitor visitor = {.task = on_task, .transition = on_transition, .arg = &counts};
	struct image_set images = {0};
	struct error err = {0};
	int64_t last_transition;
	uint64_t last_sequence;
	_cleanup_free_ char *identity = store_identity(store);
	assert_int_equal(store_load(store, &visitor, &last_transition, &last_sequence, &err), 0);
	assert_int_equal(store_load_images(store, &images, &err), 0);
	bool all = identity != NULL;
	assert_int_equal(counts.tasks, all ? TASKS : 0);
	assert_int_equal(counts.containers, all ? CONTAINERS : 0);
	assert_int_equal(counts.transitions, 0);
	assert_int_equal(images.count, all);
	if (all)
		assert_string_equal(images.items[0].names.items[0], "busybox:test");
	assert_int_equal(last_sequence, all ? TASKS : 0);
	images_free(&images);
	return all;
}

static int set_up(void **state)
{
	(void)state;
	size_t len;
	_cleanup_free_ char *data = read_file(OFFICIAL, 1 << 20, &len);
	snprintf(directory, sizeof(directory), "%s/ecsd-takeover-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!data || !mkdtemp(directory))
		return -1;
	_cleanup_free_ char *path = xasprintf("%s/agent.db", directory);
	config = (struct config){.data_dir = directory, .checkpoint = YES};
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	fault_vfs_register();
	fault_vfs_reset(1);
	return write_file_atomic(path, data, len, 0600);
}

static int tear_down(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf %s", directory);
	fault_vfs_reset(0);
	return system(command);
}

static void test_once(void **state)
{
	(void)state;
	struct error err = {0};
	struct store *store = open_store();
	struct takeover *takeover = begin(store);
	first = disk.calls + 1;
	assert_false(is_taken_over(store));
	assert_int_equal(takeover_write(takeover, store, &err), 0);
	last = disk.calls;
	assert_true(last > first);
	assert_true(is_taken_over(store));
	assert_false(store_needs_rebuild(store));
	takeover_free(takeover);
	store_close(store);
	// The next start goes on with what is in the database; the last step is still to be done.
	store = open_store();
	takeover = begin(store);
	assert_string_equal(takeover_identity(takeover)->cluster, "lab");
	assert_true(str_ends(takeover_identity(takeover)->arn, "8e5c49e6479f4298b8df7c1c94f2fe20"));
	assert_int_equal(takeover_write(takeover, store, &err), 0);
	takeover_end(store);
	takeover_free(takeover);
	store_close(store);
	// And then there is nothing to do.
	store = open_store();
	assert_null(begin(store));
	assert_null(store_identity(store));
	store_close(store);
}

// Whoever is killed writes nothing more.
static void power_off(struct store *store, enum fault_loss loss)
{
	fault_vfs_fail(disk.calls + 1, FAULT_IO, true);
	disk.off = true;
	store_close(store);
	disk.off = false;
	fault_vfs_fail(0, FAULT_IO, false);
	fault_vfs_power_loss(loss);
}

static void fail_at(unsigned at, enum fault_kind kind, enum fault_loss loss)
{
	struct error err = {0};
	fault_vfs_reset(at);
	struct store *store = open_store();
	struct takeover *takeover = begin(store);
	fault_vfs_fail(at, kind, true);
	int r = takeover_write(takeover, store, &err);
	assert_true(r == 0 || !str_empty(err.message));
	takeover_free(takeover);
	power_off(store, loss);
	store = open_store();
	bool all = is_taken_over(store);
	assert_true(all || r < 0); // what was said to be done is done
	takeover = begin(store);
	assert_non_null(takeover);
	assert_int_equal(takeover_write(takeover, store, &err), 0);
	assert_true(is_taken_over(store));
	takeover_end(store);
	takeover_free(takeover);
	store_close(store);
}

static void test_each_change_fails(void **state)
{
	(void)state;
	for (unsigned at = first; at <= last; at++)
		for (int loss = LOSE_NOTHING; loss <= LOSE_SOME; loss++)
			fail_at(at, (enum fault_kind)(at % 3), (enum fault_loss)loss);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_each_change_fails),
	};
	return cmocka_run_group_tests_name("takeover: into the database", tests, set_up, tear_down);
}
