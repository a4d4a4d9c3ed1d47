// Pulls and the event stream: JSON cut anywhere, time limits, reopening; image references and pull texts.
#include "test_docker_fake.h"

static int collect(json_object *object, void *arg)
{
	char *out = arg;
	strcat(strcat(out, json_text(object)), ";");
	return json_object_object_get(object, "stop") ? -ECANCELED : 0;
}

static void test_split(void **state)
{
	static const struct {
		const char *text, *objects;
		int result;
	} cases[] = {
		{"{\"a\":1}\r\n{\"b\":[{\"c\":\"}\\\"{\"}]} \n", "{\"a\":1};{\"b\":[{\"c\":\"}\\\"{\"}]};", 0},
		{"{}{\"x\":\"\\\\\"}{\"y\"", "{};{\"x\":\"\\\\\"};", 0},
		{"{\"stop\":1}{\"a\":1}", "{\"stop\":1};", -ECANCELED},
		{"{}x{}", "{};", -EPROTO},
		{"[{}]", "", -EPROTO},
		{"{]{}", "", -EPROTO},
		{"{a}", "", -EPROTO},
		{"", "", 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].text);
		for (size_t piece = 1; piece <= len + 1; piece++) {
			struct docker_stream stream = {0};
			char out[256] = "";
			int r = 0;
			for (size_t at = 0; at < len && r == 0; at += piece)
				r = docker_stream_feed(&stream, cases[i].text + at, at + piece > len ? len - at : piece,
						       collect, out);
			assert_int_equal(r, cases[i].result);
			assert_string_equal(out, cases[i].objects);
			docker_stream_done(&stream);
		}
	}
}

static void test_split_limit(void **state)
{
	struct docker_stream stream = {0};
	char out[64] = "", block[4096];
	int r = docker_stream_feed(&stream, "{\"a\":\"", 6, collect, out);
	(void)state;
	memset(block, 'x', sizeof(block));
	size_t i;
	for (i = 0; r == 0 && i <= DOCKER_STREAM_OBJECT_MAX / sizeof(block); i++)
		r = docker_stream_feed(&stream, block, sizeof(block), collect, out);
	assert_int_equal(r, -EMSGSIZE);
	docker_stream_done(&stream);
}

static void test_reference(void **state)
{
	static const char digest[] = "sha256:57f1123176637eb0bbb84345e7bdcae2897a62b393b78d0e7bc49675310f66c8";
	static const struct {
		const char *text, *repository, *tag; // tag: the error text when repository is NULL
	} cases[] = {
		{"busybox", "busybox", "latest"},
		{"busybox:1.2_x", "busybox", "1.2_x"},
		{"a/b-c__d.e:t", "a/b-c__d.e", "t"},
		{"localhost:5000/a", "localhost:5000/a", "latest"},
		{"localhost:5000/a:t", "localhost:5000/a", "t"},
		{"Reg.example.COM/a/b", "Reg.example.COM/a/b", "latest"},
		{"[::1]:5000/a:t", "[::1]:5000/a", "t"},
		{"123456789012.dkr.ecr.us-west-2.amazonaws.com/r/x:v1",
		 "123456789012.dkr.ecr.us-west-2.amazonaws.com/r/x", "v1"},
		{"a@sha256:57f1123176637eb0bbb84345e7bdcae2897a62b393b78d0e7bc49675310f66c8", "a", digest},
		{"r:5/a:t@sha256:57f1123176637eb0bbb84345e7bdcae2897a62b393b78d0e7bc49675310f66c8", "r:5/a", digest},
		{"", NULL, "invalid reference format"},
		{"a b", NULL, "invalid reference format"},
		{"a:", NULL, "invalid reference format"},
		{"a@sha256:12", NULL, "invalid reference format"},
		{"-a", NULL, "invalid reference format"},
		{"a//b", NULL, "invalid reference format"},
		{"Busybox:X", NULL, "invalid reference format: repository name (library/Busybox) must be lowercase"},
		{"r.io/Ab/c:X", NULL, "invalid reference format: repository name (Ab/c) must be lowercase"},
		{"57f1123176637eb0bbb84345e7bdcae2897a62b393b78d0e7bc49675310f66c8", NULL,
		 "invalid repository name (57f1123176637eb0bbb84345e7bdcae2897a62b393b78d0e7bc49675310f66c8), cannot "
		 "specify "
		 "64-byte hexadecimal strings"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct docker_reference reference;
		struct error err = {0};
		int r = docker_reference_parse(cases[i].text, &reference, &err);
		assert_int_equal(r < 0, cases[i].repository == NULL);
		if (r < 0) {
			assert_string_equal(err.message, cases[i].tag);
			continue;
		}
		assert_string_equal(reference.repository, cases[i].repository);
		assert_string_equal(reference.tag, cases[i].tag);
		docker_reference_done(&reference);
	}
}

static void test_pull_text(void **state)
{
#define HINT "The task can\xe2\x80\x99t pull the image. Check "
	static const struct {
		const char *raw, *text;
	} cases[] = {
		{"boom", "boom"},
		{"Get \"https://prod-us-west-2-starport-layer-bucket.s3.amazonaws.com/a?b=c\": x https://b",
		 "Get REDACTED ECR URL related to img x https://b"},
		{"https://a.starport-layer-bucket.x https://a.starport-layer-bucket.y",
		 "REDACTED ECR URL related to img REDACTED ECR URL related to img"},
		{"x denied: requested access to the resource is denied",
		 HINT "whether the image exists. x denied: requested access to the resource is denied"},
		{"denied: User: arn is not authorized to perform: ecr:BatchGetImage on resource: r",
		 HINT "that the role has the permissions to pull images from the registry. denied: User: arn is not "
		      "authorized "
		      "to perform: ecr:BatchGetImage on resource: r"},
		{"denied: User:  is not authorized to perform: ecr:BatchGetImage on resource",
		 "denied: User:  is not authorized to perform: ecr:BatchGetImage on resource"},
		{"net/http: request canceled while waiting for connection (x)",
		 HINT "your network configuration. net/http: request canceled while waiting for connection (x)"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = docker_pull_text("img", cases[i].raw);
		assert_string_equal(text, cases[i].text);
	}
}

// --- pull ---

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"

static void on_progress(const char *status, void *arg)
{
	struct fake *fake = arg;
	snprintf(fake->text, sizeof(fake->text), "%s", status);
}

static void test_pull(void **state)
{
	static const struct {
		const char *answer, *name, *text;
		enum docker_failure failure;
	} cases[] = {
		{STREAM "{\"status\":\"Pulling from a\",\"id\":\"1.2\"}\r\n{\"status\":\"Done\"}\r\n", "", "",
		 DOCKER_OK},
		{STREAM "{\"status\":\"x\"}{\"errorDetail\":{\"message\":\"denied: requested access to the resource is "
			"denied\"},\"error\":\"denied: requested access to the resource is denied\"}",
		 "CannotPullContainerError",
		 HINT "whether the image exists. denied: requested access to the resource is denied", DOCKER_REFUSED},
		{STREAM "garbage", "CannotPullContainerError",
		 "cannot read the progress of the pull from the Docker daemon", DOCKER_UNKNOWN},
		{ANSWER("404 x", "{\"message\":\"manifest unknown\"}"), "CannotPullContainerError",
		 "Error response from daemon: manifest unknown", DOCKER_NOT_FOUND},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake *fake = fake_new(&(struct step){.answer = cases[i].answer, .piece = 1}, 1, 1);
		_cleanup_json_ json_object *auth =
			json_tokener_parse("{\"username\":\"AWS\",\"password\":\"??\?>>>\"}");
		docker_pull(fake->docker, "r:5/a:1.2", i == 0 ? auth : NULL, on_progress, on_plain, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_int_equal(fake->err.failure, cases[i].failure);
		assert_string_equal(fake->err.name, cases[i].name);
		assert_string_equal(fake->err.message, cases[i].text);
		assert_memory_equal(fake->requests[0], "POST /images/create?fromImage=r%3A5%2Fa&tag=1.2 HTTP/1.1", 56);
		if (i == 0) {
			assert_string_equal(fake->text, "1.2: Pulling from a");
			assert_non_null(
				strstr(fake->requests[0],
				       "X-Registry-Auth: eyJ1c2VybmFtZSI6IkFXUyIsInBhc3N3b3JkIjoiPz8_Pj4-In0=\r\n"));
		} else {
			assert_non_null(strstr(fake->requests[0], "X-Registry-Auth: e30=\r\n"));
		}
		fake_free(fake);
	}
}

static void test_pull_limits(void **state)
{
	static const struct {
		const char *answer, *name, *text;
		enum docker_failure failure;
	} cases[] = {
		{NULL, "DockerTimeoutError", "Could not transition to pullBegin; timed out after waiting 5m0s",
		 DOCKER_UNKNOWN},
		{STREAM, "DockerTimeoutError", "Could not transition to pullBegin; timed out after waiting 5m0s",
		 DOCKER_UNKNOWN},
		{STREAM "{\"status\":\"x\"}", "CannotPullContainerError",
		 "inactivity time exceeded timeout while pulling image", DOCKER_REFUSED},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake *fake = fake_new(&(struct step){.answer = cases[i].answer, .hold = true}, 1, 1000);
		docker_pull(fake->docker, "a", NULL, NULL, on_plain, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_string_equal(fake->err.message, cases[i].text);
		assert_string_equal(fake->err.name, cases[i].name);
		assert_int_equal(fake->err.failure, cases[i].failure);
		fake_free(fake);
	}
}

static void test_pull_bad_reference(void **state)
{
	(void)state;
	struct fake *fake = fake_new(NULL, 0, 1);
	docker_pull(fake->docker, "Bad", NULL, NULL, on_plain, fake);
	assert_int_equal(fake->calls, 0);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(fake->err.message,
			    "invalid reference format: repository name (library/Bad) must be lowercase");
	assert_int_equal(fake->err.failure, DOCKER_REFUSED);
	fake_free(fake);
}

// --- events ---

struct seen {
	struct fake *fake;
	char text[4096];
	unsigned opened, lost, stop_after_lost;
	bool stop_in_event;
};

static void on_event(const struct docker_event *event, void *arg)
{
	struct seen *seen = arg;
	char item[256];
	snprintf(item, sizeof(item), "%d:%s:%s:%d:%d:%d;", (int)event->kind, event->id, event->name,
		 event->has_exit_code, event->exit_code, (int)event->health);
	strcat(seen->text, item);
	if (seen->stop_in_event) {
		docker_events_stop(seen->fake->docker);
		loop_stop(seen->fake->loop);
	}
}

static void on_open(void *arg)
{
	((struct seen *)arg)->opened++;
}

static void on_lost(const struct docker_error *err, void *arg)
{
	struct seen *seen = arg;
	assert_int_equal(err->failure, DOCKER_UNKNOWN);
	if (++seen->lost == seen->stop_after_lost) {
		docker_events_stop(seen->fake->docker);
		loop_stop(seen->fake->loop);
	}
}

#define EVENT(action, attributes, time)                                                        \
	"{\"status\":\"" action "\",\"id\":\"c1\",\"Type\":\"container\",\"Action\":\"" action \
	"\",\"Actor\":{\"ID\":\"c1\",\"Attributes\":{\"name\":\"n\"" attributes                \
	"}},\"scope\":\"local\",\"time\":1,\"timeNano\":" time "}\n"
#define ALL_EVENTS                                                                                          \
	STREAM EVENT("create", "", "9000000000000000001") EVENT("start", "", "9000000000000000002")         \
		EVENT("die", ",\"exitCode\":\"137\"", "9000000000000000003")                                \
			EVENT("health_status: unhealthy", "", "4") EVENT("health_status: healthy", "", "5") \
				EVENT("destroy", "", "6") EVENT("rename", "", "7")

static void test_events(void **state)
{
	(void)state;
	const struct step steps[] = {{.answer = ALL_EVENTS, .piece = 1}, {.answer = STREAM}, {.answer = NULL}};
	struct fake *fake = fake_new(steps, 3, 100); // scaled: the backoff takes some ms
	struct seen seen = {.fake = fake, .stop_after_lost = 3};
	const struct docker_events events = {
		.label = "l", .on_event = on_event, .on_open = on_open, .on_lost = on_lost, .arg = &seen};
	docker_events_start(fake->docker, &events);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(seen.text,
			    "0:c1:n:0:0:0;1:c1:n:0:0:0;2:c1:n:1:137:0;5:c1:n:0:0:3;5:c1:n:0:0:2;6:c1:n:0:0:0;"
			    "7:c1:n:0:0:0;");
	assert_int_equal(seen.opened, 2);
	assert_memory_equal(fake->requests[0],
			    "GET /events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B", 76);
	assert_non_null(strstr(fake->requests[0], "%22label%22%3A%5B%22l%22%5D%7D HTTP/1.1\r\n"));
	assert_null(strstr(fake->requests[0], "since"));
	assert_non_null(strstr(fake->requests[1], "&since=9000000000.000000003 HTTP/1.1\r\n"));
	fake_free(fake);
}

static void test_events_stop_inside(void **state)
{
	(void)state;
	const struct step steps[] = {{.answer = ALL_EVENTS, .hold = true}};
	struct fake *fake = fake_new(steps, 1, 1);
	struct seen seen = {.fake = fake, .stop_in_event = true};
	const struct docker_events events = {
		.on_event = on_event, .on_open = on_open, .on_lost = on_lost, .arg = &seen};
	docker_events_start(fake->docker, &events);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(seen.text, "0:c1:n:0:0:0;");
	assert_int_equal(seen.lost, 0);
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_limit),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_pull_text),
		cmocka_unit_test(test_pull),
		cmocka_unit_test(test_pull_limits),
		cmocka_unit_test(test_pull_bad_reference),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_events_stop_inside),
	};
	return cmocka_run_group_tests_name("docker streams", tests, NULL, NULL);
}
