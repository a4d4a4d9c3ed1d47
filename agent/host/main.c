// ecs-host: sets up a host for ECS, in place of ecs-init's pre-start and post-stop. The one program of the project that
// executes others (iptables, ip6tables).
#include "common/capabilities.h"
#include "common/log.h"
#include "common/service.h"
#include "common/version.h"
#include "host/watch.h"
#include <signal.h>
#include <sys/stat.h>

enum exit_code { EXIT_DONE = 0, EXIT_NOT_DONE = 1, EXIT_USAGE = 2 };

static void usage(FILE *out)
{
	fputs("usage: ecs-host run | up | down | check | --help | --version\n"
	      "Sets up this host for ECS tasks: packet-filter rules, sysctls and, where there is no way there, a "
	      "route,\n"
	      "so that containers reach 169.254.170.2 and other machines do not reach what is the host's alone.\n\n"
	      "  run    put everything in place, watch it and put back what others take away, until SIGTERM or\n"
	      "         SIGINT; then undo it. A service manager is told when it is in place (READY=1)\n"
	      "  up     put everything in place\n"
	      "  down   undo it\n"
	      "  check  print what is in place, missing or unwanted, one line each\n\n"
	      "Each may be repeated at will. What is wrong is logged, on standard error. Exit code:\n"
	      "  0      done; check: nothing is missing or unwanted\n"
	      "  1      not done, but for what could be; check: something is missing or unwanted\n"
	      "  2      bad usage\n\n"
	      "Variables, from the environment, else from /etc/ecs/ecs.config, else from /var/lib/ecs/ecs.config;\n"
	      "ECSD_CONFIG_FILES names other files (: between, the strongest last). run follows their changes.\n",
	      out);
	host_config_help(out);
}

static void print(enum finding finding, const char *text, void *arg)
{
	static const char *const words[] = {[IN_PLACE] = "in place", [MISSING] = "missing", [UNWANTED] = "unwanted"};

	printf("%-8s  %s\n", words[finding], text);
	if (finding != IN_PLACE)
		*(bool *)arg = true;
}

static int check(struct host *host, struct error *err)
{
	bool wrong = false;

	host_ask_docker(host);
	int r = host_settle(host, 0, &(struct findings){print, &wrong}, err);
	return r < 0 ? r : wrong;
}

static int up(struct host *host, struct error *err)
{
	host_ask_docker(host);
	return host_set_up(host, err);
}

static int down(struct host *host, struct error *err)
{
	int r = host_undo(host, err);

	if (r == 0)
		log_info("everything is undone", NULL);
	return r;
}

static const struct command {
	const char *name;
	int (*run)(struct host *host, struct error *err); // a positive result is EXIT_NOT_DONE without a message
} commands[] = {{"run", watch_run}, {"up", up}, {"down", down}, {"check", check}};

// Nothing that whoever started us has left open or set up reaches iptables.
static void shed(void)
{
	// CAP_SYS_MODULE: iptables-legacy loads the kernel's part of itself. CAP_NET_RAW: it speaks to that by a raw socket.
	static const cap_value_t kept[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_MODULE};

	if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
		for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) // before Linux 5.9
			close(fd);
	signal(SIGCHLD, SIG_DFL); // ignored, nobody's end could be waited for
	umask(022);
	if (chdir("/") < 0)
		log_warn("cannot go to /", "error=%s", strerror(errno));
	int r = capabilities_keep(kept, ARRAY_SIZE(kept));
	if (r < 0)
		log_warn("capabilities are not dropped", "error=%s", strerror(-r));
}

static int run(const struct command *command)
{
	struct host host = {0};
	struct error err = {0};

	shed();
	host_config_read(&host.files, &host.config);
	log_open(&(struct log_options){.level = host.config.log_level,
				       .json = host.config.log_json,
				       .program = "ecs-host"},
		 NULL);
	service_open();
	int r = host_open(&host, &err);
	if (r == 0)
		r = command->run(&host, &err);
	host_close(&host);
	if (r < 0) {
		log_critical("not done", "command=%s error=%s", command->name, err.message);
		service_status("not done: %s", err.message);
	}
	return r == 0 ? EXIT_DONE : EXIT_NOT_DONE;
}

int main(int argc, char **argv)
{
	const char *word = argc == 2 ? argv[1] : "";

	if (strcmp(word, "--version") == 0) {
		printf("ecs-host %s (%s)\n", ecsd_version, ecsd_commit);
		return EXIT_DONE;
	}
	if (strcmp(word, "--help") == 0) {
		usage(stdout);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(word, commands[i].name) == 0)
			return run(&commands[i]);
	usage(stderr);
	return EXIT_USAGE;
}
