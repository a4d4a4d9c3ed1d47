// Configuration: the ECS_* variables that users have in /etc/ecs/ecs.config, the JSON file and EC2 user data
// (configuration.md). One declarative table (options.c) names each variable once, with type, bounds, defaults,
// member, state and help line; it drives parsing, `ecsd -help-config`, dist/ecs.defaults and the check of
// docs/COMPATIBILITY.md.
//
// Precedence: environment, JSON file, user data, default; each fills only what is still empty.
// A bad value is warned about in words that name variable, value and expectation, and then the
// page's fallback is used; only where the page says so is it fatal.
//
// Defaults are the bare agent's; ecs.defaults has those of a packaged host. Paths as the official agent's
// container sees them (/data, /log) become the host's (/var/lib/ecs/data, /var/log/ecs).
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/log.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum pull_behavior { PULL_DEFAULT, PULL_ALWAYS, PULL_ONCE, PULL_PREFER_CACHED };

enum tristate { UNSET = -1, NO = 0, YES = 1 };

#define CONFIG_OPTIONS_MAX 256

struct config {
	// control plane
	char *cluster;             // ECS_CLUSTER, trimmed; "" when not configured (then "default" is used and created)
	char *region;              // AWS_DEFAULT_REGION; "" = ask IMDS
	char *backend_host;        // ECS_BACKEND_HOST, "" = the region's endpoint
	char *instance_attributes; // ECS_INSTANCE_ATTRIBUTES: JSON object of strings, validated; "" = none
	char *instance_tags;       // ECS_CONTAINER_INSTANCE_TAGS: the same
	char *os_family;           // ECS_DETAILED_OS_FAMILY, default LINUX; may be set empty
	char *rotating_credentials_file;    // ECSD_ROTATING_CREDENTIALS_FILE (ours): common/aws/credentials.h
	char *rotating_credentials_profile; // ECS_ALTERNATE_CREDENTIAL_PROFILE
	bool external;             // ECS_EXTERNAL: not in EC2, nobody asks IMDS; region is set then, and no_iid
	bool no_iid;               // JSON key NoIID: no identity document; the region comes from placement/region
	bool accept_insecure_cert; // -k
	bool updates_enabled;      // ECS_UPDATES_ENABLED

	// files
	char *config_file;     // ECS_AGENT_CONFIG_FILE_PATH
	char *data_dir;        // ECS_DATADIR, default /var/lib/ecs/data
	char *run_dir;         // ECSD_RUN_DIR (ours), default /run/ecsd: sockets and pid files
	char *endpoint_socket; // ECSD_ENDPOINT_SOCKET (ours): where a service manager runs ecs-endpoint; "": ecsd does
	enum tristate checkpoint; // ECS_CHECKPOINT, default: on (ecsd always has a data directory)
	char *audit_log_file;     // ECS_AUDIT_LOGFILE, default /var/log/ecs/audit.log
	bool audit_log_disabled;  // ECS_AUDIT_LOGFILE_DISABLED

	// the agent's own log
	char *log_file;                       // ECS_LOGFILE
	enum log_level log_level;             // ECS_LOGLEVEL, default info: standard error ("driver")
	enum log_level log_level_on_instance; // ECS_LOGLEVEL_ON_INSTANCE: the file; never unset after config_load
	char *log_driver;                     // ECS_LOG_DRIVER
	bool log_json;                        // ECS_LOG_OUTPUT_FORMAT=json
	struct log_roll log_roll;             // ECS_LOG_ROLLOVER_TYPE, ECS_LOG_MAX_FILE_SIZE_MB, ECS_LOG_MAX_ROLL_COUNT

	// resources
	int64_t reserved_memory_mib;      // ECS_RESERVED_MEMORY
	struct json_strings reserved_tcp; // ECS_RESERVED_PORTS as decimal texts, default 22 2375 2376 51678 51679
	struct json_strings reserved_udp; // ECS_RESERVED_PORTS_UDP
	bool prometheus_metrics;          // ECS_ENABLE_PROMETHEUS_METRICS: 51680 is in reserved_tcp

	// Docker and tasks
	char *docker_host;                // DOCKER_HOST, default unix:///var/run/docker.sock; only unix:// is accepted
	char *engine_auth_type;           // ECS_ENGINE_AUTH_TYPE, trimmed; "" = none
	char *engine_auth_data;           // ECS_ENGINE_AUTH_DATA, raw JSON, secret; "" = none
	enum pull_behavior pull_behavior; // ECS_IMAGE_PULL_BEHAVIOR
	bool pull_dependents_upfront;     // ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT
	uint64_t container_stop_timeout_ms;   // ECS_CONTAINER_STOP_TIMEOUT 30 s, minimum 1 s
	uint64_t container_start_timeout_ms;  // ECS_CONTAINER_START_TIMEOUT 3 min, minimum 45 s
	uint64_t container_create_timeout_ms; // ECS_CONTAINER_CREATE_TIMEOUT 4 min, minimum 1 min
	uint64_t image_pull_timeout_ms;       // ECS_IMAGE_PULL_TIMEOUT 2 h
	uint64_t image_pull_inactivity_ms;    // ECS_IMAGE_PULL_INACTIVITY_TIMEOUT 1 min, minimum 1 min
	uint64_t manifest_pull_timeout_ms;    // ECS_MANIFEST_PULL_TIMEOUT 1 min, minimum 30 s
	uint64_t task_cleanup_wait_ms;        // ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION 3 h, minimum 1 s
	uint64_t task_cleanup_jitter_ms;      // ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER 0
	uint16_t dynamic_port_first,
		dynamic_port_last;           // ECS_DYNAMIC_HOST_PORT_RANGE, else the kernel's, else 49153-65535
	bool privileged_disabled;            // ECS_DISABLE_PRIVILEGED
	struct json_strings logging_drivers; // ECS_AVAILABLE_LOGGING_DRIVERS, default ["json-file","none"]
	unsigned native_logging;     // ECS_NATIVE_LOGGING: LOG_DRIVER_BIT of each driver that ecs-logd takes over
	char *log_plugin_socket;     // ECSD_LOG_PLUGIN_SOCKET (ours)
	char *logd_socket;           // ECSD_LOGD_SOCKET (ours)
	char *docker_config_file;    // ECSD_DOCKER_CONFIG_FILE (ours), default /etc/docker/daemon.json
	bool awslogs_execution_role; // ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE
	bool logd_runs;              // no option: ecs-logd answered before registration (agent/logd)
	bool selinux_capable, apparmor_capable;
	enum tristate exclude_ipv6_port_binding; // ECS_EXCLUDE_IPV6_PORTBINDING, default true

	// task cgroups
	enum tristate task_cpu_mem_limit; // ECS_ENABLE_TASK_CPU_MEM_LIMIT; UNSET: on, if that is possible
	char *cgroup_path;                // ECS_CGROUP_PATH, default /sys/fs/cgroup
	uint64_t cgroup_cpu_period_us;    // ECS_CGROUP_CPU_PERIOD 100 ms, from 8 ms to 100 ms
	int64_t task_pids_limit;          // ECS_TASK_PIDS_LIMIT; 0: none
	bool propagate_memory_limit;      // ECS_PROPAGATE_TASK_MEMORY_LIMIT_CGROUPV2

	// image clean-up
	bool image_cleanup_disabled;                    // ECS_DISABLE_IMAGE_CLEANUP
	uint64_t image_cleanup_interval_ms;             // ECS_IMAGE_CLEANUP_INTERVAL 30 min, minimum 10 min
	uint64_t image_cleanup_age_ms;                  // ECS_IMAGE_MINIMUM_CLEANUP_AGE 1 h, since the pull
	uint64_t untracked_image_cleanup_age_ms;        // NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE 1 h, since it was made
	int64_t images_deleted_per_cycle;               // ECS_NUM_IMAGES_DELETE_PER_CYCLE 5, at least 1
	int64_t untracked_containers_deleted_per_cycle; // NONECS_NUM_CONTAINERS_DELETE_PER_CYCLE 5; negative: no limit
	struct json_strings image_cleanup_exclusions;   // ECS_EXCLUDE_UNTRACKED_IMAGE
	bool untracked_image_cleanup;                   // ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP
	// ECSD_IMAGE_DISK_HIGH_PERCENT, ..._LOW_PERCENT, ECSD_IMAGE_INODES_... (ours): use of Docker's file system above
	// which images are removed, and down to which. high 0: off; else 0 < low < high.
	int64_t image_disk_high_percent, image_disk_low_percent, image_inodes_high_percent, image_inodes_low_percent;

	// credentials endpoint
	bool task_iam_role;                               // ECS_ENABLE_TASK_IAM_ROLE
	bool task_iam_role_network_host;                  // ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST
	uint32_t metadata_rps_steady, metadata_rps_burst; // ECS_TASK_METADATA_RPS_LIMIT 40,60
	char *healthcheck_host;                           // ECS_AGENT_HEALTHCHECK_HOST, default localhost

	bool syscall_filter; // ECSD_SYSCALL_FILTER (ours): common/confine.h
	double clock_scale;  // ECSD_CLOCK_SCALE (ours, tests): all timers run so many times faster

	unsigned char given[CONFIG_OPTIONS_MAX]; // for each row of the table: whence the value; private to agent/config
};

// Reads the environment (getenv-like, so that tests can give their own) and the JSON file it names. Warnings are logged.
// Fatal errors as configuration.md §7: returns negative and fills err; the caller exits 1.
int config_load(struct config *config, const char *(*get)(const char *name), struct error *err);
// EC2 user data, once it is known: if the text is a JSON object with a member ECSAgentConfiguration, that fills what
// neither environment nor file gave. Anything else is no error. Fatal errors as above.
int config_merge_user_data(struct config *config, const char *text, struct error *err);
void config_free(struct config *config);

// The table for people: variable, type, default, packaged default if it differs, state, help.
void config_print_help(FILE *out);
// The same with tabs, one header line: name, type, bounds, default, packaged default, JSON key, state
// (works; later, warned; later; no effect), detail, help.
void config_print_tsv(FILE *out);
// dist/ecs.defaults: an environment file with what ecs-init would supply. What is not built yet is a comment.
void config_print_packaged_defaults(FILE *out);
// The manual page ecs.config(5), in the mdoc language.
void config_print_manual(FILE *out);
