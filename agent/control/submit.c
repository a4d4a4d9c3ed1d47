// Repeats are decided here and not in the AWS client, because the message is built anew from the facts for every attempt.
#include "control/submit.h"
#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>
#include <inttypes.h>

// state-changes.md §4
#define BATCH_MIN_MS 10000.0
#define BATCH_MAX_MS 30000.0
enum { CALLS_MAX = 10 };
// state-changes.md §6.1: 2^n × U{30..59} ms after the n-th failure, then 5 minutes
enum { FAST_ATTEMPTS = 13, SLOW_DELAY_MS = 300000 };
// Ours: a wait from this on is cut short when ECS can be reached again (submit_retry_now).
enum { LONG_DELAY_MS = 5000 };

// A task with something to report. It is in the queue, in a call, or waits for its timer; or it is idle and about to go.
struct report {
	struct report *next; // of all
	struct report *next_queued;
	struct submit *submit;
	char *task_arn;
	bool queued, batch;
	struct aws_call *call;
	enum task_status status; // of the message under way
	int64_t last_transition; // of the message under way
	char invocation_id[37];  // the same for all attempts of a report
	int attempt;
	struct backoff backoff; // of errors that the SDK would not repeat (§6.2)
	struct timer retry;
	bool unreachable; // waits long, because ECS did not answer or not well
};

struct submit {
	struct loop *loop;
	struct instance *instance;
	struct engine *engine;
	bool started;
	struct report *reports;
	struct report *queue, **queue_end;
	unsigned calls;
	struct timer pump, batch;
};

static struct report *report_of(struct submit *submit, const char *task_arn);
static void report_free(struct report *report);
static void enqueue(struct report *report);
static void on_unreported(const char *task_arn, void *arg);
static void on_batch(void *arg);
static void pump(void *arg);
static void send_report(struct report *report);
static void on_answer(const struct aws_response *response, void *arg);
static void on_retry(void *arg);
static void start_batch_timer(struct submit *submit);

struct submit *submit_new(struct loop *loop, struct instance *instance, struct engine *engine)
{
	struct submit *submit = xcalloc(1, sizeof(*submit));

	submit->loop = loop;
	submit->instance = instance;
	submit->engine = engine;
	submit->queue_end = &submit->queue;
	timer_init(&submit->pump, loop, pump, submit);
	timer_init(&submit->batch, loop, on_batch, submit);
	return submit;
}

struct submit *submit_free(struct submit *submit)
{
	if (!submit)
		return NULL;
	while (submit->reports)
		report_free(submit->reports);
	timer_done(&submit->pump);
	timer_done(&submit->batch);
	free(submit);
	return NULL;
}

void submit_start(struct submit *submit)
{
	submit->started = true;
	engine_each_unreported(submit->engine, on_unreported, submit);
	start_batch_timer(submit);
}

void submit_notify(struct submit *submit, const char *task_arn)
{
	struct report *report;

	if (!submit->started)
		return; // submit_start asks the engine for everything unreported
	report = report_of(submit, task_arn);
	if (!report->call && !timer_running(&report->retry)) // the message is built anew after either
		enqueue(report);
}

void submit_retry_now(struct submit *submit)
{
	size_t count = 0;

	for (struct report *report = submit->reports; report; report = report->next) {
		if (!report->unreachable || !timer_running(&report->retry))
			continue;
		timer_stop(&report->retry);
		report->unreachable = false;
		enqueue(report);
		count++;
	}
	if (count)
		log_info("ECS can be reached again, state changes are sent now", "tasks=%zu", count);
}

// --- the message (state-changes.md §3) ---

// Cuts to max bytes, whole characters, and puts '?' for what is no UTF-8: one bad byte must not make a report
// unacceptable for ever.
static json_object *text(const char *s, size_t max)
{
	_cleanup_free_ char *out = xmalloc(max + 1);
	size_t used = 0;

	for (const unsigned char *p = (const unsigned char *)s; *p;) {
		size_t len = *p < 0x80                 ? 1
			     : *p >= 0xc2 && *p < 0xe0 ? 2
			     : *p >= 0xe0 && *p < 0xf0 ? 3
			     : *p >= 0xf0 && *p < 0xf5 ? 4
						       : 0;
		size_t have = len > 0;

		while (have < len && (p[have] & 0xc0) == 0x80)
			have++;
		// overlong forms, surrogates, beyond U+10FFFF
		if ((len == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0))) ||
		    (len == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))))
			have = 0;
		bool valid = len && have == len;
		size_t wanted = valid ? len : 1;

		if (used + wanted > max)
			break;
		if (valid)
			memcpy(out + used, p, len);
		else
			out[used] = '?';
		used += wanted;
		p += wanted;
	}
	return json_object_new_string_len(out, (int)used);
}

static void add_text(json_object *o, const char *name, const char *value, size_t max)
{
	if (!str_empty(value))
		json_add(o, name, text(value, max));
}

// Epoch seconds with three decimals.
static void add_time(json_object *o, const char *name, int64_t ms)
{
	char digits[32];

	if (ms <= 0)
		return;
	snprintf(digits, sizeof(digits), "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
	json_add(o, name, json_object_new_double_s((double)ms / 1000.0, digits));
}

static void add_bindings(json_object *o, const struct container_change *change)
{
	json_object *list;

	if (!change->binding_count)
		return;
	list = json_object_new_array();
	for (size_t i = 0; i < change->binding_count; i++) {
		const struct port_binding *binding = &change->bindings[i];
		json_object *item = json_object_new_object();

		json_add_string(item, "bindIP", binding->bind_ip);
		json_add_int(item, "containerPort", binding->container_port);
		json_add_int(item, "hostPort", binding->host_port);
		json_add_string(item, "protocol", binding->protocol);
		json_object_array_add(list, item);
	}
	json_add(o, "networkBindings", list);
}

json_object *submit_build(const char *cluster, const struct state_change *change)
{
	enum { TEXT_MAX = 1024, ID_MAX = 255 }; // §3.1
	json_object *body = json_object_new_object(), *list = json_object_new_array();

	json_add_string(body, "cluster", cluster);
	json_add_string(body, "task", change->task_arn);
	json_add_string(body, "status", task_status_wire(change->status));
	json_add(body, "reason", text(change->reason ? change->reason : "", TEXT_MAX));
	for (size_t i = 0; i < change->container_count; i++) {
		const struct container_change *container = &change->containers[i];
		json_object *item = json_object_new_object();

		json_add_string(item, "containerName", container->name);
		json_add_string(item, "status", container_status_wire(container->status));
		add_text(item, "runtimeId", container->runtime_id, ID_MAX);
		add_text(item, "reason", container->reason, TEXT_MAX);
		add_text(item, "imageDigest", container->image_digest, ID_MAX);
		if (container->has_exit_code)
			json_add_int(item, "exitCode", container->exit_code);
		add_bindings(item, container);
		json_object_array_add(list, item);
	}
	if (change->container_count)
		json_add(body, "containers", list);
	else
		json_object_put(list);
	add_time(body, "pullStartedAt", change->pull_started_ms);
	add_time(body, "pullStoppedAt", change->pull_stopped_ms);
	add_time(body, "executionStoppedAt", change->execution_stopped_ms);
	return body;
}

// --- the queue (§4) ---

static struct report *report_of(struct submit *submit, const char *task_arn)
{
	struct report *report = submit->reports;

	while (report && strcmp(report->task_arn, task_arn) != 0)
		report = report->next;
	if (report)
		return report;
	report = xcalloc(1, sizeof(*report));
	report->submit = submit;
	report->task_arn = xstrdup(task_arn);
	report->backoff = BACKOFF(1000, 30000, 1.3, 0.2); // §6.2
	timer_init(&report->retry, submit->loop, on_retry, report);
	report->next = submit->reports;
	submit->reports = report;
	return report;
}

static void report_free(struct report *report)
{
	for (struct report **p = &report->submit->reports; *p; p = &(*p)->next) {
		if (*p == report) {
			*p = report->next;
			break;
		}
	}
	aws_call_cancel(report->call);
	timer_done(&report->retry);
	free(report->task_arn);
	free(report);
}

static void enqueue(struct report *report)
{
	struct submit *submit = report->submit;

	if (!report->queued) {
		report->queued = true;
		report->next_queued = NULL;
		*submit->queue_end = report;
		submit->queue_end = &report->next_queued;
	}
	timer_start(&submit->pump, 0);
}

static void on_unreported(const char *task_arn, void *arg)
{
	submit_notify(arg, task_arn);
}

static void start_batch_timer(struct submit *submit)
{
	timer_start(&submit->batch, (uint64_t)(BATCH_MIN_MS + (BATCH_MAX_MS - BATCH_MIN_MS) * random_unit()));
}

static void on_unreported_batch(const char *task_arn, void *arg)
{
	struct submit *submit = arg;

	report_of(submit, task_arn)->batch = true;
	submit_notify(submit, task_arn);
}

// Container changes that no task status carries are sent by themselves now.
static void on_batch(void *arg)
{
	struct submit *submit = arg;

	engine_each_unreported(submit->engine, on_unreported_batch, submit);
	start_batch_timer(submit);
}

static void pump(void *arg)
{
	struct submit *submit = arg;

	while (submit->queue && submit->calls < CALLS_MAX) {
		struct report *report = submit->queue;

		submit->queue = report->next_queued;
		if (!submit->queue)
			submit->queue_end = &submit->queue;
		report->queued = false;
		send_report(report);
	}
}

static const char *unsendable(const struct state_change *change)
{
	for (size_t i = 0; i < change->container_count; i++)
		if (str_empty(change->containers[i].name))
			return "container state change has no container name"; // §3.1
	return NULL;
}

static void give_up(struct report *report, int64_t last_transition, const char *why)
{
	log_error("state change given up", "task=%s reason=%s", report->task_arn, why);
	engine_report_done(report->submit->engine, report->task_arn, last_transition, why);
	report->attempt = 0;
	report->batch = false;
}

static void send_report(struct report *report)
{
	struct submit *submit = report->submit;
	struct state_change change = {0};
	_cleanup_json_ json_object *body = NULL;
	const char *problem;

	if (!engine_next_report(submit->engine, report->task_arn, report->batch, &change)) {
		report_free(report);
		return;
	}
	problem = unsendable(&change);
	if (problem) {
		give_up(report, change.last_transition, problem);
		state_change_free(&change);
		enqueue(report);
		return;
	}
	body = submit_build(instance_cluster(submit->instance), &change);
	report->status = change.status;
	report->last_transition = change.last_transition;
	if (report->attempt++ == 0)
		random_uuid(report->invocation_id);
	log_debug("state change sent", "task=%s status=%s containers=%zu attempt=%d", report->task_arn,
		  task_status_wire(change.status), change.container_count, report->attempt);
	state_change_free(&change);
	submit->calls++;
	CRASH_POINT("report.before-send");
	report->call = aws_client_attempt(instance_ecs(submit->instance), "SubmitTaskStateChange", body,
					  report->invocation_id, report->attempt, on_answer, report);
	CRASH_POINT("report.begun");
}

// --- answers (§6) ---

static uint64_t fast_delay(int failed)
{
	return failed > FAST_ATTEMPTS ? SLOW_DELAY_MS : (uint64_t)(30 + (int)(random_unit() * 30.0)) << failed;
}

static void on_answer(const struct aws_response *response, void *arg)
{
	struct report *report = arg;
	struct submit *submit = report->submit;

	report->call = NULL;
	submit->calls--;
	if (response->body) {
		CRASH_POINT("report.accepted");
		log_info("state change accepted", "task=%s status=%s attempt=%d", report->task_arn,
			 task_status_wire(report->status), report->attempt);
		report->attempt = 0;
		report->batch = false;
		backoff_reset(&report->backoff);
		engine_report_done(submit->engine, report->task_arn, report->last_transition, NULL);
		CRASH_POINT("report.marked");
		enqueue(report); // there may be more; if not, this ends it
	} else if (str_equal(response->error_code, "InvalidParameterException")) {
		give_up(report, report->last_transition, response->error.message);
		enqueue(report);
	} else {
		uint64_t delay = response->transient ? fast_delay(report->attempt) : backoff_next(&report->backoff);

		log_warn("state change not accepted, trying again", "task=%s error=%s attempt=%d in_ms=%" PRIu64,
			 report->task_arn, response->error.message, report->attempt, delay);
		// Throttling and refusals are answers: they wait their time.
		report->unreachable = delay >= LONG_DELAY_MS && (response->status == 0 || response->status >= 500);
		timer_start(&report->retry, delay);
	}
	if (submit->queue)
		timer_start(&submit->pump, 0);
}

static void on_retry(void *arg)
{
	enqueue(arg);
}
