// All of ecs-logd between its sockets: which containers have logs, which FIFOs are read, what Docker and ecsd are answered.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include "logging/container_log.h"

struct logd_options {
	const char *spool_dir;   // what waits; kept over restarts of the host
	const char *run_dir;     // notes of the FIFOs that are read (fifo_notes.h)
	const char *logging_dir; // Docker's FIFOs; no other path is opened
	struct spool_limits limits;
	uint64_t retention_ms;                  // how long what is left of an ended log waits (§7.2)
	int plugin_fd;                          // listening; taken
	const struct fluentd_settings *fluentd; // the operator's; borrowed
	bool silent;                            // losses are counted only
};

struct logd;
// Goes on with everything that was there before, then serves Docker. Borrows loop; options are copied.
struct logd *logd_new(struct loop *loop, const struct logd_options *options, struct error *err);
struct logd *logd_free(struct logd *logd); // what waits is on disk when it returns NULL
// From ecsd: the container stops, or its process is gone.
void logd_release(struct logd *logd, const char *container_id);
// Distinct ids of credentials that logs which are read or wait are shipped with, at most max of them.
// Borrowed until the loop's next turn. changed: they may be others now; not for what is there from the start.
size_t logd_credentials(const struct logd *logd, const char **ids, size_t max);
void logd_on_credentials(struct logd *logd, void (*changed)(void *arg), void *arg);
void logd_on_pause(struct logd *logd, bool (*watched)(void *arg), void *arg); // as streams_on_pause
void logd_totals(const struct logd *logd, struct log_totals *totals);
// Ships what there is, and answers; `done` once, when nothing waits any more or limit_ms have passed.
void logd_flush(struct logd *logd, uint64_t limit_ms, void (*done)(void *arg), void *arg);
