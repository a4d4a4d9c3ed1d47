#include "logging/jail.h"

#include "common/confine.h"
#include "common/log.h"
#include "common/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OLD_ROOT "old"

// What every program needs that resolves names, checks certificates and knows the time of day.
static const char *const always_shown[] = {
	"/etc/resolv.conf",
	"/etc/hosts",
	"/etc/nsswitch.conf",
	"/etc/host.conf",
	"/etc/gai.conf",
	"/etc/services",
	"/etc/localtime",
	"/usr/share/zoneinfo",
	"/etc/ssl",
	"/etc/pki",
	"/etc/ca-certificates",
	"/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates",
	"/usr/lib/ssl",
};

static int make_directories(const struct jail_options *options, struct error *err);
static int enter_namespace(const struct jail_options *options);
static int become(const struct jail_options *options, struct error *err);
static void restrict_files(const struct jail_options *options);
static void for_each_shown(const struct jail_options *options, void (*show)(const char *path, void *arg), void *arg);

int jail_enter(const struct jail_options *options, struct error *err)
{
	int r = make_directories(options, err);

	if (r < 0)
		return r;
	if (geteuid() == 0) {
		r = enter_namespace(options);
		if (r < 0)
			log_warn("all files of the host are in sight", "error=%s", strerror(-r));
		r = become(options, err);
		if (r < 0)
			return r;
	}
	// Neither a debugger of the same user nor a core dump gets at credentials.
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "prctl");
	restrict_files(options);
	return 0;
}

void jail_confine(bool filter)
{
	static const int calls[] = {SCMP_SYS(tee), SCMP_SYS(splice), SCMP_SYS(accept4), SCMP_SYS(chmod)};

	confine(&(struct confine_options){.kept = CAP_DAC_READ_SEARCH,
					  .calls = calls,
					  .call_count = ARRAY_SIZE(calls),
					  .filter = filter,
					  .switch_name = "ECS_LOGD_SYSCALL_FILTER"});
}

static int make_directories(const struct jail_options *options, struct error *err)
{
	const char *own[] = {options->spool_dir, options->run_dir};

	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		int r = make_directory(own[i], 0700);

		if (r < 0)
			return error_set_errno(err, -r, "cannot make the directory %s", own[i]);
		if (geteuid() == 0 && chown(own[i], options->uid, options->gid) < 0)
			return error_set_errno(err, errno, "cannot give %s to user %u", own[i], options->uid);
	}
	// Docker makes it with its first plugin log; what is shown has to exist before.
	if (geteuid() == 0) {
		int r = make_directory(options->logging_dir, 0700);

		if (r < 0)
			return error_set_errno(err, -r, "cannot make Docker's logging directory %s",
					       options->logging_dir);
	}
	return 0;
}

// --- the namespace ---

// Makes what a mount needs to be put on: path below the new root, with its parents.
static int make_place(const char *path, bool directory)
{
	_cleanup_free_ char *place = xasprintf(".%s", path), *parent = xstrdup(place);
	char *slash = strrchr(parent, '/');
	_cleanup_close_ int fd = -1;
	int r;

	*slash = '\0';
	r = make_directory(parent, 0755);
	if (r < 0 || directory)
		return r < 0 ? r : make_directory(place, 0755);
	fd = open(place, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? -errno : 0;
}

static int show(const char *path, unsigned long flags)
{
	_cleanup_free_ char *place = xasprintf(".%s", path);
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return -errno;
	r = make_place(path, S_ISDIR(st.st_mode));
	if (r < 0)
		return r;
	if (mount(path, place, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, place, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC | flags, NULL) < 0)
		return -errno;
	return 0;
}

// What is shown for a path: of a link to what is replaced by renaming, as resolv.conf and sockets are, the directory in
// which that happens. NULL: it does not exist. The caller frees it.
static char *to_show(const char *path)
{
	char *target = realpath(path, NULL);
	struct stat itself, there;

	if (target && lstat(path, &itself) == 0 && S_ISLNK(itself.st_mode) && stat(target, &there) == 0 &&
	    !S_ISDIR(there.st_mode)) {
		char *slash = strrchr(target, '/');

		*(slash > target ? slash : slash + 1) = '\0';
	}
	return target;
}

// A link is made again, and what it points to is shown.
static void show_to_read(const char *path, void *arg)
{
	char *target = to_show(path);
	char link[PATH_MAX];
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	int r = 0;

	(void)arg;
	if (!target)
		return;
	if (n > 0) {
		_cleanup_free_ char *place = xasprintf(".%s", path);

		link[n] = '\0';
		r = make_place(path, false);
		unlink(place);
		if (r == 0 && symlink(link, place) < 0)
			r = -errno;
		if (r == 0)
			r = show(target, MS_RDONLY | MS_NODEV);
	} else {
		r = show(path, MS_RDONLY | MS_NODEV);
	}
	if (r < 0)
		log_warn("cannot be shown", "path=%s error=%s", path, strerror(-r));
	free(target);
}

static void for_each_shown(const struct jail_options *options, void (*each)(const char *, void *), void *arg)
{
	_cleanup_free_ char *list = xstrdup(options->shown ? options->shown : "");
	char *save = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(always_shown); i++)
		each(always_shown[i], arg);
	for (char *path = strtok_r(list, ":", &save); path; path = strtok_r(NULL, ":", &save))
		each(path, arg);
}

static int fill_root(const struct jail_options *options)
{
	int r;

	for_each_shown(options, show_to_read, NULL);
	r = show("/dev/null", 0);
	if (r == 0)
		r = show(options->logging_dir, MS_RDONLY | MS_NODEV);
	if (r == 0)
		r = show(options->spool_dir, MS_NODEV);
	return r < 0 ? r : show(options->run_dir, MS_NODEV);
}

static int enter_namespace(const struct jail_options *options)
{
	char root[] = "/tmp/ecs-logd.XXXXXX";
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || !mkdtemp(root))
		return -errno;
	if (mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=1m") < 0 ||
	    chdir(root) < 0) {
		r = -errno;
		rmdir(root);
		return r;
	}
	r = fill_root(options);
	if (r == 0 && mkdir(OLD_ROOT, 0700) < 0)
		r = -errno;
	if (r == 0 && syscall(SYS_pivot_root, ".", OLD_ROOT) < 0)
		r = -errno;
	if (r < 0) { // as before, but for the namespace
		(void)!chdir("/");
		umount2(root, MNT_DETACH);
		rmdir(root);
		return r;
	}
	_cleanup_free_ char *old = xasprintf("/%s%s", OLD_ROOT, root);

	(void)!chdir("/");
	rmdir(old); // not in this namespace's sight any more, nor in use: its mount is the new root
	if (umount2("/" OLD_ROOT, MNT_DETACH) < 0)
		return -errno;
	rmdir("/" OLD_ROOT);
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno : 0;
}

// --- the user ---

static int become(const struct jail_options *options, struct error *err)
{
	// The one right stays permitted over the change of the user, after which no right could be taken from the set that
	// programs are started with.
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (cap != CAP_DAC_READ_SEARCH && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return error_set_errno(err, errno, "cannot drop capability %d", cap);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(options->gid, options->gid, options->gid) < 0 ||
	    setresuid(options->uid, options->uid, options->uid) < 0)
		return error_set_errno(err, errno, "cannot become user %u", options->uid);
	return 0;
}

// --- Landlock ---

#define READ_ACCESS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_ACCESS                                                                   \
	(READ_ACCESS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG)
#define ALL_ACCESS ((UINT64_C(1) << 13) - 1) // every right of Landlock's first version
#define SCOPE_VERSION 6                      // Linux 6.12
#define SCOPE_ABSTRACT_UNIX UINT64_C(1)      // LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET

struct ruleset { // struct landlock_ruleset_attr of that version
	uint64_t files, net, scoped;
};

static void allow(int rules, const char *path, uint64_t access)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		log_warn("Landlock does not take a path", "path=%s error=%s", path, strerror(errno));
}

static void allow_to_read(const char *path, void *arg)
{
	char *target = to_show(path);

	if (target)
		allow(*(int *)arg, target, READ_ACCESS);
	free(target);
}

static void restrict_files(const struct jail_options *options)
{
	struct ruleset attr = {.files = ALL_ACCESS};
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	_cleanup_close_ int rules = -1;

	if (version >= SCOPE_VERSION)
		attr.scoped = SCOPE_ABSTRACT_UNIX;
	// Older kernels take only what they know.
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, attr.scoped ? sizeof(attr) : sizeof(attr.files), 0);

	if (rules < 0) {
		log_debug("no Landlock", "error=%s", strerror(errno));
		return;
	}
	for_each_shown(options, allow_to_read, &rules);
	allow(rules, options->logging_dir, READ_ACCESS);
	allow(rules, options->spool_dir, WRITE_ACCESS);
	allow(rules, options->run_dir, WRITE_ACCESS);
	allow(rules, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
	if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		log_warn("Landlock does not hold", "error=%s", strerror(errno));
}
