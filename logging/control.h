// ecs-logd's end of the socket to ecsd: which containers are being stopped and which have ended, and in the
// other direction what ecs-logd counts, and which tasks' credentials it needs. One ecsd at a time; a new
// connection replaces the old one. Without any, ecs-logd has to find out by itself that a container has ended (logging.md
// §7.3).
#pragma once

#include "common/loop.h"
#include <stdbool.h>
#include <stdint.h>

#define LOGD_COUNTERS_MS 60000 // loop time between two messages with counters

struct logd_counters {
	uint64_t lines_in, lines_shipped, lines_dropped; // since this process began
	uint64_t spool_bytes, oldest_ms;                 // now: of all spools; age of the oldest line there
};

struct logd_control_callbacks {
	// container_id: 64 hex digits, perhaps of a container that is none of ours. Borrowed. Either may come more than once.
	void (*on_stopping)(const char *container_id, void *arg);
	void (*on_exited)(const char *container_id, void *arg);
	void (*count)(struct logd_counters *counters, void *arg); // fills in what is so now
	// Fills in the ids of all credentials that are needed now, at most max; returns how many. Borrowed for the call.
	size_t (*credentials)(const char **ids, size_t max, void *arg);
};

struct logd_control;
// listen_fd: a listening, non-blocking Unix stream socket; taken. Only root, and this process's own user, may connect.
struct logd_control *logd_control_new(struct loop *loop, int listen_fd, const struct logd_control_callbacks *callbacks,
				      void *arg);
struct logd_control *logd_control_free(struct logd_control *control);
// Other credentials are needed: says so soon, once for all changes until then. A new connection is told by itself.
void logd_control_credentials(struct logd_control *control);
// Somebody is there who tells of ends.
bool logd_control_connected(const struct logd_control *control);
