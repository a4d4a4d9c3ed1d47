#include "logging/orphans.h"

#include "common/log.h"
#include "common/util.h"
#include "logging/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/stat.h>

struct orphan {
	char *path;
	unsigned still; // checks in a row in which it was as full
	int unread;     // bytes
	uint64_t dropped;
	bool seen; // in this check
	LIST_ENTRY(orphan) next;
};

struct orphans {
	struct loop *loop;
	char *directory;
	bool (*known)(const char *path, void *arg);
	void *arg;
	struct timer timer;
	LIST_HEAD(, orphan) list;
};

static void check(void *arg);

struct orphans *orphans_new(struct loop *loop, const char *directory, bool (*known)(const char *, void *), void *arg)
{
	struct orphans *orphans = xcalloc(1, sizeof(*orphans));

	orphans->loop = loop;
	orphans->directory = xstrdup(directory);
	orphans->known = known;
	orphans->arg = arg;
	LIST_INIT(&orphans->list);
	timer_init(&orphans->timer, loop, check, orphans);
	timer_start(&orphans->timer, ORPHANS_CHECK_MS);
	return orphans;
}

static void forget(struct orphan *orphan)
{
	LIST_REMOVE(orphan, next);
	free(orphan->path);
	free(orphan);
}

struct orphans *orphans_free(struct orphans *orphans)
{
	if (!orphans)
		return NULL;
	while (!LIST_EMPTY(&orphans->list))
		// NOLINTNEXTLINE(clang-analyzer-unix.Malloc): LIST_REMOVE has moved the head
		forget(LIST_FIRST(&orphans->list));
	timer_done(&orphans->timer);
	free(orphans->directory);
	free(orphans);
	return NULL;
}

static struct orphan *find(struct orphans *orphans, const char *path)
{
	struct orphan *orphan;

	LIST_FOREACH (orphan, &orphans->list, next)
		if (str_equal(orphan->path, path))
			return orphan;
	orphan = xcalloc(1, sizeof(*orphan));
	orphan->path = xstrdup(path);
	LIST_INSERT_HEAD(&orphans->list, orphan, next);
	return orphan;
}

static void drain(struct orphan *orphan, int fd)
{
	char away[16384];
	uint64_t dropped = 0;
	ssize_t n;

	while ((n = read(fd, away, sizeof(away))) > 0)
		dropped += (uint64_t)n;
	if (dropped > 0 && orphan->dropped == 0)
		log_error("a log that nobody reads had stopped its container; it is thrown away", "fifo=%s",
			  orphan->path);
	orphan->dropped += dropped;
}

static void look_at(struct orphans *orphans, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	struct orphan *orphan;
	struct stat st;
	int unread = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode) || ioctl(fd, FIONREAD, &unread) < 0 ||
	    fcntl(fd, F_GETPIPE_SZ) != STREAM_PIPE_BYTES) // which we have made it when it was ours
		return;
	orphan = find(orphans, path);
	orphan->seen = true;
	// A record that does not fit into a page's rest begins another: a full pipe can hold half of its size.
	orphan->still = unread >= STREAM_PIPE_BYTES / 2 && unread == orphan->unread ? orphan->still + 1 : 0;
	orphan->unread = unread;
	// Once it was nobody's it stays so.
	if (orphan->still >= ORPHANS_CHECKS || orphan->dropped > 0)
		drain(orphan, fd);
}

static void check(void *arg)
{
	struct orphans *orphans = arg;
	DIR *directory = opendir(orphans->directory);
	struct orphan *orphan, *next;
	struct dirent *entry;

	timer_start(&orphans->timer, ORPHANS_CHECK_MS);
	LIST_FOREACH (orphan, &orphans->list, next)
		orphan->seen = false;
	while (directory && (entry = readdir(directory))) {
		_cleanup_free_ char *path = xasprintf("%s/%s", orphans->directory, entry->d_name);

		if (entry->d_name[0] != '.' && !orphans->known(path, orphans->arg))
			look_at(orphans, path);
	}
	if (directory)
		closedir(directory);
	for (orphan = LIST_FIRST(&orphans->list); orphan; orphan = next) {
		next = LIST_NEXT(orphan, next);
		if (!orphan->seen)
			forget(orphan);
	}
}
