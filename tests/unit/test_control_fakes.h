// A loop whose time the test moves by hand, for the tests of agent/control.
#pragma once

#include "common/loop.h"
#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct loop {
	uint64_t now;
};
static struct loop fake_loop = {.now = 1};
static struct timer *fake_timers[64];
static struct {
	void (*callback)(void *arg);
	void *arg;
} fake_deferred[64];
static size_t fake_deferred_count;

uint64_t loop_now(const struct loop *loop)
{
	return loop->now;
}

void timer_init(struct timer *timer, struct loop *loop, void (*callback)(void *arg), void *arg)
{
	*timer = (struct timer){.loop = loop, .callback = callback, .arg = arg};
}

void timer_stop(struct timer *timer)
{
	timer->due = 0;
	for (size_t i = 0; i < ARRAY_SIZE(fake_timers); i++)
		if (fake_timers[i] == timer)
			fake_timers[i] = NULL;
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	timer_stop(timer);
	timer->due = fake_loop.now + delay_ms;
	for (size_t i = 0; i < ARRAY_SIZE(fake_timers); i++) {
		if (!fake_timers[i]) {
			fake_timers[i] = timer;
			return;
		}
	}
	fail_msg("too many timers");
}

bool timer_running(const struct timer *timer)
{
	return timer->due != 0;
}

void timer_done(struct timer *timer)
{
	timer_stop(timer);
}

void loop_defer(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	(void)loop;
	assert_true(fake_deferred_count < ARRAY_SIZE(fake_deferred));
	fake_deferred[fake_deferred_count].callback = callback;
	fake_deferred[fake_deferred_count++].arg = arg;
}

void loop_defer_cancel(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	size_t kept = 0;

	(void)loop;
	for (size_t i = 0; i < fake_deferred_count; i++)
		if (fake_deferred[i].callback != callback || fake_deferred[i].arg != arg)
			fake_deferred[kept++] = fake_deferred[i];
	fake_deferred_count = kept;
}

// Lets time pass; callbacks run at their times.
static inline void fake_advance(uint64_t ms)
{
	uint64_t end = fake_loop.now + ms;

	for (;;) {
		struct timer *first = NULL;

		if (fake_deferred_count) {
			void (*callback)(void *) = fake_deferred[0].callback;
			void *arg = fake_deferred[0].arg;

			fake_deferred_count--;
			memmove(fake_deferred, fake_deferred + 1, fake_deferred_count * sizeof(*fake_deferred));
			callback(arg);
			continue;
		}
		for (size_t i = 0; i < ARRAY_SIZE(fake_timers); i++)
			if (fake_timers[i] && fake_timers[i]->due <= end &&
			    (!first || fake_timers[i]->due < first->due))
				first = fake_timers[i];
		if (!first)
			break;
		if (first->due > fake_loop.now)
			fake_loop.now = first->due;
		timer_stop(first);
		first->callback(first->arg);
	}
	fake_loop.now = end;
}

static inline size_t fake_timers_running(void)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fake_timers); i++)
		n += fake_timers[i] != NULL;
	return n;
}
