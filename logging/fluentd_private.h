// Between fluentd.c (connections, logins, answers) and fluentd_send.c (chunks, and what is confirmed when).
#pragma once

#include "logging/connection.h"
#include "logging/destination.h"
#include "logging/fluentd.h"
#include "logging/resend.h"

#define FLIGHT_MAX 16          // chunks without an acknowledgement
#define CHUNK_BYTES (64 << 10) // of records in a chunk, after which no more are added
#define ACK_MS 60000

// Items [first, next) of the spool, sent as one chunk.
struct flight {
	uint64_t first, next;
	uint64_t lines, bytes;       // of what the container wrote
	uint64_t repeated;           // of those, sent before
	uint64_t due;                // loop time at which the acknowledgement is overdue
	char id[FORWARD_ID_LEN + 1]; // "" without acknowledgements
	bool arrived;                // acknowledged, but not all before it
};

enum fluentd_state {
	FLUENTD_IDLE,       // no connection, for there was nothing to send
	FLUENTD_WAITING,    // for the next attempt
	FLUENTD_CONNECTING, // until on_open
	FLUENTD_GREETING,   // for HELO
	FLUENTD_LOGIN,      // for PONG
	FLUENTD_READY,
};

struct destination {
	struct loop *loop;
	bool silent; // losses are not told
	struct pool *pool;
	const struct stream_settings *settings;
	const struct log_options_fluentd *options;
	const struct fluentd_settings *site;
	struct forward_login login; // shared_key NULL: none
	char *hostname;             // in the login
	struct spool *spool;
	struct delivery *delivery;
	bool acks;

	enum fluentd_state state;
	struct connection *connection;
	struct timer timer; // WAITING: the next attempt; GREETING, LOGIN: too late; READY: look at the flights
	unsigned attempts;  // to connect, since something arrived
	uint64_t opened;    // loop time
	struct buf in;      // an answer that is not whole yet
	struct forward_answer helo;
	char salt[FORWARD_SALT_LEN + 1];
	bool one_chunk; // the server closes after one (keepalive false)

	struct spool_reader *reader;
	struct forward_fields *fields;
	struct pool_user memory;       // for `chunk`
	struct forward_chunk chunk;    // on its way; no bytes: none, or given back to the pool and to be encoded again
	struct flight sending;         // what is in it
	bool under_way;                // `chunk` was begun
	const char *bytes;             // of `chunk`, encoded
	size_t bytes_len, bytes_taken; // and how many of them the kernel has
	bool used;                     // a chunk was sent on this connection
	size_t chunk_max;              // less than CHUNK_BYTES after a chunk was not acknowledged again and again
	uint64_t next;                 // the item that follows all flights
	uint64_t sent_until;           // highest position ever sent, for counting what is sent again
	struct resend resend;          // without acknowledgements: what was sent and may not have arrived
	// With acknowledgements: chunks that were sent and did not arrive.
	struct flight flights[FLIGHT_MAX];
	unsigned flying;       // of flights
	unsigned flights_sent; // of those, on this connection; the others must be sent again
	unsigned overdue;      // acknowledgements in a row

	void (*answer)(const struct error *refusal, void *arg); // destination.h, ask
	void *answer_arg;
	bool asked;            // and not answered
	struct error *refusal; // the answer on its way; NULL: none
	struct timer ask_timer;
};

// fluentd.c
void fluentd_connect(struct destination *d); // in state IDLE or WAITING
// The connection is of no use; another follows when there is something to send.
void fluentd_fail(struct destination *d, const struct error *err);
// In order, because the server or an option wants a new one.
void fluentd_renew(struct destination *d);
bool fluentd_has_work(const struct destination *d); // something waits to be sent

// fluentd_send.c
void fluentd_send_init(struct destination *d);
void fluentd_send_done(struct destination *d);
void fluentd_send(void *arg);                     // as much as goes; in state READY
void fluentd_send_soon(struct destination *d);    // in a turn of its own
bool fluentd_waits(const struct destination *d);  // something was sent and has not arrived
void fluentd_sent_lost(struct destination *d);    // the connection is gone: what was not confirmed is to be sent again
void fluentd_sent_arrived(struct destination *d); // all that was sent
void fluentd_sent_look(struct destination *d); // timer: overdue acknowledgements, confirmations of what is old enough
void fluentd_acknowledged(struct destination *d, const char *id);
