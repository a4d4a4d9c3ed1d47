// One client's connection: a module of http_server.c, which keeps them.
#pragma once

#include "http_server.h"
#include <netinet/in.h>
#include <sys/queue.h>

TAILQ_HEAD(http_connections, http_connection);

struct http_pool {
	struct loop *loop;
	struct http_handler handler;
	struct http_connections connections; // the longest without a request first
	unsigned count;
	size_t queued; // bytes of answers not taken yet
};

struct http_connection {
	TAILQ_ENTRY(http_connection) link;
	struct http_pool *pool;
	struct watch *watch;
	int fd;
	uint32_t address;
	uint64_t deadline; // loop time
	enum { READING, WRITING, LINGERING } state;
	char *in; // part of a request; NULL: none
	size_t in_len;
	bool in_body, close_after;
	uint64_t body_left;
	struct http_chunks chunks;
	struct http_head head; // of the request whose body is being read; its texts point into `in`
	size_t head_len;       // kept at the start of `in` while the body is read
	char *out;             // rest of an answer
	size_t out_len, out_sent;
	char remote[32];
};

void http_connection_new(struct http_pool *pool, int fd, const struct sockaddr_in *from);
void http_connection_free(struct http_connection *connection);
bool http_connection_idle(const struct http_connection *connection); // no answer under way: may make room for others
