// control/submit.c: the bodies of SubmitTaskStateChange, and order, bounds and repeats of the calls.
#include "test_control_fakes.h"
#include "control/submit.h"
#include <errno.h>

// --- fakes ---

struct fake_report {
	const char *arn;
	enum task_status status;
	int64_t last;
	bool batch_only;
	bool nameless;
};
static struct fake_report pending[64];
static size_t pending_count;
static struct {
	char arn[64];
	int64_t last;
	char why[128];
} done[64];
static size_t done_count;

struct aws_call {
	int used;
};
static struct {
	struct aws_call call;
	char task[64], invocation[37];
	int attempt;
	void (*done)(const struct aws_response *response, void *arg);
	void *arg;
	bool open;
} calls[128];
static size_t call_count;

bool engine_next_report(struct engine *engine, const char *task_arn, bool batch, struct state_change *change)
{
	(void)engine;
	for (size_t i = 0; i < pending_count; i++) {
		if (strcmp(pending[i].arn, task_arn) != 0 || (pending[i].batch_only && !batch))
			continue;
		*change = (struct state_change){.task_arn = pending[i].arn,
						.status = pending[i].status,
						.reason = "",
						.last_transition = pending[i].last};
		if (pending[i].nameless) {
			change->containers = xcalloc(1, sizeof(*change->containers));
			change->container_count = 1;
		}
		return true;
	}
	return false;
}

void engine_report_done(struct engine *engine, const char *task_arn, int64_t last_transition, const char *refused_why)
{
	(void)engine;
	snprintf(done[done_count].arn, sizeof(done[0].arn), "%s", task_arn);
	snprintf(done[done_count].why, sizeof(done[0].why), "%s", refused_why ? refused_why : "");
	done[done_count++].last = last_transition;
	for (size_t i = 0; i < pending_count; i++) {
		if (!strcmp(pending[i].arn, task_arn) && pending[i].last == last_transition) {
			pending_count--;
			memmove(pending + i, pending + i + 1, (pending_count - i) * sizeof(*pending));
			return;
		}
	}
}

void engine_each_unreported(const struct engine *engine, void (*visit)(const char *task_arn, void *arg), void *arg)
{
	(void)engine;
	for (size_t i = 0; i < pending_count; i++)
		visit(pending[i].arn, arg);
}

void state_change_free(struct state_change *change)
{
	free(change->containers);
}

const char *instance_cluster(const struct instance *instance)
{
	(void)instance;
	return "lab";
}

struct aws_client *instance_ecs(struct instance *instance)
{
	(void)instance;
	return NULL;
}

struct aws_call *aws_client_attempt(struct aws_client *client, const char *operation, json_object *body,
				    const char *invocation_id, int attempt,
				    void (*done_)(const struct aws_response *response, void *arg), void *arg)
{
	(void)client;
	assert_string_equal(operation, "SubmitTaskStateChange");
	snprintf(calls[call_count].task, sizeof(calls[0].task), "%s", json_get_string(body, "task"));
	snprintf(calls[call_count].invocation, sizeof(calls[0].invocation), "%s", invocation_id);
	calls[call_count].attempt = attempt;
	calls[call_count].done = done_;
	calls[call_count].arg = arg;
	calls[call_count].open = true;
	return &calls[call_count++].call;
}

void aws_call_cancel(struct aws_call *call)
{
	for (size_t i = 0; i < call_count; i++)
		if (&calls[i].call == call)
			calls[i].open = false;
}

static void answer(size_t i, const char *code, bool transient)
{
	struct aws_response response = {.transient = transient, .status = !code ? 200 : *code ? 400 : 0};

	assert_true(i < call_count && calls[i].open);
	calls[i].open = false;
	if (code) {
		snprintf(response.error_code, sizeof(response.error_code), "%s", code);
		error_set(&response.error, EIO, "%s", *code ? code : "no answer");
	} else {
		response.body = json_object_new_object();
	}
	calls[i].done(&response, calls[i].arg);
	json_object_put(response.body);
}

static int reset(void **state)
{
	(void)state;
	pending_count = done_count = call_count = 0;
	return 0;
}

// --- bodies ---

static void check_body(const struct state_change *change, const char *want)
{
	json_object *body = submit_build("lab", change);

	assert_string_equal(json_text(body), want);
	json_object_put(body);
}

static void test_bodies(void **state)
{
	struct port_binding bindings[] = {
		{.container_port = 80, .host_port = 32768, .protocol = "tcp", .bind_ip = "0.0.0.0"}};
	struct container_change containers[] = {
		{.name = "a",
		 .status = CONTAINER_RUNNING,
		 .runtime_id = "d1",
		 .image_digest = "sha256:1",
		 .bindings = bindings,
		 .binding_count = 1},
		{.name = "a",
		 .status = CONTAINER_STOPPED,
		 .runtime_id = "d1",
		 .reason = (char *)"E: t",
		 .has_exit_code = true},
		{.name = "b", .status = CONTAINER_MANIFEST_PULLED, .image_digest = "sha256:2"},
	};
	struct state_change change = {.task_arn = "t", .status = TASK_STOPPED, .reason = ""};

	(void)state;
	check_body(&change, "{\"cluster\":\"lab\",\"task\":\"t\",\"status\":\"STOPPED\",\"reason\":\"\"}");
	change.status = TASK_MANIFEST_PULLED;
	change.reason = NULL;
	change.pull_started_ms = 1746802078031;
	change.pull_stopped_ms = 1746802079000;
	change.execution_stopped_ms = 1746802079007;
	check_body(&change, "{\"cluster\":\"lab\",\"task\":\"t\",\"status\":\"PENDING\",\"reason\":\"\","
			    "\"pullStartedAt\":1746802078.031,\"pullStoppedAt\":1746802079.000,"
			    "\"executionStoppedAt\":1746802079.007}");
	change = (struct state_change){
		.task_arn = "t", .status = TASK_RUNNING, .containers = containers, .container_count = 3};
	check_body(&change,
		   "{\"cluster\":\"lab\",\"task\":\"t\",\"status\":\"RUNNING\",\"reason\":\"\",\"containers\":["
		   "{\"containerName\":\"a\",\"status\":\"RUNNING\",\"runtimeId\":\"d1\",\"imageDigest\":\"sha256:1\","
		   "\"networkBindings\":[{\"bindIP\":\"0.0.0.0\",\"containerPort\":80,\"hostPort\":32768,\"protocol\":"
		   "\"tcp\"}]},"
		   "{\"containerName\":\"a\",\"status\":\"STOPPED\",\"runtimeId\":\"d1\",\"reason\":\"E: "
		   "t\",\"exitCode\":0},"
		   "{\"containerName\":\"b\",\"status\":\"PENDING\",\"imageDigest\":\"sha256:2\"}]}");
}

static void check_reason(const char *reason, size_t want_len, const char *want_end)
{
	struct state_change change = {.task_arn = "t", .status = TASK_STOPPED, .reason = reason};
	json_object *body = submit_build("lab", &change);
	const char *got = json_get_string(body, "reason");

	assert_int_equal(strlen(got), want_len);
	assert_string_equal(got + want_len - strlen(want_end), want_end);
	json_object_put(body);
}

static void test_cut(void **state)
{
	char reason[2000];

	(void)state;
	memset(reason, 'x', sizeof(reason));
	reason[1999] = '\0';
	check_reason(reason, 1024, "xxx");
	memcpy(reason + 1022, "\xe2\x80\x99", 3); // a character across the limit goes as a whole
	check_reason(reason, 1022, "xxx");
	memcpy(reason + 1021, "\xe2\x80\x99", 3);
	check_reason(reason, 1024, "\xe2\x80\x99");
	check_reason("a\xff\xc0\xaf", 4, "a???");
	check_reason("\xed\xa0\x80", 3, "???");
	check_reason("\xf0\x9f\x98\x80\xe2\x80", 6, "\xf0\x9f\x98\x80??");
}

// --- sending ---

static void add(const char *arn, enum task_status status, int64_t last, bool batch_only)
{
	pending[pending_count++] =
		(struct fake_report){.arn = arn, .status = status, .last = last, .batch_only = batch_only};
}

static void test_order_and_bound(void **state)
{
	static char names[12][8];
	struct submit *submit = submit_new(&fake_loop, NULL, NULL);

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		snprintf(names[i], sizeof(names[i]), "t%zu", i);
		add(names[i], TASK_RUNNING, (int64_t)i, false);
	}
	add("t0", TASK_STOPPED, 100, false);
	submit_notify(submit, "t5"); // before the start: kept for the start
	submit_start(submit);
	fake_advance(0);
	assert_int_equal(call_count, 10);
	for (size_t i = 0; i < 10; i++)
		assert_string_equal(calls[i].task, names[i]); // first in, first out, one for a task
	submit_notify(submit, "t0");
	fake_advance(0);
	assert_int_equal(call_count, 10);
	answer(0, NULL, false);
	fake_advance(0);
	assert_string_equal(calls[10].task, "t10");
	answer(1, NULL, false);
	fake_advance(0);
	assert_string_equal(calls[11].task, "t11");
	answer(2, NULL, false);
	fake_advance(0);
	assert_int_equal(call_count, 13);
	assert_string_equal(calls[12].task, "t0"); // its next status
	answer(12, NULL, false);
	assert_int_equal(done[3].last, 100);
	submit_free(submit);
	assert_int_equal(fake_timers_running(), 0);
}

static void test_repeats(void **state)
{
	struct submit *submit = submit_new(&fake_loop, NULL, NULL);

	(void)state;
	add("t", TASK_RUNNING, 1, false);
	submit_start(submit);
	fake_advance(0);
	answer(0, "ServerException", true);
	fake_advance(59);
	assert_int_equal(call_count, 1);
	fake_advance(60); // 2 × U{30..59} ms
	assert_int_equal(call_count, 2);
	assert_int_equal(calls[1].attempt, 2);
	assert_string_equal(calls[1].invocation, calls[0].invocation);
	submit_notify(submit, "t"); // nothing more while it is under way
	fake_advance(0);
	assert_int_equal(call_count, 2);
	answer(1, "AccessDeniedException", false);
	submit_notify(submit, "t"); // nor while it waits
	fake_advance(999);
	assert_int_equal(call_count, 2);
	fake_advance(300); // 1 s and up to 20 % of it
	assert_int_equal(call_count, 3);
	answer(2, NULL, false);
	assert_int_equal(done_count, 1);
	add("t", TASK_STOPPED, 2, false);
	submit_notify(submit, "t");
	fake_advance(0);
	assert_int_equal(calls[3].attempt, 1);
	assert_string_not_equal(calls[3].invocation, calls[0].invocation);
	answer(3, "InvalidParameterException", false);
	assert_int_equal(done[1].last, 2);
	assert_string_equal(done[1].why, "InvalidParameterException");
	fake_advance(40000);
	assert_int_equal(call_count, 4);
	submit_free(submit);
}

// Fails so often that the next attempt is half a minute away or more; time passes as needed.
static void fail_ten_times(const char *code)
{
	while (call_count < 10) {
		size_t before = call_count;

		answer(before - 1, code, true);
		while (call_count == before)
			fake_advance(1);
	}
	answer(9, code, true); // 2^10 x U{30..59} ms
}

// What waits because ECS could not be reached does not wait any longer when it can be.
static void test_retry_now(void **state)
{
	struct submit *submit = submit_new(&fake_loop, NULL, NULL);

	(void)state;
	add("t", TASK_RUNNING, 1, false);
	submit_start(submit);
	fake_advance(0);
	submit_retry_now(submit); // nothing waits: it is under way
	fake_advance(0);
	assert_int_equal(call_count, 1);
	answer(0, "", true);
	submit_retry_now(submit); // a short wait is not cut
	fake_advance(0);
	assert_int_equal(call_count, 1);
	fake_advance(118);
	assert_int_equal(call_count, 2);
	fail_ten_times("");
	fake_advance(20000);
	assert_int_equal(call_count, 10);
	submit_retry_now(submit);
	submit_retry_now(submit);
	fake_advance(0);
	assert_int_equal(call_count, 11);
	assert_string_equal(calls[10].invocation, calls[0].invocation);
	assert_int_equal(calls[10].attempt, 11);
	answer(10, "", true); // a false dawn: the next wait is as long as it would have been
	fake_advance(2048 * 30 - 1);
	assert_int_equal(call_count, 11);
	submit_retry_now(submit);
	fake_advance(0);
	assert_int_equal(call_count, 12);
	answer(11, NULL, false);
	assert_int_equal(done[0].last, 1);
	submit_free(submit);
	assert_int_equal(fake_timers_running(), 0);
}

// An answer is not an outage: what ECS has throttled waits its time.
static void test_retry_now_throttled(void **state)
{
	struct submit *submit = submit_new(&fake_loop, NULL, NULL);

	(void)state;
	add("t", TASK_RUNNING, 1, false);
	submit_start(submit);
	fake_advance(0);
	fail_ten_times("ThrottlingException");
	submit_retry_now(submit);
	fake_advance(1024 * 30 - 1);
	assert_int_equal(call_count, 10);
	fake_advance(1024 * 30);
	assert_int_equal(call_count, 11);
	submit_free(submit);
	assert_int_equal(fake_timers_running(), 0);
}

static void test_batch(void **state)
{
	struct submit *submit = submit_new(&fake_loop, NULL, NULL);

	(void)state;
	submit_start(submit);
	add("t", TASK_RUNNING, 1, true);
	submit_notify(submit, "t");
	fake_advance(9999);
	assert_int_equal(call_count, 0);
	fake_advance(20100); // U[10 s, 30 s)
	assert_int_equal(call_count, 1);
	answer(0, NULL, false);
	// A report that cannot be built is given up, with its reason.
	add("u", TASK_STOPPED, 2, false);
	pending[0].nameless = true;
	submit_notify(submit, "u");
	fake_advance(0);
	assert_int_equal(call_count, 1);
	assert_string_equal(done[1].why, "container state change has no container name");
	submit_free(submit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bodies, reset),
		cmocka_unit_test_setup(test_cut, reset),
		cmocka_unit_test_setup(test_order_and_bound, reset),
		cmocka_unit_test_setup(test_repeats, reset),
		cmocka_unit_test_setup(test_batch, reset),
		cmocka_unit_test_setup(test_retry_now, reset),
		cmocka_unit_test_setup(test_retry_now_throttled, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
