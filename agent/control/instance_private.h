// What instance.c (identification), register.c and poll_endpoint.c share.
#pragma once

#include "common/aws/credentials.h"
#include "common/backoff.h"
#include "common/loop.h"
#include "control/instance.h"

#define DEFAULT_CLUSTER "default"
enum { EXIT_ERROR = 1, EXIT_TERMINAL = 5 }; // control-plane.md §2.2

struct poll_waiter;

struct instance {
	struct instance_options options;
	struct instance_identity identity;
	char *region, *user_agent, *startup_error;
	struct aws_client *ecs;
	bool state_discarded;
	void (*on_identified)(void *arg);

	// from IMDS; NULL: not known
	char *ec2_instance_id, *mac, *vpc_id, *subnet_id, *zone_id, *outpost_arn;
	bool imds_absent; // did not answer at all when last asked: no time is spent on asking it again and again
	struct timer timer;
	void (*on_timer)(void *instance);
	struct backoff backoff;
	unsigned tries;
	uint64_t deadline;
	size_t fact;

	// registration
	char client_token[37];
	bool reregistration, cluster_created;
	bool unsaved; // the identity is not on disk yet
	char *document, *signature;
	struct backoff rounds;
	unsigned round;
	json_object *attributes; // as sent last
	struct aws_call *call;   // RegisterContainerInstance or CreateCluster

	// poll endpoint
	char *acs_endpoint, *telemetry_endpoint;
	uint64_t endpoint_until; // loop time; 0: nothing cached
	struct aws_call *endpoint_call;
	bool endpoint_deferred;
	struct poll_waiter *waiters; // oldest first
	uint64_t last_waiter;
};

// imds_get for this instance.
void instance_imds_get(struct instance *instance, const char *path,
		       void (*done)(const char *body, long status, const struct error *err, void *arg));
// Calls step(instance) later; one at a time.
void instance_after(struct instance *instance, uint64_t delay_ms, void (*step)(void *instance));
// Ends start-up: on_failed is the last thing that happens.
void instance_fail(struct instance *instance, int exit_code, const char *text);
void instance_register_stop(struct instance *instance);
void instance_poll_stop(struct instance *instance);

// The request body of a registration (pure; tests).
struct registration {
	const char *cluster, *instance_arn; // instance_arn NULL: first registration
	const char *document, *signature;   // "" when not known
	const char *client_token, *outpost_arn;
	const char *docker_api_min, *docker_api_max;
	int64_t cpu_units, memory_mib; // before reservation
};
json_object *registration_build(const struct registration *registration, const struct config *config,
				struct error *err);
// Every attribute sent must come back with its value (§7.6).
bool registration_attributes_match(json_object *sent, json_object *returned, struct error *err);
