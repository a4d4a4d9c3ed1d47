// The record stream of a log FIFO: decoding what is there means the same as decoding what came before more of it; what
// an encoder makes of a record decodes to the same.
#include "fuzz.h"
#include "tests/unit/test_log_records.h"

static void check_inside(const char *p, size_t len, const char *data, size_t size)
{
	CHECK(len == 0 || (p >= data && len <= size && (size_t)(p - data) <= size - len));
}

static void check_encoded(const struct record *record)
{
	struct buf again = {0};
	struct record decoded;
	size_t used;
	if (!record->partial && (record->last || record->id_len || record->ordinal))
		return; // Docker has no such records
	put_record(&again, record);
	CHECK(record_next(again.data, again.len, &used, &decoded) == RECORD_OK && used == again.len);
	CHECK(decoded.source == record->source && decoded.time_ns == record->time_ns && decoded.len == record->len);
	CHECK(decoded.partial == record->partial && decoded.last == record->last);
	CHECK(decoded.ordinal == record->ordinal && decoded.id_len == record->id_len);
	CHECK(record->len == 0 || memcmp(decoded.line, record->line, record->len) == 0);
	CHECK(record->id_len == 0 || memcmp(decoded.id, record->id, record->id_len) == 0);
	buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct cutter cutter = {.seed = data[0]};
	_cleanup_free_ char *stream = fuzz_bytes(data + 1, --size);
	for (size_t at = 0, used; at < size; at += used) {
		struct record record, part;
		const char *p = stream + at;
		size_t left = size - at, piece = cut(&cutter, left), part_used;
		enum record_step step = record_next(p, left, &used, &record);
		enum record_step before = record_next(p, piece, &part_used, &part);
		CHECK(used <= left && (step == RECORD_INCOMPLETE) == (used == 0));
		if (step == RECORD_OK) {
			check_inside(record.line, record.len, p, used);
			check_inside(record.id, record.id_len, p, used);
			CHECK(piece >= used ? before == RECORD_OK && part_used == used : before == RECORD_INCOMPLETE);
			check_encoded(&record);
		} else if (step == RECORD_LOST) {
			CHECK(before == RECORD_INCOMPLETE || (before == RECORD_LOST && part_used <= used));
		} else {
			CHECK(before == RECORD_INCOMPLETE);
			used = record_resync(p, left);
			CHECK(used > 0 && used <= left);
		}
	}
	return 0;
}
