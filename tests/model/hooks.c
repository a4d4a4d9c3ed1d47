// The linker's --wrap functions: the clock, chance, the disk's faults and a shadow of what is on it, the checks of pure
// functions, and mutations.
#include "hooks.h"

#include "common/util.h"
#include "engine/dependency.h"
#include "invariants.h"
#include "world.h"

#include <errno.h>
#include <sqlite3.h>
#include <netinet/in.h>
#include <sys/socket.h>

const struct mutation_info mutations[MUTATIONS] = {
	[MUTATION_NONE] = {"none", NULL},
	[STATUS_FALLS] = {"status-falls", "STATUS_GROWS"},
	[TWO_OPERATIONS] = {"two-operations", "ONE_IN_FLIGHT"},
	[NAME_FORGOTTEN] = {"name-forgotten", "CREATED_ONCE"},
	[DEPENDENCIES_MET] = {"dependencies-met", "DEPENDENCIES"},
	[UNKNOWN_IS_GONE] = {"unknown-is-gone", "NOT_WHILE_RUNNING"},
	[CREATED_IS_RUNNING] = {"created-is-running", "RUNNING_IS_TRUE"},
	[STARTED_AGAIN] = {"started-again", "NO_RESTART"},
	[STOPPED_UNWANTED] = {"stopped-unwanted", "STOP_IS_WANTED"},
	[EXIT_CODE_LOST] = {"exit-code-lost", "EXIT_CODE_IS_TRUE"},
	[LAST_ERROR] = {"last-error", "FIRST_ERROR"},
	[ESSENTIAL_IGNORED] = {"essential-ignored", "ESSENTIAL"},
	[RUNNING_AFTER_END] = {"running-after-end", "REPORT_ORDER"},
	[TOLD_TOO_MUCH] = {"told-too-much", "REPORT_IS_TRUE"},
	[COMMIT_LIES] = {"commit-lies", "COMMIT_FIRST"},
	[TASK_NOT_WRITTEN] = {"task-not-written", "DURABLE"},
	[ALL_GRANTED] = {"all-granted", "SLOTS"},
	[LAST_FIRST] = {"last-first", "FIFO"},
	[SAME_PORT] = {"same-port", "PORTS"},
	[ALL_ADMITTED] = {"all-admitted", "HOST"},
	[NO_CLEANUP_WAIT] = {"no-cleanup-wait", "CLEANUP"},
	[WAKE_NOW] = {"wake-now", "NO_BUSY_LOOP"},
	[NO_CREATE] = {"no-create", "LAUNCHES"},
	[NO_STOP] = {"no-stop", "ENDS"},
	[ROWS_LEFT] = {"rows-left", "NOTHING_LEFT"},
};

#define WRAP(type, name, ...)            \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)

// --- clock and chance ---

WRAP(int64_t, wall_ms, void)
{
	return world_wall();
}

WRAP(double, random_unit, void)
{
	return (double)(draw64(&world.draws) >> 11) / (double)(1ull << 53);
}

// Never the same twice.
WRAP(void, random_hex, char *out, size_t digits)
{
	snprintf(out, digits + 1, "%0*llx", (int)digits, (unsigned long long)++world.serial);
}

// A port that the world says is taken cannot be bound; nothing is bound in truth.
WRAP(int, bind, int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd, (void)length;
	const struct sockaddr_in *in = (const void *)address;
	return port_used(world.taken_ports, ntohs(in->sin_port)) ? -1 : 0;
}

WRAP(int, socket, int domain, int type, int protocol)
{
	(void)domain, (void)type, (void)protocol;
	return dup(STDERR_FILENO);
}

// --- the disk ---

static sqlite3 *database;

WRAP(int, sqlite3_open_v2, const char *path, sqlite3 **db, int flags, const char *vfs)
{
	(void)path;
	int r = __real_sqlite3_open_v2(":memory:", db, flags, vfs);
	database = *db;
	return r;
}

// The ballast.
WRAP(int, posix_fallocate, int fd, off_t offset, off_t length)
{
	(void)fd, (void)offset, (void)length;
	return world.disk_full ? ENOSPC : 0;
}

void hooks_clear_disk(void)
{
	sqlite3_exec(database,
		     "DELETE FROM task; DELETE FROM container; DELETE FROM transition; DELETE FROM image; "
		     "DELETE FROM pulled",
		     NULL, NULL, NULL);
}

static int add_count(void *sum, int count, char **values, char **names)
{
	(void)count, (void)names;
	*(int *)sum = atoi(values[0]);
	return 0;
}

int hooks_rows(void)
{
	int sum = -1;
	sqlite3_exec(database,
		     "SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM container) + (SELECT count(*) FROM "
		     "transition)",
		     add_count, &sum, NULL);
	return sum;
}

// What the open transaction will have written.
struct pending {
	int task, container; // container -1: the task's own row; -2: everything of the task goes
	int known;
	char *name, *id;
};
static struct pending *pending;
static size_t pending_count;

static void pending_add(const struct pending *item)
{
	pending = xreallocarray(pending, pending_count + 1, sizeof(*pending));
	pending[pending_count++] = *item;
}

static void shadow_container(const struct pending *p)
{
	struct truth *truth = &world.tasks[p->task].containers[p->container];
	truth->on_disk = true;
	truth->disk_known = (enum container_status)p->known;
	str_replace(&truth->disk_name, p->name);
	str_replace(&truth->disk_id, p->id);
}

static void pending_end(bool committed)
{
	for (size_t i = 0; i < pending_count; i++) {
		struct pending *p = &pending[i];
		struct task_truth *truth = &world.tasks[p->task];
		if (committed && p->container >= 0)
			shadow_container(p);
		else if (committed)
			truth->on_disk = p->container == -1;
		if (committed && p->container == -1)
			truth->disk_known = (enum task_status)p->known;
		free(p->name);
		free(p->id);
	}
	free(TAKE(pending));
	pending_count = 0;
	if (committed && world.pending_transition > world.committed_transition)
		world.committed_transition = world.pending_transition;
	world.pending_transition = 0;
}

WRAP(int, store_begin, struct store *store, struct error *err)
{
	pending_end(false);
	if (world.dead)
		return error_set(err, EIO, "killed");
	return __real_store_begin(store, err);
}

WRAP(int, store_put_task, struct store *store, const struct task *task, struct error *err)
{
	pending_add(&(struct pending){world_task_index(task->arn), -1, (int)task->known, NULL, NULL});
	return world.mutation == TASK_NOT_WRITTEN ? 0 : __real_store_put_task(store, task, err);
}

WRAP(int, store_put_container, struct store *store, const struct task *task, size_t index, struct error *err)
{
	const struct container *c = &task->containers[index];
	pending_add(&(struct pending){world_task_index(task->arn), world_container_index(c->name), (int)c->known,
				      xstrdup(c->docker_name), xstrdup(c->docker_id)});
	return __real_store_put_container(store, task, index, err);
}

WRAP(int, store_delete_task, struct store *store, const char *arn, struct error *err)
{
	pending_add(&(struct pending){world_task_index(arn), -2, 0, NULL, NULL});
	return world.mutation == ROWS_LEFT ? 0 : __real_store_delete_task(store, arn, err);
}

WRAP(int, store_put_transition, struct store *store, const struct transition *t, struct error *err)
{
	if (t->id > world.pending_transition)
		world.pending_transition = t->id;
	return __real_store_put_transition(store, t, err);
}

// disk_full: the ballast, once given up, makes room for what is running.
static int commit_fault(const struct store *store)
{
	if (world.crash == CRASH_BEFORE_COMMIT + 1)
		world.dead = true;
	if (world.dead)
		return EIO;
	// With a kill or a full disk before all is written anew, only what Docker's labels hold is left.
	if (world.damaged && !world.disk_full && !world.crash) {
		world.damaged = false;
		return EBADMSG;
	}
	return world.disk_full && (world.disk_full_for_all || !store_disk_full(store)) ? ENOSPC : 0;
}

WRAP(int, store_commit, struct store *store, struct error *err)
{
	int fault = commit_fault(store);
	world.uncommitted = fault != 0;
	if (fault) {
		trace("  commit fails: %d", fault);
		pending_end(false);
		return error_set(err, fault, "model");
	}
	if (world.mutation == COMMIT_LIES) {
		store_rollback(store);
		pending_end(false);
		return 0;
	}
	int r = __real_store_commit(store, err);
	pending_end(r == 0);
	if (world.crash == CRASH_AFTER_COMMIT + 1)
		world.dead = true;
	return r;
}

// --- decisions ---

static void mutate_facts(struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		if (world.mutation == STATUS_FALLS && c->known == CONTAINER_RUNNING && c->desired == CONTAINER_STOPPED)
			c->known = CONTAINER_CREATED;
	}
}

static void keep_all_but(struct actions *out, enum operation operation)
{
	size_t kept = 0;
	for (size_t i = 0; i < out->count; i++) {
		if (out->items[i].kind != ACTION_OPERATE || out->items[i].operation != operation)
			out->items[kept++] = out->items[i];
	}
	out->count = kept;
}

static void mutate_actions(const struct reconcile_env *env, const struct task *task, struct actions *out)
{
	if (world.mutation == ESSENTIAL_IGNORED && out->count > 0 && out->items[0].kind == ACTION_TASK_STOP)
		out->count = 0;
	if (world.mutation == NO_CREATE)
		keep_all_but(out, OP_CREATE);
	for (size_t i = 0; i < out->count; i++) {
		struct action *action = &out->items[i];
		if (world.mutation == WAKE_NOW && action->kind == ACTION_WAKE)
			action->at = env->now;
		bool operates = action->kind == ACTION_OPERATE;
		if (world.mutation == CREATED_IS_RUNNING && operates && action->operation == OP_START) {
			struct action decision = {.kind = ACTION_CONTAINER_KNOWN,
						  .container = action->container,
						  .container_status = CONTAINER_RUNNING};
			out->items[0] = decision;
			out->count = 1;
		}
		const struct container *c = &task->containers[action->container];
		if (world.mutation == STOPPED_UNWANTED && operates && c->known == CONTAINER_CREATED && c->docker_id)
			action->operation = OP_STOP;
	}
}

WRAP(void, reconcile, const struct task *task, const struct reconcile_env *env, struct actions *out)
{
	// Every container can take a few steps in one turn, and each decision is a round.
	if (++world.reconciles > 200 + 100 * CONTAINERS_MAX)
		violated("NO_BUSY_LOOP", "%u rounds of reconcile() in one turn", world.reconciles);
	struct reconcile_env mutated = *env;
	if (world.mutation == NO_CLEANUP_WAIT)
		mutated.cleanup_wait_ms = mutated.cleanup_jitter_ms = 0;
	if (world.mutation)
		mutate_facts((struct task *)task);
	__real_reconcile(task, &mutated, out);
	if (world.violated) { // ends a loop that would not end
		actions_clear(out);
		return;
	}
	if (world.mutation)
		mutate_actions(&mutated, task, out);
	for (size_t i = 0; i < out->count; i++) {
		if (out->items[i].kind == ACTION_WAKE && out->items[i].at <= env->now)
			violated("NO_BUSY_LOOP", "a wake-up in the past");
	}
}

WRAP(enum dependency_verdict, dependency_check, const struct task *task, const struct container *target,
     int64_t now_wall_ms, double scale, int64_t *wake_in_ms, char **text)
{
	if (world.mutation == DEPENDENCIES_MET)
		return DEPENDENCY_MET;
	return __real_dependency_check(task, target, now_wall_ms, scale, wake_in_ms, text);
}

WRAP(bool, dependency_may_stop, const struct task *task, const struct container *container)
{
	return world.mutation != NO_STOP && __real_dependency_may_stop(task, container);
}

WRAP(void, schedule, struct schedule_ask *asks, size_t count, const struct schedule_limits *limits)
{
	(void)limits;
	__real_schedule(asks, count, &model_limits);
	for (size_t i = 0; i < count; i++) {
		if (world.mutation == ALL_GRANTED && !asks[i].in_flight)
			asks[i].granted = true;
		for (size_t k = i + 1; world.mutation == LAST_FIRST && k < count; k++) {
			if (asks[i].kind == asks[k].kind && !asks[i].in_flight && !asks[k].in_flight &&
			    asks[i].granted && !asks[k].granted) {
				asks[i].granted = false;
				asks[k].granted = true;
			}
		}
	}
	check_schedule(asks, count);
}

WRAP(void, schedule_host, const struct host_totals *totals, struct host_ask *asks, size_t count)
{
	struct host_ask *before = xmemdup(asks, count * sizeof(*asks));
	__real_schedule_host(totals, asks, count);
	for (size_t i = 0; world.mutation == ALL_ADMITTED && i < count; i++) {
		if (asks[i].state == HOST_WAITS)
			asks[i].state = HOST_HOLDS;
	}
	check_host(before, asks, count);
	free(before);
}

WRAP(uint16_t, schedule_port, const uint8_t *used, uint16_t first, uint16_t last_port, uint16_t last_assigned)
{
	if (world.mutation == SAME_PORT)
		return first;
	return __real_schedule_port(used, first, last_port, last_assigned);
}

// --- effects ---

WRAP(void, engine_operate, struct container_ref *ref, enum operation operation)
{
	__real_engine_operate(ref, operation);
	if (world.mutation == TWO_OPERATIONS && operation == OP_START) {
		ref_container(ref)->in_flight = OP_NONE;
		__real_engine_operate(ref, OP_INSPECT);
	}
}

WRAP(void, engine_observe, struct container_ref *ref, const struct docker_container *info)
{
	struct docker_container mutated = *info;
	if (world.mutation == STARTED_AGAIN && !info->running)
		mutated.started = false;
	__real_engine_observe(ref, &mutated);
}

WRAP(void, engine_observe_missing, struct container_ref *ref)
{
	if (world.mutation == NAME_FORGOTTEN) {
		free(TAKE(ref_container(ref)->docker_name));
		ref_container(ref)->dirty = true;
	}
	__real_engine_observe_missing(ref);
}

WRAP(void, container_set_error, struct container *container, const char *name, const char *text)
{
	if (world.mutation == LAST_ERROR) {
		free(TAKE(container->error.name));
		free(TAKE(container->error.text));
	}
	__real_container_set_error(container, name, text);
}

WRAP(void, engine_record_container, struct engine *engine, struct entry *entry, size_t index,
     enum container_status status)
{
	struct container *c = &entry->task->containers[index];
	if (world.mutation == EXIT_CODE_LOST && c->has_exit_code)
		c->exit_code = 0;
	__real_engine_record_container(engine, entry, index, status);
	if (world.mutation == RUNNING_AFTER_END && status == CONTAINER_STOPPED)
		__real_engine_record_container(engine, entry, index, CONTAINER_RUNNING);
}

WRAP(void, engine_record_task, struct engine *engine, struct entry *entry, enum task_status status)
{
	bool more = world.mutation == TOLD_TOO_MUCH && status == TASK_RUNNING;
	__real_engine_record_task(engine, entry, more ? TASK_STOPPED : status);
}

bool mutate_answer(const struct docker_call *call, struct docker_error *err)
{
	if (world.mutation != UNKNOWN_IS_GONE || call->kind != CALL_INSPECT || err->failure != DOCKER_UNKNOWN)
		return false;
	err->failure = DOCKER_NOT_FOUND;
	return true;
}
