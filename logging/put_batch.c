#include "logging/put_batch.h"

#include "logging/event_text.h"

#include <inttypes.h>
#include <zlib.h>

#define GZIP_MIN 2048 // a smaller body goes into two packets in any case
#define GZIP_LEVEL 1  // logs shrink to a third; level 6 makes that a tenth less in two and a half times the time
#define GZIP_WINDOW (15 + 16) // the largest window; a gzip header

static void write_events(struct put_batch *batch, struct buf *out, size_t prefix);
static bool compress_body(struct buf *body);

void put_batch_start(struct put_batch *batch, const char *group, const char *stream, size_t max_events,
		     size_t max_bytes)
{
	*batch = (struct put_batch){.max_events = max_events, .max_bytes = max_bytes};
	buf_append(&batch->body, "{\"logGroupName\":", 16);
	event_text_append_json(&batch->body, group, strlen(group));
	buf_append(&batch->body, ",\"logStreamName\":", 17);
	event_text_append_json(&batch->body, stream, strlen(stream));
	buf_append(&batch->body, ",\"logEvents\":[", 14);
}

bool put_batch_add(struct put_batch *batch, int64_t time_ms, const char *text, size_t len, size_t effective,
		   uint32_t lines)
{
	size_t before = batch->body.len, cost = effective + PUT_BATCH_EVENT_COST;
	int64_t first = batch->count && batch->first_ms < time_ms ? batch->first_ms : time_ms;
	int64_t last = batch->count && batch->last_ms > time_ms ? batch->last_ms : time_ms;

	if (batch->count && (batch->count >= batch->max_events || cost > batch->max_bytes - batch->bytes ||
			     last - first >= PUT_BATCH_SPAN_MS))
		return false;
	buf_printf(&batch->body, "%s{\"timestamp\":%" PRId64 ",\"message\":", batch->count ? "," : "", time_ms);
	event_text_append_json(&batch->body, text, len);
	buf_append(&batch->body, "}", 1);
	if (batch->count && batch->body.len > PUT_BATCH_BODY) {
		batch->body.len = before;
		return false;
	}
	if (batch->count == batch->room) {
		batch->room = batch->room ? batch->room * 2 : 64;
		batch->events = xreallocarray(batch->events, batch->room, sizeof(*batch->events));
	}
	batch->unordered |= batch->count && time_ms < batch->events[batch->count - 1].time_ms;
	size_t offset = before + (batch->count > 0);
	batch->events[batch->count++] =
		(struct put_batch_event){time_ms, (uint32_t)offset, (uint32_t)(batch->body.len - offset), lines};
	batch->first_ms = first;
	batch->last_ms = last;
	batch->bytes += cost < batch->max_bytes ? cost : batch->max_bytes;
	batch->lines += lines;
	batch->text_bytes += len;
	return true;
}

char *put_batch_finish(struct put_batch *batch, const char *token, bool *gzip, size_t *len)
{
	if (batch->unordered) {
		struct buf ordered = {0};

		write_events(batch, &ordered, batch->events[0].offset);
		buf_free(&batch->body);
		batch->body = ordered;
	}
	buf_append(&batch->body, "]", 1);
	if (token) {
		buf_append(&batch->body, ",\"sequenceToken\":", 17);
		event_text_append_json(&batch->body, token, strlen(token));
	}
	buf_append(&batch->body, "}", 1);
	*gzip = *gzip && batch->body.len >= GZIP_MIN && compress_body(&batch->body);
	*len = batch->body.len;
	return xrealloc(buf_take(&batch->body), *len + 1);
}

void put_batch_free(struct put_batch *batch)
{
	buf_free(&batch->body);
	free(batch->events);
	*batch = (struct put_batch){0};
}

// By time, and events of one millisecond as they came: so their offsets say.
static int compare(const void *a, const void *b)
{
	const struct put_batch_event *x = a, *y = b;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void write_events(struct put_batch *batch, struct buf *out, size_t prefix)
{
	buf_append(out, batch->body.data, prefix);
	qsort(batch->events, batch->count, sizeof(*batch->events), compare);
	for (size_t i = 0; i < batch->count; i++) {
		if (i > 0)
			buf_append(out, ",", 1);
		buf_append(out, batch->body.data + batch->events[i].offset, batch->events[i].len);
	}
}

// False: it did not become smaller, and is as before.
static bool compress_body(struct buf *body)
{
	z_stream stream = {0};
	bool done;

	if (deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	size_t room = body->len / 2;
	char *out = xmalloc(room);
	stream.next_in = (Bytef *)body->data;
	stream.avail_in = (uInt)body->len;
	stream.next_out = (Bytef *)out;
	stream.avail_out = (uInt)room;
	done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
	if (done) {
		buf_free(body);
		*body = (struct buf){.data = out, .len = stream.total_out, .cap = room};
	} else {
		free(out);
	}
	deflateEnd(&stream);
	return done;
}
