// What acs.c (connection, timers) and acs_handlers.c (what is done with messages) share.
#pragma once

#include "common/backoff.h"
#include "common/loop.h"
#include "common/websocket.h"
#include "control/acs.h"
#include "control/acs_messages.h"

enum { ACS_PENDING_MAX = 4096 }; // messages that wait for disk or ecs-endpoint before they are acknowledged

struct acs_pending;

struct acs {
	struct acs_options options;
	char *docker_version;

	// connection
	char *url; // of the attempt under way
	struct websocket *ws;
	bool open, closing;
	bool ever_connected; // sendCredentials is true until then (§10.1)
	uint64_t opened_at;
	struct backoff backoff;
	struct timer reconnect, heartbeat, max_age, backoff_reset;

	// messages
	struct acs_pending *pending; // of this connection
	size_t pending_count;
	int64_t manifest_sequence;
	char *manifest_message_id; // awaits its TaskStopVerificationAck
};

// Takes the frame object. Failure is logged: the server sends again what is not acknowledged.
void acs_send(struct acs *acs, json_object *frame);
void acs_handle(struct acs *acs, const struct acs_message *message);
// The connection is gone, and with it the right to acknowledge what came on it.
void acs_drop_pending(struct acs *acs);
