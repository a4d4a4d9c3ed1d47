// What ecsd has to do with ecs-logd, which ships the logs of containers: whether it is there to take them, telling it when
// a container is stopped or has ended, and whose credentials it still needs (logging.md ).
//
// That it is there is asked at Docker's door, the plugin's socket, since that is where Docker will go. The telling has a
// socket of its own. Without it ecs-logd works all the same, but cannot know that a container has ended whose log it
// holds back: a FIFO that nobody reads keeps Docker from saying so. ecs-logd is no child of ecsd's; it may come and go.
#pragma once

#include "common/http.h"
#include "common/loop.h"
#include <stdbool.h>

#define LOGD_FRESH_MS 5000 // loop time; a "yes" holds for so long, a "no" is asked again for each container
// Loop time. An ecs-logd that dies is started again in seconds, and an upgrade takes minutes; whoever leaves it away for
// an hour has given it up, and what is kept for it are secrets.
#define LOGD_AWAY_MS (UINT64_C(60) * 60 * 1000)

struct logd;
struct log_defaults;
struct logd_options {
	struct loop *loop;
	struct http_client *http;
	unsigned drivers;               // LOG_DRIVER_BIT of those it may take over (ECS_NATIVE_LOGGING)
	const char *plugin_socket;      // copied, as the others
	const char *socket;             // ecs-logd's own
	const char *docker_config_file; // daemon.json
	// ecs-logd has (again) been reached, and knows nothing of what it was told before: what is so now is to be said again.
	void (*on_connected)(void *arg);
	void *arg;
};
struct logd *logd_new(const struct logd_options *options);
struct logd *logd_free(struct logd *logd); // calls no `done`; NULL is fine

// True: what logd_drivers says is good. False: it is being asked, done comes later, in a second at most, and not inside
// this call.
bool logd_ask(struct logd *logd, void (*done)(void *arg), void *arg);
void logd_ask_cancel(struct logd *logd, void *arg); // no `done` with this arg follows
// LOG_DRIVER_BIT of each driver in whose place it takes logs, by its last answer.
unsigned logd_drivers(const struct logd *logd);
// Of Docker's daemon as it was when logd_docker_started was called last. Borrowed, never NULL.
const struct log_defaults *logd_docker_defaults(const struct logd *logd);
void logd_docker_started(struct logd *logd); // Docker answers (again): it may have another configuration

// docker_id: the container's, whosever log it is; ecs-logd knows which are its own. Nothing happens while it is away.
void logd_stopping(struct logd *logd, const char *docker_id);
void logd_exited(struct logd *logd, const char *docker_id);

// Whether ecs-logd has logs to ship with these credentials of a task, by its last word. While it has said nothing,
// for LOGD_AWAY_MS since its last word or since ecsd began: it may have, if there is one on this host.
bool logd_needs_credentials(const struct logd *logd, const char *id);
