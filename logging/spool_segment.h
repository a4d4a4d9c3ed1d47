// Segments of the spool on disk (spool.h): their format, writing a batch, and the walk over the batches of one.
//
// A segment file is named <number of its first item>-<salt>.log, both in hexadecimal. Each batch begins with the salt,
// which also goes into the checksums: what a container wrote is never taken for a batch, whatever it looks like.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_NAME_MAX 32
#define SEGMENT_NUMBER_MAX ((uint64_t)INT64_MAX / 2) // of an item from before: room for all to come

enum batch_kind { BATCH_RECORDS = 1, BATCH_LOSS, BATCH_END };

// As on disk, little-endian.
struct batch {
	uint32_t salt;
	uint32_t header_sum;  // of what follows here: the low half of XXH3-64, seeded with the salt
	uint32_t payload_sum; // of the payload, likewise
	uint32_t len;         // of the payload
	uint64_t first;       // number of the first item
	uint32_t count;       // of items
	uint8_t kind, reason; // reason: of a loss
	uint16_t unused;
	uint32_t fifo, unused_too;
	int64_t first_ns, last_ns;
};
struct batch_loss { // the payload of BATCH_LOSS
	uint64_t lines, bytes;
};

struct segment {
	uint64_t first; // number of the first item
	uint64_t size;  // bytes that hold whole batches, as far as known; what is behind is overwritten
	uint32_t salt;
};
void segment_name(const struct segment *segment, char name[SEGMENT_NAME_MAX]);
bool segment_parse_name(const char *name, struct segment *segment);

// Fills what only the segment knows, and writes behind segment->size, which moves on success. 0 or a negative errno.
int segment_write(int fd, struct segment *segment, struct batch *batch, const void *payload);

// The walk. Zero-initialise but for fd, salt and size; size may grow, offset may be set.
struct scan {
	int fd; // borrowed
	uint32_t salt;
	uint64_t size, offset; // where to look for the next batch
	uint64_t garbage;      // bytes between batches that are no batch
	char *window;          // bytes of the file from `start`
	uint64_t start;
	size_t len, cap;
};
// Header of the next batch that is there as a whole; scan->offset is then behind it. False: there is none.
bool scan_next(struct scan *scan, struct batch *batch);
// Payload of the batch that scan_next just found; valid until the next call. NULL: damaged.
const char *scan_payload(struct scan *scan, const struct batch *batch);
void scan_done(struct scan *scan); // frees the window
