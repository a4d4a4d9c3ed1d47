// HostConfig.LogConfig of a create request: what the agent adds to the task definition's word (docker-mapping.md §18,
// logging.md §3.1), and whether ecs-logd or a driver of Docker's own takes the container's log. Pure, but for
// log_defaults_read.
//
// ecs-logd is a log driver plugin. A plugin cannot have the name of one of Docker's own drivers, so the container gets
// the plugin's name, with all options unchanged and the driver that was meant in one more: `docker inspect`
// shows "ecslogs" and x-ecs-driver. Docker checks no option of a plugin's, and merges its daemon's into none: both are
// done here.
#pragma once

#include "common/error.h"
#include "common/log_options.h"
#include "docker/create_request.h"

#define LOG_PLUGIN "ecslogs" // ecs-logd's name as a plugin, R-1.1

// The daemon's default log driver and its options, as /etc/docker/daemon.json has them.
struct log_defaults {
	char *driver; // NULL: not configured, json-file
	struct json_map options;
};
// From the text of that file. *defaults is zeroed on failure.
int log_defaults_decode(const char *text, size_t len, struct log_defaults *defaults, struct error *err);
// A file that is not there is no error: no defaults.
int log_defaults_read(const char *path, struct log_defaults *defaults, struct error *err);
void log_defaults_free(struct log_defaults *defaults); // its members

// The driver that the container's definition names, if ecs-logd can take its place; false: another one, or none.
bool log_config_driver(const struct container *container, enum log_driver *driver);

// Changes host_config, in which the payload's own is already. On failure a negative errno: *name is the error's name for
// ECS and err the text, for a wrong option Docker's own.
int log_config_apply(json_object *host_config, const struct task *task, const struct container *container,
		     const struct create_context *context, const char **name, struct error *err);
