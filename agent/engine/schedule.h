// schedule(host): who may act now. Pure. Grants slots for Docker calls and dynamic host ports, first in,
// first out over tasks in the order of their acceptance.
//
// Before any slot a task needs its share of the host (CPU, memory, static host ports; task-engine.md §9): schedule_host()
// admits tasks in the order of their acceptance; the first that does not fit holds up all behind it.
//
// An operation that has been under way longer than SCHEDULE_STUCK_MS no longer counts against its
// bound (up to a hard cap), so that stuck calls never hold up healthy ones.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SCHEDULE_STUCK_MS = 5000, // design
	SCHEDULE_HARD_CAP = 8,    // times the bound
};

enum schedule_kind { SCHEDULE_PULL, SCHEDULE_LAUNCH, SCHEDULE_INSPECT, SCHEDULE_FREE, SCHEDULE_KINDS };

// How many operations of a kind may be under way. Creates and starts are one kind, so that the start of an older task
// goes before the create of a younger one; their number is the best concurrency for a burst of launches on two cores
// (docs/PERFORMANCE.md). Pulls share the network. Images and containers are inspected.
struct schedule_limits {
	unsigned slots[SCHEDULE_KINDS];
};
extern const struct schedule_limits schedule_default_limits;

struct schedule_ask {
	enum schedule_kind kind;
	bool in_flight;  // under way already: occupies a slot
	uint64_t age_ms; // of an operation under way
	bool granted;    // out, for asks not under way
};

// asks: first those of the oldest task. Sets granted.
void schedule(struct schedule_ask *asks, size_t count, const struct schedule_limits *limits);

// Dynamic host ports: the next port after *last (wrapping) in [first, last_port] that is not marked in the bitmap of
// 65536 bits; 0 if there is none. The bitmap holds what tasks use and what the kernel refused.
uint16_t schedule_port(const uint8_t *used, uint16_t first, uint16_t last_port, uint16_t last_assigned);
static inline bool port_used(const uint8_t *used, uint16_t port)
{
	return used[port >> 3] & (1u << (port & 7));
}
static inline void port_mark(uint8_t *used, uint16_t port)
{
	used[port >> 3] |= (uint8_t)(1u << (port & 7));
}

// --- host resources ---

struct host_port {
	uint16_t port;
	bool udp;
};
struct host_need {
	int64_t cpu, memory_mib; // CPU units
	struct host_port *ports; // static host ports; those ecsd picks are not accounted
	size_t port_count;
};
struct host_totals {
	int64_t cpu, memory_mib;      // as registered: reserved memory is taken off
	uint8_t tcp[8192], udp[8192]; // bitmaps of reserved ports: no task may have them
};
enum host_state {
	HOST_NONE,  // not subject to it: nothing needed, FARGATE, stopped
	HOST_WAITS, // in the queue
	HOST_HOLDS, // has its share until it is known STOPPED
	HOST_NEVER, // out: even an empty host would not do
};
struct host_ask {
	const struct host_need *need;
	enum host_state state;
};
// asks: those of the oldest task first. Turns HOST_WAITS into HOST_HOLDS or HOST_NEVER, or leaves it.
void schedule_host(const struct host_totals *totals, struct host_ask *asks, size_t count);
