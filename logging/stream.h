// One FIFO that Docker writes a container's log to, read into the container's spool (logging.md §1.5, §7.3).
//
// Nothing is taken out of the FIFO before it is in the spool: the bytes are duplicated (tee), appended, and only then
// consumed. Whoever dies in between finds them still there, and sees from the spool's last batch whether they were appended
// already. So no line is lost and none repeated by a restart.
//
// The FIFO is always drained: a full one hangs Docker's stop, inspect and rm of the container. The one exception: with
// mode=blocking and no room, reading pauses while the container is known to run, which holds it back as Docker's own drivers do.
#pragma once

#include "common/error.h"
#include "common/loop.h"
#include "logging/spool.h"
#include <stdbool.h>
#include <stdint.h>

#define STREAM_PIPE_BYTES (1 << 20)
#define STREAM_STALL_MS 60000       // longest pause when nobody tells whether the container runs (§7.3)
#define STREAM_REPORT_MS 60000      // between two lines of the log about pauses of the same FIFO
// A FIFO of which little could be read is left alone for so long: Docker writes line by line, and each reading, with what it
// sets going in spool and destination, costs as much as twenty lines.
#define STREAM_REST_MS 5

struct streams; // what all of them share: the buffer and the pipe that bytes are duplicated through
struct streams *streams_new(struct loop *loop, struct error *err);
struct streams *streams_free(struct streams *streams); // no stream may be left; returns NULL
// watched: whether somebody tells now when containers stop (ecsd is connected); pauses then last as long as they run.
void streams_on_pause(struct streams *streams, bool (*watched)(void *arg), void *arg);

struct stream_counters {
	uint64_t lines, bytes; // taken; bytes of text
	uint64_t garbage;      // bytes that were no records
	uint64_t gaps;         // pieces of lines that Docker dropped
	uint64_t stalls;       // pauses
	uint64_t stalled_ms;   // and how long they lasted
};

struct stream_options {
	const char *path;
	uint32_t number; // of the FIFO, for the spool: unique among those of a container, never used again
	bool blocking;   // mode=blocking or none
	bool watched;    // somebody may tell when its container stops (streams_on_pause)
	bool again;      // it was read from before, by a process that is gone
};

struct stream;
// on_end: Docker has closed its end and all is read; never inside a call. Borrows spool and counters.
struct stream *stream_open(struct streams *streams, const struct stream_options *options, struct spool *spool,
			   struct stream_counters *counters, void (*on_end)(struct stream *stream, void *arg),
			   void *arg, struct error *err);
struct stream *stream_free(struct stream *stream); // returns NULL
const char *stream_path(const struct stream *stream);
uint32_t stream_number(const struct stream *stream);
// The container stops or is gone: from here on the FIFO is drained whatever room there is.
void stream_release(struct stream *stream);
void stream_room(struct stream *stream); // there is room in the spool again: a pause may end
// Reads until the FIFO is empty, as at StopLogging: Docker has written everything by then.
void stream_drain(struct stream *stream);
