// ecsd's side of ecs-logd: whether it is there, and the socket on which it is told of containers that end, with
// ecs-logd's own end of it (logging/control.h) at the other side.
#include "common/channel.h"
#include "common/log_options.h"
#include "common/unix_socket.h"
#include "docker/log_config.h"
#include "logd/logd.h"
#include "logd/plugin.h"
#include "logging/control.h"
#include "test_slow.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define YES "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{\"Implements\":[\"LogDriver\"]}\n"
#define DEADLINE_MS 20000 // real
#define SCALE (under_valgrind() ? 3.0 : 30.0)
#define HASTE 3600 // LOGD_AWAY_MS in a second

struct bed {
	char dir[64], plugin_path[96], socket_path[96], daemon_path[96];
	struct loop *loop;
	struct http_client *http;
	struct logd *logd;
	struct timer guard;
	unsigned connected, answers;
	// the plugin
	int listener, peer;
	struct watch *accept, *read;
	const char *answer; // NULL: none
	bool hang;          // keeps the connection, says nothing
	unsigned questions;
	char question[1024];
	// ecs-logd
	struct logd_control *control;
	char seen[1024];    // "stopping 01234567 exited ..."
	const char *ids[4]; // of credentials that it needs
};

static void give_up(void *arg)
{
	(void)arg;
	fail_msg("waited in vain");
}

static void stop_loop(void *loop)
{
	loop_stop(loop);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void on_question(int fd, unsigned events, void *arg)
{
	(void)events;
	struct bed *bed = arg;
	ssize_t n = recv(fd, bed->question, sizeof(bed->question) - 1, 0);
	if (n > 0) {
		bed->question[n] = '\0';
		bed->questions++;
		if (bed->answer)
			assert_int_equal(send(fd, bed->answer, strlen(bed->answer), 0), strlen(bed->answer));
		if (bed->answer || bed->hang)
			return;
	}
	bed->read = watch_free(bed->read);
	close(fd);
	bed->peer = -1;
}

static void on_accept(int fd, unsigned events, void *arg)
{
	(void)events;
	struct bed *bed = arg;
	watch_free(bed->read);
	if (bed->peer >= 0)
		close(bed->peer);
	bed->peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	bed->read = watch_new(bed->loop, bed->peer, LOOP_READ, on_question, bed);
}

static void plugin_up(struct bed *bed, const char *answer)
{
	bed->answer = answer;
	bed->listener = listen_at(bed->plugin_path);
	bed->accept = watch_new(bed->loop, bed->listener, LOOP_READ, on_accept, bed);
}

static void plugin_down(struct bed *bed)
{
	bed->accept = watch_free(bed->accept);
	bed->read = watch_free(bed->read);
	if (bed->peer >= 0)
		close(take_fd(&bed->peer));
	if (bed->listener >= 0)
		close(take_fd(&bed->listener));
	unlink(bed->plugin_path);
}

static void note(struct bed *bed, const char *what, const char *id)
{
	size_t len = strlen(bed->seen);
	snprintf(bed->seen + len, sizeof(bed->seen) - len, "%s%s %.8s", len ? " " : "", what, id);
	loop_stop(bed->loop);
}

static void on_stopping(const char *id, void *arg)
{
	note(arg, "stopping", id);
}

static void on_exited(const char *id, void *arg)
{
	note(arg, "exited", id);
}

static void count(struct logd_counters *counters, void *arg)
{
	(void)arg;
	*counters = (struct logd_counters){1, 2, UINT64_MAX, 4, 5};
}

static size_t credentials(const char **ids, size_t max, void *arg)
{
	struct bed *bed = arg;
	size_t n = 0;
	for (; n < ARRAY_SIZE(bed->ids) && bed->ids[n]; n++)
		ids[n] = bed->ids[n];
	assert_true(n <= max);
	return n;
}

static const struct logd_control_callbacks control_callbacks = {on_stopping, on_exited, count, credentials};

static void logd_up(struct bed *bed)
{
	bed->control = logd_control_new(bed->loop, listen_at(bed->socket_path), &control_callbacks, bed);
}

static void on_connected(void *arg)
{
	struct bed *bed = arg;
	bed->connected++;
	loop_stop(bed->loop);
}

static void on_answered(void *arg)
{
	struct bed *bed = arg;
	bed->answers++;
	loop_stop(bed->loop);
}

static void make_logd(struct bed *bed, unsigned drivers)
{
	bed->logd = logd_new(&(struct logd_options){.loop = bed->loop,
						    .http = bed->http,
						    .drivers = drivers,
						    .plugin_socket = bed->plugin_path,
						    .socket = bed->socket_path,
						    .docker_config_file = bed->daemon_path,
						    .on_connected = on_connected,
						    .arg = bed});
}

static int set_up_at(void **state, double scale)
{
	struct bed *bed = xcalloc(1, sizeof(*bed));
	strcpy(bed->dir, "/tmp/ecsd-test-logd-XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	snprintf(bed->plugin_path, sizeof(bed->plugin_path), "%s/ecslogs.sock", bed->dir);
	snprintf(bed->socket_path, sizeof(bed->socket_path), "%s/ecs-logd.sock", bed->dir);
	snprintf(bed->daemon_path, sizeof(bed->daemon_path), "%s/daemon.json", bed->dir);
	bed->loop = loop_new(scale, NULL);
	bed->http = http_client_new(bed->loop, NULL);
	bed->listener = bed->peer = -1;
	timer_init(&bed->guard, bed->loop, give_up, bed);
	timer_start(&bed->guard, (uint64_t)(DEADLINE_MS * scale));
	*state = bed;
	return 0;
}

static int set_up(void **state)
{
	return set_up_at(state, SCALE);
}

static int set_up_in_haste(void **state)
{
	return set_up_at(state, HASTE);
}

static int tear_down(void **state)
{
	struct bed *bed = *state;
	logd_free(bed->logd);
	logd_control_free(bed->control);
	plugin_down(bed);
	timer_done(&bed->guard);
	http_client_free(bed->http);
	loop_free(bed->loop);
	unlink(bed->socket_path);
	unlink(bed->daemon_path);
	rmdir(bed->dir);
	free(bed);
	return 0;
}

// Asks, and waits for the answer. True if it was known already.
static bool ask(struct bed *bed)
{
	unsigned before = bed->answers;
	if (logd_ask(bed->logd, on_answered, bed))
		return true;
	assert_int_equal(bed->answers, before);
	while (bed->answers == before)
		loop_run(bed->loop);
	return false;
}

static void test_plugin_answers(void **state)
{
	struct bed *bed = *state;
	unsigned drivers = LOG_DRIVER_BIT(LOG_SYSLOG) | LOG_DRIVER_BIT(LOG_AWSLOGS);
	plugin_up(bed, YES);
	make_logd(bed, drivers);
	assert_int_equal(logd_drivers(bed->logd), 0); // not asked yet
	assert_false(ask(bed));
	assert_int_equal(logd_drivers(bed->logd), drivers);
	assert_int_equal(bed->questions, 1);
	assert_true(str_starts(bed->question, "POST /Plugin.Activate HTTP/1.1\r\n"));
	assert_non_null(strcasestr(bed->question, "\r\nContent-Length: 0\r\n"));
	assert_true(ask(bed)); // still good
	assert_int_equal(bed->questions, 1);
}

// A "yes" is asked again once it is old, and what is gone is found to be gone.
static void test_plugin_goes(void **state)
{
	struct bed *bed = *state;
	plugin_up(bed, YES);
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	assert_false(ask(bed));
	uint64_t answered = loop_now(bed->loop);
	plugin_down(bed);
	while (loop_now(bed->loop) < answered + LOGD_FRESH_MS)
		usleep(1000);
	assert_false(ask(bed));
	assert_int_equal(logd_drivers(bed->logd), 0);
	plugin_up(bed, YES); // a "no" is good for nobody else
	assert_false(ask(bed));
	assert_int_equal(logd_drivers(bed->logd), LOG_DRIVER_BIT(LOG_SYSLOG));
}

static void test_plugin_bad_answers(void **state)
{
	struct bed *bed = *state;
	static const char *const answers[] = {
		"HTTP/1.1 500 Oops\r\nContent-Length: 29\r\n\r\n{\"Implements\":[\"LogDriver\"]}\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{\"Implements\":[\"VolumeDriver\"]}\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no HTTP at all\r\n\r\n",
		NULL, // closes
	};
	plugin_up(bed, NULL);
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	assert_false(ask(bed));
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		bed->answer = answers[i];
		assert_false(ask(bed));
		assert_int_equal(logd_drivers(bed->logd), 0);
	}
	bed->answer = NULL;
	bed->hang = true;
	uint64_t before = loop_now(bed->loop);
	assert_false(ask(bed));
	assert_int_equal(logd_drivers(bed->logd), 0);
	assert_true(loop_now(bed->loop) >= before + LOG_PLUGIN_ANSWER_MS);
}

static void test_plugin_bodies(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		bool good;
	} cases[] = {
		{"{\"Implements\":[\"LogDriver\"]}", true},
		{"{\"implements\":[\"x\",5,null,\"LogDriver\"]}", true},
		{"{\"Implements\":[\"logdriver\"]}", false},
		{"{\"Implements\":\"LogDriver\"}", false},
		{"{\"Implements\":{\"LogDriver\":1}}", false},
		{"{\"Implements\":null}", false},
		{"[\"LogDriver\"]", false},
		{"null", false},
		{"", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(log_plugin_implements(cases[i].body, strlen(cases[i].body)), cases[i].good);
}

// Those who wait share one question; who has gone is not called.
static void test_waiters(void **state)
{
	struct bed *bed = *state;
	int other;
	plugin_up(bed, YES);
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	assert_false(logd_ask(bed->logd, give_up, &other));
	assert_false(logd_ask(bed->logd, on_answered, bed));
	assert_false(logd_ask(bed->logd, on_answered, bed));
	logd_ask_cancel(bed->logd, &other);
	while (bed->answers < 2)
		loop_run(bed->loop);
	assert_int_equal(bed->questions, 1);
}

static void test_off(void **state)
{
	struct bed *bed = *state;
	plugin_up(bed, YES);
	logd_up(bed);
	make_logd(bed, 0);
	assert_true(ask(bed));
	assert_int_equal(logd_drivers(bed->logd), 0);
	logd_stopping(bed->logd, ID);
	logd_exited(bed->logd, ID);
	logd_docker_started(bed->logd);
	assert_null(logd_docker_defaults(bed->logd)->driver);
	assert_false(logd_control_connected(bed->control));
	assert_false(logd_needs_credentials(bed->logd, "a"));
}

static void test_docker_defaults(void **state)
{
	struct bed *bed = *state;
	static const char text[] = "{\"log-driver\":\"syslog\",\"log-opts\":{\"tag\":\"t\"}}";
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	logd_docker_started(bed->logd);
	assert_null(logd_docker_defaults(bed->logd)->driver);
	assert_int_equal(write_file_atomic(bed->daemon_path, text, strlen(text), 0600), 0);
	assert_null(logd_docker_defaults(bed->logd)->driver); // Docker has not read it either
	logd_docker_started(bed->logd);
	assert_string_equal(logd_docker_defaults(bed->logd)->driver, "syslog");
	assert_string_equal(json_map_get(&logd_docker_defaults(bed->logd)->options, "tag"), "t");
	assert_int_equal(write_file_atomic(bed->daemon_path, "{", 1, 0600), 0);
	logd_docker_started(bed->logd);
	assert_null(logd_docker_defaults(bed->logd)->driver);
}

static void wait_connected(struct bed *bed, unsigned times)
{
	while (bed->connected < times)
		loop_run(bed->loop);
}

static void test_told(void **state)
{
	struct bed *bed = *state;
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	logd_stopping(bed->logd, ID); // nobody there: lost
	logd_up(bed);                 // comes later: tried again
	wait_connected(bed, 1);
	while (!logd_control_connected(bed->control)) {
		loop_defer(bed->loop, stop_loop, bed->loop);
		loop_run(bed->loop);
	}
	logd_stopping(bed->logd, ID);
	logd_exited(bed->logd, "not an id"); // not passed on
	logd_exited(bed->logd, ID);
	while (!strstr(bed->seen, "exited"))
		loop_run(bed->loop);
	assert_string_equal(bed->seen, "stopping 01234567 exited 01234567");
	// It dies and comes again.
	bed->control = logd_control_free(bed->control);
	logd_up(bed);
	wait_connected(bed, 2);
	*bed->seen = '\0';
	logd_exited(bed->logd, ID);
	while (!strstr(bed->seen, "exited"))
		loop_run(bed->loop);
	// A second ecsd takes the place of the first, which tries again.
	struct logd *first = TAKE(bed->logd);
	make_logd(bed, LOG_DRIVER_BIT(LOG_SYSLOG));
	wait_connected(bed, 3);
	logd_free(first);
}

static void wait_needed(struct bed *bed, const char *id, bool needed)
{
	while (logd_needs_credentials(bed->logd, id) != needed) {
		loop_defer(bed->loop, stop_loop, bed->loop);
		loop_run(bed->loop);
	}
}

// What ecs-logd needs is known from its first word on and with each change, and asked of the one that is there.
static void test_credentials_needed(void **state)
{
	struct bed *bed = *state;
	_cleanup_free_ char *long_id = xcalloc(WIRE_LOGD_CREDENTIAL_LEN_MAX + 2, 1);
	memset(long_id, 'x', WIRE_LOGD_CREDENTIAL_LEN_MAX + 1);
	bed->ids[0] = "b", bed->ids[1] = "a", bed->ids[2] = long_id;
	make_logd(bed, LOG_DRIVER_BIT(LOG_AWSLOGS));
	assert_true(logd_needs_credentials(bed->logd, "other")); // nobody knows
	logd_up(bed);
	wait_needed(bed, "other", false);
	assert_true(logd_needs_credentials(bed->logd, "a"));
	assert_true(logd_needs_credentials(bed->logd, "b"));
	assert_false(logd_needs_credentials(bed->logd, ""));
	assert_false(logd_needs_credentials(bed->logd, long_id)); // none of ECS's
	bed->ids[0] = "other", bed->ids[1] = NULL;
	logd_control_credentials(bed->control);
	logd_control_credentials(bed->control);
	wait_needed(bed, "other", true);
	assert_false(logd_needs_credentials(bed->logd, "a"));
	bed->ids[0] = NULL;
	logd_control_credentials(bed->control);
	wait_needed(bed, "other", false);
	// It dies: it may need any, until the next one says so.
	bed->control = logd_control_free(bed->control);
	wait_needed(bed, "a", true);
	assert_true(logd_needs_credentials(bed->logd, "other"));
	bed->ids[0] = "a";
	logd_up(bed);
	wait_needed(bed, "other", false);
	assert_true(logd_needs_credentials(bed->logd, "a"));
}

// Without ecs-logd on the host nobody is waited for.
static void test_credentials_without_ecs_logd(void **state)
{
	struct bed *bed = *state;
	uint64_t began = loop_now(bed->loop);
	make_logd(bed, LOG_DRIVER_BIT(LOG_AWSLOGS));
	wait_needed(bed, "a", false);
	assert_true(loop_now(bed->loop) < began + LOGD_AWAY_MS);
	bed->ids[0] = "a";
	logd_up(bed);
	wait_needed(bed, "a", true);
}

// Who stays away for an hour, from ecsd's start on or after its last word, has no claim any more.
static void test_away_for_too_long(void **state)
{
	struct bed *bed = *state;
	uint64_t began = loop_now(bed->loop);
	close(listen_at(bed->socket_path)); // it was there once
	make_logd(bed, LOG_DRIVER_BIT(LOG_AWSLOGS));
	wait_needed(bed, "a", false);
	assert_true(loop_now(bed->loop) >= began + LOGD_AWAY_MS);
	bed->ids[0] = "a";
	logd_up(bed);
	wait_needed(bed, "a", true);
	assert_false(logd_needs_credentials(bed->logd, "b"));
	began = loop_now(bed->loop);
	bed->control = logd_control_free(bed->control);
	wait_needed(bed, "b", true);
	wait_needed(bed, "b", false);
	assert_false(logd_needs_credentials(bed->logd, "a"));
	assert_true(loop_now(bed->loop) >= began + LOGD_AWAY_MS);
}

struct stranger {
	struct bed *bed;
	bool ended;
};

static void on_stranger_message(const struct wire_message *message, int *fd, void *arg)
{
	(void)message, (void)fd, (void)arg;
}

static void on_stranger_end(int result, void *arg)
{
	struct stranger *stranger = arg;
	(void)result;
	stranger->ended = true;
	loop_stop(stranger->bed->loop);
}

// Who does not greet, or greets from another time, is sent away; nothing is passed on.
static void test_strangers(void **state)
{
	struct bed *bed = *state;
	static const struct channel_callbacks callbacks = {on_stranger_message, on_stranger_end};
	static const struct {
		unsigned type;
		const char *fields[2];
	} cases[] = {
		{WIRE_LOGD_EXITED, {ID, ""}}, {WIRE_HELLO, {"x", "1"}},   {WIRE_HELLO, {"1", ""}},
		{WIRE_HELLO, {"0", "0"}},     {WIRE_HELLO, {"99", "98"}},
	};
	logd_up(bed);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stranger stranger = {.bed = bed};
		struct error err = {0};
		int fd = -1;
		assert_int_equal(unix_connect(bed->socket_path, &fd, &err), 0);
		struct channel *channel = channel_new(bed->loop, fd, &callbacks, &stranger);
		channel_send(channel, cases[i].type, cases[i].fields, 2, -1);
		channel_send(channel, WIRE_LOGD_EXITED, cases[0].fields, 1, -1);
		while (!stranger.ended)
			loop_run(bed->loop);
		channel_free(channel);
		assert_false(logd_control_connected(bed->control));
		assert_string_equal(bed->seen, "");
	}
}

static void test_connect_errors(void **state)
{
	(void)state;
	struct error err = {0};
	char path[200];
	int fd = -1;
	assert_int_equal(unix_connect("/no/such/socket", &fd, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/no/such/socket"));
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(unix_connect(path, &fd, &err), -ENAMETOOLONG);
	assert_int_equal(fd, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_plugin_answers),
		TEST(test_plugin_goes),
		TEST(test_plugin_bad_answers),
		TEST(test_plugin_bodies),
		TEST(test_waiters),
		TEST(test_off),
		TEST(test_docker_defaults),
		TEST(test_told),
		TEST(test_strangers),
		TEST(test_connect_errors),
		TEST(test_credentials_needed),
		TEST(test_credentials_without_ecs_logd),
		cmocka_unit_test_setup_teardown(test_away_for_too_long, set_up_in_haste, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
