#include "logging/config.h"

#include "common/log.h"
#include "common/log_values.h"
#include "common/util.h"

#include <errno.h>
#include <stddef.h>

enum kind { TEXT, SIZE, PERCENT, DURATION, SCALE, BOOL, LEVEL, FORMAT };

static const char *const expected[] = {
	[TEXT] = "text",
	[SIZE] = "a size, as in 256m",
	[PERCENT] = "a number from 0 to 99",
	[DURATION] = "a duration, as in 1h30m",
	[SCALE] = "a number above 0",
	[BOOL] = "true or false",
	[LEVEL] = "debug, info, warn, error, crit or none",
	[FORMAT] = "logfmt or json",
};

static const struct option {
	const char *name, *standard;
	enum kind kind;
	size_t offset;
	const char *help;
} options[] = {
#define OPTION(name, standard, kind, member, help)                               \
	{                                                                        \
		name, standard, kind, offsetof(struct logd_config, member), help \
	}
	OPTION("ECS_LOGD_SPOOL_DIR", "/var/lib/ecs-logd", TEXT, spool_dir, "what waits for its destination"),
	OPTION("ECS_LOGD_RUN_DIR", "/run/ecs-logd", TEXT, run_dir, "which logs are read; to be kept over restarts"),
	OPTION("ECS_LOGD_LOGGING_DIR", "/run/docker/logging", TEXT, logging_dir, "Docker's log FIFOs"),
	OPTION("ECS_LOGD_PLUGIN_SOCKET", "/run/docker/plugins/ecslogs.sock", TEXT, plugin_socket,
	       "made unless a service manager hands one in; its name is the log driver's"),
	OPTION("ECS_LOGD_CONTROL_SOCKET", "/run/ecs/ecs-logd.sock", TEXT, control_socket, "for ecsd, likewise"),
	OPTION("ECS_LOGD_USER", "ecs-logd", TEXT, user, "who it becomes when started as root; nobody if there is none"),
	OPTION("ECS_LOGD_SHOWN", "/dev/log:/run/systemd/journal:/var/lib/ecs/data/firelens", TEXT, shown,
	       "directories and sockets that logs may go to and certificates be in, besides the system's"),
	OPTION("ECS_LOGD_CONTAINER_MAX", "256m", SIZE, container_bytes, "what a container's log may take on disk"),
	OPTION("ECS_LOGD_TOTAL_MAX", "4g", SIZE, total_bytes, "what all may take"),
	OPTION("ECS_LOGD_FREE_PERCENT", "10", PERCENT, free_percent, "of the file system, what stays free"),
	OPTION("ECS_LOGD_RETENTION", "336h", DURATION, retention_ms, "how long the rest of an ended log waits"),
	OPTION("ECS_LOGD_FLUSH", "10s", DURATION, flush_ms, "how long an orderly end may take to ship what there is"),
	OPTION("ECS_LOGD_NOTICES", "true", BOOL, notices,
	       "tell of dropped lines in their stream: \"ecs-logd: N lines dropped, ...\"; they are counted anyway"),
	OPTION("ECS_LOGD_SYSCALL_FILTER", "true", BOOL, syscall_filter, "refuse system calls it has no use for"),
	OPTION("ECS_LOGLEVEL", "info", LEVEL, log_level, "of its own log, on standard error"),
	OPTION("ECS_LOG_OUTPUT_FORMAT", "logfmt", FORMAT, log_json, "of its own log"),
	OPTION("ECSD_CLOCK_SCALE", "1", SCALE, clock_scale, "for tests: how much faster its clock runs"),
#undef OPTION
};

static bool parse_number(const struct option *option, const char *text, void *member)
{
	int64_t number;
	char *end;

	switch (option->kind) {
	case SIZE:
		if (!log_parse_size(text, &number))
			return false;
		*(uint64_t *)member = (uint64_t)number;
		return true;
	case DURATION:
		if (!log_parse_duration(text, &number) || number < 0)
			return false;
		*(uint64_t *)member = (uint64_t)number / 1000000;
		return true;
	case PERCENT:
		return parse_uint64(text, member) && *(uint64_t *)member < 100;
	case SCALE:
	default:
		*(double *)member = strtod(text, &end);
		return *text && !*end && *(double *)member > 0;
	}
}

static bool parse(const struct option *option, const char *text, struct logd_config *config)
{
	void *member = (char *)config + option->offset;

	switch (option->kind) {
	case TEXT:
		*(const char **)member = text;
		return true;
	case BOOL:
		return log_parse_bool(text, member);
	case LEVEL:
		return log_level_parse(text, member);
	case FORMAT:
		*(bool *)member = str_equal(text, "json");
		return *(bool *)member || str_equal(text, "logfmt");
	default:
		return parse_number(option, text, member);
	}
}

int logd_config_read(struct logd_config *config, struct error *err)
{
	*config = (struct logd_config){0};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *text = getenv(options[i].name);

		if (parse(&options[i], str_empty(text) ? options[i].standard : text, config))
			continue;
		error_set(err, EINVAL, "%s is \"%s\", %s was expected", options[i].name, text,
			  expected[options[i].kind]);
		// These are ecsd's too, in the same file, and no reason to leave containers without a reader.
		if (options[i].kind != LEVEL && options[i].kind != FORMAT)
			return -EINVAL;
		log_warn("configuration", "warning=%s", err->message);
		parse(&options[i], options[i].standard, config);
	}
	return 0;
}

void logd_config_help(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		printf("  %-24s %s\n  %-24s   %s; %s\n", options[i].name, options[i].help, "", options[i].standard,
		       expected[options[i].kind]);
}
