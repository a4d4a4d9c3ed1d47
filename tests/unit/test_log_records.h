// Makes records as Docker writes them to a log FIFO (logging.md §1.7).
#pragma once

#include "common/util.h"
#include "logging/record.h"

static inline void put_varint(struct buf *b, uint64_t value)
{
	do {
		char byte = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		buf_append(b, &byte, 1);
		value >>= 7;
	} while (value);
}

static inline void put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, len);
	buf_append(b, data, len);
}

// As proto3 has it: what is zero is left out.
static inline void put_number(struct buf *b, unsigned field, uint64_t value)
{
	if (value == 0)
		return;
	put_varint(b, field << 3);
	put_varint(b, value);
}

static inline void put_record(struct buf *b, const struct record *record)
{
	struct buf message = {0}, partial = {0};

	if (record->source != RECORD_OTHER)
		put_bytes(&message, 1, record->source == RECORD_STDOUT ? "stdout" : "stderr", 6);
	put_number(&message, 2, (uint64_t)record->time_ns);
	if (record->len)
		put_bytes(&message, 3, record->line, record->len);
	put_number(&message, 4, record->partial);
	if (record->partial) {
		put_number(&partial, 1, record->last);
		if (record->id_len)
			put_bytes(&partial, 2, record->id, record->id_len);
		put_number(&partial, 3, (uint64_t)(int64_t)record->ordinal);
		put_bytes(&message, 5, partial.data ? partial.data : "", partial.len);
	}
	const unsigned char length[RECORD_HEADER] = {(unsigned char)(message.len >> 24),
						     (unsigned char)(message.len >> 16),
						     (unsigned char)(message.len >> 8), (unsigned char)message.len};
	buf_append(b, length, sizeof(length));
	buf_append(b, message.data ? message.data : "", message.len);
	buf_free(&message);
	buf_free(&partial);
}
