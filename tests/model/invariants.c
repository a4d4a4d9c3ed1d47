#include "invariants.h"

#include "common/util.h"
#include "engine/dependency.h"
#include <inttypes.h>
#include <stdarg.h>

const char *const invariant_names[] = {"STATUS_GROWS",
				       "ONE_IN_FLIGHT",
				       "CREATED_ONCE",
				       "DEPENDENCIES",
				       "NOT_WHILE_RUNNING",
				       "RUNNING_IS_TRUE",
				       "NO_RESTART",
				       "STOP_IS_WANTED",
				       "EXIT_CODE_IS_TRUE",
				       "FIRST_ERROR",
				       "ESSENTIAL",
				       "REPORT_ORDER",
				       "REPORT_IS_TRUE",
				       "COMMIT_FIRST",
				       "DURABLE",
				       "SLOTS",
				       "FIFO",
				       "PORTS",
				       "HOST",
				       "CLEANUP",
				       "NO_BUSY_LOOP",
				       "LAUNCHES",
				       "ENDS",
				       "NOTHING_LEFT"};
const size_t invariant_count = ARRAY_SIZE(invariant_names);

enum { CLEANUP_WAIT_MS = 60 * 1000, NEVER_CODE = 143 };

void violated(const char *invariant, const char *format, ...)
{
	if (world.violated)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(world.detail, sizeof(world.detail), format, args);
	va_end(args);
	world.violated = invariant;
	trace("VIOLATED %s: %s", invariant, world.detail);
}

const char *call_name(enum call_kind kind)
{
	static const char *const names[CALL_KINDS] = {"create", "start", "stop",     "inspect", "remove", "list",
						      "image",  "pull",  "manifest", "tag",     "volume", "connect"};
	return names[kind];
}

static struct truth *truth_of_ref(const struct container_ref *ref, struct task_truth **task)
{
	int t = world_task_index(ref->entry->task->arn);
	*task = &world.tasks[t];
	return &world.tasks[t].containers[world_container_index(ref_container(ref)->name)];
}

// --- calls ---

static bool on_container(enum call_kind kind)
{
	return kind <= CALL_REMOVE;
}

static void check_one_in_flight(const struct docker_call *call)
{
	for (const struct docker_call *other = world.calls; other; other = other->next) {
		if (other != call && on_container(other->kind) && other->arg == call->arg)
			violated("ONE_IN_FLIGHT", "%s while %s is under way", call_name(call->kind),
				 call_name(other->kind));
	}
}

const struct schedule_limits model_limits = {
	.slots = {[SCHEDULE_PULL] = 4, [SCHEDULE_LAUNCH] = 4, [SCHEDULE_INSPECT] = 16},
};

static bool is_launch(enum call_kind kind)
{
	return kind == CALL_CREATE || kind == CALL_START;
}

// Creates and starts share their slots.
static void check_slots(const struct docker_call *call)
{
	unsigned bound = model_limits.slots[SCHEDULE_LAUNCH];
	unsigned young = 0, all = 0;
	for (const struct docker_call *other = world.calls; other; other = other->next) {
		if (!is_launch(other->kind))
			continue;
		all++;
		young += world.now - other->since < SCHEDULE_STUCK_MS;
	}
	if (young > bound || all > bound * SCHEDULE_HARD_CAP)
		violated("SLOTS", "%s: %u under way, %u of them young", call_name(call->kind), all, young);
}

// Whether the dependency is, in truth, as the condition demands. One that was given up before it ran counts as over
// (STOPPED is more than CREATED and RUNNING, and 143 is an exit code), as with the official agent.
static bool is_met(const struct task *task, const struct task_truth *truth, const struct depends_on *d)
{
	const struct truth *on = &truth->containers[world_container_index(d->container)];
	bool over = task_container(task, d->container)->known == CONTAINER_STOPPED;
	switch (d->condition) {
	case DEPENDS_CREATE:
		return on->existed || over;
	case DEPENDS_START:
		return on->started || over;
	case DEPENDS_COMPLETE:
		return on->ended || over;
	case DEPENDS_SUCCESS:
		return on->codes & 1;
	case DEPENDS_HEALTHY:
		return on->healthy;
	default:
		return false;
	}
}

static void check_dependencies(const struct container_ref *ref, const char *what)
{
	struct task_truth *task;
	truth_of_ref(ref, &task);
	const struct container *c = ref_container(ref);
	for (size_t i = 0; i < c->depends_on_count; i++) {
		if (!is_met(ref->entry->task, task, &c->depends_on[i]))
			violated("DEPENDENCIES", "%s of %s before %s is there", what, c->name,
				 c->depends_on[i].container);
	}
}

static void check_create(const struct docker_call *call, const struct container_ref *ref)
{
	struct task_truth *task;
	const struct truth *truth = truth_of_ref(ref, &task);
	check_dependencies(ref, "create");
	check_slots(call);
	if (truth->disk_id)
		violated("CREATED_ONCE", "create although %s was created", truth->disk_id);
	if (!str_equal(truth->disk_name, call->target))
		violated("COMMIT_FIRST", "create of %s before its name is on disk", call->target);
}

static void check_remove(const struct container_ref *ref)
{
	struct task_truth *task;
	truth_of_ref(ref, &task);
	const struct entry *entry = ref->entry;
	if (task->disk_known != TASK_STOPPED)
		violated("CLEANUP", "remove before the task is STOPPED");
	else if (entry->task->unreported)
		violated("CLEANUP", "remove before ECS was told");
	else if (world_wall() - task->stopped_ms < CLEANUP_WAIT_MS)
		violated("CLEANUP", "remove after %" PRId64 " ms", world_wall() - task->stopped_ms);
}

void check_call(const struct docker_call *call)
{
	if (!on_container(call->kind))
		return;
	const struct container_ref *ref = call->arg;
	const struct container *c = ref_container(ref);
	struct task_truth *task;
	const struct truth *truth = truth_of_ref(ref, &task);
	check_one_in_flight(call);
	if (world.uncommitted && call->kind != CALL_INSPECT && call->kind != CALL_STOP)
		violated("COMMIT_FIRST", "%s after a commit that failed", call_name(call->kind));
	switch (call->kind) {
	case CALL_CREATE:
		check_create(call, ref);
		break;
	case CALL_START:
		check_dependencies(ref, "start");
		check_slots(call);
		if (truth->told_started)
			violated("NO_RESTART", "start of %s, which was started", call->target);
		if (!str_equal(truth->disk_id, call->target))
			violated("COMMIT_FIRST", "start of %s before its id is on disk", call->target);
		break;
	case CALL_STOP:
		if (c->desired != CONTAINER_STOPPED && c->known != CONTAINER_STOPPED)
			violated("STOP_IS_WANTED", "stop of %s", call->target);
		break;
	case CALL_REMOVE:
		check_remove(ref);
		break;
	default:
		break;
	}
}

void check_remove_refused(const struct docker_call *call)
{
	struct task_truth *task;
	truth_of_ref(call->arg, &task);
	task->remove_refused = true;
}

static void check_ports(const struct box *box, const struct box *other)
{
	for (size_t i = 0; i < box->port_count; i++) {
		for (size_t k = 0; k < other->port_count; k++) {
			if (box->ports[i].host_port == other->ports[k].host_port &&
			    str_equal(box->ports[i].protocol, other->ports[k].protocol))
				violated("PORTS", "host port %u is given twice", box->ports[i].host_port);
		}
	}
}

// What is on disk is known, also in a turn that a kill cuts short.
static bool is_over(const struct task_truth *task)
{
	return task->known == TASK_STOPPED || task->disk_known == TASK_STOPPED;
}

// Of containers whose tasks are over the ports may be had: they do not run.
void check_created(const struct box *box)
{
	for (const struct box *other = world.boxes; other; other = other->next) {
		if (other == box || box->task < 0 || other->task < 0)
			continue;
		if (other->task == box->task && other->container == box->container)
			violated("CREATED_ONCE", "two containers: %s and %s", box->name, other->name);
		if (!is_over(&world.tasks[box->task]) && !is_over(&world.tasks[other->task]))
			check_ports(box, other);
	}
}

// --- turns ---

// What is so at the moment when it becomes known counts, also if the disk is full for long after that.
static void check_container_stopped(struct truth *truth, int task, int container)
{
	truth->seen_stopped = true;
	const struct box *box = docker_box_of(task, container);
	// What somebody started by hand is seen a moment later, and then stopped.
	truth->expects_exit = box && box->state == BOX_EXITED && !box->by_hand;
	if (box && box->state == BOX_RUNNING && !box->ended && !box->by_hand)
		violated("NOT_WHILE_RUNNING", "task %d container %d is known STOPPED and runs", task, container);
}

static void check_container(const struct task *task, int t, const struct container *c)
{
	int i = world_container_index(c->name);
	struct truth *truth = &world.tasks[t].containers[i];
	if (c->known < truth->known || c->desired < truth->desired)
		violated("STATUS_GROWS", "container %d.%d: %s to %s", t, i, container_status_name(truth->known),
			 container_status_name(c->known));
	if (c->known >= CONTAINER_RUNNING && c->known < CONTAINER_STOPPED && !truth->started)
		violated("RUNNING_IS_TRUE", "container %d.%d was never started", t, i);
	if (truth->error && !str_equal(truth->error, c->error.name))
		violated("FIRST_ERROR", "container %d.%d: %s became %s", t, i, truth->error,
			 c->error.name ? c->error.name : "none");
	if (!truth->error && c->error.name)
		truth->error = xstrdup(c->error.name);
	truth->known = c->known;
	truth->desired = c->desired;
	if (c->essential && c->known == CONTAINER_STOPPED && task->desired != TASK_STOPPED)
		violated("ESSENTIAL", "task %d goes on without container %d", t, i);
}

static void check_stopped(const struct task *task)
{
	int t = world_task_index(task->arn);
	for (size_t k = 0; k < task->container_count; k++) {
		int i = world_container_index(task->containers[k].name);
		struct truth *truth = &world.tasks[t].containers[i];
		if (task->containers[k].known == CONTAINER_STOPPED && !truth->seen_stopped)
			check_container_stopped(truth, t, i);
	}
}

static void check_task(const struct entry *entry)
{
	const struct task *task = entry->task;
	int t = world_task_index(task->arn);
	struct task_truth *truth = &world.tasks[t];
	if (task->known < truth->known || task->desired < truth->desired)
		violated("STATUS_GROWS", "task %d: %s to %s", t, task_status_name(truth->known),
			 task_status_name(task->known));
	if (task->known == TASK_STOPPED && truth->stopped_ms == 0)
		truth->stopped_ms = task->known_ms;
	truth->known = task->known;
	truth->desired = task->desired;
	for (size_t i = 0; i < task->container_count; i++)
		check_container(task, t, &task->containers[i]);
}

static bool holds(const struct task *task)
{
	if (task->known == TASK_STOPPED)
		return false;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if ((c->known > CONTAINER_NONE && c->known < CONTAINER_STOPPED) || c->in_flight != OP_NONE)
			return true;
	}
	return false;
}

// From the sequence's own figures, not from the engine's.
static void check_host_sums(void)
{
	int64_t cpu = 0, memory = 0;
	bool ports[2][8] = {{0}};
	for (size_t e = 0; e < world.engine->count; e++) {
		const struct task *task = world.engine->entries[e]->task;
		if (world.engine->entries[e]->refused || !holds(task))
			continue;
		const struct model_task *model = &world.sequence->tasks[world_task_index(task->arn)];
		cpu += model->cpu * 256;
		memory += model->memory;
		for (int i = 0; i < model->container_count; i++) {
			const struct model_container *c = &model->containers[i];
			if (!c->present)
				continue;
			cpu += model->cpu ? 0 : c->cpu;
			memory += model->memory ? 0 : c->memory;
			if (c->static_port && ports[c->udp][c->static_port - 1000])
				violated("HOST", "host port %d is held twice", c->static_port);
			if (c->static_port)
				ports[c->udp][c->static_port - 1000] = true;
		}
	}
	if (cpu > world.sequence->host_cpu || memory > world.sequence->host_memory)
		violated("HOST", "cpu %" PRId64 ", memory %" PRId64, cpu, memory);
}

void check_turn(void)
{
	if (world.dead)
		return;
	for (size_t i = 0; i < world.engine->count; i++) {
		const struct entry *entry = world.engine->entries[i];
		if (entry->refused || !world.engine->ready)
			continue; // not decided yet: Docker is not here
		check_stopped(entry->task);
		if (!world.engine->commit_failed) // after one nothing more is decided
			check_task(entry);
	}
	if (world.engine->ready)
		check_host_sums();
}

void check_idle(void)
{
	for (size_t i = 0; i < world.engine->count; i++) {
		uint64_t at = world.engine->entries[i]->wake_at;
		if (world.engine->ready && !world.engine->commit_failed && at != 0 && at <= world.now)
			violated("NO_BUSY_LOOP", "a wake-up in the past");
	}
}

void check_restarted(void)
{
	for (int t = 0; t < world.sequence->task_count; t++) {
		struct task_truth *truth = &world.tasks[t];
		const struct entry *entry = world_entry(t);
		if (!truth->on_disk && (truth->told == TASK_STOPPED || truth->gave_up))
			truth->finished = true; // killed between the last commit and its effects
		if (truth->acknowledged && !truth->finished && !truth->refused && !entry)
			violated("DURABLE", "task %d is lost", t);
		if (!entry || entry->refused)
			continue;
		if (truth->told_any && entry->task->known < truth->told)
			violated("STATUS_GROWS", "task %d is less than ECS was told", t);
		truth->known = entry->task->known;
		truth->desired = entry->task->desired;
		truth->stopped_ms = entry->task->known == TASK_STOPPED ? entry->task->known_ms : 0;
		for (size_t i = 0; i < entry->task->container_count; i++) {
			const struct container *c = &entry->task->containers[i];
			struct truth *container = &truth->containers[world_container_index(c->name)];
			if (c->known < container->told)
				violated("STATUS_GROWS", "container %d.%s is less than ECS was told", t, c->name);
			if (container->on_disk &&
			    (c->known != container->disk_known || !str_equal(c->docker_id, container->disk_id) ||
			     !str_equal(c->docker_name, container->disk_name)))
				violated("DURABLE", "container %d.%s is not what was written", t, c->name);
			container->known = c->known;
			container->desired = c->desired;
			container->seen_stopped = c->known == CONTAINER_STOPPED;
			container->told_started = false;
			free(container->error);
			container->error = xstrdup(c->error.name);
		}
	}
}

// --- what ECS is told ---

// A message may say again what one before it said whose answer was lost: its last word on a container counts.
static void check_order(const struct state_change *change, struct task_truth *task)
{
	enum container_status last[CONTAINERS_MAX] = {0};
	for (size_t i = 0; i < change->container_count; i++) {
		int c = world_container_index(change->containers[i].name);
		if (change->containers[i].status <= last[c])
			violated("REPORT_ORDER", "container %d: twice or backwards in one message", c);
		last[c] = change->containers[i].status;
	}
	for (int c = 0; c < CONTAINERS_MAX; c++) {
		if (last[c] == CONTAINER_NONE)
			continue;
		if (last[c] < task->containers[c].told)
			violated("REPORT_ORDER", "container %d: %s after %s", c, container_status_name(last[c]),
				 container_status_name(task->containers[c].told));
		task->containers[c].told = last[c];
	}
}

static void check_container_told(const struct container_change *change, struct truth *truth)
{
	if (truth->known < change->status)
		violated("REPORT_IS_TRUE", "container %s is not %s", change->name,
			 container_status_name(change->status));
	if (truth->disk_known < change->status)
		violated("COMMIT_FIRST", "ECS is told of %s before it is on disk", change->name);
	if (change->status != CONTAINER_STOPPED)
		return;
	bool never = change->has_exit_code && change->exit_code == NEVER_CODE && change->reason;
	uint64_t bit = change->exit_code == 0 ? 1 : change->exit_code == 1 ? 2 : change->exit_code == 137 ? 4 : 8;
	if (change->has_exit_code && !never && !(truth->codes & bit))
		violated("EXIT_CODE_IS_TRUE", "container %s did not end with %d", change->name, change->exit_code);
	if (!change->has_exit_code && truth->expects_exit)
		violated("EXIT_CODE_IS_TRUE", "the exit code of container %s is not told", change->name);
	if (truth->told_exit && change->exit_code != truth->told_exit_code)
		violated("EXIT_CODE_IS_TRUE", "container %s: another exit code", change->name);
	truth->told_exit = change->has_exit_code;
	truth->told_exit_code = change->exit_code;
}

void check_told(const struct state_change *change, int t)
{
	struct task_truth *truth = &world.tasks[t];
	if (truth->told_any && change->status < truth->told)
		violated("REPORT_ORDER", "task %d: %s after %s", t, task_status_name(change->status),
			 task_status_name(truth->told));
	truth->told_any = true;
	truth->told = change->status;
	check_order(change, truth);
	for (size_t i = 0; i < change->container_count; i++)
		check_container_told(&change->containers[i],
				     &truth->containers[world_container_index(change->containers[i].name)]);
	const struct entry *entry = world_entry(t);
	if (!entry || entry->refused)
		return;
	if (truth->known < change->status)
		violated("REPORT_IS_TRUE", "task %d is not %s", t, task_status_name(change->status));
	if (truth->disk_known < change->status || change->last_transition > world.committed_transition)
		violated("COMMIT_FIRST", "ECS is told of task %d before it is on disk", t);
	for (size_t i = 0; change->status == TASK_STOPPED && i < entry->task->container_count; i++) {
		if (entry->task->containers[i].known != CONTAINER_STOPPED)
			violated("REPORT_IS_TRUE", "task %d is told STOPPED before container %zu", t, i);
	}
}

void check_forgotten(const struct task *task)
{
	int t = world_task_index(task->arn);
	struct task_truth *truth = &world.tasks[t];
	truth->finished = true;
	if (task->container_count > 0 && truth->told != TASK_STOPPED && !truth->gave_up)
		violated("CLEANUP", "task %d is forgotten before ECS was told", t);
	for (const struct box *box = world.boxes; box; box = box->next) {
		if (box->task == t && !truth->remove_refused)
			violated("CLEANUP", "task %d is forgotten and %s is there", t, box->id);
	}
}

// --- the pure functions ---

void check_schedule(const struct schedule_ask *asks, size_t count)
{
	bool refused[SCHEDULE_KINDS] = {0};
	for (size_t i = 0; i < count; i++) {
		if (asks[i].in_flight || model_limits.slots[asks[i].kind] == 0)
			continue;
		if (asks[i].granted && refused[asks[i].kind])
			violated("FIFO", "a slot is given past one who waits");
		refused[asks[i].kind] |= !asks[i].granted;
	}
}

void check_host(const struct host_ask *before, const struct host_ask *after, size_t count)
{
	bool waits = false;
	for (size_t i = 0; i < count; i++) {
		if (before[i].state != HOST_WAITS)
			continue;
		if (after[i].state == HOST_HOLDS && waits)
			violated("FIFO", "a share of the host is given past one who waits");
		waits |= after[i].state == HOST_WAITS;
	}
}

// --- the end ---

static bool may_wait(const struct task *task, const struct container *c)
{
	for (size_t i = 0; i < c->depends_on_count; i++) {
		const struct container *on = task_container(task, c->depends_on[i].container);
		if (on && on->known != CONTAINER_STOPPED)
			return true; // runs and is not healthy, or is waited for to end; or waits itself
	}
	// One that is to stop goes after those that depend on it (task-engine.md §6.4).
	for (size_t i = 0; c->desired == CONTAINER_STOPPED && i < task->container_count; i++) {
		const struct container *other = &task->containers[i];
		for (size_t k = 0; other->known != CONTAINER_STOPPED && k < other->depends_on_count; k++) {
			if (str_equal(other->depends_on[k].container, c->name))
				return true;
		}
	}
	return false;
}

void check_launched(void)
{
	bool queue = false;
	for (size_t e = 0; e < world.engine->count; e++) {
		const struct entry *entry = world.engine->entries[e];
		const struct task *task = entry->task;
		if (entry->refused || task->known == TASK_STOPPED)
			continue;
		bool holders = false;
		for (size_t k = 0; k < world.engine->count; k++)
			holders |= world.engine->entries[k] != entry && holds(world.engine->entries[k]->task);
		if (task->queued) {
			if (!holders)
				violated("LAUNCHES", "a task waits for a host that is empty");
			queue = true;
			continue;
		}
		for (size_t i = 0; i < task->container_count; i++) {
			const struct container *c = &task->containers[i];
			if (c->known < c->desired && !may_wait(task, c))
				violated("LAUNCHES", "container %s of task %d hangs at %s", c->name,
					 world_task_index(task->arn), container_status_name(c->known));
		}
	}
	(void)queue;
}

void check_empty(void)
{
	for (const struct box *box = world.boxes; box; box = box->next) {
		if (box->task >= 0 && !world.tasks[box->task].remove_refused)
			violated("NOTHING_LEFT", "container %s is left", box->id);
	}
	for (int t = 0; t < world.sequence->task_count; t++) {
		const struct task_truth *truth = &world.tasks[t];
		if (truth->on_disk)
			violated("NOTHING_LEFT", "task %d is left on disk", t);
		if (truth->acknowledged && !truth->gave_up && truth->told != TASK_STOPPED &&
		    world.sequence->tasks[t].container_count > 0)
			violated("ENDS", "ECS was not told that task %d stopped", t);
	}
}
