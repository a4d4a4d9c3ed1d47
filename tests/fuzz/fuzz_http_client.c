// Answers of HTTP servers (the Docker daemon, AWS, IMDS) as bytes on a connection, cut anywhere, through the whole client:
// the same bytes are the same answer. Input: a byte that chooses the cuts, one of options, then the bytes.
#include "common/http.h"
#include "fuzz_dir.h"
#include "fuzz_loop.h"
#include <sys/un.h>

enum { STREAMED = 1, SMALL_BODY = 2, CANCEL_AT_DATA = 4 };
#define SMALL 64

static struct {
	struct buf seen;
	bool done;
	size_t bytes;
	unsigned flags;
} answer;

static int on_data(const char *data, size_t len, void *arg)
{
	(void)arg;
	CHECK(!answer.done && len > 0);
	buf_append(&answer.seen, data, len);
	answer.bytes += len;
	return answer.flags & CANCEL_AT_DATA && memchr(data, '!', len) ? 1 : 0;
}

static void on_headers(long status, void *arg)
{
	(void)arg;
	CHECK(!answer.done && answer.bytes == 0 && status >= 200);
	buf_printf(&answer.seen, "headers %ld\n", status);
}

static void on_answer(const struct http_response *response, void *arg)
{
	(void)arg;
	CHECK(!answer.done && response->sent);
	answer.done = true;
	CHECK(response->body[response->body_len] == '\0');
	if (response->result < 0) {
		check_reason(response->error.message);
		buf_printf(&answer.seen, "failed %d", response->result);
		return;
	}
	CHECK(response->status >= 200 && response->status < 1000);
	CHECK(response->body_len <= (answer.flags & SMALL_BODY ? SMALL : HTTP_BODY_MAX_DEFAULT));
	const char *type = response->header(response, "content-TYPE");
	CHECK(!type || !strchr(type, '\n')); // curl lets a lone CR pass
	buf_printf(&answer.seen, "%ld %s ", response->status, type ? type : "");
	buf_append(&answer.seen, response->body, response->body_len);
}

static void run(struct loop *loop, struct http_client *client, int listener, const char *path, const char *data,
		size_t len, struct cutter *cutter)
{
	buf_clear(&answer.seen);
	answer.done = false;
	answer.bytes = 0;
	bool streamed = answer.flags & STREAMED;
	http_send(client,
		  &(struct http_request){.method = "GET",
					 .url = "http://host/path",
					 .unix_socket = path,
					 .max_body = answer.flags & SMALL_BODY ? SMALL : 0,
					 .on_data = streamed ? on_data : NULL,
					 .on_headers = streamed ? on_headers : NULL},
		  on_answer, NULL);
	int peer = -1;
	struct buf request = {0};
	while (peer < 0 || !request.len || !strstr(request.data, "\r\n\r\n")) {
		fuzz_turn(loop);
		if (peer < 0)
			peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (peer >= 0)
			fuzz_drain(peer, &request);
	}
	buf_free(&request);
	for (size_t at = 0; at < len && !answer.done;) {
		size_t n = cutter ? cut(cutter, len - at) : len;
		if (send(peer, data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			break;
		at += n;
		fuzz_turn(loop);
	}
	close(peer);
	for (unsigned i = 0; i < 10000 && !answer.done; i++)
		fuzz_turn(loop);
	CHECK(answer.done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sockaddr_un address = {.sun_family = AF_UNIX};
	static int listener = -1;
	struct loop *loop = fuzz_loop(1);
	struct error err = {0};
	if (size < 2)
		return 0;
	if (listener < 0) {
		snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", fuzz_dir());
		listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 4) == 0);
	}
	struct cutter cutter = {data[0] | 32}; // pieces of many lengths: each costs a turn
	answer.flags = data[1];
	_cleanup_free_ char *bytes = fuzz_bytes(data + 2, size - 2);
	struct http_client *client = http_client_new(loop, &err);
	run(loop, client, listener, address.sun_path, bytes, size - 2, NULL);
	_cleanup_free_ char *whole = buf_take(&answer.seen);
	run(loop, client, listener, address.sun_path, bytes, size - 2, &cutter);
	// Where it ended too early, how much of a stream was seen may differ.
	if (!strstr(whole, "failed") && !(answer.flags & CANCEL_AT_DATA))
		CHECK(answer.seen.data && strcmp(whole, answer.seen.data) == 0);
	buf_free(&answer.seen);
	http_client_free(client);
	return 0;
}
