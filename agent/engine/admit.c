#include "engine/admit.h"

#include "common/log.h"
#include "common/util.h"
#include "engine/engine_internal.h"
#include <inttypes.h>
#include <math.h>

#define UNITS_MAX INT32_MAX // of CPU and of MiB that a task definition may ask for (the reference counts CPU in int32)

void admit_totals(struct host_totals *totals, int64_t cpu, int64_t memory_mib, const struct json_strings *tcp,
		  const struct json_strings *udp)
{
	const struct json_strings *const lists[] = {tcp, udp};
	*totals = (struct host_totals){.cpu = cpu, .memory_mib = memory_mib};
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++) {
		for (size_t i = 0; lists[l] && i < lists[l]->count; i++) {
			uint64_t port;
			if (parse_uint64(lists[l]->items[i], &port) && port <= UINT16_MAX)
				port_mark(l == 0 ? totals->tcp : totals->udp, (uint16_t)port);
		}
	}
}

// --- what a task needs ---

// MemoryReservation of the container's host configuration if there is one, else its memory. MiB.
static int64_t container_memory(const struct container *c)
{
	_cleanup_json_ json_object *host = NULL;
	if (c->docker_host_config)
		host = json_parse(c->docker_host_config, strlen(c->docker_host_config), NULL);
	if (host && json_object_is_type(host, json_type_object)) {
		int64_t reservation = json_object_get_int64(json_get(host, "MemoryReservation"));
		if (reservation > 0)
			return reservation / (1 << 20);
	}
	return c->memory;
}

static void add_ports(struct host_need *need, const struct container *c)
{
	need->ports = xreallocarray(need->ports, need->port_count + c->port_count + 1, sizeof(*need->ports));
	for (size_t i = 0; i < c->port_count; i++) {
		const struct port_mapping *p = &c->ports[i];
		if (p->host_port > 0)
			need->ports[need->port_count++] =
				(struct host_port){p->host_port, str_equal(p->protocol, "udp")};
	}
}

void admit_need(const struct task *task, struct host_need *need)
{
	bool awsvpc = str_equal(task->network_mode, "awsvpc");
	*need = (struct host_need){0};
	// More than any host has is enough: sums and conversions of what a payload says must not overflow.
	if (task->cpu > 0)
		need->cpu = (int64_t)(fmin(task->cpu, UNITS_MAX / 1024.0) * 1024);
	if (task->memory > 0)
		need->memory_mib = task->memory < UNITS_MAX ? task->memory : UNITS_MAX;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if (task->cpu <= 0)
			need->cpu += c->cpu;
		if (task->memory <= 0)
			need->memory_mib += container_memory(c);
		if (!awsvpc)
			add_ports(need, c);
	}
}

static bool has_begun(const struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++) {
		enum container_status known = task->containers[i].known;
		if (known >= CONTAINER_MANIFEST_PULLED && known < CONTAINER_STOPPED)
			return true;
	}
	return false;
}

enum host_state admit_state(const struct task *task, const struct host_need *need)
{
	bool nothing = need->cpu <= 0 && need->memory_mib <= 0 && need->port_count == 0;
	if (nothing || str_equal(task->launch_type, "FARGATE") || task->known == TASK_STOPPED)
		return HOST_NONE;
	if (has_begun(task))
		return HOST_HOLDS;
	return task->desired == TASK_STOPPED || task->watch_only ? HOST_NONE : HOST_WAITS;
}

// --- the queue ---

void admit_entry(struct entry *entry)
{
	admit_need(entry->task, &entry->need);
	entry->host = admit_state(entry->task, &entry->need);
	entry->task->queued = entry->host == HOST_WAITS;
}

void admit_holder(struct entry *entry)
{
	if (entry->host == HOST_WAITS)
		entry->host = HOST_HOLDS;
	entry->task->queued = false;
}

// The state for the decision: a stopped task has given back its share, a stopping one no longer waits.
static enum host_state present_state(const struct entry *entry)
{
	const struct task *task = entry->task;
	bool gone = task->known == TASK_STOPPED || (entry->host == HOST_WAITS && task->desired == TASK_STOPPED);
	return gone ? HOST_NONE : entry->host;
}

static bool take_verdict(struct engine *engine, struct entry *entry, enum host_state verdict)
{
	struct task *task = entry->task;
	switch (verdict) {
	case HOST_HOLDS:
		if (entry->queue_told)
			log_info("task has the host's resources that it waited for", "task=%s", task->arn);
		break;
	case HOST_NEVER:
		log_error("task needs more than this host has; it is stopped",
			  "task=%s cpu=%" PRId64 " of=%" PRId64 " memory_mib=%" PRId64 " of_mib=%" PRId64
			  " static_ports=%zu",
			  task->arn, entry->need.cpu, engine->host.cpu, entry->need.memory_mib, engine->host.memory_mib,
			  entry->need.port_count);
		engine_set_desired_stopped(
			task); // without a reason, as the official agent (user-visible-reasons.md §11)
		break;
	default:
		if (!entry->queue_told)
			log_info("task waits for resources of the host",
				 "task=%s cpu=%" PRId64 " memory_mib=%" PRId64 " static_ports=%zu", task->arn,
				 entry->need.cpu, entry->need.memory_mib, entry->need.port_count);
		entry->queue_told = true;
		return false;
	}
	entry->host = verdict == HOST_NEVER ? HOST_NONE : verdict;
	task->queued = false;
	entry->admitted = true;
	engine_touch(entry);
	return true;
}

bool admit_queue(struct engine *engine)
{
	bool waiting = false, changed = false;
	struct host_ask *asks = xcalloc(engine->count + 1, sizeof(*asks));
	for (size_t i = 0; i < engine->count; i++) {
		const struct entry *entry = engine->entries[i];
		asks[i] = (struct host_ask){&entry->need, present_state(entry)};
		waiting |= asks[i].state == HOST_WAITS;
	}
	if (waiting)
		schedule_host(&engine->host, asks, engine->count);
	for (size_t i = 0; waiting && i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		if (entry->host == HOST_WAITS && asks[i].state != HOST_NONE)
			changed |= take_verdict(engine, entry, asks[i].state);
	}
	free(asks);
	return changed;
}
