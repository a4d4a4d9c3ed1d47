// What counts as arrived, and what is written again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/resend.h"

#define MESSAGE ((size_t)100) // bytes of a message on the wire

static struct resend resend;
static uint64_t now;

static void init(uint64_t far)
{
	now = 100000;
	resend_init(&resend, 1000);
	resend.far = far;
}

static void give(unsigned messages)
{
	for (unsigned i = 0; i < messages; i++)
		resend_given(&resend, now, MESSAGE, resend.given.position + 1, 1, 90);
}

// Positions that arrive in this state of the connection.
static uint64_t arrive(struct resend_look look)
{
	uint64_t before = resend.arrived.position;
	bool would;

	look.now = now;
	would = resend_would_confirm(&resend, &look);
	resend_confirm(&resend, &look);
	assert_int_equal(would, resend.arrived.position > before);
	assert_false(resend_would_confirm(&resend, &look));
	return resend.arrived.position - before;
}

static void test_by_time(void **state)
{
	(void)state;
	init(RESEND_FAR);
	assert_false(resend_waits(&resend));
	give(100);
	assert_true(resend_waits(&resend));
	assert_false(resend_ripe(&resend, now));
	assert_int_equal(arrive((struct resend_look){0}), 0);
	now += RESEND_MS - 1;
	assert_int_equal(arrive((struct resend_look){0}), 0);
	now++;
	assert_true(resend_ripe(&resend, now));
	assert_int_equal(arrive((struct resend_look){.unacknowledged = 100 * MESSAGE}), 0);
	assert_int_equal(arrive((struct resend_look){.window = 49, .window_most = 100}), 0); // it does not read
	assert_int_equal(arrive((struct resend_look){.window = 50, .window_most = 100}), 100);
	assert_int_equal(resend.arrived.lines, 100);
	assert_int_equal(resend.arrived.bytes, 9000);
	assert_false(resend_waits(&resend));
	assert_false(resend_ripe(&resend, now));
	// A steady trickle arrives RESEND_MS later, and not only when it pauses.
	for (int i = 0; i < 100; i++) {
		give(1);
		now += 100;
		arrive((struct resend_look){.window = 100, .window_most = 100});
	}
	assert_in_range(resend.given.position - resend.arrived.position, RESEND_MS / 100 - 1,
			(RESEND_MS + 2 * RESEND_STEP_MS) / 100);
}

static void test_by_bytes(void **state)
{
	(void)state;
	// Without time passing, what is far behind arrives.
	init(RESEND_FAR);
	give((unsigned)(RESEND_FAR / MESSAGE) * 2);
	assert_true(resend_ripe(&resend, now));
	assert_true(arrive((struct resend_look){0}) > 0);
	assert_in_range(resend.given.wire - resend.arrived.wire, RESEND_FAR, RESEND_FAR * 5 / 4);
	init(RESEND_NEAR);
	give(2000);
	assert_int_equal(arrive((struct resend_look){.unacknowledged = 200000}), 0);
	assert_int_equal(arrive((struct resend_look){.unacknowledged = 500000}), 0); // with a Unix socket's overhead
	assert_true(arrive((struct resend_look){.unacknowledged = 100000}) > 0);
	assert_in_range(resend.arrived.wire, 100000 - RESEND_NEAR - 20000, 100000 - RESEND_NEAR);
	// A peer that does not read: twice of what it can hold.
	init(RESEND_FAR);
	give(10000);
	now += RESEND_MS;
	assert_true(arrive((struct resend_look){.window = 1, .window_most = 200000}) > 0);
	assert_in_range(resend.given.wire - resend.arrived.wire, 400000, 400000 + 1000000 / (RESEND_MARKS / 4));
	// In the end all that is acknowledged.
	assert_true(arrive((struct resend_look){.at_end = true, .unacknowledged = 50000}) > 0);
	assert_true(arrive((struct resend_look){.at_end = true}) > 0);
	assert_int_equal(resend.arrived.position, 11000);
}

static void test_rewind(void **state)
{
	uint64_t arrived;

	(void)state;
	init(RESEND_NEAR);
	give(2000);
	arrived = arrive((struct resend_look){0});
	assert_int_equal(resend_rewind(&resend), 2000 - arrived);
	assert_false(resend_waits(&resend));
	assert_int_equal(resend.given.position, 1000 + arrived);
	assert_int_equal(resend.given.lines, arrived);
	assert_int_equal(resend_rewind(&resend), 0);
	// The next connection counts its own bytes.
	give(10);
	assert_int_equal(arrive((struct resend_look){0}), 0);
	now += RESEND_MS;
	assert_int_equal(arrive((struct resend_look){0}), 10);
	assert_int_equal(resend.arrived.wire, 10 * MESSAGE);
}

// What needs no message arrives with what was before it, and at once when nothing was.
static void test_nothing_on_the_wire(void **state)
{
	(void)state;
	init(RESEND_NEAR);
	resend_given(&resend, now, 0, 1001, 1, 0);
	assert_true(resend_ripe(&resend, now));
	assert_int_equal(arrive((struct resend_look){0}), 1);
	give(1);
	resend_given(&resend, now, 0, 1003, 0, 0);
	assert_int_equal(arrive((struct resend_look){0}), 0);
	now += RESEND_MS;
	assert_int_equal(arrive((struct resend_look){0}), 2);
	assert_int_equal(resend.arrived.lines, 2);
}

// With any amount under way for any time the marks are as many, only coarser, and fine again afterwards.
static void test_much(void **state)
{
	(void)state;
	init(RESEND_NEAR);
	for (int i = 0; i < 1000; i++) {
		give(1000);
		now += 1000;
		assert_int_equal(arrive((struct resend_look){.unacknowledged = (size_t)resend.given.wire}), 0);
		assert_in_range(resend.count, 1, RESEND_MARKS);
	}
	for (size_t waits = resend.given.wire; waits > 0; waits -= 1000000) {
		arrive((struct resend_look){.unacknowledged = waits});
		assert_true(resend.arrived.wire <= resend.given.wire - waits);
		if (resend.given.wire > waits + RESEND_NEAR)
			assert_true(resend.given.wire - resend.arrived.wire <
				    waits + RESEND_NEAR + 2 * resend.given.wire / (RESEND_MARKS / 2));
	}
	now += RESEND_MS;
	assert_true(arrive((struct resend_look){.window = 1, .window_most = 1}) > 0);
	assert_int_equal(resend.count, 0);
	for (int i = 0; i < 100; i++)
		give(100);
	assert_true(resend.given.wire - resend.arrived.wire > 500000);
	arrive((struct resend_look){0});
	assert_in_range(resend.given.wire - resend.arrived.wire, RESEND_NEAR, RESEND_NEAR + 250000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_time), cmocka_unit_test(test_by_bytes),
		cmocka_unit_test(test_rewind),  cmocka_unit_test(test_nothing_on_the_wire),
		cmocka_unit_test(test_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
