// The container instance: who we are to ECS. Start-up as control-plane.md §3 orders it: identity
// from IMDS, region, endpoint, registration (§7), the capability list (§8, only what is true today).
#pragma once

#include "common/aws/aws_json.h"
#include "common/aws/imds.h"
#include "common/error.h"
#include "config/config.h"

// Kept in <data_dir>/instance.json (0600) beside the database, replaced by rename, with a checksum; and a second time in
// instance.json.copy, which is read when the first is damaged: an instance that forgets its ARN registers anew, and what
// runs on it belongs to nobody.
struct instance_identity {
	char *arn;             // container instance ARN; NULL: not registered yet
	char *cluster;         // effective cluster
	char *ec2_instance_id; // "" if unknown
	char *availability_zone;
	int64_t manifest_sequence; // task manifest timeline last accepted
};
// Absent, or both damaged: zeroed, 0. An error is a file that cannot be read now: no reason to register anew.
int instance_identity_load(const char *data_dir, struct instance_identity *identity, struct error *err);
int instance_identity_save(const char *data_dir, const struct instance_identity *identity, struct error *err);
void instance_identity_free(struct instance_identity *identity);
// The same as text, to be kept elsewhere; caller frees. instance_identity_parse: -EBADMSG if it is no such text.
char *instance_identity_text(const struct instance_identity *identity);
int instance_identity_parse(const char *text, struct instance_identity *identity, struct error *err);

struct docker;
struct instance;
struct instance_options {
	struct loop *loop;
	struct http_client *http;
	struct imds *imds; // NULL: an external instance, which has a region and nothing to ask
	struct credentials_chain *credentials;
	const struct config *config;
	const struct docker *docker; // versions, for capabilities; connected
	// Counts where there is no instance.json: whose instance is taken over. Borrowed until on_identified; NULL: none.
	const struct instance_identity *previous;
	// Registered: instance_arn and friends are final; identity saved. Or failed: exit with this code (1 or 5), err logged already.
	void (*on_registered)(void *arg);
	void (*on_failed)(int exit_code, void *arg);
	void (*on_disk_full)(void *arg); // the identity does not fit on the disk: make room if there is a way
	void *arg;
};
struct instance *instance_new(const struct instance_options *options);
struct instance *instance_free(struct instance *instance);
// Region (IMDS if not configured), EC2 identity (none of an external instance), saved identity and its checks (cluster
// mismatch: exit 5), then on_identified (before Docker is needed), so that the engine can load with the right cluster.
void instance_identify(struct instance *instance, void (*on_identified)(void *arg));
void instance_register(struct instance *instance);

const char *instance_arn(const struct instance *instance);
const char *instance_cluster(const struct instance *instance);
const char *instance_region(const struct instance *instance);
const char *instance_user_agent(const struct instance *instance);
// Saved state is not ours to use, start afresh: it is another EC2 instance's, or ECS_CHECKPOINT is off.
bool instance_state_discarded(const struct instance *instance);
int instance_save(struct instance *instance, struct error *err); // the identity, before registration does
struct aws_client *instance_ecs(struct instance *instance);      // client of the ECS API
int64_t instance_wall_ms(const struct instance *instance);       // the time to sign with, aws_client_wall_ms
// -1 when saved state is not used, so that a manifest of timeline 0 is accepted; 0 when there is none (§12.4).
int64_t instance_manifest_sequence(const struct instance *instance);
int instance_set_manifest_sequence(struct instance *instance, int64_t value, struct error *err); // saves

// The capabilities (§8) in the reference's order: {"name"[,"value"]}; new array (tests, --ecs-attributes). A registration
// puts custom attributes before them and those of the operating system behind.
json_object *instance_capabilities(const struct config *config, const char *docker_api_min, const char *docker_api_max);
// All 59 rows of §8 with tabs, one header line: row, name, state (advertised, later), condition, what is refused till then.
void capabilities_print(FILE *out);

// --- poll endpoint (§9): cached 12 h, a stale entry beats an error. done never runs inside the call ---
void instance_poll_endpoint(struct instance *instance,
			    void (*done)(const char *acs_endpoint, const char *telemetry_endpoint,
					 const struct error *err, void *arg),
			    void *arg);
void instance_poll_endpoint_cancel(struct instance *instance, void *arg); // no `done` with this arg follows
