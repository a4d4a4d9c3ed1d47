#include "logging/pool.h"

#include "common/util.h"

TAILQ_HEAD(users, pool_user);

struct pool {
	struct loop *loop;
	size_t bytes, used;
	uint64_t round;       // of asking back
	struct users holding; // the one asked longest ago is first
	struct users waiting;
};

static void serve(void *arg);
static void hold(struct pool *pool, struct pool_user *user, size_t bytes);
static bool fits(const struct pool *pool, const struct pool_user *user, size_t bytes);

struct pool *pool_new(struct loop *loop, size_t bytes)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));

	pool->loop = loop;
	pool->bytes = bytes;
	TAILQ_INIT(&pool->holding);
	TAILQ_INIT(&pool->waiting);
	return pool;
}

struct pool *pool_free(struct pool *pool)
{
	if (pool)
		loop_defer_cancel(pool->loop, serve, pool);
	free(pool);
	return NULL;
}

size_t pool_used(const struct pool *pool)
{
	return pool->used;
}

bool pool_take(struct pool *pool, struct pool_user *user, size_t bytes)
{
	if (bytes == 0)
		return true;
	if (TAILQ_EMPTY(&pool->waiting) && fits(pool, user, bytes)) {
		hold(pool, user, bytes);
		return true;
	}
	user->wanted = bytes;
	TAILQ_INSERT_TAIL(&pool->waiting, user, waiting);
	loop_defer_cancel(pool->loop, serve, pool);
	loop_defer(pool->loop, serve, pool);
	return false;
}

void pool_give(struct pool *pool, struct pool_user *user, size_t bytes)
{
	if (bytes > user->held)
		bytes = user->held;
	if (bytes == 0)
		return;
	user->held -= bytes;
	pool->used -= bytes;
	if (user->held == 0)
		TAILQ_REMOVE(&pool->holding, user, holding);
	if (!TAILQ_EMPTY(&pool->waiting)) {
		loop_defer_cancel(pool->loop, serve, pool);
		loop_defer(pool->loop, serve, pool);
	}
}

void pool_leave(struct pool *pool, struct pool_user *user)
{
	if (user->wanted) {
		TAILQ_REMOVE(&pool->waiting, user, waiting);
		user->wanted = 0;
	}
	pool_give(pool, user, user->held);
}

static bool fits(const struct pool *pool, const struct pool_user *user, size_t bytes)
{
	return pool->used == user->held || (bytes <= pool->bytes && pool->used <= pool->bytes - bytes);
}

static void hold(struct pool *pool, struct pool_user *user, size_t bytes)
{
	if (user->held == 0 && bytes > 0)
		TAILQ_INSERT_TAIL(&pool->holding, user, holding);
	user->held += bytes;
	pool->used += bytes;
}

// Asks those who hold, each once, until the one who waits has room. Any of them may let go when another one is asked.
static void reclaim(struct pool *pool, const struct pool_user *waiting)
{
	struct pool_user *user;

	pool->round++;
	while (TAILQ_FIRST(&pool->waiting) == waiting && !fits(pool, waiting, waiting->wanted) &&
	       (user = TAILQ_FIRST(&pool->holding)) && user->asked != pool->round) {
		user->asked = pool->round;
		TAILQ_REMOVE(&pool->holding, user, holding);
		TAILQ_INSERT_TAIL(&pool->holding, user, holding);
		if (user->reclaim)
			user->reclaim(user->arg);
	}
}

static void serve(void *arg)
{
	struct pool *pool = arg;
	struct pool_user *user;

	while ((user = TAILQ_FIRST(&pool->waiting))) {
		size_t bytes = user->wanted;

		if (!fits(pool, user, bytes))
			reclaim(pool, user);
		if (TAILQ_FIRST(&pool->waiting) != user)
			continue; // it has left
		if (!fits(pool, user, bytes))
			break;
		TAILQ_REMOVE(&pool->waiting, user, waiting);
		user->wanted = 0;
		hold(pool, user, bytes);
		user->granted(user->arg);
	}
}
