#include "host/program.h"

#include "common/util.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define SYSTEM_DIRECTORIES "/usr/sbin:/sbin"

char *executable_find(const char *name)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *directories = xasprintf("%s:" SYSTEM_DIRECTORIES, path ? path : "");
	char *rest = directories, *directory;

	while ((directory = strsep(&rest, ":"))) {
		_cleanup_free_ char *file = xasprintf("%s/%s", directory, name);
		if (*directory == '/' && access(file, X_OK) == 0)
			return TAKE(file);
	}
	return NULL;
}

static int start(const char *const *argv, int output, pid_t *pid)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
	char *const environment[] = {path, locale, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setpgroup(&attributes, 0); // Ctrl-C is for us; what is begun gets done
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	int r = posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

// Until nobody has the other end any more, or time is up. All is read, the beginning is kept.
static void collect(int fd, int64_t until, struct buf *output)
{
	char chunk[512];

	for (;;) {
		int64_t left = until - monotonic_ms();
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int r = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;
		if (r < 0 && errno == EINTR)
			continue;
		ssize_t n = r > 0 ? read(fd, chunk, sizeof(chunk)) : 0;
		if (n <= 0)
			return;
		size_t room = output->max - output->len;
		(void)buf_append(output, chunk, (size_t)n < room ? (size_t)n : room);
	}
}

// It may have closed its output and go on. True: it was killed, because time is up.
static bool await(pid_t pid, int64_t until, int *status)
{
	pid_t r;

	while ((r = waitpid(pid, status, WNOHANG)) == 0 && monotonic_ms() < until)
		poll(NULL, 0, 1);
	if (r != 0)
		return false;
	kill(-pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	return true;
}

static void one_line(const struct buf *text, char *output)
{
	_cleanup_free_ char *copy = xstrdup(text->data ? text->data : "");
	char *trimmed = str_trim(copy);

	for (char *p = trimmed; *p; p++)
		if (*p == '\n')
			*p = ' ';
	snprintf(output, PROGRAM_OUTPUT_MAX, "%s", trimmed);
}

int program_run(const char *const *argv, unsigned limit_ms, char output[PROGRAM_OUTPUT_MAX], struct error *err)
{
	int64_t until = monotonic_ms() + limit_ms;
	struct buf text = {.max = PROGRAM_OUTPUT_MAX - 1};
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "pipe");
	int r = start(argv, fds[1], &pid);
	close(fds[1]);
	if (r < 0) {
		close(fds[0]);
		return error_set_errno(err, -r, "cannot run %s", argv[0]);
	}
	collect(fds[0], until, &text);
	bool late = await(pid, until, &status);
	close(fds[0]);
	if (output)
		one_line(&text, output);
	buf_free(&text);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return late ? error_set(err, ETIMEDOUT, "%s took longer than %u ms", argv[0], limit_ms)
		    : error_set(err, EINTR, "%s was ended by signal %d (%s)", argv[0], WTERMSIG(status),
				strsignal(WTERMSIG(status)));
}
