#include "cgroups/files.h"

#include "common/util.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DEPTH_MAX 16   // containers that make cgroups of their own; deeper ones count as busy
#define PATH_BYTES 512 // of a path below the mount point: a task id has at most 255

int cgroup_dir_open(struct cgroup_dir *dir, const char *path, struct error *err)
{
	*dir = (struct cgroup_dir){.fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
	if (dir->fd < 0)
		return error_set_errno(err, errno, "open %s", path);
	dir->path = xstrdup(path);
	return 0;
}

void cgroup_dir_close(struct cgroup_dir *dir)
{
	if (dir->fd >= 0)
		close(dir->fd);
	free(dir->path);
	free(dir->controllers);
	*dir = (struct cgroup_dir){.fd = -1};
}

static int join(char out[PATH_BYTES], const char *path, const char *file)
{
	int n = snprintf(out, PATH_BYTES, "%s%s%s", path, *path ? "/" : "", file);
	return n < 0 || n >= PATH_BYTES ? -ENAMETOOLONG : 0;
}

static int open_file(const struct cgroup_dir *dir, const char *path, const char *file, int flags)
{
	char relative[PATH_BYTES];
	int r = join(relative, path, file);
	if (r < 0)
		return r;
	int fd = openat(dir->fd, relative, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup_write(const struct cgroup_dir *dir, const char *path, const char *file, const char *value, struct error *err)
{
	_cleanup_close_ int fd = open_file(dir, path, file, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return error_set_errno(err, -fd, "open %s/%s/%s", dir->path, path, file);
	if (write(fd, value, strlen(value)) < 0)
		return error_set_errno(err, errno, "write %s to %s/%s/%s", value, dir->path, path, file);
	return 0;
}

int cgroup_read(const struct cgroup_dir *dir, const char *path, const char *file, char value[CGROUP_VALUE_MAX],
		struct error *err)
{
	_cleanup_close_ int fd = open_file(dir, path, file, O_RDONLY);
	if (fd < 0)
		return error_set_errno(err, -fd, "open %s/%s/%s", dir->path, path, file);
	ssize_t n = read(fd, value, CGROUP_VALUE_MAX - 1);
	if (n < 0)
		return error_set_errno(err, errno, "read %s/%s/%s", dir->path, path, file);
	value[n] = '\0';
	char *text = str_trim(value);
	memmove(value, text, strlen(text) + 1);
	return 0;
}

int cgroup_set(const struct cgroup_dir *dir, const char *path, const char *file, const char *value, struct error *err)
{
	char present[CGROUP_VALUE_MAX];
	if (cgroup_read(dir, path, file, present, NULL) == 0 && str_equal(present, value))
		return 0;
	return cgroup_write(dir, path, file, value, err);
}

int cgroup_expect(const struct cgroup_dir *dir, const char *path, const char *file, const char *value,
		  struct error *err)
{
	char present[CGROUP_VALUE_MAX];
	int r = cgroup_read(dir, path, file, present, err);
	if (r < 0 || str_equal(present, value))
		return r;
	return error_set(err, EUCLEAN, "%s/%s/%s is %s, expected %s", dir->path, path, file, present, value);
}

bool cgroup_exists(const struct cgroup_dir *dir, const char *path)
{
	struct stat st;
	return fstatat(dir->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int cgroup_mkdir(const struct cgroup_dir *dir, const char *path, struct error *err)
{
	if (mkdirat(dir->fd, path, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "create %s/%s", dir->path, path);
	return 0;
}

// The kernel's own files need not be removed, only directories; rmdir refuses one with processes in it.
static int remove_tree(int parent, const char *name, unsigned depth)
{
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if ((errno != EBUSY && errno != ENOTEMPTY) || depth == 0)
		return -errno;
	int busy = errno;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	DIR *list = fdopendir(fd);
	if (!list) {
		close(fd);
		return -ENOMEM;
	}
	bool inner = false;
	for (struct dirent *entry; (entry = readdir(list));) {
		if (entry->d_type != DT_DIR || str_equal(entry->d_name, ".") || str_equal(entry->d_name, ".."))
			continue;
		inner = remove_tree(fd, entry->d_name, depth - 1) == 0 || inner;
	}
	closedir(list);
	if (!inner)
		return -busy;
	return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

int cgroup_rmdir(const struct cgroup_dir *dir, const char *path, struct error *err)
{
	if (!cgroup_exists(dir, path))
		return 0; // rmdir would complain about a read-only mount first
	int r = remove_tree(dir->fd, path, DEPTH_MAX);
	if (r == -EBUSY || r == -ENOTEMPTY)
		return error_set(err, EBUSY, "%s/%s is in use", dir->path, path);
	return r < 0 ? error_set_errno(err, -r, "remove %s/%s", dir->path, path) : 0;
}

bool cgroup_has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *p = list; p && *p; p += strcspn(p, " ,")) {
		p += strspn(p, " ,");
		if (strncmp(p, word, len) == 0 && (p[len] == '\0' || p[len] == ' ' || p[len] == ','))
			return true;
	}
	return false;
}
