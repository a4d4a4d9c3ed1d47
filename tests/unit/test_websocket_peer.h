// A peer of the WebSocket client on a thread, which speaks scripted bytes over TCP and TLS, and the client's sessions with it.
#pragma once

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
static inline bool put(struct peer *p, const void *data, size_t len)
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

static inline void put_text(struct peer *p, const char *text)
{
	put(p, text, strlen(text));
}

// Reads exactly len bytes; false at the end of the stream.
static inline bool take(struct peer *p, void *data, size_t len)
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

static inline void frame_head(struct buf *out, unsigned first, size_t len)
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

static inline void frame(struct peer *p, unsigned first, const void *payload, size_t len)
{
	struct buf out = {0};

	frame_head(&out, first, len);
	buf_append(&out, payload, len);
	put(p, out.data, out.len);
	buf_free(&out);
}

static inline void text_frame(struct peer *p, const char *text)
{
	frame(p, TEXT, text, strlen(text));
}

static inline void close_frame(struct peer *p, unsigned code, const char *reason)
{
	char payload[125];

	payload[0] = (char)(code >> 8);
	payload[1] = (char)code;
	memcpy(payload + 2, reason, strlen(reason));
	frame(p, CLOSE, payload, 2 + strlen(reason));
}

// Reads one frame of the client, which must be masked. Returns its first byte, 0 at the end of the stream.
static inline unsigned take_frame(struct peer *p, struct buf *payload)
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

static inline void expect_frame(struct peer *p, unsigned first, const char *text, size_t len)
{
	struct buf payload = {0};

	EXPECT(take_frame(p, &payload) == first);
	EXPECT(payload.len == len && (len == 0 || memcmp(payload.data, text, len) == 0));
	buf_free(&payload);
}

static inline void expect_close(struct peer *p, unsigned code)
{
	struct buf payload = {0};

	EXPECT(take_frame(p, &payload) == CLOSE);
	EXPECT(payload.len >= 2 && ((unsigned char)payload.data[0] << 8 | (unsigned char)payload.data[1]) == (int)code);
	buf_free(&payload);
}

static inline void expect_end(struct peer *p)
{
	char byte;

	EXPECT(!take(p, &byte, 1));
}

static inline void take_request(struct peer *p)
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

static inline void append_accept(struct peer *p, struct buf *out)
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

static inline void shake_hands(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	put(p, out.data, out.len);
	buf_free(&out);
}

static inline void *peer_main(void *arg)
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

static inline void peer_start(void (*script)(struct peer *))
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

static inline void peer_join(void)
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

static inline void free_here(void)
{
	ws = websocket_free(ws);
	loop_stop(loop);
}

static inline void on_open(void *arg)
{
	assert_ptr_equal(arg, &got);
	assert_int_equal(got.messages, 0);
	got.opened++;
	if (free_where == FREE_IN_OPEN)
		free_here();
	else if (open_action)
		open_action();
}

static inline void on_message(const char *data, size_t len, bool binary, void *arg)
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

static inline void on_end(const struct websocket_end *end, void *arg)
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

static inline void too_long(void *arg)
{
	(void)arg;
	fail_msg("the session did not end");
}

static inline void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static inline void run_for(unsigned real_ms, void (*callback)(void *))
{
	struct timer timer;

	timer_init(&timer, loop, callback, NULL);
	timer_start(&timer, (uint64_t)(real_ms * SCALE));
	loop_run(loop);
	timer_done(&timer);
}

static inline void open_url(const char *url, const struct websocket_options *more)
{
	struct websocket_options options = more ? *more : (struct websocket_options){.url = NULL};

	memset(&got, 0, sizeof(got));
	options.url = url;
	ws = websocket_open(loop, &options, &callbacks, &got);
	assert_int_equal(got.opened + got.ended, 0);
	assert_int_equal(websocket_send(ws, "x", 1), -ENOTCONN);
}

// Runs one session with a peer that follows the script, to its end.
static inline void session_with(void (*script)(struct peer *), const struct websocket_options *more)
{
	char url[128];

	peer_start(script);
	snprintf(url, sizeof(url), "%s:%d/ws?a=b%%20c", peer.tls ? "wss://localhost" : "ws://127.0.0.1", peer.port);
	open_url(url, more);
	run_for(60000, too_long);
	ws = websocket_free(ws);
	peer_join();
}

static inline void session(void (*script)(struct peer *))
{
	session_with(script, NULL);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
	(void)state;
	ws = websocket_free(ws);
	loop = loop_free(loop);
	return 0;
}
