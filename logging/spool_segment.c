#include "logging/spool_segment.h"

#include "common/util.h"
#include "logging/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/uio.h>
#include <xxhash.h>

#define WINDOW ((size_t)64 << 10) // bytes read at once where batches are smaller
#define PAYLOAD_MAX (RECORD_MAX + RECORD_HEADER > SPOOL_BATCH_MAX ? RECORD_MAX + RECORD_HEADER : SPOOL_BATCH_MAX)

_Static_assert(sizeof(struct batch) == 56 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format on disk");

static uint32_t sum(uint32_t salt, const void *data, size_t len);
static uint32_t header_sum(const struct batch *batch);
static bool is_sound(const struct batch *batch);
static size_t load(struct scan *scan, uint64_t offset, size_t want);
static bool find_salt(struct scan *scan);

void segment_name(const struct segment *segment, char name[SEGMENT_NAME_MAX])
{
	snprintf(name, SEGMENT_NAME_MAX, "%016" PRIx64 "-%08" PRIx32 ".log", segment->first, segment->salt);
}

bool segment_parse_name(const char *name, struct segment *segment)
{
	char again[SEGMENT_NAME_MAX];

	*segment = (struct segment){0};
	if (sscanf(name, "%16" SCNx64 "-%8" SCNx32, &segment->first, &segment->salt) != 2)
		return false;
	segment_name(segment, again);
	return strcmp(name, again) == 0 && segment->salt && segment->first <= SEGMENT_NUMBER_MAX;
}

int segment_write(int fd, struct segment *segment, struct batch *batch, const void *payload)
{
	struct iovec iov[2] = {{.iov_base = batch, .iov_len = sizeof(*batch)},
			       {.iov_base = (void *)payload, .iov_len = batch->len}};
	size_t left = sizeof(*batch) + batch->len;
	uint64_t at = segment->size;

	batch->salt = segment->salt;
	batch->payload_sum = sum(batch->salt, payload, batch->len);
	batch->header_sum = header_sum(batch);
	while (left > 0) {
		ssize_t n = pwritev(fd, iov, 2, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (uint64_t)n;
		left -= (size_t)n;
		for (size_t i = 0; i < 2; i++) {
			size_t done = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (char *)iov[i].iov_base + done;
			iov[i].iov_len -= done;
			n -= (ssize_t)done;
		}
	}
	segment->size = at;
	return 0;
}

bool scan_next(struct scan *scan, struct batch *batch)
{
	while (scan->offset < scan->size && scan->size - scan->offset >= sizeof(*batch)) {
		if (load(scan, scan->offset, sizeof(*batch)) < sizeof(*batch))
			return false;
		memcpy(batch, scan->window + (scan->offset - scan->start), sizeof(*batch));
		if (batch->salt == scan->salt && is_sound(batch) &&
		    batch->len <= scan->size - scan->offset - sizeof(*batch)) {
			scan->offset += sizeof(*batch) + batch->len;
			return true;
		}
		scan->offset++;
		scan->garbage++;
		if (!find_salt(scan))
			return false;
	}
	return false;
}

const char *scan_payload(struct scan *scan, const struct batch *batch)
{
	uint64_t at = scan->offset - batch->len;
	const char *payload;

	if (load(scan, at, batch->len) < batch->len)
		return NULL;
	payload = scan->window + (at - scan->start);
	return sum(batch->salt, payload, batch->len) == batch->payload_sum ? payload : NULL;
}

void scan_done(struct scan *scan)
{
	free(scan->window);
	scan->window = NULL;
	scan->cap = scan->len = 0;
}

static uint32_t sum(uint32_t salt, const void *data, size_t len)
{
	return (uint32_t)XXH3_64bits_withSeed(data, len, salt);
}

static bool is_sound(const struct batch *batch)
{
	uint64_t most = batch->kind == BATCH_RECORDS ? batch->len / RECORD_HEADER : 1;

	return batch->header_sum == header_sum(batch) && batch->len <= PAYLOAD_MAX && batch->count > 0 &&
	       batch->count <= most && batch->first <= (uint64_t)INT64_MAX - batch->count;
}

static uint32_t header_sum(const struct batch *batch)
{
	const size_t from = offsetof(struct batch, payload_sum);

	return sum(batch->salt, (const char *)batch + from, sizeof(*batch) - from);
}

// Gets `want` bytes at offset, and more where that costs nothing, into the window. Returns how many there are.
static size_t load(struct scan *scan, uint64_t offset, size_t want)
{
	size_t have = 0;

	if (offset >= scan->start && offset <= scan->start + scan->len)
		have = (size_t)(scan->start + scan->len - offset);
	if (have >= want)
		return have;
	size_t goal = want > WINDOW ? want : WINDOW;
	if (goal > scan->size - offset)
		goal = (size_t)(scan->size - offset);
	if (have)
		memmove(scan->window, scan->window + (offset - scan->start), have);
	if (goal > scan->cap) {
		scan->window = xrealloc(scan->window, goal);
		scan->cap = goal;
	}
	scan->start = offset;
	scan->len = have;
	while (scan->len < goal) {
		ssize_t n = pread(scan->fd, scan->window + scan->len, goal - scan->len, (off_t)(offset + scan->len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		scan->len += (size_t)n;
	}
	return scan->len;
}

// Moves the offset to where the salt is next.
static bool find_salt(struct scan *scan)
{
	while (scan->size - scan->offset >= sizeof(struct batch)) {
		size_t have = load(scan, scan->offset, sizeof(struct batch)), skip;
		const char *from = scan->window + (scan->offset - scan->start), *at;

		if (have < sizeof(struct batch))
			return false;
		at = memmem(from, have, &scan->salt, sizeof(scan->salt));
		skip = at ? (size_t)(at - from) : have - sizeof(scan->salt) + 1;
		scan->offset += skip;
		scan->garbage += skip;
		if (at)
			return true;
	}
	return false;
}
