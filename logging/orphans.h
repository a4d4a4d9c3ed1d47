// FIFOs in Docker's logging directory that were ours and that nobody reads: their notes were lost. Docker hangs on a container
// whose log is not drained, for ever; so these are drained, and what they held is lost, which is logged. Only a FIFO that
// has the size ours are given, is full and has stood still for a minute is touched: others belong to other log plugins.
#pragma once

#include "common/loop.h"
#include <stdbool.h>

#define ORPHANS_CHECK_MS 10000
#define ORPHANS_CHECKS 6 // of standing still, before it is drained

struct orphans;
// known: whether a FIFO is being read by us.
struct orphans *orphans_new(struct loop *loop, const char *directory, bool (*known)(const char *path, void *arg),
			    void *arg);
struct orphans *orphans_free(struct orphans *orphans); // NULL is fine; returns NULL
