#include "config/config.h"
#include "common/util.h"
#include "config/config_parse.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <strings.h>

#define NS_IN_MS 1000000
#define CLOCK_SCALE_MAX 100000.0

struct option;
struct load {
	struct config *config;
	struct error fatal; // texts of all fatal errors so far
};

// A parser writes the member only with something usable. It returns 0, or a negative errno with the text of the
// warning (or of the fatal error); the member then holds the fallback of the page.
struct type {
	const char *name;
	int (*parse)(const struct option *o, const char *text, void *member, struct error *err);
};

enum {
	KEEP_EMPTY = 1, // set to nothing is a value of its own
	FATAL = 2,      // a bad value ends the program
	TO_DEFAULT = 4, // a duration below the minimum becomes the default, not the minimum
};

struct option {
	const char *name;
	const struct type *type;
	size_t offset;
	const char *fallback; // default, in the variable's own syntax; "": nothing
	const char *help;
	int64_t min_ms; // durations
	unsigned flags;
};

static int parse_text(const struct option *o, const char *text, void *member, struct error *err);
static int parse_trimmed(const struct option *o, const char *text, void *member, struct error *err);
static int parse_bool(const struct option *o, const char *text, void *member, struct error *err);
static int parse_tristate(const struct option *o, const char *text, void *member, struct error *err);
static int parse_duration(const struct option *o, const char *text, void *member, struct error *err);
static int parse_memory(const struct option *o, const char *text, void *member, struct error *err);
static int parse_ports(const struct option *o, const char *text, void *member, struct error *err);
static int parse_drivers(const struct option *o, const char *text, void *member, struct error *err);
static int parse_map(const struct option *o, const char *text, void *member, struct error *err);
static int parse_level(const struct option *o, const char *text, void *member, struct error *err);
static int parse_format(const struct option *o, const char *text, void *member, struct error *err);
static int parse_pull(const struct option *o, const char *text, void *member, struct error *err);
static int parse_rps(const struct option *o, const char *text, void *member, struct error *err);
static int parse_range(const struct option *o, const char *text, void *member, struct error *err);
static int parse_docker(const struct option *o, const char *text, void *member, struct error *err);
static int parse_scale(const struct option *o, const char *text, void *member, struct error *err);

static const struct type TEXT = {"text", parse_text}, TRIMMED = {"text", parse_trimmed}, BOOL = {"boolean", parse_bool},
			 TRISTATE = {"boolean", parse_tristate}, DURATION = {"duration", parse_duration},
			 MEMORY = {"MiB", parse_memory}, PORTS = {"JSON list", parse_ports},
			 DRIVERS = {"JSON list", parse_drivers}, MAP = {"JSON object", parse_map},
			 LEVEL = {"level", parse_level}, FORMAT = {"logfmt|json", parse_format},
			 PULL = {"behavior", parse_pull}, RPS = {"steady,burst", parse_rps},
			 RANGE = {"first-last", parse_range}, DOCKER = {"URL", parse_docker},
			 SCALE = {"number", parse_scale};

// Defaults are the official package's on a host, with host paths where the agent in its container saw others
// (configuration.md §4, §6).
#define AT(member) offsetof(struct config, member)
static const struct option options[] = {
	{"ECS_CLUSTER", &TRIMMED, AT(cluster), "", "cluster to register into; default: \"default\", created if missing",
	 0, 0},
	{"AWS_DEFAULT_REGION", &TRIMMED, AT(region), "", "region; default: the instance's own", 0, 0},
	{"ECS_BACKEND_HOST", &TRIMMED, AT(backend_host), "", "endpoint of the ECS API; default: the region's", 0, 0},
	{"ECS_INSTANCE_ATTRIBUTES", &MAP, AT(instance_attributes), "", "attributes given at registration", 0, FATAL},
	{"ECS_CONTAINER_INSTANCE_TAGS", &MAP, AT(instance_tags), "", "tags given at registration", 0, FATAL},
	{"ECS_DETAILED_OS_FAMILY", &TEXT, AT(os_family), "LINUX", "operating system named in the User-Agent", 0,
	 KEEP_EMPTY},
	{"ECS_DATADIR", &TEXT, AT(data_dir), "/var/lib/ecs/data", "directory of saved state", 0, 0},
	{"ECSD_RUN_DIR", &TEXT, AT(run_dir), "/run/ecsd", "directory of sockets and pid files", 0, 0},
	{"ECS_CHECKPOINT", &TRISTATE, AT(checkpoint), "true", "save and restore state", 0, 0},
	{"ECS_LOGFILE", &TEXT, AT(log_file), "", "also log to this file", 0, 0},
	{"ECS_LOGLEVEL", &LEVEL, AT(log_level), "info", "crit, error, warn, info, debug or none", 0, 0},
	{"ECS_LOG_OUTPUT_FORMAT", &FORMAT, AT(log_json), "logfmt", "format of log lines", 0, 0},
	{"ECS_AUDIT_LOGFILE", &TEXT, AT(audit_log_file), "/var/log/ecs/audit.log", "log of credentials requests", 0, 0},
	{"ECS_AUDIT_LOGFILE_DISABLED", &BOOL, AT(audit_log_disabled), "false", "no such log", 0, 0},
	{"ECS_RESERVED_MEMORY", &MEMORY, AT(reserved_memory_mib), "0", "memory not offered to tasks", 0, 0},
	{"ECS_RESERVED_PORTS", &PORTS, AT(reserved_tcp), "[22,2375,2376,51678,51679]", "TCP ports not offered to tasks",
	 0, 0},
	{"ECS_RESERVED_PORTS_UDP", &PORTS, AT(reserved_udp), "[]", "UDP ports not offered to tasks", 0, 0},
	{"DOCKER_HOST", &DOCKER, AT(docker_host), "unix:///var/run/docker.sock", "Docker's socket", 0, FATAL},
	{"ECS_IMAGE_PULL_BEHAVIOR", &PULL, AT(pull_behavior), "default", "default, always, once or prefer-cached", 0,
	 0},
	{"ECS_CONTAINER_STOP_TIMEOUT", &DURATION, AT(container_stop_timeout_ms), "30s", "time to stop before SIGKILL",
	 1000, 0},
	{"ECS_CONTAINER_START_TIMEOUT", &DURATION, AT(container_start_timeout_ms), "3m", "limit of Docker's start",
	 45000, 0},
	{"ECS_CONTAINER_CREATE_TIMEOUT", &DURATION, AT(container_create_timeout_ms), "4m", "limit of Docker's create",
	 60000, 0},
	{"ECS_IMAGE_PULL_TIMEOUT", &DURATION, AT(image_pull_timeout_ms), "2h", "limit of a pull", 0, TO_DEFAULT},
	{"ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", &DURATION, AT(image_pull_inactivity_ms), "1m",
	 "longest pull without progress", 60000, 0},
	{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", &DURATION, AT(task_cleanup_wait_ms), "3h",
	 "time from a task's stop to the removal of its containers", 1000, TO_DEFAULT},
	{"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", &DURATION, AT(task_cleanup_jitter_ms), "0s",
	 "random addition to it", 0, TO_DEFAULT},
	{"ECS_DYNAMIC_HOST_PORT_RANGE", &RANGE, AT(dynamic_port_first), "",
	 "host ports given to tasks; default: the kernel's range", 0, 0},
	{"ECS_DISABLE_PRIVILEGED", &TRISTATE, AT(privileged_disabled), "false", "do not offer privileged containers", 0,
	 0},
	{"ECS_AVAILABLE_LOGGING_DRIVERS", &DRIVERS, AT(logging_drivers), "[\"json-file\",\"none\"]",
	 "log drivers offered to tasks", 0, 0},
	{"ECS_SELINUX_CAPABLE", &TRISTATE, AT(selinux_capable), "false", "offer SELinux options", 0, 0},
	{"ECS_APPARMOR_CAPABLE", &TRISTATE, AT(apparmor_capable), "false", "offer AppArmor options", 0, 0},
	{"ECS_EXCLUDE_IPV6_PORTBINDING", &TRISTATE, AT(exclude_ipv6_port_binding), "true",
	 "leave IPv6 bindings out of reports", 0, 0},
	{"ECS_ENABLE_TASK_IAM_ROLE", &TRISTATE, AT(task_iam_role), "true", "offer IAM roles for tasks", 0, 0},
	{"ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", &BOOL, AT(task_iam_role_network_host), "true",
	 "offer IAM roles for tasks on the host's network", 0, 0},
	{"ECS_TASK_METADATA_RPS_LIMIT", &RPS, AT(metadata_rps_steady), "40,60",
	 "requests a second of each task's endpoints", 0, 0},
	{"ECSD_CLOCK_SCALE", &SCALE, AT(clock_scale), "1", "for tests: timers run so many times faster", 0, 0},
};

// Variables of the official agent that would change what it does, and that ecsd does not act upon yet.
static const struct {
	const char *name, *value, *feature;
} not_built[] = {
	{"ECS_ENABLE_TASK_ENI", NULL, "network mode awsvpc"},
	{"ECS_ENABLE_GPU_SUPPORT", NULL, "GPU support"},
	{"ECS_ENABLE_SPOT_INSTANCE_DRAINING", NULL, "draining of Spot instances"},
	{"ECS_WARM_POOLS_CHECK", NULL, "waiting in a warm pool"},
	{"ECS_ENABLE_CONTAINER_METADATA", NULL, "the container metadata file"},
	{"ECS_ENABLE_PROMETHEUS_METRICS", NULL, "the Prometheus endpoint"},
	{"ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT", NULL, "pulling dependent containers first"},
	{"ECS_SHARED_VOLUME_MATCH_FULL_CONFIG", NULL, "matching of shared volumes"},
	{"ECS_GMSA_SUPPORTED", NULL, "gMSA"},
	{"ECS_ENABLE_INF_SUPPORT", NULL, "Inferentia support"},
	{"ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM", "ec2_instance", "taking over the instance's tags"},
	{"ECS_INSTANCE_IP_COMPATIBILITY", "ipv6", "an IPv6-only instance"},
	{"ECS_ENGINE_AUTH_TYPE", "*", "registry logins in the configuration"},
	{"ECS_TASK_PIDS_LIMIT", "*", "a limit of processes for each task"},
	{"ECS_AGENT_CONFIG_FILE_PATH", "*", "the JSON configuration file"},
};

static void load_option(struct load *load, const struct option *o, const char *text);
static void check_unsupported(struct load *load, const char *(*get)(const char *name));
static void add_fatal(struct load *load, const char *text);
static void warn(const char *variable, const char *text)
{
	log_warn("configuration", "variable=%s warning=%s", variable, text);
}

int config_load(struct config *config, const char *(*get)(const char *name), struct error *err)
{
	struct load load = {.config = config};

	*config = (struct config){0};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		load_option(&load, &options[i], get(options[i].name));
	check_unsupported(&load, get);
	if (!load.fatal.code)
		return 0;
	config_free(config);
	return error_set(err, EINVAL, "%s", load.fatal.message);
}

void config_free(struct config *config)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct type *type = options[i].type;
		void *member = (char *)config + options[i].offset;
		if (type == &TEXT || type == &TRIMMED || type == &MAP || type == &DOCKER)
			free(*(char **)member);
		else if (type == &PORTS || type == &DRIVERS)
			config_strings_free(member);
	}
	*config = (struct config){0};
}

void config_print_help(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		fprintf(out, "%-46s %-12s %-30s %s\n", options[i].name, options[i].type->name,
			*options[i].fallback ? options[i].fallback : "-", options[i].help);
}

static void load_option(struct load *load, const struct option *o, const char *text)
{
	void *member = (char *)load->config + o->offset;
	struct error err;

	if (o->type->parse(o, o->fallback, member, &err) < 0)
		abort(); // a mistake in the table
	if (!text || (!*text && !(o->flags & KEEP_EMPTY)))
		return;
	if (o->type->parse(o, text, member, &err) == 0)
		return;
	if (o->flags & FATAL || err.code == ENOTSUP)
		add_fatal(load, err.message);
	else
		warn(o->name, err.message);
}

static void add_fatal(struct load *load, const char *text)
{
	struct error before = load->fatal;

	if (before.code)
		error_set(&load->fatal, EINVAL, "%s; %s", before.message, text);
	else
		error_set(&load->fatal, EINVAL, "%s", text);
}

static void check_unsupported(struct load *load, const char *(*get)(const char *name))
{
	const char *external = get("ECS_EXTERNAL");
	struct error err;
	bool on;

	if (!str_empty(external)) {
		if (config_parse_bool(external, &on, &err) < 0) {
			_cleanup_free_ char *text = xasprintf(
				"Invalid format for \"ECS_EXTERNAL\", expected a boolean. err %s", err.message);
			warn("ECS_EXTERNAL", text);
		} else if (on) {
			add_fatal(load, "ECS_EXTERNAL=true: ECS Anywhere is not supported by this version of ecsd");
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(not_built); i++) {
		const char *value = get(not_built[i].name), *wanted = not_built[i].value;
		if (str_empty(value))
			continue;
		if (!wanted ? config_parse_bool(value, &on, NULL) == 0 && on
			    : *wanted == '*' || strcasecmp(value, wanted) == 0) {
			_cleanup_free_ char *text =
				xasprintf("%s=%s is ignored: %s is not supported by this version of ecsd",
					  not_built[i].name, value, not_built[i].feature);
			warn(not_built[i].name, text);
		}
	}
	for (size_t i = 0; i < load->config->logging_drivers.count; i++)
		if (strcmp(load->config->logging_drivers.items[i], "awsfirelens") == 0)
			warn("ECS_AVAILABLE_LOGGING_DRIVERS",
			     "awsfirelens: FireLens is not supported by this version of ecsd");
}

// --- types ---

static int parse_text(const struct option *o, const char *text, void *member, struct error *err)
{
	(void)o, (void)err;
	str_replace(member, text);
	return 0;
}

static int parse_trimmed(const struct option *o, const char *text, void *member, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(text);

	return parse_text(o, str_trim(copy), member, err);
}

static int parse_bool(const struct option *o, const char *text, void *member, struct error *err)
{
	struct error problem;

	if (config_parse_bool(text, member, &problem) == 0)
		return 0;
	return error_set(err, EINVAL, "Invalid format for \"%s\", expected a boolean. err %s", o->name,
			 problem.message);
}

// Some members of this kind are plain: the default is always known, so that there is no third state left.
static int parse_tristate(const struct option *o, const char *text, void *member, struct error *err)
{
	bool three = o->offset == AT(checkpoint) || o->offset == AT(exclude_ipv6_port_binding), value;
	int r = parse_bool(o, text, &value, err);

	if (r < 0)
		return r;
	if (three)
		*(enum tristate *)member = value ? YES : NO;
	else
		*(bool *)member = value;
	return 0;
}

// Zero counts as not set.
static int parse_duration(const struct option *o, const char *text, void *member, struct error *err)
{
	struct error problem;
	int64_t ns, default_ns = 0, min_ns = o->min_ms * NS_IN_MS;

	if (config_parse_duration(text, &ns, &problem) < 0)
		return error_set(err, EINVAL, "Could not parse duration value: %s for Environment Variable %s : %s",
				 text, o->name, problem.message);
	config_parse_duration(o->fallback, &default_ns, NULL);
	if (ns == 0)
		ns = default_ns;
	bool low = ns < min_ns;
	if (low)
		ns = o->flags & TO_DEFAULT ? default_ns : min_ns;
	// Rounded up: a positive time must not become "none".
	*(uint64_t *)member = (uint64_t)((ns / NS_IN_MS) + (ns % NS_IN_MS != 0));
	if (!low)
		return 0;
	_cleanup_free_ char *min = config_format_duration(min_ns), *used = config_format_duration(ns);
	return error_set(err, ERANGE, "%s=%s is less than the minimum of %s, %s is used", o->name, text, min, used);
}

static int parse_memory(const struct option *o, const char *text, void *member, struct error *err)
{
	uint64_t value;

	if (!isdigit((unsigned char)*text) || !parse_uint64(text, &value) || value > UINT16_MAX)
		return error_set(
			err, EINVAL,
			"Invalid format for \"%s\" environment variable; expected unsigned integer. err \"%s\" is "
			"not a number from 0 to 65535",
			o->name, text);
	*(int64_t *)member = (int64_t)value;
	return 0;
}

// An empty list leaves the default (configuration.md §10, 2); what could be read of a bad one counts.
static int parse_list(const struct option *o, const char *text, bool ports, const char *example, void *member,
		      struct error *err)
{
	struct json_strings *current = member, list;
	struct error problem;

	if (!*text || !text[strspn(text, " \t\r\n")])
		return 0;
	int r = config_parse_list(text, ports, &list, &problem);
	if (list.count > 0) {
		config_strings_free(current);
		*current = list;
	} else {
		config_strings_free(&list);
	}
	if (r == 0)
		return 0;
	return error_set(err, EINVAL,
			 "Invalid format for \"%s\" environment variable; expected a JSON array like %s. err %s",
			 o->name, example, problem.message);
}

static int parse_ports(const struct option *o, const char *text, void *member, struct error *err)
{
	return parse_list(o, text, true, "[1,2,3]", member, err);
}

static int parse_drivers(const struct option *o, const char *text, void *member, struct error *err)
{
	// control-plane.md §8.1, row 14
	static const char *const known[] = {"json-file", "syslog",     "journald",  "gelf", "fluentd",    "awslogs",
					    "splunk",    "logentries", "sumologic", "none", "awsfirelens"};
	struct buf unknown = {.max = 512};
	int r = parse_list(o, text, false, "[\"json-file\",\"syslog\"]", member, err);
	const struct json_strings *list = member;

	for (size_t i = 0; i < list->count; i++) {
		bool found = false;
		for (size_t j = 0; j < ARRAY_SIZE(known) && !found; j++)
			found = strcmp(list->items[i], known[j]) == 0;
		if (!found)
			buf_printf(&unknown, "%s%s", unknown.len ? ", " : "", list->items[i]);
	}
	if (unknown.len) // ENOTSUP: fatal, while bad JSON is not
		r = error_set(err, ENOTSUP, "Invalid logging drivers: %s", unknown.data);
	buf_free(&unknown);
	return r;
}

static int parse_map(const struct option *o, const char *text, void *member, struct error *err)
{
	struct error problem;

	if (!*text)
		return parse_text(o, text, member, err);
	if (config_parse_map(text, member, &problem) == 0)
		return 0;
	return error_set(err, EINVAL, "Invalid format for %s. Expected a json hash: %s", o->name, problem.message);
}

static int parse_level(const struct option *o, const char *text, void *member, struct error *err)
{
	if (strcasecmp(text, "none") == 0) {
		*(enum log_level *)member = LOG_CRITICAL; // the quietest we have
		return 0;
	}
	if (log_level_parse(text, member))
		return 0;
	return error_set(err, EINVAL, "%s=%s is not one of crit, error, warn, info, debug, none", o->name, text);
}

static int parse_format(const struct option *o, const char *text, void *member, struct error *err)
{
	*(bool *)member = strcmp(text, "json") == 0;
	if (*(bool *)member || strcmp(text, "logfmt") == 0)
		return 0;
	return error_set(err, EINVAL, "%s=%s is neither logfmt nor json", o->name, text);
}

static int parse_pull(const struct option *o, const char *text, void *member, struct error *err)
{
	static const char *const words[] = {[PULL_DEFAULT] = "default",
					    [PULL_ALWAYS] = "always",
					    [PULL_ONCE] = "once",
					    [PULL_PREFER_CACHED] = "prefer-cached"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i]) == 0) {
			*(enum pull_behavior *)member = (enum pull_behavior)i;
			return 0;
		}
	return error_set(err, EINVAL, "%s=%s is not one of default, always, once, prefer-cached", o->name, text);
}

static bool parse_rate(char *text, uint32_t *rate)
{
	int64_t value;

	if (!parse_int64(str_trim(text), &value) || value <= 0 || value > INT32_MAX)
		return false;
	*rate = (uint32_t)value;
	return true;
}

// Both members, or neither.
static int parse_rps(const struct option *o, const char *text, void *member, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(text);
	char *comma = strchr(copy, ',');
	uint32_t steady, burst, *members = member;

	_Static_assert(AT(metadata_rps_burst) == AT(metadata_rps_steady) + sizeof(uint32_t), "two in a row");
	if (comma)
		*comma++ = '\0';
	if (!comma || !parse_rate(copy, &steady) || !parse_rate(comma, &burst))
		return error_set(err, EINVAL, "%s=%s is not \"steady,burst\", two whole numbers above 0", o->name,
				 text);
	members[0] = steady;
	members[1] = burst;
	return 0;
}

// The default is the kernel's own range, else IANA's dynamic ports.
static int parse_range(const struct option *o, const char *text, void *member, struct error *err)
{
	uint16_t *members = member;
	struct error problem;

	_Static_assert(AT(dynamic_port_last) == AT(dynamic_port_first) + sizeof(uint16_t), "two in a row");
	if (!*text) {
		_cleanup_free_ char *kernel = read_file("/proc/sys/net/ipv4/ip_local_port_range", 64, NULL);
		unsigned first, last;
		bool good =
			kernel && sscanf(kernel, "%u %u", &first, &last) == 2 && first <= last && last <= UINT16_MAX;
		members[0] = good ? (uint16_t)first : 49153;
		members[1] = good ? (uint16_t)last : 65535;
		return 0;
	}
	if (config_parse_port_range(text, &members[0], &members[1], &problem) == 0)
		return 0;
	return error_set(err, EINVAL, "Invalid dynamicHostPortRange value from config: %s (%s)", problem.message,
			 o->name);
}

static int parse_docker(const struct option *o, const char *text, void *member, struct error *err)
{
	if (!str_starts(text, "unix:///"))
		return error_set(err, EINVAL, "%s=%s: only Unix sockets (unix:///path) are supported", o->name, text);
	return parse_text(o, text, member, err);
}

static int parse_scale(const struct option *o, const char *text, void *member, struct error *err)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value) || value <= 0 || value > CLOCK_SCALE_MAX)
		return error_set(err, EINVAL, "%s=%s is not a number above 0 and up to %.0f", o->name, text,
				 CLOCK_SCALE_MAX);
	*(double *)member = value;
	return 0;
}
