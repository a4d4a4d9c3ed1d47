// HTTP/1.1 client on curl's multi-socket interface and the project's loop: TCP, TLS and Unix
// sockets, connection reuse, streamed bodies, deadlines, proxies.
//
// Proxies and certificates follow the environment as ECS users expect (control-plane.md §1.5):
// HTTP_PROXY, HTTPS_PROXY (falling back to HTTP_PROXY), NO_PROXY; SSL_CERT_FILE, SSL_CERT_DIR.
// A Unix socket never uses a proxy. Redirects are not followed.
#pragma once

#include "error.h"
#include "loop.h"
#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_MAX_DEFAULT ((size_t)4 << 20) // of a collected response body

struct http_client;
struct http_call;

struct http_header {
	const char *name, *value;
};

struct http_request {
	const char *method;      // "GET", "POST", ...
	const char *url;         // http:// or https://; for a Unix socket the host part is only the Host header
	const char *unix_socket; // path, or NULL for TCP
	const struct http_header *headers; // borrowed until http_send returns
	size_t header_count;
	const void *body; // copied by http_send; NULL: none
	size_t body_len;
	uint64_t connect_timeout_ms; // loop time; 0: 30 s
	uint64_t timeout_ms;         // whole call, loop time; 0: none
	uint64_t idle_timeout_ms;    // longest time without a received byte (after the request is sent); 0: none
	size_t max_body; // of a collected body; 0: HTTP_BODY_MAX_DEFAULT. More: the call fails with EMSGSIZE
	bool insecure;   // do not verify the TLS peer (-k)
	bool no_proxy;   // never through a proxy
	bool once;       // never sent twice: on a connection of its own. On one that was used before, curl repeats a
			 // request that got no answer, though the peer may have acted on it.
	// If set, body bytes of a response with status < 400 go here as they arrive and are not collected.
	// A non-zero return ends the call with ECANCELED.
	int (*on_data)(const char *data, size_t len, void *arg);
	void (*on_headers)(long status, void *arg); // streaming only: the status line and headers are complete
};

struct http_response {
	int result; // 0, or a negative errno: no (complete) HTTP response. ETIMEDOUT: timeout_ms passed,
		    // ETIME: idle_timeout_ms passed, ECONNREFUSED/ENOENT/ECONNRESET/EHOSTUNREACH/EPROTO (TLS)...
	struct error error; // when result < 0: what failed, for an operator
	bool sent;          // the request may have reached the peer (false: it certainly has not)
	long status;        // HTTP status
	const char *body;   // collected body, NUL-terminated, "" if none; borrowed, valid during the callback
	size_t body_len;
	const char *(*header)(const struct http_response *response,
			      const char *name); // NULL if absent; case-insensitive
	void *header_store;
};

struct http_client *http_client_new(struct loop *loop, struct error *err);
struct http_client *http_client_free(struct http_client *client); // cancels all calls; returns NULL

// Starts a call. The callback runs exactly once, in a later turn or the same one but never from inside http_send,
// unless the call is cancelled. arg is passed to all callbacks.
struct http_call *http_send(struct http_client *client, const struct http_request *request,
			    void (*done)(const struct http_response *response, void *arg), void *arg);
void http_cancel(struct http_call *call); // no callback follows; NULL is fine

// Percent-encodes everything but unreserved characters (and '/' when keep_slash). Caller frees.
char *url_encode(const char *text, bool keep_slash);
