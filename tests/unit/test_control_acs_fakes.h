// What surrounds an ACS session, faked: instance, credentials, websocket, engine, ecs-endpoint.
#pragma once

#include "test_control_fakes.h"
#include "common/aws/credentials.h"
#include "common/websocket.h"
#include "control/acs.h"
#include "control/acs_messages.h"
#include <ctype.h>
#include <errno.h>

#define CLUSTER "arn:aws:ecs:us-west-2:123456789012:cluster/lab"
#define INSTANCE "arn:aws:ecs:us-west-2:123456789012:container-instance/lab/1"
#define TASK "arn:aws:ecs:us-west-2:123456789012:task/lab/"

// --- fakes: instance ---

static int64_t manifest_initial, manifest_saved;
static bool save_fails, endpoint_fails;
static unsigned endpoint_asked;

const char *instance_arn(const struct instance *instance)
{
	(void)instance;
	return INSTANCE;
}
const char *instance_cluster(const struct instance *instance)
{
	(void)instance;
	return "lab";
}
int64_t instance_wall_ms(const struct instance *instance)
{
	(void)instance;
	return wall_ms();
}
const char *instance_region(const struct instance *instance)
{
	(void)instance;
	return "us-west-2";
}
const char *instance_user_agent(const struct instance *instance)
{
	(void)instance;
	return "agent";
}
int64_t instance_manifest_sequence(const struct instance *instance)
{
	(void)instance;
	return manifest_initial;
}
int instance_set_manifest_sequence(struct instance *instance, int64_t value, struct error *err)
{
	(void)instance;
	if (save_fails)
		return error_set(err, ENOSPC, "full");
	manifest_saved = value;
	return 0;
}
void instance_poll_endpoint(struct instance *instance,
			    void (*done)(const char *acs, const char *telemetry, const struct error *err, void *arg),
			    void *arg)
{
	struct error err;

	(void)instance;
	endpoint_asked++;
	error_set(&err, EIO, "no");
	done(endpoint_fails ? NULL : "https://acs.example:8443/acs/", NULL, endpoint_fails ? &err : NULL, arg);
}
void instance_poll_endpoint_cancel(struct instance *instance, void *arg)
{
	(void)instance, (void)arg;
}
void credentials_chain_get(struct credentials_chain *chain,
			   void (*done)(const struct aws_credentials *credentials, const struct error *err, void *arg),
			   void *arg)
{
	struct aws_credentials credentials = {.access_key_id = (char *)"AKID", .secret_access_key = (char *)"s"};

	(void)chain;
	done(&credentials, NULL, arg);
}
void credentials_chain_cancel(struct credentials_chain *chain, void *arg)
{
	(void)chain, (void)arg;
}

// common/http.c would bring the real loop with it.
char *url_encode(const char *text, bool keep_slash)
{
	struct buf b = {0};

	for (const char *p = text; *p; p++) {
		if (isalnum((unsigned char)*p) || strchr("-_.~", *p) || (keep_slash && *p == '/'))
			buf_append(&b, p, 1);
		else
			buf_printf(&b, "%%%02X", (unsigned char)*p);
	}
	return buf_take(&b);
}

// --- fakes: websocket ---

struct websocket {
	int used;
};
static struct websocket the_websocket;
static const struct websocket_callbacks *ws_callbacks;
static void *ws_arg;
static char ws_url[1024], ws_authorization[512], ws_close_reason[64];
static char sent[16][2048];
static size_t sent_count;
static unsigned opens, frees;

struct websocket *websocket_open(struct loop *loop, const struct websocket_options *options,
				 const struct websocket_callbacks *callbacks, void *arg)
{
	(void)loop;
	ws_callbacks = callbacks;
	ws_arg = arg;
	snprintf(ws_url, sizeof(ws_url), "%s", options->url);
	for (size_t i = 0; i < options->header_count; i++)
		if (!strcmp(options->headers[i].name, "Authorization"))
			snprintf(ws_authorization, sizeof(ws_authorization), "%s", options->headers[i].value);
	opens++;
	return &the_websocket;
}
int websocket_send(struct websocket *ws, const char *text, size_t len)
{
	(void)ws;
	assert_true(sent_count < ARRAY_SIZE(sent) && len < sizeof(sent[0]));
	memcpy(sent[sent_count++], text, len + 1);
	return 0;
}
void websocket_close(struct websocket *ws, int code, const char *reason)
{
	(void)ws;
	assert_int_equal(code, 1000);
	snprintf(ws_close_reason, sizeof(ws_close_reason), "%s", reason);
}
struct websocket *websocket_free(struct websocket *ws)
{
	frees += ws != NULL;
	return NULL;
}

// --- fakes: engine and endpoint ---

static struct task *tasks[8];
static size_t task_count;
static char events[1024]; // what happened, in order
static bool accepts;
static struct {
	void (*done)(void *arg);
	void *arg;
} commits[16], holds[16];
static size_t commit_count, hold_count;

static void event(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void event(const char *format, ...)
{
	va_list args;
	size_t len = strlen(events);

	va_start(args, format);
	vsnprintf(events + len, sizeof(events) - len, format, args);
	va_end(args);
}
struct task *engine_task(const struct engine *engine, const char *task_arn)
{
	(void)engine;
	for (size_t i = 0; i < task_count; i++)
		if (!strcmp(tasks[i]->arn, task_arn))
			return tasks[i];
	return NULL;
}
void engine_add_task(struct engine *engine, struct task *task)
{
	struct task *known = engine_task(engine, task->arn);

	event("add(%s%s)", task->arn + strlen(TASK), known ? ",known" : "");
	if (known) {
		if (task->desired > known->desired)
			known->desired = task->desired;
		task_free(task);
	} else {
		tasks[task_count++] = task;
	}
}
void engine_report_refused(struct engine *engine, const char *task_arn, const char *reason)
{
	(void)engine;
	event("refused(%s|%s)", str_starts(task_arn, TASK) ? task_arn + strlen(TASK) : task_arn, reason);
}
bool engine_stop_task(struct engine *engine, const char *task_arn)
{
	struct task *task = engine_task(engine, task_arn);

	event("stop(%s)", task_arn + strlen(TASK));
	if (task)
		task->desired = TASK_STOPPED;
	return task;
}
bool engine_set_credentials_id(struct engine *engine, const char *task_arn, bool execution, const char *id)
{
	struct task *task = engine_task(engine, task_arn);

	event("set(%s)", id);
	str_replace(execution ? &task->execution_credentials_id : &task->credentials_id, id);
	return true;
}
void engine_each_task(const struct engine *engine, void (*visit)(const struct task *task, void *arg), void *arg)
{
	(void)engine;
	for (size_t i = 0; i < task_count; i++)
		visit(tasks[i], arg);
}
bool engine_limits_tasks(const struct engine *engine)
{
	(void)engine;
	return true;
}
bool engine_accepts_tasks(const struct engine *engine)
{
	(void)engine;
	return accepts;
}
void engine_after_commit(struct engine *engine, void (*done)(void *arg), void *arg)
{
	(void)engine;
	commits[commit_count].done = done;
	commits[commit_count++].arg = arg;
}
void engine_after_commit_cancel(struct engine *engine, void *arg)
{
	size_t kept = 0;

	(void)engine;
	for (size_t i = 0; i < commit_count; i++)
		if (commits[i].arg != arg)
			commits[kept++] = commits[i];
	commit_count = kept;
}
int endpoint_put(struct endpoint *endpoint, const struct task_credentials *credentials, void (*held)(void *arg),
		 void *arg, struct error *err)
{
	(void)endpoint, (void)err;
	event("put(%s,%d)", credentials->id, credentials->role);
	if (held) {
		holds[hold_count].done = held;
		holds[hold_count++].arg = arg;
	}
	return 0;
}
void endpoint_cancel(struct endpoint *endpoint, void *arg)
{
	size_t kept = 0;

	(void)endpoint;
	for (size_t i = 0; i < hold_count; i++)
		if (holds[i].arg != arg)
			holds[kept++] = holds[i];
	hold_count = kept;
}
void task_credentials_free(struct task_credentials *credentials)
{
	free(credentials->id);
	free(credentials->task_arn);
	free(credentials->role_arn);
	free(credentials->access_key_id);
	free(credentials->secret_access_key);
	free(credentials->session_token);
	free(credentials->expiration);
}
static void commit(void)
{
	while (commit_count) {
		void (*done)(void *) = commits[0].done;

		commit_count--;
		void *arg = commits[0].arg;
		memmove(commits, commits + 1, commit_count * sizeof(*commits));
		done(arg);
	}
}
static void hold(void)
{
	void (*done)(void *) = holds[0].done;
	void *arg = holds[0].arg;

	assert_true(hold_count > 0);
	hold_count--;
	memmove(holds, holds + 1, hold_count * sizeof(*holds));
	done(arg);
}
