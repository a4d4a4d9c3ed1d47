// The record stream of a log FIFO (logging/record.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test_log_records.h"
#include <errno.h>

#define TIME 1700000000123456789
static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct buf from_hex(const char *hex)
{
	struct buf b = {0};
	unsigned byte;
	int n;

	for (; sscanf(hex, "%2x%n", &byte, &n) == 1; hex += n) {
		char c = (char)byte;
		buf_append(&b, &c, 1);
	}
	return b;
}

static void expect_same(const struct record *a, const struct record *b)
{
	assert_int_equal(a->source, b->source);
	assert_int_equal(a->time_ns, b->time_ns);
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->line, b->line, b->len);
	assert_int_equal(a->partial, b->partial);
	assert_int_equal(a->last, b->last);
	assert_int_equal(a->ordinal, b->ordinal);
	assert_int_equal(a->id_len, b->id_len);
	assert_true(b->id_len == 0 || memcmp(a->id, b->id, b->id_len) == 0);
}

// The examples of logging.md §1.7, and that the tests' own encoder makes the same bytes.
static void examples(void **state)
{
	(void)state;
	static char big[16384];
	struct buf hex_id = {0};
	memset(big, 'x', sizeof(big));
	for (size_t i = 0; i < 64; i++)
		buf_printf(&hex_id, "%02X", id[i]);
	_cleanup_free_ char *final =
		xasprintf("0000005D 0A067374646F7574 10959A97ECE39FE7CB17 2001 2A47 0801 1240 %s 18C801", hex_id.data);
	const struct {
		const char *hex;
		struct record record;
		size_t total;
	} cases[] = {
		{"00000019 0A067374646F7574 10959A97ECE39FE7CB17 1A0568656C6C6F",
		 {.source = RECORD_STDOUT, .time_ns = TIME, .line = "hello", .len = 5},
		 29},
		{"00000012 0A06737464657272 10959A97ECE39FE7CB17",
		 {.source = RECORD_STDERR, .time_ns = TIME, .line = ""},
		 22},
		{NULL,
		 {.source = RECORD_STDOUT,
		  .time_ns = TIME,
		  .line = big,
		  .len = sizeof(big),
		  .partial = true,
		  .id = id,
		  .id_len = 64,
		  .ordinal = 1},
		 16482},
		{final,
		 {.source = RECORD_STDOUT,
		  .time_ns = TIME,
		  .line = "",
		  .partial = true,
		  .last = true,
		  .id = id,
		  .id_len = 64,
		  .ordinal = 200},
		 97},
		{"00000000", {.source = RECORD_OTHER, .line = ""}, 4},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf made = {0};
		struct record record;
		size_t used;

		put_record(&made, &cases[i].record);
		assert_int_equal(made.len, cases[i].total);
		if (cases[i].hex) {
			struct buf bytes = from_hex(cases[i].hex);
			assert_int_equal(bytes.len, made.len);
			assert_memory_equal(bytes.data, made.data, made.len);
			buf_free(&bytes);
		}
		assert_int_equal(record_next(made.data, made.len, &used, &record), RECORD_OK);
		assert_int_equal(used, made.len);
		expect_same(&record, &cases[i].record);
		for (size_t cut = 0; cut < made.len; cut++) {
			assert_int_equal(record_next(made.data, cut, &used, &record), RECORD_INCOMPLETE);
			assert_int_equal(used, 0);
		}
		buf_free(&made);
	}
	buf_free(&hex_id);
}

static void messages(void **state)
{
	(void)state;
	static const struct {
		const char *name, *hex;
		int result;
		size_t len;
	} cases[] = {
		{"empty", "", 0, 0},
		{"unknown varint", "3801 1A0141", 0, 1},
		{"unknown 64 bit", "39 0102030405060708 1A0141", 0, 1},
		{"unknown 32 bit", "3D 01020304 1A0141", 0, 1},
		{"attributes", "1A0141 3206 0A016B 120176", 0, 1},
		{"the last of a field counts", "1A0141 1A024142", 0, 2},
		{"negative time", "10FFFFFFFFFFFFFFFFFF01 1A0141", 0, 1},
		{"group", "3B 3C", -EBADMSG, 0},
		{"field 0", "0001", -EBADMSG, 0},
		{"wire type 6", "3E01", -EBADMSG, 0},
		{"tag above 32 bits", "8080808080800108", -EBADMSG, 0},
		{"varint of 11 bytes", "10FFFFFFFFFFFFFFFFFFFF01", -EBADMSG, 0},
		{"varint cut off", "10FF", -EBADMSG, 0},
		{"line beyond the end", "1A0541", -EBADMSG, 0},
		{"line of 2^63 bytes", "1AFFFFFFFFFFFFFFFF7F41", -EBADMSG, 0},
		{"time as bytes", "1201 41", -EBADMSG, 0},
		{"line as number", "1801", -EBADMSG, 0},
		{"32 bit cut off", "3D0102", -EBADMSG, 0},
		{"metadata beyond its end", "2A021205", -EBADMSG, 0},
		{"metadata as number", "2801", -EBADMSG, 0},
		{"metadata with unknown fields", "2A06 2005 32014B 0801", -EBADMSG, 0},
		{"metadata with unknown fields, whole", "2A07 2005 32014B 0801 1A0141", 0, 1},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf bytes = from_hex(cases[i].hex);
		struct record record;
		int r = record_decode(bytes.data, bytes.len, &record);

		if (r != cases[i].result || (r == 0 && record.len != cases[i].len))
			fail_msg("%s: %d, line of %zu bytes", cases[i].name, r, record.len);
		buf_free(&bytes);
	}
}

static void too_many_fields(void **state)
{
	(void)state;
	struct record record;
	struct buf message = {0};

	for (int i = 0; i < 1001; i++) {
		assert_int_equal(record_decode(message.data, message.len, &record), 0);
		put_number(&message, 7, 1);
	}
	assert_int_equal(record_decode(message.data, message.len, &record), -EBADMSG);
	buf_free(&message);
}

// After garbage of every length the next records are found, whether all is there at once or byte by byte.
static void resynchronises(void **state)
{
	(void)state;
	struct record want = {.source = RECORD_STDERR, .time_ns = TIME, .line = "after", .len = 5};
	static const char *const garbage[] = {"FF",
					      "00",
					      "000000",
					      "00000019 0A06737464",
					      "0000001A 0A067374646F7574 10 959A97ECE39FE7CB17 1A05",
					      "68656C6C6F",
					      "7FFFFFFF 0A067374646F7574 10",
					      "00100001 0A067374646F7574 10",
					      "0A06737464 6F7574",
					      "00000019 0A067374646F7574 11",
					      "0000000F 0A067374646F7574 10"};
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		struct buf stream = from_hex(garbage[i]);
		size_t at = 0, used = 0, found = 0;
		struct record record;

		put_record(&stream, &want);
		put_record(&stream, &want);
		for (; at < stream.len; at += used) {
			enum record_step step = record_next(stream.data + at, stream.len - at, &used, &record);

			// What looks like the beginning of a record may swallow the first one behind it.
			if (step == RECORD_INCOMPLETE)
				used = record_resync(stream.data + at, stream.len - at);
			assert_true(used > 0);
			found += step == RECORD_OK && record.source == RECORD_STDERR;
		}
		if (found == 0)
			fail_msg("case %zu", i);
		expect_same(&record, &want);
		buf_free(&stream);
	}
}

// Bytes that may be the start of a header are not thrown away before the rest has come.
static void keeps_what_may_be_a_header(void **state)
{
	(void)state;
	struct record record;
	size_t used;
	struct buf stream = {0};

	buf_append(&stream, "\377\377\377\377garbage", 11);
	put_record(&stream, &(struct record){.source = RECORD_STDOUT, .time_ns = TIME, .line = "x", .len = 1});
	for (size_t len = 11; len <= stream.len; len++) {
		assert_int_equal(record_next(stream.data, len, &used, &record), RECORD_LOST);
		assert_int_equal(used, 11);
	}
	buf_free(&stream);
}

// A stream of nothing but beginnings of records: work grows with its length, not with its square.
static void plausible_garbage_is_passed_once(void **state)
{
	(void)state;
	struct buf stream = from_hex("");
	struct record record;
	size_t at = 0, used, steps = 0;

	while (stream.len < (size_t)4 << 20)
		buf_append(&stream, "\000\017\377\377\012\006stdout\020\001\007", 15);
	for (; at < stream.len; at += used, steps++) {
		enum record_step step = record_next(stream.data + at, stream.len - at, &used, &record);
		if (step == RECORD_INCOMPLETE)
			break;
		assert_int_equal(step, RECORD_LOST);
	}
	assert_true(stream.len - at < 2 * RECORD_MAX);
	buf_free(&stream);
	// Zeros are empty messages.
	static const char zeros[4096];
	for (at = 0, steps = 0; record_next(zeros + at, sizeof(zeros) - at, &used, &record) == RECORD_OK; at += used)
		steps++;
	assert_int_equal(steps, sizeof(zeros) / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples),
		cmocka_unit_test(messages),
		cmocka_unit_test(too_many_fields),
		cmocka_unit_test(resynchronises),
		cmocka_unit_test(keeps_what_may_be_a_header),
		cmocka_unit_test(plausible_garbage_is_passed_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
