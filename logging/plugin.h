// Docker's log-driver plugin interface (logging.md §1.3, §1.4): HTTP on a Unix socket, on libevent's server. Every request is
// answered within a second, but for the bounded wait that a start may need to be refused.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include "logging/info.h"

#define PLUGIN_BODY_MAX ((size_t)16 << 20) // environment and labels come in full

struct plugin;
struct plugin_request; // one that waits for its answer

struct plugin_handlers {
	// Both answer by plugin_answer, now or later. file and info are borrowed during the call.
	void (*start)(const char *file, const struct log_info *info, struct plugin_request *request, void *arg);
	void (*stop)(const char *file, struct plugin_request *request, void *arg);
	json_object *(*status)(void *arg); // GET /status: a new object
};

// Takes the listening socket.
struct plugin *plugin_new(struct loop *loop, int listen_fd, const struct plugin_handlers *handlers, void *arg,
			  struct error *err);
struct plugin *plugin_free(struct plugin *plugin); // no request may be waiting; returns NULL
// refusal: NULL for success. Frees the request, whether Docker still waits for it or not.
void plugin_answer(struct plugin_request *request, const struct error *refusal);
