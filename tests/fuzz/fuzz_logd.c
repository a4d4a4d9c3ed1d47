// The socket between ecsd and ecs-logd, either side. Input: a byte that chooses side and cuts, then the stream.
#include "logging/control.c"
#define on_message on_link_message
#define on_hello on_link_hello
#define on_end on_link_end
#include "agent/logd/log_link.c"
#undef on_message
#define on_message on_logd_message
#include "agent/logd/logd.c"
#include "fuzz_loop.h"
#include "fuzz_wire.h"

static unsigned changes;

static void on_told(const char *id, void *arg)
{
	CHECK(strlen(id) == CONTAINER_ID_DIGITS);
	logd_control_credentials(arg);
}

static void count(struct logd_counters *counters, void *arg)
{
	(void)arg;
	*counters = (struct logd_counters){1, 2, UINT64_MAX, 4, 5};
}

static size_t credentials(const char **ids, size_t max, void *arg)
{
	static const char *const needed[] = {"a", "b", ""};
	size_t count = changes++ % (ARRAY_SIZE(needed) + 1);
	(void)arg;
	CHECK(count <= max);
	memcpy(ids, needed, count * sizeof(*ids));
	return count;
}

static void on_connected(void *arg)
{
	CHECK(!((struct logd *)arg)->needed_known);
}

static const struct logd_control_callbacks server_callbacks = {on_told, on_told, count, credentials};

static void on_sent(const struct wire_message *message)
{
	CHECK(message->type == WIRE_HELLO || (message->type == WIRE_LOGD_COUNTERS && message->count == 5) ||
	      (message->type == WIRE_LOGD_CREDENTIALS && message->count <= 3));
}

// What was named is needed, and can be found; without a connection nothing is known.
static void check_needed(const struct logd *logd)
{
	CHECK(!logd->needed_known || log_link_up(logd->link));
	CHECK(logd->needed_known || (logd->needed_count == 0 && !logd->needed));
	for (size_t i = 0; i < logd->needed_count; i++) {
		CHECK(logd_needs_credentials(logd, logd->needed[i]));
		CHECK(i == 0 || strcmp(logd->needed[i - 1], logd->needed[i]) <= 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop(100000); // what ecs-logd says a little later comes at once
	if (size < 1)
		return 0;
	struct cutter cutter = {data[0] >> 1};
	int before = fuzz_free_fd(), pair[2];
	bool server = data[0] & 1;
	struct buf sent = {0};
	struct logd_control control = {.loop = loop, .callbacks = &server_callbacks, .arg = &control};
	struct logd logd = {.options = {.loop = loop, .on_connected = on_connected, .arg = &logd}};
	struct log_link *link = logd.link = log_link_new(loop, "/nowhere", &link_callbacks, &logd);
	_cleanup_free_ char *stream = fuzz_bytes(data + 1, size - 1);
	timer_init(&control.counters, loop, send_counters, &control);
	timer_init(&control.credentials, loop, send_credentials, &control);
	changes = 0;
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
		check_needed(&logd);
	}
	fuzz_turn(loop);
	CHECK(!logd_control_connected(&control) || control.channel);
	drop(&control);
	timer_done(&control.counters);
	timer_done(&control.credentials);
	log_link_free(link);
	forget_needed(&logd);
	fuzz_drain(pair[1], &sent);
	close(pair[1]);
	fuzz_messages(&sent, on_sent);
	buf_free(&sent);
	CHECK(fuzz_free_fd() == before);
	return 0;
}
