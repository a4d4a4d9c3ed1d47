// An HTTP server in this process, and what the client reports of its answers.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/http.h"
#include "common/transport.h"
#include "common/util.h"
#include "test_slow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SCALE (under_valgrind() ? 1.0 : 10.0)

static struct loop *loop;
static struct http_client *client;
static struct evhttp *server;
static char base_url[48], unix_path[64];
static unsigned connections, requests;
static struct evhttp_request *held[8]; // requests that are not answered
static size_t held_count;
static struct evhttp_request *stuck; // one that is answered by half

// --- the server ---

static inline struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	(void)arg;
	connections++;
	return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

static inline const char *method_name(enum evhttp_cmd_type method)
{
	switch (method) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	default:
		return "OTHER";
	}
}

// Answers with what has arrived: method, all headers, body.
static inline void echo(struct evhttp_request *request)
{
	struct evbuffer *out = evbuffer_new();
	struct evkeyval *pair;

	evbuffer_add_printf(out, "%s %s\n", method_name(evhttp_request_get_command(request)),
			    evhttp_request_get_uri(request));
	for (pair = evhttp_request_get_input_headers(request)->tqh_first; pair; pair = pair->next.tqe_next)
		evbuffer_add_printf(out, "%s: %s\n", pair->key, pair->value);
	evbuffer_add_printf(out, "\n");
	evbuffer_add_buffer(out, evhttp_request_get_input_buffer(request));
	evhttp_add_header(evhttp_request_get_output_headers(request), "X-Answer", "forty two");
	evhttp_send_reply(request, 200, "OK", out);
	evbuffer_free(out);
}

static inline void answer(struct evhttp_request *request, int status, const void *data, size_t len)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, data, len);
	evhttp_send_reply(request, status, "Reason", out);
	evbuffer_free(out);
}

static inline void answer_big(struct evhttp_request *request, int status)
{
	char *text = xmalloc(1 << 20);

	memset(text, 'x', 1 << 20);
	answer(request, status, text, 1 << 20);
	free(text);
}

static inline void chunk(struct evhttp_request *request, const char *text)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, text, strlen(text));
	evhttp_send_reply_chunk(request, out);
	evbuffer_free(out);
}

static struct timer stream_timer;
static unsigned stream_chunks;

// Three chunks, 50 ms of loop time apart.
static inline void next_chunk(void *arg)
{
	char text[16];

	if (stream_chunks == 3) {
		evhttp_send_reply_end(arg);
		return;
	}
	snprintf(text, sizeof(text), "chunk%u;", stream_chunks++);
	chunk(arg, text);
	timer_start(&stream_timer, 50);
}

static inline void on_request(struct evhttp_request *request, void *arg)
{
	static const unsigned char gzip_hello[] = {0x1f, 0x8b, 8, 0, 0,    0,    0,    0,    2, 3, 0xcb, 0x48, 0xcd,
						   0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0,    0};
	const char *uri = evhttp_request_get_uri(request);

	(void)arg;
	requests++;
	if (strcmp(uri, "/hold") == 0) {
		held[held_count++] = request;
	} else if (strcmp(uri, "/big") == 0) {
		answer_big(request, 200);
	} else if (strcmp(uri, "/big404") == 0) {
		answer_big(request, 404);
	} else if (strcmp(uri, "/404") == 0) {
		answer(request, 404, "nothing here", 12);
	} else if (strcmp(uri, "/gzip") == 0) {
		evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Encoding", "gzip");
		answer(request, 200, gzip_hello, sizeof(gzip_hello));
	} else if (strcmp(uri, "/cut") == 0) {
		evhttp_connection_free(evhttp_request_get_connection(request)); // done, but nobody is told
	} else if (strcmp(uri, "/redirect") == 0) {
		evhttp_add_header(evhttp_request_get_output_headers(request), "Location", "/404");
		answer(request, 302, "", 0);
	} else if (strcmp(uri, "/stream") == 0 || strcmp(uri, "/stuck") == 0) {
		evhttp_send_reply_start(request, 200, "OK");
		stream_chunks = 0;
		if (strcmp(uri, "/stream") == 0) {
			timer_init(&stream_timer, loop, next_chunk, request);
			next_chunk(request);
		} else {
			chunk(request, "first");
			stuck = request;
		}
	} else {
		echo(request);
	}
}

// --- what the client reports ---

struct result {
	unsigned count, data_count, headers_count;
	int code;
	long status, headers_status;
	bool sent;
	char message[ERROR_MESSAGE_MAX], body[2048], data[256], answer[32];
	size_t body_len;
	struct http_call *call;
};

static struct result results[4];
static unsigned expected, finished;

static inline void on_done(const struct http_response *response, void *arg)
{
	struct result *result = arg;
	const char *header = response->header(response, "x-ANSWER");

	result->count++;
	result->code = response->result;
	result->status = response->status;
	result->sent = response->sent;
	result->body_len = response->body_len;
	assert_int_equal(response->body[response->body_len], 0);
	snprintf(result->message, sizeof(result->message), "%s", response->result ? response->error.message : "");
	snprintf(result->body, sizeof(result->body), "%s", response->body);
	snprintf(result->answer, sizeof(result->answer), "%s", header ? header : "");
	assert_null(response->header(response, "X-Missing"));
	if (++finished >= expected)
		loop_stop(loop);
}

static inline int on_data(const char *data, size_t len, void *arg)
{
	struct result *result = arg;

	result->data_count++;
	strncat(result->data, data, len < 64 ? len : 64);
	return 0;
}

static inline void on_headers(long status, void *arg)
{
	struct result *result = arg;

	assert_int_equal(result->data_count, 0);
	result->headers_count++;
	result->headers_status = status;
}

static inline void too_long(void *arg)
{
	(void)arg;
	fail_msg("the loop did not end");
}

static inline void run(unsigned count)
{
	struct timer guard;

	expected = count;
	finished = 0;
	timer_init(&guard, loop, too_long, NULL);
	timer_start(&guard, (uint64_t)(30000 * SCALE));
	loop_run(loop);
	timer_done(&guard);
}

// Lets the loop go on for some milliseconds of real time, to see that nothing comes after.
static inline void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static inline void settle(unsigned real_ms)
{
	struct timer timer;

	expected = 99;
	timer_init(&timer, loop, stop_loop, NULL);
	timer_start(&timer, (uint64_t)(real_ms * SCALE));
	loop_run(loop);
	timer_done(&timer);
}

// At most 30 s; the assertions that follow tell what has not come.
#define SETTLE_UNTIL(condition)                                         \
	do {                                                            \
		for (unsigned ms = 0; ms < 30000 && !(condition); ms++) \
			settle(1);                                      \
	} while (0)

static inline struct http_request get(const char *path)
{
	static char urls[8][128];
	static unsigned next;
	char *url = urls[next++ % 8];

	snprintf(url, sizeof(urls[0]), "%s%s", base_url, path);
	return (struct http_request){.method = "GET", .url = url};
}

static inline struct result *send_one(const struct http_request *request, size_t slot)
{
	memset(&results[slot], 0, sizeof(results[slot]));
	results[slot].call = http_send(client, request, on_done, &results[slot]);
	assert_int_equal(results[slot].count, 0); // never from inside http_send
	return &results[slot];
}

static inline struct result *fetch(const struct http_request *request)
{
	struct result *result = send_one(request, 0);

	run(1);
	assert_int_equal(result->count, 1);
	return result;
}

// --- fixtures ---

static inline void listen_unix(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct evconnlistener *listener;

	snprintf(unix_path, sizeof(unix_path), "/tmp/test_http_%d.sock", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", unix_path);
	unlink(unix_path);
	listener = evconnlistener_new_bind(loop_base(loop), NULL, NULL, LEV_OPT_CLOSE_ON_FREE, 8,
					   (struct sockaddr *)&address, sizeof(address));
	assert_non_null(listener);
	assert_non_null(evhttp_bind_listener(server, listener));
}

static inline int setup(void **state)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	struct evhttp_bound_socket *bound;

	(void)state;
	for (const char *const *name = (const char *[]){"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
							"https_proxy", "no_proxy", NULL};
	     *name; name++)
		unsetenv(*name);
	connections = requests = 0;
	held_count = 0;
	loop = loop_new(SCALE, NULL);
	client = http_client_new(loop, NULL);
	server = evhttp_new(loop_base(loop));
	evhttp_set_gencb(server, on_request, NULL);
	evhttp_set_bevcb(server, on_connection, NULL);
	evhttp_set_allowed_methods(server, 0xffff);
	bound = evhttp_bind_socket_with_handle(server, "127.0.0.1", 0);
	assert_non_null(bound);
	getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
	snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d", ntohs(address.sin_port));
	listen_unix();
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	client = http_client_free(client);
	http_client_free(NULL);
	settle(1); // the server notices that its peers are gone; what it has not answered is then ours to end
	while (held_count > 0)
		evhttp_send_reply(held[--held_count], 200, "OK", NULL);
	if (stuck)
		evhttp_send_reply_end(stuck);
	stuck = NULL;
	if (stream_timer.loop)
		timer_done(&stream_timer);
	evhttp_free(server);
	loop = loop_free(loop);
	unlink(unix_path);
	return 0;
}
