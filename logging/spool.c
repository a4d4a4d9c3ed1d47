#include "logging/spool_private.h"

#include "common/log.h"
#include "common/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define REPORT_MS 60000 // between two lines about the disk
#define SEGMENT_MIN ((uint64_t)64 << 10)
#define DROPS_MAX 2 // segments given up for one append when the disk is full

static void on_sync_timer(void *arg);
static void on_room_timer(void *arg);
static void on_sync_failed(struct sync_job *job, void *arg);
static int write_in_room(struct spool *spool, struct batch *batch, const void *payload, enum spool_full when_full);
static uint64_t pending_bytes(const struct spool *spool);
static int put_pending(struct spool *spool);
static int put(struct spool *spool, struct batch *batch, const void *payload);
static int open_segment(struct spool *spool, size_t need);
static void told_append(void *arg);
static void told_confirm(void *arg);
static void sync_now(struct spool *spool);
static void release_first(struct spool *spool);
static void forget_last(struct spool *spool);
static void forget_waiting(struct spool *spool);
static uint64_t segment_max(const struct spool *spool);

// --- the store ---

struct spool_store *spool_store_open(struct loop *loop, const char *directory, const struct spool_limits *limits,
				     struct error *err)
{
	struct spool_store *store = xcalloc(1, sizeof(*store));
	int r = make_directory(directory, 0700);

	*store = (struct spool_store){.loop = loop, .path = xstrdup(directory), .fd = -1, .limits = *limits};
	TAILQ_INIT(&store->waiting);
	TAILQ_INIT(&store->dirty);
	timer_init(&store->room_timer, loop, on_room_timer, store);
	timer_init(&store->sync_timer, loop, on_sync_timer, store);
	if (r == 0) {
		store->fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = store->fd < 0 ? -errno : 0;
	}
	if (r == 0 && flock(store->fd, LOCK_EX | LOCK_NB) < 0)
		r = -errno;
	if (r == -EWOULDBLOCK)
		error_set(err, EBUSY, "the spool directory %s is another process's", directory);
	else if (r < 0)
		error_set_errno(err, -r, "cannot open and lock the spool directory %s", directory);
	else
		store->sync = sync_new(loop, store->fd, on_sync_failed, store, err);
	return store->sync ? store : spool_store_free(store);
}

struct spool_store *spool_store_free(struct spool_store *store)
{
	if (!store)
		return NULL;
	sync_free(store->sync);
	timer_done(&store->room_timer);
	timer_done(&store->sync_timer);
	if (store->fd >= 0)
		close(store->fd);
	free(store->path);
	free(store);
	return NULL;
}

static bool id_valid(const char *id)
{
	size_t len = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_");

	return len > 0 && len <= SPOOL_ID_MAX && id[len] == '\0';
}

void spool_store_each(struct spool_store *store, void (*found)(const char *container_id, void *arg), void *arg)
{
	DIR *directory = opendir(store->path);
	char **ids = NULL;
	size_t count = 0;

	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		struct stat st;

		if (!id_valid(entry->d_name) || fstatat(store->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		ids = xreallocarray(ids, count + 1, sizeof(*ids));
		ids[count++] = xstrdup(entry->d_name);
	}
	if (directory)
		closedir(directory);
	for (size_t i = 0; i < count; i++) {
		found(ids[i], arg);
		free(ids[i]);
	}
	free(ids);
}

uint64_t spool_store_bytes(const struct spool_store *store)
{
	return store->bytes;
}

void spool_store_sync(struct spool_store *store)
{
	struct spool *spool;

	while ((spool = TAILQ_FIRST(&store->dirty)))
		sync_now(spool);
	sync_wait(store->sync);
}

static void on_sync_timer(void *arg)
{
	struct spool_store *store = arg;
	uint64_t now = loop_now(store->loop);
	struct spool *spool;

	while ((spool = TAILQ_FIRST(&store->dirty)) && now - spool->dirty_since >= SPOOL_SYNC_MS) {
		if (!sync_busy(store->sync, spool)) {
			sync_now(spool);
			continue;
		}
		// A slow disk: later, or descriptors would pile up.
		TAILQ_REMOVE(&store->dirty, spool, dirty);
		spool->dirty_since = now;
		TAILQ_INSERT_TAIL(&store->dirty, spool, dirty);
	}
	if (spool)
		timer_start(&store->sync_timer, SPOOL_SYNC_MS - (now - spool->dirty_since));
}

static void on_room_timer(void *arg)
{
	struct spool_store *store = arg;

	spool_look_for_room(store);
	if (!TAILQ_EMPTY(&store->waiting))
		timer_start(&store->room_timer, SPOOL_ROOM_MS);
}

// What the kernel could not write it may have dropped from memory: what comes next goes elsewhere.
static void on_sync_failed(struct sync_job *job, void *arg)
{
	struct spool *spool = job->spool;

	spool_report(arg, "cannot sync the log spool", spool ? spool->id : "", job->error);
	if (!spool)
		return;
	if (spool->count > 0 && spool->segments[spool->count - 1].salt == job->salt)
		spool_seal(spool);
	if (job->cursor_fd >= 0)
		spool_write_cursor(spool);
}

void spool_report(struct spool_store *store, const char *what, const char *id, int error)
{
	uint64_t now = loop_now(store->loop);

	if (store->reported && now - store->reported < REPORT_MS)
		return;
	store->reported = now;
	log_error(what, "directory=%s container=%s error=%s", store->path, id, strerror(error));
}

// --- one container's ---

struct spool *spool_open(struct spool_store *store, const char *container_id, struct error *err)
{
	struct spool *spool;

	if (!id_valid(container_id)) {
		error_set(err, EINVAL, "container id \"%s\": letters and digits expected, at most %d", container_id,
			  SPOOL_ID_MAX);
		return NULL;
	}
	spool = xcalloc(1, sizeof(*spool));
	*spool = (struct spool){.store = store, .id = xstrdup(container_id), .fd = -1, .cursor_fd = -1};
	spool->oldest_at = UINT64_MAX;
	if (spool_recover(spool, err) < 0)
		return spool_close(spool);
	spool_release_confirmed(spool, false);
	return spool;
}

struct spool *spool_close(struct spool *spool)
{
	if (!spool)
		return NULL;
	spool_tell_pending(spool, SPOOL_FULL_DROP_NEWEST);
	if (spool->is_dirty)
		sync_now(spool);
	forget_waiting(spool);
	sync_forget(spool->store->sync, spool);
	loop_defer_cancel(spool->store->loop, spool_told_room, spool);
	loop_defer_cancel(spool->store->loop, told_append, spool);
	loop_defer_cancel(spool->store->loop, told_confirm, spool);
	if (spool->fd >= 0)
		close(spool->fd);
	if (spool->cursor_fd >= 0)
		close(spool->cursor_fd);
	spool->store->bytes -= spool->bytes;
	free(spool->segments);
	free(spool->id);
	free(spool);
	return NULL;
}

struct spool *spool_remove(struct spool *spool)
{
	struct spool_store *store = spool->store;
	_cleanup_free_ char *path = xasprintf("%s/%s", store->path, spool->id);
	DIR *directory = opendir(path);

	memset(spool->pending, 0, sizeof(spool->pending));
	spool->pending_end = false;
	for (struct dirent *entry; directory && (entry = readdir(directory));)
		if (entry->d_type != DT_DIR)
			(void)unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	if (directory && rmdir(path) < 0)
		spool_report(store, "cannot remove a log spool", spool->id, errno);
	spool_close(spool);
	spool_look_for_room(store);
	return NULL;
}

const char *spool_container_id(const struct spool *spool)
{
	return spool->id;
}

void spool_set_limit(struct spool *spool, uint64_t bytes)
{
	spool->limit = bytes;
	spool_look_for_room(spool->store);
}

uint64_t spool_head(const struct spool *spool)
{
	return spool->cursor;
}

uint64_t spool_tail(const struct spool *spool)
{
	return spool->tail;
}

uint64_t spool_bytes(const struct spool *spool)
{
	return spool->bytes;
}

uint64_t spool_dropped(const struct spool *spool)
{
	return spool->dropped;
}

void spool_on_room(struct spool *spool, void (*callback)(void *arg), void *arg)
{
	spool->on_room.call = callback;
	spool->on_room.arg = arg;
}

void spool_on_append(struct spool *spool, void (*callback)(void *arg), void *arg)
{
	spool->on_append.call = callback;
	spool->on_append.arg = arg;
}

void spool_on_confirm(struct spool *spool, void (*callback)(void *arg), void *arg)
{
	spool->on_confirm.call = callback;
	spool->on_confirm.arg = arg;
}

static void call(struct spool_callback *callback)
{
	callback->due = false;
	if (callback->call)
		callback->call(callback->arg); // may free the spool
}

void spool_told_room(void *arg)
{
	call(&((struct spool *)arg)->on_room);
}

static void told_append(void *arg)
{
	call(&((struct spool *)arg)->on_append);
}

static void told_confirm(void *arg)
{
	call(&((struct spool *)arg)->on_confirm);
}

void spool_due(struct spool *spool, struct spool_callback *callback, void (*deferred)(void *spool))
{
	if (callback->due || !callback->call)
		return;
	callback->due = true;
	loop_defer(spool->store->loop, deferred, spool);
}

// --- appending ---

int spool_append(struct spool *spool, uint32_t fifo, const void *records, size_t len, unsigned count, int64_t first_ns,
		 int64_t last_ns, enum spool_full when_full)
{
	struct batch batch = {.kind = BATCH_RECORDS,
			      .len = (uint32_t)len,
			      .count = count,
			      .fifo = fifo,
			      .first_ns = first_ns,
			      .last_ns = last_ns};
	int r = write_in_room(spool, &batch, records, when_full);

	if (r < 0 && when_full != SPOOL_FULL_REFUSE) {
		spool->dropped += count;
		spool_lose(spool, SPOOL_LOST_FULL, count, len, first_ns, last_ns);
		return 0;
	}
	if (r < 0)
		spool_wait_for_room(spool, sizeof(batch) + len);
	return r;
}

void spool_lose(struct spool *spool, enum spool_loss_reason reason, uint64_t lines, uint64_t bytes, int64_t first_ns,
		int64_t last_ns)
{
	struct spool_loss *loss = &spool->pending[reason];

	if (lines == 0 && bytes == 0)
		return;
	if (loss->lines == 0 && loss->bytes == 0)
		*loss = (struct spool_loss){.reason = reason, .first_ns = first_ns};
	loss->lines += lines;
	loss->bytes += bytes;
	loss->last_ns = last_ns;
	// Without room it would only be the first of many.
	if (reason == SPOOL_LOST_FULL || !spool_tell_pending(spool, SPOOL_FULL_REFUSE))
		spool_wait_for_room(spool, 0);
}

int spool_append_end(struct spool *spool)
{
	spool->pending_end = true;
	int r = write_in_room(spool, NULL, NULL, SPOOL_FULL_DROP_NEWEST);
	if (r < 0)
		spool_wait_for_room(spool, 0);
	return r;
}

bool spool_tell_pending(struct spool *spool, enum spool_full when_full)
{
	return write_in_room(spool, NULL, NULL, when_full) == 0;
}

// What is pending, and then the batch, if there is one: both or, for want of room, nothing.
static int write_in_room(struct spool *spool, struct batch *batch, const void *payload, enum spool_full when_full)
{
	uint64_t bytes = pending_bytes(spool) + (batch ? sizeof(*batch) + batch->len : 0);
	int r = bytes ? spool_make_room(spool, bytes, when_full) : 0;

	// The end is needed to ship what came before it, limits or not.
	if (r < 0 && (batch || !spool->pending_end))
		return r;
	for (int i = 0;; i++) {
		r = put_pending(spool);
		if (r == 0 && batch)
			r = put(spool, batch, payload);
		// Within the limits, but the disk is full.
		if (r != -ENOSPC && r != -EDQUOT)
			return r;
		if (when_full == SPOOL_FULL_DROP_OLDEST && i < DROPS_MAX && spool_drop_oldest(spool))
			continue;
		if (spool->cursor == spool->tail)
			spool_release_confirmed(spool, true); // by the thread: room for a later attempt
		return r;
	}
}

static uint64_t pending_bytes(const struct spool *spool)
{
	uint64_t bytes = spool->pending_end ? sizeof(struct batch) : 0;

	for (size_t i = 0; i < SPOOL_REASONS; i++)
		if (spool->pending[i].lines || spool->pending[i].bytes)
			bytes += sizeof(struct batch) + sizeof(struct batch_loss);
	return bytes;
}

static int put_pending(struct spool *spool)
{
	for (size_t i = 0; i < SPOOL_REASONS; i++) {
		struct spool_loss *loss = &spool->pending[i];
		struct batch_loss payload = {.lines = loss->lines, .bytes = loss->bytes};
		struct batch batch = {.kind = BATCH_LOSS,
				      .reason = (uint8_t)i,
				      .len = sizeof(payload),
				      .count = 1,
				      .first_ns = loss->first_ns,
				      .last_ns = loss->last_ns};

		if (loss->lines == 0 && loss->bytes == 0)
			continue;
		int r = put(spool, &batch, &payload);
		if (r < 0)
			return r;
		*loss = (struct spool_loss){0};
	}
	if (spool->pending_end) {
		int64_t now = wall_ms() * 1000000;
		struct batch batch = {.kind = BATCH_END, .count = 1, .first_ns = now, .last_ns = now};
		int r = put(spool, &batch, "");

		spool->pending_end = r < 0;
		return r;
	}
	return 0;
}

static int put(struct spool *spool, struct batch *batch, const void *payload)
{
	size_t bytes = sizeof(*batch) + batch->len;
	int r = open_segment(spool, bytes);

	if (r == 0) {
		struct segment *segment = &spool->segments[spool->count - 1];

		batch->first = spool->tail;
		r = segment_write(spool->fd, segment, batch, payload);
		// What is behind is cut off, or else written over next time.
		if (r < 0 && ftruncate(spool->fd, (off_t)segment->size) < 0)
			spool_report(spool->store, "cannot cut a log spool", spool->id, errno);
	}
	if (r < 0) {
		spool->failed_until = loop_now(spool->store->loop) + SPOOL_ROOM_MS;
		spool_report(spool->store, "cannot write to the log spool", spool->id, -r);
		return r;
	}
	spool->failed_until = 0;
	if (spool->cursor == spool->tail) {
		spool->oldest_ns = batch->first_ns;
		spool->oldest_at = spool->tail;
	}
	spool->tail += batch->count;
	spool->bytes += bytes;
	spool->store->bytes += bytes;
	spool->store->floor_written += bytes;
	spool->unsynced += bytes;
	spool_mark_dirty(spool);
	spool_due(spool, &spool->on_append, told_append);
	return 0;
}

static uint64_t segment_max(const struct spool *spool)
{
	uint64_t part = (spool->limit ? spool->limit : spool->store->limits.container_bytes) / 8;

	return part < SEGMENT_MIN ? SEGMENT_MIN : part < SPOOL_SEGMENT_MAX ? part : SPOOL_SEGMENT_MAX;
}

static int new_segment(struct spool *spool)
{
	struct segment segment = {.first = spool->tail};
	char path[SPOOL_PATH_MAX];

	random_bytes(&segment.salt, sizeof(segment.salt));
	segment.salt |= 1; // never that of empty blocks
	spool_segment_path(spool, &segment, path);
	if (spool->made)
		spool->fd = openat(spool->store->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (!spool->made || (spool->fd < 0 && errno == ENOENT)) {
		if (mkdirat(spool->store->fd, spool->id, 0700) < 0 && errno != EEXIST)
			return -errno;
		spool->made = spool->new_directory = true;
		spool->fd = openat(spool->store->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (spool->fd < 0)
		return -errno;
	if (spool->count == 0)
		spool_write_cursor(spool); // while there is room for it
	if (spool->count == spool->cap) {
		spool->cap = spool->cap ? 2 * spool->cap : 4;
		spool->segments = xreallocarray(spool->segments, spool->cap, sizeof(*spool->segments));
	}
	spool->segments[spool->count++] = segment;
	spool->sealed = false;
	spool->new_entry = true;
	return 0;
}

// Makes spool->fd that of a segment with room for so many bytes.
static int open_segment(struct spool *spool, size_t need)
{
	const struct segment *last = spool->count ? &spool->segments[spool->count - 1] : NULL;
	char path[SPOOL_PATH_MAX];

	if (last && !spool->sealed && last->size > 0 && last->size + need > segment_max(spool))
		spool_seal(spool);
	else if (spool->unsynced + need > SPOOL_SYNC_BYTES && !sync_busy(spool->store->sync, spool))
		sync_now(spool);
	if (last && !spool->sealed && spool->fd < 0) {
		spool_segment_path(spool, last, path);
		spool->fd = openat(spool->store->fd, path, O_WRONLY | O_CLOEXEC);
		if (spool->fd < 0 && errno != ENOENT)
			return -errno;
		spool->sealed = spool->fd < 0;
	}
	return last && !spool->sealed ? 0 : new_segment(spool);
}

void spool_seal(struct spool *spool)
{
	if (spool->fd >= 0)
		sync_now(spool);
	spool->sealed = true;
	if (spool->count > 0 && spool->segments[spool->count - 1].size == 0)
		forget_last(spool);
}

void spool_mark_dirty(struct spool *spool)
{
	struct spool_store *store = spool->store;

	if (spool->is_dirty)
		return;
	spool->is_dirty = true;
	spool->dirty_since = loop_now(store->loop);
	TAILQ_INSERT_TAIL(&store->dirty, spool, dirty);
	if (!timer_running(&store->sync_timer))
		timer_start(&store->sync_timer, SPOOL_SYNC_MS);
}

// Hands the descriptors over: an idle spool has none, and the next append opens the file again.
static void sync_now(struct spool *spool)
{
	struct sync_job *job = sync_job_new(spool);

	if (spool->is_dirty)
		TAILQ_REMOVE(&spool->store->dirty, spool, dirty);
	spool->is_dirty = false;
	spool->unsynced = 0;
	if (spool->count > 0)
		job->salt = spool->segments[spool->count - 1].salt;
	job->cursor_fd = take_fd(&spool->cursor_fd);
	if (spool->cursor < spool->tail)
		job->fd = take_fd(&spool->fd);
	else if (spool->fd >= 0)
		close(take_fd(&spool->fd)); // nobody will read it again
	if (spool->new_entry && job->fd >= 0) {
		job->dir_fd = openat(spool->store->fd, spool->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		job->store_dir = spool->new_directory;
		spool->new_entry = job->dir_fd < 0;
		spool->new_directory = spool->new_directory && spool->new_entry;
	}
	sync_push(spool->store->sync, job);
}

// --- confirming ---

void spool_confirm(struct spool *spool, uint64_t position)
{
	if (position > spool->tail)
		position = spool->tail;
	if (position <= spool->cursor)
		return;
	spool->cursor = position;
	if (spool->drop.to <= position)
		spool->drop = (struct spool_drop){0};
	spool_write_cursor(spool);
	spool_release_confirmed(spool, false);
	spool_due(spool, &spool->on_confirm, told_confirm);
	if (!TAILQ_EMPTY(&spool->store->waiting))
		spool_look_for_room(spool->store);
}

// all: the segment that is written to as well.
void spool_release_confirmed(struct spool *spool, bool all)
{
	while (spool->count > 1 && spool->segments[1].first <= spool->cursor)
		release_first(spool);
	if (spool->count == 1 && spool->cursor == spool->tail &&
	    (all || spool->segments[0].size >= segment_max(spool) / 4))
		release_first(spool);
}

static void release_first(struct spool *spool)
{
	struct sync_job *job = sync_job_new(spool);
	char path[SPOOL_PATH_MAX];

	// The file goes after the cursor is on disk, or a loss of power would make a gap of it.
	spool_segment_path(spool, &spool->segments[0], path);
	job->cursor_fd = take_fd(&spool->cursor_fd);
	job->unlink = xstrdup(path);
	spool_forget_first(spool);
	sync_push(spool->store->sync, job);
}

void spool_forget_first(struct spool *spool)
{
	if (spool->count == 1 && spool->fd >= 0)
		close(take_fd(&spool->fd));
	spool->bytes -= spool->segments[0].size;
	spool->store->bytes -= spool->segments[0].size;
	memmove(spool->segments, spool->segments + 1, --spool->count * sizeof(*spool->segments));
}

// One that holds nothing.
static void forget_last(struct spool *spool)
{
	char path[SPOOL_PATH_MAX];

	spool_segment_path(spool, &spool->segments[spool->count - 1], path);
	(void)unlinkat(spool->store->fd, path, 0);
	spool->count--;
}

static void forget_waiting(struct spool *spool)
{
	if (spool->is_waiting)
		TAILQ_REMOVE(&spool->store->waiting, spool, waiting);
	spool->is_waiting = false;
}

void spool_segment_path(const struct spool *spool, const struct segment *segment, char path[SPOOL_PATH_MAX])
{
	char name[SEGMENT_NAME_MAX];

	segment_name(segment, name);
	snprintf(path, SPOOL_PATH_MAX, "%s/%s", spool->id, name);
}

size_t spool_find_segment(const struct spool *spool, uint64_t position)
{
	size_t i = spool->count;

	while (i > 0 && spool->segments[i - 1].first > position)
		i--;
	// Of those that begin with the same number, all but the last are without a whole batch.
	while (i > 1 && spool->segments[i - 2].first == spool->segments[i - 1].first)
		i--;
	return i > 0 ? i - 1 : 0;
}
