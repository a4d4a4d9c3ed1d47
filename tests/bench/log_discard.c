// A log driver plugin that decodes what Docker writes, and throws it away: what dockerd can do at best with a plugin.
//
//   log_discard SOCKET      GET /status tells how many lines there were, as ecs-logd does

#include "common/util.h"
#include "logging/record.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PIPE_BYTES (1 << 20) // as ecs-logd makes it
#define PIECE (256 << 10)    // read at once, as ecs-logd does

static uint64_t lines;
static struct event_base *base;

struct log {
	struct event *event;
	size_t have;
	char data[PIECE + RECORD_HEADER + RECORD_MAX];
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct log *log = arg;
	struct record record;
	size_t used, at = 0;
	ssize_t n = read(fd, log->data + log->have, PIECE);

	(void)what;
	if (n < 0)
		return;
	if (n == 0) {
		event_free(log->event);
		free(log);
		close(fd);
		return;
	}
	log->have += (size_t)n;
	while (record_next(log->data + at, log->have - at, &used, &record) == RECORD_OK) {
		at += used;
		lines++;
	}
	memmove(log->data, log->data + at, log->have - at);
	log->have -= at;
}

static void start_logging(const char *body, size_t len)
{
	_cleanup_free_ char *text = xstrndup(body, len);
	json_object *request = json_tokener_parse(text), *path;
	int fd = -1;

	if (request && json_object_object_get_ex(request, "File", &path))
		fd = open(json_object_get_string(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	json_object_put(request);
	if (fd < 0) {
		perror("log_discard: FIFO");
		exit(1);
	}
	fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
	struct log *log = xcalloc(1, sizeof(*log));
	log->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, log);
	event_add(log->event, NULL);
}

static void on_request(struct evhttp_request *request, void *arg)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request),
			*out = evhttp_request_get_output_buffer(request);
	const char *path = evhttp_request_get_uri(request);

	(void)arg;
	if (strcmp(path, "/LogDriver.StartLogging") == 0)
		start_logging((const char *)evbuffer_pullup(in, -1), evbuffer_get_length(in));
	if (strcmp(path, "/Plugin.Activate") == 0)
		evbuffer_add_printf(out, "{\"Implements\":[\"LogDriver\"]}");
	else if (strcmp(path, "/LogDriver.Capabilities") == 0)
		evbuffer_add_printf(out, "{\"Cap\":{\"ReadLogs\":false}}");
	else
		evbuffer_add_printf(out, "{\"Err\":\"\",\"Lines\":%" PRIu64 "}", lines);
	evhttp_send_reply(request, 200, "OK", NULL);
}

int main(int argc, char **argv)
{
	struct sockaddr_un here = {.sun_family = AF_UNIX};

	if (argc != 2 || strlen(argv[1]) >= sizeof(here.sun_path)) {
		fprintf(stderr, "usage: log_discard SOCKET\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memcpy(here.sun_path, argv[1], strlen(argv[1]));
	unlink(argv[1]);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	base = event_base_new();
	struct evhttp *http = evhttp_new(base);
	evhttp_set_gencb(http, on_request, NULL);
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(fd, 16) < 0 ||
	    evhttp_accept_socket(http, fd) < 0) {
		perror(argv[1]);
		return 1;
	}
	return event_base_dispatch(base);
}
