// What counts as arrived, and what is written again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/resend.h"

static struct resend resend;

static void give(unsigned messages, size_t wire)
{
	for (unsigned i = 0; i < messages; i++)
		resend_given(&resend, wire, resend.given.position + 1, 1, wire - 10);
}

static void test_window(void **state)
{
	(void)state;
	resend_init(&resend, 1000);
	assert_false(resend_waits(&resend));
	assert_false(resend_confirm(&resend, 0, true));
	give(100, 100);
	assert_true(resend_waits(&resend));
	assert_false(resend_would_confirm(&resend, 5000, true));
	assert_true(resend_would_confirm(&resend, 0, true));
	assert_false(resend_confirm(&resend, 5000, true)); // not acknowledged
	assert_false(resend_confirm(&resend, 0, false));   // acknowledged, and may be thrown away
	assert_int_equal(resend.arrived.position, 1000);
	assert_true(resend_confirm(&resend, 0, true));
	assert_int_equal(resend.arrived.position, 1100);
	assert_int_equal(resend.arrived.lines, 100);
	assert_int_equal(resend.arrived.bytes, 9000);
	assert_false(resend_waits(&resend));
	// As traffic goes on, all but the window arrives; how much beyond it is a matter of marks.
	give(10000, 100);
	assert_true(resend_confirm(&resend, 0, false));
	assert_in_range(resend.given.wire - resend.arrived.wire, RESEND_WINDOW,
			RESEND_WINDOW + 1000000 / (RESEND_MARKS / 2));
	give(656, 100); // the window and a little
	assert_true(resend_confirm(&resend, 0, false));
	assert_true(resend.given.wire - resend.arrived.wire >= RESEND_WINDOW);
	assert_int_equal(resend.given.position, 1000 + 10756);
}

static void test_acknowledged(void **state)
{
	(void)state;
	resend_init(&resend, 0);
	give(2000, 100);
	assert_false(resend_confirm(&resend, 200000, false));
	assert_false(
		resend_confirm(&resend, 500000, false)); // the kernel's overhead of Unix sockets is more than was given
	assert_true(resend_confirm(&resend, 100000, false));
	assert_in_range(resend.arrived.wire, 100000 - RESEND_WINDOW - 200000 / (RESEND_MARKS / 2),
			100000 - RESEND_WINDOW);
}

static void test_rewind(void **state)
{
	(void)state;
	resend_init(&resend, 0);
	give(2000, 100);
	assert_true(resend_confirm(&resend, 0, false));
	uint64_t arrived = resend.arrived.lines;
	assert_int_equal(resend_rewind(&resend), 2000 - arrived);
	assert_false(resend_waits(&resend));
	assert_int_equal(resend.given.position, arrived);
	assert_int_equal(resend.given.wire, 0);
	assert_int_equal(resend_rewind(&resend), 0);
	// The next connection counts its own bytes.
	give(10, 100);
	assert_false(resend_confirm(&resend, 0, false));
	assert_true(resend_confirm(&resend, 0, true));
	assert_int_equal(resend.arrived.position, arrived + 10);
	assert_int_equal(resend.arrived.wire, 1000);
}

// What needs no message arrives with what was before it, and at once when nothing was.
static void test_nothing_on_the_wire(void **state)
{
	(void)state;
	resend_init(&resend, 0);
	resend_given(&resend, 0, 1, 1, 0);
	assert_true(resend_confirm(&resend, 0, false));
	assert_int_equal(resend.arrived.position, 1);
	give(1, 100);
	resend_given(&resend, 0, 3, 0, 0);
	assert_false(resend_confirm(&resend, 0, false));
	assert_true(resend_confirm(&resend, 0, true));
	assert_int_equal(resend.arrived.position, 3);
	assert_int_equal(resend.arrived.lines, 2);
}

// With any amount under way the marks are as many, only coarser.
static void test_much(void **state)
{
	uint64_t before = 0;

	(void)state;
	resend_init(&resend, 0);
	for (size_t waits = 10000000; waits > 0; waits -= 100000) {
		give(10, 10000);
		resend_confirm(&resend, waits, false);
		assert_in_range(resend.count, 1, RESEND_MARKS);
		assert_true(resend.arrived.position >= before);
		assert_true(resend.arrived.wire <= (resend.given.wire > waits ? resend.given.wire - waits : 0));
		if (resend.given.wire > waits + RESEND_WINDOW)
			assert_true(resend.given.wire - resend.arrived.wire <
				    waits + RESEND_WINDOW + 2 * resend.given.wire / (RESEND_MARKS / 2));
		before = resend.arrived.position;
	}
	assert_true(resend_confirm(&resend, 0, true));
	assert_int_equal(resend.arrived.position, 1000);
	assert_int_equal(resend.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window), cmocka_unit_test(test_acknowledged),
		cmocka_unit_test(test_rewind), cmocka_unit_test(test_nothing_on_the_wire),
		cmocka_unit_test(test_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
