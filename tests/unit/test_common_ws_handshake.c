// The opening handshake without a connection: requests; answers fed whole, cut in two at every byte, byte by byte.
#include "common/util.h"
#include "common/ws_handshake.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ANY "ws://h/"
#define UP "Upgrade: websocket\r\n"
#define CONN "Connection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define OK101 "HTTP/1.1 101 Switching Protocols\r\n"
#define R400 "HTTP/1.1 400 Bad Request\r\n"
#define CHUNKED R400 "Transfer-Encoding: chunked\r\n\r\n"
#define NOT_HTTP "the handshake's answer is not HTTP"
#define NO_UPGRADE "the handshake's answer is no upgrade to websocket"
#define WRONG_ACCEPT "the handshake's answer has the wrong Sec-WebSocket-Accept"
#define TOO_LONG "the handshake's answer is too long"

// RFC 6455 §1.3 has this nonce and the answer to it.
static const unsigned char nonce[WS_HANDSHAKE_RANDOM] = "the sample nonce";

static void begin(struct ws_handshake *handshake)
{
	assert_int_equal(ws_handshake_init(handshake, ANY, "h:80", nonce, NULL, 0, NULL), 0);
	assert_int_equal(handshake->state, WS_HANDSHAKE_HEAD);
}

// Feeds a copy that ends where the piece ends, so that AddressSanitizer sees a byte read too many.
static size_t feed(struct ws_handshake *handshake, const char *data, size_t len)
{
	_cleanup_free_ char *piece = xmalloc(len ? len : 1);
	memcpy(piece, data, len);
	size_t used = ws_handshake_feed(handshake, piece, len);
	assert_true(used <= len);
	assert_true(handshake->state == WS_HANDSHAKE_HEAD || handshake->head_len || handshake->fault);
	return used;
}

// cut: length of the first piece; longer than the answer: byte by byte. Returns how many bytes were used.
static size_t feed_cut(struct ws_handshake *handshake, const char *data, size_t len, size_t cut)
{
	size_t used = 0;
	for (size_t at = 0; at < len;) {
		size_t n = cut > len ? 1 : at < cut ? cut - at : len - at;
		used += feed(handshake, data + at, n);
		at += n;
		if (handshake->state != WS_HANDSHAKE_HEAD && handshake->state != WS_HANDSHAKE_BODY)
			break;
		assert_int_equal(used, at);
	}
	return used;
}

static void test_request(void **state)
{
	(void)state;
	static const struct http_header headers[] = {{"X-Amz-Date", "now"}, {"hOST", "wrong"}, {"Empty", ""}};
	struct ws_handshake handshake;
	assert_int_equal(ws_handshake_init(&handshake, "wss://ecs-a-1.example:444/ws?a=b%20c#part", "", nonce, headers,
					   ARRAY_SIZE(headers), NULL),
			 0);
	assert_string_equal(handshake.request.data, "GET /ws?a=b%20c HTTP/1.1\r\n"
						    "Host: ecs-a-1.example:444\r\n"
						    "Upgrade: websocket\r\n"
						    "Connection: Upgrade\r\n"
						    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
						    "Sec-WebSocket-Version: 13\r\n"
						    "X-Amz-Date: now\r\n"
						    "Empty: \r\n"
						    "\r\n");
	assert_int_equal(handshake.request.len, strlen(handshake.request.data));
	ws_handshake_done(&handshake);
}

static void test_urls(void **state)
{
	(void)state;
	static const struct {
		const char *url, *start; // start NULL: refused
	} cases[] = {
		{"ws://h", "GET / HTTP/1.1\r\nHost: h\r\n"},
		{"ws://h/", "GET / HTTP/1.1\r\nHost: h\r\n"},
		{"ws://h?q", "GET /?q HTTP/1.1\r\nHost: h\r\n"},
		{"ws://h#f", "GET / HTTP/1.1\r\nHost: h\r\n"},
		{"ws://h/a?b#c?d/e", "GET /a?b HTTP/1.1\r\nHost: h\r\n"},
		{"ws://[::1]:81/x", "GET /x HTTP/1.1\r\nHost: [::1]:81\r\n"},
		{"http://h/://x", "GET /://x HTTP/1.1\r\nHost: h\r\n"},
		{"ws://h/\xc3\xa4", "GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n"},
		{"", NULL},
		{"h/ws", NULL},
		{"ws:/h", NULL},
		{"ws://h/a b", NULL},
		{"ws://h/a\tb", NULL},
		{"ws://h/a\x7f", NULL},
		{"ws://h/\r\nX: y", NULL},
		{"ws://h\r\nX: y/", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_handshake handshake;
		struct error err = {0};
		int r = ws_handshake_init(&handshake, cases[i].url, "h:80", nonce, NULL, 0, &err);
		assert_int_equal(r, cases[i].start ? 0 : -EINVAL);
		assert_int_equal(err.code, cases[i].start ? 0 : EINVAL);
		if (cases[i].start)
			assert_true(str_starts(handshake.request.data, cases[i].start));
		else
			assert_true(str_starts(err.message, "not a websocket URL: "));
		ws_handshake_done(&handshake);
	}
}

static void test_headers(void **state)
{
	(void)state;
	static const struct {
		struct http_header header;
		bool good;
	} cases[] = {
		{{"X", "a: b"}, true},          {{"X", "\t\xff"}, true},
		{{"X", "a\r"}, false},          {{"X", "a\nY: b"}, false},
		{{"X\n", "a"}, false},          {{"X\rY", "a"}, false},
		{{"X:", "a"}, false},           {{"X Y", "a"}, false},
		{{"Host", "a\r\nY: b"}, false}, // although it is not sent
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_handshake handshake;
		struct error err = {0};
		int r = ws_handshake_init(&handshake, ANY, "h:80", nonce, &cases[i].header, 1, &err);
		assert_int_equal(r, cases[i].good ? 0 : -EINVAL);
		assert_int_equal(str_starts(err.message, "websocket to h:80: bad header "), !cases[i].good);
		ws_handshake_done(&handshake);
	}
}

// Whatever follows an accepted answer is not used, and stays unused when fed again.
static void test_accepted(void **state)
{
	(void)state;
	static const char *const heads[] = {
		OK101 UP CONN ACCEPT "\r\n", "HTTP/1.0 101\r\n" UP CONN ACCEPT "\r\n",
		"HTTP/1.1 1010\r\n" UP CONN ACCEPT "\r\n", // three digits are looked at
		OK101 "uPGRADE:WebSocket\r\nCONNECTION:keep-alive ,\tupgrade\r\nSEC-WEBSOCKET-ACCEPT:"
		      "s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t\r\n\r\n",
		// Lists may be spread over several headers, and have empty members.
		OK101 "Upgrade: h2c\r\n" UP "Connection: close\r\nConnection: ,,Upgrade\r\n" ACCEPT "\r\n",
		OK101 UP CONN ACCEPT "Sec-WebSocket-Accept: second\r\n\r\n", // the first one counts
		// Lines that are no headers, a folded one, and line ends of other systems.
		OK101 "nonsense\r\n: x\r\n" UP "  folded\r\n" CONN "X: a\n\nY: b\r\r\n" ACCEPT "\r\n",
		OK101 UP CONN ACCEPT "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", // 101 has no body
	};
	static const char *const frames[] = {"", "\x81\x02hi", "\r\n\r\n", "HTTP/1.1 400 Bad\r\n\r\n"};
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(frames); j++) {
			_cleanup_free_ char *all = xasprintf("%s%s", heads[i], frames[j]);
			size_t len = strlen(all);
			for (size_t cut = 0; cut <= len + 1; cut++) {
				struct ws_handshake handshake;
				begin(&handshake);
				assert_int_equal(feed_cut(&handshake, all, len, cut), strlen(heads[i]));
				assert_int_equal(handshake.state, WS_HANDSHAKE_OPEN);
				assert_int_equal(handshake.status, 101);
				assert_null(handshake.fault);
				assert_int_equal(feed(&handshake, all, len), 0);
				assert_int_equal(handshake.state, WS_HANDSHAKE_OPEN);
				ws_handshake_done(&handshake);
			}
		}
	}
}

// An answer in bytes, and what it comes to.
struct answer {
	const char *bytes;
	size_t len;
	enum ws_handshake_state state;
	long status;
	const char *text; // of a refusal, or the fault
	size_t text_len;
};

#define CASE(bytes, state, status, text)                                        \
	{                                                                       \
		bytes, sizeof(bytes) - 1, state, status, text, sizeof(text) - 1 \
	}
#define OPEN(bytes) CASE(bytes, WS_HANDSHAKE_HEAD, 0, "")
#define FAULT(bytes, status, fault) CASE(bytes, WS_HANDSHAKE_FAILED, status, fault)
#define REFUSED(bytes, status, text) CASE(bytes, WS_HANDSHAKE_REFUSED, status, text)
#define BODY(bytes, status, text) CASE(bytes, WS_HANDSHAKE_BODY, status, text)

static void check_answer(const struct ws_handshake *handshake, const struct answer *answer)
{
	assert_int_equal(handshake->state, answer->state);
	assert_int_equal(handshake->status, answer->status);
	if (answer->state == WS_HANDSHAKE_FAILED) {
		assert_string_equal(handshake->fault, answer->text);
		return;
	}
	assert_null(handshake->fault);
	assert_int_equal(handshake->text.len, answer->text_len);
	if (answer->text_len) {
		assert_memory_equal(handshake->text.data, answer->text, answer->text_len);
		assert_int_equal(handshake->text.data[answer->text_len], 0);
	}
}

static void check_answers(const struct answer *answers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t cut = 0; cut <= answers[i].len + 1; cut++) {
			struct ws_handshake handshake;
			begin(&handshake);
			feed_cut(&handshake, answers[i].bytes, answers[i].len, cut);
			if (handshake.state != answers[i].state)
				print_error("case %zu, cut at %zu: %s\n", i, cut, answers[i].bytes);
			check_answer(&handshake, &answers[i]);
			// What is decided stays so.
			if (answers[i].state == WS_HANDSHAKE_FAILED || answers[i].state == WS_HANDSHAKE_REFUSED) {
				assert_int_equal(feed(&handshake, OK101 UP CONN ACCEPT "\r\n", 5), 0);
				check_answer(&handshake, &answers[i]);
			}
			ws_handshake_done(&handshake);
		}
	}
}

static void test_bad_answers(void **state)
{
	(void)state;
	static const struct answer answers[] = {
		OPEN(""), OPEN("H"), OPEN(OK101 UP CONN ACCEPT "\r"), OPEN(OK101 UP CONN ACCEPT "\n"),
		OPEN("HTTP/1.1 101 X\n" UP "\n\n"), // only CR LF CR LF ends a head
		FAULT("\r\n\r\n", 0, NOT_HTTP), FAULT("\r\n" OK101 UP CONN ACCEPT "\r\n", 0, NOT_HTTP),
		FAULT("SSH-2.0\r\n\r\n", 0, NOT_HTTP), FAULT("HTTP/2 101 X\r\n\r\n", 0, NOT_HTTP),
		FAULT("HTTP/1.\r\n\r\n", 0, NOT_HTTP), FAULT("HTTP/1.1\r\n\r\n", 0, NOT_HTTP),
		FAULT("HTTP/1.1 \r\n\r\n", 0, NOT_HTTP), FAULT("HTTP/1.1 10\r\n\r\n", 0, NOT_HTTP),
		FAULT("HTTP/1.1 -10 X\r\n\r\n", 0, NOT_HTTP), FAULT("HTTP/1.1  101 X\r\n\r\n", 0, NOT_HTTP),
		FAULT("HTTP/1.1 000 X\r\n\r\n", 0, NOT_HTTP), FAULT("http/1.1 101 X\r\n\r\n", 0, NOT_HTTP),
		// A NUL anywhere in the head: a text function would see another head than the peer wrote.
		FAULT("\0HTTP/1.1 101 X\r\n\r\n", 0, NOT_HTTP), FAULT("HTTP/1.\0 101 X\r\n\r\n", 0, NOT_HTTP),
		FAULT(OK101 UP CONN ACCEPT "X: \0\r\n\r\n", 0, NOT_HTTP), FAULT(R400 "X\0: y\r\n\r\n", 0, NOT_HTTP),
		FAULT(OK101 "\r\n", 101, NO_UPGRADE), FAULT(OK101 CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 UP ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "Upgrade: websockets\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "Upgrade: webso\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "Upgrade:\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "Upgrade:\r\n websocket\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE), // folded: not read
		FAULT(OK101 "Upgrade : websocket\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 " Upgrade: websocket\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "X-Upgrade: websocket\r\n" CONN ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 UP "Connection: keep-alive\r\n" ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 UP "Connection: keep-alive; Upgrade-not\r\n" ACCEPT "\r\n", 101, NO_UPGRADE),
		FAULT(OK101 "\r\n" UP CONN ACCEPT "\r\n", 101, NO_UPGRADE), // they come after the head
		FAULT(OK101 UP CONN "\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept:\r\n\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\r\n\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, x\r\n\r\n", 101, WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept:\r\n s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", 101,
		      WRONG_ACCEPT),
		FAULT(OK101 UP CONN "Sec-WebSocket-Accept: wrong\r\n" ACCEPT "\r\n", 101,
		      WRONG_ACCEPT), // the first one
	};
	check_answers(answers, ARRAY_SIZE(answers));
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct answer answers[] = {
		REFUSED(R400 "content-length: 9\r\n\r\nforbidden", 400, "forbidden"),
		REFUSED(R400 "Content-Length: 9\r\n\r\nforbidden, and more", 400, "forbidden"),
		REFUSED(R400 "Content-Length: 0\r\n\r\n", 400, ""),
		REFUSED(R400 "Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello", 400, "he"), // the first one
		REFUSED(R400 "Content-Length: 3\r\n\r\na\0b", 400, "a\0b"),
		BODY(R400 "Content-Length: 99\r\n\r\nshort", 400, "short"),
		BODY(R400 "\r\n", 400, ""),
		BODY(R400 "\r\nuntil the end", 400, "until the end"),
		BODY(R400 "\r\n" OK101 UP CONN ACCEPT "\r\n", 400, OK101 UP CONN ACCEPT "\r\n"),
		// A length that is none: until the end.
		BODY(R400 "Content-Length:\r\n\r\nx", 400, "x"),
		BODY(R400 "Content-Length: -1\r\n\r\nx", 400, "x"),
		BODY(R400 "Content-Length: 1x\r\n\r\nxy", 400, "xy"),
		BODY(R400 "Content-Length: 0x1\r\n\r\nxy", 400, "xy"),
		BODY(R400 "Content-Length:\r\n 1\r\n\r\nxy", 400, "xy"),
		BODY(R400 "Content-Length: 99999999999999999999\r\n\r\nx", 400, "x"),
		BODY(R400 "Content-Length: 18446744073709551615\r\n\r\nx", 400, "x"),
		BODY("HTTP/1.1 100 Continue\r\n\r\n", 100, ""),
		BODY("HTTP/1.1 200 OK\r\n" UP CONN ACCEPT "\r\n", 200, ""),
		REFUSED("HTTP/1.0 999\r\nContent-Length: 1\r\n\r\nx", 999, "x"),
		REFUSED(CHUNKED "5\r\nfirst\r\n7;x=y\r\n second\r\n0\r\n\r\n", 400, "first second"),
		REFUSED(CHUNKED "A\r\n0123456789\r\n00\r\n", 400, "0123456789"),
		REFUSED(CHUNKED "0\r\n", 400, ""),
		REFUSED(R400 "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n3\r\nabc\r\n0\r\n", 400,
			"abc"),
		BODY(CHUNKED, 400, ""),
		BODY(CHUNKED "5", 400, ""),
		BODY(CHUNKED "5\r\nfir", 400, "fir"),
		BODY(CHUNKED "5\r\nfirst", 400, "first"),
		BODY(CHUNKED "5\r\nfirst\r", 400, "first"),
		BODY(CHUNKED "ffffffffffffffff\r\nfirst", 400, "first"),
		BODY(CHUNKED "fffffffffffffffffffffffff\r\nfirst", 400, "first"),
		// No chunk stands there.
		REFUSED(CHUNKED "no chunk\r\n", 400, ""),
		REFUSED(CHUNKED "\n5\r\nfirst", 400, ""),
		REFUSED(CHUNKED " \t\r\n5\r\nfirst", 400, ""),
		REFUSED(CHUNKED "3\r\nabc\r\nxyz\r\n", 400, "abc"),
		REFUSED(CHUNKED "3\r\nabc??xyz\r\n", 400, "abc"), // the line end after a chunk is not looked at
		REFUSED(CHUNKED "3\r\nab\0\r\n\0\r\n", 400, "ab\0"),
	};
	check_answers(answers, ARRAY_SIZE(answers));
}

// Feeds head, `count` bytes of filling, and tail, in pieces of one size. Returns the bytes used.
static size_t feed_long(struct ws_handshake *handshake, const char *head, size_t count, const char *tail, size_t piece)
{
	_cleanup_free_ char *filling = xmalloc(count + 1);
	memset(filling, 'x', count);
	filling[count] = '\0';
	_cleanup_free_ char *all = xasprintf("%s%s%s", head, filling, tail);
	size_t len = strlen(all), used = 0;
	begin(handshake);
	for (size_t at = 0; at < len; at += piece)
		used += feed(handshake, all + at, len - at < piece ? len - at : piece);
	return used;
}

static void test_long_heads(void **state)
{
	(void)state;
	static const char head[] = OK101 UP CONN ACCEPT "X: ", end[] = "\r\n\r\n";
	const size_t room = WS_HANDSHAKE_HEAD_MAX - strlen(head) - strlen(end);
	static const size_t pieces[] = {1, 7, 2048, 1 << 20};
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct ws_handshake handshake;
		assert_int_equal(feed_long(&handshake, head, room, "\r\n\r\nframes", pieces[i]), WS_HANDSHAKE_HEAD_MAX);
		assert_int_equal(handshake.state, WS_HANDSHAKE_OPEN);
		ws_handshake_done(&handshake);
		// One byte more, and one without an end.
		assert_int_equal(feed_long(&handshake, head, room + 1, end, pieces[i]), WS_HANDSHAKE_HEAD_MAX);
		assert_int_equal(handshake.state, WS_HANDSHAKE_FAILED);
		assert_string_equal(handshake.fault, TOO_LONG);
		ws_handshake_done(&handshake);
		assert_int_equal(feed_long(&handshake, "", 200000, "", pieces[i]), WS_HANDSHAKE_HEAD_MAX);
		assert_string_equal(handshake.fault, TOO_LONG);
		assert_true(handshake.answer.cap <= 2 * WS_HANDSHAKE_ANSWER_MAX);
		ws_handshake_done(&handshake);
	}
}

static void test_long_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *head;
		size_t count;
		const char *tail;
		enum ws_handshake_state state;
		size_t text; // its length
	} cases[] = {
		{R400 "\r\n", 1023, "", WS_HANDSHAKE_BODY, 1023},
		{R400 "\r\n", 1024, "", WS_HANDSHAKE_REFUSED, 1024},
		{R400 "\r\n", 5000, "", WS_HANDSHAKE_REFUSED, 1024},
		{R400 "Content-Length: 5000\r\n\r\n", 1025, "", WS_HANDSHAKE_REFUSED, 1024},
		{CHUNKED "400\r\n", 1024, "\r\n0\r\n", WS_HANDSHAKE_REFUSED, 1024},
		{CHUNKED "401\r\n", 1025, "\r\n0\r\n", WS_HANDSHAKE_REFUSED, 1024},
		{CHUNKED "ffffff\r\n", 5000, "", WS_HANDSHAKE_REFUSED, 1024},
		// The chunk's line itself never ends.
		{CHUNKED "2\r\nab\r\n1;", 10000, "", WS_HANDSHAKE_BODY, 2},
		{CHUNKED "2\r\nab\r\n1;", 30000, "", WS_HANDSHAKE_REFUSED, 2},
		// The longest head leaves room for a body.
		{R400 "X: ", WS_HANDSHAKE_HEAD_MAX - 33, "\r\n\r\nwhy", WS_HANDSHAKE_BODY, 3},
	};
	static const size_t pieces[] = {1, 7, 2048, 1 << 20};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(pieces); j++) {
			struct ws_handshake handshake;
			size_t used = feed_long(&handshake, cases[i].head, cases[i].count, cases[i].tail, pieces[j]);
			assert_true(used <= WS_HANDSHAKE_ANSWER_MAX);
			assert_int_equal(handshake.state, cases[i].state);
			assert_int_equal(handshake.status, 400);
			assert_int_equal(handshake.text.len, cases[i].text);
			assert_true(handshake.answer.cap <= 2 * WS_HANDSHAKE_ANSWER_MAX);
			ws_handshake_done(&handshake);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),     cmocka_unit_test(test_urls),
		cmocka_unit_test(test_headers),     cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_long_heads),  cmocka_unit_test(test_long_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
