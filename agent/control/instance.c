#include "control/instance_private.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>
#include <inttypes.h>

// control-plane.md §4.3
enum { INSTANCE_ID_CALLS = 5 };

// What is read from IMDS once the instance id is known, in the order seen (§3.2).
static const struct fact {
	const char *path; // %s: the MAC address
	size_t offset;
	bool of_mac;
} facts[] = {
	{"meta-data/mac", offsetof(struct instance, mac), false},
	{"meta-data/network/interfaces/macs/%s/vpc-id", offsetof(struct instance, vpc_id), true},
	{"meta-data/network/interfaces/macs/%s/subnet-id", offsetof(struct instance, subnet_id), true},
	{"meta-data/placement/availability-zone-id", offsetof(struct instance, zone_id), false},
};

static void on_timer(void *arg);
static void on_region_document(const char *body, long status, const struct error *err, void *arg);
static void on_region(const char *body, long status, const struct error *err, void *arg);
static void no_region(struct instance *instance, const struct error *err);
static void region_known(struct instance *instance);
static void ask_instance_id(void *arg);
static void on_instance_id(const char *body, long status, const struct error *err, void *arg);
static void next_fact(struct instance *instance);
static void on_fact(const char *body, long status, const struct error *err, void *arg);
static void identified(struct instance *instance);
static int use_saved_identity(struct instance *instance, struct error *err);

struct instance *instance_new(const struct instance_options *options)
{
	struct instance *instance = xcalloc(1, sizeof(*instance));

	instance->options = *options;
	instance->user_agent = aws_user_agent(options->config->os_family);
	timer_init(&instance->timer, options->loop, on_timer, instance);
	return instance;
}

struct instance *instance_free(struct instance *instance)
{
	if (!instance)
		return NULL;
	instance_register_stop(instance);
	instance_poll_stop(instance);
	if (instance->options.imds)
		imds_cancel(instance->options.imds, instance);
	timer_done(&instance->timer);
	aws_client_free(instance->ecs);
	instance_identity_free(&instance->identity);
	free(instance->region);
	free(instance->user_agent);
	free(instance->startup_error);
	free(instance->ec2_instance_id);
	free(instance->mac);
	free(instance->vpc_id);
	free(instance->subnet_id);
	free(instance->zone_id);
	free(instance->outpost_arn);
	free(instance);
	return NULL;
}

void instance_identify(struct instance *instance, void (*on_identified)(void *arg))
{
	instance->on_identified = on_identified;
	if (!str_empty(instance->options.config->region)) {
		instance->region = xstrdup(instance->options.config->region);
		region_known(instance);
		return;
	}
	if (instance->options.config->no_iid)
		instance_imds_get(instance, "meta-data/placement/region", on_region);
	else
		instance_imds_get(instance, "dynamic/instance-identity/document", on_region_document);
}

const char *instance_arn(const struct instance *instance)
{
	return instance->identity.arn;
}

const char *instance_cluster(const struct instance *instance)
{
	return instance->identity.cluster;
}

const char *instance_region(const struct instance *instance)
{
	return instance->region;
}

const char *instance_user_agent(const struct instance *instance)
{
	return instance->user_agent;
}

bool instance_state_discarded(const struct instance *instance)
{
	return instance->state_discarded;
}

struct aws_client *instance_ecs(struct instance *instance)
{
	return instance->ecs;
}

int64_t instance_wall_ms(const struct instance *instance)
{
	return aws_client_wall_ms(instance->ecs);
}

int64_t instance_manifest_sequence(const struct instance *instance)
{
	return instance->identity.manifest_sequence;
}

int instance_save(struct instance *instance, struct error *err)
{
	return instance_identity_save(instance->options.config->data_dir, &instance->identity, err);
}

int instance_set_manifest_sequence(struct instance *instance, int64_t value, struct error *err)
{
	int64_t old = instance->identity.manifest_sequence;
	int r;

	instance->identity.manifest_sequence = value;
	if (instance->options.config->checkpoint == NO)
		return 0;
	r = instance_identity_save(instance->options.config->data_dir, &instance->identity, err);
	if (r < 0)
		instance->identity.manifest_sequence = old;
	return r;
}

// --- for register.c, poll_endpoint.c ---

void instance_imds_get(struct instance *instance, const char *path,
		       void (*done)(const char *body, long status, const struct error *err, void *arg))
{
	imds_get(instance->options.imds, path, done, instance);
}

void instance_after(struct instance *instance, uint64_t delay_ms, void (*step)(void *instance))
{
	instance->on_timer = step;
	timer_start(&instance->timer, delay_ms);
}

static void on_timer(void *arg)
{
	struct instance *instance = arg;

	instance->on_timer(instance);
}

void instance_fail(struct instance *instance, int exit_code, const char *text)
{
	log_critical("cannot start", "error=%s exit_code=%d", text, exit_code);
	instance->options.on_failed(exit_code, instance->options.arg);
}

// --- identification ---

static void on_region_document(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;
	_cleanup_json_ json_object *document = body ? json_parse(body, strlen(body), NULL) : NULL;
	const char *region = json_get_string(document, "region");

	(void)status;
	if (region) {
		_cleanup_free_ char *copy = xstrdup(region);

		instance->region = xstrdup(str_trim(copy));
	}
	if (!str_empty(instance->region)) {
		region_known(instance);
		return;
	}
	if (err)
		log_error("no region is configured and the identity document cannot be read", "error=%s", err->message);
	no_region(instance, NULL);
}

// The way of NoIID.
static void on_region(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;
	_cleanup_free_ char *copy = xstrdup(body);

	(void)status;
	if (copy)
		instance->region = xstrdup(str_trim(copy));
	if (str_empty(instance->region))
		no_region(instance, err);
	else
		region_known(instance);
}

static void no_region(struct instance *instance, const struct error *err) // §5.1
{
	_cleanup_free_ char *text = xasprintf("Error loading config: %s%sMissing required fields: AWSRegion",
					      err ? err->message : "", err ? "; " : "");

	log_error("Configuration key not set", "key=AWSRegion");
	instance_fail(instance, EXIT_ERROR, text);
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static void region_known(struct instance *instance)
{
	const struct config *config = instance->options.config;
	struct error err;
	_cleanup_free_ char *endpoint = aws_ecs_endpoint(instance->region, config->backend_host, environment, &err);

	if (endpoint) {
		struct aws_client_options options = {
			.loop = instance->options.loop,
			.http = instance->options.http,
			.credentials = instance->options.credentials,
			.region = instance->region,
			.endpoint = endpoint,
			.service = "ecs",
			.target_prefix = "AmazonEC2ContainerServiceV20141113",
			.user_agent = instance->user_agent,
			.insecure = config->accept_insecure_cert,
		};

		instance->ecs = aws_client_new(&options);
	} else {
		instance->startup_error =
			xstrdup(err.message); // told by the timer: no callback inside instance_identify
	}
	instance->backoff = BACKOFF(1000, 5000, 1.3, 0.2); // §4.3
	instance_after(instance, 0, ask_instance_id);
}

static void use_previous_identity(struct instance *instance)
{
	const struct instance_identity *previous = instance->options.previous;

	instance->identity = (struct instance_identity){
		.arn = xstrdup(previous->arn),
		.cluster = xstrdup(previous->cluster),
		.ec2_instance_id = xstrdup(previous->ec2_instance_id),
		.availability_zone = xstrdup(previous->availability_zone),
		.manifest_sequence = previous->manifest_sequence,
	};
}

static void ask_instance_id(void *arg)
{
	struct instance *instance = arg;
	const struct config *config = instance->options.config;
	struct error err;

	if (instance->startup_error) {
		instance_fail(instance, EXIT_ERROR, instance->startup_error);
		return;
	}
	if (instance->tries++ == 0 && config->checkpoint != NO &&
	    instance_identity_load(config->data_dir, &instance->identity, &err) < 0) {
		// Not EXIT_TERMINAL as in §3 step 8: a disk may come back, and then a new start is all that is needed.
		instance_fail(instance, EXIT_ERROR, err.message);
		return;
	}
	if (instance->tries == 1 && !instance->identity.arn && instance->options.previous)
		use_previous_identity(instance);
	if (!instance->options.imds) { // saved state is this instance's: there is no id to compare it by (§4.5)
		instance->imds_absent = true;
		identified(instance);
		return;
	}
	instance_imds_get(instance, "meta-data/instance-id", on_instance_id);
}

static void on_instance_id(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;

	if (body) {
		instance->ec2_instance_id = xstrdup(body);
		next_fact(instance);
		return;
	}
	instance->imds_absent = status == 0;
	// Where nothing answers and no saved state has to be compared with the instance id, there is nothing to wait for:
	// this is no EC2 instance. Otherwise IMDS may only be late.
	bool matters = status != 0 || !str_empty(instance->identity.ec2_instance_id);
	if (status != 404 && matters && instance->tries < INSTANCE_ID_CALLS) {
		uint64_t delay = backoff_next(&instance->backoff);

		log_warn("cannot read the instance id, trying again", "error=%s in_ms=%" PRIu64, err->message, delay);
		instance_after(instance, delay, ask_instance_id);
		return;
	}
	log_warn("instance metadata not available, going on without", "error=%s", err->message);
	if (instance->imds_absent)
		instance->fact = ARRAY_SIZE(facts);
	next_fact(instance);
}

static void next_fact(struct instance *instance)
{
	while (instance->fact < ARRAY_SIZE(facts) && facts[instance->fact].of_mac && !instance->mac)
		instance->fact++;
	if (instance->fact >= ARRAY_SIZE(facts)) {
		identified(instance);
		return;
	}
	_cleanup_free_ char *path = xasprintf(facts[instance->fact].path, instance->mac ? instance->mac : "");
	instance_imds_get(instance, path, on_fact);
}

static void on_fact(const char *body, long status, const struct error *err, void *arg)
{
	struct instance *instance = arg;
	const struct fact *fact = &facts[instance->fact++];

	if (body) {
		char **member = (char **)((char *)instance + fact->offset);
		_cleanup_free_ char *copy = xstrdup(body);

		str_replace(member, str_trim(copy));
	} else if (status != 404) { // 404: not in a VPC (§3 step 12)
		log_warn("instance metadata item not available", "path=%s error=%s", fact->path, err->message);
	}
	next_fact(instance);
}

static void identified(struct instance *instance)
{
	struct error err;

	if (use_saved_identity(instance, &err) < 0) {
		instance_fail(instance, EXIT_TERMINAL, err.message);
		return;
	}
	log_info("instance identified",
		 "ec2_instance_id=%s region=%s vpc=%s subnet=%s zone_id=%s cluster=%s instance=%s",
		 instance->identity.ec2_instance_id, instance->region, instance->vpc_id ? instance->vpc_id : "",
		 instance->subnet_id ? instance->subnet_id : "", instance->zone_id ? instance->zone_id : "",
		 instance->identity.cluster, instance->identity.arn ? instance->identity.arn : "");
	instance->on_identified(instance->options.arg);
}

// §7.7: state of another EC2 instance is not used; state of another cluster ends the start.
static int use_saved_identity(struct instance *instance, struct error *err)
{
	const struct config *config = instance->options.config;
	struct instance_identity *identity = &instance->identity;
	const char *cluster = str_empty(config->cluster) ? DEFAULT_CLUSTER : config->cluster;

	if (config->checkpoint == NO) {
		instance->state_discarded = true;
	} else if (!str_empty(identity->ec2_instance_id) && instance->ec2_instance_id &&
		   !str_equal(identity->ec2_instance_id, instance->ec2_instance_id)) {
		log_warn("saved state is another EC2 instance's and is not used", "saved=%s current=%s",
			 identity->ec2_instance_id, instance->ec2_instance_id);
		instance->state_discarded = true;
	}
	if (instance->state_discarded) {
		instance_identity_free(identity);
		identity->manifest_sequence = -1;
	}
	if (identity->cluster && !str_equal(identity->cluster, cluster))
		return error_set(err, EINVAL,
				 "Data mismatch; saved cluster '%s' does not match configured cluster '%s'. "
				 "Perhaps you want to delete the configured checkpoint file?",
				 identity->cluster, cluster);
	str_replace(&identity->cluster, cluster);
	if (instance->ec2_instance_id || !identity->ec2_instance_id)
		str_replace(&identity->ec2_instance_id, instance->ec2_instance_id ? instance->ec2_instance_id : "");
	return 0;
}
