#include "sandbox.h"
#include "common/log.h"
#include "common/sanitizer.h"
#include "common/util.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <wchar.h>

static int set_limits(unsigned descriptors, struct error *err);
static void enter_empty_directory(const char *parent);
static int become(const struct sandbox_options *options, struct error *err);
static int add_rules(scmp_filter_ctx filter);

int sandbox_drop_rights(const struct sandbox_options *options, struct error *err)
{
	tzset();           // reads files, which the first gmtime would do otherwise
	fwide(stderr, -1); // else perror() duplicates the descriptor
	int r = set_limits(options->descriptors, err);
	if (r < 0)
		return r;
	enter_empty_directory(options->empty_dir);
	r = become(options, err);
	if (r < 0)
		return r;
	// Neither a debugger of the same user nor a core dump gets at the credentials. After setuid, which sets it anew.
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "prctl");
	return 0;
}

int sandbox_install_filter(struct error *err)
{
	if (WITH_ADDRESS_SANITIZER) // it needs more system calls than are worth listing
		return 0;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return error_set(err, ENOMEM, "seccomp_init failed");
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // fails before libseccomp 2.5: slower, no less strict
	// Other tables of system calls than the one the rules are for: 32 bit, x32.
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = add_rules(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_set_errno(err, -r, "cannot install the seccomp filter") : 0;
}

static int set_limits(unsigned descriptors, struct error *err)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < descriptors ? files.rlim_max : descriptors;
	if (files.rlim_cur < descriptors)
		log_warn("few descriptors allowed", "wanted=%u allowed=%llu", descriptors,
			 (unsigned long long)files.rlim_cur);
	files.rlim_max = files.rlim_cur;
	// No limit of file size: it would end the audit log.
	static const struct rlimit none = {0, 0};
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
	    setrlimit(RLIMIT_NPROC, &none) < 0)
		return error_set_errno(err, errno, "cannot set resource limits");
	return 0;
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

static int become(const struct sandbox_options *options, struct error *err)
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

static int add_rules(scmp_filter_ctx filter)
{
	static const int allowed[] = {
		// sockets, logs
		SCMP_SYS(accept4),
		SCMP_SYS(recvfrom),
		SCMP_SYS(recvmsg),
		SCMP_SYS(write),
		SCMP_SYS(writev), // the C library's last words before abort()
		SCMP_SYS(close),
		// loop and time
		SCMP_SYS(epoll_ctl),
		SCMP_SYS(epoll_wait),
		SCMP_SYS(epoll_pwait),
		SCMP_SYS(epoll_pwait2),
		SCMP_SYS(clock_gettime),
		SCMP_SYS(gettimeofday),
		SCMP_SYS(time),
		SCMP_SYS(restart_syscall),
		// memory
		SCMP_SYS(brk),
		SCMP_SYS(munmap),
		SCMP_SYS(mremap),
		SCMP_SYS(madvise),
		SCMP_SYS(futex),
		SCMP_SYS(getrandom),
		// the end, abort() and signals at all
		SCMP_SYS(getpid),
		SCMP_SYS(gettid),
		SCMP_SYS(rt_sigaction),
		SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(rt_sigreturn),
		SCMP_SYS(exit),
		SCMP_SYS(exit_group),
	};
	const struct {
		int call;
		unsigned count;
		struct scmp_arg_cmp args[2];
	} limited[] = {
		// New memory only, never executable.
		{SCMP_SYS(mmap),
		 2,
		 {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		  SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS)}},
		{SCMP_SYS(mprotect), 1, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)}},
		// Answers, but no connection of its own: MSG_FASTOPEN is one way to connect without connect(), and a
		// listening socket that was shut down for reading could be used for it.
		{SCMP_SYS(sendmsg), 1, {SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0)}},
		{SCMP_SYS(sendto), 2, {SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0), SCMP_A4(SCMP_CMP_EQ, 0, 0)}},
		{SCMP_SYS(shutdown), 1, {SCMP_A1(SCMP_CMP_EQ, SHUT_WR, 0)}},
		{SCMP_SYS(setsockopt), 2, {SCMP_A1(SCMP_CMP_EQ, IPPROTO_TCP, 0), SCMP_A2(SCMP_CMP_EQ, TCP_NODELAY, 0)}},
		{SCMP_SYS(getsockopt), 2, {SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET, 0), SCMP_A2(SCMP_CMP_EQ, SO_PEERCRED, 0)}},
		// abort(), but no other process of the same user
		{SCMP_SYS(tgkill), 1, {SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0)}},
	};
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(limited); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, limited[i].call, limited[i].count, limited[i].args);
	return r;
}
