// The body of one PutLogEvents request (logging.md §4.4): events are added as long as the service's rules allow, and are sent
// in the order of their times. JSON is written as events come in, so that a batch is copied only if it was out of order.
#pragma once

#include "common/util.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUT_BATCH_EVENTS ((size_t)10000)    // §4.4
#define PUT_BATCH_BYTES ((size_t)1048576)   // §4.4: of the messages, as the service counts them, and
#define PUT_BATCH_EVENT_COST ((size_t)26)   // more for each event
#define PUT_BATCH_SPAN_MS INT64_C(86400000) // §4.4: between the first event and the last there is less
#define PUT_BATCH_BODY ((size_t)2 << 20)    // bytes of JSON from which on a batch is full; one event may need more
// What making one needs for a moment: JSON, the index of events, the compressor.
#define PUT_BATCH_WORK (PUT_BATCH_BODY + ((size_t)768 << 10))

struct put_batch_event {
	int64_t time_ms;
	uint32_t offset, len; // of its JSON in the body
	uint32_t lines;
};
struct put_batch {
	size_t max_events, max_bytes; // at most the service's
	struct buf body;
	struct put_batch_event *events; // once it is finished, as they are sent
	size_t count, room;
	size_t bytes;              // as the service counts
	int64_t first_ms, last_ms; // the extremes
	bool unordered;            // the order of events is not that of times
	uint64_t lines, text_bytes;
};

void put_batch_start(struct put_batch *batch, const char *group, const char *stream, size_t max_events,
		     size_t max_bytes);
// False: it does not fit any more, and the batch is as before; never for the first event. effective: event_text.h.
bool put_batch_add(struct put_batch *batch, int64_t time_ms, const char *text, size_t len, size_t effective,
		   uint32_t lines);
// Ends it and gives the request's body, which is the caller's. token: NULL if there is none to send. gzip: compress it if
// that pays, which *gzip then says.
char *put_batch_finish(struct put_batch *batch, const char *token, bool *gzip, size_t *len);
void put_batch_free(struct put_batch *batch); // its members; may be started again
