// Messages that came out of one end of the endpoint socket.
#pragma once

#include "common/wire.h"
#include "fuzz.h"

// Takes all whole messages of the buffer; what is left must be part of one.
static inline void fuzz_messages(const struct buf *bytes, void (*each)(const struct wire_message *message))
{
	struct wire_decoder decoder = {0};
	struct wire_message message;
	for (size_t at = 0; at < bytes->len;) {
		size_t n = bytes->len - at < WIRE_FEED_MAX ? bytes->len - at : WIRE_FEED_MAX;
		CHECK(wire_decoder_feed(&decoder, bytes->data + at, n) == 0);
		at += n;
		int r;
		while ((r = wire_decoder_next(&decoder, &message)) > 0)
			each(&message);
		CHECK(r == 0);
	}
	wire_decoder_free(&decoder);
}
