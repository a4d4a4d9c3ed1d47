// reconcile(task): what to do next for a task, decided from facts alone. Pure: it changes nothing,
// calls nothing, and reads no clock; so a restart of ecsd, a restart of Docker and an ordinary step are
// the same code, and random sequences of events can be tested against it.
//
// Actions are either decisions, which the engine applies to the facts (it then asks again, until there
// are none), or operations on Docker, which it starts once the facts are on disk.
#pragma once

#include "engine/task.h"

struct reconcile_env {
	uint64_t now;             // loop time
	int64_t wall_ms;          // wall clock, for what is anchored to times that outlive the process
	double scale;             // loop milliseconds in a millisecond of wall clock
	bool inspect_before_pull; // pull behaviour prefer-cached: a local image spares the pull
	bool manifest_calls;      // the daemon can be asked for digests of images in registries
	uint64_t cleanup_wait_ms, cleanup_jitter_ms;
	bool cgroups; // tasks' cgroups can be removed on this host
};

enum action_kind {
	// decisions
	ACTION_TASK_STOP,       // desired status of the task and all its containers becomes STOPPED
	ACTION_TASK_KNOWN,      // known status of the task becomes task_status
	ACTION_CONTAINER_STOP,  // desired status of the container becomes STOPPED
	ACTION_CONTAINER_KNOWN, // known status of the container becomes container_status (nothing to do at Docker)
	ACTION_CONTAINER_NEVER, // a dependency can never be met: STOPPED, exit code 143, error CannotStartContainerError: text
	ACTION_CONTAINER_REFUSED, // ecsd does not launch it: STOPPED, error CannotStartContainerError: text
	// operations
	ACTION_OPERATE,       // operation on the container
	ACTION_REMOVE_CGROUP, // clean-up: the task's cgroup
	ACTION_WAKE,          // nothing now; look again at loop time `at`
	ACTION_FORGET,        // cleaned up: the task leaves memory and disk
};

struct action {
	enum action_kind kind;
	size_t container; // index
	enum task_status task_status;
	enum container_status container_status;
	enum operation operation;
	uint64_t at;
	char *text; // owned
};

struct actions {
	struct action *items;
	size_t count, capacity;
};

// Appends to out (emptied first). Decisions, if there are any, come alone: apply them and ask again.
void reconcile(const struct task *task, const struct reconcile_env *env, struct actions *out);
bool action_is_decision(const struct action *action);
void actions_clear(struct actions *actions);
void actions_free(struct actions *actions);

// The known status that the containers' statuses add up to (task-engine.md §5); never below the present one.
enum task_status reconcile_known_status(const struct task *task);
