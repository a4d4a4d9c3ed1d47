#include "world.h"

#include "common/log.h"
#include "common/util.h"
#include "hooks.h"
#include "invariants.h"
#include <inttypes.h>
#include <stdarg.h>

#define ARN "arn:aws:ecs:us-west-2:123456789012:task/c/%d"

enum {
	TURNS_MAX = 300,           // of one step: a long way from frame to report of ten containers is some 60
	HOPS_MAX = 3000,           // timers in two minutes
	ROUNDS_MAX = 400,          // of answers at one moment: six tasks of ten containers, one after the other
	LAUNCH_MS = 5 * 60 * 1000, // in which everything that can run does, once faults have ceased
	END_MS = 20 * 60 * 1000,   // in which everything is gone: stop, report, clean-up
	PORT_FIRST = 40000,
};

struct world world;

void trace(const char *format, ...)
{
	if (!world.trace)
		return;
	va_list args;
	va_start(args, format);
	fprintf(world.trace, "%8" PRIu64 " ", world.now);
	vfprintf(world.trace, format, args);
	fprintf(world.trace, "\n");
	va_end(args);
}

int world_task_index(const char *arn)
{
	int index;
	return arn && sscanf(arn, ARN, &index) == 1 ? index : -1;
}

int world_container_index(const char *name)
{
	return name && name[0] == 'c' ? atoi(name + 1) : -1;
}

static const char *arn_of(int task)
{
	static char arn[80];
	snprintf(arn, sizeof(arn), ARN, task);
	return arn;
}

struct entry *world_entry(int task)
{
	return engine_entry(world.engine, arn_of(task));
}

// --- the process ---

static void on_report(const char *arn, void *arg)
{
	(void)arg;
	world.tasks[world_task_index(arn)].wants_report = true;
}

static void on_task(const struct task *task, void *arg)
{
	(void)task, (void)arg;
}

static void on_forgotten(const struct task *task, void *arg)
{
	(void)arg;
	if (!world.dead)
		check_forgotten(task);
}

static void start_engine(void)
{
	const struct sequence *q = world.sequence;
	struct error err = {0};
	world.engine = engine_new(&(struct engine_options){.loop = model_loop(),
							   .store = world.store,
							   .logd = (struct logd *)&world,
							   .cluster = "c",
							   .region = "us-west-2",
							   .pull_behavior = q->pull_behavior,
							   .pull_timeout_ms = 7200000,
							   .manifest_timeout_ms = 60000,
							   .stop_timeout_ms = 30000,
							   .cleanup_wait_ms = 60000,
							   .cleanup_jitter_ms = 30000,
							   .port_first = PORT_FIRST,
							   .port_last = (uint16_t)(PORT_FIRST + q->ports - 1),
							   .host_cpu = q->host_cpu,
							   .host_memory_mib = q->host_memory,
							   .images = {.disabled = true},
							   .on_report = on_report,
							   .on_task_changed = on_task,
							   .on_task_stopped = on_task,
							   .on_task_forgotten = on_forgotten});
	engine_set_cgroups(world.engine, (struct cgroups *)&world, q->cgroups);
	if (engine_load(world.engine, &err) < 0)
		violated("DURABLE", "state cannot be loaded: %s", err.message);
	engine_start(world.engine, NULL, NULL);
	if (!world.away)
		docker_come_back();
}

static void restart(void)
{
	trace("killed and started again");
	world.dead = true;
	world.engine = engine_free(world.engine);
	docker_forget_client();
	model_loop_reset();
	world.dead = world.uncommitted = false;
	world.crash = 0;
	for (int t = 0; t < world.sequence->task_count; t++)
		world.tasks[t].report_out = false;
	start_engine();
	check_restarted();
}

// Turns until nothing is left to do at this moment.
static void pump(void)
{
	bool any = true;
	for (unsigned turns = 0; any && !world.violated; turns++) {
		world.reconciles = 0;
		any = model_loop_run();
		world.turns++;
		if (world.dead)
			restart();
		else
			check_turn();
		if (turns > TURNS_MAX)
			violated("NO_BUSY_LOOP", "turns without end");
	}
	check_idle();
}

static void pass_time(uint64_t ms)
{
	uint64_t end = world.now + ms;
	for (unsigned hops = 0; !world.violated; hops++) {
		uint64_t timer = model_loop_next(), late = docker_late_next();
		uint64_t next = timer < late ? timer : late;
		if (next > end)
			break;
		if (next > world.now)
			world.now = next;
		docker_settle(world.now);
		pump();
		if (hops > HOPS_MAX)
			violated("NO_BUSY_LOOP", "timers without end");
	}
	world.now = end;
	pump();
}

// --- ECS ---

static void add_dependency(json_object *c, const struct model_link *link, json_object *depends, json_object *volumes,
			   json_object *links)
{
	static const char *const conditions[] = {"CREATE", "START", "COMPLETE", "SUCCESS", "HEALTHY", "BOGUS"};
	char name[8];
	(void)c;
	snprintf(name, sizeof(name), "c%d", link->on);
	if (link->kind == LINK_LINK) {
		json_object_array_add(links, json_object_new_string(name));
		return;
	}
	json_object *item = json_object_new_object();
	json_add_string(item, link->kind == LINK_VOLUMES ? "sourceContainer" : "containerName", name);
	if (link->kind != LINK_VOLUMES)
		json_add_string(item, "condition", conditions[link->kind]);
	json_object_array_add(link->kind == LINK_VOLUMES ? volumes : depends, item);
}

static json_object *ports_of(const struct model_container *c)
{
	json_object *ports = json_object_new_array();
	for (int p = 0; p < c->dynamic_ports + (c->static_port > 0); p++) {
		bool fixed = p == c->dynamic_ports;
		json_object *port = json_object_new_object();
		json_add_int(port, "containerPort", 80 + p);
		json_add_int(port, "hostPort", fixed ? c->static_port : 0);
		json_add_string(port, "protocol", fixed && c->udp ? "udp" : "tcp");
		json_object_array_add(ports, port);
	}
	return ports;
}

static json_object *container_of(const struct model_task *task, int index)
{
	const struct model_container *c = &task->containers[index];
	json_object *o = json_object_new_object();
	json_object *depends = json_object_new_array(), *volumes = json_object_new_array(),
		    *links = json_object_new_array();
	char text[128];
	snprintf(text, sizeof(text), "c%d", index);
	json_add_string(o, "name", text);
	snprintf(text, sizeof(text), "r/i%d%s", c->image,
		 c->by_digest ? "@sha256:0123456789012345678901234567890123456789012345678901234567890123" : "");
	json_add_string(o, "image", text);
	json_add_bool(o, "essential", c->essential);
	json_add_int(o, "cpu", c->cpu);
	json_add_int(o, "memory", c->memory);
	json_add_int(o, "startTimeout", c->start_timeout);
	json_add_int(o, "stopTimeout", c->stop_timeout);
	if (c->health)
		json_add_string(o, "healthCheckType", "docker");
	if (index % 2) { // ecs-logd is asked first
		json_object *docker = json_object_new_object();
		json_add_string(docker, "hostConfig", "{\"LogConfig\":{\"Type\":\"syslog\"}}");
		json_add(o, "dockerConfig", docker);
	}
	for (int i = 0; i < c->link_count; i++) {
		if (task->containers[c->links[i].on].present)
			add_dependency(o, &c->links[i], depends, volumes, links);
	}
	json_add(o, "dependsOn", depends);
	json_add(o, "volumesFrom", volumes);
	json_add(o, "links", links);
	json_add(o, "portMappings", ports_of(c));
	return o;
}

static json_object *payload(int index)
{
	const struct model_task *task = &world.sequence->tasks[index];
	json_object *o = json_object_new_object(), *containers = json_object_new_array();
	json_add_string(o, "arn", arn_of(index));
	json_add_string(o, "family", "f");
	json_add_string(o, "version", "1");
	json_add_string(o, "desiredStatus", "RUNNING");
	if (task->cpu)
		json_add(o, "cpu", json_object_new_double(task->cpu * 0.25));
	if (task->memory)
		json_add_int(o, "memory", task->memory);
	if (task->volume) {
		json_object *volume = json_object_new_object(), *list = json_object_new_array();
		json_add_string(volume, "name", "v");
		json_add(volume, "host", json_object_new_object());
		json_object_array_add(list, volume);
		json_add(o, "volumes", list);
	}
	for (int i = 0; i < task->container_count; i++) {
		if (task->containers[i].present)
			json_object_array_add(containers, container_of(task, i));
	}
	json_add(o, "containers", containers);
	return o;
}

static void acknowledged(void *arg)
{
	struct task_truth *truth = arg;
	truth->acknowledged |= !world.dead;
}

static void add_task(int t)
{
	struct task_truth *truth = &world.tasks[t];
	bool over = truth->finished || (truth->refused && truth->told == TASK_STOPPED);
	if (!world.sequence->tasks[t].present || over || !engine_ready(world.engine) ||
	    !engine_accepts_tasks(world.engine))
		return;
	_cleanup_json_ json_object *object = payload(t);
	_cleanup_free_ char *reason = NULL;
	struct task *task = NULL;
	truth->added = true;
	if (task_decode(object, engine_limits_tasks(world.engine), &task, &reason) == TASK_ACCEPTED) {
		engine_add_task(world.engine, task);
	} else {
		truth->refused = true;
		engine_report_refused(world.engine, arn_of(t), reason);
	}
	engine_after_commit(world.engine, acknowledged, truth);
}

static void send_report(int t, bool batch)
{
	struct task_truth *truth = &world.tasks[t];
	struct state_change change;
	if (truth->report_out || !engine_next_report(world.engine, arn_of(t), batch, &change))
		return;
	trace("  ECS is told: task %d %s, %zu containers", t, task_status_name(change.status), change.container_count);
	check_told(&change, t);
	truth->report_out = true;
	truth->report_last = change.last_transition;
	truth->wants_report = false;
	state_change_free(&change);
}

static void end_report(int t, enum verdict verdict)
{
	struct task_truth *truth = &world.tasks[t];
	if (!truth->report_out)
		return;
	truth->report_out = false;
	truth->gave_up |= verdict == VERDICT_REFUSED;
	if (verdict == VERDICT_ACCEPTED || verdict == VERDICT_REFUSED)
		engine_report_done(world.engine, arn_of(t), truth->report_last,
				   verdict == VERDICT_REFUSED ? "refused" : NULL);
}

// --- steps ---

static bool progress(void)
{
	bool any = docker_call_count() > 0 || world.queue;
	for (size_t n = docker_call_count(); n > 0 && world.calls && !world.violated; n--)
		docker_answer(world.calls, OUTCOME_OK);
	pump();
	while (!world.violated && docker_event_next(false))
		pump();
	return any;
}

static void on_box(const struct step *step)
{
	bool running = step->kind != STEP_HAND_START;
	struct box *box = docker_box((size_t)step->a, running);
	if (!box && step->kind == STEP_HAND_REMOVE)
		box = docker_box((size_t)step->a, false);
	if (!box)
		return;
	switch (step->kind) {
	case STEP_EXIT:
		box_exit(box, step->b, false);
		break;
	case STEP_OOM:
		box_exit(box, 137, true);
		break;
	case STEP_HAND_STOP:
		box_exit(box, 143, false);
		break;
	case STEP_HAND_START:
		box->by_hand = true;
		box_start(box);
		break;
	case STEP_HAND_REMOVE:
		box_remove(box);
		break;
	default:
		box_health(box, step->b & 1);
	}
}

static void crash(enum crash_point point)
{
	world.crash = (int)point + 1;
	if (point == CRASH_NOW)
		restart();
}

static void play_step(const struct step *step)
{
	switch (step->kind) {
	case STEP_PROGRESS:
		progress();
		break;
	case STEP_ADD:
		add_task(step->a);
		break;
	case STEP_STOP:
		if (engine_ready(world.engine))
			engine_stop_task(world.engine, arn_of(step->a));
		break;
	case STEP_ANSWER:
		if (world.calls)
			docker_answer(docker_call_at((size_t)step->a), (enum outcome)step->b);
		break;
	case STEP_EVENT:
		docker_event_next(step->b);
		break;
	case STEP_AWAY:
		docker_go_away(step->b & 1);
		break;
	case STEP_BACK:
		docker_come_back();
		break;
	case STEP_TIME:
		pass_time(time_ms(step->b));
		break;
	case STEP_SETTLE:
		docker_settle(UINT64_MAX);
		break;
	case STEP_CRASH:
		crash((enum crash_point)step->b);
		break;
	case STEP_DISK_FULL:
		world.disk_full = true;
		world.disk_full_for_all = step->b & 1;
		break;
	case STEP_DISK_OK:
		world.disk_full = false;
		break;
	case STEP_DAMAGE:
		world.damaged = true;
		break;
	case STEP_REPORT:
		send_report(step->a, step->b);
		break;
	case STEP_REPORT_END:
		end_report(step->a, (enum verdict)step->b);
		break;
	case STEP_PORT:
		port_mark(world.taken_ports, (uint16_t)(PORT_FIRST + step->a));
		break;
	default:
		on_box(step);
	}
	pump();
}

// --- the quiet end ---

static void tell_ecs(void)
{
	for (int t = 0; t < world.sequence->task_count && !world.violated; t++) {
		send_report(t, true);
		end_report(t, VERDICT_ACCEPTED);
		pump();
	}
}

// ms of a world without faults, or until no task is left.
static void quiet(uint64_t ms)
{
	uint64_t end = world.now + ms;
	unsigned rounds = 0;
	while (world.now < end && world.engine->count > 0 && !world.violated) {
		bool busy = progress();
		tell_ecs();
		if (busy) {
			if (++rounds > ROUNDS_MAX)
				violated("NO_BUSY_LOOP", "Docker is asked again and again");
			continue;
		}
		rounds = 0;
		uint64_t next = model_loop_next();
		pass_time(next > world.now && next - world.now < ms ? next - world.now : 1000);
	}
}

static void cease_faults(void)
{
	trace("faults cease");
	world.quiet = true;
	world.disk_full = world.damaged = false;
	world.crash = 0;
	docker_settle(UINT64_MAX);
	docker_come_back();
	pass_time(2 * RETRY_COMMIT_MS);
	for (int t = 0; t < world.sequence->task_count; t++) {
		end_report(t, VERDICT_LOST);
		if (world.tasks[t].added && !world.tasks[t].acknowledged) // ECS sends again what was not acknowledged
			add_task(t);
	}
	pump();
}

static void end_all(void)
{
	if (world.violated)
		return;
	cease_faults();
	quiet(LAUNCH_MS);
	if (!world.violated)
		check_launched();
	trace("everything is to stop");
	for (int t = 0; t < world.sequence->task_count; t++)
		engine_stop_task(world.engine, arn_of(t));
	pump();
	quiet(END_MS);
	if (world.violated)
		return;
	if (world.engine->count > 0)
		violated("ENDS", "task %d is still there", world_task_index(world.engine->entries[0]->task->arn));
	check_empty();
	if (hooks_rows() != 0)
		violated("NOTHING_LEFT", "%d rows", hooks_rows());
}

// --- one sequence ---

static void truths_free(void)
{
	for (int t = 0; t < TASKS_MAX; t++) {
		for (int i = 0; i < CONTAINERS_MAX; i++) {
			struct truth *truth = &world.tasks[t].containers[i];
			free(truth->disk_name);
			free(truth->disk_id);
			free(truth->error);
		}
	}
}

const char *world_play(const struct sequence *sequence, int mutation, FILE *out, char *detail, size_t size)
{
	struct store *store = world.store;
	uint64_t turns = world.turns;
	world = (struct world){.sequence = sequence,
			       .draws = sequence->seed ^ 0x5bd1e995,
			       .now = 1000,
			       .store = store,
			       .mutation = mutation,
			       .trace = out,
			       .turns = turns};
	hooks_clear_disk();
	store_reclaim(store);
	start_engine();
	pump();
	for (int i = 0; i < sequence->step_count && !world.violated; i++) {
		if (out)
			step_print(&sequence->steps[i], out);
		play_step(&sequence->steps[i]);
	}
	end_all();
	world.dead = true; // nothing of what is cut off now matters
	engine_free(world.engine);
	docker_world_reset();
	model_loop_reset();
	truths_free();
	snprintf(detail, size, "%s", world.detail);
	return world.violated;
}

int world_open(const char *directory)
{
	struct error err = {0};
	log_open(&(struct log_options){.level = LOG_NONE, .program = "model"}, &err);
	world.store = store_open(directory, &err);
	if (!world.store)
		fprintf(stderr, "%s\n", err.message);
	else
		store_mark_rebuilt(world.store, NULL);
	return world.store ? 0 : -1;
}

void world_close(void)
{
	world.store = store_close(world.store);
}
