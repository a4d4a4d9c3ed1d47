// In place of common/loop.c for code that watches no descriptor: a clock that goes on only when nothing else is left to do,
// so that retries and backoffs take no time and each input runs as it did before.
#pragma once

#include "common/loop.h"
#include "fuzz.h"

struct loop {
	uint64_t now;
	struct timer *timers[64];
	struct deferred {
		void (*callback)(void *arg);
		void *arg;
	} deferred[64];
	size_t timer_count, deferred_count;
};

static inline struct loop *fuzz_loop(void)
{
	static struct loop loop;
	CHECK(loop.timer_count == 0 && loop.deferred_count == 0); // the input before has left nothing
	loop.now = 1;
	return &loop;
}

// A deferred call or, if there is none, the first timer. False: nothing is left to do.
static inline bool fuzz_turn(struct loop *loop)
{
	struct timer *first = NULL;
	if (loop->deferred_count) {
		struct deferred call = loop->deferred[0];
		memmove(loop->deferred, loop->deferred + 1, --loop->deferred_count * sizeof(call));
		call.callback(call.arg);
		return true;
	}
	for (size_t i = 0; i < loop->timer_count; i++)
		if (!first || loop->timers[i]->due < first->due)
			first = loop->timers[i];
	if (!first)
		return false;
	if (first->due > loop->now)
		loop->now = first->due;
	timer_stop(first);
	first->callback(first->arg);
	return true;
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->now;
}
double loop_scale(const struct loop *loop)
{
	(void)loop;
	return 1;
}
struct event_base *loop_base(struct loop *loop)
{
	(void)loop;
	return NULL;
}
void loop_wake(struct loop *loop)
{
	(void)loop;
}

void timer_init(struct timer *timer, struct loop *loop, void (*callback)(void *arg), void *arg)
{
	*timer = (struct timer){.loop = loop, .callback = callback, .arg = arg};
}
void timer_stop(struct timer *timer)
{
	struct loop *loop = timer->loop;
	for (size_t i = 0; timer->due && i < loop->timer_count; i++) {
		if (loop->timers[i] == timer) {
			loop->timers[i] = loop->timers[--loop->timer_count];
			timer->due = 0;
		}
	}
}
void timer_start(struct timer *timer, uint64_t delay_ms)
{
	struct loop *loop = timer->loop;
	timer_stop(timer);
	CHECK(loop->timer_count < ARRAY_SIZE(loop->timers));
	timer->due = loop->now + delay_ms;
	loop->timers[loop->timer_count++] = timer;
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
	CHECK(loop->deferred_count < ARRAY_SIZE(loop->deferred));
	loop->deferred[loop->deferred_count++] = (struct deferred){callback, arg};
}
void loop_defer_cancel(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	size_t kept = 0;
	for (size_t i = 0; i < loop->deferred_count; i++)
		if (loop->deferred[i].callback != callback || loop->deferred[i].arg != arg)
			loop->deferred[kept++] = loop->deferred[i];
	loop->deferred_count = kept;
}

// For the linker alone.
struct watch *watch_new(struct loop *loop, int fd, unsigned events,
			void (*callback)(int fd, unsigned events, void *arg), void *arg)
{
	(void)loop, (void)fd, (void)events, (void)callback, (void)arg;
	abort();
}
void watch_set(struct watch *watch, unsigned events)
{
	(void)watch, (void)events;
}
struct watch *watch_free(struct watch *watch)
{
	(void)watch;
	return NULL;
}
