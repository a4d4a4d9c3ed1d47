// Connection to the Docker daemon: requests, answers and what their failures mean.
#include "docker/docker_internal.h"
#include "common/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#define VERSION_TIMEOUT_MS 10000       // docker-mapping.md §2
#define INFO_TIMEOUT_MS 10000          // as for the version
#define SOCKET_CONNECT_TIMEOUT_MS 5000 // a Unix socket connects at once unless its backlog is full
#define API_VERSION_OLDEST "1.12"      // assumed of a daemon that does not name its oldest

struct docker {
	struct docker_options options;
	char *endpoint, *socket;
	char *server_version, *version, *version_max, *version_min;
	struct docker_call *calls;
	struct docker_event_stream *events;
};

static const struct docker_operation op_version = {"CannotGetDockerClientVersionError", "version"};
static const struct docker_operation op_info = {"CannotGetDockerInfoError", "info"};
static const struct docker_operation op_ping = {"CannotListContainersError", "listing"}; // the page's name for it

static void on_response(const struct http_response *response, void *arg);
static void on_refused(void *arg);
static void finish_connect(struct docker_call *call, const struct docker_error *err, json_object *body);

struct docker *docker_new(const struct docker_options *options)
{
	struct docker *docker = xcalloc(1, sizeof(*docker));
	docker->options = *options;
	docker->endpoint = xstrdup(options->endpoint);
	docker->options.endpoint = docker->endpoint;
	const char *path = options->endpoint;
	docker->socket = xstrdup(str_starts(path, "unix://") ? path + strlen("unix://") : path);
	docker->server_version = xstrdup("");
	docker->version = xstrdup("");
	docker->version_max = xstrdup("");
	docker->version_min = xstrdup("");
	return docker;
}

struct docker *docker_free(struct docker *docker)
{
	if (!docker)
		return NULL;
	docker_events_stop(docker);
	for (struct docker_call *call = docker->calls, *next; call; call = next) {
		next = call->next;
		docker_call_cancel(call);
	}
	free(docker->endpoint);
	free(docker->socket);
	free(docker->server_version);
	free(docker->version);
	free(docker->version_max);
	free(docker->version_min);
	free(docker);
	return NULL;
}

struct docker_call *docker_connect(struct docker *docker, void (*done)(const struct docker_error *err, void *arg),
				   void *arg)
{
	return docker_call_new(docker, &(struct docker_request){.operation = &op_version,
								.method = "GET",
								.path = "/version",
								.unversioned = true,
								.timeout_ms = VERSION_TIMEOUT_MS,
								.wants_json = true,
								.finish = finish_connect,
								.done.plain = done,
								.arg = arg});
}

struct docker_call *docker_ping(struct docker *docker, uint64_t timeout_ms,
				void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	return docker_call_new(docker, &(struct docker_request){.operation = &op_ping,
								.method = "GET",
								.path = "/_ping",
								.unversioned = true,
								.timeout_ms = timeout_ms,
								.finish = docker_finish_plain,
								.done.plain = done,
								.arg = arg});
}

static void finish_info(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	const char *driver = body ? json_get_string(body, "CgroupDriver") : NULL;
	const char *version = body ? json_get_string(body, "CgroupVersion") : NULL;
	const char *root = body ? json_get_string(body, "DockerRootDir") : NULL;
	struct docker_info info = {.root = root ? root : "",
				   .cgroup_driver = driver ? driver : "",
				   .cgroup_version = version ? version : ""};
	call->done.info(err, err->failure == DOCKER_OK ? &info : NULL, call->arg);
}

struct docker_call *docker_info(struct docker *docker,
				void (*done)(const struct docker_error *err, const struct docker_info *info, void *arg),
				void *arg)
{
	return docker_call_new(docker, &(struct docker_request){.operation = &op_info,
								.method = "GET",
								.path = "/info",
								.timeout_ms = INFO_TIMEOUT_MS,
								.wants_json = true,
								.finish = finish_info,
								.done.info = done,
								.arg = arg});
}

const char *docker_server_version(const struct docker *docker)
{
	return docker->server_version;
}
const char *docker_api_version(const struct docker *docker)
{
	return docker->version;
}
const char *docker_api_version_max(const struct docker *docker)
{
	return docker->version_max;
}
const char *docker_api_version_min(const struct docker *docker)
{
	return docker->version_min;
}
const char *docker_socket(const struct docker *docker)
{
	return docker->socket;
}
const struct docker_options *docker_options_of(const struct docker *docker)
{
	return &docker->options;
}
struct docker_event_stream **docker_event_stream_of(struct docker *docker)
{
	return &docker->events;
}

void docker_call_cancel(struct docker_call *call)
{
	if (!call)
		return;
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	http_cancel(call->http);
	loop_defer_cancel(call->docker->options.loop, on_refused, call);
	docker_pull_free(call->pull);
	free(call);
}

// --- requests ---

char *docker_url(const struct docker *docker, const char *path, bool unversioned)
{
	// The Host header of Docker's own client on a Unix socket (docker-mapping.md §1).
	if (unversioned || str_empty(docker->version))
		return xasprintf("http://api.moby.localhost%s", path);
	return xasprintf("http://api.moby.localhost/v%s%s", docker->version, path);
}

static struct docker_call *call_make(struct docker *docker, const struct docker_request *request)
{
	struct docker_call *call = xcalloc(1, sizeof(*call));
	call->docker = docker;
	call->operation = request->operation;
	call->timeout_ms = request->timeout_ms;
	call->wants_json = request->wants_json;
	call->finish = request->finish;
	call->done = request->done;
	call->arg = request->arg;
	call->next = docker->calls;
	call->link = &docker->calls;
	if (call->next)
		call->next->link = &call->next;
	docker->calls = call;
	return call;
}

struct docker_call *docker_call_new(struct docker *docker, const struct docker_request *request)
{
	struct docker_call *call = call_make(docker, request);
	_cleanup_free_ char *url = docker_url(docker, request->path, request->unversioned);
	struct http_header headers[2];
	size_t count = 0;
	if (request->header.name)
		headers[count++] = request->header;
	if (request->body)
		headers[count++] = (struct http_header){"Content-Type", "application/json"};
	struct http_request http = {
		.method = request->method,
		.url = url,
		.unix_socket = docker->socket,
		.headers = headers,
		.header_count = count,
		.body = request->body,
		.body_len = request->body ? strlen(request->body) : 0,
		.connect_timeout_ms = SOCKET_CONNECT_TIMEOUT_MS,
		.timeout_ms = request->timeout_ms,
		.max_body = request->max_body ? request->max_body : DOCKER_SMALL_BODY_MAX,
		.no_proxy = true,
		// A start that took effect must not be made again: the container may have ended meanwhile.
		.once = str_equal(request->method, "POST"),
		.on_data = request->on_data,
	};
	call->http = http_send(docker->options.http, &http, on_response, call);
	return call;
}

struct docker_call *docker_call_refused(struct docker *docker, const struct docker_request *request,
					const char *message)
{
	struct docker_call *call = call_make(docker, request);
	call->failed = (struct docker_error){.failure = DOCKER_REFUSED, .name = request->operation->error_name};
	docker_error_text(&call->failed, "%s", message);
	loop_defer(docker->options.loop, on_refused, call);
	return call;
}

// Takes the call off the list first: its callback may cancel others or free the client.
static void call_finish(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	call->finish(call, err, body);
	docker_pull_free(call->pull);
	free(call);
}

static void on_refused(void *arg)
{
	struct docker_call *call = arg;
	struct docker_error err = call->failed;
	call_finish(call, &err, NULL);
}

static void on_response(const struct http_response *response, void *arg)
{
	struct docker_call *call = arg;
	struct docker_error err;
	_cleanup_json_ json_object *body = NULL;
	call->http = NULL;
	docker_error_from(&err, call->docker, call->operation, call->timeout_ms, response);
	if (err.failure == DOCKER_OK && call->wants_json) {
		struct error why = {0};
		body = json_parse(response->body, response->body_len, &why);
		if (!body) {
			err.failure = DOCKER_UNKNOWN;
			err.name = call->operation->error_name;
			docker_error_text(&err, "cannot read the answer of the Docker daemon: %s", why.message);
		}
	}
	call_finish(call, &err, body);
}

void docker_call_complete(struct docker_call *call, const struct docker_error *err)
{
	call_finish(call, err, NULL);
}

void docker_finish_plain(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	(void)body;
	call->done.plain(err, call->arg);
}

// --- errors ---

void docker_error_text(struct docker_error *err, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	if (n < 0 || (size_t)n < sizeof(err->message))
		return;
	size_t len = sizeof(err->message) - 1;
	// Back to the start of the last character, which drops it even if it happened to be whole.
	while (len > 0 && ((unsigned char)err->message[len - 1] & 0xC0) == 0x80)
		len--;
	if (len > 0 && (unsigned char)err->message[len - 1] >= 0xC0)
		len--;
	err->message[len] = '\0';
}

// A daemon (or its containerd) that goes away while it works answers 500 with one of these. Whether the
// operation happened is not known then.
static bool daemon_going_away(long status, const char *text)
{
	static const char *const texts[] = {
		"shutting down",        "containerd.sock", "code = Unavailable", "client connection is closing",
		"transport is closing", "ttrpc: closed",   "context canceled",
	};
	if (status < 500)
		return false;
	if (status == 502 || status == 503 || status == 504)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strstr(text, texts[i]))
			return true;
	return false;
}

static enum docker_failure failure_of_status(long status, const char *text)
{
	if (status == 304)
		return DOCKER_NOT_MODIFIED;
	if (status < 400)
		return DOCKER_OK;
	if (status == 404)
		return DOCKER_NOT_FOUND;
	if (status == 409)
		return DOCKER_CONFLICT;
	return daemon_going_away(status, text) ? DOCKER_UNKNOWN : DOCKER_REFUSED;
}

static void error_from_status(struct docker_error *err, const struct http_response *response)
{
	const char *type = response->header ? response->header(response, "Content-Type") : NULL;
	_cleanup_json_ json_object *body = NULL;
	const char *message = NULL;
	if (type && str_starts(type, "application/json"))
		body = json_parse(response->body, response->body_len, NULL);
	if (body && json_object_is_type(body, json_type_object))
		message = json_get_string(body, "message");
	_cleanup_free_ char *raw = xstrdup(message ? message : response->body);
	const char *text = str_trim(raw);
	if (*text)
		docker_error_text(err, "Error response from daemon: %s", text);
	else
		docker_error_text(err, "Error response from daemon: HTTP status %ld", response->status);
	err->failure = failure_of_status(response->status, text);
}

static void error_from_result(struct docker_error *err, const struct docker *docker, const struct docker_operation *op,
			      uint64_t timeout_ms, const struct http_response *response)
{
	err->failure = DOCKER_UNKNOWN;
	if (response->result == -ETIMEDOUT && response->sent) {
		err->timeout = true;
		err->name = "DockerTimeoutError";
		docker_timeout_text(err->message, sizeof(err->message), op->transition, timeout_ms);
	} else if (response->result == -EACCES || response->result == -EPERM) {
		docker_error_text(err,
				  "permission denied while trying to connect to the Docker daemon socket at %s: %s",
				  docker->endpoint, response->error.message);
	} else if (!response->sent) {
		docker_error_text(err, "Cannot connect to the Docker daemon at %s. Is the docker daemon running?",
				  docker->endpoint);
	} else {
		docker_error_text(err, "error during connect: %s", response->error.message);
	}
}

void docker_error_from(struct docker_error *err, const struct docker *docker, const struct docker_operation *operation,
		       uint64_t timeout_ms, const struct http_response *response)
{
	*err = (struct docker_error){.failure = DOCKER_OK, .name = operation->error_name};
	if (response->result < 0)
		error_from_result(err, docker, operation, timeout_ms, response);
	else if (response->status >= 400)
		error_from_status(err, response);
	else
		err->failure = failure_of_status(response->status, "");
	err->status = response->result < 0 ? 0 : response->status;
	if (err->failure == DOCKER_OK)
		err->name = "";
}

// As Go prints a duration: "2h0m0s", "4m0s", "1m0.5s", "30s", "250ms".
void docker_timeout_text(char *out, size_t size, const char *transition, uint64_t timeout_ms)
{
	char duration[64], seconds[32];
	uint64_t ms = timeout_ms % 1000, s = timeout_ms / 1000;
	if (ms) {
		int n = snprintf(seconds, sizeof(seconds), "%" PRIu64 ".%03" PRIu64, s % 60, ms);
		while (n > 0 && seconds[n - 1] == '0')
			seconds[--n] = '\0';
	} else {
		snprintf(seconds, sizeof(seconds), "%" PRIu64, s % 60);
	}
	if (s >= 3600)
		snprintf(duration, sizeof(duration), "%" PRIu64 "h%" PRIu64 "m%ss", s / 3600, s / 60 % 60, seconds);
	else if (s >= 60)
		snprintf(duration, sizeof(duration), "%" PRIu64 "m%ss", s / 60, seconds);
	else if (s == 0 && ms)
		snprintf(duration, sizeof(duration), "%" PRIu64 "ms", ms);
	else
		snprintf(duration, sizeof(duration), "%ss", seconds);
	snprintf(out, size, "Could not transition to %s; timed out after waiting %s", transition, duration);
}

// --- version ---

static bool version_parse(const char *text, unsigned *major, unsigned *minor)
{
	int end = 0;
	// Digits and dots alone: sscanf would let spaces and signs pass, and the text goes into URLs.
	return text && !text[strspn(text, "0123456789.")] && sscanf(text, "%4u.%4u%n", major, minor, &end) == 2 &&
	       text[end] == '\0';
}

// Less than, equal or greater than 0; a malformed version is older than any other.
static int version_compare(const char *a, const char *b)
{
	unsigned major_a = 0, minor_a = 0, major_b = 0, minor_b = 0;
	version_parse(a, &major_a, &minor_a);
	version_parse(b, &major_b, &minor_b);
	if (major_a != major_b)
		return major_a < major_b ? -1 : 1;
	return (minor_a > minor_b) - (minor_a < minor_b);
}

bool docker_speaks(const struct docker *docker, const char *version)
{
	return version_compare(docker->version, version) >= 0;
}

static void finish_connect(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker *docker = call->docker;
	struct docker_error bad = {.failure = DOCKER_REFUSED, .name = op_version.error_name};
	if (err->failure != DOCKER_OK) {
		// Only versions that do not overlap are final; a daemon that answers with an error may still be starting.
		struct docker_error unknown = *err;
		unknown.failure = DOCKER_UNKNOWN;
		call->done.plain(&unknown, call->arg);
		return;
	}
	const char *server = json_get_string(body, "Version");
	const char *max = json_get_string(body, "ApiVersion");
	const char *min = json_get_string(body, "MinAPIVersion");
	unsigned major, minor;
	if (!version_parse(max, &major, &minor) || (!str_empty(min) && !version_parse(min, &major, &minor))) {
		bad.failure = DOCKER_UNKNOWN;
		docker_error_text(&bad, "the Docker daemon at %s does not tell its API version", docker->endpoint);
		call->done.plain(&bad, call->arg);
		return;
	}
	if (str_empty(min))
		min = API_VERSION_OLDEST;
	str_replace(&docker->server_version, server ? server : "");
	str_replace(&docker->version_max, max);
	str_replace(&docker->version_min, min);
	if (version_compare(max, DOCKER_API_VERSION_MIN) < 0 || version_compare(min, DOCKER_API_VERSION_MAX) > 0) {
		docker_error_text(&bad, "Docker %s speaks API versions %s to %s; this agent speaks %s to %s",
				  docker->server_version, min, max, DOCKER_API_VERSION_MIN, DOCKER_API_VERSION_MAX);
		call->done.plain(&bad, call->arg);
		return;
	}
	str_replace(&docker->version, version_compare(max, DOCKER_API_VERSION_MAX) < 0 ? max : DOCKER_API_VERSION_MAX);
	call->done.plain(err, call->arg);
}
