// Waiting for cloud-init: its files are the test's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cloud_init.h"
#include "common/log.h"
#include "common/util.h"

#define SCALE 1000  // the clock's
#define LIMIT 60000 // ms of that clock
#define PATIENCE_MS 10000

static char dir[] = "/tmp/ecsd-cloud-init-test.XXXXXX";

static void put(const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(write_file_atomic(path, "", 0, 0600), 0);
}

static void clear(void)
{
	static const char *const names[] = {"enabled", "disabled", "result.json"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", dir, names[i]);

		unlink(path);
	}
}

static void test_busy(void **state)
{
	_cleanup_free_ char *link = xasprintf("%s/result.json", dir);

	(void)state;
	assert_false(cloud_init_busy("/nowhere"));
	assert_false(cloud_init_busy(dir)); // no cloud-init here
	put("enabled");
	assert_true(cloud_init_busy(dir));
	put("disabled");
	assert_false(cloud_init_busy(dir));
	clear();
	put("enabled");
	assert_int_equal(symlink("/nowhere/result.json", link), 0); // what it points to was cleaned away since
	assert_false(cloud_init_busy(dir));
	clear();
}

struct play {
	struct loop *loop;
	int looks, finish_at, skip_at; // in looks; 0: never
	int limits, configured_at;     // which time the limit is asked about finds a cluster
	bool done;
};

static const char *skip_now(void *arg)
{
	struct play *play = arg;

	play->looks++;
	if (play->looks == play->finish_at)
		put("result.json");
	return play->looks == play->skip_at ? "the test says so" : NULL;
}

static bool cluster_known(void *arg)
{
	struct play *play = arg;

	return ++play->limits == play->configured_at;
}

static void on_done(void *arg)
{
	struct play *play = arg;

	play->done = true;
	loop_stop(play->loop);
}

static void give_up(void *arg)
{
	struct play *play = arg;

	loop_stop(play->loop);
}

static void run(struct play *play, uint64_t patience_ms)
{
	struct timer timer;
	struct cloud_init wait = {.run_dir = dir,
				  .limit_ms = LIMIT,
				  .skip = skip_now,
				  .cluster_known = cluster_known,
				  .done = on_done,
				  .arg = play};

	wait.loop = play->loop = loop_new(SCALE, NULL);
	timer_init(&timer, play->loop, give_up, play);
	timer_start(&timer, patience_ms * SCALE);
	cloud_init_wait(&wait);
	assert_false(play->done);
	loop_run(play->loop);
	cloud_init_stop(&wait);
	cloud_init_stop(&wait);
	timer_done(&timer);
	loop_free(play->loop);
	clear();
}

static void test_it_finishes(void **state)
{
	struct play play = {.finish_at = 3};

	(void)state;
	put("enabled");
	run(&play, PATIENCE_MS);
	assert_true(play.done && play.looks == 3 && play.limits == 0);
}

static void test_told_not_to_wait(void **state)
{
	struct play play = {.skip_at = 2};

	(void)state;
	put("enabled");
	run(&play, PATIENCE_MS);
	assert_true(play.done && play.looks == 2);
}

// With a cluster to join the limit ends the wait; without, nothing but cloud-init does.
static void test_limit(void **state)
{
	struct play known = {.configured_at = 1}, unknown = {0};

	(void)state;
	put("enabled");
	run(&known, PATIENCE_MS);
	assert_true(known.done && known.limits == 1 && known.looks > 1);
	put("enabled");
	run(&unknown, 3 * LIMIT / SCALE);
	assert_true(!unknown.done && unknown.limits == 1);
	struct play late = {.finish_at = 200};
	put("enabled");
	run(&late, PATIENCE_MS);
	assert_true(late.done && late.limits == 1);
}

static int set_up(void **state)
{
	(void)state;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	return mkdtemp(dir) ? 0 : 1;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_it_finishes),
		cmocka_unit_test(test_told_not_to_wait),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
