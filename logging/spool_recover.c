// What is there from before: the segments, where the last whole batch ends, and what a reader that died had appended last.
#include "logging/spool_private.h"

#include "common/log.h"
#include "common/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define LAST_SEGMENTS 4 // in which the last batch of a FIFO is looked for

static int list_segments(struct spool *spool);
static void check_tail(struct spool *spool);

int spool_recover(struct spool *spool, struct error *err)
{
	int r = list_segments(spool);

	if (r < 0 && r != -ENOENT)
		return error_set_errno(err, -r, "cannot read the log spool %s/%s", spool->store->path, spool->id);
	spool->made = r == 0;
	spool_load_cursor(spool);
	if (spool->writes == 0 && spool->count > 0)
		spool->cursor = spool->segments[0].first;
	spool->tail = spool->cursor > spool->drop.to ? spool->cursor : spool->drop.to;
	check_tail(spool);
	for (size_t i = 0; i < spool->count; i++)
		spool->bytes += spool->segments[i].size;
	spool->store->bytes += spool->bytes;
	return 0;
}

static int older_first(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->size < y->size ? -1 : x->size > y->size;
}

static int list_segments(struct spool *spool)
{
	int fd = openat(spool->store->fd, spool->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	int r;

	if (!directory) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	for (struct dirent *entry; (entry = readdir(directory));) {
		struct segment segment;
		struct stat st;

		if (!segment_parse_name(entry->d_name, &segment) ||
		    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		segment.size = (uint64_t)st.st_size;
		if (spool->count == spool->cap) {
			spool->cap = spool->cap ? 2 * spool->cap : 4;
			spool->segments = xreallocarray(spool->segments, spool->cap, sizeof(segment));
		}
		spool->segments[spool->count++] = segment;
	}
	closedir(directory);
	if (spool->count > 1)
		qsort(spool->segments, spool->count, sizeof(*spool->segments), older_first);
	return 0;
}

// Where the last batch of a segment ends; *behind gets the number that follows its last item. A batch that is there with its
// whole length counts: readers tell of it as lost if its payload is damaged.
static uint64_t whole_size(const struct spool *spool, const struct segment *segment, uint64_t *behind)
{
	struct scan scan = {.salt = segment->salt, .size = segment->size};
	char path[SPOOL_PATH_MAX];
	struct batch batch;
	uint64_t size = 0;

	spool_segment_path(spool, segment, path);
	scan.fd = openat(spool->store->fd, path, O_RDONLY | O_CLOEXEC);
	while (scan.fd >= 0 && scan_next(&scan, &batch)) {
		size = scan.offset;
		// Numbers in a segment follow one another, so they cannot be larger than it has room for.
		uint64_t end = batch.first + batch.count;
		if (*behind < end && batch.first >= segment->first &&
		    end - segment->first <= scan.offset / RECORD_HEADER)
			*behind = end;
	}
	if (scan.fd >= 0)
		close(scan.fd);
	scan_done(&scan);
	return size;
}

// Only the newest segment can have a torn tail that would be in the way: what comes next is appended there.
static void check_tail(struct spool *spool)
{
	struct segment *last;
	char path[SPOOL_PATH_MAX];
	uint64_t behind = 0, torn;

	if (spool->count == 0)
		return;
	last = &spool->segments[spool->count - 1];
	if (spool->tail < last->first)
		spool->tail = last->first;
	torn = last->size;
	last->size = whole_size(spool, last, &behind);
	torn -= last->size;
	if (spool->tail < behind)
		spool->tail = behind;
	// Numbers go on behind a gap: in a segment of its own, so that nobody looks for the gap in this one.
	spool->sealed = behind < spool->tail;
	if (torn == 0)
		return;
	log_warn("the end of a log spool is torn and was cut off", "container=%s bytes=%" PRIu64, spool->id, torn);
	spool_segment_path(spool, last, path);
	_cleanup_close_ int fd = openat(spool->store->fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)last->size) < 0)
		spool_report(spool->store, "cannot cut a log spool", spool->id, errno);
	if (last->size == 0) {
		(void)unlinkat(spool->store->fd, path, 0);
		spool->count--;
		spool->sealed = true;
	}
}

// --- the last batch of a FIFO ---

static bool find_last(const struct spool *spool, uint32_t fifo, struct batch *last, char **payload)
{
	struct batch batch;
	bool found = false;

	for (size_t i = spool->count; i > 0 && !found && spool->count - i < LAST_SEGMENTS; i--) {
		const struct segment *segment = &spool->segments[i - 1];
		struct scan scan = {.salt = segment->salt, .size = segment->size};
		char path[SPOOL_PATH_MAX];
		uint64_t at = 0;

		spool_segment_path(spool, segment, path);
		scan.fd = openat(spool->store->fd, path, O_RDONLY | O_CLOEXEC);
		while (scan.fd >= 0 && scan_next(&scan, &batch)) {
			if (batch.kind != BATCH_RECORDS || batch.fifo != fifo)
				continue;
			*last = batch;
			at = scan.offset;
			found = true;
		}
		scan.offset = at;
		const char *bytes = found ? scan_payload(&scan, last) : NULL;
		*payload = bytes ? xmemdup(bytes, last->len) : NULL;
		if (scan.fd >= 0)
			close(scan.fd);
		scan_done(&scan);
	}
	return found && *payload;
}

static bool begins_record(const char *data, size_t size)
{
	struct record record;
	size_t used;

	return record_next(data, size, &used, &record) != RECORD_LOST;
}

// How many bytes at the end of one are the beginning of the other, at a place where a record begins behind them; 0: none.
// In time proportional to their lengths, whatever is in them (Knuth, Morris and Pratt).
static size_t common_bytes(const char *end, size_t end_len, const char *data, size_t size)
{
	size_t max = size < end_len ? size : end_len, same = 0;
	_cleanup_free_ size_t *shorter = xcalloc(max + 1, sizeof(*shorter));

	for (size_t i = 1; i < max; i++) {
		while (same > 0 && data[i] != data[same])
			same = shorter[same];
		same += data[i] == data[same];
		shorter[i + 1] = same;
	}
	same = 0;
	for (size_t i = end_len - max; i < end_len; i++) {
		while (same > 0 && (same == max || end[i] != data[same]))
			same = shorter[same];
		same += end[i] == data[same];
	}
	while (same > 0 && !begins_record(data + same, size - same))
		same = shorter[same];
	return same;
}

// A reader can die while it consumes a batch, at a record's begin or inside of one.
bool spool_last_matches(struct spool *spool, uint32_t fifo, const void *data, size_t size, size_t *len)
{
	_cleanup_free_ char *payload = NULL;
	struct record record;
	struct batch last;
	size_t used;

	if (size == 0 || !find_last(spool, fifo, &last, &payload))
		return false;
	if (!begins_record(data, size)) {
		*len = common_bytes(payload, last.len, data, size);
		return *len > 0;
	}
	for (size_t from = 0; from < last.len; from += used) {
		*len = last.len - from;
		if (*len <= size && memcmp(payload + from, data, *len) == 0)
			return true;
		if (record_next(payload + from, *len, &used, &record) != RECORD_OK)
			return false;
	}
	return false;
}
