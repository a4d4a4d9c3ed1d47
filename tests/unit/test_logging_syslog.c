// The syslog destination from a real spool to receivers in this process.
#include "test_spool_bed.h"

#include "logging/syslog.h"

#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SCALE 20.0
#define LIMIT_MS 20000 // real; a test that takes so long has failed
#define SIZE 100       // bytes of a line

static const struct destination_class *const syslog_class = &destination_syslog;
static struct destination_host host;
static struct destination *destination;
static struct delivery delivery;
static struct stream_settings settings;
static struct log_options_syslog *options;

static int setup(void **state)
{
	int r = bed_setup(state);

	loop_free(loop);
	loop = loop_new(SCALE, NULL);
	setenv("TZ", "UTC", 1);
	open_spool(&no_limits);
	host = (struct destination_host){.loop = loop, .pool = pool_new(loop, POOL_BYTES)};
	settings = (struct stream_settings){.tag = (char *)"tag", .hostname = (char *)"host", .pid = 1};
	settings.options.driver = LOG_SYSLOG;
	options = &settings.options.syslog;
	options->facility = 3;
	options->address = (struct log_address){.scheme = LOG_TCP, .host = (char *)"127.0.0.1"};
	delivery_init(&delivery, loop, "syslog", ID);
	return r;
}

static int teardown(void **state)
{
	destination = syslog_class->free(destination);
	delivery_done(&delivery);
	assert_int_equal(pool_used(host.pool), 0);
	pool_free(host.pool);
	return bed_teardown(state);
}

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("what was waited for did not happen; delivered %" PRIu64 ", trouble: %s", delivery.lines,
		 delivery.trouble ? delivery.trouble : "none");
}

static void run_for(uint64_t ms)
{
	struct timer timer;

	timer_init(&timer, loop, stop_loop, loop);
	timer_start(&timer, ms);
	loop_run(loop);
	timer_done(&timer);
}

// Runs the loop until the condition holds, looked at every 2 real ms.
#define run_until(condition)                                        \
	do {                                                        \
		struct timer limit_;                                \
		timer_init(&limit_, loop, too_long, NULL);          \
		timer_start(&limit_, (uint64_t)(LIMIT_MS * SCALE)); \
		while (!(condition))                                \
			run_for((uint64_t)(2 * SCALE));             \
		timer_done(&limit_);                                \
	} while (0)

static void start(void)
{
	destination = syslog_class->open(&host, &settings, spool, &delivery);
}

static void wake(void *arg)
{
	syslog_class->wake(arg);
}

static void add_lines(uint64_t from, unsigned count, size_t size)
{
	while (count > 0) {
		unsigned now = count < 500 ? count : 500;

		assert_int_equal(add(from, now, size, SPOOL_FULL_REFUSE), 0);
		from += now;
		count -= now;
	}
	if (destination)
		wake(destination);
}

static bool all_arrived(void)
{
	return spool_head(spool) == spool_tail(spool);
}

// --- receivers ---

static int bound(int type, unsigned *port)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*port = options->address.port = ntohs(in.sin_port);
	return fd;
}

static int listening(unsigned *port)
{
	int fd = bound(SOCK_STREAM, port);

	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static const char *unix_path(void)
{
	static char path[100];

	snprintf(path, sizeof(path), "%s/socket", directory);
	return path;
}

static int unix_bound(int type)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink(unix_path());
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path());
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int accepted(int listener)
{
	int fd = -1;

	run_until((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	return fd;
}

// What has arrived: numbers of lines that end the messages "... tag[1]: NUMBER xxxx".
static struct {
	struct buf rest; // of an unfinished message
	uint64_t first, next, lines;
	unsigned priority; // of the last one
	bool any;
} seen;

static void forget_seen(void)
{
	buf_free(&seen.rest);
	memset(&seen, 0, sizeof(seen));
}

static void see_message(const char *message)
{
	const char *text = strstr(message, " tag[1]: ");
	uint64_t number;

	assert_non_null(text);
	assert_int_equal(sscanf(message, "<%u>", &seen.priority), 1);
	number = strtoull(text + strlen(" tag[1]: "), NULL, 10);
	if (!seen.any)
		seen.first = seen.next = number;
	seen.any = true;
	assert_int_equal(number, seen.next); // no gap within a connection
	seen.next++;
	seen.lines++;
}

// Reads what is there, at most `max` bytes. False when there is nothing (more).
static bool see(int fd, size_t max)
{
	char data[65536];
	ssize_t n = recv(fd, data, max < sizeof(data) ? max : sizeof(data), 0);
	char *line, *end;

	if (n <= 0)
		return false;
	buf_append(&seen.rest, data, (size_t)n);
	for (line = seen.rest.data; (end = memchr(line, '\n', seen.rest.len - (size_t)(line - seen.rest.data)));
	     line = end + 1) {
		*end = '\0';
		see_message(line);
	}
	seen.rest.len -= (size_t)(line - seen.rest.data);
	memmove(seen.rest.data, line, seen.rest.len + 1);
	return true;
}

static void see_until(int fd, uint64_t next)
{
	run_until(({
		while (see(fd, SIZE_MAX))
			continue;
		seen.next >= next;
	}));
	assert_int_equal(seen.next, next);
}

static void reset(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	close(fd);
}

// --- streams ---

static void test_lines(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;
	static const char expected[] = "<27>Nov 14 22:13:20 tag[1]: to stderr\n";
	struct buf record = {0};
	char text[256];

	(void)state;
	start();
	add_lines(0, 1000, SIZE);
	fd = accepted(listener);
	see_until(fd, 1000);
	assert_int_equal(seen.priority, 30);
	assert_int_equal(delivery.lines, 0); // sent, and not yet sure
	run_until(all_arrived());
	assert_int_equal(delivery.lines, 1000);
	assert_int_equal(delivery.bytes, 1000 * SIZE);
	assert_int_equal(pool_used(host.pool), 0);
	add_lines(1000, 10, SIZE);
	see_until(fd, 1010);
	// Empty lines are not sent; stderr has another priority.
	put_record(&record, &(struct record){.source = RECORD_STDOUT, .time_ns = TIME_0, .line = ""});
	put_record(&record,
		   &(struct record){.source = RECORD_STDERR, .time_ns = TIME_0, .line = "to stderr", .len = 9});
	assert_int_equal(spool_append(spool, FIFO, record.data, record.len, 2, TIME_0, TIME_0, SPOOL_FULL_REFUSE), 0);
	buf_free(&record);
	wake(destination);
	run_until(recv(fd, text, sizeof(text), MSG_PEEK) == sizeof(expected) - 1);
	assert_int_equal(recv(fd, text, sizeof(text), 0), sizeof(expected) - 1);
	assert_memory_equal(text, expected, sizeof(expected) - 1);
	run_until(all_arrived());
	assert_int_equal(delivery.lines, 1012);
	assert_int_equal(delivery.duplicates + delivery.retries + delivery.lost, 0);
	assert_null(delivery.trouble);
	forget_seen();
}

// A stream that begins and ends without a line leaves no trace at the receiver.
static void test_nothing_to_send(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port);

	(void)state;
	start();
	assert_int_equal(spool_append_end(spool), 0);
	wake(destination);
	run_until(all_arrived());
	run_for(10000);
	assert_int_equal(accept(listener, NULL, NULL), -1);
	assert_int_equal(pool_used(host.pool), 0);
}

static void test_down_at_first(void **state)
{
	unsigned port = 0;
	int fd = bound(SOCK_STREAM, &port), listener;
	uint64_t began = loop_now(loop);

	(void)state;
	start();
	add_lines(0, 10, SIZE);
	run_until(delivery.retries == 6);
	// 0.5, 1, 2, 4, 8 s between six attempts.
	assert_in_range(loop_now(loop) - began, 15500, 15500 * (1 + 0.25) + 2000);
	assert_non_null(strstr(delivery.trouble, "Connection refused"));
	assert_int_equal(pool_used(host.pool), 0);
	assert_int_equal(listen(fd, 4), 0);
	listener = fd;
	fd = accepted(listener);
	see_until(fd, 10);
	run_until(all_arrived());
	assert_null(delivery.trouble);
	assert_int_equal(delivery.duplicates, 0);
	close(fd);
	close(listener);
	forget_seen();
}

// Whatever the receiver has not read when it goes is sent again, and nothing is missing.
static void test_reset(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port);
	uint64_t reached = 0;

	(void)state;
	start();
	add_lines(0, 20000, SIZE);
	for (int round = 0; round < 4; round++) {
		int fd = accepted(listener);

		if (round == 3) {
			see_until(fd, 20000);
			assert_true(seen.first <= reached);
			run_until(all_arrived());
			close(fd);
			break;
		}
		// Up to 64 KiB wait unread in the receiver's buffer when it goes.
		run_until(({
			see(fd, 20000);
			seen.next >= 4000 * (unsigned)(round + 1);
		}));
		if (round == 1)
			close(fd); // with unread data: that is a reset as well
		else
			reset(fd);
		assert_true(seen.first <= reached);
		reached = seen.next;
		forget_seen();
	}
	assert_true(delivery.duplicates > 0);
	assert_int_equal(delivery.lines, 20000);
	forget_seen();
}

// The end of an idle receiver is no trouble; the next line goes to its successor.
static void test_end_while_idle(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port);

	(void)state;
	start();
	for (unsigned i = 0; i < 3; i++) {
		int fd;

		add_lines(i, 1, SIZE);
		fd = accepted(listener);
		see_until(fd, i + 1);
		run_until(all_arrived());
		close(fd);
		run_for(2000);
		forget_seen();
	}
	assert_int_equal(delivery.lines, 3);
	assert_int_equal(delivery.retries + delivery.duplicates, 0);
}

// The end has come and the loop has not seen it when the next line is there.
static void test_end_before_write(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port);
	int fd;

	(void)state;
	start();
	add_lines(0, 1, SIZE);
	fd = accepted(listener);
	see_until(fd, 1);
	run_until(all_arrived());
	run_for(1000);
	add_lines(1, 1, SIZE);
	close(fd);
	forget_seen();
	fd = accepted(listener);
	see_until(fd, 2);
	assert_int_equal(seen.first, 1);
	run_until(all_arrived());
	close(fd);
	forget_seen();
}

// Lines that no buffer between takes wait on disk, in little memory, and all arrive.
static void test_slow_receiver(void **state)
{
	unsigned port = 0, reads = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;

	(void)state;
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &(int){8192}, sizeof(int));
	start();
	add_lines(0, 5000, 1000);
	fd = accepted(listener);
	run_until(({
		if (see(fd, 50000))
			reads++;
		seen.next == 5000;
	}));
	assert_true(reads > 5);
	run_until(all_arrived());
	assert_int_equal(delivery.lines, 5000);
	assert_int_equal(delivery.duplicates, 0);
	forget_seen();
}

static void on_granted(void *arg)
{
	*(bool *)arg = true;
}

// One whose receiver takes nothing gives its memory to those who need it, and goes on when it has some again.
static void test_reclaim(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;
	bool granted = false;
	struct pool_user other = {.granted = on_granted, .arg = &granted};

	(void)state;
	start();
	add_lines(0, 20000, 1000);
	fd = accepted(listener);
	run_for(1000);
	assert_true(pool_used(host.pool) > 0);
	assert_false(pool_take(host.pool, &other, POOL_BYTES));
	run_until(granted);
	assert_int_equal(pool_used(host.pool), POOL_BYTES);
	run_for(1000);
	for (int i = 0; i < 100; i++)
		see(fd, SIZE_MAX);
	run_for(1000);
	assert_true(seen.next < 20000);
	pool_leave(host.pool, &other);
	see_until(fd, 20000);
	assert_int_equal(seen.lines, 20000);
	run_until(all_arrived());
	forget_seen();
}

static void test_stalled_receiver(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), stalled = -1, fd = -1;

	(void)state;
	start();
	add_lines(0, 20000, 1000);
	stalled = accepted(listener);
	run_until(delivery.retries);
	fd = accepted(listener);
	see_until(fd, 20000);
	assert_int_equal(seen.first, 0);
	run_until(all_arrived());
	forget_seen();
}

static void test_unix_stream(void **state)
{
	_cleanup_close_ int listener = unix_bound(SOCK_STREAM);
	uint64_t reached = 0;

	(void)state;
	options->address = (struct log_address){.scheme = LOG_UNIX, .path = (char *)unix_path()};
	start();
	add_lines(0, 10000, SIZE);
	for (int round = 0; round < 2; round++) {
		int fd = accepted(listener);

		run_until(({
			while (seen.next < 5000 + (unsigned)round * 5000 && see(fd, SIZE_MAX))
				continue;
			seen.next >= 5000 + (unsigned)round * 5000;
		}));
		if (round == 1)
			run_until(all_arrived());
		assert_true(seen.first <= reached);
		reached = seen.next;
		close(fd);
		forget_seen();
	}
	assert_int_equal(reached, 10000);
}

static void test_octet_counting(void **state)
{
	static const char expected[] = "65 <30>1 2023-11-14T22:13:20Z host tag 1 tag - 0 xxxxxxxxxxxxxxxxxx\n";
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;
	char text[256];

	(void)state;
	options->format = LOG_FORMAT_RFC5424;
	options->octet_counting = true;
	start();
	add_lines(0, 1, 20);
	fd = accepted(listener);
	run_until(recv(fd, text, sizeof(text), MSG_PEEK) > 0);
	assert_int_equal(recv(fd, text, sizeof(text), 0), sizeof(expected) - 1);
	assert_memory_equal(text, expected, sizeof(expected) - 1);
}

// A record as large as records can be, whose rest waits in the connection.
static void test_large(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;
	size_t size = 1000000, len = 0;
	_cleanup_free_ char *line = xmalloc(size), *got = xmalloc(4 * size);
	struct buf record = {0};

	(void)state;
	memset(line, 'x', size);
	for (int i = 0; i < 3; i++) {
		put_record(&record,
			   &(struct record){.source = RECORD_STDOUT, .time_ns = TIME_0, .line = line, .len = size});
		assert_int_equal(
			spool_append(spool, FIFO, record.data, record.len, 1, TIME_0, TIME_0, SPOOL_FULL_REFUSE), 0);
		buf_free(&record);
	}
	start();
	fd = accepted(listener);
	run_until(({
		ssize_t n = recv(fd, got + len, 4 * size - len, 0);
		len += n > 0 ? (size_t)n : 0;
		len == 3 * (size + strlen("<30>Nov 14 22:13:20 tag[1]: \n"));
	}));
	run_until(all_arrived());
	assert_int_equal(delivery.bytes, 3 * size);
}

static void test_notice(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;
	char text[512] = "";

	(void)state;
	start();
	spool_lose(spool, SPOOL_LOST_GARBAGE, 7, 700, TIME_0, TIME_0 + 1000000000);
	run_until(spool_tail(spool) == 1);
	wake(destination);
	fd = accepted(listener);
	run_until(recv(fd, text, sizeof(text) - 1, MSG_PEEK) > 0);
	recv(fd, text, sizeof(text) - 1, 0);
	assert_true(str_starts(text, "<28>Nov 14 22:13:21 tag[1]: ecs-logd: 7 lines dropped, from "));
	assert_int_equal(text[strlen(text) - 1], '\n');
	run_until(all_arrived());
	assert_int_equal(delivery.lines, 0);
}

// What the peer's kernel has when the destination is freed has arrived; without that it would come twice.
static void test_freed(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening(&port), fd = -1;

	(void)state;
	start();
	add_lines(0, 100, SIZE);
	fd = accepted(listener);
	see_until(fd, 100);
	destination = syslog_class->free(destination);
	assert_true(all_arrived());
	start();
	destination = syslog_class->free(destination);
	start();
	add_lines(100, 1, SIZE);
	turn();
	destination = syslog_class->free(destination); // while it connects
	assert_int_equal(spool_head(spool), 100);
	forget_seen();
}

// --- datagrams ---

static bool see_datagram(int fd)
{
	char data[70000];
	ssize_t n = recv(fd, data, sizeof(data) - 1, 0);

	if (n <= 0)
		return false;
	assert_int_equal(data[n - 1], '\n');
	data[n - 1] = '\0';
	assert_null(memchr(data, '\n', (size_t)n - 1));
	see_message(data);
	return true;
}

static void see_datagrams_until(int fd, uint64_t next)
{
	run_until(({
		while (see_datagram(fd))
			continue;
		seen.next >= next;
	}));
}

static void test_udp(void **state)
{
	unsigned port = 0;
	int fd = bound(SOCK_DGRAM, &port);

	(void)state;
	options->address.scheme = LOG_UDP;
	start();
	add_lines(0, 50, SIZE);
	see_datagrams_until(fd, 50);
	run_until(all_arrived());
	// Nobody there: a refusal comes for the first, and all are sent again.
	close(fd);
	forget_seen();
	add_lines(50, 50, SIZE);
	run_until(delivery.retries == 3);
	assert_non_null(strstr(delivery.trouble, "nobody receives at 127.0.0.1:"));
	fd = bound(SOCK_DGRAM, &port);
	see_datagrams_until(fd, 100);
	assert_int_equal(seen.first, 50);
	run_until(all_arrived());
	assert_int_equal(delivery.lines, 100);
	assert_null(delivery.trouble);
	close(fd);
	forget_seen();
}

static void test_udp_too_large(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int fd = bound(SOCK_DGRAM, &port);
	char line[65520], got[70000];
	struct buf record = {0};
	ssize_t n;

	(void)state;
	// The characters of two bytes begin at an odd place: one of them would be torn.
	for (size_t i = 0; i < sizeof(line); i += 2)
		memcpy(line + i, "\xc3\xa4", 2);
	options->address.scheme = LOG_UDP;
	put_record(&record,
		   &(struct record){.source = RECORD_STDOUT, .time_ns = TIME_0, .line = line, .len = sizeof(line)});
	assert_int_equal(spool_append(spool, FIFO, record.data, record.len, 1, TIME_0, TIME_0, SPOOL_FULL_REFUSE), 0);
	buf_free(&record);
	start();
	run_until((n = recv(fd, got, sizeof(got), 0)) > 0);
	assert_in_range(n, 65506, 65507);
	assert_int_equal(got[n - 1], '\n');
	got[n - 1] = '\0';
	assert_true(utf8_valid(got));
	run_until(all_arrived());
	assert_int_equal(delivery.cut, 1);
	assert_int_equal(delivery.lost, 0);
}

// A receiver that is slow to read holds datagrams back, and loses none.
static void test_unixgram(void **state)
{
	int fd = unix_bound(SOCK_DGRAM);

	(void)state;
	options->address = (struct log_address){.scheme = LOG_UNIXGRAM, .path = (char *)unix_path()};
	start();
	add_lines(0, 5000, SIZE);
	run_until(({
		for (int i = 0; i < 50; i++)
			see_datagram(fd);
		seen.next >= 5000;
	}));
	run_until(all_arrived());
	assert_int_equal(delivery.duplicates, 0);
	forget_seen();
	// What it had not read when it went is sent to its successor.
	add_lines(5000, 5, SIZE);
	run_for(500);
	close(fd);
	run_until(delivery.retries == 2);
	fd = unix_bound(SOCK_DGRAM);
	see_datagrams_until(fd, 5005);
	assert_int_equal(seen.first, 5000);
	run_until(all_arrived());
	close(fd);
	forget_seen();
}

// --- options ---

static void test_check(void **state)
{
	struct error err = {0};
	char text[256];

	(void)state;
	assert_int_equal(syslog_class->check(&settings, &err), 0);
	options->address = (struct log_address){.scheme = LOG_UNIX, .path = (char *)unix_path()};
	assert_int_equal(syslog_class->check(&settings, &err), -ENOENT);
	snprintf(text, sizeof(text), "syslog-address: there must be a socket at %s: No such file or directory",
		 unix_path());
	assert_string_equal(err.message, text);
	close(unix_bound(SOCK_STREAM));
	assert_int_equal(syslog_class->check(&settings, &err), 0); // there, if nobody listens
	options->address = (struct log_address){.scheme = LOG_TLS, .host = (char *)"localhost", .port = 514};
	options->cert = (char *)"/none/cert.pem";
	assert_int_equal(syslog_class->check(&settings, &err), -EINVAL);
	assert_string_equal(err.message, "a TLS certificate needs a key as well: /none/cert.pem");
	options->address.scheme = LOG_TCP; // then TLS options are ignored (§6.1)
	assert_int_equal(syslog_class->check(&settings, &err), 0);
	options->address = (struct log_address){.scheme = LOG_LOCAL_SYSLOG};
	assert_int_equal(syslog_class->check(&settings, &err), 0);
}

static void test_local_sockets(void **state)
{
	static const struct {
		enum connection_kind kind;
		const char *path;
	} expected[] = {
		{CONNECTION_UNIXGRAM, "/dev/log"},     {CONNECTION_UNIXGRAM, "/var/run/syslog"},
		{CONNECTION_UNIXGRAM, "/var/run/log"}, {CONNECTION_UNIX, "/dev/log"},
		{CONNECTION_UNIX, "/var/run/syslog"},  {CONNECTION_UNIX, "/var/run/log"},
	};
	enum connection_kind kind;
	const char *path;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_true(syslog_local_socket(i, &kind, &path));
		assert_int_equal(kind, expected[i].kind);
		assert_string_equal(path, expected[i].path);
	}
	assert_false(syslog_local_socket(ARRAY_SIZE(expected), &kind, &path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_down_at_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_while_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_before_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_receiver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reclaim, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_receiver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unix_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_octet_counting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unixgram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_local_sockets, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
