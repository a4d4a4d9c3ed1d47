// WebSocket client (RFC 6455): libcurl connects (TCP, TLS, proxy), the handshake is made here, wslay
// codes the frames. Traps found with this pair and how they are met stand in websocket.c.
#pragma once

#include "error.h"
#include "http.h"
#include "loop.h"
#include <stdint.h>

#define WEBSOCKET_MESSAGE_MAX ((size_t)4 << 20) // largest message accepted (the service's largest seen is far below)
#define WEBSOCKET_REFUSAL_MAX 1024              // bytes kept of the body of a refused handshake

struct websocket;

struct websocket_options {
	const char *url;                   // ws://, wss://, http:// or https:// with path and query
	const struct http_header *headers; // in addition to the handshake's own (Host is taken from the URL); borrowed
	size_t header_count;
	uint64_t connect_timeout_ms; // TCP + TLS + handshake; 0: 30 s
	uint64_t read_timeout_ms;    // no byte received for so long: closed with ETIMEDOUT; 0: none
	uint64_t write_timeout_ms;   // no progress of a pending write; 0: none
	bool insecure;
};

// How a session ended. Exactly one of the groups applies.
struct websocket_end {
	bool opened;        // the handshake had succeeded
	int close_code;     // close frame received: its code (1005 if it had none), else 0
	bool eof;           // TCP FIN without a close frame
	int result;         // negative errno for network, TLS or protocol errors and timeouts, else 0
	long http_status;   // handshake refused with this status, else 0
	const char *body;   // of the refusal, at most WEBSOCKET_REFUSAL_MAX bytes, "" otherwise
	struct error error; // text for an operator
};

struct websocket_callbacks {
	void (*on_open)(void *arg);
	// Text and binary alike; data is NUL-terminated and borrowed.
	void (*on_message)(const char *data, size_t len, bool binary, void *arg);
	// The last callback; the websocket may be freed inside it.
	void (*on_end)(const struct websocket_end *end, void *arg);
};

// Starts connecting. Callbacks never run from inside this call. Pings are answered, close frames echoed.
struct websocket *websocket_open(struct loop *loop, const struct websocket_options *options,
				 const struct websocket_callbacks *callbacks, void *arg);
// Queues a text message. 0, or -ENOTCONN before on_open and after on_end, -EMSGSIZE.
int websocket_send(struct websocket *ws, const char *text, size_t len);
// Sends a close frame and waits for the peer's (on_end follows).
void websocket_close(struct websocket *ws, int code, const char *reason);
// Drops the connection without a close frame and frees everything; no callback follows. NULL is fine. Returns NULL.
struct websocket *websocket_free(struct websocket *ws);
