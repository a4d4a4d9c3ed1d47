#include "wire.h"
#include <errno.h>

#define HEAD 8 // length, type, count

static void put_le(char *p, uint32_t value, unsigned bytes);
static uint32_t get_le(const char *p, unsigned bytes);
static int decode(struct wire_decoder *decoder, char *body, size_t len, struct wire_message *message);

char *wire_encode(unsigned type, const char *const *fields, size_t count, size_t *len)
{
	if (count > WIRE_FIELDS_MAX)
		return NULL;
	size_t total = HEAD;
	for (size_t i = 0; i < count; i++) {
		size_t n = fields[i] ? strlen(fields[i]) : 0;
		if (n > WIRE_MESSAGE_MAX || (total += 4 + n) > WIRE_MESSAGE_MAX + 4)
			return NULL;
	}
	char *out = xmalloc(total), *p = out + HEAD;
	put_le(out, (uint32_t)(total - 4), 4);
	put_le(out + 4, type, 2);
	put_le(out + 6, (uint32_t)count, 2);
	for (size_t i = 0; i < count; i++) {
		size_t n = fields[i] ? strlen(fields[i]) : 0;
		put_le(p, (uint32_t)n, 4);
		if (n)
			memcpy(p + 4, fields[i], n);
		p += 4 + n;
	}
	*len = total;
	return out;
}

void wire_free(char *data, size_t len)
{
	if (!data)
		return;
	explicit_bzero(data, len);
	free(data);
}

int wire_decoder_feed(struct wire_decoder *decoder, const void *data, size_t len)
{
	if (decoder->used) { // the messages taken so far may hold secrets
		memmove(decoder->data, decoder->data + decoder->used, decoder->len - decoder->used);
		decoder->len -= decoder->used;
		explicit_bzero(decoder->data + decoder->len, decoder->used);
		decoder->used = 0;
	}
	if (len > WIRE_FEED_MAX || decoder->len > WIRE_MESSAGE_MAX + 4)
		return -EMSGSIZE;
	if (decoder->len + len > decoder->cap) { // by hand: realloc would leave copies of secrets behind
		size_t cap = decoder->cap ? decoder->cap * 2 : 4096;
		while (cap < decoder->len + len)
			cap *= 2;
		char *bigger = xmalloc(cap);
		if (decoder->len)
			memcpy(bigger, decoder->data, decoder->len);
		wire_free(decoder->data, decoder->len);
		decoder->data = bigger;
		decoder->cap = cap;
	}
	if (len)
		memcpy(decoder->data + decoder->len, data, len);
	decoder->len += len;
	return 0;
}

int wire_decoder_next(struct wire_decoder *decoder, struct wire_message *message)
{
	size_t left = decoder->len - decoder->used;
	if (left < 4)
		return 0;
	char *p = decoder->data + decoder->used;
	size_t len = get_le(p, 4);
	if (len > WIRE_MESSAGE_MAX)
		return -EMSGSIZE;
	if (len < HEAD - 4)
		return -EBADMSG;
	if (left - 4 < len)
		return 0;
	int r = decode(decoder, p + 4, len, message);
	if (r < 0)
		return r;
	decoder->used += 4 + len;
	return 1;
}

void wire_decoder_free(struct wire_decoder *decoder)
{
	wire_free(decoder->data, decoder->len);
	free(decoder->fields);
	*decoder = (struct wire_decoder){0};
}

const char *wire_text(const struct wire_message *message, unsigned i)
{
	if (i >= message->count || memchr(message->fields[i].data, 0, message->fields[i].len))
		return "";
	return message->fields[i].data;
}

bool wire_number(const struct wire_message *message, unsigned i, uint64_t *value)
{
	return parse_uint64(wire_text(message, i), value);
}

int wire_hello_check(const struct wire_message *hello)
{
	uint64_t version, oldest;
	if (!wire_number(hello, 0, &version) || !wire_number(hello, 1, &oldest))
		return -EBADMSG;
	return version < WIRE_VERSION_MIN || oldest > WIRE_VERSION ? -EPROTONOSUPPORT : 0;
}

static int decode(struct wire_decoder *decoder, char *body, size_t len, struct wire_message *message)
{
	size_t count = get_le(body + 2, 2), at = 4;
	// A field takes four bytes at least, so this also bounds what a small message makes us allocate.
	if (count > WIRE_FIELDS_MAX || count > (len - 4) / 4)
		return -EBADMSG;
	if (count > decoder->field_cap) {
		decoder->fields = xreallocarray(decoder->fields, count, sizeof(*decoder->fields));
		decoder->field_cap = count;
	}
	for (size_t i = 0; i < count; i++) { // all lengths first: nothing is changed in a message that is refused
		if (len - at < 4)
			return -EBADMSG;
		size_t n = get_le(body + at, 4);
		if (n > len - at - 4)
			return -EBADMSG;
		decoder->fields[i] = (struct wire_field){.data = body + at, .len = n};
		at += 4 + n;
	}
	if (at != len)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) { // moved over its length word, a field has room for a NUL
		char *p = body + (decoder->fields[i].data - body);
		memmove(p, p + 4, decoder->fields[i].len);
		p[decoder->fields[i].len] = 0;
	}
	*message = (struct wire_message){.type = get_le(body, 2), .count = (unsigned)count, .fields = decoder->fields};
	return 0;
}

static void put_le(char *p, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (char)(value >> (8 * i));
}

static uint32_t get_le(const char *p, unsigned bytes)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)(unsigned char)p[i] << (8 * i);
	return value;
}
