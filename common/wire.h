// The messages between ecsd and ecs-endpoint, and between ecsd and ecs-logd, and nothing but their coding: no I/O
// (channel.h does that).
//
// A message on the stream is: u32 length of what follows, u16 type, u16 number of fields, then each
// field as u32 length and bytes. Numbers of the frame are little-endian; all fields are text,
// numbers among them decimal. Unknown types and fields beyond those listed are ignored, so that a newer peer
// can add some; what changes the meaning of one raises WIRE_VERSION.
//
// The first message either way is HELLO. Both sides then speak the lower of the two versions, if
// it is at least the WIRE_VERSION_MIN of both. An ecs-endpoint that is too old for its ecsd
// ends itself, so that a new one can take its ports.
#pragma once

#include "util.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_VERSION_MIN 1 // the oldest understood; stays one behind WIRE_VERSION from version 2 on

#define WIRE_MESSAGE_MAX ((size_t)1 << 20) // of one message, without its length word
#define WIRE_FIELDS_MAX 4096               // of one message
#define WIRE_FEED_MAX ((size_t)64 << 10)   // bytes given to the decoder at once

enum wire_type {
	// both directions
	WIRE_HELLO = 1, // version, oldest version understood, program version (for the log)
	// ecsd -> ecs-endpoint
	WIRE_EXPECT = 2,     // id, task ARN, role: this id is alive; nothing held for it: 503
	WIRE_EXPECT_END = 3, // ids neither expected nor put on this connection are dropped; RETURNED follow
	WIRE_PUT = 4,      // id, task ARN, role, role ARN, access key id, secret access key, session token, expiration
	WIRE_REMOVE = 5,   // id
	WIRE_INSTANCE = 6, // cluster, container instance ARN, text of "Version" in /v1/metadata
	WIRE_LIMITS = 7,   // steady requests/s, burst
	WIRE_TASK = 8,     // task ARN, its JSON for /v1/tasks, then any number of Docker ids
	WIRE_TASK_REMOVE = 9, // task ARN
	WIRE_AUDIT = 10,      // comes with the descriptor of the audit log; without one: no audit log from here on
	WIRE_SYNC = 11,       // token. The first one of a connection also ends the refill: older tasks are dropped
	// ecs-endpoint -> ecsd
	WIRE_SYNCED = 12,   // token: all that came before SYNC(token) is held and served
	WIRE_RETURNED = 13, // fields as PUT: credentials held from before this ecsd started
	// ecsd -> ecs-logd, on a socket of their own (logging.md)
	WIRE_LOGD_STOPPING = 32, // Docker's container id: it is being stopped
	WIRE_LOGD_EXITED = 33,   // Docker's container id: its process is gone
	// ecs-logd -> ecsd
	WIRE_LOGD_COUNTERS =
		34, // since it started: lines in, shipped, dropped; now: bytes in the spool, ms of the oldest there
	// Ids of all credentials that it needs as long as it has logs to ship with them; takes the place of the last.
	WIRE_LOGD_CREDENTIALS = 35,
};

// Of what WIRE_LOGD_CREDENTIALS names, so that it always fits: ECS's ids have 36 bytes.
#define WIRE_LOGD_CREDENTIALS_MAX WIRE_FIELDS_MAX
#define WIRE_LOGD_CREDENTIAL_LEN_MAX 128

// Values of the field "role": the page's names of role types (credentials-endpoint.md §6).
#define WIRE_ROLE_TASK "TaskApplication"
#define WIRE_ROLE_EXECUTION "TaskExecution"

struct wire_field {
	const char *data; // NUL-terminated beyond len
	size_t len;
};
struct wire_message {
	unsigned type, count;
	const struct wire_field *fields;
};

// Encodes a message; returns its bytes (wiped and freed by the caller with wire_free) or NULL when a bound would be
// passed. A NULL text is sent as "".
char *wire_encode(unsigned type, const char *const *fields, size_t count, size_t *len);
void wire_free(char *data, size_t len);

// Incremental decoder: zero-initialise, feed pieces of any size up to WIRE_FEED_MAX, take all messages after each.
struct wire_decoder {
	char *data; // bytes not decoded yet
	size_t len, cap, used;
	struct wire_field *fields;
	size_t field_cap;
};
int wire_decoder_feed(struct wire_decoder *decoder, const void *data, size_t len); // 0, -EMSGSIZE
// 1 and *message (valid until the next call on this decoder), 0: more bytes are needed, -EBADMSG or -EMSGSIZE: the
// stream is broken for good.
int wire_decoder_next(struct wire_decoder *decoder, struct wire_message *message);
void wire_decoder_free(struct wire_decoder *decoder); // wipes what it has seen

// Field i as text: "" if there is no such field or it has a NUL byte inside.
const char *wire_text(const struct wire_message *message, unsigned i);
bool wire_number(const struct wire_message *message, unsigned i, uint64_t *value);

// What a HELLO says of whether the two can talk: 0, -EBADMSG: it is malformed, -EPROTONOSUPPORT: one is too old for the
// other.
int wire_hello_check(const struct wire_message *hello);
