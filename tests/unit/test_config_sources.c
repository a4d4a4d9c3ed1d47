// Where values come from: environment, JSON file, user data, defaults; fatal errors; variables without a feature.
#include "test_config.h"
#include "config/option.h"
#include <errno.h>
#include <strings.h>

// configuration.md §4 and §5, and ours; a new row changes these.
enum { VARIABLES = 175, JSON_KEYS = 94 };

static char file_path[] = "/tmp/ecsd-test-config-json-XXXXXX";

#define BAD_BOOL(name, value)                                                                          \
	"Invalid format for \"" name "\", expected a boolean. err strconv.ParseBool: parsing \"" value \
	"\": invalid syntax"

static void fatal(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *text;
	} cases[] = {
		{"ECS_EXTERNAL", "true", "AWS_DEFAULT_REGION has to be set when running on external capacity"},
		{"ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", "[\"10.0.0.0\"]",
		 "Invalid format for ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES, expected a json array of CIDRs: invalid CIDR "
		 "address: 10.0.0.0"},
		{"ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", "[1]",
		 "Invalid format for ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES, expected a json array of CIDRs: 1 is not a "
		 "string"},
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
	// Several at once are joined; an external instance without a region is said alone.
	set_env("ECS_AVAILABLE_LOGGING_DRIVERS", "[\"a\"]");
	add_env("DOCKER_HOST", "tcp://x");
	assert_true(config_load(&config, get, &err) < 0);
	assert_string_equal(err.message, "DOCKER_HOST=tcp://x: only Unix sockets (unix:///path) are supported; "
					 "Invalid logging drivers: a");
	add_env("ECS_EXTERNAL", "1");
	add_env("AWS_DEFAULT_REGION", " ");
	assert_true(config_load(&config, get, &err) < 0);
	assert_string_equal(err.message, cases[0].text);
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
		{"ECS_ENGINE_AUTH_TYPE", "dockercfg", "cluster", "", NULL},
		{"ECS_ENABLE_TASK_CPU_MEM_LIMIT", "true", "cpu_mem_limit", "1", NULL},
		{"ECS_ENABLE_TASK_CPU_MEM_LIMIT", "false", "cpu_mem_limit", "0", NULL},
		{"ECS_IMAGE_CLEANUP_INTERVAL", "1800s", "cleanup_interval", "1.8e+06", NULL},
		{"ECS_ENGINE_AUTH_DATA", "{\"r\":{\"auth\":\"x\"}}", "engine_auth_data", "{\"r\":{\"auth\":\"x\"}}",
		 NULL},
		{"ECS_INSTANCE_IP_COMPATIBILITY", "IPv6", "cluster", "",
		 "ECS_INSTANCE_IP_COMPATIBILITY=IPv6 is ignored: an IPv6-only instance is not supported by this "
		 "version "
		 "of ecsd"},
		{"ECS_ENABLE_RUNTIME_STATS", "yes", "cluster", "", BAD_BOOL("ECS_ENABLE_RUNTIME_STATS", "yes")},
		{"ECS_EBSTA_SUPPORTED", "true", "cluster", "", NULL},
		{"ECS_AGENT_RUN_PRIVILEGED", "nonsense", "cluster", "", NULL},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x", "cluster", "",
		 "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://x is ignored: credentials from an address is not supported "
		 "by this version of ecsd"},
	};
	check_all(table, ARRAY_SIZE(table));
}

#define IGNORED(text, feature) text " is ignored: " feature " is not supported by this version of ecsd"
#define CGROUPS "limits of tasks (cgroups)"

static void members_for_later(void **state)
{
	(void)state;
	static const struct expectation table[] = {
		{"ECS_IMAGE_CLEANUP_INTERVAL", "5m", "cleanup_interval", "1.8e+06",
		 "ECS_IMAGE_CLEANUP_INTERVAL=5m is less than the minimum of 10m0s, 30m0s is used"},
		{"ECS_IMAGE_MINIMUM_CLEANUP_AGE", "1m", "cleanup_age", "60000", NULL},
		{"NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE", "2m", "untracked_age", "120000", NULL},
		{"ECS_NUM_IMAGES_DELETE_PER_CYCLE", "9", "images_per_cycle", "9", NULL},
		{"ECS_NUM_IMAGES_DELETE_PER_CYCLE", "-1", "images_per_cycle", "5",
		 "ECS_NUM_IMAGES_DELETE_PER_CYCLE=-1 is not a whole number, 1 or more, 5 is used"},
		{"NONECS_NUM_CONTAINERS_DELETE_PER_CYCLE", "-1", "containers_per_cycle", "-1", NULL},
		{"NONECS_NUM_CONTAINERS_DELETE_PER_CYCLE", "x", "containers_per_cycle", "5",
		 "NONECS_NUM_CONTAINERS_DELETE_PER_CYCLE=x is not a whole number, 5 is used"},
		{"ECS_EXCLUDE_UNTRACKED_IMAGE", "a:1, b", "exclusions", "a:1  b", NULL},
		{"ECS_DISABLE_IMAGE_CLEANUP", "true", "cleanup_disabled", "1", NULL},
		{"ECSD_IMAGE_DISK_HIGH_PERCENT", "101", "disk_high", "0",
		 "ECSD_IMAGE_DISK_HIGH_PERCENT=101 is not a whole number, 0 to 100, 0 is used"},
		{"ECSD_IMAGE_INODES_LOW_PERCENT", "50", "inodes_low", "0",
		 "ECSD_IMAGE_INODES_HIGH_PERCENT=0 and "
		 "..._LOW_PERCENT=50: expected 0 < low < high, "
		 "both are taken as 0"},
		{"ECS_CGROUP_PATH", "/cg", "cgroup_path", "/cg", NULL},
		{"ECS_CGROUP_CPU_PERIOD", "8ms", "cpu_period", "8000", NULL},
		{"ECS_CGROUP_CPU_PERIOD", "7ms", "cpu_period", "100000",
		 "ECS_CGROUP_CPU_PERIOD=7ms is not within 8ms and 100ms, 100ms is used"},
		{"ECS_TASK_PIDS_LIMIT", " 100 ", "pids_limit", "100", NULL},
		{"ECS_TASK_PIDS_LIMIT", "4194305", "pids_limit", "0",
		 "ECS_TASK_PIDS_LIMIT=4194305 is not a whole number, 1 to 4194304, 0 is used"},
		{"ECS_TASK_PIDS_LIMIT", "0", "pids_limit", "0", NULL},
		{"ECS_PROPAGATE_TASK_MEMORY_LIMIT_CGROUPV2", "1", "propagate_memory", "1",
		 IGNORED("ECS_PROPAGATE_TASK_MEMORY_LIMIT_CGROUPV2=1", CGROUPS)},
		{"ECS_MANIFEST_PULL_TIMEOUT", "10s", "manifest_timeout", "30000",
		 "ECS_MANIFEST_PULL_TIMEOUT=10s is less than the minimum of 30s, 30s is used"},
		{"ECS_UPDATES_ENABLED", "true", "updates_enabled", "1",
		 IGNORED("ECS_UPDATES_ENABLED=true", "update by ECS")},
		{"ECS_ENABLE_PROMETHEUS_METRICS", "true", "reserved_tcp", "22 2375 2376 51678 51679 51680", NULL},
		{"ECS_LOG_ROLLOVER_TYPE", "none", "roll_type", "0", NULL},
		{"ECS_LOG_ROLLOVER_TYPE", "size", "roll_type", "1", NULL},
		{"ECS_LOG_ROLLOVER_TYPE", "Hourly", "roll_type", "2", NULL},
		{"ECS_LOG_MAX_FILE_SIZE_MB", "0.5", "roll_bytes", "500000", NULL},
		{"ECS_LOG_MAX_FILE_SIZE_MB", "-1", "roll_bytes", "5e+06",
		 "ECS_LOG_MAX_FILE_SIZE_MB=-1 is not a number of megabytes from 0.001 to 1000000, 5 is used"},
		{"ECS_LOG_MAX_ROLL_COUNT", "0", "roll_files", "0", NULL},
		{"ECS_LOG_MAX_ROLL_COUNT", "3x", "roll_files", "24",
		 "ECS_LOG_MAX_ROLL_COUNT=3x is not a whole number, 24 is used"},
		{"ECS_LOGLEVEL", "WARN", "level_on_instance", "3", NULL},
		{"ECS_LOGLEVEL_ON_INSTANCE", "none", "level_on_instance", "6", NULL},
		{"ECS_LOG_DRIVER", "awslogs", "level_on_instance", "6", NULL},
		// What the official agent's container calls /data and /log.
		{"ECS_DATADIR", "/data", "data_dir", "/var/lib/ecs/data", NULL},
		{"ECS_DATADIR", "/data/", "data_dir", "/var/lib/ecs/data", NULL},
		{"ECS_DATADIR", "/data/x/", "data_dir", "/var/lib/ecs/data/x/", NULL},
		{"ECS_DATADIR", "/database", "data_dir", "/database", NULL},
		{"ECS_LOGFILE", "/log/ecs-agent.log", "log_file", "/var/log/ecs/ecs-agent.log", NULL},
		{"ECS_AUDIT_LOGFILE", "/log/audit.log", "audit_log_file", "/var/log/ecs/audit.log", NULL},
	};
	check_all(table, ARRAY_SIZE(table));
}

// --- JSON ---

static void write_json(const char *text)
{
	FILE *file = fopen(file_path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	set_env("ECS_AGENT_CONFIG_FILE_PATH", file_path);
}

struct json_case {
	const char *json, *member, *result, *warning; // result NULL: warning is the fatal text
};

static void check_file(const struct json_case *c)
{
	struct config config;
	struct error err = {0};
	char *warnings;

	int r = load(&config, &warnings, &err);
	if (!c->result) {
		if (r == 0 || strcmp(err.message, c->warning) != 0)
			fail_msg("%s\nerror:    %s\nexpected: %s", c->json, r < 0 ? err.message : "none", c->warning);
		free(warnings);
		return;
	}
	if (r < 0)
		fail_msg("%s: %s", c->json, err.message);
	_cleanup_free_ char *actual = show(&config, c->member);
	if (strcmp(actual, c->result) != 0)
		fail_msg("%s: %s is \"%s\", expected \"%s\"", c->json, c->member, actual, c->result);
	if (strcmp(warnings, c->warning ? c->warning : "") != 0)
		fail_msg("%s\nwarned:   %s\nexpected: %s", c->json, warnings, c->warning ? c->warning : "");
	free(warnings);
	config_free(&config);
}

#define GO(value, field, type) "json: cannot unmarshal " value " into Go struct field Config." field " of type " type

static void json_file(void **state)
{
	(void)state;
	static const struct json_case table[] = {
		{"", "cluster", "", NULL},
		{" \n", "cluster", "", NULL},
		{"{}", "cluster", "", NULL},
		{"{\"Cluster\":\" lab \",\"Unknown\":[1]}", "cluster", "lab", NULL},
		{"{\"cLUSTER\":\"lab\"}", "cluster", "lab", NULL},
		{"{\"ClusterArn\":\"old\"}", "cluster", "old",
		 "Use of deprecated configuration key, err Please use Cluster instead"},
		{"{\"ClusterArn\":\"old\",\"Cluster\":\"new\"}", "cluster", "new", NULL},
		{"{\"Checkpoint\":false}", "checkpoint", "0", NULL},
		{"{\"Checkpoint\":1}", "checkpoint", "1", NULL},
		{"{\"Checkpoint\":null}", "checkpoint", "1", NULL},
		{"{\"TaskIAMRoleEnabled\":true}", "task_iam_role", "1", NULL},
		{"{\"TaskIAMRoleEnabledForNetworkHost\":true}", "task_iam_role_network_host", "1", NULL},
		{"{\"NoIID\":true}", "no_iid", "1", NULL},
		{"{\"ReservedMemory\":65535}", "reserved_memory", "65535", NULL},
		{"{\"ReservedPorts\":[22,80]}", "reserved_tcp", "22 80", NULL},
		{"{\"ReservedPorts\":[]}", "reserved_tcp", "22 2375 2376 51678 51679", NULL},
		{"{\"DataDir\":\"/data\"}", "data_dir", "/var/lib/ecs/data", NULL},
		{"{\"ImagePullBehavior\":3}", "pull_behavior", "3", NULL},
		{"{\"ImagePullBehavior\":4}", "pull_behavior", "0",
		 "ImagePullBehavior=4 is not one of default, always, once, prefer-cached"},
		{"{\"TaskMetadataSteadyStateRate\":7}", "rps_steady", "7", NULL},
		{"{\"TaskMetadataBurstRate\":9}", "rps_burst", "9", NULL},
		{"{\"TaskMetadataBurstRate\":-9}", "rps_burst", "60",
		 "TaskMetadataBurstRate=-9 is not a whole number above 0"},
		{"{\"InstanceAttributes\":{\"a\":\"b\"}}", "instance_attributes", "{\"a\":\"b\"}", NULL},
		{"{\"AvailableLoggingDrivers\":[\"syslog\"]}", "logging_drivers", "syslog", NULL},
		{"{\"ImageCleanupExclusionList\":[\"a\",\"b,c\"]}", "exclusions", "a b,c", NULL},
		{"{\"EngineAuthData\":{\"r\":{\"auth\":\"x\"}}}", "engine_auth_data", "{\"r\":{\"auth\":\"x\"}}", NULL},
		{"{\"DockerStopTimeout\":2000000000}", "stop_timeout", "2000", NULL},
		{"{\"ContainerCreateTimeout\":1500000000}", "create_timeout", "1500", NULL},
		{"{\"ImagePullInactivityTimeout\":1000000000}", "pull_inactivity", "60000",
		 "ImagePullInactivityTimeout=1s is less than the minimum of 1m0s, 1m0s is used"},
		{"{\"DynamicHostPortRange\":\"1-2\",\"CgroupCPUPeriod\":8000000}", "cpu_period", "100000", NULL},
		{"{\"TaskENIEnabled\":true}", "cluster", "", IGNORED("TaskENIEnabled=true", "network mode awsvpc")},
		{"{\"External\":true,\"AWSRegion\":\"us-west-2\"}", "external", "1", NULL},
		{"{\"External\":true,\"AWSRegion\":\"us-west-2\"}", "no_iid", "1", NULL},
		{"{\"External\":true,\"AWSRegion\":\" \"}", NULL, NULL,
		 "AWS_DEFAULT_REGION has to be set when running on external capacity"},
		{"{\"External\":\"true\"}", NULL, NULL, GO("string", "External", "bool")},
		{"{\"DockerStopTimeout\":999000000}", NULL, NULL,
		 "config: invalid value for docker container stop timeout: 999ms"},
		{"{\"ContainerStartTimeout\":44000000000}", NULL, NULL,
		 "config: invalid value for docker container start timeout: 44s"},
		{"{\"AvailableLoggingDrivers\":[\"a\",\"b\"]}", NULL, NULL, "Invalid logging drivers: a, b"},
		{"{\"Cluster\":5}", NULL, NULL, GO("number 5", "Cluster", "string")},
		{"{\"Checkpoint\":\"true\"}", NULL, NULL, GO("string", "Checkpoint", "bool")},
		{"{\"NoIID\":1}", NULL, NULL, GO("number 1", "NoIID", "bool")},
		{"{\"DockerStopTimeout\":\"30s\"}", NULL, NULL, GO("string", "DockerStopTimeout", "time.Duration")},
		{"{\"ReservedMemory\":65536}", NULL, NULL, GO("number 65536", "ReservedMemory", "uint16")},
		{"{\"ReservedPorts\":[\"22\"]}", NULL, NULL, GO("array", "ReservedPorts", "[]uint16")},
		{"{\"InstanceAttributes\":{\"a\":1}}", NULL, NULL,
		 GO("object", "InstanceAttributes", "map[string]string")},
		{"{\"PlatformVariables\":[]}", NULL, NULL, GO("array", "PlatformVariables", "struct")},
		{"[]", NULL, NULL, "json: cannot unmarshal a value that is no object into Go value of type Config"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		write_json(table[i].json);
		check_file(&table[i]);
	}

	// The JSON library's own words are in these, and the path's.
	struct config config;
	struct error err;
	char *warnings;
	static const char *const broken[] = {"{", "{\"Cluster\":\"a\"} x", "{'Cluster':'a'}", "Cluster=a"};
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		write_json(broken[i]);
		assert_true(load(&config, &warnings, &err) < 0);
		_cleanup_free_ char *expected = xasprintf("Error reading cfg json data, err %s", err.message);
		assert_string_equal(warnings, expected);
		free(warnings);
	}
	set_env("ECS_AGENT_CONFIG_FILE_PATH", "/tmp");
	assert_true(load(&config, &warnings, &err) < 0);
	assert_string_equal(err.message, "read /tmp: Is a directory");
	assert_string_equal(warnings, "Unable to read cfg file, err read /tmp: Is a directory");
	free(warnings);
	set_env("ECS_AGENT_CONFIG_FILE_PATH", "/no/such/file");
	assert_int_equal(load(&config, &warnings, &err), 0);
	assert_string_equal(warnings, "");
	free(warnings);
	config_free(&config);
}

static void precedence(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *file, *user_data, *member, *result;
	} table[] = {
		{"ECS_CLUSTER", "env", "{\"Cluster\":\"file\"}", "{\"Cluster\":\"ud\"}", "cluster", "env"},
		{"ECS_CLUSTER", " ", "{\"Cluster\":\"file\"}", "{\"Cluster\":\"ud\"}", "cluster", "file"},
		{"ECS_CLUSTER", "", "{\"Cluster\":\"\"}", "{\"Cluster\":\"ud\"}", "cluster", "ud"},
		{"ECS_CLUSTER", "", "{\"ClusterArn\":\"old\"}", "{\"Cluster\":\"ud\"}", "cluster", "old"},
		{"ECS_CLUSTER", "", "{}", "{\"ClusterArn\":\"ud\"}", "cluster", ""},
		{"ECS_CLUSTER", "env", "{\"ClusterArn\":\"old\"}", "{}", "cluster", "env"},
		{"AWS_DEFAULT_REGION", "", "{}", "{\"AWSRegion\":\"us-west-2\"}", "region", "us-west-2"},
		// Three-state: an explicit "off" wins. Plain: it does not.
		{"ECS_ENABLE_TASK_IAM_ROLE", "false", "{\"TaskIAMRoleEnabled\":true}", "{}", "task_iam_role", "0"},
		{"ECS_ENABLE_TASK_IAM_ROLE", "bad", "{\"TaskIAMRoleEnabled\":true}", "{}", "task_iam_role", "1"},
		{"ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", "false", "{\"TaskIAMRoleEnabledForNetworkHost\":true}", "{}",
		 "task_iam_role_network_host", "1"},
		{"ECS_AUDIT_LOGFILE_DISABLED", "", "{\"CredentialsAuditLogDisabled\":false}",
		 "{\"CredentialsAuditLogDisabled\":true}", "audit_log_disabled", "1"},
		{"ECS_CHECKPOINT", "", "{\"Checkpoint\":false}", "{\"Checkpoint\":true}", "checkpoint", "0"},
		{"ECS_EXTERNAL", "false", "{\"External\":true}", "{}", "external", "0"},
		{"AWS_DEFAULT_REGION", "us-west-2", "{}", "{\"External\":true}", "no_iid", "1"},
		// Zero is empty.
		{"ECS_RESERVED_MEMORY", "0", "{\"ReservedMemory\":8}", "{}", "reserved_memory", "8"},
		{"ECS_RESERVED_MEMORY", "x", "{\"ReservedMemory\":0}", "{\"ReservedMemory\":9}", "reserved_memory",
		 "9"},
		{"ECS_IMAGE_PULL_BEHAVIOR", "default", "{\"ImagePullBehavior\":1}", "{}", "pull_behavior", "1"},
		{"ECS_IMAGE_PULL_BEHAVIOR", "once", "{\"ImagePullBehavior\":1}", "{}", "pull_behavior", "2"},
		{"ECS_CONTAINER_STOP_TIMEOUT", "0s", "{\"DockerStopTimeout\":5000000000}", "{}", "stop_timeout",
		 "5000"},
		{"ECS_CONTAINER_STOP_TIMEOUT", "1ms", "{\"DockerStopTimeout\":5000000000}", "{}", "stop_timeout",
		 "1000"},
		{"ECS_RESERVED_PORTS", "[]", "{\"ReservedPorts\":[]}", "{\"ReservedPorts\":[1]}", "reserved_tcp", "1"},
		{"ECS_INSTANCE_ATTRIBUTES", "{}", "{\"InstanceAttributes\":{\"a\":\"b\"}}", "{}", "instance_attributes",
		 "{\"a\":\"b\"}"},
		{"ECS_TASK_METADATA_RPS_LIMIT", "1,2", "{\"TaskMetadataBurstRate\":9}", "{}", "rps_burst", "2"},
		{"ECS_ENABLE_PROMETHEUS_METRICS", "true", "{}", "{\"ReservedPorts\":[1]}", "reserved_tcp", "1 51680"},
		{"ECS_ENABLE_PROMETHEUS_METRICS", "", "{\"PrometheusMetricsEnabled\":true}", "{}", "prometheus", "0"},
		// A wrong type drops the whole user data.
		{"ECS_CLUSTER", "", "{}", "{\"Cluster\":\"ud\",\"NoIID\":5}", "cluster", ""},
		{"ECS_CLUSTER", "", "{}", "[\"Cluster\"]", "cluster", ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct config config;
		struct error err = {0};
		_cleanup_free_ char *user_data = xasprintf("{\"ECSAgentConfiguration\":%s}", table[i].user_data);
		write_json(table[i].file);
		add_env(table[i].name, table[i].value);
		if (config_load(&config, get, &err) < 0 || config_merge_user_data(&config, user_data, &err) < 0)
			fail_msg("case %zu: %s", i, err.message);
		_cleanup_free_ char *actual = show(&config, table[i].member);
		if (strcmp(actual, table[i].result) != 0)
			fail_msg("case %zu: %s is \"%s\", expected \"%s\"", i, table[i].member, actual,
				 table[i].result);
		config_free(&config);
	}

	static const char *const other[] = {"",
					    "#!/bin/sh\necho ECS_CLUSTER=x >> /etc/ecs/ecs.config",
					    "#cloud-config\n{}",
					    "[]",
					    "null",
					    "{\"Cluster\":\"x\"}",
					    "{\"ECSAgentConfiguration\":{}} x"};
	struct config config;
	struct error err;
	set_env("UNUSED", "");
	assert_int_equal(config_load(&config, get, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		assert_int_equal(config_merge_user_data(&config, other[i], &err), 0);
		assert_string_equal(config.cluster, "");
	}
	assert_true(config_merge_user_data(
			    &config, "{\"ECSAgentConfiguration\":{\"AvailableLoggingDrivers\":[\"zz\"]}}", &err) < 0);
	assert_string_equal(err.message, "Invalid logging drivers: zz");
	assert_true(config_merge_user_data(&config, "{\"ECSAgentConfiguration\":{\"External\":true}}", &err) < 0);
	assert_string_equal(err.message, "AWS_DEFAULT_REGION has to be set when running on external capacity");
	config_free(&config);
}

// --- the table itself ---

static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	print(out);
	fclose(out);
	return text;
}

static void table_is_sound(void **state)
{
	(void)state;
	size_t variables = 0, keys = 0;
	_cleanup_free_ char *help = printed(config_print_help), *tsv = printed(config_print_tsv);

	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		variables += !(o->flags & NO_VARIABLE);
		keys += o->json != NULL;
		if ((o->state == LATER || o->state == NO_EFFECT) && str_empty(o->detail))
			fail_msg("%s has no detail", o->name);
		if (o->state == WORKS && o->offset == NO_MEMBER && str_starts(o->name, "ECS_") &&
		    !str_starts(o->help, "ecs-host: ")) // another program's
			fail_msg("%s works without a member", o->name);
		for (size_t j = 0; j < i; j++)
			if (strcmp(o->name, config_options[j].name) == 0 ||
			    (o->json && config_options[j].json && strcasecmp(o->json, config_options[j].json) == 0))
				fail_msg("%s is there twice", o->name);
		if (!(o->flags & NO_VARIABLE) && !strstr(help, o->name))
			fail_msg("%s is not in the help", o->name);
		if (!strstr(tsv, o->json ? o->json : o->name))
			fail_msg("%s is not in the list", o->name);
	}
	assert_int_equal(keys, JSON_KEYS);
	assert_int_equal(variables, VARIABLES);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fatal),     cmocka_unit_test(not_built_is_said), cmocka_unit_test(members_for_later),
		cmocka_unit_test(json_file), cmocka_unit_test(precedence),        cmocka_unit_test(table_is_sound),
	};
	int fd = mkstemp(file_path);

	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests_name("config sources", tests, NULL, NULL);
	unlink(file_path);
	return failed;
}

int main(void)
{
	return run_with_log(run);
}
