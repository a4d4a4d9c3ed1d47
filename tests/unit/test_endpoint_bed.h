// An ecs-endpoint for tests: the real program, started by the real spawner, in a network namespace of the
// test's own, and the HTTP client to ask it with.
#pragma once

#include "agent/endpoint/endpoint.h"
#include "agent/endpoint/spawner.h"
#include "common/log.h"
#include "common/sanitizer.h"
#include "common/util.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

#define WAIT_MS 15000
#define ANSWER_MAX 65536
#define BRIDGE "172.31.0.1"

static const char rate_headers[] = "X-Rate-Limit-Duration: 1\r\nX-Rate-Limit-Limit: 100000.00\r\n"
				   "X-Rate-Limit-Request-Forwarded-For: \r\n"
				   "X-Rate-Limit-Request-Remote-Addr: PEER\r\nDate: DATE\r\n";
static const char credentials_body[] =
	"{\"RoleArn\":\"arn:aws:iam::123456789012:role/labRole\",\"AccessKeyId\":\"ASIALABTASKKEY\","
	"\"SecretAccessKey\":\"taskSecret/"
	"Key+1\",\"Token\":\"taskSessionToken==\",\"Expiration\":\"2026-11-23T01:24:49Z\"}";
static const char no_task[] =
	"{\"Arn\":\"\",\"KnownStatus\":\"\",\"Family\":\"\",\"Version\":\"\",\"Containers\":null}";
static const char commands[] = "{\"AvailableCommands\":[\"/v1/metadata\",\"/v1/tasks\",\"/license\"]}";
static const char container_1[] = "60441c9f30d45ba3de3dbc42bc580781c8abe40b47171c60be63d4f0cbcbb655";

static struct {
	char dir[64], *program, *audit;
	struct loop *loop;
	struct endpoint *endpoint;
	int spawner, ups, downs, held;
	bool bridge;
	struct buf returned;
} t = {.spawner = -1};

// --- helpers ---

static void on_connected(bool connected, void *arg)
{
	(void)arg;
	connected ? t.ups++ : t.downs++;
}

static void on_returned(const struct task_credentials *c, void *arg)
{
	(void)arg;
	buf_printf(&t.returned, "%s=%s;", c->id, c->secret_access_key);
}

static void on_held(void *arg)
{
	t.held++;
	*(bool *)arg = true;
}

static void poll_condition(void *arg)
{
	(void)arg;
	loop_stop(t.loop);
}

// Runs the loop until *value is at least wanted.
static void run_until(const int *value, int wanted)
{
	struct timer tick;
	timer_init(&tick, t.loop, poll_condition, NULL);
	for (int i = 0; *value < wanted && i < WAIT_MS / 5; i++) {
		timer_start(&tick, 5);
		loop_run(t.loop);
	}
	timer_done(&tick);
	assert_true(*value >= wanted);
}

static struct endpoint *open_endpoint(unsigned steady, unsigned burst)
{
	struct error err = {0};
	_cleanup_free_ char *socket = xasprintf("%s/ecs-endpoint.sock", t.dir);
	struct endpoint_options options = {.loop = t.loop,
					   .socket = socket,
					   .spawner_fd = t.spawner,
					   .audit_log_path = t.audit,
					   .rps_steady = steady,
					   .rps_burst = burst,
					   .on_connected = on_connected,
					   .on_returned = on_returned};
	struct endpoint *endpoint = endpoint_new(&options, &err);
	assert_non_null(endpoint);
	return endpoint;
}

static struct task_credentials lab_credentials(const char *id, enum role_type role)
{
	return (struct task_credentials){.id = (char *)id,
					 .task_arn = "arn:aws:ecs:us-west-2:123456789012:task/lab/1",
					 .role_arn = "arn:aws:iam::123456789012:role/labRole",
					 .access_key_id = "ASIALABTASKKEY",
					 .secret_access_key = "taskSecret/Key+1",
					 .session_token = "taskSessionToken==",
					 .expiration = "2026-11-23T01:24:49Z",
					 .role = role};
}

static int endpoint_pid(void)
{
	_cleanup_free_ char *path = xasprintf("%s/ecs-endpoint.pid", t.dir);
	_cleanup_free_ char *text = read_file(path, 32, NULL);
	return text ? atoi(text) : 0;
}

static int dial(const char *address, unsigned port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	inet_pton(AF_INET, address, &name.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

// Replaces the text from start up to the line's end.
static void mask_line(char *text, const char *start, const char *mask)
{
	char *p = strstr(text, start);
	if (!p)
		return;
	p += strlen(start);
	char *end = strstr(p, "\r\n");
	assert_non_null(end);
	memmove(p + strlen(mask), end, strlen(end) + 1);
	memcpy(p, mask, strlen(mask));
}

// Sends text, reads until the peer closes; Date and address masked. Static.
static const char *exchange_at(const char *address, unsigned port, const char *text, size_t len)
{
	static char answer[ANSWER_MAX];
	int fd = dial(address, port);
	size_t got = 0;
	ssize_t n;
	for (size_t at = 0; at < len; at += (size_t)n) {
		n = send(fd, text + at, len - at, MSG_NOSIGNAL);
		if (n < 0)
			break;
	}
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, answer + got, sizeof(answer) - 64 - got, 0)) > 0)
		got += (size_t)n;
	answer[got] = 0;
	close(fd);
	mask_line(answer, "Date: ", "DATE");
	mask_line(answer, "Remote-Addr: ", "PEER");
	return answer;
}

static const char *exchange(unsigned port, const char *text)
{
	return exchange_at("127.0.0.1", port, text, strlen(text));
}

static const char *request(unsigned port, const char *method, const char *target)
{
	_cleanup_free_ char *text =
		xasprintf("%s %s HTTP/1.1\r\nHost: x\r\nUser-Agent: test/1\r\n\r\n", method, target);
	return exchange(port, text);
}

static const char *get(unsigned port, const char *target)
{
	return request(port, "GET", target);
}

static void expect_credentials_answer(const char *answer, const char *status, const char *body)
{
	_cleanup_free_ char *want =
		xasprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status,
			  rate_headers, strlen(body), body);
	assert_string_equal(answer, want);
}

static void expect_introspection(const char *target, const char *status, const char *body)
{
	_cleanup_free_ char *want = xasprintf(
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nDate: DATE\r\nContent-Length: %zu\r\n\r\n%s", status,
		strlen(body), body);
	assert_string_equal(get(51678, target), want);
}

static const char *error_body(const char *code, int version, const char *message, int status)
{
	static char body[256];
	snprintf(body, sizeof(body), "{\"code\":\"%s\",\"message\":\"CredentialsV%dRequest: %s\",\"HTTPErrorCode\":%d}",
		 code, version, message, status);
	return body;
}

// --- set-up: one network namespace and one endpoint for the group ---

static void interface_up(const char *name, const char *address)
{
	struct ifreq r = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (address) {
		struct sockaddr_in in = {.sin_family = AF_INET};
		inet_pton(AF_INET, address, &in.sin_addr);
		memcpy(&r.ifr_addr, &in, sizeof(in));
		ioctl(fd, SIOCSIFADDR, &r);
	}
	ioctl(fd, SIOCGIFFLAGS, &r);
	r.ifr_flags |= IFF_UP;
	ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
}

static void make_bridge(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	t.bridge = ioctl(fd, SIOCBRADDBR, "docker0") == 0;
	close(fd);
	if (t.bridge)
		interface_up("docker0", BRIDGE);
}

static int set_up(void **state)
{
	(void)state;
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = 0;
	t.program = xasprintf("%s/../../ecs-endpoint", dirname(self));
	if (geteuid() != 0 || access(t.program, X_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
		print_message("skipped: needs root, a network namespace and a built ecs-endpoint\n");
		return 1;
	}
	log_open(&(struct log_options){.level = LOG_CRITICAL, .program = "test"}, NULL);
	setenv("ECS_LOGLEVEL", "debug", 1); // all that is ever logged is tried under the filter
	interface_up("lo", NULL);
	make_bridge();
	strcpy(t.dir, "/tmp/ecs-endpoint-test.XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	t.audit = xasprintf("%s/log/audit.log", t.dir);
	t.loop = loop_new(1, NULL);
	struct error err = {0};
	_cleanup_free_ char *log = xasprintf("%s/stderr", t.dir);
	_cleanup_close_ int saved = dup(STDERR_FILENO);
	_cleanup_close_ int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(file, STDERR_FILENO); // the spawner and all it starts write there
	t.spawner = spawner_start(
		&(struct spawner_options){
			.run_dir = t.dir, .program = t.program, .audit_log_path = t.audit, .user = "ecs-endpoint"},
		&err);
	dup2(saved, STDERR_FILENO);
	assert_true(t.spawner >= 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (t.spawner < 0)
		return 0;
	endpoint_free(t.endpoint);
	int pid = endpoint_pid();
	if (pid > 0)
		kill(pid, SIGKILL);
	close(t.spawner);
	loop_free(t.loop);
	buf_free(&t.returned);
	_cleanup_free_ char *command = xasprintf("rm -rf %s", t.dir);
	(void)!system(command);
	free(t.program);
	free(t.audit);
	return 0;
}
