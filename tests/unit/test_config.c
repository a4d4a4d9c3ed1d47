// The configuration table: defaults, and every type's good and bad values with their exact texts.
#include "test_config.h"

static void defaults(void **state)
{
	(void)state;
	static const struct {
		const char *member, *result;
	} expected[] = {
		{"cluster", ""},
		{"region", ""},
		{"backend_host", ""},
		{"instance_attributes", ""},
		{"instance_tags", ""},
		{"os_family", "LINUX"},
		{"data_dir", "/var/lib/ecs/data"},
		{"run_dir", "/run/ecsd"},
		{"checkpoint", "1"},
		{"log_file", ""},
		{"log_level", "2"},
		{"level_on_instance", "2"},
		{"log_driver", ""},
		{"roll_type", "1"},
		{"roll_bytes", "5e+06"},
		{"roll_files", "24"},
		{"config_file", "/etc/ecs_container_agent/config.json"},
		{"no_iid", "0"},
		{"updates_enabled", "0"},
		{"engine_auth_type", ""},
		{"engine_auth_data", ""},
		{"prometheus", "0"},
		{"upfront", "0"},
		{"manifest_timeout", "60000"},
		{"cpu_mem_limit", "-1"},
		{"cgroup_path", "/sys/fs/cgroup"},
		{"cpu_period", "100000"},
		{"pids_limit", "0"},
		{"propagate_memory", "0"},
		{"cleanup_disabled", "0"},
		{"cleanup_interval", "1.8e+06"},
		{"cleanup_age", "3.6e+06"},
		{"untracked_age", "3.6e+06"},
		{"images_per_cycle", "5"},
		{"containers_per_cycle", "5"},
		{"exclusions", ""},
		{"untracked_cleanup", "0"},
		{"disk_high", "0"},
		{"disk_low", "0"},
		{"inodes_high", "0"},
		{"inodes_low", "0"},
		{"healthcheck_host", "localhost"},
		{"log_json", "0"},
		{"audit_log_file", "/var/log/ecs/audit.log"},
		{"audit_log_disabled", "0"},
		{"reserved_memory", "0"},
		{"reserved_tcp", "22 2375 2376 51678 51679"},
		{"reserved_udp", ""},
		{"docker_host", "unix:///var/run/docker.sock"},
		{"pull_behavior", "0"},
		{"stop_timeout", "30000"},
		{"start_timeout", "180000"},
		{"create_timeout", "240000"},
		{"pull_timeout", "7.2e+06"},
		{"pull_inactivity", "60000"},
		{"cleanup_wait", "1.08e+07"},
		{"cleanup_jitter", "0"},
		{"privileged_disabled", "0"},
		{"logging_drivers", "json-file none"},
		{"selinux", "0"},
		{"apparmor", "0"},
		{"exclude_ipv6", "1"},
		{"task_iam_role", "0"},
		{"task_iam_role_network_host", "0"},
		{"rps_steady", "40"},
		{"rps_burst", "60"},
		{"clock_scale", "1"},
		{"insecure", "0"},
		{"native_logging", "7"},
		{"log_plugin_socket", "/run/docker/plugins/ecslogs.sock"},
		{"logd_socket", "/run/ecs/ecs-logd.sock"},
		{"docker_config_file", "/etc/docker/daemon.json"},
		{"awslogs_execution_role", "0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		check(&(struct expectation){"UNUSED", "", expected[i].member, expected[i].result, NULL});
	struct config config;
	set_env("UNUSED", "");
	assert_int_equal(config_load(&config, get, NULL), 0);
	assert_true(config.dynamic_port_first > 0 && config.dynamic_port_first <= config.dynamic_port_last);
	config_free(&config);
	config_free(&config); // twice is fine
}

static void texts(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_CLUSTER", "  prod\r\n", "cluster", "prod", NULL},
		{"ECS_CLUSTER", "   ", "cluster", "", NULL},
		{"AWS_DEFAULT_REGION", " us-west-2 ", "region", "us-west-2", NULL},
		{"ECS_BACKEND_HOST", "\thttp://127.0.0.1:8080", "backend_host", "http://127.0.0.1:8080", NULL},
		{"ECS_DETAILED_OS_FAMILY", "", "os_family", "", NULL},
		{"ECS_DETAILED_OS_FAMILY", "debian_12", "os_family", "debian_12", NULL},
		{"ECS_DATADIR", "", "data_dir", "/var/lib/ecs/data", NULL},
		{"ECS_DATADIR", "/srv/ecs ", "data_dir", "/srv/ecs ", NULL},
		{"ECSD_RUN_DIR", "/tmp/x", "run_dir", "/tmp/x", NULL},
		{"ECS_LOGFILE", "/var/log/ecs/ecsd.log", "log_file", "/var/log/ecs/ecsd.log", NULL},
		{"ECS_AUDIT_LOGFILE", "/a", "audit_log_file", "/a", NULL},
		{"DOCKER_HOST", "unix:///run/d.sock", "docker_host", "unix:///run/d.sock", NULL},
		{"ECS_INSTANCE_ATTRIBUTES", "{}", "instance_attributes", "", NULL},
		{"ECS_INSTANCE_ATTRIBUTES", " { \"stack\" : \"a/b\", \"empty\": null } ", "instance_attributes",
		 "{\"stack\":\"a/b\",\"empty\":\"\"}", NULL},
		{"ECS_CONTAINER_INSTANCE_TAGS", "{\"k\":\"1\",\"k\":\"2\"}", "instance_tags", "{\"k\":\"2\"}", NULL},
	};
	check_all(table, ARRAY_SIZE(table));
}

#define BAD_BOOL(name, value)                                                                          \
	"Invalid format for \"" name "\", expected a boolean. err strconv.ParseBool: parsing \"" value \
	"\": invalid syntax"

static void booleans(void **state)
{
	(void)state;
	static const struct {
		const char *text, *result;
	} words[] = {{"1", "1"}, {"t", "1"}, {"T", "1"},     {"TRUE", "1"},  {"true", "1"},  {"True", "1"},  {"0", "0"},
		     {"f", "0"}, {"F", "0"}, {"FALSE", "0"}, {"false", "0"}, {"False", "0"}, {" true ", "1"}};
	static const struct {
		const char *name, *member;
	} variables[] = {
		{"ECS_CHECKPOINT", "checkpoint"},
		{"ECS_AUDIT_LOGFILE_DISABLED", "audit_log_disabled"},
		{"ECS_DISABLE_PRIVILEGED", "privileged_disabled"},
		{"ECS_SELINUX_CAPABLE", "selinux"},
		{"ECS_APPARMOR_CAPABLE", "apparmor"},
		{"ECS_EXCLUDE_IPV6_PORTBINDING", "exclude_ipv6"},
		{"ECS_ENABLE_TASK_IAM_ROLE", "task_iam_role"},
		{"ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "task_iam_role_network_host"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		for (size_t j = 0; j < ARRAY_SIZE(words); j++)
			check(&(struct expectation){variables[i].name, words[j].text, variables[i].member,
						    words[j].result, NULL});

	static const struct expectation table[] = {
		{"ECS_CHECKPOINT", "yes", "checkpoint", "1", BAD_BOOL("ECS_CHECKPOINT", "yes")},
		{"ECS_AUDIT_LOGFILE_DISABLED", "tRUE", "audit_log_disabled", "0",
		 BAD_BOOL("ECS_AUDIT_LOGFILE_DISABLED", "tRUE")},
		{"ECS_DISABLE_PRIVILEGED", "\"true\"", "privileged_disabled", "0",
		 BAD_BOOL("ECS_DISABLE_PRIVILEGED", "\"true\"")},
		{"ECS_SELINUX_CAPABLE", "on", "selinux", "0", BAD_BOOL("ECS_SELINUX_CAPABLE", "on")},
		{"ECS_APPARMOR_CAPABLE", "2", "apparmor", "0", BAD_BOOL("ECS_APPARMOR_CAPABLE", "2")},
		{"ECS_EXCLUDE_IPV6_PORTBINDING", "no", "exclude_ipv6", "1",
		 BAD_BOOL("ECS_EXCLUDE_IPV6_PORTBINDING", "no")},
		{"ECS_ENABLE_TASK_IAM_ROLE", "off", "task_iam_role", "0", BAD_BOOL("ECS_ENABLE_TASK_IAM_ROLE", "off")},
		{"ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "off", "task_iam_role_network_host", "0",
		 BAD_BOOL("ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "off")},
		{"ECS_EXTERNAL", "maybe", "external", "0", BAD_BOOL("ECS_EXTERNAL", "maybe")},
		{"ECS_EXTERNAL", "false", "external", "0", NULL},
		{"ECSD_ROTATING_CREDENTIALS_FILE", "", "rotating_credentials_file", "/root/.aws/credentials", NULL},
		{"ECSD_ROTATING_CREDENTIALS_FILE", "/a/b", "rotating_credentials_file", "/a/b", NULL},
		{"ECS_ALTERNATE_CREDENTIAL_PROFILE", "", "rotating_credentials_profile", "default", NULL},
		{"ECS_ALTERNATE_CREDENTIAL_PROFILE", "ecs", "rotating_credentials_profile", "ecs", NULL},
	};
	check_all(table, ARRAY_SIZE(table));
}

#define BAD_DURATION(name, value, why) \
	"Could not parse duration value: " value " for Environment Variable " name " : time: " why

static void durations(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_CONTAINER_STOP_TIMEOUT", "90s", "stop_timeout", "90000", NULL},
		{"ECS_CONTAINER_STOP_TIMEOUT", "0", "stop_timeout", "30000", NULL},
		{"ECS_CONTAINER_STOP_TIMEOUT", "0s", "stop_timeout", "30000", NULL},
		{"ECS_CONTAINER_STOP_TIMEOUT", "100ms", "stop_timeout", "1000",
		 "ECS_CONTAINER_STOP_TIMEOUT=100ms is less than the minimum of 1s, 1s is used"},
		{"ECS_CONTAINER_STOP_TIMEOUT", "-5s", "stop_timeout", "1000",
		 "ECS_CONTAINER_STOP_TIMEOUT=-5s is less than the minimum of 1s, 1s is used"},
		{"ECS_CONTAINER_STOP_TIMEOUT", "30", "stop_timeout", "30000",
		 BAD_DURATION("ECS_CONTAINER_STOP_TIMEOUT", "30", "missing unit in duration \"30\"")},
		{"ECS_CONTAINER_STOP_TIMEOUT", "1d", "stop_timeout", "30000",
		 BAD_DURATION("ECS_CONTAINER_STOP_TIMEOUT", "1d", "unknown unit \"d\" in duration \"1d\"")},
		{"ECS_CONTAINER_STOP_TIMEOUT", " 10s", "stop_timeout", "30000",
		 BAD_DURATION("ECS_CONTAINER_STOP_TIMEOUT", " 10s", "invalid duration \" 10s\"")},
		{"ECS_CONTAINER_START_TIMEOUT", "44s", "start_timeout", "45000",
		 "ECS_CONTAINER_START_TIMEOUT=44s is less than the minimum of 45s, 45s is used"},
		{"ECS_CONTAINER_START_TIMEOUT", "45s", "start_timeout", "45000", NULL},
		{"ECS_CONTAINER_CREATE_TIMEOUT", "59.9s", "create_timeout", "60000",
		 "ECS_CONTAINER_CREATE_TIMEOUT=59.9s is less than the minimum of 1m0s, 1m0s is used"},
		{"ECS_CONTAINER_CREATE_TIMEOUT", "1.5h", "create_timeout", "5.4e+06", NULL},
		{"ECS_IMAGE_PULL_TIMEOUT", "1h15m", "pull_timeout", "4.5e+06", NULL},
		{"ECS_IMAGE_PULL_TIMEOUT", "1us", "pull_timeout", "1", NULL},
		{"ECS_IMAGE_PULL_TIMEOUT", "-1s", "pull_timeout", "7.2e+06",
		 "ECS_IMAGE_PULL_TIMEOUT=-1s is less than the minimum of 0s, 2h0m0s is used"},
		{"ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", "30s", "pull_inactivity", "60000",
		 "ECS_IMAGE_PULL_INACTIVITY_TIMEOUT=30s is less than the minimum of 1m0s, 1m0s is used"},
		{"ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", "3m", "pull_inactivity", "180000", NULL},
		{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", "500ms", "cleanup_wait", "1.08e+07",
		 "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=500ms is less than the minimum of 1s, 3h0m0s is used"},
		{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", "1s", "cleanup_wait", "1000", NULL},
		{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", "1m", "cleanup_jitter", "60000", NULL},
		{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", "-1m", "cleanup_jitter", "0",
		 "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER=-1m is less than the minimum of 0s, 0s is used"},
	};
	check_all(table, ARRAY_SIZE(table));
}

static void go_durations(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"0", 0},
		{"-0", 0},
		{"+1s", 1000000000},
		{"1h2m3s4ms5us6ns", 3723004005006},
		{"1\xc2\xb5s", 1000},
		{".5s", 500000000},
		{"1.s", 1000000000},
		{"-1.5m", -90000000000},
		{"2562047h", 2562047LL * 3600 * 1000000000},
	};
	static const char *const bad[] = {"",     "-",    "s",           ".s",       "1",
					  "1.5",  "1x",   "1s ",         "1 s",      "+-1s",
					  "--1s", "1e3s", "9999999999h", "2562048h", "99999999999999999999s"};
	int64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(config_parse_duration(good[i].text, &ns, NULL), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (config_parse_duration(bad[i], &ns, NULL) == 0)
			fail_msg("\"%s\" was accepted", bad[i]);

	static const struct {
		int64_t ms;
		const char *text;
	} shown[] = {{0, "0s"}, {5, "5ms"}, {1500, "1.5s"}, {60000, "1m0s"}, {3723500, "1h2m3.5s"}, {-90000, "-1m30s"}};
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
		_cleanup_free_ char *text = config_format_duration(shown[i].ms * 1000000);
		assert_string_equal(text, shown[i].text);
	}
}

#define BAD_PORTS(name, why) \
	"Invalid format for \"" name "\" environment variable; expected a JSON array like [1,2,3]. err " why
#define BAD_MEMORY(value)                                                                                          \
	"Invalid format for \"ECS_RESERVED_MEMORY\" environment variable; expected unsigned integer. err \"" value \
	"\" is not a number from 0 to 65535"
#define DEFAULT_PORTS "22 2375 2376 51678 51679"

static void numbers_and_lists(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_RESERVED_MEMORY", "256", "reserved_memory", "256", NULL},
		{"ECS_RESERVED_MEMORY", "65535", "reserved_memory", "65535", NULL},
		{"ECS_RESERVED_MEMORY", "65536", "reserved_memory", "0", BAD_MEMORY("65536")},
		{"ECS_RESERVED_MEMORY", "-1", "reserved_memory", "0", BAD_MEMORY("-1")},
		{"ECS_RESERVED_MEMORY", "+1", "reserved_memory", "0", BAD_MEMORY("+1")},
		{"ECS_RESERVED_MEMORY", "32m", "reserved_memory", "0", BAD_MEMORY("32m")},
		{"ECS_RESERVED_PORTS", "[22, 80]", "reserved_tcp", "22 80", NULL},
		{"ECS_RESERVED_PORTS", "[1] and more", "reserved_tcp", "1", NULL},
		{"ECS_RESERVED_PORTS", "[]", "reserved_tcp", DEFAULT_PORTS, NULL},
		{"ECS_RESERVED_PORTS", "null", "reserved_tcp", DEFAULT_PORTS, NULL},
		{"ECS_RESERVED_PORTS", "  ", "reserved_tcp", DEFAULT_PORTS, NULL},
		{"ECS_RESERVED_PORTS", "[22,65536]", "reserved_tcp", "22",
		 BAD_PORTS("ECS_RESERVED_PORTS", "65536 is not a port number")},
		{"ECS_RESERVED_PORTS", "[\"x\",5]", "reserved_tcp", "5",
		 BAD_PORTS("ECS_RESERVED_PORTS", "\"x\" is not a port number")},
		{"ECS_RESERVED_PORTS", "22", "reserved_tcp", DEFAULT_PORTS,
		 BAD_PORTS("ECS_RESERVED_PORTS", "not a list")},
		{"ECS_RESERVED_PORTS_UDP", "[53]", "reserved_udp", "53", NULL},
		{"ECS_RESERVED_PORTS_UDP", "{}", "reserved_udp", "", BAD_PORTS("ECS_RESERVED_PORTS_UDP", "not a list")},
		{"ECS_AVAILABLE_LOGGING_DRIVERS", "[\"awslogs\",\"syslog\"]", "logging_drivers", "awslogs syslog",
		 NULL},
		{"ECS_AVAILABLE_LOGGING_DRIVERS",
		 "[\"json-file\",\"syslog\",\"journald\",\"gelf\",\"fluentd\",\"awslogs\",\"splunk\",\"logentries\","
		 "\"sumologic\",\"none\"]",
		 "logging_drivers", "json-file syslog journald gelf fluentd awslogs splunk logentries sumologic none",
		 NULL},
		{"ECS_AVAILABLE_LOGGING_DRIVERS", "[\"json-file\",7]", "logging_drivers", "json-file",
		 "Invalid format for \"ECS_AVAILABLE_LOGGING_DRIVERS\" environment variable; expected a JSON array "
		 "like "
		 "[\"json-file\",\"syslog\"]. err 7 is not a string"},
		{"ECS_AVAILABLE_LOGGING_DRIVERS", "[\"awsfirelens\"]", "logging_drivers", "awsfirelens",
		 "awsfirelens: FireLens is not supported by this version of ecsd"},
		{"ECSD_CLOCK_SCALE", "60", "clock_scale", "60", NULL},
		{"ECSD_CLOCK_SCALE", "0", "clock_scale", "1",
		 "ECSD_CLOCK_SCALE=0 is not a number above 0 and up to 100000"},
		{"ECSD_CLOCK_SCALE", "nan", "clock_scale", "1",
		 "ECSD_CLOCK_SCALE=nan is not a number above 0 and up to 100000"},
		{"ECSD_CLOCK_SCALE", "2x", "clock_scale", "1",
		 "ECSD_CLOCK_SCALE=2x is not a number above 0 and up to 100000"},
	};
	check_all(table, ARRAY_SIZE(table));

	// The JSON library's own words end these.
	struct config config;
	struct error err;
	char *warnings;
	static const char *const broken[] = {"[22", "22,23", "[22,]", "ssh", "['22']"};
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		set_env("ECS_RESERVED_PORTS", broken[i]);
		assert_int_equal(load(&config, &warnings, &err), 0);
		if (!str_starts(warnings, BAD_PORTS("ECS_RESERVED_PORTS", "")))
			fail_msg("%s: %s", broken[i], warnings);
		_cleanup_free_ char *ports = show(&config, "reserved_tcp");
		assert_string_equal(ports, DEFAULT_PORTS);
		free(warnings);
		config_free(&config);
	}
}

#define BAD_RPS(value) "ECS_TASK_METADATA_RPS_LIMIT=" value " is not \"steady,burst\", two whole numbers above 0"

static void words(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_LOGLEVEL", "DEBUG", "log_level", "1", NULL},
		{"ECS_LOGLEVEL", "crit", "log_level", "5", NULL},
		{"ECS_LOGLEVEL", "none", "log_level", "6", NULL},
		{"ECS_LOGLEVEL", "loud", "log_level", "2",
		 "ECS_LOGLEVEL=loud is not one of crit, error, warn, info, debug, none"},
		{"ECS_LOG_OUTPUT_FORMAT", "json", "log_json", "1", NULL},
		{"ECS_LOG_OUTPUT_FORMAT", "logfmt", "log_json", "0", NULL},
		{"ECS_LOG_OUTPUT_FORMAT", "xml", "log_json", "0",
		 "ECS_LOG_OUTPUT_FORMAT=xml is neither logfmt nor json"},
		{"ECS_IMAGE_PULL_BEHAVIOR", "default", "pull_behavior", "0", NULL},
		{"ECS_IMAGE_PULL_BEHAVIOR", "always", "pull_behavior", "1", NULL},
		{"ECS_IMAGE_PULL_BEHAVIOR", "once", "pull_behavior", "2", NULL},
		{"ECS_IMAGE_PULL_BEHAVIOR", "prefer-cached", "pull_behavior", "3", NULL},
		{"ECS_IMAGE_PULL_BEHAVIOR", "Always", "pull_behavior", "0",
		 "ECS_IMAGE_PULL_BEHAVIOR=Always is not one of default, always, once, prefer-cached"},
		{"ECS_TASK_METADATA_RPS_LIMIT", " 10 , 20 ", "rps_steady", "10", NULL},
		{"ECS_TASK_METADATA_RPS_LIMIT", "10,20", "rps_burst", "20", NULL},
		{"ECS_TASK_METADATA_RPS_LIMIT", "10", "rps_steady", "40", BAD_RPS("10")},
		{"ECS_TASK_METADATA_RPS_LIMIT", "10,20,30", "rps_burst", "60", BAD_RPS("10,20,30")},
		{"ECS_TASK_METADATA_RPS_LIMIT", "10,x", "rps_steady", "40", BAD_RPS("10,x")},
		{"ECS_TASK_METADATA_RPS_LIMIT", "0,20", "rps_burst", "60", BAD_RPS("0,20")},
		{"ECS_DYNAMIC_HOST_PORT_RANGE", "100-200", "port_first", "100", NULL},
		{"ECS_DYNAMIC_HOST_PORT_RANGE", "100-200", "port_last", "200", NULL},
		{"ECS_DYNAMIC_HOST_PORT_RANGE", "100", "port_last", "100", NULL},
	};
	check_all(table, ARRAY_SIZE(table));

	static const char *const bad[] = {"200-100", "x", "1-", "-5", "1-2-3", "65535-65536", "1 - 2"};
	struct config config, untouched;
	struct error err;
	set_env("UNUSED", "");
	assert_int_equal(config_load(&untouched, get, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *warnings;
		set_env("ECS_DYNAMIC_HOST_PORT_RANGE", bad[i]);
		assert_int_equal(load(&config, &warnings, &err), 0);
		_cleanup_free_ char *expected =
			xasprintf("Invalid dynamicHostPortRange value from config: \"%s\" is not a range of "
				  "ports like 49153-65535 (ECS_DYNAMIC_HOST_PORT_RANGE)",
				  bad[i]);
		assert_string_equal(warnings, expected);
		assert_int_equal(config.dynamic_port_first, untouched.dynamic_port_first);
		assert_int_equal(config.dynamic_port_last, untouched.dynamic_port_last);
		free(warnings);
		config_free(&config);
	}
	config_free(&untouched);
}

#define BAD_NATIVE(why)                                                                       \
	"Invalid format for \"ECS_NATIVE_LOGGING\"; expected a boolean or a JSON array like " \
	"[\"awslogs\",\"syslog\"]. err " why

static void native_logging(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_NATIVE_LOGGING", "", "native_logging", "7", NULL},
		{"ECS_NATIVE_LOGGING", " true ", "native_logging", "7", NULL},
		{"ECS_NATIVE_LOGGING", "False", "native_logging", "0", NULL},
		{"ECS_NATIVE_LOGGING", "[]", "native_logging", "0", NULL},
		{"ECS_NATIVE_LOGGING", "[\"awslogs\"]", "native_logging", "1", NULL},
		{"ECS_NATIVE_LOGGING", " [\"syslog\", \"fluentd\"]", "native_logging", "6", NULL},
		{"ECS_NATIVE_LOGGING", "[\"awslogs\",\"gelf\"]", "native_logging", "7",
		 BAD_NATIVE("\"gelf\" is none of awslogs, fluentd, syslog")},
		{"ECS_NATIVE_LOGGING", "[5]", "native_logging", "7", BAD_NATIVE("5 is not a string")},
		{"ECS_NATIVE_LOGGING", "yes", "native_logging", "7", BAD_NATIVE("unexpected character")},
	};
	check_all(table, ARRAY_SIZE(table));
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),          cmocka_unit_test(texts),     cmocka_unit_test(booleans),
		cmocka_unit_test(native_logging),    cmocka_unit_test(durations), cmocka_unit_test(go_durations),
		cmocka_unit_test(numbers_and_lists), cmocka_unit_test(words),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}

int main(void)
{
	return run_with_log(run);
}
