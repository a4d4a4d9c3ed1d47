// The capability attributes of a registration: what ECS may place on this instance (control-plane.md §8).
// Only what is true today is announced; a row marked `later` becomes true with the feature it names.
#include "common/log_options.h"
#include "common/util.h"
#include "control/instance.h"
#include <stdio.h>

#define C "com.amazonaws.ecs.capability."
#define E "ecs.capability."

// Docker API 1.x versions the reference knows (§8 head).
enum { API_KNOWN_FIRST = 17, API_KNOWN_LAST = 44, API_ANY_OLDER = 24 };

struct facts {
	const struct config *config;
	int api_min, api_max; // 1.<n>, -1: unknown
	json_object *list;
};

static bool api(const struct facts *facts, int version);
static void add(const struct facts *facts, const char *name);
static void add_remote_api(const struct facts *facts, const char *prefix);
static void add_log_drivers(const struct facts *facts, const char *prefix);

static bool privileged(const struct facts *f)
{
	return !f->config->privileged_disabled;
}
static bool selinux(const struct facts *f)
{
	return f->config->selinux_capable;
}
static bool apparmor(const struct facts *f)
{
	return f->config->apparmor_capable;
}
static bool task_role(const struct facts *f)
{
	return f->config->task_iam_role && api(f, 19);
}
static bool ecr(const struct facts *f)
{
	return api(f, 19);
}
static bool task_role_host(const struct facts *f)
{
	return f->config->task_iam_role_network_host && api(f, 19);
}
// Docker's own driver gets those credentials only where the host's packet filter leads it to ecs-endpoint.
static bool execution_role_logs(const struct facts *f)
{
	return f->config->awslogs_execution_role && f->config->logd_runs &&
	       f->config->native_logging & LOG_DRIVER_BIT(LOG_AWSLOGS);
}
static bool external(const struct facts *f)
{
	return f->config->external;
}
static bool task_limits(const struct facts *f)
{
	return f->config->task_cpu_mem_limit == YES && api(f, 22);
}

// In the order of the page's table; `row` is its number there.
static const struct capability {
	int row;
	const char *name;
	bool (*when)(const struct facts *facts);                     // NULL: always
	void (*each)(const struct facts *facts, const char *prefix); // adds several names that start so
	bool later;                                                  // not built yet
	const char *condition;                                       // in words; NULL: always
	const char *refusal; // later: what a task that needs it is refused for till then (task_decode.c); NULL: nothing
} capabilities[] = {
	{1, E "private-registry-authentication.secretsmanager", .later = false},
	{2, E "secrets.ssm.environment-variables", .later = true, .refusal = "secrets"},
	{3, E "secrets.ssm.bootstrap.log-driver", .later = true, .refusal = "secrets"},
	{4, E "ecr-endpoint", .later = false},
	{5, E "secrets.asm.environment-variables", .later = true, .refusal = "secrets"},
	{6, E "secrets.asm.bootstrap.log-driver", .later = true, .refusal = "secrets"},
	{7, E "container-ordering", .later = false},
	{8, E "full-sync", .later = false},
	{9, E "env-files.s3", .later = true, .refusal = "environmentFiles"},
	{10, E "network.container-port-range", .later = true, .refusal = "containerPortRange"},
	{11, E "container-restart-policy", .later = true, .refusal = "restartPolicy"},
	{12, C "privileged-container", .when = privileged, .condition = "unless `ECS_DISABLE_PRIVILEGED`"},
	{13, C "docker-remote-api.", .each = add_remote_api,
	 .condition = "versions the daemon accepts, by the reference's rule"},
	{14, C "logging-driver.", .each = add_log_drivers,
	 .condition = "`ECS_AVAILABLE_LOGGING_DRIVERS` that Docker itself provides"},
	{15, C "selinux", .when = selinux, .condition = "`ECS_SELINUX_CAPABLE`"},
	{16, C "apparmor", .when = apparmor, .condition = "`ECS_APPARMOR_CAPABLE`"},
	{17, C "task-iam-role", .when = task_role, .condition = "`ECS_ENABLE_TASK_IAM_ROLE` and API 1.19"},
	{18, C "task-iam-role-network-host", .when = task_role_host,
	 .condition = "`ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST` and API 1.19"},
	{19, E "task-cpu-mem-limit", .when = task_limits,
	 .condition = "`ECS_ENABLE_TASK_CPU_MEM_LIMIT`, if the host can, and API 1.22"},
	{20, E "increased-task-cpu-limit", .when = task_limits, .condition = "as row 19"},
	{21, E "task-eni", .later = true, .condition = "not external; `ECS_ENABLE_TASK_ENI`",
	 .refusal = "network mode awsvpc"},
	{22, E "task-eni.ipv6", .later = true, .condition = "as row 21", .refusal = "network mode awsvpc"},
	{23, E "cni-plugin-version", .later = true, .condition = "as row 21, and CNI plugins answer"},
	{24, E "task-eni-block-instance-metadata", .later = true, .condition = "row 23 and `ECS_AWSVPC_BLOCK_IMDS`",
	 .refusal = "network mode awsvpc"},
	{25, E "task-eni-trunking", .later = true, .condition = "row 21 and `ECS_ENABLE_HIGH_DENSITY_ENI`",
	 .refusal = "network mode awsvpc"},
	{26, E "branch-cni-plugin-version", .later = true, .condition = "row 25, and CNI plugins answer"},
	{27, C "ecr-auth", .when = ecr, .condition = "API 1.19"},
	{28, E "execution-role-ecr-pull", .when = ecr, .condition = "API 1.19"},
	{29, E "container-health-check", .later = true,
	 .condition =
		 "API 1.24, unless `ECS_DISABLE_DOCKER_HEALTH_CHECK`"}, // health has to be reported through telemetry
	{30, E "execution-role-awslogs", .when = execution_role_logs,
	 .condition = "`ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE`, and ecs-logd takes awslogs"},
	{31, E "docker-plugin.local", .later = false}, // Docker's own volume driver
	{32, E "docker-plugin.<legacy plugin>", .later = true, .condition = "each legacy plugin",
	 .refusal = "volumes other than host volumes"},
	{33, E "docker-plugin.<managed plugin>", .later = true, .condition = "each managed volume plugin",
	 .refusal = "volumes other than host volumes"},
	{34, E "nvidia-driver-version.<version>", .later = true, .condition = "`ECS_ENABLE_GPU_SUPPORT` and a driver"},
	{35, E "gpu-driver-version", .later = true, .condition = "as row 34"},
	{36, E "pid-ipc-namespace-sharing", .later = true, .condition = "the pause image is loaded",
	 .refusal = "pidMode task, ipcMode task"},
	{37, E "aws-appmesh", .later = true, .condition = "not external"},
	{38, E "task-eia", .later = true, .condition = "not external"},
	{39, E "task-eia.optimized-cpu", .later = true, .condition = "not external; the CPU's flags"},
	{40, E "firelens.fluentd", .later = true, .refusal = "FireLens (firelensConfiguration)"},
	{41, E "firelens.fluentbit", .later = true, .refusal = "FireLens (firelensConfiguration)"},
	{42, C "logging-driver.awsfirelens", .later = true, .refusal = "log driver awsfirelens"},
	{43, E "logging-driver.awsfirelens.log-driver-buffer-limit", .later = true,
	 .refusal = "log driver awsfirelens"},
	{44, E "firelens.non-root-user", .later = true, .refusal = "FireLens (firelensConfiguration)"},
	{45, E "efs", .later = true, .refusal = "volumes other than host volumes"},
	{46, E "storage.s3-files", .later = true, .refusal = "S3 Files volumes"},
	{47, E "firelens.options.config.file", .later = true, .refusal = "FireLens (firelensConfiguration)"},
	{48, E "firelens.options.config.s3", .later = true, .refusal = "FireLens (firelensConfiguration)"},
	{49, E "gmsa", .later = true, .condition = "`ECS_GMSA_SUPPORTED` and its prerequisites",
	 .refusal = "gMSA (credentialSpecs)"},
	{50, E "gmsa-domainless", .later = true, .condition = "`ECS_GMSA_SUPPORTED` and its prerequisites",
	 .refusal = "gMSA (credentialSpecs)"},
	{51, E "<ECS_VOLUME_PLUGIN_CAPABILITIES>", .later = true,
	 .condition = "each of `ECS_VOLUME_PLUGIN_CAPABILITIES`", .refusal = "volumes other than host volumes"},
	{52, E "execute-command", .later = true, .condition = "the Exec agents are installed",
	 .refusal = "ECS Exec (managedAgents)"},
	{53, E "service-connect-v1", .later = true, .condition = "not external; the Service Connect image is loaded"},
	{54, E "storage.ebs-task-volume-attach", .later = true,
	 .condition = "not external; `ECS_EBSTA_SUPPORTED` and the EBS driver", .refusal = "EBS volumes"},
	{55, E "storage.ebsta-non-root-user", .later = true, .condition = "not external; `ECS_EBSTA_SUPPORTED`",
	 .refusal = "EBS volumes"},
	{56, E "external", .when = external, .condition = "`ECS_EXTERNAL`"},
	{57, E "fault-injection", .later = true, .condition = "not external; `iptables`, `tc`, `nsenter`, netem"},
	{58, E "ipv6-only", .later = true},
	{59, E "imds-iam-roles", .later = true, .condition = "JSON key `IMDSIAMRolesEnabled`"},
};

static int api_minor(const char *version)
{
	int64_t minor;

	return version && str_starts(version, "1.") && parse_int64(version + 2, &minor) && minor >= 0 && minor < 1000
		       ? (int)minor
		       : -1;
}

json_object *instance_capabilities(const struct config *config, const char *docker_api_min, const char *docker_api_max)
{
	struct facts facts = {.config = config,
			      .api_min = api_minor(docker_api_min),
			      .api_max = api_minor(docker_api_max),
			      .list = json_object_new_array()};

	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		const struct capability *row = &capabilities[i];

		if (row->later || (row->when && !row->when(&facts)))
			continue;
		if (row->each)
			row->each(&facts, row->name);
		else
			add(&facts, row->name);
	}
	return facts.list;
}

static void add(const struct facts *facts, const char *name)
{
	json_object *attribute = json_object_new_object();

	json_add_string(attribute, "name", name);
	json_object_array_add(facts->list, attribute);
}

// Whether API 1.<version> is in the supported set: what the daemon accepts, and, if it accepts nothing below 1.24, all
// older known versions too: a payload that names one of them is served in a newer one.
static bool api(const struct facts *facts, int version)
{
	if (version < API_KNOWN_FIRST || version > API_KNOWN_LAST || facts->api_min < 0 || facts->api_max < 0)
		return false;
	if (version >= facts->api_min && version <= facts->api_max)
		return true;
	return facts->api_min >= API_ANY_OLDER && version < facts->api_min;
}

static void add_remote_api(const struct facts *facts, const char *prefix)
{
	// Row 13: below 1.33, and not these three.
	for (int version = API_KNOWN_FIRST; version < 33; version++) {
		char name[64];

		if (version == 26 || version == 27 || version == 31 || !api(facts, version))
			continue;
		snprintf(name, sizeof(name), "%s1.%d", prefix, version);
		add(facts, name);
	}
}

static void add_log_drivers(const struct facts *facts, const char *prefix)
{
	static const struct {
		const char *name;
		int api;
	} drivers[] = {
		// Row 14.
		{"json-file", 18}, {"syslog", 18}, {"journald", 19},   {"gelf", 20},      {"fluentd", 20},
		{"awslogs", 21},   {"splunk", 22}, {"logentries", 25}, {"sumologic", 29}, {"none", 19},
	};

	for (size_t i = 0; i < facts->config->logging_drivers.count; i++) {
		const char *wanted = facts->config->logging_drivers.items[i];

		for (size_t k = 0; k < ARRAY_SIZE(drivers); k++) {
			if (strcmp(drivers[k].name, wanted) == 0 && api(facts, drivers[k].api)) {
				_cleanup_free_ char *name = xasprintf("%s%s", prefix, wanted);

				add(facts, name);
			}
		}
	}
}

void capabilities_print(FILE *out)
{
	fprintf(out, "row\tname\tstate\tcondition\trefused\n");
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		const struct capability *row = &capabilities[i];
		const char *more = row->each == add_remote_api ? "<version>" : row->each ? "<driver>" : "";
		fprintf(out, "%d\t%s%s\t%s\t%s\t%s\n", row->row, row->name, more, row->later ? "later" : "advertised",
			row->condition ? row->condition : "always", row->refusal ? row->refusal : "");
	}
}
