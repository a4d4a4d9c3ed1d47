// The forward protocol of fluentd (version 1) as bytes: chunks of log records on their way out, and what a server answers:
// acknowledgements and the two steps of the shared-key handshake. No I/O. Source: logging.md §5.2 to §5.4.
//
// A chunk has one tag and any number of records: one alone is sent as Docker's own driver does ("Message" mode), more
// as an array of [time, record] ("Forward" mode), or, where the operator wants it, packed into one binary value.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/util.h"
#include "logging/record.h"

enum forward_mode {
	FORWARD_LISTS,  // Message and Forward: every server has them
	FORWARD_PACKED, // PackedForward
	FORWARD_GZIP,   // CompressedPackedForward
};

#define FORWARD_ID_LEN 24                 // base64 of 16 bytes (§5.3)
#define FORWARD_ANSWER_MAX ((size_t)8192) // bytes of one answer: those of fluentd have less than 400

// --- records ---
// The fields that all records of a container have, encoded once.
struct forward_fields;
struct forward_fields *forward_fields_new(const char *container_id, const char *container_name,
					  const struct json_map *attributes);
struct forward_fields *forward_fields_free(struct forward_fields *fields); // returns NULL
// No record with a line of `len` bytes takes more in a chunk.
size_t forward_fields_bound(const struct forward_fields *fields, size_t len);

struct forward_chunk {
	enum forward_mode mode;
	size_t room;    // bytes kept free at the beginning of `bytes`, for what is known last
	unsigned count; // of records
	struct buf bytes;
};
// An empty chunk; what the struct held before must be zero or forward_chunk_free'd.
void forward_chunk_begin(struct forward_chunk *chunk, enum forward_mode mode, const char *tag);
// sub_second: the time as EventTime, else as whole seconds. The line's bytes are sent as they are.
void forward_chunk_add(struct forward_chunk *chunk, const struct forward_fields *fields, const struct record *record,
		       bool sub_second);
// Completes a chunk that has records. id: NULL if no acknowledgement is wanted. Returns the bytes to send, which are valid
// until forward_chunk_free.
const char *forward_chunk_end(struct forward_chunk *chunk, const char *tag, const char *id, size_t *len);
void forward_chunk_free(struct forward_chunk *chunk);
// The same for the same records of a container, whenever it is asked, so that a server sees what was sent before.
void forward_chunk_id(const char *container_id, uint64_t first_position, uint64_t count, char id[FORWARD_ID_LEN + 1]);

// --- answers ---
enum forward_answer_kind { FORWARD_ACK, FORWARD_HELO, FORWARD_PONG, FORWARD_OTHER };
struct forward_bytes {
	unsigned char data[128]; // 16 in fluentd's own; longer ones are refused
	size_t len;
};
struct forward_answer {
	enum forward_answer_kind kind;
	char ack[FORWARD_ID_LEN + 1];     // ACK: "" if it is none of ours
	struct forward_bytes nonce, auth; // HELO; auth is empty when no user is wanted
	bool keepalive;                   // HELO: false: the server closes after one chunk
	bool ok;                          // PONG
	char reason[256], hostname[256];  // PONG; printable ASCII
	char digest[129];                 // PONG
};
// The first answer in data. 1: decoded, *used bytes are it. 0: more bytes are needed. -EBADMSG, -EMSGSIZE: this is no
// answer, and nothing after it can be one.
int forward_answer_decode(const void *data, size_t len, size_t *used, struct forward_answer *answer, struct error *err);

// --- handshake ---
#define FORWARD_SALT_LEN 32 // hexadecimal digits, of our choice
struct forward_login {
	const char *hostname;            // ours; must differ from the server's
	const char *shared_key;          // NULL: no handshake
	const char *username, *password; // NULL: none
};
// The PING that answers a HELO. -EACCES when the server wants a user and there is none.
int forward_ping(const struct forward_login *login, const struct forward_answer *helo, const char *salt,
		 struct buf *out, struct error *err);
// Whether a PONG lets us in, and comes from one who knows the key. 0 or -EACCES.
int forward_check_pong(const struct forward_login *login, const struct forward_answer *helo,
		       const struct forward_answer *pong, const char *salt, struct error *err);
