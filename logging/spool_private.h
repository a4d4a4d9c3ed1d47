// What the files of the spool share; not for others.
#pragma once

#include "logging/spool.h"
#include "logging/spool_segment.h"

#include <sys/queue.h>

#define SPOOL_REASONS (SPOOL_LOST_BY_DOCKER + 1)
#define SPOOL_PATH_MAX (SPOOL_ID_MAX + 1 + SEGMENT_NAME_MAX + 1)
#define SPOOL_ID_MAX 128
#define SPOOL_ROOM_MS 1000 // between two looks whether there is room again; also the pause after an error of the disk

// Items that were given up before they were confirmed (SPOOL_FULL_DROP_OLDEST): numbers from `from` to before `to`.
struct spool_drop {
	uint64_t from, to, lines, bytes;
	int64_t first_ns, last_ns;
};

TAILQ_HEAD(spool_list, spool);

struct spool_store {
	struct loop *loop;
	char *path;
	int fd; // of the directory
	struct spool_limits limits;
	uint64_t bytes; // of all spools
	bool below_floor;
	uint64_t floor_looked, floor_written; // loop time of the last look; bytes written since
	struct spool_list waiting;            // for room
	struct timer room_timer;
	uint64_t reported;       // loop time of the last line about the disk
	struct spool_list dirty; // the one that waits longest to be synced is first
	struct timer sync_timer;
	struct sync *sync;
};

struct spool {
	struct spool_store *store;
	char *id;
	uint64_t limit;        // its own; 0: the store's
	uint64_t cursor, tail; // spool_head, spool_tail
	uint64_t bytes;
	struct segment *segments; // oldest first
	size_t count, cap;
	bool sealed;     // the last segment takes no more
	bool made;       // the directory is there
	int fd;          // the last segment's, for writing; -1: not open
	int cursor_fd;   // -1: not open
	uint64_t writes; // of the cursor
	struct spool_drop drop;
	uint64_t dropped;                         // spool_dropped
	uint64_t damaged_to;                      // damaged items before this one are counted in it
	struct spool_loss pending[SPOOL_REASONS]; // not written yet
	bool pending_end;
	uint64_t reserve_used;
	uint64_t refused;              // bytes for which there was no room; 0: does not wait
	uint64_t failed_until;         // loop time: after an error of the disk
	int64_t oldest_ns;             // time stamp of the item at oldest_at
	uint64_t oldest_at;            // UINT64_MAX: not known
	struct segment oldest_scanned; // .size: up to which offset batches are older than oldest_at
	// Syncing: since when and how much.
	bool is_dirty, new_entry, new_directory, is_waiting;
	uint64_t dirty_since;
	size_t unsynced;
	TAILQ_ENTRY(spool) dirty, waiting;
	struct spool_callback {
		void (*call)(void *arg);
		void *arg;
		bool due;
	} on_room, on_append, on_confirm;
};

// --- spool.c ---
// Says once a minute what the disk refuses.
void spool_report(struct spool_store *store, const char *what, const char *id, int error);
void spool_segment_path(const struct spool *spool, const struct segment *segment, char path[SPOOL_PATH_MAX]);
// The first segment in which items from `position` on can be; spool->count must not be 0.
size_t spool_find_segment(const struct spool *spool, uint64_t position);
void spool_seal(struct spool *spool);         // the last segment takes no more: the next append begins a new one
void spool_forget_first(struct spool *spool); // the oldest segment, but not its file
void spool_release_confirmed(struct spool *spool, bool all);             // all: the segment that is written to as well
bool spool_tell_pending(struct spool *spool, enum spool_full when_full); // false: not all could be written
void spool_mark_dirty(struct spool *spool);
void spool_told_room(void *spool); // deferred: calls on_room
void spool_due(struct spool *spool, struct spool_callback *callback, void (*deferred)(void *spool));

// --- spool_files.c: the small files beside the segments ---
void spool_load_cursor(struct spool *spool);
void spool_write_cursor(struct spool *spool);

// --- spool_recover.c: what is there from before ---
int spool_recover(struct spool *spool, struct error *err);

// --- spool_limit.c: room, and making some ---
bool spool_room_for(const struct spool *spool, uint64_t bytes);
void spool_wait_for_room(struct spool *spool, uint64_t bytes);
void spool_look_for_room(struct spool_store *store); // tells those who wait and have room now
bool spool_drop_oldest(struct spool *spool);         // false: nothing is left to drop
// 0, or -ENOSPC: a batch of so many bytes must not be written.
int spool_make_room(struct spool *spool, uint64_t bytes, enum spool_full when_full);

// --- spool_sync.c: the thread ---
struct sync_job {
	struct spool *spool;                    // told of an error; NULL: nobody
	uint32_t salt;                          // of the segment behind fd
	int fd, cursor_fd, dir_fd;              // synced in this order, and closed; -1: none
	bool store_dir;                         // the store's directory as well
	char *rename_from, *rename_to, *unlink; // done then; below the store's directory; NULL: nothing
	int error;
	STAILQ_ENTRY(sync_job) entry;
};
struct sync *sync_new(struct loop *loop, int store_fd, void (*failed)(struct sync_job *job, void *arg), void *arg,
		      struct error *err);
struct sync *sync_free(struct sync *sync); // after all jobs are done
struct sync_job *sync_job_new(struct spool *spool);
void sync_push(struct sync *sync, struct sync_job *job);      // takes it
void sync_wait(struct sync *sync);                            // until all jobs are done
bool sync_busy(struct sync *sync, const struct spool *spool); // jobs of this one are not done yet
void sync_forget(struct sync *sync, struct spool *spool);
