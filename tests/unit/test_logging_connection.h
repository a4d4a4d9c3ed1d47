// What the tests of connections share: a loop, one connection, and what it has told. To be included by one file a program.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#ifndef SCALE
#define SCALE 50.0
#endif
#define LIMIT_MS 10000 // real; a test that takes so long has failed

static struct loop *loop;
static struct connection *connection;
static struct {
	unsigned opened, drained, ended;
	struct error error;
	char data[256];
	size_t len;
} got;
static enum { FREE_NOWHERE, FREE_IN_OPEN, FREE_IN_DATA, FREE_IN_DRAIN, FREE_IN_END } free_where;

static void free_if(int where)
{
	if ((int)free_where == where)
		connection = connection_free(connection);
}

static void on_open(void *arg)
{
	assert_ptr_equal(arg, &got);
	got.opened++;
	free_if(FREE_IN_OPEN);
	loop_stop(loop);
}

static void on_data(const char *data, size_t len, void *arg)
{
	(void)arg;
	assert_true(got.len + len < sizeof(got.data));
	memcpy(got.data + got.len, data, len);
	got.len += len;
	free_if(FREE_IN_DATA);
	loop_stop(loop);
}

static void on_drain(void *arg)
{
	(void)arg;
	got.drained++;
	free_if(FREE_IN_DRAIN);
	loop_stop(loop);
}

static void on_end(const struct error *err, void *arg)
{
	(void)arg;
	assert_int_equal(got.ended, 0);
	got.ended++;
	assert_int_equal(connection_send(connection, "x", 1, NULL), -ENOTCONN);
	assert_int_equal(connection_offer(connection, "x", 1), 0);
	free_if(FREE_IN_END);
	got.error = *err; // still there
	assert_true(err->message[0] != '\0');
	loop_stop(loop);
}

static const struct connection_callbacks callbacks = {
	.on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_end = on_end};

static void open_with(const struct connection_options *options)
{
	memset(&got, 0, sizeof(got));
	connection = connection_open(loop, options, &callbacks, &got);
	assert_int_equal(got.opened + got.ended, 0);
	assert_int_equal(connection_send(connection, "x", 1, NULL), -ENOTCONN);
}

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("what was waited for did not happen; last error: %s", got.error.message);
}

static void tick(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

// Runs the loop until the condition holds, which is looked at whenever something was told and some times a second.
#define run_until(condition)                                        \
	do {                                                        \
		struct timer limit_, tick_;                         \
		timer_init(&limit_, loop, too_long, NULL);          \
		timer_init(&tick_, loop, tick, NULL);               \
		timer_start(&limit_, (uint64_t)(LIMIT_MS * SCALE)); \
		while (!(condition)) {                              \
			timer_start(&tick_, (uint64_t)(5 * SCALE)); \
			loop_run(loop);                             \
		}                                                   \
		timer_done(&tick_);                                 \
		timer_done(&limit_);                                \
	} while (0)

static int setup(void **state)
{
	(void)state;
	free_where = FREE_NOWHERE;
	loop = loop_new(SCALE, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	connection = connection_free(connection);
	loop = loop_free(loop);
	return 0;
}

// A socket bound to a loopback address and a port of the kernel's choice, or that in *port.
static int bound(int type, const char *address, unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port)};
	bool six = inet_pton(AF_INET6, address, &in6.sin6_addr) == 1;
	struct sockaddr *to = six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t len = six ? sizeof(in6) : sizeof(in);
	int fd = socket(to->sa_family, type | SOCK_CLOEXEC, 0);

	if (!six)
		assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	assert_int_equal(bind(fd, to, len), 0);
	getsockname(fd, to, &len);
	*port = ntohs(six ? in6.sin6_port : in.sin_port);
	return fd;
}

static inline int listening(const char *address, unsigned *port)
{
	int fd = bound(SOCK_STREAM, address, port);

	assert_int_equal(listen(fd, 16), 0);
	return fd;
}
