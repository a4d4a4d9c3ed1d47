// Pure parts of a registration: capabilities, request body, the saved identity's file.
#include "common/host.h"
#include "common/log.h"
#include "common/log_options.h"
#include "common/util.h"
#include "control/instance_private.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

static char data_dir[64];
static char *drivers[] = {(char *)"json-file", (char *)"none", (char *)"awsfirelens", (char *)"bogus"};
static char *ports[] = {(char *)"22", (char *)"51678"};
static struct config config;

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
	snprintf(data_dir, sizeof(data_dir), "/tmp/ecsd-test-XXXXXX");
	assert_non_null(mkdtemp(data_dir));
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", data_dir);
	return system(command);
}

// --- capabilities ---

static void check_capabilities(const char *min, const char *max, const char *want)
{
	json_object *list = instance_capabilities(&config, min, max);
	struct buf names = {0};

	buf_append(&names, "", 0);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		buf_printf(&names, "%s ", json_get_string(json_object_array_get_idx(list, i), "name"));
	assert_string_equal(names.data ? names.data : "", want);
	buf_free(&names);
	json_object_put(list);
}

#define C "com.amazonaws.ecs.capability."
#define E "ecs.capability."
#define V C "docker-remote-api."

#define FIRST \
	E "private-registry-authentication.secretsmanager " E "ecr-endpoint " E "container-ordering " E "full-sync "
#define ECR C "ecr-auth " E "execution-role-ecr-pull "
static void test_capabilities(void **state)
{
	(void)state;
	check_capabilities("1.12", "1.41",
			   FIRST C "privileged-container " V "1.17 " V "1.18 " V "1.19 " V "1.20 " V "1.21 " V "1.22 " V
				   "1.23 " V "1.24 " V "1.25 " V "1.28 " V "1.29 " V "1.30 " V "1.32 " C
				   "logging-driver.json-file " C "logging-driver.none " C "task-iam-role " ECR E
				   "docker-plugin.local ");
	config.task_cpu_mem_limit = YES;
	check_capabilities("1.22", "1.22",
			   FIRST C "privileged-container " V "1.22 " E "task-cpu-mem-limit " E
				   "increased-task-cpu-limit " E "docker-plugin.local ");
	check_capabilities("1.21", "1.21", FIRST C "privileged-container " V "1.21 " E "docker-plugin.local ");
	config.task_cpu_mem_limit = NO;
	config.privileged_disabled = config.selinux_capable = config.apparmor_capable =
		config.task_iam_role_network_host = true;
	// Oldest accepted version 1.24 or above: all older ones count as supported.
	check_capabilities("1.24", "1.24",
			   FIRST V "1.17 " V "1.18 " V "1.19 " V "1.20 " V "1.21 " V "1.22 " V "1.23 " V "1.24 " C
				   "logging-driver.json-file " C "logging-driver.none " C "selinux " C "apparmor " C
				   "task-iam-role " C "task-iam-role-network-host " ECR E "docker-plugin.local ");
	check_capabilities("1.18", "1.18",
			   FIRST V "1.18 " C "logging-driver.json-file " C "selinux " C "apparmor " E
				   "docker-plugin.local ");
	check_capabilities("", NULL, FIRST C "selinux " C "apparmor " E "docker-plugin.local ");
	// Credentials of the execution role for logs: where ecs-logd takes them.
	config.awslogs_execution_role = config.logd_runs = true;
	check_capabilities("", NULL, FIRST C "selinux " C "apparmor " E "docker-plugin.local ");
	config.native_logging = LOG_DRIVER_BIT(LOG_AWSLOGS);
	check_capabilities("", NULL,
			   FIRST C "selinux " C "apparmor " E "execution-role-awslogs " E "docker-plugin.local ");
	config.logd_runs = false;
	check_capabilities("", NULL, FIRST C "selinux " C "apparmor " E "docker-plugin.local ");
	config.external = true;
	check_capabilities("", NULL, FIRST C "selinux " C "apparmor " E "docker-plugin.local " E "external ");
}

// --- the registration's body ---

static void test_registration_body(void **state)
{
	struct registration registration = {.cluster = "lab",
					    .document = "doc",
					    .signature = "sig",
					    .client_token = "token",
					    .docker_api_min = "1.18",
					    .docker_api_max = "1.18",
					    .cpu_units = 2048,
					    .memory_mib = 4000};
	struct error err;
	json_object *body;

	(void)state;
	config.instance_attributes = (char *)"{\"lab.b\":\"2\",\"lab.a\":\"1\"}";
	config.instance_tags = (char *)"{\"k\":\"v\"}";
	config.reserved_memory_mib = 32;
	config.logging_drivers.count = 0;
	body = registration_build(&registration, &config, &err);
#define MIDDLE                                                                                                         \
	"{\"name\":\"ecs.capability.private-registry-authentication.secretsmanager\"},"                                \
	"{\"name\":\"ecs.capability.ecr-endpoint\"},"                                                                  \
	"{\"name\":\"ecs.capability.container-ordering\"},{\"name\":\"ecs.capability.full-sync\"},"                    \
	"{\"name\":\"com.amazonaws.ecs.capability.privileged-container\"},"                                            \
	"{\"name\":\"com.amazonaws.ecs.capability.docker-remote-api.1.18\"},{\"name\":\"ecs.capability.docker-plugin." \
	"local\"},"                                                                                                    \
	"{\"name\":\"ecs.os-type\",\"value\":\"linux\"},{\"name\":\"ecs.os-family\",\"value\":\"LINUX\"}"
#define RESOURCES(memory)                                                                                              \
	"\"totalResources\":[{\"name\":\"CPU\",\"type\":\"INTEGER\",\"integerValue\":2048},{\"name\":\"MEMORY\","      \
	"\"type\":\"INTEGER\"" memory                                                                                  \
	"},{\"name\":\"PORTS\",\"type\":\"STRINGSET\",\"stringSetValue\":[\"22\",\"51678\"]},{\"name\":\"PORTS_UDP\"," \
	"\"type\":\"STRINGSET\",\"stringSetValue\":[]}]"
	assert_string_equal(
		json_text(body),
		"{\"cluster\":\"lab\",\"instanceIdentityDocument\":\"doc\",\"instanceIdentityDocumentSignature\":"
		"\"sig\"," RESOURCES(",\"integerValue\":3968") ",\"attributes\":[{\"name\":\"lab.b\",\"value\":\"2\"},{"
							       "\"name\":\"lab.a\",\"value\":\"1\"}," MIDDLE
							       ",{\"name\":\"ecs.os-type-detailed\",\"value\":"
							       "\"LINUX\"}],\"tags\":[{\"key\":\"k\",\"value\":\"v\"}],"
							       "\"clientToken\":\"token\"}");
	json_object_put(body);
	// Again: no custom attributes; empty OS family; outpost; a value of 0 is left out.
	registration.instance_arn = "arn";
	registration.outpost_arn = "outpost";
	registration.document = registration.signature = "";
	config.os_family = (char *)"";
	config.instance_tags = (char *)"{}";
	config.reserved_memory_mib = 4000;
	body = registration_build(&registration, &config, &err);
	assert_string_equal(
		json_text(body),
		"{\"cluster\":\"lab\",\"containerInstanceArn\":\"arn\",\"instanceIdentityDocument\":\"\","
		"\"instanceIdentityDocumentSignature\":\"\"," RESOURCES(
			"") ",\"attributes\":[" MIDDLE
			    ",{\"name\":\"ecs.outpost-arn\",\"value\":\"outpost\"}],\"clientToken\":\"token\"}");
	json_object_put(body);
	// ECS Anywhere: the same, with two attributes more.
	config.external = true;
	registration.outpost_arn = NULL;
	body = registration_build(&registration, &config, &err);
	_cleanup_free_ char *external =
		xasprintf(",{\"name\":\"ecs.capability.external\"},{\"name\":\"ecs.os-type\",\"value\":\"linux\"},"
			  "{\"name\":\"ecs.os-family\",\"value\":\"LINUX\"},{\"name\":\"ecs.cpu-architecture\","
			  "\"value\":\"%s\"}]",
			  host_architecture());
	assert_non_null(strstr(json_text(body), external));
	json_object_put(body);
	assert_true(str_equal(host_architecture(), "x86_64") || str_equal(host_architecture(), "arm64"));
	config.reserved_memory_mib = 4001;
	assert_null(registration_build(&registration, &config, &err));
	assert_string_equal(err.message,
			    "api register-container-instance: reserved memory is higher than available memory on the "
			    "host, total memory: 4000, reserved: 4001");
}

// --- saved identity ---

static void test_identity_file(void **state)
{
	struct instance_identity identity = {.arn = (char *)"a",
					     .cluster = (char *)"c",
					     .ec2_instance_id = (char *)"",
					     .manifest_sequence = 7},
				 loaded;
	char path[96], command[256];
	struct error err;
	struct stat st;

	(void)state;
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
	assert_null(loaded.arn);
	assert_int_equal(instance_identity_save(data_dir, &identity, &err), 0);
	snprintf(path, sizeof(path), "%s/instance.json", data_dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
	assert_string_equal(loaded.arn, "a");
	assert_string_equal(loaded.cluster, "c");
	assert_int_equal(loaded.manifest_sequence, 7);
	instance_identity_free(&loaded);
	char copy[112];
	snprintf(copy, sizeof(copy), "%s.copy", path);
	assert_int_equal(unlink(copy), 0);
	for (size_t i = 0; i < 4; i++) {
		const char *texts[] = {"{\"containerInstanceArn\":\"a\"", "[]", "{\"containerInstanceArn\":\"a\"}",
				       "{\"containerInstanceArn\":5}"};
		FILE *f = fopen(path, "w");

		fputs(texts[i], f);
		fclose(f);
		assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
		assert_null(loaded.arn);
		snprintf(command, sizeof(command), "rm %s/instance.json.corrupt-*", data_dir);
		assert_int_equal(system(command), 0);
	}
	assert_true(instance_identity_save("/nonexistent", &identity, &err) < 0);
}

static const struct instance_identity sample = {
	.arn = (char *)"arn:aws:ecs:us-west-2:123456789012:container-instance/lab/0123456789abcdef",
	.cluster = (char *)"lab",
	.ec2_instance_id = (char *)"i-0123",
	.availability_zone = (char *)"us-west-2a",
	.manifest_sequence = 3};

static char *identity_path(const char *name)
{
	return xasprintf("%s/%s", data_dir, name);
}

static void put_file(const char *name, const char *data, size_t len)
{
	_cleanup_free_ char *path = identity_path(name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	fclose(file);
}

static void expect_sample(const struct instance_identity *loaded)
{
	assert_string_equal(loaded->arn, sample.arn);
	assert_string_equal(loaded->cluster, sample.cluster);
	assert_string_equal(loaded->ec2_instance_id, sample.ec2_instance_id);
	assert_string_equal(loaded->availability_zone, sample.availability_zone);
	assert_int_equal(loaded->manifest_sequence, sample.manifest_sequence);
}

// Whatever is left of one of the two files, the ARN is not forgotten and no other is believed.
static void test_damaged_identity(void **state)
{
	_cleanup_free_ char *path = identity_path("instance.json"), *copy = identity_path("instance.json.copy");
	_cleanup_free_ char *log_path = identity_path("log"), *remove = xasprintf("rm -f %s.corrupt-*", path);
	struct instance_identity loaded;
	struct error err;
	size_t len, told = 0;

	(void)state;
	assert_int_equal(
		log_open(&(struct log_options){.level = LOG_NONE, .file_level = LOG_ERROR, .path = log_path}, &err), 0);
	assert_int_equal(instance_identity_save(data_dir, &sample, &err), 0);
	_cleanup_free_ char *text = read_file(path, 65536, &len);
	for (size_t bit = 0; bit < len * 8 + len; bit++) {
		size_t size = bit < len * 8 ? len : bit - len * 8; // in the end, cut to each length
		if (bit < len * 8)
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		put_file("instance.json", text, size);
		assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
		expect_sample(&loaded);
		instance_identity_free(&loaded);
		if (bit < len * 8)
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
	}
	assert_int_equal(system(remove), 0);
	_cleanup_free_ char *log = read_file(log_path, 1 << 24, NULL);
	for (const char *p = log; (p = strstr(p, "the instance's identity is read from its copy")); p++)
		told++;
	assert_in_range(told, len * 8, len * 9);
	assert_non_null(strstr(log, "is damaged: its checksum does not fit\" copy="));
	assert_int_equal(unlink(log_path), 0);

	// Both are damaged: the file is kept, and what follows is told.
	put_file("instance.json", text, len / 2);
	put_file("instance.json.copy", text, len - 1);
	assert_int_equal(
		log_open(&(struct log_options){.level = LOG_NONE, .file_level = LOG_ERROR, .path = log_path}, &err), 0);
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
	assert_null(loaded.arn);
	_cleanup_free_ char *both = read_file(log_path, 65536, NULL);
	assert_non_null(strstr(both, "the instance's identity is lost: registering as a new container instance"));
	assert_non_null(strstr(both, "instance.json is damaged: "));
	assert_non_null(strstr(both, "instance.json.copy is damaged: "));
	assert_non_null(strstr(both, "instance.json.corrupt-"));
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	assert_int_equal(system(remove), 0);

	// One that was removed on purpose does not come back from the copy.
	put_file("instance.json.copy", text, len);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
	assert_null(loaded.arn);

	// What cannot be read is no reason to register anew.
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), 0);
	expect_sample(&loaded);
	instance_identity_free(&loaded);
	assert_int_equal(unlink(copy), 0);
	assert_int_equal(instance_identity_load(data_dir, &loaded, &err), -EISDIR);
	_cleanup_free_ char *cannot = xasprintf("cannot read %s: Is a directory", path);
	assert_string_equal(err.message, cannot);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_capabilities), T(test_registration_body), T(test_identity_file),
					   T(test_damaged_identity)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
