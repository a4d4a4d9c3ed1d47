#include "engine/engine_internal.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "cgroups/cgroups.h"
#include "docker/create_request.h"
#include "engine/admit.h"
#include "engine/image_cycle.h"
#include "engine/pulls.h"
#include "logd/logd.h"

// --- life ---

static void on_resync(void *arg);

struct engine *engine_new(const struct engine_options *options)
{
	struct engine *engine = xcalloc(1, sizeof(*engine));
	engine->o = *options;
	engine->o.cluster = xstrdup(options->cluster ? options->cluster : "");
	engine->o.region = xstrdup(options->region ? options->region : "");
	admit_totals(&engine->host, options->host_cpu, options->host_memory_mib, options->reserved_tcp,
		     options->reserved_udp);
	engine->images = image_cycle_new(engine, &options->images);
	timer_init(&engine->wake, options->loop, engine_wake_due, engine);
	timer_init(&engine->retry, options->loop, engine_retry_commit, engine);
	timer_init(&engine->resync, options->loop, on_resync, engine);
	timer_init(&engine->trim, options->loop, engine_trim, engine);
	loop_set_turn_end(options->loop, engine_turn_end, engine);
	return engine;
}

static void entry_free(struct entry *entry)
{
	for (size_t i = 0; entry->task && i < entry->task->container_count; i++) {
		struct container *c = &entry->task->containers[i];
		pulls_cancel_call(c);
		cgroups_call_cancel(c->cgroup_call);
		if (entry->engine->o.logd)
			logd_ask_cancel(entry->engine->o.logd, &entry->refs[i]);
		engine_release_process(c);
	}
	if (entry->task) {
		cgroups_call_cancel(entry->task->cgroup_call);
		docker_call_cancel(entry->task->volume_call);
	}
	for (size_t i = 0; i < entry->record_count; i++)
		record_done(&entry->records[i]);
	free(entry->records);
	free(entry->refs);
	free(entry->need.ports);
	free(entry->mark_refused);
	task_free(entry->task);
	free(entry);
}

struct engine *engine_free(struct engine *engine)
{
	if (!engine)
		return NULL;
	loop_set_turn_end(engine->o.loop, NULL, NULL);
	docker_events_stop(engine->o.docker);
	docker_call_cancel(engine->list_call);
	engine->images = image_cycle_free(engine->images);
	for (size_t i = 0; i < engine->count; i++)
		entry_free(engine->entries[i]);
	free(engine->entries);
	pulled_free(engine->pulled);
	free(engine->after);
	for (size_t i = 0; i < engine->lost_count; i++)
		task_free(engine->lost[i]);
	free(engine->lost);
	timer_done(&engine->wake);
	timer_done(&engine->retry);
	timer_done(&engine->resync);
	timer_done(&engine->trim);
	free((char *)engine->o.cluster);
	free((char *)engine->o.region);
	free(engine);
	return NULL;
}

void engine_set_cluster(struct engine *engine, const char *cluster)
{
	char *text = (char *)engine->o.cluster;
	str_replace(&text, cluster);
	engine->o.cluster = text;
}

// --- entries ---

struct entry *engine_entry(const struct engine *engine, const char *task_arn)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (str_equal(engine->entries[i]->task->arn, task_arn))
			return engine->entries[i];
	}
	return NULL;
}

struct entry *engine_insert(struct engine *engine, struct task *task)
{
	struct entry *entry = xcalloc(1, sizeof(*entry));
	entry->engine = engine;
	entry->task = task;
	entry->refs = xcalloc(task->container_count + 1, sizeof(*entry->refs));
	for (size_t i = 0; i < task->container_count; i++)
		entry->refs[i] = (struct container_ref){engine, entry, i};
	task->jitter = random_unit();
	admit_entry(entry);
	engine->entries = xreallocarray(engine->entries, engine->count + 1, sizeof(struct entry *));
	engine->entries[engine->count++] = entry;
	engine_touch(entry);
	return entry;
}

void engine_remove(struct engine *engine, struct entry *entry)
{
	size_t i = 0;
	while (engine->entries[i] != entry)
		i++;
	memmove(&engine->entries[i], &engine->entries[i + 1], (engine->count - i - 1) * sizeof(struct entry *));
	engine->count--;
	entry_free(entry);
}

void engine_touch(struct entry *entry)
{
	entry->touched = true;
	entry->changed = true;
}

void engine_touch_waiting(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->waiting)
			engine->entries[i]->touched = true;
	}
}

struct task *engine_task(const struct engine *engine, const char *task_arn)
{
	struct entry *entry = engine_entry(engine, task_arn);
	return entry && !entry->refused ? entry->task : NULL;
}

void engine_each_task(const struct engine *engine, void (*visit)(const struct task *task, void *arg), void *arg)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (!engine->entries[i]->refused)
			visit(engine->entries[i]->task, arg);
	}
}

bool engine_ready(const struct engine *engine)
{
	return engine->ready;
}

bool engine_accepts_tasks(const struct engine *engine)
{
	// Before a rebuild is complete, a task that seems new may be one that runs.
	return !store_disk_full(engine->o.store) && !engine->o.rebuild;
}

void engine_make_room(struct engine *engine)
{
	store_note_failure(engine->o.store, -ENOSPC);
	timer_start(&engine->retry, RETRY_COMMIT_MS);
}

// --- loading ---

static void loaded_task(struct task *task, void *arg)
{
	struct engine *engine = arg;
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		// What happened while ecsd was away only Docker knows.
		c->must_inspect = c->known != CONTAINER_STOPPED && (c->docker_id || c->docker_name);
		// A start call of the ecsd before may still be on its way through Docker.
		c->start_unknown = c->known == CONTAINER_CREATED && c->desired != CONTAINER_STOPPED;
		if (c->start_unknown)
			c->not_before = loop_now(engine->o.loop) + START_SETTLE_MS;
	}
	struct entry *entry = engine_insert(engine, task);
	entry->told_stopped = task->known == TASK_STOPPED;
}

static struct entry *insert_refused(struct engine *engine, const char *task_arn)
{
	struct task *task = task_new();
	task->arn = xstrdup(task_arn);
	struct entry *entry = engine_insert(engine, task);
	entry->refused = true;
	return entry;
}

static void loaded_transition(const struct transition *t, void *arg)
{
	struct engine *engine = arg;
	struct entry *entry = engine_entry(engine, t->task_arn);
	ssize_t index = -1;
	if (!entry) {
		if (t->container)
			return;
		entry = insert_refused(engine, t->task_arn);
	}
	if (t->container) {
		const struct container *c = task_container(entry->task, t->container);
		if (!c)
			return;
		index = c - entry->task->containers;
	}
	entry->records = xreallocarray(entry->records, entry->record_count + 1, sizeof(*entry->records));
	entry->records[entry->record_count++] = (struct record){.id = t->id,
								.container = index,
								.status = t->status,
								.reason = xstrdup(t->reason),
								.has_exit_code = t->has_exit_code,
								.exit_code = t->exit_code,
								.at_ms = t->at_ms,
								.stored = true};
	entry->task->unreported = true;
	entry->notify = true;
}

int engine_load(struct engine *engine, struct error *err)
{
	struct store_visitor visitor = {.task = loaded_task, .transition = loaded_transition, .arg = engine};
	int r = store_load(engine->o.store, &visitor, &engine->last_transition, &engine->last_sequence, err);
	if (r == 0)
		r = pulled_load(engine, err);
	if (r == 0)
		r = image_cycle_load(engine->images, err);
	CRASH_POINT("recovery.loaded");
	if (r == 0)
		log_info("state loaded", "tasks=%zu", engine->count);
	engine->rebuilt = !engine->o.rebuild && store_needs_rebuild(engine->o.store); // there is nothing to rebuild
	if (store_disk_full(engine->o.store))
		timer_start(&engine->retry, RETRY_COMMIT_MS); // room may come back before there is anything to write
	return r;
}

void engine_discard(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++)
		engine->entries[i]->forget = true;
	loop_wake(engine->o.loop);
}

// --- from the control plane ---

static void name_volumes(struct task *task)
{
	json_object *list = json_get(task->definition, "volumes");
	for (size_t i = 0; i < task->volume_count; i++) {
		struct volume *v = &task->volumes[i];
		if (v->docker_name || !str_empty(v->source_path))
			continue;
		char hex[21];
		random_hex(hex, 20);
		v->docker_name = xasprintf("ecs-%s-%s-%s-%s", task->family, task->version, v->name, hex);
		json_add_string(json_object_array_get_idx(list, i), "ecsdDockerName", v->docker_name);
	}
}

// A desired status only advances (task-engine.md §10).
static void raise_desired(struct engine *engine, struct entry *entry, enum task_status desired)
{
	struct task *task = entry->task;
	if (desired <= task->desired)
		return;
	if (desired == TASK_STOPPED) {
		engine_stop_task(engine, task->arn);
		return;
	}
	task->desired = desired;
	task->dirty = true;
	task_raise_desired(task);
	engine_touch(entry);
	loop_wake(engine->o.loop);
}

static void enter_cgroup(const struct engine *engine, struct task *task)
{
	task->in_cgroup = engine->limit_tasks;
	json_object_object_del(task->definition, "ecsdCgroup");
	if (task->in_cgroup)
		json_add_bool(task->definition, "ecsdCgroup", true);
	else if (task->cpu > 0 || task->memory > 0)
		log_warn("limits of tasks are off: the task's own cpu and memory are not applied", "task=%s",
			 task->arn);
}

void engine_add_task(struct engine *engine, struct task *task)
{
	struct entry *known = engine_entry(engine, task->arn);
	if (known) {
		if (!known->refused)
			raise_desired(engine, known, task->desired);
		task_free(task);
		return;
	}
	task->sequence = ++engine->last_sequence;
	task->dirty = true;
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].dirty = true;
	name_volumes(task);
	log_info("task accepted", "task=%s family=%s version=%s desired=%s containers=%zu", task->arn, task->family,
		 task->version, task_status_name(task->desired), task->container_count);
	enter_cgroup(engine, task);
	engine_insert(engine, task);
	loop_wake(engine->o.loop);
}

void engine_report_refused(struct engine *engine, const char *task_arn, const char *reason)
{
	struct entry *entry = engine_entry(engine, task_arn);
	log_error("task refused", "task=%s reason=%s", task_arn, reason);
	if (entry && (!entry->refused || entry->record_count > 0))
		return; // running under this ARN, or told already
	if (!entry)
		entry = insert_refused(engine, task_arn);
	str_replace(&entry->task->reason, reason);
	engine_record_task(engine, entry, TASK_STOPPED);
	loop_wake(engine->o.loop);
}

void engine_set_desired_stopped(struct task *task)
{
	task->desired = TASK_STOPPED;
	task->dirty = true;
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		if (c->desired != CONTAINER_STOPPED) {
			c->desired = CONTAINER_STOPPED;
			c->dirty = true;
		}
	}
}

bool engine_stop_task(struct engine *engine, const char *task_arn)
{
	struct entry *entry = engine_entry(engine, task_arn);
	if (!entry || entry->refused)
		return false;
	if (entry->task->desired != TASK_STOPPED) {
		log_info("task is to stop", "task=%s", task_arn);
		engine_set_desired_stopped(entry->task);
		engine_touch(entry);
		loop_wake(engine->o.loop);
	}
	return true;
}

bool engine_set_credentials_id(struct engine *engine, const char *task_arn, bool execution, const char *id)
{
	struct task *task = engine_task(engine, task_arn);
	if (!task)
		return false;
	char **member = execution ? &task->execution_credentials_id : &task->credentials_id;
	if (!str_equal(*member, id)) {
		str_replace(member, id);
		task->dirty = true;
		loop_wake(engine->o.loop);
	}
	if (execution) { // what waits for the role's credentials looks again
		engine_touch(engine_entry(engine, task_arn));
		loop_wake(engine->o.loop);
	}
	return true;
}

void engine_after_commit(struct engine *engine, void (*done)(void *arg), void *arg)
{
	engine->after = xreallocarray(engine->after, engine->after_count + 1, sizeof(*engine->after));
	engine->after[engine->after_count++] = (struct after_commit){done, arg};
	loop_wake(engine->o.loop);
}

void engine_after_commit_cancel(struct engine *engine, void *arg)
{
	size_t kept = 0;
	for (size_t i = 0; i < engine->after_count; i++) {
		if (engine->after[i].arg != arg)
			engine->after[kept++] = engine->after[i];
	}
	engine->after_count = kept;
}

// --- start ---

void engine_give_lost(struct engine *engine, struct task *task)
{
	engine->lost = xreallocarray(engine->lost, engine->lost_count + 1, sizeof(struct task *));
	engine->lost[engine->lost_count++] = task;
}

static void take_lost(struct engine *engine)
{
	for (size_t i = 0; i < engine->lost_count; i++) {
		struct task *task = engine->lost[i];
		if (engine_entry(engine, task->arn)) { // on disk before a kill in the middle of the rebuild
			task_free(task);
			continue;
		}
		task->sequence = ++engine->last_sequence;
		task->dirty = true;
		for (size_t k = 0; k < task->container_count; k++)
			task->containers[k].dirty = true;
		log_info("task found again in the official agent's state", "task=%s", task->arn);
		loaded_task(task, engine);
	}
	engine->lost_count = 0;
}

static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	struct engine *engine = arg;
	engine->list_call = NULL;
	if (err->failure != DOCKER_OK) {
		log_error("tasks cannot be rebuilt yet: Docker does not list containers", "error=%s", err->message);
		timer_start(&engine->resync, RETRY_LIST_MS);
		return;
	}
	take_lost(engine);
	engine_rebuild(engine, list, count);
	engine->o.rebuild = false;
	engine->rebuilt = true; // on disk together with the tasks
	engine_watch_docker(engine);
}

static void list_for_rebuild(struct engine *engine)
{
	if (!engine->list_call)
		engine->list_call = docker_list(engine->o.docker, LABEL_ECSD, on_list, engine);
}

static void on_resync(void *arg)
{
	struct engine *engine = arg;
	if (engine->o.rebuild)
		list_for_rebuild(engine);
	else
		engine_resync(engine);
}

void engine_start(struct engine *engine, void (*on_ready)(void *arg), void *arg)
{
	engine->on_ready = on_ready;
	engine->on_ready_arg = arg;
	if (engine->o.rebuild)
		list_for_rebuild(engine);
	else
		engine_watch_docker(engine);
}
