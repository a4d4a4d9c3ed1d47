// The memory that log texts pass through (logging/pool.h), and what destinations tell (logging/delivery.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/util.h"
#include "logging/delivery.h"
#include "logging/pool.h"

#include <fcntl.h>
#include <sys/mman.h>

static struct loop *loop;
static struct pool *pool;
static char calls[64];

// A user that notes what it is called for; upper case: granted, lower case: asked to give back.
struct user {
	struct pool_user pool;
	char name;
	size_t gives;       // when asked
	struct user *takes; // another one that gives all back when this one is asked
	bool leaves;        // when asked, and when granted
};

static void note(char c)
{
	size_t len = strlen(calls);
	assert_true(len < sizeof(calls) - 1);
	calls[len] = c;
	calls[len + 1] = '\0';
}

static void granted(void *arg)
{
	struct user *user = arg;
	note((char)(user->name - 'a' + 'A'));
	if (user->leaves)
		pool_leave(pool, &user->pool);
}

static void reclaim(void *arg)
{
	struct user *user = arg;
	note(user->name);
	pool_give(pool, &user->pool, user->gives);
	if (user->takes)
		pool_leave(pool, &user->takes->pool);
	if (user->leaves)
		pool_leave(pool, &user->pool);
}

static void init(struct user *user, char name)
{
	*user = (struct user){.name = name, .pool = {.granted = granted, .reclaim = reclaim, .arg = user}};
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void expect_calls(const char *expected)
{
	for (int i = 0; i < 3; i++) {
		loop_defer(loop, stop, loop);
		assert_int_equal(loop_run(loop), 0);
	}
	assert_string_equal(calls, expected);
	calls[0] = '\0';
}

static struct user a, b, c;

static int setup(void **state)
{
	(void)state;
	loop = loop_new(1000, NULL);
	pool = pool_new(loop, 100);
	calls[0] = '\0';
	init(&a, 'a');
	init(&b, 'b');
	init(&c, 'c');
	return loop && pool ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	pool_leave(pool, &a.pool);
	pool_leave(pool, &b.pool);
	pool_leave(pool, &c.pool);
	assert_int_equal(pool_used(pool), 0);
	pool = pool_free(pool);
	loop = loop_free(loop);
	return 0;
}

static void at_once_while_there_is_some(void **state)
{
	(void)state;
	assert_true(pool_take(pool, &a.pool, 60));
	assert_true(pool_take(pool, &b.pool, 40));
	assert_true(pool_take(pool, &b.pool, 0));
	assert_int_equal(pool_used(pool), 100);
	pool_give(pool, &a.pool, 1000);
	assert_int_equal(pool_used(pool), 40);
	assert_int_equal(a.pool.held, 0);
	assert_true(pool_take(pool, &b.pool, 60));
	expect_calls("");
}

static void first_come_first_served(void **state)
{
	(void)state;
	assert_true(pool_take(pool, &a.pool, 90));
	assert_false(pool_take(pool, &b.pool, 50));
	assert_false(pool_take(pool, &c.pool, 5)); // fits, but comes later
	expect_calls("a");
	pool_give(pool, &a.pool, 30);
	assert_string_equal(calls, ""); // in a turn of its own
	expect_calls("a");              // b holds nothing yet
	pool_give(pool, &a.pool, 20);
	expect_calls("BC");
}

static void asks_the_one_asked_longest_ago(void **state)
{
	(void)state;
	a.gives = b.gives = 10;
	assert_true(pool_take(pool, &a.pool, 50));
	assert_true(pool_take(pool, &b.pool, 50));
	assert_false(pool_take(pool, &c.pool, 10));
	expect_calls("aC");
	assert_false(pool_take(pool, &c.pool, 10));
	expect_calls("bC");
	a.gives = 0;
	assert_false(pool_take(pool, &c.pool, 10));
	expect_calls("acbC");
	// It is asked as well, though it is the one that waits.
	b.gives = 0;
	c.gives = 30;
	assert_false(pool_take(pool, &c.pool, 30));
	expect_calls("acC");
}

static void two_that_hold_and_wait(void **state)
{
	(void)state;
	a.gives = b.gives = 100;
	assert_true(pool_take(pool, &a.pool, 50));
	assert_true(pool_take(pool, &b.pool, 50));
	assert_false(pool_take(pool, &a.pool, 50));
	assert_false(pool_take(pool, &b.pool, 50));
	expect_calls("aAbB");
	assert_int_equal(pool_used(pool), 100);
}

static void more_than_the_pool(void **state)
{
	(void)state;
	assert_true(pool_take(pool, &a.pool, 500));
	assert_int_equal(pool_used(pool), 500);
	assert_true(pool_take(pool, &a.pool, 0));
	assert_false(pool_take(pool, &b.pool, 1));
	expect_calls("a");
	pool_leave(pool, &a.pool);
	expect_calls("B");
	// Nobody else holds any: what it has itself is no reason to wait for ever.
	assert_true(pool_take(pool, &b.pool, 400));
	assert_false(pool_take(pool, &a.pool, 101));
	expect_calls("b");
	pool_leave(pool, &b.pool);
	expect_calls("A");
}

static void leaving(void **state)
{
	(void)state;
	assert_true(pool_take(pool, &a.pool, 100));
	assert_false(pool_take(pool, &b.pool, 10));
	assert_false(pool_take(pool, &c.pool, 10));
	pool_leave(pool, &b.pool);
	pool_leave(pool, &a.pool);
	expect_calls("C");
	// The first that waits leaves while others are asked: the next one's turn comes.
	pool_leave(pool, &c.pool);
	assert_true(pool_take(pool, &a.pool, 100));
	a.takes = &b;
	a.gives = 50;
	assert_false(pool_take(pool, &b.pool, 60));
	assert_false(pool_take(pool, &c.pool, 50));
	expect_calls("aC");
	c.leaves = true;
	assert_false(pool_take(pool, &c.pool, 60));
	expect_calls("aC"); // and it leaves when it is called
}

// One of those that are asked lets another one go: nobody is asked twice.
static void asked_once_whoever_lets_go(void **state)
{
	(void)state;
	struct user d;
	init(&d, 'd');
	a.takes = &c;
	assert_true(pool_take(pool, &a.pool, 40));
	assert_true(pool_take(pool, &b.pool, 50));
	assert_true(pool_take(pool, &c.pool, 10));
	assert_false(pool_take(pool, &d.pool, 30));
	expect_calls("abab"); // once more, for something was given back
	pool_leave(pool, &d.pool);
}

// --- delivery ---

static int log_fd;

static size_t logged(const char *text)
{
	char lines[65536];
	ssize_t n = pread(log_fd, lines, sizeof(lines) - 1, 0);
	size_t count = 0;
	lines[n > 0 ? n : 0] = '\0';
	for (const char *p = lines; (p = strstr(p, text)); p++)
		count++;
	return count;
}

// Loop time passes a thousand times faster.
static void wait_ms(uint64_t ms)
{
	uint64_t until = loop_now(loop) + ms;
	while (loop_now(loop) < until)
		usleep(1000);
}

static void a_line_a_minute(void **state)
{
	(void)state;
	struct delivery delivery;
	struct error err = {0};
	error_set(&err, ECONNREFUSED, "cannot reach it");
	log_fd = memfd_create("log", MFD_CLOEXEC);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", log_fd);
	assert_int_equal(log_open(&(struct log_options){.level = LOG_NONE, .file_level = LOG_INFO, .path = path}, NULL),
			 0);
	wait_ms(2);
	delivery_init(&delivery, loop, "syslog", "abc");
	delivery_arrived(&delivery, 10, 100);
	for (int i = 0; i < 1000; i++) {
		delivery_failed(&delivery, &err);
		delivery_arrived(&delivery, 1, 10); // comes and goes
		delivery_gave_up(&delivery, 2, "too large");
	}
	uint64_t minutes = loop_now(loop) / DELIVERY_REPORT_MS + 1;
	size_t waits = logged("logs wait on disk");
	assert_true(waits >= 1 && waits <= minutes);
	assert_int_equal(logged("logs go out again"), waits);
	size_t refusals = logged("for good");
	assert_true(refusals >= 1 && refusals <= minutes);
	assert_int_equal(delivery.retries, 1000);
	assert_int_equal(delivery.lost, 2000);
	assert_int_equal(delivery.lines, 1010);
	assert_int_equal(delivery.bytes, 10100);
	wait_ms(DELIVERY_REPORT_MS);
	delivery_failed(&delivery, &err);
	assert_int_equal(logged("logs wait on disk"), waits + 1);
	wait_ms(100);
	json_object *status = delivery_status(&delivery);
	assert_string_equal(json_object_get_string(json_object_object_get(status, "Trouble")), "cannot reach it");
	assert_true(json_object_get_int64(json_object_object_get(status, "TroubleMs")) >= 100);
	assert_int_equal(json_object_get_int64(json_object_object_get(status, "DeliveredLines")), 1010);
	json_object_put(status);
	delivery_arrived(&delivery, 1, 1);
	assert_int_equal(logged("logs go out again"), waits + 1);
	status = delivery_status(&delivery);
	assert_null(json_object_object_get(status, "Trouble"));
	assert_null(json_object_object_get(status, "TroubleMs"));
	json_object_put(status);
	delivery_done(&delivery);
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	close(log_fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(at_once_while_there_is_some), TEST(first_come_first_served), TEST(asks_the_one_asked_longest_ago),
		TEST(two_that_hold_and_wait),      TEST(more_than_the_pool),      TEST(leaving),
		TEST(asked_once_whoever_lets_go),  TEST(a_line_a_minute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
