// The end of a turn of the loop: decide, grant, commit, then effects (docs/ARCHITECTURE.md).

#include "engine/turn.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "engine/admit.h"
#include "engine/image_cycle.h"
#include "engine/task_cgroup.h"
#include "config/config.h"
#include "engine/pulls.h"
#include <malloc.h>

// --- decisions ---

void engine_update_known(struct engine *engine, struct entry *entry)
{
	struct task *task = entry->task;
	enum task_status known = reconcile_known_status(task);
	if (known <= task->known)
		return;
	log_info("task", "task=%s known=%s desired=%s", task->arn, task_status_name(known),
		 task_status_name(task->desired));
	task->known = known;
	task->known_ms = wall_ms();
	task->dirty = true;
	engine_record_task(engine, entry, known);
	engine_touch(entry);
}

static void apply(struct engine *engine, struct entry *entry, struct action *action)
{
	struct task *task = entry->task;
	struct container_ref *ref = &entry->refs[action->container];
	switch (action->kind) {
	case ACTION_TASK_STOP:
		engine_set_desired_stopped(task);
		break;
	case ACTION_TASK_KNOWN:
		engine_update_known(engine, entry);
		break;
	case ACTION_CONTAINER_STOP:
		ref_container(ref)->desired = CONTAINER_STOPPED;
		ref_container(ref)->dirty = true;
		break;
	case ACTION_CONTAINER_KNOWN:
		engine_advance(ref, action->container_status);
		break;
	case ACTION_CONTAINER_REFUSED:
		engine_fail_container(ref, "CannotStartContainerError", action->text);
		engine_advance(ref, CONTAINER_STOPPED);
		break;
	case ACTION_CONTAINER_NEVER:
		engine_fail_container(ref, "CannotStartContainerError", action->text);
		ref_container(ref)->has_exit_code = true;
		ref_container(ref)->exit_code = 143; // task-engine.md §7.5
		engine_advance(ref, CONTAINER_STOPPED);
		break;
	default:
		break;
	}
	entry->changed = true;
}

static void plan_add(struct plans *plans, struct container_ref *ref, enum operation operation)
{
	if (plans->count == plans->capacity) {
		plans->capacity = plans->capacity ? plans->capacity * 2 : 16;
		plans->items = xreallocarray(plans->items, plans->capacity, sizeof(*plans->items));
	}
	plans->items[plans->count++] = (struct plan){.ref = ref, .operation = operation};
}

static void decide(struct engine *engine, struct entry *entry, struct plans *plans)
{
	struct actions actions = {0};
	struct reconcile_env env = {
		.now = loop_now(engine->o.loop),
		.wall_ms = wall_ms(),
		.scale = loop_scale(engine->o.loop),
		.inspect_before_pull = engine->o.pull_behavior == PULL_PREFER_CACHED,
		.manifest_calls = docker_speaks(engine->o.docker, "1.35"),
		.cleanup_wait_ms = engine->o.cleanup_wait_ms,
		.cleanup_jitter_ms = engine->o.cleanup_jitter_ms,
		.cgroups = engine->cgroups != NULL,
	};
	bool decided;
	pulls_refresh_facts(engine, entry->task);
	do {
		reconcile(entry->task, &env, &actions);
		decided = actions.count > 0 && action_is_decision(&actions.items[0]);
		for (size_t i = 0; decided && i < actions.count; i++)
			apply(engine, entry, &actions.items[i]);
	} while (decided);
	entry->wake_at = 0;
	entry->waiting = false;
	for (size_t i = 0; i < actions.count; i++) {
		struct action *action = &actions.items[i];
		if (action->kind == ACTION_OPERATE)
			plan_add(plans, &entry->refs[action->container], action->operation);
		else if (action->kind == ACTION_REMOVE_CGROUP)
			entry->remove_cgroup = true;
		else if (action->kind == ACTION_FORGET && engine_keeps(entry))
			entry->wake_at = (env.now / ROLE_LOOK_MS + 1) * ROLE_LOOK_MS; // all of them at once
		else if (action->kind == ACTION_FORGET)
			entry->forget = true;
		else if (action->kind == ACTION_WAKE && (entry->wake_at == 0 || action->at < entry->wake_at))
			entry->wake_at = action->at;
	}
	actions_free(&actions);
}

static void decide_all(struct engine *engine, struct plans *plans)
{
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		if (entry->touched && !entry->refused) {
			entry->touched = false;
			decide(engine, entry, plans);
		}
	}
	// A task that stopped has freed what another one waits for.
	while (admit_queue(engine)) {
		for (size_t i = 0; i < engine->count; i++) {
			struct entry *entry = engine->entries[i];
			if (entry->admitted) {
				entry->admitted = entry->touched = false;
				decide(engine, entry, plans);
			}
		}
	}
}

// --- effects ---

static void leave_images(struct engine *engine, struct entry *entry)
{
	if (!entry->left_images)
		image_cycle_forgotten(engine->images, entry->task);
	entry->left_images = true;
}

static void forget_entries(struct engine *engine)
{
	for (size_t i = 0; i < engine->count;) {
		struct entry *entry = engine->entries[i];
		if (!entry->forget) {
			if (entry->kept)
				leave_images(engine, entry);
			i++;
			continue;
		}
		CRASH_POINT("clean-up.deleted");
		if (!entry->refused) {
			log_info("task cleaned up", "task=%s", entry->task->arn);
			engine->o.on_task_forgotten(entry->task, engine->o.arg);
			leave_images(engine, entry);
		}
		engine_remove(engine, entry);
	}
}

static void remove_cgroups(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->remove_cgroup)
			engine_remove_cgroup(engine, engine->entries[i]);
		engine->entries[i]->remove_cgroup = false;
	}
}

static void notify(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		if (entry->changed && !entry->refused)
			engine->o.on_task_changed(entry->task, engine->o.arg);
		entry->changed = false;
		if (entry->notify)
			engine->o.on_report(entry->task->arn, engine->o.arg);
		entry->notify = false;
		if (!entry->refused && !entry->told_stopped && entry->task->known == TASK_STOPPED) {
			entry->told_stopped = true;
			engine->o.on_task_stopped(entry->task, engine->o.arg);
		}
	}
}

static void run_after_commit(struct engine *engine)
{
	// A callback may add or cancel others.
	while (engine->after_count > 0) {
		struct after_commit first = engine->after[0];
		engine->after_count--;
		memmove(&engine->after[0], &engine->after[1], engine->after_count * sizeof(first));
		first.done(first.arg);
	}
}

static void plan_wake(struct engine *engine)
{
	uint64_t earliest = 0, now = loop_now(engine->o.loop);
	for (size_t i = 0; i < engine->count; i++) {
		uint64_t at = engine->entries[i]->wake_at;
		if (at && (earliest == 0 || at < earliest))
			earliest = at;
	}
	if (earliest)
		timer_start(&engine->wake, earliest > now ? earliest - now : 0);
	else
		timer_stop(&engine->wake);
}

void engine_wake_due(void *arg)
{
	struct engine *engine = arg;
	uint64_t now = loop_now(engine->o.loop);
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->wake_at && engine->entries[i]->wake_at <= now)
			engine->entries[i]->touched = true;
	}
}

// A burst leaves its memory in holes of the heap, which the C library keeps: here whole pages of it go back.
void engine_trim(void *arg)
{
	(void)arg;
	malloc_trim(0);
}

static bool anything_to_do(const struct engine *engine)
{
	if (engine->after_count > 0 || pulled_dirty(engine) || engine->rebuilt || image_cycle_dirty(engine->images))
		return true;
	for (size_t i = 0; i < engine->count; i++) {
		const struct entry *entry = engine->entries[i];
		if (entry->touched || entry->changed || entry->notify || turn_entry_dirty(entry))
			return true;
	}
	return false;
}

void engine_turn_end(void *arg)
{
	struct engine *engine = arg;
	if (engine->commit_failed || !anything_to_do(engine))
		return;
	struct plans plans = {0};
	if (engine->ready)
		decide_all(engine, &plans);
	if (plans.count > 0)
		turn_grant(engine, &plans);
	bool committed = turn_commit(engine);
	for (size_t i = 0; i < plans.count; i++) {
		if (!committed)
			engine_touch(plans.items[i].ref->entry); // planned again after the retry
		else if (plans.items[i].granted)
			engine_operate(plans.items[i].ref, plans.items[i].operation);
	}
	if (committed) {
		CRASH_POINT("effects.operations-begun");
		remove_cgroups(engine);
		notify(engine);
		CRASH_POINT("effects.told");
		run_after_commit(engine);
		forget_entries(engine);
	}
	plan_wake(engine);
	free(plans.items);
	timer_start(&engine->trim, TRIM_MS);
}
