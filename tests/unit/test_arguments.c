// The command line, and the two logs that its levels and the configuration decide.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arguments.h"
#include "common/util.h"
#include "logs.h"

static int parse(const char *line, struct arguments *arguments, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(line);
	char *argv[16] = {(char *)"ecsd"}, *rest = copy, *word;
	int argc = 1;

	while ((word = strsep(&rest, " ")))
		if (*word && argc < 15)
			argv[argc++] = word;
	return arguments_parse(argc, argv, arguments, err);
}

static void test_commands(void **state)
{
	static const struct {
		const char *line;
		enum command command;
	} cases[] = {
		{"", COMMAND_RUN},
		{"--", COMMAND_RUN},
		{"-version", COMMAND_VERSION},
		{"--version", COMMAND_VERSION},
		{"-version=true", COMMAND_VERSION},
		{"-version=false", COMMAND_RUN},
		{"-version=F -k", COMMAND_RUN},
		{"-license", COMMAND_LICENSE},
		{"-healthcheck", COMMAND_HEALTHCHECK},
		{"-ecs-attributes", COMMAND_ATTRIBUTES},
		{"--handback-check", COMMAND_HANDBACK_CHECK},
		{"-handback-check -k", COMMAND_HANDBACK_CHECK},
		{"-windows-service", COMMAND_WINDOWS_SERVICE},
		{"-windows-service -version", COMMAND_VERSION},
		{"-h", COMMAND_HELP},
		{"--help", COMMAND_HELP},
		{"-help-config", COMMAND_HELP_CONFIG},
		{"-help-config=tsv", COMMAND_HELP_CONFIG_TSV},
		{"-help-capabilities", COMMAND_HELP_CAPABILITIES},
		{"-print-packaged-defaults", COMMAND_PACKAGED_DEFAULTS},
		{"-print-config-manual", COMMAND_CONFIG_MANUAL},
	};
	struct arguments arguments;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		if (parse(cases[i].line, &arguments, &err) < 0)
			fail_msg("%s: %s", cases[i].line, err.message);
		if (arguments.command != cases[i].command)
			fail_msg("%s: command %d", cases[i].line, arguments.command);
	}
	assert_int_equal(parse("-k -blackhole-ec2-metadata", &arguments, NULL), 0);
	assert_true(arguments.insecure && arguments.blackhole_imds);
	assert_int_equal(parse("-k=0", &arguments, NULL), 0);
	assert_false(arguments.insecure);
}

static void test_levels(void **state)
{
	static const struct {
		const char *line;
		enum log_level driver, on_instance;
	} cases[] = {
		{"", LOG_LEVEL_UNSET, LOG_LEVEL_UNSET},
		{"-loglevel debug", LOG_DEBUG, LOG_DEBUG},
		{"-loglevel=CRIT -loglevel-driver info", LOG_CRITICAL, LOG_CRITICAL},
		{"-loglevel-driver info", LOG_INFO, LOG_LEVEL_UNSET},
		{"-loglevel-on-instance none -loglevel-driver=warn", LOG_WARN, LOG_NONE},
	};
	struct arguments arguments;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(cases[i].line, &arguments, NULL), 0);
		assert_int_equal(arguments.level_driver, cases[i].driver);
		assert_int_equal(arguments.level_on_instance, cases[i].on_instance);
	}
}

static void test_bad_flags(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{"-x", "flag provided but not defined: -x"},
		{"--x=1", "flag provided but not defined: -x"},
		{"-k=maybe", "invalid boolean value \"maybe\" for -k: parse error"},
		{"-k=", "invalid boolean value \"\" for -k: parse error"},
		{"-loglevel", "flag needs an argument: -loglevel"},
		{"---k", "bad flag syntax: ---k"},
		{"-=1", "bad flag syntax: -=1"},
		{"-help-config=x", "invalid value \"x\" for -help-config: expected tsv"},
		{"run", "unexpected argument \"run\""},
		{"-- -k", "unexpected argument \"-k\""},
		{"-", "unexpected argument \"-\""},
	};
	struct arguments arguments;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		if (parse(cases[i].line, &arguments, &err) == 0)
			fail_msg("%s was accepted", cases[i].line);
		assert_string_equal(err.message, cases[i].text);
	}
}

// --- logs ---

static unsigned reopened;
void endpoint_reopen_audit_log(struct endpoint *endpoint)
{
	(void)endpoint;
	reopened++;
}

static char directory[] = "/tmp/ecsd-test-logs-XXXXXX";

static void test_own_log(void **state)
{
	_cleanup_free_ char *path = xasprintf("%s/new/agent.log", directory);
	struct config config = {.log_file = path, .log_level = LOG_NONE, .log_level_on_instance = LOG_WARN};
	struct arguments arguments = {0};

	(void)state;
	logs_open(&config, &arguments); // makes the directory
	assert_true(log_enabled(LOG_WARN) && !log_enabled(LOG_INFO));
	arguments.level_on_instance = LOG_DEBUG;
	logs_open(&config, &arguments);
	assert_true(log_enabled(LOG_DEBUG));
	config.log_file = (char *)"/proc/none/agent.log"; // no reason not to start
	logs_open(&config, &arguments);
	assert_false(log_enabled(LOG_CRITICAL));
	log_close();
}

static void test_audit_log(void **state)
{
	_cleanup_free_ char *path = xasprintf("%s/audit.log", directory), *rolled = xasprintf("%s.1", path);
	struct config config = {.audit_log_file = path, .log_roll = {LOG_ROLL_SIZE, 4, 2}, .audit_log_disabled = true};
	struct loop *loop = loop_new(1, NULL);
	struct audit_log log;

	(void)state;
	audit_log_start(&log, loop, &config, NULL);
	assert_false(audit_log_roll(&log, 0)); // there is none
	assert_int_equal(write_file_atomic(path, "abcd", 4, 0600), 0);
	assert_true(audit_log_roll(&log, 0));
	assert_int_equal(access(rolled, F_OK), 0);
	assert_int_equal(reopened, 1);
	audit_log_stop(&log);
	// By the hour for any other type, none included.
	config.log_roll.type = LOG_ROLL_NONE;
	audit_log_start(&log, loop, &config, NULL);
	assert_int_equal(write_file_atomic(path, "abcd", 4, 0600), 0);
	assert_false(audit_log_roll(&log, 0));
	assert_false(audit_log_roll(&log, 1000));
	assert_true(audit_log_roll(&log, 3600000));
	assert_int_equal(reopened, 2);
	audit_log_stop(&log);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands), cmocka_unit_test(test_levels),    cmocka_unit_test(test_bad_flags),
		cmocka_unit_test(test_own_log),  cmocka_unit_test(test_audit_log),
	};

	if (!mkdtemp(directory))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	_cleanup_free_ char *command = xasprintf("rm -r %s", directory);
	return system(command) == 0 ? failed : 1;
}
