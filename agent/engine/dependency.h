// Container ordering (task-engine.md §6.2, §6.4): what dependsOn, volumesFrom and links demand of a
// container before it may go on, and what a stopping container waits for. Pure.
#pragma once

#include "engine/task.h"

// Every dependency names a container of the task and there is no cycle.
bool dependency_resolvable(const struct task *task);

enum dependency_verdict {
	DEPENDENCY_MET,
	DEPENDENCY_BLOCKED, // wait; *wake is the loop time at which to look again, 0 if an event will tell
	DEPENDENCY_FAILED,  // can never be met: text as user-visible-reasons.md §9
};
// now: wall clock, as a dependency's start timeout counts from Docker's start time; elapsed time is multiplied by scale.
enum dependency_verdict dependency_check(const struct task *task, const struct container *target, int64_t now_wall_ms,
					 double scale, int64_t *wake_in_ms, char **text);

// A container that is to stop waits until every container that depends on it is STOPPED.
bool dependency_may_stop(const struct task *task, const struct container *container);
