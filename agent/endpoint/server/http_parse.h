// HTTP/1.x requests as bytes: head, chunked framing, request targets, query strings. Pure functions that
// any container can reach with any bytes; no I/O, nothing allocated. Texts point into the caller's buffer.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 8192            // request line and headers; more: 431
#define HTTP_BODY_MAX ((size_t)65536) // of a request, all of them are discarded; more: 413
#define HTTP_CHUNK_LINE_MAX 256       // size line of a chunk, or one trailer line

struct text {
	const char *data;
	size_t len;
};

struct http_head {
	struct text method, target, user_agent, forwarded_for; // data "" when a header is absent
	unsigned minor;                                        // HTTP/1.<minor>
	bool keep_alive;                                       // after the answer
	bool asked_keep_alive; // HTTP/1.0 that asked for it: to be confirmed in the answer
	bool expect_continue, chunked;
	uint64_t content_length;
	const char *detail; // why, where the reference says it after "400 Bad Request: "; else NULL
};

// Number of bytes of a complete head at the start of data, 0: more are needed, or minus an HTTP status that refuses it.
int http_parse_head(const char *data, size_t len, struct http_head *head);

// Chunked request body, discarded. Feed until done; returns bytes used, or minus an HTTP status.
struct http_chunks {
	enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
	uint64_t left, total;
	size_t line; // bytes of the current line
	unsigned digits;
	bool extension;
};
int http_chunks_feed(struct http_chunks *chunks, const char *data, size_t len);

// Splits and decodes a request target ("/a%20b?x" or "http://host/a"). path has room for HTTP_HEAD_MAX + 1 bytes and
// is NUL-terminated; query points into target (data NULL: there is no '?'). False: malformed.
bool http_parse_target(struct text target, char *path, size_t *path_len, struct text *query);

// The canonical form of a decoded path: no empty, "." or ".." segments, begins with '/', a trailing slash is
// kept. out has room for len + 2 bytes. Returns its length.
size_t http_clean_path(const char *path, size_t len, char *out);
// Percent-encodes a decoded path for a Location header; out has room for 3 × len + 1 bytes. Returns its length.
size_t http_escape_path(const char *path, size_t len, char *out);

// First value of a query parameter, decoded, into out (room for query.len + 1). False when there is no such key.
bool http_query_get(struct text query, const char *key, char *out, size_t *out_len);

const char *http_status_text(int status);
