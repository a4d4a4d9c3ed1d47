// What ecs-endpoint does with messages on the socket from ecsd, or from whoever speaks there. Input: a byte that chooses
// the cuts, one that says with which piece a descriptor comes, then the stream.
#include "agent/endpoint/server/control.c"
#include "fuzz_loop.h"
#include "fuzz_wire.h"

static unsigned answers;

static void on_answer(const struct wire_message *message)
{
	CHECK(answers++ > 0 ? message->type == WIRE_SYNCED || message->type == WIRE_RETURNED
			    : message->type == WIRE_HELLO);
	if (message->type == WIRE_RETURNED)
		CHECK(message->count == 8 && *wire_text(message, 0) &&
		      str_equal(wire_text(message, 2), WIRE_ROLE_EXECUTION));
}

static void check_credential(const struct credential *credential, const char *id)
{
	CHECK(str_equal(credential->texts.id, id));
	if (credential->pending) {
		CHECK(!credential->body);
		return;
	}
	_cleanup_json_ json_object *body = json_parse(credential->body, credential->body_len, NULL);
	CHECK(json_object_is_type(body, json_type_object));
	if (is_utf8(credential->texts.secret_access_key))
		CHECK(str_equal(json_get_string(body, "SecretAccessKey"), credential->texts.secret_access_key));
}

// Whatever was said, each text of it that is an id is served as JSON or not at all.
static struct served *looked_at;
static void look_up(const struct wire_message *message)
{
	const char *id = wire_text(message, 0);
	size_t len;
	const struct credential *credential = credential_get(looked_at->credentials, id);
	if (credential)
		check_credential(credential, id);
	task_store_by_arn(looked_at->tasks, id);
	task_store_by_docker_id(looked_at->tasks, wire_text(message, 2));
	task_store_list(looked_at->tasks, &len);
}

static void look_up_all(struct served *served, const char *data, size_t size)
{
	struct wire_decoder decoder = {0};
	struct wire_message message;
	looked_at = served;
	for (size_t at = 0; at < size;) {
		size_t n = size - at < WIRE_FEED_MAX ? size - at : WIRE_FEED_MAX;
		if (wire_decoder_feed(&decoder, data + at, n) < 0)
			break;
		at += n;
		int r;
		while ((r = wire_decoder_next(&decoder, &message)) > 0)
			look_up(&message);
		if (r < 0)
			break;
	}
	wire_decoder_free(&decoder);
}

static void check_metadata(struct served *served)
{
	struct http_head head = {.method = {"GET", 3}};
	struct http_request request = {
		.head = &head, .path = "/v1/metadata", .path_len = strlen("/v1/metadata"), .remote = "127.0.0.1:1"};
	struct http_reply reply = {.status = 200};
	serve_introspection(&request, &reply, served);
	_cleanup_json_ json_object *body = json_parse(reply.body, reply.body_len, NULL);
	CHECK(json_object_is_type(body, json_type_object));
}

static void send_piece(int fd, const char *data, size_t len, bool with_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} room = {.align = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {(void *)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (with_fd) {
		memcpy(CMSG_DATA(&room.align), &(int){2}, sizeof(int));
		msg.msg_control = room.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
	}
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop(1);
	if (size < 2)
		return 0;
	struct cutter cutter = {data[0]};
	unsigned fd_at = data[1];
	int before = fuzz_free_fd(), pair[2];
	struct buf sent = {0};
	struct served served = {.credentials = credential_store_new(),
				.tasks = task_store_new(),
				.limiter = rate_limiter_new(RATE_LIMIT_STEADY, RATE_LIMIT_BURST),
				.cluster = xstrdup(""),
				.instance_arn = xstrdup(""),
				.version = xstrdup(""),
				.audit_fd = -1};
	fuzz_pair(pair);
	struct control control = {.loop = loop, .served = &served, .refilling = true};
	control.channel = channel_new(loop, pair[0], &callbacks, &control);
	_cleanup_free_ char *stream = fuzz_bytes(data + 2, size - 2);
	size -= 2;
	for (size_t at = 0, piece = 0; at < size && control.channel; piece++) {
		size_t n = cut(&cutter, size - at);
		send_piece(pair[1], stream + at, n, piece == fd_at % 16);
		at += n;
		fuzz_turn(loop);
		fuzz_drain(pair[1], &sent);
	}
	fuzz_turn(loop);
	CHECK(rate_limiter_steady(served.limiter) > 0 && rate_limiter_steady(served.limiter) <= RATE_MAX);
	check_metadata(&served);
	look_up_all(&served, stream, size);
	channel_free(control.channel);
	fuzz_drain(pair[1], &sent);
	close(pair[1]);
	answers = 0;
	fuzz_messages(&sent, on_answer);
	if (served.audit_fd >= 0)
		close(served.audit_fd);
	credential_store_free(served.credentials);
	task_store_free(served.tasks);
	rate_limiter_free(served.limiter);
	free(served.cluster);
	free(served.instance_arn);
	free(served.version);
	buf_free(&sent);
	CHECK(fuzz_free_fd() == before);
	return 0;
}
