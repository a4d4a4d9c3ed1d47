// Regular expressions as Go's regexp reads and answers them; what it refuses; work that is bounded; strftime formats.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/regex.h"

static int answer(const char *pattern, const char *text, size_t len)
{
	struct error err = {0};
	struct regex *regex = regex_compile(pattern, &err);
	int r;

	if (!regex)
		fail_msg("%s: %s", pattern, err.message);
	r = regex_matches(regex, text, len);
	regex_free(regex);
	return r;
}

static void test_matches(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} cases[] = {
		{"", "", true},
		{"", "x", true},
		{"abc", "xabcx", true},
		{"abc", "ab", false},
		{"a|b|", "z", true},
		{"a.c", "a\nc", false},
		{"(?s)a.c", "a\nc", true},
		{"(?s:a.)c.", "a\nc\n", false},
		{"a.c", "a\u00e9c", true},
		// Text start and end, and those of lines.
		{"^a", "b\na", false},
		{"(?m)^a", "b\na", true},
		{"(?m)^$", "a\n", true},
		{"a$", "a\n", false},
		{"(?m)a$", "a\nb", true},
		{"a\\z", "a\n", false},
		{"\\Aa", "ba", false},
		{"(?m)\\Aa", "b\na", false},
		{"^*a", "ba", true},
		{"(?:^|x)a", "ba", false},
		// Classes are ASCII.
		{"^\\d+$", "0123456789", true},
		{"\\d", "\u0663", false},
		{"\\D", "\u0663", true},
		{"^\\s+$", "\t\n\f\r ", true},
		{"\\s", "\v", false},
		{"[[:space:]]", "\v", true},
		{"\\w", "\u00e9", false},
		{"\\bx", "\u00e9x", true},
		{"\\Bx", "ax", true},
		{"[^a]", "\n", true},
		{"[]a]", "]", true},
		{"[^]a]", "]", false},
		{"[a-]", "-", true},
		{"[--0]", ".", true},
		{"[\\d-z]", "-", true},
		{"[[:alpha:]_]", "_", true},
		{"[[:^alpha:]]", "a", false},
		{"[[:word:]]", "_", true},
		{"[\\x41-\\x{43}]", "B", true},
		{"[[]", "[", true},
		{"[[:]]", ":]", true},
		// Unicode.
		{"^.$", "\u20ac", true},
		{"\\pL", "\u00e9", true},
		{"\\PL", "\u00e9", false},
		{"\\p{Greek}", "\u03b1", true},
		{"\\p{^Greek}", "\u03b1", false},
		{"\\P{^Greek}", "\u03b1", true},
		{"[\\p{Nd}x]", "\u0663", true},
		{"\\p{Any}", "x", true},
		{"[\\x{DC00}]", "x", false},
		{"[^\\x{DC00}]", "x", true},
		{"\\x{D800}", "x", false},
		{"[\\x{D000}-\\x{E000}]", "\ud7ff", true},
		// Case.
		{"(?i)abc", "aBC", true},
		{"(?i)a(?-i)b", "AB", false},
		{"(?i)a(?-i)b", "Ab", true},
		{"(?i:a)b", "AB", false},
		{"(a(?i)b|c)d", "Cd", true},
		{"(a(?i)b|c)d", "CD", false},
		{"(?i)k", "\u212a", true},
		{"(?i)[^k]", "K", false},
		{"(?i)\u00e9", "\u00c9", true},
		{"(?i)[[:^lower:]]", "A", false},
		{"(?i)\\W", "\u017f", false},
		{"(?i)\\p{Lu}", "a", true},
		{"a(?i)*b", "aab", true},
		// Repetitions.
		{"^a{2,3}$", "aaa", true},
		{"^a{2,3}$", "aaaa", false},
		{"^a{2,}$", "aaaa", true},
		{"^a{2}?$", "aa", true},
		{"^a{0}$", "", true},
		{"a{,2}", "a{,2}", true},
		{"a{,2}", "aa", false},
		{"a{02}", "a{02}", true},
		{"a{2", "a{2", true},
		{"{", "{", true},
		{"^(?:ab){1000}$", "ab", false},
		{"(?U)^a+$", "aaa", true},
		{"^(a*)*$", "aaa", true},
		{"^(a|ab)(c|bcd)$", "abcd", true},
		{"(?:(?:a{10}){10}){10}", "a", false},
		// Escapes.
		{"\\Qa.b*\\E+", "a.b**", true},
		{"\\Qa.b", "axb", false},
		{"\\Q\\E", "", true},
		{"\\012", "\n", true},
		{"\\12", "\n", true},
		{"\\a\\f\\n\\r\\t\\v", "\a\f\n\r\t\v", true},
		{"\\_\\-\\ ", "_- ", true},
		{"(?P<n>a)(?<m_1>b)()", "ab", true},
		{"(?)a(?:)", "a", true},
		{"(?ims-U:^a)", "x\nA", true},
		{"#x", "#x", true},
		{"a b", "a b", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (answer(cases[i].pattern, cases[i].text, strlen(cases[i].text)) != cases[i].matches)
			fail_msg("%s on \"%s\": not %d", cases[i].pattern, cases[i].text, cases[i].matches);
	}
}

// An invalid byte is one character, U+FFFD; NUL is a character like others.
static void test_bytes(void **state)
{
	static const struct {
		const char *pattern, *text;
		size_t len;
		bool matches;
	} cases[] = {
		{"^a.b$",
		 "a\xff"
		 "b",
		 3, true},
		{"^\\x{FFFD}$", "\xff", 1, true},
		{"^..$", "\xc3(", 2, true},
		{"^...$", "\xed\xa0\x80", 3, true},
		{"^.$", "\xe2\x82", 2, false},
		{"^..$", "\xe2\x82", 2, true},
		{"\\x00b", "a\0b", 3, true},
		{"^a$", "a\0", 2, false},
		{"b", "b", 0, false},
		{"^$", "b", 0, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(answer(cases[i].pattern, cases[i].text, cases[i].len), cases[i].matches);
}

static void test_refused(void **state)
{
	static const struct {
		const char *pattern, *text; // of the error, without "error parsing regexp: "
	} cases[] = {
		{"(a", "missing closing ): `(a`"},
		{"a)", "unexpected ): `a)`"},
		{"[a", "missing closing ]: `[a`"},
		{"[z-a]", "invalid character class range: `z-a`"},
		{"[a-\\d]", "invalid escape sequence: `\\d`"},
		{"[\\b]", "invalid escape sequence: `\\b`"},
		{"[[:foo:]]", "invalid character class range: `[:foo:]`"},
		{"*", "missing argument to repetition operator: `*`"},
		{"(|*)", "missing argument to repetition operator: `*`"},
		{"(?i)+", "missing argument to repetition operator: `+`"},
		{"{2}", "missing argument to repetition operator: `{2}`"},
		{"a**", "invalid nested repetition operator: `**`"},
		{"a*+", "invalid nested repetition operator: `*+`"},
		{"a++", "invalid nested repetition operator: `++`"},
		{"a?+", "invalid nested repetition operator: `?+`"},
		{"a{2}{3}", "invalid nested repetition operator: `{2}{3}`"},
		{"a{1001}", "invalid repeat count: `{1001}`"},
		{"a{2,1001}", "invalid repeat count: `{2,1001}`"},
		{"a{2,1}", "invalid repeat count: `{2,1}`"},
		{"a{99999999999}", "invalid repeat count: `{99999999999}`"},
		{"(a{500}){3}", "invalid repeat count: `{3}`"},
		{"((a{10})*b{11}){100}", "invalid repeat count: `{100}`"},
		// What PCRE2 knows and RE2 does not.
		{"(a)\\1", "invalid escape sequence: `\\1`"},
		{"\\g{1}", "invalid escape sequence: `\\g`"},
		{"\\k<n>", "invalid escape sequence: `\\k`"},
		{"(?=a)", "invalid or unsupported Perl syntax: `(?=`"},
		{"(?!a)", "invalid or unsupported Perl syntax: `(?!`"},
		{"(?<=a)", "invalid or unsupported Perl syntax: `(?<=`"},
		{"(?<!a)", "invalid or unsupported Perl syntax: `(?<!`"},
		{"(?>a)", "invalid or unsupported Perl syntax: `(?>`"},
		{"(?R)", "invalid or unsupported Perl syntax: `(?R`"},
		{"(?1)", "invalid or unsupported Perl syntax: `(?1`"},
		{"(?P>n)", "invalid or unsupported Perl syntax: `(?P`"},
		{"(?C1)", "invalid or unsupported Perl syntax: `(?C`"},
		{"(?(1)a|b)", "invalid or unsupported Perl syntax: `(?(`"},
		{"(?|a)", "invalid or unsupported Perl syntax: `(?|`"},
		{"(?#a)", "invalid or unsupported Perl syntax: `(?#`"},
		{"(?x)a", "invalid or unsupported Perl syntax: `(?x`"},
		{"(?-)", "invalid or unsupported Perl syntax: `(?-)`"},
		{"(?i", "invalid or unsupported Perl syntax: `(?i`"},
		{"(*UTF)a", "missing argument to repetition operator: `*`"},
		{"(*ACCEPT)", "missing argument to repetition operator: `*`"},
		{"\\C", "invalid escape sequence: `\\C`"},
		{"\\Z", "invalid escape sequence: `\\Z`"},
		{"\\G", "invalid escape sequence: `\\G`"},
		{"\\K", "invalid escape sequence: `\\K`"},
		{"\\R", "invalid escape sequence: `\\R`"},
		{"\\X", "invalid escape sequence: `\\X`"},
		{"\\h", "invalid escape sequence: `\\h`"},
		{"\\e", "invalid escape sequence: `\\e`"},
		{"\\c@", "invalid escape sequence: `\\c`"},
		{"\\8", "invalid escape sequence: `\\8`"},
		{"\\\u00e9", "invalid escape sequence: `\\\u00e9`"},
		{"\\x{110000}", "invalid escape sequence"},
		{"\\x{}", "invalid escape sequence"},
		{"\\x4", "invalid escape sequence"},
		{"\\", "trailing backslash at end of expression: ``"},
		{"\\p", "invalid character class range: `\\p`"},
		{"\\p{L", "invalid character class range: `\\p{L`"},
		{"\\p{L&}", "invalid character class range: `\\p{L&}`"},
		{"\\p{Xan}", "unknown property"},
		{"\\p{Klingon}", "unknown property"},
		{"(?P<n)", "invalid named capture: `(?P<n)`"},
		{"(?P<>a)", "invalid named capture: `(?P<>`"},
		{"(?<n m>a)", "invalid named capture: `(?<n m>`"},
		{"a\xff", "invalid UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};

		assert_null(regex_compile(cases[i].pattern, &err));
		assert_int_equal(err.code, EINVAL);
		if (!strstr(err.message, cases[i].text))
			fail_msg("%s: %s", cases[i].pattern, err.message);
	}
}

static void test_limits(void **state)
{
	char pattern[REGEX_PATTERN_MAX + 2] = "";
	struct error err = {0};

	(void)state;
	memset(pattern, 'a', REGEX_PATTERN_MAX + 1);
	assert_null(regex_compile(pattern, &err));
	pattern[REGEX_PATTERN_MAX] = '\0';
	regex_free(regex_compile(pattern, &err));
	assert_int_equal(answer(pattern, pattern, REGEX_PATTERN_MAX), 1);
	memset(pattern, '(', 200);
	memset(pattern + 200, ')', 200);
	pattern[400] = '\0';
	assert_int_equal(answer(pattern, "", 0), 1);
	memset(pattern, '(', 201);
	memset(pattern + 201, ')', 201);
	assert_null(regex_compile(pattern, &err));
	assert_non_null(strstr(err.message, "expression nests too deeply"));
}

// Patterns that a backtracking matcher takes exponential or quadratic time for.
static void test_work(void **state)
{
	static const struct {
		const char *pattern;
		const char *piece;
		size_t len;
		int r;
	} cases[] = {
		{"(a?){25}a{25}$", "a", 25, 1},       {"^(a?){25}a{25}$", "a", 24, 0},
		{"^(a+)+$", "aaaaaaaaab", 100000, 0}, {"(a|aa)+$", "ab", 262118, 0},
		{"(x+x+)+y", "x", 262118, 0},         {"(.*,){5}.*;", "a,b c,", 262118, 0},
		{"a.*b.*c", "ab", 262118, 0},         {"a[^z]*z", "a", 262118, 0},
		{"a[^z]*(y|z)x", "ay", 262118, 0},    {"(?i)(foo|bar|foobar)+baz$", "foobar", 262118, 0},
		{"(?:a?){1000}", "a", 5, -E2BIG},     {"(?:[a-z]?[b-z]?){300}[0-9]", "qwert", 262118, -E2BIG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t piece = strlen(cases[i].piece);
		char *text = xmalloc(cases[i].len);

		for (size_t k = 0; k < cases[i].len; k++)
			text[k] = cases[i].piece[k % piece];
		if (answer(cases[i].pattern, text, cases[i].len) != cases[i].r)
			fail_msg("%s: not %d", cases[i].pattern, cases[i].r);
		free(text);
	}
}

static void test_strftime(void **state)
{
	static const struct {
		const char *format, *pattern;
	} table[] = {
		{"%a", "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"},
		{"%A", "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"},
		{"%b", "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"},
		{"%B", "(?:January|February|March|April|May|June|July|August|September|October|November|December)"},
		{"[%Y-%m-%d]", "[\\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[1,2][0-9]|3[0,1])]"},
		{"%y%w%j", "\\d{2}[0-6](?:0[0-9][1-9]|[1,2][0-9][0-9]|3[0-5][0-9]|36[0-6])"},
		{"%H:%M:%S%L", "(?:[0,1][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.\\d{3}"},
		{"%I %p", "(?:0[0-9]|1[0-2]) [A,P]M"},
		{"%f%z%Z", "\\d{6}[+-]\\d{4}[A-Z]{1,4}T"},
		{"%%", ""},
		{"a%%Yb", "aYb"},
		{"%q%\u00e9x%", "x%"},
		{"%\xffx", "x"},
		{"%\n%Y", "%\n\\d{4}"},
		{"", ""},
	};
	// Formats and lines of Docker's own tests and documentation.
	static const struct {
		const char *format, *line;
		bool matches;
	} lines[] = {
		{"%Y-%m-%d", "2017-01-01 xxxx", true},
		{"%Y-%m-%d", "xxxx 2017-01-01", true},
		{"%Y-%m-%d", "2017-13-01", false},
		{"\\[%b %d, %Y %H:%M:%S\\]", "[May 01, 2017 19:00:01] A message", true},
		{"%I:%M:%S %p", "09:15:01 PM", true},
		{"%I:%M:%S %p", "09:15:01 XM", false},
		{"%A, %d %B", "Sunday, 31 December", true},
		{"%S%L", "59.123", true},
		{"%z", "+0100", true},
		{"%Z", "CEST", true},
		{"%j", "010", false}, // as Docker's
		{"%d", ",1", true},
		{"%d", "1,", false},
		{"%d", "3,", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		_cleanup_free_ char *pattern = regex_from_strftime(table[i].format);

		assert_string_equal(pattern, table[i].pattern);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		_cleanup_free_ char *pattern = regex_from_strftime(lines[i].format);

		if (answer(pattern, lines[i].line, strlen(lines[i].line)) != lines[i].matches)
			fail_msg("%s on %s", lines[i].format, lines[i].line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches), cmocka_unit_test(test_bytes), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),  cmocka_unit_test(test_work),  cmocka_unit_test(test_strftime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
