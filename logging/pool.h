// The memory that logs pass through on their way out: one pool for all containers and destinations, so that a backlog
// of any size and any number of containers needs no more (reassembly, batches, requests under way).
//
// A user asks for bytes and either has them at once or is called when its turn comes, first come, first served. What is
// held while nothing goes on (half a line) can be asked back when others wait: its owner then frees it and reads it from
// the spool again later.
#pragma once

#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define POOL_BYTES ((size_t)16 << 20)

struct pool;
struct pool *pool_new(struct loop *loop, size_t bytes);
struct pool *pool_free(struct pool *pool); // no user may hold or wait; returns NULL
size_t pool_used(const struct pool *pool);

// Embedded in its owner; zero-initialise and set the callbacks.
struct pool_user {
	void (*granted)(void *arg); // what pool_take refused is held now; in a turn of its own
	// Others wait: give back all that is not in the middle of something (pool_give) at once. NULL: never asked. One that
	// waits for more is asked as well, or two could wait for each other.
	void (*reclaim)(void *arg);
	void *arg;
	size_t held, wanted; // the pool's, as what follows
	uint64_t asked;
	TAILQ_ENTRY(pool_user) holding, waiting;
};
// Takes bytes more. False: it waits for them, with `granted` as the answer (one wait at a time). More than the whole pool is
// granted when nobody else holds any.
bool pool_take(struct pool *pool, struct pool_user *user, size_t bytes);
void pool_give(struct pool *pool, struct pool_user *user, size_t bytes); // back, at most what is held
void pool_leave(struct pool *pool, struct pool_user *user);              // gives all back and waits for nothing
