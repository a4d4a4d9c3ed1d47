#include "logging/control.h"
#include "common/channel.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include "common/util.h"
#include <inttypes.h>
#include <sys/socket.h>

#define CONTAINER_ID_DIGITS 64
#define PAUSE_MS 1000
#define CREDENTIALS_MS \
	100 // changes of so long are told at once: well before a task that has ended at once is cleaned up

struct logd_control {
	struct loop *loop;
	struct watch *watch;
	const struct logd_control_callbacks *callbacks;
	void *arg;
	struct channel *channel; // NULL: no ecsd
	struct timer counters, credentials;
	struct timer pause; // of accepting
	int listen_fd;
	bool greeted; // HELLO has come
};

static void on_accept(int fd, unsigned events, void *arg);
static void accept_again(void *arg);
static void on_message(const struct wire_message *message, int *fd, void *arg);
static void on_hello(struct logd_control *control, const struct wire_message *message);
static void on_end(int result, void *arg);
static void drop(struct logd_control *control);
static void send_counters(void *arg);
static void send_credentials(void *arg);
static bool is_container_id(const char *text);

static const struct channel_callbacks connection_callbacks = {on_message, on_end};

struct logd_control *logd_control_new(struct loop *loop, int listen_fd, const struct logd_control_callbacks *callbacks,
				      void *arg)
{
	struct logd_control *control = xcalloc(1, sizeof(*control));
	*control = (struct logd_control){.loop = loop, .listen_fd = listen_fd, .callbacks = callbacks, .arg = arg};
	timer_init(&control->counters, loop, send_counters, control);
	timer_init(&control->credentials, loop, send_credentials, control);
	timer_init(&control->pause, loop, accept_again, control);
	control->watch = watch_new(loop, listen_fd, LOOP_READ, on_accept, control);
	return control;
}

struct logd_control *logd_control_free(struct logd_control *control)
{
	if (!control)
		return NULL;
	drop(control);
	timer_done(&control->counters);
	timer_done(&control->credentials);
	timer_done(&control->pause);
	watch_free(control->watch);
	close(control->listen_fd);
	free(control);
	return NULL;
}

bool logd_control_connected(const struct logd_control *control)
{
	return control->greeted;
}

static void on_accept(int listen_fd, unsigned events, void *arg)
{
	(void)events;
	struct logd_control *control = arg;
	uid_t uid = (uid_t)-1;
	pid_t pid = 0;
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		watch_set(control->watch, 0); // no descriptor: it would be told again at once
		timer_start(&control->pause, PAUSE_MS);
		return;
	}
	if (!unix_peer(fd, &uid, &pid) || (uid != 0 && uid != geteuid())) {
		log_warn("control connection refused", "uid=%u pid=%d", uid, (int)pid);
		return;
	}
	drop(control);
	control->channel = channel_new(control->loop, take_fd(&fd), &connection_callbacks, control);
	channel_greet(control->channel);
}

static void accept_again(void *arg)
{
	struct logd_control *control = arg;
	watch_set(control->watch, LOOP_READ);
}

static void on_message(const struct wire_message *message, int *fd, void *arg)
{
	(void)fd;
	struct logd_control *control = arg;
	const char *id = wire_text(message, 0);
	if (!control->greeted) {
		on_hello(control, message);
		return;
	}
	if (message->type != WIRE_LOGD_STOPPING && message->type != WIRE_LOGD_EXITED)
		return; // from a newer ecsd
	if (!is_container_id(id))
		log_warn("ecsd speaks of a container without an id", "id=%.80s", id);
	else if (message->type == WIRE_LOGD_STOPPING)
		control->callbacks->on_stopping(id, control->arg);
	else
		control->callbacks->on_exited(id, control->arg);
}

static void on_hello(struct logd_control *control, const struct wire_message *message)
{
	int r = message->type == WIRE_HELLO ? wire_hello_check(message) : -EBADMSG;
	if (r < 0) {
		log_warn("whoever connected is no ecsd of this time", "error=%s version=%.32s", strerror(-r),
			 wire_text(message, 0));
		drop(control);
		return;
	}
	log_info("ecsd connected", "version=%s", wire_text(message, 2));
	control->greeted = true;
	send_credentials(control);
	send_counters(control);
}

static void on_end(int result, void *arg)
{
	struct logd_control *control = arg;
	log_info("ecsd is gone, logging goes on", "reason=%s", result ? strerror(-result) : "closed");
	drop(control);
}

static void drop(struct logd_control *control)
{
	timer_stop(&control->counters);
	timer_stop(&control->credentials);
	control->channel = channel_free(control->channel);
	control->greeted = false;
}

static void send_counters(void *arg)
{
	struct logd_control *control = arg;
	struct logd_counters counters = {0};
	control->callbacks->count(&counters, control->arg);
	const uint64_t numbers[] = {counters.lines_in, counters.lines_shipped, counters.lines_dropped,
				    counters.spool_bytes, counters.oldest_ms};
	char texts[ARRAY_SIZE(numbers)][24];
	const char *fields[ARRAY_SIZE(numbers)];
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		snprintf(texts[i], sizeof(texts[i]), "%" PRIu64, numbers[i]);
		fields[i] = texts[i];
	}
	channel_send(control->channel, WIRE_LOGD_COUNTERS, fields, ARRAY_SIZE(fields), -1);
	timer_start(&control->counters, LOGD_COUNTERS_MS);
}

void logd_control_credentials(struct logd_control *control)
{
	if (control->greeted && !timer_running(&control->credentials))
		timer_start(&control->credentials, CREDENTIALS_MS);
}

static void send_credentials(void *arg)
{
	struct logd_control *control = arg;
	_cleanup_free_ const char **ids = xcalloc(WIRE_LOGD_CREDENTIALS_MAX, sizeof(*ids));
	size_t count = control->callbacks->credentials(ids, WIRE_LOGD_CREDENTIALS_MAX, control->arg), kept = 0;
	for (size_t i = 0; i < count; i++)
		if (strlen(ids[i]) <= WIRE_LOGD_CREDENTIAL_LEN_MAX) // else it is no id of ECS's
			ids[kept++] = ids[i];
	channel_send(control->channel, WIRE_LOGD_CREDENTIALS, ids, kept, -1);
}

static bool is_container_id(const char *text)
{
	return strlen(text) == CONTAINER_ID_DIGITS && text[strspn(text, "0123456789abcdef")] == '\0';
}
