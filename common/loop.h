// The event loop: libevent underneath, one thread, one loop a process.
//
// Time: loop_now() is a monotonic clock in milliseconds that tests can make run faster
// (ECSD_CLOCK_SCALE=60: an hour passes in a minute). Every timer, deadline and backoff of the
// project goes through it, so that scaling changes all of them alike. Wall-clock time stamps
// (util.h wall_ms) are never scaled.
//
// One pass ("turn") of the loop runs all callbacks that are ready, then the turn-end hook once. The
// hook is where the store commits what the turn has changed and where effects start (docs/ARCHITECTURE.md).
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct loop;

// scale: 1 for real time. NULL and err on failure.
struct loop *loop_new(double scale, struct error *err);
struct loop *loop_free(struct loop *loop); // returns NULL; NULL is fine
struct event_base *loop_base(struct loop *loop);
uint64_t loop_now(const struct loop *loop); // ms, scaled, starts at 1 or more
double loop_scale(const struct loop *loop);

// Called once at the end of each turn. Only one hook.
void loop_set_turn_end(struct loop *loop, void (*hook)(void *arg), void *arg);
// Makes sure that a turn ends soon even if nothing else happens (the hook has new work).
void loop_wake(struct loop *loop);
// Runs until loop_stop. Returns 0 or a negative errno if libevent fails.
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

// --- timers: embedded in their owner, re-armed freely, started any number of times ---
struct timer {
	struct loop *loop;
	struct event *event; // NULL until first started
	void (*callback)(void *arg);
	void *arg;
	uint64_t due; // loop time, 0 when not running
};
void timer_init(struct timer *timer, struct loop *loop, void (*callback)(void *arg), void *arg);
void timer_start(struct timer *timer, uint64_t delay_ms); // restarts a running timer
void timer_stop(struct timer *timer);
bool timer_running(const struct timer *timer);
void timer_done(struct timer *timer); // stops it and frees what it holds; the struct may then go

// --- descriptors and signals ---
// LOOP_EDGE: called when more comes, not as long as something is there (for readers that leave bytes where they are).
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_EDGE = 4 };
struct watch;
struct watch *watch_new(struct loop *loop, int fd, unsigned events,
			void (*callback)(int fd, unsigned events, void *arg), void *arg);
void watch_set(struct watch *watch, unsigned events); // 0 pauses it
struct watch *watch_free(struct watch *watch);        // does not close the descriptor; returns NULL
struct watch *signal_watch_new(struct loop *loop, int signal, void (*callback)(int signal, unsigned events, void *arg),
			       void *arg);

// --- deferred call: runs in the next turn; cancelled by defer_cancel with the same argument ---
void loop_defer(struct loop *loop, void (*callback)(void *arg), void *arg);
void loop_defer_cancel(struct loop *loop, void (*callback)(void *arg), void *arg);
