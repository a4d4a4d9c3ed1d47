#include "http_server.h"
#include "common/log.h"
#include "common/util.h"
#include "http_connection.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define LISTENERS_MAX 8
#define ACCEPT_BATCH 64 // connections a turn
#define SEND_BUFFER (32 << 10)
#define SWEEP_MS 250 // how exactly timeouts are kept; the timer runs only while there are connections

struct http_server {
	struct http_pool pool;
	struct loop *loop;
	unsigned connections_max, per_address_max;
	struct watch *listeners[LISTENERS_MAX];
	int fds[LISTENERS_MAX];
	unsigned listener_count;
	struct timer sweep;
};

static void on_accept(int fd, unsigned events, void *arg);
static void make_room(struct http_server *server, uint32_t address);
static bool drop_longest(struct http_server *server, bool of_address, uint32_t address);
static void on_sweep(void *arg);

struct http_server *http_server_new(struct loop *loop, const struct http_handler *handler, unsigned connections_max)
{
	struct http_server *server = xcalloc(1, sizeof(*server));
	server->loop = loop;
	server->connections_max = connections_max;
	server->per_address_max = connections_max / HTTP_ADDRESS_SHARE;
	server->pool.loop = loop;
	server->pool.handler = *handler;
	TAILQ_INIT(&server->pool.connections);
	timer_init(&server->sweep, loop, on_sweep, server);
	return server;
}

struct http_server *http_server_free(struct http_server *server)
{
	if (!server)
		return NULL;
	for (unsigned i = 0; i < server->listener_count; i++) {
		watch_free(server->listeners[i]);
		close(server->fds[i]);
	}
	while (!TAILQ_EMPTY(&server->pool.connections))
		http_connection_free(TAILQ_FIRST(&server->pool.connections));
	timer_done(&server->sweep);
	free(server);
	return NULL;
}

void http_server_listen(struct http_server *server, int fd)
{
	if (server->listener_count == LISTENERS_MAX) {
		log_error("too many listening sockets", "max=%d", LISTENERS_MAX);
		close(fd);
		return;
	}
	// Inherited by connections: what clients do not read costs the kernel no more than this for each.
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
	server->fds[server->listener_count] = fd;
	server->listeners[server->listener_count++] = watch_new(server->loop, fd, LOOP_READ, on_accept, server);
}

void http_server_hold(struct http_server *server, bool hold)
{
	for (unsigned i = 0; i < server->listener_count; i++)
		watch_set(server->listeners[i], hold ? 0 : LOOP_READ);
}

static void on_accept(int fd, unsigned events, void *arg)
{
	(void)events;
	struct http_server *server = arg;
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_in from = {0};
		socklen_t len = sizeof(from);
		int client = accept4(fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client < 0) {
			// Out of descriptors: an idle connection goes, so that this does not spin until one ends by itself.
			if ((errno == EMFILE || errno == ENFILE) && drop_longest(server, false, 0))
				continue;
			return;
		}
		if (from.sin_family != AF_INET) {
			close(client);
			continue;
		}
		make_room(server, from.sin_addr.s_addr);
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		http_connection_new(&server->pool, client, &from);
		if (!timer_running(&server->sweep))
			timer_start(&server->sweep, SWEEP_MS);
	}
}

// The connection that has waited longest for a request makes room, first one of the same client; where all have an answer
// under way, the one whose client has been slowest to take it.
static void make_room(struct http_server *server, uint32_t address)
{
	unsigned same = 0;
	if (server->pool.count >= server->per_address_max) {
		for (struct http_connection *c = TAILQ_FIRST(&server->pool.connections); c; c = TAILQ_NEXT(c, link))
			same += c->address == address;
	}
	if (same >= server->per_address_max)
		drop_longest(server, true, address);
	if (server->pool.count >= server->connections_max)
		drop_longest(server, false, 0);
}

static bool drop_longest(struct http_server *server, bool of_address, uint32_t address)
{
	struct http_connection *slowest = NULL;
	for (struct http_connection *c = TAILQ_FIRST(&server->pool.connections); c; c = TAILQ_NEXT(c, link)) {
		if (of_address && c->address != address)
			continue;
		if (http_connection_idle(c)) {
			http_connection_free(c);
			return true;
		}
		if (!slowest)
			slowest = c;
	}
	if (slowest)
		http_connection_free(slowest);
	return slowest;
}

static void on_sweep(void *arg)
{
	struct http_server *server = arg;
	uint64_t now = loop_now(server->loop);
	struct http_connection *c = TAILQ_FIRST(&server->pool.connections), *next;
	for (; c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->deadline <= now)
			http_connection_free(c);
	}
	if (server->pool.count)
		timer_start(&server->sweep, SWEEP_MS);
}
