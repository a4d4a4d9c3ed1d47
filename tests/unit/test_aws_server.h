// A small HTTP server in the process of a test, on the test's own loop, and what every test of calls needs.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/http.h"
#include "common/loop.h"
#include "common/util.h"
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>

#define SERVER_SEEN_MAX 512
#define SERVER_HELD_MAX 16

struct server_seen {
	char method[8], path[256], token[96], attempt[48], invocation[48];
};

struct server {
	struct loop *loop;
	struct http_client *client;
	struct evhttp *http;
	char url[64];
	struct server_seen seen[SERVER_SEEN_MAX];
	size_t count;
	struct evhttp_request *held[SERVER_HELD_MAX]; // requests left without an answer
	size_t held_count;
	void (*answer)(struct server *server, struct evhttp_request *request);
	struct timer watchdog;
};

static inline const char *server_header(struct evhttp_request *request, const char *name)
{
	const char *value = evhttp_find_header(evhttp_request_get_input_headers(request), name);

	return value ? value : "";
}

static inline void server_reply(struct evhttp_request *request, int status, const char *body)
{
	struct evbuffer *buffer = evbuffer_new();

	evbuffer_add(buffer, body, strlen(body));
	evhttp_send_reply(request, status, "x", buffer);
	evbuffer_free(buffer);
}

static inline void server_hold(struct server *server, struct evhttp_request *request)
{
	assert_true(server->held_count < SERVER_HELD_MAX);
	server->held[server->held_count++] = request;
}

static inline void server_on_request(struct evhttp_request *request, void *arg)
{
	struct server *server = arg;

	assert_true(server->count < SERVER_SEEN_MAX);
	struct server_seen *seen = &server->seen[server->count++];
	enum evhttp_cmd_type command = evhttp_request_get_command(request);
	snprintf(seen->method, sizeof(seen->method), "%s",
		 command == EVHTTP_REQ_GET   ? "GET"
		 : command == EVHTTP_REQ_PUT ? "PUT"
					     : "POST");
	snprintf(seen->path, sizeof(seen->path), "%s", evhttp_request_get_uri(request));
	snprintf(seen->token, sizeof(seen->token), "%s", server_header(request, "X-Aws-Ec2-Metadata-Token"));
	snprintf(seen->attempt, sizeof(seen->attempt), "%s", server_header(request, "Amz-Sdk-Request"));
	snprintf(seen->invocation, sizeof(seen->invocation), "%s", server_header(request, "Amz-Sdk-Invocation-Id"));
	server->answer(server, request);
}

static inline void server_too_late(void *arg)
{
	(void)arg;
	fail_msg("nothing happened for too long");
}

static inline void server_start(struct server *server, double scale,
				void (*answer)(struct server *server, struct evhttp_request *request))
{
	struct error err;
	ev_uint16_t port = 0;

	memset(server, 0, sizeof(*server));
	server->answer = answer;
	server->loop = loop_new(scale, &err);
	assert_non_null(server->loop);
	server->client = http_client_new(server->loop, &err);
	assert_non_null(server->client);
	server->http = evhttp_new(loop_base(server->loop));
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(server->http, "127.0.0.1", port);
	assert_non_null(bound);
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	assert_int_equal(getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len), 0);
	snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	evhttp_set_gencb(server->http, server_on_request, server);
	timer_init(&server->watchdog, server->loop, server_too_late, NULL);
	timer_start(&server->watchdog, (uint64_t)(20000 * scale));
}

static inline void server_stop(struct server *server)
{
	timer_done(&server->watchdog);
	for (size_t i = 0; i < server->held_count; i++)
		evhttp_send_reply(server->held[i], 500, "x", NULL);
	server->client = http_client_free(server->client);
	evhttp_free(server->http);
	server->loop = loop_free(server->loop);
}
