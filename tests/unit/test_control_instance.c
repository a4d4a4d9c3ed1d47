// Who the instance is: IMDS reads and their order, use of the saved identity, registration with its errors, and the poll
// endpoint. IMDS, AWS calls and time are faked.
#include "test_control_fakes.h"
#include "common/log.h"
#include "control/instance_private.h"
#include "docker/docker.h"
#include <errno.h>

// --- fakes ---

enum imds_mode { IMDS_OK, IMDS_ABSENT, IMDS_NO_DOCUMENT };
static enum imds_mode imds_mode;
static char imds_log[4096];
static const char *instance_id = "i-1";

struct pending_get {
	char path[128];
	void (*done)(const char *body, long status, const struct error *err, void *arg);
	void *arg;
};

static void imds_answer(void *arg)
{
	static const struct {
		const char *path, *body;
	} items[] = {
		{"meta-data/instance-id", NULL},
		{"meta-data/mac", "02:00\n"},
		{"meta-data/network/interfaces/macs/02:00/subnet-id", "subnet-1"},
		{"meta-data/placement/availability-zone-id", "usw2-az1"},
		{"dynamic/instance-identity/document", "{\"region\":\" us-west-2 \"}"},
		{"dynamic/instance-identity/signature", "sig"},
		{"meta-data/placement/region", "us-west-2\n"},
	};
	struct pending_get *get = arg;
	struct error err;
	const char *body = NULL;
	long status = imds_mode == IMDS_ABSENT ? 0 : 404;

	for (size_t i = 0; i < ARRAY_SIZE(items) && imds_mode != IMDS_ABSENT; i++)
		if (!strcmp(items[i].path, get->path))
			body = i == 0 ? instance_id : items[i].body;
	if (imds_mode == IMDS_NO_DOCUMENT && str_starts(get->path, "dynamic/")) {
		body = NULL;
		status = 500;
	}
	error_set(&err, status == 404 ? ENOENT : EIO, "imds");
	get->done(body, body ? 200 : status, body ? NULL : &err, get->arg);
	free(get);
}

void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg)
{
	struct pending_get *get = xcalloc(1, sizeof(*get));

	(void)imds;
	snprintf(get->path, sizeof(get->path), "%s", path);
	snprintf(imds_log + strlen(imds_log), sizeof(imds_log) - strlen(imds_log), "%s\n", path);
	get->done = done;
	get->arg = arg;
	loop_defer(&fake_loop, imds_answer, get);
}
void imds_cancel(struct imds *imds, void *arg)
{
	(void)imds, (void)arg;
}

struct aws_client {
	int used;
};
struct aws_call {
	int used;
};
static struct aws_client the_client;
static struct aws_call the_call;
static char call_name[64];
static json_object *call_body;
static void (*call_done)(const struct aws_response *response, void *arg);
static void *call_arg;
static unsigned call_count;

struct aws_client *aws_client_new(const struct aws_client_options *options)
{
	assert_string_equal(options->region, "us-west-2");
	return &the_client;
}
struct aws_client *aws_client_free(struct aws_client *client)
{
	(void)client;
	return NULL;
}
int64_t aws_client_wall_ms(const struct aws_client *client)
{
	(void)client;
	return wall_ms();
}
struct aws_call *aws_client_call(struct aws_client *client, const char *operation, json_object *body,
				 enum aws_retry retry, void (*done)(const struct aws_response *response, void *arg),
				 void *arg)
{
	assert_ptr_equal(client, &the_client);
	assert_int_equal(retry, AWS_RETRY_STANDARD);
	assert_null(call_done);
	snprintf(call_name, sizeof(call_name), "%s", operation);
	json_object_put(call_body);
	call_body = json_object_get(body);
	call_done = done;
	call_arg = arg;
	call_count++;
	return &the_call;
}
void aws_call_cancel(struct aws_call *call)
{
	if (call)
		call_done = NULL;
}
static bool bad_endpoint;
char *aws_ecs_endpoint(const char *region, const char *backend_host, const char *(*get)(const char *name),
		       struct error *err)
{
	(void)region, (void)backend_host, (void)get;
	if (!bad_endpoint)
		return xstrdup("https://ecs");
	error_set(err, EINVAL, "contradiction");
	return NULL;
}
char *aws_user_agent(const char *os_family)
{
	return xstrdup(os_family);
}
const char *docker_api_version_min(const struct docker *docker)
{
	(void)docker;
	return "1.12";
}
const char *docker_api_version_max(const struct docker *docker)
{
	(void)docker;
	return "1.41";
}

static void answer(const char *body, const char *code, const char *message)
{
	struct aws_response response = {0};
	void (*done)(const struct aws_response *, void *) = call_done;

	assert_non_null(done);
	call_done = NULL;
	if (body) {
		response.body = json_parse(body, strlen(body), NULL);
		assert_non_null(response.body);
	} else {
		snprintf(response.error_code, sizeof(response.error_code), "%s", code);
		snprintf(response.message, sizeof(response.message), "%s", message);
		error_set(&response.error, EIO, "%s: %s", code, message);
	}
	done(&response, call_arg);
	json_object_put(response.body);
}

// --- one instance ---

static char data_dir[64];
static char *drivers[] = {(char *)"json-file", (char *)"none", (char *)"awsfirelens", (char *)"bogus"};
static char *ports[] = {(char *)"22", (char *)"51678"};
static struct config config;
static struct instance *instance;
static int exit_code;
static bool identified_, registered;

static void on_identified(void *arg)
{
	(void)arg;
	identified_ = true;
}
static void on_registered_(void *arg)
{
	(void)arg;
	registered = true;
}
static void on_failed(int code, void *arg)
{
	(void)arg;
	exit_code = code;
}

static void start(void)
{
	struct instance_options options = {.loop = &fake_loop,
					   .imds = config.external ? NULL
								   : (struct imds *)imds_log, // never looked into
					   .config = &config,
					   .on_registered = on_registered_,
					   .on_failed = on_failed};

	instance = instance_free(instance);
	call_done = NULL;
	call_count = 0;
	exit_code = 0;
	identified_ = registered = false;
	imds_log[0] = '\0';
	instance = instance_new(&options);
	instance_identify(instance, on_identified);
	assert_false(identified_);
	fake_advance(0);
}

static void start_registration(void)
{
	start();
	fake_advance(60000);
	assert_true(identified_);
	instance_register(instance);
	fake_advance(0);
}

static int setup(void **state)
{
	(void)state;
	config = (struct config){
		.cluster = (char *)"lab",
		.region = (char *)"us-west-2",
		.backend_host = (char *)"",
		.os_family = (char *)"LINUX",
		.instance_attributes = (char *)"",
		.instance_tags = (char *)"",
		.data_dir = data_dir,
		.checkpoint = UNSET,
		.logging_drivers = {drivers, 4},
		.reserved_tcp = {ports, 2},
		.task_iam_role = true,
	};
	imds_mode = IMDS_OK;
	instance_id = "i-1";
	bad_endpoint = false;
	snprintf(data_dir, sizeof(data_dir), "/tmp/ecsd-test-XXXXXX");
	assert_non_null(mkdtemp(data_dir));
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	instance = instance_free(instance);
	json_object_put(call_body);
	call_body = NULL;
	assert_int_equal(fake_timers_running(), 0);
	snprintf(command, sizeof(command), "rm -r %s", data_dir);
	return system(command);
}

static const char *registered_answer(const char *arn)
{
	static char text[4096];
	const char *attributes = json_text(json_get(call_body, "attributes"));

	snprintf(text, sizeof(text),
		 "{\"containerInstance\":{\"containerInstanceArn\":\"%s\",\"attributes\":[{\"name\":\"ecs.availability-"
		 "zone\","
		 "\"value\":\"us-west-2a\"},%s}}",
		 arn, attributes + 1);
	return text;
}

// --- start-up ---

static void test_first_registration(void **state)
{
	char token[64];

	(void)state;
	start_registration();
	assert_string_equal(
		imds_log,
		"meta-data/instance-id\nmeta-data/mac\nmeta-data/network/interfaces/macs/02:00/vpc-id\n"
		"meta-data/network/interfaces/macs/02:00/subnet-id\nmeta-data/placement/availability-zone-id\n"
		"meta-data/outpost-arn\ndynamic/instance-identity/document\n"
		"dynamic/instance-identity/signature\n");
	assert_string_equal(call_name, "RegisterContainerInstance");
	assert_null(json_get(call_body, "containerInstanceArn"));
	assert_string_equal(json_get_string(call_body, "instanceIdentityDocumentSignature"), "sig");
	snprintf(token, sizeof(token), "%s", json_get_string(call_body, "clientToken"));
	// Transient errors, and an answer without an ARN, are repeated with the same token and a fresh document.
	for (int i = 0; i < 4; i++) {
		imds_log[0] = '\0';
		if (i == 3)
			answer("{\"containerInstance\":{}}", NULL, NULL);
		else
			answer(NULL,
			       (const char *[]){"ServerException", "ThrottlingException", "LimitExceededException"}[i],
			       "lab");
		fake_advance((3000ULL << i) - 1);
		assert_null(call_done);
		fake_advance(600ULL << i);
		assert_string_equal(json_get_string(call_body, "clientToken"), token);
		assert_string_equal(imds_log,
				    "dynamic/instance-identity/document\ndynamic/instance-identity/signature\n");
	}
	answer(registered_answer("arn:new"), NULL, NULL);
	assert_true(registered);
	assert_string_equal(instance_arn(instance), "arn:new");

	// The next start registers again under the saved ARN.
	config.instance_attributes = (char *)"{\"a\":\"b\"}";
	start_registration();
	assert_string_equal(json_get_string(call_body, "containerInstanceArn"), "arn:new");
	assert_null(strstr(json_text(call_body), "{\"name\":\"a\""));
	answer(registered_answer("arn:ignored"), NULL, NULL);
	assert_string_equal(instance_arn(instance), "arn:new");
	assert_int_equal(instance_manifest_sequence(instance), 0);
	assert_int_equal(instance_set_manifest_sequence(instance, 5, NULL), 0);
	start();
	assert_int_equal(instance_manifest_sequence(instance), 5);

	// Another cluster: terminal. Another EC2 instance: a first registration, whatever the cluster.
	config.cluster = (char *)"other";
	start();
	assert_int_equal(exit_code, 5);
	assert_false(identified_);
	instance_id = "i-2";
	start();
	assert_true(identified_ && instance_state_discarded(instance));
	assert_null(instance_arn(instance));
	assert_int_equal(instance_manifest_sequence(instance), -1);
	// No checkpoint: nothing is read.
	config.checkpoint = NO;
	start();
	assert_true(identified_ && instance_state_discarded(instance));
	assert_int_equal(instance_set_manifest_sequence(instance, 9, NULL), 0);
}

static void test_errors(void **state)
{
	static const struct {
		const char *code, *message;
		int first, again;
	} cases[] = {
		{"InvalidParameterException", "x", 5, 5},
		{"ClientException", "Cluster not found.", 5, 5},
		{"ClusterNotFoundException", "x", 1, 1},
		{"AccessDeniedException", "x", 1, 1},
		{"", "", 1, 1},
		{"Other", "Container instance type changes are not supported.", 1, 5},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start_registration();
		answer(NULL, cases[i].code, cases[i].message);
		assert_int_equal(exit_code, cases[i].first);
		assert_int_equal(call_count, 1);
	}
	start_registration();
	answer("{\"containerInstance\":{\"containerInstanceArn\":\"a\",\"attributes\":[{\"name\":\"x\"}]}}", NULL,
	       NULL);
	assert_int_equal(exit_code, 5);
	assert_false(registered);
	start_registration();
	answer(registered_answer("arn:1"), NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start_registration();
		answer(NULL, cases[i].code, cases[i].message);
		assert_int_equal(exit_code, cases[i].again);
	}
	config.reserved_memory_mib = INT32_MAX;
	start_registration();
	assert_int_equal(exit_code, 1);
	bad_endpoint = true;
	start();
	assert_int_equal(exit_code, 1);
}

static void test_default_cluster(void **state)
{
	(void)state;
	config.cluster = (char *)"";
	start_registration();
	assert_string_equal(json_get_string(call_body, "cluster"), "default");
	answer(NULL, "ClientException", "Cluster not found.");
	assert_string_equal(call_name, "CreateCluster");
	assert_string_equal(json_text(call_body), "{\"clusterName\":\"default\"}");
	answer("{\"cluster\":{\"clusterName\":\"default\"}}", NULL, NULL);
	fake_advance(0);
	assert_string_equal(call_name, "RegisterContainerInstance");
	answer(NULL, "ClientException", "Cluster not found."); // once only
	assert_int_equal(exit_code, 5);
}

// ECS Anywhere: nothing is asked of IMDS, at no step; saved state is used, whatever instance id is in it.
static void test_external(void **state)
{
	static const char *const saved[] = {NULL, "", "i-saved"};

	(void)state;
	config.external = config.no_iid = true;
	for (size_t i = 0; i < ARRAY_SIZE(saved); i++) {
		struct instance_identity identity = {.arn = (char *)"arn:saved",
						     .cluster = (char *)"lab",
						     .ec2_instance_id = (char *)saved[i],
						     .manifest_sequence = 7};

		if (saved[i])
			assert_int_equal(instance_identity_save(data_dir, &identity, NULL), 0);
		start_registration();
		assert_string_equal(imds_log, "");
		assert_int_equal(fake_timers_running(), 0);
		assert_string_equal(json_get_string(call_body, "instanceIdentityDocument"), "");
		assert_string_equal(json_get_string(call_body, "instanceIdentityDocumentSignature"), "");
		if (saved[i])
			assert_string_equal(json_get_string(call_body, "containerInstanceArn"), "arn:saved");
		else
			assert_null(json_get(call_body, "containerInstanceArn"));
		assert_false(instance_state_discarded(instance));
		answer(NULL, "ServerException", "lab"); // another round
		fake_advance(4000);
		answer(registered_answer("arn:1"), NULL, NULL);
		assert_true(registered);
		assert_string_equal(imds_log, "");
		if (saved[i])
			assert_int_equal(instance_manifest_sequence(instance), 7);
	}
	struct instance_identity loaded;
	assert_int_equal(instance_identity_load(data_dir, &loaded, NULL), 0);
	assert_string_equal(loaded.ec2_instance_id, "i-saved");
	instance_identity_free(&loaded);
	config.cluster = (char *)"other";
	start();
	assert_int_equal(exit_code, 5);
}

static void test_imds_absent(void **state)
{
	(void)state;
	imds_mode = IMDS_ABSENT;
	start();
	assert_true(identified_); // at once
	assert_string_equal(imds_log, "meta-data/instance-id\n");
	instance_register(instance);
	fake_advance(0);
	assert_string_equal(json_get_string(call_body, "instanceIdentityDocument"), "");
	answer(registered_answer("arn:1"), NULL, NULL);
	config.region = (char *)"";
	_cleanup_free_ char *log_path = xasprintf("%s/log", data_dir);
	log_open(&(struct log_options){.level = LOG_NONE, .file_level = LOG_ERROR, .path = log_path}, NULL);
	start();
	assert_int_equal(exit_code, 1);
	config.no_iid = true;
	start();
	assert_int_equal(exit_code, 1);
	log_close();
	_cleanup_free_ char *log = read_file(log_path, 65536, NULL);
	assert_non_null(strstr(log, "msg=\"Configuration key not set\" key=AWSRegion"));
	assert_non_null(strstr(log, "error=\"Error loading config: Missing required fields: AWSRegion\""));
	assert_non_null(strstr(log, "error=\"Error loading config: imds; Missing required fields: AWSRegion\""));
	imds_mode = IMDS_OK;
	start_registration();
	assert_string_equal(instance_region(instance), "us-west-2");
	assert_string_equal(json_get_string(call_body, "instanceIdentityDocument"), "");
	assert_null(strstr(imds_log, "dynamic/"));
	answer(registered_answer("arn:1"), NULL, NULL);
	config.no_iid = false;
	start_registration();
	assert_string_equal(instance_region(instance), "us-west-2");
	answer(registered_answer("arn:1"), NULL, NULL);
	// A saved EC2 instance id makes it worth waiting: five calls. The saved id and ARN stay.
	config.region = (char *)"us-west-2";
	imds_mode = IMDS_ABSENT;
	start();
	assert_false(identified_);
	fake_advance(20000);
	assert_true(identified_);
	assert_string_equal(imds_log, "meta-data/instance-id\nmeta-data/instance-id\nmeta-data/instance-id\n"
				      "meta-data/instance-id\nmeta-data/instance-id\n");
	assert_string_equal(instance_arn(instance), "arn:1");
	// A document that cannot be had within half a minute is left out, and the signature with it.
	imds_mode = IMDS_NO_DOCUMENT;
	start_registration();
	assert_null(call_done);
	fake_advance(30000);
	assert_string_equal(json_get_string(call_body, "instanceIdentityDocumentSignature"), "");
	assert_null(strstr(imds_log, "signature"));
}

// --- poll endpoint ---

static char polled[2048];

static void on_polled(const char *acs, const char *telemetry, const struct error *err, void *arg)
{
	(void)arg;
	snprintf(polled, sizeof(polled), "%s %s %s", acs ? acs : "-", telemetry ? telemetry : "-",
		 err ? err->message : "-");
}

static void test_poll_endpoint(void **state)
{
	int a, b;

	(void)state;
	start_registration();
	answer(registered_answer("arn:1"), NULL, NULL);
	call_count = 0;
	instance_poll_endpoint(instance, on_polled, &a);
	instance_poll_endpoint(instance, on_polled, &b);
	assert_int_equal(call_count, 1);
	assert_string_equal(call_name, "DiscoverPollEndpoint");
	assert_string_equal(json_text(call_body),
			    "{\"cluster\":\"lab\",\"containerInstance\":\"arn:1\",\"zoneId\":\"\"}");
	answer(NULL, "ServerException", "x");
	assert_string_equal(polled, "- - ServerException: x");
	instance_poll_endpoint(instance, on_polled, &a);
	answer("{\"telemetryEndpoint\":\"t\"}", NULL, NULL);
	assert_string_equal(polled, "- - no endpoint returned; nil");
	instance_poll_endpoint(instance, on_polled, &a);
	// What is no address is not kept, and said to be none.
	static const char *const garbage[] = {
		"e", "ftp://e", "https://", "https://[::1", "https://e/?q", "https://e\\u000ax"};
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		_cleanup_free_ char *bad = xasprintf("{\"endpoint\":\"%s\"}", garbage[i]);
		answer(bad, NULL, NULL);
		assert_true(str_starts(polled, "- - the ACS endpoint is no http or https address: "));
		instance_poll_endpoint(instance, on_polled, &a);
	}
	answer("{\"endpoint\":\"https://e\",\"telemetryEndpoint\":\"t\"}", NULL, NULL);
	assert_string_equal(polled, "https://e t -");
	assert_int_equal(call_count, 3 + (int)ARRAY_SIZE(garbage));
	polled[0] = '\0';
	fake_advance(12 * 3600000ULL - 1);
	instance_poll_endpoint(instance, on_polled, &a);
	assert_string_equal(polled, ""); // never inside the call
	instance_poll_endpoint_cancel(instance, &a);
	instance_poll_endpoint(instance, on_polled, &b);
	fake_advance(0);
	assert_string_equal(polled, "https://e t -");
	assert_int_equal(call_count, 3 + (int)ARRAY_SIZE(garbage));
	fake_advance(1);
	polled[0] = '\0';
	instance_poll_endpoint(instance, on_polled, &a);
	answer(NULL, "ServerException", "x");
	assert_string_equal(polled, "https://e t -"); // stale beats none
	instance_poll_endpoint(instance, on_polled, &a);
	assert_int_equal(call_count, 5 + (int)ARRAY_SIZE(garbage)); // and the next asks again
	instance_poll_endpoint_cancel(instance, &a);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_first_registration), T(test_errors),      T(test_default_cluster),
		T(test_external),           T(test_imds_absent), T(test_poll_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
