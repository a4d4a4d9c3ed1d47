#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "common/log.h"
#include "common/util.h"

#include <errno.h>
#include <sys/stat.h>

#define WHEN 1767323045678 // 2026-01-02T03:04:05Z
#define HEAD "level=info time=2026-01-02T03:04:05Z "

static void test_format(void **state)
{
	static const struct {
		const char *message, *fields, *logfmt, *json;
	} cases[] = {
		{"task started", NULL, "msg=\"task started\" prog=ecsd", "\"msg\":\"task started\",\"prog\":\"ecsd\"}"},
		{"up", "task=arn\x1fn=5", "msg=up prog=ecsd task=arn n=5",
		 "\"msg\":\"up\",\"prog\":\"ecsd\",\"task\":\"arn\",\"n\":\"5\"}"},
		{"m",
		 "a=\x1f"
		 "b=x y",
		 "msg=m prog=ecsd a=\"\" b=\"x y\"", "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"\",\"b\":\"x y\"}"},
		{"m", "a=q\"b\\c", "msg=m prog=ecsd a=\"q\\\"b\\\\c\"",
		 "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"q\\\"b\\\\c\"}"},
		{"m", "a=k=v", "msg=m prog=ecsd a=\"k=v\"", "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"k=v\"}"},
		{"m", "a=1\n2\t3\x1b[m\x7f", "msg=m prog=ecsd a=\"1\\n2\\t3\\x1b[m\\x7f\"",
		 "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"1\\n2\\t3\\u001b[m\\u007f\"}"},
		{"m", "a=é\xff\xc3", "msg=m prog=ecsd a=\"é\\xff\\xc3\"",
		 "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"é\\ufffd\\ufffd\"}"},
		{"m", "a=\xc2\x85", "msg=m prog=ecsd a=\"\\xc2\\x85\"",
		 "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"\\u0085\"}"},
		{"m", "a=\xe2\x80\xa8", "msg=m prog=ecsd a=\"\\xe2\\x80\\xa8\"",
		 "\"msg\":\"m\",\"prog\":\"ecsd\",\"a\":\"\\u2028\"}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *logfmt = xasprintf(HEAD "%s", cases[i].logfmt);
		_cleanup_free_ char *json =
			xasprintf("{\"level\":\"info\",\"time\":\"2026-01-02T03:04:05Z\",%s", cases[i].json);
		char out[512];

		assert_int_equal(
			log_format(out, sizeof(out), false, LOG_INFO, "ecsd", WHEN, cases[i].message, cases[i].fields),
			strlen(logfmt));
		assert_string_equal(out, logfmt);
		log_format(out, sizeof(out), true, LOG_INFO, "ecsd", WHEN, cases[i].message, cases[i].fields);
		assert_string_equal(out, json);
	}
}

// Whatever the size, a line is whole: it ends in its NUL, quotes are closed, JSON stays JSON.
static void test_small_buffers(void **state)
{
	static const char fields[] = "first=one two\x1fsecond=\"\"\"\"\"\"\x1fthird=\xff\xff\xff";

	(void)state;
	for (size_t size = 0; size < 220; size++) {
		char *out = xmalloc(size);
		size_t len = log_format(out, size, true, LOG_ERROR, "ecsd", WHEN, "m", fields);

		assert_true(size == 0 || (len < size && strlen(out) == len));
		if (len > 2) {
			json_object *object = json_parse(out, len, NULL);

			assert_non_null(object);
			json_object_put(object);
		}
		len = log_format(out, size, false, LOG_ERROR, "ecsd", WHEN, "m", fields);
		assert_true(size == 0 || (len < size && strlen(out) == len));
		free(out);
	}
}

static void test_levels(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		enum log_level level;
	} cases[] = {{"debug", true, LOG_DEBUG},       {"INFO", true, LOG_INFO},   {"warn", true, LOG_WARN},
		     {"Warning", true, LOG_WARN},      {"error", true, LOG_ERROR}, {"crit", true, LOG_CRITICAL},
		     {"critical", true, LOG_CRITICAL}, {"none", true, LOG_NONE},   {"", false, LOG_DEBUG},
		     {NULL, false, LOG_DEBUG}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum log_level level = LOG_DEBUG;

		assert_int_equal(log_level_parse(cases[i].text, &level), cases[i].ok);
		assert_int_equal(level, cases[i].level);
	}
}

static int saved_stderr = -1;
static char path[] = "/tmp/test_log_XXXXXX";

// The one line that was logged since the last call, from "msg=" on.
static char *logged(void)
{
	char *text = read_file(path, 100000, NULL), *from;

	assert_non_null(text);
	assert_int_equal(truncate(path, 0), 0);
	from = strstr(text, "msg");
	return from ? memmove(text, from, strlen(from) + 1) : text;
}

static void check(const char *expected)
{
	_cleanup_free_ char *line = logged();

	assert_string_equal(line, expected);
}

static void test_event(void **state)
{
	char big[20000], *line;

	(void)state;
	log_info("container started", "task=%s container=%s took_ms=%d", "arn:aws/1", "web", 12);
	check("msg=\"container started\" prog=test task=arn:aws/1 container=web took_ms=12\n");
	log_info("no fields", NULL);
	check("msg=\"no fields\" prog=test\n");
	log_debug("below the level", "a=%d", 1);
	check("");
	// Values that look like fields, and like the separators a simpler logger would use.
	log_warn("hostile", "a=%s b=%s c=%d", "x b=fake",
		 "\x1f"
		 "c=9\nlevel=error",
		 3);
	check("msg=hostile prog=test a=\"x b=fake\" b=\"\\x1fc=9\\nlevel=error\" c=3\n");
	log_warn("empty", "a=%s b=%s", "", "");
	check("msg=empty prog=test a=\"\" b=\"\"\n");
	// The value of one field is made of several conversions.
	log_warn("mixed", "at=%s:%d n=%5d", "host", 80, 7);
	check("msg=mixed prog=test at=host:80 n=\"    7\"\n");
	errno = ENOENT;
	log_error("errno", "error=%m");
	assert_int_equal(errno, ENOENT);
	check("msg=errno prog=test error=\"No such file or directory\"\n");

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_warn("big", "a=%s b=%s", big, "lost");
	line = logged();
	assert_true(strlen(line) > 8000 && strlen(line) < 8300);
	assert_string_equal(line + strlen(line) - 6, "x...\"\n");
	free(line);
	memset(big, 1, sizeof(big) - 1);
	log_warn("escapes", "a=%s", big);
	line = logged();
	assert_true(strlen(line) < 16384);
	assert_string_equal(line + strlen(line) - 9, "\\x01...\"\n");
	free(line);
}

static int setup(void **state)
{
	struct log_options options = {.level = LOG_INFO, .path = path, .program = "test"};
	struct error err;
	struct stat st;
	int fd = mkstemp(path);

	(void)state;
	// Standard error is the test report's; what is asserted is the file.
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO); // the file is unlinked at once
	close(fd);
	unlink(path);
	options.path = "/no/such/directory/log";
	assert_int_equal(log_open(&options, &err), -ENOENT);
	assert_string_equal(err.message, "cannot open log file /no/such/directory/log: No such file or directory");
	options.path = path;
	assert_int_equal(log_open(&options, &err), 0);
	stat(path, &st);
	assert_int_equal(st.st_mode & 0777, 0600);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_close();
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_format), cmocka_unit_test(test_small_buffers),
					   cmocka_unit_test(test_levels),
					   cmocka_unit_test_setup_teardown(test_event, setup, teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
