// For targets of code that lives on the loop: turns of it, and what may not be left over.
#pragma once

#include "common/loop.h"
#include "fuzz.h"
#include <fcntl.h>
#include <sys/socket.h>

// One for all inputs. A scale far above 1 makes every backoff pass at once.
static inline struct loop *fuzz_loop(double scale)
{
	static struct loop *loop;
	if (!loop)
		loop = loop_new(scale, NULL);
	CHECK(loop);
	return loop;
}

static inline void fuzz_stop(void *loop)
{
	loop_stop(loop);
}

// One turn that waits for nothing.
static inline void fuzz_turn(struct loop *loop)
{
	loop_defer(loop, fuzz_stop, loop);
	CHECK(loop_run(loop) == 0);
}

// The lowest free descriptor: after an input as before it.
static inline int fuzz_free_fd(void)
{
	int fd = fcntl(2, F_DUPFD, 3);
	CHECK(fd >= 0);
	close(fd);
	return fd;
}

static inline void fuzz_pair(int pair[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
}

// Reads what is there to the end of buf.
static inline void fuzz_drain(int fd, struct buf *out)
{
	char bytes[16384];
	for (ssize_t n; (n = recv(fd, bytes, sizeof(bytes), 0)) > 0;)
		CHECK(buf_append(out, bytes, (size_t)n) == 0);
}
