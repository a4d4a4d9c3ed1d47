// A fixed life of tasks in the store, turn by turn, and what the store says it holds as one text.
#pragma once

#include "common/util.h"
#include "engine/images.h"
#include "engine/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORKLOAD_TASKS = 3, WORKLOAD_TURNS = 16 };

static char directory[64];
static size_t workload_filler = 13000; // so much that the log is folded in once and starts anew

static int make_directory_for_test(void **state)
{
	(void)state;
	// Memory where there is some: what is tested is not the disk's speed.
	snprintf(directory, sizeof(directory), "%s/ecsd-store-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf %s", directory);
	return system(command);
}

// --- turns ---

static void workload_arn(char out[96], int n)
{
	snprintf(out, 96, "arn:aws:ecs:us-west-2:123456789012:task/lab/%032d", n);
}

static struct task *workload_task(int n, enum container_status known)
{
	char arn[96];
	workload_arn(arn, n);
	_cleanup_free_ char *text =
		xasprintf("{\"arn\":\"%s\",\"desiredStatus\":\"RUNNING\",\"containers\":["
			  "{\"name\":\"m\",\"image\":\"i\",\"portMappings\":[{\"containerPort\":80}]},"
			  "{\"name\":\"s\",\"image\":\"i\"}]}",
			  arn);
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), NULL);
	struct task *task;
	char *reason;
	assert_int_equal(task_decode(object, false, &task, &reason), TASK_ACCEPTED);
	task->sequence = (uint64_t)n + 1;
	task->known = task_status_of_container(known);
	task->credentials_id = xasprintf("cred-%d", n);
	for (size_t i = 0; i < task->container_count; i++) {
		struct container *c = &task->containers[i];
		c->known = known;
		c->docker_name = xasprintf("ecs-%d-%zu", n, i);
		c->docker_id = known >= CONTAINER_CREATED ? xasprintf("%064d", n * 10 + (int)i) : NULL;
		c->has_exit_code = known == CONTAINER_STOPPED;
		c->exit_code = 137;
	}
	char *filler = xcalloc(1, workload_filler + 1);
	memset(filler, 'a' + n, workload_filler);
	task->containers[0].error = (struct container_error){.name = xstrdup("Error"), .text = filler};
	return task;
}

static int put_task(struct store *store, int n, enum container_status known, struct error *err)
{
	struct task *task = workload_task(n, known);
	int r = store_put_task(store, task, err);
	for (size_t i = 0; r == 0 && i < task->container_count; i++)
		r = store_put_container(store, task, i, err);
	task_free(task);
	return r;
}

static int put_transition(struct store *store, int64_t id, int n, int status, struct error *err)
{
	char arn[96];
	workload_arn(arn, n);
	struct transition t = {.id = id, .task_arn = arn, .status = status, .at_ms = id * 1000};
	return store_put_transition(store, &t, err);
}

// Each task: added, created, running and reported, stopped and reported; the first two are forgotten in the end.
static int write_turn(struct store *store, int turn, struct error *err)
{
	static const enum container_status steps[] = {CONTAINER_NONE, CONTAINER_CREATED, CONTAINER_RUNNING,
						      CONTAINER_STOPPED};
	int n = turn % WORKLOAD_TASKS, step = turn / WORKLOAD_TASKS, r = 0;
	char arn[96];
	workload_arn(arn, n);
	if (turn == 0)
		r = store_mark_rebuilt(store, err);
	if (r == 0 && step < 4)
		r = put_task(store, n, steps[step], err);
	if (r == 0 && step == 1)
		r = store_put_pulled(store, arn, turn, err);
	if (r == 0 && step == 2)
		r = put_transition(store, turn * 2, n, TASK_RUNNING, err);
	if (r == 0 && step == 3) {
		r = store_mark_reported(store, arn, turn * 2, NULL, err);
		if (r == 0)
			r = put_transition(store, turn * 2 + 1, n, TASK_STOPPED, err);
	}
	if (r == 0 && step == 4)
		r = store_delete_task(store, arn, err);
	if (r == 0 && step == 4)
		r = store_put_pulled(store, arn, -1, err);
	if (r == 0 && (step == 1 || step == 3)) {
		struct image_set set = {0};
		r = store_put_image(store, images_use(&set, "sha256:i", "i", 5, turn), err);
		images_free(&set);
	}
	if (r == 0 && turn == WORKLOAD_TURNS - 1)
		r = store_delete_image(store, "sha256:i", err);
	return r;
}

// As the engine does it.
static int commit_turn(struct store *store, int turn, struct error *err)
{
	int r = store_begin(store, err);
	if (r == 0)
		r = write_turn(store, turn, err);
	if (r == 0)
		r = store_commit(store, err);
	if (r < 0) {
		store_rollback(store);
		store_note_failure(store, r);
	}
	return r;
}

// --- what is there ---

static void tell_task(struct task *task, void *arg)
{
	struct buf *text = arg;
	assert_in_range(task->known, TASK_NONE, TASK_STOPPED);
	assert_in_range(task->desired, TASK_NONE, TASK_STOPPED);
	buf_printf(text, "task %s %d %s %s %s\n", task->arn, (int)task->sequence, task_status_name(task->known),
		   task_status_name(task->desired), task->credentials_id ? task->credentials_id : "-");
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		assert_in_range(c->known, CONTAINER_NONE, CONTAINER_STOPPED);
		assert_in_range(c->desired, CONTAINER_NONE, CONTAINER_STOPPED);
		buf_printf(text, "container %s %s %s %s %d %zu\n", c->name, container_status_name(c->known),
			   c->docker_name ? c->docker_name : "-", c->docker_id ? c->docker_id : "-",
			   c->has_exit_code ? c->exit_code : -1, c->error.text ? strlen(c->error.text) : 0);
	}
	task_free(task);
}

static void tell_transition(const struct transition *t, void *arg)
{
	assert_non_null(t->task_arn);
	assert_in_range(t->status, 0, t->container ? (int)CONTAINER_STOPPED : (int)TASK_STOPPED);
	buf_printf(arg, "transition %d %s %s %d %d\n", (int)t->id, t->task_arn, t->container ? t->container : "-",
		   t->status, (int)t->at_ms);
}

static void tell_pulled(const char *image, int64_t at_ms, void *arg)
{
	assert_non_null(image);
	buf_printf(arg, "pulled %s %d\n", image, (int)at_ms);
}

// Everything the store loads; NULL with err if it cannot. Caller frees.
static char *store_text(struct store *store, struct error *err)
{
	struct buf text = {.max = 1 << 20};
	struct store_visitor visitor = {tell_task, tell_transition, &text};
	struct image_set images = {0};
	int64_t last;
	uint64_t sequence;
	int r = store_load(store, &visitor, &last, &sequence, err);
	if (r == 0)
		r = store_load_pulled(store, tell_pulled, &text, err);
	if (r == 0)
		r = store_load_images(store, &images, err);
	for (size_t i = 0; r == 0 && i < images.count; i++)
		buf_printf(&text, "image %s %zu %d\n", images.items[i].id, images.items[i].names.count,
			   (int)images.items[i].last_used_ms);
	images_free(&images);
	buf_printf(&text, "rebuild %d\n", store_needs_rebuild(store));
	if (r == 0)
		return buf_take(&text);
	buf_free(&text);
	return NULL;
}
