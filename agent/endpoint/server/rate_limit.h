// Token buckets for each pair of remote address and path (credentials-endpoint.md §8), a fixed number of
// them: the least recently used one makes room. The caller folds all unknown paths into one.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RATE_LIMIT_BUCKETS 1024
#define RATE_LIMIT_STEADY 40 // requests/s and burst until ecsd says otherwise (§8)
#define RATE_LIMIT_BURST 60

struct rate_limiter;
struct rate_limiter *rate_limiter_new(unsigned steady, unsigned burst);
struct rate_limiter *rate_limiter_free(struct rate_limiter *limiter);
void rate_limiter_set(struct rate_limiter *limiter, unsigned steady, unsigned burst); // all buckets are full again
unsigned rate_limiter_steady(const struct rate_limiter *limiter);
// Takes one token; false: there is none. address: IPv4, any byte order; now_ms never goes back.
bool rate_limiter_allow(struct rate_limiter *limiter, uint32_t address, const char *path, uint64_t now_ms);
