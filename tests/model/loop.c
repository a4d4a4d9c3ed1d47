// common/loop.h on a clock that only the model moves. Timers are looked for one by one: there are few.
#include "common/loop.h"

#include "common/util.h"
#include "world.h"

struct loop {
	void (*turn_end)(void *arg);
	void *turn_end_arg;
};
struct deferred {
	struct deferred *next;
	void (*callback)(void *arg);
	void *arg;
};

static struct loop the_loop;
static struct timer **timers;
static size_t timer_count, timer_capacity;
static struct deferred *deferred;

struct loop *model_loop(void)
{
	return &the_loop;
}

void model_loop_reset(void)
{
	while (deferred) {
		struct deferred *next = deferred->next;
		free(deferred);
		deferred = next;
	}
	if (timer_count > 0)
		violated("NOTHING_LEFT", "%zu timers", timer_count);
	timer_count = 0;
	free(TAKE(timers));
	timer_capacity = 0;
}

uint64_t loop_now(const struct loop *loop)
{
	(void)loop;
	return world.now;
}

double loop_scale(const struct loop *loop)
{
	(void)loop;
	return 1;
}

void loop_set_turn_end(struct loop *loop, void (*hook)(void *arg), void *arg)
{
	loop->turn_end = hook;
	loop->turn_end_arg = arg;
}

void loop_wake(struct loop *loop)
{
	(void)loop;
	world.woken = true;
}

void timer_init(struct timer *timer, struct loop *loop, void (*callback)(void *arg), void *arg)
{
	*timer = (struct timer){.loop = loop, .callback = callback, .arg = arg};
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	timer_stop(timer);
	if (__builtin_add_overflow(world.now, delay_ms, &timer->due))
		timer->due = UINT64_MAX;
	if (timer_count == timer_capacity) {
		timer_capacity = timer_capacity ? timer_capacity * 2 : 16;
		timers = xreallocarray(timers, timer_capacity, sizeof(struct timer *));
	}
	timers[timer_count++] = timer;
}

void timer_stop(struct timer *timer)
{
	for (size_t i = 0; timer->due && i < timer_count; i++) {
		if (timers[i] == timer) {
			memmove(&timers[i], &timers[i + 1], (timer_count - i - 1) * sizeof(struct timer *));
			timer_count--;
			break;
		}
	}
	timer->due = 0;
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
	struct deferred *call = xcalloc(1, sizeof(*call));
	*call = (struct deferred){.callback = callback, .arg = arg};
	struct deferred **end = &deferred;
	while (*end)
		end = &(*end)->next;
	*end = call;
}

void loop_defer_cancel(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	(void)loop;
	for (struct deferred **at = &deferred; *at;) {
		struct deferred *call = *at;
		if (call->callback == callback && call->arg == arg) {
			*at = call->next;
			free(call);
		} else {
			at = &call->next;
		}
	}
}

uint64_t model_loop_next(void)
{
	uint64_t next = UINT64_MAX;
	for (size_t i = 0; i < timer_count; i++) {
		if (timers[i]->due < next)
			next = timers[i]->due;
	}
	return next;
}

static struct timer *due(void)
{
	struct timer *first = NULL;
	for (size_t i = 0; i < timer_count; i++) {
		if (timers[i]->due <= world.now && (!first || timers[i]->due < first->due))
			first = timers[i];
	}
	return first;
}

// What is deferred or started meanwhile waits for the next turn, but for timers that are due at once (as in libevent).
bool model_loop_run(void)
{
	bool any = world.woken;
	world.woken = false;
	struct deferred *calls = TAKE(deferred);
	while (calls) {
		struct deferred *call = calls;
		calls = call->next;
		call->callback(call->arg);
		free(call);
		any = true;
	}
	struct timer *timer;
	for (int i = 0; i < 1000 && (timer = due()); i++) {
		timer_stop(timer);
		timer->callback(timer->arg); // may free it
		any = true;
	}
	if (the_loop.turn_end)
		the_loop.turn_end(the_loop.turn_end_arg);
	return any;
}

// A process id is never told, so no process is watched.
struct watch *watch_new(struct loop *loop, int fd, unsigned events, void (*callback)(int, unsigned, void *), void *arg)
{
	(void)loop, (void)fd, (void)events, (void)callback, (void)arg;
	return NULL;
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
