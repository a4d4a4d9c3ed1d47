// Messages between ecsd and ecs-endpoint, cut anywhere. Input: a byte that chooses the cuts, then the stream.
#include "common/wire.h"
#include "fuzz.h"

// A message without NULs in its fields encodes to what it was decoded from.
static size_t check_message(const struct wire_message *message, const char *from, size_t left)
{
	_cleanup_free_ const char **fields = xcalloc(message->count, sizeof(*fields));
	bool plain = true;
	uint64_t number;
	size_t len = 8;
	for (unsigned i = 0; i < message->count; i++) {
		const struct wire_field *field = &message->fields[i];
		CHECK(field->data[field->len] == '\0');
		len += 4 + field->len;
		plain = plain && strlen(field->data) == field->len;
		fields[i] = field->data;
		CHECK(strlen(wire_text(message, i)) == (strlen(field->data) == field->len ? field->len : 0));
		wire_number(message, i, &number);
	}
	CHECK(*wire_text(message, message->count) == '\0' && len <= left);
	if (plain) {
		size_t encoded_len;
		char *encoded = wire_encode(message->type, fields, message->count, &encoded_len);
		CHECK(encoded && encoded_len == len && memcmp(encoded, from, len) == 0);
		wire_free(encoded, encoded_len);
	}
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_decoder decoder = {0};
	struct wire_message message;
	size_t decoded = 0;
	if (size < 1)
		return 0;
	struct cutter cutter = {data[0]};
	const char *stream = (const char *)data + 1;
	size--;
	for (size_t at = 0; at < size;) {
		size_t n = cut(&cutter, size - at);
		_cleanup_free_ char *piece = fuzz_bytes((const uint8_t *)stream + at, n);
		int r = wire_decoder_feed(&decoder, piece, n);
		CHECK(r == 0);
		at += n;
		while ((r = wire_decoder_next(&decoder, &message)) == 1)
			decoded += check_message(&message, stream + decoded, at - decoded);
		if (r < 0) {
			CHECK(r == -EBADMSG || r == -EMSGSIZE);
			CHECK(wire_decoder_next(&decoder, &message) == r); // for good
			break;
		}
		CHECK(decoder.cap <= 2 * (WIRE_MESSAGE_MAX + 4 + WIRE_FEED_MAX));
	}
	wire_decoder_free(&decoder);
	return 0;
}
