// Connections to log servers without TLS: peers are real sockets on loopback; names are what this file says they are.
#include "test_logging_connection.h"

#include "common/util.h"

#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>

// --- names ---

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool slow_may_answer;
static unsigned slow_asked;

static struct addrinfo *address_of(const char *text, struct addrinfo *next)
{
	struct addrinfo *info = xcalloc(1, sizeof(*info));
	struct sockaddr_in6 *in6 = xcalloc(1, sizeof(*in6));
	struct sockaddr_in *in = (struct sockaddr_in *)in6;

	info->ai_next = next;
	info->ai_addr = (struct sockaddr *)in6;
	info->ai_family = AF_INET6;
	info->ai_addrlen = sizeof(*in6);
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		return info;
	}
	assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
	in->sin_family = AF_INET;
	info->ai_family = AF_INET;
	info->ai_addrlen = sizeof(*in);
	return info;
}

// Takes the place of the C library's: nothing may ask a name server.
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	char address[16];

	assert_null(service);
	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
		*found = address_of(name, NULL);
		return 0;
	}
	if (hints->ai_flags & AI_NUMERICHOST || strcmp(name, "none.test") == 0)
		return EAI_NONAME;
	if (strcmp(name, "two.test") == 0) {
		*found = address_of("127.0.0.2", address_of("127.0.0.1", NULL));
		return 0;
	}
	assert_string_equal(name, "slow.test");
	pthread_mutex_lock(&mutex);
	slow_asked++;
	while (!slow_may_answer)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
	*found = address_of("127.0.0.1", NULL);
	return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
	while (found) {
		struct addrinfo *next = found->ai_next;

		free(found->ai_addr);
		free(found);
		found = next;
	}
}

// --- helpers ---

static char directory[] = "/tmp/connection.XXXXXX";

static const char *unix_path(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/socket", directory);
	unlink(path);
	return path;
}

static int unix_bound(int type, const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void open_tcp(const char *host, unsigned port)
{
	open_with(&(struct connection_options){.kind = CONNECTION_TCP, .host = host, .port = port});
}

static size_t readable(int fd)
{
	int bytes = 0;

	ioctl(fd, FIONREAD, &bytes);
	return (size_t)bytes;
}

static void expect_end(int code, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	run_until(got.ended);
	assert_string_equal(got.error.message, text);
	assert_int_equal(got.error.code, code);
	connection = connection_free(connection);
}

// --- streams ---

static void talk(int listener)
{
	_cleanup_close_ int fd = -1;
	char text[16];

	run_until(got.opened);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(connection_send(connection, "hello ", 6, NULL), 0);
	assert_int_equal(connection_send(connection, "world", 5, NULL), 0);
	assert_int_equal(connection_unsent(connection), 11);
	run_until(connection_unsent(connection) == 0);
	assert_int_equal(connection_sent(connection), 11);
	run_until(readable(fd) == 11);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 11);
	assert_memory_equal(text, "hello world", 11);
	run_until(connection_unacknowledged(connection) == 0);
	assert_int_equal(send(fd, "answer", 6, 0), 6);
	run_until(got.len == 6);
	assert_memory_equal(got.data, "answer", 6);
	assert_false(connection_peer_ended(connection));
	shutdown(fd, SHUT_WR);
	assert_true(connection_peer_ended(connection)); // before the loop has seen it
	assert_int_equal(got.ended, 0);
}

static void test_tcp(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		unsigned port = 0;
		_cleanup_close_ int listener = listening(addresses[i], &port);

		open_tcp(addresses[i], port);
		talk(listener);
		expect_end(0, i ? "[%s]:%u has closed the connection" : "%s:%u has closed the connection", addresses[i],
			   port);
	}
}

static void test_unix(void **state)
{
	const char *path = unix_path();
	_cleanup_close_ int listener = unix_bound(SOCK_STREAM, path);

	(void)state;
	open_with(&(struct connection_options){.kind = CONNECTION_UNIX, .path = path});
	talk(listener);
	expect_end(0, "%s has closed the connection", path);
}

static void test_cannot_connect(void **state)
{
	char path[256];
	unsigned port = 0;
	int fd = bound(SOCK_STREAM, "127.0.0.1", &port); // bound and not listening: nobody else takes the port

	(void)state;
	open_tcp("127.0.0.1", port);
	expect_end(ECONNREFUSED, "cannot connect to 127.0.0.1:%u: Connection refused", port);
	open_tcp("none.test", port);
	expect_end(EHOSTUNREACH, "cannot resolve none.test: Name or service not known");
	open_tcp("two.test", port);
	expect_end(ECONNREFUSED, "cannot connect to two.test:%u (127.0.0.1): Connection refused", port);
	open_with(&(struct connection_options){.kind = CONNECTION_UNIX, .path = "/none/such"});
	expect_end(ENOENT, "cannot connect to /none/such: No such file or directory");
	memset(path, 'a', sizeof(path));
	path[200] = '\0';
	open_with(&(struct connection_options){.kind = CONNECTION_UNIXGRAM, .path = path});
	expect_end(ENAMETOOLONG, "cannot connect to %s: File name too long", path);
	close(fd);
}

// A listener whose queue is full drops what comes more: the client gets no answer.
static int black_hole(const char *address, unsigned *port, int fillers[2])
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd = bound(SOCK_STREAM, address, port);

	assert_int_equal(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	for (int i = 0; i < 2; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fillers[i], (struct sockaddr *)&in, len);
	}
	return fd;
}

static void test_black_hole(void **state)
{
	unsigned port = 0;
	int fillers[2], fd = black_hole("127.0.0.2", &port, fillers), good;

	(void)state;
	open_tcp("127.0.0.2", port);
	expect_end(ETIMEDOUT, "cannot connect to 127.0.0.2:%u: no answer within 5 s", port);
	// The next address gets its share of the time.
	good = listening("127.0.0.1", &port);
	open_tcp("two.test", port);
	run_until(got.opened);
	connection = connection_free(connection);
	close(good);
	open_with(&(struct connection_options){
		.kind = CONNECTION_TCP, .host = "127.0.0.2", .port = port, .connect_timeout_ms = 3000});
	expect_end(ETIMEDOUT, "cannot connect to 127.0.0.2:%u: no answer within 3 s", port);
	close(fillers[0]);
	close(fillers[1]);
	close(fd);
}

static void test_second_address(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port);

	(void)state;
	open_tcp("two.test", port);
	talk(listener);
	expect_end(0, "two.test:%u has closed the connection", port);
}

static void test_slow_name(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port);
	struct connection *other;

	(void)state;
	assert_true(listener >= 0);
	for (int i = 0; i < 2; i++) {
		open_tcp("slow.test", port);
		expect_end(ETIMEDOUT, "cannot resolve slow.test: no answer within 5 s");
	}
	// Both take the answer that the first has asked for.
	open_tcp("slow.test", port);
	other = connection_open(loop,
				&(struct connection_options){.kind = CONNECTION_TCP, .host = "slow.test", .port = port},
				&callbacks, &got);
	run_until(slow_asked == 1);
	pthread_mutex_lock(&mutex);
	slow_may_answer = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	run_until(got.opened == 2);
	assert_int_equal(slow_asked, 1);
	connection_free(other);
	connection = connection_free(connection);
	// Freed while it asks; the next one reaps what nobody waits for.
	for (int i = 0; i < 3; i++) {
		open_tcp("slow.test", port);
		for (int turn = 0; turn < 3; turn++) {
			loop_stop(loop);
			loop_run(loop);
		}
		connection = connection_free(connection);
	}
	open_tcp("slow.test", port);
	run_until(got.opened == 1);
}

static void test_reset(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port);
	int fd;

	(void)state;
	for (int sending = 0; sending < 2; sending++) {
		open_tcp("127.0.0.1", port);
		run_until(got.opened);
		fd = accept(listener, NULL, NULL);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
		close(fd);
		if (sending) {
			assert_int_equal(connection_send(connection, "x", 1, NULL), 0);
			assert_true(connection_peer_ended(connection));
		}
		run_until(got.ended);
		assert_true(got.error.code == ECONNRESET || got.error.code == EPIPE);
		assert_true(str_starts(got.error.message, "the connection to 127.0.0.1:"));
		connection = connection_free(connection);
	}
}

static void fill(unsigned char *block, size_t size, uint64_t from)
{
	for (size_t i = 0; i < size; i++)
		block[i] = (unsigned char)((from + i) * 2654435761U >> 13);
}

// Reads what is there, compares it, and returns how much it was.
static size_t take(int fd, uint64_t from)
{
	unsigned char data[65536], expected[65536];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n <= 0)
		return 0;
	fill(expected, (size_t)n, from);
	assert_memory_equal(data, expected, (size_t)n);
	return (size_t)n;
}

static void test_queue(void **state)
{
	unsigned char block[10000];
	unsigned port = 0, blocks = 0;
	uint64_t taken = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port), fd = -1;
	size_t size = (size_t)3 << 20, larges = 0, now, most;
	_cleanup_free_ unsigned char *large = xmalloc(size);

	(void)state;
	open_tcp("127.0.0.1", port);
	run_until(got.opened);
	fd = accept(listener, NULL, NULL);
	for (int round = 0; round < 3; round++) {
		int r;

		do {
			fill(block, sizeof(block), (uint64_t)blocks * sizeof(block));
			r = connection_send(connection, block, sizeof(block), NULL);
			blocks += r == 0;
		} while (r == 0);
		assert_int_equal(r, -EAGAIN);
		assert_in_range(connection_unsent(connection), CONNECTION_QUEUE_MAX - sizeof(block),
				CONNECTION_QUEUE_MAX);
		assert_true(connection_unacknowledged(connection) > connection_unsent(connection));
		got.drained = 0;
		run_until((taken += take(fd, taken)) && got.drained);
		assert_int_equal(got.drained, 1);
		assert_true(connection_unsent(connection) <= CONNECTION_QUEUE_MAX / 2);
	}
	connection_window(connection, &now, &most);
	assert_true(most > 0);
	run_until((taken += take(fd, taken)) == (uint64_t)blocks * sizeof(block));
	run_until((connection_window(connection, &now, &most), now >= most / 2));
	assert_int_equal(connection_sent(connection), taken);
	assert_int_equal(connection_unsent(connection), 0);
	// One large message goes into an empty queue, and no other after it.
	while (connection_unsent(connection) == 0) {
		fill(large, size, (uint64_t)blocks * sizeof(block) + larges * size);
		assert_int_equal(connection_send(connection, large, size, NULL), 0);
		larges++;
	}
	assert_true(connection_unsent(connection) > CONNECTION_QUEUE_MAX);
	assert_int_equal(connection_send(connection, large, 1, NULL), -EAGAIN);
	run_until((taken += take(fd, taken)) == (uint64_t)blocks * sizeof(block) + larges * size);
}

static void test_offer(void **state)
{
	static unsigned char block[100000];
	unsigned port = 0;
	uint64_t given = 0, taken = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port), fd = -1;

	(void)state;
	open_tcp("127.0.0.1", port);
	run_until(got.opened);
	fd = accept(listener, NULL, NULL);
	for (int round = 0; round < 3; round++) {
		size_t n;

		do {
			fill(block, sizeof(block), given);
			n = connection_offer(connection, block, sizeof(block));
			given += n;
		} while (n == sizeof(block));
		assert_int_equal(connection_unsent(connection), 0);
		assert_int_equal(connection_sent(connection), given);
		assert_int_equal(connection_offer(connection, block, 1), 0);
		// The rest of a message goes first.
		fill(block, 1000, given);
		assert_int_equal(connection_send(connection, block, 1000, NULL), 0);
		given += 1000;
		assert_int_equal(connection_offer(connection, block, 1), 0);
		got.drained = 0;
		run_until((taken += take(fd, taken)) && got.drained);
		assert_int_equal(got.drained, 1);
	}
	run_until((taken += take(fd, taken)) == given);
}

// What the kernel held for a peer that took nothing does not arrive later.
static void expect_reset(int fd, size_t sent)
{
	static char part[65536];
	size_t taken = 0;
	ssize_t n;

	while ((n = recv(fd, part, sizeof(part), 0)) > 0)
		taken += (size_t)n;
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
	assert_true(taken < sent);
}

static void test_stall(void **state)
{
	const char *path = unix_path();
	unsigned port = 0;
	_cleanup_close_ int tcp = listening("127.0.0.1", &port), local = unix_bound(SOCK_STREAM, path);
	static char block[100000];

	(void)state;
	assert_true(tcp >= 0 && local >= 0);
	for (int kind = 0; kind < 2; kind++) {
		_cleanup_close_ int fd = -1;
		size_t sent;

		if (kind == 0)
			open_tcp("127.0.0.1", port);
		else
			open_with(&(struct connection_options){.kind = CONNECTION_UNIX, .path = path});
		run_until(got.opened);
		fd = accept(kind == 0 ? tcp : local, NULL, NULL);
		while (connection_send(connection, block, sizeof(block), NULL) == 0)
			continue;
		run_until(got.ended);
		assert_int_equal(got.error.code, ETIMEDOUT);
		assert_string_equal(strchr(got.error.message, ' '), " has taken nothing for 30 s");
		sent = connection_sent(connection);
		connection = connection_free(connection);
		if (kind == 0)
			expect_reset(fd, sent);
	}
}

// What is taken slowly is no stall.
static void take_slowly(const struct connection_options *options, int listener)
{
	static char block[100000], part[65536];
	_cleanup_close_ int fd = -1;
	uint64_t until;

	open_with(options);
	run_until(got.opened);
	fd = accept(listener, NULL, NULL);
	while (connection_send(connection, block, sizeof(block), NULL) == 0)
		continue;
	until = loop_now(loop) + 3 * options->stall_timeout_ms;
	while (loop_now(loop) < until) {
		uint64_t next = loop_now(loop) + options->stall_timeout_ms / 3;

		run_until(loop_now(loop) >= next || got.ended);
		assert_int_equal(got.ended, 0);
		assert_true(recv(fd, part, sizeof(part), 0) > 0);
		while (connection_send(connection, block, sizeof(part), NULL) == 0)
			continue;
	}
	assert_int_equal(got.ended, 0);
	connection = connection_free(connection);
}

static void test_slow_peer(void **state)
{
	const char *path = unix_path();
	_cleanup_close_ int local = unix_bound(SOCK_STREAM, path);

	(void)state;
	take_slowly(&(struct connection_options){.kind = CONNECTION_UNIX, .path = path, .stall_timeout_ms = 30000},
		    local);
}

// Where the window never has room for all of the kernel's next segment, TCP_USER_TIMEOUT would take the peer for dead, as if
// it answered nothing but probes. The time is long enough for some of those.
static void test_slow_tcp_peer(void **state)
{
	unsigned port = 0;
	_cleanup_close_ int tcp = listening("127.0.0.1", &port);

	(void)state;
	assert_int_equal(setsockopt(tcp, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
	take_slowly(
		&(struct connection_options){
			.kind = CONNECTION_TCP, .host = "127.0.0.1", .port = port, .stall_timeout_ms = 100000},
		tcp);
}

// --- datagrams ---

static void test_udp(void **state)
{
	static char block[70000];
	unsigned port = 0;
	size_t fits = 0;
	int fd = bound(SOCK_DGRAM, "127.0.0.1", &port);

	(void)state;
	open_with(&(struct connection_options){.kind = CONNECTION_UDP, .host = "127.0.0.1", .port = port});
	run_until(got.opened);
	assert_int_equal(connection_send(connection, "one", 3, NULL), 0);
	assert_int_equal(connection_send(connection, "three", 5, NULL), 0);
	assert_int_equal(recv(fd, block, sizeof(block), 0), 3);
	assert_int_equal(recv(fd, block, sizeof(block), 0), 5);
	assert_memory_equal(block, "three", 5);
	assert_int_equal(connection_send(connection, block, sizeof(block), NULL), -EMSGSIZE);
	assert_int_equal(connection_send(connection, block, sizeof(block), &fits), -EMSGSIZE);
	assert_int_equal(fits, 65507);
	assert_int_equal(connection_send(connection, block, fits, NULL), 0);
	assert_int_equal(recv(fd, block, sizeof(block), 0), 65507);
	assert_int_equal(connection_sent(connection), 8 + 65507);
	assert_false(connection_peer_ended(connection));
	close(fd);
	assert_int_equal(connection_send(connection, "refused", 7, NULL), 0);
	expect_end(ECONNREFUSED, "nobody receives at 127.0.0.1:%u", port);
	// Refused in the call that follows.
	open_with(&(struct connection_options){.kind = CONNECTION_UDP, .host = "127.0.0.1", .port = port});
	run_until(got.opened);
	assert_int_equal(connection_send(connection, "refused", 7, NULL), 0);
	assert_int_equal(connection_send(connection, "told", 4, NULL), -ENOTCONN);
	assert_int_equal(got.ended, 0);
	expect_end(ECONNREFUSED, "nobody receives at 127.0.0.1:%u", port);
}

static void test_udp_six(void **state)
{
	static char block[70000];
	unsigned port = 0;
	size_t fits = 0;
	_cleanup_close_ int fd = bound(SOCK_DGRAM, "::1", &port);

	(void)state;
	open_with(&(struct connection_options){.kind = CONNECTION_UDP, .host = "::1", .port = port});
	run_until(got.opened);
	assert_int_equal(connection_send(connection, block, sizeof(block), &fits), -EMSGSIZE);
	assert_int_equal(fits, 65527);
	assert_int_equal(connection_send(connection, block, fits, NULL), 0);
	assert_int_equal(recv(fd, block, sizeof(block), 0), 65527);
}

static void test_udp_addresses(void **state)
{
	char text[8];
	unsigned port = 0;
	_cleanup_close_ int fd = bound(SOCK_DGRAM, "127.0.0.1", &port);

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		open_with(&(struct connection_options){
			.kind = CONNECTION_UDP, .host = "two.test", .port = port, .address_index = i});
		run_until(got.opened);
		assert_int_equal(connection_send(connection, "x", 1, NULL), 0);
		if (i % 2 == 0) {
			expect_end(ECONNREFUSED, "nobody receives at two.test:%u", port);
			continue;
		}
		assert_int_equal(recv(fd, text, sizeof(text), 0), 1);
		connection = connection_free(connection);
	}
}

static void test_unixgram(void **state)
{
	static char block[1 << 20];
	const char *path = unix_path();
	int fd = unix_bound(SOCK_DGRAM, path);
	unsigned waits = 0;
	size_t fits = sizeof(block);

	(void)state;
	open_with(&(struct connection_options){.kind = CONNECTION_UNIXGRAM, .path = path});
	run_until(got.opened);
	while (connection_send(connection, "message", 7, NULL) == 0)
		waits++;
	assert_int_equal(connection_send(connection, "message", 7, NULL), -EAGAIN);
	assert_int_equal(got.drained, 0);
	assert_true(connection_unacknowledged(connection) >= 7 * waits);
	for (unsigned i = 0; i < waits; i++)
		assert_int_equal(recv(fd, block, sizeof(block), 0), 7);
	run_until(got.drained);
	assert_int_equal(connection_unacknowledged(connection), 0);
	assert_int_equal(connection_send(connection, block, sizeof(block), &fits), -EMSGSIZE);
	assert_in_range(fits, 16384, sizeof(block) - 1);
	while (connection_send(connection, block, fits, &fits) == -EMSGSIZE)
		assert_true(fits > 0);
	assert_int_equal(recv(fd, block, sizeof(block), 0), fits);
	close(fd);
	run_until(got.ended || connection_send(connection, "x", 1, NULL) == -ENOTCONN);
	run_until(got.ended);
	assert_true(got.error.code == ECONNREFUSED || got.error.code == ECONNRESET);
	connection = connection_free(connection);
	open_with(&(struct connection_options){.kind = CONNECTION_UNIXGRAM, .path = path});
	expect_end(ECONNREFUSED, "cannot connect to %s: Connection refused", path);
}

static void test_unixgram_stall(void **state)
{
	const char *path = unix_path();
	_cleanup_close_ int fd = unix_bound(SOCK_DGRAM, path);

	(void)state;
	assert_true(fd >= 0);
	open_with(&(struct connection_options){.kind = CONNECTION_UNIXGRAM, .path = path, .stall_timeout_ms = 10000});
	run_until(got.opened);
	while (connection_send(connection, "message", 7, NULL) == 0)
		continue;
	expect_end(ETIMEDOUT, "%s has taken nothing for 10 s", path);
}

// --- freed in callbacks ---

static void test_freed_within(void **state)
{
	static char block[100000];
	unsigned port = 0;
	_cleanup_close_ int listener = listening("127.0.0.1", &port);

	(void)state;
	open_tcp("127.0.0.1", port);
	connection = connection_free(connection);
	for (int where = FREE_IN_OPEN; where <= FREE_IN_END; where++) {
		_cleanup_close_ int fd = -1;

		free_where = FREE_NOWHERE;
		if (where == FREE_IN_OPEN)
			free_where = where;
		open_tcp("127.0.0.1", port);
		run_until(got.opened);
		free_where = where;
		fd = accept(listener, NULL, NULL);
		if (where == FREE_IN_DATA) {
			assert_int_equal(send(fd, "x", 1, 0), 1);
		} else if (where == FREE_IN_DRAIN) {
			while (connection_send(connection, block, sizeof(block), NULL) == 0)
				continue;
			run_until((recv(fd, block, sizeof(block), MSG_DONTWAIT), !connection));
		} else if (where == FREE_IN_END) {
			shutdown(fd, SHUT_WR);
		}
		run_until(!connection);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tcp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cannot_connect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_black_hole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stall, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_tcp_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp_six, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unixgram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unixgram_stall, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_within, setup, teardown),
	};
	int r;

	if (!mkdtemp(directory))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(unix_path());
	rmdir(directory);
	return r;
}
