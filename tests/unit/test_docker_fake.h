// A scripted Docker daemon on a Unix socket, in a thread of the test, and a client of it.
#pragma once

#include "docker/docker_internal.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/un.h>

#define STEPS_MAX 8
#define REQUEST_MAX 16384
#define TEST_TIMEOUT_MS 20000

// One connection each: read a request, write the answer in pieces, close or hold.
struct step {
	const char *answer; // NULL: close without one
	size_t piece;       // bytes a write, 0: all at once
	bool hold;          // keep the connection open
};

struct fake {
	struct step steps[STEPS_MAX];
	size_t count;
	char requests[STEPS_MAX][REQUEST_MAX];
	char dir[64], path[96], endpoint[128];
	int listener, held[STEPS_MAX];
	size_t held_count;
	pthread_t thread;
	struct loop *loop;
	struct http_client *http;
	struct docker *docker;
	struct timer guard;
	// what the callbacks saw
	struct docker_error err;
	unsigned calls;
	char text[4096];
};

static inline void read_request(int fd, char *out)
{
	size_t len = 0;
	for (;;) {
		ssize_t n = recv(fd, out + len, REQUEST_MAX - 1 - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
		out[len] = '\0';
		const char *end = strstr(out, "\r\n\r\n"), *length = strcasestr(out, "content-length: ");
		if (end &&
		    len >= (size_t)(end + 4 - out) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0))
			break;
	}
}

static inline void *serve(void *arg)
{
	struct fake *fake = arg;
	for (size_t i = 0; i < fake->count; i++) {
		int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			break;
		const struct step *step = &fake->steps[i];
		read_request(fd, fake->requests[i]);
		size_t len = step->answer ? strlen(step->answer) : 0, piece = step->piece ? step->piece : len;
		for (size_t at = 0; at < len; at += piece) {
			if (send(fd, step->answer + at, at + piece > len ? len - at : piece, MSG_NOSIGNAL) < 0)
				break;
			if (step->piece)
				usleep(200); // so that the pieces are read one by one
		}
		if (step->hold)
			fake->held[fake->held_count++] = fd;
		else
			close(fd);
	}
	return NULL;
}

static inline void on_guard(void *arg)
{
	(void)arg;
	fail_msg("the test takes too long");
}

static inline struct fake *fake_new(const struct step *steps, size_t count, double scale)
{
	struct fake *fake = xcalloc(1, sizeof(*fake));
	struct error err;
	for (size_t i = 0; i < count; i++)
		fake->steps[i] = steps[i];
	fake->count = count;
	snprintf(fake->dir, sizeof(fake->dir), "/tmp/ecsd-docker-XXXXXX");
	assert_non_null(mkdtemp(fake->dir));
	snprintf(fake->path, sizeof(fake->path), "%s/docker.sock", fake->dir);
	snprintf(fake->endpoint, sizeof(fake->endpoint), "unix://%s", fake->path);
	fake->listener = -1;
	if (count > 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path);
		fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(listen(fake->listener, 8), 0);
		assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
	}
	fake->loop = loop_new(scale, &err);
	fake->http = http_client_new(fake->loop, &err);
	fake->docker = docker_new(&(struct docker_options){.loop = fake->loop,
							   .http = fake->http,
							   .endpoint = fake->endpoint,
							   .create_timeout_ms = 240000,
							   .start_timeout_ms = 180000,
							   .pull_timeout_ms = 7200000,
							   .pull_inactivity_ms = 60000});
	timer_init(&fake->guard, fake->loop, on_guard, fake);
	timer_start(&fake->guard, (uint64_t)(TEST_TIMEOUT_MS * scale));
	return fake;
}

static inline void fake_free(struct fake *fake)
{
	docker_free(fake->docker);
	timer_done(&fake->guard);
	http_client_free(fake->http);
	loop_free(fake->loop);
	if (fake->count > 0) {
		shutdown(fake->listener, SHUT_RDWR);
		pthread_join(fake->thread, NULL);
		close(fake->listener);
	}
	for (size_t i = 0; i < fake->held_count; i++)
		close(fake->held[i]);
	unlink(fake->path);
	rmdir(fake->dir);
	free(fake);
}

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" body
#define VERSION_ANSWER ANSWER("200 OK", "{\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}")

static inline void on_plain(const struct docker_error *err, void *arg)
{
	struct fake *fake = arg;
	fake->err = *err;
	fake->calls++;
	loop_stop(fake->loop);
}

static inline void connect_first(struct fake *fake)
{
	docker_connect(fake->docker, on_plain, fake);
	assert_int_equal(loop_run(fake->loop), 0);
	assert_int_equal(fake->err.failure, DOCKER_OK);
}
