#include "engine/engine_internal.h"

#include "common/log.h"
#include "common/util.h"
#include "docker/create_request.h"
#include "engine/schedule.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>

static void turn_end(void *arg);
static void on_wake(void *arg);
static void on_retry(void *arg);

// --- life ---

struct engine *engine_new(const struct engine_options *options)
{
	struct engine *engine = xcalloc(1, sizeof(*engine));
	engine->o = *options;
	engine->o.cluster = xstrdup(options->cluster ? options->cluster : "");
	engine->o.region = xstrdup(options->region ? options->region : "");
	timer_init(&engine->wake, options->loop, on_wake, engine);
	timer_init(&engine->retry, options->loop, on_retry, engine);
	timer_init(&engine->resync, options->loop, engine_resync, engine);
	loop_set_turn_end(options->loop, turn_end, engine);
	return engine;
}

static void entry_free(struct entry *entry)
{
	for (size_t i = 0; entry->task && i < entry->task->container_count; i++) {
		struct container *c = &entry->task->containers[i];
		docker_call_cancel(c->call);
		engine_release_process(c);
	}
	for (size_t i = 0; i < entry->record_count; i++)
		record_done(&entry->records[i]);
	free(entry->records);
	free(entry->refs);
	free(entry->mark_refused);
	task_free(entry->task);
	free(entry);
}

struct engine *engine_free(struct engine *engine)
{
	if (!engine)
		return NULL;
	loop_set_turn_end(engine->o.loop, NULL, NULL);
	docker_events_stop(engine->o.docker);
	docker_call_cancel(engine->list_call);
	for (size_t i = 0; i < engine->count; i++)
		entry_free(engine->entries[i]);
	free(engine->entries);
	free(engine->after);
	timer_done(&engine->wake);
	timer_done(&engine->retry);
	timer_done(&engine->resync);
	free((char *)engine->o.cluster);
	free((char *)engine->o.region);
	free(engine);
	return NULL;
}

void engine_set_cluster(struct engine *engine, const char *cluster)
{
	char *text = (char *)engine->o.cluster;
	str_replace(&text, cluster);
	engine->o.cluster = text;
}

// --- entries ---

struct entry *engine_entry(const struct engine *engine, const char *task_arn)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (str_equal(engine->entries[i]->task->arn, task_arn))
			return engine->entries[i];
	}
	return NULL;
}

struct entry *engine_insert(struct engine *engine, struct task *task)
{
	struct entry *entry = xcalloc(1, sizeof(*entry));
	entry->task = task;
	entry->refs = xcalloc(task->container_count + 1, sizeof(*entry->refs));
	for (size_t i = 0; i < task->container_count; i++)
		entry->refs[i] = (struct container_ref){engine, entry, i};
	task->jitter = random_unit();
	engine->entries = xreallocarray(engine->entries, engine->count + 1, sizeof(struct entry *));
	engine->entries[engine->count++] = entry;
	engine_touch(entry);
	return entry;
}

static void remove_entry(struct engine *engine, struct entry *entry)
{
	size_t i = 0;
	while (engine->entries[i] != entry)
		i++;
	memmove(&engine->entries[i], &engine->entries[i + 1], (engine->count - i - 1) * sizeof(struct entry *));
	engine->count--;
	entry_free(entry);
}

void engine_touch(struct entry *entry)
{
	entry->touched = true;
	entry->changed = true;
}

void engine_touch_waiting(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->waiting)
			engine->entries[i]->touched = true;
	}
}

struct task *engine_task(const struct engine *engine, const char *task_arn)
{
	struct entry *entry = engine_entry(engine, task_arn);
	return entry && !entry->refused ? entry->task : NULL;
}

void engine_each_task(const struct engine *engine, void (*visit)(const struct task *task, void *arg), void *arg)
{
	for (size_t i = 0; i < engine->count; i++) {
		if (!engine->entries[i]->refused)
			visit(engine->entries[i]->task, arg);
	}
}

bool engine_ready(const struct engine *engine)
{
	return engine->ready;
}

bool engine_accepts_tasks(const struct engine *engine)
{
	return !store_disk_full(engine->o.store);
}

// --- loading ---

static void loaded_task(struct task *task, void *arg)
{
	struct engine *engine = arg;
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		// What happened while ecsd was away only Docker knows.
		c->must_inspect = c->known != CONTAINER_STOPPED && (c->docker_id || c->docker_name);
	}
	struct entry *entry = engine_insert(engine, task);
	entry->told_stopped = task->known == TASK_STOPPED;
}

static struct entry *insert_refused(struct engine *engine, const char *task_arn)
{
	struct task *task = task_new();
	task->arn = xstrdup(task_arn);
	struct entry *entry = engine_insert(engine, task);
	entry->refused = true;
	return entry;
}

static void loaded_transition(const struct transition *t, void *arg)
{
	struct engine *engine = arg;
	struct entry *entry = engine_entry(engine, t->task_arn);
	ssize_t index = -1;
	if (!entry) {
		if (t->container)
			return;
		entry = insert_refused(engine, t->task_arn);
	}
	if (t->container) {
		const struct container *c = task_container(entry->task, t->container);
		if (!c)
			return;
		index = c - entry->task->containers;
	}
	entry->records = xreallocarray(entry->records, entry->record_count + 1, sizeof(*entry->records));
	entry->records[entry->record_count++] = (struct record){.id = t->id,
								.container = index,
								.status = t->status,
								.reason = xstrdup(t->reason),
								.has_exit_code = t->has_exit_code,
								.exit_code = t->exit_code,
								.at_ms = t->at_ms,
								.stored = true};
	entry->task->unreported = true;
	entry->notify = true;
}

int engine_load(struct engine *engine, struct error *err)
{
	struct store_visitor visitor = {.task = loaded_task, .transition = loaded_transition, .arg = engine};
	int r = store_load(engine->o.store, &visitor, &engine->last_transition, &engine->last_sequence, err);
	if (r == 0)
		log_info("state loaded", "tasks=%zu", engine->count);
	return r;
}

void engine_discard(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++)
		engine->entries[i]->forget = true;
	loop_wake(engine->o.loop);
}

// --- from the control plane ---

static void name_volumes(struct task *task)
{
	json_object *list = json_get(task->definition, "volumes");
	for (size_t i = 0; i < task->volume_count; i++) {
		struct volume *v = &task->volumes[i];
		if (v->docker_name || !str_empty(v->source_path))
			continue;
		char hex[21];
		random_hex(hex, 20);
		v->docker_name = xasprintf("ecs-%s-%s-%s-%s", task->family, task->version, v->name, hex);
		json_add_string(json_object_array_get_idx(list, i), "ecsdDockerName", v->docker_name);
	}
}

void engine_add_task(struct engine *engine, struct task *task)
{
	struct entry *known = engine_entry(engine, task->arn);
	if (known) {
		if (task->desired == TASK_STOPPED && !known->refused)
			engine_stop_task(engine, task->arn);
		task_free(task);
		return;
	}
	task->sequence = ++engine->last_sequence;
	task->dirty = true;
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].dirty = true;
	name_volumes(task);
	log_info("task accepted", "task=%s family=%s version=%s desired=%s containers=%zu", task->arn, task->family,
		 task->version, task_status_name(task->desired), task->container_count);
	if (task->cpu > 0 || task->memory > 0)
		log_warn("task-level cpu and memory limits are not applied by this version of ecsd", "task=%s",
			 task->arn);
	engine_insert(engine, task);
	loop_wake(engine->o.loop);
}

void engine_report_refused(struct engine *engine, const char *task_arn, const char *reason)
{
	struct entry *entry = engine_entry(engine, task_arn);
	log_error("task refused", "task=%s reason=%s", task_arn, reason);
	if (entry && (!entry->refused || entry->record_count > 0))
		return; // running under this ARN, or told already
	if (!entry)
		entry = insert_refused(engine, task_arn);
	str_replace(&entry->task->reason, reason);
	engine_record_task(engine, entry, TASK_STOPPED);
	loop_wake(engine->o.loop);
}

static void set_desired_stopped(struct task *task)
{
	task->desired = TASK_STOPPED;
	task->dirty = true;
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		if (c->desired != CONTAINER_STOPPED) {
			c->desired = CONTAINER_STOPPED;
			c->dirty = true;
		}
	}
}

bool engine_stop_task(struct engine *engine, const char *task_arn)
{
	struct entry *entry = engine_entry(engine, task_arn);
	if (!entry || entry->refused)
		return false;
	if (entry->task->desired != TASK_STOPPED) {
		log_info("task is to stop", "task=%s", task_arn);
		set_desired_stopped(entry->task);
		engine_touch(entry);
		loop_wake(engine->o.loop);
	}
	return true;
}

bool engine_set_credentials_id(struct engine *engine, const char *task_arn, bool execution, const char *id)
{
	struct task *task = engine_task(engine, task_arn);
	if (!task)
		return false;
	char **member = execution ? &task->execution_credentials_id : &task->credentials_id;
	if (!str_equal(*member, id)) {
		str_replace(member, id);
		task->dirty = true;
		loop_wake(engine->o.loop);
	}
	return true;
}

void engine_after_commit(struct engine *engine, void (*done)(void *arg), void *arg)
{
	engine->after = xreallocarray(engine->after, engine->after_count + 1, sizeof(*engine->after));
	engine->after[engine->after_count++] = (struct after_commit){done, arg};
	loop_wake(engine->o.loop);
}

void engine_after_commit_cancel(struct engine *engine, void *arg)
{
	size_t kept = 0;
	for (size_t i = 0; i < engine->after_count; i++) {
		if (engine->after[i].arg != arg)
			engine->after[kept++] = engine->after[i];
	}
	engine->after_count = kept;
}

// --- the turn's end, 1: decisions ---

void engine_update_known(struct engine *engine, struct entry *entry)
{
	struct task *task = entry->task;
	enum task_status known = reconcile_known_status(task);
	if (known <= task->known)
		return;
	log_info("task", "task=%s known=%s desired=%s", task->arn, task_status_name(known),
		 task_status_name(task->desired));
	task->known = known;
	task->known_ms = wall_ms();
	task->dirty = true;
	engine_record_task(engine, entry, known);
	engine_touch(entry);
}

static void apply(struct engine *engine, struct entry *entry, struct action *action)
{
	struct task *task = entry->task;
	struct container_ref *ref = &entry->refs[action->container];
	switch (action->kind) {
	case ACTION_TASK_STOP:
		set_desired_stopped(task);
		break;
	case ACTION_TASK_KNOWN:
		engine_update_known(engine, entry);
		break;
	case ACTION_CONTAINER_STOP:
		ref_container(ref)->desired = CONTAINER_STOPPED;
		ref_container(ref)->dirty = true;
		break;
	case ACTION_CONTAINER_KNOWN:
		engine_advance(ref, action->container_status);
		break;
	case ACTION_CONTAINER_NEVER:
		engine_fail_container(ref, "CannotStartContainerError", action->text);
		ref_container(ref)->has_exit_code = true;
		ref_container(ref)->exit_code = 143; // task-engine.md §7.5
		engine_advance(ref, CONTAINER_STOPPED);
		break;
	default:
		break;
	}
	entry->changed = true;
}

struct plan {
	struct container_ref *ref;
	enum operation operation;
	bool granted;
};
struct plans {
	struct plan *items;
	size_t count, capacity;
};

static void plan_add(struct plans *plans, struct container_ref *ref, enum operation operation)
{
	if (plans->count == plans->capacity) {
		plans->capacity = plans->capacity ? plans->capacity * 2 : 16;
		plans->items = xreallocarray(plans->items, plans->capacity, sizeof(*plans->items));
	}
	plans->items[plans->count++] = (struct plan){ref, operation, false};
}

static void decide(struct engine *engine, struct entry *entry, struct plans *plans)
{
	struct actions actions = {0};
	struct reconcile_env env = {
		.now = loop_now(engine->o.loop),
		.wall_ms = wall_ms(),
		.scale = loop_scale(engine->o.loop),
		.inspect_before_pull = engine->o.pull_behavior == 3 || engine->o.pull_behavior == 2,
		.cleanup_wait_ms = engine->o.cleanup_wait_ms,
		.cleanup_jitter_ms = engine->o.cleanup_jitter_ms,
	};
	bool decided;
	do {
		reconcile(entry->task, &env, &actions);
		decided = actions.count > 0 && action_is_decision(&actions.items[0]);
		for (size_t i = 0; decided && i < actions.count; i++)
			apply(engine, entry, &actions.items[i]);
	} while (decided);
	entry->wake_at = 0;
	entry->waiting = false;
	for (size_t i = 0; i < actions.count; i++) {
		struct action *action = &actions.items[i];
		if (action->kind == ACTION_OPERATE)
			plan_add(plans, &entry->refs[action->container], action->operation);
		else if (action->kind == ACTION_FORGET)
			entry->forget = true;
		else if (action->kind == ACTION_WAKE && (entry->wake_at == 0 || action->at < entry->wake_at))
			entry->wake_at = action->at;
	}
	actions_free(&actions);
}

// --- 2: slots, host ports and names ---

static enum schedule_kind kind_of(enum operation operation)
{
	switch (operation) {
	case OP_PULL:
		return SCHEDULE_PULL;
	case OP_CREATE:
		return SCHEDULE_CREATE;
	case OP_START:
		return SCHEDULE_START;
	default:
		return SCHEDULE_FREE;
	}
}

// Free at this moment for all addresses, as the official agent tests it (docker-mapping.md §14).
static bool port_is_free(uint16_t port, const char *protocol)
{
	bool udp = str_equal(protocol, "udp");
	_cleanup_close_ int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	return fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static void mark_ports(const struct engine *engine, uint8_t *used)
{
	for (size_t i = 0; i < engine->count; i++) {
		const struct task *task = engine->entries[i]->task;
		if (task->known == TASK_STOPPED)
			continue;
		for (size_t c = 0; c < task->container_count; c++) {
			for (size_t p = 0; p < task->containers[c].port_count; p++)
				port_mark(used, task->containers[c].host_ports[p]);
		}
	}
}

static bool pick_ports(struct engine *engine, struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	uint8_t used[8192];
	bool marked = false;
	for (size_t i = 0; i < c->port_count; i++) {
		if (c->host_ports[i] != 0)
			continue;
		if (!marked) {
			memset(used, 0, sizeof(used));
			mark_ports(engine, used);
			marked = true;
		}
		uint16_t port;
		while ((port = schedule_port(used, engine->o.port_first, engine->o.port_last, engine->last_port)) !=
		       0) {
			port_mark(used, port);
			if (port_is_free(port, c->ports[i].protocol))
				break;
		}
		if (port == 0) {
			engine_fail_container(ref, "HostConfigError",
					      "error retrieving docker port map: a host port is unavailable");
			return false;
		}
		engine->last_port = port;
		c->host_ports[i] = port;
		c->dirty = true;
	}
	return true;
}

// What a create call depends on is on disk before the call: its name, so that a crash cannot make a second container.
static bool prepare_create(struct engine *engine, struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	if (!pick_ports(engine, ref))
		return false;
	if (!c->docker_name) {
		c->docker_name = create_request_name(ref->entry->task, c);
		c->dirty = true;
	}
	return true;
}

static void grant(struct engine *engine, struct plans *plans)
{
	size_t capacity = plans->count;
	for (size_t i = 0; i < engine->count; i++)
		capacity += engine->entries[i]->task->container_count;
	struct schedule_ask *asks = xcalloc(capacity + 1, sizeof(*asks));
	uint64_t now = loop_now(engine->o.loop);
	size_t count = 0;
	for (size_t i = 0; i < plans->count; i++)
		asks[count++] = (struct schedule_ask){.kind = kind_of(plans->items[i].operation)};
	for (size_t i = 0; i < engine->count; i++) {
		const struct task *task = engine->entries[i]->task;
		for (size_t k = 0; k < task->container_count; k++) {
			const struct container *c = &task->containers[k];
			if (c->in_flight != OP_NONE)
				asks[count++] = (struct schedule_ask){.kind = kind_of(c->in_flight),
								      .in_flight = true,
								      .age_ms = now - c->in_flight_since};
		}
	}
	schedule(asks, count, &schedule_default_limits);
	for (size_t i = 0; i < plans->count; i++) {
		struct plan *plan = &plans->items[i];
		struct entry *entry = plan->ref->entry;
		plan->granted = asks[i].granted;
		if (plan->granted && plan->operation == OP_CREATE && !prepare_create(engine, plan->ref)) {
			plan->granted = false;
			loop_wake(engine->o.loop);
		} else if (!plan->granted) {
			entry->waiting = true;
			if (entry->wake_at == 0 || entry->wake_at > now + SCHEDULE_STUCK_MS)
				entry->wake_at = now + SCHEDULE_STUCK_MS;
		}
	}
	free(asks);
}

// --- 3: commit ---

static bool entry_dirty(const struct entry *entry)
{
	if (entry->forget || entry->mark_id || (entry->task->dirty && !entry->refused))
		return true;
	for (size_t i = 0; i < entry->task->container_count; i++) {
		if (entry->task->containers[i].dirty)
			return true;
	}
	return entry->record_count > 0 && !entry->records[entry->record_count - 1].stored;
}

static int write_entry(struct engine *engine, struct entry *entry, struct error *err)
{
	struct store *store = engine->o.store;
	struct task *task = entry->task;
	int r = 0;
	if (entry->forget)
		return store_delete_task(store, task->arn, err);
	if (task->dirty && !entry->refused)
		r = store_put_task(store, task, err);
	for (size_t i = 0; r == 0 && i < task->container_count; i++) {
		if (task->containers[i].dirty)
			r = store_put_container(store, task, i, err);
	}
	for (size_t i = 0; r == 0 && i < entry->record_count; i++) {
		const struct record *record = &entry->records[i];
		if (record->stored)
			continue;
		struct transition t = {
			.id = record->id,
			.task_arn = task->arn,
			.container = record->container < 0 ? NULL : task->containers[record->container].name,
			.status = record->status,
			.reason = record->reason,
			.has_exit_code = record->has_exit_code,
			.exit_code = record->exit_code,
			.at_ms = record->at_ms,
		};
		r = store_put_transition(store, &t, err);
	}
	if (r == 0 && entry->mark_id)
		r = store_mark_reported(store, task->arn, entry->mark_id, entry->mark_refused, err);
	return r;
}

static void entry_written(struct entry *entry)
{
	struct task *task = entry->task;
	task->dirty = false;
	task->stored = true;
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].dirty = false;
	for (size_t i = 0; i < entry->record_count; i++)
		entry->records[i].stored = true;
	entry->mark_id = 0;
	free(TAKE(entry->mark_refused));
}

static int write_all(struct engine *engine, struct error *err)
{
	struct store *store = engine->o.store;
	int r = store_begin(store, err);
	for (size_t i = 0; r == 0 && i < engine->count; i++) {
		if (entry_dirty(engine->entries[i]))
			r = write_entry(engine, engine->entries[i], err);
	}
	if (r == 0)
		r = store_commit(store, err);
	if (r < 0) {
		store_rollback(store);
		store_note_failure(store, r);
	}
	return r;
}

static bool commit(struct engine *engine)
{
	bool dirty = false;
	for (size_t i = 0; i < engine->count; i++)
		dirty |= entry_dirty(engine->entries[i]);
	if (!dirty)
		return true;
	struct error err = {0};
	bool was_full = store_disk_full(engine->o.store);
	int r = write_all(engine, &err);
	if (r == -ENOSPC && !was_full)
		r = write_all(engine, &err); // the ballast has made room
	if (r < 0 || store_disk_full(engine->o.store))
		timer_start(&engine->retry, RETRY_COMMIT_MS);
	if (r < 0) {
		log_error("state cannot be written; nothing further is done before it is", "error=%s", err.message);
		engine->commit_failed = true;
		return false;
	}
	for (size_t i = 0; i < engine->count; i++)
		entry_written(engine->entries[i]);
	return true;
}

static void on_retry(void *arg)
{
	struct engine *engine = arg;
	engine->commit_failed = false; // the end of this turn tries again
	store_reclaim(engine->o.store);
	if (store_disk_full(engine->o.store))
		timer_start(&engine->retry, RETRY_COMMIT_MS);
}

// --- 4: effects ---

static void forget_entries(struct engine *engine)
{
	for (size_t i = 0; i < engine->count;) {
		struct entry *entry = engine->entries[i];
		if (!entry->forget) {
			i++;
			continue;
		}
		if (!entry->refused) {
			log_info("task cleaned up", "task=%s", entry->task->arn);
			engine->o.on_task_forgotten(entry->task, engine->o.arg);
		}
		remove_entry(engine, entry);
	}
}

static void notify(struct engine *engine)
{
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		if (entry->changed && !entry->refused)
			engine->o.on_task_changed(entry->task, engine->o.arg);
		entry->changed = false;
		if (entry->notify)
			engine->o.on_report(entry->task->arn, engine->o.arg);
		entry->notify = false;
		if (!entry->refused && !entry->told_stopped && entry->task->known == TASK_STOPPED) {
			entry->told_stopped = true;
			engine->o.on_task_stopped(entry->task, engine->o.arg);
		}
	}
}

static void run_after_commit(struct engine *engine)
{
	// A callback may add or cancel others.
	while (engine->after_count > 0) {
		struct after_commit first = engine->after[0];
		engine->after_count--;
		memmove(&engine->after[0], &engine->after[1], engine->after_count * sizeof(first));
		first.done(first.arg);
	}
}

static void plan_wake(struct engine *engine)
{
	uint64_t earliest = 0, now = loop_now(engine->o.loop);
	for (size_t i = 0; i < engine->count; i++) {
		uint64_t at = engine->entries[i]->wake_at;
		if (at && (earliest == 0 || at < earliest))
			earliest = at;
	}
	if (earliest)
		timer_start(&engine->wake, earliest > now ? earliest - now : 0);
	else
		timer_stop(&engine->wake);
}

static void on_wake(void *arg)
{
	struct engine *engine = arg;
	uint64_t now = loop_now(engine->o.loop);
	for (size_t i = 0; i < engine->count; i++) {
		if (engine->entries[i]->wake_at && engine->entries[i]->wake_at <= now)
			engine->entries[i]->touched = true;
	}
}

static bool anything_to_do(const struct engine *engine)
{
	if (engine->after_count > 0)
		return true;
	for (size_t i = 0; i < engine->count; i++) {
		const struct entry *entry = engine->entries[i];
		if (entry->touched || entry->changed || entry->notify || entry_dirty(entry))
			return true;
	}
	return false;
}

static void turn_end(void *arg)
{
	struct engine *engine = arg;
	if (engine->commit_failed || !anything_to_do(engine))
		return;
	struct plans plans = {0};
	for (size_t i = 0; engine->ready && i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		if (entry->touched && !entry->refused) {
			entry->touched = false;
			decide(engine, entry, &plans);
		}
	}
	if (plans.count > 0)
		grant(engine, &plans);
	bool committed = commit(engine);
	for (size_t i = 0; i < plans.count; i++) {
		if (!committed)
			engine_touch(plans.items[i].ref->entry); // planned again after the retry
		else if (plans.items[i].granted)
			engine_operate(plans.items[i].ref, plans.items[i].operation);
	}
	if (committed) {
		notify(engine);
		run_after_commit(engine);
		forget_entries(engine);
	}
	plan_wake(engine);
	free(plans.items);
}

// --- start ---

static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	struct engine *engine = arg;
	engine->list_call = NULL;
	if (err->failure != DOCKER_OK)
		log_error("tasks cannot be rebuilt: Docker does not list containers", "error=%s", err->message);
	else
		engine_rebuild(engine, list, count);
	engine_watch_docker(engine);
}

void engine_start(struct engine *engine, void (*on_ready)(void *arg), void *arg)
{
	engine->on_ready = on_ready;
	engine->on_ready_arg = arg;
	if (engine->o.rebuild)
		engine->list_call = docker_list(engine->o.docker, LABEL_ECSD, on_list, engine);
	else
		engine_watch_docker(engine);
}
