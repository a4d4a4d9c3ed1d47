#include "startup.h"
#include "cloud_init.h"
#include "common/log_values.h"
#include "common/service.h"
#include "common/util.h"
#include "config/config_files.h"
#include "logs.h"
#include <signal.h>

struct startup {
	struct config_files files;
	struct loop *loop;
	bool ended; // by a signal
};

static const char *environment(const char *name)
{
	return getenv(name);
}

// --- the wait ---

static bool variable_is(const char *name, bool wanted)
{
	const char *text = getenv(name);
	bool value;

	return text && log_parse_bool(text, &value) && value == wanted;
}

static const char *skip_wait(void *arg)
{
	struct startup *startup = arg;

	config_files_read(&startup->files);
	if (variable_is("ECSD_WAIT_FOR_CLOUD_INIT", false))
		return "ECSD_WAIT_FOR_CLOUD_INIT=false";
	// The installer of ECS Anywhere has written all there is before it starts ecsd; then it waits for the registration, and
	// cloud-init for the installer.
	if (variable_is("ECS_EXTERNAL", true) && !str_empty(getenv("ECS_CLUSTER")))
		return "ECS_EXTERNAL=true, and ECS_CLUSTER is there";
	return NULL;
}

static bool cluster_known(void *arg)
{
	struct config config;

	(void)arg;
	if (config_load(&config, environment, NULL) < 0)
		return false;
	bool known = !str_empty(config.cluster);
	config_free(&config);
	return known;
}

static void on_done(void *arg)
{
	struct startup *startup = arg;

	loop_stop(startup->loop);
}

static void on_signal(int signal, unsigned events, void *arg)
{
	struct startup *startup = arg;

	(void)events;
	log_info("stopping", "signal=%s", strsignal(signal));
	startup->ended = true;
	loop_stop(startup->loop);
}

static int wait_for_cloud_init(struct startup *startup, struct error *err)
{
	struct cloud_init wait = {.run_dir = CLOUD_INIT_RUN,
				  .limit_ms = CLOUD_INIT_LIMIT_MS,
				  .skip = skip_wait,
				  .cluster_known = cluster_known,
				  .done = on_done,
				  .arg = startup};

	log_open(&(struct log_options){.level = LOG_INFO, .program = "ecsd"}, NULL);
	log_info("waiting for cloud-init to finish: it may write the configuration", "files=%s", startup->files.paths);
	wait.loop = startup->loop = loop_new(1, err);
	if (!startup->loop)
		return -err->code;
	struct watch *on_term = signal_watch_new(startup->loop, SIGTERM, on_signal, startup);
	struct watch *on_int = signal_watch_new(startup->loop, SIGINT, on_signal, startup);
	service_status("waiting for cloud-init to finish");
	service_ready(); // user data may be what waits for us
	service_watch(startup->loop);
	cloud_init_wait(&wait);
	int r = loop_run(startup->loop);
	cloud_init_stop(&wait);
	service_watch_end();
	watch_free(on_term);
	watch_free(on_int);
	startup->loop = loop_free(startup->loop);
	if (r < 0)
		return error_set_errno(err, -r, "event loop");
	config_files_read(&startup->files);
	return 0;
}

// --- configuration ---

static int load(struct config *config, const struct arguments *arguments, struct error *err)
{
	static const char *const levels[] = {[LOG_DEBUG] = "debug", [LOG_INFO] = "info",     [LOG_WARN] = "warn",
					     [LOG_ERROR] = "error", [LOG_CRITICAL] = "crit", [LOG_NONE] = "none"};
	if (config_load(config, environment, err) < 0) {
		error_wrap(err, "Error loading config");
		return -EINVAL;
	}
	config->accept_insecure_cert |= arguments->insecure;
	if (arguments->level_driver != LOG_LEVEL_UNSET)
		setenv("ECS_LOGLEVEL", levels[arguments->level_driver], 1); // for ecs-endpoint
	logs_open(config, arguments);
	// Without metadata there is no EC2 instance (control-plane.md §3 step 12).
	if (arguments->blackhole_imds && arguments->command == COMMAND_RUN && !config->external)
		return error_set(err, ENOTSUP,
				 str_empty(config->region)
					 ? "Error loading config: Missing required fields: AWSRegion"
					 : "Unable to detect VPC ID and Subnet: unable to get mac address: blackholed");
	return 0;
}

int startup_configure(struct config *config, const struct arguments *arguments, struct error *err)
{
	struct startup startup = {.files = {.paths = getenv("ECSD_CONFIG_FILES")}};
	bool wait = !str_empty(startup.files.paths) && arguments->command == COMMAND_RUN;
	int r = 0;

	config_files_read(&startup.files);
	if (wait && cloud_init_busy(CLOUD_INIT_RUN) && !skip_wait(&startup))
		r = wait_for_cloud_init(&startup, err);
	if (r == 0)
		r = startup.ended ? 1 : load(config, arguments, err);
	config_files_free(&startup.files);
	return r;
}
