// The spool: what containers have written and no destination has confirmed yet, on disk (logging.md §7).
//
// Each container has a directory with append-only segments, a file that says how its logs are to be shipped, and the
// delivery cursor. A segment is a run of batches; a batch is a header with lengths, checksums and the number of its first
// item, followed by whole records exactly as Docker wrote them to the FIFO (record.h). Items are numbered from 0 for
// each container, without a gap for ever; a position is the number of an item.
//
// What spool_append has taken survives the death of this process (it is in the page cache), and that of the host
// once synced: SPOOL_SYNC_MS or SPOOL_SYNC_BYTES later, by a thread of its own, so that a slow disk holds up nobody.
// After a crash the torn tail is cut at the last whole batch; a damaged batch in the middle is skipped, and told as lost.
//
// Not thread-safe: one loop owns it.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/loop.h"
#include "logging/record.h"

#define SPOOL_SYNC_MS 1000                  // §7.1
#define SPOOL_SYNC_BYTES ((size_t)4 << 20)  // §7.1
#define SPOOL_SEGMENT_MAX ((size_t)4 << 20) // bytes of a segment before the next begins
#define SPOOL_BATCH_MAX ((size_t)256 << 10) // bytes of records in a batch, but for a larger single record
#define SPOOL_RESERVE ((size_t)4 << 20)     // beyond the limits, for what Docker holds when a container ends (§7.3)

struct spool_store; // all of them: the directory, the limits they share, the sync thread
struct spool;       // of one container
struct spool_reader;

struct spool_limits {
	uint64_t container_bytes; // of one container, unless its own options say otherwise: 256 MiB
	uint64_t total_bytes;     // of all: 4 GiB
	unsigned free_percent;    // of the file system that stays free: 10
};

// directory: made with mode 0700 if missing. Only one process can have it.
struct spool_store *spool_store_open(struct loop *loop, const char *directory, const struct spool_limits *limits,
				     struct error *err);
struct spool_store *spool_store_free(struct spool_store *store); // syncs; spools must be closed before; returns NULL
// Calls back for each container that has something on disk from before.
void spool_store_each(struct spool_store *store, void (*found)(const char *container_id, void *arg), void *arg);
uint64_t spool_store_bytes(const struct spool_store *store);
// Everything appended until now is on disk when this returns; for the end of the program.
void spool_store_sync(struct spool_store *store);

enum spool_full {               // what to do with a record for which there is no room
	SPOOL_FULL_REFUSE,      // spool_append says -ENOSPC and takes nothing
	SPOOL_FULL_DROP_OLDEST, // makes room by giving up the oldest segments, which are counted (mode=non-blocking)
	SPOOL_FULL_DROP_NEWEST, // the reserve is used, then the record is counted as lost
};

// Opens or makes the spool of a container. `settings` (spool_settings) is what was stored with it, NULL if nothing was.
struct spool *spool_open(struct spool_store *store, const char *container_id, struct error *err);
struct spool *spool_close(struct spool *spool); // what is in it stays; returns NULL
// Removes all of it from disk and closes it: for one that is delivered and ended, or expired.
struct spool *spool_remove(struct spool *spool);
const char *spool_container_id(const struct spool *spool);
// The settings file, replaced atomically, mode 0600. It never holds the container's environment.
int spool_store_settings(struct spool *spool, json_object *settings, struct error *err);
json_object *spool_settings(struct spool *spool);          // a new reference; NULL: none, or unreadable
void spool_set_limit(struct spool *spool, uint64_t bytes); // 0: the store's

// Appends whole records, `count` of them, exactly as framed; len at most SPOOL_BATCH_MAX or one record. first_ns and
// last_ns: time stamps of the first and the last, for reports of loss. fifo: which one the bytes come from, so that a reader
// that died between appending and consuming can tell whether the FIFO still begins with what is here already
// (spool_last_matches). 0; with SPOOL_FULL_REFUSE also -ENOSPC (full) or the errno of the disk, after which the spool is
// as before and on_room follows. An error of the disk is a full spool for a second.
int spool_append(struct spool *spool, uint32_t fifo, const void *records, size_t len, unsigned count, int64_t first_ns,
		 int64_t last_ns, enum spool_full when_full);
// True if data begins with the last batch of this FIFO, or with what a reader that died had left of it: *len bytes were
// appended and not consumed.
bool spool_last_matches(struct spool *spool, uint32_t fifo, const void *data, size_t size, size_t *len);
// Notes records lost in front of the spool: garbage in the FIFO, gaps, no room. Told as an item in its place, as
// soon as there is room for it.
enum spool_loss_reason { SPOOL_LOST_FULL, SPOOL_LOST_GARBAGE, SPOOL_LOST_DAMAGED, SPOOL_LOST_BY_DOCKER };
void spool_lose(struct spool *spool, enum spool_loss_reason reason, uint64_t lines, uint64_t bytes, int64_t first_ns,
		int64_t last_ns);
// The stream has ended (StopLogging, end-of-file): an item that tells the reader to flush what is unfinished.
// 0, or a negative errno: then it is written as soon as that works.
int spool_append_end(struct spool *spool);

uint64_t spool_head(const struct spool *spool);     // the oldest position not confirmed
uint64_t spool_tail(const struct spool *spool);     // the position the next item will get
uint64_t spool_bytes(const struct spool *spool);    // on disk
int64_t spool_oldest_ns(const struct spool *spool); // time stamp of about the oldest item not confirmed; 0: none
uint64_t spool_dropped(const struct spool *spool);  // lines that had no room or were damaged, since it was opened
bool spool_has_room(const struct spool *spool);     // spool_append would not refuse a batch
// Called when there is room again after spool_append refused, when items have been appended, and when the cursor has moved.
// One each; in a turn of their own, in which the spool may be closed or removed.
void spool_on_room(struct spool *spool, void (*callback)(void *arg), void *arg);
void spool_on_append(struct spool *spool, void (*callback)(void *arg), void *arg);
void spool_on_confirm(struct spool *spool, void (*callback)(void *arg), void *arg);
// All before `position` is delivered (or given up): the cursor moves, whole segments before it go.
void spool_confirm(struct spool *spool, uint64_t position);

enum spool_item_kind {
	SPOOL_RECORD, // .record
	SPOOL_LOSS,   // .loss: to be told in the stream, "ecs-logd: N lines dropped, from ... to ..."
	SPOOL_END,    // the stream ended here; another may follow (a restart)
};
struct spool_loss {
	enum spool_loss_reason reason;
	uint64_t lines, bytes; // records, and bytes of them as framed; 0: not known
	int64_t first_ns, last_ns;
};
struct spool_item {
	uint64_t position; // position + 1 is what confirms it
	uint64_t first;    // the same, but for a loss the first number it stands for: seek here to read it again
	enum spool_item_kind kind;
	struct record record; // its texts are valid until the next call on this reader
	struct spool_loss loss;
};

// Reads in order.
// Memory: one batch (at most SPOOL_BATCH_MAX, or one record), freed by spool_reader_rest, as is the descriptor.
// Freed before the spool is closed.
struct spool_reader *spool_reader_new(struct spool *spool); // at the head
struct spool_reader *spool_reader_free(struct spool_reader *reader);
bool spool_reader_next(struct spool_reader *reader, struct spool_item *item); // false: nothing more for now
void spool_reader_seek(struct spool_reader *reader, uint64_t position);       // at least the head
uint64_t spool_reader_position(const struct spool_reader *reader);            // of the next item
void spool_reader_rest(struct spool_reader *reader); // gives its memory back until the next read
