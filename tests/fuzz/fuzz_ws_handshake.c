// The WebSocket's opening handshake: the answer, cut anywhere, and the request for a URL from outside. Input: a byte
// that chooses the cuts, then the answer, which is taken for a URL and a header's value as well.
#include "common/ws_handshake.h"
#include "fuzz.h"

static const unsigned char nonce[WS_HANDSHAKE_RANDOM] = "the sample nonce";

static bool decided(const struct ws_handshake *handshake)
{
	return handshake->state != WS_HANDSHAKE_HEAD && handshake->state != WS_HANDSHAKE_BODY;
}

static void check(const struct ws_handshake *handshake, const char *data, size_t used)
{
	bool refused = handshake->state == WS_HANDSHAKE_BODY || handshake->state == WS_HANDSHAKE_REFUSED;
	CHECK((handshake->state == WS_HANDSHAKE_FAILED) == (handshake->fault != NULL));
	CHECK(handshake->status >= 0 && handshake->status < 1000);
	CHECK(!refused || (handshake->status > 0 && handshake->status != 101));
	CHECK(handshake->text.len <= (refused ? WS_HANDSHAKE_TEXT_MAX : 0));
	CHECK(used <= (refused ? WS_HANDSHAKE_ANSWER_MAX : WS_HANDSHAKE_HEAD_MAX));
	if (handshake->state != WS_HANDSHAKE_OPEN)
		return;
	CHECK(handshake->status == 101 && memcmp(data, "HTTP/1.", 7) == 0);
	CHECK(memmem(data, used, "\r\n\r\n", 4) == data + used - 4);
	CHECK(memmem(data, used, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28));
}

static size_t answer(struct ws_handshake *handshake, const char *data, size_t size, struct cutter *cutter)
{
	size_t used = 0;
	CHECK(ws_handshake_init(handshake, "wss://h/", "h:443", nonce, NULL, 0, NULL) == 0);
	for (size_t at = 0; at < size && !decided(handshake);) {
		size_t n = cutter ? cut(cutter, size - at) : size;
		_cleanup_free_ char *piece = fuzz_bytes((const uint8_t *)data + at, n);
		size_t taken = ws_handshake_feed(handshake, piece, n);
		CHECK(taken == n || (taken < n && decided(handshake)));
		used += taken;
		at += n;
		check(handshake, data, used);
	}
	CHECK(!decided(handshake) || ws_handshake_feed(handshake, "x", 1) == 0);
	return used;
}

// A request has the lines it should have, and ends once.
static void check_request(const char *url, const char *value)
{
	struct ws_handshake handshake;
	const struct http_header header = {"X-Amz-Security-Token", value};
	struct error err = {0};
	unsigned lines = 0;
	if (ws_handshake_init(&handshake, url, "h:443", nonce, &header, 1, &err) == 0) {
		const char *end = handshake.request.data + handshake.request.len;
		CHECK(memmem(handshake.request.data, handshake.request.len, "\r\n\r\n", 4) == end - 4);
		for (const char *p = handshake.request.data; p < end; p++) {
			lines += *p == '\n';
			CHECK(*p != '\0' && (*p == '\r') == (p[1] == '\n'));
		}
		CHECK(lines == 8 && str_starts(handshake.request.data, "GET /"));
	} else {
		CHECK(err.code == EINVAL && *err.message);
	}
	ws_handshake_done(&handshake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_handshake pieces, whole;
	if (size < 1)
		return 0;
	struct cutter cutter = {data[0]};
	_cleanup_free_ char *text = fuzz_text(data + 1, size - 1);
	size_t used = answer(&pieces, text, size - 1, &cutter);
	size_t whole_used = answer(&whole, text, size - 1, NULL);
	CHECK(used == whole_used || whole.state == WS_HANDSHAKE_REFUSED); // who has refused is heard no longer
	CHECK(pieces.state == whole.state && pieces.status == whole.status && pieces.fault == whole.fault);
	CHECK(pieces.text.len == whole.text.len);
	CHECK(whole.text.len == 0 || memcmp(pieces.text.data, whole.text.data, whole.text.len) == 0);
	ws_handshake_done(&pieces);
	ws_handshake_done(&whole);
	_cleanup_free_ char *url = xasprintf("wss://h%s", text);
	check_request(text, "");
	check_request(url, "");
	check_request("wss://h", text);
	return 0;
}
