#include "takeover/takeover.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "engine/engine.h"
#include "takeover/bolt.h"
#include "takeover/official_state.h"

struct takeover {
	char *path;
	struct official_state state; // identity only, where its tasks are in our database already
	bool written;
	bool lost; // ecsd's own database: the tasks are for a rebuild
};

#define LOST "the state database was lost" // why nothing of such a task is started

// --- reading ---

static bool exists(const char *data_dir, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", data_dir, name);
	return access(path, F_OK) == 0;
}

// The official agent has its file locked for as long as it runs; two agents would stop each other's tasks.
static int check_not_running(const char *path, struct error *err)
{
	return bolt_in_use(path) ? error_set(err, EWOULDBLOCK,
					     "the official agent is still running (%s is in use): stop it first", path)
				 : 0;
}

// What was taken over, and was killed before instance.json was there.
static int take_up_again(struct takeover *takeover, const char *text, struct error *err)
{
	takeover->written = true;
	return instance_identity_parse(text, &takeover->state.identity, err);
}

static int read_state(struct takeover *takeover, const char *data_dir, struct error *err)
{
	int r = official_state_read(takeover->path, takeover->lost ? LOST : NULL, &takeover->state, err);
	if (takeover->lost && r < 0 && r != -ENOENT)
		log_error("tasks taken over from the official agent cannot be found again", "error=%s", err->message);
	if (takeover->lost)
		return r < 0 ? -ENODATA : 0;
	if (r == -ENOENT && exists(data_dir, "ecs_agent_data.json"))
		log_warn(
			"the official agent's state is not taken over: a file ecs_agent_data.json is not read; a newer "
			"official agent turns it into agent.db",
			"directory=%s", data_dir);
	if (r == -EBADMSG || r == -ENOTSUP)
		log_error("the official agent's state cannot be taken over; the file stays as it is, and this instance "
			  "registers as a new one",
			  "error=%s", err->message);
	return r == -ENOENT || r == -EBADMSG || r == -ENOTSUP ? -ENODATA : r;
}

int takeover_begin(const struct config *config, struct store *store, struct takeover **ret, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/agent.db", config->data_dir);
	_cleanup_free_ char *text = store_identity(store);
	*ret = NULL;
	int r = check_not_running(path, err);
	if (r < 0 || config->checkpoint == NO)
		return r;
	if (!text && !store_needs_rebuild(store))
		return 0;
	struct takeover *takeover = xcalloc(1, sizeof(*takeover));
	takeover->path = TAKE(path);
	takeover->lost = !text && exists(config->data_dir, "instance.json");
	r = text ? take_up_again(takeover, text, err) : read_state(takeover, config->data_dir, err);
	CRASH_POINT("takeover.read");
	if (r == 0)
		*ret = takeover;
	else
		takeover_free(takeover);
	return r == -ENODATA ? 0 : r;
}

struct takeover *takeover_free(struct takeover *takeover)
{
	if (!takeover)
		return NULL;
	official_state_free(&takeover->state);
	free(takeover->path);
	free(takeover);
	return NULL;
}

const struct instance_identity *takeover_identity(const struct takeover *takeover)
{
	return &takeover->state.identity;
}

// --- writing ---

struct writing {
	struct store *store;
	int64_t last_transition;
	struct error *err;
};

static int put_transition(struct transition *transition, void *arg)
{
	struct writing *writing = arg;
	transition->id = ++writing->last_transition;
	return store_put_transition(writing->store, transition, writing->err);
}

static int put_task(struct writing *writing, const struct official_task *official)
{
	const struct task *task = official->task;
	int r = store_put_task(writing->store, task, writing->err);
	for (size_t i = 0; r == 0 && i < task->container_count; i++)
		r = store_put_container(writing->store, task, i, writing->err);
	return r < 0 ? r : official_task_unsent(official, put_transition, writing);
}

static int put_all(struct takeover *takeover, struct store *store, struct error *err)
{
	struct official_state *state = &takeover->state;
	struct writing writing = {.store = store, .err = err};
	_cleanup_free_ char *identity = instance_identity_text(&state->identity);
	int r = store_put_identity(store, identity, err);
	if (r == 0)
		r = store_mark_rebuilt(store, err);
	for (size_t i = 0; r == 0 && i < state->task_count; i++) {
		state->tasks[i].task->sequence = i + 1;
		r = put_task(&writing, &state->tasks[i]);
	}
	for (size_t i = 0; r == 0 && i < state->images.count; i++)
		r = store_put_image(store, &state->images.items[i], err);
	for (size_t i = 0; r == 0 && i < state->pulled_count; i++)
		r = store_put_pulled(store, state->pulled[i].image, state->pulled[i].at_ms, err);
	return r;
}

static int commit_all(struct takeover *takeover, struct store *store, struct error *err)
{
	int r = store_begin(store, err);
	if (r == 0)
		r = put_all(takeover, store, err);
	CRASH_POINT("takeover.half");
	if (r == 0)
		r = store_commit(store, err);
	if (r < 0) {
		store_rollback(store);
		store_note_failure(store, r);
	}
	return r;
}

static void tell(const struct takeover *takeover)
{
	const struct official_state *state = &takeover->state;
	size_t running = 0, stopped = 0, watched = 0;
	for (size_t i = 0; i < state->task_count; i++) {
		const struct task *task = state->tasks[i].task;
		bool ended = task->known == TASK_STOPPED;
		stopped += ended;
		running += !ended;
		watched += !ended && task->watch_only;
		if (!ended && task->watch_only)
			log_warn("task taken over for watching and stopping only", "task=%s feature=%s", task->arn,
				 task->watch_only);
	}
	if (state->own_tasks)
		log_warn("containers of the official agent itself (Service Connect relay, EBS driver) are left alone",
			 "tasks=%zu", state->own_tasks);
	log_info("taken over from the official agent",
		 "agent_version=%s running=%zu stopped=%zu watch_only=%zu instance=%s file=%s", state->agent_version,
		 running, stopped, watched, state->identity.arn, takeover->path);
}

int takeover_write(struct takeover *takeover, struct store *store, struct error *err)
{
	if (takeover->written || takeover->lost)
		return 0;
	bool was_full = store_disk_full(store);
	int r = commit_all(takeover, store, err);
	if (r == -ENOSPC && !was_full)
		r = commit_all(takeover, store, err); // the ballast has made room
	if (r < 0)
		return r;
	CRASH_POINT("takeover.written");
	takeover->written = true;
	tell(takeover);
	return 0;
}

static bool has_containers(const struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++) {
		if (task->containers[i].docker_id || task->containers[i].docker_name)
			return true;
	}
	return false;
}

void takeover_give_lost(struct takeover *takeover, const char *instance_arn, struct engine *engine)
{
	struct official_state *state = &takeover->state;
	if (!takeover->lost || !str_equal(state->identity.arn, instance_arn))
		return;
	for (size_t i = 0; i < state->task_count; i++) {
		struct task *task = state->tasks[i].task;
		if (task->known != TASK_STOPPED && has_containers(task))
			engine_give_lost(engine, TAKE(state->tasks[i].task));
	}
}

void takeover_end(struct store *store)
{
	struct error err = {0};
	CRASH_POINT("takeover.saved");
	if (store_begin(store, &err) == 0 && store_put_identity(store, NULL, &err) == 0 &&
	    store_commit(store, &err) == 0)
		return;
	store_rollback(store);
	log_warn("the end of the take-over is not written yet; the next start does it", "error=%s", err.message);
}
