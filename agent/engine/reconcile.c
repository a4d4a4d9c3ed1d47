#include "engine/reconcile.h"

#include "common/util.h"
#include "engine/dependency.h"

static struct action *add(struct actions *out, enum action_kind kind)
{
	if (out->count == out->capacity) {
		out->capacity = out->capacity ? out->capacity * 2 : 8;
		out->items = xreallocarray(out->items, out->capacity, sizeof(*out->items));
	}
	struct action *action = &out->items[out->count++];
	*action = (struct action){.kind = kind};
	return action;
}

static void wake(struct actions *out, uint64_t at)
{
	add(out, ACTION_WAKE)->at = at;
}

static void operate(struct actions *out, size_t index, enum operation operation)
{
	struct action *action = add(out, ACTION_OPERATE);
	action->container = index;
	action->operation = operation;
}

static void become(struct actions *out, size_t index, enum container_status status)
{
	struct action *action = add(out, ACTION_CONTAINER_KNOWN);
	action->container = index;
	action->container_status = status;
}

bool action_is_decision(const struct action *action)
{
	return action->kind < ACTION_OPERATE;
}

void actions_clear(struct actions *actions)
{
	for (size_t i = 0; i < actions->count; i++)
		free(actions->items[i].text);
	actions->count = 0;
}

void actions_free(struct actions *actions)
{
	actions_clear(actions);
	free(actions->items);
	*actions = (struct actions){0};
}

enum task_status reconcile_known_status(const struct task *task)
{
	if (task->container_count == 0)
		return task->known; // never gets a known status, never reports (state-changes.md §2.3)
	enum task_status lowest = TASK_STOPPED;
	bool essential_stopped = false;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		enum task_status status = task_status_of_container(c->known);
		if (status < lowest)
			lowest = status;
		essential_stopped |= c->essential && c->known == CONTAINER_STOPPED;
	}
	// With an essential container gone, "the rest runs" is not news (task-engine.md §5).
	if (essential_stopped && lowest == TASK_RUNNING)
		return task->known;
	return lowest > task->known ? lowest : task->known;
}

// --- decisions about the task as a whole ---

static bool decide_task(const struct task *task, struct actions *out)
{
	if (task->desired != TASK_STOPPED) {
		for (size_t i = 0; i < task->container_count; i++) {
			const struct container *c = &task->containers[i];
			if (c->essential && (c->known == CONTAINER_STOPPED || c->desired == CONTAINER_STOPPED)) {
				add(out, ACTION_TASK_STOP);
				return true;
			}
		}
	}
	enum task_status known = reconcile_known_status(task);
	if (known > task->known) {
		add(out, ACTION_TASK_KNOWN)->task_status = known;
		return true;
	}
	return false;
}

// --- one container ---

static void stop_container(const struct task *task, size_t index, struct actions *out)
{
	const struct container *c = &task->containers[index];
	if (c->known < CONTAINER_RUNNING && !c->start_unknown)
		become(out, index, CONTAINER_STOPPED); // never ran: Docker has nothing to stop (task-engine.md §6.1)
	else if (c->start_unknown || dependency_may_stop(task, c))
		operate(out, index, OP_STOP);
}

// Whether what the registry asks for is at hand; if not, *operation is the way to it (OP_NONE: it is waited for). A task
// that names no credentials for its role has nothing to wait for: the login fails, and says so.
static bool can_log_in(const struct task *task, const struct container *c, enum operation *operation)
{
	const struct registry_auth *auth = &c->registry_auth;
	bool by_role = auth->type == REGISTRY_ASM || (auth->type == REGISTRY_ECR && auth->use_execution_role);
	*operation = OP_NONE;
	if (by_role && task->execution_credentials_id && !task->role_known)
		return false;
	if (auth->type == REGISTRY_ASM && !c->registry_login) {
		*operation = OP_LOGIN;
		return false;
	}
	return true;
}

// The digest first, then the image (docker-mapping.md §21.2-21.3); a local image spares both where the pull behaviour
// says so.
static void approach_image(const struct task *task, size_t index, const struct reconcile_env *env, struct actions *out)
{
	const struct container *c = &task->containers[index];
	bool manifest = c->known == CONTAINER_NONE, look = env->inspect_before_pull || c->pulled_before;
	enum operation login;
	if (manifest && !can_log_in(task, c, &login)) {
		if (login != OP_NONE)
			operate(out, index, login);
		return;
	}
	if (manifest && strchr(c->image, '@'))
		become(out, index, CONTAINER_MANIFEST_PULLED); // the image's name says it
	else if (look && c->image_id)
		become(out, index, manifest ? CONTAINER_MANIFEST_PULLED : CONTAINER_PULLED);
	else if (look && !c->image_env)
		operate(out, index, OP_IMAGE_INSPECT);
	else if (manifest && !env->manifest_calls)
		become(out, index, CONTAINER_MANIFEST_PULLED);
	else if (manifest)
		operate(out, index, OP_MANIFEST);
	else if (can_log_in(task, c, &login)) // not so after a restart
		operate(out, index, OP_PULL);
	else if (login != OP_NONE)
		operate(out, index, login);
}

// The image must be asked about before the create call: its id is reported locally and its ENV decides about AWS_REGION.
static void advance_container(const struct task *task, size_t index, const struct reconcile_env *env,
			      struct actions *out)
{
	const struct container *c = &task->containers[index];
	char *text = NULL;
	int64_t wake_in = 0;
	if (task->watch_only) {
		struct action *action = add(out, ACTION_CONTAINER_REFUSED);
		action->container = index;
		action->text =
			xasprintf("it had not started when ecsd took the task over from the official agent, and is not "
				  "started: %s: not supported by this version of ecsd",
				  task->watch_only);
		return;
	}
	switch (dependency_check(task, c, env->wall_ms, env->scale, &wake_in, &text)) {
	case DEPENDENCY_FAILED: {
		struct action *action = add(out, ACTION_CONTAINER_NEVER);
		action->container = index;
		action->text = text;
		return;
	}
	case DEPENDENCY_BLOCKED:
		if (wake_in > 0)
			wake(out, env->now + (uint64_t)wake_in);
		return;
	case DEPENDENCY_MET:
		break;
	}
	switch (c->known) {
	case CONTAINER_NONE:
	case CONTAINER_MANIFEST_PULLED:
		approach_image(task, index, env, out);
		return;
	case CONTAINER_PULLED:
		operate(out, index, c->image_env ? OP_CREATE : OP_IMAGE_INSPECT);
		return;
	case CONTAINER_CREATED:
		operate(out, index, OP_START);
		return;
	default:
		return;
	}
}

static void reconcile_container(const struct task *task, size_t index, const struct reconcile_env *env,
				struct actions *out)
{
	const struct container *c = &task->containers[index];
	if (c->known == CONTAINER_STOPPED)
		return;
	bool fetching = c->in_flight == OP_PULL || c->in_flight == OP_IMAGE_INSPECT || c->in_flight == OP_MANIFEST ||
			c->in_flight == OP_LOGIN;
	if (fetching && c->desired == CONTAINER_STOPPED) {
		become(out, index, CONTAINER_STOPPED); // a pull is given up, not waited for
		return;
	}
	if (c->in_flight != OP_NONE)
		return;
	if (c->not_before > env->now) {
		wake(out, c->not_before);
		return;
	}
	if (c->must_inspect) {
		operate(out, index, OP_INSPECT); // nothing is decided on a fact that may be stale
		return;
	}
	if (c->desired == CONTAINER_STOPPED)
		stop_container(task, index, out);
	else if (c->known < c->desired)
		advance_container(task, index, env, out);
}

// --- clean-up (task-engine.md §12) ---

static void clean_up(const struct task *task, const struct reconcile_env *env, struct actions *out)
{
	if (task->unreported)
		return; // a report still to be sent needs the task
	double waited = (double)(env->wall_ms - task->known_ms) * env->scale;
	double wait = (double)env->cleanup_wait_ms + task->jitter * (double)env->cleanup_jitter_ms;
	if (waited < wait && !task->cleanup_now) {
		wake(out, env->now + (uint64_t)(wait - waited) + 1);
		return;
	}
	bool clean = true;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if (c->removed || (!c->docker_id && !c->docker_name))
			continue;
		clean = false;
		if (c->in_flight != OP_NONE)
			continue;
		if (c->not_before > env->now)
			wake(out, c->not_before);
		else
			operate(out, i, OP_REMOVE);
	}
	if (!clean || task->volume_call)
		return;
	// Last, and before the task is forgotten: whoever is killed in between still knows whose cgroup it is.
	if (!task->in_cgroup || task->cgroup_removed || !env->cgroups)
		add(out, ACTION_FORGET);
	else if (task->cgroup_not_before > env->now)
		wake(out, task->cgroup_not_before);
	else if (!task->cgroup_call)
		add(out, ACTION_REMOVE_CGROUP);
}

void reconcile(const struct task *task, const struct reconcile_env *env, struct actions *out)
{
	actions_clear(out);
	if (decide_task(task, out))
		return;
	if (task->known == TASK_STOPPED) {
		clean_up(task, env, out);
		return;
	}
	if (task->container_count == 0 && task->desired == TASK_STOPPED) {
		add(out, ACTION_FORGET);
		return;
	}
	if (task->queued && task->desired != TASK_STOPPED)
		return;
	for (size_t i = 0; i < task->container_count; i++)
		reconcile_container(task, i, env, out);
	bool decision = false;
	for (size_t i = 0; i < out->count; i++)
		decision |= action_is_decision(&out->items[i]);
	if (!decision)
		return;
	// Decisions come alone: what follows from them is asked in the next round.
	size_t kept = 0;
	for (size_t i = 0; i < out->count; i++) {
		if (action_is_decision(&out->items[i]))
			out->items[kept++] = out->items[i];
	}
	out->count = kept;
}
