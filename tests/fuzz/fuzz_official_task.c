// The official agent's record of a task with those of its containers, whatever their members are: refused, or a task that
// is the same when it is read again from what goes on disk. Input: the task's JSON, and on a second line an object of
// container records by key.
#include "fuzz.h"
#include "engine/store.h"
#include "takeover/official_task.h"

static json_object *container_record(const char *key, void *arg)
{
	return arg ? json_get(arg, key) : NULL;
}

static int on_unsent(struct transition *t, void *arg)
{
	const struct task *task = arg;
	CHECK(str_equal(t->task_arn, task->arn));
	const struct container *c = t->container ? task_container(task, t->container) : NULL;
	CHECK(!t->container || (c && !c->internal && t->status == (int)c->known));
	CHECK(t->container || t->status == (int)task->known);
	return 0;
}

static void check_task(const struct official_task *official)
{
	const struct task *task = official->task;
	const char *text = json_text(task->definition);
	struct error err = {0};
	struct task *again;
	_cleanup_free_ char *reason = NULL;
	_cleanup_json_ json_object *definition = json_parse(text, strlen(text), &err);
	CHECK(definition && task_decode(definition, false, &again, &reason) == TASK_ACCEPTED);
	CHECK(str_equal(again->arn, task->arn) && again->container_count == task->container_count);
	CHECK(str_equal(again->watch_only, task->watch_only) && again->in_cgroup == task->in_cgroup);
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		bool made = c->known >= CONTAINER_CREATED && c->known < CONTAINER_STOPPED;
		CHECK(str_equal(c->name, again->containers[i].name) && c->internal == again->containers[i].internal);
		CHECK(c->known != CONTAINER_RESOURCES_PROVISIONED && (!made || c->docker_id || c->docker_name));
		CHECK(!task->watch_only || c->environment.count == 0);
	}
	CHECK(official_task_unsent(official, on_unsent, (void *)task) == 0);
	task_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	struct official_task official;
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input, *line = strsep(&rest, "\n");
	_cleanup_json_ json_object *task = json_parse(line, strlen(line), NULL);
	_cleanup_json_ json_object *containers = rest ? json_parse(rest, strlen(rest), NULL) : NULL;
	if (!task)
		return 0;
	if (official_task_read(task, container_record, containers, size & 1 ? "reason" : NULL, &official, &err) < 0) {
		CHECK(err.code == EBADMSG && !str_empty(err.message) && !official.task);
		return 0;
	}
	if (official.task)
		check_task(&official);
	official_task_free(&official);
	return 0;
}
