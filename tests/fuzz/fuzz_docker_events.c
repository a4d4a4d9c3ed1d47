// Docker's event stream, cut anywhere. Input: a byte that chooses the cuts, then the stream.
#include "agent/docker/events.c"
#include "fuzz.h"

static void on_event(const struct docker_event *event, void *arg)
{
	struct buf *seen = arg;
	CHECK(!str_empty(event->id) && event->name);
	CHECK(!event->attributes || json_object_is_type(event->attributes, json_type_object));
	CHECK((event->kind == DOCKER_EVENT_HEALTH) == (event->health != HEALTH_NONE));
	buf_printf(seen, "%d %s %s %lld %d %d\n", (int)event->kind, event->id, event->name, (long long)event->time_ns,
		   event->has_exit_code, event->exit_code);
}

static int feed(const char *data, size_t size, struct cutter cutter, struct buf *seen)
{
	struct docker_event_stream stream = {.client = {.on_event = on_event, .arg = seen}};
	int r = 0;
	for (size_t at = 0; at < size && r == 0;) {
		size_t n = cut(&cutter, size - at);
		_cleanup_free_ char *piece = fuzz_bytes((const uint8_t *)data + at, n);
		r = on_data(piece, n, &stream);
		at += n;
	}
	CHECK(stream.busy == 0 && !stream.stopped);
	docker_stream_done(&stream.objects);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = {0}, pieces = {0};
	if (size < 1)
		return 0;
	const char *stream = (const char *)data + 1;
	struct docker_event_stream one = {.client = {.on_event = on_event, .arg = &whole}};
	int r = on_data(stream, size - 1, &one);
	docker_stream_done(&one.objects);
	// However it is cut, the same events and the same end come out.
	CHECK(feed(stream, size - 1, (struct cutter){data[0]}, &pieces) == r);
	CHECK(whole.len == pieces.len && (whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
