// The traps of libcurl's CONNECT_ONLY with wslay are marked "Trap n" where they are met.
#include "common/websocket.h"

#include "common/transport.h"
#include "common/util.h"
#include "common/ws_handshake.h"

#include <errno.h>
#include <inttypes.h>
#include <wslay/wslay.h>

#define CONNECT_TIMEOUT_MS 30000
#define CLOSE_WAIT_MS 10000             // for the peer's answer to our close frame
#define READ_BUDGET ((size_t)256 << 10) // bytes read in one turn, so that others have theirs
#define PENDING_FRAMES_MAX 1024         // frames waiting to be sent; with more, reading pauses
#define PENDING_BYTES_MAX (4 * WEBSOCKET_MESSAGE_MAX)
#define CLOSE_REASON_MAX 123 // a control frame has at most 125 bytes, two are the code
#define FRAGMENTS_MAX 16384  // of one message; each costs wslay memory of its own
#define CONTROL_PAYLOAD_MAX 125

_Static_assert(WS_HANDSHAKE_TEXT_MAX == WEBSOCKET_REFUSAL_MAX, "what the header promises of a refusal");

enum state {
	STATE_CONNECTING, // curl's: name, TCP, proxy, TLS
	STATE_HANDSHAKE,  // our request and the answer
	STATE_OPEN,
	STATE_ENDED,
};

struct websocket {
	struct loop *loop;
	struct websocket_callbacks callbacks;
	void *arg;
	enum state state;
	unsigned depth; // functions of ours on the stack that still need the websocket
	bool dead;      // freed by the user; goes when depth is 0

	struct transport transport;
	CURL *easy;
	char detail[CURL_ERROR_SIZE];
	char *target; // host:port, for texts
	bool proxied;
	struct watch *watch;
	struct error setup; // code 0: none; otherwise told in the next turn

	struct ws_handshake handshake;
	size_t request_sent;
	struct buf glued; // first frames that came together with the handshake's answer
	size_t glued_used;

	wslay_event_context_ptr frames;
	size_t budget;
	bool held;     // the read callback stopped before curl had said "again"
	bool progress; // bytes were written in this pass
	bool eof;
	int io_errno;    // of a failed read or write
	bool closing;    // websocket_close was called
	bool discarding; // the peer broke the rules and is told; the rest of what it sends is thrown away
	int closing_code;
	char closing_reason[CLOSE_REASON_MAX + 1];
	int close_code; // of the peer's close frame, 0: none yet
	char close_reason[CLOSE_REASON_MAX + 1];

	unsigned fragments; // seen of the message that is coming in
	struct {
		size_t len, expected;
		unsigned char data[CONTROL_PAYLOAD_MAX];
	} close_payload; // of a close frame that is coming in

	struct timer connect_timer, read_timer, write_timer, close_timer;
	uint64_t connect_ms, read_ms, write_ms;
	uint64_t last_read;
};

static void start(void *arg);
static void resume(void *arg);
static void end_cancelled(void *arg);
static void after_curl(void *arg);
static void on_io(int fd, unsigned events, void *arg);
static void on_connect_timeout(void *arg);
static void on_read_timeout(void *arg);
static void on_write_timeout(void *arg);
static void on_close_timeout(void *arg);
static int setup(struct websocket *ws, const struct websocket_options *options);
static void drop_connection(struct websocket *ws);
static void destroy(struct websocket *ws);
static void want_io(struct websocket *ws);
static void finish_violation(struct websocket *ws);

struct websocket *websocket_open(struct loop *loop, const struct websocket_options *options,
				 const struct websocket_callbacks *callbacks, void *arg)
{
	struct websocket *ws = xcalloc(1, sizeof(*ws));

	ws->loop = loop;
	ws->callbacks = *callbacks;
	ws->arg = arg;
	ws->connect_ms = options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	ws->read_ms = options->read_timeout_ms;
	ws->write_ms = options->write_timeout_ms;
	timer_init(&ws->connect_timer, loop, on_connect_timeout, ws);
	timer_init(&ws->read_timer, loop, on_read_timeout, ws);
	timer_init(&ws->write_timer, loop, on_write_timeout, ws);
	timer_init(&ws->close_timer, loop, on_close_timeout, ws);
	timer_start(&ws->connect_timer, ws->connect_ms);
	// What is wrong with the options is told by on_end, like every other failure.
	setup(ws, options);
	loop_defer(loop, start, ws);
	return ws;
}

int websocket_send(struct websocket *ws, const char *text, size_t len)
{
	struct wslay_event_msg message = {.opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *)text, .msg_length = len};

	if (ws->state != STATE_OPEN || ws->closing || ws->dead)
		return -ENOTCONN;
	if (len > WEBSOCKET_MESSAGE_MAX || wslay_event_get_queued_msg_length(ws->frames) + len > PENDING_BYTES_MAX)
		return -EMSGSIZE;
	// It fails once a close frame is queued, which is also wslay's answer to the peer's.
	if (wslay_event_queue_msg(ws->frames, &message) != 0)
		return -ENOTCONN;
	want_io(ws);
	return 0;
}

void websocket_close(struct websocket *ws, int code, const char *reason)
{
	if (ws->closing || ws->dead || ws->state == STATE_ENDED)
		return;
	ws->closing = true;
	ws->closing_code = code;
	snprintf(ws->closing_reason, sizeof(ws->closing_reason), "%s", reason ? reason : "");
	if (ws->state != STATE_OPEN) {
		loop_defer(ws->loop, end_cancelled, ws);
		return;
	}
	timer_start(&ws->close_timer, CLOSE_WAIT_MS);
	loop_defer(ws->loop, resume, ws);
}

struct websocket *websocket_free(struct websocket *ws)
{
	if (!ws || ws->dead)
		return NULL;
	ws->dead = true;
	if (ws->depth == 0)
		destroy(ws);
	return NULL;
}

// --- life ---

static void destroy(struct websocket *ws)
{
	loop_defer_cancel(ws->loop, start, ws);
	loop_defer_cancel(ws->loop, resume, ws);
	loop_defer_cancel(ws->loop, end_cancelled, ws);
	drop_connection(ws);
	timer_done(&ws->connect_timer);
	timer_done(&ws->read_timer);
	timer_done(&ws->write_timer);
	timer_done(&ws->close_timer);
	ws_handshake_done(&ws->handshake);
	buf_free(&ws->glued);
	free(ws->target);
	free(ws);
}

static void enter(struct websocket *ws)
{
	ws->depth++;
}

static void leave(struct websocket *ws)
{
	if (--ws->depth == 0 && ws->dead)
		destroy(ws);
}

static void drop_connection(struct websocket *ws)
{
	ws->watch = watch_free(ws->watch); // before curl closes the descriptor
	if (ws->frames)
		wslay_event_context_free(ws->frames);
	ws->frames = NULL;
	if (ws->easy) {
		curl_multi_remove_handle(ws->transport.multi, ws->easy);
		curl_easy_cleanup(ws->easy);
	}
	ws->easy = NULL;
	if (ws->transport.multi)
		transport_done(&ws->transport);
}

// The one way to the end: the connection goes, then on_end runs. Never from inside a callback of wslay or curl.
static void finish(struct websocket *ws, struct websocket_end *end)
{
	if (ws->state == STATE_ENDED || ws->dead)
		return;
	end->opened = ws->state == STATE_OPEN;
	end->body = end->http_status && ws->handshake.text.data ? ws->handshake.text.data : "";
	ws->state = STATE_ENDED;
	enter(ws);
	timer_stop(&ws->connect_timer);
	timer_stop(&ws->read_timer);
	timer_stop(&ws->write_timer);
	timer_stop(&ws->close_timer);
	loop_defer_cancel(ws->loop, resume, ws);
	loop_defer_cancel(ws->loop, end_cancelled, ws);
	drop_connection(ws);
	ws->callbacks.on_end(end, ws->arg);
	leave(ws);
}

static void finish_error(struct websocket *ws, int code, const char *text)
{
	struct websocket_end end = {0};

	end.result = error_set(&end.error, code, "websocket to %s: %s", ws->target, text);
	finish(ws, &end);
}

static void end_cancelled(void *arg)
{
	finish_error(arg, ECANCELED, "closed before it was open");
}

// --- deadlines ---

static void timed_out(struct websocket *ws, const char *what, uint64_t ms)
{
	char text[96];

	snprintf(text, sizeof(text), "%s %" PRIu64 " ms", what, ms);
	finish_error(ws, ETIMEDOUT, text);
}

static void finish_refused(struct websocket *ws);

static void on_connect_timeout(void *arg)
{
	struct websocket *ws = arg;

	// A refusal is known by its status alone; only its text was late.
	if (ws->handshake.state == WS_HANDSHAKE_BODY)
		finish_refused(ws);
	else
		timed_out(ws,
			  ws->state == STATE_CONNECTING ? "not connected after" : "no answer to the handshake after",
			  ws->connect_ms);
}

// Runs rarely: bytes only set last_read, and the timer looks at it when it fires.
static void on_read_timeout(void *arg)
{
	struct websocket *ws = arg;
	uint64_t silent = loop_now(ws->loop) - ws->last_read;

	if (silent < ws->read_ms)
		timer_start(&ws->read_timer, ws->read_ms - silent);
	else
		timed_out(ws, "nothing received for", ws->read_ms);
}

static void on_write_timeout(void *arg)
{
	struct websocket *ws = arg;

	timed_out(ws, "nothing could be sent for", ws->write_ms);
}

static void on_close_timeout(void *arg)
{
	struct websocket *ws = arg;

	if (ws->discarding)
		finish_violation(ws);
	else
		timed_out(ws, "close frame not answered after", CLOSE_WAIT_MS);
}

// --- connecting ---

// Trap 4: curl does not know wss://. It is shown the https:// URL of the same authority and connects only.
static char *http_url(const char *url)
{
	if (str_starts(url, "ws://"))
		return xasprintf("http%s", url + 2);
	if (str_starts(url, "wss://"))
		return xasprintf("https%s", url + 3);
	return xstrdup(url);
}

static int setup(struct websocket *ws, const struct websocket_options *options)
{
	_cleanup_free_ char *url = http_url(options->url);
	unsigned char random[WS_HANDSHAKE_RANDOM];
	int r;

	ws->target = transport_target(url);
	// The Upgrade request is ours to make (trap 4).
	random_bytes(random, sizeof(random));
	r = ws_handshake_init(&ws->handshake, options->url, ws->target, random, options->headers, options->header_count,
			      &ws->setup);
	if (r == 0)
		r = transport_init(&ws->transport, ws->loop, after_curl, ws, &ws->setup);
	if (r < 0)
		return r;
	// Trap 7: a multi handle of its own keeps it away from the pool of ordinary connections and its pruning.
	ws->easy = curl_easy_init();
	if (!ws->easy)
		return error_set(&ws->setup, ENOMEM, "cannot create a curl handle");
	// Traps 1, 5 and 6 are met by the shared options: HTTP/1.1 only, so that TLS does not offer h2 and curl does not
	// speak it by itself; our own choice of proxy; NOSIGNAL, with SIGPIPE ignored once for all.
	r = transport_setup(ws->easy, url, options->insecure, false, &ws->proxied, &ws->setup);
	if (r < 0)
		return r;
	curl_easy_setopt(ws->easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(ws->easy, CURLOPT_ERRORBUFFER, ws->detail);
	return 0;
}

static void start(void *arg)
{
	struct websocket *ws = arg;
	struct websocket_end end = {0};

	// Trap 8 is the process's: names other than localhost start a resolver thread, which its seccomp filter and
	// its memory limits have to allow.
	if (!ws->setup.code && curl_multi_add_handle(ws->transport.multi, ws->easy) == CURLM_OK)
		return;
	end.error = ws->setup;
	if (!end.error.code)
		error_set(&end.error, EIO, "websocket to %s: curl does not take the request", ws->target);
	end.result = -end.error.code;
	finish(ws, &end);
}

static void connected(struct websocket *ws)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	curl_easy_getinfo(ws->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD) {
		finish_error(ws, EIO, "curl gives no socket");
		return;
	}
	// Trap 2: the handle stays in its multi handle; taken out, it would lose the connection.
	// Trap 7, second half: curl has withdrawn its own watch by now, so the descriptor is ours to watch.
	ws->state = STATE_HANDSHAKE;
	ws->watch = watch_new(ws->loop, fd, LOOP_READ | LOOP_WRITE, on_io, ws);
}

static void after_curl(void *arg)
{
	struct websocket *ws = arg;
	struct websocket_end end = {0};
	CURLMsg *message;
	CURLcode code;
	int left;

	if (ws->state != STATE_CONNECTING)
		return;
	message = curl_multi_info_read(ws->transport.multi, &left);
	if (!message || message->msg != CURLMSG_DONE)
		return;
	code = message->data.result;
	if (code == CURLE_OK) {
		connected(ws);
		return;
	}
	end.result = transport_error(&end.error, ws->easy, code, ws->target, ws->proxied, false, ws->detail);
	finish(ws, &end);
}

// --- bytes ---

static int io_error(struct websocket *ws, CURLcode code)
{
	long os_errno = 0;

	if (code == CURLE_AGAIN)
		return -EAGAIN;
	curl_easy_getinfo(ws->easy, CURLINFO_OS_ERRNO, &os_errno);
	return os_errno > 0 ? (int)-os_errno : -ECONNRESET;
}

// Bytes read, 0 at the end of the stream (trap 6: curl tells it as success without bytes), or a negative errno.
static ssize_t read_bytes(struct websocket *ws, void *data, size_t size)
{
	size_t got = 0;
	CURLcode code = curl_easy_recv(ws->easy, data, size, &got);

	if (code != CURLE_OK)
		return io_error(ws, code);
	if (got > 0)
		ws->last_read = loop_now(ws->loop);
	return (ssize_t)got;
}

static ssize_t write_bytes(struct websocket *ws, const void *data, size_t len)
{
	size_t sent = 0;
	CURLcode code = curl_easy_send(ws->easy, data, len, &sent);

	if (code != CURLE_OK)
		return io_error(ws, code);
	ws->progress = ws->progress || sent > 0;
	return (ssize_t)sent;
}

// --- handshake ---

static void finish_refused(struct websocket *ws)
{
	struct websocket_end end = {.http_status = ws->handshake.status};

	error_set(&end.error, EACCES, "websocket to %s: handshake refused with status %ld", ws->target,
		  end.http_status);
	finish(ws, &end);
}

static int send_request(struct websocket *ws)
{
	const struct buf *request = &ws->handshake.request;

	while (ws->request_sent < request->len) {
		ssize_t n = write_bytes(ws, request->data + ws->request_sent, request->len - ws->request_sent);

		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		ws->request_sent += (size_t)n;
	}
	watch_set(ws->watch, LOOP_READ);
	return 0;
}

static void open_frames(struct websocket *ws);
static void pump(struct websocket *ws);

// Feeds a piece of the answer, and goes where that has led to.
static void take_answer(struct websocket *ws, const char *data, size_t len)
{
	size_t used = ws_handshake_feed(&ws->handshake, data, len);

	if (ws->handshake.state == WS_HANDSHAKE_FAILED) {
		finish_error(ws, EPROTO, ws->handshake.fault);
	} else if (ws->handshake.state == WS_HANDSHAKE_REFUSED) {
		finish_refused(ws);
	} else if (ws->handshake.state == WS_HANDSHAKE_OPEN) {
		(void)buf_append(&ws->glued, data + used, len - used);
		open_frames(ws);
	}
}

static void answer_ended(struct websocket *ws, int code)
{
	if (ws->handshake.state == WS_HANDSHAKE_BODY)
		finish_refused(ws);
	else if (code == 0)
		finish_error(ws, ECONNRESET, "connection closed during the handshake");
	else
		finish_error(ws, -code, strerrordesc_np(-code));
}

static void handshake(struct websocket *ws)
{
	int r = ws->request_sent < ws->handshake.request.len ? send_request(ws) : 0;

	// Also after a failed write: the peer may have refused without reading all.
	while (ws->state == STATE_HANDSHAKE) { // NOLINT(clang-analyzer-unix.Malloc)
		char chunk[2048];
		ssize_t n = read_bytes(ws, chunk, sizeof(chunk));

		if (n == -EAGAIN && r == 0)
			return;
		if (n <= 0) {
			answer_ended(ws, r < 0 ? r : (int)n);
			return;
		}
		take_answer(ws, chunk, (size_t)n);
	}
	if (ws->state == STATE_OPEN && !ws->dead)
		pump(ws);
}

// --- frames ---

static void note_end(struct websocket *ws, ssize_t n)
{
	if (n == 0)
		ws->eof = true;
	else if (n < 0 && n != -EAGAIN)
		ws->io_errno = (int)-n;
}

static ssize_t frame_read(wslay_event_context_ptr frames, uint8_t *data, size_t size, int flags, void *arg)
{
	struct websocket *ws = arg;
	size_t glued = ws->glued.len - ws->glued_used;
	ssize_t n;

	(void)flags;
	// Trap 3: bytes that came together with the handshake's answer are the first ones of the stream ...
	if (!ws->dead && glued > 0) {
		size_t take = glued < size ? glued : size;

		memcpy(data, ws->glued.data + ws->glued_used, take);
		ws->glued_used += take;
		return (ssize_t)take;
	}
	// ... and from then on all is read until curl says "again", for what OpenSSL has already taken from the socket
	// does not make it readable. Where we stop earlier, `held` has the rest read in another turn.
	ws->held = ws->budget == 0 || wslay_event_get_queued_msg_count(frames) > PENDING_FRAMES_MAX;
	n = ws->dead ? -ECANCELED : ws->held ? -EAGAIN : read_bytes(ws, data, size);
	if (n > 0) {
		ws->budget -= (size_t)n < ws->budget ? (size_t)n : ws->budget;
		return n;
	}
	note_end(ws, n);
	wslay_event_set_error(frames, n == -EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static ssize_t frame_write(wslay_event_context_ptr frames, const uint8_t *data, size_t len, int flags, void *arg)
{
	struct websocket *ws = arg;
	ssize_t n = write_bytes(ws, data, len);

	(void)flags;
	if (n >= 0)
		return n;
	if (n != -EAGAIN)
		ws->io_errno = (int)-n;
	wslay_event_set_error(frames, n == -EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static int frame_mask(wslay_event_context_ptr frames, uint8_t *data, size_t len, void *arg)
{
	(void)frames, (void)arg;
	random_bytes(data, len);
	return 0;
}

// Runs at the head of each frame.
static void frame_start(wslay_event_context_ptr frames, const struct wslay_event_on_frame_recv_start_arg *frame,
			void *arg)
{
	struct websocket *ws = arg;

	if (frame->opcode == WSLAY_CONNECTION_CLOSE) {
		ws->close_payload.len = 0;
		ws->close_payload.expected = frame->payload_length;
	}
	if (frame->opcode == WSLAY_TEXT_FRAME || frame->opcode == WSLAY_BINARY_FRAME)
		ws->fragments = 0;
	if (frame->opcode == WSLAY_CONTINUATION_FRAME && ++ws->fragments > FRAGMENTS_MAX) {
		(void)wslay_event_queue_close(frames, WSLAY_CODE_MESSAGE_TOO_BIG, NULL, 0);
		wslay_event_shutdown_read(frames);
	}
}

static void take_close(struct websocket *ws, unsigned code, const void *reason, size_t len)
{
	ws->close_code = (int)code;
	snprintf(ws->close_reason, sizeof(ws->close_reason), "%.*s", (int)len, len ? (const char *)reason : "");
}

// A ninth trap: wslay takes the codes 1012 to 1014 (registered after RFC 6455, and used by ECS's front end) for a breach of
// the protocol and would answer 1002. So they are answered here, before wslay looks at them: of two
// close frames it queues only the first.
static void frame_chunk(wslay_event_context_ptr frames, const struct wslay_event_on_frame_recv_chunk_arg *chunk,
			void *arg)
{
	struct websocket *ws = arg;
	size_t room = sizeof(ws->close_payload.data) - ws->close_payload.len;
	const unsigned char *payload = ws->close_payload.data;
	unsigned code;

	if (ws->close_payload.expected == 0)
		return;
	memcpy(ws->close_payload.data + ws->close_payload.len, chunk->data,
	       chunk->data_length < room ? chunk->data_length : room);
	ws->close_payload.len += chunk->data_length < room ? chunk->data_length : room;
	if (ws->close_payload.len < 2 || ws->close_payload.len < ws->close_payload.expected)
		return;
	ws->close_payload.expected = 0;
	code = (unsigned)payload[0] << 8 | payload[1];
	if (code < 1012 || code > 1014)
		return;
	(void)wslay_event_queue_close(frames, (uint16_t)code, payload + 2, ws->close_payload.len - 2);
	take_close(ws, code, payload + 2, ws->close_payload.len - 2);
}

static void frame_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
	struct websocket *ws = arg;
	_cleanup_free_ char *text = NULL;

	(void)frames;
	// wslay may have more messages at hand than the user wants to hear of.
	if (ws->dead)
		return;
	if (message->opcode == WSLAY_CONNECTION_CLOSE) {
		size_t reason = message->msg_length > 2 ? message->msg_length - 2 : 0;

		ws->close_code = message->status_code ? message->status_code : WSLAY_CODE_NO_STATUS_RCVD;
		snprintf(ws->close_reason, sizeof(ws->close_reason), "%.*s", (int)reason,
			 reason ? (const char *)message->msg + 2 : "");
		return;
	}
	if (message->opcode != WSLAY_TEXT_FRAME && message->opcode != WSLAY_BINARY_FRAME)
		return;
	text = xmalloc(message->msg_length + 1);
	memcpy(text, message->msg_length ? message->msg : (const uint8_t *)"", message->msg_length);
	text[message->msg_length] = '\0';
	ws->callbacks.on_message(text, message->msg_length, message->opcode == WSLAY_BINARY_FRAME, ws->arg);
}

static void open_frames(struct websocket *ws)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = frame_read,
							       .send_callback = frame_write,
							       .genmask_callback = frame_mask,
							       .on_frame_recv_start_callback = frame_start,
							       .on_frame_recv_chunk_callback = frame_chunk,
							       .on_msg_recv_callback = frame_message};

	if (wslay_event_context_client_init(&ws->frames, &callbacks, ws) != 0) {
		finish_error(ws, ENOMEM, "out of memory");
		return;
	}
	wslay_event_config_set_max_recv_msg_length(ws->frames, WEBSOCKET_MESSAGE_MAX);
	ws->state = STATE_OPEN;
	buf_free(&ws->handshake.request); // it holds a signature and perhaps a session token
	timer_stop(&ws->connect_timer);
	if (ws->read_ms)
		timer_start(&ws->read_timer, ws->read_ms);
	ws->callbacks.on_open(ws->arg);
}

// Sends what is queued; our own close frame goes last, for wslay would send it before messages that wait.
static void send_frames(struct websocket *ws)
{
	// After the peer's end there is nobody to send to, and a failure would hide how the session ended.
	if (ws->io_errno || ws->eof)
		return;
	(void)wslay_event_send(ws->frames); // a failure is in io_errno
	if (ws->closing && !ws->io_errno && !wslay_event_want_write(ws->frames) &&
	    !wslay_event_get_close_sent(ws->frames)) {
		(void)wslay_event_queue_close(ws->frames, (uint16_t)ws->closing_code,
					      (const uint8_t *)ws->closing_reason, strlen(ws->closing_reason));
		(void)wslay_event_send(ws->frames);
	}
}

static void finish_closed(struct websocket *ws)
{
	struct websocket_end end = {.close_code = ws->close_code};

	error_set(&end.error, ECONNRESET, "websocket to %s: closed by the peer with code %d%s%s", ws->target,
		  ws->close_code, *ws->close_reason ? ": " : "", ws->close_reason);
	finish(ws, &end);
}

static void finish_eof(struct websocket *ws)
{
	struct websocket_end end = {.eof = true};

	error_set(&end.error, ECONNRESET, "websocket to %s: connection closed without a close frame", ws->target);
	finish(ws, &end);
}

// wslay has found fault with the peer's frames and told it so in a close frame.
static void finish_violation(struct websocket *ws)
{
	int code = wslay_event_get_status_code_sent(ws->frames);
	char text[96];

	if (code == WSLAY_CODE_MESSAGE_TOO_BIG) {
		if (ws->fragments > FRAGMENTS_MAX)
			snprintf(text, sizeof(text), "the peer's message is in more than %d fragments", FRAGMENTS_MAX);
		else
			snprintf(text, sizeof(text), "the peer's message is larger than %zu bytes",
				 WEBSOCKET_MESSAGE_MAX);
		finish_error(ws, EMSGSIZE, text);
	} else if (code == WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA) {
		finish_error(ws, EBADMSG, "the peer's text is not UTF-8");
	} else { // which rule, wslay does not tell
		finish_error(
			ws, EPROTO,
			"the peer breaks the WebSocket protocol: reserved bits or opcode, a masked frame, fragments "
			"out of order, a bad control frame or close code");
	}
}

// A connection that is closed with bytes unread is reset, and the reset overtakes our close frame: the peer would not
// learn what it did wrong. So the rest is read and thrown away until the peer ends, for as long as it has to answer.
static void discard_rest(struct websocket *ws)
{
	char chunk[16 << 10];
	size_t budget = READ_BUDGET;
	ssize_t n;

	if (!ws->discarding) {
		ws->discarding = true;
		timer_start(&ws->close_timer, CLOSE_WAIT_MS);
	}
	do {
		n = read_bytes(ws, chunk, sizeof(chunk));
		budget -= n > 0 ? (size_t)n : 0;
	} while (n > 0 && budget >= sizeof(chunk));
	note_end(ws, n);
	if (ws->eof || ws->io_errno)
		finish_violation(ws);
	else
		ws->held = n > 0;
}

// Ends the session if this pass has shown it to be over. True if it did.
static bool check_end(struct websocket *ws)
{
	bool flushed = !wslay_event_want_write(ws->frames) || ws->io_errno || ws->eof;

	if (ws->close_code && flushed)
		finish_closed(ws);
	else if (ws->io_errno)
		finish_error(ws, ws->io_errno, strerrordesc_np(ws->io_errno));
	else if (ws->eof)
		finish_eof(ws);
	else if (!ws->close_code && !wslay_event_get_read_enabled(ws->frames) && flushed)
		discard_rest(ws);
	return ws->state == STATE_ENDED; // NOLINT(clang-analyzer-unix.Malloc): as in on_io
}

// Watches for what the session can go on with.
static void want_io(struct websocket *ws)
{
	bool full = wslay_event_get_queued_msg_count(ws->frames) > PENDING_FRAMES_MAX;
	bool pending = wslay_event_want_write(ws->frames);

	watch_set(ws->watch, (ws->discarding || (wslay_event_get_read_enabled(ws->frames) && !full) ? LOOP_READ : 0u) |
				     (pending ? LOOP_WRITE : 0u));
	if (!pending)
		timer_stop(&ws->write_timer);
	else if (ws->write_ms && (ws->progress || !timer_running(&ws->write_timer)))
		timer_start(&ws->write_timer, ws->write_ms);
	ws->progress = false;
}

// One pass over an open session: read, answer, send, and see what comes next.
static void pump(struct websocket *ws)
{
	int r;

	enter(ws);
	ws->budget = READ_BUDGET;
	ws->held = false;
	r = ws->discarding ? 0 : wslay_event_recv(ws->frames);
	if (r == WSLAY_ERR_NOMEM) {
		fputs("out of memory\n", stderr);
		abort();
	}
	if (!ws->dead) {
		send_frames(ws);
		if (!check_end(ws)) {
			want_io(ws);
			// With a full queue it is the peer's reading that lets us go on.
			if (ws->held && wslay_event_get_queued_msg_count(ws->frames) <= PENDING_FRAMES_MAX) {
				loop_defer_cancel(ws->loop, resume, ws);
				loop_defer(ws->loop, resume, ws);
			}
		}
	}
	leave(ws);
}

static void resume(void *arg)
{
	struct websocket *ws = arg;

	if (ws->state == STATE_OPEN)
		pump(ws);
}

// The websocket outlives both calls: `depth` is above 0 in between, which the analyzer cannot know.
static void on_io(int fd, unsigned events, void *arg)
{
	struct websocket *ws = arg;

	(void)fd, (void)events;
	enter(ws);
	if (ws->state == STATE_OPEN)
		pump(ws);
	else
		handshake(ws);
	leave(ws); // NOLINT(clang-analyzer-unix.Malloc)
}
