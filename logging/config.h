// The settings of ecs-logd: environment variables, in one table that parsing and --help are made from. Those that ecsd has too
// (ECS_LOGLEVEL, ECS_LOG_OUTPUT_FORMAT) mean the same.
#pragma once

#include "common/error.h"
#include "common/log.h"
#include <stdbool.h>
#include <stdint.h>

struct logd_config {
	const char *spool_dir, *run_dir, *logging_dir; // borrowed from the environment
	const char *plugin_socket, *control_socket, *user, *shown;
	uint64_t container_bytes, total_bytes, free_percent;
	uint64_t retention_ms, flush_ms;
	double clock_scale;
	bool notices, syscall_filter;
	enum log_level log_level;
	bool log_json;
};

// 0, or -EINVAL with the variable, its value and what was expected.
int logd_config_read(struct logd_config *config, struct error *err);
void logd_config_help(void); // on standard output
