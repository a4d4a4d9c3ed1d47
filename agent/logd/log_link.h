// The connection to ecs-logd's own socket: made, and made again with pauses for as long as ecsd runs. Nothing waits for
// it. What is sent while there is none is lost: whoever uses it says everything again when it is up.
#pragma once

#include "common/channel.h"

struct log_link;

struct log_link_callbacks {
	void (*on_up)(void *arg); // greeted, by a process that is ecs-logd's or root's
	void (*on_message)(const struct wire_message *message, void *arg);
	void (*on_down)(void *arg); // after on_up only
};

struct log_link *log_link_new(struct loop *loop, const char *socket_path, const struct log_link_callbacks *callbacks,
			      void *arg);
struct log_link *log_link_free(struct log_link *link);
void log_link_start(
	struct log_link *link); // connects now, if it is not connected: the first time, or when there is hope
bool log_link_up(const struct log_link *link);
// There is not even a socket, as on a host without ecs-logd: one that dies leaves it behind.
bool log_link_absent(const struct log_link *link);
void log_link_send(struct log_link *link, unsigned type, const char *field);
