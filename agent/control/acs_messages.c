#include "acs_messages.h"
#include "acs_endpoint.h"
#include "common/http.h"
#include "common/util.h"
#include "common/websocket.h"
#include "common/version.h"
#include <ctype.h>
#include <errno.h>
#include <strings.h>

static const struct json_field heartbeat_fields[] = {
	JSON_FIELD(struct acs_heartbeat, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_heartbeat, "healthy", healthy, JSON_BOOL),
	JSON_END,
};
static const struct json_table heartbeat_table = {"HeartbeatMessage", sizeof(struct acs_heartbeat), heartbeat_fields};

static const struct json_field payload_fields[] = {
	JSON_FIELD(struct acs_payload, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_payload, "clusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_payload, "containerInstanceArn", instance_arn, JSON_STRING),
	JSON_FIELD(struct acs_payload, "tasks", tasks, JSON_RAW),
	JSON_FIELD(struct acs_payload, "seqNum", seq_num, JSON_INT64),
	JSON_FIELD(struct acs_payload, "generatedAt", generated_at, JSON_INT64),
	JSON_FIELD(struct acs_payload, "timeline", timeline, JSON_INT64),
	JSON_END,
};
static const struct json_table payload_table = {"PayloadMessage", sizeof(struct acs_payload), payload_fields};

static const struct json_field role_fields[] = {
	JSON_FIELD(struct acs_role_credentials, "credentialsId", credentials_id, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "roleArn", role_arn, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "accessKeyId", access_key_id, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "secretAccessKey", secret_access_key, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "sessionToken", session_token, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "expiration", expiration, JSON_STRING),
	JSON_FIELD(struct acs_role_credentials, "credentialScope", scope, JSON_STRING),
	JSON_END,
};
static const struct json_table role_table = {"IAMRoleCredentials", sizeof(struct acs_role_credentials), role_fields};

static const struct json_field credentials_fields[] = {
	JSON_FIELD(struct acs_credentials, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_credentials, "taskArn", task_arn, JSON_STRING),
	JSON_FIELD(struct acs_credentials, "taskClusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_credentials, "roleType", role_type, JSON_STRING),
	JSON_SUB(struct acs_credentials, "roleCredentials", credentials, JSON_OBJECT, &role_table),
	JSON_END,
};
static const struct json_table credentials_table = {"IAMRoleCredentialsMessage", sizeof(struct acs_credentials),
						    credentials_fields};

static const struct json_field manifest_task_fields[] = {
	JSON_FIELD(struct acs_manifest_task, "taskArn", task_arn, JSON_STRING),
	JSON_FIELD(struct acs_manifest_task, "taskClusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_manifest_task, "desiredStatus", desired_status, JSON_STRING),
	JSON_END,
};
static const struct json_table manifest_task_table = {"TaskIdentifier", sizeof(struct acs_manifest_task),
						      manifest_task_fields};

static const struct json_field manifest_fields[] = {
	JSON_FIELD(struct acs_manifest, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_manifest, "clusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_manifest, "containerInstanceArn", instance_arn, JSON_STRING),
	JSON_SUB(struct acs_manifest, "tasks", tasks, JSON_LIST, &manifest_task_table),
	JSON_FIELD(struct acs_manifest, "timeline", timeline, JSON_INT64),
	JSON_FIELD(struct acs_manifest, "generatedAt", generated_at, JSON_INT64),
	JSON_END,
};
static const struct json_table manifest_table = {"TaskManifestMessage", sizeof(struct acs_manifest), manifest_fields};

static const struct json_field stop_ack_fields[] = {
	JSON_FIELD(struct acs_stop_verification_ack, "messageId", message_id, JSON_STRING),
	JSON_SUB(struct acs_stop_verification_ack, "stopTasks", stop_tasks, JSON_LIST, &manifest_task_table),
	JSON_FIELD(struct acs_stop_verification_ack, "generatedAt", generated_at, JSON_INT64),
	JSON_END,
};
static const struct json_table stop_ack_table = {"TaskStopVerificationAck", sizeof(struct acs_stop_verification_ack),
						 stop_ack_fields};

static const struct json_field update_info_fields[] = {
	JSON_FIELD(struct acs_update_info, "location", location, JSON_STRING),
	JSON_FIELD(struct acs_update_info, "signature", signature, JSON_STRING),
	JSON_END,
};
static const struct json_table update_info_table = {"UpdateInfo", sizeof(struct acs_update_info), update_info_fields};

static const struct json_field update_fields[] = {
	JSON_FIELD(struct acs_update, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_update, "clusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_update, "containerInstanceArn", instance_arn, JSON_STRING),
	JSON_SUB(struct acs_update, "updateInfo", info, JSON_OBJECT, &update_info_table),
	JSON_END,
};
static const struct json_table update_table = {"UpdateMessage", sizeof(struct acs_update), update_fields};

static const struct json_field notice_fields[] = {
	JSON_FIELD(struct acs_notice, "message", text, JSON_STRING),
	JSON_END,
};
static const struct json_table notice_table = {"ErrorMessage", sizeof(struct acs_notice), notice_fields};

// control-plane.md §11.2. exception: may also come as {"<TypeName>":"<text>"} (§11.3 rule 3).
static const struct acs_row {
	const char *name;
	enum acs_type type;
	const struct json_table *table;
	bool exception;
} acs_rows[] = {
	{"HeartbeatMessage", ACS_HEARTBEAT, &heartbeat_table, false},
	{"PayloadMessage", ACS_PAYLOAD, &payload_table, false},
	{"IAMRoleCredentialsMessage", ACS_CREDENTIALS, &credentials_table, false},
	{"TaskManifestMessage", ACS_MANIFEST, &manifest_table, false},
	{"TaskStopVerificationAck", ACS_STOP_VERIFICATION_ACK, &stop_ack_table, false},
	{"StageUpdateMessage", ACS_UPDATE, &update_table, false},
	{"PerformUpdateMessage", ACS_UPDATE, &update_table, false},
	{"AttachTaskNetworkInterfacesMessage", ACS_ATTACH_TASK_ENI, &acs_attach_eni_table, false},
	{"AttachInstanceNetworkInterfacesMessage", ACS_ATTACH_INSTANCE_ENI, &acs_attach_eni_table, false},
	{"ConfirmAttachmentMessage", ACS_ATTACH_RESOURCE, &acs_attach_resource_table, false},
	{"CloseMessage", ACS_NOTICE, &notice_table, false},
	{"ErrorMessage", ACS_NOTICE, &notice_table, false},
	{"ServerException", ACS_NOTICE, &notice_table, true},
	{"BadRequestException", ACS_NOTICE, &notice_table, true},
	{"InvalidClusterException", ACS_NOTICE, &notice_table, true},
	{"InvalidInstanceException", ACS_NOTICE, &notice_table, true},
	{"AccessDeniedException", ACS_NOTICE, &notice_table, true},
	{"InactiveInstanceException", ACS_NOTICE, &notice_table, true},
	{"HeartbeatAckRequest", ACS_UNHANDLED, NULL, false},
	{"AckRequest", ACS_UNHANDLED, NULL, false},
	{"NackRequest", ACS_UNHANDLED, NULL, false},
	{"IAMRoleCredentialsAckRequest", ACS_UNHANDLED, NULL, false},
	{"TaskStopVerificationMessage", ACS_UNHANDLED, NULL, false},
};

static int decode_envelope(json_object *frame, struct acs_message *message, struct error *err);
static int decode_exception(json_object *frame, struct acs_message *message, struct error *err);
static int check_tasks(const json_object *tasks, struct error *err);

int acs_message_decode(const char *text, size_t len, struct acs_message *message, struct error *err)
{
	_cleanup_json_ json_object *frame = NULL;
	int r;

	memset(message, 0, sizeof(*message));
	if (len > WEBSOCKET_MESSAGE_MAX)
		return error_set(err, EMSGSIZE, "the frame has %zu bytes, more than %zu", len, WEBSOCKET_MESSAGE_MAX);
	frame = json_parse(text, len, err);
	if (!frame)
		return error_wrap(err, "not JSON");
	if (!json_object_is_type(frame, json_type_object))
		return error_set(err, EBADMSG, "not a JSON object");
	r = str_empty(json_get_string(frame, "type")) ? decode_exception(frame, message, err)
						      : decode_envelope(frame, message, err);
	if (r < 0) {
		acs_message_free(message);
		return r;
	}
	return 0;
}

static int decode_envelope(json_object *frame, struct acs_message *message, struct error *err)
{
	const char *type = json_get_string(frame, "type");
	const struct acs_row *row = NULL;
	json_object *body;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(acs_rows) && !row; i++)
		if (!strcmp(acs_rows[i].name, type))
			row = &acs_rows[i];
	if (!row)
		return error_set(err, ENOMSG, "unknown message type %.100s", type);
	body = json_get(frame, "message");
	if (!body)
		return error_set(err, EBADMSG, "%s without a message", row->name);
	if (!json_object_is_type(body, json_type_object))
		return error_set(err, EBADMSG, "the message of %s is not an object", row->name);
	message->type = row->type;
	message->name = row->name;
	if (!row->table)
		return 0;
	r = json_decode(row->table, body, &message->heartbeat, err);
	if (r < 0)
		return error_wrap(err, "%s", row->name);
	message->table = row->table;
	if (row->type == ACS_PAYLOAD)
		return check_tasks(message->payload.tasks, err);
	if (row->type == ACS_MANIFEST && message->manifest.tasks.count > ACS_MANIFEST_TASKS_MAX)
		return error_set(err, E2BIG, "TaskManifestMessage has %zu tasks, more than %d",
				 message->manifest.tasks.count, ACS_MANIFEST_TASKS_MAX);
	return 0;
}

static int check_tasks(const json_object *tasks, struct error *err)
{
	size_t count;

	if (!tasks)
		return 0;
	if (!json_object_is_type(tasks, json_type_array))
		return error_set(err, EBADMSG, "PayloadMessage: tasks is not a list");
	count = json_object_array_length(tasks);
	if (count > ACS_PAYLOAD_TASKS_MAX)
		return error_set(err, E2BIG, "PayloadMessage has %zu tasks, more than %d", count,
				 ACS_PAYLOAD_TASKS_MAX);
	for (size_t i = 0; i < count; i++) {
		json_object *task = json_object_array_get_idx(tasks, i);

		if (task && !json_object_is_type(task, json_type_object))
			return error_set(err, EBADMSG, "PayloadMessage: task %zu is not an object", i);
	}
	return 0;
}

// {"<TypeName>":"<text>"}
static int decode_exception(json_object *frame, struct acs_message *message, struct error *err)
{
	if (json_object_object_length(frame) == 1) {
		json_object_object_foreach(frame, name, value)
		{
			if (!json_object_is_type(value, json_type_string))
				break;
			for (size_t i = 0; i < ARRAY_SIZE(acs_rows); i++) {
				if (!acs_rows[i].exception || strcmp(acs_rows[i].name, name) != 0)
					continue;
				message->type = ACS_NOTICE;
				message->name = acs_rows[i].name;
				message->table = &notice_table;
				message->notice.text = xstrdup(json_object_get_string(value));
				return 0;
			}
		}
	}
	return error_set(err, EBADMSG, "no message type");
}

void acs_message_free(struct acs_message *message)
{
	if (message->table == &credentials_table && message->credentials.credentials) {
		acs_role_credentials_free(message->credentials.credentials);
		free(message->credentials.credentials);
		message->credentials.credentials = NULL;
	}
	if (message->table)
		json_decode_free(message->table, &message->heartbeat);
	memset(message, 0, sizeof(*message));
}

void acs_role_credentials_free(struct acs_role_credentials *credentials)
{
	free(credentials->credentials_id);
	free(credentials->role_arn);
	free(credentials->access_key_id);
	secret_free(credentials->secret_access_key);
	secret_free(credentials->session_token);
	free(credentials->expiration);
	free(credentials->scope);
	memset(credentials, 0, sizeof(*credentials));
}

int acs_task_credentials(json_object *task, bool execution, struct acs_role_credentials *ret, struct error *err)
{
	json_object *object = json_get(task, execution ? "executionRoleCredentials" : "roleCredentials");
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!object)
		return 0;
	if (!json_object_is_type(object, json_type_object))
		return error_set(err, EBADMSG, "role credentials are not an object");
	r = json_decode(&role_table, object, ret, err);
	return r < 0 ? r : 1;
}

const char *acs_payload_problem(const struct acs_payload *payload)
{
	if (str_empty(payload->message_id))
		return "no messageId";
	if (str_empty(payload->cluster_arn))
		return "no clusterArn";
	if (str_empty(payload->instance_arn))
		return "no containerInstanceArn";
	return NULL;
}

const char *acs_credentials_problem(const struct acs_credentials *message)
{
	if (str_empty(message->message_id))
		return "no messageId";
	if (str_empty(message->task_arn))
		return "no taskArn";
	if (!message->credentials)
		return "no roleCredentials";
	if (str_empty(message->credentials->credentials_id))
		return "no credentialsId";
	if (!str_equal(message->role_type, "TaskApplication") && !str_equal(message->role_type, "TaskExecution"))
		return "unknown roleType";
	return NULL;
}

void acs_excerpt(const char *text, size_t len, char out[ACS_EXCERPT_MAX + 1])
{
	// Members whose values may be secret, and the escape that could hide their names.
	static const char *const stop[] = {"accesskey",   "sessiontoken", "rolecredentials\"", "environment",
					   "\"command\"", "secret",       "dockerconfig",      "\\u"};
	size_t used = len < ACS_EXCERPT_MAX ? len : ACS_EXCERPT_MAX;

	for (size_t i = 0; i < used; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(stop); k++) {
			// A name that the limit cuts in two has lost its value as well: comparing whole names is enough.
			size_t n = strlen(stop[k]);

			if (i + n <= len && !strncasecmp(text + i, stop[k], n))
				used = i;
		}
	}
	for (size_t i = 0; i < used; i++)
		out[i] = isprint((unsigned char)text[i]) ? text[i] : '?';
	out[used] = '\0';
}

static json_object *frame_new(const char *type, json_object *message)
{
	json_object *frame = json_object_new_object();

	json_add_string(frame, "type", type);
	json_add(frame, "message", message);
	return frame;
}

json_object *acs_ack(const char *cluster, const char *instance, const char *message_id)
{
	json_object *message = json_object_new_object();

	json_add_string(message, "cluster", cluster);
	json_add_string(message, "containerInstance", instance);
	json_add_string(message, "messageId", message_id);
	return frame_new("AckRequest", message);
}

json_object *acs_nack(const char *cluster, const char *instance, const char *message_id, const char *reason)
{
	json_object *message = json_object_new_object();

	json_add_string(message, "cluster", cluster);
	json_add_string(message, "containerInstance", instance);
	json_add_string(message, "messageId", message_id);
	json_add_string(message, "reason", reason);
	return frame_new("NackRequest", message);
}

json_object *acs_heartbeat_ack(const char *message_id)
{
	json_object *message = json_object_new_object();

	json_add_string(message, "messageId", message_id);
	return frame_new("HeartbeatAckRequest", message);
}

json_object *acs_credentials_ack(const char *credentials_id, const char *expiration, const char *message_id)
{
	json_object *message = json_object_new_object();

	json_add_string(message, "credentialsId", credentials_id);
	json_add_string(message, "expiration", expiration);
	json_add_string(message, "messageId", message_id);
	return frame_new("IAMRoleCredentialsAckRequest", message);
}

json_object *acs_stop_verification(const char *message_id)
{
	json_object *message = json_object_new_object();

	json_add_string(message, "messageId", message_id);
	json_add(message, "stopCandidates", json_object_new_array());
	return frame_new("TaskStopVerificationMessage", message);
}

void acs_stop_candidate(json_object *frame, const char *task_arn, const char *cluster_arn)
{
	json_object *candidate = json_object_new_object();

	json_add_string(candidate, "desiredStatus", "STOPPED");
	json_add_string(candidate, "taskArn", task_arn);
	json_add_string(candidate, "taskClusterArn", cluster_arn);
	json_object_array_add(json_get(json_get(frame, "message"), "stopCandidates"), candidate);
}

char *acs_url(const struct acs_address *address, struct error *err)
{
	const char *endpoint = address->endpoint ? address->endpoint : "";
	_cleanup_free_ char *docker =
		xasprintf("DockerVersion: %s", address->docker_version ? address->docker_version : "");
	const struct {
		const char *name, *value;
	} parameters[] = {
		{"agentHash", ecsd_commit},
		{"agentVersion", AGENT_COMPATIBLE_VERSION},
		{"clusterArn", address->cluster},
		{"containerInstanceArn", address->instance_arn},
		{"dockerVersion", str_empty(address->docker_version) ? NULL : docker},
		{"protocolVersion", "2"},
		{"sendCredentials", address->send_credentials ? "true" : "false"},
		{"seqNum", "1"},
	};
	struct buf url = {0};

	if (acs_endpoint_check(endpoint, err) < 0)
		return NULL;
	buf_printf(&url, "%s%sws", endpoint, str_ends(endpoint, "/") ? "" : "/");
	for (size_t i = 0, first = 1; i < ARRAY_SIZE(parameters); i++) {
		_cleanup_free_ char *value = parameters[i].value ? url_encode(parameters[i].value, false) : NULL;

		if (!value)
			continue;
		buf_printf(&url, "%c%s=%s", first ? '?' : '&', parameters[i].name, value);
		first = 0;
	}
	return buf_take(&url);
}

void acs_url_split(const char *url, struct acs_url_parts *parts)
{
	const char *host = strstr(url, "://"), *slash, *query;

	host = host ? host + 3 : url;
	slash = host + strcspn(host, "/?");
	query = strchr(slash, '?');
	parts->host = host;
	parts->host_len = (size_t)(slash - host);
	parts->path = slash;
	parts->path_len = query ? (size_t)(query - slash) : strlen(slash);
	parts->query = query ? query + 1 : "";
}
