// The way to an open socket, for connection.c alone: resolves the name, tries the addresses one after the other, each with its share
// of the time, and shakes hands for TLS.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include "logging/connection.h"
#include "logging/connection_tls.h"

struct dial;
// options and target (for texts) are borrowed until dial_free. `done` is called once, in a later turn, may free the dial, and
// gets a socket and its TLS, both its own from now on; or -1 and why (of the last address tried).
struct dial *dial_start(struct loop *loop, const struct connection_options *options, const char *target,
			void (*done)(int fd, struct tls *tls, const struct error *err, void *arg), void *arg);
struct dial *dial_free(struct dial *dial); // at any time; NULL is fine; returns NULL
