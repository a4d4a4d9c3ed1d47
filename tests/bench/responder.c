// What libevent can do at best with a request for credentials: any request gets the same answer, with a body of the
// given size. Two forms: its own HTTP server ("evhttp"), and a callback for each piece read ("event"), which looks
// at nothing but the end of the request.
//
//   responder evhttp|event PORT BODY_SIZE

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char *body, *answer;
static size_t body_len, answer_len;

static void on_request(struct evhttp_request *request, void *arg)
{
	(void)arg;
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evbuffer_add_reference(evhttp_request_get_output_buffer(request), body, body_len, NULL, NULL);
	evhttp_send_reply(request, 200, "OK", NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct event **event = arg;
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	if (n >= 4 && memcmp(bytes + n - 4, "\r\n\r\n", 4) == 0 &&
	    send(fd, answer, answer_len, MSG_NOSIGNAL) == (ssize_t)answer_len)
		return;
	event_free(*event);
	free(event);
	close(fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len, void *base)
{
	(void)listener, (void)from, (void)len;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	struct event **event = malloc(sizeof(*event));
	*event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, event);
	event_add(*event, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: responder evhttp|event PORT BODY_SIZE\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	body_len = strtoul(argv[3], NULL, 10);
	body = malloc(body_len + 1);
	memset(body, 'x', body_len);
	body[body_len] = 0;
	answer = malloc(body_len + 128);
	answer_len = (size_t)sprintf(
		answer, // NOLINT: 128 bytes are enough for these headers
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", body_len, body);
	uint16_t port = (uint16_t)strtoul(argv[2], NULL, 10);
	struct event_base *base = event_base_new();
	if (strcmp(argv[1], "evhttp") == 0) {
		struct evhttp *http = evhttp_new(base);
		evhttp_set_gencb(http, on_request, NULL);
		if (evhttp_bind_socket(http, "127.0.0.1", port) < 0)
			return 1;
	} else {
		struct sockaddr_in here = {
			.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
		if (!evconnlistener_new_bind(base, on_accept, base, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE, 128,
					     (struct sockaddr *)&here, sizeof(here)))
			return 1;
	}
	return event_base_dispatch(base);
}
