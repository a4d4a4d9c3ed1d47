#include "logging/record.h"

#include <errno.h>
#include <string.h>

#define FIELDS_MAX 1000 // of one message, unknown ones included; Docker sends at most 5
#define VARINT_MAX 10   // bytes

#define HEADER_BYTES (RECORD_HEADER + 9) // of a plausible header
#define PLAUSIBLE_MIN 16u                // the length in one

// What is left of a message, of which only `here` bytes have arrived.
struct input {
	const unsigned char *p;
	size_t here, left;
};

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
	uint32_t number, wire;
	uint64_t value;    // of a varint; of bytes, their length
	const char *bytes; // of bytes
};

static int decode(struct input in, struct record *record);
static int next_field(struct input *in, struct field *field);
static int decode_partial(const struct field *metadata, struct record *record);
static size_t length_word(const unsigned char *p);
static bool may_be_header(const unsigned char *p, size_t len);

int record_decode(const void *message, size_t len, struct record *record)
{
	return decode((struct input){.p = message, .here = len, .left = len}, record);
}

enum record_step record_next(const void *data, size_t len, size_t *used, struct record *record)
{
	const unsigned char *p = data;
	size_t length = 0, here;
	int r;

	*used = 0;
	if (len < RECORD_HEADER) {
		r = (len > 0 && p[0] != 0) || (len > 1 && p[1] > RECORD_MAX >> 16) ? -EBADMSG : -EAGAIN;
	} else {
		length = length_word(p);
		here = len - RECORD_HEADER < length ? len - RECORD_HEADER : length;
		r = length > RECORD_MAX
			    ? -EBADMSG
			    : decode((struct input){.p = p + RECORD_HEADER, .here = here, .left = length}, record);
	}
	if (r == 0) {
		*used = RECORD_HEADER + length;
		return RECORD_OK;
	}
	if (r == -EAGAIN)
		return RECORD_INCOMPLETE;
	*used = record_resync(data, len);
	return RECORD_LOST;
}

size_t record_resync(const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t at = 1;

	// What all plausible headers have in common is looked for with the C library's speed.
	while (at + HEADER_BYTES <= len) {
		const unsigned char *word = memmem(p + at + RECORD_HEADER, len - at - RECORD_HEADER, "\n\006std", 5);
		if (!word)
			break;
		at = (size_t)(word - p) - RECORD_HEADER;
		if (may_be_header(p + at, len - at))
			return at;
		at++;
	}
	if (at + HEADER_BYTES <= len)
		at = len - HEADER_BYTES + 1;
	while (at < len && !may_be_header(p + at, len - at))
		at++;
	return at < len ? at : len;
}

// 0, -EBADMSG, or -EAGAIN when what has arrived is a part of a message that may be sound.
static int decode(struct input in, struct record *record)
{
	struct field field;
	int r = 0;

	*record = (struct record){.source = RECORD_OTHER, .line = ""};
	for (unsigned fields = 0; in.left > 0; fields++) {
		bool bytes;

		if (fields == FIELDS_MAX)
			return -EBADMSG;
		r = next_field(&in, &field);
		if (r < 0)
			return r;
		bytes = field.number == 1 || field.number == 3 || field.number == 5;
		if (field.number <= 5 && field.wire != (bytes ? WIRE_BYTES : WIRE_VARINT))
			return -EBADMSG;
		switch (field.number) {
		case 1:
			if (field.value == 6 && memcmp(field.bytes, "stdout", 6) == 0)
				record->source = RECORD_STDOUT;
			else if (field.value == 6 && memcmp(field.bytes, "stderr", 6) == 0)
				record->source = RECORD_STDERR;
			else
				record->source = RECORD_OTHER;
			break;
		case 2:
			record->time_ns = (int64_t)field.value;
			break;
		case 3:
			record->line = field.bytes;
			record->len = field.value;
			break;
		case 4:
			record->partial = field.value != 0;
			break;
		case 5:
			r = decode_partial(&field, record);
			if (r < 0)
				return r;
			break;
		default:
			break;
		}
	}
	return 0;
}

static int decode_partial(const struct field *metadata, struct record *record)
{
	struct input in = {
		.p = (const unsigned char *)metadata->bytes, .here = metadata->value, .left = metadata->value};
	struct field field;

	for (unsigned fields = 0; in.left > 0; fields++) {
		if (fields == FIELDS_MAX || next_field(&in, &field) < 0)
			return -EBADMSG;
		if (field.number <= 3 && field.wire != (field.number == 2 ? WIRE_BYTES : WIRE_VARINT))
			return -EBADMSG;
		if (field.number == 1) {
			record->last = field.value != 0;
		} else if (field.number == 2) {
			record->id = field.bytes;
			record->id_len = field.value;
		} else if (field.number == 3) {
			record->ordinal = (int32_t)field.value;
		}
	}
	return 0;
}

// -EAGAIN: `len` bytes fit into the message and are not here yet.
static int take(struct input *in, uint64_t len, const unsigned char **p)
{
	if (len > in->left)
		return -EBADMSG;
	if (len > in->here)
		return -EAGAIN;
	*p = in->p;
	in->p += len;
	in->here -= len;
	in->left -= len;
	return 0;
}

static int take_varint(struct input *in, uint64_t *value)
{
	size_t max = in->here < VARINT_MAX ? in->here : VARINT_MAX;
	uint64_t sum = 0;

	for (size_t i = 0; i < max; i++) {
		sum |= (uint64_t)(in->p[i] & 0x7f) << (7 * i);
		if (in->p[i] < 0x80) {
			in->p += i + 1;
			in->here -= i + 1;
			in->left -= i + 1;
			*value = sum;
			return 0;
		}
	}
	return max == VARINT_MAX || max == in->left ? -EBADMSG : -EAGAIN;
}

static int next_field(struct input *in, struct field *field)
{
	const unsigned char *p;
	uint64_t tag;
	int r = take_varint(in, &tag);

	if (r < 0)
		return r;
	if (tag >> 3 == 0 || tag > UINT32_MAX)
		return -EBADMSG;
	*field = (struct field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
	switch (field->wire) {
	case WIRE_VARINT:
		return take_varint(in, &field->value);
	case WIRE_64:
		return take(in, 8, &p);
	case WIRE_32:
		return take(in, 4, &p);
	case WIRE_BYTES:
		r = take_varint(in, &field->value);
		if (r == 0)
			r = take(in, field->value, &p);
		if (r == 0)
			field->bytes = (const char *)p;
		return r;
	default:
		return -EBADMSG;
	}
}

static size_t length_word(const unsigned char *p)
{
	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

// Whether bytes are a plausible header, or the beginning of one.
static bool may_be_header(const unsigned char *p, size_t len)
{
	static const char sources[2][HEADER_BYTES - RECORD_HEADER + 1] = {"\n\006stdout\020", "\n\006stderr\020"};

	if (len >= 1 && p[0] != 0)
		return false;
	if (len >= 2 && p[1] > RECORD_MAX >> 16)
		return false;
	if (len < RECORD_HEADER)
		return true;
	if (length_word(p) < PLAUSIBLE_MIN || length_word(p) > RECORD_MAX)
		return false;
	len = len < HEADER_BYTES ? len - RECORD_HEADER : HEADER_BYTES - RECORD_HEADER;
	return memcmp(p + RECORD_HEADER, sources[0], len) == 0 || memcmp(p + RECORD_HEADER, sources[1], len) == 0;
}
