// Exponential backoff with the exact jitter rule of ECS clients (control-plane.md §1.1): the delay
// is the current value plus a random share of it in [0, jitter); then current = min(max, current × multiple).
// Jitter is only ever added, so the real maximum is max × (1 + jitter).
#pragma once

#include <stdint.h>

struct backoff {
	double min_ms, max_ms, multiple, jitter;
	double current_ms; // 0: not used yet, starts at min_ms
};

#define BACKOFF(min, max, mult, jit) \
	((struct backoff){.min_ms = (min), .max_ms = (max), .multiple = (mult), .jitter = (jit)})

// random: uniform in [0, 1), drawn by the caller so that tests and pure functions stay deterministic.
uint64_t backoff_next_with(struct backoff *backoff, double random);
uint64_t backoff_next(struct backoff *backoff); // draws the random number itself; milliseconds
void backoff_reset(struct backoff *backoff);
