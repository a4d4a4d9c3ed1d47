// A receiver of logs that costs little: what arrives is looked through for lines of log_writer.c, which are counted and
// checked for their order. It takes any stream (syslog over TCP, fluentd's forward protocol, which must not ask for
// acknowledgements), and answers any HTTP request as CloudWatch Logs answers PutLogEvents.
//
//   log_sink STREAM_PORT HTTP_PORT      GET /lines at HTTP_PORT tells what has arrived, in JSON

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#define MARK '~'     // ends the number each line begins with
#define PIECE 262144 // read at once

static struct {
	uint64_t lines;    // that arrived
	uint64_t repeated; // of them numbers that had arrived
	uint64_t gaps;     // how often a number was not the one that had to follow
	uint64_t first, next;
} seen;

static void take_line(uint64_t number)
{
	if (seen.lines++ == 0) {
		seen.first = number;
		seen.next = number + 1;
		return;
	}
	if (number < seen.next) {
		seen.repeated++;
		return;
	}
	seen.gaps += number > seen.next;
	seen.next = number + 1;
}

// *number: of the digits before data, which may end anywhere.
static void look_through(const unsigned char *data, size_t len, uint64_t *number)
{
	for (size_t i = 0; i < len; i++) {
		unsigned digit = data[i] - (unsigned)'0';

		if (digit <= 9) {
			*number = *number * 10 + digit;
			continue;
		}
		if (data[i] == MARK)
			take_line(*number);
		*number = 0;
	}
}

// --- streams ---

struct peer {
	struct event *event;
	uint64_t number;
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	static unsigned char data[PIECE];
	struct peer *peer = arg;
	ssize_t n = recv(fd, data, sizeof(data), 0);

	(void)what;
	if (n > 0) {
		look_through(data, (size_t)n, &peer->number);
		return;
	}
	event_free(peer->event);
	free(peer);
	close(fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len, void *base)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	(void)listener, (void)from, (void)len;
	peer->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, peer);
	event_add(peer->event, NULL);
}

// --- CloudWatch Logs ---

static void unpack(unsigned char *data, size_t len)
{
	static unsigned char plain[PIECE];
	z_stream stream = {.next_in = data, .avail_in = (uInt)len};
	uint64_t number = 0;
	int r = inflateInit2(&stream, 15 + 16); // gzip

	while (r == Z_OK) {
		stream.next_out = plain;
		stream.avail_out = sizeof(plain);
		r = inflate(&stream, Z_NO_FLUSH);
		look_through(plain, sizeof(plain) - stream.avail_out, &number);
	}
	inflateEnd(&stream);
}

static void on_request(struct evhttp_request *request, void *arg)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request),
			*out = evhttp_request_get_output_buffer(request);
	size_t len = evbuffer_get_length(in);
	unsigned char *body = evbuffer_pullup(in, -1);
	uint64_t number = 0;

	(void)arg;
	if (len > 2 && body[0] == 0x1f && body[1] == 0x8b)
		unpack(body, len);
	else
		look_through(body, len, &number);
	if (evhttp_request_get_command(request) == EVHTTP_REQ_GET)
		evbuffer_add_printf(out,
				    "{\"lines\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"gaps\":%" PRIu64
				    ",\"first\":%" PRIu64 ",\"next\":%" PRIu64 "}",
				    seen.lines, seen.repeated, seen.gaps, seen.first, seen.next);
	else
		evbuffer_add_printf(out, "{\"nextSequenceToken\":\"1\"}");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/x-amz-json-1.1");
	evhttp_send_reply(request, 200, "OK", NULL);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: log_sink STREAM_PORT HTTP_PORT\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct event_base *base = event_base_new();
	struct evhttp *http = evhttp_new(base);
	struct sockaddr_in here = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
				   .sin_addr = {htonl(INADDR_LOOPBACK)}};

	evhttp_set_gencb(http, on_request, NULL);
	if (!evconnlistener_new_bind(base, on_accept, base, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE, 128,
				     (struct sockaddr *)&here, sizeof(here)) ||
	    evhttp_bind_socket(http, "127.0.0.1", (uint16_t)strtoul(argv[2], NULL, 10)) < 0) {
		perror("log_sink");
		return 1;
	}
	return event_base_dispatch(base);
}
