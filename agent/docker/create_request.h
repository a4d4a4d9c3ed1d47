// From a task's container to Docker's create request (docker-mapping.md §4-17): pure, no I/O.
//
// The payload's own dockerConfig.config and hostConfig are laid over what the agent fills in, by the
// rules of docker-mapping.md §5; every member of Docker's structures passes through.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "engine/task.h"

struct log_defaults;
struct create_context {
	const char *cluster, *region;
	const struct json_strings *image_env; // ENV of the image (KEY=VALUE), may be NULL
	bool task_iam_role;                   // inject AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
	const char *cgroup_parent;            // the task's own cgroup, or NULL; the payload's word does not count then
	bool cgroup_v2;                       // the host has cgroup v2 only: /sys/fs/cgroup/cgroup.controllers exists
	unsigned native_logging;              // LOG_DRIVER_BIT of drivers in whose place ecs-logd takes logs now
	const struct log_defaults *log_defaults; // the daemon's (log_config.h), NULL: none
};
// Returns the request body; caller releases it. On failure NULL: *name is "HostConfigError", "DockerClientConfigError" or,
// where Docker would have refused the container, "CannotCreateContainerError", and err the text.
json_object *create_request_build(const struct task *task, const struct container *container,
				  const struct create_context *context, const char **name, struct error *err);

// ecs-<family>-<version>-<filtered container name>-<20 hex>; caller frees (docker-mapping.md §10).
char *create_request_name(const struct task *task, const struct container *container);

// One label of ours on each container: what a rebuild of a lost database needs (task definition without
// environment values or secrets), see docs/ARCHITECTURE.md.
#define LABEL_ECSD "com.amazonaws.ecs.ecsd"
json_object *rebuild_label(const struct task *task, const struct container *container); // new reference
#define LABEL_TASK_ARN "com.amazonaws.ecs.task-arn"
#define LABEL_CONTAINER_NAME "com.amazonaws.ecs.container-name"
#define LABEL_FAMILY "com.amazonaws.ecs.task-definition-family"
#define LABEL_VERSION "com.amazonaws.ecs.task-definition-version"
#define LABEL_CLUSTER "com.amazonaws.ecs.cluster"
