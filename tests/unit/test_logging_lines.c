// From spool items to events: reassembly, cutting, multiline, losses; and that reading again from a mark goes on exactly where
// it was.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/event_text.h"
#include "logging/lines.h"

#define MS INT64_C(1000000)
// What a test feeds: lines, pieces of lines with id and ordinal, the last piece of one; of stdout or stderr; the end; a loss.
#define OUT(t, text)                      \
	{                                 \
		.ms = (t), .line = (text) \
	}
#define ERR(t, text)                                   \
	{                                              \
		.ms = (t), .line = (text), .err = true \
	}
#define PIECE(t, text, name, number)                                         \
	{                                                                    \
		.ms = (t), .line = (text), .id = (name), .ordinal = (number) \
	}
#define LAST(t, text, name, number)                                                        \
	{                                                                                  \
		.ms = (t), .line = (text), .id = (name), .ordinal = (number), .last = true \
	}
#define ERR_PIECE(t, text, name, number)                                                  \
	{                                                                                 \
		.ms = (t), .line = (text), .id = (name), .ordinal = (number), .err = true \
	}
#define ERR_LAST(t, text, name, number)                                                                 \
	{                                                                                               \
		.ms = (t), .line = (text), .id = (name), .ordinal = (number), .last = true, .err = true \
	}
#define END(t)                         \
	{                              \
		.ms = (t), .end = true \
	}
#define LOST(t)                         \
	{                               \
		.ms = (t), .loss = true \
	}

struct in {
	int64_t ms;
	const char *line;
	const char *id; // NULL: no piece
	int32_t ordinal;
	bool last, err, end, loss;
};

static char *events; // what came out: "MS TEXT|" each
static struct buf out;

static void show(struct lines *lines)
{
	struct lines_event event;

	while (lines_peek(lines, &event)) {
		buf_printf(&out, "%lld ", (long long)(event.time_ns / MS));
		buf_append(&out, event.text, event.len);
		buf_append(&out, "|", 1);
		assert_int_equal(event.effective, event_text_length(event.text, event.len));
		lines_take(lines);
	}
}

static struct spool_item item_of(const struct in *in, uint64_t position)
{
	struct spool_item item = {.position = position, .first = position, .kind = SPOOL_RECORD};

	if (in->end) {
		item.kind = SPOOL_END;
	} else if (in->loss) {
		item.kind = SPOOL_LOSS;
		item.loss = (struct spool_loss){.reason = SPOOL_LOST_DAMAGED, .lines = 3, .last_ns = in->ms * MS};
	} else {
		item.record = (struct record){.source = in->err ? RECORD_STDERR : RECORD_STDOUT,
					      .time_ns = in->ms * MS,
					      .line = in->line,
					      .len = strlen(in->line),
					      .partial = in->id,
					      .last = in->last,
					      .id = in->id ? in->id : "",
					      .id_len = in->id ? strlen(in->id) : 0,
					      .ordinal = in->ordinal};
	}
	return item;
}

static bool begins_with_digit(const char *text, size_t len, void *arg)
{
	(void)arg;
	return len > 0 && text[0] >= '0' && text[0] <= '9';
}

static const char *run(const struct lines_options *options, const struct in *in, size_t count)
{
	struct lines *lines = lines_new(options);

	buf_clear(&out);
	for (size_t i = 0; i < count && (in[i].line || in[i].end || in[i].loss); i++) {
		struct spool_item item = item_of(&in[i], i);

		lines_feed(lines, &item);
		show(lines);
	}
	lines_free(lines);
	free(events);
	events = buf_take(&out);
	return events;
}

struct run_case {
	const char *what;
	struct in in[12];
	const char *out;
};

static void check_cases(const struct lines_options *options, const struct run_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *got = run(options, cases[i].in, ARRAY_SIZE(cases[i].in));

		if (!str_equal(got, cases[i].out))
			fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].what, got, cases[i].out);
	}
}

static void single_lines(void **state)
{
	static const struct run_case cases[] = {
		{"whole lines", {OUT(1, "a"), OUT(2, "b\r"), ERR(3, ""), OUT(4, "c")}, "1 a|2 b\r|4 c|"},
		{"pieces", {PIECE(1, "ab", "x", 1), PIECE(1, "cd", "x", 2), LAST(1, "e", "x", 3)}, "1 abcde|"},
		{"an empty last piece", {PIECE(1, "ab", "x", 1), LAST(1, "", "x", 2)}, "1 ab|"},
		{"no end of the line", {PIECE(1, "ab", "x", 1), END(2)}, "1 ab|"},
		{"no end of the stream either", {PIECE(1, "ab", "x", 1)}, ""},
		{"both sources in pieces",
		 {PIECE(1, "ab", "x", 1), ERR_PIECE(2, "AB", "y", 1), LAST(1, "cd", "x", 2), ERR_LAST(2, "CD", "y", 2)},
		 "1 abcd|2 ABCD|"},
		{"another line instead of the rest", {PIECE(1, "ab", "x", 1), OUT(2, "c")}, "1 ab|2 c|"},
		{"another line in pieces", {PIECE(1, "ab", "x", 1), LAST(2, "c", "y", 1)}, "1 ab|2 c|"},
		{"a piece is missing",
		 {PIECE(1, "ab", "x", 1), PIECE(1, "ef", "x", 3), LAST(1, "gh", "x", 4)},
		 "1 ab|1 efgh|"},
		{"pieces of both at the end, in the order of their beginning",
		 {ERR_PIECE(1, "AB", "y", 1), PIECE(2, "ab", "x", 1), END(3)},
		 "1 AB|2 ab|"},
		{"half a line waits for a minute of the others",
		 {PIECE(1, "ab", "x", 1), ERR(60000, "c"), ERR(60001, "d"), LAST(1, "e", "x", 2)},
		 "60000 c|1 ab|60001 d|1 e|"},
		{"full, and more", {OUT(1, "0123456789abcdef")}, "1 0123456789|1 abcdef|"},
		{"full, exactly",
		 {OUT(1, "0123456789"), PIECE(2, "01234567", "x", 1), PIECE(2, "89", "x", 2), LAST(2, "", "x", 3)},
		 "1 0123456789|2 0123456789|"},
		{"full, in pieces",
		 {PIECE(1, "01234567", "x", 1), PIECE(1, "89abcdef", "x", 2), PIECE(1, "ghijklmn", "x", 3),
		  LAST(1, "o", "x", 4)},
		 "1 0123456789|1 abcdefghij|1 klmno|"},
		{"a character in two pieces", {PIECE(1, "a\xc3", "x", 1), LAST(1, "\xa4z", "x", 2)}, "1 a\xc3\xa4z|"},
		{"a character across the limit in two pieces",
		 {PIECE(1, "01234567\xf0\x9f", "x", 1), LAST(1, "\x99\x83z", "x", 2)},
		 "1 01234567|1 \xf0\x9f\x99\x83z|"},
		{"a character that fits the limit, in two pieces",
		 {PIECE(1, "012345\xf0\x9f", "x", 1), LAST(1, "\x99\x83z", "x", 2)},
		 "1 012345\xf0\x9f\x99\x83|1 z|"},
		{"invalid bytes count three", {OUT(1, "\xff\xff\xff\xff")}, "1 \xff\xff\xff|1 \xff|"},
		{"a loss",
		 {OUT(1, "a"), LOST(5), OUT(6, "b")},
		 "1 a|5 ecs-logd: 3 lines dropped (damaged on disk)|6 b|"},
	};
	struct lines_options options = {.limit = 10};

	(void)state;
	check_cases(&options, cases, ARRAY_SIZE(cases));
}

static void multiline(void **state)
{
	static const struct run_case cases[] = {
		{"lines before the first match",
		 {OUT(1, "a"), OUT(2, "b"), OUT(3, "1c"), OUT(4, "d"), END(5)},
		 "1 a\nb\n|3 1c\nd\n|"},
		{"every line matches", {OUT(1, "1"), OUT(2, "2"), OUT(3, "3"), END(4)}, "1 1\n|2 2\n|3 3\n|"},
		{"stdout and stderr share an event",
		 {OUT(1, "1a"), ERR(2, "b"), ERR(3, "2c"), END(4)},
		 "1 1a\nb\n|3 2c\n|"},
		{"empty lines belong to it", {OUT(1, "1a"), OUT(2, ""), OUT(3, "b"), END(4)}, "1 1a\n\nb\n|"},
		{"too large",
		 {OUT(1, "1a"), OUT(2, "abcdefgh"), OUT(3, "x"), OUT(4, "yz"), END(5)},
		 "1 1a\n|2 abcdefgh\nx|4 yz\n|"},
		{"full to the last byte",
		 {OUT(1, "012345678"), OUT(2, "0123456789"), END(3)},
		 "1 012345678\n|2 0123456789|"},
		{"a line that comes later than the interval",
		 {OUT(1, "1a"), OUT(5000, "b"), OUT(5001, "c"), END(6)},
		 "1 1a\nb\n|5001 c\n|"},
		{"the clock went back",
		 {OUT(9000, "1a"), OUT(8999, "b"), OUT(100, "c"), END(5)},
		 "9000 1a\nb\n|100 c\n|"},
		{"pieces", {PIECE(1, "1a", "x", 1), ERR(2, "E"), LAST(1, "b", "x", 2), END(5)}, "2 E\n|1 1ab\n|"},
		{"a loss stands alone",
		 {OUT(1, "1a"), LOST(5), OUT(6, "b"), END(7)},
		 "1 1a\n|5 ecs-logd: 3 lines dropped (damaged on disk)|6 b\n|"},
		{"not complete yet", {OUT(1, "1a"), OUT(2, "b")}, ""},
	};
	struct lines_options options = {.limit = 10, .begins = begins_with_digit, .interval_ms = 5000};

	(void)state;
	check_cases(&options, cases, ARRAY_SIZE(cases));
}

// What tells events apart that were sent already: the item behind which nothing of one comes.
static void last_items(void **state)
{
	static const struct {
		bool multiline, silent;
		struct in in[6];
		size_t count;
		uint64_t last[4];
	} cases[] = {
		{false, false, {OUT(1, "a"), PIECE(2, "b", "x", 1), LAST(2, "c", "x", 2), LOST(3)}, 3, {0, 2, 3}},
		{false, true, {OUT(1, "a"), LOST(3), OUT(3, "b")}, 2, {0, 2}},
		{true, false, {OUT(1, "1"), OUT(1, "a"), OUT(1, "2"), OUT(1, "b"), OUT(1, "c"), END(2)}, 2, {1, 4}},
		{true, false, {OUT(1, "1"), OUT(1, "a"), LOST(1), OUT(1, "b"), END(2)}, 3, {1, 2, 3}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct lines_options options = {.limit = 100,
						      .begins = cases[i].multiline ? begins_with_digit : NULL,
						      .silent = cases[i].silent,
						      .interval_ms = 1000};
		struct lines *lines = lines_new(&options);
		struct lines_event event;
		size_t count = 0;

		for (size_t k = 0; k < 6 && (cases[i].in[k].line || cases[i].in[k].end || cases[i].in[k].loss); k++) {
			struct spool_item item = item_of(&cases[i].in[k], k);

			lines_feed(lines, &item);
			for (; lines_peek(lines, &event); lines_take(lines))
				assert_int_equal(event.last, cases[i].last[count++]);
		}
		assert_int_equal(count, cases[i].count);
		lines_free(lines);
	}
}

static void half_a_line_does_not_wait_for_ever(void **state)
{
	struct lines_options options = {.limit = 100};
	struct lines *lines = lines_new(&options);
	struct in half = ERR_PIECE(1, "ab", "x", 1), line = OUT(2, "c");
	struct spool_item item = item_of(&half, 0);
	struct lines_event event;
	struct lines_mark mark;

	(void)state;
	lines_feed(lines, &item);
	for (uint64_t i = 1; i <= LINES_WAIT_RECORDS; i++) {
		lines_mark(lines, &mark);
		assert_int_equal(lines_mark_position(&mark), 0);
		item = item_of(&line, i);
		lines_feed(lines, &item);
		assert_true(lines_peek(lines, &event));
		assert_memory_equal(event.text, i == LINES_WAIT_RECORDS ? "ab" : "c", event.len);
		lines_take(lines);
	}
	lines_take(lines);
	lines_mark(lines, &mark);
	assert_int_equal(lines_mark_position(&mark), LINES_WAIT_RECORDS + 1);
	lines_free(lines);
}

static void cut_by_the_timer(void **state)
{
	struct lines_options options = {.limit = 100, .begins = begins_with_digit, .interval_ms = 5000};
	struct lines *lines = lines_new(&options);
	struct in line = OUT(1, "1a");
	struct spool_item item = item_of(&line, 7);
	struct lines_mark mark;
	struct lines_event event;
	uint64_t since;

	(void)state;
	lines_mark_set(&mark, 7);
	lines_restart(lines, &mark);
	assert_false(lines_collecting(lines, &since));
	lines_feed(lines, &item);
	assert_true(lines_collecting(lines, &since));
	assert_int_equal(since, 7);
	lines_settle(lines);
	assert_true(lines_memory(lines) > 0);
	lines_cut(lines);
	assert_false(lines_collecting(lines, &since));
	assert_true(lines_peek(lines, &event));
	lines_mark(lines, &mark);
	assert_int_equal(lines_mark_position(&mark), 7);
	lines_take(lines);
	lines_mark(lines, &mark);
	assert_int_equal(lines_mark_position(&mark), 8);
	lines_settle(lines);
	assert_int_equal(lines_memory(lines), 0);
	lines_free(lines);
}

// --- reading again ---

#define STREAM 400

static struct in stream[STREAM];
static char stream_text[STREAM][40], stream_id[STREAM][8];
static uint64_t seed;

static unsigned pick(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

// Lines of two sources in pieces that interleave, losses, ends, times that jump.
static void make_stream(void)
{
	static const char *const parts[] = {"a", "\xc3", "\xa4", "\xf0\x9f", "\x99\x83",
					    "7", "",     "\xff", "hello ",   "0"};
	struct {
		unsigned id;
		int32_t ordinal;
		int64_t ms;
	} half[2] = {{0}};
	int64_t ms = 1000;
	unsigned ids = 0;

	memset(stream, 0, sizeof(stream));
	for (size_t i = 0; i < STREAM; i++) {
		struct in *in = &stream[i];
		unsigned what = pick(40), source = pick(3) == 0;

		ms += pick(20) == 0 ? 3000 : pick(3);
		in->ms = ms;
		if (what == 0 || what == 1) {
			in->end = what == 0;
			in->loss = what == 1;
			continue;
		}
		in->err = source;
		for (unsigned n = pick(7); n > 0; n--)
			strcat(stream_text[i], parts[pick(ARRAY_SIZE(parts))]);
		in->line = stream_text[i];
		if (pick(3) == 0) {
			half[source].id = 0;
			continue;
		}
		if (!half[source].id) {
			half[source].id = ++ids;
			half[source].ordinal = 0;
			half[source].ms = ms;
		}
		half[source].ordinal += pick(30) == 0 ? 2 : 1;
		snprintf(stream_id[i], sizeof(stream_id[i]), "%u", half[source].id);
		in->id = stream_id[i];
		in->ms = half[source].ms;
		in->ordinal = half[source].ordinal;
		in->last = pick(5) == 0;
		if (in->last)
			half[source].id = 0;
	}
}

// Reads it with stops: after a random number of events everything is forgotten and read again from the mark.
static char *read_with_stops(const struct lines_options *options, bool stops)
{
	struct lines *lines = lines_new(options);
	struct lines_mark mark;
	struct lines_event event;
	struct buf text = {0};
	unsigned left = 1 + pick(5);

	lines_mark_set(&mark, 0);
	for (uint64_t at = 0; at < STREAM;) {
		struct spool_item item = item_of(&stream[at], at);

		at++;

		lines_feed(lines, &item);
		while (lines_peek(lines, &event)) {
			if (stops && left-- == 0) {
				left = 1 + pick(5);
				lines_mark(lines, &mark);
				if (pick(2)) {
					lines_settle(lines);
					continue;
				}
				lines_restart(lines, &mark);
				at = lines_mark_position(&mark);
				break;
			}
			buf_printf(&text, "%lld ", (long long)event.time_ns);
			buf_append(&text, event.text, event.len);
			buf_append(&text, "|", 1);
			assert_true(event.effective <= options->limit || event.lines == 0);
			lines_take(lines);
		}
	}
	lines_free(lines);
	return buf_take(&text);
}

static void reading_again(void **state)
{
	struct lines_options options[] = {
		{.limit = 10},
		{.limit = 23},
		{.limit = 10, .begins = begins_with_digit, .interval_ms = 5000},
		{.limit = 50, .begins = begins_with_digit, .interval_ms = 5000},
	};

	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		memset(stream_text, 0, sizeof(stream_text));
		seed = round;
		make_stream();
		for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
			_cleanup_free_ char *once = read_with_stops(&options[i], false);
			_cleanup_free_ char *again = read_with_stops(&options[i], true);

			if (!str_equal(once, again))
				fail_msg("round %u, options %zu:\n%s\ninstead of\n%s", round, i, again, once);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_lines),     cmocka_unit_test(multiline),
		cmocka_unit_test(last_items),       cmocka_unit_test(half_a_line_does_not_wait_for_ever),
		cmocka_unit_test(cut_by_the_timer), cmocka_unit_test(reading_again),
	};
	int failed = cmocka_run_group_tests_name("logging_lines", tests, NULL, NULL);

	free(events);
	buf_free(&out);
	return failed;
}
