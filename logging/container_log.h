// The log of one container: its spool, how and where it is shipped, and the FIFOs it comes from. A container has one FIFO
// for each start of its log (a restart, a new dockerd); all go into the same spool, in order.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include "logging/destination.h"
#include "logging/stream.h"

struct container_log;
struct container_log_host {
	struct destination_host destinations; // what they are given
	struct spool_store *spools;
	struct streams *streams;
	const char *run_dir; // where FIFOs being read are noted, until the host restarts; borrowed
	// Nothing is left of it: no FIFO, nothing to ship, and that for CONTAINER_LOG_LINGER_MS. May free it.
	void (*idle)(struct container_log *log, void *arg);
	void *arg;
};

#define CONTAINER_LOG_LINGER_MS 60000 // so that a container that restarts over and over keeps its connection

struct container_log;
// Opens what is on disk of a container, or an empty log, which is idle if nothing becomes of it. Borrows host.
struct container_log *container_log_open(const struct container_log_host *host, const char *container_id,
					 struct error *err);
struct container_log *container_log_close(struct container_log *log);  // what is on disk stays; returns NULL
struct container_log *container_log_remove(struct container_log *log); // and from disk
const char *container_log_id(const struct container_log *log);
// How it is to be shipped from now on; takes what settings holds, also on failure. Keeps the connection if nothing has
// changed. Fails for what is certainly wrong with the settings.
int container_log_set(struct container_log *log, struct stream_settings *settings, struct error *err);
// Goes on with what was stored with the spool. -ENOENT: nothing is.
int container_log_restore(struct container_log *log, struct error *err);
bool container_log_configured(const struct container_log *log); // it is known how it is to be shipped
// Reads one more FIFO; again: one that is noted from before this process.
int container_log_add(struct container_log *log, const char *path, bool again, struct error *err);
bool container_log_has(const struct container_log *log, const char *path);
// Docker has closed it (StopLogging): reads what is left.
void container_log_stop(struct container_log *log, const char *path);
// Its FIFO went while nobody read it: what is unfinished stays so.
void container_log_end(struct container_log *log);
// It was refused at its start: as if it had not been added.
void container_log_refuse(struct container_log *log, const char *path);
bool container_log_is_read(const struct container_log *log); // has a FIFO
// Whether a start has to wait for container_log_ask: with mode=non-blocking none does.
bool container_log_must_ask(const struct container_log *log);
// Asks the destination whether it certainly refuses. Any number may wait; each is answered once, NULL for no.
void container_log_ask(struct container_log *log, void (*answer)(const struct error *refusal, void *arg), void *arg);
void container_log_release(struct container_log *log);           // the container stops or is gone
void container_log_flush(struct container_log *log);             // ships now what there is
bool container_log_shipped(const struct container_log *log);     // nothing is left to ship
uint64_t container_log_waiting(const struct container_log *log); // items left to ship: lines, and ends of streams
// Its destination will never come: the router of a FireLens task that has been cleaned up.
bool container_log_abandoned(const struct container_log *log);
// The id in awslogs-credentials-endpoint=/v2/credentials/ID, as ecsd writes it; NULL: it needs no credentials of a task.
const char *container_log_credentials_id(const struct container_log *log);
int64_t container_log_oldest_ns(const struct container_log *log);   // 0: nothing is left to ship
json_object *container_log_status(const struct container_log *log); // caller releases

struct log_totals {
	uint64_t lines, bytes;     // from containers
	uint64_t shipped, retried; // lines; attempts
	uint64_t dropped;          // lines: no room, damaged on disk, refused for good
	uint64_t spool_bytes;
	int64_t oldest_ns; // of what waits; 0: nothing
};
void container_log_add_totals(const struct container_log *log, struct log_totals *totals);
