// RegisterContainerInstance (control-plane.md §7).
#include "common/crash_point.h"
#include "common/host.h"
#include "common/log.h"
#include "common/util.h"
#include "control/instance_private.h"
#include "docker/docker.h"
#include <errno.h>
#include <inttypes.h>

// control-plane.md §7.5: for document and signature each
#define IDENTITY_BUDGET_MS 30000
#define SAVE_RETRY_MS 5000 // a file that could not be written

static void on_outpost(const char *body, long status, const struct error *err, void *arg);
static void start_round(void *arg);
static void ask_document(void *arg);
static void ask_signature(void *arg);
static void on_document(const char *body, long status, const struct error *err, void *arg);
static void on_signature(const char *body, long status, const struct error *err, void *arg);
static void identity_asked(struct instance *instance, void (*ask)(void *arg));
static bool ask_again(struct instance *instance, long status, const struct error *err, void (*ask)(void *arg));
static void send_registration(struct instance *instance);
static void on_answer(const struct aws_response *response, void *arg);
static void on_registered(struct instance *instance, json_object *body);
static void on_refused(struct instance *instance, const struct aws_response *response);
static void create_cluster(struct instance *instance);
static void next_round(struct instance *instance, const char *why);
static void copy_string(char **member, const char *value);

void instance_register(struct instance *instance)
{
	random_uuid(instance->client_token); // the same for all attempts of this process (§7.1)
	instance->reregistration = instance->identity.arn != NULL;
	instance->rounds = BACKOFF(3000, 192000, 2, 0.2); // §7.6
	if (instance->imds_absent)
		start_round(instance);
	else
		instance_imds_get(instance, "meta-data/outpost-arn", on_outpost);
}

void instance_register_stop(struct instance *instance)
{
	aws_call_cancel(instance->call);
	instance->call = NULL;
	free(instance->document);
	free(instance->signature);
	instance->document = instance->signature = NULL;
	json_object_put(instance->attributes);
	instance->attributes = NULL;
}

// --- what every round asks IMDS for ---

static void on_outpost(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;

	(void)err;
	instance->imds_absent = status == 0;
	copy_string(&instance->outpost_arn, body); // an error only means: not on an outpost
	start_round(instance);
}

static void start_round(void *arg)
{
	struct instance *instance = arg;

	instance->round++;
	str_replace(&instance->document, NULL);
	str_replace(&instance->signature, NULL);
	if (instance->options.config->no_iid)
		send_registration(instance);
	else
		identity_asked(instance, ask_document);
}

static void identity_asked(struct instance *instance, void (*ask)(void *arg))
{
	instance->backoff = BACKOFF(100, 5000, 2, 0.2); // §7.5
	instance->deadline = loop_now(instance->options.loop) + IDENTITY_BUDGET_MS;
	ask(instance);
}

static void ask_document(void *arg)
{
	instance_imds_get(arg, "dynamic/instance-identity/document", on_document);
}

static void on_document(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;

	if (body) {
		instance->imds_absent = false;
		str_replace(&instance->document, body);
		identity_asked(instance, ask_signature);
	} else if (!ask_again(instance, status, err, ask_document)) {
		send_registration(instance);
	}
}

static void ask_signature(void *arg)
{
	instance_imds_get(arg, "dynamic/instance-identity/signature", on_signature);
}

static void on_signature(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;

	if (body)
		str_replace(&instance->signature, body);
	else if (ask_again(instance, status, err, ask_signature))
		return;
	send_registration(instance);
}

// Whether the budget leaves room for another try, which is then arranged.
static bool ask_again(struct instance *instance, long status, const struct error *err, void (*ask)(void *arg))
{
	uint64_t delay = backoff_next(&instance->backoff);

	if (instance->imds_absent || status == 404 || loop_now(instance->options.loop) + delay >= instance->deadline) {
		log_warn("instance identity not available, registering without", "error=%s", err->message);
		return false;
	}
	instance_after(instance, delay, ask);
	return true;
}

// --- the call ---

static void send_registration(struct instance *instance)
{
	const struct config *config = instance->options.config;
	_cleanup_json_ json_object *body = NULL;
	struct error err;
	struct registration registration = {
		.cluster = instance->identity.cluster,
		.instance_arn = instance->identity.arn,
		.document = instance->document ? instance->document : "",
		.signature = instance->signature ? instance->signature : "",
		.client_token = instance->client_token,
		.outpost_arn = instance->outpost_arn,
		.docker_api_min = docker_api_version_min(instance->options.docker),
		.docker_api_max = docker_api_version_max(instance->options.docker),
		.cpu_units = host_cpu_units(),
		.memory_mib = host_memory_mib(),
	};

	body = registration_build(&registration, config, &err);
	if (!body) {
		instance_fail(instance, EXIT_ERROR, err.message);
		return;
	}
	json_object_put(instance->attributes);
	instance->attributes = json_object_get(json_get(body, "attributes"));
	instance->call = aws_client_call(instance->ecs, "RegisterContainerInstance", body, AWS_RETRY_STANDARD,
					 on_answer, instance);
}

static void on_answer(const struct aws_response *response, void *arg)
{
	struct instance *instance = arg;

	instance->call = NULL;
	CRASH_POINT("register.answered");
	if (response->body)
		on_registered(instance, response->body);
	else
		on_refused(instance, response);
}

static const char *zone_of(json_object *attributes)
{
	size_t count = attributes ? json_object_array_length(attributes) : 0;

	for (size_t i = 0; i < count; i++) {
		json_object *attribute = json_object_array_get_idx(attributes, i);

		if (str_equal(json_get_string(attribute, "name"), "ecs.availability-zone"))
			return json_get_string(attribute, "value");
	}
	return NULL;
}

// Again until it is done: whoever forgets its ARN registers anew.
static void save_identity(void *arg)
{
	struct instance *instance = arg;
	const char *data_dir = instance->options.config->data_dir;
	struct error err;
	int r = instance_identity_save(data_dir, &instance->identity, &err);

	if (r == -ENOSPC && instance->options.on_disk_full) {
		instance->options.on_disk_full(instance->options.arg);
		r = instance_identity_save(data_dir, &instance->identity, &err);
	}
	if (r < 0) {
		if (!instance->unsaved)
			log_error(instance->reregistration ? "the instance's identity is not saved, what was saved "
							     "before stays; trying again"
							   : "the instance's identity is not saved, a restart would "
							     "register a new container "
							     "instance; trying again",
				  "error=%s every_ms=%d", err.message, SAVE_RETRY_MS);
		instance_after(instance, SAVE_RETRY_MS, save_identity);
	} else if (instance->unsaved) {
		log_info("the instance's identity is saved", NULL);
	}
	instance->unsaved = r < 0;
}

static void on_registered(struct instance *instance, json_object *body)
{
	const struct config *config = instance->options.config;
	json_object *answer = json_get(body, "containerInstance"), *attributes = json_get(answer, "attributes");
	const char *arn = json_get_string(answer, "containerInstanceArn");
	struct error err;

	if (!json_object_is_type(attributes, json_type_array))
		attributes = NULL;
	if (str_empty(arn)) { // the reference would go on without an ARN (README.md, where we differ)
		next_round(instance, "the answer has no containerInstanceArn");
		return;
	}
	if (!registration_attributes_match(instance->attributes, attributes, &err)) {
		if (!str_empty(config->instance_attributes))
			log_error("ECS did not take all attributes: check ECS_INSTANCE_ATTRIBUTES", NULL);
		instance_fail(instance, EXIT_TERMINAL, err.message);
		return;
	}
	if (!instance->identity.arn) // the saved ARN stays (§7.7)
		instance->identity.arn = xstrdup(arn);
	str_replace(&instance->identity.availability_zone, zone_of(attributes));
	instance_register_stop(instance);
	if (config->checkpoint != NO)
		save_identity(instance);
	CRASH_POINT("register.saved");
	log_info("container instance registered", "instance=%s cluster=%s availability_zone=%s again=%s",
		 instance->identity.arn, instance->identity.cluster,
		 instance->identity.availability_zone ? instance->identity.availability_zone : "",
		 instance->reregistration ? "true" : "false");
	instance->options.on_registered(instance->options.arg);
}

static bool is_transient(const struct aws_response *response)
{
	// §7.6
	return str_equal(response->error_code, "ThrottlingException") ||
	       str_equal(response->error_code, "ServerException") ||
	       str_equal(response->error_code, "LimitExceededException");
}

static bool is_terminal(const struct instance *instance, const struct aws_response *response)
{
	return str_equal(response->error_code, "InvalidParameterException") ||
	       str_equal(response->error_code, "ClientException") ||
	       (instance->reregistration &&
		strstr(response->message, "Container instance type changes are not supported."));
}

static void on_refused(struct instance *instance, const struct aws_response *response)
{
	bool no_cluster = str_equal(response->error_code, "ClusterNotFoundException") ||
			  strstr(response->message, "Cluster not found.");

	if (is_transient(response))
		next_round(instance, response->error.message);
	else if (no_cluster && str_empty(instance->options.config->cluster) && !instance->reregistration &&
		 !instance->cluster_created)
		create_cluster(instance);
	else
		instance_fail(instance, is_terminal(instance, response) ? EXIT_TERMINAL : EXIT_ERROR,
			      response->error.message);
}

// Without end, unlike the reference, which gives up after an hour as if it had succeeded (README.md).
static void next_round(struct instance *instance, const char *why)
{
	uint64_t delay = backoff_next(&instance->rounds);

	log_warn("container instance not registered yet, trying again", "error=%s round=%u in_ms=%" PRIu64, why,
		 instance->round, delay);
	instance_after(instance, delay, start_round);
}

// --- no cluster configured, and no "default" there ---

static void on_cluster(const struct aws_response *response, void *arg)
{
	struct instance *instance = arg;
	const char *name;

	instance->call = NULL;
	if (!response->body) {
		on_refused(instance, response);
		return;
	}
	name = json_get_string(json_get(response->body, "cluster"), "clusterName");
	str_replace(&instance->identity.cluster, str_empty(name) ? DEFAULT_CLUSTER : name);
	log_info("cluster created", "cluster=%s", instance->identity.cluster);
	start_round(instance);
}

static void create_cluster(struct instance *instance)
{
	_cleanup_json_ json_object *body = json_object_new_object();

	instance->cluster_created = true;
	json_add_string(body, "clusterName", DEFAULT_CLUSTER);
	instance->call =
		aws_client_call(instance->ecs, "CreateCluster", body, AWS_RETRY_STANDARD, on_cluster, instance);
}

static void copy_string(char **member, const char *value)
{
	_cleanup_free_ char *copy = xstrdup(value);

	str_replace(member, copy ? str_trim(copy) : NULL);
}
