#include "engine/store_wal.h"

#include <stdint.h>
#include <string.h>

// https://www.sqlite.org/fileformat2.html#walformat: all numbers are big-endian.
enum { HEADER = 32, FRAME_HEADER = 24, PAGE_SIZE_AT = 8, SALT_AT = 16, HEADER_SUM_AT = 24 };
enum { COMMIT_AT = 4, FRAME_SALT_AT = 8, FRAME_SUM_AT = 16, SALT_LEN = 8 };
#define MAGIC UINT32_C(0x377f0682) // the lowest bit: sums are of big-endian words

struct sum {
	uint32_t a, b;
};

static uint32_t big(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t little(const unsigned char *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void add(struct sum *sum, bool big_endian, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		sum->a += (big_endian ? big(p + i) : little(p + i)) + sum->b;
		sum->b += (big_endian ? big(p + i + 4) : little(p + i + 4)) + sum->a;
	}
}

static struct sum stored_sum(const unsigned char *p)
{
	return (struct sum){big(p), big(p + 4)};
}

static bool same(struct sum x, struct sum y)
{
	return x.a == y.a && x.b == y.b;
}

// Whether the frame continues a log whose sum is `before`.
static bool fits(const unsigned char *log, const unsigned char *frame, size_t page_size, struct sum before)
{
	bool big_endian = big(log) & 1;
	add(&before, big_endian, frame, FRAME_SALT_AT);
	add(&before, big_endian, frame + FRAME_HEADER, page_size);
	return memcmp(frame + FRAME_SALT_AT, log + SALT_AT, SALT_LEN) == 0 &&
	       same(before, stored_sum(frame + FRAME_SUM_AT));
}

bool store_wal_is_damaged(const void *data, size_t len)
{
	const unsigned char *log = data;
	if (len <= HEADER)
		return false;
	struct sum sum = {0};
	add(&sum, big(log) & 1, log, HEADER_SUM_AT);
	size_t page_size = big(log + PAGE_SIZE_AT);
	if ((big(log) & ~UINT32_C(1)) != MAGIC || !same(sum, stored_sum(log + HEADER_SUM_AT)) || page_size < 512)
		return true;
	size_t step = FRAME_HEADER + page_size, count = (len - HEADER) / step, i = 0;
	for (; i < count && fits(log, log + HEADER + i * step, page_size, sum); i++)
		sum = stored_sum(log + HEADER + i * step + FRAME_SUM_AT);
	// Each frame's sum builds on the one before: what follows a broken frame still fits the sum that is stored in it; if
	// that sum is what is broken, the next frame does not fit either. What failed attempts to commit have left
	// behind does not fit from one attempt to the next.
	unsigned commits = 0;
	for (size_t broken = i++; i < count; i++) {
		const unsigned char *frame = log + HEADER + i * step;
		if (!fits(log, frame, page_size, stored_sum(frame - step + FRAME_SUM_AT)) && i > broken + 1)
			break;
		commits += big(frame + COMMIT_AT) != 0;
	}
	return commits >= 2;
}
