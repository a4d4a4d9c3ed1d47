// Everything ecs-endpoint serves and the answers to requests for it; filled by control.c.
#pragma once

#include "credential_store.h"
#include "http_server.h"
#include "rate_limit.h"
#include "task_store.h"

struct served {
	struct credential_store *credentials;
	struct task_store *tasks;
	struct rate_limiter *limiter;
	char *cluster, *instance_arn, *version; // "" until ecsd says them
	bool filled;                            // once ecsd has said all there is
	struct http_server *held;               // until then; NULL: nobody waits for that
	int audit_fd;                           // -1: no audit log
};

// Handlers of http_server.h; arg is the struct served.
void serve_credentials(const struct http_request *request, struct http_reply *reply, void *arg);
void serve_introspection(const struct http_request *request, struct http_reply *reply, void *arg);
