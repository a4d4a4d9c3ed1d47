#include "endpoint_link.h"
#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include "common/util.h"
#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>

// Between tries to connect: short at first, since containers wait for their credentials meanwhile.
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define TRUSTED_MAX 4

struct endpoint_link {
	struct loop *loop;
	const struct endpoint_link_callbacks *callbacks;
	void *arg;
	char *socket_path;
	struct channel *channel;
	struct timer retry;
	struct backoff backoff;
	struct watch *spawner; // NULL: none, or it is gone
	int spawner_fd;
	bool asked;     // the spawner's answer is awaited
	int last_error; // of connecting, to log each reason once
	uid_t trusted[TRUSTED_MAX];
	unsigned trusted_count;
};

static void connect_now(void *arg);
static int open_connection(struct endpoint_link *link, int *fd, struct error *err);
static bool peer_trusted(const struct endpoint_link *link, int fd, struct error *err);
static bool ask_spawner(struct endpoint_link *link);
static void on_spawner(int fd, unsigned events, void *arg);
static void spawner_gone(struct endpoint_link *link);
static void on_message(const struct wire_message *message, int *fd, void *arg);
static void on_end(int result, void *arg);

static const struct channel_callbacks channel_callbacks = {on_message, on_end};

struct endpoint_link *endpoint_link_new(struct loop *loop, const char *socket_path, int spawner_fd,
					const struct endpoint_link_callbacks *callbacks, void *arg)
{
	struct endpoint_link *link = xcalloc(1, sizeof(*link));
	link->loop = loop;
	link->callbacks = callbacks;
	link->arg = arg;
	link->socket_path = xstrdup(socket_path);
	link->backoff = BACKOFF(RETRY_MIN_MS, RETRY_MAX_MS, 2, 0.2);
	link->spawner_fd = spawner_fd;
	timer_init(&link->retry, loop, connect_now, link);
	if (spawner_fd >= 0)
		link->spawner = watch_new(loop, spawner_fd, LOOP_READ, on_spawner, link);
	// The socket's owner is who called listen: the spawner or a service manager (root), or an unprivileged test.
	link->trusted[link->trusted_count++] = 0;
	link->trusted[link->trusted_count++] = geteuid();
	static const char *const users[] = {"ecs-endpoint", "nobody"};
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		const struct passwd *user = getpwnam(users[i]);
		if (user)
			link->trusted[link->trusted_count++] = user->pw_uid;
	}
	return link;
}

struct endpoint_link *endpoint_link_free(struct endpoint_link *link)
{
	if (!link)
		return NULL;
	channel_free(link->channel);
	watch_free(link->spawner);
	timer_done(&link->retry);
	free(link->socket_path);
	free(link);
	return NULL;
}

void endpoint_link_start(struct endpoint_link *link)
{
	if (!link->channel && !link->asked && !timer_running(&link->retry))
		timer_start(&link->retry, 0);
}

bool endpoint_link_send(struct endpoint_link *link, unsigned type, const char *const *fields, size_t count, int pass_fd)
{
	if (link->channel)
		return channel_send(link->channel, type, fields, count, pass_fd);
	if (pass_fd >= 0)
		close(pass_fd);
	return true;
}

void endpoint_link_drop(struct endpoint_link *link)
{
	if (!link->channel)
		return;
	link->channel = channel_free(link->channel);
	timer_start(&link->retry, backoff_next(&link->backoff));
	link->callbacks->on_down(link->arg);
}

void endpoint_link_healthy(struct endpoint_link *link)
{
	backoff_reset(&link->backoff);
}

static void connect_now(void *arg)
{
	struct endpoint_link *link = arg;
	struct error err = {0};
	int fd = -1;
	if (link->channel)
		return;
	if (open_connection(link, &fd, &err) == 0) {
		link->last_error = 0;
		link->channel = channel_new(link->loop, fd, &channel_callbacks, link);
		link->callbacks->on_up(link->arg);
		return;
	}
	bool absent = err.code == ENOENT || err.code == ECONNREFUSED;
	if (absent && ask_spawner(link))
		return;
	if (err.code != link->last_error)
		log_warn("no connection to ecs-endpoint, trying on", "error=%s", err.message);
	link->last_error = err.code;
	timer_start(&link->retry, backoff_next(&link->backoff));
}

static int open_connection(struct endpoint_link *link, int *out, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r = unix_connect(link->socket_path, &fd, err);
	if (r < 0)
		return r;
	if (!peer_trusted(link, fd, err))
		return -err->code;
	*out = take_fd(&fd);
	return 0;
}

static bool peer_trusted(const struct endpoint_link *link, int fd, struct error *err)
{
	uid_t uid;
	pid_t pid;
	if (!unix_peer(fd, &uid, &pid)) {
		error_set_errno(err, errno, "SO_PEERCRED");
		return false;
	}
	for (unsigned i = 0; i < link->trusted_count; i++)
		if (uid == link->trusted[i])
			return true;
	error_set(err, EPERM, "%s belongs to user %u, who is not to have credentials", link->socket_path, uid);
	return false;
}

// True: an answer will come, or has been asked for already.
static bool ask_spawner(struct endpoint_link *link)
{
	if (!link->spawner || link->asked)
		return link->asked;
	if (send(link->spawner_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
		spawner_gone(link);
		return false;
	}
	CRASH_POINT("spawner.asked");
	link->asked = true;
	return true;
}

static void on_spawner(int fd, unsigned events, void *arg)
{
	(void)events;
	struct endpoint_link *link = arg;
	unsigned char result;
	ssize_t n = recv(fd, &result, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	bool asked = link->asked;
	link->asked = false;
	if (n <= 0)
		spawner_gone(link);
	if (!asked || link->channel)
		return;
	if (n == 1 && result == 0) {
		timer_start(&link->retry, 0);
		return;
	}
	if (n == 1 && result != link->last_error) // the spawner has logged what exactly failed
		log_warn("ecs-endpoint could not be started, trying on", "error=%s", strerror(result));
	link->last_error = n == 1 ? result : 0;
	timer_start(&link->retry, backoff_next(&link->backoff));
}

static void spawner_gone(struct endpoint_link *link)
{
	log_error("the spawner is gone: ecs-endpoint cannot be started again until ecsd is restarted", NULL);
	link->spawner = watch_free(link->spawner);
}

static void on_message(const struct wire_message *message, int *fd, void *arg)
{
	(void)fd;
	struct endpoint_link *link = arg;
	link->callbacks->on_message(message, link->arg);
}

static void on_end(int result, void *arg)
{
	struct endpoint_link *link = arg;
	log_warn("connection to ecs-endpoint lost", "reason=%s", result ? strerror(-result) : "closed");
	endpoint_link_drop(link);
}
