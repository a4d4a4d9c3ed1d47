#include "logging/event_text.h"

#include <stdint.h>

#define INVALID_LENGTH 3 // U+FFFD in UTF-8
#define INVALID "\xef\xbf\xbd"

// Bytes that go into a JSON string as they are.
static const bool plain[256] = {[0x20 ... 0x21] = true, [0x23 ... 0x5b] = true, [0x5d ... 0x7e] = true};

static void append_escape(struct buf *out, unsigned char c);
static size_t ascii_run(const char *text, size_t len);

size_t event_text_length(const char *text, size_t len)
{
	size_t effective;

	event_text_prefix(text, len, SIZE_MAX, &effective);
	return effective;
}

size_t event_text_prefix(const char *text, size_t len, size_t limit, size_t *effective)
{
	size_t at = 0, sum = 0;

	while (at < len && sum < limit) {
		size_t run = ascii_run(text + at, len - at < limit - sum ? len - at : limit - sum);

		at += run;
		sum += run;
		if (run > 0)
			continue;
		size_t bytes = utf8_length(text + at, len - at), cost = bytes ? bytes : INVALID_LENGTH;
		if (cost > limit - sum)
			break;
		at += bytes ? bytes : 1;
		sum += cost;
	}
	*effective = sum;
	return at;
}

size_t event_text_unfinished(const char *text, size_t len)
{
	// The last byte that begins a longer character, if it is one of the last three.
	for (size_t back = 1; back <= 3 && back <= len; back++) {
		unsigned char c = (unsigned char)text[len - back];

		if (c >= 0x80 && c < 0xc0)
			continue;
		if (c < 0xc2 || c > 0xf4)
			return 0;
		size_t whole = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
		return back < whole ? back : 0;
	}
	return 0;
}

void event_text_append_json(struct buf *out, const char *text, size_t len)
{
	size_t at = 0;

	buf_append(out, "\"", 1);
	while (at < len) {
		size_t run = 0, bytes;

		while (at + run < len && plain[(unsigned char)text[at + run]])
			run++;
		buf_append(out, text + at, run);
		at += run;
		if (at == len)
			break;
		if (!(text[at] & 0x80)) {
			append_escape(out, (unsigned char)text[at++]);
			continue;
		}
		bytes = utf8_length(text + at, len - at);
		buf_append(out, bytes ? text + at : INVALID, bytes ? bytes : INVALID_LENGTH);
		at += bytes ? bytes : 1;
	}
	buf_append(out, "\"", 1);
}

static void append_escape(struct buf *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef", letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (const char *l = letters; *l; l += 2)
		if ((unsigned char)*l == c) {
			buf_append(out, (const char[]){'\\', l[1]}, 2);
			return;
		}
	buf_append(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

// Bytes of ASCII that the text begins with.
static size_t ascii_run(const char *text, size_t len)
{
	size_t at = 0;
	uint64_t word;

	for (; len - at >= sizeof(word); at += sizeof(word)) {
		memcpy(&word, text + at, sizeof(word));
		if (word & UINT64_C(0x8080808080808080))
			break;
	}
	while (at < len && !(text[at] & 0x80))
		at++;
	return at;
}
