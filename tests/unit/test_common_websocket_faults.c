// The WebSocket client against a peer that breaks the protocol, does not answer or has much to say; closing from our side.
#include "test_websocket_peer.h"

// --- faults of the peer ---

static void script_oversize(struct peer *p)
{
	struct buf out = {0};

	shake_hands(p);
	frame_head(&out, TEXT, WEBSOCKET_MESSAGE_MAX + 1);
	buf_append(&out, "x", 1); // wslay looks at a frame once its payload begins
	put(p, out.data, out.len);
	buf_free(&out);
	expect_close(p, 1009);
}

// Sends all of a message too large before it reads: it gets the client's verdict and no reset.
static void script_oversize_in_whole(struct peer *p)
{
	const size_t len = WEBSOCKET_MESSAGE_MAX + (2 << 20);
	_cleanup_free_ char *text = xcalloc(1, len);
	struct buf out = {0};

	shake_hands(p);
	frame_head(&out, TEXT, len);
	buf_append(&out, text, len);
	EXPECT(put(p, out.data, out.len));
	buf_free(&out);
	expect_close(p, 1009);
}

// Small fragments, each with its own piece of memory: refused by their number.
static void script_fragments(struct peer *p)
{
	struct buf out = {0};

	shake_hands(p);
	frame_head(&out, TEXT_FIRST, 1);
	buf_append(&out, "x", 1);
	for (int i = 0; i < 20000; i++) {
		frame_head(&out, 0, 1);
		buf_append(&out, "x", 1);
	}
	put(p, out.data, out.len);
	buf_free(&out);
	expect_close(p, 1009);
}

static void script_rsv(struct peer *p)
{
	shake_hands(p);
	frame(p, TEXT | 0x40, "x", 1);
	expect_close(p, 1002);
}

static void script_bad_utf8(struct peer *p)
{
	shake_hands(p);
	text_frame(p, "\xff\xfe");
	expect_close(p, 1007);
}

static void script_bad_close_code(struct peer *p)
{
	shake_hands(p);
	close_frame(p, 999, "");
	expect_close(p, 1002);
}

static void test_violations(void **state)
{
	static const struct {
		void (*script)(struct peer *);
		int code;
	} cases[] = {{script_oversize, EMSGSIZE},  {script_oversize_in_whole, EMSGSIZE},
		     {script_fragments, EMSGSIZE}, {script_rsv, EPROTO},
		     {script_bad_utf8, EBADMSG},   {script_bad_close_code, EPROTO}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		session(cases[i].script);
		assert_int_equal(got.end.result, -cases[i].code);
		assert_true(got.end.opened);
		assert_int_equal(got.messages, 0);
	}
}

// --- closing from our side ---

static char big_text[1 << 20];

static void send_and_close(void)
{
	memset(big_text, 'x', sizeof(big_text));
	assert_int_equal(websocket_send(ws, big_text, sizeof(big_text)), 0);
	assert_int_equal(websocket_send(ws, "last", 4), 0);
	assert_int_equal(websocket_send(ws, big_text, WEBSOCKET_MESSAGE_MAX + 1), -EMSGSIZE);
	websocket_close(ws, 1000, "ConnectionExpired: Reconnect to continue");
	websocket_close(ws, 1001, "twice");
	assert_int_equal(websocket_send(ws, "late", 4), -ENOTCONN);
}

static void script_closed_by_client(struct peer *p)
{
	static const char expected[] = "\x03\xe8"
				       "ConnectionExpired: Reconnect to continue";
	struct buf payload = {0};

	shake_hands(p);
	EXPECT(take_frame(p, &payload) == TEXT && payload.len == sizeof(big_text));
	buf_free(&payload);
	expect_frame(p, TEXT, "last", 4);
	text_frame(p, "still said");
	expect_frame(p, CLOSE, expected, sizeof(expected) - 1);
	close_frame(p, 1000, "");
	expect_end(p);
}

static void script_close_unanswered(struct peer *p)
{
	struct buf payload = {0};

	shake_hands(p);
	while (take_frame(p, &payload))
		;
	buf_free(&payload);
}

static void test_closing(void **state)
{
	(void)state;
	open_action = send_and_close;
	session(script_closed_by_client);
	assert_string_equal(got.log, "still said;");
	assert_int_equal(got.end.close_code, 1000);
	session(script_close_unanswered); // 10 s, 50 times as fast
	assert_int_equal(got.end.result, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.message, "close frame not answered"));
}

// --- deadlines ---

static void script_silent(struct peer *p)
{
	take_request(p);
	expect_end(p);
}

static void script_silent_refusal(struct peer *p)
{
	take_request(p);
	put_text(p, "HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nhalf");
	expect_end(p);
}

static void script_open_then_silent(struct peer *p)
{
	shake_hands(p);
	for (int i = 0; i < 4; i++) {
		usleep(10000);
		frame(p, PING, "", 0);
	}
	sem_wait(&p->over);
}

static void fill_pipe(void)
{
	memset(big_text, 'x', sizeof(big_text));
	for (int i = 0; i < 16; i++)
		assert_int_equal(websocket_send(ws, big_text, sizeof(big_text)), 0);
	assert_int_equal(websocket_send(ws, big_text, sizeof(big_text)), -EMSGSIZE);
}

static void script_reads_nothing(struct peer *p)
{
	shake_hands(p);
	sem_wait(&p->over);
}

static void test_deadlines(void **state)
{
	struct websocket_options options = {.connect_timeout_ms = 4000};

	(void)state;
	session_with(script_silent, &options);
	assert_int_equal(got.end.result, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.message, "no answer to the handshake after 4000 ms"));
	session_with(script_silent_refusal, &options);
	assert_int_equal(got.end.http_status, 403);
	assert_string_equal(got.body, "half");
	options = (struct websocket_options){.read_timeout_ms = 6000};
	session_with(script_open_then_silent, &options);
	assert_int_equal(got.end.result, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.message, "nothing received for 6000 ms"));
	options = (struct websocket_options){.write_timeout_ms = 8000};
	open_action = fill_pipe;
	session_with(script_reads_nothing, &options);
	assert_int_equal(got.end.result, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.message, "nothing could be sent for 8000 ms"));
}

// --- volume ---

#define PINGS 20000

static void script_pings(struct peer *p)
{
	struct buf out = {0}, payload = {0};

	shake_hands(p);
	for (int i = 0; i < PINGS; i++)
		frame_head(&out, PING, 0);
	put(p, out.data, out.len);
	for (int i = 0; i < PINGS; i++)
		EXPECT(take_frame(p, &payload) == PONG);
	close_frame(p, 1000, "");
	expect_close(p, 1000);
	buf_free(&out);
	buf_free(&payload);
}

static void script_largest(struct peer *p)
{
	char *text = xmalloc(WEBSOCKET_MESSAGE_MAX);

	shake_hands(p);
	memset(text, 'y', WEBSOCKET_MESSAGE_MAX);
	frame(p, TEXT, text, WEBSOCKET_MESSAGE_MAX);
	free(text);
	for (int i = 0; i < 5000; i++)
		text_frame(p, "small");
	close_frame(p, 1000, "");
	expect_close(p, 1000);
}

static void test_volume(void **state)
{
	(void)state;
	session(script_pings);
	assert_int_equal(got.end.close_code, 1000);
	session(script_largest);
	assert_int_equal(got.end.close_code, 1000);
	assert_int_equal(got.messages, 5001);
	assert_int_equal(got.bytes, WEBSOCKET_MESSAGE_MAX + 5 * 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_violations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_volume, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
