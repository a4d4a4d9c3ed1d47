#include "rate_limit.h"
#include "common/util.h"

#define SLOTS 2048 // of the hash; a power of two
#define NONE UINT16_MAX

struct bucket {
	uint64_t hash; // of address and path under a random key: stands for them
	uint64_t last_ms;
	double tokens;
	uint16_t slot_next;    // in its hash slot
	uint16_t older, newer; // by last use
};

struct rate_limiter {
	uint64_t seed;
	unsigned steady, burst;
	uint16_t used, oldest, newest;
	uint16_t slots[SLOTS];
	struct bucket buckets[RATE_LIMIT_BUCKETS];
};

static uint64_t hash(uint64_t seed, uint32_t address, const char *path);
static struct bucket *find(struct rate_limiter *limiter, uint64_t key);
static uint16_t make(struct rate_limiter *limiter, uint64_t key, uint64_t now_ms);
static void use(struct rate_limiter *limiter, uint16_t i);
static void unlink_use(struct rate_limiter *limiter, uint16_t i);

struct rate_limiter *rate_limiter_new(unsigned steady, unsigned burst)
{
	struct rate_limiter *limiter = xcalloc(1, sizeof(*limiter));
	random_bytes(&limiter->seed, sizeof(limiter->seed));
	rate_limiter_set(limiter, steady, burst);
	return limiter;
}

struct rate_limiter *rate_limiter_free(struct rate_limiter *limiter)
{
	free(limiter);
	return NULL;
}

void rate_limiter_set(struct rate_limiter *limiter, unsigned steady, unsigned burst)
{
	if (limiter->steady == steady && limiter->burst == burst)
		return;
	limiter->steady = steady;
	limiter->burst = burst;
	limiter->used = 0;
	limiter->oldest = limiter->newest = NONE;
	for (unsigned i = 0; i < SLOTS; i++)
		limiter->slots[i] = NONE;
}

unsigned rate_limiter_steady(const struct rate_limiter *limiter)
{
	return limiter->steady;
}

bool rate_limiter_allow(struct rate_limiter *limiter, uint32_t address, const char *path, uint64_t now_ms)
{
	uint64_t key = hash(limiter->seed, address, path);
	struct bucket *b = find(limiter, key);
	if (b)
		unlink_use(limiter, (uint16_t)(b - limiter->buckets));
	else
		b = &limiter->buckets[make(limiter, key, now_ms)];
	use(limiter, (uint16_t)(b - limiter->buckets));
	b->tokens += (double)(now_ms - b->last_ms) * limiter->steady / 1000.0;
	if (b->tokens > limiter->burst)
		b->tokens = limiter->burst;
	b->last_ms = now_ms;
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}

static uint64_t hash(uint64_t seed, uint32_t address, const char *path)
{
	uint64_t h = (seed ^ address) * 0x9e3779b97f4a7c15;
	for (; *path; path++) {
		h = (h ^ (unsigned char)*path) * 0x100000001b3;
		h ^= h >> 29;
	}
	h *= 0xbf58476d1ce4e5b9;
	return h ^ (h >> 32);
}

static struct bucket *find(struct rate_limiter *limiter, uint64_t key)
{
	for (uint16_t i = limiter->slots[key & (SLOTS - 1)]; i != NONE; i = limiter->buckets[i].slot_next)
		if (limiter->buckets[i].hash == key)
			return &limiter->buckets[i];
	return NULL;
}

static uint16_t make(struct rate_limiter *limiter, uint64_t key, uint64_t now_ms)
{
	uint16_t i;
	if (limiter->used < RATE_LIMIT_BUCKETS) {
		i = limiter->used++;
	} else {
		i = limiter->oldest;
		unlink_use(limiter, i);
		uint16_t *link = &limiter->slots[limiter->buckets[i].hash & (SLOTS - 1)];
		while (*link != i)
			link = &limiter->buckets[*link].slot_next;
		*link = limiter->buckets[i].slot_next;
	}
	uint16_t *slot = &limiter->slots[key & (SLOTS - 1)];
	limiter->buckets[i] =
		(struct bucket){.hash = key, .last_ms = now_ms, .tokens = limiter->burst, .slot_next = *slot};
	*slot = i;
	return i;
}

static void use(struct rate_limiter *limiter, uint16_t i)
{
	struct bucket *b = &limiter->buckets[i];
	b->newer = NONE;
	b->older = limiter->newest;
	if (limiter->newest != NONE)
		limiter->buckets[limiter->newest].newer = i;
	else
		limiter->oldest = i;
	limiter->newest = i;
}

static void unlink_use(struct rate_limiter *limiter, uint16_t i)
{
	struct bucket *b = &limiter->buckets[i];
	if (b->older != NONE)
		limiter->buckets[b->older].newer = b->newer;
	else
		limiter->oldest = b->newer;
	if (b->newer != NONE)
		limiter->buckets[b->newer].older = b->older;
	else
		limiter->newest = b->older;
}
