// Tasks and containers: what the control plane asked for (the definition, immutable, kept on disk as
// the payload's JSON) and what is known about it (the facts, kept on disk column by column).
//
// Names are ECS's: known status, desired status, sent (reported) status. Statuses only grow.
// This header is where agent/control and agent/engine meet; it knows neither Docker nor ACS.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// task-engine.md §2.1
enum container_status {
	CONTAINER_NONE,
	CONTAINER_MANIFEST_PULLED,
	CONTAINER_PULLED,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_RESOURCES_PROVISIONED,
	CONTAINER_STOPPED,
};
enum task_status { TASK_NONE, TASK_MANIFEST_PULLED, TASK_PULLED, TASK_CREATED, TASK_RUNNING, TASK_STOPPED };
enum container_health { CONTAINER_HEALTH_UNKNOWN, CONTAINER_HEALTHY, CONTAINER_UNHEALTHY };
enum depends_condition {
	DEPENDS_CREATE,
	DEPENDS_START,
	DEPENDS_COMPLETE,
	DEPENDS_SUCCESS,
	DEPENDS_HEALTHY,
	DEPENDS_INVALID
};

const char *container_status_name(enum container_status status); // "MANIFEST_PULLED"
const char *task_status_name(enum task_status status);
bool container_status_parse(const char *name, enum container_status *status);
bool task_status_parse(const char *name, enum task_status *status); // also UNKNOWN -> NONE, DEAD -> STOPPED
// What ECS is told: RUNNING, STOPPED, else PENDING (state-changes.md §2.5).
const char *task_status_wire(enum task_status status);
const char *container_status_wire(enum container_status status);
// Container known status -> its contribution to the task's (task-engine.md §2.2).
enum task_status task_status_of_container(enum container_status status);

// --- definition, decoded from the payload ---
struct depends_on {
	char *container;
	enum depends_condition condition;
};
struct port_mapping {
	uint16_t container_port, host_port;
	char *container_port_range;
	char *protocol; /* tcp, udp */
};
struct mount_point {
	char *source_volume, *container_path;
	bool read_only;
};
struct volumes_from {
	char *source_container;
	bool read_only;
};
struct volume {
	char *name;
	char *type; // "host" (also when absent), "docker", "efs", ...
	bool has_host;
	char *source_path; // host volumes; NULL or "": a task-scoped Docker volume
	bool removed;      // at clean-up
	char *docker_name; // of a task-scoped Docker volume, drawn when the task is accepted; NULL otherwise
};

// First error of a transition, kept for ever (task-engine.md §7.1); reported as "<name>: <text>".
struct container_error {
	char *name, *text;
};

struct port_binding {
	uint16_t container_port, host_port;
	char protocol[4];
	char bind_ip[46];
};

// How the agent logs in at the registry of a container's image (task-model.md §4.5).
struct registry_auth {
	enum registry_auth_type {
		REGISTRY_ENGINE, // the agent's own configuration
		REGISTRY_ECR,
		REGISTRY_ASM, // a secret in AWS Secrets Manager
	} type;
	bool missing; // the type's data is not in the payload
	bool use_execution_role;
	char *region, *registry_id, *endpoint_override, *secret;
};

enum operation {
	OP_NONE,
	OP_LOGIN,    // reads the registry's login from Secrets Manager
	OP_MANIFEST, // asks the registry for the image's digest
	OP_IMAGE_INSPECT,
	OP_PULL,
	OP_CREATE,
	OP_START,
	OP_STOP,
	OP_INSPECT,
	OP_REMOVE,
};
const char *operation_name(enum operation operation);

struct container {
	// definition
	char *name, *image, *container_arn;
	bool essential;
	bool internal;                            // made by the official agent itself (pause): ECS is never told of it
	uint32_t cpu, memory;                     // CPU units; MiB
	uint32_t start_timeout_s, stop_timeout_s; // 0: none / agent default
	struct json_strings command, entry_point, links;
	struct json_map environment;
	struct depends_on *depends_on;
	size_t depends_on_count; // declared, then those from volumesFrom and links
	struct port_mapping *ports;
	size_t port_count;
	struct mount_point *mounts;
	size_t mount_count;
	struct volumes_from *volumes_from;
	size_t volumes_from_count;
	bool health_check_docker;                 // healthCheckType is "docker"
	bool logs_by_execution_role;              // logsAuthStrategy is "ExecutionRole"
	char *docker_config, *docker_host_config; // JSON texts, NULL when absent
	char *docker_api_version;                 // dockerConfig.version
	struct registry_auth registry_auth;

	// facts, on disk
	enum container_status known, desired;
	char *docker_name;             // on disk before the first create call
	char *docker_id;               // NULL until Docker gave one
	char *image_id, *image_digest; // digest: "sha256:..." or NULL
	bool has_exit_code;
	int32_t exit_code;
	struct container_error error; // name NULL: none
	struct port_binding *bindings;
	size_t binding_count;
	uint16_t *host_ports; // for each port mapping the host port in effect (given or picked); 0: not picked yet
	int64_t created_ms, started_ms, finished_ms; // wall clock, 0: unknown
	uint32_t stop_attempts;                      // failed stop calls

	// facts, in memory
	enum container_health health; // last seen; asked of Docker again after a restart
	int64_t pid;
	int pidfd; // -1: none
	void *pidfd_watch;
	enum operation in_flight;       // at most one operation on a container
	uint64_t in_flight_since;       // loop time
	uint64_t not_before;            // loop time: no new operation before
	uint32_t conflicts;             // create calls in a row that were answered "name in use"
	bool checks_start;              // the inspect under way follows our own start: its event tells nothing new
	bool checks_stop;               // the inspect under way follows a stop that Docker says is done
	bool start_unknown;             // a start call had no answer: it may still take effect
	uint32_t failures;              // operations in a row of which nothing is known (time-out, no answer)
	bool looked_twice;              // at an exit that may have been for lack of memory
	bool exit_seen;                 // the pidfd said so; Docker has not yet
	bool must_inspect;              // something happened (event, process exit, unknown outcome): ask Docker
	bool pulled_before;             // pull behaviour once: the image has been pulled by this agent (pulled.h)
	char *registry_login;           // Docker's AuthConfig out of Secrets Manager, until the image is there; secret
	struct json_strings *image_env; // ENV of the image once it was inspected; NULL: not yet
	bool removed;                   // clean-up: Docker has no such container any more
	void *call;                     // the Docker call under way
	void *cgroup_call;              // of OP_CREATE: the task's cgroup is being made
	char *created_text, *started_text; // Docker's own time texts, for introspection
	struct {
		char *name, *source, *destination;
	} * docker_mounts;
	size_t docker_mount_count;
	bool dirty; // differs from its row on disk
};

struct task {
	// definition
	char *arn, *id, *family, *version;
	char *network_mode; // "", bridge, host, none
	char *service_name, *launch_type;
	double cpu;
	int64_t memory;            // vCPU, MiB; 0: no task-level limit
	char *pid_mode, *ipc_mode; // "" or host (pid), host/none (ipc)
	struct volume *volumes;
	size_t volume_count;
	struct container *containers;
	size_t container_count; // payload order
	bool in_cgroup;         // its containers have a parent cgroup of its own: limits were on when it was accepted
	// Taken over from the official agent (takeover/), with a feature that ecsd does not launch: which. What runs is watched
	// and stopped, nothing is started. NULL: of any other task.
	char *watch_only;
	json_object *definition; // payload object without credentials, until it is on disk; then only
	char *definition_text;   // its text, a tenth of the size: a new database may need it

	// facts, on disk
	uint64_t sequence; // order of acceptance
	enum task_status known, desired;
	char *credentials_id, *execution_credentials_id;
	char *reason;     // task reason for STOPPED, NULL: ""
	int64_t known_ms; // wall clock of the last change of known (anchors clean-up)
	int64_t pull_started_ms, pull_stopped_ms, execution_stopped_ms; // wall clock, 0: not known

	// facts, in memory
	bool stored; // its row is on disk
	bool dirty;
	bool role_known;            // the execution role's credentials are here (registry.h)
	bool unreported;            // has transitions ECS has not accepted
	double jitter;              // random share for the clean-up wait, drawn once
	bool limits_read_back;      // compared with the kernel's once a container runs
	bool cgroup_removed;        // clean-up: there is no such cgroup any more
	void *cgroup_call;          // the removal under way
	uint64_t cgroup_not_before; // loop time: no removal before
	uint32_t cgroup_failures;   // removals in a row that failed
	bool queued;                // waits for resources of the host: no step is taken for its containers (admit.h)
	bool cleanup_now;           // its containers go before the clean-up wait is over: room is needed
	void *volume_call;          // removal of a volume under way, at clean-up
};

struct task *task_new(void);
void task_raise_desired(struct task *task); // containers' desired statuses to what the task's demands
struct task *task_free(struct task *task);  // NULL is fine; returns NULL
void task_set_stored(struct task *task);    // its row is on disk, and its definition does not change any more
struct container *task_container(const struct task *task, const char *name); // NULL if there is none
void task_set_reason(struct task *task, const char *text);                   // first wins; as ECS users see it
void container_set_error(struct container *container, const char *name, const char *text); // first wins

// --- decoding (task_decode.c): pure ---
// The reasons are exactly those of user-visible-reasons.md §7.
enum task_refusal {
	TASK_ACCEPTED,
	TASK_INVALID, // "UnrecogniedTaskError: Error loading task - ..." (sic): reported STOPPED, payload not acknowledged
	TASK_UNPREPARED, // "resource cannot be initialized for task ...": reported STOPPED, acknowledged, not kept
	TASK_UNRESOLVED, // "Task dependencies cannot be resolved, taskArn: ...": reported STOPPED, acknowledged
};
// Decodes one task object of a payload (or of the store). On TASK_ACCEPTED *ret is a new task. Otherwise *reason
// (caller frees) is the task reason to report and *ret is NULL. Credentials in the object are ignored and never kept;
// the ids come from the caller. A feature that is not built yet (awsvpc, EFS, secrets, FireLens, ...) refuses the
// task as TASK_UNPREPARED with a text that names it; the list is in docs/COMPATIBILITY.md. task_limits: limits of tasks
// are on, and a task that contradicts itself in them is refused (false for a task that was accepted already).
enum task_refusal task_decode(json_object *object, bool task_limits, struct task **ret, char **reason);
// What of a task object this version does not launch: "network mode awsvpc", "secrets of container web". NULL: nothing, or the
// object does not decode. Caller frees.
char *task_decode_unsupported(json_object *object);
// ARN of a task object even if the rest does not decode; "" if none.
const char *task_decode_arn(json_object *object);
// Without role credentials' values: what may be on disk. New reference.
json_object *task_definition_for_disk(json_object *object);
