#include "common/channel.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

static size_t encode(unsigned type, const char *const *fields, size_t count, char **out)
{
	size_t len = 0;
	*out = wire_encode(type, fields, count, &len);
	assert_non_null(*out);
	return len;
}

// Three messages, cut into two pieces at every place, and byte by byte.
static void test_all_splits(void **state)
{
	(void)state;
	static const char *const put[] = {"id-1", "", "TaskExecution", "arn", "AKIA", NULL, "token==", "2026"};
	static const char *const sync[] = {"42"};
	char *parts[3];
	size_t lens[3] = {encode(WIRE_PUT, put, 8, &parts[0]), encode(WIRE_EXPECT_END, NULL, 0, &parts[1]),
			  encode(WIRE_SYNC, sync, 1, &parts[2])};
	size_t len = lens[0] + lens[1] + lens[2];
	char *all = xmalloc(len);
	memcpy(all, parts[0], lens[0]);
	memcpy(all + lens[0], parts[1], lens[1]);
	memcpy(all + lens[0] + lens[1], parts[2], lens[2]);
	for (size_t cut = 0; cut <= len + 1; cut++) { // len + 1: byte by byte
		struct wire_decoder decoder = {0};
		struct wire_message m;
		unsigned got = 0;
		for (size_t at = 0; at < len;) {
			size_t n = cut > len ? 1 : at < cut ? cut - at : len - at;
			assert_int_equal(wire_decoder_feed(&decoder, all + at, n), 0);
			at += n;
			while (wire_decoder_next(&decoder, &m) == 1) {
				if (got == 0) {
					assert_int_equal(m.type, WIRE_PUT);
					assert_int_equal(m.count, 8);
					for (unsigned i = 0; i < 8; i++)
						assert_string_equal(wire_text(&m, i), put[i] ? put[i] : "");
					assert_string_equal(wire_text(&m, 8), "");
				} else if (got == 1) {
					assert_int_equal(m.type, WIRE_EXPECT_END);
					assert_int_equal(m.count, 0);
				} else {
					uint64_t token;
					assert_true(wire_number(&m, 0, &token));
					assert_int_equal(token, 42);
				}
				got++;
			}
		}
		assert_int_equal(got, 3);
		assert_int_equal(wire_decoder_next(&decoder, &m), 0);
		wire_decoder_free(&decoder);
	}
	for (int i = 0; i < 3; i++)
		wire_free(parts[i], lens[i]);
	free(all);
}

static void test_hostile(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		int result;
	} cases[] = {
#define CASE(text, r) {text, sizeof(text) - 1, r}
		CASE("\xff\xff\xff\xff", -EMSGSIZE),
		CASE("\x01\0\x10\0", -EMSGSIZE), // one more than 1 MiB
		CASE("\0\0\x10\0", 0),           // exactly 1 MiB: waits
		CASE("\3\0\0\0abc", -EBADMSG),   // no room for type and count
		CASE("\4\0\0\0\1\0\0\0", 1),
		CASE("\4\0\0\0\1\0\1\0", -EBADMSG),           // a field that is not there
		CASE("\4\0\0\0\1\0\xff\xff", -EBADMSG),       // 65535 of them
		CASE("\7\0\0\0\1\0\1\0\0\0\0", -EBADMSG),     // a field's length is cut
		CASE("\x08\0\0\0\1\0\1\0\0\0\0\0", 1),        // empty field
		CASE("\x08\0\0\0\1\0\1\0\1\0\0\0", -EBADMSG), // field longer than the message
		CASE("\x08\0\0\0\1\0\1\0\xff\xff\xff\xff", -EBADMSG),
		CASE("\x0b\0\0\0\1\0\2\0\0\0\0\0\0\0\0", -EBADMSG), // three bytes left for a length of four
		CASE("\x09\0\0\0\1\0\1\0\0\0\0\0x", -EBADMSG),      // bytes after the last field
#undef CASE
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire_decoder decoder = {0};
		struct wire_message m;
		assert_int_equal(wire_decoder_feed(&decoder, cases[i].bytes, cases[i].len), 0);
		assert_int_equal(wire_decoder_next(&decoder, &m), cases[i].result);
		wire_decoder_free(&decoder);
	}
	// A NUL inside a field is no text.
	struct wire_decoder decoder = {0};
	struct wire_message m;
	wire_decoder_feed(&decoder, "\x0b\0\0\0\1\0\1\0\3\0\0\0a\0b", 15);
	assert_int_equal(wire_decoder_next(&decoder, &m), 1);
	assert_string_equal(wire_text(&m, 0), "");
	wire_decoder_free(&decoder);
}

static void test_bounds_of_encoder(void **state)
{
	(void)state;
	char *big = xmalloc(WIRE_MESSAGE_MAX + 1);
	memset(big, 'x', WIRE_MESSAGE_MAX);
	big[WIRE_MESSAGE_MAX - 8] = 0; // with type, count and its length: exactly the bound
	size_t len;
	char *data = wire_encode(1, (const char *[]){big}, 1, &len);
	assert_non_null(data);
	assert_int_equal(len, WIRE_MESSAGE_MAX + 4);
	struct wire_decoder decoder = {0};
	struct wire_message m;
	for (size_t at = 0; at < len; at += WIRE_FEED_MAX)
		assert_int_equal(
			wire_decoder_feed(&decoder, data + at, len - at < WIRE_FEED_MAX ? len - at : WIRE_FEED_MAX), 0);
	assert_int_equal(wire_decoder_next(&decoder, &m), 1);
	assert_int_equal(m.fields[0].len, WIRE_MESSAGE_MAX - 8);
	wire_decoder_free(&decoder);
	wire_free(data, len);
	big[WIRE_MESSAGE_MAX - 8] = 'x';
	big[WIRE_MESSAGE_MAX - 7] = 0;
	assert_null(wire_encode(1, (const char *[]){big}, 1, &len));
	free(big);
	static const char *many[WIRE_FIELDS_MAX + 1];
	data = wire_encode(1, many, WIRE_FIELDS_MAX, &len);
	assert_non_null(data);
	wire_free(data, len);
	assert_null(wire_encode(1, many, WIRE_FIELDS_MAX + 1, &len));
}

// Any bytes: no crash, no endless loop (the sanitizers watch).
static void test_random_bytes(void **state)
{
	(void)state;
	srand(1);
	for (int round = 0; round < 20000; round++) {
		struct wire_decoder decoder = {0};
		struct wire_message m;
		char bytes[64];
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (char)(rand() % 4 ? rand() % 12 : rand() % 256);
		bytes[1] = bytes[2] = bytes[3] = 0;
		size_t len = (size_t)rand() % sizeof(bytes);
		wire_decoder_feed(&decoder, bytes, len);
		while (wire_decoder_next(&decoder, &m) == 1)
			for (unsigned i = 0; i < m.count; i++)
				assert_int_equal(m.fields[i].data[m.fields[i].len], 0);
		wire_decoder_free(&decoder);
	}
}

// --- channel ---

struct side {
	struct channel *channel;
	struct loop *loop;
	unsigned messages, ended;
	int fd, result;
	bool free_in_message;
};

static void side_message(const struct wire_message *message, int *fd, void *arg)
{
	struct side *side = arg;
	side->messages++;
	if (message->type == WIRE_AUDIT) {
		side->fd = *fd;
		*fd = -1;
	}
	if (side->free_in_message)
		side->channel = channel_free(side->channel);
	loop_stop(side->loop);
}

static void side_end(int result, void *arg)
{
	struct side *side = arg;
	side->ended++;
	side->result = result;
	side->channel = channel_free(side->channel);
	loop_stop(side->loop);
}

static const struct channel_callbacks side_callbacks = {side_message, side_end};

static void test_channel(void **state)
{
	(void)state;
	int pair[2], pipes[2];
	struct loop *loop = loop_new(1, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	struct side a = {.loop = loop, .fd = -1}, b = {.loop = loop, .fd = -1};
	a.channel = channel_new(loop, pair[0], &side_callbacks, &a);
	b.channel = channel_new(loop, pair[1], &side_callbacks, &b);
	// More than the socket takes at once, and a descriptor behind it.
	char *big = xmalloc(900001);
	memset(big, 'y', 900000);
	big[900000] = 0;
	assert_true(channel_send(a.channel, WIRE_TASK, (const char *[]){"arn", big}, 2, -1));
	assert_true(channel_send(a.channel, WIRE_AUDIT, NULL, 0, pipes[1]));
	while (b.messages < 2)
		loop_run(loop);
	assert_true(b.fd >= 0);
	assert_int_equal(write(b.fd, "z", 1), 1);
	char c;
	assert_int_equal(read(pipes[0], &c, 1), 1);
	close(b.fd);
	close(pipes[0]);
	// Freed inside its own callback with a second message waiting.
	b.free_in_message = true;
	channel_send(a.channel, WIRE_SYNC, (const char *[]){"1"}, 1, -1);
	channel_send(a.channel, WIRE_SYNC, (const char *[]){"2"}, 1, -1);
	loop_run(loop);
	assert_int_equal(b.messages, 3);
	assert_null(b.channel);
	while (!a.ended) {
		if (a.channel)
			channel_send(a.channel, WIRE_SYNC, (const char *[]){"3"}, 1, -1);
		loop_run(loop);
	}
	free(big);
	loop_free(loop);
}

static void test_channel_queue_bound(void **state)
{
	(void)state;
	int pair[2];
	struct loop *loop = loop_new(1, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	struct side a = {.loop = loop};
	a.channel = channel_new(loop, pair[0], &side_callbacks, &a);
	char *big = xmalloc(1000001);
	memset(big, 'y', 1000000);
	big[1000000] = 0;
	for (int i = 0; i < 80; i++) // nobody reads
		channel_send(a.channel, WIRE_TASK, (const char *[]){big}, 1, -1);
	assert_int_equal(a.ended, 0); // never from inside channel_send
	while (!a.ended)
		loop_run(loop);
	assert_int_equal(a.result, -ENOBUFS);
	free(big);
	close(pair[1]);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_splits),        cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_bounds_of_encoder), cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_channel),           cmocka_unit_test(test_channel_queue_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
