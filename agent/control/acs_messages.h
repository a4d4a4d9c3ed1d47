// Messages of the ACS session as data (control-plane.md §11-13): decoding of what the control plane
// sends, building of what it is answered. Pure; everything here is fed with bytes from outside.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "control/acs_attachments.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ACS_PAYLOAD_TASKS_MAX = 1000,   // tasks in one payload; ECS allows far fewer on an instance
	ACS_MANIFEST_TASKS_MAX = 10000, // entries of a manifest
	ACS_EXCERPT_MAX = 200,          // bytes of a malformed frame that are logged
};

enum acs_type {
	ACS_HEARTBEAT,
	ACS_PAYLOAD,
	ACS_CREDENTIALS,
	ACS_MANIFEST,
	ACS_STOP_VERIFICATION_ACK,
	ACS_UPDATE, // StageUpdateMessage, PerformUpdateMessage
	ACS_ATTACH_TASK_ENI,
	ACS_ATTACH_INSTANCE_ENI,
	ACS_ATTACH_RESOURCE, // ConfirmAttachmentMessage
	ACS_NOTICE,          // CloseMessage, ErrorMessage and the six exceptions
	ACS_UNHANDLED,       // recognised, but never sent by a control plane
};

struct acs_role_credentials {
	char *credentials_id, *role_arn, *access_key_id, *secret_access_key, *session_token, *expiration, *scope;
};
struct acs_manifest_task {
	char *task_arn, *cluster_arn, *desired_status;
};

// Members are NULL, 0 or empty when the message does not have them. Some are there for their type alone: a member
// of the wrong type drops the frame (§11.3).
struct acs_heartbeat {
	char *message_id;
	bool healthy;
};
struct acs_payload {
	char *message_id, *cluster_arn, *instance_arn;
	json_object *tasks; // NULL or an array of objects and nulls, at most ACS_PAYLOAD_TASKS_MAX
	int64_t seq_num, generated_at, timeline;
};
struct acs_credentials {
	char *message_id, *task_arn, *cluster_arn, *role_type;
	struct acs_role_credentials *credentials;
};
struct acs_manifest {
	char *message_id, *cluster_arn, *instance_arn;
	struct json_list tasks; // struct acs_manifest_task
	int64_t timeline, generated_at;
};
struct acs_stop_verification_ack {
	char *message_id;
	struct json_list stop_tasks; // struct acs_manifest_task
	int64_t generated_at;
};
struct acs_update_info {
	char *location, *signature;
};
struct acs_update {
	char *message_id, *cluster_arn, *instance_arn;
	struct acs_update_info *info;
};
struct acs_notice {
	char *text;
};

struct acs_message {
	enum acs_type type;
	const char *name;               // "PayloadMessage", static
	const struct json_table *table; // of the body, NULL: none
	union {
		struct acs_heartbeat heartbeat;
		struct acs_payload payload;
		struct acs_credentials credentials;
		struct acs_manifest manifest;
		struct acs_stop_verification_ack stop_ack;
		struct acs_update update;
		struct acs_attach_eni attach_eni;
		struct acs_attach_resource attach_resource;
		struct acs_notice notice;
	};
};

// Decodes a frame, or the body of a refused handshake. On failure the message is empty and err says what is wrong.
int acs_message_decode(const char *text, size_t len, struct acs_message *message, struct error *err);
void acs_message_free(struct acs_message *message); // wipes credentials; frees members only
// What is missing for a message to be acted on, in words; NULL if nothing is (§12.2, §12.3).
const char *acs_payload_problem(const struct acs_payload *payload);
const char *acs_credentials_problem(const struct acs_credentials *message);
// Role credentials of a task object: 1 found, 0 absent, negative and err malformed.
int acs_task_credentials(json_object *task, bool execution, struct acs_role_credentials *ret, struct error *err);
void acs_role_credentials_free(struct acs_role_credentials *credentials);
// The start of a frame for a log line; cut before anything that may be secret.
void acs_excerpt(const char *text, size_t len, char out[ACS_EXCERPT_MAX + 1]);

// --- what is sent: each is a whole frame ---
json_object *acs_ack(const char *cluster, const char *instance, const char *message_id);
json_object *acs_nack(const char *cluster, const char *instance, const char *message_id, const char *reason);
json_object *acs_heartbeat_ack(const char *message_id);
json_object *acs_credentials_ack(const char *credentials_id, const char *expiration, const char *message_id);
// candidates are added with acs_stop_candidate.
json_object *acs_stop_verification(const char *message_id);
void acs_stop_candidate(json_object *frame, const char *task_arn, const char *cluster_arn);

// --- the session's address ---
struct acs_address {
	const char *endpoint, *cluster, *instance_arn, *docker_version;
	bool send_credentials;
};
// "<endpoint>/ws?agentHash=..." with parameters sorted and strictly percent-encoded (§10.1). NULL and err if the
// endpoint is no http(s) or ws(s) URL. Caller frees.
char *acs_url(const struct acs_address *address, struct error *err);
// Points into url: authority (not terminated), path (not terminated) and query of what acs_url gave.
struct acs_url_parts {
	const char *host;
	size_t host_len;
	const char *path;
	size_t path_len;
	const char *query;
};
void acs_url_split(const char *url, struct acs_url_parts *parts);
