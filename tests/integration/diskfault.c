// Preloaded into ecsd or ecs-logd: calls that change files below a directory fail as the test says while it runs.
//
//   DISKFAULT_UNDER    the directory; files are known by the path behind their descriptor, and where there is no /proc
//                      to see it, by how they were opened
//   DISKFAULT_CONTROL  a file with `struct control`, mapped by both sides
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, OPEN = 8, RENAME = 16, UNLINK = 32, ALLOCATE = 64 };

struct control {
	_Atomic uint32_t operations; // a mask of those that fail; 0: none
	_Atomic uint32_t skip;       // so many of them still work
	_Atomic uint32_t left;       // so many fail then
	_Atomic uint32_t error;      // errno
	_Atomic uint32_t seen, failed;
};

#define FILES 4096

static struct control *control;
static const char *under;
static _Atomic unsigned char ours[FILES]; // descriptors below `under`

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("DISKFAULT_CONTROL");
	under = getenv("DISKFAULT_UNDER");
	int fd = path && under ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	control = map == MAP_FAILED ? NULL : map;
}

static int is_under(const char *path)
{
	return control && strncmp(path, under, strlen(under)) == 0;
}

static int is_ours(int fd)
{
	return fd >= 0 && fd < FILES && ours[fd];
}

static int opened(int fd, int below)
{
	if (fd >= 0 && fd < FILES)
		ours[fd] = (unsigned char)below;
	return fd;
}

static int happens(uint32_t operation)
{
	if (!(control->operations & operation))
		return 0;
	control->seen++;
	if (control->skip > 0) {
		control->skip--;
		return 0;
	}
	if (control->left == 0)
		return 0;
	control->left--;
	control->failed++;
	errno = (int)control->error;
	return 1;
}

static int fails_at(uint32_t operation, const char *path)
{
	return is_under(path) && happens(operation);
}

// Of a path relative to a descriptor.
static int fails_below(uint32_t operation, int fd, const char *path)
{
	return (path[0] == '/' || fd == AT_FDCWD ? is_under(path) : is_ours(fd)) && happens(operation);
}

static int fails(uint32_t operation, int fd)
{
	char link[32], path[512];
	if (!control || !control->operations)
		return 0;
	if (is_ours(fd))
		return happens(operation);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	return fails_at(operation, path);
}

#define REAL(name)                     \
	static __typeof__(name) *real; \
	if (!real)                     \
	real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t len)
{
	REAL(write);
	return fails(WRITE, fd) ? -1 : real(fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	REAL(pwrite);
	return fails(WRITE, fd) ? -1 : real(fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	REAL(pwrite64);
	return fails(WRITE, fd) ? -1 : real(fd, data, len, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	REAL(pwritev);
	return fails(WRITE, fd) ? -1 : real(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	REAL(pwritev64);
	return fails(WRITE, fd) ? -1 : real(fd, parts, count, offset);
}

int fsync(int fd)
{
	REAL(fsync);
	return fails(SYNC, fd) ? -1 : real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	return fails(SYNC, fd) ? -1 : real(fd);
}

int ftruncate(int fd, off_t size)
{
	REAL(ftruncate);
	return fails(TRUNCATE, fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
	REAL(ftruncate64);
	return fails(TRUNCATE, fd) ? -1 : real(fd, size);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
	REAL(posix_fallocate);
	return fails(ALLOCATE, fd) ? errno : real(fd, offset, len);
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
	REAL(posix_fallocate64);
	return fails(ALLOCATE, fd) ? errno : real(fd, offset, len);
}

int rename(const char *from, const char *to)
{
	REAL(rename);
	return fails_at(RENAME, to) ? -1 : real(from, to);
}

int unlink(const char *path)
{
	REAL(unlink);
	return fails_at(UNLINK, path) ? -1 : real(path);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	REAL(renameat);
	return fails_below(RENAME, to_fd, to) ? -1 : real(from_fd, from, to_fd, to);
}

int unlinkat(int fd, const char *path, int flags)
{
	REAL(unlinkat);
	return fails_below(UNLINK, fd, path) ? -1 : real(fd, path, flags);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	REAL(mkdirat);
	return fails_below(OPEN, fd, path) ? -1 : real(fd, path, mode);
}

int close(int fd)
{
	REAL(close);
	opened(fd, 0);
	return real(fd);
}

static int open_fails(const char *path, int flags)
{
	return flags & (O_WRONLY | O_RDWR | O_CREAT) && fails_at(OPEN, path);
}

#define OPEN_LIKE(name)                                                                                \
	int name(const char *path, int flags, ...)                                                     \
	{                                                                                              \
		REAL(name);                                                                            \
		va_list args;                                                                          \
		va_start(args, flags);                                                                 \
		mode_t mode = flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;                         \
		va_end(args);                                                                          \
		return open_fails(path, flags) ? -1 : opened(real(path, flags, mode), is_under(path)); \
	}

OPEN_LIKE(open)
OPEN_LIKE(open64)

#define OPENAT_LIKE(name)                                                            \
	int name(int fd, const char *path, int flags, ...)                           \
	{                                                                            \
		REAL(name);                                                          \
		int below = path[0] == '/' ? is_under(path) : is_ours(fd);           \
		va_list args;                                                        \
		va_start(args, flags);                                               \
		mode_t mode = flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;       \
		va_end(args);                                                        \
		if (below && flags & (O_WRONLY | O_RDWR | O_CREAT) && happens(OPEN)) \
			return -1;                                                   \
		return opened(real(fd, path, flags, mode), below);                   \
	}

OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)
