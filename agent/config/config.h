// Configuration: the ECS_* variables that users have in /etc/ecs/ecs.config, read from the
// environment (configuration.md). One declarative table (config.c) names each variable once, with
// type, bounds, default, member and help line; it drives parsing and `ecsd --help-config`.
//
// A bad value is warned about in words that name variable, value and expectation, and then the
// page's fallback is used; only where the page says so is it fatal.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/log.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum pull_behavior { PULL_DEFAULT, PULL_ALWAYS, PULL_ONCE, PULL_PREFER_CACHED };

enum tristate { UNSET = -1, NO = 0, YES = 1 };

struct config {
	// control plane
	char *cluster;             // ECS_CLUSTER, trimmed; "" when not configured (then "default" is used and created)
	char *region;              // AWS_DEFAULT_REGION; "" = ask IMDS
	char *backend_host;        // ECS_BACKEND_HOST, "" = the region's endpoint
	char *instance_attributes; // ECS_INSTANCE_ATTRIBUTES: JSON object of strings, validated; "" = none
	char *instance_tags;       // ECS_CONTAINER_INSTANCE_TAGS: the same
	char *os_family;           // ECS_DETAILED_OS_FAMILY, default LINUX; may be set empty
	bool accept_insecure_cert; // -k

	// files
	char *data_dir;           // ECS_DATADIR, default /var/lib/ecs/data
	char *run_dir;            // ECSD_RUN_DIR (ours), default /run/ecsd: sockets and pid files
	enum tristate checkpoint; // ECS_CHECKPOINT, default: on (ecsd always has a data directory)
	char *log_file;           // ECS_LOGFILE
	enum log_level log_level; // ECS_LOGLEVEL, default info
	bool log_json;            // ECS_LOG_OUTPUT_FORMAT=json
	char *audit_log_file;     // ECS_AUDIT_LOGFILE, default /var/log/ecs/audit.log
	bool audit_log_disabled;  // ECS_AUDIT_LOGFILE_DISABLED

	// resources
	int64_t reserved_memory_mib;      // ECS_RESERVED_MEMORY
	struct json_strings reserved_tcp; // ECS_RESERVED_PORTS as decimal texts, default 22 2375 2376 51678 51679
	struct json_strings reserved_udp; // ECS_RESERVED_PORTS_UDP

	// Docker and tasks
	char *docker_host;                // DOCKER_HOST, default unix:///var/run/docker.sock; only unix:// is accepted
	enum pull_behavior pull_behavior; // ECS_IMAGE_PULL_BEHAVIOR
	uint64_t container_stop_timeout_ms;   // ECS_CONTAINER_STOP_TIMEOUT 30 s, minimum 1 s
	uint64_t container_start_timeout_ms;  // ECS_CONTAINER_START_TIMEOUT 3 min, minimum 45 s
	uint64_t container_create_timeout_ms; // ECS_CONTAINER_CREATE_TIMEOUT 4 min, minimum 1 min
	uint64_t image_pull_timeout_ms;       // ECS_IMAGE_PULL_TIMEOUT 2 h
	uint64_t image_pull_inactivity_ms;    // ECS_IMAGE_PULL_INACTIVITY_TIMEOUT 1 min, minimum 1 min
	uint64_t task_cleanup_wait_ms;        // ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION 3 h, minimum 1 s
	uint64_t task_cleanup_jitter_ms;      // ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER 0
	uint16_t dynamic_port_first,
		dynamic_port_last;           // ECS_DYNAMIC_HOST_PORT_RANGE, else the kernel's, else 49153-65535
	bool privileged_disabled;            // ECS_DISABLE_PRIVILEGED
	struct json_strings logging_drivers; // ECS_AVAILABLE_LOGGING_DRIVERS, default ["json-file","none"]
	bool selinux_capable, apparmor_capable;
	enum tristate exclude_ipv6_port_binding; // ECS_EXCLUDE_IPV6_PORTBINDING, default true

	// credentials endpoint
	bool task_iam_role;                               // ECS_ENABLE_TASK_IAM_ROLE
	bool task_iam_role_network_host;                  // ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST
	uint32_t metadata_rps_steady, metadata_rps_burst; // ECS_TASK_METADATA_RPS_LIMIT 40,60

	double clock_scale; // ECSD_CLOCK_SCALE (ours, tests): all timers run so many times faster
};

// Reads the environment (getenv-like, so that tests can give their own). Warnings are logged.
// Fatal errors as configuration.md §7: returns negative and fills err; the caller exits 1.
int config_load(struct config *config, const char *(*get)(const char *name), struct error *err);
void config_free(struct config *config);
// Prints the table: name, type, default, help.
void config_print_help(FILE *out);
