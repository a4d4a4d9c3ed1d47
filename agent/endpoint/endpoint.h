// ecsd's side of the socket to ecs-endpoint: what is to be served is pushed, so that a request for
// credentials costs no round trip and goes on being answered while ecsd restarts (docs/ARCHITECTURE.md).
//
// ecs-endpoint outlives ecsd. On start ecsd connects to one that runs already or that a service manager starts
// then, or has one started by the spawner (spawner.h), and restarts it when it dies. After each connect everything is pushed
// again from memory; credentials that only the endpoint still has are kept there for the ids that
// ecsd says are alive, and given back to ecsd. So each of the two can be restarted, one after the other, and none are lost.
#pragma once

#include "common/error.h"
#include "common/http.h"
#include "common/json.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>

enum role_type { ROLE_TASK_APPLICATION, ROLE_TASK_EXECUTION };

struct task_credentials {
	char *id, *task_arn, *role_arn, *access_key_id, *secret_access_key, *session_token, *expiration;
	enum role_type role;
};
void task_credentials_free(struct task_credentials *credentials); // wipes secrets; frees members only

struct endpoint;

struct endpoint_options {
	struct loop *loop;
	const char *socket;         // path of the socket where ecs-endpoint listens
	int spawner_fd;             // from spawner_start; -1: never start one (a service manager does)
	const char *audit_log_path; // NULL: disabled
	unsigned rps_steady, rps_burst;
	// Connection state: called with true once an endpoint holds everything pushed so far, with false when it is gone.
	void (*on_connected)(bool connected, void *arg);
	// Credentials that a running endpoint gave back after a restart of ecsd. Borrowed.
	void (*on_returned)(const struct task_credentials *credentials, void *arg);
	void *arg;
};
struct endpoint *endpoint_new(const struct endpoint_options *options, struct error *err);
struct endpoint *endpoint_free(struct endpoint *endpoint); // the ecs-endpoint process stays up

// Identity: cluster and instance ARN of audit records and of /v1/metadata. Once registered.
void endpoint_set_instance(struct endpoint *endpoint, const char *cluster, const char *instance_arn);

// Before the first connect of this process: the ids of all tasks loaded from the store. The endpoint keeps what it
// has for them, answers 503 for those it does not have, and drops all others.
void endpoint_expect(struct endpoint *endpoint, const char *id, const char *task_arn, enum role_type role);
// Ends the list of expected ids; connecting starts.
void endpoint_start(struct endpoint *endpoint);

// Stores or replaces credentials, in memory and at the endpoint. held (may be NULL) is called once the endpoint has
// confirmed them (never inside this call); when the endpoint is away that is after its return. endpoint_cancel cancels it.
// Fails with the page's texts "CredentialsId is empty" / "task ARN is empty".
int endpoint_put(struct endpoint *endpoint, const struct task_credentials *credentials, void (*held)(void *arg),
		 void *arg, struct error *err);
void endpoint_cancel(struct endpoint *endpoint, void *arg);      // no `held` with this arg follows
void endpoint_remove(struct endpoint *endpoint, const char *id); // then 400 for this id
// Credentials ecsd knows itself: put in this process life, or given back. NULL otherwise. Borrowed.
const struct task_credentials *endpoint_get(const struct endpoint *endpoint, const char *id);
// Whether these are there and have not expired. Also true while only ecs-endpoint may know that.
bool endpoint_holds(const struct endpoint *endpoint, const char *id);

// Introspection: the task object of /v1/tasks (introspection.md §5.3) as JSON text, replaced as a whole. Docker ids
// (and, before there is an id, names) of its containers for look-up by dockerid.
void endpoint_set_task(struct endpoint *endpoint, const char *task_arn, const char *json, const char *const *docker_ids,
		       size_t docker_id_count);
void endpoint_remove_task(struct endpoint *endpoint, const char *task_arn);

// After the audit log was renamed: opens audit_log_path anew and hands it to ecs-endpoint. Also done on each connect.
void endpoint_reopen_audit_log(struct endpoint *endpoint);
