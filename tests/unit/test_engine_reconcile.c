// reconcile(), dependencies and schedule(): table-driven, without Docker.
#include "engine/dependency.h"
#include "engine/reconcile.h"
#include "engine/schedule.h"

#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

// A task of containers "a", "b", ...; letters of `essential` name the essential ones.
static struct task *make_task(size_t count, const char *essential)
{
	struct task *task = task_new();
	task->arn = xstrdup("arn:aws:ecs:us-west-2:123456789012:task/c/1");
	task->desired = TASK_RUNNING;
	task->container_count = count;
	task->containers = xcalloc(count, sizeof(*task->containers));
	for (size_t i = 0; i < count; i++) {
		struct container *c = &task->containers[i];
		c->name = xasprintf("%c", (char)('a' + i));
		c->image = xstrdup("i");
		c->essential = strchr(essential, 'a' + (int)i) != NULL;
		c->desired = CONTAINER_RUNNING;
		c->pidfd = -1;
	}
	return task;
}

static void depend(struct task *task, size_t from, const char *on, enum depends_condition condition)
{
	struct container *c = &task->containers[from];
	c->depends_on = xreallocarray(c->depends_on, c->depends_on_count + 1, sizeof(*c->depends_on));
	c->depends_on[c->depends_on_count++] = (struct depends_on){xstrdup(on), condition};
}

static const struct reconcile_env env = {.now = 1000, .wall_ms = 1000000, .scale = 1, .cleanup_wait_ms = 5000};

static void image_known(struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].image_env = xcalloc(1, sizeof(struct json_strings));
}

// Text of all actions: "a:create b:known=PULLED task:stop ...".
static char *actions_text(const struct task *task, const struct reconcile_env *e)
{
	struct actions actions = {0};
	struct buf out = {0};
	reconcile(task, e, &actions);
	for (size_t i = 0; i < actions.count; i++) {
		const struct action *a = &actions.items[i];
		const char *name = task->container_count ? task->containers[a->container].name : "";
		buf_printf(&out, "%s", i ? " " : "");
		switch (a->kind) {
		case ACTION_TASK_STOP:
			buf_printf(&out, "task:stop");
			break;
		case ACTION_TASK_KNOWN:
			buf_printf(&out, "task:%s", task_status_name(a->task_status));
			break;
		case ACTION_CONTAINER_STOP:
			buf_printf(&out, "%s:desired-stopped", name);
			break;
		case ACTION_CONTAINER_KNOWN:
			buf_printf(&out, "%s=%s", name, container_status_name(a->container_status));
			break;
		case ACTION_CONTAINER_NEVER:
			buf_printf(&out, "%s:never", name);
			break;
		case ACTION_CONTAINER_REFUSED:
			buf_printf(&out, "%s:refused", name);
			break;
		case ACTION_OPERATE:
			buf_printf(&out, "%s:%s", name, operation_name(a->operation));
			break;
		case ACTION_WAKE:
			buf_printf(&out, "wake@%llu", (unsigned long long)a->at);
			break;
		case ACTION_REMOVE_CGROUP:
			buf_printf(&out, "remove-cgroup");
			break;
		case ACTION_FORGET:
			buf_printf(&out, "forget");
			break;
		}
	}
	actions_free(&actions);
	return buf_take(&out);
}

static void expect_actions(const struct task *task, const struct reconcile_env *e, const char *expected)
{
	_cleanup_free_ char *text = actions_text(task, e);
	assert_string_equal(text, expected);
}

static void test_launch_steps(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	expect_actions(task, &env, "a=MANIFEST_PULLED");
	a->known = CONTAINER_MANIFEST_PULLED;
	task->known = TASK_MANIFEST_PULLED;
	expect_actions(task, &env, "a:pull");
	a->known = CONTAINER_PULLED;
	expect_actions(task, &env, "a:image-inspect");
	image_known(task);
	expect_actions(task, &env, "a:create");
	a->in_flight = OP_CREATE;
	expect_actions(task, &env, "");
	a->in_flight = OP_NONE;
	a->known = CONTAINER_CREATED;
	expect_actions(task, &env, "task:CREATED");
	task->known = TASK_CREATED;
	expect_actions(task, &env, "a:start");
	a->known = CONTAINER_RUNNING;
	expect_actions(task, &env, "task:RUNNING");
	task->known = TASK_RUNNING;
	expect_actions(task, &env, "");
	task_free(task);
}

static void test_cached_image_spares_the_pull(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct reconcile_env cached = env;
	cached.inspect_before_pull = true;
	expect_actions(task, &cached, "a:image-inspect");
	image_known(task);
	expect_actions(task, &cached, "a=MANIFEST_PULLED"); // this daemon cannot be asked for digests
	cached.manifest_calls = true;
	expect_actions(task, &cached, "a:manifest");
	task->containers[0].known = CONTAINER_MANIFEST_PULLED;
	task->known = TASK_MANIFEST_PULLED;
	expect_actions(task, &cached, "a:pull"); // inspected, but not there
	task->containers[0].image_id = xstrdup("sha256:1");
	expect_actions(task, &cached, "a=PULLED");
	task_free(task);
}

static void test_digest_before_the_pull(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	struct reconcile_env asks = env;
	asks.manifest_calls = true;
	expect_actions(task, &asks, "a:manifest");
	a->in_flight = OP_MANIFEST;
	expect_actions(task, &asks, "");
	a->desired = CONTAINER_STOPPED;
	expect_actions(task, &asks, "task:stop");
	task->desired = TASK_STOPPED;
	expect_actions(task, &asks, "a=STOPPED");
	a->in_flight = OP_NONE;
	a->desired = CONTAINER_RUNNING;
	task->desired = TASK_RUNNING;
	free(a->image);
	a->image = xstrdup("i@sha256:1"); // has its digest
	expect_actions(task, &asks, "a=MANIFEST_PULLED");
	// once: it was pulled before, and is still there
	free(a->image);
	a->image = xstrdup("i");
	a->pulled_before = true;
	expect_actions(task, &asks, "a:image-inspect");
	a->image_id = xstrdup("sha256:1");
	expect_actions(task, &asks, "a=MANIFEST_PULLED");
	a->known = CONTAINER_MANIFEST_PULLED;
	task->known = TASK_MANIFEST_PULLED;
	expect_actions(task, &asks, "a=PULLED");
	task_free(task);
}

static void test_logins_wait_for_the_role(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	struct reconcile_env asks = env;
	asks.manifest_calls = true;
	a->registry_auth.type = REGISTRY_ECR;
	expect_actions(task, &asks, "a:manifest"); // the instance's own role
	a->registry_auth.use_execution_role = true;
	expect_actions(task, &asks, "a:manifest"); // the task has none: it is told so
	task->execution_credentials_id = xstrdup("id");
	expect_actions(task, &asks, "");
	a->desired = CONTAINER_STOPPED;
	expect_actions(task, &asks, "task:stop"); // a stop does not wait
	a->desired = CONTAINER_RUNNING;
	task->role_known = true;
	expect_actions(task, &asks, "a:manifest");
	a->registry_auth.type = REGISTRY_ASM;
	expect_actions(task, &asks, "a:registry-login");
	a->in_flight = OP_LOGIN;
	expect_actions(task, &asks, "");
	a->in_flight = OP_NONE;
	a->registry_login = xstrdup("{}");
	expect_actions(task, &asks, "a:manifest");
	// After a restart the login is gone.
	a->known = CONTAINER_MANIFEST_PULLED;
	task->known = TASK_MANIFEST_PULLED;
	expect_actions(task, &asks, "a:pull");
	free(TAKE(a->registry_login));
	expect_actions(task, &asks, "a:registry-login");
	task->role_known = false;
	expect_actions(task, &asks, "");
	task_free(task);
}

static void test_queued_task_waits_unless_it_stops(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	task->queued = true;
	expect_actions(task, &env, "");
	task->containers[0].desired = CONTAINER_STOPPED;
	expect_actions(task, &env, "task:stop");
	task->desired = TASK_STOPPED;
	expect_actions(task, &env, "a=STOPPED");
	task_free(task);
}

static void test_unknown_outcome_is_asked_first(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	a->known = CONTAINER_CREATED;
	task->known = TASK_CREATED;
	a->must_inspect = true;
	expect_actions(task, &env, "a:inspect");
	a->not_before = 1500;
	expect_actions(task, &env, "wake@1500");
	a->not_before = 0;
	task->desired = TASK_STOPPED;
	a->desired = CONTAINER_STOPPED;
	expect_actions(task, &env, "a:inspect"); // not STOPPED on a stale fact
	task_free(task);
}

static void test_essential_exit_stops_the_task(void **state)
{
	(void)state;
	struct task *task = make_task(2, "a");
	task->known = TASK_RUNNING;
	task->containers[0].known = CONTAINER_STOPPED;
	task->containers[1].known = CONTAINER_RUNNING;
	expect_actions(task, &env, "task:stop");
	task->desired = TASK_STOPPED;
	task->containers[0].desired = task->containers[1].desired = CONTAINER_STOPPED;
	expect_actions(task, &env, "b:stop");
	task->containers[1].known = CONTAINER_STOPPED;
	expect_actions(task, &env, "task:STOPPED");
	task_free(task);
}

static void test_non_essential_exit_does_not(void **state)
{
	(void)state;
	struct task *task = make_task(2, "a");
	task->known = TASK_RUNNING;
	task->containers[0].known = CONTAINER_RUNNING;
	task->containers[1].known = CONTAINER_STOPPED;
	expect_actions(task, &env, "");
	task_free(task);
}

static void test_known_status_waits_while_an_essential_is_gone(void **state)
{
	(void)state;
	struct task *task = make_task(2, "a");
	task->known = TASK_CREATED;
	task->containers[0].known = CONTAINER_STOPPED;
	task->containers[1].known = CONTAINER_RUNNING;
	assert_int_equal(reconcile_known_status(task), TASK_CREATED);
	task->containers[0].essential = false;
	assert_int_equal(reconcile_known_status(task), TASK_RUNNING);
	task_free(task);
}

static void test_reverse_stop_order(void **state)
{
	(void)state;
	struct task *task = make_task(2, "b");
	depend(task, 1, "a", DEPENDS_START);
	task->known = TASK_RUNNING;
	task->desired = TASK_STOPPED;
	for (int i = 0; i < 2; i++) {
		task->containers[i].known = CONTAINER_RUNNING;
		task->containers[i].desired = CONTAINER_STOPPED;
	}
	expect_actions(task, &env, "b:stop");
	task->containers[1].known = CONTAINER_STOPPED;
	expect_actions(task, &env, "a:stop");
	task_free(task);
}

static void test_pull_is_given_up_when_the_task_stops(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	task->known = TASK_MANIFEST_PULLED;
	task->desired = TASK_STOPPED;
	task->containers[0].desired = CONTAINER_STOPPED;
	task->containers[0].known = CONTAINER_MANIFEST_PULLED;
	task->containers[0].in_flight = OP_PULL;
	expect_actions(task, &env, "a=STOPPED");
	task->containers[0].in_flight = OP_CREATE; // may have made a container: its answer is waited for
	expect_actions(task, &env, "");
	task_free(task);
}

static void test_cleanup_waits_for_time_and_report(void **state)
{
	(void)state;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	task->known = TASK_STOPPED;
	task->desired = TASK_STOPPED;
	a->known = a->desired = CONTAINER_STOPPED;
	a->docker_id = xstrdup("d");
	task->known_ms = env.wall_ms - 4000;
	expect_actions(task, &env, "wake@2001");
	task->known_ms = env.wall_ms - 5000;
	task->unreported = true;
	expect_actions(task, &env, "");
	task->unreported = false;
	expect_actions(task, &env, "a:remove");
	task->known_ms = env.wall_ms; // its image's room is needed
	task->cleanup_now = true;
	expect_actions(task, &env, "a:remove");
	a->removed = true;
	task->volume_call = task;
	expect_actions(task, &env, "");
	task->volume_call = NULL;
	expect_actions(task, &env, "forget");
	task_free(task);
}

// The cgroup goes after the containers and before the task; while it is busy the task stays.
static void test_cleanup_removes_the_cgroup_last(void **state)
{
	(void)state;
	struct reconcile_env with = env;
	struct task *task = make_task(1, "a");
	struct container *a = &task->containers[0];
	with.cgroups = true;
	task->known = task->desired = TASK_STOPPED;
	a->known = a->desired = CONTAINER_STOPPED;
	a->docker_id = xstrdup("d");
	task->known_ms = env.wall_ms - 5000;
	task->in_cgroup = true;
	expect_actions(task, &with, "a:remove");
	a->removed = true;
	expect_actions(task, &env, "forget"); // this host has no driver any more
	expect_actions(task, &with, "remove-cgroup");
	task->cgroup_call = task;
	expect_actions(task, &with, "");
	task->cgroup_call = NULL;
	task->cgroup_not_before = 1700;
	expect_actions(task, &with, "wake@1700");
	task->cgroup_not_before = 1000;
	expect_actions(task, &with, "remove-cgroup");
	task->cgroup_removed = true;
	expect_actions(task, &with, "forget");
	task->cgroup_removed = false;
	task->in_cgroup = false;
	expect_actions(task, &with, "forget");
	task_free(task);
}

struct dependency_case {
	enum depends_condition condition;
	enum container_status known, desired;
	bool has_exit;
	int exit;
	enum container_health health;
	enum dependency_verdict verdict;
	const char *text; // part of it
};

static void test_dependency_conditions(void **state)
{
	(void)state;
	static const struct dependency_case cases[] = {
		{DEPENDS_START, CONTAINER_CREATED, CONTAINER_RUNNING, false, 0, 0, DEPENDENCY_BLOCKED, NULL},
		{DEPENDS_START, CONTAINER_RUNNING, CONTAINER_RUNNING, false, 0, 0, DEPENDENCY_MET, NULL},
		{DEPENDS_START, CONTAINER_STOPPED, CONTAINER_RUNNING, true, 1, 0, DEPENDENCY_MET, NULL},
		{DEPENDS_CREATE, CONTAINER_CREATED, CONTAINER_RUNNING, false, 0, 0, DEPENDENCY_MET, NULL},
		{DEPENDS_COMPLETE, CONTAINER_RUNNING, CONTAINER_RUNNING, false, 0, 0, DEPENDENCY_BLOCKED, NULL},
		{DEPENDS_COMPLETE, CONTAINER_STOPPED, CONTAINER_RUNNING, true, 7, 0, DEPENDENCY_MET, NULL},
		{DEPENDS_COMPLETE, CONTAINER_STOPPED, CONTAINER_RUNNING, false, 0, 0, DEPENDENCY_FAILED,
		 "because dependency will never start"},
		{DEPENDS_SUCCESS, CONTAINER_STOPPED, CONTAINER_RUNNING, true, 0, 0, DEPENDENCY_MET, NULL},
		{DEPENDS_SUCCESS, CONTAINER_STOPPED, CONTAINER_RUNNING, true, 4, 0, DEPENDENCY_FAILED,
		 "dependency graph: failed to resolve container ordering dependency [a(i) (STOPPED->RUNNING) - Exit: "
		 "4] for target "
		 "[b(i) (MANIFEST_PULLED->RUNNING)] as dependency did not exit successfully."},
		{DEPENDS_HEALTHY, CONTAINER_RUNNING, CONTAINER_RUNNING, false, 0, CONTAINER_HEALTH_UNKNOWN,
		 DEPENDENCY_BLOCKED, NULL},
		{DEPENDS_HEALTHY, CONTAINER_RUNNING, CONTAINER_RUNNING, false, 0, CONTAINER_UNHEALTHY,
		 DEPENDENCY_BLOCKED, NULL},
		{DEPENDS_HEALTHY, CONTAINER_RUNNING, CONTAINER_RUNNING, false, 0, CONTAINER_HEALTHY, DEPENDENCY_MET,
		 NULL},
		{DEPENDS_HEALTHY, CONTAINER_NONE, CONTAINER_STOPPED, false, 0, 0, DEPENDENCY_FAILED,
		 "[a(i) (NONE->STOPPED)] for target [b(i) (MANIFEST_PULLED->RUNNING)] because dependency will never "
		 "start"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct dependency_case *c = &cases[i];
		struct task *task = make_task(2, "b");
		depend(task, 1, "a", c->condition);
		struct container *a = &task->containers[0];
		a->known = c->known;
		a->desired = c->desired;
		a->has_exit_code = c->has_exit;
		a->exit_code = c->exit;
		a->health = c->health;
		a->health_check_docker = true;
		task->containers[1].known = CONTAINER_MANIFEST_PULLED;
		char *text = NULL;
		int64_t wake = 0;
		enum dependency_verdict verdict = dependency_check(task, &task->containers[1], 0, 1, &wake, &text);
		if (verdict != c->verdict)
			fail_msg("case %zu: verdict %d, expected %d", i, verdict, c->verdict);
		if (c->text && (!text || !strstr(text, c->text)))
			fail_msg("case %zu: text %s", i, text ? text : "(null)");
		free(text);
		task_free(task);
	}
}

static void test_start_timeout(void **state)
{
	(void)state;
	struct task *task = make_task(2, "b");
	depend(task, 1, "a", DEPENDS_COMPLETE);
	struct container *a = &task->containers[0];
	a->known = CONTAINER_RUNNING;
	a->start_timeout_s = 10;
	a->started_ms = 100000;
	task->containers[1].known = CONTAINER_MANIFEST_PULLED;
	char *text = NULL;
	int64_t wake = 0;
	assert_int_equal(dependency_check(task, &task->containers[1], 104000, 1, &wake, &text), DEPENDENCY_BLOCKED);
	assert_int_equal(wake, 6001);
	assert_int_equal(dependency_check(task, &task->containers[1], 110001, 1, &wake, &text), DEPENDENCY_FAILED);
	assert_string_equal(text,
			    "dependency graph: container ordering dependency [a(i) (RUNNING->RUNNING)] for target "
			    "[b(i) (MANIFEST_PULLED->RUNNING)] has timed out.");
	free(text);
	task_free(task);
}

static void test_cycles(void **state)
{
	(void)state;
	struct task *task = make_task(3, "a");
	depend(task, 0, "b", DEPENDS_START);
	depend(task, 1, "c", DEPENDS_START);
	assert_true(dependency_resolvable(task));
	depend(task, 2, "a", DEPENDS_START);
	assert_false(dependency_resolvable(task));
	task_free(task);
	task = make_task(1, "a");
	depend(task, 0, "nope", DEPENDS_START);
	assert_false(dependency_resolvable(task));
	task_free(task);
}

static void test_schedule_slots(void **state)
{
	(void)state;
	struct schedule_limits limits = {.slots = {[SCHEDULE_LAUNCH] = 2}};
	struct schedule_ask asks[] = {
		{.kind = SCHEDULE_LAUNCH},
		{.kind = SCHEDULE_LAUNCH},
		{.kind = SCHEDULE_FREE},
		{.kind = SCHEDULE_LAUNCH, .in_flight = true, .age_ms = 10},
	};
	schedule(asks, 4, &limits);
	assert_true(asks[0].granted); // first in, first out
	assert_false(asks[1].granted);
	assert_true(asks[2].granted);
	asks[3].age_ms = SCHEDULE_STUCK_MS; // stuck: no longer in the way
	schedule(asks, 4, &limits);
	assert_true(asks[0].granted && asks[1].granted);
}

static void test_schedule_hard_cap(void **state)
{
	(void)state;
	struct schedule_limits limits = {.slots = {[SCHEDULE_LAUNCH] = 1}};
	struct schedule_ask asks[SCHEDULE_HARD_CAP + 1];
	memset(asks, 0, sizeof(asks));
	for (int i = 0; i <= SCHEDULE_HARD_CAP; i++)
		asks[i] =
			(struct schedule_ask){.kind = SCHEDULE_LAUNCH, .in_flight = i > 0, .age_ms = SCHEDULE_STUCK_MS};
	schedule(asks, SCHEDULE_HARD_CAP + 1, &limits);
	assert_false(asks[0].granted);
}

static void test_schedule_ports(void **state)
{
	(void)state;
	static uint8_t used[8192];
	assert_int_equal(schedule_port(used, 100, 102, 0), 100);
	assert_int_equal(schedule_port(used, 100, 102, 100), 101);
	assert_int_equal(schedule_port(used, 100, 102, 102), 100);
	port_mark(used, 100);
	assert_int_equal(schedule_port(used, 100, 102, 102), 101);
	port_mark(used, 101);
	port_mark(used, 102);
	assert_int_equal(schedule_port(used, 100, 102, 0), 0);
}

// A task that was taken over and cannot be launched here: what runs is left alone, nothing is begun.
static void test_watch_only(void **state)
{
	(void)state;
	static const struct {
		enum container_status known, desired;
		bool must_inspect;
		const char *actions;
	} cases[] = {
		{CONTAINER_NONE, CONTAINER_RUNNING, false, "a:refused"},
		{CONTAINER_PULLED, CONTAINER_RUNNING, false, "a:refused"},
		{CONTAINER_CREATED, CONTAINER_RUNNING, false, "a:refused"},
		{CONTAINER_CREATED, CONTAINER_RUNNING, true, "a:inspect"}, // it may run by now
		{CONTAINER_RUNNING, CONTAINER_RUNNING, false, ""},
		{CONTAINER_RUNNING, CONTAINER_STOPPED, false, "a:stop"},
		{CONTAINER_NONE, CONTAINER_STOPPED, false, "a=STOPPED"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task *task = make_task(1, "");
		task->watch_only = xstrdup("network mode awsvpc");
		task->known = TASK_RUNNING;
		task->containers[0].known = cases[i].known;
		task->containers[0].desired = cases[i].desired;
		task->containers[0].must_inspect = cases[i].must_inspect;
		_cleanup_free_ char *text = actions_text(task, &env);
		if (!str_equal(text, cases[i].actions))
			fail_msg("case %zu: %s", i, text);
		task_free(task);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_only),
		cmocka_unit_test(test_launch_steps),
		cmocka_unit_test(test_cached_image_spares_the_pull),
		cmocka_unit_test(test_digest_before_the_pull),
		cmocka_unit_test(test_logins_wait_for_the_role),
		cmocka_unit_test(test_queued_task_waits_unless_it_stops),
		cmocka_unit_test(test_unknown_outcome_is_asked_first),
		cmocka_unit_test(test_essential_exit_stops_the_task),
		cmocka_unit_test(test_non_essential_exit_does_not),
		cmocka_unit_test(test_known_status_waits_while_an_essential_is_gone),
		cmocka_unit_test(test_reverse_stop_order),
		cmocka_unit_test(test_pull_is_given_up_when_the_task_stops),
		cmocka_unit_test(test_cleanup_waits_for_time_and_report),
		cmocka_unit_test(test_cleanup_removes_the_cgroup_last),
		cmocka_unit_test(test_dependency_conditions),
		cmocka_unit_test(test_start_timeout),
		cmocka_unit_test(test_cycles),
		cmocka_unit_test(test_schedule_slots),
		cmocka_unit_test(test_schedule_hard_cap),
		cmocka_unit_test(test_schedule_ports),
	};
	return cmocka_run_group_tests_name("engine: reconcile", tests, NULL, NULL);
}
