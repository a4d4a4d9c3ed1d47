// Shared fetches against a scripted Docker daemon: who shares, who hears what, what is tried again; and the memory of
// images pulled before.
#include "test_docker_fake.h"

#include "engine/fetch.h"

#define SCALE 50
#define DIGEST "sha256:0123456789012345678901234567890123456789012345678901234567890123"

static char directory[64];
static struct store *store;
static struct engine *engine;
static struct fake *fake;
static struct docker_error seen[8];
static char digests[8][128];
static size_t count, expected;

static void begin(const struct step *steps, size_t step_count)
{
	struct error err;
	fake = fake_new(steps, step_count, SCALE);
	snprintf(directory, sizeof(directory), "/tmp/ecsd-fetch-XXXXXX");
	assert_non_null(mkdtemp(directory));
	store = store_open(directory, &err);
	assert_non_null(store);
	engine = engine_new(&(struct engine_options){.loop = fake->loop,
						     .docker = fake->docker,
						     .store = store,
						     .pull_timeout_ms = 7200000,
						     .manifest_timeout_ms = 60000});
	loop_set_turn_end(fake->loop, NULL, NULL); // nothing is decided here
	count = 0;
	memset(seen, 0, sizeof(seen));
	memset(digests, 0, sizeof(digests));
}

static void end(void)
{
	char command[128];
	engine = engine_free(engine);
	store = store_close(store);
	fake_free(fake);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

// A task of one container for each image.
static struct entry *task_of(const char *const *images, size_t n)
{
	struct task *task = task_new();
	task->arn = xstrdup("arn");
	task->desired = TASK_RUNNING;
	task->containers = xcalloc(n, sizeof(*task->containers));
	task->container_count = n;
	for (size_t i = 0; i < n; i++) {
		task->containers[i].name = xstrdup("c");
		task->containers[i].image = xstrdup(images[i]);
		task->containers[i].pidfd = -1;
	}
	return engine_insert(engine, task);
}

static void on_done(struct container_ref *ref, const struct fetch_result *result)
{
	struct container *c = ref_container(ref);
	c->call = NULL;
	c->in_flight = OP_NONE;
	seen[ref->index] = result->err;
	snprintf(digests[ref->index], sizeof(digests[0]), "%s", result->digest ? result->digest : "");
	if (++count == expected)
		loop_stop(fake->loop);
}

static void join(struct entry *entry, size_t index, enum operation operation)
{
	entry->task->containers[index].in_flight = operation;
	fetch_join(&entry->refs[index], operation, on_done);
}

static void run(size_t answers)
{
	expected = answers;
	loop_run(fake->loop);
	assert_int_equal(count, answers);
}

#define PULLED ANSWER("200 OK", "{\"status\":\"done\"}")
#define MANIFEST(type) ANSWER("200 OK", "{\"Descriptor\":{\"mediaType\":\"" type "\",\"digest\":\"" DIGEST "\"}}")
#define SCHEMA2 "application/vnd.docker.distribution.manifest.v2+json"

static void one_pull_for_all(void **state)
{
	(void)state;
	static const char *const images[] = {"r/a:1", "r/a:1", "r/b:1", "r/a:1"};
	begin((struct step[]){{.answer = PULLED}, {.answer = PULLED}}, 2);
	struct entry *entry = task_of(images, 4);
	for (size_t i = 0; i < 4; i++)
		join(entry, i, OP_PULL);
	assert_true(fetch_counts(entry->task->containers[0].call));
	assert_false(fetch_counts(entry->task->containers[1].call));
	assert_true(fetch_counts(entry->task->containers[2].call));
	fetch_leave(TAKE(entry->task->containers[3].call)); // the others go on
	run(3);
	assert_int_equal(seen[1].failure, DOCKER_OK);
	assert_true(engine_image_pulled(engine, "r/a:1"));
	_cleanup_free_ char *key = fetch_key(&entry->refs[0], OP_PULL);
	assert_false(fetch_runs(engine, key));
	end();
}

static void the_first_one_leaves(void **state)
{
	(void)state;
	static const char *const images[] = {"r/a:1", "r/a:1"};
	begin((struct step[]){{.answer = PULLED}}, 1);
	struct entry *entry = task_of(images, 2);
	join(entry, 0, OP_PULL);
	join(entry, 1, OP_PULL);
	fetch_leave(TAKE(entry->task->containers[0].call));
	assert_true(fetch_counts(entry->task->containers[1].call));
	run(1);
	join(entry, 0, OP_PULL); // the last one to leave cancels
	fetch_leave(TAKE(entry->task->containers[0].call));
	assert_null(engine->fetches);
	join(entry, 0, OP_PULL); // and one may be left over in the end
	end();
}

static void digests_of_manifests(void **state)
{
	(void)state;
	static const char *const images[] = {"r/a:1", "r/b:1", "r/c:1"};
	begin((struct step[]){{.answer = MANIFEST(SCHEMA2)},
			      {.answer = MANIFEST("application/vnd.docker.distribution.manifest.v1+json")},
			      {.answer = MANIFEST("application/vnd.docker.distribution.manifest.v1+prettyjws")}},
	      3);
	struct entry *entry = task_of(images, 3);
	for (size_t i = 0; i < 3; i++) {
		join(entry, i, OP_MANIFEST);
		run(i + 1);
		assert_int_equal(seen[i].failure, DOCKER_OK);
	}
	assert_string_equal(digests[0], DIGEST);
	assert_string_equal(digests[1], ""); // schema 1
	assert_string_equal(digests[2], "");
	end();
}

static void what_is_tried_again(void **state)
{
	(void)state;
	static const struct {
		const char *status, *message;
		size_t tries; // until the answer that is good
	} cases[] = {
		{"500 x", "connection refused", 3},
		{"429 x", "toomanyrequests", 3},
		{"503 x", "unavailable", 3},
		{"404 x", "not there", 1},
		{"401 x", "who", 1},
		{"403 x", "no", 1},
		{"400 x", "bad", 1},
		{"500 x", "invalid reference format: repository name", 1},
		{"500 x", "manifest unknown", 1},
		{"500 x", "unauthorized: authentication required", 1},
		{"500 x", "denied", 1},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *bad = xasprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: "
						     "close\r\n\r\n{\"message\":\"%s\"}",
						     cases[i].status, cases[i].message);
		begin((struct step[]){{.answer = bad},
				      {.answer = cases[i].tries > 1 ? bad : MANIFEST(SCHEMA2)},
				      {.answer = MANIFEST(SCHEMA2)}},
		      cases[i].tries);
		struct entry *entry = task_of((const char *const[]){"r/a:1"}, 1);
		join(entry, 0, OP_MANIFEST);
		run(1);
		assert_int_equal(seen[0].failure == DOCKER_OK, cases[i].tries > 1);
		if (cases[i].tries == 1)
			assert_string_equal(seen[0].name, "CannotPullImageManifestError");
		end();
	}
}

static void an_absent_daemon_is_waited_for(void **state)
{
	(void)state;
	struct docker_error hopeless = {.failure = DOCKER_REFUSED, .message = "no basic auth credentials"};
	assert_true(fetch_is_hopeless(&hopeless));
	struct docker_error timeout = {.failure = DOCKER_UNKNOWN, .timeout = true, .message = "x"};
	assert_false(fetch_is_hopeless(&timeout));
	// A daemon that is not there is asked for ever; the deadline begins with its return.
	begin(NULL, 0);
	struct entry *entry = task_of((const char *const[]){"r/a:1"}, 1);
	join(entry, 0, OP_MANIFEST);
	struct timer stop;
	timer_init(&stop, fake->loop, (void (*)(void *))loop_stop, fake->loop);
	timer_start(&stop, 90000);
	loop_run(fake->loop);
	timer_done(&stop);
	assert_int_equal(count, 0);
	assert_non_null(engine->fetches);
	end();
}

static void a_silent_registry(void **state)
{
	(void)state;
	begin((struct step[]){{.answer = "HTTP/1.1 200 OK\r\n", .hold = true}}, 1);
	struct entry *entry = task_of((const char *const[]){"r/a:1"}, 1);
	join(entry, 0, OP_MANIFEST);
	run(1);
	assert_string_equal(seen[0].name, "DockerTimeoutError");
	assert_string_equal(seen[0].message, "Could not transition to MANIFEST_PULLED; timed out after waiting 1m0s");
	end();
}

static void by_digest_then_named(void **state)
{
	(void)state;
	static const char bad[] = ANSWER("500 x", "{\"message\":\"no room\"}");
	begin((struct step[]){{.answer = PULLED}, {.answer = bad}, {.answer = ANSWER("201 Created", "")}}, 3);
	struct entry *entry = task_of((const char *const[]){"r.tld:5/a:1"}, 1);
	entry->task->containers[0].image_digest = xstrdup(DIGEST);
	join(entry, 0, OP_PULL);
	run(1);
	assert_int_equal(seen[0].failure, DOCKER_OK);
	assert_non_null(strstr(fake->requests[0], "fromImage=r.tld%3A5%2Fa&tag=sha256%3A0123"));
	assert_non_null(strstr(fake->requests[2], "/images/r.tld%3A5/a%40sha256%3A0123"));
	assert_non_null(strstr(fake->requests[2], "repo=r.tld%3A5%2Fa&tag=1"));
	end();

	begin((struct step[]){{.answer = PULLED},
			      {.answer = bad},
			      {.answer = bad},
			      {.answer = bad},
			      {.answer = bad},
			      {.answer = bad}},
	      6);
	entry = task_of((const char *const[]){"r.tld/a"}, 1);
	entry->task->containers[0].image_digest = xstrdup(DIGEST);
	join(entry, 0, OP_PULL);
	run(1);
	assert_string_equal(seen[0].name, "CannotPullContainerError");
	assert_string_equal(seen[0].message, "failed to tag image 'r.tld/a@" DIGEST
					     "' as 'r.tld/a': Error response from daemon: no room");
	assert_false(engine_image_pulled(engine, "r.tld/a"));
	end();

	begin(NULL, 0);
	entry = task_of((const char *const[]){"r.tld/a:1"}, 1);
	entry->task->containers[0].image_digest = xstrdup("sha256:short");
	join(entry, 0, OP_PULL);
	run(1);
	assert_string_equal(seen[0].message,
			    "failed to prepare a canonical reference with image 'r.tld/a:1' and digest 'sha256:short': "
			    "invalid reference format");
	end();
}

// A Docker that goes away between pulling and tagging has refused nothing, however often it is asked.
static void away_while_tagging(void **state)
{
	(void)state;
	begin((struct step[]){{.answer = PULLED},
			      {.answer = NULL},
			      {.answer = NULL},
			      {.answer = NULL},
			      {.answer = NULL},
			      {.answer = NULL},
			      {.answer = NULL},
			      {.answer = ANSWER("201 Created", "")}},
	      8);
	struct entry *entry = task_of((const char *const[]){"r.tld/a:1"}, 1);
	entry->task->containers[0].image_digest = xstrdup(DIGEST);
	join(entry, 0, OP_PULL);
	run(1);
	assert_int_equal(seen[0].failure, DOCKER_OK);
	assert_non_null(strstr(fake->requests[7], "repo=r.tld%2Fa&tag=1"));
	end();
}

static void commit(void)
{
	struct error err;
	assert_true(pulled_dirty(engine));
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(pulled_write(engine, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	pulled_written(engine);
	assert_false(pulled_dirty(engine));
}

static void pulled_before_survives(void **state)
{
	(void)state;
	struct error err;
	char name[32];
	begin(NULL, 0);
	engine_note_pulled(engine, "a");
	engine_note_pulled(engine, "b");
	commit();
	engine_forget_pulled(engine, "a");
	engine_forget_pulled(engine, "never");
	assert_false(engine_image_pulled(engine, "a"));
	commit();
	engine_note_pulled(engine, "c");
	engine_forget_pulled(engine, "c");
	engine_note_pulled(engine, "c");
	commit();
	for (int i = 0; i < PULLED_MAX - 1; i++) {
		snprintf(name, sizeof(name), "i%d", i);
		engine_note_pulled(engine, name);
	}
	commit();
	engine->pulled = pulled_free(engine->pulled);
	assert_false(engine_image_pulled(engine, "c"));
	assert_int_equal(pulled_load(engine, &err), 0);
	assert_true(engine_image_pulled(engine, "c"));
	assert_true(engine_image_pulled(engine, name));
	assert_false(engine_image_pulled(engine, "a"));
	assert_false(engine_image_pulled(engine, "b")); // the oldest, above the limit
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_pull_for_all),
		cmocka_unit_test(the_first_one_leaves),
		cmocka_unit_test(digests_of_manifests),
		cmocka_unit_test(what_is_tried_again),
		cmocka_unit_test(an_absent_daemon_is_waited_for),
		cmocka_unit_test(a_silent_registry),
		cmocka_unit_test(by_digest_then_named),
		cmocka_unit_test(away_while_tagging),
		cmocka_unit_test(pulled_before_survives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
