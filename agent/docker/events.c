// Docker's event stream, kept open.
#include "docker/docker_internal.h"
#include "common/backoff.h"
#include "common/log.h"
#include <errno.h>
#include <inttypes.h>

// The reference waits 2 s to 200 s; the socket is local, and tasks are to be right again soon after Docker is back.
#define RECONNECT_MIN_MS 500
#define RECONNECT_MAX_MS 5000
#define RECONNECT_MULTIPLE 1.5
#define RECONNECT_JITTER 0.2
#define LIVED_MS 10000 // a connection that lived so long was a good one: the next loss starts over
#define EVENTS_CONNECT_TIMEOUT_MS 5000

static const struct docker_operation op_events = {"CannotListContainersError", "listing"};

struct docker_event_stream {
	struct docker *docker;
	struct docker_events client;
	char *label;
	struct http_call *http;
	struct docker_stream objects;
	struct timer retry;
	struct backoff backoff;
	bool retry_at_once;
	uint64_t opened;  // loop time, 0: not open
	int64_t since_ns; // of the last event, before the first one the wall clock of the first opening; 0: never open
	bool stopped;     // docker_events_stop was called from inside a callback
	unsigned busy;    // callbacks on the stack
};

static void events_open(void *arg);
static int on_data(const char *data, size_t len, void *arg);
static void on_headers(long status, void *arg);
static void on_done(const struct http_response *response, void *arg);
static bool stream_release(struct docker_event_stream *stream);

void docker_events_start(struct docker *docker, const struct docker_events *events)
{
	struct docker_event_stream *stream = xcalloc(1, sizeof(*stream));
	docker_events_stop(docker);
	*docker_event_stream_of(docker) = stream;
	stream->docker = docker;
	stream->client = *events;
	stream->label = xstrdup(events->label);
	stream->backoff = BACKOFF(RECONNECT_MIN_MS, RECONNECT_MAX_MS, RECONNECT_MULTIPLE, RECONNECT_JITTER);
	stream->retry_at_once = true;
	timer_init(&stream->retry, docker_options_of(docker)->loop, events_open, stream);
	events_open(stream);
}

void docker_events_stop(struct docker *docker)
{
	struct docker_event_stream *stream = *docker_event_stream_of(docker);
	if (!stream)
		return;
	*docker_event_stream_of(docker) = NULL;
	stream->stopped = true;
	timer_done(&stream->retry);
	http_cancel(stream->http);
	stream->http = NULL;
	stream_release(stream);
}

// Frees a stopped stream, unless one of its callbacks is running. True if it is stopped: not to be touched any more.
static bool stream_release(struct docker_event_stream *stream)
{
	if (!stream->stopped)
		return false;
	if (stream->busy == 0) {
		docker_stream_done(&stream->objects);
		free(stream->label);
		free(stream);
	}
	return true;
}

// --- connection ---

static void add_filter(json_object *filters, const char *name, const char *const *values, size_t count)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < count; i++)
		json_object_array_add(list, json_object_new_string(values[i]));
	json_add(filters, name, list);
}

static char *events_path(const struct docker_event_stream *stream)
{
	static const char *const type = "container";
	// Without the exec events: a health check makes three of them each time it runs.
	static const char *const kinds[] = {"create", "start", "die", "stop", "oom", "health_status", "destroy"};
	_cleanup_json_ json_object *filters = json_object_new_object();
	add_filter(filters, "type", &type, 1);
	add_filter(filters, "event", kinds, ARRAY_SIZE(kinds));
	if (stream->label)
		add_filter(filters, "label", (const char *const *)&stream->label, 1);
	_cleanup_free_ char *encoded = url_encode(json_text(filters), false);
	if (stream->since_ns == 0)
		return xasprintf("/events?filters=%s", encoded);
	return xasprintf("/events?filters=%s&since=%" PRId64 ".%09" PRId64, encoded, stream->since_ns / 1000000000,
			 stream->since_ns % 1000000000);
}

static void events_open(void *arg)
{
	struct docker_event_stream *stream = arg;
	_cleanup_free_ char *path = events_path(stream);
	_cleanup_free_ char *url = docker_url(stream->docker, path, false);
	struct http_request request = {
		.method = "GET",
		.url = url,
		.unix_socket = docker_socket(stream->docker),
		.connect_timeout_ms = EVENTS_CONNECT_TIMEOUT_MS,
		.max_body = DOCKER_SMALL_BODY_MAX,
		.no_proxy = true,
		.on_data = on_data,
		.on_headers = on_headers,
	};
	stream->http = http_send(docker_options_of(stream->docker)->http, &request, on_done, stream);
}

static void on_headers(long status, void *arg)
{
	struct docker_event_stream *stream = arg;
	if (status >= 400)
		return;
	stream->opened = loop_now(docker_options_of(stream->docker)->loop);
	// The daemon is on this machine: its clock is ours.
	if (stream->since_ns == 0)
		stream->since_ns = wall_ms() * 1000000;
	stream->busy++;
	stream->client.on_open(stream->client.arg);
	stream->busy--;
	stream_release(stream);
}

static void on_done(const struct http_response *response, void *arg)
{
	struct docker_event_stream *stream = arg;
	struct docker_error err;
	stream->http = NULL;
	struct loop *loop = docker_options_of(stream->docker)->loop;
	docker_error_from(&err, stream->docker, &op_events, 0, response);
	if (err.failure == DOCKER_OK) {
		err = (struct docker_error){.failure = DOCKER_UNKNOWN, .name = op_events.error_name};
		docker_error_text(&err, "the Docker daemon has ended its event stream");
	}
	docker_stream_done(&stream->objects);
	if (stream->opened && loop_now(loop) - stream->opened >= LIVED_MS) {
		backoff_reset(&stream->backoff);
		stream->retry_at_once = true;
	}
	stream->opened = 0;
	timer_start(&stream->retry, stream->retry_at_once ? 0 : backoff_next(&stream->backoff));
	stream->retry_at_once = false;
	stream->busy++;
	stream->client.on_lost(&err, stream->client.arg);
	stream->busy--;
	stream_release(stream);
}

// --- events ---

static enum docker_event_kind kind_of(const char *action)
{
	static const struct {
		const char *action;
		enum docker_event_kind kind;
	} kinds[] = {
		{"create", DOCKER_EVENT_CREATE}, {"start", DOCKER_EVENT_START}, {"die", DOCKER_EVENT_DIE},
		{"stop", DOCKER_EVENT_STOP},     {"oom", DOCKER_EVENT_OOM},     {"destroy", DOCKER_EVENT_DESTROY},
	};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_equal(action, kinds[i].action))
			return kinds[i].kind;
	return DOCKER_EVENT_OTHER;
}

static int on_object(json_object *object, void *arg)
{
	static const char health[] = "health_status: ";
	struct docker_event_stream *stream = arg;
	json_object *actor = json_get(object, "Actor");
	if (!json_object_is_type(actor, json_type_object))
		actor = NULL;
	const char *type = json_get_string(object, "Type");
	const char *action = json_get_string(object, "Action");
	if (!action)
		action = json_get_string(object, "status");
	struct docker_event event = {
		.id = actor ? json_get_string(actor, "ID") : json_get_string(object, "id"),
		.time_ns = json_object_get_int64(json_get(object, "timeNano")),
		.attributes = actor ? json_get(actor, "Attributes") : NULL,
	};
	if (event.time_ns > stream->since_ns)
		stream->since_ns = event.time_ns;
	if (!action || str_empty(event.id) || (type && !str_equal(type, "container")))
		return 0;
	if (!json_object_is_type(event.attributes, json_type_object))
		event.attributes = NULL;
	event.kind = kind_of(action);
	if (str_starts(action, health)) {
		event.health = docker_health_parse(action + strlen(health));
		event.kind = event.health == HEALTH_NONE ? DOCKER_EVENT_OTHER : DOCKER_EVENT_HEALTH;
	}
	if (event.attributes) {
		int64_t code;
		const char *text = json_get_string(event.attributes, "exitCode");
		event.name = json_get_string(event.attributes, "name");
		if (text && parse_int64(text, &code) && code >= INT32_MIN && code <= INT32_MAX) {
			event.has_exit_code = true;
			event.exit_code = (int)code;
		}
	}
	if (!event.name)
		event.name = "";
	stream->busy++;
	stream->client.on_event(&event, stream->client.arg);
	stream->busy--;
	return stream_release(stream) ? -ECANCELED : 0;
}

static int on_data(const char *data, size_t len, void *arg)
{
	struct docker_event_stream *stream = arg;
	int r = docker_stream_feed(&stream->objects, data, len, on_object, stream);
	if (r < 0 && r != -ECANCELED)
		log_warn("docker event stream cannot be read", "code=%d", -r);
	return r;
}
