#include "common/service.h"

#include "common/log.h"
#include "common/util.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define STATUS_MAX 512         // bytes of a status line; more is cut
#define MANAGER_TIMEOUT_MS 500 // a manager whose queue is full may hold the program up that long, and no longer

static struct {
	int fd;
	bool ready;
	char status[STATUS_MAX];
	struct timer watchdog;
	uint64_t watchdog_ms; // loop time
} service = {.fd = -1};

// --- sockets ---

// A variable that is a number from least to most; else -1.
static int64_t number_variable(const char *name, int64_t least, int64_t most)
{
	const char *text = getenv(name);
	int64_t number;

	return text && parse_int64(text, &number) && number >= least && number <= most ? number : -1;
}

int service_sockets(void)
{
	int64_t count = number_variable("LISTEN_FDS", 1, 1024);

	if (count < 0 || number_variable("LISTEN_PID", 1, INT32_MAX) != getpid())
		return 0;
	for (int fd = SERVICE_FD_START; fd < SERVICE_FD_START + count; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			log_warn("a descriptor of the service manager's cannot be used", "fd=%d error=%s", fd,
				 strerror(errno));
	}
	return (int)count;
}

bool service_socket_at(int fd, const char *path)
{
	struct sockaddr_un address = {0};
	socklen_t len = sizeof(address) - 1; // so that the path always ends

	return getsockname(fd, (struct sockaddr *)&address, &len) == 0 && address.sun_family == AF_UNIX &&
	       *address.sun_path && str_equal(address.sun_path, path);
}

bool service_socket_on(int fd, unsigned short *port)
{
	struct sockaddr_in6 address = {0};
	struct sockaddr_in address4;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0 ||
	    (address.sin6_family != AF_INET && address.sin6_family != AF_INET6))
		return false;
	memcpy(&address4, &address, sizeof(address4));
	*port = ntohs(address.sin6_family == AF_INET ? address4.sin_port : address.sin6_port);
	return true;
}

// --- notifications ---

static int connect_manager(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_usec = MANAGER_TIMEOUT_MS * 1000};
	size_t len = strlen(path);
	_cleanup_close_ int fd = -1;

	if (len >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
		return -EINVAL;
	memcpy(address.sun_path, path, len);
	if (*path == '@') // an abstract one
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'))) < 0)
		return -errno;
	return take_fd(&fd);
}

void service_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int fd;

	if (service.fd >= 0 || !path || !*path)
		return;
	fd = connect_manager(path);
	if (fd < 0)
		log_warn("the service manager cannot be told anything", "socket=%s error=%s", path, strerror(-fd));
	service.fd = fd;
	service.ready = false;
	*service.status = '\0';
}

void service_close(void)
{
	if (service.fd >= 0)
		close(service.fd);
	service.fd = -1;
}

static bool tell(const char *text)
{
	size_t len = strlen(text);

	if (service.fd < 0)
		return true;
	if (write(service.fd, text, len) == (ssize_t)len)
		return true;
	log_debug("the service manager was not told", "text=%s error=%s", text, strerror(errno));
	return false;
}

void service_ready(void)
{
	if (!service.ready)
		service.ready = tell("READY=1");
}

void service_status(const char *format, ...)
{
	static const char name[] = "STATUS=";
	char text[sizeof(name) + STATUS_MAX];
	char *status = text + sizeof(name) - 1;
	va_list args;

	memcpy(text, name, sizeof(name));
	va_start(args, format);
	vsnprintf(status, STATUS_MAX, format, args);
	va_end(args);
	for (char *p = status; *p; p++) // one line: what follows would be further assignments
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	if (!str_equal(status, service.status) && tell(text))
		memcpy(service.status, status, STATUS_MAX);
}

void service_stopping(void)
{
	tell("STOPPING=1");
}

// --- signs of life ---

static void on_watchdog(void *arg)
{
	(void)arg;
	tell("WATCHDOG=1");
	timer_start(&service.watchdog, service.watchdog_ms);
}

void service_watch(struct loop *loop)
{
	int64_t us = number_variable("WATCHDOG_USEC", 1, INT64_MAX);

	if (us < 0 || service.fd < 0 ||
	    (getenv("WATCHDOG_PID") && number_variable("WATCHDOG_PID", 1, INT32_MAX) != getpid()))
		return;
	service.watchdog_ms = (uint64_t)((double)us / 2000 * loop_scale(loop));
	timer_init(&service.watchdog, loop, on_watchdog, NULL);
	on_watchdog(NULL);
}

void service_watch_end(void)
{
	if (service.watchdog.loop)
		timer_done(&service.watchdog);
	service.watchdog.loop = NULL;
}
