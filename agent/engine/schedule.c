#include "engine/schedule.h"

const struct schedule_limits schedule_default_limits = {
	.slots = {[SCHEDULE_PULL] = 4, [SCHEDULE_LAUNCH] = 8, [SCHEDULE_INSPECT] = 16},
};

void schedule(struct schedule_ask *asks, size_t count, const struct schedule_limits *limits)
{
	unsigned busy[SCHEDULE_KINDS] = {0}, all[SCHEDULE_KINDS] = {0};
	for (size_t i = 0; i < count; i++) {
		if (!asks[i].in_flight)
			continue;
		all[asks[i].kind]++;
		if (asks[i].age_ms < SCHEDULE_STUCK_MS)
			busy[asks[i].kind]++;
	}
	for (size_t i = 0; i < count; i++) {
		struct schedule_ask *ask = &asks[i];
		if (ask->in_flight)
			continue;
		unsigned bound = limits->slots[ask->kind];
		ask->granted = bound == 0 || (busy[ask->kind] < bound && all[ask->kind] < bound * SCHEDULE_HARD_CAP);
		if (ask->granted) {
			busy[ask->kind]++;
			all[ask->kind]++;
		}
	}
}

uint16_t schedule_port(const uint8_t *used, uint16_t first, uint16_t last_port, uint16_t last_assigned)
{
	uint32_t size = (uint32_t)last_port - first + 1;
	uint32_t start = last_assigned >= first && last_assigned < last_port ? (uint32_t)last_assigned + 1 - first : 0;
	for (uint32_t i = 0; i < size; i++) {
		uint16_t port = (uint16_t)(first + (start + i) % size);
		if (!port_used(used, port))
			return port;
	}
	return 0;
}

// --- host resources ---

static bool ports_meet(const struct host_need *need, const uint8_t *tcp, const uint8_t *udp)
{
	for (size_t i = 0; i < need->port_count; i++) {
		if (port_used(need->ports[i].udp ? udp : tcp, need->ports[i].port))
			return true;
	}
	return false;
}

static void take(struct host_totals *used, const struct host_need *need)
{
	used->cpu += need->cpu;
	used->memory_mib += need->memory_mib;
	for (size_t i = 0; i < need->port_count; i++)
		port_mark(need->ports[i].udp ? used->udp : used->tcp, need->ports[i].port);
}

void schedule_host(const struct host_totals *totals, struct host_ask *asks, size_t count)
{
	struct host_totals used = *totals;
	used.cpu = used.memory_mib = 0;
	for (size_t i = 0; i < count; i++) {
		if (asks[i].state == HOST_HOLDS)
			take(&used, asks[i].need);
	}
	bool blocked = false;
	for (size_t i = 0; i < count; i++) {
		const struct host_need *need = asks[i].need;
		if (asks[i].state != HOST_WAITS)
			continue;
		if (need->cpu > totals->cpu || need->memory_mib > totals->memory_mib ||
		    ports_meet(need, totals->tcp, totals->udp)) {
			asks[i].state = HOST_NEVER;
		} else if (!blocked && used.cpu + need->cpu <= totals->cpu &&
			   used.memory_mib + need->memory_mib <= totals->memory_mib &&
			   !ports_meet(need, used.tcp, used.udp)) {
			asks[i].state = HOST_HOLDS;
			take(&used, need);
		} else {
			blocked = true;
		}
	}
}
