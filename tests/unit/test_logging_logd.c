// All of ecs-logd behind its socket (logging/logd.h), with destinations that do what the test says.
#include "test_logging_destination.h"
#include "test_slow.h"
#include "test_spool_bed.h"

#include "common/http.h"
#include "logging/logd.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SCALE 1000 // CONTAINER_LOG_LINGER_MS in 60 ms
#define CONTAINER "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct logd *logd;
static struct http_client *http;
static char run_dir[96], logging_dir[96], socket_path[96], fifo[160];
static int writer;
static long status;
static char *answered; // the body; NULL: none yet

static int listen_there(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	unlink(socket_path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void start_logd(void)
{
	struct error err = {0};

	logd = logd_new(
		loop,
		&(struct logd_options){.spool_dir = directory,
				       .run_dir = run_dir,
				       .logging_dir = logging_dir,
				       .limits = no_limits,
				       .retention_ms = UINT64_C(40) * 366 * 24 * 3600000, // records here are of 2023
				       .plugin_fd = listen_there()},
		&err);
	if (!logd)
		fail_msg("%s", err.message);
}

static int setup(void **state)
{
	struct error err = {0};

	if (bed_setup(state) < 0)
		return -1;
	loop_free(loop);
	loop = loop_new(SCALE, NULL);
	memset(&fake, 0, sizeof(fake));
	snprintf(run_dir, sizeof(run_dir), "%s.run", directory);
	snprintf(logging_dir, sizeof(logging_dir), "%s.fifos", directory);
	snprintf(socket_path, sizeof(socket_path), "%s.sock", directory);
	snprintf(fifo, sizeof(fifo), "%s/one", logging_dir);
	assert_int_equal(mkdir(run_dir, 0700), 0);
	assert_int_equal(mkdir(logging_dir, 0700), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	writer = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	http = http_client_new(loop, &err);
	start_logd();
	return writer >= 0 && http ? 0 : -1;
}

static int teardown(void **state)
{
	if (logd)
		logd = logd_free(logd);
	http_client_free(http);
	close(writer);
	str_replace(&answered, NULL);
	unlink(socket_path);
	remove_tree(run_dir);
	remove_tree(logging_dir);
	return bed_teardown(state);
}

// Docker is not as patient as that.
static void wait_for(bool (*condition)(void))
{
	for (int i = 0; i < 20000 && !condition(); i++) {
		turn();
		usleep(100);
	}
	assert_true(condition());
}

static bool is_answered(void)
{
	return answered;
}

static bool is_asked(void)
{
	return fake.answer;
}

static void on_response(const struct http_response *response, void *arg)
{
	(void)arg;
	status = response->result < 0 ? response->result : response->status;
	str_replace(&answered, response->result < 0 ? response->error.message : response->body);
}

static struct http_call *ask(const char *method, const char *body)
{
	_cleanup_free_ char *url = xasprintf("http://plugin.moby.localhost/%s", method);
	struct http_request request = {.method = body ? "POST" : "GET",
				       .url = url,
				       .unix_socket = socket_path,
				       .body = body,
				       .body_len = body ? strlen(body) : 0,
				       .connect_timeout_ms = UINT64_C(60000) * SCALE, // the clock's haste is not meant
				       .once = true};

	str_replace(&answered, NULL);
	return http_send(http, &request, on_response, NULL);
}

static char *start_body(const char *container, const char *file, const char *config)
{
	return xasprintf("{\"File\":\"%s\",\"Info\":{\"ContainerID\":\"%s\",\"ContainerName\":\"/c\",\"Config\":{%s}}}",
			 file, container, config);
}

#define AWSLOGS "\"x-ecs-driver\":\"awslogs\",\"awslogs-group\":\"g\",\"awslogs-region\":\"r\""
#define SYSLOG "\"x-ecs-driver\":\"syslog\",\"syslog-address\":\"tcp://127.0.0.1:1\""

static struct http_call *start(const char *container, const char *file, const char *config)
{
	_cleanup_free_ char *body = start_body(container, file, config);

	return ask("LogDriver.StartLogging", body);
}

static void expect_answer(long code, const char *text)
{
	wait_for(is_answered);
	assert_int_equal(status, code);
	if (!strstr(answered, text))
		fail_msg("\"%s\" is not in %s", text, answered);
}

static int64_t containers(const char *member)
{
	int64_t sum = 0;

	ask("status", NULL);
	wait_for(is_answered);
	_cleanup_json_ json_object *body = json_parse(answered, strlen(answered), NULL);
	json_object *list = json_get(body, "Containers");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		sum += member ? json_object_get_int64(json_get(json_object_array_get_idx(list, i), member)) : 1;
	return sum;
}

static bool is_empty(void)
{
	return containers(NULL) == 0;
}

static void send_line(uint64_t number)
{
	struct buf b = {0};

	put_line(&b, number, 20);
	assert_int_equal(write(writer, b.data, b.len), b.len);
	buf_free(&b);
}

static bool has_line(void)
{
	return containers("Lines") > 0;
}

// Starts that fail leave nothing behind, in memory or on disk.
static void test_failed_starts(void **state)
{
	static const struct {
		const char *file, *config, *text;
	} cases[] = {
		{"/etc/passwd", SYSLOG, "the path of a FIFO in "},
		{NULL, "\"x-ecs-driver\":\"syslog\",\"such\":\"no\"", "such"},
		{"missing", SYSLOG, "No such file or directory"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *missing = xasprintf("%s/missing", logging_dir);
		const char *file = !cases[i].file ? fifo : *cases[i].file == '/' ? cases[i].file : missing;

		start(CONTAINER, file, cases[i].config);
		expect_answer(200, cases[i].text);
	}
	fake.wrong = true;
	start(OTHER, fifo, AWSLOGS);
	expect_answer(200, "wrong");
	wait_for(is_empty);
	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", directory, i ? CONTAINER : OTHER);
		assert_int_equal(access(path, F_OK), -1);
	}
}

// What is refused by the destination is told Docker, and read no more.
static void test_refused(void **state)
{
	struct error refusal = {0};

	(void)state;
	start(CONTAINER, fifo, AWSLOGS);
	wait_for(is_asked);
	assert_int_equal(containers("OpenStreams"), 1);
	str_replace(&answered, NULL);
	error_set(&refusal, EACCES, "denied");
	answer(&refusal);
	expect_answer(200, "denied");
	assert_int_equal(containers("OpenStreams"), 0);
}

static void on_flushed(void *arg)
{
	bool *flushed = arg;

	*flushed = true;
	loop_stop(loop); // as the program does
}

// The end waits for the answers that are owed: Docker would otherwise come again, maybe with an empty body (§1.3).
static void test_end_with_a_start_that_waits(void **state)
{
	bool flushed = false;

	(void)state;
	start(CONTAINER, fifo, AWSLOGS);
	wait_for(is_asked);
	logd_flush(logd, 100000000, on_flushed, &flushed);
	for (int i = 0; i < 20; i++) {
		turn();
		usleep(100);
	}
	assert_false(flushed);
	answer(NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_true(flushed);
	logd = logd_free(logd);
	expect_answer(200, "\"Err\":\"\"");
}

// Docker has gone, or says more, while a start waits for its destination.
static void test_client_gone(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_free_ char *body = start_body(CONTAINER, fifo, AWSLOGS);
	_cleanup_free_ char *text = xasprintf("POST /LogDriver.StartLogging HTTP/1.1\r\nHost: x\r\nContent-Length: "
					      "%zu\r\n\r\n%sGET /status HTTP/1.1\r\n\r\nrubbish",
					      strlen(body), body);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	wait_for(is_asked);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	for (int i = 0; i < 20; i++)
		turn();
	close(fd);
	for (int i = 0; i < 20; i++)
		turn();
	answer(NULL);
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(containers("OpenStreams"), 1);
}

static void count_turn(void *arg)
{
	(*(unsigned *)arg)++;
}

// Without a descriptor for who calls, it waits: neither turning in circles nor for ever.
static void test_no_descriptors(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), taken[4096], next;
	static const char request[] = "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct rlimit before, few;
	struct timer timer;
	unsigned turns = 0;
	size_t count = 0;
	char text[64] = "";

	(void)state;
	if (under_valgrind()) { // which takes the connection and throws it away
		close(fd);
		skip();
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){.rlim_cur = 512, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((next = dup(fd)) >= 0)
		taken[count++] = next;
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	loop_set_turn_end(loop, count_turn, &turns);
	timer_init(&timer, loop, stop_loop, loop);
	timer_start(&timer, 500); // less than it waits
	assert_int_equal(loop_run(loop), 0);
	assert_true(turns < 10);
	loop_set_turn_end(loop, NULL, NULL);
	while (count > 0)
		close(taken[--count]);
	for (int i = 0; i < 20000 && recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) <= 0; i++) {
		turn();
		usleep(100);
	}
	assert_non_null(strstr(text, "200 OK"));
	close(fd);
	timer_done(&timer);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

// What a process that was killed had read is read on, once.
static void test_goes_on(void **state)
{
	_cleanup_free_ char *note = xasprintf("%s/one", run_dir), *torn = xasprintf("%s/one.tmp", run_dir);
	size_t len;

	(void)state;
	start(CONTAINER, fifo, SYSLOG);
	expect_answer(200, "\"Err\":\"\"");
	send_line(0);
	wait_for(has_line);
	logd = logd_free(logd);
	_cleanup_free_ char *text = read_file(note, 65536, &len);
	assert_non_null(text);
	assert_int_equal(write_file_atomic(torn, text, len, 0600), 0);
	start_logd();
	assert_int_equal(containers("OpenStreams"), 1);
	assert_int_equal(access(torn, F_OK), -1);
	logd = logd_free(logd);
	// Of another version, it may not be readable.
	_cleanup_free_ char *strange =
		xasprintf("{\"File\":\"%s\",\"Container\":\"" CONTAINER "\",\"Settings\":{\"Driver\":\"new\"}}", fifo);
	assert_int_equal(write_file_atomic(note, strange, strlen(strange), 0600), 0);
	start_logd();
	assert_int_equal(containers("OpenStreams"), 1);
	assert_int_equal(containers("WaitingLines"), 1);
}

// What has been counted of logs that are gone stays counted.
static void test_totals(void **state)
{
	_cleanup_free_ char *stop = xasprintf("{\"File\":\"%s\"}", fifo);
	struct log_totals totals;

	(void)state;
	start(CONTAINER, fifo, SYSLOG);
	expect_answer(200, "\"Err\":\"\"");
	send_line(0);
	wait_for(has_line);
	ask("LogDriver.StopLogging", stop);
	expect_answer(200, "\"Err\":\"\"");
	assert_non_null(fake.open);
	spool_confirm(fake.open->spool, spool_tail(fake.open->spool));
	wait_for(is_empty);
	logd_totals(logd, &totals);
	assert_int_equal(totals.lines, 1);
	assert_int_equal(totals.spool_bytes, 0);
	assert_int_equal(totals.oldest_ns, 0);
}

// The start waits for nobody.
#define WITH_ROLE(uri) AWSLOGS ",\"mode\":\"non-blocking\",\"awslogs-credentials-endpoint\":\"" uri "\""
static unsigned credential_changes;

static void on_credentials(void *arg)
{
	(void)arg;
	credential_changes++;
}

// As one text: "a b".
static const char *credentials(size_t max)
{
	static char text[128];
	const char *ids[8];
	size_t count = logd_credentials(logd, ids, max);

	*text = '\0';
	for (size_t i = 0; i < count; i++) {
		strcat(text, i ? " " : "");
		strcat(text, ids[i]);
	}
	return text;
}

// Ids of tasks whose logs are read or wait, each once; from before a restart, too; until all has been shipped.
static void test_credentials(void **state)
{
	static const struct {
		char digit;
		const char *more;
		unsigned changes;
	} starts[] = {
		{'1', WITH_ROLE("/v2/credentials/two"), 1},
		{'2', WITH_ROLE("/v2/credentials/one"), 2},
		{'3', WITH_ROLE("/v2/credentials/two"), 3},
		{'4', WITH_ROLE("/v2/credentials/"), 3},
		{'5', WITH_ROLE("/other/three"), 3},
		{'6', AWSLOGS ",\"mode\":\"non-blocking\"", 3},
		{'7', SYSLOG, 3},
	};
	char container[] = CONTAINER;
	int writers[ARRAY_SIZE(starts)];

	(void)state;
	credential_changes = 0;
	logd_on_credentials(logd, on_credentials, NULL);
	assert_string_equal(credentials(8), "");
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%c", logging_dir, starts[i].digit);

		assert_int_equal(mkfifo(path, 0600), 0);
		writers[i] = open(path, O_RDWR | O_CLOEXEC);
		container[0] = starts[i].digit;
		start(container, path, starts[i].more);
		expect_answer(200, "\"Err\":\"\"");
		assert_int_equal(credential_changes, starts[i].changes);
	}
	assert_string_equal(credentials(8), "one two");
	assert_string_equal(credentials(1), "two"); // the newest
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
		close(writers[i]);
}

static bool needs_none(void)
{
	return !*credentials(8);
}

static void test_credentials_of_what_waits(void **state)
{
	_cleanup_free_ char *stop = xasprintf("{\"File\":\"%s\"}", fifo);

	(void)state;
	start(CONTAINER, fifo, WITH_ROLE("/v2/credentials/x"));
	expect_answer(200, "\"Err\":\"\"");
	send_line(0);
	wait_for(has_line);
	ask("LogDriver.StopLogging", stop);
	expect_answer(200, "\"Err\":\"\"");
	logd = logd_free(logd);
	start_logd();
	assert_string_equal(credentials(8), "x");
	credential_changes = 0;
	logd_on_credentials(logd, on_credentials, NULL);
	spool_confirm(fake.open->spool, spool_tail(fake.open->spool));
	wait_for(needs_none);
	assert_int_equal(credential_changes, 1);
}

static bool is_lost(void)
{
	struct log_totals totals;

	logd_totals(logd, &totals);
	return totals.dropped > 0;
}

// A router of FireLens is gone for good with the directory of its socket; what waits for it is counted as lost.
static void test_router_gone(void **state)
{
	_cleanup_free_ char *root = xasprintf("%s/firelens", run_dir), *task = xasprintf("%s/task/socket", root);
	_cleanup_free_ char *other = xasprintf("%s.other", run_dir);
	_cleanup_free_ char *config =
		xasprintf("\"x-ecs-driver\":\"fluentd\",\"fluentd-address\":\"unix://%s/fluent.sock\"", task);
	_cleanup_free_ char *stop = xasprintf("{\"File\":\"%s\"}", fifo);
	struct log_totals totals;

	(void)state;
	assert_int_equal(make_directory(task, 0700), 0);
	start(CONTAINER, fifo, config);
	expect_answer(200, "\"Err\":\"\"");
	send_line(0);
	wait_for(has_line);
	ask("LogDriver.StopLogging", stop);
	expect_answer(200, "\"Err\":\"\"");
	for (int i = 0; i < 200; i++) { // more than one look at what has waited for too long
		turn();
		usleep(1000);
	}
	assert_int_equal(containers(NULL), 1);
	// Nothing of FireLens is in sight: that says nothing about the task.
	assert_int_equal(rename(root, other), 0);
	for (int i = 0; i < 200; i++) {
		turn();
		usleep(1000);
	}
	assert_int_equal(containers(NULL), 1);
	assert_int_equal(rename(other, root), 0);
	remove_tree(task);
	wait_for(is_lost);
	logd_totals(logd, &totals);
	assert_int_equal(totals.dropped, 2); // the line, and the stream's end
	assert_true(is_empty());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_failed_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_with_a_start_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_totals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(test_credentials_of_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_router_gone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
