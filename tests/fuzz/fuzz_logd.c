// The socket between ecsd and ecs-logd, either side. Input: a byte that chooses side and cuts, then the stream.
#include "logging/control.c"
#define on_message on_link_message
#define on_hello on_link_hello
#define on_end on_link_end
#include "agent/logd/log_link.c"
#include "fuzz_loop.h"
#include "fuzz_wire.h"

static unsigned told;

static void on_told(const char *id, void *arg)
{
	(void)arg;
	CHECK(strlen(id) == CONTAINER_ID_DIGITS);
	told++;
}

static void count(struct logd_counters *counters, void *arg)
{
	(void)arg;
	*counters = (struct logd_counters){1, 2, UINT64_MAX, 4, 5};
}

static void on_up(void *arg)
{
	CHECK(log_link_up(*(struct log_link **)arg));
	told++;
}

static void on_counters(const struct wire_message *message, void *arg)
{
	uint64_t number;
	CHECK(log_link_up(*(struct log_link **)arg) && told > 0);
	wire_number(message, 0, &number);
}

static const struct logd_control_callbacks server_callbacks = {on_told, on_told, count};
static const struct log_link_callbacks client_callbacks = {on_up, on_counters};

static void on_answer(const struct wire_message *message)
{
	CHECK(message->type == WIRE_HELLO || (message->type == WIRE_LOGD_COUNTERS && message->count == 5));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop(1);
	if (size < 1)
		return 0;
	struct cutter cutter = {data[0] >> 1};
	int before = fuzz_free_fd(), pair[2];
	bool server = data[0] & 1;
	struct buf sent = {0};
	struct logd_control control = {.loop = loop, .callbacks = &server_callbacks};
	struct log_link *link = log_link_new(loop, "/nowhere", &client_callbacks, &link);
	_cleanup_free_ char *stream = fuzz_bytes(data + 1, size - 1);
	timer_init(&control.counters, loop, send_counters, &control);
	told = 0;
	fuzz_pair(pair);
	if (server)
		control.channel = channel_new(loop, pair[0], &connection_callbacks, &control);
	else
		link->channel = channel_new(loop, pair[0], &channel_callbacks, link);
	for (size_t at = 0; at < size - 1 && (control.channel || link->channel);) {
		size_t n = cut(&cutter, size - 1 - at);
		(void)!send(pair[1], stream + at, n, MSG_NOSIGNAL);
		at += n;
		fuzz_turn(loop);
		fuzz_drain(pair[1], &sent);
	}
	fuzz_turn(loop);
	CHECK(!logd_control_connected(&control) || control.channel);
	drop(&control);
	timer_done(&control.counters);
	log_link_free(link);
	fuzz_drain(pair[1], &sent);
	close(pair[1]);
	fuzz_messages(&sent, on_answer);
	buf_free(&sent);
	CHECK(fuzz_free_fd() == before);
	return 0;
}
