// HTTP/1.1 server for small answers: keep-alive, pipelining, any method, request bodies read and dropped.
// Answers are made at once by a handler; nothing here waits for anything but the client.
#pragma once

#include "common/loop.h"
#include "http_parse.h"
#include <stdint.h>

#define HTTP_TIMEOUT_MS 5000 // to read a request, also between two, and to write an answer (credentials-endpoint.md §1)
#define HTTP_LINGER_MS 500   // to read on after an answer that closes, so that it is not lost to a reset
#define HTTP_CONNECTIONS_MAX 1024
#define HTTP_ADDRESS_SHARE 2               // one address has at most half of them
#define HTTP_QUEUED_MAX ((size_t)16 << 20) // answers that clients are slow to take, of all connections together

struct http_request {
	const struct http_head *head;
	const char *path; // decoded, canonical, NUL-terminated
	size_t path_len;  // longer than strlen(path) if there is a NUL inside
	struct text query;
	uint32_t address;   // of the client
	const char *remote; // ip:port
	uint64_t now_ms;
};

struct http_reply {
	int status;
	const char *content_type; // NULL: no such header
	bool type_last;           // a type the reference has its library guess comes after Date and Content-Length
	bool nosniff;
	const char *location;
	bool rate_headers; // X-Rate-Limit-* (§8)
	unsigned rate_limit;
	const char *
		body; // borrowed; must stay until the handler's return plus the sending of what the socket takes at once
	size_t body_len;
};

struct http_handler {
	// The request's path is canonical already.
	void (*handle)(const struct http_request *request, struct http_reply *reply, void *arg);
	// Answer to a path that is not canonical: with (Go's mux) or without (gorilla's) a short HTML body.
	bool redirect_body;
	void *arg;
};

struct http_server;
struct http_server *http_server_new(struct loop *loop, const struct http_handler *handler, unsigned connections_max);
struct http_server *http_server_free(struct http_server *server);
void http_server_listen(struct http_server *server, int fd); // a listening, non-blocking TCP socket; taken
void http_server_hold(struct http_server *server,
		      bool hold); // held, it accepts nothing: clients wait in the sockets' queues
