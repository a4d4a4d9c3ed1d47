// A task object of a payload: decoded, stored and decoded again, made into create requests.
#include "docker/create_request.h"
#include "engine/admit.h"
#include "engine/dependency.h"
#include "engine/task.h"
#include "fuzz.h"

static void build_requests(struct task *task)
{
	struct json_strings image_env = {.items = (char *[]){"PATH=/bin", "AWS_REGION"}, .count = 2};
	struct create_context context = {.cluster = "lab", .region = "us-west-2", .task_iam_role = true};
	str_replace(&task->credentials_id, "1295a26b-1757-4d20-88b1-f86e80045c9f");
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		c->docker_name = create_request_name(task, c);
		for (size_t k = 0; k < c->port_count; k++)
			if (!c->host_ports[k])
				c->host_ports[k] = 32768;
	}
	for (size_t i = 0; i < task->container_count; i++) {
		struct error err = {0};
		const char *name = NULL;
		context.image_env = i % 2 ? &image_env : NULL;
		context.cgroup_v2 = i % 2;
		_cleanup_json_ json_object *body =
			create_request_build(task, &task->containers[i], &context, &name, &err);
		if (!body) {
			CHECK(name);
			check_reason(err.message);
			continue;
		}
		const char *text = json_text(body);
		CHECK(is_utf8(text));
		CHECK(json_object_is_type(json_get(body, "HostConfig"), json_type_object));
		json_object *labels = json_get(body, "Labels");
		CHECK(str_equal(json_get_string(labels, LABEL_TASK_ARN), task->arn));
		const char *label = json_get_string(labels, LABEL_ECSD);
		_cleanup_json_ json_object *parsed = label ? json_parse(label, strlen(label), NULL) : NULL;
		CHECK(parsed);
	}
}

static void check_accepted(struct task *task)
{
	struct error err = {0};
	CHECK(str_starts(task->arn, "arn:") && str_ends(task->arn, task->id));
	CHECK(dependency_resolvable(task));
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		CHECK(task_container(task, c->name) == c);
		int64_t wake = 0;
		_cleanup_free_ char *text = NULL;
		c->known = CONTAINER_PULLED;
		dependency_check(task, c, 1, 1.0, &wake, &text);
		CHECK(dependency_may_stop(task, c) || task->container_count > 1);
	}
	struct host_need need;
	admit_need(task, &need);
	CHECK(need.cpu >= 0 && need.memory_mib >= 0);
	for (size_t i = 0; i < need.port_count; i++)
		CHECK(need.ports[i].port > 0);
	free(need.ports);
	// As the store does it.
	const char *stored = json_text(task->definition);
	CHECK(!json_get(task->definition, "roleCredentials") &&
	      !json_get(task->definition, "executionRoleCredentials"));
	_cleanup_json_ json_object *object = json_parse(stored, strlen(stored), &err);
	_cleanup_free_ char *reason = NULL;
	struct task *again = NULL;
	CHECK(object);
	CHECK(task_decode(object, false, &again, &reason) == TASK_ACCEPTED);
	CHECK(again->container_count == task->container_count && str_equal(again->arn, task->arn));
	CHECK(json_object_equal(again->definition, task->definition));
	task_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_bytes(data, size);
	_cleanup_json_ json_object *object = json_parse(text, size, NULL);
	_cleanup_free_ char *reason = NULL;
	struct task *task = NULL;
	if (!json_object_is_type(object, json_type_object))
		return 0;
	task_decode_arn(object);
	if (task_decode(object, false, &task, &reason) != TASK_ACCEPTED) {
		CHECK(!task);
		check_reason(reason);
		return 0;
	}
	CHECK(task && !reason);
	check_accepted(task);
	build_requests(task);
	task_free(task);
	return 0;
}
