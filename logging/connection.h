// An outgoing connection that carries bytes to fluentd or syslog: TCP, TLS, Unix stream, or datagrams (UDP, Unix). Names are
// resolved without blocking the loop, all addresses are tried, everything has a deadline.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum connection_kind { CONNECTION_TCP, CONNECTION_TLS, CONNECTION_UNIX, CONNECTION_UDP, CONNECTION_UNIXGRAM };

struct connection_options {
	enum connection_kind kind;
	const char *host; // name or address, without brackets; copied, as all texts
	unsigned port;
	const char *path;                 // Unix sockets
	const char *ca_file;              // TLS: trusted besides the system's roots; NULL: none
	const char *cert_file, *key_file; // TLS: the client's; NULL: none
	bool skip_verify;                 // TLS: the server's certificate is not looked at
	uint64_t connect_timeout_ms;      // loop time; resolving included; 0: 5 s
	uint64_t stall_timeout_ms;        // queued bytes not taken by the peer for so long end it; 0: 30 s
};

struct connection;
struct connection_callbacks {
	void (*on_open)(void *arg);
	void (*on_data)(const char *data, size_t len, void *arg); // NULL: what arrives is thrown away
	void (*on_drain)(void *arg);                              // less than half of the queue's limit waits now
	// Exactly once, never inside a call of ours: 0 in err->code when the peer has ended it in order. `err` borrowed.
	void (*on_end)(const struct error *err, void *arg);
};

// Never fails at once; what is wrong is told by on_end. May be freed inside its callbacks.
struct connection *connection_open(struct loop *loop, const struct connection_options *options,
				   const struct connection_callbacks *callbacks, void *arg);
struct connection *connection_free(struct connection *connection); // no callback follows; returns NULL
// Queues bytes, or sends one datagram. 0; -EAGAIN when the queue is full (on_drain follows; nothing was taken); -EMSGSIZE
// for a datagram that the path does not carry (*fits, if not NULL, is then the largest that it does); -ENOTCONN.
int connection_send(struct connection *connection, const void *data, size_t len, size_t *fits);
uint64_t connection_sent(const struct connection *connection); // bytes given to the kernel since it opened
size_t connection_unsent(const struct connection *connection); // bytes queued here
// Bytes the peer's kernel has not acknowledged (SIOCOUTQ), with those queued here; for what may be lost by a reset.
size_t connection_unacknowledged(const struct connection *connection);
// The peer has sent the end: looked at before writing after a pause.
bool connection_peer_ended(struct connection *connection);
