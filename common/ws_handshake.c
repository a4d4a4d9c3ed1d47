#include "common/ws_handshake.h"

#include <openssl/evp.h>
#include <strings.h>

static bool is_printable(const char *text);
static size_t feed_head(struct ws_handshake *handshake, const char *data, size_t len);
static size_t feed_body(struct ws_handshake *handshake, const char *data, size_t len);

int ws_handshake_init(struct ws_handshake *handshake, const char *url, const char *target,
		      const unsigned char random[WS_HANDSHAKE_RANDOM], const struct http_header *headers,
		      size_t header_count, struct error *err)
{
	const char *authority = strstr(url, "://"), *path;
	struct buf *request = &handshake->request;

	*handshake = (struct ws_handshake){.answer.max = WS_HANDSHAKE_ANSWER_MAX, .text.max = WS_HANDSHAKE_TEXT_MAX};
	if (!authority || !is_printable(url))
		return error_set(err, EINVAL, "not a websocket URL: %s", url);
	authority += 3;
	path = authority + strcspn(authority, "/?#");
	EVP_EncodeBlock((unsigned char *)handshake->key, random, WS_HANDSHAKE_RANDOM);
	buf_printf(request, "GET %s%.*s HTTP/1.1\r\nHost: %.*s\r\n", *path == '/' ? "" : "/", (int)strcspn(path, "#"),
		   path, (int)(path - authority), authority);
	buf_printf(request,
		   "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
		   "Sec-WebSocket-Version: 13\r\n",
		   handshake->key);
	for (size_t i = 0; i < header_count; i++) {
		const struct http_header *header = &headers[i];

		// A line break would let whoever chose the value write headers of their own.
		if (strpbrk(header->name, "\r\n: ") || strpbrk(header->value, "\r\n"))
			return error_set(err, EINVAL, "websocket to %s: bad header %s", target, header->name);
		if (strcasecmp(header->name, "Host") != 0)
			buf_printf(request, "%s: %s\r\n", header->name, header->value);
	}
	return buf_append(request, "\r\n", 2);
}

size_t ws_handshake_feed(struct ws_handshake *handshake, const char *data, size_t len)
{
	size_t used = 0;

	if (handshake->state == WS_HANDSHAKE_HEAD)
		used = feed_head(handshake, data, len);
	if (handshake->state == WS_HANDSHAKE_BODY)
		used += feed_body(handshake, data + used, len - used);
	return used;
}

void ws_handshake_done(struct ws_handshake *handshake)
{
	buf_free(&handshake->request);
	buf_free(&handshake->answer);
	buf_free(&handshake->text);
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

// --- head ---

// Finds the next line `name: value` in the answer's head, from *at on (0 to begin). Value without surrounding space.
static bool next_header(const struct ws_handshake *handshake, const char *name, size_t *at, const char **value,
			size_t *len)
{
	const char *head = handshake->answer.data;
	size_t name_len = strlen(name);

	while (*at < handshake->head_len) {
		const char *line = head + *at;
		size_t line_len = strcspn(line, "\r\n");

		*at += line_len + strspn(line + line_len, "\r\n");
		if (line_len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		*value = line + name_len + 1 + strspn(line + name_len + 1, " \t");
		*len = *value < line + line_len ? (size_t)(line + line_len - *value) : 0;
		while (*len > 0 && strchr(" \t", (*value)[*len - 1]))
			(*len)--;
		return true;
	}
	return false;
}

// Whether a header that is a list with commas names the token, in any case.
static bool header_has(const struct ws_handshake *handshake, const char *name, const char *token)
{
	size_t at = 0, len, token_len = strlen(token);
	const char *value;

	while (next_header(handshake, name, &at, &value, &len)) {
		for (const char *p = value, *end = value + len; p < end; p++) {
			size_t n;

			p += strspn(p, " \t,");
			n = strcspn(p, " \t,;\r\n");
			if (n == token_len && p + n <= end && strncasecmp(p, token, n) == 0)
				return true;
			p += n;
		}
	}
	return false;
}

static bool accept_is_right(const struct ws_handshake *handshake)
{
	_cleanup_free_ char *text = xasprintf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", handshake->key);
	unsigned char digest[EVP_MAX_MD_SIZE], expected[4 * (EVP_MAX_MD_SIZE + 2) / 3 + 1];
	unsigned digest_len = 0;
	size_t at = 0, len;
	const char *value;

	if (EVP_Digest(text, strlen(text), digest, &digest_len, EVP_sha1(), NULL) != 1)
		return false;
	EVP_EncodeBlock(expected, digest, (int)digest_len);
	return next_header(handshake, "Sec-WebSocket-Accept", &at, &value, &len) && len == strlen((char *)expected) &&
	       memcmp(value, expected, len) == 0;
}

// "HTTP/1.1 101 ...": 101; 0 if it is no HTTP at all.
static long parse_status(const char *head)
{
	long status = 0;

	if (!str_starts(head, "HTTP/1.") || head[7] == '\0' || head[8] != ' ')
		return 0;
	for (int i = 9; i < 12; i++) {
		if (head[i] < '0' || head[i] > '9')
			return 0;
		status = status * 10 + (head[i] - '0');
	}
	return status;
}

static void fail(struct ws_handshake *handshake, const char *fault)
{
	handshake->state = WS_HANDSHAKE_FAILED;
	handshake->fault = fault;
}

// Gets ready for the body of an answer other than 101.
static void refuse(struct ws_handshake *handshake)
{
	size_t at = 0, len;
	const char *value;

	handshake->state = WS_HANDSHAKE_BODY;
	handshake->chunked = header_has(handshake, "Transfer-Encoding", "chunked");
	handshake->length = UINT64_MAX;
	if (next_header(handshake, "Content-Length", &at, &value, &len)) {
		_cleanup_free_ char *text = xstrndup(value, len);

		if (!parse_uint64(text, &handshake->length))
			handshake->length = UINT64_MAX;
	}
}

// The head is complete: goes on to frames or to the refusal's body.
static void judge(struct ws_handshake *handshake)
{
	const char *head = handshake->answer.data;

	if (strlen(head) == handshake->head_len)
		handshake->status = parse_status(head);
	if (handshake->status == 0)
		fail(handshake, "the handshake's answer is not HTTP");
	else if (handshake->status != 101)
		refuse(handshake);
	else if (!header_has(handshake, "Upgrade", "websocket") || !header_has(handshake, "Connection", "upgrade"))
		fail(handshake, "the handshake's answer is no upgrade to websocket");
	else if (!accept_is_right(handshake))
		fail(handshake, "the handshake's answer has the wrong Sec-WebSocket-Accept");
	else
		handshake->state = WS_HANDSHAKE_OPEN;
}

static size_t feed_head(struct ws_handshake *handshake, const char *data, size_t len)
{
	struct buf *answer = &handshake->answer;
	size_t before = answer->len, room = WS_HANDSHAKE_HEAD_MAX - before, take = len < room ? len : room;
	size_t from = before > 3 ? before - 3 : 0; // the end may be cut too
	const char *end;

	(void)buf_append(answer, data, take);
	end = memmem(answer->data + from, answer->len - from, "\r\n\r\n", 4);
	if (!end) {
		if (answer->len == WS_HANDSHAKE_HEAD_MAX)
			fail(handshake, "the handshake's answer is too long");
		return take;
	}
	handshake->head_len = answer->len = (size_t)(end - answer->data) + 4;
	answer->data[answer->len] = '\0';
	judge(handshake);
	return answer->len - before;
}

// --- body ---

// Takes the chunks out of a chunked body. True when the last one was there, or what stands there is no chunk.
static bool decode_chunks(const char *in, size_t len, struct buf *out)
{
	for (;;) {
		const char *line_end = memchr(in, '\n', len);
		size_t size, left;

		if (!line_end)
			return false;
		// strtoul would look for its digits beyond an empty line.
		size = in + strspn(in, " \t\v\f\r") == line_end ? 0 : strtoul(in, NULL, 16);
		left = len - (size_t)(line_end + 1 - in);
		in = line_end + 1;
		if (size == 0)
			return true;
		// Only what has room is taken.
		for (size_t i = 0; i < size && i < left; i++) {
			if (buf_append(out, in + i, 1) < 0)
				return true;
		}
		if (left < size || left - size < 2)
			return false;
		in += size + 2;
		len = left - size - 2;
	}
}

// Fills text with what is there of the body. True when nothing more is to be waited for.
static bool take_text(struct ws_handshake *handshake)
{
	const char *body = handshake->answer.data + handshake->head_len;
	size_t len = handshake->answer.len - handshake->head_len, take;

	buf_clear(&handshake->text);
	if (handshake->chunked)
		return decode_chunks(body, len, &handshake->text);
	take = len < handshake->length ? len : (size_t)handshake->length;
	if (take > WS_HANDSHAKE_TEXT_MAX)
		take = WS_HANDSHAKE_TEXT_MAX;
	(void)buf_append(&handshake->text, body, take);
	return take == handshake->length || take == WS_HANDSHAKE_TEXT_MAX;
}

static size_t feed_body(struct ws_handshake *handshake, const char *data, size_t len)
{
	size_t room = WS_HANDSHAKE_ANSWER_MAX - handshake->answer.len, take = len < room ? len : room;

	(void)buf_append(&handshake->answer, data, take);
	if (take_text(handshake) || take == room)
		handshake->state = WS_HANDSHAKE_REFUSED;
	return take;
}
