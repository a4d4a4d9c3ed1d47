#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/loop.h"
#include "common/util.h"

#include <signal.h>
#include <time.h>

static struct loop *loop;
static struct timer timers[4];
static char order[64];
static unsigned turns;
static uint64_t fired_at;

static double real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void note(void *arg)
{
	size_t len = strlen(order);

	assert_true(len < sizeof(order) - 1);
	order[len] = *(const char *)arg;
	order[len + 1] = '\0';
	if (*(const char *)arg == '!')
		loop_stop(loop);
}

static void count_turn(void *arg)
{
	(void)arg;
	turns++;
}

static int setup_scale(double scale)
{
	order[0] = '\0';
	turns = 0;
	loop = loop_new(scale, NULL);
	loop_set_turn_end(loop, count_turn, NULL);
	return loop ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	return setup_scale(1);
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
		timer_done(&timers[i]);
	loop = loop_free(loop);
	loop_free(NULL);
	return 0;
}

static void test_timers(void **state)
{
	(void)state;
	timer_init(&timers[0], loop, note, "b");
	timer_init(&timers[1], loop, note, "a");
	timer_init(&timers[2], loop, note, "x");
	timer_init(&timers[3], loop, note, "!");
	timer_start(&timers[0], 20);
	timer_start(&timers[1], 40);
	timer_start(&timers[1], 5); // earlier than before
	timer_start(&timers[2], 10);
	timer_start(&timers[3], 30);
	assert_true(timer_running(&timers[2]));
	timer_stop(&timers[2]);
	assert_false(timer_running(&timers[2]));
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "ab!");
	assert_false(timer_running(&timers[0]));
	timer_start(&timers[0], UINT64_MAX); // never, but no overflow either
	timer_start(&timers[3], 0);
	loop_run(loop);
	assert_string_equal(order, "ab!!");
}

static void on_scaled(void *arg)
{
	(void)arg;
	fired_at = loop_now(loop);
	loop_stop(loop);
}

static void test_scale(void **state)
{
	double began;

	(void)state;
	teardown(NULL);
	setup_scale(60);
	assert_true(loop_now(loop) >= 1);
	assert_true(loop_scale(loop) == 60);
	timer_init(&timers[0], loop, on_scaled, NULL);
	began = real_ms();
	timer_start(&timers[0], 6000);
	loop_run(loop);
	assert_true(real_ms() - began >= 100);
	assert_true(real_ms() - began < 400);
	assert_true(fired_at >= 6000); // never early
}

static unsigned repeats;

static void repeat(void *arg)
{
	struct timer *timer = arg;

	assert_int_equal(timer->due, 0);
	if (++repeats == 5)
		loop_stop(loop);
	else
		timer_start(timer, 1);
}

static void free_itself(void *arg)
{
	timer_done(arg);
	free(arg);
	loop_stop(loop);
}

static void test_timer_in_callback(void **state)
{
	struct timer *own = xmalloc(sizeof(*own));

	(void)state;
	timer_init(&timers[0], loop, repeat, &timers[0]);
	timer_start(&timers[0], 1);
	loop_run(loop);
	assert_int_equal(repeats, 5);
	timer_init(own, loop, free_itself, own);
	timer_start(own, 1);
	loop_run(loop);
}

static void defer_more(void *arg)
{
	note("1");
	loop_defer(loop, note, "3");
	loop_defer(loop, note, arg);
	loop_defer_cancel(loop, note, "2"); // of this same turn
}

static void test_defer(void **state)
{
	static char two[] = "2";

	(void)state;
	loop_defer(loop, note, "0");
	loop_defer(loop, defer_more, "!");
	loop_defer(loop, note, two);
	loop_defer(loop, note, "x");
	loop_defer_cancel(loop, note, "x");
	loop_run(loop);
	// The literal "2" is another address than `two`, so that one has run.
	assert_string_equal(order, "0123!");
	assert_int_equal(turns, 2);
	loop_defer(loop, note, "y"); // never runs: freed with the loop
}

static void cancel_peer(void *arg)
{
	loop_defer_cancel(loop, note, arg);
}

static void test_defer_cancel_in_turn(void **state)
{
	static char x[] = "x";

	(void)state;
	loop_defer(loop, cancel_peer, x);
	loop_defer(loop, note, x);
	loop_defer(loop, note, "!");
	loop_run(loop);
	assert_string_equal(order, "!");
}

static void wake_hook(void *arg)
{
	(void)arg;
	if (++turns == 3)
		loop_stop(loop);
	else
		loop_wake(loop);
}

static void test_wake_from_hook(void **state)
{
	(void)state;
	loop_set_turn_end(loop, wake_hook, NULL);
	loop_wake(loop);
	loop_run(loop);
	assert_int_equal(turns, 3);
	loop_stop(loop);
	assert_int_equal(loop_run(loop), 0); // stopped before it ran
	assert_int_equal(turns, 3);
}

static int pipe_fds[2];
static struct watch *reader, *writer;

static void on_pipe_read(int fd, unsigned events, void *arg)
{
	char byte;

	(void)arg;
	assert_int_equal(events, LOOP_READ);
	assert_int_equal(read(fd, &byte, 1), 1);
	note("r");
	reader = watch_free(reader);
	loop_stop(loop);
}

static void on_pipe_write(int fd, unsigned events, void *arg)
{
	(void)arg;
	assert_int_equal(events, LOOP_WRITE);
	note("w");
	assert_int_equal(write(fd, "x", 1), 1);
	watch_set(writer, 0);
	watch_set(reader, LOOP_READ);
}

static void on_signal(int number, unsigned events, void *arg)
{
	(void)events, (void)arg;
	assert_int_equal(number, SIGUSR1);
	note("!");
}

static void test_watches(void **state)
{
	struct watch *signals;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	reader = watch_new(loop, pipe_fds[0], 0, on_pipe_read, NULL);
	writer = watch_new(loop, pipe_fds[1], LOOP_WRITE, on_pipe_write, NULL);
	loop_run(loop);
	assert_string_equal(order, "wr");
	writer = watch_free(writer);
	watch_free(NULL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	signals = signal_watch_new(loop, SIGUSR1, on_signal, NULL);
	raise(SIGUSR1);
	loop_run(loop);
	assert_string_equal(order, "wr!");
	watch_free(signals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scale, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_in_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defer_cancel_in_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wake_from_hook, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watches, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
