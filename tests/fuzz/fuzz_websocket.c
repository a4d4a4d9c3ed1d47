// Frames of an open WebSocket, cut anywhere: the same bytes are the same messages and the same end, and whatever comes,
// what is answered is well-formed. Input: a byte that chooses the cuts, one that chooses the way the connection ends and
// whether the user acts from inside on_message, then the stream.
#include "common/transport.h"
#include "fuzz_loop.h"

static CURLcode fuzz_recv(void *data, size_t size, size_t *got);
static CURLcode fuzz_send(const void *data, size_t len, size_t *sent);
#undef curl_easy_recv
#undef curl_easy_send
#define curl_easy_recv(easy, data, size, got) ((void)(easy), fuzz_recv(data, size, got))
#define curl_easy_send(easy, data, len, sent) ((void)(easy), fuzz_send(data, len, sent))
#include "common/websocket.c"

#define BAD_TEXT "end 0 0 -74" // EBADMSG

enum { USER_ACTS = 1, RESET = 2, SLOW_WRITES = 4, MIDWAY = 8 };

static struct {
	const char *data;
	size_t len, at, piece; // piece: bytes until "again"
	unsigned flags, sends;
	struct websocket *ws;
	struct buf sent, seen; // what went out; messages and the end
	bool ended;
} peer;

static CURLcode fuzz_recv(void *data, size_t size, size_t *got)
{
	size_t left = peer.len - peer.at, n = left < peer.piece ? left : peer.piece;
	*got = 0;
	if (left == 0)
		return peer.flags & RESET ? CURLE_RECV_ERROR : CURLE_OK;
	if (n == 0)
		return CURLE_AGAIN;
	*got = n = n < size ? n : size;
	memcpy(data, peer.data + peer.at, n);
	peer.at += n;
	peer.piece -= n;
	return CURLE_OK;
}

static CURLcode fuzz_send(const void *data, size_t len, size_t *sent)
{
	*sent = 0;
	if (peer.flags & SLOW_WRITES && ++peer.sends % 2)
		return CURLE_AGAIN;
	*sent = peer.flags & SLOW_WRITES && len > 3 ? 3 : len;
	CHECK(buf_append(&peer.sent, data, *sent) == 0);
	return CURLE_OK;
}

static void user_open(void *arg)
{
	(void)arg;
	CHECK(peer.seen.len == 0);
	buf_printf(&peer.seen, "open\n");
}

static void user_message(const char *data, size_t len, bool binary, void *arg)
{
	(void)arg;
	CHECK(!peer.ended && data[len] == '\0' && len <= WEBSOCKET_MESSAGE_MAX);
	CHECK(binary || strlen(data) < len || is_utf8(data));
	buf_printf(&peer.seen, "%s %zu ", binary ? "binary" : "text", len);
	buf_append(&peer.seen, data, len);
	if (!(peer.flags & USER_ACTS) || len == 0)
		return;
	if (data[0] == 'c')
		websocket_close(peer.ws, 1000, data + 1);
	else if (data[0] == 's')
		websocket_send(peer.ws, data, len);
	else if (data[0] == 'f')
		peer.ws = websocket_free(peer.ws);
}

static void user_end(const struct websocket_end *end, void *arg)
{
	(void)arg;
	CHECK(!peer.ended && end->opened && !*end->body && end->http_status == 0);
	CHECK((end->close_code != 0) + end->eof + (end->result < 0) == 1);
	CHECK(end->close_code == 0 || (end->close_code >= 1000 && end->close_code <= 4999));
	check_reason(end->error.message[0] ? "text" : "");
	peer.ended = true;
	buf_printf(&peer.seen, "end %d %d %d", end->close_code, end->eof, end->result);
}

// Whole masked client frames; the last may be cut where the connection ended.
static void check_sent(const struct buf *sent)
{
	for (size_t at = 0; at + 2 <= sent->len;) {
		const unsigned char *frame = (const unsigned char *)sent->data + at;
		unsigned opcode = frame[0] & 15;
		size_t len = frame[1] & 127, head = 6;
		CHECK(frame[0] & 128 && !(frame[0] & 112) && frame[1] & 128);
		CHECK(opcode == 1 || opcode == 8 || opcode == 10);
		CHECK(opcode == 1 || len <= 125);
		if (len == 126 && at + 4 <= sent->len) {
			len = (size_t)frame[2] << 8 | frame[3];
			head = 8;
		} else if (len >= 126) {
			break; // an echo of more than 64 KiB, or the end
		}
		at += head + len;
		CHECK(opcode != 8 || at >= sent->len); // nothing after a close frame
	}
}

static void run(const char *data, size_t len, unsigned flags, struct cutter *cutter, struct buf *seen)
{
	struct loop *loop = fuzz_loop(1);
	static int fd = -1;
	if (fd < 0) {
		int pair[2];
		fuzz_pair(pair);
		fd = pair[0];
	}
	struct websocket *ws = xcalloc(1, sizeof(*ws));
	peer.data = data;
	peer.len = len;
	peer.at = peer.piece = peer.sends = 0;
	peer.flags = flags;
	peer.ended = false;
	peer.ws = ws;
	buf_clear(&peer.sent);
	buf_clear(&peer.seen);
	*ws = (struct websocket){.loop = loop,
				 .callbacks = {user_open, user_message, user_end},
				 .state = STATE_HANDSHAKE,
				 .target = xstrdup("host:443"),
				 .write_ms = 1000};
	timer_init(&ws->connect_timer, loop, on_connect_timeout, ws);
	timer_init(&ws->read_timer, loop, on_read_timeout, ws);
	timer_init(&ws->write_timer, loop, on_write_timeout, ws);
	timer_init(&ws->close_timer, loop, on_close_timeout, ws);
	ws->watch = watch_new(loop, fd, 0, on_io, ws);
	// The first bytes came together with the handshake's answer.
	size_t glued = cutter && cutter->seed & 1 ? cut(cutter, len) : 0;
	glued = glued < len ? glued : len;
	buf_append(&ws->glued, data, glued);
	peer.at = glued;
	open_frames(ws);
	// One step more than there are pieces, and as many as slow writes need.
	for (unsigned idle = 0; peer.ws && !peer.ended && idle < 4096; idle++) {
		if (peer.at < len) {
			idle = 0;
			peer.piece = cutter ? cut(cutter, len - peer.at) : len;
		} else if (flags & MIDWAY && idle > 8) {
			break; // freed while it is open
		}
		on_io(fd, LOOP_READ | LOOP_WRITE, ws);
		if (peer.ws && ws->held)
			fuzz_turn(loop);
		if (peer.ws && !peer.ended && flags & USER_ACTS)
			fuzz_turn(loop);
	}
	CHECK(!peer.ws || peer.ended || flags & MIDWAY);
	websocket_free(peer.ws);
	check_sent(&peer.sent);
	buf_append(seen, peer.seen.data, peer.seen.len);
}

// wslay skips two bytes of each piece of a close frame where it looks for UTF-8, not of the frame: whether a reason that
// is not ASCII is refused depends on the cuts. Only the log and a moment of backoff depend on that.
static bool same(const struct buf *a, const struct buf *b)
{
	if (a->len == b->len && memcmp(a->data, b->data, a->len) == 0)
		return true;
	const char *end_a = memmem(a->data, a->len, BAD_TEXT, strlen(BAD_TEXT));
	if (!end_a || (size_t)(end_a - a->data) > b->len)
		return false;
	const char *end_b = b->data + (end_a - a->data);
	return str_starts(end_b, "end ") && memcmp(a->data, b->data, (size_t)(end_a - a->data)) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = {0}, pieces = {0};
	if (size < 2)
		return 0;
	struct cutter cutter = {data[0]};
	unsigned flags = data[1] & 15;
	_cleanup_free_ char *stream = fuzz_bytes(data + 2, size - 2);
	run(stream, size - 2, flags, &cutter, &pieces);
	if (!(flags & (USER_ACTS | MIDWAY))) {
		run(stream, size - 2, flags, NULL, &whole);
		CHECK(same(&whole, &pieces) || same(&pieces, &whole));
	}
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
