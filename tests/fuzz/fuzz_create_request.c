// The JSON in a task payload's strings, all the way: dockerConfig.config, dockerConfig.hostConfig and overrides become a
// create request, a stored task and the document of /v1/tasks. Input: three lines with those texts, then the members of the
// container as JSON.
#include "docker/create_request.h"
#include "docker/log_config.h"
#include "engine/introspect.h"
#include "engine/task.h"
#include "fuzz.h"

static json_object *make_payload(char *const text[3], json_object *container)
{
	json_object *task = json_object_new_object(), *list = json_object_new_array(), *config;
	json_add_string(task, "arn", "arn:aws:ecs:us-west-2:123456789012:task/lab/1");
	json_add_string(task, "family", "lab");
	json_add_string(task, "version", "1");
	json_add_string(task, "desiredStatus", "RUNNING");
	if (!json_get(container, "name"))
		json_add_string(container, "name", "main");
	if (!json_get(container, "image"))
		json_add_string(container, "image", "busybox");
	if (!json_get(container, "essential"))
		json_add(container, "essential", json_object_new_boolean(true));
	config = json_object_new_object();
	if (*text[0])
		json_add_string(config, "config", text[0]);
	if (*text[1])
		json_add_string(config, "hostConfig", text[1]);
	json_add(container, "dockerConfig", config);
	if (*text[2])
		json_add_string(container, "overrides", text[2]);
	json_object_array_add(list, json_object_get(container));
	json_add(task, "containers", list);
	return task;
}

static void check_json(const char *text)
{
	struct error err = {0};
	CHECK(is_utf8(text));
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), &err);
	CHECK(json_object_is_type(object, json_type_object));
}

// Hostile names and times of Docker's, too.
static void check_document(struct task *task, const char *hostile)
{
	struct container *c = &task->containers[0];
	if (!is_utf8(hostile))
		return;
	str_replace(&c->docker_id, hostile);
	str_replace(&c->image_id, hostile);
	str_replace(&c->created_text, hostile);
	str_replace(&c->started_text, "2026-01-01T00:00:00.120000000Z");
	_cleanup_free_ char *document = introspect_task(task);
	check_json(document);
	CHECK(!strpbrk(document, "<>&"));
}

// Who takes the log: no driver of Docker's while ecs-logd is there, and none gets what is ecs-logd's alone.
static void check_log(json_object *host, bool native)
{
	static const char *const drivers[] = {"awslogs", "fluentd", "syslog"};
	json_object *config = json_get(host, "LogConfig"), *options = json_get(config, "Config");
	const char *type = json_get_string(config, "Type");
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (native)
			CHECK(!str_equal(type, drivers[i]));
		else if (str_equal(type, drivers[i]))
			CHECK(!json_object_object_get(options, LOG_OPTION_DRIVER));
	}
}

static void check_request(struct task *task, bool cgroup_v2)
{
	struct json_strings image_env = {.items = (char *[]){"PATH=/bin", "AWS_REGION", "=", "A=b=c"}, .count = 4};
	struct create_context context = {.cluster = "lab",
					 .region = "us-west-2",
					 .task_iam_role = true,
					 .image_env = &image_env,
					 .cgroup_v2 = cgroup_v2,
					 .native_logging = cgroup_v2 ? ~0u : 0,
					 .cgroup_parent = cgroup_v2 ? "/ecs/1" : NULL};
	struct container *c = &task->containers[0];
	struct error err = {0};
	const char *name = NULL;
	_cleanup_json_ json_object *body = create_request_build(task, c, &context, &name, &err);
	if (!body) {
		CHECK(name);
		check_reason(err.message);
		return;
	}
	check_json(json_text(body));
	json_object *host = json_get(body, "HostConfig");
	CHECK(json_object_is_type(host, json_type_object));
	if (cgroup_v2)
		CHECK(str_equal(json_get_string(host, "CgroupParent"), "/ecs/1"));
	check_log(host, cgroup_v2);
	// The same task makes the same request.
	_cleanup_json_ json_object *again = create_request_build(task, c, &context, &name, &err);
	CHECK(again && json_object_equal(body, again));
	json_object *labels = json_get(body, "Labels");
	CHECK(str_equal(json_get_string(labels, LABEL_TASK_ARN), task->arn));
	CHECK(str_equal(json_get_string(labels, LABEL_CONTAINER_NAME), c->name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size), *reason = NULL;
	char *rest = input, *text[3];
	struct task *task = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(text); i++)
		text[i] = rest ? strsep(&rest, "\n") : (char *)"";
	json_object *container = rest ? json_parse(rest, strlen(rest), NULL) : NULL;
	if (!json_object_is_type(container, json_type_object)) {
		json_object_put(container);
		container = json_object_new_object();
	}
	_cleanup_json_ json_object *payload = make_payload(text, container);
	json_object_put(container);
	if (task_decode(payload, false, &task, &reason) != TASK_ACCEPTED) {
		CHECK(!task);
		check_reason(reason);
		return 0;
	}
	struct container *c = &task->containers[0];
	c->docker_name = create_request_name(task, c);
	for (size_t i = 0; i < c->port_count; i++)
		if (!c->host_ports[i])
			c->host_ports[i] = 32768;
	str_replace(&task->credentials_id, "1295a26b-1757-4d20-88b1-f86e80045c9f");
	check_request(task, false);
	check_request(task, true);
	check_document(task, text[0]);
	task_free(task);
	return 0;
}
