// ecs-endpoint: serves credentials and introspection to containers and operators. It gets its sockets and its
// audit log as descriptors, what it serves from ecsd through the control socket, and can do nothing else.
//
// Who starts it is a service manager (ecs-endpoint.socket), which has made it the user it is to be, or ecsd's spawner.
#include "agent/endpoint/ports.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/service.h"
#include "common/util.h"
#include "control.h"
#include "sandbox.h"
#include "served.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>

#define INTROSPECTION_MAX 8 // listening sockets
#define INTROSPECTION_CONNECTIONS_MAX 256
#define DESCRIPTORS_SPARE 64 // listeners, control, logs, epoll
#define FILL_LIMIT_MS 1500   // the SDK for Python waits for two seconds

struct options {
	int control_fd, credentials_fd, audit_fd, ready_fd;
	int introspection_fds[INTROSPECTION_MAX];
	unsigned introspection_count;
	int64_t uid, gid;
	uid_t owner; // who may connect as ecsd, besides root
	const char *empty_dir;
};

static int take_sockets(struct options *options);
static int parse_options(int argc, char **argv, struct options *options);
static bool parse_fd(const char *text, int *fd);
static int run(const struct options *options, struct error *err);

int main(int argc, char **argv)
{
	struct options options = {.control_fd = -1,
				  .credentials_fd = -1,
				  .audit_fd = -1,
				  .ready_fd = -1,
				  .uid = -1,
				  .gid = -1,
				  .owner = geteuid()};
	struct log_options log = {.level = LOG_INFO, .program = "ecs-endpoint"};
	const char *level = getenv("ECS_LOGLEVEL"), *format = getenv("ECS_LOG_OUTPUT_FORMAT");
	if (level)
		log_level_parse(level, &log.level);
	log.json = str_equal(format, "json");
	struct error err = {0};
	log_open(&log, NULL);
	service_open();
	if ((argc == 1 ? take_sockets(&options) : parse_options(argc, argv, &options)) < 0) {
		fprintf(stderr,
			"usage: ecs-endpoint --control-fd N --credentials-fd N --introspection-fd N[,N...]\n"
			"                    [--audit-fd N] [--ready-fd N] [--uid N --gid N] [--empty-dir PATH]\n"
			"Without options its sockets are handed in (ecs-endpoint.socket). Else ecsd starts it; nobody "
			"else should.\n");
		return 2;
	}
	if (run(&options, &err) < 0) {
		log_critical("cannot serve", "error=%s", err.message);
		return 1;
	}
	// Not exit(): a leak checker at exit would need what the sandbox took away.
	_exit(0);
}

static void serve_unfilled(void *arg)
{
	http_server_hold(arg, false);
}

static int run(const struct options *options, struct error *err)
{
	signal(SIGPIPE, SIG_IGN);
	uid_t uid = options->uid < 0 ? geteuid() : (uid_t)options->uid;
	struct loop *loop = loop_new(1, err); // always real time: its timeouts are clients', not the agent's
	if (!loop)
		return -err->code;
	struct served served = {.credentials = credential_store_new(),
				.tasks = task_store_new(),
				.limiter = rate_limiter_new(RATE_LIMIT_STEADY, RATE_LIMIT_BURST),
				.cluster = xstrdup(""),
				.instance_arn = xstrdup(""),
				.version = xstrdup(""),
				.audit_fd = options->audit_fd};
	struct http_server *credentials = http_server_new(
		loop, &(struct http_handler){.handle = serve_credentials, .arg = &served}, HTTP_CONNECTIONS_MAX);
	struct http_server *introspection = http_server_new(
		loop, &(struct http_handler){.handle = serve_introspection, .redirect_body = true, .arg = &served},
		INTROSPECTION_CONNECTIONS_MAX);
	http_server_listen(credentials, options->credentials_fd);
	// A new ecs-endpoint has nothing yet. Requests wait until ecsd has given it all there is, but not as long as clients do.
	struct timer unfilled;
	served.held = credentials;
	http_server_hold(credentials, true);
	timer_init(&unfilled, loop, serve_unfilled, credentials);
	timer_start(&unfilled, FILL_LIMIT_MS);
	for (unsigned i = 0; i < options->introspection_count; i++)
		http_server_listen(introspection, options->introspection_fds[i]);
	struct control *control = control_new(loop, options->control_fd, options->owner, &served);
	struct sandbox_options sandbox = {.uid = options->uid < 0 ? (uid_t)-1 : (uid_t)options->uid,
					  .gid = options->gid < 0 ? (gid_t)-1 : (gid_t)options->gid,
					  .empty_dir = options->empty_dir,
					  .descriptors = HTTP_CONNECTIONS_MAX + INTROSPECTION_CONNECTIONS_MAX +
							 DESCRIPTORS_SPARE};
	int r = sandbox_drop_rights(&sandbox, err);
	if (r == 0)
		r = sandbox_install_filter(err);
	if (r < 0)
		return r;
	CRASH_POINT("server.before-ready");
	log_info("serving", "uid=%u", uid);
	service_ready();
	service_watch(loop);
	if (options->ready_fd >= 0) {
		(void)!write(options->ready_fd, "", 1);
		close(options->ready_fd);
	}
	r = loop_run(loop);
	if (r < 0)
		return error_set_errno(err, -r, "event loop");
	timer_done(&unfilled);
	control_free(control);
	http_server_free(credentials);
	http_server_free(introspection);
	credential_store_free(served.credentials); // wipes
	return 0;
}

// Each is known by where it listens. Only root's ecsd is let in: the socket of the service manager is root's.
static int take_sockets(struct options *options)
{
	int count = service_sockets();

	options->owner = 0;
	for (int fd = SERVICE_FD_START; fd < SERVICE_FD_START + count; fd++) {
		unsigned short port;
		bool tcp = service_socket_on(fd, &port);

		if (!tcp && options->control_fd < 0)
			options->control_fd = fd;
		else if (tcp && port == CREDENTIALS_PORT && options->credentials_fd < 0)
			options->credentials_fd = fd;
		else if (tcp && port == INTROSPECTION_PORT && options->introspection_count < INTROSPECTION_MAX)
			options->introspection_fds[options->introspection_count++] = fd;
		else
			log_warn("a socket is handed in that is not known", "fd=%d port=%d", fd, tcp ? port : -1);
	}
	if (count && (options->control_fd < 0 || options->credentials_fd < 0))
		log_critical("a socket is missing", "control=%s credentials=%s", options->control_fd < 0 ? "no" : "yes",
			     options->credentials_fd < 0 ? "no" : "yes");
	return options->control_fd < 0 || options->credentials_fd < 0 ? -EINVAL : 0;
}

static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {{"control-fd", required_argument, NULL, 'c'},
					      {"credentials-fd", required_argument, NULL, 'k'},
					      {"introspection-fd", required_argument, NULL, 'i'},
					      {"audit-fd", required_argument, NULL, 'a'},
					      {"ready-fd", required_argument, NULL, 'r'},
					      {"uid", required_argument, NULL, 'u'},
					      {"gid", required_argument, NULL, 'g'},
					      {"empty-dir", required_argument, NULL, 'e'},
					      {0}};
	int c;
	bool ok = true;
	while (ok && (c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'c':
			ok = parse_fd(optarg, &options->control_fd);
			break;
		case 'k':
			ok = parse_fd(optarg, &options->credentials_fd);
			break;
		case 'a':
			ok = parse_fd(optarg, &options->audit_fd);
			break;
		case 'r':
			ok = parse_fd(optarg, &options->ready_fd);
			break;
		case 'i':
			for (char *save, *p = strtok_r(optarg, ",", &save); ok && p; p = strtok_r(NULL, ",", &save))
				ok = options->introspection_count < INTROSPECTION_MAX &&
				     parse_fd(p, &options->introspection_fds[options->introspection_count++]);
			break;
		case 'u':
			ok = parse_int64(optarg, &options->uid) && options->uid >= 0;
			break;
		case 'g':
			ok = parse_int64(optarg, &options->gid) && options->gid >= 0;
			break;
		case 'e':
			options->empty_dir = optarg;
			break;
		default:
			ok = false;
		}
	}
	ok = ok && optind == argc && options->control_fd >= 0 && options->credentials_fd >= 0 &&
	     (options->uid < 0) == (options->gid < 0);
	return ok ? 0 : -EINVAL;
}

static bool parse_fd(const char *text, int *fd)
{
	int64_t n;
	if (!parse_int64(text, &n) || n < 0 || n > INT32_MAX || fcntl((int)n, F_GETFD) < 0)
		return false;
	fcntl((int)n, F_SETFD, FD_CLOEXEC);
	*fd = (int)n;
	return true;
}
