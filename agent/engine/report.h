// A state change as ECS is told of it (state-changes.md §3): built from the unreported facts at the
// moment it is sent, so that it is never a stale copy.
#pragma once

#include "engine/task.h"

struct container_change {
	const char *name;
	enum container_status status;          // MANIFEST_PULLED, RUNNING or STOPPED
	const char *runtime_id, *image_digest; // NULL: unknown
	char *reason;                          // "<ErrorName>: <text>", NULL: none
	bool has_exit_code;
	int32_t exit_code;
	const struct port_binding *bindings;
	size_t binding_count;
};

struct state_change {
	const char *task_arn;
	enum task_status status;
	const char *reason; // "" if none
	struct container_change *containers;
	size_t container_count;                                         // oldest first; a container may appear twice
	int64_t pull_started_ms, pull_stopped_ms, execution_stopped_ms; // 0: not known
	int64_t last_transition; // all transitions of the task up to this row are in it
};
void state_change_free(struct state_change *change);

// Which known statuses ECS is told of, and the reason that a container's change has now (caller frees; NULL: none).
bool report_tells_task(const struct task *task, enum task_status status);
bool report_tells_container(const struct container *container, enum container_status status);
char *report_container_reason(const struct container *container);
