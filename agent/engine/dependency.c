#include "engine/dependency.h"

#include "common/util.h"

static bool visit(const struct task *task, size_t index, char *state)
{
	enum { NEW, OPEN, DONE };
	if (state[index] != NEW)
		return state[index] == DONE; // OPEN: on the path already, a cycle
	state[index] = OPEN;
	const struct container *c = &task->containers[index];
	for (size_t i = 0; i < c->depends_on_count; i++) {
		const struct container *on = task_container(task, c->depends_on[i].container);
		if (!on || !visit(task, (size_t)(on - task->containers), state))
			return false;
	}
	state[index] = DONE;
	return true;
}

bool dependency_resolvable(const struct task *task)
{
	_cleanup_free_ char *state = xcalloc(task->container_count + 1, 1);
	for (size_t i = 0; i < task->container_count; i++) {
		if (!visit(task, i, state))
			return false;
	}
	return true;
}

// "name(image) (KNOWN->DESIRED)", with " - Exit: n" when an exit code is known.
static char *describe(const struct container *c)
{
	if (c->has_exit_code)
		return xasprintf("%s(%s) (%s->%s) - Exit: %d", c->name, c->image ? c->image : "",
				 container_status_name(c->known), container_status_name(c->desired), c->exit_code);
	return xasprintf("%s(%s) (%s->%s)", c->name, c->image ? c->image : "", container_status_name(c->known),
			 container_status_name(c->desired));
}

static enum dependency_verdict failed(const struct container *on, const struct container *target, const char *prefix,
				      const char *suffix, char **text)
{
	_cleanup_free_ char *on_text = on ? describe(on) : xstrdup("<nil>");
	_cleanup_free_ char *target_text = describe(target);
	*text = xasprintf("dependency graph: %s [%s] for target [%s] %s", prefix, on_text, target_text, suffix);
	return DEPENDENCY_FAILED;
}

static bool met(const struct container *on, enum depends_condition condition)
{
	switch (condition) {
	case DEPENDS_CREATE:
		return on->known >= CONTAINER_CREATED;
	case DEPENDS_START:
		return on->known >= CONTAINER_RUNNING;
	case DEPENDS_SUCCESS:
		return on->known == CONTAINER_STOPPED && on->has_exit_code && on->exit_code == 0;
	case DEPENDS_COMPLETE:
		return on->known == CONTAINER_STOPPED && on->has_exit_code;
	case DEPENDS_HEALTHY:
		return on->health_check_docker && on->health == CONTAINER_HEALTHY;
	default:
		return false;
	}
}

static enum dependency_verdict check_one(const struct container *target, const struct container *on,
					 enum depends_condition condition, int64_t now_wall_ms, double scale,
					 int64_t *wake_in_ms, char **text)
{
	if (!on)
		return failed(NULL, target, "container ordering dependency", "does not exist.", text);
	bool timed = condition == DEPENDS_SUCCESS || condition == DEPENDS_COMPLETE || condition == DEPENDS_HEALTHY;
	if (timed && target->known < CONTAINER_CREATED && on->known != CONTAINER_STOPPED && on->start_timeout_s > 0 &&
	    on->started_ms > 0 && !met(on, condition)) {
		int64_t elapsed = (int64_t)((double)(now_wall_ms - on->started_ms) * scale);
		int64_t left = (int64_t)on->start_timeout_s * 1000 - elapsed;
		if (left < 0)
			return failed(on, target, "container ordering dependency", "has timed out.", text);
		if (*wake_in_ms == 0 || left + 1 < *wake_in_ms)
			*wake_in_ms = left + 1;
	}
	if (condition == DEPENDS_SUCCESS && on->known == CONTAINER_STOPPED && !met(on, condition))
		return failed(on, target, "failed to resolve container ordering dependency",
			      "as dependency did not exit successfully.", text);
	// A dependency that is over without having met the condition never will; the official agent waits for ever
	// where it was STOPPED without an exit code or before it was healthy (docs/COMPATIBILITY.md).
	bool over = on->known == CONTAINER_STOPPED ||
		    (on->known < CONTAINER_RUNNING && on->desired == CONTAINER_STOPPED && on->in_flight == OP_NONE);
	if (over && !met(on, condition))
		return failed(on, target, "failed to resolve container ordering dependency",
			      "because dependency will never start", text);
	return met(on, condition) ? DEPENDENCY_MET : DEPENDENCY_BLOCKED;
}

enum dependency_verdict dependency_check(const struct task *task, const struct container *target, int64_t now_wall_ms,
					 double scale, int64_t *wake_in_ms, char **text)
{
	enum dependency_verdict verdict = DEPENDENCY_MET;
	// The first step is never held back, but a dependency that can never be met shows at once.
	if (target->known < CONTAINER_MANIFEST_PULLED)
		return DEPENDENCY_MET;
	for (size_t i = 0; i < target->depends_on_count; i++) {
		const struct depends_on *d = &target->depends_on[i];
		enum dependency_verdict one = check_one(target, task_container(task, d->container), d->condition,
							now_wall_ms, scale, wake_in_ms, text);
		if (one == DEPENDENCY_FAILED)
			return one;
		if (one == DEPENDENCY_BLOCKED)
			verdict = one;
	}
	return verdict;
}

bool dependency_may_stop(const struct task *task, const struct container *container)
{
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *other = &task->containers[i];
		if (other->known == CONTAINER_STOPPED)
			continue;
		for (size_t d = 0; d < other->depends_on_count; d++) {
			if (str_equal(other->depends_on[d].container, container->name))
				return false;
		}
	}
	return true;
}
