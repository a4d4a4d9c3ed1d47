// The answer to the WebSocket handshake, up to where frames begin, cut anywhere. Input: a byte that chooses the
// cuts, then the answer.
#include "common/websocket.c"
#include "fuzz.h"

static void on_end_of(const struct websocket_end *end, void *arg)
{
	CHECK(!end->opened && end->body && strlen(end->body) <= WEBSOCKET_REFUSAL_MAX);
	CHECK(end->http_status ? end->http_status > 0 && end->http_status < 1000 && end->http_status != 101
			       : end->result < 0 && *end->error.message);
	*(struct websocket_end *)arg = *end;
	((struct websocket_end *)arg)->body = xstrdup(end->body);
}

static void answer(const char *data, size_t size, struct cutter *cutter, struct websocket_end *end)
{
	static struct loop *loop;
	if (!loop)
		loop = loop_new(1, NULL);
	struct websocket *ws = xcalloc(1, sizeof(*ws));
	*ws = (struct websocket){.loop = loop,
				 .callbacks = {.on_end = on_end_of},
				 .arg = end,
				 .state = STATE_HANDSHAKE,
				 .target = xstrdup("ecs-a-1.us-west-2.amazonaws.com")};
	ws->answer.max = ANSWER_HEAD_MAX + REFUSAL_RAW_MAX;
	ws->refusal.max = WEBSOCKET_REFUSAL_MAX;
	timer_init(&ws->connect_timer, loop, on_connect_timeout, ws);
	timer_init(&ws->read_timer, loop, on_read_timeout, ws);
	timer_init(&ws->write_timer, loop, on_write_timeout, ws);
	timer_init(&ws->close_timer, loop, on_close_timeout, ws);
	snprintf(ws->key, sizeof(ws->key), "dGhlIHNhbXBsZSBub25jZQ==");
	for (size_t at = 0; at < size && (ws->state == STATE_HANDSHAKE || ws->state == STATE_REFUSED);) {
		size_t n = cut(cutter, size - at);
		if (buf_append(&ws->answer, data + at, n) < 0) {
			answer_ended(ws, -EPROTO);
			break;
		}
		at += n;
		look_at_answer(ws);
	}
	if (ws->state == STATE_HANDSHAKE || ws->state == STATE_REFUSED)
		answer_ended(ws, 0);
	CHECK(ws->state == STATE_ENDED || ws->state == STATE_OPEN);
	websocket_free(ws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct websocket_end end = {0}, again = {0};
	// An answer that would open the session is for the unit tests: frames need a connection.
	if (size < 1 || memmem(data, size, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28))
		return 0;
	struct cutter cutter = {data[0]}, whole = {31};
	answer((const char *)data + 1, size - 1, &cutter, &end);
	answer((const char *)data + 1, size - 1, &whole, &again);
	CHECK(end.http_status == again.http_status && end.result == again.result);
	free((char *)end.body);
	free((char *)again.body);
	return 0;
}
