// Where ecs-logd lives, from inside: each attempt is made by a process of its own that has entered the real jail, by one layer
// alone and by all of them. A layer is left out as a kernel without it would: its system call fails.
#include "common/confine.h"
#include "common/log.h"
#include "common/sanitizer.h"
#include "common/util.h"
#include "logging/jail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

#define UID 990
#define SECONDS_MAX 20
#define ANY (-1)     // fails, it does not matter how
#define UNTRIED (-2) // not this layer's business

enum layer { FREE, NAMESPACE, LANDLOCK, FILTER, ALL, LAYERS };
static const char *const layer_names[] = {"none", "the namespace", "Landlock", "the filter", "all"};

static char dir[] = "/tmp/ecs-logd-jail-test.XXXXXX";
static struct {
	char *spool, *run, *logging, *shown; // as jail_options
	char *outside, *readable, *fifo, *other, *program;
	struct file_handle *handle; // of `outside`, which is in the spool's file system
	pid_t parent;
} t;

// --- attempts: 0, or -errno ---

static int try_open(const char *path, int flags)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);

	return fd < 0 ? -errno : 0;
}

static int open_outside(void)
{
	return try_open(t.outside, O_RDONLY);
}

static int open_etc(void)
{
	return try_open("/etc/passwd", O_RDONLY);
}

static int open_proc(void)
{
	return try_open("/proc/self/environ", O_RDONLY);
}

static int go_up(void)
{
	_cleanup_free_ char *path = xasprintf("%s/../outside", t.spool);

	return try_open(path, O_RDONLY);
}

static int open_by_handle(void)
{
	_cleanup_close_ int spool = open(t.spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

	if (spool < 0)
		return -EXDEV; // cannot be: it is shown
	fd = (int)syscall(SYS_open_by_handle_at, spool, t.handle, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : 0;
}

static int execute_at(const char *path)
{
	char *const arguments[] = {(char *)path, NULL};

	return execve(path, arguments, arguments + 1) < 0 ? -errno : 0;
}

static int execute(void)
{
	return execute_at("/bin/true");
}

static int execute_from_spool(void)
{
	return execute_at(t.program);
}

static int fork_(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 || waitpid(pid, NULL, 0) < 0 ? -errno : 0;
}

static int mount_(void)
{
	return mount("tmpfs", t.spool, "tmpfs", 0, NULL) < 0 ? -errno : 0;
}

static int unmount(void)
{
	return umount2(t.logging, MNT_DETACH) < 0 ? -errno : 0;
}

static int remount_writable(void)
{
	return mount(NULL, t.logging, NULL, MS_REMOUNT | MS_BIND, NULL) < 0 ? -errno : 0;
}

static int change_root(void)
{
	return chroot(t.spool) < 0 ? -errno : 0;
}

static int unshare_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? -errno : 0;
}

static int unshare_users(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
}

static int trace_parent(void)
{
	return ptrace(PTRACE_SEIZE, t.parent, NULL, NULL) < 0 ? -errno : 0;
}

static int signal_parent(void)
{
	return kill(t.parent, 0) < 0 ? -errno : 0;
}

static int become_root(void)
{
	return setresuid(0, 0, 0) < 0 ? -errno : 0;
}

static int take_capability(void)
{
	cap_value_t more = CAP_SYS_ADMIN;
	cap_t caps = cap_get_proc();
	int r = cap_set_flag(caps, CAP_PERMITTED, 1, &more, CAP_SET) < 0 ||
				cap_set_flag(caps, CAP_EFFECTIVE, 1, &more, CAP_SET) < 0 || cap_set_proc(caps) < 0
			? -errno
			: 0;

	cap_free(caps);
	return r;
}

static int make_device(void)
{
	_cleanup_free_ char *path = xasprintf("%s/device", t.spool);
	int r = mknod(path, S_IFCHR | 0600, makedev(1, 1)) < 0 ? -errno : 0;

	unlink(path);
	return r;
}

static int packet_socket(void)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : 0;
}

static int write_shown(void)
{
	return try_open(t.readable, O_WRONLY);
}

static int make_in_logging(void)
{
	_cleanup_free_ char *path = xasprintf("%s/new", t.logging);
	int r = try_open(path, O_WRONLY | O_CREAT);

	unlink(path);
	return r;
}

static int remove_fifo(void)
{
	if (unlink(t.other) < 0)
		return -errno;
	return mkfifo(t.other, 0700) < 0 ? -errno : 0; // for the next
}

static int write_fifo(void)
{
	return try_open(t.fifo, O_RDWR);
}

static int write_root(void)
{
	int r = try_open("/new", O_WRONLY | O_CREAT);

	unlink("/new");
	return r;
}

static const struct attempt {
	const char *what;
	int (*act)(void);
	int expected[LAYERS]; // 0: it works
} attempts[] = {
	// what must not be; that a free process can shows that the attempt is a real one
	{"open another file of the host", open_outside, {0, ENOENT, EACCES, UNTRIED, ANY}},
	{"open /etc/passwd", open_etc, {0, ENOENT, EACCES, UNTRIED, ANY}},
	{"open /proc", open_proc, {0, ENOENT, EACCES, UNTRIED, ANY}},
	{"go up from the spool", go_up, {0, ENOENT, EACCES, UNTRIED, ANY}},
	// What the namespace alone does not hold: for this the filter is part of the identity.
	{"open another file by handle", open_by_handle, {0, 0, EACCES, EPERM, EPERM}},
	{"execute", execute, {0, ENOENT, EACCES, EPERM, ANY}},
	{"execute what it has written", execute_from_spool, {0, EACCES, EACCES, EPERM, ANY}},
	{"make a process", fork_, {0, 0, 0, EPERM, EPERM}},
	{"mount", mount_, {UNTRIED, EPERM, EPERM, EPERM, EPERM}},
	{"unmount", unmount, {UNTRIED, EPERM, EPERM, EPERM, EPERM}},
	{"remount", remount_writable, {UNTRIED, EPERM, EPERM, EPERM, EPERM}},
	{"change the root", change_root, {0, EPERM, EPERM, EPERM, EPERM}},
	{"leave the namespace", unshare_mounts, {0, EPERM, EPERM, EPERM, EPERM}},
	{"be root of a namespace", unshare_users, {UNTRIED, UNTRIED, UNTRIED, EPERM, EPERM}},
	{"trace", trace_parent, {0, EPERM, EPERM, EPERM, EPERM}},
	{"signal", signal_parent, {0, EPERM, EPERM, EPERM, EPERM}},
	{"be root again", become_root, {0, EPERM, EPERM, EPERM, EPERM}},
	{"take a capability", take_capability, {0, EPERM, EPERM, EPERM, EPERM}},
	{"make a device", make_device, {0, EPERM, ANY, EPERM, EPERM}},
	{"open a packet socket", packet_socket, {0, EPERM, EPERM, EPERM, EPERM}},
	{"write what is shown to read", write_shown, {0, EROFS, EACCES, UNTRIED, ANY}},
	{"make a file among Docker's FIFOs", make_in_logging, {0, EROFS, EACCES, UNTRIED, ANY}},
	{"remove a FIFO", remove_fifo, {0, EROFS, EACCES, UNTRIED, ANY}},
	{"write into a FIFO", write_fifo, {0, EACCES, EACCES, UNTRIED, EACCES}},
	{"write into the root", write_root, {UNTRIED, EROFS, EACCES, UNTRIED, ANY}},
};

// --- what has to be possible ---

static int read_fifo(void)
{
	return try_open(t.fifo, O_RDONLY | O_NOFOLLOW);
}

static int list_fifos(void)
{
	return try_open(t.logging, O_RDONLY | O_DIRECTORY);
}

static int read_shown(void)
{
	return try_open(t.readable, O_RDONLY);
}

static int read_hosts(void)
{
	return try_open("/etc/hosts", O_RDONLY);
}

static int write_at(const char *directory)
{
	_cleanup_free_ char *below = xasprintf("%s/container", directory), *file = xasprintf("%s/file", below);
	int r = make_directory(below, 0700);

	if (r == 0)
		r = write_file_atomic(file, "x", 1, 0600);
	return r < 0 || (unlink(file) == 0 && rmdir(below) == 0) ? r : -errno;
}

static int write_spool(void)
{
	return write_at(t.spool);
}

static int write_notes(void)
{
	return write_at(t.run);
}

static int write_null(void)
{
	return try_open("/dev/null", O_WRONLY);
}

// UNTRIED: without another user, root's right to write others' files is missed.
static const struct attempt needs[] = {
	{"read a FIFO of root's", read_fifo, {0}},
	{"list FIFOs", list_fifos, {0}},
	{"read what is shown", read_shown, {0}},
	{"read the hosts file", read_hosts, {0}},
	{"write the spool", write_spool, {0, 0, 0, UNTRIED, 0}},
	{"write the notes", write_notes, {0, 0, 0, UNTRIED, 0}},
	{"write /dev/null", write_null, {0}},
};

// --- entering ---

static bool without_call(int call, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool done = filter && seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint16_t)error), call, 0) == 0 &&
		    seccomp_load(filter) == 0;

	seccomp_release(filter);
	return done;
}

static bool enter(enum layer layer)
{
	const struct jail_options options = {.uid = UID,
					     .gid = UID,
					     .spool_dir = t.spool,
					     .run_dir = t.run,
					     .logging_dir = t.logging,
					     .shown = t.shown};
	struct error err = {0};
	int r = 0;

	// The real one, as a kernel without the other layers has it.
	if (layer == NAMESPACE && !without_call(SCMP_SYS(landlock_create_ruleset), ENOSYS))
		return false;
	if (layer == LANDLOCK && !without_call(SCMP_SYS(unshare), EPERM))
		return false;
	if (layer == NAMESPACE || layer == LANDLOCK || layer == ALL)
		r = jail_enter(&options, &err);
	if (r == 0 && layer != FREE)
		jail_confine(layer == FILTER || layer == ALL);
	return r == 0;
}

// Exit code: the errno of the attempt, 0: it worked (as is the exit code of a program that was executed).
static int outcome(enum layer layer, const struct attempt *attempt)
{
	int result;

	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(SECONDS_MAX);
		for (int s = 1; s < NSIG; s++)
			signal(s, SIG_DFL); // cmocka's handlers are the parent's
		_exit(enter(layer) ? -attempt->act() : 255);
	}
	assert_int_equal(waitpid(pid, &result, 0), pid);
	if (!WIFEXITED(result) || WEXITSTATUS(result) == 255)
		fail_msg("%s, held by %s: the process ended with status %#x", attempt->what, layer_names[layer],
			 result);
	return WEXITSTATUS(result);
}

static void check(enum layer layer, const struct attempt *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int expected = list[i].expected[layer], got;

		if (expected == UNTRIED)
			continue;
		got = outcome(layer, &list[i]);
		if (expected == ANY ? got == 0 : got != expected)
			fail_msg("%s, held by %s: %s; expected: %s", list[i].what, layer_names[layer], strerror(got),
				 expected == ANY ? "any error" : strerror(expected));
	}
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

// --- tests ---

static void layer_holds(void **state)
{
	enum layer layer = *(const enum layer *)*state;

	if (geteuid() != 0 || (layer == LANDLOCK && !has_landlock()) || (layer == FILTER && WITH_ADDRESS_SANITIZER) ||
	    (layer == ALL && WITH_ADDRESS_SANITIZER))
		skip();
	check(layer, attempts, ARRAY_SIZE(attempts));
	check(layer, needs, ARRAY_SIZE(needs));
}

// --- who it is ---

static char *status_inside(void)
{
	int ready[2], end[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready) | pipe(end), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(SECONDS_MAX);
		close(end[1]);
		byte = enter(WITH_ADDRESS_SANITIZER ? NAMESPACE : ALL) ? 'y' : 'n';
		_exit(write(ready[1], &byte, 1) == 1 && read(end[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(ready[1]);
	close(end[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	char *status = read_file(path, 65536, NULL);
	close(ready[0]);
	close(end[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return status;
}

static void one_right_is_left(void **state)
{
	(void)state;
	static const char *const lines[] = {
		"\nUid:\t990\t990\t990\t990\n",
		"\nGid:\t990\t990\t990\t990\n",
		"\nGroups:\t \n",
		"\nCapInh:\t0000000000000000\n",
		"\nCapPrm:\t0000000000000004\n", // CAP_DAC_READ_SEARCH
		"\nCapEff:\t0000000000000004\n",
		"\nCapBnd:\t0000000000000004\n",
		"\nCapAmb:\t0000000000000000\n",
		"\nNoNewPrivs:\t1\n",
		"\nSeccomp:\t2\n",
	};
	if (geteuid() != 0)
		skip();
	_cleanup_free_ char *status = status_inside();
	assert_non_null(status);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!strstr(status, lines[i]))
			fail_msg("not there: %s in %s", lines[i], status);
}

// --- the place ---

static char *make_file(const char *name, const char *content, size_t len, mode_t mode)
{
	char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(write_file_atomic(path, content, len, mode), 0);
	return path;
}

static char *make_fifo(const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(mkfifo(path, 0700), 0);
	return path;
}

static void make_handle(void)
{
	int mount_id;

	t.handle = xcalloc(1, sizeof(*t.handle) + MAX_HANDLE_SZ);
	t.handle->handle_bytes = MAX_HANDLE_SZ;
	assert_int_equal(name_to_handle_at(AT_FDCWD, t.outside, t.handle, &mount_id, 0), 0);
}

static void copy_program(void)
{
	size_t len;
	_cleanup_free_ char *program = read_file("/bin/true", 1 << 20, &len);

	assert_non_null(program);
	t.program = make_file("spool/true", program, len, 0755);
}

static int set_up(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return 1;
	log_open(&(struct log_options){.level = LOG_NONE, .program = "test"}, NULL);
	t.parent = getpid();
	t.spool = xasprintf("%s/spool", dir);
	t.run = xasprintf("%s/run", dir);
	t.logging = xasprintf("%s/logging", dir);
	t.shown = xasprintf("%s/shown", dir);
	if (make_directory(t.spool, 0700) < 0 || make_directory(t.logging, 0700) < 0 ||
	    make_directory(t.shown, 0755) < 0)
		return 1;
	t.outside = make_file("outside", "x", 1, 0600);
	t.readable = make_file("shown/file", "x", 1, 0666);
	t.fifo = make_fifo("logging/fifo");
	t.other = make_fifo("logging/other");
	make_handle();
	copy_program();
	return chmod(t.readable, 0666);
}

static int tear_down(void **state)
{
	_cleanup_free_ char *command = xasprintf("rm -rf %s", dir);
	char *const paths[] = {t.spool, t.run, t.logging, t.shown, t.outside, t.readable, t.fifo, t.other, t.program};

	(void)state;
	free(t.handle);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		free(paths[i]);
	return geteuid() == 0 ? system(command) : 0;
}

int main(void)
{
	static enum layer layers[] = {FREE, NAMESPACE, LANDLOCK, FILTER, ALL};
	const struct CMUnitTest tests[] = {
		{"attempts_are_real", layer_holds, NULL, NULL, &layers[FREE]},
		{"namespace_holds", layer_holds, NULL, NULL, &layers[NAMESPACE]},
		{"landlock_holds", layer_holds, NULL, NULL, &layers[LANDLOCK]},
		{"filter_holds", layer_holds, NULL, NULL, &layers[FILTER]},
		{"all_hold", layer_holds, NULL, NULL, &layers[ALL]},
		cmocka_unit_test(one_right_is_left),
	};
	return cmocka_run_group_tests_name("jail", tests, set_up, tear_down);
}
