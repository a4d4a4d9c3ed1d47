// The client against a scripted daemon on a Unix socket: what is asked, what answers and failures mean.
#include "test_docker_fake.h"

static void test_connect(void **state)
{
	static const struct {
		const char *answer, *version, *text;
		enum docker_failure failure;
	} cases[] = {
		{VERSION_ANSWER, "1.41", "", DOCKER_OK},
		{ANSWER("200 OK", "{\"Version\":\"28\",\"ApiVersion\":\"1.51\",\"MinAPIVersion\":\"1.24\"}"), "1.47",
		 "", DOCKER_OK},
		{ANSWER("200 OK", "{\"Version\":\"99\",\"ApiVersion\":\"2.3\",\"MinAPIVersion\":\"1.48\"}"), "",
		 "Docker 99 speaks API versions 1.48 to 2.3; this agent speaks 1.24 to 1.47", DOCKER_REFUSED},
		{ANSWER("200 OK", "{\"Version\":\"1.9\",\"ApiVersion\":\"1.21\"}"), "",
		 "Docker 1.9 speaks API versions 1.12 to 1.21; this agent speaks 1.24 to 1.47", DOCKER_REFUSED},
		{ANSWER("200 OK", "[]"), "", NULL, DOCKER_UNKNOWN}, // rubbish is not a daemon that cannot be used
		{ANSWER("200 OK", "{"), "", NULL, DOCKER_UNKNOWN},
		{NULL, "", NULL, DOCKER_UNKNOWN},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake *fake = fake_new(&(struct step){.answer = cases[i].answer}, 1, 1);
		docker_connect(fake->docker, on_plain, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_int_equal(fake->err.failure, cases[i].failure);
		assert_string_equal(docker_api_version(fake->docker), cases[i].version);
		if (cases[i].text)
			assert_string_equal(fake->err.message, cases[i].text);
		assert_memory_equal(fake->requests[0], "GET /version HTTP/1.1\r\n", 23);
		assert_non_null(strstr(fake->requests[0], "Host: api.moby.localhost\r\n"));
		fake_free(fake);
	}
}

static void test_no_daemon(void **state)
{
	char text[256];
	(void)state;
	struct fake *fake = fake_new(NULL, 0, 1);
	docker_start(fake->docker, "abc", on_plain, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	snprintf(text, sizeof(text), "Cannot connect to the Docker daemon at %s. Is the docker daemon running?",
		 fake->endpoint);
	assert_string_equal(fake->err.name, "CannotStartContainerError");
	assert_string_equal(fake->err.message, text);
	assert_int_equal(fake->err.failure, DOCKER_UNKNOWN);
	assert_false(fake->err.timeout);
	fake_free(fake);
}

static void test_errors(void **state)
{
	static const struct {
		const char *answer, *text;
		enum docker_failure failure;
	} cases[] = {
		{ANSWER("204 No Content", ""), "", DOCKER_OK},
		{ANSWER("304 Not Modified", ""), "", DOCKER_NOT_MODIFIED},
		{ANSWER("404 Not Found", "{\"message\":\"No such container: abc\"}\n"),
		 "Error response from daemon: No such container: abc", DOCKER_NOT_FOUND},
		{ANSWER("409 Conflict", "{\"message\":\"Conflict.\"}"), "Error response from daemon: Conflict.",
		 DOCKER_CONFLICT},
		{ANSWER("400 Bad", "{\"message\":\" spaces \"}"), "Error response from daemon: spaces", DOCKER_REFUSED},
		{ANSWER("500 Oops", "{\"message\":\"driver failed\"}"), "Error response from daemon: driver failed",
		 DOCKER_REFUSED},
		{ANSWER("500 Oops", "not json \n"), "Error response from daemon: not json", DOCKER_REFUSED},
		{"HTTP/1.1 500 x\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{\"message\":\"a\"}",
		 "Error response from daemon: {\"message\":\"a\"}", DOCKER_REFUSED},
		{ANSWER("503 Gone", "{\"message\":\"x\"}"), "Error response from daemon: x", DOCKER_UNKNOWN},
		{ANSWER("500 Gone", "{\"message\":\"daemon is shutting down\"}"),
		 "Error response from daemon: daemon is shutting down", DOCKER_UNKNOWN},
		{NULL, NULL, DOCKER_UNKNOWN},
		{"HTTP/1.1 204 No", NULL, DOCKER_UNKNOWN},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct step steps[] = {{.answer = VERSION_ANSWER}, {.answer = cases[i].answer}};
		struct fake *fake = fake_new(steps, 2, 1);
		connect_first(fake);
		docker_stop(fake->docker, "a b/c", 30, on_plain, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_int_equal(fake->err.failure, cases[i].failure);
		if (cases[i].text)
			assert_string_equal(fake->err.message, cases[i].text);
		else
			assert_memory_equal(fake->err.message, "error during connect: ", 22);
		assert_string_equal(fake->err.name, cases[i].failure == DOCKER_OK ? "" : "CannotStopContainerError");
		assert_memory_equal(fake->requests[1], "POST /v1.41/containers/a%20b%2Fc/stop?t=30 HTTP/1.1\r\n", 53);
		fake_free(fake);
	}
}

static void test_timeout(void **state)
{
	(void)state;
	// Four minutes in 80 ms of real time.
	struct fake *fake = fake_new(&(struct step){.hold = true}, 1, 3000);
	timer_start(&fake->guard, 60000000);
	docker_stop(fake->docker, "abc", 30, on_plain, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_int_equal(fake->err.failure, DOCKER_UNKNOWN);
	assert_true(fake->err.timeout);
	assert_string_equal(fake->err.name, "DockerTimeoutError");
	assert_string_equal(fake->err.message, "Could not transition to stopped; timed out after waiting 2m30s");
	fake_free(fake);
}

static void test_timeout_text(void **state)
{
	static const struct {
		uint64_t ms;
		const char *duration;
	} cases[] = {
		{0, "0s"},          {250, "250ms"},      {1000, "1s"},           {1500, "1.5s"},
		{59999, "59.999s"}, {60000, "1m0s"},     {60500, "1m0.5s"},      {150000, "2m30s"},
		{240000, "4m0s"},   {7200000, "2h0m0s"}, {3661010, "1h1m1.01s"},
	};
	char out[128], expected[128];
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		docker_timeout_text(out, sizeof(out), "created", cases[i].ms);
		snprintf(expected, sizeof(expected), "Could not transition to created; timed out after waiting %s",
			 cases[i].duration);
		assert_string_equal(out, expected);
	}
}

static void test_error_text_cut(void **state)
{
	struct docker_error err;
	char text[2048];
	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text + 1021, "\xe2\x80\x99", 3); // would be cut after its second byte
	docker_error_text(&err, "%s", text);
	assert_int_equal(strlen(err.message), 1021);
}

// --- containers ---

static void on_created(const struct docker_error *err, const char *id, void *arg)
{
	snprintf(((struct fake *)arg)->text, 100, "%s", id ? id : "(none)");
	on_plain(err, arg);
}

static void test_create(void **state)
{
	(void)state;
	const struct step steps[] = {{.answer = VERSION_ANSWER},
				     {.answer = ANSWER("201 Created", "{\"Id\":\"0af1\",\"Warnings\":null}")},
				     {.answer = ANSWER("201 Created", "{}")}};
	struct fake *fake = fake_new(steps, 3, 1);
	_cleanup_json_ json_object *body = json_tokener_parse("{\"Image\":\"a/b\"}");
	connect_first(fake);
	docker_create(fake->docker, "ecs-x_1", body, on_created, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(fake->text, "0af1");
	assert_memory_equal(fake->requests[1], "POST /v1.41/containers/create?name=ecs-x_1 HTTP/1.1\r\n", 53);
	assert_non_null(strcasestr(fake->requests[1], "content-type: application/json\r\n"));
	assert_non_null(strstr(fake->requests[1], "\r\n\r\n{\"Image\":\"a/b\"}"));
	docker_create(fake->docker, "n", body, on_created, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(fake->text, "(none)");
	assert_int_equal(fake->err.failure, DOCKER_UNKNOWN);
	fake_free(fake);
}

static void on_inspected(const struct docker_error *err, const struct docker_container *c, void *arg)
{
	struct fake *fake = arg;
	char *out = fake->text;
	size_t size = sizeof(fake->text);
	if (c) {
		int n = snprintf(out, size, "%s %s %s %d%d%d%d%d %d '%s' %lld %lld %lld %s h%d %s %s", c->id, c->name,
				 c->image_id, c->running, c->dead, c->oom_killed, c->started, c->finished, c->exit_code,
				 c->state_error, (long long)c->pid, (long long)c->started_ms, (long long)c->finished_ms,
				 c->started_text, (int)c->health, c->ip_address, json_text(c->labels));
		for (size_t i = 0; i < c->port_count; i++)
			n += snprintf(out + n, size - (size_t)n, " %s:%u>%u/%s", c->ports[i].bind_ip,
				      c->ports[i].host_port, c->ports[i].container_port, c->ports[i].protocol);
		for (size_t i = 0; i < c->mount_count; i++)
			n += snprintf(out + n, size - (size_t)n, " [%s|%s|%s]", c->mounts[i].name, c->mounts[i].source,
				      c->mounts[i].destination);
	}
	on_plain(err, arg);
}

static void test_inspect(void **state)
{
	static const struct {
		const char *answer, *text;
		enum docker_failure failure;
	} cases[] = {
		{ANSWER("200 OK",
			"{\"Id\":\"0af1\",\"Created\":\"2026-11-23T00:24:50.444719021Z\",\"Name\":\"/"
			"ecs-lab\",\"Image\":\"sha256:"
			"57\",\"State\":{\"Running\":true,\"Pid\":556,\"ExitCode\":0,\"Error\":\"\",\"StartedAt\":"
			"\"2026-11-"
			"23T00:24:50.839864981Z\",\"FinishedAt\":\"0001-01-01T00:00:00Z\",\"Health\":{\"Status\":"
			"\"healthy\","
			"\"Log\":[{\"Output\":\"x\"}]}},\"Config\":{\"Env\":[\"SECRET=1\"],\"Labels\":{\"a\":\"b\"}},"
			"\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/s\",\"Destination\":\"/d\"},{\"Name\":\"v\","
			"\"Source\":\"/v\",\"Destination\":\"/e\"}],\"NetworkSettings\":{\"IPAddress\":\"172.17.0.3\","
			"\"Ports\":{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"32768\"},{\"HostIp\":\"::\","
			"\"HostPort\":\"32769\"}],\"81/udp\":null,\"82/sctp\":[{\"HostPort\":\"1\"}],\"83/"
			"udp\":[{\"HostIp\":"
			"\"\",\"HostPort\":\"99999\"}]}}}"),
		 "0af1 ecs-lab sha256:57 10010 0 '' 556 1795393490839 0 2026-11-23T00:24:50.839864981Z h2 172.17.0.3 "
		 "{\"a\":\"b\"} 0.0.0.0:32768>80/tcp :::32769>80/tcp [|/s|/d] [v|/v|/e]",
		 DOCKER_OK},
		{ANSWER("200 OK",
			"{\"Id\":\"1\",\"Name\":\"x\",\"State\":{\"Running\":false,\"OOMKilled\":true,\"Dead\":true,"
			"\"ExitCode\":137,"
			"\"Error\":"
			"\"boom\",\"StartedAt\":\"0001-01-01T00:00:00Z\",\"FinishedAt\":\"1970-01-01T00:00:01Z\"},"
			"\"NetworkSettings\":{\"Networks\":{\"bridge\":{\"IPAddress\":\"10.0.0.1\"}}}}"),
		 "1 x  01101 137 'boom' 0 0 1000 0001-01-01T00:00:00Z h0 10.0.0.1 {}", DOCKER_OK},
		{ANSWER("200 OK", "{\"Id\":\"1\"}"), "", DOCKER_UNKNOWN},
		// Whether it runs is not told as Docker tells it: nothing is known.
		{ANSWER("200 OK", "{\"Id\":\"1\",\"State\":{\"Running\":null,\"ExitCode\":0,\"StartedAt\":\"2026-11-"
				  "23T00:24:50Z\","
				  "\"FinishedAt\":\"2026-11-23T00:24:51Z\"}}"),
		 "", DOCKER_UNKNOWN},
		{ANSWER("200 OK", "{\"Id\":\"1\",\"State\":{\"Running\":false,\"ExitCode\":\"0\",\"StartedAt\":\"2026-"
				  "11-23T00:24:50Z\","
				  "\"FinishedAt\":\"2026-11-23T00:24:51Z\"}}"),
		 "", DOCKER_UNKNOWN},
		{ANSWER("200 OK", "[]"), "", DOCKER_UNKNOWN},
		{ANSWER("404 x", "{\"message\":\"No such container: 1\"}"), "", DOCKER_NOT_FOUND},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake *fake = fake_new(&(struct step){.answer = cases[i].answer}, 1, 1);
		docker_inspect(fake->docker, "1", on_inspected, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_int_equal(fake->err.failure, cases[i].failure);
		assert_string_equal(fake->text, cases[i].text);
		fake_free(fake);
	}
}

static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	struct fake *fake = arg;
	assert_int_equal(count, 2);
	snprintf(fake->text, sizeof(fake->text), "%s %s %s %s %lld, %s %s", list[0].id, list[0].name, list[0].state,
		 json_text(list[0].labels), (long long)list[0].created_s, list[1].id, list[1].name);
	on_plain(err, arg);
}

static void test_list(void **state)
{
	(void)state;
	struct fake *fake = fake_new(
		&(struct step){
			.answer = ANSWER("200 OK",
					 "[{\"Id\":\"1\",\"Names\":[\"/other/alias\",\"/own\"],\"State\":\"running\","
					 "\"Labels\":{\"a\":\"b\"},\"Created\":17},5,{},{\"Id\":\"2\"}]")},
		1, 1);
	docker_list(fake->docker, "com.amazonaws.ecs.task-arn", on_list, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_string_equal(fake->text, "1 own running {\"a\":\"b\"} 17, 2 ");
	assert_non_null(strstr(fake->requests[0],
			       "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.amazonaws."
			       "ecs.task-arn%22%5D%7D HTTP/1.1"));
	fake_free(fake);
}

// A call cancelled, and the client freed inside a callback: neither calls back again.
static void on_free(const struct docker_error *err, void *arg)
{
	struct fake *fake = arg;
	fake->docker = docker_free(fake->docker);
	on_plain(err, arg);
}

static char info_text[128];
static void on_info(const struct docker_error *err, const struct docker_info *info, void *arg)
{
	snprintf(info_text, sizeof(info_text), "%s|%s", info ? info->cgroup_driver : "-",
		 info ? info->cgroup_version : "-");
	on_plain(err, arg);
}

static void test_info(void **state)
{
	static const struct {
		const char *answer, *text;
	} cases[] = {
		{ANSWER("200 OK", "{\"CgroupDriver\":\"systemd\",\"CgroupVersion\":\"2\",\"x\":[]}"), "systemd|2"},
		{ANSWER("200 OK", "{\"CgroupDriver\":\"cgroupfs\"}"), "cgroupfs|"},
		{ANSWER("200 OK", "{\"CgroupDriver\":7,\"CgroupVersion\":null}"), "|"},
		{ANSWER("200 OK", "[]"), "|"},
		{ANSWER("500 Oops", "{\"message\":\"x\"}"), "-|-"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake *fake = fake_new(&(struct step){.answer = cases[i].answer}, 1, 1);
		docker_info(fake->docker, on_info, fake);
		assert_int_equal(loop_run(fake->loop), 0);
		assert_string_equal(info_text, cases[i].text);
		assert_memory_equal(fake->requests[0], "GET /info HTTP/1.1\r\n", 20);
		fake_free(fake);
	}
}

static void test_cancel(void **state)
{
	(void)state;
	const struct step steps[] = {{.answer = ANSWER("204 x", "")}, {.hold = true}};
	struct fake *fake = fake_new(steps, 2, 1);
	struct docker_call *call = docker_ping(fake->docker, 2000, on_plain, fake);
	docker_call_cancel(call);
	docker_call_cancel(NULL);
	docker_pull(fake->docker, "Bad", NULL, NULL, on_plain, fake); // waits for the next turn
	docker_call_cancel(docker_pull(fake->docker, "Bad", NULL, NULL, on_plain, fake));
	assert_int_equal(loop_run(fake->loop), 0);
	assert_int_equal(fake->calls, 1);
	docker_remove(fake->docker, "a", on_free, fake);
	docker_start(fake->docker, "b", on_plain, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_int_equal(fake->calls, 2);
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),      cmocka_unit_test(test_no_daemon),
		cmocka_unit_test(test_errors),       cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_timeout_text), cmocka_unit_test(test_error_text_cut),
		cmocka_unit_test(test_create),       cmocka_unit_test(test_inspect),
		cmocka_unit_test(test_list),         cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_info),
	};
	return cmocka_run_group_tests_name("docker client", tests, NULL, NULL);
}
