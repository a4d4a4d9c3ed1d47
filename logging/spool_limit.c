// When there is no room: the limits, who waits, and what is given up.
#include "logging/spool_private.h"

#include "common/util.h"

#include <fcntl.h>
#include <sys/statvfs.h>

static bool fits(const struct spool *spool, uint64_t bytes);
static bool below_floor(struct spool_store *store);
static void count_first(struct spool *spool, struct spool_drop *drop, uint64_t end);
static void count_batch(struct spool_drop *drop, struct scan *scan, const struct batch *batch, uint64_t items);

bool spool_room_for(const struct spool *spool, uint64_t bytes)
{
	return fits(spool, bytes) && !below_floor(spool->store);
}

// Whether limits in bytes allow so many more.
static bool fits(const struct spool *spool, uint64_t bytes)
{
	const struct spool_store *store = spool->store;
	uint64_t limit = spool->limit ? spool->limit : store->limits.container_bytes;
	// What is confirmed goes at once when room is needed.
	uint64_t own = spool->cursor == spool->tail ? 0 : spool->bytes;
	uint64_t all = store->bytes - (spool->bytes - own);

	if (own > 0 && (bytes > limit || own > limit - bytes))
		return false;
	if (all > 0 && (bytes > store->limits.total_bytes || all > store->limits.total_bytes - bytes))
		return false;
	return true;
}

bool spool_has_room(const struct spool *spool)
{
	uint64_t limit = spool->limit ? spool->limit : spool->store->limits.container_bytes;
	uint64_t batch = SPOOL_BATCH_MAX < limit / 2 ? SPOOL_BATCH_MAX : limit / 2;

	if (loop_now(spool->store->loop) < spool->failed_until)
		return false;
	return spool_room_for(spool, spool->refused ? spool->refused : batch);
}

int spool_make_room(struct spool *spool, uint64_t bytes, enum spool_full when_full)
{
	uint64_t freed = spool->bytes;

	if (loop_now(spool->store->loop) < spool->failed_until)
		return -ENOSPC;
	if (spool->cursor == spool->tail && !spool_room_for(spool, bytes))
		spool_release_confirmed(spool, true);
	if (spool_room_for(spool, bytes)) {
		spool->reserve_used = 0;
		return 0;
	}
	switch (when_full) {
	case SPOOL_FULL_REFUSE:
		return -ENOSPC;
	case SPOOL_FULL_DROP_OLDEST:
		// Below the floor, as much as is to be written must go.
		while (!fits(spool, bytes) || freed - spool->bytes < bytes)
			if (!spool_drop_oldest(spool))
				break;
		return fits(spool, bytes) && (freed - spool->bytes >= bytes || !below_floor(spool->store)) ? 0
													   : -ENOSPC;
	case SPOOL_FULL_DROP_NEWEST:
		if (spool->store->below_floor || bytes > SPOOL_RESERVE || spool->reserve_used > SPOOL_RESERVE - bytes)
			return -ENOSPC;
		spool->reserve_used += bytes;
		return 0;
	}
	return -ENOSPC;
}

void spool_wait_for_room(struct spool *spool, uint64_t bytes)
{
	if (bytes > spool->refused)
		spool->refused = bytes;
	if (spool->is_waiting)
		return;
	spool->is_waiting = true;
	TAILQ_INSERT_TAIL(&spool->store->waiting, spool, waiting);
	if (!timer_running(&spool->store->room_timer))
		timer_start(&spool->store->room_timer, SPOOL_ROOM_MS);
}

void spool_look_for_room(struct spool_store *store)
{
	struct spool *spool, *next;

	for (spool = TAILQ_FIRST(&store->waiting); spool; spool = next) {
		next = TAILQ_NEXT(spool, waiting);
		if (!spool_has_room(spool) || !spool_tell_pending(spool, SPOOL_FULL_REFUSE))
			continue;
		TAILQ_REMOVE(&store->waiting, spool, waiting);
		spool->is_waiting = false;
		spool->refused = 0;
		spool_due(spool, &spool->on_room, spool_told_room);
	}
}

bool spool_drop_oldest(struct spool *spool)
{
	struct spool_drop *drop = &spool->drop;
	char path[SPOOL_PATH_MAX];
	uint64_t end;

	if (spool->count == 0)
		return false;
	end = spool->count > 1 ? spool->segments[1].first : spool->tail;
	if (spool->cursor < end) {
		if (drop->to <= spool->cursor)
			*drop = (struct spool_drop){.from = spool->cursor, .to = spool->cursor};
		spool->dropped += end - drop->to;
		count_first(spool, drop, end);
		spool_write_cursor(spool);
	}
	// At once, for the room is needed now.
	spool_segment_path(spool, &spool->segments[0], path);
	if (unlinkat(spool->store->fd, path, 0) < 0 && errno != ENOENT)
		spool_report(spool->store, "cannot remove a segment of the log spool", spool->id, errno);
	spool_forget_first(spool);
	return true;
}

// What is read on the way: headers only.
static void count_first(struct spool *spool, struct spool_drop *drop, uint64_t end)
{
	const struct segment *segment = &spool->segments[0];
	struct scan scan = {.salt = segment->salt, .size = segment->size};
	uint64_t next = drop->to > segment->first ? drop->to : segment->first;
	char path[SPOOL_PATH_MAX];
	struct batch batch;

	drop->lines += next - drop->to; // numbers that are missing
	spool_segment_path(spool, segment, path);
	scan.fd = openat(spool->store->fd, path, O_RDONLY | O_CLOEXEC);
	while (scan.fd >= 0 && scan_next(&scan, &batch)) {
		uint64_t behind = batch.first + batch.count, from = batch.first > next ? batch.first : next;

		if (behind <= next || behind > end)
			continue;
		drop->lines += from - next;
		count_batch(drop, &scan, &batch, behind - from);
		next = behind;
	}
	drop->lines += end - next;
	drop->to = end;
	if (scan.fd >= 0)
		close(scan.fd);
	scan_done(&scan);
}

static void count_batch(struct spool_drop *drop, struct scan *scan, const struct batch *batch, uint64_t items)
{
	if (batch->kind == BATCH_RECORDS) {
		drop->lines += items;
		drop->bytes += batch->len;
	} else if (batch->kind == BATCH_LOSS && batch->len == sizeof(struct batch_loss)) {
		const char *payload = scan_payload(scan, batch);
		struct batch_loss loss = {0};

		if (payload)
			memcpy(&loss, payload, sizeof(loss));
		drop->lines += loss.lines;
		drop->bytes += loss.bytes;
	} else {
		return;
	}
	if (drop->first_ns == 0)
		drop->first_ns = batch->first_ns;
	drop->last_ns = batch->last_ns;
}

static bool below_floor(struct spool_store *store)
{
	uint64_t now = loop_now(store->loop);
	struct statvfs vfs;

	if (store->floor_looked && now - store->floor_looked < SPOOL_ROOM_MS && store->floor_written < SPOOL_SYNC_BYTES)
		return store->below_floor;
	store->floor_looked = now;
	store->floor_written = 0;
	if (fstatvfs(store->fd, &vfs) == 0)
		store->below_floor = vfs.f_bavail * 100 < vfs.f_blocks * store->limits.free_percent;
	return store->below_floor;
}
