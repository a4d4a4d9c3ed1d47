// The log of one container (logging/container_log.h): real FIFOs and the real spool, and destinations that do what a test says.
#include "test_logging_destination.h"
#include "test_spool_bed.h"

#include "logging/container_log.h"

#include <sys/ioctl.h>

#define SCALE 20000 // CONTAINER_LOG_LINGER_MS in 3 ms
#define FIFOS 2

// --- the container ---

static struct container_log_host host;
static struct container_log *container;
static char run_dir[96], fifos[FIFOS][96];
static int writers[FIFOS];
static unsigned idle;

static void on_idle(struct container_log *log, void *arg)
{
	(void)arg;
	assert_ptr_equal(log, container);
	container = container_log_remove(log);
	idle++;
}

static void make_fifo(size_t i)
{
	snprintf(fifos[i], sizeof(fifos[i]), "%s/fifo%zu", directory, i);
	assert_int_equal(mkfifo(fifos[i], 0600), 0);
	writers[i] = open(fifos[i], O_RDWR | O_NONBLOCK | O_CLOEXEC); // as Docker has it
	assert_true(writers[i] >= 0);
}

static void begin_with(const struct spool_limits *limits)
{
	struct error err = {0};

	store = spool_store_open(loop, directory, limits, &err);
	host.spools = store;
	host.streams = streams_new(loop, &err);
	container = store && host.streams ? container_log_open(&host, ID, &err) : NULL;
	if (!container)
		fail_msg("%s", err.message);
}

static void end(void)
{
	container = container_log_close(container);
	host.streams = streams_free(host.streams);
	store = spool_store_free(store);
}

static int setup(void **state)
{
	if (bed_setup(state) < 0)
		return -1;
	loop_free(loop);
	loop = loop_new(SCALE, NULL);
	memset(&fake, 0, sizeof(fake));
	idle = 0;
	snprintf(run_dir, sizeof(run_dir), "%s.run", directory);
	assert_int_equal(mkdir(run_dir, 0700), 0);
	for (size_t i = 0; i < FIFOS; i++)
		make_fifo(i);
	host = (struct container_log_host){
		.destinations = {.loop = loop}, .run_dir = run_dir, .idle = on_idle, .arg = NULL};
	begin_with(&no_limits);
	return 0;
}

static int teardown(void **state)
{
	end();
	assert_null(fake.open);
	for (size_t i = 0; i < FIFOS; i++)
		if (writers[i] >= 0)
			close(writers[i]);
	remove_tree(run_dir);
	return bed_teardown(state);
}

static void turns(void)
{
	struct timer rested;

	for (int i = 0; i < 8; i++)
		turn();
	// After a small read a FIFO is left alone for 5 ms.
	timer_init(&rested, loop, stop_loop, loop);
	timer_start(&rested, 10);
	assert_int_equal(loop_run(loop), 0);
	timer_done(&rested);
	for (int i = 0; i < 8; i++)
		turn();
}

static int try_set(const char *driver, const char *tag, const char *more, struct error *err)
{
	_cleanup_free_ char *text = xasprintf(
		"{\"ContainerID\":\"" ID "\",\"ContainerName\":\"/c\",\"Tag\":\"%s\","
		"\"Driver\":\"%s\",\"Pid\":7,\"Config\":{%s%s}}",
		tag, driver, str_equal(driver, "awslogs") ? "\"awslogs-group\":\"g\"" : "\"tag\":\"t\"", more);
	_cleanup_json_ json_object *saved = json_parse(text, strlen(text), err);
	struct stream_settings settings;

	assert_non_null(saved);
	assert_int_equal(stream_settings_load(&settings, saved, err), 0);
	return container_log_set(container, &settings, err);
}

static void set(const char *driver, const char *tag)
{
	struct error err = {0};

	if (try_set(driver, tag, "", &err) < 0)
		fail_msg("%s", err.message);
}

static void add_fifo(size_t i)
{
	struct error err = {0};

	if (container_log_add(container, fifos[i], false, &err) < 0)
		fail_msg("%s", err.message);
}

static void send_lines(size_t i, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		struct buf b = {0};

		put_line(&b, from, 20);
		assert_int_equal(write(writers[i], b.data, b.len), b.len);
		buf_free(&b);
	}
}

static bool noted(size_t i)
{
	_cleanup_free_ char *path = xasprintf("%s/fifo%zu", run_dir, i);

	return access(path, F_OK) == 0;
}

static void expect_end(struct spool_reader *reader)
{
	struct spool_item item;

	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.kind, SPOOL_END);
}

static void expect_idle(void)
{
	for (int i = 0; i < 10000 && !idle; i++) {
		turn();
		usleep(100);
	}
	assert_int_equal(idle, 1);
	assert_null(container);
}

static struct error given; // with the answer to a question; .code 0: no refusal
static unsigned answers;

static void on_answer(const struct error *refusal, void *arg)
{
	const size_t *i = arg;

	answers++;
	given = refusal ? *refusal : (struct error){0};
	if (refusal && i)
		container_log_refuse(container, fifos[*i]);
}

// --- tests ---

// A restarted dockerd has the log twice for a while. Both go into one spool, and the end of the one is not that of the other.
static void test_two_fifos(void **state)
{
	struct spool_reader *reader;

	(void)state;
	set("syslog", "t");
	add_fifo(0);
	add_fifo(1);
	assert_true(noted(0) && noted(1));
	send_lines(0, 0, 10);
	turns();
	send_lines(1, 10, 20);
	turns();
	send_lines(0, 20, 21); // written before Docker says that it has closed it
	fake.flushes = 0;
	container_log_stop(container, fifos[0]);
	assert_int_equal(fake.flushes, 1); // what is left is not waited for
	assert_false(container_log_has(container, fifos[0]));
	assert_true(container_log_has(container, fifos[1]) && container_log_is_read(container));
	assert_false(noted(0));
	assert_true(noted(1));
	container_log_stop(container, fifos[0]);
	assert_int_equal(fake.flushes, 1);
	send_lines(1, 21, 30);
	turns();
	assert_non_null(fake.open);
	reader = spool_reader_new(fake.open->spool);
	expect_lines(reader, 0, 21);
	expect_end(reader);
	expect_lines(reader, 21, 30);
	expect_nothing(reader);
	spool_reader_free(reader);
}

// dockerd is gone: what it had written is there, and the FIFO is done with.
static void test_end_of_file(void **state)
{
	struct spool_reader *reader;

	(void)state;
	set("syslog", "t");
	add_fifo(0);
	send_lines(0, 0, 3);
	close(writers[0]);
	writers[0] = -1;
	turns();
	assert_false(container_log_is_read(container));
	assert_false(noted(0));
	reader = spool_reader_new(fake.open->spool);
	expect_lines(reader, 0, 3);
	expect_end(reader);
	spool_reader_free(reader);
}

// `docker logs` of a container that has ended.
static void test_begin_and_end_without_a_line(void **state)
{
	(void)state;
	set("syslog", "t");
	add_fifo(0);
	turns();
	container_log_stop(container, fifos[0]);
	assert_true(container_log_shipped(container));
	assert_int_equal(container_log_oldest_ns(container), 0);
	expect_idle();
	assert_int_equal(fake.opens, 0);
}

static void test_what_is_no_fifo(void **state)
{
	_cleanup_free_ char *file = xasprintf("%s/a-file", directory), *note = xasprintf("%s/a-file", run_dir);
	struct error err = {0};

	(void)state;
	set("syslog", "t");
	assert_int_equal(write_file_atomic(file, "x", 1, 0600), 0);
	assert_true(container_log_add(container, file, false, &err) < 0);
	assert_non_null(strstr(err.message, "is not a FIFO"));
	assert_int_equal(access(note, F_OK), -1);
	expect_idle(); // nothing is left of it, on disk either
	_cleanup_free_ char *spooled = xasprintf("%s/" ID, directory);
	assert_int_equal(access(spooled, F_OK), -1);
}

// Of many starts that wait each is answered, and the destination asked once for all.
static void test_question(void **state)
{
	(void)state;
	answers = 0;
	set("awslogs", "t");
	assert_true(container_log_must_ask(container));
	add_fifo(0);
	container_log_ask(container, on_answer, NULL);
	container_log_ask(container, on_answer, NULL);
	turns();
	assert_int_equal(fake.asks, 1);
	assert_int_equal(answers, 0);
	answer(NULL);
	assert_int_equal(answers, 2);
	assert_int_equal(given.code, 0);
	container_log_ask(container, on_answer, NULL);
	assert_int_equal(fake.asks, 2);
	assert_int_equal(answers, 2);
	end(); // answers who still waits
	assert_int_equal(answers, 3);
	assert_int_equal(given.code, 0);
}

static void test_refusal(void **state)
{
	struct error refusal = {0};
	size_t which = 1;

	(void)state;
	answers = 0;
	set("awslogs", "t");
	add_fifo(0);
	add_fifo(1);
	container_log_ask(container, on_answer, &which);
	error_set(&refusal, EACCES, "denied");
	answer(&refusal);
	assert_int_equal(answers, 1);
	assert_string_equal(given.message, "denied");
	assert_false(container_log_has(container, fifos[1]));
	assert_false(noted(1));
	assert_true(container_log_has(container, fifos[0]));
	container_log_refuse(container, fifos[1]); // of one that is gone
	which = 0;
	container_log_ask(container, on_answer, &which);
	answer(&refusal);
	assert_false(container_log_is_read(container));
	expect_idle();
}

// With other settings the destination is another one, which goes on with what waits, and with who waits for an answer.
static void test_settings_changed(void **state)
{
	(void)state;
	answers = 0;
	set("awslogs", "one");
	add_fifo(0);
	send_lines(0, 0, 5);
	turns();
	assert_int_equal(fake.opens, 1);
	set("awslogs", "one");
	assert_int_equal(fake.opens, 1); // nothing has changed: its connection stays
	container_log_ask(container, on_answer, NULL);
	set("awslogs", "two");
	assert_int_equal(fake.opens, 2);
	assert_string_equal(fake.tag, "two");
	assert_int_equal(fake.asks, 2);
	assert_int_equal(answers, 0);
	answer(NULL);
	assert_int_equal(answers, 1);
	// To a driver that cannot be asked.
	container_log_ask(container, on_answer, NULL);
	set("syslog", "two");
	assert_int_equal(answers, 2);
	assert_int_equal(fake.opens, 3); // for what waits, though nothing has come since
}

static void test_wrong_settings(void **state)
{
	struct error err = {0};

	(void)state;
	set("awslogs", "one");
	fake.wrong = true;
	assert_int_equal(try_set("awslogs", "two", "", &err), -EINVAL);
	assert_string_equal(err.message, "wrong");
	add_fifo(0);
	send_lines(0, 0, 1);
	turns();
	assert_string_equal(fake.tag, "one"); // as before
	container_log_stop(container, fifos[0]);
}

static void test_restore(void **state)
{
	struct spool_reader *reader;
	struct error err = {0};

	(void)state;
	assert_int_equal(container_log_restore(container, &err), -ENOENT);
	assert_false(container_log_configured(container));
	set("fluentd", "mine");
	add_fifo(0);
	send_lines(0, 0, 7);
	turns();
	end();
	assert_true(noted(0)); // for the next process
	fake.opens = 0;
	begin_with(&no_limits);
	assert_int_equal(container_log_restore(container, &err), 0);
	assert_true(container_log_configured(container));
	assert_int_equal(fake.opens, 1);
	assert_string_equal(fake.tag, "mine");
	if (container_log_add(container, fifos[0], true, &err) < 0)
		fail_msg("%s", err.message);
	send_lines(0, 7, 9);
	turns();
	reader = spool_reader_new(fake.open->spool);
	expect_lines(reader, 0, 9);
	expect_nothing(reader);
	spool_reader_free(reader);
}

// It is gone some time after all is shipped and nobody writes any more.
static void test_idle(void **state)
{
	_cleanup_free_ char *spooled = xasprintf("%s/" ID, directory);

	(void)state;
	set("syslog", "t");
	add_fifo(0);
	send_lines(0, 0, 3);
	turns();
	usleep(10000);
	turns();
	assert_int_equal(idle, 0); // it is read
	container_log_stop(container, fifos[0]);
	usleep(10000);
	turns();
	assert_int_equal(idle, 0); // it waits
	assert_int_equal(access(spooled, F_OK), 0);
	spool_confirm(fake.open->spool, spool_tail(fake.open->spool));
	expect_idle();
	assert_int_equal(access(spooled, F_OK), -1);
}

// What was opened and came to nothing does not stay.
static void test_idle_from_the_beginning(void **state)
{
	(void)state;
	expect_idle();
}

// Lines that had no room are counted, whichever they were.
static void test_dropped(void **state)
{
	static const struct spool_limits small = {
		.container_bytes = 64 << 10, .total_bytes = (uint64_t)1 << 40, .free_percent = 0};
	struct log_totals totals = {0};
	struct spool_reader *reader;
	struct spool_item item;
	struct error err = {0};
	uint64_t lost = 0, there = 0;

	(void)state;
	end();
	begin_with(&small);
	assert_int_equal(try_set("syslog", "t", ",\"mode\":\"non-blocking\"", &err), 0);
	add_fifo(0);
	for (uint64_t i = 0; i < 4000; i += 100) {
		send_lines(0, i, i + 100);
		turns();
	}
	turns();
	reader = spool_reader_new(fake.open->spool);
	while (spool_reader_next(reader, &item)) {
		lost += item.kind == SPOOL_LOSS ? item.loss.lines : 0;
		there += item.kind == SPOOL_RECORD;
	}
	spool_reader_free(reader);
	assert_true(lost > 0);
	assert_int_equal(lost + there, 4000);
	container_log_add_totals(container, &totals);
	assert_int_equal(totals.dropped, lost);
	assert_int_equal(totals.lines, 4000);
	_cleanup_json_ json_object *status = container_log_status(container);
	assert_int_equal(json_object_get_int64(json_get(status, "DroppedLines")), lost);
	assert_int_equal(json_object_get_int64(json_get(status, "WaitingLines")), 4000);
}

static bool somebody_tells(void *arg)
{
	(void)arg;
	return true;
}

static int unread(size_t i)
{
	int n = -1;

	assert_int_equal(ioctl(writers[i], FIONREAD, &n), 0);
	return n;
}

static int64_t stalls(void)
{
	_cleanup_json_ json_object *status = container_log_status(container);

	return json_object_get_int64(json_get(status, "Stalls"));
}

// mode=blocking and no room: what ecsd tells the end of is held back for as long as it runs; no other for more than a minute
// (§1.12, §7.3).
static void hold_back(bool of_task)
{
	static const struct spool_limits small = {
		.container_bytes = 64 << 10, .total_bytes = (uint64_t)1 << 40, .free_percent = 0};
	struct error err = {0};
	uint64_t next = 0;

	end();
	begin_with(&small);
	streams_on_pause(host.streams, somebody_tells, NULL);
	_cleanup_free_ char *more = xasprintf("},\"OfTask\":%s,\"Attributes\":{", of_task ? "true" : "false");
	assert_int_equal(try_set("syslog", "t", more, &err), 0);
	add_fifo(0);
	while (stalls() == 0 && next < 4000) {
		send_lines(0, next, next + 50);
		next += 50;
		turns();
	}
	assert_int_equal(stalls(), 1);
}

static void wait_for_drain(void)
{
	for (int i = 0; i < 10000 && unread(0) > 0; i++) {
		turn();
		usleep(100);
	}
	assert_int_equal(unread(0), 0);
}

static void test_held_back_unwatched(void **state)
{
	(void)state;
	hold_back(false);
	wait_for_drain();
}

static void test_held_back_watched(void **state)
{
	(void)state;
	hold_back(true);
	usleep(2 * STREAM_STALL_MS * 1000 / SCALE);
	turns();
	usleep(2 * STREAM_STALL_MS * 1000 / SCALE);
	turns();
	assert_true(unread(0) > 0);
	container_log_release(container);
	wait_for_drain();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_two_fifos, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begin_and_end_without_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_question, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settings_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restore, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle_from_the_beginning, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_held_back_unwatched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_held_back_watched, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
