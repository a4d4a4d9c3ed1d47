// ecs.config as ecs-init reads it, into the environment, and read again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/util.h"
#include "config/config_files.h"

static char dir[] = "/tmp/ecsd-config-files-test.XXXXXX";

static char *put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
	return path;
}

static void expect(const char *name, const char *value)
{
	const char *got = getenv(name);

	if (!str_equal(got, value))
		fail_msg("%s is %s, not %s", name, got ? got : "unset", value ? value : "unset");
}

// configuration.md §2: what the parser makes of a line.
static void test_lines(void **state)
{
	static const char text[] = "\n  T_PLAIN=value  \n"
				   "T_QUOTED=\"value\"\n"
				   "T_EQUALS=a=b=c\r\n"
				   "# T_COMMENT=x\n"
				   "#T_HASH=x\n"
				   "no assignment\n"
				   "=no name\n"
				   "T_SPACED = x\n"
				   "T_EMPTY=\n"
				   "export T_EXPORT=x\n"
				   "T_JSON=[\"json-file\",\"awslogs\"]\n"
				   "T_DOLLAR=$T_PLAIN # no comment\n"
				   "T_TWICE=1\nT_TWICE=2";
	static const struct {
		const char *name, *value;
	} wanted[] = {
		{"T_PLAIN", "value"},
		{"T_QUOTED", "\"value\""},
		{"T_EQUALS", "a=b=c"},
		{"T_COMMENT", NULL},
		{"T_HASH", NULL},
		{"#T_HASH", "x"},
		{"T_SPACED", NULL},
		{"T_SPACED ", " x"},
		{"T_EMPTY", ""},
		{"T_EXPORT", NULL},
		{"T_JSON", "[\"json-file\",\"awslogs\"]"},
		{"T_DOLLAR", "$T_PLAIN # no comment"},
		{"T_TWICE", "2"},
	};
	_cleanup_free_ char *path = put("lines", text);
	struct config_files files = {.paths = path};

	(void)state;
	config_files_read(&files);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		expect(wanted[i].name, wanted[i].value);
	config_files_free(&files);
	expect("T_PLAIN", "value"); // they stay
}

static void test_strength(void **state)
{
	_cleanup_free_ char *weak = put("weak", "S_BOTH=weak\nS_WEAK=weak\nS_OURS=weak\n");
	_cleanup_free_ char *strong = put("strong", "S_BOTH=strong\nS_OURS=strong\nS_EMPTY=strong\n");
	_cleanup_free_ char *paths = xasprintf("%s:%s/absent::%s:%s", weak, dir, dir, strong); // one is a directory
	struct config_files files = {.paths = paths};

	(void)state;
	setenv("S_OURS", "process", 1);
	setenv("S_EMPTY", "", 1);
	config_files_read(&files);
	expect("S_BOTH", "strong");
	expect("S_WEAK", "weak");
	expect("S_OURS", "process");
	expect("S_EMPTY", "");
	config_files_free(&files);
}

// What cloud-init writes in between.
static void test_again(void **state)
{
	_cleanup_free_ char *path = put("again", "A_STAYS=1\nA_CHANGES=1\nA_GOES=1\n");
	struct config_files files = {.paths = path};

	(void)state;
	setenv("A_OURS", "process", 1);
	config_files_read(&files);
	expect("A_CHANGES", "1");
	free(put("again", "A_STAYS=1\nA_CHANGES=2\nA_NEW=2\nA_OURS=2\n"));
	config_files_read(&files);
	expect("A_STAYS", "1");
	expect("A_CHANGES", "2");
	expect("A_GOES", NULL);
	expect("A_NEW", "2");
	expect("A_OURS", "process");
	unlink(path);
	config_files_read(&files);
	expect("A_STAYS", NULL);
	config_files_free(&files);
}

static void test_none(void **state)
{
	struct config_files files = {0}, empty = {.paths = ""};

	(void)state;
	config_files_read(&files);
	config_files_read(&empty);
	assert_int_equal(files.count + empty.count, 0);
	config_files_free(&files);
}

static int set_up(void **state)
{
	(void)state;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	return mkdtemp(dir) ? 0 : 1;
}

static int tear_down(void **state)
{
	_cleanup_free_ char *command = xasprintf("rm -rf %s", dir);

	(void)state;
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_strength),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
