#include "engine/pulls.h"

#include "common/log.h"
#include "common/util.h"
#include "config/config.h"
#include "engine/fetch.h"

// A failure of the digest or of the pull (task-engine.md §7.1).
static void failed(struct container_ref *ref, const struct docker_error *err, enum container_status target)
{
	struct container *c = ref_container(ref);
	int behavior = ref->engine->o.pull_behavior;
	container_set_error(c, err->name, err->message);
	if (behavior == PULL_ALWAYS || behavior == PULL_ONCE) {
		engine_fail_container(ref, err->name, err->message);
		engine_stop_task(ref->engine, ref->entry->task->arn); // also for a non-essential container
		return;
	}
	// default, prefer-cached: a cached image may do; if there is none, create fails and this error is the one reported.
	log_warn("going on: the image may be there already", "task=%s container=%s image=%s error=%s text=%s",
		 ref->entry->task->arn, c->name, c->image, err->name, err->message);
	engine_advance(ref, target);
}

static void on_login(struct container_ref *ref, const struct fetch_result *result)
{
	struct container *c = engine_finish(ref);
	struct task *task = ref->entry->task;
	if (result->err.failure == DOCKER_OK) {
		c->registry_login = xstrdup(result->login);
		return;
	}
	// A resource of the task could not be made: its reason is the task's (user-visible-reasons.md §6).
	log_error("registry login cannot be read", "task=%s container=%s error=%s", task->arn, c->name,
		  result->err.message);
	task_set_reason(task, result->err.message);
	engine_stop_task(ref->engine, task->arn);
}

static void on_manifest(struct container_ref *ref, const struct fetch_result *result)
{
	struct container *c = engine_finish(ref);
	if (result->err.failure != DOCKER_OK) {
		failed(ref, &result->err, CONTAINER_MANIFEST_PULLED);
		return;
	}
	str_replace(&c->image_digest, result->digest);
	engine_advance(ref, CONTAINER_MANIFEST_PULLED);
}

static void forget_environment(struct container *c)
{
	if (!c->image_env)
		return;
	for (size_t i = 0; i < c->image_env->count; i++)
		free(c->image_env->items[i]);
	free(c->image_env->items);
	free(TAKE(c->image_env));
}

static void on_pulled(struct container_ref *ref, const struct fetch_result *result)
{
	struct container *c = engine_finish(ref);
	struct task *task = ref->entry->task;
	task->pull_stopped_ms = wall_ms(); // of the last pull, failed ones included (state-changes.md §8.5)
	task->dirty = true;
	if (result->err.failure != DOCKER_OK) {
		failed(ref, &result->err, CONTAINER_PULLED);
		return;
	}
	log_info("image pulled", "task=%s container=%s image=%s", task->arn, c->name, c->image);
	forget_environment(c); // asked about before it was there
	engine_advance(ref, CONTAINER_PULLED);
}

void pulls_start(struct container_ref *ref, enum operation operation)
{
	struct task *task = ref->entry->task;
	if (operation == OP_PULL && task->pull_started_ms == 0) {
		task->pull_started_ms = wall_ms();
		task->dirty = true;
	}
	fetch_join(ref, operation,
		   operation == OP_LOGIN      ? on_login
		   : operation == OP_MANIFEST ? on_manifest
					      : on_pulled);
}

void pulls_advanced(struct container *c, enum container_status status)
{
	const char *at = strchr(c->image, '@');
	if (status == CONTAINER_MANIFEST_PULLED && at)
		str_replace(&c->image_digest, at + 1);
	// Another task may have pulled it by the time this one gets to its pull (docker-mapping.md §21.1).
	if (status == CONTAINER_MANIFEST_PULLED && !c->image_id)
		forget_environment(c);
	if (status >= CONTAINER_PULLED) {
		secret_free(c->registry_login);
		c->registry_login = NULL;
	}
}

void pulls_refresh_facts(struct engine *engine, struct task *task)
{
	task->role_known = registry_role_known(engine->o.registry, task);
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		c->pulled_before = engine->o.pull_behavior == PULL_ONCE && c->known < CONTAINER_PULLED &&
				   engine_image_pulled(engine, c->image);
	}
}

void pulls_cancel_call(struct container *c)
{
	if (c->call && fetch_is(c->in_flight))
		fetch_leave(c->call);
	else
		docker_call_cancel(c->call);
	c->call = NULL;
}
