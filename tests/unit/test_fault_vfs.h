// A disk for SQLite in memory that fails when it is told to, and that can lose power.
//
// Each change (write, sync, truncate, creation, deletion) is counted; fault_vfs_fail() makes the n-th fail, or all from the
// n-th on. What was not synced is kept apart: fault_vfs_power_loss() leaves what was synced and, by seed, some of the
// rest in sectors of 512 bytes. A sync that fails loses what it should have written, and the next one does
// not bring it back, as Linux does it.
#pragma once

#include "common/util.h"
#include <errno.h>
#include <sqlite3.h>

#define VFS_SECTOR 512
#define VFS_FILES 64

enum fault_kind { FAULT_FULL, FAULT_IO, FAULT_READ_ONLY };
// What a power loss keeps of what was not synced; a kill loses nothing.
enum fault_loss { LOSE_NOTHING, LOSE_ALL, LOSE_SOME };

struct vfs_change {
	int64_t offset; // of data; with no data: the file is cut to this size
	size_t len;
	unsigned char *data;
};

struct vfs_bytes {
	unsigned char *data;
	size_t len;
};

struct vfs_file {
	char *name;
	struct vfs_bytes now, synced;
	struct vfs_change *changes; // since the last sync
	size_t change_count;
	bool linked, linked_synced; // its name is there
};

static struct {
	struct vfs_file *files[VFS_FILES];
	size_t count;
	unsigned calls, fail_at;
	enum fault_kind kind;
	bool sticky, hit;
	bool off; // power: what fails leaves nothing
	uint64_t random;
} disk;

struct vfs_handle {
	sqlite3_file base;
	struct vfs_file *file;
	bool sync_directory; // SQLite's own VFS syncs the directory with a new log
};

static bool vfs_coin(void)
{
	disk.random ^= disk.random << 13;
	disk.random ^= disk.random >> 7;
	disk.random ^= disk.random << 17;
	return disk.random >> 33 & 1;
}

static void vfs_put(struct vfs_bytes *to, int64_t offset, const unsigned char *data, size_t len)
{
	size_t end = (size_t)offset + len;
	if (end > to->len) {
		to->data = xreallocarray(to->data, end, 1);
		memset(to->data + to->len, 0, end - to->len);
		to->len = end;
	}
	if (len > 0)
		memcpy(to->data + offset, data, len);
}

static void vfs_cut(struct vfs_bytes *to, int64_t size)
{
	if ((size_t)size < to->len)
		to->len = (size_t)size;
}

static void vfs_drop_changes(struct vfs_file *file)
{
	for (size_t i = 0; i < file->change_count; i++)
		free(file->changes[i].data);
	free(file->changes);
	file->changes = NULL;
	file->change_count = 0;
}

static void vfs_free_file(struct vfs_file *file)
{
	vfs_drop_changes(file);
	free(file->now.data);
	free(file->synced.data);
	free(file->name);
	free(file);
}

static void vfs_change(struct vfs_file *file, int64_t offset, const void *data, size_t len)
{
	file->changes = xreallocarray(file->changes, file->change_count + 1, sizeof(*file->changes));
	struct vfs_change *change = &file->changes[file->change_count++];
	*change = (struct vfs_change){.offset = offset, .len = len};
	if (data) {
		change->data = xreallocarray(NULL, len, 1);
		memcpy(change->data, data, len);
		vfs_put(&file->now, offset, data, len);
	} else {
		vfs_cut(&file->now, offset);
	}
}

// Some or all of what was not synced reaches the disk, and all of it is forgotten as unsynced.
static void vfs_flush(struct vfs_file *file, bool all)
{
	for (size_t i = 0; i < file->change_count; i++) {
		const struct vfs_change *change = &file->changes[i];
		if (!change->data) {
			if (all || vfs_coin())
				vfs_cut(&file->synced, change->offset);
			continue;
		}
		for (size_t at = 0; at < change->len;) {
			size_t piece = VFS_SECTOR - ((size_t)change->offset + at) % VFS_SECTOR;
			if (piece > change->len - at)
				piece = change->len - at;
			if (all || vfs_coin())
				vfs_put(&file->synced, change->offset + (int64_t)at, change->data + at, piece);
			at += piece;
		}
	}
	vfs_drop_changes(file);
}

static void vfs_sync_directory(void)
{
	size_t kept = 0;
	for (size_t i = 0; i < disk.count; i++) {
		struct vfs_file *file = disk.files[i];
		file->linked_synced = file->linked;
		if (file->linked)
			disk.files[kept++] = file;
		else
			vfs_free_file(file);
	}
	disk.count = kept;
}

static struct vfs_file *vfs_find(const char *name)
{
	for (size_t i = 0; i < disk.count; i++)
		if (disk.files[i]->linked && str_equal(disk.files[i]->name, name))
			return disk.files[i];
	return NULL;
}

// Counts one change; whether it is to fail.
static bool vfs_fails(bool needs_room)
{
	disk.calls++;
	bool now = disk.fail_at && (disk.calls == disk.fail_at || (disk.sticky && disk.calls > disk.fail_at));
	if (!now || (disk.kind == FAULT_FULL && !needs_room))
		return false;
	disk.hit = true;
	errno = disk.kind == FAULT_FULL ? ENOSPC : disk.kind == FAULT_IO ? EIO : EROFS;
	return true;
}

static int vfs_error(int io_error)
{
	return disk.kind == FAULT_FULL ? SQLITE_FULL : disk.kind == FAULT_IO ? io_error : SQLITE_READONLY;
}

// --- what SQLite calls ---

static int vfs_close(sqlite3_file *base)
{
	(void)base;
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *base, void *out, int len, sqlite3_int64 offset)
{
	const struct vfs_bytes *now = &((struct vfs_handle *)base)->file->now;
	size_t there = (size_t)offset < now->len ? now->len - (size_t)offset : 0;
	size_t n = there < (size_t)len ? there : (size_t)len;
	if (n)
		memcpy(out, now->data + offset, n);
	memset((char *)out + n, 0, (size_t)len - n);
	return n == (size_t)len ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset)
{
	struct vfs_file *file = ((struct vfs_handle *)base)->file;
	if (vfs_fails(true)) {
		// There was room for the first half; a sector is written as a whole or not.
		int64_t end = (offset + len / 2) / VFS_SECTOR * VFS_SECTOR;
		if (disk.kind != FAULT_READ_ONLY && !disk.off && end > offset)
			vfs_change(file, offset, data, (size_t)(end - offset));
		return vfs_error(SQLITE_IOERR_WRITE);
	}
	vfs_change(file, offset, data, (size_t)len);
	return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	if (vfs_fails(false))
		return vfs_error(SQLITE_IOERR_TRUNCATE);
	vfs_change(((struct vfs_handle *)base)->file, size, NULL, 0);
	return SQLITE_OK;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
	struct vfs_handle *handle = (struct vfs_handle *)base;
	(void)flags;
	if (vfs_fails(true)) {
		if (!disk.off)
			vfs_flush(handle->file, false);
		return vfs_error(SQLITE_IOERR_FSYNC);
	}
	vfs_flush(handle->file, true);
	if (handle->sync_directory)
		vfs_sync_directory();
	handle->sync_directory = false;
	return SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *size)
{
	*size = (sqlite3_int64)((struct vfs_handle *)base)->file->now.len;
	return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
	(void)base;
	(void)level;
	return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *base, int *held)
{
	(void)base;
	*held = 0;
	return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int op, void *arg)
{
	(void)base;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int vfs_sector_size(sqlite3_file *base)
{
	(void)base;
	return VFS_SECTOR;
}

static int vfs_device(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE; // what SQLite's own VFS promises
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
	static const sqlite3_io_methods methods = {
		.iVersion = 1, // no shared memory: a log works only with exclusive locking
		.xClose = vfs_close,
		.xRead = vfs_read,
		.xWrite = vfs_write,
		.xTruncate = vfs_truncate,
		.xSync = vfs_sync,
		.xFileSize = vfs_size,
		.xLock = vfs_lock,
		.xUnlock = vfs_lock,
		.xCheckReservedLock = vfs_reserved,
		.xFileControl = vfs_control,
		.xSectorSize = vfs_sector_size,
		.xDeviceCharacteristics = vfs_device,
	};
	struct vfs_handle *handle = (struct vfs_handle *)base;
	(void)vfs;
	*handle = (struct vfs_handle){.file = vfs_find(name)};
	if (!handle->file) {
		if (!(flags & SQLITE_OPEN_CREATE))
			return SQLITE_CANTOPEN;
		if (vfs_fails(true))
			return vfs_error(SQLITE_CANTOPEN);
		handle->file = xcalloc(1, sizeof(*handle->file));
		handle->file->name = xstrdup(name);
		handle->file->linked = true;
		handle->sync_directory = flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
		if (disk.count == VFS_FILES)
			abort();
		disk.files[disk.count++] = handle->file;
	}
	handle->base.pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	struct vfs_file *file = vfs_find(name);
	(void)vfs;
	if (!file)
		return SQLITE_IOERR_DELETE_NOENT;
	if (vfs_fails(false))
		return vfs_error(SQLITE_IOERR_DELETE);
	file->linked = false;
	if (sync)
		vfs_sync_directory();
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *there)
{
	(void)vfs;
	(void)flags;
	*there = vfs_find(name) != NULL;
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
	(void)vfs;
	sqlite3_snprintf(size, out, "%s", name);
	return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int len, char *out)
{
	(void)vfs;
	for (int i = 0; i < len; i++) {
		vfs_coin();
		out[i] = (char)(disk.random >> 24);
	}
	return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *day)
{
	(void)vfs;
	*day = 2461000;
	return SQLITE_OK;
}

// --- for tests ---

static void fault_vfs_register(void)
{
	static sqlite3_vfs vfs = {
		.iVersion = 1,
		.szOsFile = sizeof(struct vfs_handle),
		.mxPathname = 256,
		.zName = "fault",
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_path,
		.xRandomness = vfs_random,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
	};
	sqlite3_vfs_register(&vfs, 1);
}

// An empty disk that works; the seed decides what is kept when something is lost.
static void fault_vfs_reset(uint64_t seed)
{
	for (size_t i = 0; i < disk.count; i++)
		vfs_free_file(disk.files[i]);
	memset(&disk, 0, sizeof(disk));
	disk.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

// at: counted from the last reset; 0: none.
static void fault_vfs_fail(unsigned at, enum fault_kind kind, bool sticky)
{
	disk.fail_at = at;
	disk.kind = kind;
	disk.sticky = sticky;
	disk.hit = false;
}

// While no file is open.
static void fault_vfs_power_loss(enum fault_loss loss)
{
	size_t kept = 0;
	if (loss == LOSE_NOTHING)
		return;
	for (size_t i = disk.count; i-- > 0;) { // the newest of a name is left
		struct vfs_file *file = disk.files[i];
		bool there = file->linked_synced;
		if (file->linked != file->linked_synced && loss == LOSE_SOME)
			there = vfs_coin();
		file->linked = false;
		if (there && !vfs_find(file->name)) {
			if (loss == LOSE_SOME)
				vfs_flush(file, false);
			vfs_drop_changes(file);
			free(file->now.data);
			file->now = (struct vfs_bytes){0};
			vfs_put(&file->now, 0, file->synced.len ? file->synced.data : (unsigned char *)"",
				file->synced.len);
			file->linked = file->linked_synced = true;
		}
	}
	for (size_t i = 0; i < disk.count; i++) {
		if (disk.files[i]->linked)
			disk.files[kept++] = disk.files[i];
		else
			vfs_free_file(disk.files[i]);
	}
	disk.count = kept;
}
