// In place of common/http.c: each request is answered with the next answer of a script, in a turn of its own.
// An answer is a line "STATUS" (0: no connection, then perhaps an errno), header lines, an empty line and the body;
// answers are separated by a line "--". A script that is used up refuses connections.
#pragma once

#include "common/http.h"
#include "fuzz_time.h"
#include <strings.h>

struct http_call {
	struct http_call *next;
	void (*done)(const struct http_response *response, void *arg);
	int (*on_data)(const char *data, size_t len, void *arg);
	void (*on_headers)(long status, void *arg);
	void *arg;
	size_t max_body;
};

static struct {
	struct loop *loop;
	char *rest; // of the script
	struct http_call *calls;
	unsigned sent;
	struct cutter cutter;                                   // of streamed bodies
	void (*on_request)(const struct http_request *request); // NULL: nobody looks
} fuzz_http;

static char *fuzz_http_piece(void)
{
	char *piece = fuzz_http.rest;
	if (!piece)
		return NULL;
	char *end = strstr(piece, "\n--\n");
	fuzz_http.rest = end ? end + 4 : NULL;
	if (end)
		*end = '\0';
	return piece;
}

static const char *fuzz_http_header(const struct http_response *response, const char *name)
{
	const char *const *lines = response->header_store;
	size_t len = strlen(name);
	for (; *lines; lines++)
		if (strncasecmp(*lines, name, len) == 0 && (*lines)[len] == ':')
			return *lines + len + 1 + ((*lines)[len + 1] == ' ');
	return NULL;
}

static void fuzz_http_answer(void *arg)
{
	struct http_call *call = arg, **link = &fuzz_http.calls;
	const char *headers[8] = {NULL};
	struct http_response response = {.header = fuzz_http_header, .header_store = (void *)headers, .body = ""};
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	char *rest = fuzz_http_piece();
	char *status = strsep(&rest, "\n");
	for (size_t i = 0; rest && i + 1 < ARRAY_SIZE(headers) && *rest && *rest != '\n'; i++)
		headers[i] = strsep(&rest, "\n");
	if (rest && *rest == '\n')
		rest++;
	char *text = NULL;
	response.status = status ? strtol(status, &text, 10) : 0;
	if (response.status < 200 || response.status > 599) {
		long code = text ? strtol(text, NULL, 10) : 0;
		response.status = 0;
		response.sent = code & 1;
		response.result =
			error_set(&response.error, code > 0 && code < 134 ? (int)code : ECONNREFUSED, "no connection");
	} else {
		response.sent = true;
		response.body = rest ? rest : "";
		response.body_len = strlen(response.body);
	}
	_cleanup_free_ char *body = fuzz_text((const uint8_t *)response.body, response.body_len);
	if (call->on_data && response.status >= 200 && response.status < 400) {
		if (call->on_headers)
			call->on_headers(response.status, call->arg);
		for (size_t at = 0; at < response.body_len && response.result == 0;) {
			size_t n = cut(&fuzz_http.cutter, response.body_len - at);
			if (call->on_data(body + at, n, call->arg) != 0)
				response.result = error_set(&response.error, ECANCELED, "cancelled");
			at += n;
		}
		response.body = "";
		response.body_len = 0;
	} else if (response.body_len > (call->max_body ? call->max_body : HTTP_BODY_MAX_DEFAULT)) {
		response.result = error_set(&response.error, EMSGSIZE, "the body is too large");
	} else {
		response.body = body;
	}
	void (*done)(const struct http_response *, void *) = call->done;
	void *done_arg = call->arg;
	free(call);
	done(&response, done_arg);
}

struct http_call *http_send(struct http_client *client, const struct http_request *request,
			    void (*done)(const struct http_response *response, void *arg), void *arg)
{
	(void)client;
	struct http_call *call = xcalloc(1, sizeof(*call));
	*call = (struct http_call){fuzz_http.calls,     done, request->on_data,
				   request->on_headers, arg,  request->max_body};
	fuzz_http.calls = call;
	fuzz_http.sent++;
	if (fuzz_http.on_request)
		fuzz_http.on_request(request);
	loop_defer(fuzz_http.loop, fuzz_http_answer, call);
	return call;
}

void http_cancel(struct http_call *call)
{
	if (!call)
		return;
	struct http_call **link = &fuzz_http.calls;
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	loop_defer_cancel(fuzz_http.loop, fuzz_http_answer, call);
	free(call);
}

char *url_encode(const char *text, bool keep_slash)
{
	struct buf out = {0};
	for (const char *p = text; *p; p++) {
		if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
		    strchr("-_.~", *p) || (keep_slash && *p == '/'))
			buf_append(&out, p, 1);
		else
			buf_printf(&out, "%%%02X", (unsigned char)*p);
	}
	return buf_take(&out);
}

// Starts a script. The text is taken apart; it stays the caller's.
static inline void fuzz_http_start(struct loop *loop, char *script)
{
	fuzz_http.loop = loop;
	fuzz_http.rest = script;
	fuzz_http.sent = 0;
}
