// The ACS session (control-plane.md §10-13): the WebSocket on which the control plane sends tasks,
// credentials and heartbeats, and on which they are acknowledged: a payload once its tasks are on disk
// and its credentials are held by ecs-endpoint.
#pragma once

#include "control/instance.h"
#include "endpoint/endpoint.h"
#include "engine/engine.h"

struct acs;
struct acs_options {
	struct loop *loop;
	struct instance *instance;
	struct credentials_chain *credentials;
	struct engine *engine;
	struct endpoint *endpoint;
	const char *docker_version;
	bool insecure;
	void (*on_open)(void *arg);   // a session has opened: ECS can be reached (again). NULL: nobody asks
	void (*on_closed)(void *arg); // it is over; another try follows. NULL: nobody asks
	void *arg;
};
struct acs *acs_new(const struct acs_options *options);
void acs_start(struct acs *acs);       // connects, and reconnects for ever
struct acs *acs_free(struct acs *acs); // drops the connection without a close frame
bool acs_connected(const struct acs *acs);
