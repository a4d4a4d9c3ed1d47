#include "common/http.h"

#include "common/transport.h"
#include "common/util.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/un.h>

#define CONNECT_TIMEOUT_MS 30000        // control-plane.md §1.3
#define HEADERS_MAX ((size_t)256 << 10) // of all header lines of a response

// Callers may send, cancel and free from inside any callback. on_data and on_headers run while curl is on the stack,
// where curl forbids most of its calls. So a call is added to curl by a deferred function, and one that is
// cancelled under curl becomes garbage, which is swept when curl has returned.
enum call_state {
	CALL_WAITING,   // in client->waiting, not yet curl's
	CALL_ACTIVE,    // in client->active and curl's
	CALL_GARBAGE,   // in client->garbage: cancelled while curl was on the stack
	CALL_FINISHING, // in no list; its done callback is running
};

struct http_call {
	struct http_client *client;
	TAILQ_ENTRY(http_call) link;
	enum call_state state;
	CURL *easy;
	struct curl_slist *headers;
	char *target; // for texts
	char detail[CURL_ERROR_SIZE];
	bool proxied;
	struct error setup; // code 0: the request was fine

	struct timer connect_timer, total_timer, idle_timer;
	uint64_t connect_ms, total_ms, idle_ms;
	uint64_t last_byte;  // loop time
	curl_off_t uploaded; // seen by the idle timer

	int (*on_data)(const char *data, size_t len, void *arg);
	void (*on_headers)(long status, void *arg);
	void (*done)(const struct http_response *response, void *arg);
	void *arg;

	bool sent;
	int stop_code; // errno of a callback that ended the transfer, 0: none
	size_t limit;  // what the answer passed, with EMSGSIZE
	long status;
	struct buf body;
	struct buf header_lines; // "name: value", each with its NUL
};

TAILQ_HEAD(call_list, http_call);

struct http_client {
	struct transport transport;
	struct call_list waiting, active, garbage;
	bool start_deferred;
	unsigned depth; // functions of ours on the stack that still need the client
	bool dead;      // freed by the user; goes when depth is 0
};

static void start_waiting(void *arg);
static void after_curl(void *arg);
static void client_destroy(struct http_client *client);
static void call_discard(struct http_call *call);
static void call_free(struct http_call *call);
static int call_setup(struct http_call *call, const struct http_request *request);
static void call_set_timers(struct http_call *call, const struct http_request *request);

struct http_client *http_client_new(struct loop *loop, struct error *err)
{
	struct http_client *client = xcalloc(1, sizeof(*client));

	TAILQ_INIT(&client->waiting);
	TAILQ_INIT(&client->active);
	TAILQ_INIT(&client->garbage);
	if (transport_init(&client->transport, loop, after_curl, client, err) < 0) {
		free(client);
		return NULL;
	}
	return client;
}

struct http_client *http_client_free(struct http_client *client)
{
	struct http_call *call;

	if (!client || client->dead)
		return NULL;
	client->dead = true;
	loop_defer_cancel(client->transport.loop, start_waiting, client);
	while ((call = TAILQ_FIRST(&client->waiting)) || (call = TAILQ_FIRST(&client->active)))
		call_discard(call); // NOLINT(clang-analyzer-unix.Malloc): it has left its list
	if (client->depth == 0 && !client->transport.busy)
		client_destroy(client);
	return NULL;
}

struct http_call *http_send(struct http_client *client, const struct http_request *request,
			    void (*done)(const struct http_response *response, void *arg), void *arg)
{
	struct http_call *call = xcalloc(1, sizeof(*call));

	call->client = client;
	call->done = done;
	call->arg = arg;
	call->on_data = request->on_data;
	call->on_headers = request->on_headers;
	call->body.max = request->max_body ? request->max_body : HTTP_BODY_MAX_DEFAULT;
	call->header_lines.max = HEADERS_MAX;
	call->easy = curl_easy_init();
	if (!call->easy) {
		fputs("out of memory\n", stderr);
		abort();
	}
	call->target =
		request->unix_socket ? xasprintf("unix://%s", request->unix_socket) : transport_target(request->url);
	call_set_timers(call, request);
	// A request that cannot be sent is told by the callback, like every other failure.
	call_setup(call, request);
	call->state = CALL_WAITING;
	TAILQ_INSERT_TAIL(&client->waiting, call, link);
	if (!client->start_deferred)
		loop_defer(client->transport.loop, start_waiting, client);
	client->start_deferred = true;
	return call;
}

void http_cancel(struct http_call *call)
{
	// A call whose done callback is running ends by itself.
	if (call && (call->state == CALL_WAITING || call->state == CALL_ACTIVE))
		call_discard(call);
}

char *url_encode(const char *text, bool keep_slash)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = xmalloc(strlen(text) * 3 + 1), *p = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~", c) || (keep_slash && c == '/')) {
			*p++ = (char)c;
		} else {
			*p++ = '%';
			*p++ = hex[c >> 4];
			*p++ = hex[c & 15];
		}
	}
	*p = '\0';
	return out;
}

// --- life of a client ---

static void client_destroy(struct http_client *client)
{
	struct http_call *call;

	while ((call = TAILQ_FIRST(&client->garbage))) {
		TAILQ_REMOVE(&client->garbage, call, link);
		curl_multi_remove_handle(client->transport.multi, call->easy);
		call_free(call);
	}
	transport_done(&client->transport);
	free(client);
}

static void client_enter(struct http_client *client)
{
	client->depth++;
}

static void client_leave(struct http_client *client)
{
	if (--client->depth == 0 && client->dead)
		client_destroy(client);
}

// --- life of a call ---

// Takes the call out of its list and away from curl, as far as curl allows it now.
static void call_discard(struct http_call *call)
{
	struct http_client *client = call->client;

	timer_stop(&call->connect_timer);
	timer_stop(&call->total_timer);
	timer_stop(&call->idle_timer);
	if (call->state == CALL_WAITING) {
		TAILQ_REMOVE(&client->waiting, call, link);
	} else {
		TAILQ_REMOVE(&client->active, call, link);
		if (client->transport.busy) {
			call->state = CALL_GARBAGE;
			TAILQ_INSERT_TAIL(&client->garbage, call, link);
			return;
		}
		curl_multi_remove_handle(client->transport.multi, call->easy);
	}
	call_free(call);
}

static void call_free(struct http_call *call)
{
	timer_done(&call->connect_timer);
	timer_done(&call->total_timer);
	timer_done(&call->idle_timer);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	buf_free(&call->body);
	buf_free(&call->header_lines);
	free(call->target);
	free(call);
}

static const char *find_header(const struct http_response *response, const char *name)
{
	const struct http_call *call = response->header_store;
	size_t len = strlen(name);

	for (size_t at = 0; at < call->header_lines.len;) {
		const char *line = call->header_lines.data + at;

		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " \t");
		at += strlen(line) + 1;
	}
	return NULL;
}

// Ends a call: its callback runs and the call goes. Never under curl. error: NULL for success.
static void call_finish(struct http_call *call, const struct error *error)
{
	struct http_client *client = call->client;
	struct http_response response = {.sent = call->sent,
					 .status = call->status,
					 .body = call->body.data ? call->body.data : "",
					 .body_len = call->body.len,
					 .header = find_header,
					 .header_store = call};

	TAILQ_REMOVE(call->state == CALL_WAITING ? &client->waiting : &client->active, call, link);
	if (call->state == CALL_ACTIVE)
		curl_multi_remove_handle(client->transport.multi, call->easy);
	call->state = CALL_FINISHING;
	timer_stop(&call->connect_timer);
	timer_stop(&call->total_timer);
	timer_stop(&call->idle_timer);
	if (error) {
		response.result = -error->code;
		response.error = *error;
	}
	client_enter(client);
	call->done(&response, call->arg);
	call_free(call);
	client_leave(client);
}

// Deferred by http_send.
static void start_waiting(void *arg)
{
	struct http_client *client = arg;
	struct http_call *call;

	client->start_deferred = false;
	client_enter(client);
	while ((call = TAILQ_FIRST(&client->waiting))) {
		if (call->setup.code) {
			struct error error = call->setup;

			call_finish(call, &error);
			continue;
		}
		TAILQ_REMOVE(&client->waiting, call, link);
		TAILQ_INSERT_TAIL(&client->active, call, link);
		call->state = CALL_ACTIVE;
		if (curl_multi_add_handle(client->transport.multi, call->easy) != CURLM_OK)
			call_finish(call, &(struct error){.code = EIO, .message = "curl does not take the request"});
	}
	client_leave(client);
}

// The error of a transfer that curl has given up.
static void transfer_error(struct http_call *call, CURLcode code, struct error *error)
{
	if (call->stop_code == EMSGSIZE)
		error_set(error, EMSGSIZE, "request to %s: the answer is larger than %zu bytes", call->target,
			  call->limit);
	else if (call->stop_code)
		error_set(error, call->stop_code, "request to %s: ended by its receiver", call->target);
	else
		transport_error(error, call->easy, code, call->target, call->proxied, call->sent, call->detail);
}

static void after_curl(void *arg)
{
	struct http_client *client = arg;
	struct http_call *call;
	CURLMsg *message;
	int left;

	client_enter(client);
	while ((call = TAILQ_FIRST(&client->garbage))) {
		TAILQ_REMOVE(&client->garbage, call, link);
		curl_multi_remove_handle(client->transport.multi, call->easy);
		call_free(call);
	}
	// A handle that a callback cancels takes its message out of curl's queue, so each one read here is alive.
	while (!client->dead && (message = curl_multi_info_read(client->transport.multi, &left))) {
		CURLcode code = message->data.result;
		struct error error;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		if (code == CURLE_OK && call->status < 200) // closed within the head: for curl an empty answer
			code = CURLE_PARTIAL_FILE;
		if (code == CURLE_OK && call->status > 999) // "HTTP/2 20200"
			code = CURLE_WEIRD_SERVER_REPLY;
		if (code != CURLE_OK)
			transfer_error(call, code, &error);
		call_finish(call, code != CURLE_OK ? &error : NULL);
	}
	client_leave(client);
}

// --- deadlines ---

static void on_connect_timeout(void *arg)
{
	struct http_call *call = arg;
	struct error error;

	error_set(&error, ETIMEDOUT, "connect to %s: timed out after %" PRIu64 " ms", call->target, call->connect_ms);
	call_finish(call, &error);
}

static void on_total_timeout(void *arg)
{
	struct http_call *call = arg;
	struct error error;

	error_set(&error, ETIMEDOUT, "%s %s: timed out after %" PRIu64 " ms", call->sent ? "request to" : "connect to",
		  call->target, call->total_ms);
	call_finish(call, &error);
}

// Runs rarely: bytes only set last_byte, and the timer looks at it when it fires.
static void on_idle_timeout(void *arg)
{
	struct http_call *call = arg;
	uint64_t now = loop_now(call->client->transport.loop), idle;
	curl_off_t uploaded = 0;
	struct error error;

	// While the request's own body is still going out, the peer has nothing to say yet.
	curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	if (uploaded != call->uploaded) {
		call->uploaded = uploaded;
		call->last_byte = now;
	}
	idle = now - call->last_byte;
	if (idle < call->idle_ms) {
		timer_start(&call->idle_timer, call->idle_ms - idle);
		return;
	}
	error_set(&error, ETIME, "request to %s: nothing received for %" PRIu64 " ms", call->target, call->idle_ms);
	call_finish(call, &error);
}

static void call_set_timers(struct http_call *call, const struct http_request *request)
{
	struct loop *loop = call->client->transport.loop;

	call->connect_ms = request->connect_timeout_ms ? request->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	call->total_ms = request->timeout_ms;
	call->idle_ms = request->idle_timeout_ms;
	timer_init(&call->connect_timer, loop, on_connect_timeout, call);
	timer_init(&call->total_timer, loop, on_total_timeout, call);
	timer_init(&call->idle_timer, loop, on_idle_timeout, call);
	timer_start(&call->connect_timer, call->connect_ms);
	if (call->total_ms)
		timer_start(&call->total_timer, call->total_ms);
}

// --- callbacks of curl, with curl on the stack ---

// The connection is there and the request is about to go out.
static int on_connected(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct http_call *call = arg;

	(void)peer, (void)local, (void)peer_port, (void)local_port;
	if (call->state == CALL_GARBAGE)
		return CURL_PREREQFUNC_ABORT;
	call->sent = true;
	timer_stop(&call->connect_timer);
	call->last_byte = loop_now(call->client->transport.loop);
	if (call->idle_ms)
		timer_start(&call->idle_timer, call->idle_ms);
	return CURL_PREREQFUNC_OK;
}

// 0 tells curl to stop; the errno is kept for transfer_error.
static size_t stop(struct http_call *call, int code)
{
	call->stop_code = code;
	return 0;
}

static size_t stop_too_large(struct http_call *call, size_t limit)
{
	call->limit = limit;
	return stop(call, EMSGSIZE);
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct http_call *call = arg;
	size_t len = size * count, text = len;

	if (call->state == CALL_GARBAGE)
		return 0;
	call->last_byte = loop_now(call->client->transport.loop);
	// The end of the headers is curl's: a line that begins with a line end, whatever follows in it.
	bool last = len > 0 && (data[0] == '\r' || data[0] == '\n');
	while (text > 0 && strchr("\r\n \t", data[text - 1]))
		text--;
	if (last && call->status < 200) {
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->status);
		if (call->status >= 200 && call->on_headers) {
			call->on_headers(call->status, call->arg);
			if (call->state == CALL_GARBAGE)
				return 0;
		}
	} else if (text > 5 && strncasecmp(data, "HTTP/", 5) == 0) {
		// A status line begins a response; what came before belongs to an interim one (100, 103).
		buf_clear(&call->header_lines);
	} else if (text > 0 && !last) {
		if (buf_append(&call->header_lines, data, text) < 0 || buf_append(&call->header_lines, "", 1) < 0)
			return stop_too_large(call, call->header_lines.max);
	}
	return len;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct http_call *call = arg;
	size_t len = size * count;

	if (call->state == CALL_GARBAGE)
		return 0;
	call->last_byte = loop_now(call->client->transport.loop);
	if (!call->on_data || call->status >= 400)
		return buf_append(&call->body, data, len) < 0 ? stop_too_large(call, call->body.max) : len;
	if (call->on_data(data, len, call->arg) != 0)
		return stop(call, ECANCELED);
	return call->state == CALL_GARBAGE ? 0 : len;
}

// --- building the request ---

static void add_line(struct http_call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (!list) {
		fputs("out of memory\n", stderr);
		abort();
	}
	call->headers = list;
}

// A line break in a value would let whoever chose the value write headers of their own.
static bool is_header_safe(const struct http_header *header)
{
	return *header->name && !strpbrk(header->name, "\r\n: ") && !strpbrk(header->value, "\r\n");
}

static int set_headers(struct http_call *call, const struct http_request *request)
{
	// Headers curl would add of its own accord: an empty one removes it.
	bool accept = false, content_type = false;

	for (size_t i = 0; i < request->header_count; i++) {
		const struct http_header *header = &request->headers[i];
		_cleanup_free_ char *line = NULL;

		if (!is_header_safe(header))
			return error_set(&call->setup, EINVAL, "request to %s: bad header %s", call->target,
					 header->name);
		// curl decodes only what it has asked for itself.
		if (strcasecmp(header->name, "Accept-Encoding") == 0 && strcasecmp(header->value, "gzip") == 0) {
			curl_easy_setopt(call->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
			continue;
		}
		accept = accept || strcasecmp(header->name, "Accept") == 0;
		content_type = content_type || strcasecmp(header->name, "Content-Type") == 0;
		// curl's way to write a header without a value.
		line = *header->value ? xasprintf("%s: %s", header->name, header->value)
				      : xasprintf("%s;", header->name);
		add_line(call, line);
	}
	add_line(call, "Expect:");
	add_line(call, "Transfer-Encoding:");
	if (!accept)
		add_line(call, "Accept:");
	if (!content_type)
		add_line(call, "Content-Type:");
	curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
	return 0;
}

static void set_method(struct http_call *call, const struct http_request *request)
{
	const char *method = request->method;

	if (strcmp(method, "HEAD") == 0) {
		curl_easy_setopt(call->easy, CURLOPT_NOBODY, 1L);
		return;
	}
	// Methods that have a body carry "Content-Length: 0" without one.
	if (request->body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
	    strcmp(method, "PATCH") == 0) {
		size_t len = request->body ? request->body_len : 0;

		curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
		curl_easy_setopt(call->easy, CURLOPT_COPYPOSTFIELDS, len ? request->body : "");
	} else {
		curl_easy_setopt(call->easy, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, method);
}

static int set_socket(struct http_call *call, const char *path)
{
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(&call->setup, ENAMETOOLONG, "connect to %s: the path is too long", call->target);
	curl_easy_setopt(call->easy, CURLOPT_UNIX_SOCKET_PATH, path);
	return 0;
}

static int call_setup(struct http_call *call, const struct http_request *request)
{
	CURL *easy = call->easy;
	int r = transport_setup(easy, request->url, request->insecure, request->no_proxy || request->unix_socket,
				&call->proxied, &call->setup);

	if (r == 0 && request->unix_socket)
		r = set_socket(call, request->unix_socket);
	if (r == 0)
		r = set_headers(call, request);
	if (r < 0)
		return r;
	set_method(call, request);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)request->once);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)request->once);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->detail);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	return 0;
}
