// What ecs-host is configured with: the environment, then the files that ECSD_CONFIG_FILES names (/etc/ecs/ecs.config, then
// /var/lib/ecs/ecs.config), read as ecsd reads them (config/config_files.h). cloud-init may write them after ecs-host has
// started, so `run` looks whether they have changed. ecs-init had these variables from its unit's EnvironmentFile, so quotes
// around a value are taken off, as systemd does it.
//
// ECS_EXTERNAL changes nothing here: ecs-init sets up an external instance in the same way.
#pragma once

#include "common/error.h"
#include "common/log.h"
#include "config/config_files.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct host_config {
	bool localhost_filter;     // off by ECS_SKIP_LOCALHOST_TRAFFIC_FILTER
	bool introspection_filter; // off by ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS
	bool block_imds;           // ECSD_BRIDGE_BLOCK_IMDS (ours)
	char *docker_socket;       // path, from DOCKER_HOST; NULL: that is no Unix socket, Docker is not asked
	enum log_level log_level;  // ECS_LOGLEVEL, default info
	bool log_json;             // ECS_LOG_OUTPUT_FORMAT
	double clock_scale;        // ECSD_CLOCK_SCALE (ours, tests): all timers run so many times faster
};

// get: getenv or the like. Values that are no good are warned about, and the default is used.
void host_config_load(struct host_config *config, const char *(*get)(const char *name));
void host_config_free(struct host_config *config);
void host_config_help(FILE *out);

// The files, and what they looked like when they were read.
struct host_config_files {
	struct config_files files;
	uint64_t seen;
};
void host_config_read(struct host_config_files *files, struct host_config *config); // at the start
// Reads them again if they have changed. True: what is to be set up has changed with them, and is in *config.
bool host_config_reread(struct host_config_files *files, struct host_config *config);
