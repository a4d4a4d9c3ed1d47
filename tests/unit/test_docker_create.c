// The create request: a recorded task, then each rule of docker-mapping.md §6-16 by itself.
#include "docker/create_request.h"
#include "docker/docker_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct create_context context = {.cluster = "lab", .region = "us-west-2", .task_iam_role = true};

// The task of the recording task-bridge-role, without the members that do not matter here.
static const char recorded[] =
	"{\"arn\":\"arn:aws:ecs:us-west-2:123456789012:task/lab/3a22d23799b94aae878d0b0565cc2ace\",\"family\":\"lab\","
	"\"version\":\"1\",\"desiredStatus\":\"RUNNING\",\"containers\":[{\"name\":\"web\",\"image\":\"busybox:test\","
	"\"command\":[\"sh\",\"-c\",\"sleep 1\"],\"cpu\":10,\"memory\":64,\"essential\":true,\"portMappings\":["
	"{\"containerPort\":80,\"hostPort\":0,\"protocol\":\"tcp\"},{\"containerPort\":81,\"hostPort\":18081,"
	"\"protocol\":"
	"\"udp\"}],\"environment\":{\"A\":\"b\"},\"mountPoints\":[{\"sourceVolume\":\"scratch\",\"containerPath\":"
	"\"/scratch\",\"readOnly\":false},{\"sourceVolume\":\"hosttmp\",\"containerPath\":\"/"
	"hosttmp\",\"readOnly\":true}],"
	"\"volumesFrom\":[],\"overrides\":\"{}\",\"dockerConfig\":{\"version\":\"1.21\",\"hostConfig\":\"{"
	"\\\"CapAdd\\\": "
	"[], \\\"CapDrop\\\": []}\",\"config\":\"{\\\"Labels\\\": {\\\"x.y\\\": \\\"z\\\"}}\"}},{\"name\":\"side\","
	"\"image\":\"busybox:test\",\"command\":[\"sh\"],\"cpu\":0,\"memory\":128,\"essential\":false,\"portMappings\":"
	"[],"
	"\"environment\":{},\"mountPoints\":[],\"volumesFrom\":[{\"sourceContainer\":\"web\",\"readOnly\":true}],"
	"\"overrides\":\"{}\",\"dockerConfig\":{\"version\":\"1.21\",\"hostConfig\":\"{\\\"CapAdd\\\": [], "
	"\\\"CapDrop\\\": "
	"[]}\",\"config\":\"{}\"},\"links\":[\"web:web\"]}],\"networkMode\":\"bridge\",\"cpu\":0.5,\"memory\":256,"
	"\"volumes\":[{\"name\":\"scratch\",\"host\":{}},{\"name\":\"hosttmp\",\"host\":{\"sourcePath\":\"/lab/"
	"rootfs\"}}]}";

static struct task *recorded_task(void)
{
	struct task *task = NULL;
	_cleanup_free_ char *reason = NULL;
	_cleanup_json_ json_object *object = json_tokener_parse(recorded);
	assert_int_equal(task_decode(object, false, &task, &reason), TASK_ACCEPTED);
	str_replace(&task->credentials_id, "1295a26b-1757-4d20-88b1-f86e80045c9f");
	task->sequence = 7;
	struct container *web = task_container(task, "web"), *side = task_container(task, "side");
	str_replace(&web->docker_name, "ecs-lab-1-web-d4acca88d583a1a7c301");
	str_replace(&side->docker_name, "ecs-lab-1-side-de84c8a8fab9f5dbc901");
	str_replace(&task->volumes[0].docker_name, "ecs-lab-1-scratch-b2f8f5a0b392e59e8c01");
	free(web->host_ports);
	web->host_ports = xcalloc(2, sizeof(*web->host_ports));
	web->host_ports[0] = 32768;
	web->host_ports[1] = 18081;
	return task;
}

static json_object *build(const struct task *task, const struct container *container, const struct create_context *ctx)
{
	struct error err = {0};
	const char *name = NULL;
	json_object *body = create_request_build(task, container, ctx, &name, &err);
	assert_string_equal(err.message, "");
	assert_non_null(body);
	return body;
}

static void assert_member(json_object *object, const char *name, const char *text)
{
	json_object *value = NULL;
	bool there = json_object_object_get_ex(object, name, &value);
	if (!text) {
		assert_false(there);
		return;
	}
	assert_true(there);
	assert_string_equal(json_text(value), text);
}

static void test_recorded_web(void **state)
{
	(void)state;
	struct task *task = recorded_task();
	_cleanup_json_ json_object *body = build(task, task_container(task, "web"), &context);
	json_object *host = json_object_object_get(body, "HostConfig"),
		    *labels = json_object_object_get(body, "Labels");
	assert_member(host, "Binds",
		      "[\"ecs-lab-1-scratch-b2f8f5a0b392e59e8c01:/scratch\",\"/lab/rootfs:/hosttmp:ro\"]");
	assert_member(host, "PortBindings",
		      "{\"80/tcp\":[{\"HostPort\":\"32768\"}],\"81/udp\":[{\"HostPort\":\"18081\"}]}");
	assert_member(host, "VolumesFrom", "[]");
	assert_member(host, "CapAdd", "[]");
	assert_member(host, "CpuShares", "10");
	assert_member(host, "Memory", "67108864");
	assert_member(host, "CgroupnsMode", "\"host\"");
	assert_member(host, "IpcMode", "\"shareable\"");
	assert_member(host, "AutoRemove", "false");
	assert_member(host, "NetworkMode", NULL);
	assert_member(host, "PidMode", NULL);
	assert_member(host, "Links", NULL);
	assert_member(body, "ExposedPorts", "{\"80/tcp\":{},\"81/udp\":{}}");
	assert_member(
		body, "Env",
		"[\"A=b\",\"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/"
		"1295a26b-1757-4d20-88b1-f86e80045c9f\",\"AWS_REGION=us-west-2\",\"AWS_DEFAULT_REGION=us-west-2\"]");
	assert_member(body, "Cmd", "[\"sh\",\"-c\",\"sleep 1\"]");
	assert_member(body, "Entrypoint", NULL);
	assert_member(body, "Image", "\"busybox:test\"");
	assert_member(body, "NetworkingConfig", "{}");
	assert_member(labels, "x.y", "\"z\"");
	assert_member(labels, LABEL_TASK_ARN,
		      "\"arn:aws:ecs:us-west-2:123456789012:task/lab/3a22d23799b94aae878d0b0565cc2ace\"");
	assert_member(labels, LABEL_CONTAINER_NAME, "\"web\"");
	assert_member(labels, LABEL_FAMILY, "\"lab\"");
	assert_member(labels, LABEL_VERSION, "\"1\"");
	assert_member(labels, LABEL_CLUSTER, "\"lab\"");
	task_free(task);
}

static void test_recorded_side(void **state)
{
	(void)state;
	struct task *task = recorded_task();
	_cleanup_json_ json_object *body = build(task, task_container(task, "side"), &context);
	json_object *host = json_object_object_get(body, "HostConfig");
	assert_member(host, "Links", "[\"ecs-lab-1-web-d4acca88d583a1a7c301:web\"]");
	assert_member(host, "VolumesFrom", "[\"ecs-lab-1-web-d4acca88d583a1a7c301:ro\"]");
	assert_member(host, "Binds", "[]");
	assert_member(host, "PortBindings", "{}");
	assert_member(host, "CpuShares", "2");
	assert_member(host, "Memory", "134217728");
	task_free(task);
}

static void test_rebuild_label(void **state)
{
	(void)state;
	struct task *task = recorded_task();
	_cleanup_json_ json_object *label = rebuild_label(task, task_container(task, "side"));
	assert_member(label, "v", "1");
	assert_member(label, "essential", "false");
	assert_member(label, "sequence", "7");
	assert_member(label, "credentialsId", "\"1295a26b-1757-4d20-88b1-f86e80045c9f\"");
	assert_member(label, "executionCredentialsId", NULL);
	assert_member(label, "health", "false");
	json_object *list = json_object_object_get(label, "containers");
	assert_int_equal(json_object_array_length(list), 2);
	assert_member(json_object_array_get_idx(list, 0), "name", "\"web\"");
	assert_member(json_object_array_get_idx(list, 0), "essential", "true");
	assert_non_null(strstr(json_text(json_object_array_get_idx(list, 1)), "[\"web\",\""));
	assert_null(strstr(json_text(label), "AWS"));
	task_free(task);
}

static void test_name(void **state)
{
	(void)state;
	struct task task = {.family = "fam_1", .version = "12"};
	struct container container = {.name = "a_b-C.\xc3\xa9~9"};
	_cleanup_free_ char *name = create_request_name(&task, &container);
	assert_memory_equal(name, "ecs-fam_1-12-ab-C9-", 19);
	assert_int_equal(strlen(name), 19 + 20);
	assert_int_equal(strspn(name + 19, "0123456789abcdef"), 20);
}

static void test_resources(void **state)
{
	static const struct {
		uint32_t cpu, memory;
		const char *shares, *bytes;
	} cases[] = {
		{0, 0, "2", "0"},
		{1, 1, "2", "4194304"},
		{2, 4, "2", "4194304"},
		{1024, 5, "1024", "5242880"},
		{262145, 8192, "262144", "8589934592"},
		{UINT32_MAX, UINT32_MAX, "262144", "4503599626321920"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task task = {.arn = "a", .family = "f", .version = "1"};
		struct container container = {
			.name = "c", .image = "i", .cpu = cases[i].cpu, .memory = cases[i].memory};
		_cleanup_json_ json_object *body = build(&task, &container, &context);
		json_object *host = json_object_object_get(body, "HostConfig");
		assert_member(host, "CpuShares", cases[i].shares);
		assert_member(host, "Memory", cases[i].bytes);
	}
}

static void test_environment(void **state)
{
	(void)state;
	char *image_items[] = {"PATH=/bin", "AWS_DEFAULT_REGION=x"}, *similar_items[] = {"AWS_REGIONS=x"};
	const struct json_strings image = {image_items, 2}, similar = {similar_items, 1};
	struct json_pair own[] = {{"B", "2"}, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "mine"}, {"A", "x=y"}};
	struct json_pair region[] = {{"AWS_REGION", "eu"}};
#define ROLE "\"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/id\""
	const struct {
		struct json_map map;
		const char *credentials;
		bool role;
		const struct json_strings *image;
		const char *env;
	} cases[] = {
		{{NULL, 0}, NULL, true, NULL, "[\"AWS_REGION=r\",\"AWS_DEFAULT_REGION=r\"]"},
		{{NULL, 0}, "id", true, &image, "[" ROLE "]"},
		{{NULL, 0}, "id", false, &similar, "[\"AWS_REGION=r\",\"AWS_DEFAULT_REGION=r\"]"},
		{{own, 3}, "id", true, &image, "[\"B=2\"," ROLE ",\"A=x=y\"]"},
		{{own, 3}, NULL, true, &image, "[\"B=2\",\"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=mine\",\"A=x=y\"]"},
		{{region, 1}, NULL, true, NULL, "[\"AWS_REGION=eu\"]"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task task = {
			.arn = "a", .family = "f", .version = "1", .credentials_id = (char *)cases[i].credentials};
		struct container container = {.name = "c", .image = "i", .environment = cases[i].map};
		struct create_context ctx = {
			.cluster = "c", .region = "r", .image_env = cases[i].image, .task_iam_role = cases[i].role};
		_cleanup_json_ json_object *body = build(&task, &container, &ctx);
		assert_member(body, "Env", cases[i].env);
	}
}

static void test_namespaces(void **state)
{
	static const struct {
		const char *pid, *ipc, *payload;
		bool v2;
		const char *pid_mode, *ipc_mode, *cgroupns;
	} cases[] = {
		{NULL, NULL, NULL, false, NULL, "\"shareable\"", "\"host\""},
		{NULL, NULL, NULL, true, NULL, "\"shareable\"", NULL},
		{"host", "host", NULL, false, "\"host\"", "\"host\"", "\"host\""},
		{"", "none", NULL, false, NULL, "\"none\"", "\"host\""},
		{"task", "task", NULL, false, NULL, "\"shareable\"", "\"host\""},
		{NULL, NULL, "{\"IpcMode\":\"private\",\"CgroupnsMode\":\"private\",\"PidMode\":\"host\"}", false,
		 "\"host\"", "\"private\"", "\"private\""},
		{NULL, "host", "{\"IpcMode\":\"private\"}", true, NULL, "\"host\"", NULL},
		{NULL, NULL, "{\"IpcMode\":\"\",\"AutoRemove\":true,\"KernelMemory\":5}", true, NULL, "\"shareable\"",
		 NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task task = {.arn = "a",
				    .family = "f",
				    .version = "1",
				    .pid_mode = (char *)cases[i].pid,
				    .ipc_mode = (char *)cases[i].ipc};
		struct container container = {
			.name = "c", .image = "i", .docker_host_config = (char *)cases[i].payload};
		struct create_context ctx = context;
		ctx.cgroup_v2 = cases[i].v2;
		_cleanup_json_ json_object *body = build(&task, &container, &ctx);
		json_object *host = json_object_object_get(body, "HostConfig");
		assert_member(host, "PidMode", cases[i].pid_mode);
		assert_member(host, "IpcMode", cases[i].ipc_mode);
		assert_member(host, "CgroupnsMode", cases[i].cgroupns);
		assert_member(host, "AutoRemove", "false");
		assert_member(host, "KernelMemory", NULL);
	}
}

// The task's own cgroup always wins; without one the payload's word counts.
static void test_cgroup_parent(void **state)
{
	(void)state;
	struct task task = {.arn = "a", .family = "f", .version = "1"};
	struct container plain = {.name = "c", .image = "i"}, other = plain;
	struct create_context with = context, without = context;
	other.docker_host_config = (char *)"{\"CgroupParent\":\"/elsewhere\"}";
	with.cgroup_parent = "/ecs/0123";
	const struct {
		struct container *container;
		struct create_context *context;
		const char *parent;
	} cases[] = {{&plain, &with, "\"/ecs/0123\""},
		     {&other, &with, "\"/ecs/0123\""},
		     {&plain, &without, NULL},
		     {&other, &without, "\"/elsewhere\""}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *body = build(&task, cases[i].container, cases[i].context);
		assert_member(json_object_object_get(body, "HostConfig"), "CgroupParent", cases[i].parent);
	}
}

static void test_port_range(void **state)
{
	(void)state;
	struct port_mapping ports[] = {{.container_port_range = "100-102", .protocol = "udp"},
				       {.container_port = 80},
				       {.container_port = 80, .host_port = 8081, .protocol = "tcp"}};
	uint16_t host_ports[] = {40000, 32768, 0};
	struct task task = {.arn = "a", .family = "f", .version = "1"};
	struct container container = {
		.name = "c", .image = "i", .ports = ports, .port_count = 3, .host_ports = host_ports};
	_cleanup_json_ json_object *body = build(&task, &container, &context);
	assert_member(body, "ExposedPorts", "{\"100/udp\":{},\"101/udp\":{},\"102/udp\":{},\"80/tcp\":{}}");
	assert_member(json_object_object_get(body, "HostConfig"), "PortBindings",
		      "{\"100/udp\":[{\"HostPort\":\"40000\"}],\"101/udp\":[{\"HostPort\":\"40001\"}],\"102/udp\":[{"
		      "\"HostPort\":\"40002\"}],\"80/tcp\":[{\"HostPort\":\"32768\"},{\"HostPort\":\"8081\"}]}");
}

static void test_overlay_and_entry_point(void **state)
{
	(void)state;
	char *none[] = {NULL};
	struct json_pair env[] = {{"A", "1"}};
	struct task task = {.arn = "a", .family = "f", .version = "1"};
	struct container container = {
		.name = "c",
		.image = "i",
		.entry_point = {none, 0},
		.environment = {env, 1},
		.health_check_docker = true,
		.docker_config =
			"{\"Env\":[\"B=2\"],\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"]},\"Labels\":{\"" LABEL_CLUSTER
			"\":\"mine\"}}",
		.docker_host_config = "{\"NetworkMode\":\"host\",\"memory\":9,\"CpuShares\":null}",
	};
	_cleanup_json_ json_object *body = build(&task, &container, &context);
	json_object *host = json_object_object_get(body, "HostConfig");
	assert_member(body, "Env", "[\"B=2\"]");
	assert_member(body, "Entrypoint", "[]");
	assert_member(body, "Cmd", NULL);
	assert_member(host, "NetworkMode", "\"host\"");
	assert_member(host, "Memory", "9");
	assert_member(host, "CpuShares", "2");
	assert_member(json_object_object_get(body, "Labels"), LABEL_CLUSTER, "\"lab\"");
}

static void test_errors(void **state)
{
	(void)state;
	char *two_colons[] = {"a:b:c"}, *unknown[] = {"nobody:x"}, *not_created[] = {"other"};
	struct volume volumes[] = {{.name = "v", .type = "host", .has_host = true}};
	struct mount_point no_volume[] = {{.source_volume = "nope", .container_path = "/x"}},
			   no_source[] = {{.source_volume = "v", .container_path = "/x"}};
	struct volumes_from from[] = {{.source_container = "ghost"}};
	struct port_mapping port[] = {{.container_port = 80, .protocol = "tcp"}};
	const struct {
		struct container container;
		const char *name, *text;
	} cases[] = {
		{{.links = {two_colons, 1}}, "HostConfigError", "Invalid link format"},
		{{.links = {unknown, 1}}, "HostConfigError", "Link target not available: nobody"},
		{{.links = {not_created, 1}}, "HostConfigError", "Link target not available: other"},
		{{.volumes_from = from, .volumes_from_count = 1},
		 "HostConfigError",
		 "Volume target not available: ghost"},
		{{.mounts = no_volume, .mount_count = 1}, "HostConfigError", "Invalid volume referenced: nope"},
		{{.mounts = no_source, .mount_count = 1},
		 "HostConfigError",
		 "Unable to resolve volume mounts; invalid path: c v;  -> /x"},
		{{.ports = port, .port_count = 1},
		 "HostConfigError",
		 "error retrieving docker port map: a host port is unavailable"},
		{{.docker_host_config = "{not json"},
		 "HostConfigError",
		 "Unable to decode given host config: invalid character 'n' looking for beginning of object key "
		 "string"},
		{{.docker_config = "[1"},
		 "DockerClientConfigError",
		 "Unable decode given docker config: unexpected end of JSON input"},
		{{.health_check_docker = true, .docker_config = "{\"Healthcheck\":null}"},
		 "DockerClientConfigError",
		 "docker health check is nil while container health check type is DOCKER"},
	};
	struct container others[] = {{.name = "other"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task task = {.arn = "a",
				    .family = "f",
				    .version = "1",
				    .volumes = volumes,
				    .volume_count = 1,
				    .containers = others,
				    .container_count = 1};
		struct container container = cases[i].container;
		container.name = "c";
		container.image = "i";
		struct error err = {0};
		const char *name = NULL;
		assert_null(create_request_build(&task, &container, &context, &name, &err));
		assert_string_equal(name, cases[i].name);
		assert_string_equal(err.message, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_web),  cmocka_unit_test(test_recorded_side),
		cmocka_unit_test(test_rebuild_label), cmocka_unit_test(test_name),
		cmocka_unit_test(test_resources),     cmocka_unit_test(test_environment),
		cmocka_unit_test(test_cgroup_parent), cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_port_range),    cmocka_unit_test(test_overlay_and_entry_point),
		cmocka_unit_test(test_errors),
	};
	return cmocka_run_group_tests_name("docker create request", tests, NULL, NULL);
}
