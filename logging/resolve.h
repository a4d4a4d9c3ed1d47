// Names to addresses without blocking the loop: getaddrinfo on a thread of its own for each name asked for.
//
// Who asks for a name that is being asked for already gets the same answer: with a name server that does not answer, there is
// one thread for each name, whatever the number of streams and attempts. A thread that nobody waits for any more goes
// on until getaddrinfo returns, as nothing can end it.
#pragma once

#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define RESOLVE_MAX 16 // addresses of a name that are looked at

struct resolve_answer {
	const char *failure; // why there is none, in the C library's words; NULL: there are some
	size_t count;
	struct sockaddr_storage addresses[RESOLVE_MAX]; // in the order in which they should be tried; port 0
};

struct resolve;
// Answers once, in a later turn, unless cancelled before; `answer` is borrowed. NULL with errno set when nothing can be asked
// (no descriptor, no thread).
struct resolve *resolve_start(struct loop *loop, const char *host,
			      void (*callback)(const struct resolve_answer *answer, void *arg), void *arg);
struct resolve *resolve_cancel(struct resolve *resolve); // before the answer only; NULL is fine; returns NULL
// An address written in numbers is its own answer; false if host is a name.
bool resolve_number(const char *host, struct resolve_answer *answer);
