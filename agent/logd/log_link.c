#include "logd/log_link.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include <pwd.h>

#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 30000 // ecs-logd may come at any time, or never; log_link_start makes it sooner

struct log_link {
	struct loop *loop;
	const struct log_link_callbacks *callbacks;
	void *arg;
	char *socket_path;
	struct channel *channel;
	struct timer retry;
	struct backoff backoff;
	bool up;
	uid_t owner; // ecs-logd's user, else root
	int told;    // errno of the last failure, to log each reason once
};

static void connect_now(void *arg);
static bool trusted(const struct log_link *link, uid_t uid);
static void on_message(const struct wire_message *message, int *fd, void *arg);
static void on_hello(struct log_link *link, const struct wire_message *message);
static void on_end(int result, void *arg);
static void again(struct log_link *link, const struct error *err);

static const struct channel_callbacks channel_callbacks = {on_message, on_end};

struct log_link *log_link_new(struct loop *loop, const char *socket_path, const struct log_link_callbacks *callbacks,
			      void *arg)
{
	struct log_link *link = xcalloc(1, sizeof(*link));
	link->loop = loop;
	link->callbacks = callbacks;
	link->arg = arg;
	link->socket_path = xstrdup(socket_path);
	link->backoff = BACKOFF(RETRY_MIN_MS, RETRY_MAX_MS, 2, 0.2);
	timer_init(&link->retry, loop, connect_now, link);
	const struct passwd *user = getpwnam("ecs-logd");
	link->owner = user ? user->pw_uid : 0;
	return link;
}

struct log_link *log_link_free(struct log_link *link)
{
	if (!link)
		return NULL;
	channel_free(link->channel);
	timer_done(&link->retry);
	free(link->socket_path);
	free(link);
	return NULL;
}

void log_link_start(struct log_link *link)
{
	if (!link->channel)
		timer_start(&link->retry, 0);
}

bool log_link_up(const struct log_link *link)
{
	return link->up;
}

bool log_link_absent(const struct log_link *link)
{
	return !link->up && link->told == ENOENT;
}

void log_link_send(struct log_link *link, unsigned type, const char *field)
{
	if (link->up)
		channel_send(link->channel, type, &field, 1, -1);
}

static void connect_now(void *arg)
{
	struct log_link *link = arg;
	struct error err = {0};
	uid_t uid;
	pid_t pid;
	int fd;
	if (unix_connect(link->socket_path, &fd, &err) < 0) {
		again(link, &err);
		return;
	}
	if (!unix_peer(fd, &uid, &pid) || !trusted(link, uid)) {
		error_set(&err, EPERM, "%s is neither root's nor ecs-logd's", link->socket_path);
		close(fd);
		again(link, &err);
		return;
	}
	link->channel = channel_new(link->loop, fd, &channel_callbacks, link);
	channel_greet(link->channel);
}

// Who called listen(): the service manager (root), or ecs-logd by itself.
static bool trusted(const struct log_link *link, uid_t uid)
{
	return uid == 0 || uid == geteuid() || uid == link->owner;
}

static void on_message(const struct wire_message *message, int *fd, void *arg)
{
	(void)fd;
	struct log_link *link = arg;
	if (message->type == WIRE_HELLO && !link->up)
		on_hello(link, message);
	else if (link->up)
		link->callbacks->on_message(message, link->arg);
}

static void on_hello(struct log_link *link, const struct wire_message *message)
{
	struct error err = {0};
	int r = wire_hello_check(message);
	if (r < 0) {
		error_set(&err, -r, "ecs-logd speaks version \"%.32s\", %d is needed", wire_text(message, 0),
			  WIRE_VERSION_MIN);
		link->channel = channel_free(link->channel);
		again(link, &err);
		return;
	}
	log_info("ecs-logd is told of containers that end", "version=%s", wire_text(message, 2));
	link->up = true;
	link->told = 0;
	backoff_reset(&link->backoff);
	link->callbacks->on_up(link->arg);
}

static void on_end(int result, void *arg)
{
	struct log_link *link = arg;
	struct error err = {0};
	link->channel = channel_free(link->channel);
	error_set(&err, result ? -result : ECONNRESET, "%s: %s", link->socket_path,
		  result ? strerror(-result) : "ecs-logd has ended the connection");
	bool was = link->up;
	link->up = false;
	if (was) {
		log_warn("ecs-logd is away", "error=%s", err.message);
		link->told = err.code;
		link->callbacks->on_down(link->arg);
	}
	again(link, &err);
}

static void again(struct log_link *link, const struct error *err)
{
	// A host without ecs-logd is nothing to warn about.
	bool absent = err->code == ENOENT || err->code == ECONNREFUSED;
	if (err->code != link->told && !absent)
		log_warn("no connection to ecs-logd, trying on", "error=%s", err->message);
	link->told = err->code;
	timer_start(&link->retry, backoff_next(&link->backoff));
}
