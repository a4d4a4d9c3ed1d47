#include "spawner.h"
#include "agent/endpoint/ports.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "common/version.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define DOCKER_BRIDGE "docker0"
#define BACKLOG 1024
#define READY_TIMEOUT_MS 10000 // for ecs-endpoint to have its sandbox up; it takes some 10 ms
#define INTROSPECTION_MAX 2

struct spawner {
	char *run_dir, *program, *audit_log_path;
	int64_t uid, gid; // -1: stay
	int request_fd, signal_fd;
};

struct sockets {
	int control, credentials, audit, ready, introspection[INTROSPECTION_MAX];
	unsigned introspection_count;
};

static void spawner_run(struct spawner *spawner) __attribute__((noreturn));
static void reap(const struct spawner *spawner);
static int start_endpoint(const struct spawner *spawner, struct error *err);
static int open_sockets(const struct spawner *spawner, struct sockets *sockets, struct error *err);
static int bind_tcp(struct in_addr address, uint16_t port, struct error *err);
static int bind_control(const char *run_dir, struct error *err);
static int open_audit_log(const char *path, struct error *err);
static bool bridge_address(struct in_addr *address);
static void exec_endpoint(const struct spawner *spawner, const struct sockets *sockets) __attribute__((noreturn));
static int wait_ready(int fd);
static void open_log(void);
static void close_sockets(struct sockets *sockets);

int spawner_start(const struct spawner_options *options, struct error *err)
{
	int pair[2];
	struct spawner spawner = {.run_dir = xstrdup(options->run_dir),
				  .program = xstrdup(options->program),
				  .audit_log_path = xstrdup(options->audit_log_path),
				  .uid = -1,
				  .gid = -1};
	if (geteuid() == 0) {
		const struct passwd *user = options->user ? getpwnam(options->user) : NULL;
		if (!user)
			user = getpwnam("nobody");
		if (!user) {
			free(spawner.run_dir);
			free(spawner.program);
			free(spawner.audit_log_path);
			return error_set(err, ENOENT, "there is neither a user %s nor nobody to run ecs-endpoint as",
					 options->user);
		}
		spawner.uid = user->pw_uid;
		spawner.gid = user->pw_gid;
	}
	int r = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		r = error_set_errno(err, errno, "socketpair");
	} else {
		fflush(NULL); // nothing buffered is to come out twice
		pid_t pid = fork();
		if (pid == 0) {
			close(pair[0]);
			spawner.request_fd = pair[1];
			spawner_run(&spawner);
		}
		if (pid < 0)
			r = error_set_errno(err, errno, "fork");
		close(pair[1]);
		if (pid < 0)
			close(pair[0]);
	}
	free(spawner.run_dir);
	free(spawner.program);
	free(spawner.audit_log_path);
	if (r < 0)
		return r;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	return pair[0];
}

char *program_find(const char *name)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = 0;
		char *path = xasprintf("%s/%s", dirname(self), name);
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	char *path = xasprintf("%s/%s", ecsd_libexecdir, name);
	if (access(path, X_OK) == 0)
		return path;
	free(path);
	return NULL;
}

static void spawner_run(struct spawner *spawner)
{
	prctl(PR_SET_NAME, "ecsd-spawner");
	log_close(); // its file is among the descriptors that go
	if (spawner->request_fd != 3) {
		dup3(spawner->request_fd, 3, O_CLOEXEC);
		spawner->request_fd = 3;
	}
	if (close_range(4, ~0u, 0) < 0)
		for (int fd = 4; fd < 1024; fd++) // before Linux 5.9
			close(fd);
	open_log();
	// It ends when ecsd does and not before: a signal to ecsd's process group is not meant for it.
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	spawner->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	int last = 0;
	for (;;) {
		struct pollfd fds[] = {{.fd = spawner->request_fd, .events = POLLIN},
				       {.fd = spawner->signal_fd, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		if (fds[1].revents)
			reap(spawner);
		if (!fds[0].revents)
			continue;
		char byte;
		if (recv(spawner->request_fd, &byte, 1, 0) <= 0)
			_exit(0); // ecsd is gone; what was started stays
		struct error err = {0};
		int r = start_endpoint(spawner, &err);
		if (r < 0 && r != last) // asked again every few seconds: each reason is told once
			log_error("cannot start ecs-endpoint", "error=%s", err.message);
		last = r;
		byte = (char)-r;
		if (send(spawner->request_fd, &byte, 1, MSG_NOSIGNAL) != 1)
			_exit(0);
	}
}

static void reap(const struct spawner *spawner)
{
	struct signalfd_siginfo info;
	while (read(spawner->signal_fd, &info, sizeof(info)) > 0)
		;
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (WIFSIGNALED(status))
			log_error("ecs-endpoint was killed", "pid=%d signal=%s", (int)pid, strsignal(WTERMSIG(status)));
		else
			log_warn("ecs-endpoint ended", "pid=%d code=%d", (int)pid, WEXITSTATUS(status));
		_cleanup_free_ char *path = xasprintf("%s/ecs-endpoint.pid", spawner->run_dir);
		_cleanup_free_ char *text = read_file(path, 32, NULL);
		if (text && atoi(text) == pid)
			unlink(path);
	}
}

static int start_endpoint(const struct spawner *spawner, struct error *err)
{
	int ready[2] = {-1, -1};
	struct sockets sockets = {.control = -1, .credentials = -1, .audit = -1, .ready = -1};
	int r = open_sockets(spawner, &sockets, err);
	if (r == 0 && pipe2(ready, O_CLOEXEC) < 0)
		r = error_set_errno(err, errno, "pipe");
	if (r < 0) {
		close_sockets(&sockets);
		return r;
	}
	CRASH_POINT("spawner.bound");
	sockets.ready = ready[1];
	pid_t pid = fork();
	if (pid == 0)
		exec_endpoint(spawner, &sockets);
	int error = errno;
	CRASH_POINT("spawner.forked");
	close_sockets(&sockets);
	if (pid < 0) {
		close(ready[0]);
		return error_set_errno(err, error, "fork");
	}
	r = wait_ready(ready[0]);
	CRASH_POINT("spawner.ready");
	close(ready[0]);
	if (r == -ETIMEDOUT)
		kill(pid, SIGKILL); // or it would keep the ports to itself
	if (r < 0)
		return error_set_errno(err, -r, "%s", spawner->program);
	return 0;
}

static int open_sockets(const struct spawner *spawner, struct sockets *sockets, struct error *err)
{
	struct in_addr loopback = {htonl(INADDR_LOOPBACK)}, bridge;
	int r = make_directory(spawner->run_dir, 0755);
	if (r < 0)
		return error_set_errno(err, -r, "cannot make %s", spawner->run_dir);
	// First: while another ecs-endpoint is alive it has this port, and its socket must not be taken from it.
	if ((sockets->credentials = bind_tcp(loopback, CREDENTIALS_PORT, err)) < 0)
		return -err->code;
	// Introspection is a convenience; without it credentials are served all the same.
	struct in_addr addresses[INTROSPECTION_MAX] = {loopback};
	unsigned count = 1;
	if (bridge_address(&bridge))
		addresses[count++] = bridge;
	for (unsigned i = 0; i < count; i++) {
		struct error failed = {0};
		int fd = bind_tcp(addresses[i], INTROSPECTION_PORT, &failed);
		if (fd >= 0)
			sockets->introspection[sockets->introspection_count++] = fd;
		else
			log_error("no introspection", "error=%s", failed.message);
	}
	if ((sockets->control = bind_control(spawner->run_dir, err)) < 0)
		return -err->code;
	struct error failed = {0};
	if (spawner->audit_log_path && (sockets->audit = open_audit_log(spawner->audit_log_path, &failed)) < 0)
		log_error("no audit log", "error=%s", failed.message); // credentials-endpoint.md §7
	return 0;
}

static int bind_tcp(struct in_addr address, uint16_t port, struct error *err)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
	char text[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &address, text, sizeof(text));
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, BACKLOG) < 0)
		return error_set_errno(err, errno, "bind %s:%u", text, port);
	return take_fd(&fd);
}

static int bind_control(const char *run_dir, struct error *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int n = snprintf(name.sun_path, sizeof(name.sun_path), "%s/ecs-endpoint.sock", run_dir);
	if (n < 0 || (size_t)n >= sizeof(name.sun_path))
		return error_set(err, ENAMETOOLONG, "path too long for a socket: %s/ecs-endpoint.sock", run_dir);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "socket");
	unlink(name.sun_path); // of one that is dead: it would hold the port otherwise
	mode_t mask = umask(0177);
	int r = bind(fd, (struct sockaddr *)&name, sizeof(name)), error = errno;
	umask(mask);
	if (r < 0)
		return error_set_errno(err, error, "bind %s", name.sun_path);
	if (listen(fd, 8) < 0)
		return error_set_errno(err, errno, "listen %s", name.sun_path);
	return take_fd(&fd);
}

static int open_audit_log(const char *path, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(path);
	int r = make_directory(dirname(copy), 0755);
	if (r < 0)
		return error_set_errno(err, -r, "cannot make the directory of %s", path);
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 ? error_set_errno(err, errno, "open %s", path) : fd;
}

static bool bridge_address(struct in_addr *address)
{
	struct ifaddrs *all = NULL;
	bool found = false;
	if (getifaddrs(&all) < 0)
		return false;
	for (struct ifaddrs *i = all; i && !found; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && strcmp(i->ifa_name, DOCKER_BRIDGE) == 0) {
			struct sockaddr_in in;
			memcpy(&in, i->ifa_addr, sizeof(in));
			*address = in.sin_addr;
			found = true;
		}
	freeifaddrs(all);
	return found;
}

// By the process itself, so that no ecs-endpoint ever serves without one, whoever is killed.
static void write_pid_file(const struct spawner *spawner)
{
	_cleanup_free_ char *path = xasprintf("%s/ecs-endpoint.pid", spawner->run_dir);
	_cleanup_free_ char *text = xasprintf("%d\n", (int)getpid());
	int r = write_file_atomic(path, text, strlen(text), 0644);
	if (r < 0)
		log_warn("cannot write pid file", "path=%s error=%s", path, strerror(-r));
}

static void exec_endpoint(const struct spawner *spawner, const struct sockets *sockets)
{
	write_pid_file(spawner);
	CRASH_POINT("spawner.noted");
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	char numbers[6][24], introspection[32] = "";
	const char *argv[20] = {"ecs-endpoint"};
	unsigned argc = 1, used = 0;
	const struct {
		const char *name;
		int64_t value;
		bool descriptor;
	} options[] = {{"--control-fd", sockets->control, true}, {"--credentials-fd", sockets->credentials, true},
		       {"--audit-fd", sockets->audit, true},     {"--ready-fd", sockets->ready, true},
		       {"--uid", spawner->uid, false},           {"--gid", spawner->gid, false}};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].value < 0)
			continue;
		if (options[i].descriptor)
			fcntl((int)options[i].value, F_SETFD, 0);
		snprintf(numbers[used], sizeof(numbers[0]), "%lld", (long long)options[i].value);
		argv[argc++] = options[i].name;
		argv[argc++] = numbers[used++];
	}
	for (unsigned i = 0, n = 0; i < sockets->introspection_count; i++) {
		fcntl(sockets->introspection[i], F_SETFD, 0);
		n += (unsigned)snprintf(introspection + n, sizeof(introspection) - n, "%s%d", i ? "," : "",
					sockets->introspection[i]);
	}
	if (*introspection) {
		argv[argc++] = "--introspection-fd";
		argv[argc++] = introspection;
	}
	argv[argc++] = "--empty-dir";
	argv[argc++] = spawner->run_dir;
	// Nothing else of ecsd's environment: it can hold registry passwords and keys.
	static const char *const kept[] = {"ECS_LOGLEVEL", "ECS_LOG_OUTPUT_FORMAT", "ASAN_OPTIONS", "UBSAN_OPTIONS",
					   CRASH_POINT_VARIABLE};
	char *env[ARRAY_SIZE(kept) + 1] = {NULL};
	for (size_t i = 0, n = 0; i < ARRAY_SIZE(kept); i++)
		if (getenv(kept[i]))
			env[n++] = xasprintf("%s=%s", kept[i], getenv(kept[i]));
	execve(spawner->program, (char *const *)argv, env);
	char error = (char)errno;
	(void)!write(sockets->ready, &error, 1);
	_exit(127);
}

// The byte ecs-endpoint writes when it is up (0), or the errno of a failed exec.
static int wait_ready(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;
	int n;
	do
		n = poll(&p, 1, READY_TIMEOUT_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	return n > 0 && read(fd, &byte, 1) == 1 ? -(unsigned char)byte : -ECHILD;
}

static void open_log(void)
{
	struct log_options log = {.level = LOG_INFO, .program = "ecsd-spawner"};
	const char *level = getenv("ECS_LOGLEVEL");
	if (level)
		log_level_parse(level, &log.level);
	log.json = str_equal(getenv("ECS_LOG_OUTPUT_FORMAT"), "json");
	log_open(&log, NULL);
}

static void close_sockets(struct sockets *sockets)
{
	const int fds[] = {sockets->control, sockets->credentials, sockets->audit, sockets->ready};
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (unsigned i = 0; i < sockets->introspection_count; i++)
		close(sockets->introspection[i]);
}
