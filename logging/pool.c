#include "logging/pool.h"

#include "common/util.h"

TAILQ_HEAD(users, pool_user);

struct pool {
	struct loop *loop;
	size_t bytes, used;
	struct users holding; // the one asked longest ago is first
	struct users waiting;
};

static void serve(void *arg);
static void hold(struct pool *pool, struct pool_user *user, size_t bytes);
static bool fits(const struct pool *pool, size_t bytes);

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
	if (TAILQ_EMPTY(&pool->waiting) && fits(pool, bytes)) {
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

static bool fits(const struct pool *pool, size_t bytes)
{
	return pool->used == 0 || (bytes <= pool->bytes && pool->used <= pool->bytes - bytes);
}

static void hold(struct pool *pool, struct pool_user *user, size_t bytes)
{
	if (user->held == 0 && bytes > 0)
		TAILQ_INSERT_TAIL(&pool->holding, user, holding);
	user->held += bytes;
	pool->used += bytes;
}

// Asks those who hold, each once, until the first who waits has room.
static void reclaim(struct pool *pool, size_t bytes)
{
	struct pool_user *last = TAILQ_LAST(&pool->holding, users), *user;

	while (!fits(pool, bytes) && (user = TAILQ_FIRST(&pool->holding))) {
		bool done = user == last;

		TAILQ_REMOVE(&pool->holding, user, holding);
		TAILQ_INSERT_TAIL(&pool->holding, user, holding);
		if (user->reclaim)
			user->reclaim(user->arg);
		if (done)
			break;
	}
}

static void serve(void *arg)
{
	struct pool *pool = arg;
	struct pool_user *user;

	while ((user = TAILQ_FIRST(&pool->waiting))) {
		size_t bytes = user->wanted;

		if (!fits(pool, bytes))
			reclaim(pool, bytes);
		if (!fits(pool, bytes) || TAILQ_FIRST(&pool->waiting) != user)
			break;
		TAILQ_REMOVE(&pool->waiting, user, waiting);
		user->wanted = 0;
		hold(pool, user, bytes);
		user->granted(user->arg);
	}
}
