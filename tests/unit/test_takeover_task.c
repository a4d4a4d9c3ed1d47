// What the official agent's saved state becomes: definitions, facts, and what ECS has not been told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "engine/store.h"
#include "takeover/official_state.h"

#define ARN "arn:aws:ecs:us-west-2:123456789012:task/lab/0123"
#define CONTAINER(name, more)                                                                            \
	"{\"Name\":\"" name "\",\"Image\":\"busybox\",\"Essential\":true,\"desiredStatus\":\"RUNNING\"," \
	"\"KnownStatus\":\"RUNNING\",\"SentStatus\":\"RUNNING\",\"IsInternal\":\"NORMAL\"" more "}"
#define TASK(members, containers)                                                                                \
	"{\"Arn\":\"" ARN "\",\"Family\":\"f\",\"Version\":\"7\",\"DesiredStatus\":\"RUNNING\",\"KnownStatus\":" \
	"\"RUNNING\",\"SentStatus\":\"RUNNING\"" members ",\"Containers\":[" containers "]}"
#define PAUSE                                                                                                   \
	"{\"Name\":\"~internal~ecs~pause\",\"Image\":\"amazon/amazon-ecs-pause:0.1.0\",\"Essential\":true,"     \
	"\"desiredStatus\":\"RESOURCES_PROVISIONED\",\"KnownStatus\":\"RESOURCES_PROVISIONED\",\"IsInternal\":" \
	"\"CNI_PAUSE\",\"RuntimeID\":\"pp\"}"

static json_object *parse(const char *text)
{
	struct error err = {0};
	json_object *object = json_parse(text, strlen(text), &err);
	if (!object)
		fail_msg("%s: %s", text, err.message);
	return object;
}

static json_object *record_of(const char *key, void *arg) // arg: an object of records by key
{
	return arg ? json_get(arg, key) : NULL;
}

static int read_task(const char *text, const char *records, struct official_task *task, struct error *err)
{
	_cleanup_json_ json_object *object = parse(text);
	_cleanup_json_ json_object *containers = records ? parse(records) : NULL;
	return official_task_read(object, record_of, containers, NULL, task, err);
}

static struct official_task read_good(const char *text, const char *records)
{
	struct official_task task;
	struct error err = {0};
	if (read_task(text, records, &task, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return task;
}

static int add_line(struct transition *t, void *arg)
{
	buf_printf(arg, "%s%s=%s", ((struct buf *)arg)->len ? " " : "", t->container ? t->container : "task",
		   t->container ? container_status_name((enum container_status)t->status)
				: task_status_name((enum task_status)t->status));
	if (t->has_exit_code)
		buf_printf(arg, "(%d)", t->exit_code);
	if (t->reason)
		buf_printf(arg, "[%s]", t->reason);
	return 0;
}

static char *unsent(const struct official_task *task)
{
	struct buf out = {0};
	assert_int_equal(official_task_unsent(task, add_line, &out), 0);
	return buf_take(&out);
}

// --- a task that ecsd could have launched ---

static void test_facts(void **state)
{
	(void)state;
	struct official_task official = read_good(
		TASK(",\"ENI\":[],\"Cpu\":0.5,\"Memory\":256,\"KnownTime\":\"2026-11-23T00:18:32.5Z\","
		     "\"PullStartedAt\":"
		     "\"2026-11-23T00:18:30Z\",\"PullStoppedAt\":\"0001-01-01T00:00:00Z\",\"MemoryCPULimitsEnabled\":"
		     "true,"
		     "\"credentialsID\":\"role\",\"executionCredentialsID\":\"\",\"NetworkMode\":\"bridge\","
		     "\"ServiceConnectConfig\":{\"containerName\":\"service-connect\"},\"volumes\":[{\"name\":\"v\","
		     "\"type\":"
		     "\"host\",\"host\":{\"hostPath\":\"ecs-f-7-v-00\"}},{\"name\":\"w\",\"type\":\"host\",\"host\":{"
		     "\"sourcePath\":\"/w\"}}]",
		     "{\"Name\":\"web\"}"),
		"{\"0123-web\":{\"DockerId\":\"dd\",\"DockerName\":\"ecs-f-7-web-00\",\"Container\":" CONTAINER(
			"web",
			",\"StopTimeout\":5,\"ImageID\":\"sha256:1\",\"ImageDigest\":\"\",\"KnownExitCode\":null,"
			"\"startedAt\":\"2026-11-23T00:18:31Z\",\"environment\":{\"A\":\"b\",\"ECS_AGENT_URI\":\"x\","
			"\"ECS_CONTAINER_METADATA_URI\":\"x\",\"ECS_CONTAINER_METADATA_URI_V4\":\"x\"},"
			"\"overrides\":{\"command\":null},\"ApplyingError\":{\"name\":\"E\",\"error\":\"text\"},"
			"\"portMappings\":[{\"ContainerPort\":80,\"HostPort\":0,\"Protocol\":\"tcp\","
			"\"ContainerPortRange\":\"\"}],\"mountPoints\":[{\"sourceVolume\":\"v\",\"containerPath\":"
			"\"/v\"}],\"KnownPortBindings\":[{\"ContainerPort\":80,\"HostPort\":32768,\"BindIp\":"
			"\"0.0.0.0\",\"Protocol\":\"tcp\"}]") "}}");
	struct task *task = official.task;
	assert_string_equal(task->id, "0123");
	assert_true(task->known == TASK_RUNNING && task->desired == TASK_RUNNING && task->in_cgroup);
	assert_null(task->watch_only);
	assert_true(task->cpu > 0.4 && task->memory == 256);
	int64_t known_ms;
	parse_rfc3339("2026-11-23T00:18:32.5Z", &known_ms);
	assert_int_equal(task->known_ms, known_ms);
	assert_int_equal(task->pull_started_ms, known_ms - 2500);
	assert_int_equal(task->pull_stopped_ms, 0);
	assert_string_equal(task->credentials_id, "role");
	assert_null(task->execution_credentials_id);
	assert_string_equal(task->volumes[0].docker_name, "ecs-f-7-v-00");
	assert_null(task->volumes[1].docker_name);
	const struct container *web = &task->containers[0];
	assert_string_equal(web->docker_id, "dd");
	assert_string_equal(web->docker_name, "ecs-f-7-web-00");
	assert_true(web->known == CONTAINER_RUNNING && web->desired == CONTAINER_RUNNING && web->stop_timeout_s == 5);
	assert_string_equal(web->image_id, "sha256:1");
	assert_null(web->image_digest);
	assert_false(web->has_exit_code || web->internal);
	assert_int_equal(web->started_ms, 0); // official_task.c says why
	assert_string_equal(web->error.name, "E");
	assert_int_equal(web->binding_count, 1);
	assert_int_equal(web->host_ports[0], 32768);
	assert_int_equal(web->environment.count, 1);
	assert_string_equal(json_map_get(&web->environment, "A"), "b");
	_cleanup_free_ char *text = unsent(&official);
	assert_string_equal(text, "");
	official_task_free(&official);
}

static void test_old_files(void **state)
{
	(void)state;
	struct official_task official = read_good(
		"{\"Arn\":\"" ARN "\",\"DesiredStatus\":\"DEAD\",\"KnownStatus\":\"UNKNOWN\",\"SentStatus\":null,"
		"\"Containers\":[{\"Name\":\"a\",\"KnownStatus\":\"UNKNOWN\",\"desiredStatus\":\"RUNNING\","
		"\"IsInternal\":false},{\"Name\":\"b\",\"KnownStatus\":\"DEAD\",\"IsInternal\":true}]}",
		NULL);
	assert_true(official.task->known == TASK_NONE && official.task->desired == TASK_STOPPED);
	assert_true(official.task->containers[0].known == CONTAINER_NONE);
	assert_true(official.task->containers[0].desired == CONTAINER_STOPPED); // as its task
	assert_true(official.task->containers[1].known == CONTAINER_STOPPED && official.task->containers[1].internal);
	official_task_free(&official);
}

// --- what ECS has not been told ---

static void test_unsent(void **state)
{
	(void)state;
#define STATES(known, sent, more) ",\"KnownStatus\":\"" known "\",\"SentStatus\":\"" sent "\"" more
#define ONE(known, sent, container_known, container_sent, more)                                         \
	"{\"Arn\":\"" ARN "\",\"DesiredStatus\":\"RUNNING\"" STATES(                                    \
		known, sent, "") ",\"Containers\":[{\"Name\":"                                          \
				 "\"m\",\"Image\":\"busybox\",\"Essential\":true,\"RuntimeID\":\"dd\"," \
				 "\"desiredStatus\":\"RUNNING\"" STATES(container_known, container_sent, more) "}]}"
	static const struct {
		const char *what, *record, *unsent;
	} cases[] = {
		{"all told", ONE("RUNNING", "RUNNING", "RUNNING", "RUNNING", ""), ""},
		{"nothing told", ONE("RUNNING", "NONE", "RUNNING", "NONE", ""), "m=RUNNING task=RUNNING"},
		{"the container only", ONE("RUNNING", "RUNNING", "STOPPED", "RUNNING", ",\"KnownExitCode\":3"),
		 "m=STOPPED(3)"},
		{"an end", ONE("STOPPED", "RUNNING", "STOPPED", "RUNNING", ",\"KnownExitCode\":137"),
		 "m=STOPPED(137) task=STOPPED"},
		{"an end with an error",
		 ONE("STOPPED", "NONE", "STOPPED", "NONE",
		     ",\"ApplyingError\":{\"name\":\"OutOfMemoryError\",\"error\":\"too much\"}"),
		 "m=STOPPED[OutOfMemoryError: too much] task=STOPPED"},
		{"a container whose task was told STOPPED", ONE("STOPPED", "STOPPED", "STOPPED", "RUNNING", ""), ""},
		{"a pull without a digest", ONE("MANIFEST_PULLED", "NONE", "MANIFEST_PULLED", "NONE", ""), ""},
		{"a pull with one",
		 ONE("MANIFEST_PULLED", "NONE", "MANIFEST_PULLED", "NONE", ",\"ImageDigest\":\"sha256:2\""),
		 "m=MANIFEST_PULLED task=MANIFEST_PULLED"},
		{"what ECS is not told", ONE("CREATED", "NONE", "CREATED", "NONE", ""), ""},
		{"a pause container", TASK("", CONTAINER("m", ",\"RuntimeID\":\"dd\"") "," PAUSE), ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct official_task official = read_good(cases[i].record, NULL);
		_cleanup_free_ char *text = unsent(&official);
		if (!str_equal(text, cases[i].unsent))
			fail_msg("%s: %s", cases[i].what, text);
		official_task_free(&official);
	}
}

// A container that was made, and of which nothing is known any more.
static void test_without_docker_id(void **state)
{
	(void)state;
	struct official_task official = read_good(TASK("", CONTAINER("m", "")), NULL);
	const struct container *c = &official.task->containers[0];
	assert_true(c->known == CONTAINER_STOPPED && str_equal(c->error.name, "ContainerVanishedError"));
	_cleanup_free_ char *text = unsent(&official);
	assert_string_equal(text, "m=STOPPED[ContainerVanishedError: No container matching saved ID found]");
	official_task_free(&official);
}

// --- features ---

static void test_watch_only(void **state)
{
	(void)state;
#define ID ",\"RuntimeID\":\"dd\""
	static const struct {
		const char *record, *feature;
	} cases[] = {
		{TASK(",\"NetworkMode\":\"awsvpc\",\"ENI\":[{\"ec2Id\":\"eni-1\"}]", CONTAINER("m", ID) "," PAUSE),
		 "network mode awsvpc"},
		{TASK(",\"ENI\":{\"ec2Id\":\"eni-1\"}", CONTAINER("m", ID)), "network mode awsvpc"},
		{TASK(",\"PidMode\":\"task\"", CONTAINER("m", ID)), "pidMode task"},
		{TASK(",\"AppMesh\":{\"ContainerName\":\"envoy\"}", CONTAINER("m", ID)),
		 "App Mesh (proxyConfiguration)"},
		{TASK(",\"ServiceConnectConfig\":{\"containerName\":\"m\"}", CONTAINER("m", ID)), "Service Connect"},
		{TASK(",\"associations\":[{\"type\":\"gpu\"}]", CONTAINER("m", ID)),
		 "associations (GPU, elastic inference)"},
		{TASK(",\"volumes\":[{\"name\":\"e\",\"type\":\"efs\",\"efsVolumeConfiguration\":{}}]",
		      CONTAINER("m", ID)),
		 "volumes other than host volumes"},
		{TASK(",\"volumes\":[{\"name\":\"e\",\"type\":\"amazonebs\",\"ebsVolumeConfiguration\":{}}]",
		      CONTAINER("m", ID)),
		 "volumes other than host volumes"},
		{TASK("", CONTAINER("m", ID ",\"secrets\":[{\"name\":\"S\"}]")), "secrets of container m"},
		{TASK("", CONTAINER("m", ID ",\"environmentFiles\":[{\"value\":\"S\"}]")),
		 "environmentFiles of container m"},
		{TASK("", CONTAINER("m", ID ",\"managedAgents\":[{\"name\":\"ExecuteCommandAgent\"}]")),
		 "ECS Exec (managedAgents) of container m"},
		{TASK("", CONTAINER("m", ID ",\"firelensConfiguration\":{\"type\":\"fluentbit\"}")),
		 "FireLens (firelensConfiguration) of container m"},
		{TASK("", CONTAINER("m", ID ",\"restartPolicy\":{\"enabled\":true}")), "restartPolicy of container m"},
		{TASK("",
		      CONTAINER("m", ID ",\"portMappings\":[{\"ContainerPortRange\":\"1-2\",\"Protocol\":\"tcp\"}]")),
		 "containerPortRange of container m"},
		{TASK("", CONTAINER("m", ID ",\"credentialSpecs\":[\"x\"]")), "gMSA (credentialSpecs) of container m"},
		{TASK("", CONTAINER("m", ID) "," PAUSE), "containers that the official agent made itself"},
		{TASK("", CONTAINER("m", ID ",\"dependsOn\":[{\"containerName\":\"no\",\"condition\":\"START\"}]")),
		 "Task dependencies cannot be resolved, taskArn: " ARN},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct official_task official = read_good(cases[i].record, NULL);
		if (!str_equal(official.task->watch_only, cases[i].feature))
			fail_msg("%s: %s", cases[i].record,
				 official.task->watch_only ? official.task->watch_only : "(none)");
		assert_true(official.task->containers[0].known == CONTAINER_RUNNING);
		official_task_free(&official);
	}
}

// Values of secrets that the official agent has saved are not kept, and pause containers stop last.
static void test_watched_definition(void **state)
{
	(void)state;
	struct official_task official = read_good(
		TASK(",\"NetworkMode\":\"awsvpc\",\"ENI\":[{\"ec2Id\":\"eni-1\"}],\"resources\":{"
		     "\"dockerVolume\":[{\"name\":"
		     "\"e\",\"dockerVolumeConfiguration\":{\"scope\":\"task\",\"driver\":\"amazon-ecs-volume-"
		     "plugin\","
		     "\"dockerVolumeName\":\"ecs-f-7-e-00\"}},{\"name\":\"s\",\"dockerVolumeConfiguration\":{"
		     "\"scope\":"
		     "\"shared\",\"dockerVolumeName\":\"s\"}}]}",
		     PAUSE "," CONTAINER("a", ID ",\"environment\":{\"S\":\"verySecret\"},\"secrets\":[{"
						 "\"name\":\"S\"}],"
						 "\"Command\":[\"verySecret\"],\"healthCheckType\":"
						 "\"docker\"") "," CONTAINER("b", ID ",\"dependsOn\":[{"
										     "\"containerName\":\"a\","
										     "\"condition\":\"HEALTHY\"}]")),
		NULL);
	const struct task *task = official.task;
	assert_null(strstr(json_text(task->definition), "verySecret"));
	assert_int_equal(task->volume_count, 1);
	assert_string_equal(task->volumes[0].docker_name, "ecs-f-7-e-00");
	const struct container *pause = &task->containers[0], *a = &task->containers[1], *b = &task->containers[2];
	assert_true(pause->internal && pause->known == CONTAINER_RUNNING && pause->depends_on_count == 0);
	assert_true(a->depends_on_count == 1 && b->depends_on_count == 2 && a->health_check_docker);
	assert_string_equal(a->depends_on[0].container, pause->name);
	assert_string_equal(b->depends_on[0].container, "a");
	assert_string_equal(b->depends_on[1].container, pause->name);
	// What is on disk makes the same task again.
	_cleanup_json_ json_object *definition = parse(json_text(task->definition));
	struct task *again;
	_cleanup_free_ char *reason = NULL;
	assert_int_equal(task_decode(definition, false, &again, &reason), TASK_ACCEPTED);
	assert_string_equal(again->watch_only, "network mode awsvpc");
	assert_true(again->containers[0].internal);
	task_free(again);
	official_task_free(&official);
}

static void test_own_task(void **state)
{
	(void)state;
	struct official_task official = read_good(TASK(",\"IsInternal\":true", CONTAINER("relay", "")), NULL);
	assert_null(official.task);
	official_task_free(&official);
}

static void test_bad_records(void **state)
{
	(void)state;
	static const struct {
		const char *record, *containers, *text;
	} cases[] = {
		{"[]", NULL, "no JSON object"},
		{"{}", NULL, "Arn"},
		{"{\"Arn\":7}", NULL, "Arn"},
		{"{\"Arn\":\"" ARN "\",\"KnownStatus\":\"FLYING\"}", NULL, "KnownStatus is \"FLYING\""},
		{"{\"Arn\":\"" ARN "\",\"SentStatus\":\"FLYING\"}", NULL, "SentStatus is \"FLYING\""},
		{"{\"Arn\":\"" ARN "\",\"DesiredStatus\":\"FLYING\"}", NULL, "Unrecognized TaskStatus"},
		{"{\"Arn\":\"" ARN "\",\"Containers\":{}}", NULL, "Containers is no list"},
		{"{\"Arn\":\"" ARN "\",\"Containers\":[7]}", NULL, "a container is no JSON object"},
		{"{\"Arn\":\"" ARN "\",\"Containers\":[{}]}", NULL, "Name"},
		{TASK("", "{\"Name\":\"m\",\"KnownStatus\":\"FLYING\"}"), NULL, "m: KnownStatus is \"FLYING\""},
		{TASK("", "{\"Name\":\"m\",\"KnownExitCode\":\"x\"}"), NULL, "container 0123-m: "},
		{TASK("", "{\"Name\":\"m\",\"Memory\":-1}"), NULL, "Memory"},
		{TASK("", CONTAINER("m", "") "," CONTAINER("m", "")), NULL, "container name m is used twice"},
		{TASK("", CONTAINER("m", "")), "{\"0123-m\":{\"DockerId\":\"x\"}}",
		 "container 0123-m has no member Container"},
		{TASK("", CONTAINER("m", "")), "{\"0123-m\":{\"DockerId\":7}}", "container 0123-m: "},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct official_task task;
		struct error err = {0};
		assert_int_equal(read_task(cases[i].record, cases[i].containers, &task, &err), -EBADMSG);
		assert_int_equal(err.code, EBADMSG);
		if (!strstr(err.message, cases[i].text))
			fail_msg("%s: %s", cases[i].record, err.message);
	}
}

// --- whole files ---

static void test_large_file(void **state)
{
	(void)state;
	struct official_state official;
	struct error err = {0};
	assert_int_equal(official_state_read("tests/data/official-state/register-imds.db", NULL, &official, &err), 0);
	assert_string_equal(official.agent_version, "1.105.1");
	assert_string_equal(official.identity.arn, "arn:aws:ecs:us-west-2:123456789012:container-instance/lab/"
						   "8e5c49e6479f4298b8df7c1c94f2fe20");
	assert_string_equal(official.identity.cluster, "lab");
	assert_string_equal(official.identity.ec2_instance_id, "i-0123456789abcdef0");
	assert_string_equal(official.identity.availability_zone, "us-west-2a");
	assert_int_equal(official.identity.manifest_sequence, 0);
	assert_int_equal(official.task_count, 31);
	assert_int_equal(official.own_tasks, 0);
	assert_int_equal(official.images.count, 1);
	assert_int_equal(official.pulled_count, 0);
	size_t containers = 0, made = 0;
	for (size_t i = 0; i < official.task_count; i++) {
		const struct task *task = official.tasks[i].task;
		_cleanup_free_ char *text = unsent(&official.tasks[i]);
		assert_true(task->known == TASK_STOPPED && task->desired == TASK_STOPPED && task->in_cgroup);
		assert_string_equal(text, "");
		containers += task->container_count;
		for (size_t k = 0; k < task->container_count; k++)
			made += task->containers[k].docker_id != NULL;
	}
	assert_int_equal(containers, 43);
	assert_int_equal(made, 27);
	official_state_free(&official);
}

// The container's record is newer than the copy in its task: all was told.
static void test_small_file(void **state)
{
	(void)state;
	struct official_state official;
	struct error err = {0};
	assert_int_equal(official_state_read("tests/data/official-state/smoke.db", NULL, &official, &err), 0);
	assert_int_equal(official.task_count, 1);
	const struct container *c = &official.tasks[0].task->containers[0];
	assert_true(c->has_exit_code && c->exit_code == 137 && c->known == CONTAINER_STOPPED);
	assert_string_equal(c->docker_name, "ecs-lab-1-main-a8bfa9d0eaf0ede64000");
	assert_true(official.tasks[0].containers_sent[0] == CONTAINER_STOPPED);
	official_state_free(&official);
}

static void test_no_file(void **state)
{
	(void)state;
	struct official_state official;
	struct error err = {0};
	assert_int_equal(official_state_read("/nonexistent/agent.db", NULL, &official, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/agent.db"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),      cmocka_unit_test(test_old_files),
		cmocka_unit_test(test_unsent),     cmocka_unit_test(test_without_docker_id),
		cmocka_unit_test(test_watch_only), cmocka_unit_test(test_watched_definition),
		cmocka_unit_test(test_own_task),   cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_large_file), cmocka_unit_test(test_small_file),
		cmocka_unit_test(test_no_file),
	};
	return cmocka_run_group_tests_name("takeover: the official agent's state", tests, NULL, NULL);
}
