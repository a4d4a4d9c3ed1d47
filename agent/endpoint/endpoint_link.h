// The connection to ecs-endpoint: made, made again with backoff when it ends, and the spawner asked for a
// new ecs-endpoint when there is none. Knows nothing of what is said on it.
#pragma once

#include "common/channel.h"
#include "common/error.h"

struct endpoint_link;

struct endpoint_link_callbacks {
	void (*on_up)(void *arg); // connected to a process that may be trusted with credentials
	void (*on_message)(const struct wire_message *message, void *arg);
	void (*on_down)(void *arg); // after on_up only
};

struct endpoint_link *endpoint_link_new(struct loop *loop, const char *socket_path, int spawner_fd,
					const struct endpoint_link_callbacks *callbacks, void *arg);
struct endpoint_link *endpoint_link_free(struct endpoint_link *link); // the spawner's descriptor stays open
void endpoint_link_start(struct endpoint_link *link);
// False when the message is too large. Swallowed while there is no connection.
bool endpoint_link_send(struct endpoint_link *link, unsigned type, const char *const *fields, size_t count,
			int pass_fd);
void endpoint_link_drop(struct endpoint_link *link);    // this peer is no good: on_down, and another try later
void endpoint_link_healthy(struct endpoint_link *link); // the next loss is a new one: backoff starts anew
