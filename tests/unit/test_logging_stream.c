// FIFOs read into the spool (logging/stream.h): a FIFO of this test, written to as dockerd does, and the real spool.
#include "test_spool_bed.h"

#include "logging/stream.h"

#include <sys/ioctl.h>
#include <sys/wait.h>

#define FIFO_NUMBER 42
#define COARSE_MS 20 // libevent's clock moves in steps of up to 10 ms
#define ID_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct streams *streams;
static struct stream *stream;
static struct stream_counters counters;
static char fifo[96];
static int writer = -1;
static int ended;

static void on_end(struct stream *which, void *arg)
{
	(void)arg;
	assert_ptr_equal(which, stream);
	ended++;
}

static void open_stream(bool blocking, bool again)
{
	struct error err = {0};

	stream = stream_open(
		streams,
		&(struct stream_options){.path = fifo, .number = FIFO_NUMBER, .blocking = blocking, .again = again},
		spool, &counters, on_end, NULL, &err);
	if (!stream)
		fail_msg("%s", err.message);
}

static int setup(void **state)
{
	struct error err = {0};

	bed_setup(state);
	snprintf(fifo, sizeof(fifo), "%s.fifo", directory);
	counters = (struct stream_counters){0};
	ended = 0;
	streams = streams_new(loop, &err);
	// Docker has it open for reading, too: nobody who comes and goes sees an end.
	return streams && mkfifo(fifo, 0600) == 0 && (writer = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC)) >= 0 ? 0
														 : -1;
}

static void close_writer(void)
{
	if (writer >= 0)
		close(writer);
	writer = -1;
}

static int teardown(void **state)
{
	stream = stream_free(stream);
	streams = streams_free(streams);
	close_writer();
	unlink(fifo);
	return bed_teardown(state);
}

static void send_bytes(const void *data, size_t len)
{
	assert_int_equal(write(writer, data, len), len);
}

static void send_lines(uint64_t from, uint64_t to, size_t size)
{
	for (; from < to; from++) {
		struct buf b = {0};

		put_line(&b, from, size);
		send_bytes(b.data, b.len);
		buf_free(&b);
	}
}

static int unread(void)
{
	int n = -1;

	assert_int_equal(ioctl(writer, FIONREAD, &n), 0);
	return n;
}

// Until what was sent is read.
static void turns(void)
{
	for (uint64_t end = loop_now(loop) + STREAM_REST_MS + COARSE_MS; loop_now(loop) < end;)
		turn();
	for (int i = 0; i < 6; i++)
		turn();
}

static void expect_spooled(uint64_t from, uint64_t to)
{
	struct spool_reader *reader = spool_reader_new(spool);

	expect_lines(reader, from, to);
	expect_nothing(reader);
	spool_reader_free(reader);
}

static void test_lines_arrive(void **state)
{
	(void)state;
	open_spool(&no_limits);
	send_lines(0, 3, 10); // what was there before
	open_stream(true, false);
	turns();
	expect_spooled(0, 3);
	send_lines(3, 200, 100);
	turns();
	expect_spooled(0, 200);
	assert_int_equal(unread(), 0);
	assert_int_equal(counters.lines, 200);
	assert_int_equal(counters.garbage, 0);
	assert_int_equal(ended, 0);
}

// The first line is read at once, and those that follow soon are read together.
static void test_rest(void **state)
{
	uint64_t begin;

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	turn();
	begin = loop_now(loop);
	send_lines(0, 1, 100);
	for (int i = 0; i < 2; i++)
		turn();
	expect_spooled(0, 1);
	for (uint64_t i = 1; i < 10; i++) {
		send_lines(i, i + 1, 100);
		turn();
		// On a machine that was busy elsewhere the rest may be over.
		if (loop_now(loop) < begin + STREAM_REST_MS)
			assert_int_equal(spool_tail(spool), 1);
	}
	turns();
	expect_spooled(0, 10);
	assert_int_equal(unread(), 0);
}

// Written byte by byte, each line is taken when it is whole.
static void test_bytewise(void **state)
{
	struct buf b = {0};

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	for (uint64_t i = 0; i < 4; i++)
		put_line(&b, i, 40);
	for (size_t i = 0; i < b.len; i++) {
		send_bytes(b.data + i, 1);
		turn();
		turn();
	}
	turns();
	buf_free(&b);
	expect_spooled(0, 4);
	assert_int_equal(unread(), 0);
}

// A record larger than the FIFO is put together outside of it.
static void test_larger_than_the_fifo(void **state)
{
	static char text[RECORD_MAX - 100];
	struct spool_reader *reader;
	struct spool_item item;
	struct buf b = {0};
	size_t sent = 0;

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	fcntl(writer, F_SETPIPE_SZ, 65536);
	memset(text, 'y', sizeof(text));
	put_line(&b, 0, 50);
	put_record(&b, &(struct record){.source = RECORD_STDERR, .time_ns = TIME_0, .line = text, .len = sizeof(text)});
	put_line(&b, 1, 50);
	for (int i = 0; sent < b.len && i < 1000; i++) {
		ssize_t n = write(writer, b.data + sent, b.len - sent);

		sent += n > 0 ? (size_t)n : 0;
		turns();
	}
	assert_int_equal(sent, b.len);
	buf_free(&b);
	reader = spool_reader_new(spool);
	expect_line(reader, 0);
	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.record.source, RECORD_STDERR);
	assert_int_equal(item.record.len, sizeof(text));
	assert_memory_equal(item.record.line, text, sizeof(text));
	expect_line(reader, 1);
	expect_nothing(reader);
	spool_reader_free(reader);
}

static void test_garbage(void **state)
{
	struct spool_reader *reader;

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	send_lines(0, 2, 30);
	send_bytes("\xff\xff\xff\xff this is no record at all.", 30);
	send_lines(2, 4, 30);
	turns();
	reader = spool_reader_new(spool);
	expect_lines(reader, 0, 2);
	assert_int_equal(expect_loss(reader, SPOOL_LOST_GARBAGE, 0).bytes, 30);
	expect_lines(reader, 2, 4);
	expect_nothing(reader);
	spool_reader_free(reader);
	assert_int_equal(counters.garbage, 30);
}

static void test_end(void **state)
{
	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	send_lines(0, 5, 30);
	close_writer();
	turns();
	expect_spooled(0, 5);
	assert_int_equal(ended, 1);
}

// Docker died in the middle of a record: what there is of it is counted, and the stream ends.
static void test_end_in_a_record(void **state)
{
	struct buf b = {0};

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	put_line(&b, 0, 60);
	send_bytes(b.data, b.len);
	send_bytes(b.data, 20);
	buf_free(&b);
	turns();
	close_writer();
	turns();
	assert_int_equal(ended, 1);
	assert_int_equal(counters.lines, 1);
	assert_int_equal(counters.garbage, 20);
}

// A reader that dies between appending and consuming: the next one sees that the lines are in the spool.
static void test_killed_in_between(void **state)
{
	struct buf b = {0};

	(void)state;
	open_spool(&no_limits);
	for (uint64_t i = 0; i < 10; i++)
		put_line(&b, i, 100);
	send_bytes(b.data, b.len);
	assert_int_equal(
		spool_append(spool, FIFO_NUMBER, b.data, b.len, 10, TIME_0, TIME_0 + 9000000000, SPOOL_FULL_REFUSE), 0);
	buf_free(&b);
	open_again(&no_limits);
	open_stream(true, true);
	turns();
	expect_spooled(0, 10);
	assert_int_equal(unread(), 0);
	send_lines(10, 12, 100);
	turns();
	expect_spooled(0, 12);
}

// The same with nothing in between: what is in the FIFO is new.
static void test_killed_elsewhere(void **state)
{
	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	send_lines(0, 10, 100);
	turns();
	stream = stream_free(stream);
	send_lines(10, 20, 100);
	open_again(&no_limits);
	open_stream(true, true);
	turns();
	expect_spooled(0, 20);
}

static const struct spool_limits small = {
	.container_bytes = 256 << 10, .total_bytes = (uint64_t)1 << 40, .free_percent = 0};

// Sends lines until the FIFO is full as well; returns the number of the next one.
static uint64_t fill(void)
{
	uint64_t number = 0;

	for (int still = 0; still < 20;) {
		struct buf b = {0};
		ssize_t n;

		put_line(&b, number, 1000);
		n = write(writer, b.data, b.len);
		buf_free(&b);
		number += n > 0;
		still = n > 0 ? 0 : still + 1;
		if (still)
			turns();
		else
			turn();
	}
	return number;
}

// mode=blocking: reading pauses, and goes on when there is room.
static void test_blocking(void **state)
{
	struct spool_reader *reader;
	uint64_t sent;

	(void)state;
	open_spool(&small);
	open_stream(true, false);
	sent = fill();
	turns();
	assert_true(unread() > 0);
	assert_int_equal(counters.stalls, 1);
	assert_int_equal(spool_dropped(spool), 0);
	reader = spool_reader_new(spool);
	for (uint64_t number = 0; number < sent;) {
		struct spool_item item;

		while (spool_reader_next(reader, &item)) {
			assert_int_equal(item.kind, SPOOL_RECORD);
			assert_int_equal(line_number(&item.record), number++);
		}
		spool_confirm(spool, spool_reader_position(reader));
		turns();
		stream_room(stream);
		turns();
	}
	expect_nothing(reader);
	spool_reader_free(reader);
	assert_int_equal(unread(), 0);
}

// The container is gone: the FIFO is drained, into the reserve and then to nowhere, with the count told.
static void test_released(void **state)
{
	(void)state;
	open_spool(&small);
	open_stream(true, false);
	fill();
	assert_true(unread() > 0);
	stream_release(stream);
	turns();
	assert_int_equal(unread(), 0);
	stream_drain(stream);
	assert_int_equal(unread(), 0);
}

// mode=non-blocking: the oldest make room, and nobody is held back.
static void test_non_blocking(void **state)
{
	struct spool_reader *reader;
	struct spool_item item;
	uint64_t lost = 0, seen = 0;

	(void)state;
	open_spool(&small);
	open_stream(false, false);
	for (uint64_t i = 0; i < 2000; i += 20) {
		send_lines(i, i + 20, 1000);
		turn();
		turn();
	}
	assert_int_equal(unread(), 0);
	assert_int_equal(counters.stalls, 0);
	reader = spool_reader_new(spool);
	while (spool_reader_next(reader, &item)) {
		if (item.kind == SPOOL_LOSS)
			lost += item.loss.lines;
		else
			assert_int_equal(line_number(&item.record), lost + seen++);
	}
	spool_reader_free(reader);
	assert_int_equal(lost + seen, 2000);
	assert_int_equal(spool_dropped(spool), lost);
	assert_true(lost > 0);
}

static void send_piece(int ordinal, bool last, const char *text)
{
	struct buf b = {0};

	put_record(&b, &(struct record){.source = RECORD_STDOUT,
					.time_ns = TIME_0,
					.line = text,
					.len = strlen(text),
					.partial = true,
					.last = last,
					.id = ID_64,
					.id_len = 64,
					.ordinal = ordinal});
	send_bytes(b.data, b.len);
	buf_free(&b);
}

// pieces that Docker's queue dropped are the only trace it leaves.
static void test_gaps(void **state)
{
	(void)state;
	open_spool(&no_limits);
	open_stream(false, false);
	send_piece(1, false, "a");
	send_piece(2, false, "b");
	send_piece(5, true, "e");
	turns();
	assert_int_equal(counters.gaps, 2);
	send_piece(2, true, "begun without its first");
	turns();
	assert_int_equal(counters.gaps, 3);
}

// What is refused for want of room is read again: that is no gap, and a gap in it is one only once.
static void test_gaps_without_room(void **state)
{
	struct spool_reader *reader;
	struct spool_item item;
	uint64_t lost = 0;

	(void)state;
	open_spool(&small);
	open_stream(true, false);
	send_piece(1, false, "a");
	send_piece(2, false, "b");
	turns();
	fill();
	send_piece(3, false, "c"); // another line has come in between: the first one has ended
	for (int i = 0; i < 3; i++) {
		stream_room(stream);
		turns();
	}
	assert_int_equal(counters.gaps, 0);
	send_piece(6, false, "f");
	reader = spool_reader_new(spool);
	for (int i = 0; i < 1000 && (unread() > 0 || spool_head(spool) < spool_tail(spool)); i++) {
		while (spool_reader_next(reader, &item))
			lost += item.kind == SPOOL_LOSS ? item.loss.lines : 0;
		spool_confirm(spool, spool_reader_position(reader));
		stream_room(stream);
		turns();
	}
	spool_reader_free(reader);
	assert_int_equal(unread(), 0);
	assert_int_equal(counters.gaps, 4); // 1 and 2 of the line that 3 is of, as far as is known, and 4 and 5
	assert_int_equal(lost, 4);
}

// A record larger than what is looked at at once turns out to be none at its end: told once, and what follows is there.
static void test_large_garbage(void **state)
{
	struct buf b = {0}, text = {0};
	struct spool_reader *reader;
	struct spool_item item;
	uint64_t garbage = 0, lines = 0;
	size_t bad;

	(void)state;
	open_spool(&no_limits);
	open_stream(true, false);
	for (int i = 0; i < 900000; i++)
		buf_append(&text, "y", 1);
	put_record(&b,
		   &(struct record){.source = RECORD_STDOUT, .time_ns = TIME_0, .line = text.data, .len = text.len});
	b.data[3] = (char)(b.data[3] + 2); // two bytes more
	b.data[2] = (char)(b.data[2] + (b.data[3] == 0 || b.data[3] == 1));
	buf_append(&b, "\007\007", 2); // of a kind of field that does not exist
	bad = b.len;
	for (uint64_t i = 0; i < 5; i++)
		put_line(&b, i, 100);
	for (size_t at = 0; at < b.len;) {
		size_t len = b.len - at < 10000 ? b.len - at : 10000;
		ssize_t n = write(writer, b.data + at, len);

		at += n > 0 ? (size_t)n : 0;
		turn();
	}
	turns();
	buf_free(&b);
	buf_free(&text);
	assert_int_equal(unread(), 0);
	reader = spool_reader_new(spool);
	while (spool_reader_next(reader, &item)) {
		garbage += item.kind == SPOOL_LOSS ? item.loss.bytes : 0;
		lines += item.kind == SPOOL_RECORD;
	}
	spool_reader_free(reader);
	assert_int_equal(lines, 5);
	assert_int_equal(counters.garbage, bad);
	assert_int_equal(garbage, bad);
}

static void test_what_is_no_fifo(void **state)
{
	struct error err = {0};
	const struct stream_options missing = {.path = "/nowhere/at/all"}, file = {.path = "/dev/null"};

	(void)state;
	open_spool(&no_limits);
	assert_null(stream_open(streams, &missing, spool, &counters, on_end, NULL, &err));
	assert_string_equal(err.message, "cannot open the log FIFO /nowhere/at/all: No such file or directory");
	assert_null(stream_open(streams, &file, spool, &counters, on_end, NULL, &err));
	assert_string_equal(err.message, "/dev/null is not a FIFO");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytewise, setup, teardown),
		cmocka_unit_test_setup_teardown(test_larger_than_the_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_in_a_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_in_between, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_blocking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_released, setup, teardown),
		cmocka_unit_test_setup_teardown(test_non_blocking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gaps_without_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_fifo, setup, teardown),
	};
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
