// What ecsd gives up, seen from inside: processes that have done what ecsd does at its start, and then try.
#include "common/confine.h"
#include "common/sanitizer.h"
#include "common/log.h"
#include "common/util.h"
#include "control/instance.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#define WITH_FILTER (!WITH_ADDRESS_SANITIZER)
#define SECONDS_MAX 20
#define NOBODY 65534
#define P(p) ((long)(intptr_t)(p))

static const struct confine_options as_ecsd = {.kept = CAP_DAC_OVERRIDE, .filter = true},
				    without_filter = {.kept = CAP_DAC_OVERRIDE, .switch_name = "A_SETTING"};
static char dir[] = "/tmp/ecsd-confine-test.XXXXXX";
static char log_path[64];

struct attempt {
	const char *name; // of the call, as it is logged
	long call;
	long args[6];
};
static const char program[] = "/bin/true";
static const char *const arguments[] = {program, NULL};
static const struct rlimit limit = {64, 64};
static uint32_t words[64] __attribute__((aligned(4096)));
static uint64_t clone_arguments[11];
static const struct timespec no_time;

// Writes what is wrong to standard error, which the test reads.
#define EXPECT(condition)                                                              \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "not so: %s (errno %d)\n", #condition, errno); \
			_exit(1);                                                      \
		}                                                                      \
	} while (0)

static int in_child(void (*act)(void))
{
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(SECONDS_MAX);
		for (int s = 1; s < NSIG; s++)
			signal(s, SIG_DFL); // cmocka's handlers are the parent's
		EXPECT(log_open(
			       &(struct log_options){
				       .level = LOG_NONE, .file_level = LOG_DEBUG, .path = log_path, .program = "test"},
			       NULL) == 0);
		confine(&as_ecsd);
		act();
		_exit(0);
	}
	int result;
	assert_int_equal(waitpid(pid, &result, 0), pid);
	return result;
}

static void expect_success(void (*act)(void))
{
	int result = in_child(act);
	if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
		fail_msg("ended with status %#x", result);
}

static char *logged(void)
{
	char *text = read_file(log_path, 1 << 20, NULL);
	unlink(log_path);
	return text ? text : xstrdup("");
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;
	for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
		n++;
	return n;
}

// Each refused call so far becomes a line of the log.
static void write_refused_to_log(void)
{
	struct loop *loop = loop_new(1, NULL);
	confine_watch(loop);
	confine_watch_end();
	loop_free(loop);
}

// --- refused, and said ---

static const struct attempt attempts[] = {
	{"execve", SYS_execve, {P(program), P(arguments), P(arguments + 1)}},
	{"execveat", SYS_execveat, {AT_FDCWD, P(program), P(arguments), P(arguments + 1), 0}},
	{"clone", SYS_clone, {SIGCHLD}},
	{"clone", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
	{"unshare", SYS_unshare, {CLONE_NEWNS}},
	{"setns", SYS_setns, {0, 0}},
	{"ptrace", SYS_ptrace, {PTRACE_SEIZE, 1}},
	{"process_vm_readv", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}},
	{"kill", SYS_kill, {1, 0}},
	{"tkill", SYS_tkill, {1, 0}},
	{"tgkill", SYS_tgkill, {1, 1, 0}},
	{"pidfd_send_signal", SYS_pidfd_send_signal, {0, 0, 0, 0}},
	{"pidfd_getfd", SYS_pidfd_getfd, {0, 0, 0}},
	{"mount", SYS_mount, {0, 0, 0, 0, 0}},
	{"umount2", SYS_umount2, {P("/nowhere"), 0}},
	{"open_tree", SYS_open_tree, {AT_FDCWD, P("/"), 1}},
	{"fsopen", SYS_fsopen, {P("tmpfs"), 0}},
	{"chroot", SYS_chroot, {P("/")}},
	{"pivot_root", SYS_pivot_root, {0, 0}},
	{"mknodat", SYS_mknodat, {AT_FDCWD, P("x"), 0, 0}},
	{"linkat", SYS_linkat, {AT_FDCWD, P(program), AT_FDCWD, P("x"), 0}},
	{"symlinkat", SYS_symlinkat, {P(program), AT_FDCWD, P("x")}},
	{"fchownat", SYS_fchownat, {AT_FDCWD, P("x"), 0, 0, 0}},
	{"fchmodat", SYS_fchmodat, {AT_FDCWD, P("x"), 0}},
	{"setuid", SYS_setuid, {0}},
	{"setresuid", SYS_setresuid, {0, 0, 0}},
	{"setgroups", SYS_setgroups, {0, 0}},
	{"capset", SYS_capset, {0, 0}},
	{"setrlimit", SYS_setrlimit, {RLIMIT_NOFILE, P(&limit)}},
	{"prlimit64", SYS_prlimit64, {0, RLIMIT_NOFILE, P(&limit), 0}},
	{"prctl", SYS_prctl, {38, 1, 0, 0, 0}}, // PR_SET_NO_NEW_PRIVS
	{"seccomp", SYS_seccomp, {0, 0, 0}},
	{"personality", SYS_personality, {0}},
	{"socket", SYS_socket, {AF_PACKET, SOCK_RAW, 0}},
	{"socket", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}},
	{"socket", SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}},
	{"socket", SYS_socket, {AF_NETLINK, SOCK_RAW, 12}}, // NETLINK_NETFILTER
	{"listen", SYS_listen, {0, 1}},
	{"accept4", SYS_accept4, {0, 0, 0, 0}},
	{"ioctl", SYS_ioctl, {0, TIOCSTI, P("x")}},
	{"mmap", SYS_mmap, {0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
	{"mprotect", SYS_mprotect, {P(words), 4096, PROT_READ | PROT_EXEC}},
	{"memfd_create", SYS_memfd_create, {P("x"), 0}},
	{"bpf", SYS_bpf, {0, P(words), 128}},
	{"userfaultfd", SYS_userfaultfd, {0}},
	{"io_uring_setup", SYS_io_uring_setup, {1, P(words)}},
	{"perf_event_open", SYS_perf_event_open, {P(words), 0, -1, -1, 0}},
	{"keyctl", SYS_keyctl, {0, -3, 0}},
	{"add_key", SYS_add_key, {0, 0, 0, 0, 0}},
	{"init_module", SYS_init_module, {0, 0, 0}},
	{"finit_module", SYS_finit_module, {0, 0, 0}},
	{"kexec_load", SYS_kexec_load, {0, 0, 0, 1L << 40}},
	{"reboot", SYS_reboot, {0, 0, 0, 0}},
	{"swapon", SYS_swapon, {P("x"), 0}},
	{"clock_settime", SYS_clock_settime, {0, P(&no_time)}},
	{"sethostname", SYS_sethostname, {P("x"), -1}},
	{"quotactl", SYS_quotactl, {-1, 0, 0, 0}},
	{"open_by_handle_at", SYS_open_by_handle_at, {0, 0, 0}},
	{"inotify_init1", SYS_inotify_init1, {0}},
#ifdef SYS_fork
	{"fork", SYS_fork, {0}},
	{"vfork", SYS_vfork, {0}},
	{"chmod", SYS_chmod, {P("x"), 0}},
#endif
};

static void try_all(void)
{
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
			const long *v = attempts[i].args;
			errno = 0;
			long r = syscall(attempts[i].call, v[0], v[1], v[2], v[3], v[4], v[5]);
			if (r != -1 || errno != EPERM) {
				fprintf(stderr, "%s: %ld, errno %d\n", attempts[i].name, r, errno);
				_exit(1);
			}
		}
	}
	errno = 0;
	EXPECT(syscall(SYS_clone3, clone_arguments, sizeof(clone_arguments)) == -1 && errno == ENOSYS);
	write_refused_to_log();
}

static void refused_and_logged(void **state)
{
	(void)state;
	if (!WITH_FILTER)
		skip();
	expect_success(try_all);
	_cleanup_free_ char *text = logged();
	unsigned names = 0;
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		names += i == 0 || strcmp(attempts[i].name, attempts[i - 1].name) != 0;
		_cleanup_free_ char *part = xasprintf(" call=%s number=%ld\n", attempts[i].name, attempts[i].call);
		if (count(text, part) != 1)
			fail_msg("not there once: %s in %s", part, text);
	}
	assert_int_equal(count(text, "refused system call"), names);
}

static void *in_thread(void *result)
{
	errno = 0;
	*(bool *)result = syscall(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0) == -1 && errno == EPERM;
	return NULL;
}

static void on_line(void *arg)
{
	loop_stop(arg);
}

// Of a thread, while the loop waits.
static void try_in_thread(void)
{
	pthread_t thread;
	bool refused = false;
	struct loop *loop = loop_new(1, NULL);
	struct timer timer;
	timer_init(&timer, loop, on_line, loop);
	confine_watch(loop);
	EXPECT(pthread_create(&thread, NULL, in_thread, &refused) == 0);
	EXPECT(pthread_join(thread, NULL) == 0 && refused);
	timer_start(&timer, 20);
	loop_run(loop);
	EXPECT(access(log_path, F_OK) == 0);
	_cleanup_free_ char *text = logged();
	EXPECT(strstr(text, "call=ptrace ") != NULL);
	confine_watch_end();
	timer_done(&timer);
	loop_free(loop);
}

static void refused_in_a_thread(void **state)
{
	(void)state;
	if (!WITH_FILTER)
		skip();
	expect_success(try_in_thread);
	free(logged());
}

#ifdef __x86_64__
static void try_32_bit(void)
{
	long r = 20; // getpid
	__asm__ volatile("int $0x80" : "+a"(r)::"memory", "r8", "r9", "r10", "r11");
	_exit(r > 0 ? 0 : 1);
}

static void other_architecture_kills(void **state)
{
	(void)state;
	if (!WITH_FILTER)
		skip();
	int result = in_child(try_32_bit); // without support in the kernel: a fault
	assert_true(WIFSIGNALED(result) && (WTERMSIG(result) == SIGSYS || WTERMSIG(result) == SIGSEGV));
	free(logged());
}
#endif

// --- capabilities ---

static void check_capabilities(void)
{
	_cleanup_free_ char *status = read_file("/proc/self/status", 65536, NULL);
	EXPECT(strstr(status, "\nCapInh:\t0000000000000000\n"));
	EXPECT(strstr(status, "\nCapPrm:\t0000000000000002\n")); // CAP_DAC_OVERRIDE
	EXPECT(strstr(status, "\nCapEff:\t0000000000000002\n"));
	EXPECT(strstr(status, "\nCapBnd:\t0000000000000002\n"));
	EXPECT(strstr(status, "\nCapAmb:\t0000000000000000\n"));
	EXPECT(strstr(status, "\nNoNewPrivs:\t1\n"));
	// Somebody else's file, in somebody else's directory.
	_cleanup_free_ char *path = xasprintf("%s/theirs/file", dir);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	EXPECT(fd >= 0);
	EXPECT(fchown(fd, 0, 0) == -1 && errno == EPERM);
	EXPECT(fchmod(fd, 0666) == -1 && errno == EPERM);
}

static void capabilities_are_dropped(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	_cleanup_free_ char *theirs = xasprintf("%s/theirs", dir), *file = xasprintf("%s/theirs/file", dir);
	assert_int_equal(make_directory(theirs, 0700), 0);
	assert_int_equal(write_file_atomic(file, "x", 1, 0600), 0);
	assert_int_equal(chown(file, NOBODY, NOBODY), 0);
	assert_int_equal(chown(theirs, NOBODY, NOBODY), 0);
	expect_success(check_capabilities);
	free(logged());
}

// --- what ecsd and its libraries do still works, without a line in the log ---

static void *resolve(void *result)
{
	struct addrinfo *list = NULL;
	int r = getaddrinfo("localhost", "443", &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &list);
	if (r == 0)
		freeaddrinfo(list);
	*(int *)result = r;
	return NULL;
}

static void do_the_usual(void)
{
	_cleanup_free_ char *path = xasprintf("%s/usual/file", dir), *usual = xasprintf("%s/usual", dir);
	EXPECT(make_directory(usual, 0700) == 0);
	EXPECT(write_file_atomic(path, "x", 1, 0600) == 0);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	EXPECT(fd >= 0 && posix_fallocate(fd, 0, 4096) == 0 && fdatasync(fd) == 0 && ftruncate(fd, 0) == 0);
	EXPECT(fchown(fd, getuid(), getgid()) == 0); // SQLite, as root
	struct statvfs fs;
	EXPECT(statvfs(dir, &fs) == 0);
	EXPECT(unlink(path) == 0 && rmdir(usual) == 0);
	FILE *file = fopen("/etc/passwd", "re");
	char line[64];
	EXPECT(file && fgets(line, sizeof(line), file));
	fclose(file);
	pthread_t thread;
	int resolved = -1;
	EXPECT(pthread_create(&thread, NULL, resolve, &resolved) == 0 && pthread_join(thread, NULL) == 0);
	EXPECT(resolved == 0);
	struct ifaddrs *addresses = NULL;
	EXPECT(getifaddrs(&addresses) == 0);
	freeifaddrs(addresses);
	getpwnam("ecs-endpoint");
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	EXPECT(pidfd >= 0);
	close(pidfd);
	int port = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // is it free? as the engine asks
	struct sockaddr_in any = {.sin_family = AF_INET};
	EXPECT(port >= 0 && bind(port, (struct sockaddr *)&any, sizeof(any)) == 0);
	close(port);
	char *big = xmalloc((size_t)8 << 20);
	memset(big, 1, (size_t)8 << 20);
	free(xrealloc(big, (size_t)16 << 20));
	struct rlimit files;
	EXPECT(getrlimit(RLIMIT_NOFILE, &files) == 0);
	EXPECT(sysconf(_SC_NPROCESSORS_ONLN) > 0 && sysconf(_SC_PHYS_PAGES) > 0);
	usleep(1);
	write_refused_to_log();
}

static void the_usual_works(void **state)
{
	(void)state;
	expect_success(do_the_usual);
	_cleanup_free_ char *text = logged();
	if (strstr(text, "refused"))
		fail_msg("%s", text);
}

// instance.json is damaged, its copy is not.
static void read_damaged_identity(void)
{
	struct instance_identity identity;
	struct error err;
	EXPECT(instance_identity_load(dir, &identity, &err) == 0 && str_equal(identity.arn, "arn"));
	instance_identity_free(&identity);
	write_refused_to_log();
}

static void damaged_identity_is_kept(void **state)
{
	(void)state;
	static const struct instance_identity identity = {.arn = "arn", .cluster = "c"};
	_cleanup_free_ char *path = xasprintf("%s/instance.json", dir), *pattern = xasprintf("%s.corrupt-*", path);
	_cleanup_free_ char *copy = xasprintf("%s.copy", path);
	struct error err;
	assert_int_equal(instance_identity_save(dir, &identity, &err), 0);
	assert_int_equal(write_file_atomic(path, "{broken", 7, 0600), 0);
	expect_success(read_damaged_identity);
	_cleanup_free_ char *text = logged();
	if (strstr(text, "refused"))
		fail_msg("%s", text);
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	_cleanup_free_ char *kept = read_file(found.gl_pathv[0], 64, NULL);
	assert_string_equal(kept, "{broken");
	assert_int_equal(unlink(found.gl_pathv[0]) | unlink(path) | unlink(copy), 0);
	globfree(&found);
}

static void just_abort(void)
{
	abort();
}

static void abort_works(void **state)
{
	(void)state;
	int result = in_child(just_abort);
	assert_true(WIFSIGNALED(result));
	assert_int_equal(WTERMSIG(result), SIGABRT);
	free(logged());
}

static void off_is_said(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		log_open(
			&(struct log_options){
				.level = LOG_NONE, .file_level = LOG_DEBUG, .path = log_path, .program = "test"},
			NULL);
		confine(&without_filter);
		pid_t child = fork(); // which the filter would not let it do
		if (child == 0)
			_exit(0);
		_exit(child > 0 && waitpid(child, NULL, 0) == child ? 0 : 1);
	}
	int result;
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	_cleanup_free_ char *text = logged();
	if (WITH_FILTER)
		assert_non_null(strstr(text, " msg=\"system calls are not filtered\" prog=test reason=A_SETTING\n"));
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return 1;
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_and_logged),
		cmocka_unit_test(refused_in_a_thread),
#ifdef __x86_64__
		cmocka_unit_test(other_architecture_kills),
#endif
		cmocka_unit_test(capabilities_are_dropped),
		cmocka_unit_test(the_usual_works),
		cmocka_unit_test(damaged_identity_is_kept),
		cmocka_unit_test(abort_works),
		cmocka_unit_test(off_is_said),
	};
	return cmocka_run_group_tests_name("confine", tests, set_up, tear_down);
}
