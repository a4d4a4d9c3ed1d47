// The real ecs-endpoint from outside. Bodies and headers are those of the recordings
// transcripts/http-credentials*.json and http-introspection.json.
#include "test_endpoint_bed.h"
#include "common/channel.h"
#include <dirent.h>
#include <pwd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

// --- tests, in order ---

static void test_put_before_connect(void **state)
{
	(void)state;
	static bool held;
	struct error err = {0};
	t.endpoint = open_endpoint(100000, 100000);
	struct task_credentials c = lab_credentials("app-1", ROLE_TASK_APPLICATION);
	struct task_credentials bad = c;
	bad.id = "";
	assert_int_equal(endpoint_put(t.endpoint, &bad, NULL, NULL, &err), -EINVAL);
	assert_string_equal(err.message, "CredentialsId is empty");
	bad = c;
	bad.task_arn = NULL;
	assert_int_equal(endpoint_put(t.endpoint, &bad, NULL, NULL, &err), -EINVAL);
	assert_string_equal(err.message, "task ARN is empty");
	endpoint_start(t.endpoint);
	assert_int_equal(endpoint_put(t.endpoint, &c, on_held, &held, &err), 0);
	assert_false(held);
	assert_string_equal(endpoint_get(t.endpoint, "app-1")->secret_access_key, "taskSecret/Key+1");
	run_until(&t.held, 1);
	assert_true(held);
	assert_int_equal(t.ups, 1);
	assert_true(endpoint_pid() > 0);
}

static void test_credentials_answers(void **state)
{
	(void)state;
	static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS"};
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		expect_credentials_answer(request(51679, methods[i], "/v2/credentials/app-1"), "200 OK",
					  credentials_body);
	expect_credentials_answer(get(51679, "/v1/credentials?id=app-1"), "200 OK", credentials_body);
	const char *missing = error_body("InvalidIdInRequest", 2, "Credentials not found", 400);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1/"), "400 Bad Request", missing);
	expect_credentials_answer(get(51679, "/v2/credentials/nope"), "400 Bad Request", missing);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1%00"), "400 Bad Request", missing);
	expect_credentials_answer(get(51679, "/v2/credentials/"), "400 Bad Request",
				  error_body("NoIdInRequest", 2, "No Credential ID in the request", 400));
	expect_credentials_answer(get(51679, "/v1/credentials?id=nope"), "400 Bad Request",
				  error_body("InvalidIdInRequest", 1, "Credentials not found", 400));
	const char *none = error_body("NoIdInRequest", 1, "No Credential ID in the request", 400);
	expect_credentials_answer(get(51679, "/v1/credentials"), "400 Bad Request", none);
	expect_credentials_answer(get(51679, "/v1/credentials?id="), "400 Bad Request", none);

	_cleanup_free_ char *not_found =
		xasprintf("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
			  "X-Content-Type-Options: nosniff\r\n%sContent-Length: 19\r\n\r\n"
			  "404 page not found\n",
			  rate_headers);
	static const char *const unknown[] = {"/nope", "/", "/v2/credentials", "/v1/credentials/",
					      "/v2/credentials/a%0ab"};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_string_equal(get(51679, unknown[i]), not_found);

	assert_string_equal(
		get(51679, "/v2/credentials/%2e%2e/x"),
		"HTTP/1.1 301 Moved Permanently\r\nLocation: /v2/x\r\nDate: DATE\r\nContent-Length: 0\r\n\r\n");
	assert_string_equal(get(51679, "/v2/credentials//?a=b"),
			    "HTTP/1.1 301 Moved Permanently\r\nLocation: /v2/credentials/?a=b\r\nDate: DATE\r\n"
			    "Content-Length: 0\r\n\r\n");
	_cleanup_free_ char *head = xasprintf(
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: 185\r\n\r\n", rate_headers);
	assert_string_equal(request(51679, "HEAD", "/v2/credentials/app-1"), head);
	assert_non_null(strstr(
		exchange(51679, "GET /v2/credentials/app-1 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"),
		"Request-Forwarded-For: 9.9.9.9\r\n"));
}

static void test_introspection_answers(void **state)
{
	(void)state;
	char version[256], body[512];
	static bool held;
	endpoint_set_instance(t.endpoint, "lab", "arn:aws:ecs:us-west-2:123456789012:container-instance/lab/d7ed");
	endpoint_set_task(t.endpoint, "arn:task/1", "{\"Arn\":\"arn:task/1\"}", (const char *[]){container_1}, 1);
	endpoint_set_task(t.endpoint, "arn:task/2", "{\"Arn\":\"arn:task/2\"}", (const char *[]){"abc1", "abc2"}, 2);
	struct task_credentials c = lab_credentials("app-1", ROLE_TASK_APPLICATION);
	int before = t.held;
	endpoint_put(t.endpoint, &c, on_held, &held, NULL);
	run_until(&t.held, before + 1);
	const char *answer = get(51678, "/v1/metadata");
	assert_int_equal(sscanf(strstr(answer, "\"Version\":"), "\"Version\":\"%255[^\"]", version), 1);
	assert_true(str_starts(version, "Amazon ECS Agent - v1."));
	snprintf(body, sizeof(body),
		 "{\"Cluster\":\"lab\",\"ContainerInstanceArn\":\"arn:aws:ecs:us-west-2:123456789012:container-"
		 "instance/lab/d7ed\","
		 "\"Version\":\"%s\"}",
		 version);
	expect_introspection("/v1/metadata?x=y", "200 OK", body);
	expect_introspection("/v1/tasks", "200 OK", "{\"Tasks\":[{\"Arn\":\"arn:task/1\"},{\"Arn\":\"arn:task/2\"}]}");
	_cleanup_free_ char *full = xasprintf("/v1/tasks?dockerid=%s", container_1);
	expect_introspection(full, "200 OK", "{\"Arn\":\"arn:task/1\"}");
	expect_introspection("/v1/tasks?dockerid=60441c9f30d4", "200 OK", "{\"Arn\":\"arn:task/1\"}");
	expect_introspection("/v1/tasks?dockerid=60441c9f30d45", "404 Not Found", no_task); // 13: no prefix any more
	expect_introspection("/v1/tasks?dockerid=nope", "404 Not Found", no_task);
	expect_introspection("/v1/tasks?dockerid=", "400 Bad Request", no_task);
	expect_introspection("/v1/tasks?dockerid=abc", "400 Bad Request", no_task);
	expect_introspection("/v1/tasks?taskarn=arn:task/2", "200 OK", "{\"Arn\":\"arn:task/2\"}");
	expect_introspection("/v1/tasks?taskarn=nope", "404 Not Found", no_task);
	expect_introspection("/v1/tasks?taskarn=arn:task/2&dockerid=abc1", "400 Bad Request", no_task);
	_cleanup_free_ char *list = xasprintf("HTTP/1.1 200 OK\r\nDate: DATE\r\nContent-Length: %zu\r\n"
					      "Content-Type: text/plain; charset=utf-8\r\n\r\n%s",
					      strlen(commands), commands);
	static const char *const others[] = {"/", "/v1", "/v1/tasks/", "/nope", "/debug/pprof/"};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_string_equal(get(51678, others[i]), list);
	answer = get(51678, "/license");
	assert_true(str_starts(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"));
	assert_non_null(strstr(answer, "Apache License"));
	assert_string_equal(get(51678, "/v1//tasks?a=b"),
			    "HTTP/1.1 301 Moved Permanently\r\nContent-Type: text/html; charset=utf-8\r\n"
			    "Location: /v1/tasks?a=b\r\nDate: DATE\r\nContent-Length: 48\r\n\r\n"
			    "<a href=\"/v1/tasks?a=b\">Moved Permanently</a>.\n\n");
	endpoint_remove_task(t.endpoint, "arn:task/2");
	if (t.bridge) {
		static const char text[] = "GET /v1/metadata HTTP/1.1\r\nHost: x\r\n\r\n";
		assert_true(str_starts(exchange_at(BRIDGE, 51678, text, sizeof(text) - 1), "HTTP/1.1 200 OK\r\n"));
	}
}

static void test_http_rules(void **state)
{
	(void)state;
#define AUTH "Host: x\r\n"
	// Two requests at once, the second closes; then nothing more is answered.
	const char *answer =
		exchange(51678, "GET / HTTP/1.1\r\n" AUTH "\r\nPOST /v1 HTTP/1.1\r\n" AUTH
				"Connection: close\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n" AUTH "\r\n");
	const char *second = strstr(answer, commands);
	assert_non_null(second);
	second += strlen(commands);
	assert_true(str_starts(second, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(second, "Connection: close\r\n"));
	assert_true(str_ends(second, commands));
	assert_null(strstr(second + 1, "HTTP/1.1"));
	answer = exchange(51678, "PUT / HTTP/1.1\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
				 "GET /v1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	assert_non_null(strstr(answer, "HTTP/1.0 200 OK\r\n"));
	assert_non_null(strstr(answer, "Connection: keep-alive\r\n"));
	static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
				  "Connection: close\r\n\r\n400 Bad Request";
	assert_string_equal(exchange(51679, "BAD\r\n\r\n"), bad);
	assert_string_equal(exchange(51679, "GET /%zz HTTP/1.1\r\n" AUTH "\r\n"), bad);
	_cleanup_free_ char *no_host = xasprintf("%s: missing required Host header", bad);
	assert_string_equal(exchange(51679, "GET / HTTP/1.1\r\n\r\n"), no_host);
	assert_true(str_starts(exchange(51679, "PUT / HTTP/1.1\r\n" AUTH "Content-Length: 65537\r\n\r\n"),
			       "HTTP/1.1 413 Request Entity Too Large\r\n"));
	// The body is not asked for, and the answer comes without it.
	answer = exchange(51678, "PUT / HTTP/1.1\r\n" AUTH "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	assert_true(str_starts(answer, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(answer, "Connection: close\r\n"));
	char *big = xmalloc(40001);
	memset(big, 'a', 40000);
	big[40000] = 0;
	_cleanup_free_ char *text = xasprintf("GET / HTTP/1.1\r\n" AUTH "X: %s\r\n\r\n", big);
	assert_true(str_starts(exchange(51679, text), "HTTP/1.1 431 Request Header Fields Too Large\r\n"));
	_cleanup_free_ char *body = xasprintf(
		"PUT / HTTP/1.1\r\n" AUTH "Content-Length: 40000\r\n\r\n%sGET / HTTP/1.1\r\n" AUTH "\r\n", big);
	answer = exchange(51678, body);
	assert_true(str_starts(answer, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(answer + 1, "HTTP/1.1 200 OK\r\n"));
	free(big);
}

// In pieces with pauses, and one that never ends: 5 s.
static void test_slow_client(void **state)
{
	(void)state;
	static const char text[] = "GET /v1/metadata HTTP/1.1\r\nHost: x\r\n\r\n";
	char byte[512];
	int slow = dial("127.0.0.1", 51679);
	struct timespec from, to;
	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(send(slow, "GET /", 5, 0), 5);
	int fd = dial("127.0.0.1", 51678);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(send(fd, text + i, 1, 0), 1);
		usleep(1000);
	}
	assert_true(recv(fd, byte, sizeof(byte), 0) > 15);
	close(fd);
	assert_int_equal(recv(slow, byte, sizeof(byte), 0), 0); // closed without a word
	clock_gettime(CLOCK_MONOTONIC, &to);
	double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	assert_true(took > 4.9 && took < 6.5);
	close(slow);
}

// /proc/PID/<file> of the endpoint.
static char *of_process(const char *file)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/%s", endpoint_pid(), file);
	return read_file(path, 1 << 20, NULL);
}

static char *link_of_process(const char *file)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/%s", endpoint_pid(), file);
	char target[512];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	return n < 0 ? NULL : xstrndup(target, (size_t)n);
}

static void expect_line(const char *text, const char *format, ...)
{
	char line[128];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (!strstr(text, line))
		fail_msg("not there: %s in %s", line, text);
}

static void test_confined(void **state)
{
	(void)state;
	_cleanup_free_ char *status = of_process("status"), *limits = of_process("limits"),
			    *environment = of_process("environ");
	_cleanup_free_ char *root = link_of_process("root"), *cwd = link_of_process("cwd");
	const struct passwd *user = getpwnam("ecs-endpoint");
	if (!user)
		user = getpwnam("nobody");
	unsigned uid = user->pw_uid, gid = user->pw_gid;
	assert_int_not_equal(uid, 0);
	expect_line(status, "\nUid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
	expect_line(status, "\nGid:\t%u\t%u\t%u\t%u\n", gid, gid, gid, gid);
	expect_line(status, "\nGroups:\t%u \n", gid);
	static const char *const sets[] = {"Inh", "Prm", "Eff", "Bnd", "Amb"};
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		expect_line(status, "\nCap%s:\t0000000000000000\n", sets[i]);
	expect_line(status, "\nNoNewPrivs:\t1\n");
	expect_line(status, "\nThreads:\t1\n");
	expect_line(limits, "\nMax core file size        0                    0                    bytes");
	expect_line(limits, "\nMax processes             0                    0                    processes");
	unsigned soft, hard; // no more than it is made for, and not to be raised
	assert_int_equal(sscanf(strstr(limits, "Max open files"), "Max open files %u %u", &soft, &hard), 2);
	assert_true(soft == hard && soft >= 1024 && soft < 65536);
#if !WITH_ADDRESS_SANITIZER
	expect_line(status, "\nSeccomp:\t2\n");
#endif
	for (const char *p = environment; *p; p += strlen(p) + 1)
		if (!str_starts(p, "ECS_LOGLEVEL=") && !strstr(p, "SAN_OPTIONS="))
			fail_msg("in its environment: %s", p);
	// An empty directory that is gone already: nothing can be put there.
	assert_true(str_ends(root, " (deleted)"));
	assert_string_equal(root, cwd);
	_cleanup_free_ char *inside = xasprintf("/proc/%d/root/x", endpoint_pid());
	assert_int_equal(open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, ENOENT);
}

// Two of them /dev/null, the log, the audit log; listening sockets, the connection to ecsd; epoll, and a pipe to itself
// that libevent always makes.
static void test_descriptors(void **state)
{
	(void)state;
	int nulls = 0, logs = 0, audits = 0, sockets = 0, epolls = 0, pipes = 0;
	_cleanup_free_ char *path = xasprintf("/proc/%d/fd", endpoint_pid()), *log = xasprintf("%s/stderr", t.dir),
			    *pipe = NULL;
	DIR *directory = opendir(path);
	for (const struct dirent *entry; (entry = readdir(directory));) {
		_cleanup_free_ char *file = xasprintf("fd/%s", entry->d_name), *target = link_of_process(file);
		if (*entry->d_name == '.')
			continue;
		if (str_equal(target, "/dev/null"))
			nulls++;
		else if (str_equal(target, log))
			logs++;
		else if (str_equal(target, t.audit))
			audits++;
		else if (str_starts(target, "socket:"))
			sockets++;
		else if (str_equal(target, "anon_inode:[eventpoll]"))
			epolls++;
		else if (str_starts(target, "pipe:") && (!pipe || str_equal(pipe, target)))
			str_replace(&pipe, target), pipes++;
		else
			fail_msg("descriptor %s is %s", entry->d_name, target);
	}
	closedir(directory);
	assert_int_equal(nulls, 2);
	assert_int_equal(logs, 1);
	assert_int_equal(audits, 1);
	assert_int_equal(epolls, 1);
	assert_int_equal(pipes, 2);
	// Credentials, introspection on one address or two, control, ecsd.
	assert_int_equal(sockets, t.bridge ? 5 : 4);
}

// Another process of the same user: 0, or the number of what it could do.
static int neighbour(pid_t pid)
{
	static const char *const files[] = {"mem", "maps", "environ", "auxv", "stack", "fd/0", "root/x", "fd", "cwd"};
	char byte;
	struct iovec iov = {&byte, 1}, there = {&byte, 1};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = xasprintf("/proc/%d/%s", (int)pid, files[i]);
		// Errors show with reading in places.
		_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, &byte, 1) >= 0)
			return (int)i + 1;
	}
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0)
		return 20;
	if (process_vm_readv(pid, &iov, 1, &there, 1, 0) >= 0 || errno != EPERM)
		return 21;
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0 && syscall(SYS_pidfd_getfd, pidfd, 0, 0) >= 0)
		return 22;
	return 0;
}

static int user_of(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	_cleanup_free_ char *status = read_file(path, 65536, NULL);
	const char *uid = strstr(status, "\nUid:\t");
	return uid ? atoi(uid + 6) : 0;
}

static void test_closed_to_others_of_its_user(void **state)
{
	(void)state;
	pid_t endpoint = endpoint_pid(), pid = fork();
	if (pid == 0) {
		int user = user_of(endpoint);
		_exit(user && setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0 ? neighbour(endpoint)
												   : 99);
	}
	int result;
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_true(WIFEXITED(result));
	assert_int_equal(WEXITSTATUS(result), 0);
}

// One client takes many connections: its oldest idle ones go, and others are still served.
static void test_many_connections(void **state)
{
	(void)state;
	int fds[600];
	char answer[512];
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = dial("127.0.0.1", 51679);
	static const char text[] = "GET /v2/credentials/app-1 HTTP/1.1\r\nHost: x\r\n\r\n";
	int last = fds[ARRAY_SIZE(fds) - 1];
	assert_int_equal(send(last, text, sizeof(text) - 1, 0), sizeof(text) - 1);
	assert_true(recv(last, answer, sizeof(answer), 0) > 100);
	assert_int_equal(recv(fds[0], answer, sizeof(answer), 0), 0);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1"), "200 OK", credentials_body);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void ignore_message(const struct wire_message *message, int *fd, void *arg)
{
	(void)message, (void)fd, (void)arg;
}
static void ignore_end(int result, void *arg)
{
	(void)result, (void)arg;
}

// An ecsd of a later time, which this ecs-endpoint cannot talk to: it makes room.
static void test_too_old(void **state)
{
	(void)state;
	static const struct channel_callbacks callbacks = {ignore_message, ignore_end};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	snprintf(name.sun_path, sizeof(name.sun_path), "%s/ecs-endpoint.sock", t.dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), pid = endpoint_pid(), ups = t.ups;
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	struct channel *channel = channel_new(t.loop, fd, &callbacks, NULL);
	channel_send(channel, WIRE_HELLO, (const char *[]){"99", "98", "x"}, 3, -1);
	run_until(&t.ups, ups + 1); // and the client has its own started
	channel_free(channel);
	assert_int_not_equal(endpoint_pid(), pid);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1"), "200 OK", credentials_body);
}

static void test_killed_and_refilled(void **state)
{
	(void)state;
	static bool held;
	int pid = endpoint_pid(), ups = t.ups, downs = t.downs, helds = t.held;
	kill(pid, SIGKILL);
	struct task_credentials c = lab_credentials("exec-1", ROLE_TASK_EXECUTION);
	endpoint_put(t.endpoint, &c, on_held, &held, NULL); // waits for the new one
	run_until(&t.downs, downs + 1);
	run_until(&t.ups, ups + 1);
	run_until(&t.held, helds + 1);
	assert_int_not_equal(endpoint_pid(), pid);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1"), "200 OK", credentials_body);
	expect_credentials_answer(get(51679, "/v2/credentials/exec-1"), "200 OK", credentials_body);
	expect_introspection("/v1/tasks", "200 OK", "{\"Tasks\":[{\"Arn\":\"arn:task/1\"}]}");
}

static void test_served_without_client(void **state)
{
	(void)state;
	t.endpoint = endpoint_free(t.endpoint);
	for (int i = 0; i < 20; i++) {
		expect_credentials_answer(get(51679, "/v2/credentials/app-1"), "200 OK", credentials_body);
		usleep(5000);
	}
}

static void test_restarted_client(void **state)
{
	(void)state;
	int pid = endpoint_pid(), ups = t.ups;
	t.endpoint = open_endpoint(100000, 100000);
	endpoint_expect(t.endpoint, "exec-1", "arn:task/1", ROLE_TASK_EXECUTION);
	endpoint_expect(t.endpoint, "unknown-1", "arn:task/1", ROLE_TASK_APPLICATION);
	assert_null(endpoint_get(t.endpoint, "exec-1"));
	assert_true(endpoint_holds(t.endpoint, "exec-1")); // perhaps
	endpoint_start(t.endpoint);
	run_until(&t.ups, ups + 1);
	assert_int_equal(endpoint_pid(), pid);
	assert_string_equal(t.returned.data, "exec-1=taskSecret/Key+1;");
	assert_string_equal(endpoint_get(t.endpoint, "exec-1")->session_token, "taskSessionToken==");
	expect_credentials_answer(get(51679, "/v2/credentials/exec-1"), "200 OK", credentials_body);
	expect_credentials_answer(get(51679, "/v2/credentials/app-1"), "400 Bad Request",
				  error_body("InvalidIdInRequest", 2, "Credentials not found", 400));
	expect_credentials_answer(get(51679, "/v2/credentials/unknown-1"), "503 Service Unavailable",
				  error_body("CredentialsUninitialized", 2, "Credentials uninitialized for ID", 503));
	expect_introspection("/v1/tasks", "200 OK", "{\"Tasks\":[]}"); // its tasks were not pushed again
	// Removed, and a cancelled callback.
	static bool held, cancelled;
	struct task_credentials c = lab_credentials("app-2", ROLE_TASK_APPLICATION);
	int before = t.held;
	endpoint_put(t.endpoint, &c, on_held, &cancelled, NULL);
	endpoint_cancel(t.endpoint, &cancelled);
	endpoint_remove(t.endpoint, "exec-1");
	assert_null(endpoint_get(t.endpoint, "exec-1"));
	endpoint_put(t.endpoint, &c, on_held, &held, NULL);
	run_until(&t.held, before + 1);
	assert_true(held);
	assert_false(cancelled);
	expect_credentials_answer(get(51679, "/v2/credentials/exec-1"), "400 Bad Request",
				  error_body("InvalidIdInRequest", 2, "Credentials not found", 400));
}

static void test_held_until_they_expire(void **state)
{
	(void)state;
	static const struct {
		const char *expiration;
		bool held;
	} cases[] = {{"2999-01-01T00:00:00Z", true},
		     {"2020-01-01T00:00:00Z", false},
		     {"", true},
		     {NULL, true},
		     {"never", true}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task_credentials c = lab_credentials("exec-2", ROLE_TASK_EXECUTION);
		c.expiration = (char *)cases[i].expiration;
		assert_int_equal(endpoint_put(t.endpoint, &c, NULL, NULL, NULL), 0);
		assert_int_equal(endpoint_holds(t.endpoint, "exec-2"), cases[i].held);
	}
	endpoint_remove(t.endpoint, "exec-2");
	assert_false(endpoint_holds(t.endpoint, "exec-2"));
	assert_false(endpoint_holds(t.endpoint, "unknown-1")); // expected, and ecs-endpoint had none
}

static void test_audit_log(void **state)
{
	(void)state;
	// Renamed by rotation, and a new file handed over.
	_cleanup_free_ char *old = xasprintf("%s.1", t.audit);
	assert_int_equal(rename(t.audit, old), 0);
	static bool held;
	int before = t.held;
	endpoint_reopen_audit_log(t.endpoint);
	endpoint_set_instance(t.endpoint, "lab", "arn:instance");
	struct task_credentials c = lab_credentials("app-2", ROLE_TASK_APPLICATION);
	endpoint_put(t.endpoint, &c, on_held, &held, NULL);
	run_until(&t.held, before + 1);
	get(51679, "/v2/credentials/app-2");
	get(51679, "/v2/credentials/nope");
	get(51679, "/not-a-route");
	_cleanup_free_ char *text = read_file(t.audit, 65536, NULL);
	assert_non_null(text);
	char *line = strchr(text, '\n');
	assert_non_null(strstr(text, " 200 127.0.0.1:"));
	assert_non_null(strstr(text, " \"/v2/credentials\" \"test/1\" arn:aws:ecs:us-west-2:123456789012:task/lab/1 "
				     "GetCredentials 2 lab arn:instance\n"));
	assert_non_null(strstr(line, " 400 127.0.0.1:"));
	assert_true(str_ends(line, " \"/v2/credentials\" \"test/1\" - \n"));
	assert_null(strstr(text, "app-2"));
	_cleanup_free_ char *first = read_file(old, 1 << 20, NULL);
	assert_non_null(strstr(first, "GetCredentialsExecutionRole 2 lab"));
}

static void test_rate_limit(void **state)
{
	(void)state;
	int ups = t.ups;
	static bool held;
	endpoint_free(t.endpoint);
	t.endpoint = open_endpoint(1, 5);
	struct task_credentials c = lab_credentials("app-3", ROLE_TASK_APPLICATION);
	endpoint_put(t.endpoint, &c, on_held, &held, NULL);
	endpoint_start(t.endpoint);
	run_until(&t.ups, ups + 1);
	const char *answer = NULL;
	int allowed = 0;
	for (int i = 0; i < 10; i++) {
		answer = get(51679, "/v2/credentials/app-3");
		allowed += str_starts(answer, "HTTP/1.1 200");
	}
	assert_int_equal(allowed, 5);
	assert_string_equal(answer, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\n"
				    "X-Rate-Limit-Duration: 1\r\nX-Rate-Limit-Limit: 1.00\r\n"
				    "X-Rate-Limit-Request-Forwarded-For: \r\nX-Rate-Limit-Request-Remote-Addr: PEER\r\n"
				    "Date: DATE\r\nContent-Length: 39\r\n\r\nYou have reached maximum request limit.");
	// Unknown paths share one bucket.
	allowed = 0;
	for (int i = 0; i < 10; i++) {
		char path[32];
		snprintf(path, sizeof(path), i % 2 ? "/x%d" : "/v2/credentials/x%d", i);
		allowed += !str_starts(get(51679, path), "HTTP/1.1 429");
	}
	assert_int_equal(allowed, 5);
}

// While one is alive it keeps its ports, and the spawner says so.
static void test_second_start(void **state)
{
	(void)state;
	char byte = 0;
	int pid = endpoint_pid();
	assert_int_equal(send(t.spawner, &byte, 1, 0), 1);
	struct pollfd p = {.fd = t.spawner, .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(t.spawner, &byte, 1, 0), 1);
	assert_int_equal(byte, EADDRINUSE);
	assert_int_equal(endpoint_pid(), pid);
	assert_true(str_starts(get(51678, "/"), "HTTP/1.1 200"));
}

// With everything logged: events are there, secrets and ids are not.
static void test_log(void **state)
{
	(void)state;
	_cleanup_free_ char *path = xasprintf("%s/stderr", t.dir);
	_cleanup_free_ char *text = read_file(path, 16 << 20, NULL);
	assert_non_null(text);
	static const char *const there[] = {"msg=serving ", "msg=\"ecs-endpoint was killed\"", "msg=\"ecsd connected\"",
					    "msg=request ", "bind 127.0.0.1:51679: Address already in use"};
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (!strstr(text, there[i]))
			fail_msg("not logged: %s", there[i]);
	static const char *const not_there[] = {"taskSecret", "taskSession", "ASIALAB",
						"app-1",      "exec-1",      "Bad system call"};
	for (size_t i = 0; i < ARRAY_SIZE(not_there); i++)
		if (strstr(text, not_there[i]))
			fail_msg("logged: %s", not_there[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_before_connect),
		cmocka_unit_test(test_credentials_answers),
		cmocka_unit_test(test_introspection_answers),
		cmocka_unit_test(test_http_rules),
		cmocka_unit_test(test_slow_client),
		cmocka_unit_test(test_confined),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_closed_to_others_of_its_user),
		cmocka_unit_test(test_many_connections),
		cmocka_unit_test(test_too_old),
		cmocka_unit_test(test_killed_and_refilled),
		cmocka_unit_test(test_served_without_client),
		cmocka_unit_test(test_restarted_client),
		cmocka_unit_test(test_held_until_they_expire),
		cmocka_unit_test(test_audit_log),
		cmocka_unit_test(test_rate_limit),
		cmocka_unit_test(test_second_start),
		cmocka_unit_test(test_log),
	};
	if (set_up(NULL) != 0)
		return 0;
	return cmocka_run_group_tests(tests, NULL, tear_down);
}
