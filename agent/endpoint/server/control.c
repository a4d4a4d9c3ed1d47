#include "control.h"
#include "common/crash_point.h"
#include "common/channel.h"
#include "common/log.h"
#include "common/service.h"
#include "common/unix_socket.h"
#include "common/util.h"
#include <errno.h>
#include <sys/socket.h>

#define RATE_MAX 1000000000u // requests/s; a number must fit in the arithmetic

struct control {
	struct loop *loop;
	struct watch *watch;
	struct served *served;
	struct channel *channel; // NULL: no ecsd
	int listen_fd;
	uid_t owner;
	bool greeted;   // HELLO has come
	bool refilling; // until the first SYNC
};

static void on_accept(int fd, unsigned events, void *arg);
static void on_message(const struct wire_message *message, int *fd, void *arg);
static void on_hello(struct control *control, const struct wire_message *message);
static void on_put(struct control *control, const struct wire_message *message);
static void on_task(struct control *control, const struct wire_message *message);
static void on_limits(struct control *control, const struct wire_message *message);
static void on_audit(struct control *control, int *fd);
static void give_back(const struct credential *credential, void *arg);
static void on_end(int result, void *arg);

static const struct channel_callbacks callbacks = {on_message, on_end};

struct control *control_new(struct loop *loop, int listen_fd, uid_t owner, struct served *served)
{
	struct control *control = xcalloc(1, sizeof(*control));
	*control = (struct control){.loop = loop, .listen_fd = listen_fd, .owner = owner, .served = served};
	control->watch = watch_new(loop, listen_fd, LOOP_READ, on_accept, control);
	return control;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	channel_free(control->channel);
	watch_free(control->watch);
	close(control->listen_fd);
	free(control);
	return NULL;
}

static void on_accept(int listen_fd, unsigned events, void *arg)
{
	(void)events;
	struct control *control = arg;
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	uid_t uid = (uid_t)-1;
	pid_t pid = 0;
	if (!unix_peer(fd, &uid, &pid) || (uid != 0 && uid != control->owner)) {
		log_warn("control connection refused", "uid=%u pid=%d", uid, (int)pid);
		return;
	}
	if (control->channel)
		log_info("ecsd replaced by a new connection", "pid=%d", (int)pid);
	channel_free(control->channel);
	control->greeted = false;
	control->refilling = true;
	control->channel = channel_new(control->loop, take_fd(&fd), &callbacks, control);
}

static void on_message(const struct wire_message *message, int *fd, void *arg)
{
	struct control *control = arg;
	struct served *served = control->served;
	if (!control->greeted && message->type != WIRE_HELLO) {
		log_warn("ecsd spoke before its greeting", "type=%u", message->type);
		control->channel = channel_free(control->channel);
		return;
	}
	switch (message->type) {
	case WIRE_HELLO:
		on_hello(control, message);
		break;
	case WIRE_EXPECT:
		if (*wire_text(message, 0))
			credential_expect(served->credentials, wire_text(message, 0), wire_text(message, 1),
					  wire_text(message, 2));
		break;
	case WIRE_EXPECT_END: {
		CRASH_POINT("server.refill-half");
		size_t dropped = credential_refill_end(served->credentials);
		log_info("ecsd connected", "credentials=%zu dropped=%zu", credential_count(served->credentials),
			 dropped);
		credential_each_returned(served->credentials, give_back, control);
		break;
	}
	case WIRE_PUT:
		on_put(control, message);
		break;
	case WIRE_REMOVE:
		credential_remove(served->credentials, wire_text(message, 0));
		break;
	case WIRE_INSTANCE:
		str_replace(&served->cluster, wire_text(message, 0));
		str_replace(&served->instance_arn, wire_text(message, 1));
		str_replace(&served->version, wire_text(message, 2));
		break;
	case WIRE_LIMITS:
		on_limits(control, message);
		break;
	case WIRE_TASK:
		on_task(control, message);
		break;
	case WIRE_TASK_REMOVE:
		task_store_remove(served->tasks, wire_text(message, 0));
		break;
	case WIRE_AUDIT:
		on_audit(control, fd);
		break;
	case WIRE_SYNC:
		if (control->refilling) {
			task_store_refill_end(served->tasks);
			service_status("filled by ecsd"); // dist/maintain waits for this
		}
		if (!served->filled && served->held)
			http_server_hold(served->held, false);
		served->filled = true;
		control->refilling = false;
		CRASH_POINT("server.before-synced");
		channel_send(control->channel, WIRE_SYNCED, (const char *[]){wire_text(message, 0)}, 1, -1);
		break;
	default: // from a newer ecsd
		log_debug("unknown control message", "type=%u", message->type);
	}
}

static void on_hello(struct control *control, const struct wire_message *message)
{
	uint64_t version, oldest;
	if (control->greeted || !wire_number(message, 0, &version) || !wire_number(message, 1, &oldest)) {
		log_warn("malformed greeting from ecsd", NULL);
		control->channel = channel_free(control->channel);
		return;
	}
	if (oldest > WIRE_VERSION) {
		log_warn("too old for this ecsd: ending, so that it can start its own", "version=%d needed=%llu",
			 WIRE_VERSION, (unsigned long long)oldest);
		loop_stop(control->loop);
		return;
	}
	channel_greet(control->channel);
	if (version < WIRE_VERSION_MIN) {
		log_warn("this ecsd is too old", "version=%llu needed=%d", (unsigned long long)version,
			 WIRE_VERSION_MIN);
		control->channel = channel_free(control->channel);
		return;
	}
	control->greeted = true;
	credential_refill_begin(control->served->credentials);
	task_store_refill_begin(control->served->tasks);
}

static void on_put(struct control *control, const struct wire_message *message)
{
	struct credential_texts texts = {
		.id = wire_text(message, 0),
		.task_arn = wire_text(message, 1),
		.role = wire_text(message, 2),
		.role_arn = wire_text(message, 3),
		.access_key_id = wire_text(message, 4),
		.secret_access_key = wire_text(message, 5),
		.session_token = wire_text(message, 6),
		.expiration = wire_text(message, 7),
	};
	CRASH_POINT("server.put");
	if (*texts.id)
		credential_put(control->served->credentials, &texts);
}

static void on_task(struct control *control, const struct wire_message *message)
{
	const char *arn = wire_text(message, 0), *json = wire_text(message, 1);
	if (!*arn || !*json)
		return;
	const char *ids[WIRE_FIELDS_MAX];
	unsigned count = 0;
	for (unsigned i = 2; i < message->count; i++)
		if (*wire_text(message, i))
			ids[count++] = wire_text(message, i);
	task_store_put(control->served->tasks, arn, json, ids, count);
}

static void on_limits(struct control *control, const struct wire_message *message)
{
	uint64_t steady, burst;
	if (wire_number(message, 0, &steady) && wire_number(message, 1, &burst) && steady && burst &&
	    steady <= RATE_MAX && burst <= RATE_MAX)
		rate_limiter_set(control->served->limiter, (unsigned)steady, (unsigned)burst);
}

static void on_audit(struct control *control, int *fd)
{
	struct served *served = control->served;
	if (served->audit_fd >= 0)
		close(served->audit_fd);
	served->audit_fd = take_fd(fd);
}

static void give_back(const struct credential *credential, void *arg)
{
	struct control *control = arg;
	const struct credential_texts *t = &credential->texts;
	channel_send(control->channel, WIRE_RETURNED,
		     (const char *[]){t->id, t->task_arn, t->role, t->role_arn, t->access_key_id, t->secret_access_key,
				      t->session_token, t->expiration},
		     8, -1);
}

static void on_end(int result, void *arg)
{
	struct control *control = arg;
	control->channel = channel_free(control->channel);
	service_status("ecsd is away, serving goes on");
	log_info("ecsd is gone, serving goes on", "reason=%s", result ? strerror(-result) : "closed");
}
