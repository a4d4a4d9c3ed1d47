// The configuration table: defaults, every type's good and bad values with their exact texts, fatal errors, help.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "common/util.h"
#include "config/config.h"
#include "config/config_parse.h"

#define ENV_MAX 8

static struct {
	const char *name, *value;
} env[ENV_MAX];
static char log_path[] = "/tmp/ecsd-test-config-XXXXXX";

static const char *get(const char *name)
{
	for (size_t i = 0; i < ENV_MAX && env[i].name; i++)
		if (strcmp(env[i].name, name) == 0)
			return env[i].value;
	return NULL;
}

static void set_env(const char *name, const char *value)
{
	memset(env, 0, sizeof(env));
	env[0].name = name;
	env[0].value = value;
}

// Loads with the one variable. The warnings logged go to *warnings, one a line.
static int load(struct config *config, char **warnings, struct error *err)
{
	struct buf out = {0};
	size_t len;

	assert_int_equal(truncate(log_path, 0), 0);
	int r = config_load(config, get, err);
	char *text = read_file(log_path, 65536, &len), *rest = text;
	assert_non_null(text);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line)
			continue;
		_cleanup_json_ json_object *entry = json_parse(line, strlen(line), NULL);
		assert_non_null(json_get_string(entry, "variable"));
		buf_printf(&out, "%s%s", out.len ? "\n" : "", json_get_string(entry, "warning"));
	}
	free(text);
	*warnings = buf_take(&out);
	return r;
}

// One number or text of a configuration, by name.
static char *show(const struct config *c, const char *member)
{
	const struct json_strings *list = NULL;
	const struct {
		const char *name, *value;
	} texts[] = {
		{"cluster", c->cluster},
		{"region", c->region},
		{"backend_host", c->backend_host},
		{"instance_attributes", c->instance_attributes},
		{"instance_tags", c->instance_tags},
		{"os_family", c->os_family},
		{"data_dir", c->data_dir},
		{"run_dir", c->run_dir},
		{"log_file", c->log_file},
		{"audit_log_file", c->audit_log_file},
		{"docker_host", c->docker_host},
	};
	const struct {
		const char *name;
		double value;
	} numbers[] = {
		{"checkpoint", c->checkpoint},
		{"log_level", c->log_level},
		{"log_json", c->log_json},
		{"audit_log_disabled", c->audit_log_disabled},
		{"reserved_memory", (double)c->reserved_memory_mib},
		{"pull_behavior", c->pull_behavior},
		{"stop_timeout", (double)c->container_stop_timeout_ms},
		{"start_timeout", (double)c->container_start_timeout_ms},
		{"create_timeout", (double)c->container_create_timeout_ms},
		{"pull_timeout", (double)c->image_pull_timeout_ms},
		{"pull_inactivity", (double)c->image_pull_inactivity_ms},
		{"cleanup_wait", (double)c->task_cleanup_wait_ms},
		{"cleanup_jitter", (double)c->task_cleanup_jitter_ms},
		{"port_first", c->dynamic_port_first},
		{"port_last", c->dynamic_port_last},
		{"privileged_disabled", c->privileged_disabled},
		{"selinux", c->selinux_capable},
		{"apparmor", c->apparmor_capable},
		{"exclude_ipv6", c->exclude_ipv6_port_binding},
		{"task_iam_role", c->task_iam_role},
		{"task_iam_role_network_host", c->task_iam_role_network_host},
		{"rps_steady", c->metadata_rps_steady},
		{"rps_burst", c->metadata_rps_burst},
		{"clock_scale", c->clock_scale},
		{"insecure", c->accept_insecure_cert},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, member) == 0)
			return xstrdup(texts[i].value);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(numbers[i].name, member) == 0)
			return xasprintf("%g", numbers[i].value);
	if (strcmp(member, "reserved_tcp") == 0)
		list = &c->reserved_tcp;
	else if (strcmp(member, "reserved_udp") == 0)
		list = &c->reserved_udp;
	else if (strcmp(member, "logging_drivers") == 0)
		list = &c->logging_drivers;
	else
		fail_msg("no member %s", member);
	struct buf out = {0};
	for (size_t i = 0; i < list->count; i++)
		buf_printf(&out, "%s%s", i ? " " : "", list->items[i]);
	return buf_take(&out);
}

struct expectation {
	const char *name, *value, *member, *result, *warning;
};

static void check(const struct expectation *e)
{
	struct config config;
	struct error err = {0};
	char *warnings;

	set_env(e->name, e->value);
	if (load(&config, &warnings, &err) < 0)
		fail_msg("%s=%s: %s", e->name, e->value, err.message);
	_cleanup_free_ char *actual = show(&config, e->member);
	if (strcmp(actual, e->result) != 0)
		fail_msg("%s=%s: %s is \"%s\", expected \"%s\"", e->name, e->value, e->member, actual, e->result);
	if (strcmp(warnings, e->warning ? e->warning : "") != 0)
		fail_msg("%s=%s\nwarned:   %s\nexpected: %s", e->name, e->value, warnings,
			 e->warning ? e->warning : "");
	free(warnings);
	config_free(&config);
}

static void check_all(const struct expectation *table, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(&table[i]);
}

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
		{"log_level", "1"},
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
		{"task_iam_role", "1"},
		{"task_iam_role_network_host", "1"},
		{"rps_steady", "40"},
		{"rps_burst", "60"},
		{"clock_scale", "1"},
		{"insecure", "0"},
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
		{"ECS_ENABLE_TASK_IAM_ROLE", "off", "task_iam_role", "1", BAD_BOOL("ECS_ENABLE_TASK_IAM_ROLE", "off")},
		{"ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "off", "task_iam_role_network_host", "1",
		 BAD_BOOL("ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "off")},
		{"ECS_EXTERNAL", "maybe", "cluster", "", BAD_BOOL("ECS_EXTERNAL", "maybe")},
		{"ECS_EXTERNAL", "false", "cluster", "", NULL},
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
		{"ECS_LOGLEVEL", "DEBUG", "log_level", "0", NULL},
		{"ECS_LOGLEVEL", "crit", "log_level", "4", NULL},
		{"ECS_LOGLEVEL", "none", "log_level", "4", NULL},
		{"ECS_LOGLEVEL", "loud", "log_level", "1",
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

static void fatal(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *text;
	} cases[] = {
		{"ECS_EXTERNAL", "true", "ECS_EXTERNAL=true: ECS Anywhere is not supported by this version of ecsd"},
		{"DOCKER_HOST", "tcp://127.0.0.1:2375",
		 "DOCKER_HOST=tcp://127.0.0.1:2375: only Unix sockets (unix:///path) are supported"},
		{"DOCKER_HOST", "/var/run/docker.sock",
		 "DOCKER_HOST=/var/run/docker.sock: only Unix sockets (unix:///path) are supported"},
		{"ECS_AVAILABLE_LOGGING_DRIVERS", "[\"json-file\",\"a\",\"b\"]", "Invalid logging drivers: a, b"},
		{"ECS_INSTANCE_ATTRIBUTES", "[]",
		 "Invalid format for ECS_INSTANCE_ATTRIBUTES. Expected a json hash: not a JSON object"},
		{"ECS_INSTANCE_ATTRIBUTES", "{\"a\":1}",
		 "Invalid format for ECS_INSTANCE_ATTRIBUTES. Expected a json hash: the value of \"a\" is not a "
		 "string"},
		{"ECS_CONTAINER_INSTANCE_TAGS", "\"a\"",
		 "Invalid format for ECS_CONTAINER_INSTANCE_TAGS. Expected a json hash: not a JSON object"},
	};
	struct config config;
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_env(cases[i].name, cases[i].value);
		assert_true(config_load(&config, get, &err) < 0);
		assert_string_equal(err.message, cases[i].text);
		assert_null(config.cluster);
	}
	static const char *const broken[] = {"{\"a\":\"b\"", "{'a':'b'}", "{\"a\":\"b\"} x", "a=b"};
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		set_env("ECS_INSTANCE_ATTRIBUTES", broken[i]);
		assert_true(config_load(&config, get, &err) < 0);
		assert_true(
			str_starts(err.message, "Invalid format for ECS_INSTANCE_ATTRIBUTES. Expected a json hash: "));
	}
	// Several at once are joined.
	set_env("ECS_EXTERNAL", "1");
	env[1].name = "DOCKER_HOST";
	env[1].value = "tcp://x";
	assert_true(config_load(&config, get, &err) < 0);
	assert_string_equal(err.message, "DOCKER_HOST=tcp://x: only Unix sockets (unix:///path) are supported; "
					 "ECS_EXTERNAL=true: ECS Anywhere is not supported by this version of ecsd");
}

static void not_built_is_said(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_ENABLE_TASK_ENI", "true", "cluster", "",
		 "ECS_ENABLE_TASK_ENI=true is ignored: network mode awsvpc is not supported by this version of ecsd"},
		{"ECS_ENABLE_TASK_ENI", "false", "cluster", "", NULL},
		{"ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM", "none", "cluster", "", NULL},
		{"ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM", "ec2_instance", "cluster", "",
		 "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM=ec2_instance is ignored: taking over the instance's tags "
		 "is not "
		 "supported by this version of ecsd"},
		{"ECS_ENGINE_AUTH_TYPE", "dockercfg", "cluster", "",
		 "ECS_ENGINE_AUTH_TYPE=dockercfg is ignored: registry logins in the configuration is not supported by "
		 "this "
		 "version of ecsd"},
	};
	check_all(table, ARRAY_SIZE(table));
}

static void help_names_every_variable(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len, lines = 0;
	FILE *out = open_memstream(&text, &len);

	config_print_help(out);
	fclose(out);
	for (char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 36);
	assert_non_null(strstr(text, "ECS_CONTAINER_STOP_TIMEOUT"));
	assert_non_null(strstr(text, "ECSD_CLOCK_SCALE"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(texts),
		cmocka_unit_test(booleans),
		cmocka_unit_test(durations),
		cmocka_unit_test(go_durations),
		cmocka_unit_test(numbers_and_lists),
		cmocka_unit_test(words),
		cmocka_unit_test(fatal),
		cmocka_unit_test(not_built_is_said),
		cmocka_unit_test(help_names_every_variable),
	};
	int fd = mkstemp(log_path);

	if (fd < 0)
		return 1;
	close(fd);
	struct error err;
	if (log_open(&(struct log_options){.level = LOG_WARN, .json = true, .path = log_path, .program = "test"},
		     &err) < 0)
		return 1;
	int failed = cmocka_run_group_tests_name("config", tests, NULL, NULL);
	log_close();
	unlink(log_path);
	return failed;
}
