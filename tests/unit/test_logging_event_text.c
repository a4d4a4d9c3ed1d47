// Effective lengths, cutting and encoding of texts for CloudWatch Logs: the reference values of logging.md §4.6, and more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "logging/event_text.h"

#define EMOJI "\xf0\x9f\x99\x83"

static void lengths(void **state)
{
	static const struct {
		const char *text;
		size_t len, effective;
	} cases[] = {
		{"", 0, 0},
		{"Hello", 5, 5},
		{"\x01\x02\x03\x04", 4, 4},
		{EMOJI, 4, 4},
		{"\xff\xff\xff\xff", 4, 12},
		{"He\xff\xffo", 5, 9},
		{"\0", 1, 1},
		{"\xc3\xa4", 2, 2},
		{"\x80", 1, 3},              // a lone continuation
		{"\xc0\xaf", 2, 6},          // overlong
		{"\xe0\x80\xaf", 3, 9},      // overlong
		{"\xed\xa0\x80", 3, 9},      // a surrogate
		{"\xf4\x90\x80\x80", 4, 12}, // above U+10FFFF
		{"\xf0\x9f\x99", 3, 9},      // cut off
		{"0123456789abcdef\xc3\xa4"
		 "01234567\xff",
		 27, 29},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(event_text_length(cases[i].text, cases[i].len), cases[i].effective);
}

static void prefixes(void **state)
{
	static const struct {
		const char *text;
		size_t len, limit, bytes, effective;
	} cases[] = {
		{"", 0, 10, 0, 0},         {"Hello", 5, 6, 5, 5}, {"Hello", 5, 2, 2, 2},
		{"Hello", 5, 0, 0, 0},     {EMOJI, 4, 3, 0, 0},   {EMOJI, 4, 4, 4, 4},
		{"a\xff", 2, 2, 1, 1},     {"a\xff", 2, 4, 2, 4}, {"0123456789" EMOJI, 14, 13, 10, 10},
		{EMOJI EMOJI, 8, 7, 4, 4},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t effective;

		assert_int_equal(event_text_prefix(cases[i].text, cases[i].len, cases[i].limit, &effective),
				 cases[i].bytes);
		assert_int_equal(effective, cases[i].effective);
	}
}

static void unfinished_characters(void **state)
{
	static const struct {
		const char *text;
		size_t unfinished;
	} cases[] = {
		{"", 0},
		{"abc", 0},
		{"a\xc3", 1},
		{"a\xc3\xa4", 0},
		{"a\xf0\x9f", 2},
		{"\xf0\x9f\x99", 3},
		{EMOJI, 0},
		{"\xe2\x82", 2},
		{"\xff\x82", 0},
		{"\xc1", 0},
		{"\x80\x80\x80", 0},
		{"\xe2\x82\xac", 0},
		{"\xf0\x9f"
		 "a",
		 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(event_text_unfinished(cases[i].text, strlen(cases[i].text)), cases[i].unfinished);
}

static void json_strings(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *json;
	} cases[] = {
		{"", 0, "\"\""},
		{"plain text", 10, "\"plain text\""},
		{"say \"a\\b\"", 9, "\"say \\\"a\\\\b\\\"\""},
		{"a\0b", 3, "\"a\\u0000b\""},
		{"\r\n\t\b\f\x1b[0m\x7f", 10, "\"\\r\\n\\t\\b\\f\\u001b[0m\\u007f\""},
		{"\xc3\xa4" EMOJI, 6, "\"\xc3\xa4" EMOJI "\""},
		{"a\xff\xf0\x9f"
		 "b",
		 5,
		 "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
		 "b\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = {0};

		event_text_append_json(&out, cases[i].text, cases[i].len);
		assert_string_equal(out.data, cases[i].json);
		buf_free(&out);
	}
}

// Every byte in every place of a word is encoded so that a JSON parser gives the text back, of the length foretold.
static void every_byte(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++)
		for (size_t place = 0; place < 20; place++) {
			char text[20];
			struct buf out = {0};

			memset(text, 'x', sizeof(text));
			text[place] = (char)c;
			event_text_append_json(&out, text, sizeof(text));
			_cleanup_json_ json_object *value = json_parse(out.data, out.len, NULL);
			assert_non_null(value);
			const char *back = json_object_get_string(value);
			assert_int_equal(json_object_get_string_len(value), event_text_length(text, sizeof(text)));
			assert_memory_equal(back, text, place);
			assert_memory_equal(back + place, c < 0x80 ? &text[place] : "\xef\xbf\xbd", c < 0x80 ? 1 : 3);
			buf_free(&out);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),      cmocka_unit_test(prefixes),   cmocka_unit_test(unfinished_characters),
		cmocka_unit_test(json_strings), cmocka_unit_test(every_byte),
	};

	return cmocka_run_group_tests_name("logging_event_text", tests, NULL, NULL);
}
