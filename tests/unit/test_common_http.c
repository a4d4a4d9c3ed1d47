// The HTTP client against a libevent server on the same loop, and against a scripted peer on a thread.
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

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	(void)arg;
	connections++;
	return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

static const char *method_name(enum evhttp_cmd_type method)
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
static void echo(struct evhttp_request *request)
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

static void answer(struct evhttp_request *request, int status, const void *data, size_t len)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, data, len);
	evhttp_send_reply(request, status, "Reason", out);
	evbuffer_free(out);
}

static void answer_big(struct evhttp_request *request, int status)
{
	char *text = xmalloc(1 << 20);

	memset(text, 'x', 1 << 20);
	answer(request, status, text, 1 << 20);
	free(text);
}

static void chunk(struct evhttp_request *request, const char *text)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, text, strlen(text));
	evhttp_send_reply_chunk(request, out);
	evbuffer_free(out);
}

static struct timer stream_timer;
static unsigned stream_chunks;

// Three chunks, 50 ms of loop time apart.
static void next_chunk(void *arg)
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

static void on_request(struct evhttp_request *request, void *arg)
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

static void on_done(const struct http_response *response, void *arg)
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

static int on_data(const char *data, size_t len, void *arg)
{
	struct result *result = arg;

	result->data_count++;
	strncat(result->data, data, len < 64 ? len : 64);
	return 0;
}

static void on_headers(long status, void *arg)
{
	struct result *result = arg;

	assert_int_equal(result->data_count, 0);
	result->headers_count++;
	result->headers_status = status;
}

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("the loop did not end");
}

static void run(unsigned count)
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
static void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void settle(unsigned real_ms)
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

static struct http_request get(const char *path)
{
	static char urls[8][128];
	static unsigned next;
	char *url = urls[next++ % 8];

	snprintf(url, sizeof(urls[0]), "%s%s", base_url, path);
	return (struct http_request){.method = "GET", .url = url};
}

static struct result *send_one(const struct http_request *request, size_t slot)
{
	memset(&results[slot], 0, sizeof(results[slot]));
	results[slot].call = http_send(client, request, on_done, &results[slot]);
	assert_int_equal(results[slot].count, 0); // never from inside http_send
	return &results[slot];
}

static struct result *fetch(const struct http_request *request)
{
	struct result *result = send_one(request, 0);

	run(1);
	assert_int_equal(result->count, 1);
	return result;
}

// --- fixtures ---

static void listen_unix(void)
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

static int setup(void **state)
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

static int teardown(void **state)
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

// --- tests ---

static void test_get(void **state)
{
	struct http_request request = get("/a/../b?c=%20d");
	struct result *result = fetch(&request);

	(void)state;
	assert_int_equal(result->code, 0);
	assert_int_equal(result->status, 200);
	assert_true(result->sent);
	assert_string_equal(result->answer, "forty two");
	assert_true(str_starts(result->body, "GET /a/../b?c=%20d\nHost: 127.0.0.1:"));
	// Nothing that was not asked for.
	assert_null(strstr(result->body, "Accept"));
	assert_null(strstr(result->body, "User-Agent"));
	assert_null(strstr(result->body, "Content"));
}

static void test_post(void **state)
{
	static const struct http_header headers[] = {{"X-Amz-Target", "A.B"}, {"Empty", ""}, {"Content-Type", "a/b"}};
	struct http_request request = get("/");
	char body[3000];
	struct result *result;

	(void)state;
	memset(body, 'b', sizeof(body));
	request.method = "POST";
	request.headers = headers;
	request.header_count = ARRAY_SIZE(headers);
	request.body = body;
	request.body_len = 1500; // beyond curl's own limit for "Expect: 100-continue"
	result = fetch(&request);
	assert_non_null(strstr(result->body, "Content-Length: 1500\n"));
	assert_non_null(strstr(result->body, "X-Amz-Target: A.B\n"));
	assert_non_null(strstr(result->body, "Empty: \n"));
	assert_non_null(strstr(result->body, "Content-Type: a/b\n"));
	assert_null(strstr(result->body, "Expect"));
	assert_null(strstr(result->body, "Transfer-Encoding"));
	assert_non_null(strstr(result->body, "\n\nbbbbbb"));
	request.body = NULL;
	request.header_count = 0;
	result = fetch(&request);
	assert_true(str_starts(result->body, "POST"));
	assert_non_null(strstr(result->body, "Content-Length: 0\n"));
	assert_null(strstr(result->body, "Content-Type"));
	request.method = "PUT";
	assert_true(str_starts(fetch(&request)->body, "PUT"));
	request.method = "DELETE";
	result = fetch(&request);
	assert_true(str_starts(result->body, "DELETE"));
	assert_null(strstr(result->body, "Content-Length"));
	request.method = "HEAD";
	assert_int_equal(fetch(&request)->status, 200);
}

static void test_reuse(void **state)
{
	struct http_request request = get("/");

	(void)state;
	for (int i = 0; i < 5; i++)
		fetch(&request);
	assert_int_equal(connections, 1);
	for (size_t i = 0; i < 4; i++)
		send_one(&request, i);
	run(4);
	assert_int_equal(connections, 4);
	assert_int_equal(requests, 9);
}

// A request that gets no answer on a connection that was used before is sent again by curl, unless it must not be.
static void test_once(void **state)
{
	struct http_request use = get("/"), cut = {.method = "POST", .url = get("/cut").url, .once = true};

	(void)state;
	fetch(&use);
	requests = 0;
	assert_int_equal(fetch(&cut)->code, -ECONNRESET);
	assert_int_equal(requests, 1);
	fetch(&use); // the first connection is still there, the other one is not kept
	cut.url = use.url;
	fetch(&cut);
	assert_int_equal(connections, 3);
}

static void test_unix_socket(void **state)
{
	struct http_request request = {.method = "GET", .url = "http://docker/v1.41/info", .unix_socket = unix_path};
	struct result *result;
	char text[128];

	(void)state;
	setenv("HTTP_PROXY", "http://127.0.0.1:1", 1);
	result = fetch(&request);
	assert_true(str_starts(result->body, "GET /v1.41/info\nHost: docker\n"));
	fetch(&request);
	assert_int_equal(connections, 1);
	request.unix_socket = "/tmp/no/such.sock";
	result = fetch(&request);
	assert_int_equal(result->code, -ENOENT);
	assert_string_equal(result->message, "connect to unix:///tmp/no/such.sock: no such file or directory");
	assert_false(result->sent);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	request.unix_socket = text;
	assert_int_equal(fetch(&request)->code, -ENAMETOOLONG);
}

// A port that refuses: bound, not listened on, then closed.
static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	getsockname(fd, (struct sockaddr *)&address, &len);
	close(fd);
	return ntohs(address.sin_port);
}

static void test_failures(void **state)
{
	static const struct http_header bad = {"X", "a\r\nInjected: 1"};
	struct http_request request = {.method = "GET"};
	char url[64], text[128];
	struct result *result;
	int port = free_port();

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
	snprintf(text, sizeof(text), "connect to 127.0.0.1:%d: connection refused", port);
	request.url = url;
	result = fetch(&request);
	assert_int_equal(result->code, -ECONNREFUSED);
	assert_string_equal(result->message, text);
	assert_false(result->sent);
	request.url = "ftp://host/";
	assert_int_equal(fetch(&request)->code, -EINVAL);
	request.url = "http://[/";
	assert_int_equal(fetch(&request)->code, -EINVAL);
	request.url = "http://no-such-host.invalid/";
	result = fetch(&request);
	assert_int_equal(result->code, -EHOSTUNREACH);
	assert_string_equal(result->message, "connect to no-such-host.invalid:80: cannot resolve the host name");
	request = get("/");
	request.headers = &bad;
	request.header_count = 1;
	assert_int_equal(fetch(&request)->code, -EINVAL);
	// TLS against a server that speaks none.
	snprintf(url, sizeof(url), "https%s", base_url + 4);
	request = (struct http_request){.method = "GET", .url = url};
	result = fetch(&request);
	assert_int_equal(result->code, -EPROTO);
	assert_false(result->sent);
	assert_int_equal(requests, 0);
}

static void test_bodies(void **state)
{
	static const struct http_header accept_gzip = {"accept-encoding", "gzip"};
	struct http_request request = get("/404");
	struct result *result = fetch(&request);

	(void)state;
	assert_int_equal(result->code, 0);
	assert_int_equal(result->status, 404);
	assert_string_equal(result->body, "nothing here");
	request = get("/redirect");
	assert_int_equal(fetch(&request)->status, 302);
	request = get("/big");
	assert_int_equal(fetch(&request)->body_len, 1 << 20);
	request.max_body = 1 << 20;
	assert_int_equal(fetch(&request)->code, 0);
	request.max_body = (1 << 20) - 1;
	result = fetch(&request);
	assert_int_equal(result->code, -EMSGSIZE);
	assert_true(result->sent);
	assert_non_null(strstr(result->message, "larger than 1048575 bytes"));
	request = get("/gzip");
	assert_int_equal(fetch(&request)->body_len, 25);
	request.headers = &accept_gzip;
	request.header_count = 1;
	assert_string_equal(fetch(&request)->body, "hello");
	request = get("/");
	request.headers = &accept_gzip;
	request.header_count = 1;
	assert_non_null(strstr(fetch(&request)->body, "Accept-Encoding: gzip\n"));
}

static void test_stream(void **state)
{
	struct http_request request = get("/stream");
	struct result *result;

	(void)state;
	request.on_data = on_data;
	request.on_headers = on_headers;
	request.idle_timeout_ms = 2000;
	result = fetch(&request);
	assert_int_equal(result->code, 0);
	assert_int_equal(result->headers_count, 1);
	assert_int_equal(result->headers_status, 200);
	assert_string_equal(result->data, "chunk0;chunk1;chunk2;");
	assert_int_equal(result->body_len, 0);
	// What is no success is collected.
	request = get("/404");
	request.on_data = on_data;
	result = fetch(&request);
	assert_int_equal(result->data_count, 0);
	assert_string_equal(result->body, "nothing here");
	request = get("/big404");
	request.on_data = on_data;
	request.max_body = 1000;
	assert_int_equal(fetch(&request)->code, -EMSGSIZE);
}

static int refuse_data(const char *data, size_t len, void *arg)
{
	(void)data, (void)len, (void)arg;
	return 1;
}

static void test_stream_refused(void **state)
{
	struct http_request request = get("/big");

	(void)state;
	request.on_data = refuse_data;
	assert_int_equal(fetch(&request)->code, -ECANCELED);
}

static void test_timeouts(void **state)
{
	struct http_request request = get("/hold");
	struct result *result;
	uint64_t began = loop_now(loop);

	(void)state;
	request.timeout_ms = 500;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIMEDOUT);
	assert_true(result->sent);
	assert_non_null(strstr(result->message, "timed out after 500 ms"));
	assert_true(loop_now(loop) - began >= 500);
	request.timeout_ms = 0;
	request.idle_timeout_ms = 500;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIME);
	assert_non_null(strstr(result->message, "nothing received for 500 ms"));
	request = get("/stuck");
	request.idle_timeout_ms = 500;
	request.on_data = on_data;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIME);
	assert_string_equal(result->data, "first");
}

static void test_connect_timeout(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct http_request request = {.method = "GET", .connect_timeout_ms = 500};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct result *result;
	char url[64];

	(void)state;
	// TLS to a peer that never answers: connected by TCP, but not yet by the call's meaning.
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&address, &len);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", ntohs(address.sin_port));
	request.url = url;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIMEDOUT);
	assert_false(result->sent);
	assert_non_null(strstr(result->message, "connect to 127.0.0.1:"));
	close(fd);
}

static void test_cancel_outside(void **state)
{
	struct http_request request = get("/");

	(void)state;
	http_cancel(NULL);
	http_cancel(send_one(&request, 0)->call); // before curl has seen it
	request = get("/hold");
	send_one(&request, 1);
	SETTLE_UNTIL(held_count > 0);
	assert_int_equal(held_count, 1);
	http_cancel(results[1].call);
	settle(10);
	assert_int_equal(results[0].count + results[1].count, 0);
	assert_int_equal(requests, 1);
}

static int cancel_in_data(const char *data, size_t len, void *arg)
{
	struct result *result = arg;

	(void)data, (void)len;
	result->data_count++;
	http_cancel(results[0].call);
	http_cancel(results[1].call);
	http_cancel(results[0].call == result->call ? NULL : result->call);
	return 0;
}

static void cancel_in_headers(long status, void *arg)
{
	(void)status, (void)arg;
	http_cancel(results[2].call);
	client = http_client_free(client);
	loop_stop(loop);
}

static void test_cancel_inside(void **state)
{
	struct http_request hold = get("/hold"), big = get("/big");

	(void)state;
	big.on_data = cancel_in_data;
	send_one(&big, 0);
	send_one(&hold, 1);
	SETTLE_UNTIL(results[0].data_count > 0);
	assert_int_equal(results[0].data_count, 1);
	assert_int_equal(results[0].count + results[1].count, 0);
	// The client itself goes while curl is on the stack, with other calls in all states.
	big.on_headers = cancel_in_headers;
	send_one(&hold, 0);
	send_one(&big, 2);
	SETTLE_UNTIL(!client);
	assert_null(client);
	assert_int_equal(results[0].count + results[2].count, 0);
}

static void free_in_done(const struct http_response *response, void *arg)
{
	struct result *result = arg;

	assert_int_equal(response->result, 0);
	result->count++;
	http_cancel(result->call); // its own call: too late, and harmless
	client = http_client_free(client);
	assert_string_equal(response->header(response, "X-Answer"), "forty two"); // still there
	loop_stop(loop);
}

static void test_free_in_done(void **state)
{
	struct http_request request = get("/");

	(void)state;
	memset(results, 0, sizeof(results));
	results[0].call = http_send(client, &request, free_in_done, &results[0]);
	send_one(&request, 1);
	run(9);
	assert_int_equal(results[0].count, 1);
	settle(10);
	assert_int_equal(results[1].count, 0);
}

static int send_in_data(const char *data, size_t len, void *arg)
{
	struct http_request request = get("/");

	(void)data, (void)len, (void)arg;
	if (!results[1].call)
		send_one(&request, 1);
	return 0;
}

static void send_in_done(const struct http_response *response, void *arg)
{
	struct http_request request = get("/");

	assert_int_equal(response->result, 0);
	((struct result *)arg)->count++;
	send_one(&request, 2);
}

static void test_send_inside(void **state)
{
	struct http_request request = get("/stream");

	(void)state;
	memset(results, 0, sizeof(results));
	request.on_data = send_in_data;
	results[0].call = http_send(client, &request, send_in_done, &results[0]);
	run(2);
	assert_int_equal(results[0].count, 1);
	assert_int_equal(results[1].status, 200);
	assert_int_equal(results[2].status, 200);
}

// --- a peer that closes kept-alive connections ---

static void read_request(int fd)
{
	char text[4096];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			return;
		len += (size_t)n;
		text[len] = '\0';
		if (strstr(text, "\r\n\r\n"))
			return;
	}
}

static void *stale_peer(void *arg)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	int fd = accept(*(int *)arg, NULL, NULL);

	// The second request is read, and the connection closed instead of an answer.
	read_request(fd);
	(void)!write(fd, reply, sizeof(reply) - 1);
	read_request(fd);
	close(fd);
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	(void)!write(fd, reply, sizeof(reply) - 1);
	read_request(fd);
	// The third is answered by half: no retry can help.
	(void)!write(fd, reply, sizeof(reply) - 2);
	close(fd);
	// And on a fresh connection by nothing, and by half a head.
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	close(fd);
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	(void)!write(fd, reply, strlen("HTTP/1.1 200 OK\r\nContent-Le"));
	close(fd);
	return NULL;
}

static void test_stale_connection(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct http_request request = {.method = "POST", .url = "http://docker/", .body = "x", .body_len = 1};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	pthread_t thread;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_http_stale_%d.sock", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	pthread_create(&thread, NULL, stale_peer, &fd);
	request.unix_socket = path;
	assert_string_equal(fetch(&request)->body, "ok");
	assert_string_equal(fetch(&request)->body, "ok");
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_true(results[0].sent);
	assert_non_null(strstr(results[0].message, "in the middle of the answer"));
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_non_null(strstr(results[0].message, "before an answer came"));
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_non_null(strstr(results[0].message, "in the middle of the answer"));
	pthread_join(thread, NULL);
	close(fd);
	unlink(path);
}

// --- proxies ---

static void test_proxy_rules(void **state)
{
	static const struct {
		const char *http, *https, *no, *url, *proxy;
	} cases[] = {
		{NULL, NULL, NULL, "http://a.com/", NULL},
		{"p:1", NULL, NULL, "http://a.com/", "p:1"},
		{"p:1", NULL, NULL, "https://a.com/", "p:1"}, // the fall-back
		{"p:1", "q:2", NULL, "https://a.com/", "q:2"},
		{"p:1", "q:2", NULL, "http://a.com/", "p:1"},
		{NULL, "q:2", NULL, "http://a.com/", NULL},
		{"p:1", NULL, NULL, "http://localhost/", NULL},
		{"p:1", NULL, NULL, "http://localhost.a/", "p:1"},
		{"p:1", NULL, NULL, "http://127.9.9.9/", NULL},
		{"p:1", NULL, NULL, "http://[::1]:80/", NULL},
		{"p:1", NULL, NULL, "http://[::2]/", "p:1"},
		{"p:1", NULL, "*", "http://a.com/", NULL},
		{"p:1", NULL, "foo.com", "http://foo.com/", NULL},
		{"p:1", NULL, "foo.com", "http://bar.FOO.com/", NULL},
		{"p:1", NULL, "foo.com", "http://barfoo.com/", "p:1"},
		{"p:1", NULL, ".foo.com", "http://foo.com/", "p:1"},
		{"p:1", NULL, ".foo.com", "http://a.foo.com/", NULL},
		{"p:1", NULL, "*.foo.com", "http://a.foo.com/", NULL},
		{"p:1", NULL, "*.foo.com", "http://foo.com/", "p:1"},
		{"p:1", NULL, " x.com , FOO.com:8080 ", "http://foo.com:8080/", NULL},
		{"p:1", NULL, "foo.com:8080", "http://foo.com/", "p:1"},
		{"p:1", NULL, "foo.com:443", "https://foo.com/", NULL},
		{"p:1", NULL, "169.254.169.254,169.254.170.2,/var/run/docker.sock", "http://169.254.169.254/latest",
		 NULL},
		{"p:1", NULL, "169.254.169.254", "http://169.254.169.25/", "p:1"},
		{"p:1", NULL, "10.0.0.0/8", "http://10.200.3.4/", NULL},
		{"p:1", NULL, "10.0.0.0/8", "http://11.0.0.1/", "p:1"},
		{"p:1", NULL, "10.0.0.0/9", "http://10.128.0.1/", "p:1"},
		{"p:1", NULL, "10.0.0.0/33", "http://10.0.0.1/", "p:1"},
		{"p:1", NULL, "0.0.0.0/0", "http://8.8.8.8/", NULL},
		{"p:1", NULL, "0.0.0.0/0", "http://[fd00::1]/", "p:1"},
		{"p:1", NULL, "fd00::/8", "http://[fd00:ec2::254]/", NULL},
		{"p:1", NULL, "[fd00::1]:80", "http://[fd00::1]/", NULL},
		{"p:1", NULL, "fd00::1", "http://[fd00::1]/", NULL},
		{"p:1", NULL, ",,:80,", "http://a.com/", "p:1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *proxy;

		setenv("HTTP_PROXY", cases[i].http ? cases[i].http : "", 1);
		setenv("HTTPS_PROXY", cases[i].https ? cases[i].https : "", 1);
		setenv("NO_PROXY", cases[i].no ? cases[i].no : "", 1);
		proxy = transport_proxy_for(cases[i].url);
		if (!str_equal(proxy, cases[i].proxy))
			print_error("case %zu: %s\n", i, proxy);
		assert_true(str_equal(proxy, cases[i].proxy));
		free(proxy);
	}
	setenv("http_proxy", "lower:1", 1);
	setenv("HTTP_PROXY", "", 1);
	setenv("NO_PROXY", "", 1);
	setenv("no_proxy", "b.com", 1);
	free(transport_proxy_for("http://b.com/"));
	assert_null(transport_proxy_for("http://b.com/"));
}

static void test_proxy_used(void **state)
{
	struct http_request request = {.method = "GET", .url = "http://far.away.invalid/path"};
	char text[128];
	int port = free_port();

	(void)state;
	setenv("HTTP_PROXY", base_url, 1);
	assert_true(str_starts(fetch(&request)->body, "GET http://far.away.invalid/path\nHost: far.away.invalid\n"));
	request.no_proxy = true;
	assert_int_equal(fetch(&request)->code, -EHOSTUNREACH);
	request.no_proxy = false;
	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	setenv("HTTP_PROXY", text, 1);
	assert_int_equal(fetch(&request)->code, -ECONNREFUSED);
	assert_string_equal(results[0].message, "connect to far.away.invalid:80 through a proxy: connection refused");
	// The server takes CONNECT for a request of an unknown kind and refuses it.
	setenv("HTTP_PROXY", base_url, 1);
	request.url = "https://far.away.invalid/";
	assert_true(fetch(&request)->code < 0);
	assert_false(results[0].sent);
}

static void test_url_encode(void **state)
{
	static const struct {
		const char *in, *plain, *slash;
	} cases[] = {{"", "", ""},
		     {"aZ09-._~", "aZ09-._~", "aZ09-._~"},
		     {"a/b c", "a%2Fb%20c", "a/b%20c"},
		     {"é+&=", "%C3%A9%2B%26%3D", "%C3%A9%2B%26%3D"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *plain = url_encode(cases[i].in, false), *slash = url_encode(cases[i].in, true);

		assert_string_equal(plain, cases[i].plain);
		assert_string_equal(slash, cases[i].slash);
		free(plain);
		free(slash);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unix_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeouts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connect_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_in_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy_used, setup, teardown),
		cmocka_unit_test(test_url_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
