// The WebSocket client against a peer on a thread that speaks scripted bytes, over TCP and TLS.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "common/websocket.h"
#include "test_slow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>

#define SCALE (under_valgrind() ? 2.0 : 50.0)

enum { TEXT = 0x81, TEXT_FIRST = 0x01, REST_LAST = 0x80, BINARY = 0x82, CLOSE = 0x88, PING = 0x89, PONG = 0x8a };

// --- the peer ---

struct peer {
	int listener, fd, port;
	pthread_t thread;
	void (*script)(struct peer *peer);
	SSL_CTX *tls; // NULL: plain
	SSL *ssl;
	char request[4096], key[64];
	int failed_line; // of the first expectation that was not met
	sem_t over;      // the client says so at its end
};

static struct peer peer;

#define EXPECT(condition)                            \
	do {                                         \
		if (!(condition) && !p->failed_line) \
			p->failed_line = __LINE__;   \
	} while (0)

// False: the connection has ended before all was sent.
static bool put(struct peer *p, const void *data, size_t len)
{
	const char *from = data;

	while (len > 0) {
		ssize_t n = p->ssl ? SSL_write(p->ssl, from, (int)len) : send(p->fd, from, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
	}
	return true;
}

static void put_text(struct peer *p, const char *text)
{
	put(p, text, strlen(text));
}

// Reads exactly len bytes; false at the end of the stream.
static bool take(struct peer *p, void *data, size_t len)
{
	char *to = data;

	while (len > 0) {
		ssize_t n = p->ssl ? SSL_read(p->ssl, to, (int)len) : recv(p->fd, to, len, 0);

		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

static void frame_head(struct buf *out, unsigned first, size_t len)
{
	unsigned char head[10] = {(unsigned char)first};
	size_t n = 2;

	if (len < 126) {
		head[1] = (unsigned char)len;
	} else if (len < 65536) {
		head[1] = 126;
		head[2] = (unsigned char)(len >> 8);
		head[3] = (unsigned char)len;
		n = 4;
	} else {
		head[1] = 127;
		for (int i = 0; i < 8; i++)
			head[2 + i] = (unsigned char)(len >> (56 - 8 * i));
		n = 10;
	}
	buf_append(out, head, n);
}

static void frame(struct peer *p, unsigned first, const void *payload, size_t len)
{
	struct buf out = {0};

	frame_head(&out, first, len);
	buf_append(&out, payload, len);
	put(p, out.data, out.len);
	buf_free(&out);
}

static void text_frame(struct peer *p, const char *text)
{
	frame(p, TEXT, text, strlen(text));
}

static void close_frame(struct peer *p, unsigned code, const char *reason)
{
	char payload[125];

	payload[0] = (char)(code >> 8);
	payload[1] = (char)code;
	memcpy(payload + 2, reason, strlen(reason));
	frame(p, CLOSE, payload, 2 + strlen(reason));
}

// Reads one frame of the client, which must be masked. Returns its first byte, 0 at the end of the stream.
static unsigned take_frame(struct peer *p, struct buf *payload)
{
	unsigned char head[2], more[8], mask[4];
	uint64_t len;
	size_t extra;

	buf_clear(payload);
	if (!take(p, head, 2))
		return 0;
	EXPECT(head[1] & 0x80);
	len = head[1] & 0x7f;
	extra = len == 126 ? 2 : len == 127 ? 8 : 0;
	if (extra && !take(p, more, extra))
		return 0;
	if (extra)
		len = 0;
	for (size_t i = 0; i < extra; i++)
		len = len << 8 | more[i];
	if (!take(p, mask, 4))
		return 0;
	payload->data = xrealloc(payload->data, len + 1);
	payload->cap = len + 1;
	payload->len = len;
	if (!take(p, payload->data, len))
		return 0;
	for (size_t i = 0; i < len; i++)
		payload->data[i] = (char)(payload->data[i] ^ mask[i % 4]);
	payload->data[len] = '\0';
	return head[0];
}

static void expect_frame(struct peer *p, unsigned first, const char *text, size_t len)
{
	struct buf payload = {0};

	EXPECT(take_frame(p, &payload) == first);
	EXPECT(payload.len == len && (len == 0 || memcmp(payload.data, text, len) == 0));
	buf_free(&payload);
}

static void expect_close(struct peer *p, unsigned code)
{
	struct buf payload = {0};

	EXPECT(take_frame(p, &payload) == CLOSE);
	EXPECT(payload.len >= 2 && ((unsigned char)payload.data[0] << 8 | (unsigned char)payload.data[1]) == (int)code);
	buf_free(&payload);
}

static void expect_end(struct peer *p)
{
	char byte;

	EXPECT(!take(p, &byte, 1));
}

static void take_request(struct peer *p)
{
	size_t len = 0;
	char *key;

	while (len < sizeof(p->request) - 1 && take(p, p->request + len, 1)) {
		p->request[++len] = '\0';
		if (str_ends(p->request, "\r\n\r\n"))
			break;
	}
	key = strcasestr(p->request, "Sec-WebSocket-Key: ");
	if (key)
		sscanf(key + 19, "%60[^\r\n]", p->key);
}

static void append_accept(struct peer *p, struct buf *out)
{
	unsigned char digest[EVP_MAX_MD_SIZE], text[64];
	char joined[128];
	unsigned len;

	snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", p->key);
	EVP_Digest(joined, strlen(joined), digest, &len, EVP_sha1(), NULL);
	EVP_EncodeBlock(text, digest, (int)len);
	buf_printf(out,
		   "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
		   "SEC-WEBSOCKET-ACCEPT:%s \r\n\r\n",
		   (char *)text);
}

static void shake_hands(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	put(p, out.data, out.len);
	buf_free(&out);
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;

	p->fd = accept(p->listener, NULL, NULL);
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 60}, sizeof(struct timeval));
	if (p->tls) {
		p->ssl = SSL_new(p->tls);
		SSL_set_fd(p->ssl, p->fd);
		if (SSL_accept(p->ssl) != 1) {
			SSL_free(p->ssl);
			p->ssl = NULL;
			close(p->fd);
			return NULL;
		}
	}
	p->script(p);
	SSL_free(p->ssl); // does not send close_notify
	p->ssl = NULL;
	close(p->fd);
	return NULL;
}

static void peer_start(void (*script)(struct peer *))
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	SSL_CTX *tls = peer.tls;

	memset(&peer, 0, sizeof(peer));
	peer.tls = tls;
	peer.script = script;
	sem_init(&peer.over, 0, 0);
	peer.listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(peer.listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(peer.listener, 4), 0);
	getsockname(peer.listener, (struct sockaddr *)&address, &len);
	peer.port = ntohs(address.sin_port);
	pthread_create(&peer.thread, NULL, peer_main, &peer);
}

static void peer_join(void)
{
	pthread_join(peer.thread, NULL);
	close(peer.listener);
	if (peer.failed_line)
		fail_msg("the peer's expectation in line %d was not met", peer.failed_line);
}

// --- the client ---

static struct loop *loop;
static struct websocket *ws;
static struct {
	unsigned opened, messages, ended;
	size_t bytes;
	char last[64], log[256];
	struct websocket_end end;
	char body[2048];
} got;
static enum { FREE_NOWHERE, FREE_IN_OPEN, FREE_IN_MESSAGE, FREE_IN_END } free_where;
static void (*open_action)(void);

static void free_here(void)
{
	ws = websocket_free(ws);
	loop_stop(loop);
}

static void on_open(void *arg)
{
	assert_ptr_equal(arg, &got);
	assert_int_equal(got.messages, 0);
	got.opened++;
	if (free_where == FREE_IN_OPEN)
		free_here();
	else if (open_action)
		open_action();
}

static void on_message(const char *data, size_t len, bool binary, void *arg)
{
	(void)arg;
	assert_int_equal(data[len], 0);
	got.messages++;
	got.bytes += len;
	snprintf(got.last, sizeof(got.last), "%s", data);
	if (strlen(got.log) + len + 4 < sizeof(got.log)) {
		strcat(got.log, binary ? "#" : "");
		strcat(got.log, data);
		strcat(got.log, ";");
	}
	if (free_where == FREE_IN_MESSAGE)
		free_here();
}

static void on_end(const struct websocket_end *end, void *arg)
{
	(void)arg;
	assert_int_equal(got.ended, 0);
	got.ended++;
	sem_post(&peer.over);
	got.end = *end;
	snprintf(got.body, sizeof(got.body), "%s", end->body);
	// Exactly one way to end.
	assert_int_equal((end->close_code != 0) + end->eof + (end->result != 0) + (end->http_status != 0), 1);
	assert_true(end->error.message[0] != '\0');
	assert_int_equal(websocket_send(ws, "x", 1), -ENOTCONN);
	if (free_where == FREE_IN_END)
		free_here();
	loop_stop(loop);
}

static const struct websocket_callbacks callbacks = {.on_open = on_open, .on_message = on_message, .on_end = on_end};

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("the session did not end");
}

static void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void run_for(unsigned real_ms, void (*callback)(void *))
{
	struct timer timer;

	timer_init(&timer, loop, callback, NULL);
	timer_start(&timer, (uint64_t)(real_ms * SCALE));
	loop_run(loop);
	timer_done(&timer);
}

static void open_url(const char *url, const struct websocket_options *more)
{
	struct websocket_options options = more ? *more : (struct websocket_options){.url = NULL};

	memset(&got, 0, sizeof(got));
	options.url = url;
	ws = websocket_open(loop, &options, &callbacks, &got);
	assert_int_equal(got.opened + got.ended, 0);
	assert_int_equal(websocket_send(ws, "x", 1), -ENOTCONN);
}

// Runs one session with a peer that follows the script, to its end.
static void session_with(void (*script)(struct peer *), const struct websocket_options *more)
{
	char url[128];

	peer_start(script);
	snprintf(url, sizeof(url), "%s:%d/ws?a=b%%20c", peer.tls ? "wss://localhost" : "ws://127.0.0.1", peer.port);
	open_url(url, more);
	run_for(60000, too_long);
	ws = websocket_free(ws);
	peer_join();
}

static void session(void (*script)(struct peer *))
{
	session_with(script, NULL);
}

static int setup(void **state)
{
	(void)state;
	unsetenv("HTTP_PROXY");
	unsetenv("HTTPS_PROXY");
	unsetenv("NO_PROXY");
	free_where = FREE_NOWHERE;
	open_action = NULL;
	loop = loop_new(SCALE, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ws = websocket_free(ws);
	loop = loop_free(loop);
	return 0;
}

// --- a whole session ---

static void say_hello(void)
{
	assert_int_equal(websocket_send(ws, "hello", 5), 0);
}

static void script_session(struct peer *p)
{
	struct buf out = {0};
	char want[128];

	take_request(p);
	EXPECT(str_starts(p->request, "GET /ws?a=b%20c HTTP/1.1\r\nHost: "));
	snprintf(want, sizeof(want), "Host: %s:%d\r\n", p->tls ? "localhost" : "127.0.0.1", p->port);
	EXPECT(strstr(p->request, want));
	EXPECT(strstr(p->request, "\r\nSec-WebSocket-Version: 13\r\n"));
	EXPECT(strlen(p->key) == 24);
	// The first frames come in one piece with the answer; one of them is cut.
	append_accept(p, &out);
	frame_head(&out, TEXT, 5);
	buf_append(&out, "glued", 5);
	frame_head(&out, TEXT, 3);
	buf_append(&out, "cu", 2);
	put(p, out.data, out.len);
	buf_free(&out);
	expect_frame(p, TEXT, "hello", 5); // before the PING, whose answer may overtake
	put(p, "t", 1);
	frame(p, TEXT_FIRST, "frag", 4);
	frame(p, PING, "are you there", 13);
	frame(p, REST_LAST, "mented", 6);
	frame(p, BINARY, "\x01\x00\x02", 3);
	text_frame(p, "");
	expect_frame(p, PONG, "are you there", 13);
	close_frame(p, 1000, "bye");
	expect_close(p, 1000);
	expect_end(p);
}

static void check_session(void)
{
	assert_int_equal(got.opened, 1);
	assert_string_equal(got.log, "glued;cut;fragmented;#\x01;;");
	assert_int_equal(got.ended, 1);
	assert_true(got.end.opened);
	assert_int_equal(got.end.close_code, 1000);
	assert_non_null(strstr(got.end.error.message, "closed by the peer with code 1000: bye"));
}

static void test_session(void **state)
{
	static const struct http_header headers[] = {{"X-Amz-Date", "now"}, {"Host", "wrong"}};
	const struct websocket_options options = {.headers = headers, .header_count = 2};

	(void)state;
	open_action = say_hello;
	session_with(script_session, &options);
	check_session();
	assert_non_null(strstr(peer.request, "\r\nX-Amz-Date: now\r\n"));
	assert_null(strstr(peer.request, "wrong"));
}

static void script_byte_by_byte(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	frame_head(&out, TEXT, 3);
	buf_append(&out, "abc", 3);
	frame_head(&out, CLOSE, 0);
	for (size_t i = 0; i < out.len; i++) {
		put(p, out.data + i, 1);
		usleep(200);
	}
	buf_free(&out);
	expect_frame(p, CLOSE, "", 0); // a close frame without a code is echoed without one
	expect_end(p);
}

static void test_byte_by_byte(void **state)
{
	(void)state;
	session(script_byte_by_byte);
	assert_string_equal(got.log, "abc;");
	assert_int_equal(got.end.close_code, 1005);
}

// --- close codes and other ends ---

static unsigned script_code;
static const char script_reason[] = "because";

static void script_close(struct peer *p)
{
	shake_hands(p);
	close_frame(p, script_code, script_reason);
	expect_close(p, script_code);
	expect_end(p);
}

static void test_close_codes(void **state)
{
	static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
					 1011, 1012, 1013, 1014, 3000, 4000, 4999};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		script_code = codes[i];
		session(script_close);
		assert_non_null(strstr(got.end.error.message, script_reason));
		assert_int_equal(got.end.close_code, codes[i]);
		assert_int_equal(got.end.result, 0);
	}
}

static void script_eof(struct peer *p)
{
	shake_hands(p);
	text_frame(p, "last words");
}

static void script_reset(struct peer *p)
{
	shake_hands(p);
	usleep(5000);
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
}

static void test_abrupt_ends(void **state)
{
	(void)state;
	session(script_eof);
	assert_string_equal(got.log, "last words;");
	assert_true(got.end.eof);
	assert_true(got.end.opened);
	session(script_reset);
	assert_int_equal(got.end.result, -ECONNRESET);
}

// --- handshake ---

static const char *script_text;

static void script_answer(struct peer *p)
{
	take_request(p);
	put_text(p, script_text);
}

static void script_answer_and_wait(struct peer *p)
{
	script_answer(p);
	expect_end(p); // the client knows by itself when it has all
}

static void test_refusals(void **state)
{
	char big[1100], expected_big[1025];
	_cleanup_free_ char *with_big = NULL;
	struct {
		const char *text, *body;
		int status;
		bool complete;
	} cases[] = {
		{"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nforbidden", "forbidden", 403, true},
		{"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "", 400, true},
		{"HTTP/1.1 503 X\r\n\r\nuntil the end", "until the end", 503, false},
		{"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n7;x=y\r\n second\r\n0\r\n\r\n",
		 "first second", 400, true},
		{"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nfirst", "first", 400,
		 false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nshort", "short", 200, false},
		{NULL, expected_big, 500, true},
	};

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	memcpy(expected_big, big, 1024);
	expected_big[1024] = '\0';
	with_big = xasprintf("HTTP/1.1 500 X\r\nContent-Length: 5000\r\n\r\n%s", big);
	cases[ARRAY_SIZE(cases) - 1].text = with_big;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		script_text = cases[i].text;
		session(cases[i].complete ? script_answer_and_wait : script_answer);
		assert_false(got.end.opened);
		assert_int_equal(got.end.http_status, cases[i].status);
		assert_int_equal(got.end.result, 0);
		assert_string_equal(got.body, cases[i].body);
	}
}

static void test_bad_handshakes(void **state)
{
	static const struct {
		const char *text, *message;
		int code;
	} cases[] = {
		{"", "closed during the handshake", ECONNRESET},
		{"HTTP/1.1 101 X\r\nUpgrade: webso", "closed during the handshake", ECONNRESET},
		{"SSH-2.0\r\n\r\n", "not HTTP", EPROTO},
		{"HTTP/1.1 x01\r\n\r\n", "not HTTP", EPROTO},
		{"HTTP/1.1 101 X\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websockets\r\nConnection: upgrade\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "wrong Sec-WebSocket-Accept",
		 EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
		 "wrong Sec-WebSocket-Accept", EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		script_text = cases[i].text;
		session(script_answer);
		assert_int_equal(got.opened, 0);
		assert_int_equal(got.end.result, -cases[i].code);
		assert_non_null(strstr(got.end.error.message, cases[i].message));
	}
}

static void script_endless_head(struct peer *p)
{
	char line[1000];

	take_request(p);
	memset(line, 'x', sizeof(line));
	put_text(p, "HTTP/1.1 101 X\r\n");
	for (int i = 0; i < 20; i++)
		put(p, line, sizeof(line));
	expect_end(p);
}

static void test_endless_head(void **state)
{
	(void)state;
	session(script_endless_head);
	assert_int_equal(got.end.result, -EPROTO);
	assert_non_null(strstr(got.end.error.message, "too long"));
}

static void end_with(const char *url, const struct websocket_options *more, int code)
{
	open_url(url, more);
	run_for(60000, too_long);
	assert_int_equal(got.end.result, -code);
	ws = websocket_free(ws);
}

static void test_no_connection(void **state)
{
	static const struct http_header bad = {"X", "a\nb"};
	const struct websocket_options bad_header = {.headers = &bad, .header_count = 1};

	(void)state;
	peer_start(script_eof); // only for its port
	shutdown(peer.listener, SHUT_RDWR);
	close(peer.listener);
	pthread_join(peer.thread, NULL);
	{
		_cleanup_free_ char *url = xasprintf("ws://127.0.0.1:%d", peer.port);
		_cleanup_free_ char *text = xasprintf("connect to 127.0.0.1:%d: connection refused", peer.port);

		end_with(url, NULL, ECONNREFUSED);
		assert_string_equal(got.end.error.message, text);
		end_with(url, &bad_header, EINVAL);
	}
	end_with("ftp://127.0.0.1/", NULL, EINVAL);
	end_with("no url", NULL, EINVAL);
	end_with("ws://127.0.0.1/a b", NULL, EINVAL);
	end_with("ws://127.0.0.1/a\r\nX: y", NULL, EINVAL);
	end_with("wss://no-such-host.invalid/", NULL, EHOSTUNREACH);
	// Freed or closed before anything has happened.
	open_url("ws://127.0.0.1:1/", NULL);
	ws = websocket_free(ws);
	run_for(10, stop_loop);
	assert_int_equal(got.ended, 0);
	open_url("ws://127.0.0.1:1/", NULL);
	websocket_close(ws, 1000, "changed my mind");
	run_for(60000, too_long);
	assert_int_equal(got.end.result, -ECANCELED);
}

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

// --- freeing in callbacks ---

static void script_chatter(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	for (int i = 0; i < 3; i++) {
		frame_head(&out, TEXT, 2);
		buf_append(&out, "hi", 2);
	}
	frame_head(&out, CLOSE, 0);
	put(p, out.data, out.len);
	buf_free(&out);
}

static void test_free_in_callbacks(void **state)
{
	(void)state;
	for (free_where = FREE_IN_OPEN; free_where <= FREE_IN_END; free_where++) {
		session(script_chatter);
		assert_null(ws);
		assert_int_equal(got.opened, 1);
		assert_int_equal(got.messages, free_where == FREE_IN_OPEN ? 0 : free_where == FREE_IN_MESSAGE ? 1 : 3);
		assert_int_equal(got.ended, free_where == FREE_IN_END);
	}
}

// --- TLS ---

static char cert_path[] = "/tmp/test_websocket_XXXXXX";

// A key and a certificate for "localhost", self-signed, made for this run.
static int setup_tls(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	int fd = mkstemp(cert_path);
	FILE *file = fdopen(fd, "w");

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	X509_add_ext(cert, alt, -1);
	X509_sign(cert, key, EVP_sha256());
	PEM_write_X509(file, cert);
	fclose(file);
	peer.tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(peer.tls, cert);
	SSL_CTX_use_PrivateKey(peer.tls, key);
	X509_EXTENSION_free(alt);
	X509_free(cert);
	EVP_PKEY_free(key);
	return setup(state);
}

static int teardown_tls(void **state)
{
	SSL_CTX_free(peer.tls);
	peer.tls = NULL;
	unsetenv("SSL_CERT_FILE");
	unlink(cert_path);
	return teardown(state);
}

// Many small messages in few TLS records: what OpenSSL holds back is read without the socket being readable again.
static void script_tls_burst(struct peer *p)
{
	struct buf out = {0};

	shake_hands(p);
	for (int i = 0; i < 6000; i++) {
		frame_head(&out, TEXT, 3);
		buf_append(&out, "msg", 3);
	}
	put(p, out.data, out.len);
	buf_free(&out);
	expect_frame(p, TEXT, "hello", 5);
	// Then the end of TCP without TLS's close_notify.
}

static void script_tls_notify(struct peer *p)
{
	shake_hands(p);
	SSL_shutdown(p->ssl);
}

static void script_none(struct peer *p)
{
	(void)p;
}

static void test_tls(void **state)
{
	struct websocket_options insecure = {.insecure = true};

	(void)state;
	open_action = say_hello;
	session_with(script_session, &insecure);
	check_session();
	session_with(script_tls_burst, &insecure);
	assert_int_equal(got.messages, 6000);
	assert_true(got.end.eof);
	open_action = NULL;
	session_with(script_tls_notify, &insecure);
	assert_true(got.end.eof);

	session(script_none);
	assert_int_equal(got.end.result, -EPROTO);
	assert_false(got.end.opened);
	// With the certificate trusted, the host verifies although the URL has a port.
	setenv("SSL_CERT_FILE", cert_path, 1);
	session(script_tls_notify);
	assert_true(got.end.opened);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_codes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abrupt_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless_head, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_violations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_volume, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_in_callbacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tls, setup_tls, teardown_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
