// The interface of destinations: each ships one container's spool, in order, and confirms what has arrived.
//
// A destination pulls: it reads items from the spool with a reader of its own as fast as it can send them, and
// moves the cursor with spool_confirm once they have arrived. It keeps no log text while it waits for a peer that is
// away: what is not confirmed is read again from the spool. Memory for items under way comes from the pool. A failure
// is never the end; it is told to delivery.h and tried again with growing pauses (common/backoff.h).
#pragma once

#include "common/error.h"
#include "common/http.h"
#include "common/loop.h"
#include "logging/delivery.h"
#include "logging/pool.h"
#include "logging/settings.h"
#include "logging/spool.h"

struct fluentd_settings; // fluentd.h
struct cloudwatch;       // cloudwatch.h: what all awslogs streams share (clients, credentials, groups known to exist)

// What ecs-logd has for all destinations. Borrowed; outlives them.
struct destination_host {
	struct loop *loop;
	struct http_client *http;
	struct pool *pool;
	struct cloudwatch *cloudwatch;
	const struct fluentd_settings *fluentd; // the operator's; NULL: none
	bool silent;                            // losses are counted only, not told in the stream
};

struct destination;
struct destination_class {
	const char *driver; // Docker's name: "awslogs"
	// What is certainly wrong with the settings and can be seen at once (files, patterns). NULL: nothing can be.
	int (*check)(const struct stream_settings *settings, struct error *err);
	// settings, spool and delivery outlive the destination. It begins at the spool's head by itself.
	struct destination *(*open)(const struct destination_host *host, const struct stream_settings *settings,
				    struct spool *spool, struct delivery *delivery);
	// Asks whether the destination certainly refuses this stream (a log group that does not exist). The answer comes
	// within 5 s, exactly once unless the destination is freed before: NULL when it accepts or cannot be reached.
	// NULL: nothing to ask.
	void (*ask)(struct destination *destination, void (*answer)(const struct error *refusal, void *arg), void *arg);
	void (*wake)(struct destination *destination);  // items were appended
	void (*flush)(struct destination *destination); // deliver what there is now, without waiting for a full batch
	struct destination *(*free)(struct destination *destination); // at any time; returns NULL
};

extern const struct destination_class destination_awslogs, destination_fluentd, destination_syslog;
