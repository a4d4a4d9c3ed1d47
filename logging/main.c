// ecs-logd: takes the logs of all containers through Docker's log-driver plugin interface, spools them and ships them.
#include "common/confine.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/service.h"
#include "common/unix_socket.h"
#include "common/util.h"
#include "common/version.h"
#include "logging/config.h"
#include "logging/control.h"
#include "logging/fluentd.h"
#include "logging/jail.h"
#include "logging/logd.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define NOBODY 65534
#define BACKLOG 128
#define DESCRIPTORS 65536 // a FIFO, a connection and a segment for each container, at least

struct program {
	struct logd_config config;
	struct fluentd_settings fluentd;
	struct loop *loop;
	struct logd *logd;
	struct logd_control *control;
	int plugin_fd, control_fd;
};

static int take_sockets(struct program *program, struct error *err);
static int settle_down(const struct program *program, struct error *err);
static int serve(struct program *program, struct error *err);

int main(int argc, char **argv)
{
	struct program program = {.plugin_fd = -1, .control_fd = -1};
	struct error err = {0};

	if (argc > 1) {
		bool help = argc == 2 && str_equal(argv[1], "--help"),
		     version = argc == 2 && str_equal(argv[1], "--version");

		if (version)
			printf("ecs-logd %s (%s)\n", ecsd_version, ecsd_commit);
		else
			printf("usage: ecs-logd [--help | --version]\n\nEnvironment (what it is for, default, "
			       "form):\n");
		if (!version)
			logd_config_help();
		return help || version ? 0 : 2;
	}
	if (logd_config_read(&program.config, &err) < 0 || fluentd_settings_read(&program.fluentd, &err) < 0) {
		log_critical("cannot start", "reason=%s", err.message);
		return 2;
	}
	log_open(&(struct log_options){.level = program.config.log_level,
				       .json = program.config.log_json,
				       .program = "ecs-logd"},
		 NULL);
	service_open();
	if (take_sockets(&program, &err) < 0 || settle_down(&program, &err) < 0 || serve(&program, &err) < 0) {
		log_critical("cannot serve", "reason=%s", err.message);
		service_status("cannot serve: %s", err.message);
		return 1;
	}
	return 0;
}

// --- sockets ---

static int listen_at(const char *path, int *fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_free_ char *parent = xstrdup(path);
	char *slash = strrchr(parent, '/');
	mode_t mask;
	int r, other;

	if (!slash || strlen(path) >= sizeof(address.sun_path))
		return error_set(err, EINVAL,
				 "the path of a socket is \"%s\", an absolute path of at most %zu bytes was expected",
				 path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (unix_connect(path, &other, NULL) == 0) {
		close(other);
		return error_set(err, EADDRINUSE, "somebody serves at %s already", path);
	}
	*slash = '\0';
	if (*parent && (r = make_directory(parent, 0755)) < 0)
		return error_set_errno(err, -r, "cannot make the directory %s", parent);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	mask = umask(0177);
	r = *fd < 0 || bind(*fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(*fd, BACKLOG) < 0 ? -errno
													       : 0;
	umask(mask);
	return r < 0 ? error_set_errno(err, -r, "cannot listen at %s", path) : 0;
}

// From the service manager, each known by its path; else made here.
static int take_sockets(struct program *program, struct error *err)
{
	int count = service_sockets(), r = 0;

	for (int fd = SERVICE_FD_START; fd < SERVICE_FD_START + count; fd++) {
		if (service_socket_at(fd, program->config.plugin_socket) && program->plugin_fd < 0)
			program->plugin_fd = fd;
		else if (service_socket_at(fd, program->config.control_socket) && program->control_fd < 0)
			program->control_fd = fd;
		else
			log_warn("a socket is handed in that is not known", "fd=%d expected=%s or=%s", fd,
				 program->config.plugin_socket, program->config.control_socket);
	}
	if (program->plugin_fd < 0)
		r = listen_at(program->config.plugin_socket, &program->plugin_fd, err);
	if (r == 0 && program->control_fd < 0)
		r = listen_at(program->config.control_socket, &program->control_fd, err);
	return r;
}

// --- what it gives up ---

static int find_user(const char *name, uid_t *uid, gid_t *gid)
{
	const struct passwd *user = getpwnam(name);
	uint64_t number;

	if (!user && parse_uint64(name, &number) && number < UINT32_MAX) {
		*uid = (uid_t)number;
		*gid = (gid_t)number;
		return 0;
	}
	*uid = user ? user->pw_uid : NOBODY;
	*gid = user ? user->pw_gid : NOBODY;
	return user ? 0 : -ENOENT;
}

static void raise_descriptors(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	if (files.rlim_max < DESCRIPTORS)
		files.rlim_max = DESCRIPTORS; // as root
	files.rlim_cur = DESCRIPTORS;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
		getrlimit(RLIMIT_NOFILE, &files);
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int settle_down(const struct program *program, struct error *err)
{
	const struct logd_config *config = &program->config;
	const struct fluentd_settings *fluentd = &program->fluentd;
	_cleanup_free_ char *shown =
		xasprintf("%s:%s:%s:%s", config->shown, fluentd->ca_file ? fluentd->ca_file : "",
			  fluentd->cert_file ? fluentd->cert_file : "", fluentd->key_file ? fluentd->key_file : "");
	struct jail_options jail = {.spool_dir = config->spool_dir,
				    .run_dir = config->run_dir,
				    .logging_dir = config->logging_dir,
				    .shown = shown};
	int r;

	signal(SIGPIPE, SIG_IGN);
	raise_descriptors();
	tzset();
	curl_global_init(CURL_GLOBAL_DEFAULT); // both read files that are out of sight afterwards
	if (geteuid() == 0 && find_user(config->user, &jail.uid, &jail.gid) < 0)
		log_warn("the user does not exist, going on as nobody", "user=%s", config->user);
	r = jail_enter(&jail, err);
	if (r < 0)
		return r;
	jail_confine(config->syscall_filter);
	return 0;
}

// --- serving ---

static void on_release(const char *container_id, void *arg)
{
	struct program *program = arg;

	logd_release(program->logd, container_id);
}

static bool watched(void *arg)
{
	struct program *program = arg;

	return logd_control_connected(program->control);
}

static void count(struct logd_counters *counters, void *arg)
{
	struct program *program = arg;
	struct log_totals totals;

	logd_totals(program->logd, &totals);
	*counters = (struct logd_counters){.lines_in = totals.lines,
					   .lines_shipped = totals.shipped,
					   .lines_dropped = totals.dropped,
					   .spool_bytes = totals.spool_bytes};
	if (totals.oldest_ns && totals.oldest_ns / 1000000 < wall_ms())
		counters->oldest_ms = (uint64_t)(wall_ms() - totals.oldest_ns / 1000000);
}

static size_t credentials(const char **ids, size_t max, void *arg)
{
	struct program *program = arg;

	return logd_credentials(program->logd, ids, max);
}

static void on_credentials(void *arg)
{
	struct program *program = arg;

	logd_control_credentials(program->control);
}

static void on_flushed(void *arg)
{
	struct program *program = arg;

	loop_stop(program->loop);
}

static void on_signal(int signal, unsigned events, void *arg)
{
	struct program *program = arg;

	(void)events;
	log_info("ends", "signal=%s", strsignal(signal));
	service_stopping();
	logd_flush(program->logd, program->config.flush_ms, on_flushed, program);
}

static int serve(struct program *program, struct error *err)
{
	const struct logd_config *config = &program->config;
	const struct logd_control_callbacks callbacks = {
		.on_stopping = on_release, .on_exited = on_release, .count = count, .credentials = credentials};
	struct watch *term, *interrupt;
	int r;

	program->loop = loop_new(config->clock_scale, err);
	if (!program->loop)
		return -err->code;
	confine_watch(program->loop);
	program->logd = logd_new(program->loop,
				 &(struct logd_options){.spool_dir = config->spool_dir,
							.run_dir = config->run_dir,
							.logging_dir = config->logging_dir,
							.limits = {.container_bytes = config->container_bytes,
								   .total_bytes = config->total_bytes,
								   .free_percent = (unsigned)config->free_percent},
							.retention_ms = config->retention_ms,
							.plugin_fd = program->plugin_fd,
							.fluentd = &program->fluentd,
							.silent = !config->notices},
				 err);
	if (!program->logd)
		return -err->code;
	program->control = logd_control_new(program->loop, program->control_fd, &callbacks, program);
	logd_on_pause(program->logd, watched, program);
	logd_on_credentials(program->logd, on_credentials, program);
	term = signal_watch_new(program->loop, SIGTERM, on_signal, program);
	interrupt = signal_watch_new(program->loop, SIGINT, on_signal, program);
	log_info("serving", "version=%s commit=%s uid=%u", ecsd_version, ecsd_commit, geteuid());
	service_ready();
	service_watch(program->loop);
	r = loop_run(program->loop);
	if (r < 0)
		return error_set_errno(err, -r, "event loop");
	service_watch_end();
	watch_free(term);
	watch_free(interrupt);
	logd_control_free(program->control);
	logd_free(program->logd);
	confine_watch_end();
	loop_free(program->loop);
	fluentd_settings_free(&program->fluentd);
	return 0;
}
