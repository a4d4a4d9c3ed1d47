// One task as the official agent saved it (task-model.md §3, §4.6), and what it becomes here. Pure.
//
// A task that ecsd could have launched becomes one of ours, as if it had. One with a feature that ecsd refuses becomes
// watch-only (task.h): its definition keeps what watching, reporting, stopping and cleaning up need, and nothing
// that may hold a secret; the official agent saves values of secrets and of environment files in `environment`. Containers
// that it made itself (pause) are kept too, marked as internal, and stop after all others.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "engine/task.h"

struct official_task {
	struct task
		*task; // NULL: a task of the official agent's own (Service Connect relay, managed daemon), left alone
	enum task_status sent;
	enum container_status *containers_sent; // one for each container of the task
};

// object: a record from the bucket `tasks`. container_record gives a container's record from the bucket `containers` by its key
// (<task id>-<container name>), borrowed, or NULL: it counts instead of the copy in the task.
// watch: take it as watch-only whatever it has, with this as the feature; NULL: no.
// -EBADMSG: this is no record of a version that is known here; the text names the member.
int official_task_read(json_object *object, json_object *(*container_record)(const char *key, void *arg), void *arg,
		       const char *watch, struct official_task *out, struct error *err);
void official_task_free(struct official_task *task); // what it holds

struct transition;
// What ECS has not been told: containers first, in their order, then the task (state-changes.md §2.2, §2.3). id is to be
// set by the visitor. A negative result ends it and is returned.
int official_task_unsent(const struct official_task *task, int (*visit)(struct transition *transition, void *arg),
			 void *arg);
