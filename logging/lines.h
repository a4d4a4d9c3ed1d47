// From spool items to CloudWatch events: pieces of a long line are put together again, lines that
// belong together become one event (multiline, logging.md §4.7), losses become a line of ours.
//
// Where an event ends is decided by the items alone, their own times being the clock: an item that follows so
// late that a timer would have ended the event before it does so now. The timer (lines_cut) is only for an event behind which
// nothing follows. So reading the spool again, after a failure or a restart, gives the same events, which takes the
// place of R-4.9's journal of decisions: there is nothing to keep in step with the spool, and what has not been delivered
// is never in memory alone.
//
// Two bounds keep half a line from holding up the rest, as the cursor cannot pass its first piece: it is an event of its own
// after LINES_WAIT_RECORDS items or LINES_WAIT_MS without its end.
#pragma once

#include "logging/spool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_WAIT_RECORDS 4096
#define LINES_WAIT_MS 60000 // by the times of other records
#define LINES_SLOTS 4       // stdout, stderr, other sources; losses

struct lines_options {
	size_t limit; // effective bytes of an event, at least 4 (event_text.h)
	// Whether a line begins an event; NULL: every line is one, and empty ones are none (§4.4: a message has a character).
	bool (*begins)(const char *text, size_t len, void *arg);
	void *arg;
	bool silent;         // losses become no event
	int64_t interval_ms; // multiline: an event takes no line that is so much younger, or older, than its first
};

// What is not delivered yet begins for each source at a byte of a record; items before it do not count.
struct lines_mark {
	struct lines_place {
		uint64_t position;
		size_t offset;
	} from[LINES_SLOTS];
};
void lines_mark_set(struct lines_mark *mark, uint64_t position); // everything from an item on
uint64_t lines_mark_position(const struct lines_mark *mark);     // from where items must be read: what may be confirmed

struct lines_event {
	int64_t time_ns; // of its first line
	const char *text;
	size_t len, effective;
	uint32_t lines; // of the container that are in it, whole or in part; 0: a notice of ours
	uint64_t last;  // the item behind which nothing of it comes
};

struct lines;
struct lines *lines_new(const struct lines_options *options);
struct lines *lines_free(struct lines *lines); // returns NULL
// Forgets everything; the next item fed must be the one at lines_mark_position.
void lines_restart(struct lines *lines, const struct lines_mark *mark);
// Takes the next item, all of whose events must have been taken before the reader moves on, or lines_settle called.
void lines_feed(struct lines *lines, const struct spool_item *item);
// The next event; the same one again until lines_take. False: there is none, feed on. Its text lasts until the next call.
bool lines_peek(struct lines *lines, struct lines_event *event);
void lines_take(struct lines *lines);
// No item is left for now: copies what still points into the last one, frees what is not needed.
void lines_settle(struct lines *lines);
bool lines_collecting(const struct lines *lines, uint64_t *since);   // multiline: an event is open, begun at this item
void lines_cut(struct lines *lines);                                 // ends it
void lines_mark(const struct lines *lines, struct lines_mark *mark); // behind the last event taken
size_t lines_memory(const struct lines *lines);
