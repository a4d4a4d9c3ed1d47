#include "common/backoff.h"

#include "common/util.h"

uint64_t backoff_next_with(struct backoff *backoff, double random)
{
	double delay = backoff->current_ms > 0 ? backoff->current_ms : backoff->min_ms;
	double next = delay * backoff->multiple;

	backoff->current_ms = next < backoff->max_ms ? next : backoff->max_ms;
	return (uint64_t)(delay + random * delay * backoff->jitter);
}

uint64_t backoff_next(struct backoff *backoff)
{
	return backoff_next_with(backoff, random_unit());
}

void backoff_reset(struct backoff *backoff)
{
	backoff->current_ms = backoff->min_ms;
}
