#include "agent/endpoint/server/credential_store.h"
#include "agent/endpoint/server/rate_limit.h"
#include "agent/endpoint/server/task_store.h"
#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct credential_texts texts(const char *id, const char *role, const char *secret)
{
	return (struct credential_texts){.id = id,
					 .task_arn = "arn:task",
					 .role = role,
					 .role_arn = "arn:role",
					 .access_key_id = "AK",
					 .secret_access_key = secret,
					 .session_token = "to<ken",
					 .expiration = "2026"};
}

static void put(struct credential_store *store, const char *id, const char *role, const char *secret)
{
	struct credential_texts t = texts(id, role, secret);
	credential_put(store, &t);
}

static void count_returned(const struct credential *credential, void *arg)
{
	buf_printf(arg, "%s=%s;", credential->texts.id, credential->texts.secret_access_key);
}

static void test_credentials(void **state)
{
	(void)state;
	struct credential_store *store = credential_store_new();
	assert_null(credential_get(store, "a"));
	put(store, "a", "TaskApplication", "s1");
	const struct credential *c = credential_get(store, "a");
	static const char body[] = "{\"RoleArn\":\"arn:role\",\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"s1\","
				   "\"Token\":\"to\\u003cken\",\"Expiration\":\"2026\"}";
	assert_int_equal(c->body_len, sizeof(body) - 1);
	assert_memory_equal(c->body, body, c->body_len);
	assert_false(c->execution_role);
	put(store, "a", "TaskApplication", "s2");
	assert_string_equal(credential_get(store, "a")->texts.secret_access_key, "s2");
	assert_int_equal(credential_count(store), 1);
	credential_remove(store, "a");
	credential_remove(store, "a");
	assert_null(credential_get(store, "a"));
	for (int i = 0; i < 1000; i++) { // the table grows
		char id[16];
		snprintf(id, sizeof(id), "id-%d", i);
		put(store, id, "TaskApplication", id);
	}
	assert_int_equal(credential_count(store), 1000);
	assert_string_equal(credential_get(store, "id-777")->texts.secret_access_key, "id-777");
	credential_store_free(store);
}

static void test_refill(void **state)
{
	(void)state;
	struct credential_store *store = credential_store_new();
	put(store, "app", "TaskApplication", "1");
	put(store, "exec", "TaskExecution", "2");
	put(store, "exec2", "TaskExecution", "3");
	put(store, "gone", "TaskApplication", "4");
	// One that breaks off drops nothing.
	credential_refill_begin(store);
	credential_expect(store, "app", "arn:task", "TaskApplication");
	assert_int_equal(credential_count(store), 4);
	credential_refill_begin(store);
	credential_expect(store, "app", "arn:task", "TaskApplication");
	credential_expect(store, "exec", "arn:task", "TaskExecution");
	credential_expect(store, "new", "arn:task", "TaskExecution");
	put(store, "exec2", "TaskExecution", "5"); // known to ecsd itself: not given back
	assert_int_equal(credential_refill_end(store), 1);
	assert_null(credential_get(store, "gone"));
	assert_false(credential_get(store, "app")->pending);
	assert_true(credential_get(store, "new")->pending);
	assert_null(credential_get(store, "new")->body);
	struct buf returned = {0};
	credential_each_returned(store, count_returned, &returned);
	assert_string_equal(returned.data, "app=1;exec=2;");
	buf_free(&returned);
	put(store, "new", "TaskExecution", "6");
	assert_false(credential_get(store, "new")->pending);
	credential_store_free(store);
}

static void test_tasks(void **state)
{
	(void)state;
	struct task_store *store = task_store_new();
	size_t len, matches;
	assert_string_equal(task_store_list(store, &len), "{\"Tasks\":[]}");
	task_store_put(store, "arn:1", "{\"Arn\":\"1\"}", (const char *[]){"aaaabbbbccccdddd", "aaab"}, 2);
	task_store_put(store, "arn:2", "{\"Arn\":\"2\"}", (const char *[]){"bbbb"}, 1);
	assert_string_equal(task_store_list(store, &len), "{\"Tasks\":[{\"Arn\":\"1\"},{\"Arn\":\"2\"}]}");
	assert_string_equal(task_store_by_arn(store, "arn:2"), "{\"Arn\":\"2\"}");
	assert_null(task_store_by_arn(store, "arn:3"));
	assert_string_equal(task_store_by_docker_id(store, "aaaabbbbccccdddd"), "{\"Arn\":\"1\"}");
	assert_null(task_store_by_docker_id(store, "aaaabbbbccccddd"));
	assert_non_null(task_store_by_prefix(store, "b", &matches));
	assert_int_equal(matches, 1);
	assert_null(task_store_by_prefix(store, "aaa", &matches)); // two containers of one task
	assert_int_equal(matches, 2);
	assert_null(task_store_by_prefix(store, "", &matches));
	assert_int_equal(matches, 3);
	assert_null(task_store_by_prefix(store, "x", &matches));
	assert_int_equal(matches, 0);
	task_store_refill_begin(store);
	task_store_put(store, "arn:1", "{}", NULL, 0);
	task_store_refill_end(store);
	assert_string_equal(task_store_list(store, &len), "{\"Tasks\":[{}]}");
	task_store_remove(store, "arn:1");
	task_store_remove(store, "arn:1");
	assert_string_equal(task_store_list(store, &len), "{\"Tasks\":[]}");
	assert_int_equal(len, 12);
	task_store_free(store);
}

static void test_rate(void **state)
{
	(void)state;
	struct rate_limiter *limiter = rate_limiter_new(40, 60);
	uint64_t now = 1000;
	for (int i = 0; i < 60; i++)
		assert_true(rate_limiter_allow(limiter, 1, "/a", now));
	assert_false(rate_limiter_allow(limiter, 1, "/a", now));
	assert_true(rate_limiter_allow(limiter, 2, "/a", now)); // other address
	assert_true(rate_limiter_allow(limiter, 1, "/b", now)); // other path
	now += 24;
	assert_false(rate_limiter_allow(limiter, 1, "/a", now));
	now += 1; // 25 ms: one token at 40/s
	assert_true(rate_limiter_allow(limiter, 1, "/a", now));
	assert_false(rate_limiter_allow(limiter, 1, "/a", now));
	now += 3600000; // never more than the burst
	int allowed = 0;
	while (rate_limiter_allow(limiter, 1, "/a", now))
		allowed++;
	assert_int_equal(allowed, 60);
	rate_limiter_set(limiter, 1, 1);
	assert_true(rate_limiter_allow(limiter, 1, "/a", now));
	assert_false(rate_limiter_allow(limiter, 1, "/a", now));
	rate_limiter_free(limiter);
}

// The least recently used bucket makes room, and only that one.
static void test_rate_lru(void **state)
{
	(void)state;
	struct rate_limiter *limiter = rate_limiter_new(1, 1);
	for (uint32_t i = 0; i < RATE_LIMIT_BUCKETS; i++)
		assert_true(rate_limiter_allow(limiter, i, "/a", 1));
	assert_false(rate_limiter_allow(limiter, 0, "/a", 1));   // used again: no longer the oldest
	assert_true(rate_limiter_allow(limiter, 5000, "/a", 1)); // puts out 1
	assert_false(rate_limiter_allow(limiter, 0, "/a", 1));
	assert_false(rate_limiter_allow(limiter, 2, "/a", 1));
	assert_true(rate_limiter_allow(limiter, 1, "/a", 1)); // new and full; puts out 3
	assert_true(rate_limiter_allow(limiter, 3, "/a", 1));
	for (uint32_t i = 0; i < 100000; i++)
		rate_limiter_allow(limiter, i * 7919, "/x", i);
	rate_limiter_free(limiter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_credentials), cmocka_unit_test(test_refill),   cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_rate),        cmocka_unit_test(test_rate_lru),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
