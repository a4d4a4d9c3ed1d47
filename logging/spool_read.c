// Reading a spool. Items are found by their numbers: whatever is missing between two batches is lost, whatever the cause.
#include "logging/spool_private.h"

#include "common/util.h"

#include <fcntl.h>

struct spool_reader {
	struct spool *spool;
	uint64_t position;  // of the next item
	struct scan scan;   // of the segment that is read; .salt 0: none, .fd -1: not open
	uint64_t first;     // number of that segment's first item
	struct batch batch; // that is read; .count 0: none
	const char *payload;
	size_t at; // in the payload: the record with `number`
	uint64_t number;
	int64_t last_ns;  // time stamp of what was read last
	uint64_t skipped; // bytes of damaged batches since then
	bool must_wait;   // a segment cannot be opened for now
};

static bool load_batch(struct spool_reader *reader);
static bool load_from_segment(struct spool_reader *reader);
static bool choose_segment(struct spool_reader *reader);
static void leave_segment(struct spool_reader *reader);
static void dropped_item(struct spool_reader *reader, struct spool_item *item);
static void damaged_item(struct spool_reader *reader, struct spool_item *item, uint64_t end);
static bool batch_item(struct spool_reader *reader, struct spool_item *item);
static bool record_item(struct spool_reader *reader, struct spool_item *item);

struct spool_reader *spool_reader_new(struct spool *spool)
{
	struct spool_reader *reader = xcalloc(1, sizeof(*reader));

	*reader = (struct spool_reader){.spool = spool, .position = spool->cursor, .scan = {.fd = -1}};
	return reader;
}

struct spool_reader *spool_reader_free(struct spool_reader *reader)
{
	if (reader)
		leave_segment(reader);
	free(reader);
	return NULL;
}

bool spool_reader_next(struct spool_reader *reader, struct spool_item *item)
{
	const struct spool *spool = reader->spool;

	if (reader->position < spool->cursor)
		spool_reader_seek(reader, spool->cursor);
	*item = (struct spool_item){.first = reader->position};
	for (;;) {
		const struct batch *batch = &reader->batch;

		if (reader->position < spool->drop.to) {
			dropped_item(reader, item);
			return true;
		}
		if (reader->position == spool->tail)
			return false;
		if (batch->count == 0 && !load_batch(reader)) {
			if (reader->must_wait)
				return false;
			damaged_item(reader, item, spool->tail);
			return true;
		}
		if (batch->first > reader->position) {
			damaged_item(reader, item, batch->first);
			return true;
		}
		if (batch_item(reader, item))
			return true;
	}
}

void spool_reader_seek(struct spool_reader *reader, uint64_t position)
{
	if (position < reader->spool->cursor)
		position = reader->spool->cursor;
	if (position > reader->spool->tail)
		position = reader->spool->tail;
	if (position == reader->position)
		return;
	leave_segment(reader);
	reader->position = position;
	reader->skipped = 0;
}

uint64_t spool_reader_position(const struct spool_reader *reader)
{
	return reader->position;
}

void spool_reader_rest(struct spool_reader *reader)
{
	struct scan *scan = &reader->scan;

	if (reader->batch.count)
		scan->offset -= sizeof(reader->batch) + reader->batch.len;
	reader->batch.count = 0;
	scan_done(scan);
	if (scan->fd >= 0)
		close(take_fd(&scan->fd));
}

static void leave_segment(struct spool_reader *reader)
{
	spool_reader_rest(reader);
	reader->scan.salt = 0;
}

// Finds the next whole batch that has items from the position on.
static bool load_batch(struct spool_reader *reader)
{
	reader->must_wait = false;
	while (reader->scan.salt || choose_segment(reader)) {
		const struct spool *spool = reader->spool;

		if (load_from_segment(reader))
			return true;
		if (reader->must_wait)
			return false;
		// The last one may grow.
		if (spool->count == 0 ||
		    (spool->segments[spool->count - 1].salt == reader->scan.salt && !spool->sealed))
			return false;
		if (!choose_segment(reader))
			return false;
	}
	return false;
}

// The segment behind the one that is read, or the one in which the position must be.
static bool choose_segment(struct spool_reader *reader)
{
	const struct spool *spool = reader->spool;
	size_t i = 0;

	while (reader->scan.salt && i < spool->count && spool->segments[i].salt != reader->scan.salt)
		i++;
	if (reader->scan.salt && i < spool->count)
		i++;
	else
		i = spool->count ? spool_find_segment(spool, reader->position) : 0;
	if (i >= spool->count)
		return false;
	leave_segment(reader);
	reader->scan = (struct scan){.fd = -1, .salt = spool->segments[i].salt, .size = spool->segments[i].size};
	reader->first = spool->segments[i].first;
	return true;
}

static bool open_segment(struct spool_reader *reader)
{
	const struct segment segment = {.first = reader->first, .salt = reader->scan.salt};
	char path[SPOOL_PATH_MAX];

	if (reader->scan.fd >= 0)
		return true;
	spool_segment_path(reader->spool, &segment, path);
	reader->scan.fd = openat(reader->spool->store->fd, path, O_RDONLY | O_CLOEXEC);
	if (reader->scan.fd >= 0)
		return true;
	reader->must_wait = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
	spool_report(reader->spool->store, "cannot read a segment of the log spool", reader->spool->id, errno);
	return false;
}

static bool load_from_segment(struct spool_reader *reader)
{
	const struct spool *spool = reader->spool;
	struct scan *scan = &reader->scan;
	struct batch *batch = &reader->batch;

	// It may have grown.
	for (size_t i = spool->count; i > 0; i--) {
		if (spool->segments[i - 1].salt == scan->salt) {
			scan->size = spool->segments[i - 1].size;
			break;
		}
	}
	if (scan->offset == scan->size || !open_segment(reader))
		return false;
	while (scan_next(scan, batch)) {
		uint64_t behind = batch->first + batch->count;

		if (behind <= reader->position || behind > spool->tail)
			continue;
		reader->payload = scan_payload(scan, batch);
		reader->at = 0;
		reader->number = batch->first;
		if (reader->payload)
			return true;
		reader->skipped += batch->len;
	}
	batch->count = 0;
	return false;
}

// --- items ---

static void dropped_item(struct spool_reader *reader, struct spool_item *item)
{
	const struct spool_drop *drop = &reader->spool->drop;
	uint64_t numbers = drop->to - reader->position;

	item->position = drop->to - 1;
	item->kind = SPOOL_LOSS;
	item->loss = (struct spool_loss){.reason = SPOOL_LOST_FULL,
					 .lines = drop->lines,
					 .bytes = drop->bytes,
					 .first_ns = drop->first_ns,
					 .last_ns = drop->last_ns};
	// Some of it was read before it was dropped.
	if (reader->position > drop->from && numbers < drop->lines) {
		item->loss.lines = numbers;
		item->loss.bytes = (uint64_t)((double)drop->bytes * (double)numbers / (double)drop->lines);
		if (reader->last_ns)
			item->loss.first_ns = reader->last_ns;
	}
	leave_segment(reader);
	reader->position = drop->to;
	reader->skipped = 0;
}

static void damaged_item(struct spool_reader *reader, struct spool_item *item, uint64_t end)
{
	int64_t next_ns = reader->batch.count ? reader->batch.first_ns : reader->last_ns;
	struct spool *spool = reader->spool;

	item->position = end - 1;
	item->kind = SPOOL_LOSS;
	item->loss = (struct spool_loss){.reason = SPOOL_LOST_DAMAGED,
					 .lines = end - reader->position,
					 .bytes = reader->skipped,
					 .first_ns = reader->last_ns ? reader->last_ns : next_ns,
					 .last_ns = next_ns};
	if (spool->damaged_to < end) { // it may be read more than once
		spool->dropped += end - (spool->damaged_to > reader->position ? spool->damaged_to : reader->position);
		spool->damaged_to = end;
	}
	reader->position = end;
	reader->skipped = 0;
}

// False: nothing more in this batch.
static bool batch_item(struct spool_reader *reader, struct spool_item *item)
{
	struct batch *batch = &reader->batch;
	struct batch_loss loss;
	bool found = true;

	item->position = reader->position;
	if (batch->kind == BATCH_RECORDS) {
		found = record_item(reader, item);
	} else if (batch->kind == BATCH_LOSS && batch->len == sizeof(loss)) {
		memcpy(&loss, reader->payload, sizeof(loss));
		item->kind = SPOOL_LOSS;
		item->loss = (struct spool_loss){.reason = batch->reason,
						 .lines = loss.lines,
						 .bytes = loss.bytes,
						 .first_ns = batch->first_ns,
						 .last_ns = batch->last_ns};
	} else if (batch->kind == BATCH_END) {
		item->kind = SPOOL_END;
	} else {
		found = false;
	}
	if (!found) {
		reader->skipped += batch->len - reader->at;
		batch->count = 0;
		return false;
	}
	reader->last_ns = item->kind == SPOOL_RECORD ? item->record.time_ns : batch->last_ns;
	if (++reader->position == batch->first + batch->count)
		batch->count = 0;
	return true;
}

static bool record_item(struct spool_reader *reader, struct spool_item *item)
{
	item->kind = SPOOL_RECORD;
	while (reader->number <= reader->position) {
		size_t used;

		if (record_next(reader->payload + reader->at, reader->batch.len - reader->at, &used, &item->record) !=
		    RECORD_OK)
			return false;
		reader->at += used;
		reader->number++;
	}
	return true;
}

// --- the oldest ---

int64_t spool_oldest_ns(const struct spool *spool)
{
	struct spool *known = (struct spool *)spool;
	const struct segment *segment;
	struct scan scan = {0};
	char path[SPOOL_PATH_MAX];
	struct batch batch;

	if (spool->cursor == spool->tail)
		return 0;
	if (spool->cursor < spool->drop.to)
		return spool->drop.first_ns;
	if (spool->cursor == spool->oldest_at || spool->count == 0)
		return spool->oldest_ns;
	segment = &spool->segments[spool_find_segment(spool, spool->cursor)];
	scan = (struct scan){.salt = segment->salt, .size = segment->size};
	if (spool->oldest_scanned.salt == segment->salt)
		scan.offset = spool->oldest_scanned.size;
	spool_segment_path(spool, segment, path);
	scan.fd = openat(spool->store->fd, path, O_RDONLY | O_CLOEXEC);
	while (scan.fd >= 0 && scan_next(&scan, &batch)) {
		if (batch.first + batch.count <= spool->cursor)
			continue;
		known->oldest_ns = batch.first_ns;
		known->oldest_scanned = *segment;
		known->oldest_scanned.size = scan.offset - batch.len - sizeof(batch);
		break;
	}
	known->oldest_at = spool->cursor;
	if (scan.fd >= 0)
		close(scan.fd);
	scan_done(&scan);
	return spool->oldest_ns;
}
