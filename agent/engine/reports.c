#include "engine/engine_internal.h"

#include "common/log.h"
#include "common/util.h"

// --- recording ---

void record_done(struct record *record)
{
	free(record->reason);
}

static struct record *add_record(struct engine *engine, struct entry *entry)
{
	entry->records = xreallocarray(entry->records, entry->record_count + 1, sizeof(*entry->records));
	struct record *record = &entry->records[entry->record_count++];
	*record = (struct record){.id = ++engine->last_transition, .at_ms = wall_ms()};
	entry->task->unreported = true;
	entry->notify = true;
	return record;
}

static bool has_digest(const struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++) {
		if (task->containers[i].image_digest)
			return true;
	}
	return false;
}

// state-changes.md §2.3
bool report_tells_task(const struct task *task, enum task_status status)
{
	return status == TASK_RUNNING || status == TASK_STOPPED || (status == TASK_MANIFEST_PULLED && has_digest(task));
}

// state-changes.md §2.2
bool report_tells_container(const struct container *c, enum container_status status)
{
	if (c->internal)
		return false;
	return status == CONTAINER_RUNNING || status == CONTAINER_STOPPED ||
	       (status == CONTAINER_MANIFEST_PULLED && c->image_digest && !strchr(c->image, '@'));
}

char *report_container_reason(const struct container *c)
{
	return c->error.name ? xasprintf("%s: %s", c->error.name, c->error.text ? c->error.text : "") : NULL;
}

void engine_record_task(struct engine *engine, struct entry *entry, enum task_status status)
{
	if (!report_tells_task(entry->task, status))
		return;
	struct record *record = add_record(engine, entry);
	record->container = -1;
	record->status = (int)status;
	record->reason = status == TASK_STOPPED ? xstrdup(entry->task->reason) : NULL;
}

void engine_record_container(struct engine *engine, struct entry *entry, size_t index, enum container_status status)
{
	const struct container *c = &entry->task->containers[index];
	if (!report_tells_container(c, status))
		return;
	struct record *record = add_record(engine, entry);
	record->container = (ssize_t)index;
	record->status = (int)status;
	record->has_exit_code = c->has_exit_code;
	record->exit_code = c->exit_code;
	record->reason = report_container_reason(c);
}

// --- building ---

static void add_bindings(const struct engine *engine, const struct container *c, struct container_change *change)
{
	struct port_binding *bindings = xcalloc(c->binding_count + 1, sizeof(*bindings));
	size_t count = 0;
	for (size_t i = 0; i < c->binding_count; i++) {
		if (!engine->o.exclude_ipv6_bindings || !str_equal(c->bindings[i].bind_ip, "::"))
			bindings[count++] = c->bindings[i];
	}
	change->bindings = bindings;
	change->binding_count = count;
}

static void add_change(const struct engine *engine, const struct entry *entry, const struct record *record,
		       struct state_change *change)
{
	const struct container *c = &entry->task->containers[record->container];
	change->containers =
		xreallocarray(change->containers, change->container_count + 1, sizeof(*change->containers));
	struct container_change *to = &change->containers[change->container_count++];
	*to = (struct container_change){
		.name = c->name,
		.status = (enum container_status)record->status,
		.runtime_id = c->docker_id,
		.image_digest = c->image_digest,
		.reason = xstrdup(record->reason),
		.has_exit_code = record->has_exit_code,
		.exit_code = record->exit_code,
	};
	if (record->status != CONTAINER_MANIFEST_PULLED)
		add_bindings(engine, c, to);
}

// Index after the oldest unreported status of the task itself; 0 if there is none.
static size_t next_task_record(const struct entry *entry)
{
	for (size_t i = 0; i < entry->record_count && entry->records[i].stored; i++) {
		if (entry->records[i].container < 0)
			return i + 1;
	}
	return 0;
}

bool engine_next_report(struct engine *engine, const char *task_arn, bool batch, struct state_change *change)
{
	*change = (struct state_change){0};
	struct entry *entry = engine_entry(engine, task_arn);
	// While it is not on disk what ECS has accepted, a kill would have it told again, after whatever follows.
	if (!entry || entry->record_count == 0 || entry->mark_id)
		return false;
	struct task *task = entry->task;
	size_t end = next_task_record(entry);
	const struct record *last;
	if (end > 0) {
		last = &entry->records[end - 1];
		change->status = (enum task_status)last->status;
		change->reason = last->reason ? last->reason : "";
	} else if (batch && task->known < TASK_STOPPED && !task->dirty) {
		// Only containers changed: sent with whatever status the task has (state-changes.md §4.3).
		while (end < entry->record_count && entry->records[end].stored)
			end++;
		if (end == 0)
			return false;
		last = &entry->records[end - 1];
		change->status = task->known;
		change->reason = "";
	} else {
		return false;
	}
	change->task_arn = task->arn;
	change->last_transition = last->id;
	for (size_t i = 0; i < end; i++) {
		if (entry->records[i].container >= 0)
			add_change(engine, entry, &entry->records[i], change);
	}
	// PENDING speaks of the time before the pull, whenever it is sent (state-changes.md §8.5).
	bool pending = end > 0 && last->status == TASK_MANIFEST_PULLED && last->container < 0;
	if (!pending || task->pull_started_ms < last->at_ms)
		change->pull_started_ms = task->pull_started_ms;
	if (!pending || task->pull_stopped_ms < last->at_ms)
		change->pull_stopped_ms = task->pull_stopped_ms;
	if (task->execution_stopped_ms && task->execution_stopped_ms <= last->at_ms)
		change->execution_stopped_ms = task->execution_stopped_ms;
	return true;
}

void state_change_free(struct state_change *change)
{
	for (size_t i = 0; i < change->container_count; i++) {
		free(change->containers[i].reason);
		free((void *)change->containers[i].bindings);
	}
	free(change->containers);
	*change = (struct state_change){0};
}

void engine_report_done(struct engine *engine, const char *task_arn, int64_t last_transition, const char *refused_why)
{
	struct entry *entry = engine_entry(engine, task_arn);
	if (!entry)
		return;
	size_t done = 0;
	while (done < entry->record_count && entry->records[done].id <= last_transition)
		record_done(&entry->records[done++]);
	entry->record_count -= done;
	memmove(entry->records, entry->records + done, entry->record_count * sizeof(*entry->records));
	entry->mark_id = last_transition;
	str_replace(&entry->mark_refused, refused_why);
	entry->task->unreported = entry->record_count > 0;
	if (entry->record_count == 0 && entry->refused)
		entry->forget = true; // the report was all there was of it
	if (entry->record_count > 0)
		entry->notify = true;
	entry->touched = true;
	loop_wake(engine->o.loop);
}

void engine_each_unreported(const struct engine *engine, void (*visit)(const char *task_arn, void *arg), void *arg)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->record_count > 0)
			visit(engine->entries[i]->task->arn, arg);
	}
}
