// Who this instance is: the saved instance.json, instance metadata, EC2 user data, RegisterContainerInstance and
// DiscoverPollEndpoint, from the start to a registered instance or to the end of the program. Input: a byte of options, a
// byte length and text of instance.json, then a script of answers (fuzz_http.h) to IMDS and ECS calls in their order.
#include "control/instance.h"
#include "control/user_data.h"
#include "docker/docker.h"
#include "fuzz_dir.h"
#include "fuzz_http.h"

enum { NO_REGION = 1, NO_IID = 2, NO_SAVED = 4 };

static const char *directory;
static enum { STARTED, IDENTIFIED, REGISTERED, FAILED } reached;
static unsigned endpoints;
static struct instance *instance;

static void on_endpoint(const char *acs, const char *telemetry, const struct error *err, void *arg)
{
	(void)telemetry, (void)arg;
	CHECK((acs != NULL) == (err == NULL));
	if (acs)
		CHECK(*acs);
	else
		check_reason(err->message);
	endpoints++;
}

static void on_registered(void *arg)
{
	(void)arg;
	struct error err = {0};
	CHECK(reached == IDENTIFIED && !str_empty(instance_arn(instance)) && !str_empty(instance_cluster(instance)));
	reached = REGISTERED;
	instance_set_manifest_sequence(instance, 7, &err);
	// What was saved is read back as it is.
	struct instance_identity saved;
	CHECK(instance_identity_load(directory, &saved, &err) == 0);
	CHECK(saved.manifest_sequence == 7);
	if (is_utf8(instance_arn(instance)) && is_utf8(instance_cluster(instance)))
		CHECK(str_equal(saved.arn, instance_arn(instance)) &&
		      str_equal(saved.cluster, instance_cluster(instance)));
	instance_identity_free(&saved);
	instance_poll_endpoint(instance, on_endpoint, NULL);
	instance_poll_endpoint(instance, on_endpoint, NULL);
}

static void on_failed(int exit_code, void *arg)
{
	(void)arg;
	CHECK(reached < REGISTERED && (exit_code == 1 || exit_code == 5));
	reached = FAILED;
}

static void on_identified(void *arg)
{
	(void)arg;
	CHECK(reached == STARTED && !str_empty(instance_region(instance)));
	reached = IDENTIFIED;
	instance_register(instance);
}

static void on_user_data(int exit_code, void *arg)
{
	CHECK(exit_code == 0 || exit_code == 1 || exit_code == 5);
	*(int *)arg = exit_code;
}

static const char *environment(const char *name)
{
	static const char *const values[][2] = {{"AWS_DEFAULT_REGION", "us-west-2"}, {"ECS_CHECKPOINT", "true"}};
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (str_equal(name, values[i][0]))
			return values[i][1];
	return str_equal(name, "ECS_DATADIR") ? directory : NULL;
}

static void start(struct loop *loop, struct config *config, struct docker *docker)
{
	int exit_code = -1;
	struct credentials_chain *credentials = credentials_chain_fixed(
		&(struct aws_credentials){.access_key_id = (char *)"AKIA", .secret_access_key = (char *)"secret"});
	struct imds *imds = imds_new(loop, NULL);
	struct user_data user_data = {.imds = imds,
				      .config = config,
				      .cloud_init_result = "/nonexistent",
				      .done = on_user_data,
				      .arg = &exit_code};
	user_data_read(&user_data);
	while (exit_code < 0)
		CHECK(fuzz_turn(loop));
	instance = instance_new(&(struct instance_options){.loop = loop,
							   .imds = imds,
							   .credentials = credentials,
							   .config = config,
							   .docker = docker,
							   .on_registered = on_registered,
							   .on_failed = on_failed});
	if (exit_code == 0)
		instance_identify(instance, on_identified);
	// Rounds of registration never end by themselves: the script is over, so is this.
	for (unsigned i = 0; i < 300 && exit_code == 0 && reached != FAILED && endpoints < 2; i++)
		CHECK(fuzz_turn(loop));
	instance_free(instance);
	imds_free(imds);
	credentials_chain_free(credentials);
	CHECK(!fuzz_http.calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop();
	struct config config;
	struct error err = {0};
	if (size < 2 || size - 2 < data[1])
		return 0;
	directory = fuzz_dir();
	fuzz_dir_empty();
	if (!(data[0] & NO_SAVED)) {
		_cleanup_free_ char *path = xasprintf("%s/instance.json", directory);
		CHECK(write_file_atomic(path, data + 2, data[1], 0600) == 0);
	}
	_cleanup_free_ char *script = fuzz_text(data + 2 + data[1], size - 2 - data[1]);
	fuzz_http_start(loop, script);
	CHECK(config_load(&config, environment, &err) == 0);
	if (data[0] & NO_REGION)
		str_replace(&config.region, NULL);
	config.no_iid = data[0] & NO_IID;
	reached = STARTED;
	endpoints = 0;
	struct docker *docker = docker_new(&(struct docker_options){.loop = loop, .endpoint = "unix:///nowhere"});
	start(loop, &config, docker);
	docker_free(docker);
	config_free(&config);
	return 0;
}
