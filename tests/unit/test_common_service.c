// The service manager's side is played by the test: sockets handed in, and what arrives at the one for notifications.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/service.h"
#include "common/util.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define WAIT_MS 10000

static char dir[] = "/tmp/ecsd-service-test.XXXXXX";

// A manager's socket at a path, or an abstract one for '@'; NOTIFY_SOCKET names it.
static int manager(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_free_ char *path =
		*name == '@' ? xasprintf("%s%d", name, (int)getpid()) : xasprintf("%s/%s", dir, name);
	size_t len = strlen(path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(len < sizeof(address.sun_path));
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(
		bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	return fd;
}

// The next message; "" when there is none.
static const char *told(int fd, int timeout_ms)
{
	static char text[2048];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = poll(&p, 1, timeout_ms) == 1 ? recv(fd, text, sizeof(text) - 1, 0) : 0;

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void test_notifications(void **state)
{
	static const char *const names[] = {"notify", "@ecsd-service-test"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_close_ int fd = manager(names[i]);

		service_open();
		service_open(); // a second time is nothing
		service_status("waiting for %s", "Docker");
		assert_string_equal(told(fd, 0), "STATUS=waiting for Docker");
		service_status("waiting for Docker");
		assert_string_equal(told(fd, 0), "");
		service_ready();
		service_ready();
		assert_string_equal(told(fd, 0), "READY=1");
		assert_string_equal(told(fd, 0), "");
		service_status("an error\nREADY=0\tof %s", "Docker's"); // never a second assignment
		assert_string_equal(told(fd, 0), "STATUS=an error READY=0 of Docker's");
		char *is_long = xmalloc(5000);
		memset(is_long, 'x', 4999);
		is_long[4999] = '\0';
		service_status("%s", is_long);
		assert_int_equal(strlen(told(fd, 0)), strlen("STATUS=") + 511);
		free(is_long);
		service_stopping();
		assert_string_equal(told(fd, 0), "STOPPING=1");
		service_close();
		service_ready();
		assert_string_equal(told(fd, 0), "");
	}
}

static void test_no_manager(void **state)
{
	static const char too_long[] = "/a-path-that-is-too-long-for-a-socket-address-................................"
				       "................................................................";
	static const char *const paths[] = {"", "/nowhere/notify", "relative", "@nobody-listens-here", too_long};

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	for (size_t i = 0; i <= ARRAY_SIZE(paths); i++) {
		service_open();
		service_ready();
		service_status("nobody listens");
		service_close();
		if (i < ARRAY_SIZE(paths))
			setenv("NOTIFY_SOCKET", paths[i], 1);
	}
}

// A manager that does not read holds nobody up for long, and what it missed is told again.
static void test_full_manager(void **state)
{
	_cleanup_close_ int fd = manager("full");
	int before = 0;

	(void)state;
	service_open();
	while (before < 100000) { // the queue's length is the kernel's setting
		int64_t start = wall_ms();
		service_stopping();
		if (wall_ms() - start > 100)
			break;
		before++;
	}
	assert_true(before > 0 && before < 100000);
	service_ready();
	for (int i = 0; i < before; i++)
		assert_string_equal(told(fd, 0), "STOPPING=1");
	assert_string_equal(told(fd, 0), "");
	service_ready();
	assert_string_equal(told(fd, 0), "READY=1");
	service_close();
}

struct patience {
	struct loop *loop;
	int fd, seen;
};

static void on_told(int fd, unsigned events, void *arg)
{
	struct patience *patience = arg;

	(void)events;
	assert_string_equal(told(fd, 0), "WATCHDOG=1");
	if (++patience->seen == 3)
		loop_stop(patience->loop);
}

static void give_up(void *arg)
{
	struct patience *patience = arg;

	loop_stop(patience->loop);
}

// Turns the loop until three signs of life have come, or for some ms; returns their number.
static int signs_of_life(double scale, uint64_t limit_ms)
{
	struct patience patience = {.loop = loop_new(scale, NULL), .fd = manager("watchdog")};
	struct watch *watch = watch_new(patience.loop, patience.fd, LOOP_READ, on_told, &patience);
	struct timer timer;

	timer_init(&timer, patience.loop, give_up, &patience);
	timer_start(&timer, (uint64_t)((double)limit_ms * scale));
	service_open();
	service_watch(patience.loop);
	loop_run(patience.loop);
	service_watch_end();
	service_close();
	timer_done(&timer);
	watch_free(watch);
	loop_free(patience.loop);
	close(patience.fd);
	_cleanup_free_ char *path = xasprintf("%s/watchdog", dir);
	unlink(path);
	return patience.seen;
}

static void test_watchdog(void **state)
{
	_cleanup_free_ char *self = xasprintf("%d", (int)getpid());

	(void)state;
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(signs_of_life(1, 50), 0);
	setenv("WATCHDOG_USEC", "20000", 1);
	assert_int_equal(signs_of_life(1, WAIT_MS), 3);
	assert_int_equal(signs_of_life(50, WAIT_MS), 3); // the manager's clock is the real one
	setenv("WATCHDOG_PID", self, 1);
	assert_int_equal(signs_of_life(1, WAIT_MS), 3);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(signs_of_life(1, 50), 0);
	unsetenv("WATCHDOG_PID");
	static const char *const bad[] = {"", "0", "-1", "x", "99999999999999999999"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		setenv("WATCHDOG_USEC", bad[i], 1);
		assert_int_equal(signs_of_life(1, 20), 0);
	}
	unsetenv("WATCHDOG_USEC");
}

// In a process of its own: its descriptors from 3 on are what is handed in.
static void in_child(void (*body)(void))
{
	fflush(NULL);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define EXPECT(condition)                                            \
	do {                                                         \
		if (!(condition)) {                                  \
			fprintf(stderr, "not so: %s\n", #condition); \
			_exit(1);                                    \
		}                                                    \
	} while (0)

static void hand_in(int fd, int number)
{
	EXPECT(fd >= 0 && dup2(fd, number) == number);
	if (fd != number)
		close(fd);
}

static void take_sockets(void)
{
	_cleanup_free_ char *path = xasprintf("%s/control", dir), *self = xasprintf("%d", (int)getpid());
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 tcp6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(tcp);
	unsigned short port = 0, port6 = 0;
	int fds[] = {socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 0),
		     socket(AF_INET6, SOCK_STREAM, 0)};

	strcpy(local.sun_path, path);
	EXPECT(bind(fds[0], (struct sockaddr *)&local, sizeof(local)) == 0);
	EXPECT(bind(fds[1], (struct sockaddr *)&tcp, sizeof(tcp)) == 0);
	EXPECT(getsockname(fds[1], (struct sockaddr *)&tcp, &len) == 0);
	bool has_ipv6 = fds[2] >= 0 && bind(fds[2], (struct sockaddr *)&tcp6, sizeof(tcp6)) == 0;
	for (int i = 0; i < 3; i++)
		fds[i] = fcntl(fds[i], F_DUPFD, 100); // out of the way
	for (int i = 0; i < 3; i++)
		hand_in(fds[i], SERVICE_FD_START + i);

	static const struct {
		const char *pid, *count;
	} not_ours[] = {{"1", "3"},     {"self", "0"}, {"self", ""},          {"self", "x"},
			{"self", "-1"}, {"", "3"},     {"self", "4000000000"}};
	EXPECT(service_sockets() == 0);
	for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++) {
		setenv("LISTEN_PID", str_equal(not_ours[i].pid, "self") ? self : not_ours[i].pid, 1);
		setenv("LISTEN_FDS", not_ours[i].count, 1);
		EXPECT(service_sockets() == 0);
	}
	setenv("LISTEN_PID", self, 1);
	setenv("LISTEN_FDS", "3", 1);
	EXPECT(service_sockets() == 3);
	for (int fd = SERVICE_FD_START; fd < SERVICE_FD_START + 3; fd++)
		EXPECT(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT(service_socket_at(3, path) && !service_socket_at(3, "/elsewhere") && !service_socket_at(4, path));
	EXPECT(!service_socket_at(3, "") && !service_socket_at(99, path));
	EXPECT(!service_socket_on(3, &port) && service_socket_on(4, &port) && port == ntohs(tcp.sin_port));
	EXPECT(!has_ipv6 || (service_socket_on(5, &port6) && port6));
	EXPECT(!service_socket_on(99, &port));
}

static void test_sockets(void **state)
{
	(void)state;
	in_child(take_sockets);
}

static int set_up(void **state)
{
	(void)state;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	return mkdtemp(dir) ? 0 : 1;
}

static int tear_down(void **state)
{
	_cleanup_free_ char *command = xasprintf("rm -rf %s", dir);

	(void)state;
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notifications), cmocka_unit_test(test_no_manager),
		cmocka_unit_test(test_full_manager),  cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_sockets),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
