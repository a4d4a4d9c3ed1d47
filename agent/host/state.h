// What ecs-host has to know to undo what it did, in /run/ecs/host/state: lines of KEY=VALUE, written before the thing is
// done. It goes with a reboot, as do rules and sysctls.
#pragma once

#include "common/error.h"
#include <net/if.h>
#include <stdbool.h>

#define HOST_STATE_DIRECTORY "/run/ecs/host"

struct host_state {
	bool exists;              // false: nothing was done
	int route_localnet;       // net.ipv4.conf.all.route_localnet as it was found (or to be left)
	char bridge[IF_NAMESIZE]; // whose rule was added; "": none
	bool route;               // the route to 169.254.170.2 is ours
};

// A lock against other ecs-host processes, held while something is looked at or changed. A descriptor to be closed, or a
// negative errno.
int host_state_lock(struct error *err);
int host_state_load(struct host_state *state, struct error *err); // no file: zeroes
int host_state_save(const struct host_state *state, struct error *err);
int host_state_remove(struct error *err);
