// Who may act now: slots by schedule(), host ports, and the names that are on disk before a create call.

#include "engine/turn.h"

#include "common/util.h"
#include "docker/create_request.h"
#include "engine/fetch.h"
#include "engine/image_cycle.h"
#include "engine/schedule.h"
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

static enum schedule_kind kind_of(enum operation operation)
{
	switch (operation) {
	case OP_PULL:
		return SCHEDULE_PULL;
	case OP_CREATE:
	case OP_START:
		return SCHEDULE_LAUNCH;
	case OP_IMAGE_INSPECT:
	case OP_INSPECT:
		return SCHEDULE_INSPECT;
	default:
		return SCHEDULE_FREE;
	}
}

// Containers that share a download take one slot.
static enum schedule_kind occupied(const struct container *c)
{
	return c->in_flight == OP_PULL && !fetch_counts(c->call) ? SCHEDULE_FREE : kind_of(c->in_flight);
}

// A pull that joins another one needs no slot of its own: one that is under way, or an earlier plan of this turn
// (leaders[i]; a plan that follows nobody leads itself), with which it is granted or not.
static void lead(struct engine *engine, const struct plans *plans, struct schedule_ask *asks, size_t *leaders)
{
	char **keys = xcalloc(plans->count + 1, sizeof(*keys));
	for (size_t i = 0; i < plans->count; i++) {
		leaders[i] = i;
		if (plans->items[i].operation != OP_PULL)
			continue;
		keys[i] = fetch_key(plans->items[i].ref, OP_PULL);
		bool joins = fetch_runs(engine, keys[i]);
		for (size_t k = 0; !joins && k < i && leaders[i] == i; k++) {
			if (keys[k] && str_equal(keys[k], keys[i]))
				leaders[i] = k;
		}
		if (joins || leaders[i] != i)
			asks[i].kind = SCHEDULE_FREE;
	}
	for (size_t i = 0; i < plans->count; i++)
		free(keys[i]);
	free(keys);
}

// Free at this moment for all addresses, as the official agent tests it (docker-mapping.md §14).
static bool port_is_free(uint16_t port, const char *protocol)
{
	bool udp = str_equal(protocol, "udp");
	_cleanup_close_ int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	// Ports below 1024 cannot be tested without the right to bind them (confine.c); Docker can.
	return fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EACCES;
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

// Images: one that is being removed is neither pulled nor used, and a pull waits for room on the disk.
static bool must_wait(struct engine *engine, const struct plan *plan)
{
	const struct container *c = ref_container(plan->ref);
	bool uses = plan->operation == OP_PULL || plan->operation == OP_CREATE || plan->operation == OP_IMAGE_INSPECT;
	if (uses && image_cycle_blocks(engine->images, c))
		return true;
	return plan->operation == OP_PULL && !image_cycle_may_pull(engine->images);
}

void turn_grant(struct engine *engine, struct plans *plans)
{
	size_t capacity = plans->count;
	for (size_t i = 0; i < engine->count; i++)
		capacity += engine->entries[i]->task->container_count;
	struct schedule_ask *asks = xcalloc(capacity + 1, sizeof(*asks));
	uint64_t now = loop_now(engine->o.loop);
	size_t count = 0;
	for (size_t i = 0; i < plans->count; i++) {
		struct plan *plan = &plans->items[i];
		plan->held = must_wait(engine, plan);
		asks[count++] = (struct schedule_ask){.kind = plan->held ? SCHEDULE_FREE : kind_of(plan->operation)};
	}
	for (size_t i = 0; i < engine->count; i++) {
		const struct task *task = engine->entries[i]->task;
		for (size_t k = 0; k < task->container_count; k++) {
			const struct container *c = &task->containers[k];
			if (c->in_flight != OP_NONE)
				asks[count++] = (struct schedule_ask){
					.kind = occupied(c), .in_flight = true, .age_ms = now - c->in_flight_since};
		}
	}
	size_t *leaders = xcalloc(plans->count + 1, sizeof(*leaders));
	lead(engine, plans, asks, leaders);
	schedule(asks, count, &schedule_default_limits);
	for (size_t i = 0; i < plans->count; i++)
		asks[i].granted &= asks[leaders[i]].granted;
	free(leaders);
	for (size_t i = 0; i < plans->count; i++) {
		struct plan *plan = &plans->items[i];
		struct entry *entry = plan->ref->entry;
		plan->granted = asks[i].granted && !plan->held;
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
