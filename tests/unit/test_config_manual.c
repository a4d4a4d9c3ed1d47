// ecs.config(5) as the program prints it: every row of the table is there, and nothing in a text is taken for a request.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "config/option.h"

static char *manual(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	config_print_manual(out);
	fclose(out);
	return text;
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text++;
		n++;
	}
	return n;
}

static void test_every_row(void **state)
{
	_cleanup_free_ char *text = manual();

	(void)state;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		_cleanup_free_ char *item =
			xasprintf(o->flags & NO_VARIABLE ? "\n.It JSON key Cm %s\n" : "\n.It Ev %s\n", o->name);
		unsigned found = count(text, item);

		if (found != 1)
			fail_msg("%s is in the page %u times", o->name, found);
	}
}

// A row has its own default and help, not another's.
static void test_a_row(void **state)
{
	_cleanup_free_ char *text = manual();
	const char *expected = "\n.It Ev ECS_AVAILABLE_LOGGING_DRIVERS\n"
			       "log drivers offered to tasks.\n"
			       ".br\n"
			       "Type: JSON list.\n"
			       "Default: [\"json\\-file\",\"none\"].\n"
			       "Packaged default: [\"json\\-file\",\"syslog\",\"awslogs\",\"fluentd\",\"none\"].\n"
			       "JSON: AvailableLoggingDrivers.\n";

	(void)state;
	assert_non_null(strstr(text, expected));
}

static void test_requests(void **state)
{
	static const char *const requests[] = {".\\\"", ".Dd", ".Dt", ".Os", ".Sh", ".Nm", ".Nd",
					       ".Pa",   ".Xr", ".Ar", ".Cm", ".Pp", ".Bl", ".It",
					       ".El",   ".Ev", ".Dq", ".Dl", ".Bd", ".Ed", ".br"};
	_cleanup_free_ char *text = manual();
	char *rest = text;
	int open = 0;

	(void)state;
	for (char *line; (line = strsep(&rest, "\n"));) {
		bool known = *line != '.';

		assert_true(*line != '\'');
		open += str_starts(line, ".Bl") - str_starts(line, ".El");
		assert_in_range(open, 0, 1);
		for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
			known |= str_starts(line, requests[i]);
		if (!known)
			fail_msg("a request that is not meant: %s", line);
	}
	assert_int_equal(open, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_a_row),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
