// The client's opening handshake of a WebSocket (RFC 6455 §4), and nothing but its coding: no I/O, no clock. It makes
// the request, is fed the answer's bytes in pieces of any size, and says when frames may begin, that the peer has
// refused and with which text, or what is wrong with the answer. What it says never depends on how the bytes were cut.
#pragma once

#include "error.h"
#include "http.h"
#include "util.h"

#define WS_HANDSHAKE_HEAD_MAX ((size_t)16 << 10)   // of the answer's head
#define WS_HANDSHAKE_ANSWER_MAX ((size_t)24 << 10) // of head and a refusal's body as it comes, chunk headers included
#define WS_HANDSHAKE_TEXT_MAX 1024                 // bytes kept of a refusal's body
#define WS_HANDSHAKE_RANDOM 16                     // bytes the key is made of

enum ws_handshake_state {
	WS_HANDSHAKE_HEAD,    // the answer's head is not complete
	WS_HANDSHAKE_BODY,    // refused: status is known, text is what there is of it so far
	WS_HANDSHAKE_REFUSED, // refused, and nothing more is to be waited for
	WS_HANDSHAKE_OPEN,    // accepted: frames begin
	WS_HANDSHAKE_FAILED,  // fault says why
};

struct ws_handshake {
	enum ws_handshake_state state;
	struct buf request; // to be sent as it is
	long status;        // of the answer, 0: not known
	struct buf text;    // of a refusal, without chunk headers
	const char *fault;  // constant text

	// private
	char key[4 * (WS_HANDSHAKE_RANDOM + 2) / 3 + 1];
	struct buf answer;
	size_t head_len;
	bool chunked;
	uint64_t length; // of the body; UINT64_MAX: until the connection closes
};

// Makes the request. random: drawn by the caller, so that this stays deterministic. target: names the peer in error
// texts. All is borrowed until it returns. 0, or -EINVAL for a URL or header that cannot be sent; ws_handshake_done
// is due either way.
int ws_handshake_init(struct ws_handshake *handshake, const char *url, const char *target,
		      const unsigned char random[WS_HANDSHAKE_RANDOM], const struct http_header *headers,
		      size_t header_count, struct error *err);
// Takes a piece of the answer and sets state. Returns how many of its bytes were used; once the state is
// WS_HANDSHAKE_OPEN the others, and all that follow, are frames.
size_t ws_handshake_feed(struct ws_handshake *handshake, const char *data, size_t len);
void ws_handshake_done(struct ws_handshake *handshake); // frees what it holds
