// schedule(host): who may act now. Pure. Grants pull and create slots and dynamic host ports, first in,
// first out over tasks in the order of their acceptance.
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

enum schedule_kind { SCHEDULE_PULL, SCHEDULE_CREATE, SCHEDULE_START, SCHEDULE_INSPECT, SCHEDULE_FREE, SCHEDULE_KINDS };

// How many operations of a kind may be under way: measured as the best concurrency for a burst of launches on two
// cores (docs/ARCHITECTURE.md); pulls share the network.
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
