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
