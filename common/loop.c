#include "common/loop.h"

#include "common/util.h"

#include <errno.h>
#include <event2/event.h>
#include <math.h>
#include <time.h>

// The longest delay handed to libevent; a timer that is due later is armed again when it comes early.
#define DELAY_MAX_MS ((double)24 * 60 * 60 * 1000)

struct deferred {
	struct deferred *next;
	void (*callback)(void *arg);
	void *arg;
};

// A queue of deferred calls; tail is &head when it is empty.
struct queue {
	struct deferred *head, **tail;
};

struct loop {
	struct event_base *base;
	double scale;
	double start_ms; // real time of loop_new
	bool stopped;
	struct event *wake;
	void (*turn_end)(void *arg);
	void *turn_end_arg;
	// Calls of this turn are moved to `running`, so that what they defer waits for the next one.
	struct queue waiting, running;
};

struct watch {
	struct loop *loop;
	struct event *event;
	bool is_signal;
	void (*callback)(int fd, unsigned events, void *arg);
	void *arg;
};

static double real_ms(void);
static void on_wake(evutil_socket_t fd, short events, void *arg);
static bool run_deferred(struct loop *loop);
static void queue_clear(struct queue *queue);

struct loop *loop_new(double scale, struct error *err)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	loop->scale = scale > 0 ? scale : 1;
	loop->start_ms = real_ms();
	loop->waiting.tail = &loop->waiting.head;
	loop->running.tail = &loop->running.head;
	loop->base = event_base_new();
	loop->wake = loop->base ? event_new(loop->base, -1, 0, on_wake, loop) : NULL;
	if (!loop->wake) {
		error_set(err, errno ? errno : ENOMEM, "cannot create the event loop");
		return loop_free(loop);
	}
	return loop;
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	queue_clear(&loop->waiting);
	queue_clear(&loop->running);
	if (loop->wake)
		event_free(loop->wake);
	if (loop->base)
		event_base_free(loop->base);
	free(loop);
	return NULL;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

uint64_t loop_now(const struct loop *loop)
{
	return 1 + (uint64_t)((real_ms() - loop->start_ms) * loop->scale);
}

double loop_scale(const struct loop *loop)
{
	return loop->scale;
}

void loop_set_turn_end(struct loop *loop, void (*hook)(void *arg), void *arg)
{
	loop->turn_end = hook;
	loop->turn_end_arg = arg;
}

void loop_wake(struct loop *loop)
{
	// An event made active by hand needs no descriptor and no system call; it ends a wait or prevents the next.
	event_active(loop->wake, EV_TIMEOUT, 0);
}

int loop_run(struct loop *loop)
{
	while (!loop->stopped) {
		bool ready = run_deferred(loop) || loop->waiting.head || loop->stopped;

		// Whatever was deferred may have left work for the hook: then this turn must not wait.
		if (event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (ready ? EVLOOP_NONBLOCK : 0)) <
		    0)
			return -EIO;
		if (loop->turn_end)
			loop->turn_end(loop->turn_end_arg);
	}
	loop->stopped = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
	loop_wake(loop);
}

static double real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
	// Being active was all it was for.
	(void)fd, (void)events, (void)arg;
}

// --- timers ---

static void arm(struct timer *timer)
{
	uint64_t now = loop_now(timer->loop);
	double delay = timer->due > now ? ceil((double)(timer->due - now) / timer->loop->scale) : 0;
	long ms = (long)(delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS);
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(timer->event, &tv);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
	struct timer *timer = arg;

	(void)fd, (void)events;
	if (timer->due == 0)
		return;
	// libevent reckons from the start of the turn and with a coarse clock, so it can be some milliseconds early.
	if (loop_now(timer->loop) < timer->due) {
		arm(timer);
		return;
	}
	timer->due = 0;
	timer->callback(timer->arg); // may free the timer
}

void timer_init(struct timer *timer, struct loop *loop, void (*callback)(void *arg), void *arg)
{
	*timer = (struct timer){.loop = loop, .callback = callback, .arg = arg};
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	if (!timer->event)
		timer->event = event_new(timer->loop->base, -1, 0, on_timer, timer);
	if (!timer->event) {
		perror("event_new");
		abort();
	}
	if (__builtin_add_overflow(loop_now(timer->loop), delay_ms, &timer->due))
		timer->due = UINT64_MAX;
	arm(timer);
}

void timer_stop(struct timer *timer)
{
	timer->due = 0;
	if (timer->event)
		event_del(timer->event);
}

bool timer_running(const struct timer *timer)
{
	return timer->due != 0;
}

void timer_done(struct timer *timer)
{
	timer->due = 0;
	if (timer->event)
		event_free(timer->event);
	timer->event = NULL;
}

// --- descriptors and signals ---

static void on_event(evutil_socket_t fd, short events, void *arg)
{
	struct watch *watch = arg;
	unsigned ready = (events & (EV_READ | EV_SIGNAL) ? LOOP_READ : 0u) | (events & EV_WRITE ? LOOP_WRITE : 0u);

	watch->callback((int)fd, ready, watch->arg); // may free the watch
}

static struct watch *watch_create(struct loop *loop, int fd, short events, void (*callback)(int, unsigned, void *),
				  void *arg)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));

	*watch = (struct watch){.loop = loop, .is_signal = events & EV_SIGNAL, .callback = callback, .arg = arg};
	watch->event = event_new(loop->base, fd, events, on_event, watch);
	if (!watch->event) {
		perror("event_new");
		abort();
	}
	return watch;
}

static short event_flags(unsigned events)
{
	return (short)(EV_PERSIST | (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0) |
		       (events & LOOP_EDGE ? EV_ET : 0));
}

struct watch *watch_new(struct loop *loop, int fd, unsigned events, void (*callback)(int, unsigned, void *), void *arg)
{
	struct watch *watch = watch_create(loop, fd, event_flags(events), callback, arg);

	if (events)
		event_add(watch->event, NULL);
	return watch;
}

struct watch *signal_watch_new(struct loop *loop, int signal, void (*callback)(int, unsigned, void *), void *arg)
{
	struct watch *watch = watch_create(loop, signal, EV_SIGNAL | EV_PERSIST, callback, arg);

	event_add(watch->event, NULL);
	return watch;
}

void watch_set(struct watch *watch, unsigned events)
{
	short flags = event_flags(events);

	// Unchanged is the common case, and costs no system call.
	if (!watch->is_signal && events && event_get_events(watch->event) == flags &&
	    event_pending(watch->event, EV_READ | EV_WRITE, NULL))
		return;
	event_del(watch->event);
	if (!events)
		return;
	if (!watch->is_signal)
		event_assign(watch->event, watch->loop->base, event_get_fd(watch->event), flags, on_event, watch);
	event_add(watch->event, NULL);
}

struct watch *watch_free(struct watch *watch)
{
	if (!watch)
		return NULL;
	event_free(watch->event);
	free(watch);
	return NULL;
}

// --- deferred calls ---

static struct deferred *queue_pop(struct queue *queue)
{
	struct deferred *first = queue->head;

	if (first) {
		queue->head = first->next;
		if (!queue->head)
			queue->tail = &queue->head;
	}
	return first;
}

static void queue_clear(struct queue *queue)
{
	struct deferred *call;

	while ((call = queue_pop(queue)))
		free(call);
}

static void queue_remove(struct queue *queue, void (*callback)(void *arg), void *arg)
{
	struct deferred **at = &queue->head;

	while (*at) {
		struct deferred *call = *at;

		if (call->callback == callback && call->arg == arg) {
			*at = call->next;
			free(call);
		} else {
			at = &call->next;
		}
	}
	queue->tail = at;
}

static bool run_deferred(struct loop *loop)
{
	struct deferred *call;

	if (!loop->waiting.head)
		return false;
	loop->running.head = loop->waiting.head;
	loop->running.tail = loop->waiting.tail;
	loop->waiting.head = NULL;
	loop->waiting.tail = &loop->waiting.head;
	while ((call = queue_pop(&loop->running))) {
		struct deferred copy = *call;

		free(call);
		copy.callback(copy.arg);
	}
	return true;
}

void loop_defer(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	struct deferred *call = xcalloc(1, sizeof(*call));

	call->callback = callback;
	call->arg = arg;
	*loop->waiting.tail = call;
	loop->waiting.tail = &call->next;
	// It may be called from outside a turn, while nothing else is going to end the wait.
	loop_wake(loop);
}

void loop_defer_cancel(struct loop *loop, void (*callback)(void *arg), void *arg)
{
	queue_remove(&loop->waiting, callback, arg);
	queue_remove(&loop->running, callback, arg);
}
