#include "common/log.h"
#include "docker/log_config.h"
#include "engine/engine_internal.h"
#include "logd/logd.h"

bool engine_ask_logd(struct container_ref *ref, void (*done)(void *arg))
{
	struct logd *logd = ref->engine->o.logd;
	enum log_driver driver;
	return !logd || !log_config_driver(ref_container(ref), &driver) || logd_ask(logd, done, ref);
}

void engine_tell_stopping(struct container_ref *ref)
{
	const struct container *c = ref_container(ref);
	if (ref->engine->o.logd && c->docker_id)
		logd_stopping(ref->engine->o.logd, c->docker_id);
}

void engine_tell_exited(struct container_ref *ref)
{
	const struct container *c = ref_container(ref);
	if (ref->engine->o.logd && c->docker_id)
		logd_exited(ref->engine->o.logd, c->docker_id);
}

static bool signs_with_role(const struct task *task)
{
	for (size_t i = 0; task->execution_credentials_id && i < task->container_count; i++)
		if (task->containers[i].logs_by_execution_role)
			return true;
	return false;
}

static bool may_keep(const struct entry *entry)
{
	const struct engine *engine = entry->engine;
	size_t kept = 0;
	for (size_t i = 0; i < engine->count; i++)
		kept += engine->entries[i]->kept;
	if (kept < KEPT_MAX)
		return true;
	log_warn("the execution role's credentials are not kept for logs that wait: too many are", "task=%s kept=%zu",
		 entry->task->arn, kept);
	return false;
}

bool engine_keeps(struct entry *entry)
{
	const struct engine_options *o = &entry->engine->o;
	bool needed = o->role_needed && signs_with_role(entry->task) && o->role_needed(entry->task, o->arg);
	if (!entry->kept && needed && may_keep(entry)) {
		log_info("the execution role's credentials are kept: logs of the task may wait to be shipped",
			 "task=%s", entry->task->arn);
		entry->kept = true;
	}
	entry->kept = entry->kept && needed;
	return entry->kept;
}

void engine_tell_logd(const struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		for (size_t k = 0; k < entry->task->container_count; k++) {
			const struct container *c = &entry->task->containers[k];
			if (c->exit_seen)
				engine_tell_exited(&entry->refs[k]);
			else if (c->in_flight == OP_STOP)
				engine_tell_stopping(&entry->refs[k]);
		}
	}
}
