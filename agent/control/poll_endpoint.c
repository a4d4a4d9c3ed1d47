// DiscoverPollEndpoint (control-plane.md §9).
#include "common/log.h"
#include "common/util.h"
#include "control/acs_endpoint.h"
#include "control/instance_private.h"
#include <errno.h>

#define ENDPOINT_TTL_MS (12 * 3600000ULL)

struct poll_waiter {
	struct poll_waiter *next;
	uint64_t number; // in order of arrival
	void (*done)(const char *acs_endpoint, const char *telemetry_endpoint, const struct error *err, void *arg);
	void *arg;
};

static void ask(struct instance *instance);
static void on_cached(void *arg);
static void on_answer(const struct aws_response *response, void *arg);
static void answer_all(struct instance *instance, const struct error *err);

void instance_poll_endpoint(struct instance *instance,
			    void (*done)(const char *acs_endpoint, const char *telemetry_endpoint,
					 const struct error *err, void *arg),
			    void *arg)
{
	struct poll_waiter *waiter = xcalloc(1, sizeof(*waiter)), **end = &instance->waiters;
	bool fresh = instance->acs_endpoint && loop_now(instance->options.loop) < instance->endpoint_until;

	waiter->done = done;
	waiter->arg = arg;
	waiter->number = ++instance->last_waiter;
	while (*end)
		end = &(*end)->next;
	*end = waiter;
	if (instance->endpoint_call || instance->endpoint_deferred)
		return; // one lookup serves all who wait
	if (fresh) {
		instance->endpoint_deferred = true;
		loop_defer(instance->options.loop, on_cached, instance);
	} else {
		ask(instance);
	}
}

void instance_poll_endpoint_cancel(struct instance *instance, void *arg)
{
	for (struct poll_waiter **p = &instance->waiters; *p;) {
		struct poll_waiter *waiter = *p;

		if (waiter->arg != arg) {
			p = &waiter->next;
			continue;
		}
		*p = waiter->next;
		free(waiter);
	}
}

void instance_poll_stop(struct instance *instance)
{
	while (instance->waiters)
		instance_poll_endpoint_cancel(instance, instance->waiters->arg);
	if (instance->endpoint_deferred)
		loop_defer_cancel(instance->options.loop, on_cached, instance);
	aws_call_cancel(instance->endpoint_call);
	instance->endpoint_call = NULL;
	free(instance->acs_endpoint);
	free(instance->telemetry_endpoint);
}

static void ask(struct instance *instance)
{
	_cleanup_json_ json_object *body = json_object_new_object();

	json_add_string(body, "cluster", instance->identity.cluster);
	json_add_string(body, "containerInstance", instance->identity.arn);
	json_add_string(body, "zoneId", ""); // as the reference, although it knows the zone
	instance->endpoint_call =
		aws_client_call(instance->ecs, "DiscoverPollEndpoint", body, AWS_RETRY_STANDARD, on_answer, instance);
}

static void on_cached(void *arg)
{
	struct instance *instance = arg;

	instance->endpoint_deferred = false;
	answer_all(instance, NULL);
}

static void on_answer(const struct aws_response *response, void *arg)
{
	struct instance *instance = arg;
	const char *endpoint = response->body ? json_get_string(response->body, "endpoint") : NULL;
	struct error err = response->error;

	instance->endpoint_call = NULL;
	// What no session can be opened at is not kept for hours.
	if (!str_empty(endpoint) && acs_endpoint_check(endpoint, &err) == 0) {
		str_replace(&instance->acs_endpoint, endpoint);
		str_replace(&instance->telemetry_endpoint, json_get_string(response->body, "telemetryEndpoint"));
		instance->endpoint_until = loop_now(instance->options.loop) + ENDPOINT_TTL_MS;
		answer_all(instance, NULL);
		return;
	}
	if (response->body && str_empty(endpoint))
		error_set(&err, EPROTO, "no endpoint returned; nil");
	if (instance->acs_endpoint) {
		// A stale address beats none; the next lookup asks again.
		log_warn("cannot ask for the ACS endpoint, the last one is used", "error=%s", err.message);
		answer_all(instance, NULL);
		return;
	}
	answer_all(instance, &err);
}

// Those who ask again during a callback have a higher number: they wait for an answer of their own.
static void answer_all(struct instance *instance, const struct error *err)
{
	uint64_t last = instance->last_waiter;

	while (instance->waiters && instance->waiters->number <= last) {
		struct poll_waiter *waiter = instance->waiters;

		instance->waiters = waiter->next;
		waiter->done(err ? NULL : instance->acs_endpoint, err ? NULL : instance->telemetry_endpoint, err,
			     waiter->arg);
		free(waiter);
	}
}
