// HostConfig.LogConfig: what the agent adds, when ecs-logd takes a log, and what is refused before Docker is asked.
#include "docker/log_config.h"
#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define ALL (LOG_DRIVER_BIT(LOG_AWSLOGS) | LOG_DRIVER_BIT(LOG_FLUENTD) | LOG_DRIVER_BIT(LOG_SYSLOG))
#define AWSLOGS(options) "{\"Type\":\"awslogs\",\"Config\":{\"awslogs-group\":\"g\"" options "}}"
#define NATIVE(driver, options) "{\"Type\":\"ecslogs\",\"Config\":{" options "\"x-ecs-driver\":\"" driver "\"}}"

// What becomes of `config` (as in the payload; NULL: the container has none), or the error.
struct rule {
	const char *config;
	unsigned native;
	const char *result;     // LogConfig; NULL: none
	const char *name, *why; // of the error; NULL: none
	const char *region;     // NULL: us-west-2
	const char *defaults;   // daemon.json
	bool by_execution_role, no_credentials;
};

static void check(const struct rule *rule)
{
	struct error err = {0};
	struct log_defaults defaults = {0};
	struct task task = {.id = (char *)"0123456789abcdef",
			    .execution_credentials_id = rule->no_credentials ? NULL : (char *)"exec-id"};
	struct container container = {.name = (char *)"web", .logs_by_execution_role = rule->by_execution_role};
	if (rule->defaults)
		assert_int_equal(log_defaults_decode(rule->defaults, strlen(rule->defaults), &defaults, &err), 0);
	struct create_context context = {.region = rule->region ? rule->region : "us-west-2",
					 .native_logging = rule->native,
					 .log_defaults = &defaults};
	_cleanup_json_ json_object *host = json_object_new_object();
	if (rule->config)
		json_add(host, "LogConfig", json_parse(rule->config, strlen(rule->config), &err));
	const char *name = NULL;
	int r = log_config_apply(host, &task, &container, &context, &name, &err);
	if (rule->why) {
		assert_true(r < 0);
		assert_string_equal(err.message, rule->why);
		assert_string_equal(name, rule->name);
	} else {
		assert_string_equal(err.message, "");
		assert_int_equal(r, 0);
		json_object *result = json_get(host, "LogConfig");
		assert_int_equal(result != NULL, rule->result != NULL);
		if (result)
			assert_string_equal(json_text(result), rule->result);
	}
	log_defaults_free(&defaults);
}

static void check_all(const struct rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(&rules[i]);
}

static void test_handed_over(void **state)
{
	(void)state;
	static const struct rule rules[] = {
		{NULL, ALL, .result = NULL},
		// ecs-logd is not there, or may not: Docker's own driver
		{AWSLOGS(), 0, .result = AWSLOGS()},
		{AWSLOGS(), ALL & ~LOG_DRIVER_BIT(LOG_AWSLOGS), .result = AWSLOGS()},
		// the options unchanged, and the driver
		{AWSLOGS(",\"awslogs-stream\":\"a/b\",\"awslogs-region\":\"eu-west-1\""), ALL,
		 .result = NATIVE(
			 "awslogs",
			 "\"awslogs-group\":\"g\",\"awslogs-stream\":\"a/b\",\"awslogs-region\":\"eu-west-1\",")},
		{"{\"Type\":\"fluentd\",\"Config\":{\"tag\":\"{{.Name}}\",\"fluentd-async\":\"true\"}}", ALL,
		 .result = NATIVE("fluentd", "\"tag\":\"{{.Name}}\",\"fluentd-async\":\"true\",")},
		{"{\"Type\":\"syslog\"}", ALL, .result = NATIVE("syslog", "")},
		{"{\"Type\":\"syslog\",\"Config\":{\"x-ecs-driver\":\"awslogs\"}}", ALL,
		 .result = NATIVE("syslog", "")},
		{"{\"Type\":\"syslog\",\"Config\":{\"x-ecs-spool-max-size\":\"1g\"}}", ALL,
		 .result = NATIVE("syslog", "\"x-ecs-spool-max-size\":\"1g\",")},
		// no driver of Docker's knows ours
		{"{\"Type\":\"syslog\",\"Config\":{\"x-ecs-spool-max-size\":\"1g\",\"tag\":\"t\"}}", 0,
		 .result = "{\"Type\":\"syslog\",\"Config\":{\"tag\":\"t\"}}"},
		// others are none of our business
		{"{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"1m\",\"x-ecs-y\":\"z\"}}", ALL,
		 .result = "{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"1m\",\"x-ecs-y\":\"z\"}}"},
		{"{\"Type\":\"splunk\",\"Config\":{}}", ALL, .result = "{\"Type\":\"splunk\",\"Config\":{}}"},
		{"{\"Config\":{}}", ALL, .result = "{\"Config\":{}}"},
	};
	check_all(rules, ARRAY_SIZE(rules));
}

static void test_added(void **state)
{
	(void)state;
	static const struct rule rules[] = {
		// mode=non-blocking without a size, any driver (docker-mapping.md §18)
		{"{\"Type\":\"syslog\",\"Config\":{\"mode\":\"non-blocking\"}}", ALL,
		 .result = NATIVE("syslog", "\"mode\":\"non-blocking\",\"max-buffer-size\":\"10m\",")},
		{"{\"Type\":\"gelf\",\"Config\":{\"mode\":\"non-blocking\"}}", 0,
		 .result = "{\"Type\":\"gelf\",\"Config\":{\"mode\":\"non-blocking\",\"max-buffer-size\":\"10m\"}}"},
		{"{\"Type\":\"gelf\",\"Config\":{\"mode\":\"non-blocking\",\"max-buffer-size\":\"4m\"}}", 0,
		 .result = "{\"Type\":\"gelf\",\"Config\":{\"mode\":\"non-blocking\",\"max-buffer-size\":\"4m\"}}"},
		{"{\"Type\":\"gelf\",\"Config\":{\"mode\":\"blocking\"}}", 0,
		 .result = "{\"Type\":\"gelf\",\"Config\":{\"mode\":\"blocking\"}}"},
		//
		{AWSLOGS(",\"awslogs-stream-prefix\":\"p\""), 0,
		 .result = AWSLOGS(",\"awslogs-stream\":\"p/web/0123456789abcdef\"")},
		{AWSLOGS(",\"awslogs-stream-prefix\":\"p\""), ALL,
		 .result = NATIVE("awslogs", "\"awslogs-group\":\"g\",\"awslogs-stream\":\"p/web/0123456789abcdef\",")},
		{AWSLOGS(",\"awslogs-stream-prefix\":\"p\",\"awslogs-stream\":\"s\""), 0,
		 .result = AWSLOGS(",\"awslogs-stream\":\"s\"")},
		// regions that Docker's driver does not know
		{AWSLOGS(",\"awslogs-endpoint\":\"https://mine\""), 0,
		 .result = AWSLOGS(",\"awslogs-endpoint\":\"https://logs.us-iso-east-1.c2s.ic.gov\""),
		 .region = "us-iso-east-1"},
		{AWSLOGS(), 0, .result = AWSLOGS(",\"awslogs-endpoint\":\"https://logs.eusc-de-east-1.amazonaws.eu\""),
		 .region = "eusc-de-east-1"},
		{"{\"Type\":\"syslog\",\"Config\":{}}", 0, .result = "{\"Type\":\"syslog\",\"Config\":{}}",
		 .region = "us-iso-east-1"},
		// credentials of the execution role
		{AWSLOGS(), 0, .result = AWSLOGS(",\"awslogs-credentials-endpoint\":\"/v2/credentials/exec-id\""),
		 .by_execution_role = true},
		{AWSLOGS(), ALL,
		 .result = NATIVE(
			 "awslogs",
			 "\"awslogs-group\":\"g\",\"awslogs-credentials-endpoint\":\"/v2/credentials/exec-id\","),
		 .by_execution_role = true},
		{AWSLOGS(), ALL, .name = "HostConfigError", .why = "No execution credentials set for the task",
		 .by_execution_role = true, .no_credentials = true},
	};
	check_all(rules, ARRAY_SIZE(rules));
}

#define DAEMON(driver)              \
	"{\"log-driver\":\"" driver \
	"\",\"log-opts\":{\"tag\":\"{{.ID}}\",\"syslog-facility\":\"local1\"},\"debug\":true}"

static void test_merged(void **state)
{
	(void)state;
	static const char config[] = "{\"Type\":\"syslog\",\"Config\":{\"tag\":\"mine\"}}";
	static const struct rule rules[] = {
		{config, ALL, .result = NATIVE("syslog", "\"tag\":\"mine\",\"syslog-facility\":\"local1\","),
		 .defaults = DAEMON("syslog")},
		{config, 0, .result = config, .defaults = DAEMON("syslog")}, // Docker does it itself
		{config, ALL, .result = NATIVE("syslog", "\"tag\":\"mine\","), .defaults = DAEMON("fluentd")},
		{config, ALL, .result = NATIVE("syslog", "\"tag\":\"mine\","),
		 .defaults = "{\"log-opts\":{\"max-size\":\"1m\"}}"},
		// wrong there is as wrong as in the container's own
		{AWSLOGS(), ALL, .name = "CannotCreateContainerError",
		 .why = "Error response from daemon: unknown log opt 'max-size' for awslogs log driver",
		 .defaults = "{\"log-driver\":\"awslogs\",\"log-opts\":{\"max-size\":\"1m\"}}"},
	};
	check_all(rules, ARRAY_SIZE(rules));
}

static void test_refused(void **state)
{
	(void)state;
#define REFUSED(text) .native = ALL, .name = "CannotCreateContainerError", .why = "Error response from daemon: " text
	static const struct rule rules[] = {
		{AWSLOGS(",\"nonsense\":\"1\""), REFUSED("unknown log opt 'nonsense' for awslogs log driver")},
		{"{\"Type\":\"awslogs\",\"Config\":{}}", REFUSED("must specify a value for log opt 'awslogs-group'")},
		{"{\"Type\":\"fluentd\",\"Config\":{\"zzz\":\"\"}}",
		 REFUSED("unknown log opt 'zzz' for fluentd log driver")},
		{"{\"Type\":\"syslog\",\"Config\":{\"zzz\":\"\"}}",
		 REFUSED("unknown log opt 'zzz' for syslog log driver")},
		{"{\"Type\":\"syslog\",\"Config\":{\"mode\":\"foo\"}}",
		 REFUSED("logger: logging mode not supported: foo")},
		{AWSLOGS(",\"nonsense\":\"1\""), 0, .result = AWSLOGS(",\"nonsense\":\"1\"")}, // Docker says so itself
	};
	check_all(rules, ARRAY_SIZE(rules));
}

static void test_defaults(void **state)
{
	(void)state;
	static const struct {
		const char *text, *driver, *why;
	} cases[] = {
		{"{}", NULL, NULL},
		{"{\"log-driver\":\"fluentd\",\"log-opts\":{\"a\":\"b\"}}", "fluentd", NULL},
		{"{\"log-driver\":5}", NULL,
		 "json: cannot unmarshal number 5 into Go struct field daemon.json.log-driver of type string"},
		{"{\"log-opts\":{\"a\":5}}", NULL, ""},
		{"[]", NULL, ""},
		{"{", NULL, ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct log_defaults defaults;
		struct error err = {0};
		int r = log_defaults_decode(cases[i].text, strlen(cases[i].text), &defaults, &err);
		assert_int_equal(r < 0, cases[i].why != NULL);
		assert_int_equal(*err.message != '\0', cases[i].why != NULL);
		if (cases[i].driver)
			assert_string_equal(defaults.driver, cases[i].driver);
		else
			assert_null(defaults.driver);
		log_defaults_free(&defaults);
	}
}

static void test_defaults_file(void **state)
{
	(void)state;
	struct log_defaults defaults;
	struct error err = {0};
	assert_int_equal(log_defaults_read("/no/such/daemon.json", &defaults, &err), 0);
	assert_null(defaults.driver);
	char path[] = "/tmp/ecsd-test-daemon-XXXXXX";
	int fd = mkstemp(path);
	assert_int_equal(log_defaults_read(path, &defaults, &err), 0); // empty
	assert_int_equal(write(fd, "{]", 2), 2);
	assert_true(log_defaults_read(path, &defaults, &err) < 0);
	assert_non_null(strstr(err.message, path));
	assert_int_equal(pwrite(fd, "{\"log-driver\":\"syslog\"}", 23, 0), 23);
	assert_int_equal(log_defaults_read(path, &defaults, &err), 0);
	assert_string_equal(defaults.driver, "syslog");
	log_defaults_free(&defaults);
	close(fd);
	unlink(path);
	assert_true(log_defaults_read("/tmp", &defaults, &err) < 0);
}

static void test_driver(void **state)
{
	(void)state;
	static const struct {
		const char *host_config;
		int driver; // -1: none
	} cases[] = {
		{NULL, -1},
		{"{}", -1},
		{"nonsense", -1},
		{"{\"LogConfig\":null}", -1},
		{"{\"LogConfig\":[]}", -1},
		{"{\"LogConfig\":{\"Type\":7}}", -1},
		{"{\"LogConfig\":{\"Type\":\"json-file\"}}", -1},
		{"{\"logconfig\":{\"type\":\"syslog\"}}", LOG_SYSLOG},
		{"{\"LogConfig\":{\"Type\":\"awslogs\"}}", LOG_AWSLOGS},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct container container = {.docker_host_config = (char *)cases[i].host_config};
		enum log_driver driver;
		assert_int_equal(log_config_driver(&container, &driver), cases[i].driver >= 0);
		if (cases[i].driver >= 0)
			assert_int_equal(driver, cases[i].driver);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handed_over), cmocka_unit_test(test_added),
		cmocka_unit_test(test_merged),      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_defaults),    cmocka_unit_test(test_defaults_file),
		cmocka_unit_test(test_driver),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
