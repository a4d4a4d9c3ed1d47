// error, util and backoff.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/backoff.h"
#include "common/error.h"
#include "common/util.h"

#include <errno.h>
#include <sys/stat.h>

static void test_error_set(void **state)
{
	struct error err = {.code = 0, .message = "untouched"};

	(void)state;
	assert_int_equal(error_set(&err, ECONNREFUSED, "cannot reach %s", "docker"), -ECONNREFUSED);
	assert_int_equal(err.code, ECONNREFUSED);
	assert_string_equal(err.message, "cannot reach docker");
	assert_int_equal(error_set(&err, -ENOENT, "negative"), -ENOENT);
	assert_int_equal(error_set(&err, 0, "none"), -EINVAL);
	assert_int_equal(error_set(NULL, EIO, "nobody %d", 1), -EIO);
	assert_int_equal(error_set_errno(&err, ENOENT, "open %s", "/x"), -ENOENT);
	assert_string_equal(err.message, "open /x: No such file or directory");
}

static void test_error_wrap(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, ETIMEDOUT, "no answer");
	assert_int_equal(error_wrap(&err, "register %s", "instance"), -ETIMEDOUT);
	assert_string_equal(err.message, "register instance: no answer");
	// The own message as an argument.
	error_set(&err, EIO, "again: %s", err.message);
	assert_string_equal(err.message, "again: register instance: no answer");
}

static void test_error_cut(void **state)
{
	char text[3 * ERROR_MESSAGE_MAX] = "";
	struct error err;

	(void)state;
	for (size_t i = 0; i + 3 < sizeof(text); i += 2)
		memcpy(text + i, "é", 3);
	error_set(&err, EIO, "x%s", text);
	// 1 + 2n bytes fit into 1279: the last character is whole.
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
	error_set(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 2);
	error_set(&err, EIO, "%.3s is unknown, %s", "éé", "\xff");
	assert_string_equal(err.message, "é? is unknown, ?");
	for (int i = 0; i < 50; i++)
		error_wrap(&err, "%s", "a context that grows the message");
	assert_true(strlen(err.message) < ERROR_MESSAGE_MAX);
}

static void test_backoff(void **state)
{
	struct backoff b = BACKOFF(250, 120000, 1.5, 0.2);

	(void)state;
	assert_int_equal(backoff_next_with(&b, 0), 250);
	assert_int_equal(backoff_next_with(&b, 0.5), 412); // 375 + half of 75
	assert_int_equal(backoff_next_with(&b, 0), 562);
	backoff_reset(&b);
	assert_int_equal(backoff_next_with(&b, 0.999999), 299);
	for (int i = 0; i < 40; i++)
		backoff_next_with(&b, 0);
	assert_int_equal(backoff_next_with(&b, 0), 120000);
	assert_int_equal(backoff_next_with(&b, 0.5), 132000);
	for (int i = 0; i < 1000; i++) {
		uint64_t delay = backoff_next(&b);

		assert_in_range(delay, 120000, 143999);
	}
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		bool signed_ok, unsigned_ok;
		int64_t s;
		uint64_t u;
	} cases[] = {
		{"0", true, true, 0, 0},
		{"+7", true, true, 7, 7},
		{"-7", true, false, -7, 0},
		{"007", true, true, 7, 7},
		{"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
		{"9223372036854775808", false, true, 0, (uint64_t)INT64_MAX + 1},
		{"-9223372036854775808", true, false, INT64_MIN, 0},
		{"-9223372036854775809", false, false, 0, 0},
		{"18446744073709551615", false, true, 0, UINT64_MAX},
		{"18446744073709551616", false, false, 0, 0},
		{"99999999999999999999999", false, false, 0, 0},
		{"", false, false, 0, 0},
		{"-", false, false, 0, 0},
		{"+-1", false, false, 0, 0},
		{" 1", false, false, 0, 0},
		{"1 ", false, false, 0, 0},
		{"1.0", false, false, 0, 0},
		{"0x10", false, false, 0, 0},
		{NULL, false, false, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t s = 0;
		uint64_t u = 0;

		assert_int_equal(parse_int64(cases[i].text, &s), cases[i].signed_ok);
		assert_true(s == cases[i].s);
		assert_int_equal(parse_uint64(cases[i].text, &u), cases[i].unsigned_ok);
		assert_true(u == cases[i].u);
	}
}

static void test_strings(void **state)
{
	char text[] = " \t a b \r\n", blank[] = "  ";
	char *s = xstrdup("hello world");

	(void)state;
	assert_string_equal(str_trim(text), "a b");
	assert_string_equal(str_trim(blank), "");
	str_replace(&s, s + 6);
	assert_string_equal(s, "world");
	str_replace(&s, NULL);
	assert_null(s);
	assert_true(str_equal(NULL, NULL));
	assert_false(str_equal(NULL, ""));
	assert_true(str_starts("abc", "ab"));
	assert_false(str_starts("a", "ab"));
	assert_true(str_ends("abc", "bc"));
	assert_false(str_ends("c", "bc"));
	assert_false(str_starts(NULL, "a"));
	assert_false(str_ends(NULL, "a"));
	assert_true(str_empty(NULL) && str_empty("") && !str_empty("a"));
	assert_null(xstrdup(NULL));
	s = xstrndup("abcdef", 3);
	assert_string_equal(s, "abc");
	secret_free(s);
	secret_free(NULL);
}

static void test_buf(void **state)
{
	struct buf b = {.max = 10};
	char *text;

	(void)state;
	assert_int_equal(buf_append(&b, "12345", 5), 0);
	assert_int_equal(buf_printf(&b, "%d", 6789), 0);
	assert_string_equal(b.data, "123456789");
	assert_int_equal(buf_append(&b, "xy", 2), -EMSGSIZE);
	assert_int_equal(buf_printf(&b, "%s", "xy"), -EMSGSIZE);
	assert_string_equal(b.data, "123456789");
	assert_int_equal(buf_append(&b, "0", 1), 0);
	assert_int_equal(b.len, 10);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_int_equal(buf_append(&b, "x", SIZE_MAX), -EMSGSIZE);
	buf_clear(&b);
	assert_string_equal(b.data, "");
	text = buf_take(&b);
	assert_string_equal(text, "");
	free(text);
	text = buf_take(&b);
	assert_string_equal(text, "");
	free(text);
	b.max = 0;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&b, "%04d", i), 0);
	assert_int_equal(b.len, 4000);
	assert_memory_equal(b.data + 3996, "0999", 5);
	buf_free(&b);
	buf_free(&b);
}

static void test_random(void **state)
{
	char hex[64], uuid[37], other[37];
	double sum = 0;

	(void)state;
	random_hex(hex, 33);
	assert_int_equal(strlen(hex), 33);
	assert_int_equal(strspn(hex, "0123456789abcdef"), 33);
	random_uuid(uuid);
	random_uuid(other);
	assert_int_equal(strlen(uuid), 36);
	assert_int_equal(uuid[14], '4');
	assert_non_null(strchr("89ab", uuid[19]));
	assert_string_not_equal(uuid, other);
	for (int i = 0; i < 1000; i++) {
		double r = random_unit();

		assert_true(r >= 0 && r < 1);
		sum += r;
	}
	assert_true(sum > 400 && sum < 600);
}

static void test_time(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t ms;
	} cases[] = {
		{"1970-01-01T00:00:00Z", true, 0},
		{"2026-01-02T03:04:05Z", true, 1767323045000},
		{"2026-01-02T03:04:05.678901234Z", true, 1767323045678},
		{"2026-01-02T03:04:05.6Z", true, 1767323045600},
		{"2026-01-02t03:04:05z", true, 1767323045000},
		{"2026-01-02T05:04:05+02:00", true, 1767323045000},
		{"2026-01-01T21:34:05-05:30", true, 1767323045000},
		{"0001-01-01T00:00:00Z", true, -62135596800000},
		{"2024-02-29T00:00:00Z", true, 1709164800000},
		{"2023-02-29T00:00:00Z", false, 0},
		{"2026-13-01T00:00:00Z", false, 0},
		{"2026-01-02T24:00:00Z", false, 0},
		{"2026-01-02T03:04:05", false, 0},
		{"2026-01-02T03:04:05.Z", false, 0},
		{"2026-01-02T03:04:05Zx", false, 0},
		{"2026-01-02T03:04:05+0200", false, 0},
		{"2026-01-02 03:04:05Z", false, 0},
		{"26-01-02T03:04:05Z", false, 0},
		{"", false, 0},
		{NULL, false, 0},
	};
	char out[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t ms = 0;

		assert_int_equal(parse_rfc3339(cases[i].text, &ms), cases[i].ok);
		assert_true(ms == cases[i].ms);
	}
	format_rfc3339(1767323045678, out);
	assert_string_equal(out, "2026-01-02T03:04:05Z");
	format_rfc3339_ms(1767323045678, out);
	assert_string_equal(out, "2026-01-02T03:04:05.678Z");
	format_rfc3339_ms(-1, out);
	assert_string_equal(out, "1969-12-31T23:59:59.999Z");
	format_rfc3339(-62135596800000, out);
	assert_string_equal(out, "0001-01-01T00:00:00Z");
	format_rfc3339_ms(INT64_MAX, out);
	format_rfc3339_ms(INT64_MIN, out);
	assert_true(wall_ms() > 1700000000000);
}

static void test_files(void **state)
{
	char directory[] = "/tmp/test_util_XXXXXX";
	_cleanup_free_ char *deep = NULL, *path = NULL, *text = NULL;
	struct stat st;
	size_t len = 0;

	(void)state;
	assert_non_null(mkdtemp(directory));
	deep = xasprintf("%s/a/b//c/", directory);
	assert_int_equal(make_directory(deep, 0700), 0);
	assert_int_equal(make_directory(deep, 0700), 0);
	assert_int_equal(make_directory("", 0700), -EINVAL);
	path = xasprintf("%s/a/file", directory);
	assert_int_equal(write_file_atomic(path, "hello", 5, 0640), 0);
	assert_int_equal(write_file_atomic(path, "hello again", 11, 0640), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	text = read_file(path, 11, &len);
	assert_string_equal(text, "hello again");
	assert_int_equal(len, 11);
	assert_null(read_file(path, 10, NULL));
	assert_int_equal(errno, EFBIG);
	assert_null(read_file(path, 0, NULL));
	assert_int_equal(errno, EFBIG);
	assert_null(read_file(directory, 10, NULL));
	assert_int_equal(errno, EISDIR);
	assert_int_equal(make_directory(path, 0700), -ENOTDIR);
	assert_int_equal(write_file_atomic("/tmp/no/such/dir/x", "", 0, 0600), -ENOENT);
	unlink(path);
	for (const char *const *sub = (const char *[]){"a/b/c", "a/b", "a", "", NULL}; *sub; sub++) {
		_cleanup_free_ char *name = xasprintf("%s/%s", directory, *sub);

		assert_int_equal(rmdir(name), 0); // so there is no temporary file left either
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_set), cmocka_unit_test(test_error_wrap), cmocka_unit_test(test_error_cut),
		cmocka_unit_test(test_backoff),   cmocka_unit_test(test_numbers),    cmocka_unit_test(test_strings),
		cmocka_unit_test(test_buf),       cmocka_unit_test(test_random),     cmocka_unit_test(test_time),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
