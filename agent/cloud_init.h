// Waits until cloud-init has run what the user gave the instance (user data), because that is what writes
// /etc/ecs/ecs.config on most instances: whoever reads it before joins a cluster that nobody asked for. The units are not
// ordered after cloud-init instead, since user data may start ecsd itself (`systemctl enable --now ecs`) and would wait for
// its own end.
#pragma once

#include "common/loop.h"
#include <stdbool.h>

#define CLOUD_INIT_RUN "/run/cloud-init"
// A script of user data that waits for the agent before it ends, or a cloud-init that was killed, holds ecsd up that long
// and no longer if there is a cluster to join. Without one it waits on.
#define CLOUD_INIT_LIMIT_MS (15 * 60 * 1000)

// Whether cloud-init is at work in this boot. run_dir: CLOUD_INIT_RUN, where it keeps `enabled` from the first moment of
// the boot and, when all is done, `result.json`.
bool cloud_init_busy(const char *run_dir);

struct cloud_init {
	struct loop *loop;
	const char *run_dir;
	uint64_t limit_ms;
	// Asked each time it is looked at: why configuration as it is now says not to wait; NULL: it does not.
	const char *(*skip)(void *arg);
	bool (*cluster_known)(void *arg); // asked once, at the limit
	void (*done)(void *arg);          // not from inside cloud_init_wait
	void *arg;
	struct timer timer; // from here on its own
	uint64_t since;
	bool warned;
};
void cloud_init_wait(struct cloud_init *wait); // the structure stays the caller's
void cloud_init_stop(struct cloud_init *wait); // also after `done`
