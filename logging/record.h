// The record stream that Docker writes to a log plugin's FIFO (logging.md §1.7): records of a 4-byte big-endian length and
// a protocol-buffer message LogEntry. Decoding of one record, and the walk over many.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_HEADER 4
#define RECORD_MAX ((size_t)1 << 20) // of a message; more: framing is lost

enum record_source { RECORD_STDOUT, RECORD_STDERR, RECORD_OTHER };

struct record {
	enum record_source source;
	int64_t time_ns;  // since 1970, UTC
	const char *line; // not terminated; points into what was decoded; "" if len is 0
	size_t len;
	bool partial;   // true on every piece of a split line, the last one included
	bool last;      // of a partial: the line ends here
	const char *id; // of a partial: which line it belongs to; not terminated
	size_t id_len;
	int32_t ordinal; // of a partial: 1, 2, ...
};

// One message without its length word. 0, or -EBADMSG; unknown fields are skipped by wire type.
int record_decode(const void *message, size_t len, struct record *record);

enum record_step {
	RECORD_OK,         // *record is filled, *used bytes are it
	RECORD_INCOMPLETE, // more bytes are needed; *used is 0
	RECORD_LOST, // no record begins here: *used bytes are garbage, up to the next plausible header or the end
};
// The first record of a stream. Where bytes end in what might be the start of a header after garbage, those are not counted
// as garbage yet.
enum record_step record_next(const void *data, size_t len, size_t *used, struct record *record);
// How many bytes to skip at least, and at least one, from data that is no record: up to the next plausible header or the
// end. For a reader that knows more than record_next: a record that claims more than fits into the pipe never becomes whole.
size_t record_resync(const void *data, size_t len);
