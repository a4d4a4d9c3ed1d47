// Rolling over by size and by the hour: names, numbers, what is kept; with a clock of our own, and through the logger.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/util.h"
#include <dirent.h>
#include <inttypes.h>
#include <time.h>

#define HOUR_MS INT64_C(3600000)
#define START 1767323045678 // 2026-01-02T03:04:05Z

static char directory[64], path[96];

static void put(const char *name, const char *text)
{
	_cleanup_free_ char *where = xasprintf("%s/%s", directory, name);
	FILE *file = fopen(where, "a");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

// "name=content ...", in order.
static void check(const char *expected)
{
	struct buf out = {0};
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, by_name);

	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *where = xasprintf("%s/%s", directory, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.') {
			_cleanup_free_ char *text = read_file(where, 4096, NULL);
			buf_printf(&out, "%s%s=%s", out.len ? " " : "", entries[i]->d_name, text);
		}
		free(entries[i]);
	}
	free(entries);
	_cleanup_free_ char *actual = buf_take(&out);
	assert_string_equal(actual, expected);
}

// What a writer does.
static void write_at(struct rolling_file *file, int64_t wall, const char *text)
{
	rolling_file_roll(file, wall);
	put("log", text);
	file->size += (int64_t)strlen(text);
}

static void by_size(void **state)
{
	struct rolling_file file = {.path = path, .roll = {LOG_ROLL_SIZE, 4, 3}};

	(void)state;
	put("log.x", "");
	put("log.3x", "");
	put("other.9", "");
	// A file may pass the limit by one message.
	write_at(&file, START, "aaa");
	write_at(&file, START, "bbb");
	check("log=aaabbb log.3x= log.x= other.9=");
	write_at(&file, START, "cccc");
	check("log=cccc log.1=aaabbb log.3x= log.x= other.9=");
	write_at(&file, START, "dddd");
	write_at(&file, START, "eeee");
	write_at(&file, START, "f");
	check("log=f log.2=cccc log.3=dddd log.3x= log.4=eeee log.x= other.9=");
	// Numbers, not texts, are compared; the highest goes on.
	put("log.10", "ten");
	write_at(&file, START, "fff");
	write_at(&file, START, "g");
	check("log=g log.10=ten log.11=ffff log.3x= log.4=eeee log.x= other.9=");
	// Nothing is removed without a limit, nothing happens without a file or a type.
	file.roll.max_files = 0;
	file.size = 4;
	assert_true(rolling_file_roll(&file, START));
	check("log.10=ten log.11=ffff log.12=g log.3x= log.4=eeee log.x= other.9=");
	file.size = 4;
	assert_false(rolling_file_roll(&file, START));
	assert_int_equal(file.size, 0);
	file = (struct rolling_file){.path = path, .roll = {LOG_ROLL_NONE, 4, 3}, .size = 100};
	assert_false(rolling_file_roll(&file, START));
}

static void by_hour(void **state)
{
	struct rolling_file file = {.path = path, .roll = {LOG_ROLL_HOURLY, 4, 2}};

	(void)state;
	put("log", "old ");
	put("log.7", "");
	write_at(&file, START, "three ");
	write_at(&file, START + 55 * 60000, "still ");
	check("log=old three still  log.7=");
	write_at(&file, START + HOUR_MS, "four");
	check("log=four log.2026-01-02-03=old three still  log.7=");
	write_at(&file, START + 26 * HOUR_MS, "next day");
	write_at(&file, START + 27 * HOUR_MS, "later");
	check("log=later log.2026-01-02-04=four log.2026-01-03-05=next day log.7=");
	// An hour that was there already (the clock went back) is not overwritten.
	put("log.2026-01-03-06", "kept");
	write_at(&file, START + 28 * HOUR_MS, "+");
	check("log=later+ log.2026-01-02-04=four log.2026-01-03-05=next day log.2026-01-03-06=kept log.7=");
	// An empty file is not worth a name.
	assert_int_equal(truncate(path, 0), 0);
	assert_false(rolling_file_roll(&file, START + 40 * HOUR_MS));
}

// Levels are apart, and a file is rolled over and opened anew by the logger itself.
static void through_the_logger(void **state)
{
	struct log_options options = {.level = LOG_NONE,
				      .file_level = LOG_DEBUG,
				      .path = path,
				      .roll = {LOG_ROLL_SIZE, 10, 2},
				      .program = "test"};
	size_t found = 0;

	(void)state;
	for (int json = 0; json < 2; json++) {
		options.json = json;
		assert_int_equal(log_open(&options, NULL), 0);
		assert_true(log_enabled(LOG_DEBUG));
		for (int i = 0; i < 4; i++)
			log_debug("line", "n=%d", i);
		log_close();
		assert_false(log_enabled(LOG_CRITICAL));
	}
	// Two of three rolled files of the second half, and the current one.
	for (int i = 0; i < 9; i++) {
		_cleanup_free_ char *name = i ? xasprintf("%s.%d", path, i) : xstrdup(path);
		_cleanup_free_ char *text = read_file(name, 4096, NULL);
		const char *last = text ? strchr(text, 10) : NULL;
		if (text) {
			found++;
			assert_true(*text == '{' && last && !last[1]);
		}
	}
	assert_int_equal(found, 3);
}

static int setup(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	snprintf(directory, sizeof(directory), "/tmp/ecsd-test-roll-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/log", directory);
	return 0;
}

static int teardown(void **state)
{
	_cleanup_free_ char *command = xasprintf("rm -r %s", directory);

	(void)state;
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(by_size, setup, teardown),
		cmocka_unit_test_setup_teardown(by_hour, setup, teardown),
		cmocka_unit_test_setup_teardown(through_the_logger, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
