// The small files beside the segments: the cursor, and how the logs are to be shipped.
#include "logging/spool_private.h"

#include "common/util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#define CURSOR_MAGIC UINT32_C(0x31637365) // "esc1"
#define CURSOR_STEP 512                   // bytes between its two slots: each in a sector of its own
#define SETTINGS_MAX ((size_t)4 << 20)

struct cursor_slot {
	uint32_t magic, sum; // sum: of what follows, the low half of XXH3-64
	uint64_t writes;     // the slot with more of them is the newer one
	uint64_t cursor;
	struct spool_drop drop;
};
_Static_assert(sizeof(struct cursor_slot) == 72, "the format on disk");

static uint32_t slot_sum(const struct cursor_slot *slot)
{
	return (uint32_t)XXH3_64bits(&slot->writes, sizeof(*slot) - offsetof(struct cursor_slot, writes));
}

static int open_cursor(const struct spool *spool, int flags)
{
	char path[SPOOL_PATH_MAX];

	snprintf(path, sizeof(path), "%s/cursor", spool->id);
	return openat(spool->store->fd, path, flags | O_CLOEXEC, 0600);
}

void spool_load_cursor(struct spool *spool)
{
	_cleanup_close_ int fd = open_cursor(spool, O_RDONLY);

	for (off_t i = 0; fd >= 0 && i < 2; i++) {
		struct cursor_slot slot;

		if (pread(fd, &slot, sizeof(slot), i * CURSOR_STEP) != sizeof(slot) || slot.magic != CURSOR_MAGIC ||
		    slot.sum != slot_sum(&slot) || slot.writes < spool->writes || slot.cursor > SEGMENT_NUMBER_MAX ||
		    slot.drop.to > SEGMENT_NUMBER_MAX)
			continue;
		spool->writes = slot.writes;
		spool->cursor = slot.cursor;
		spool->drop = slot.drop;
	}
}

void spool_write_cursor(struct spool *spool)
{
	struct cursor_slot slot = {
		.magic = CURSOR_MAGIC, .writes = spool->writes + 1, .cursor = spool->cursor, .drop = spool->drop};

	slot.sum = slot_sum(&slot);
	if (spool->cursor_fd < 0)
		spool->cursor_fd = open_cursor(spool, O_WRONLY | O_CREAT);
	if (spool->cursor_fd < 0 ||
	    pwrite(spool->cursor_fd, &slot, sizeof(slot), (off_t)(slot.writes & 1) * CURSOR_STEP) != sizeof(slot)) {
		// The next one says it all. Until then, a restart would deliver some again.
		spool_report(spool->store, "cannot write the cursor of a log spool", spool->id, errno);
		return;
	}
	spool->writes = slot.writes;
	spool_mark_dirty(spool);
}

// Settings are written beside the old ones and take their place when they are on disk: until then both are there, and
// those that are whole and newer count.
int spool_store_settings(struct spool *spool, json_object *settings, struct error *err)
{
	const char *text = json_object_to_json_string_ext(settings, JSON_C_TO_STRING_PLAIN);
	struct sync_job *job = sync_job_new(NULL);
	size_t len = strlen(text);
	int r = 0;

	job->rename_from = xasprintf("%s/settings.new", spool->id);
	job->rename_to = xasprintf("%s/settings.json", spool->id);
	if (mkdirat(spool->store->fd, spool->id, 0700) < 0 && errno != EEXIST)
		r = -errno;
	(void)unlinkat(spool->store->fd, job->rename_from, 0);
	if (r == 0) {
		job->fd = openat(spool->store->fd, job->rename_from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		ssize_t n = job->fd < 0 ? -1 : write(job->fd, text, len);
		r = n == (ssize_t)len ? 0 : n < 0 ? -errno : -ENOSPC;
	}
	if (r == 0) {
		spool->made = true;
		job->dir_fd = openat(spool->store->fd, spool->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		job->store_dir = true;
	} else {
		(void)unlinkat(spool->store->fd, job->rename_from, 0);
		error_set_errno(err, -r, "cannot store the log settings of container %s in %s", spool->id,
				spool->store->path);
	}
	sync_push(spool->store->sync, job);
	return r;
}

json_object *spool_settings(struct spool *spool)
{
	static const char *const names[] = {"settings.new", "settings.json"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s/%s", spool->store->path, spool->id, names[i]);
		size_t len;
		_cleanup_free_ char *text = read_file(path, SETTINGS_MAX, &len);
		json_object *settings = text ? json_tokener_parse(text) : NULL;

		if (json_object_is_type(settings, json_type_object))
			return settings;
		json_object_put(settings);
	}
	return NULL;
}
