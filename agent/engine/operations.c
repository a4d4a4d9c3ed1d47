#include "engine/engine_internal.h"

#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/util.h"
#include "docker/create_request.h"
#include "engine/image_cycle.h"
#include "engine/task_cgroup.h"
#include "engine/pulls.h"
#include "logd/logd.h"
#include <inttypes.h>

// --- what every operation shares ---

static struct docker *docker_of(const struct container_ref *ref)
{
	return ref->engine->o.docker;
}

// An operation has ended: the container is free for the next.
struct container *engine_finish(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	log_debug("operation ended", "task=%s container=%s operation=%s took_ms=%" PRIu64, ref->entry->task->arn,
		  c->name, operation_name(c->in_flight), loop_now(ref->engine->o.loop) - c->in_flight_since);
	c->call = NULL;
	c->in_flight = OP_NONE;
	engine_touch(ref->entry);
	engine_touch_waiting(ref->engine);
	return c;
}

void engine_fail_container(struct container_ref *ref, const char *name, const char *text)
{
	struct container *c = ref_container(ref);
	log_error("container failed", "task=%s container=%s error=%s text=%s", ref->entry->task->arn, c->name, name,
		  text);
	container_set_error(c, name, text);
	c->desired = CONTAINER_STOPPED;
	c->dirty = true;
	engine_touch(ref->entry);
}

static void back_off(struct container_ref *ref, double min_ms, double max_ms, double multiple)
{
	struct container *c = ref_container(ref);
	struct backoff backoff = BACKOFF(min_ms, max_ms, multiple, 0.2);
	uint64_t delay = 0;
	c->failures++;
	for (uint32_t i = 0; i < c->failures && i < 64; i++)
		delay = backoff_next(&backoff);
	c->not_before = loop_now(ref->engine->o.loop) + delay;
	engine_touch(ref->entry);
}

void engine_back_off(struct container_ref *ref)
{
	back_off(ref, UNKNOWN_BACKOFF_MIN_MS, UNKNOWN_BACKOFF_MAX_MS, 2);
}

// Whether the operation took effect is not known: Docker is asked before anything else is done or said.
static void outcome_unknown(struct container_ref *ref, const struct docker_error *err, enum operation operation)
{
	struct container *c = ref_container(ref);
	log_warn("Docker gave no answer; the container will be inspected", "task=%s container=%s operation=%s error=%s",
		 ref->entry->task->arn, c->name, operation_name(operation), err->message);
	if (c->docker_id || c->docker_name)
		c->must_inspect = true;
	if (operation == OP_START)
		c->start_unknown = true;
	engine_back_off(ref);
}

static void no_failures(struct container *c)
{
	c->failures = 0;
	c->not_before = 0;
}

// --- image ---

static struct json_strings *copy_strings(const struct json_strings *from)
{
	struct json_strings *to = xcalloc(1, sizeof(*to));
	to->items = xcalloc(from->count + 1, sizeof(char *));
	for (size_t i = 0; i < from->count; i++)
		to->items[to->count++] = xstrdup(from->items[i]);
	return to;
}

// Digest of the image's own repository among RepoDigests (docker-mapping.md §21.2).
static char *digest_for(const char *image, const struct docker_image *found)
{
	size_t length = strlen(image);
	const char *slash = strrchr(image, '/');
	const char *colon = strchr(slash ? slash : image, ':');
	if (colon)
		length = (size_t)(colon - image);
	for (size_t i = 0; i < found->repo_digests.count; i++) {
		const char *entry = found->repo_digests.items[i];
		const char *at = strchr(entry, '@');
		if (at && (size_t)(at - entry) == length && strncmp(entry, image, length) == 0)
			return xstrdup(at + 1);
	}
	return NULL;
}

static void note_digest(struct container *c, const struct docker_image *image)
{
	const char *at = strchr(c->image, '@');
	if (at)
		str_replace(&c->image_digest, at + 1);
	if (c->image_digest || image->repo_digests.count == 0)
		return;
	c->image_digest = digest_for(c->image, image);
	if (!c->image_digest && c->known == CONTAINER_NONE) {
		_cleanup_free_ char *text = xasprintf("failed to find a repo digest matching '%s'", c->image);
		container_set_error(c, "CannotPullImageManifestError", text);
	}
}

static void on_image(const struct docker_error *err, const struct docker_image *image, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	if (err->failure == DOCKER_UNKNOWN) {
		outcome_unknown(ref, err, OP_IMAGE_INSPECT);
		c->must_inspect = false; // an image was asked about, not the container
		return;
	}
	no_failures(c);
	static const struct json_strings none;
	c->image_env = copy_strings(image ? &image->env : &none);
	if (!image && c->pulled_before)
		engine_forget_pulled(ref->engine, c->image); // somebody has removed it: it is pulled again
	if (!image)
		return; // not there: it is pulled, or the create call will say so
	str_replace(&c->image_id, image->id);
	note_digest(c, image);
	c->dirty = true;
	image_cycle_used(ref->engine->images, c, image->size);
}

// --- create ---

static bool is_ours(const struct container_ref *ref, const struct docker_container *info)
{
	return str_equal(json_get_string(info->labels, LABEL_TASK_ARN), ref->entry->task->arn) &&
	       str_equal(json_get_string(info->labels, LABEL_CONTAINER_NAME), ref_container(ref)->name);
}

static void name_is_taken(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	log_warn("container name is taken; another one is drawn", "task=%s container=%s name=%s", ref->entry->task->arn,
		 c->name, c->docker_name);
	free(TAKE(c->docker_name));
	c->dirty = true;
}

// The name was taken: by an earlier create call of ours whose answer was lost, or by a stranger.
static void on_conflict(const struct docker_error *err, const struct docker_container *info, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	if (info && is_ours(ref, info)) {
		c->conflicts = 0;
		log_info("container adopted by its name", "task=%s container=%s docker_id=%s", ref->entry->task->arn,
			 c->name, info->id);
		no_failures(c);
		engine_observe(ref, info);
	} else if (err->failure == DOCKER_OK) {
		name_is_taken(ref);
	} else {
		// Not there yet: an earlier create call of ours may still be at work under this name. Or no answer.
		c->must_inspect = err->failure != DOCKER_NOT_FOUND;
		engine_back_off(ref);
	}
}

static void start_conflict(struct container_ref *ref, const struct docker_error *err)
{
	struct container *c = ref_container(ref);
	if (++c->conflicts >= CONFLICTS_MAX) { // not the name: a volume, say
		engine_fail_container(ref, err->name, err->message);
		return;
	}
	c->in_flight = OP_INSPECT;
	c->in_flight_since = loop_now(ref->engine->o.loop);
	c->call = docker_inspect(docker_of(ref), c->docker_name, on_conflict, ref);
}

static void on_created(const struct docker_error *err, const char *id, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	switch (err->failure) {
	case DOCKER_OK:
		CRASH_POINT("create.answered");
		log_info("container created", "task=%s container=%s docker_id=%s", ref->entry->task->arn, c->name, id);
		no_failures(c);
		c->conflicts = 0;
		str_replace(&c->docker_id, id);
		c->created_ms = wall_ms();
		engine_advance(ref, CONTAINER_CREATED);
		break;
	case DOCKER_UNKNOWN:
		outcome_unknown(ref, err, OP_CREATE);
		break;
	case DOCKER_CONFLICT:
		start_conflict(ref, err);
		break;
	default:
		engine_fail_container(ref, err->name, err->message);
	}
}

static void create_container(void *arg)
{
	struct container_ref *ref = arg;
	struct engine *engine = ref->engine;
	struct container *c = ref_container(ref);
	// What came before took its time, and meanwhile the task is to end, or the disk does not take what has become known.
	if (c->desired == CONTAINER_STOPPED || engine->commit_failed) {
		engine_finish(ref);
		loop_wake(engine->o.loop);
		return;
	}
	_cleanup_free_ char *cgroup_parent = engine_cgroup_parent(engine, ref->entry->task);
	struct create_context context = {
		.cluster = engine->o.cluster,
		.region = engine->o.region,
		.image_env = c->image_env,
		.task_iam_role = engine->o.task_iam_role,
		.cgroup_parent = cgroup_parent,
		.cgroup_v2 = engine->o.cgroup_v2,
		.native_logging = engine->o.logd ? logd_drivers(engine->o.logd) : 0,
		.log_defaults = engine->o.logd ? logd_docker_defaults(engine->o.logd) : NULL,
	};
	const char *name = "UnknownError";
	struct error err = {0};
	_cleanup_json_ json_object *body = create_request_build(ref->entry->task, c, &context, &name, &err);
	if (!body) {
		engine_finish(ref);
		free(TAKE(c->docker_name)); // there never was a call with it (introspection.md §5.3)
		engine_fail_container(ref, name, err.message);
		loop_wake(engine->o.loop);
		return;
	}
	CRASH_POINT("create.before-send");
	c->call = docker_create(docker_of(ref), c->docker_name, body, on_created, ref);
	CRASH_POINT("create.begun");
}

static void cgroup_failed(struct container_ref *ref, const char *why)
{
	engine_finish(ref);
	engine_fail_cgroup(ref, why);
	loop_wake(ref->engine->o.loop);
}

static void on_cgroup(const struct error *err, void *arg)
{
	struct container_ref *ref = arg;
	CRASH_POINT("create.cgroup-made");
	ref_container(ref)->cgroup_call = NULL;
	if (err)
		cgroup_failed(ref, err->message);
	else if (engine_ask_logd(ref, create_container))
		create_container(ref);
}

static void start_create(struct container_ref *ref)
{
	if (!ref->entry->task->in_cgroup) {
		if (engine_ask_logd(ref, create_container))
			create_container(ref);
		return;
	}
	struct cgroups_call *call = engine_make_cgroup(ref, on_cgroup);
	ref_container(ref)->cgroup_call = call;
	if (!call)
		cgroup_failed(ref, "this host's cgroups cannot be used any more");
}

// --- start, stop, inspect, remove ---

// An answer about another container says nothing about ours.
static void about_another(struct container_ref *ref, const struct docker_container *info)
{
	struct docker_error err = {.failure = DOCKER_UNKNOWN};
	snprintf(err.message, sizeof(err.message), "the answer is about container %s", info->id);
	outcome_unknown(ref, &err, OP_INSPECT);
}

static void on_inspected(const struct docker_error *err, const struct docker_container *info, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	bool after_stop = c->checks_stop;
	c->checks_start = c->checks_stop = false;
	CRASH_POINT("inspect.answered");
	switch (err->failure) {
	case DOCKER_OK:
		if (c->docker_id && !str_equal(info->id, c->docker_id)) {
			about_another(ref, info);
			break;
		}
		c->not_before = 0; // how often nothing was known is forgotten with progress only (engine_advance)
		if (c->docker_id || is_ours(ref, info))
			engine_observe(ref, info);
		else
			name_is_taken(ref);
		if (after_stop && c->known != CONTAINER_STOPPED) // it runs, says Docker now: not the same again at once
			engine_back_off(ref);
		break;
	case DOCKER_NOT_FOUND:
		c->not_before = 0;
		engine_observe_missing(ref);
		break;
	default: // 500 and the like: as good as no answer
		outcome_unknown(ref, err, OP_INSPECT);
	}
}

static void start_inspect(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	c->in_flight = OP_INSPECT;
	c->in_flight_since = loop_now(ref->engine->o.loop);
	c->must_inspect = false; // what happens from now on sets it again
	c->call = docker_inspect(docker_of(ref), c->docker_id ? c->docker_id : c->docker_name, on_inspected, ref);
}

static void on_started(const struct docker_error *err, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	CRASH_POINT("start.answered");
	switch (err->failure) {
	case DOCKER_OK:
	case DOCKER_NOT_MODIFIED:
		no_failures(c);
		start_inspect(ref); // ports, process and, if it was quick, exit code
		c->checks_start = true;
		break;
	case DOCKER_UNKNOWN:
		outcome_unknown(ref, err, OP_START);
		break;
	default: // it does not run; but only Docker's own word on the container makes that a STOPPED
		engine_fail_container(ref, err->name, err->message);
		c->must_inspect = true;
	}
}

static void on_stopped(const struct docker_error *err, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	CRASH_POINT("stop.answered");
	switch (err->failure) {
	case DOCKER_OK:
	case DOCKER_NOT_MODIFIED:
		start_inspect(ref);
		c->checks_stop = true;
		break;
	case DOCKER_NOT_FOUND:
		container_set_error(c, err->name, err->message);
		engine_advance(ref, CONTAINER_STOPPED);
		break;
	case DOCKER_UNKNOWN:
		outcome_unknown(ref, err, OP_STOP);
		break;
	default: // it still runs, so it is not reported as stopped (docs/COMPATIBILITY.md); 1 s to 5 s: docker-mapping.md §3
		log_error("container cannot be stopped; trying again", "task=%s container=%s error=%s",
			  ref->entry->task->arn, c->name, err->message);
		c->stop_attempts++;
		c->dirty = true;
		c->must_inspect = true;
		back_off(ref, 1000, 5000, 1.3);
	}
}

static void start_stop(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	uint64_t timeout_s = c->stop_timeout_s ? c->stop_timeout_s : ref->engine->o.stop_timeout_ms / 1000;
	log_info("container is to stop", "task=%s container=%s timeout_s=%" PRIu64, ref->entry->task->arn, c->name,
		 timeout_s);
	CRASH_POINT("stop.before-send");
	engine_tell_stopping(ref);
	c->call = docker_stop(docker_of(ref), c->docker_id, timeout_s, on_stopped, ref);
	CRASH_POINT("stop.begun");
}

static void remove_volumes(struct container_ref *ref);

static void on_volume_removed(const struct docker_error *err, void *arg)
{
	struct container_ref *ref = arg;
	struct task *task = ref->entry->task;
	task->volume_call = NULL;
	engine_touch(ref->entry);
	if (err->failure == DOCKER_UNKNOWN) {
		ref_container(ref)->removed = false; // asked again, and then the volumes
		for (size_t i = 0; i < task->volume_count; i++)
			task->volumes[i].removed = false;
		engine_back_off(ref);
		return;
	}
	CRASH_POINT("clean-up.volume-removed");
	if (err->failure != DOCKER_OK && err->failure != DOCKER_NOT_FOUND)
		log_warn("volume not removed; left alone", "task=%s error=%s", task->arn, err->message);
	remove_volumes(ref);
}

// The task's own volumes go with its last container, one after the other; the task is forgotten after the last.
static void remove_volumes(struct container_ref *ref)
{
	struct task *task = ref->entry->task;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if (!c->removed && (c->docker_id || c->docker_name))
			return;
	}
	for (size_t i = 0; i < task->volume_count && !task->volume_call; i++) {
		struct volume *v = &task->volumes[i];
		if (!v->docker_name || v->removed)
			continue;
		v->removed = true;
		task->volume_call = docker_volume_remove(docker_of(ref), v->docker_name, on_volume_removed, ref);
	}
}

static void removed(struct container_ref *ref)
{
	CRASH_POINT("remove.answered");
	ref_container(ref)->removed = true;
	remove_volumes(ref);
}

static void on_namesake(const struct docker_error *err, const struct docker_container *info, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	if (info && is_ours(ref, info)) {
		log_info("a create call was done late; its container is removed too",
			 "task=%s container=%s docker_id=%s", ref->entry->task->arn, c->name, info->id);
		str_replace(&c->docker_id, info->id);
		c->dirty = true;
	} else if (err->failure == DOCKER_UNKNOWN) {
		engine_back_off(ref);
	} else {
		removed(ref);
	}
}

// Somebody else has removed it: then an earlier create call of ours, without an answer, may have got the name since.
static void look_for_namesake(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	c->in_flight = OP_INSPECT;
	c->in_flight_since = loop_now(ref->engine->o.loop);
	c->call = docker_inspect(docker_of(ref), c->docker_name, on_namesake, ref);
}

static void on_removed(const struct docker_error *err, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = engine_finish(ref);
	if (err->failure == DOCKER_UNKNOWN) {
		engine_back_off(ref);
		return;
	}
	if (err->failure == DOCKER_CONFLICT) { // it runs again, or Docker is at it already
		engine_back_off(ref);
		engine_stop_stray(ref);
		return;
	}
	if (err->failure == DOCKER_NOT_FOUND && c->docker_id && c->docker_name) {
		look_for_namesake(ref);
		return;
	}
	if (err->failure != DOCKER_OK && err->failure != DOCKER_NOT_FOUND)
		log_error("container not removed; left alone", "task=%s container=%s error=%s", ref->entry->task->arn,
			  c->name, err->message);
	removed(ref);
}

static void on_stray_stopped(const struct docker_error *err, void *arg)
{
	struct container_ref *ref = arg;
	engine_finish(ref);
	if (err->failure == DOCKER_UNKNOWN || err->failure == DOCKER_REFUSED)
		engine_back_off(ref);
}

// ECS was told STOPPED, and has perhaps started another: it must not run (task-engine.md §8.1).
void engine_stop_stray(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	const char *which =
		c->docker_id ? c->docker_id : c->docker_name; // a create call that was refused may have worked
	if (c->in_flight != OP_NONE || !which)
		return;
	log_warn("container runs although its task has stopped; stopping it", "task=%s container=%s which=%s",
		 ref->entry->task->arn, c->name, which);
	c->in_flight = OP_STOP;
	c->in_flight_since = loop_now(ref->engine->o.loop);
	uint64_t timeout_s = c->stop_timeout_s ? c->stop_timeout_s : ref->engine->o.stop_timeout_ms / 1000;
	engine_tell_stopping(ref);
	c->call = docker_stop(docker_of(ref), which, timeout_s, on_stray_stopped, ref);
}

void engine_operate(struct container_ref *ref, enum operation operation)
{
	struct container *c = ref_container(ref);
	if (c->in_flight != OP_NONE)
		return;
	c->in_flight = operation;
	c->in_flight_since = loop_now(ref->engine->o.loop);
	switch (operation) {
	case OP_IMAGE_INSPECT:
		c->call = docker_image_inspect(docker_of(ref), c->image, on_image, ref);
		break;
	case OP_LOGIN:
	case OP_MANIFEST:
	case OP_PULL:
		pulls_start(ref, operation);
		break;
	case OP_CREATE:
		start_create(ref);
		break;
	case OP_START:
		CRASH_POINT("start.before-send");
		c->call = docker_start(docker_of(ref), c->docker_id, on_started, ref);
		CRASH_POINT("start.begun");
		break;
	case OP_STOP:
		start_stop(ref);
		break;
	case OP_INSPECT:
		start_inspect(ref);
		break;
	case OP_REMOVE:
		CRASH_POINT("remove.before-send");
		c->call = docker_remove(docker_of(ref), c->docker_id ? c->docker_id : c->docker_name, on_removed, ref);
		CRASH_POINT("remove.begun");
		break;
	case OP_NONE:
		break;
	}
}
