#include "engine/task_cgroup.h"

#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>

#define REASON "CgroupError: Agent could not create task's platform resources" // user-visible-reasons.md §6
#define REMOVE_BACKOFF_MIN_MS 100 // the last process of a container may still be on its way out
#define REMOVE_BACKOFF_MAX_MS (60 * 1000)
#define REMOVE_ATTEMPTS 8 // of a removal that fails for another reason than "busy": some 15 s

struct cgroup_limits task_limits(const struct task *task, uint64_t cpu_period_us, uint64_t pids)
{
	struct cgroup_limits limits = {.pids = pids};
	if (task->cpu > 0) {
		cgroup_limits_cpu(&limits, task->cpu, cpu_period_us);
	} else {
		for (size_t i = 0; i < task->container_count; i++)
			cgroup_limits_add_shares(&limits, task->containers[i].cpu);
	}
	if (task->memory > 0)
		limits.memory_bytes = (uint64_t)task->memory << 20;
	return limits;
}

static struct cgroup_limits limits_of(const struct engine *engine, const struct task *task)
{
	return task_limits(task, engine->o.cgroup_cpu_period_us, engine->o.task_pids_limit);
}

// --- what is known at start ---

void engine_set_cgroups(struct engine *engine, struct cgroups *cgroups, bool limit_tasks)
{
	engine->cgroups = cgroups;
	engine->limit_tasks = cgroups && limit_tasks;
}

bool engine_limits_tasks(const struct engine *engine)
{
	return engine->limit_tasks;
}

size_t engine_tasks_without_limits(const struct engine *engine)
{
	size_t count = 0;
	for (size_t i = 0; i < engine->count; i++) {
		const struct entry *entry = engine->entries[i];
		count += !entry->refused && !entry->forget && !entry->task->in_cgroup &&
			 entry->task->known != TASK_STOPPED;
	}
	return count;
}

// --- before a container is created ---

char *engine_cgroup_parent(const struct engine *engine, const struct task *task)
{
	return task->in_cgroup && engine->cgroups ? cgroups_parent(engine->cgroups, task->id) : NULL;
}

struct cgroups_call *engine_make_cgroup(struct container_ref *ref, void (*done)(const struct error *err, void *arg))
{
	const struct task *task = ref->entry->task;
	struct cgroup_limits limits = limits_of(ref->engine, task);
	return ref->engine->cgroups ? cgroups_create(ref->engine->cgroups, task->id, &limits, done, ref) : NULL;
}

void engine_fail_cgroup(struct container_ref *ref, const char *why)
{
	struct task *task = ref->entry->task;
	log_error("the task's cgroup cannot be made", "task=%s error=%s", task->arn, why);
	if (!task->reason)
		str_replace(&task->reason, REASON);
	engine_set_desired_stopped(task);
	engine_touch(ref->entry);
}

// --- once a container runs ---

void engine_read_back_limits(struct entry *entry, const struct engine *engine)
{
	struct task *task = entry->task;
	struct error err = {0};
	// A watched task's limits are the official agent's, which did not count the containers it had made itself.
	if (!task->in_cgroup || task->limits_read_back || !engine->cgroups || task->watch_only)
		return;
	task->limits_read_back = true;
	struct cgroup_limits limits = limits_of(engine, task);
	if (cgroups_check(engine->cgroups, task->id, &limits, &err) < 0)
		log_error("a limit of the task is not in force", "task=%s error=%s", task->arn, err.message);
	else
		log_debug("the task's limits are in force", "task=%s", task->arn);
}

// --- clean-up ---

static void on_removed(const struct error *err, void *arg)
{
	struct entry *entry = arg;
	struct task *task = entry->task;
	CRASH_POINT("clean-up.cgroup-removed");
	task->cgroup_call = NULL;
	engine_touch(entry);
	if (!err) {
		task->cgroup_removed = true;
		return;
	}
	task->cgroup_failures++;
	if (err->code != EBUSY && task->cgroup_failures >= REMOVE_ATTEMPTS) {
		log_error("the task's cgroup cannot be removed; left alone", "task=%s error=%s", task->arn,
			  err->message);
		task->cgroup_removed = true;
		return;
	}
	if (task->cgroup_failures == 1)
		log_warn("the task's cgroup cannot be removed yet; trying again", "task=%s error=%s", task->arn,
			 err->message);
	struct backoff backoff = BACKOFF(REMOVE_BACKOFF_MIN_MS, REMOVE_BACKOFF_MAX_MS, 2, 0.2);
	uint64_t delay = 0;
	for (uint32_t i = 0; i < task->cgroup_failures && i < 64; i++)
		delay = backoff_next(&backoff);
	task->cgroup_not_before = loop_now(entry->engine->o.loop) + delay;
}

void engine_remove_cgroup(struct engine *engine, struct entry *entry)
{
	if (!entry->task->cgroup_call)
		entry->task->cgroup_call = cgroups_remove(engine->cgroups, entry->task->id, on_removed, entry);
}
