// One transaction for each turn: everything that differs from disk.

#include "engine/turn.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "engine/image_cycle.h"

bool turn_entry_dirty(const struct entry *entry)
{
	if (entry->forget || entry->mark_id || (entry->task->dirty && !entry->refused))
		return true;
	for (size_t i = 0; i < entry->task->container_count; i++) {
		if (entry->task->containers[i].dirty)
			return true;
	}
	return entry->record_count > 0 && !entry->records[entry->record_count - 1].stored;
}

static int write_entry(struct engine *engine, struct entry *entry, struct error *err)
{
	struct store *store = engine->o.store;
	struct task *task = entry->task;
	int r = 0;
	if (entry->forget)
		return store_delete_task(store, task->arn, err);
	if (task->dirty && !entry->refused)
		r = store_put_task(store, task, err);
	for (size_t i = 0; r == 0 && i < task->container_count; i++) {
		if (task->containers[i].dirty)
			r = store_put_container(store, task, i, err);
	}
	for (size_t i = 0; r == 0 && i < entry->record_count; i++) {
		const struct record *record = &entry->records[i];
		if (record->stored)
			continue;
		struct transition t = {
			.id = record->id,
			.task_arn = task->arn,
			.container = record->container < 0 ? NULL : task->containers[record->container].name,
			.status = record->status,
			.reason = record->reason,
			.has_exit_code = record->has_exit_code,
			.exit_code = record->exit_code,
			.at_ms = record->at_ms,
		};
		r = store_put_transition(store, &t, err);
	}
	if (r == 0 && entry->mark_id)
		r = store_mark_reported(store, task->arn, entry->mark_id, entry->mark_refused, err);
	return r;
}

static void entry_written(struct entry *entry)
{
	struct task *task = entry->task;
	task->dirty = false;
	task_set_stored(task);
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].dirty = false;
	for (size_t i = 0; i < entry->record_count; i++)
		entry->records[i].stored = true;
	entry->mark_id = 0;
	free(TAKE(entry->mark_refused));
}

static int write_all(struct engine *engine, struct error *err)
{
	struct store *store = engine->o.store;
	int r = store_begin(store, err);
	if (r == 0 && engine->rebuilt)
		r = store_mark_rebuilt(store, err);
	for (size_t i = 0; r == 0 && i < engine->count; i++) {
		if (turn_entry_dirty(engine->entries[i]))
			r = write_entry(engine, engine->entries[i], err);
	}
	if (r == 0)
		r = pulled_write(engine, err);
	if (r == 0)
		r = image_cycle_write(engine->images, store, err);
	CRASH_POINT("commit.half");
	if (r == 0)
		r = store_commit(store, err);
	if (r < 0) {
		store_rollback(store);
		store_note_failure(store, r);
	}
	return r;
}

// Damage: all that is known goes into a new database.
static int write_anew(struct engine *engine, const struct error *why, struct error *err)
{
	int r = store_renew(engine->o.store, why, err);
	if (r < 0)
		return r;
	engine->rebuilt = !engine->o.rebuild; // else Docker's labels are still to be read
	pulled_unwritten(engine);
	image_cycle_unwritten(engine->images);
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		entry->task->dirty = true;
		for (size_t k = 0; k < entry->task->container_count; k++)
			entry->task->containers[k].dirty = true;
		for (size_t k = 0; k < entry->record_count; k++)
			entry->records[k].stored = false;
	}
	return write_all(engine, err);
}

bool turn_commit(struct engine *engine)
{
	bool dirty = engine->rebuilt || pulled_dirty(engine) || image_cycle_dirty(engine->images);
	for (size_t i = 0; i < engine->count; i++)
		dirty |= turn_entry_dirty(engine->entries[i]);
	if (!dirty)
		return true;
	CRASH_POINT("commit.before");
	struct error err = {0};
	bool was_full = store_disk_full(engine->o.store);
	int r = write_all(engine, &err);
	if (r == -ENOSPC && !was_full)
		r = write_all(engine, &err); // the ballast has made room
	if (r == -EBADMSG) {
		struct error why = err;
		r = write_anew(engine, &why, &err);
	}
	if (r < 0 || store_disk_full(engine->o.store))
		timer_start(&engine->retry, RETRY_COMMIT_MS);
	if (r < 0) {
		if (r != engine->commit_error) // not every second anew
			log_error("state cannot be written; nothing further is done before it is",
				  "error=%s every_ms=%d", err.message, RETRY_COMMIT_MS);
		engine->commit_error = r;
		engine->commit_failed = true;
		return false;
	}
	CRASH_POINT("commit.done");
	if (engine->commit_error)
		log_info("state is written again", NULL);
	engine->commit_error = 0;
	engine->rebuilt = false;
	image_cycle_written(engine->images);
	for (size_t i = 0; i < engine->count; i++)
		entry_written(engine->entries[i]);
	pulled_written(engine);
	return true;
}

void engine_retry_commit(void *arg)
{
	struct engine *engine = arg;
	engine->commit_failed = false; // the end of this turn tries again
	store_reclaim(engine->o.store);
	if (store_disk_full(engine->o.store))
		timer_start(&engine->retry, RETRY_COMMIT_MS);
}
