#include "common/confine.h"

#include "common/capabilities.h"
#include "common/log.h"
#include "common/sanitizer.h"
#include "common/util.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <ucontext.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 // si_code, <asm-generic/siginfo.h>
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 // <linux/prctl.h> since 5.17
#endif
#define CALLS_MAX 1024           // system call numbers that are told apart
#define F2FS_FEATURES 0x8004f50c // F2FS_IOC_GET_FEATURES: SQLite asks, where it is built for that file system

static struct {
	int fds[2]; // numbers of refused calls, from the signal handler to the loop
	struct watch *watch;
	atomic_uint seen[CALLS_MAX / 32];
} refused = {.fds = {-1, -1}};

static int install_filter(const struct confine_options *options);
static int add_rules(scmp_filter_ctx filter, const struct confine_options *options);
static void on_refused(int signal, siginfo_t *info, void *context);
static void set_result(ucontext_t *context, int result);
static void report(int fd, unsigned events, void *arg);

void confine(const struct confine_options *options)
{
	int r = capabilities_keep(&options->kept, 1);
	if (r < 0)
		log_warn("capabilities are not dropped", "error=%s", strerror(-r));
	// AddressSanitizer's search for leaks at the end clones and traces its process: then all but the filter is done.
	if (!options->filter || WITH_ADDRESS_SANITIZER) {
		log_warn("system calls are not filtered", "reason=%s",
			 options->filter ? "a build with sanitizers" : options->switch_name);
		return;
	}
	r = install_filter(options);
	if (r < 0)
		log_warn("system calls are not filtered", "error=%s", strerror(-r));
}

void confine_watch(struct loop *loop)
{
	if (refused.fds[0] >= 0)
		refused.watch = watch_new(loop, refused.fds[0], LOOP_READ, report, NULL);
}

void confine_watch_end(void)
{
	if (refused.watch)
		report(refused.fds[0], 0, NULL);
	refused.watch = watch_free(refused.watch);
}

// --- system calls ---

static int install_filter(const struct confine_options *options)
{
	struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
	if (pipe2(refused.fds, O_CLOEXEC | O_NONBLOCK) < 0 || sigaction(SIGSYS, &action, NULL) < 0)
		return -errno;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	if (!filter)
		return -ENOMEM;
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // fails before libseccomp 2.5: slower, no less strict
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = add_rules(filter, options);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

// What ecsd, ecs-logd, libcurl and its resolver thread, OpenSSL, SQLite, libevent, sd-bus and the C library (name service
// modules among it) call on any distribution. A call that only some versions make is here too: a refused one
// is an error that a version without it would not have had.
// clang-format off
static const int allowed[] = {
	// files and directories
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(write),
	SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(close),
	SCMP_SYS(close_range), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(stat),
	SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
	SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink),
	SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(fchmod), SCMP_SYS(fchown),
	SCMP_SYS(umask), SCMP_SYS(flock), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3),
	SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(fadvise64),
	// sockets: of the families below; none ever listens
	SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(shutdown),
	// loop, time, processes watched
	SCMP_SYS(epoll_create), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select),
	SCMP_SYS(pselect6), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime), SCMP_SYS(signalfd4), SCMP_SYS(pidfd_open), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
	SCMP_SYS(time), SCMP_SYS(restart_syscall),
	// memory
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(msync), SCMP_SYS(mlock),
	SCMP_SYS(munlock), SCMP_SYS(getrandom),
	// threads and signals
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(membarrier),
	SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(getcpu), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack), SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	// about itself and the host
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(getresuid), SCMP_SYS(getresgid), SCMP_SYS(getgroups), SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(capget),
};
// clang-format on

static int add_rules(scmp_filter_ctx filter, const struct confine_options *options)
{
	const unsigned thread = CLONE_THREAD | CLONE_VM;
	const struct {
		int call;
		unsigned count;
		struct scmp_arg_cmp args[2];
	} limited[] = {
		{SCMP_SYS(socket), 1, {SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0)}},
		{SCMP_SYS(socket), 1, {SCMP_A0(SCMP_CMP_EQ, AF_INET, 0)}},
		{SCMP_SYS(socket), 1, {SCMP_A0(SCMP_CMP_EQ, AF_INET6, 0)}},
		// the resolver asks for the host's addresses
		{SCMP_SYS(socket), 2, {SCMP_A0(SCMP_CMP_EQ, AF_NETLINK, 0), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE, 0)}},
		{SCMP_SYS(clone), 1, {SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread)}},
		// Libraries may be loaded, code may not be made.
		{SCMP_SYS(mmap), 1, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)}},
		{SCMP_SYS(mmap), 1, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC)}},
		{SCMP_SYS(mprotect), 1, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)}},
		{SCMP_SYS(tgkill), 1, {SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0)}}, // abort(), pthread_cancel()
		{SCMP_SYS(prlimit64), 1, {SCMP_A2(SCMP_CMP_EQ, 0, 0)}},                   // to read, not to set
		{SCMP_SYS(prctl), 1, {SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0)}},
		{SCMP_SYS(prctl), 1, {SCMP_A0(SCMP_CMP_EQ, PR_GET_NAME, 0)}},
		{SCMP_SYS(prctl), 1, {SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, FIONBIO, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, FIONREAD, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, FIOCLEX, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, TCGETS, 0)}}, // isatty()
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, SIOCGIFINDEX, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, SIOCGIFNAME, 0)}},
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, SIOCOUTQ, 0)}}, // libcurl, for uploads
		{SCMP_SYS(ioctl), 1, {SCMP_A1(SCMP_CMP_EQ, F2FS_FEATURES, 0)}},
	};
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; r == 0 && i < options->call_count; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, options->calls[i], 0);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(limited); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, limited[i].call, limited[i].count, limited[i].args);
	// Its flags are out of a filter's sight; the C library then takes clone.
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

// In whatever thread made the call, between any two instructions: only what is safe in a signal handler.
static void on_refused(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	if (info->si_code != SYS_SECCOMP)
		return;
	int saved = errno;
	unsigned call = (unsigned)info->si_syscall, bit = 1u << call % 32;
	if (!(atomic_fetch_or(&refused.seen[call / 32 % ARRAY_SIZE(refused.seen)], bit) & bit))
		(void)!write(refused.fds[1], &call, sizeof(call));
	set_result(context, -EPERM);
	errno = saved;
}

static void set_result(ucontext_t *context, int result)
{
#if defined(__x86_64__)
	context->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
	context->uc_mcontext.regs[0] = (unsigned long long)result;
#else
	_Static_assert(false, "say where this architecture has the result of a system call");
#endif
}

static void report(int fd, unsigned events, void *arg)
{
	(void)events, (void)arg;
	unsigned call;
	while (read(fd, &call, sizeof(call)) == sizeof(call)) {
		_cleanup_free_ char *name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), (int)call);
		log_error("refused system call", "call=%s number=%u", name ? name : "?", call);
	}
}
