#include "logging/plugin.h"

#include "common/log.h"
#include "common/util.h"

#include <event2/buffer.h>
#include <event2/listener.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>

#define IDLE_S 120 // Docker closes idle connections after 30 s; a client that does nothing is cut off after this
#define HEADERS_MAX 65536
#define PAUSE_MS 1000 // when there is no descriptor for one who calls

struct plugin {
	struct evhttp *server;
	struct evconnlistener *listener;
	struct timer pause;
	bool told; // that nobody could be taken
	struct plugin_handlers handlers;
	void *arg;
};

struct plugin_request {
	struct evhttp_request *http; // NULL: Docker has gone
};

// There is one in a program. What libevent passes to on_accept_failed is its own server.
static struct plugin *serving;

static void on_accept_failed(struct evconnlistener *listener, void *arg);
static void accept_again(void *arg);
static void activate(struct evhttp_request *http, void *arg);
static void capabilities(struct evhttp_request *http, void *arg);
static void start_logging(struct evhttp_request *http, void *arg);
static void stop_logging(struct evhttp_request *http, void *arg);
static void status(struct evhttp_request *http, void *arg);
static void unknown(struct evhttp_request *http, void *arg);

struct plugin *plugin_new(struct loop *loop, int listen_fd, const struct plugin_handlers *handlers, void *arg,
			  struct error *err)
{
	struct plugin *plugin = xcalloc(1, sizeof(*plugin));
	struct evhttp_bound_socket *bound = NULL;

	timer_init(&plugin->pause, loop, accept_again, plugin);
	plugin->handlers = *handlers;
	plugin->arg = arg;
	plugin->server = evhttp_new(loop_base(loop));
	if (plugin->server)
		bound = evhttp_accept_socket_with_handle(plugin->server, listen_fd);
	if (!bound) {
		error_set(err, ENOMEM, "cannot serve on the plugin socket");
		return plugin_free(plugin);
	}
	plugin->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(plugin->listener, on_accept_failed);
	serving = plugin;
	evhttp_set_timeout(plugin->server, IDLE_S);
	evhttp_set_max_body_size(plugin->server, (ev_ssize_t)PLUGIN_BODY_MAX);
	evhttp_set_max_headers_size(plugin->server, HEADERS_MAX);
	evhttp_set_cb(plugin->server, "/Plugin.Activate", activate, plugin);
	evhttp_set_cb(plugin->server, "/LogDriver.Capabilities", capabilities, plugin);
	evhttp_set_cb(plugin->server, "/LogDriver.StartLogging", start_logging, plugin);
	evhttp_set_cb(plugin->server, "/LogDriver.StopLogging", stop_logging, plugin);
	evhttp_set_cb(plugin->server, "/status", status, plugin);
	evhttp_set_gencb(plugin->server, unknown, plugin);
	return plugin;
}

struct plugin *plugin_free(struct plugin *plugin)
{
	if (!plugin)
		return NULL;
	if (plugin->server)
		evhttp_free(plugin->server);
	timer_done(&plugin->pause);
	if (serving == plugin)
		serving = NULL;
	free(plugin);
	return NULL;
}

// It would be told again at once, for as long as nobody can be taken.
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
	int code = EVUTIL_SOCKET_ERROR();

	(void)arg;
	evconnlistener_disable(listener);
	timer_start(&serving->pause, PAUSE_MS);
	if (!serving->told)
		log_error("cannot take a call of Docker's", "error=%s", strerror(code));
	serving->told = true;
}

static void accept_again(void *arg)
{
	struct plugin *plugin = arg;

	evconnlistener_enable(plugin->listener);
}

static void reply(struct evhttp_request *http, int code, const char *text)
{
	struct evbuffer *body = evbuffer_new();

	evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type",
			  "application/vnd.docker.plugins.v1.2+json");
	evbuffer_add(body, text, strlen(text));
	evhttp_send_reply(http, code, NULL, body);
	evbuffer_free(body);
}

static void reply_error(struct evhttp_request *http, int code, const char *text)
{
	_cleanup_json_ json_object *body = json_object_new_object();

	json_add_string(body, "Err", text);
	reply(http, code, json_text(body));
}

static void on_close(struct evhttp_connection *connection, void *arg)
{
	struct plugin_request *request = arg;

	(void)connection;
	request->http = NULL;
}

void plugin_answer(struct plugin_request *request, const struct error *refusal)
{
	if (request->http) {
		evhttp_connection_set_closecb(evhttp_request_get_connection(request->http), NULL, NULL);
		reply_error(request->http, HTTP_OK, refusal ? refusal->message : "");
	}
	free(request);
}

static struct plugin_request *wait_for_answer(struct evhttp_request *http)
{
	struct plugin_request *request = xcalloc(1, sizeof(*request));

	request->http = http;
	evhttp_connection_set_closecb(evhttp_request_get_connection(http), on_close, request);
	return request;
}

// The JSON body; NULL: answered with what is wrong (R-1.5: an empty body is what Docker's retries can come with).
static json_object *body_of(struct evhttp_request *http)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(http);
	size_t len = evbuffer_get_length(in);
	struct error err = {0};
	json_object *body = NULL;

	if (evhttp_request_get_command(http) != EVHTTP_REQ_POST) {
		reply_error(http, HTTP_BADMETHOD, "POST expected");
		return NULL;
	}
	if (len == 0)
		error_set(&err, EINVAL, "the request has no body, a JSON object was expected");
	else
		body = json_parse((const char *)evbuffer_pullup(in, -1), len, &err);
	if (body && !json_object_is_type(body, json_type_object)) {
		json_object_put(body);
		body = NULL;
		error_set(&err, EINVAL, "the request's body is not a JSON object");
	}
	if (!body)
		reply_error(http, HTTP_BADREQUEST, err.message);
	return body;
}

static const char *file_of(json_object *body, struct evhttp_request *http)
{
	const char *file = json_get_string(body, "File");

	if (str_empty(file))
		reply_error(http, HTTP_BADREQUEST, "the request has no \"File\", the path of a FIFO was expected");
	return str_empty(file) ? NULL : file;
}

static void activate(struct evhttp_request *http, void *arg)
{
	(void)arg;
	reply(http, HTTP_OK, "{\"Implements\":[\"LogDriver\"]}");
}

// `docker logs` is served from Docker's own cache, as it is for its awslogs, fluentd and syslog drivers.
static void capabilities(struct evhttp_request *http, void *arg)
{
	(void)arg;
	reply(http, HTTP_OK, "{\"Cap\":{\"ReadLogs\":false},\"Err\":\"\"}");
}

static void start_logging(struct evhttp_request *http, void *arg)
{
	struct plugin *plugin = arg;
	_cleanup_json_ json_object *body = body_of(http);
	const char *file = body ? file_of(body, http) : NULL;
	struct log_info info;
	struct error err = {0};

	if (!file)
		return;
	if (log_info_decode(json_get(body, "Info"), &info, &err) < 0) {
		reply_error(http, HTTP_BADREQUEST, err.message);
		return;
	}
	plugin->handlers.start(file, &info, wait_for_answer(http), plugin->arg);
	log_info_free(&info);
}

static void stop_logging(struct evhttp_request *http, void *arg)
{
	struct plugin *plugin = arg;
	_cleanup_json_ json_object *body = body_of(http);
	const char *file = body ? file_of(body, http) : NULL;

	if (file)
		plugin->handlers.stop(file, wait_for_answer(http), plugin->arg);
}

static void status(struct evhttp_request *http, void *arg)
{
	struct plugin *plugin = arg;
	_cleanup_json_ json_object *body = plugin->handlers.status(plugin->arg);

	reply(http, HTTP_OK, json_text(body));
}

static void unknown(struct evhttp_request *http, void *arg)
{
	(void)arg;
	reply_error(http, HTTP_NOTFOUND, "no such method; this is a LogDriver");
}
