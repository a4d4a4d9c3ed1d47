// Which tasks outlive their clean-up for the sake of their logs (logging.md ).
#include "common/util.h"
#include "engine/engine_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static bool needed;

static bool role_needed(const struct task *task, void *arg)
{
	(void)arg;
	assert_non_null(task->execution_credentials_id);
	return needed;
}

static void make_entry(struct engine *engine, struct entry *entry, bool role, bool signs)
{
	struct task *task = task_new();
	task->arn = xstrdup("arn");
	task->containers = xcalloc(2, sizeof(*task->containers));
	task->container_count = 2;
	task->containers[0].pidfd = task->containers[1].pidfd = -1;
	task->containers[1].logs_by_execution_role = signs;
	if (role)
		task->execution_credentials_id = xstrdup("id");
	*entry = (struct entry){.engine = engine, .task = task};
}

static void test_who_is_kept(void **state)
{
	static const struct {
		bool role, signs, needed, kept;
	} cases[] = {
		{true, true, true, true},
		{false, true, true, false},
		{true, false, true, false},
		{true, true, false, false},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct entry entry, *entries[] = {&entry};
		struct engine engine = {.o.role_needed = role_needed, .entries = entries, .count = 1};
		make_entry(&engine, &entry, cases[i].role, cases[i].signs);
		needed = cases[i].needed;
		assert_int_equal(engine_keeps(&entry), cases[i].kept);
		assert_int_equal(engine_keeps(&entry), cases[i].kept);
		needed = false;
		assert_false(engine_keeps(&entry));
		needed = true;
		engine.o.role_needed = NULL;
		assert_false(engine_keeps(&entry));
		task_free(entry.task);
	}
}

static void test_not_too_many(void **state)
{
	static struct entry all[KEPT_MAX + 1], *entries[KEPT_MAX + 1];
	struct engine engine = {.o.role_needed = role_needed, .entries = entries, .count = ARRAY_SIZE(all)};
	(void)state;
	needed = true;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		entries[i] = &all[i];
		make_entry(&engine, &all[i], true, true);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(engine_keeps(&all[i]), i < KEPT_MAX);
	assert_true(engine_keeps(&all[0])); // who is in stays in
	needed = false;
	assert_false(engine_keeps(&all[0]));
	needed = true;
	assert_true(engine_keeps(&all[KEPT_MAX]));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		task_free(all[i].task);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_kept),
		cmocka_unit_test(test_not_too_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
