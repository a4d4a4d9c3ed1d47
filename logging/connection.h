// An outgoing connection that carries bytes to fluentd or syslog: TCP, TLS, Unix stream, or datagrams (UDP, Unix). Names are
// resolved without blocking the loop (resolve.h), all addresses are tried, everything has a deadline.
//
// TLS is OpenSSL's on our own socket, and not libcurl's or libevent's: what the peer's kernel has acknowledged is asked of the
// socket, and what a peer that takes nothing leaves behind must stay small and countable.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONNECTION_QUEUE_MAX \
	((size_t)256 << 10)        // bytes that wait; when 16 KiB or less do, one more message fits whatever its length
#define CONNECTION_CONNECT_MS 5000 // logging.md
#define CONNECTION_STALL_MS 30000  // logging.md

enum connection_kind { CONNECTION_TCP, CONNECTION_TLS, CONNECTION_UNIX, CONNECTION_UDP, CONNECTION_UNIXGRAM };

struct connection_options {
	enum connection_kind kind;
	const char *host; // name or address, without brackets; copied, as all texts
	unsigned port;
	const char *path;                 // Unix sockets
	const char *ca_file;              // TLS: trusted besides the system's roots; NULL: none
	const char *cert_file, *key_file; // TLS: the client's, PEM; NULL: none
	bool skip_verify;                 // TLS: the server's certificate is not looked at
	// UDP: which of the name's addresses, modulo their number, as the refusal of one is seen only later. The others try all.
	unsigned address_index;
	uint64_t connect_timeout_ms; // loop time; resolving and TLS included; 0: CONNECTION_CONNECT_MS
	uint64_t
		stall_timeout_ms; // the peer has not taken anything of what waits for so long: it ends; 0: CONNECTION_STALL_MS
};

struct connection;
struct connection_callbacks {
	void (*on_open)(void *arg);
	void (*on_data)(const char *data, size_t len, void *arg); // NULL: what arrives is thrown away
	void (*on_drain)(void *arg); // after a refusal: there is room (connection_send, connection_offer)
	// Exactly once, never inside a call of ours: 0 in err->code when the peer has ended it in order. `err` borrowed.
	void (*on_end)(const struct error *err, void *arg);
};

// Never fails at once; what is wrong is told by on_end. May be freed inside its callbacks.
struct connection *connection_open(struct loop *loop, const struct connection_options *options,
				   const struct connection_callbacks *callbacks, void *arg);
// No callback follows. What the kernel has goes out still, what is queued here does not. Returns NULL.
struct connection *connection_free(struct connection *connection);
// Queues bytes, which go out at the end of the turn or when there are many, or sends one datagram now. 0;
// -EAGAIN when the queue is full (nothing was taken; on_drain follows when less than half of it waits; for datagrams,
// when one fits again); -EMSGSIZE for a datagram that the path does not carry (*fits, if not NULL, is then what to
// try next, less than len; 0: nothing); -ENOTCONN before on_open and after the end.
int connection_send(struct connection *connection, const void *data, size_t len, size_t *fits);
// For streams whose writer can come again with the same bytes: takes of them what the kernel takes now, if nothing is queued;
// with TLS, up to one record more than that is queued. How many; when less than all, on_drain follows when the queue is
// empty and the kernel takes more (but not before on_open and after the end, when it is 0).
size_t connection_offer(struct connection *connection, const void *data, size_t len);
uint64_t connection_sent(const struct connection *connection); // bytes given to the kernel since it opened, before TLS
size_t connection_unsent(const struct connection *connection); // bytes queued here
// Bytes that the peer's kernel has not acknowledged (SIOCOUTQ; with TLS a little more than was given; Unix sockets: that
// the peer has not read, and the kernel's overhead), with those queued here; for what may be lost by a reset.
size_t connection_unacknowledged(const struct connection *connection);
// TCP and TLS: how many bytes more the peer lets us send, and the most it ever did while it was looked at. What its kernel has
// acknowledged and its program not read yet is what is missing. 0 for both where that is not known.
void connection_window(struct connection *connection, size_t *now, size_t *most);
// The peer has ended it, whether the loop has seen that already or not: to be asked before writing after a pause, and
// after connection_unacknowledged. on_end follows. UDP: not known.
bool connection_peer_ended(struct connection *connection);
// What is certainly wrong with the TLS files (CA, certificate, key): missing, unreadable, encrypted, not belonging together.
int connection_check_files(const struct connection_options *options, struct error *err);
