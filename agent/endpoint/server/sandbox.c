#include "sandbox.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

// AddressSanitizer needs more system calls than are worth listing: then all but the filter is done.
#if defined(__SANITIZE_ADDRESS__)
#define WITHOUT_FILTER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITHOUT_FILTER 1
#endif
#endif
#ifndef WITHOUT_FILTER
#define WITHOUT_FILTER 0
#endif

static void enter_empty_directory(const char *parent);
static int drop_privileges(const struct sandbox_options *options, struct error *err);
static int install_filter(struct error *err);

int sandbox_enter(const struct sandbox_options *options, struct error *err)
{
	tzset(); // reads files, which the first gmtime would do otherwise
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < options->descriptors ? files.rlim_max : options->descriptors;
	if (files.rlim_cur < options->descriptors)
		log_warn("few descriptors allowed", "wanted=%u allowed=%llu", options->descriptors,
			 (unsigned long long)files.rlim_cur);
	files.rlim_max = files.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
		return error_set_errno(err, errno, "cannot set resource limits");
	enter_empty_directory(options->empty_dir);
	int r = drop_privileges(options, err);
	if (r < 0)
		return r;
	// Neither a debugger of the same user nor a core dump gets at the credentials. After setuid, which sets it anew.
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "prctl");
	return WITHOUT_FILTER ? 0 : install_filter(err);
}

// A directory that is removed while we are in it: nothing can ever be put there. Best effort; the filter has no
// call that takes a path anyway.
static void enter_empty_directory(const char *parent)
{
	_cleanup_free_ char *path = xasprintf("%s/ecs-endpoint.XXXXXX", parent ? parent : "/run");
	if (!parent || !mkdtemp(path)) {
		(void)!chdir("/");
		return;
	}
	int failed = chdir(path) < 0 || chmod(".", 0111) < 0 ? errno : 0;
	rmdir(path);
	if (!failed && chroot(".") < 0)
		failed = errno;
	if (failed)
		log_debug("not in an empty root directory", "error=%s", strerror(failed));
}

static int drop_privileges(const struct sandbox_options *options, struct error *err)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) // before setuid takes CAP_SETPCAP
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && geteuid() == 0 && errno != EPERM)
			return error_set_errno(err, errno, "cannot drop capability %d", cap);
	if (options->uid != (uid_t)-1) {
		gid_t gid = options->gid;
		if (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(options->uid, options->uid, options->uid) < 0)
			return error_set_errno(err, errno, "cannot become user %u", options->uid);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	cap_t none = cap_init();
	int r = none ? cap_set_proc(none) : -1, error = errno;
	cap_free(none);
	return r < 0 ? error_set_errno(err, error, "cannot drop capabilities") : 0;
}

static int install_filter(struct error *err)
{
	static const int allowed[] = {SCMP_SYS(read),         SCMP_SYS(readv),           SCMP_SYS(write),
				      SCMP_SYS(writev),       SCMP_SYS(recvfrom),        SCMP_SYS(recvmsg),
				      SCMP_SYS(sendto),       SCMP_SYS(sendmsg),         SCMP_SYS(accept4),
				      SCMP_SYS(shutdown),     SCMP_SYS(close),           SCMP_SYS(getsockopt),
				      SCMP_SYS(setsockopt),   SCMP_SYS(epoll_wait),      SCMP_SYS(epoll_pwait),
				      SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl),       SCMP_SYS(timerfd_settime),
				      SCMP_SYS(futex),        SCMP_SYS(clock_gettime),   SCMP_SYS(gettimeofday),
				      SCMP_SYS(time),         SCMP_SYS(restart_syscall), SCMP_SYS(munmap),
				      SCMP_SYS(mremap),       SCMP_SYS(madvise),         SCMP_SYS(brk),
				      SCMP_SYS(getrandom),    SCMP_SYS(fstat),
				      SCMP_SYS(newfstatat), // stdio looks at a descriptor before its first write
				      SCMP_SYS(getpid),       SCMP_SYS(gettid),          SCMP_SYS(tgkill),
				      SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
				      SCMP_SYS(rt_sigreturn), // abort(), and signals at all
				      SCMP_SYS(exit),         SCMP_SYS(exit_group)};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return error_set(err, ENOMEM, "seccomp_init failed");
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == -EOPNOTSUPP || r == -EINVAL) // libseccomp before 2.5
		r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	const int memory[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)}; // never executable
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(memory); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, memory[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_set_errno(err, -r, "cannot install the seccomp filter") : 0;
}
