// What is done with the messages of an ACS session (control-plane.md §12).
#include "control/acs_private.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>
#include <inttypes.h>

// A message whose acknowledgement waits until its tasks are on disk and its credentials are held by ecs-endpoint.
struct acs_pending {
	struct acs_pending *next;
	struct acs *acs;
	char *message_id;
	char *cluster, *instance; // of the payload; NULL: only its credentials are acknowledged
	struct {
		char *id, *expiration;
	} * credentials;
	size_t credential_count;
	size_t not_held;
	bool committed;
};

// A task of a payload on its way to the engine.
struct incoming {
	json_object *object;
	const char *arn;
	struct task *task; // NULL: nothing to hand over
	bool to_stop;      // its desired status is STOPPED
	bool has[2];       // by enum role_type
	struct acs_role_credentials roles[2];
};

static void handle_payload(struct acs *acs, const struct acs_payload *payload);
static void handle_credentials(struct acs *acs, const struct acs_credentials *message);
static void handle_manifest(struct acs *acs, const struct acs_manifest *manifest);
static void handle_stop_ack(struct acs *acs, const struct acs_stop_verification_ack *ack);
static void handle_update(struct acs *acs, const char *name, const struct acs_update *update);
static void refuse_enis(const char *name, const struct acs_attach_eni *message, bool of_task);
static void refuse_resource(const struct acs_attach_resource *message);
static bool incoming_decode(struct acs *acs, struct incoming *in, json_object *object);
static bool incoming_give(struct acs *acs, struct incoming *in, struct acs_pending *pending);
static void incoming_free(struct incoming *in);
static struct acs_pending *pending_new(struct acs *acs, const char *message_id);
static void pending_free(struct acs_pending *pending);
static void pending_add(struct acs_pending *pending, const struct acs_role_credentials *role);
static void pending_start(struct acs_pending *pending);
static void on_held(void *arg);

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

void acs_handle(struct acs *acs, const struct acs_message *message)
{
	switch (message->type) {
	case ACS_HEARTBEAT:
		acs_send(acs, acs_heartbeat_ack(message->heartbeat.message_id));
		break;
	case ACS_PAYLOAD:
		handle_payload(acs, &message->payload);
		break;
	case ACS_CREDENTIALS:
		handle_credentials(acs, &message->credentials);
		break;
	case ACS_MANIFEST:
		handle_manifest(acs, &message->manifest);
		break;
	case ACS_STOP_VERIFICATION_ACK:
		handle_stop_ack(acs, &message->stop_ack);
		break;
	case ACS_UPDATE:
		handle_update(acs, message->name, &message->update);
		break;
	case ACS_ATTACH_TASK_ENI:
	case ACS_ATTACH_INSTANCE_ENI:
		refuse_enis(message->name, &message->attach_eni, message->type == ACS_ATTACH_TASK_ENI);
		break;
	case ACS_ATTACH_RESOURCE:
		refuse_resource(&message->attach_resource);
		break;
	case ACS_NOTICE:
		// §12.9: the close code that follows decides what happens.
		log_info("notice from ACS", "type=%s text=%.300s", message->name,
			 message->notice.text ? message->notice.text : "");
		break;
	case ACS_UNHANDLED:
		log_info("message from ACS has no handler", "type=%s", message->name);
		break;
	}
}

void acs_drop_pending(struct acs *acs)
{
	if (acs->pending_count)
		log_info("connection lost before messages were acknowledged, ECS sends them again", "messages=%zu",
			 acs->pending_count);
	while (acs->pending)
		pending_free(acs->pending);
}

// ARNs of the old and the new form end with the same id.
static bool same_end(const char *a, const char *b)
{
	const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
	return str_equal(a_slash ? a_slash + 1 : a, b_slash ? b_slash + 1 : b);
}

// What is meant for another container instance would start or stop the wrong tasks here. The reference does not look.
static const char *addressee_problem(const struct acs *acs, const char *instance)
{
	return str_empty(instance) || same_end(instance, instance_arn(acs->options.instance))
		       ? NULL
		       : "it is for another container instance";
}

// --- payload (§12.2) ---

static void handle_payload(struct acs *acs, const struct acs_payload *payload)
{
	const char *problem = acs_payload_problem(payload);
	size_t count = payload->tasks ? json_object_array_length(payload->tasks) : 0;
	struct incoming *list;
	struct acs_pending *pending;
	bool handled = true;

	if (!problem)
		problem = addressee_problem(acs, payload->instance_arn);
	if (!problem && acs->pending_count >= ACS_PENDING_MAX)
		problem = "too many messages wait to be acknowledged";
	if (problem) {
		log_warn("payload from ACS not handled", "reason=%s message_id=%s cluster=%s instance=%s tasks=%zu",
			 problem, or_empty(payload->message_id), or_empty(payload->cluster_arn),
			 or_empty(payload->instance_arn), count);
		return;
	}
	if (payload->seq_num > acs->manifest_sequence)
		acs->manifest_sequence = payload->seq_num; // in memory only (§12.2)
	CRASH_POINT("payload.received");
	list = xcalloc(count + 1, sizeof(*list));
	for (size_t i = 0; i < count; i++)
		handled &= incoming_decode(acs, &list[i], json_object_array_get_idx(payload->tasks, i));
	// Tasks to stop come first: they make room for the others.
	pending = pending_new(acs, payload->message_id);
	pending->cluster = xstrdup(payload->cluster_arn);
	pending->instance = xstrdup(payload->instance_arn);
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < count; i++)
			if (list[i].to_stop == (pass == 0))
				handled &= incoming_give(acs, &list[i], pending);
	for (size_t i = 0; i < count; i++)
		incoming_free(&list[i]);
	free(list);
	CRASH_POINT("payload.given");
	if (handled) {
		pending_start(pending);
	} else {
		log_warn("payload from ACS not acknowledged: not all of its tasks were handled",
			 "message_id=%s tasks=%zu", payload->message_id, count);
		pending_free(pending);
	}
}

static void refuse(struct acs *acs, const char *arn, const char *reason)
{
	log_warn("task refused", "task=%s reason=%s", arn, reason);
	engine_report_refused(acs->options.engine, arn, reason);
}

static bool desires_stop(json_object *object)
{
	enum task_status status;
	const char *text = json_get_string(object, "desiredStatus");

	return text && task_status_parse(text, &status) && status == TASK_STOPPED;
}

static const char *role_problem(const struct incoming *in, const struct acs_role_credentials *role)
{
	if (str_empty(role->credentials_id))
		return "CredentialsId is empty"; // credentials-endpoint.md
	if (str_empty(in->arn))
		return "task ARN is empty";
	return NULL;
}

// Both kinds of role credentials; false and the task reason if they cannot be taken.
static bool decode_roles(struct incoming *in, char **reason)
{
	for (enum role_type r = ROLE_TASK_APPLICATION; r <= ROLE_TASK_EXECUTION; r++) {
		struct error err;
		int found = acs_task_credentials(in->object, r == ROLE_TASK_EXECUTION, &in->roles[r], &err);
		const char *problem = found > 0 ? role_problem(in, &in->roles[r]) : NULL;

		if (found < 0)
			problem = err.message;
		if (problem) {
			free(*reason); // of a task that is refused for another cause, too
			*reason = xasprintf("UnrecogniedTaskError: Error loading task - %s", problem);
			return false;
		}
		in->has[r] = found > 0;
	}
	return true;
}

// Fills in; false if the payload must not be acknowledged because of this task.
static bool incoming_decode(struct acs *acs, struct incoming *in, json_object *object)
{
	_cleanup_free_ char *reason = NULL;
	enum task_refusal refusal;

	if (!object) {
		log_warn("payload from ACS has a null task", NULL);
		return false;
	}
	in->object = object;
	in->arn = task_decode_arn(object);
	in->to_stop = desires_stop(object);
	refusal = task_decode(object, engine_limits_tasks(acs->options.engine), &in->task, &reason);
	if (refusal != TASK_INVALID && !decode_roles(in, &reason)) {
		refusal = TASK_INVALID;
		in->task = task_free(in->task);
	}
	if (refusal != TASK_ACCEPTED && engine_task(acs->options.engine, in->arn)) {
		// A task that runs here is not reported as stopped because its repeated payload does not read well.
		log_warn("payload of a known task cannot be read", "task=%s reason=%s", in->arn, reason ? reason : "");
		if (in->to_stop)
			engine_stop_task(acs->options.engine, in->arn);
		if (refusal == TASK_INVALID)
			in->has[ROLE_TASK_APPLICATION] = in->has[ROLE_TASK_EXECUTION] = false;
		return refusal != TASK_INVALID;
	}
	if (refusal == TASK_INVALID) {
		if (!str_empty(in->arn))
			refuse(acs, in->arn, reason);
		else
			log_warn("payload from ACS has a task without an ARN", "reason=%s", reason);
		return false;
	}
	if (refusal != TASK_ACCEPTED)
		refuse(acs, in->arn, reason);
	return true;
}

static void credentials_fill(struct task_credentials *out, const struct acs_role_credentials *role,
			     const char *task_arn, enum role_type type)
{
	*out = (struct task_credentials){
		.id = xstrdup(role->credentials_id),
		.task_arn = xstrdup(task_arn),
		.role_arn = xstrdup(role->role_arn ? role->role_arn : ""),
		.access_key_id = xstrdup(role->access_key_id ? role->access_key_id : ""),
		.secret_access_key = xstrdup(role->secret_access_key ? role->secret_access_key : ""),
		.session_token = xstrdup(role->session_token ? role->session_token : ""),
		.expiration = xstrdup(role->expiration ? role->expiration : ""),
		.role = type,
	};
}

// Stores credentials; with wait the acknowledgement waits until ecs-endpoint holds them.
static bool put_credentials(struct acs *acs, const char *task_arn, const struct acs_role_credentials *role,
			    enum role_type type, struct acs_pending *pending, bool wait)
{
	struct task_credentials credentials;
	struct error err;
	int r;

	credentials_fill(&credentials, role, task_arn, type);
	r = endpoint_put(acs->options.endpoint, &credentials, wait ? on_held : NULL, wait ? pending : NULL, &err);
	task_credentials_free(&credentials);
	if (r < 0) {
		log_error("task credentials not stored", "task=%s credentials_id=%s error=%s", task_arn,
			  role->credentials_id, err.message);
		return false;
	}
	pending->not_held += wait;
	return true;
}

// Hands a task and its credentials over; false if the payload must not be acknowledged.
static bool incoming_give(struct acs *acs, struct incoming *in, struct acs_pending *pending)
{
	struct engine *engine = acs->options.engine;
	const struct task *known = engine_task(engine, in->arn); // in->task may be NULL all the same: watched only
	bool alive = known ? known->known != TASK_STOPPED : in->task && !in->to_stop;
	bool ok = true;

	if (in->task && !known && !engine_accepts_tasks(engine)) {
		log_error("new task not accepted: the disk is full, or lost tasks are still being rebuilt from Docker",
			  "task=%s", in->arn);
		return false;
	}
	for (enum role_type r = ROLE_TASK_APPLICATION; r <= ROLE_TASK_EXECUTION; r++) {
		struct acs_role_credentials *role = &in->roles[r];
		bool execution = r == ROLE_TASK_EXECUTION;

		if (!in->has[r])
			continue;
		pending_add(pending, role);
		// A task that is stopped, or refused, has no use for credentials: nothing would take them away again.
		// They are acknowledged all the same, as the reference does; for a task about to stop without waiting.
		if (alive)
			ok &= put_credentials(acs, in->arn, role, r, pending, !in->to_stop);
		if (in->task)
			str_replace(execution ? &in->task->execution_credentials_id : &in->task->credentials_id,
				    role->credentials_id);
		if (known && alive)
			engine_set_credentials_id(engine, in->arn, execution, role->credentials_id);
	}
	if (in->task)
		engine_add_task(engine, TAKE(in->task));
	return ok;
}

static void incoming_free(struct incoming *in)
{
	task_free(in->task);
	acs_role_credentials_free(&in->roles[ROLE_TASK_APPLICATION]);
	acs_role_credentials_free(&in->roles[ROLE_TASK_EXECUTION]);
}

// --- refreshed credentials (§12.3) ---

static void handle_credentials(struct acs *acs, const struct acs_credentials *message)
{
	const char *problem = acs_credentials_problem(message);
	bool execution = str_equal(message->role_type, "TaskExecution");
	const struct task *task = problem ? NULL : engine_task(acs->options.engine, message->task_arn);
	struct acs_pending *pending;

	// The reference stores credentials of a task it does not know, which may replace those of another one; we do not.
	if (!problem && !task)
		problem = "unknown task";
	if (!problem && acs->pending_count >= ACS_PENDING_MAX)
		problem = "too many messages wait to be acknowledged";
	if (problem) {
		log_warn("credentials from ACS not taken", "reason=%s task=%s message_id=%s", problem,
			 message->task_arn ? message->task_arn : "", message->message_id ? message->message_id : "");
		return;
	}
	pending = pending_new(acs, message->message_id);
	pending_add(pending, message->credentials);
	if (task->known != TASK_STOPPED) {
		if (!put_credentials(acs, message->task_arn, message->credentials,
				     execution ? ROLE_TASK_EXECUTION : ROLE_TASK_APPLICATION, pending, true)) {
			pending_free(pending);
			return;
		}
		engine_set_credentials_id(acs->options.engine, message->task_arn, execution,
					  message->credentials->credentials_id);
	}
	log_debug("task credentials refreshed", "task=%s role_type=%s", message->task_arn, message->role_type);
	pending_start(pending);
}

// --- acknowledgements ---

static struct acs_pending *pending_new(struct acs *acs, const char *message_id)
{
	struct acs_pending *pending = xcalloc(1, sizeof(*pending));

	pending->acs = acs;
	pending->message_id = xstrdup(message_id);
	pending->next = acs->pending;
	acs->pending = pending;
	acs->pending_count++;
	return pending;
}

static void pending_free(struct acs_pending *pending)
{
	struct acs *acs = pending->acs;

	for (struct acs_pending **p = &acs->pending; *p; p = &(*p)->next) {
		if (*p == pending) {
			*p = pending->next;
			acs->pending_count--;
			break;
		}
	}
	engine_after_commit_cancel(acs->options.engine, pending);
	endpoint_cancel(acs->options.endpoint, pending);
	for (size_t i = 0; i < pending->credential_count; i++) {
		free(pending->credentials[i].id);
		free(pending->credentials[i].expiration);
	}
	free(pending->credentials);
	free(pending->message_id);
	free(pending->cluster);
	free(pending->instance);
	free(pending);
}

// Role first, then execution role (§12.2).
static void pending_add(struct acs_pending *pending, const struct acs_role_credentials *role)
{
	size_t n = pending->credential_count++;

	pending->credentials = xreallocarray(pending->credentials, n + 1, sizeof(*pending->credentials));
	pending->credentials[n].id = xstrdup(role->credentials_id);
	pending->credentials[n].expiration = xstrdup(role->expiration);
}

static void pending_try(struct acs_pending *pending)
{
	if (!pending->committed || pending->not_held)
		return;
	CRASH_POINT("ack.before-send");
	for (size_t i = 0; i < pending->credential_count; i++)
		acs_send(pending->acs, acs_credentials_ack(pending->credentials[i].id,
							   pending->credentials[i].expiration, pending->message_id));
	if (pending->cluster) {
		log_debug("payload acknowledged", "message_id=%s", pending->message_id);
		acs_send(pending->acs, acs_ack(pending->cluster, pending->instance, pending->message_id));
	}
	CRASH_POINT("ack.sent");
	pending_free(pending);
}

static void on_held(void *arg)
{
	struct acs_pending *pending = arg;

	CRASH_POINT("credentials.held");
	pending->not_held--;
	pending_try(pending);
}

static void on_committed(void *arg)
{
	struct acs_pending *pending = arg;

	pending->committed = true;
	pending_try(pending);
}

static void pending_start(struct acs_pending *pending)
{
	engine_after_commit(pending->acs->options.engine, on_committed, pending);
}

// --- task manifest (§12.4) and its answer (§12.7) ---

struct manifest_scan {
	const char **running; // ARNs the manifest wants to run, sorted
	size_t running_count;
	const char *cluster;
	json_object *frame; // NULL until there is a candidate
	const char *message_id;
	size_t candidates;
};

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void scan_task(const struct task *task, void *arg)
{
	struct manifest_scan *scan = arg;

	if (task->desired != TASK_RUNNING)
		return;
	if (scan->running_count &&
	    bsearch(&task->arn, scan->running, scan->running_count, sizeof(*scan->running), compare_text))
		return;
	if (!scan->frame)
		scan->frame = acs_stop_verification(scan->message_id);
	acs_stop_candidate(scan->frame, task->arn, scan->cluster);
	scan->candidates++;
}

static void handle_manifest(struct acs *acs, const struct acs_manifest *manifest)
{
	const struct acs_manifest_task *tasks = manifest->tasks.items;
	struct manifest_scan scan = {.cluster = manifest->cluster_arn, .message_id = manifest->message_id};
	struct error err;
	const char *problem =
		str_empty(manifest->message_id) ? "no messageId" : addressee_problem(acs, manifest->instance_arn);

	if (problem) {
		log_warn("task manifest from ACS not handled", "reason=%s message_id=%s cluster=%s instance=%s",
			 problem, or_empty(manifest->message_id), or_empty(manifest->cluster_arn),
			 or_empty(manifest->instance_arn));
		return;
	}
	if (manifest->timeline <= acs->manifest_sequence) {
		log_debug("task manifest is not newer than the last, dropped", "timeline=%" PRId64 " last=%" PRId64,
			  manifest->timeline, acs->manifest_sequence);
		return;
	}
	if (instance_set_manifest_sequence(acs->options.instance, manifest->timeline, &err) < 0) {
		log_error("task manifest not acknowledged", "error=%s", err.message);
		return;
	}
	acs->manifest_sequence = manifest->timeline;
	str_replace(&acs->manifest_message_id, manifest->message_id);
	scan.running = xcalloc(manifest->tasks.count + 1, sizeof(*scan.running));
	for (size_t i = 0; i < manifest->tasks.count; i++)
		if (tasks[i].task_arn && str_equal(tasks[i].desired_status, "RUNNING"))
			scan.running[scan.running_count++] = tasks[i].task_arn;
	qsort(scan.running, scan.running_count, sizeof(*scan.running), compare_text);
	engine_each_task(acs->options.engine, scan_task, &scan);
	free(scan.running);
	acs_send(acs, acs_ack(manifest->cluster_arn, manifest->instance_arn, manifest->message_id));
	log_info("task manifest from ACS", "tasks=%zu stop_candidates=%zu", manifest->tasks.count, scan.candidates);
	if (scan.frame)
		acs_send(acs, scan.frame);
}

static void handle_stop_ack(struct acs *acs, const struct acs_stop_verification_ack *ack)
{
	const struct acs_manifest_task *tasks = ack->stop_tasks.items;

	if (str_empty(ack->message_id) || !str_equal(ack->message_id, acs->manifest_message_id)) {
		log_warn("stop verification from ACS is not for the last manifest, dropped", "message_id=%s",
			 ack->message_id ? ack->message_id : "");
		return;
	}
	str_replace(&acs->manifest_message_id, NULL); // a repeat is refused
	for (size_t i = 0; i < ack->stop_tasks.count; i++)
		if (tasks[i].task_arn && engine_stop_task(acs->options.engine, tasks[i].task_arn))
			log_info("ECS confirmed that a task has to stop", "task=%s", tasks[i].task_arn);
}

// --- updates (§12.8) ---

static void handle_update(struct acs *acs, const char *name, const struct acs_update *update)
{
	if (str_empty(update->message_id)) {
		log_warn("update from ACS dropped", "type=%s reason=%s", name, "no messageId");
		return;
	}
	log_warn("ECS asked for an update of the agent and was refused: ecsd is updated with the system's packages",
		 "type=%s message_id=%s", name, update->message_id);
	acs_send(acs, acs_nack(update->cluster_arn, update->instance_arn, update->message_id, "Updates are disabled"));
}

// --- attachments (§12.5, §12.6): without an acknowledgement ECS gives up what it wanted to attach, and says so ---

static void refuse_enis(const char *name, const struct acs_attach_eni *message, bool of_task)
{
	const struct acs_eni *first = message->enis.items;
	struct error err;

	if (acs_attach_eni_check(message, of_task, &err) < 0) {
		log_warn("attachment from ACS is not valid and not acknowledged", "type=%s message_id=%s reason=%s",
			 name, or_empty(message->message_id), err.message);
		return;
	}
	log_error("attachment of network interfaces is not supported by this version of ecsd and not acknowledged",
		  "type=%s message_id=%s task=%s attachment=%s eni=%s mac=%s interfaces=%zu wait_timeout_ms=%" PRId64,
		  name, message->message_id, or_empty(message->task_arn), or_empty(first->attachment_arn),
		  first->ec2_id, first->mac_address, message->enis.count, message->wait_timeout_ms);
}

static void refuse_resource(const struct acs_attach_resource *message)
{
	const struct acs_attachment *attachment = message->attachment;
	struct error err;

	if (acs_attach_resource_check(message, &err) < 0) {
		log_warn("attachment from ACS is not valid and not acknowledged", "type=%s message_id=%s reason=%s",
			 "ConfirmAttachmentMessage", or_empty(message->message_id), err.message);
		return;
	}
	log_error("attachment of volumes is not supported by this version of ecsd and not acknowledged",
		  "message_id=%s task=%s attachment=%s attachment_type=%s wait_timeout_ms=%" PRId64,
		  message->message_id, or_empty(message->task_arn), attachment->arn, or_empty(attachment->type),
		  message->wait_timeout_ms ? message->wait_timeout_ms : ACS_ATTACH_RESOURCE_WAIT_MS);
}
