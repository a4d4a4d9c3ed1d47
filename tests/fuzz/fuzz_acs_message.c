// Frames of the ACS session: what a control plane, or whoever stands between, can send.
#include "control/acs_messages.h"
#include "fuzz.h"

static void check_excerpt(const char *text, size_t size)
{
	char excerpt[ACS_EXCERPT_MAX + 1];
	acs_excerpt(text, size, excerpt);
	CHECK(strlen(excerpt) <= ACS_EXCERPT_MAX && strlen(excerpt) <= size);
	for (const char *c = excerpt; *c; c++)
		CHECK(*c >= ' ' && *c <= '~');
	CHECK(!strcasestr(excerpt, "secretaccesskey") && !strcasestr(excerpt, "sessiontoken"));
}

static void check_payload(struct acs_payload *payload)
{
	acs_payload_problem(payload);
	size_t count = payload->tasks ? json_object_array_length(payload->tasks) : 0;
	CHECK(count <= ACS_PAYLOAD_TASKS_MAX);
	for (size_t i = 0; i < 2 * count; i++) {
		json_object *task = json_object_array_get_idx(payload->tasks, i / 2);
		struct acs_role_credentials credentials;
		struct error err = {0};
		int r = acs_task_credentials(task, i % 2, &credentials, &err);
		CHECK(r < 0 ? err.code != 0 : r <= 1);
		if (r != 1)
			CHECK(!credentials.credentials_id && !credentials.secret_access_key);
		acs_role_credentials_free(&credentials);
	}
}

static void check_answer(json_object *frame)
{
	const char *text = json_text(frame);
	struct error err = {0};
	_cleanup_json_ json_object *again = json_parse(text, strlen(text), &err);
	CHECK(again && json_object_equal(frame, again));
	json_object_put(frame);
}

static void check_manifest(const struct acs_manifest *manifest)
{
	const struct acs_manifest_task *tasks = manifest->tasks.items;
	CHECK(manifest->tasks.count <= ACS_MANIFEST_TASKS_MAX);
	json_object *frame = acs_stop_verification(manifest->message_id);
	for (size_t i = 0; i < manifest->tasks.count; i++)
		acs_stop_candidate(frame, tasks[i].task_arn, manifest->cluster_arn);
	check_answer(frame);
}

static void check_attach(int r, const struct error *err)
{
	if (r < 0)
		check_reason(err->message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_bytes(data, size);
	struct acs_message message;
	struct error err = {0};
	check_excerpt(text, size);
	if (acs_message_decode(text, size, &message, &err) < 0) {
		CHECK(!message.name && !message.table);
		check_reason(err.message);
		return 0;
	}
	CHECK(message.name);
	if (message.type == ACS_PAYLOAD) {
		check_payload(&message.payload);
		check_answer(
			acs_ack(message.payload.cluster_arn, message.payload.instance_arn, message.payload.message_id));
	} else if (message.type == ACS_MANIFEST) {
		check_manifest(&message.manifest);
	} else if (message.type == ACS_CREDENTIALS && !acs_credentials_problem(&message.credentials)) {
		check_answer(acs_credentials_ack(message.credentials.credentials->credentials_id,
						 message.credentials.credentials->expiration,
						 message.credentials.message_id));
	} else if (message.type == ACS_HEARTBEAT) {
		check_answer(acs_heartbeat_ack(message.heartbeat.message_id));
	} else if (message.type == ACS_UPDATE) {
		check_answer(acs_nack(message.update.cluster_arn, message.update.instance_arn,
				      message.update.message_id, "no updates"));
	}
	if (message.type == ACS_ATTACH_TASK_ENI || message.type == ACS_ATTACH_INSTANCE_ENI)
		check_attach(acs_attach_eni_check(&message.attach_eni, message.type == ACS_ATTACH_TASK_ENI, &err),
			     &err);
	else if (message.type == ACS_ATTACH_RESOURCE)
		check_attach(acs_attach_resource_check(&message.attach_resource, &err), &err);
	acs_message_free(&message);
	return 0;
}
