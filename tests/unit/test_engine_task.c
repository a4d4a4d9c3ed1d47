// task_decode(): what a payload's task becomes, and the exact reasons of refusals.
#include "engine/task_cgroup.h"

#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARN "arn:aws:ecs:us-west-2:123456789012:task/lab/0123"

static bool limits = true;

static enum task_refusal decode(const char *text, struct task **task, char **reason)
{
	struct error err = {0};
	json_object *object = json_parse(text, strlen(text), &err);
	if (!object)
		fail_msg("%s: %s", text, err.message);
	enum task_refusal refusal = task_decode(object, limits, task, reason);
	json_object_put(object);
	return refusal;
}

static void test_whole_task(void **state)
{
	(void)state;
	struct task *task;
	char *reason;
	enum task_refusal refusal = decode(
		"{\"arn\":\"" ARN
		"\",\"family\":\"f\",\"version\":\"7\",\"desiredStatus\":\"RUNNING\",\"cpu\":0.5,\"memory\":256,"
		"\"networkMode\":\"bridge\",\"roleCredentials\":{\"credentialsId\":\"id\",\"secretAccessKey\":"
		"\"verySecret\"},"
		"\"volumes\":[{\"name\":\"v\",\"host\":{}},{\"name\":\"w\",\"host\":{\"sourcePath\":\"/x\"}}],"
		"\"containers\":[{\"name\":\"web\",\"image\":\"busybox\",\"CPU\":10,\"memory\":64,\"essential\":true,"
		"\"command\":[\"a\",\"b\"],\"environment\":{\"A\":\"b\"},\"portMappings\":[{\"containerPort\":80,"
		"\"hostPort\":0}],"
		"\"mountPoints\":[{\"sourceVolume\":\"v\",\"containerPath\":\"/"
		"v\",\"readOnly\":true}],\"healthCheckType\":\"docker\","
		"\"stopTimeout\":5,\"overrides\":\"{\\\"command\\\":[\\\"c\\\"]}\","
		"\"dockerConfig\":{\"version\":\"1.21\",\"config\":\"{}\",\"hostConfig\":\"{}\"}},"
		"{\"name\":\"side\",\"image\":\"busybox\",\"links\":[\"web:w\"],\"volumesFrom\":[{\"sourceContainer\":"
		"\"web\"}],"
		"\"dependsOn\":[{\"containerName\":\"web\",\"condition\":\"HEALTHY\"}]}]}",
		&task, &reason);
	assert_int_equal(refusal, TASK_ACCEPTED);
	assert_string_equal(task->id, "0123");
	assert_int_equal(task->desired, TASK_RUNNING);
	assert_int_equal(task->volume_count, 2);
	struct container *web = task_container(task, "web"), *side = task_container(task, "side");
	assert_int_equal(web->cpu, 10);
	assert_int_equal(web->command.count, 1);
	assert_string_equal(web->command.items[0], "c");
	assert_string_equal(json_map_get(&web->environment, "A"), "b");
	assert_string_equal(web->ports[0].protocol, "tcp");
	assert_true(web->health_check_docker && web->essential && !side->essential);
	assert_int_equal(web->desired, CONTAINER_RUNNING);
	assert_int_equal(side->depends_on_count, 3);
	assert_int_equal(side->depends_on[0].condition, DEPENDS_HEALTHY);
	assert_int_equal(side->depends_on[1].condition, DEPENDS_CREATE);
	assert_int_equal(side->depends_on[2].condition, DEPENDS_START);
	assert_null(strstr(json_text(task->definition), "verySecret"));
	assert_null(strstr(json_text(task->definition), "roleCredentials"));
	task_free(task);
}

struct refusal_case {
	const char *task;
	enum task_refusal refusal;
	const char *reason;
};

#define HEAD "{\"arn\":\"" ARN "\",\"containers\":["
#define PREPARE "resource cannot be initialized for task " ARN ": "

static void test_refusals(void **state)
{
	(void)state;
	static const struct refusal_case cases[] = {
		{HEAD "{\"name\":\"m\",\"memory\":-5}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - json: cannot unmarshal number -5 into Go struct field "
		 "Container.Containers.Memory of type uint"},
		{"{\"arn\":\"" ARN "\",\"desiredStatus\":\"SLEEPING\"}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - Unrecognized TaskStatus"},
		{"{\"arn\":\"" ARN "\",\"desiredStatus\":7}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - TaskStatus must be a string or null"},
		{HEAD "{\"name\":\"m\",\"portMappings\":[{\"containerPort\":1,\"protocol\":\"sctp\"}]}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - TransportProtocol must be \"tcp\" or \"udp\"; Got "
		 "\"sctp\""},
		{"{\"arn\":\"" ARN "\",\"volumes\":[{\"host\":{}}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - invalid Volume; must include a name"},
		{"{\"arn\":\"" ARN "\",\"volumes\":[{\"name\":\"v\",\"type\":\"ebs\"}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - unrecognized volume type: \"ebs\""},
		{"{\"arn\":\"" ARN "\",\"volumes\":[{\"name\":\"v\"}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - invalid volume: empty volume configuration"},
		{"{\"arn\":\"" ARN "\",\"proxyConfiguration\":{\"type\":\"ENVOY\"}}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - agent does not support proxy type other than app mesh"},
		{HEAD "{\"name\":\"m\",\"overrides\":\"{\\\"cpu\\\":1}\"}]}", TASK_INVALID,
		 "UnrecogniedTaskError: Error loading task - Multiple error:\n\t0: Could not unmarshal "
		 "ContainerOverrides in any supported way\n"
		 "\t1: json: cannot unmarshal string into Go value of type container.ContainerOverridesCopy\n"
		 "\t2: Multiple error:\n\t0: Error unmarshalling ContainerOverrides\n\t1: Unrecognized key: cpu"},
		{"{}", TASK_UNPREPARED,
		 "resource cannot be initialized for task : cgroup resource: unable to determine cgroup root for task: "
		 "arn: invalid prefix"},
		{"{\"arn\":\"x\"}", TASK_UNPREPARED,
		 "resource cannot be initialized for task x: cgroup resource: unable to determine cgroup root for "
		 "task: arn: invalid prefix"},
		{HEAD "{\"name\":\"m\",\"volumesFrom\":[{\"sourceContainer\":\"nope\"}]}]}", TASK_UNPREPARED,
		 PREPARE "could not find volume source container with name nope"},
		{HEAD "{\"name\":\"m\",\"links\":[\"nope:alias\"]}]}", TASK_UNPREPARED,
		 PREPARE "could not find container for link nope:alias"},
		{HEAD "{\"name\":\"m\",\"links\":[\"a:b:c\"]}]}", TASK_UNPREPARED, PREPARE "invalid link format"},
		{HEAD "{\"name\":\"m\",\"dependsOn\":[{\"containerName\":\"m\",\"condition\":\"START\"}]}]}",
		 TASK_UNRESOLVED, "Task dependencies cannot be resolved, taskArn: " ARN},
		{HEAD "{\"name\":\"m\",\"secrets\":[{}]}]}", TASK_UNPREPARED,
		 PREPARE "secrets of container m: not supported by this version of ecsd"},
		{"{\"arn\":\"" ARN "\",\"networkMode\":\"awsvpc\"}", TASK_UNPREPARED,
		 PREPARE "network mode awsvpc: not supported by this version of ecsd"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task *task;
		char *reason;
		assert_int_equal(decode(cases[i].task, &task, &reason), cases[i].refusal);
		assert_null(task);
		assert_string_equal(reason, cases[i].reason);
		free(reason);
	}
}

static void test_memory_of_task_and_container(void **state)
{
	static const struct {
		bool limits;
		const char *memory;
		const char *reason; // NULL: accepted
	} cases[] = {
		{true, "\"memory\":64",
		 PREPARE "cgroup resource: unable to build resource spec for task: task memory "
			 "spec builder: container memory limit(65) greater than task memory limit(64)"},
		{true, "\"memory\":65", NULL},
		{true, "\"memory\":0", NULL},
		{true, "\"cpu\":1", NULL},
		{false, "\"memory\":64", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task *task;
		char *reason;
		_cleanup_free_ char *text =
			xasprintf("{\"arn\":\"" ARN "\",%s,\"containers\":[{\"name\":\"s\",\"memory\":0},"
				  "{\"name\":\"m\",\"memory\":65}]}",
				  cases[i].memory);
		limits = cases[i].limits;
		enum task_refusal refusal = decode(text, &task, &reason);
		limits = true;
		assert_int_equal(refusal, cases[i].reason ? TASK_UNPREPARED : TASK_ACCEPTED);
		if (cases[i].reason)
			assert_string_equal(reason, cases[i].reason);
		free(reason);
		task_free(task);
	}
}

static void test_limits_of_a_task(void **state)
{
	struct container containers[] = {{.cpu = 0}, {.cpu = 512}};
	struct task task = {.containers = containers, .container_count = 2};
	(void)state;
	struct cgroup_limits found = task_limits(&task, 100000, 0);
	assert_int_equal(found.cpu_shares, 514);
	assert_true(found.cpu_quota_us == 0 && found.cpu_period_us == 0 && found.memory_bytes == 0 && found.pids == 0);
	task.cpu = 0.25;
	task.memory = 64;
	found = task_limits(&task, 50000, 20);
	assert_int_equal(found.cpu_shares, 0);
	assert_int_equal(found.cpu_quota_us, 12500);
	assert_int_equal(found.cpu_period_us, 50000);
	assert_int_equal(found.memory_bytes, 67108864);
	assert_int_equal(found.pids, 20);
}

static void test_unknown_and_null_members(void **state)
{
	(void)state;
	struct task *task;
	char *reason;
	assert_int_equal(
		decode("{\"ARN\":\"" ARN
		       "\",\"future\":{\"x\":[1]},\"cpu\":null,\"containers\":[{\"Name\":\"m\",\"command\":null}]}",
		       &task, &reason),
		TASK_ACCEPTED);
	assert_string_equal(task->containers[0].name, "m");
	task_free(task);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_task),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_memory_of_task_and_container),
		cmocka_unit_test(test_limits_of_a_task),
		cmocka_unit_test(test_unknown_and_null_members),
	};
	return cmocka_run_group_tests_name("engine: task", tests, NULL, NULL);
}
