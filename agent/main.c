// ecsd: start-up order, wiring and shutdown. Each subsystem is one *_new call; what they tell each
// other goes through the callbacks below, so that agent/engine knows nothing of ACS and
// agent/control nothing of Docker.

#include "arguments.h"
#include "common/aws/aws_json.h"
#include "common/aws/credentials.h"
#include "common/aws/imds.h"
#include "commands.h"
#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/confine.h"
#include "common/host.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/service.h"
#include "common/util.h"
#include "common/version.h"
#include "config/config.h"
#include "control/acs.h"
#include "control/instance.h"
#include "control/submit.h"
#include "control/user_data.h"
#include "docker/docker.h"
#include "endpoint/endpoint.h"
#include "endpoint/spawner.h"
#include "engine/engine.h"
#include "engine/introspect.h"
#include "handback.h"
#include "logd/logd.h"
#include "logs.h"
#include "startup.h"
#include "takeover/takeover.h"
#include "task_limits.h"
#include <curl/curl.h>
#include <signal.h>
#include <sys/resource.h>

// Exit codes as the official agent's supervisor reads them (control-plane.md §2.2).
enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_TERMINAL = 5 };

struct app {
	struct config config;
	struct loop *loop;
	struct http_client *http, *docker_http;
	struct imds *imds; // NULL: an external instance, where nobody may ask it anything
	struct credentials_chain *credentials;
	struct docker *docker;
	struct cgroups *cgroups;
	struct store *store;
	struct takeover *takeover; // until the engine has loaded; NULL: none
	struct registry *registry;
	struct logd *logd;
	struct engine *engine;
	struct instance *instance;
	struct endpoint *endpoint;
	struct submit *submit;
	struct acs *acs;
	struct audit_log audit_log;
	struct user_data user_data;
	struct watch *on_term, *on_int;
	struct timer docker_retry;
	struct backoff docker_backoff;
	int spawner_fd; // -1: a service manager runs ecs-endpoint
	bool docker_lost;
	int exit_code;
};

static void stop(struct app *app, int exit_code)
{
	app->exit_code = exit_code;
	loop_stop(app->loop);
}

// The line of `systemctl status` from registration on; before, each step of the start-up says what it waits for.
static void tell_status(struct app *app)
{
	const char *arn = instance_arn(app->instance), *state = "connecting to ECS";

	if (!app->acs)
		return;
	if (app->docker_lost)
		state = "waiting for Docker";
	else if (acs_connected(app->acs))
		state = "connected to ECS";
	service_status("%s; registered as %s", state, arn);
}

// --- engine -> endpoint and submit ---

static void on_report(const char *task_arn, void *arg)
{
	struct app *app = arg;
	submit_notify(app->submit, task_arn);
}

static void on_acs_open(void *arg)
{
	struct app *app = arg;
	tell_status(app);
	submit_retry_now(app->submit);
}

static void on_acs_closed(void *arg)
{
	tell_status(arg);
}

static void on_docker_state(bool there, void *arg)
{
	struct app *app = arg;
	app->docker_lost = !there;
	tell_status(app);
}

static void on_task_changed(const struct task *task, void *arg)
{
	struct app *app = arg;
	const char **ids = xcalloc(task->container_count + 1, sizeof(*ids));
	size_t count = 0;
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if (c->docker_id || c->docker_name)
			ids[count++] = c->docker_id ? c->docker_id : c->docker_name;
	}
	_cleanup_free_ char *json = introspect_task(task);
	endpoint_set_task(app->endpoint, task->arn, json, ids, count);
	free(ids);
}

// The application's credentials end with the task, the execution role's with its clean-up (credentials-endpoint.md §5), or
// when its logs have been shipped with them.
static void on_task_stopped(const struct task *task, void *arg)
{
	struct app *app = arg;
	if (task->credentials_id)
		endpoint_remove(app->endpoint, task->credentials_id);
}

static void on_task_forgotten(const struct task *task, void *arg)
{
	struct app *app = arg;
	if (task->execution_credentials_id)
		endpoint_remove(app->endpoint, task->execution_credentials_id);
	endpoint_remove_task(app->endpoint, task->arn);
}

static bool role_needed(const struct task *task, void *arg)
{
	struct app *app = arg;
	const char *id = task->execution_credentials_id;
	return endpoint_holds(app->endpoint, id) && logd_needs_credentials(app->logd, id);
}

static void expect_credentials(const struct task *task, void *arg)
{
	struct app *app = arg;
	if (task->credentials_id && task->known != TASK_STOPPED)
		endpoint_expect(app->endpoint, task->credentials_id, task->arn, ROLE_TASK_APPLICATION);
	if (task->execution_credentials_id)
		endpoint_expect(app->endpoint, task->execution_credentials_id, task->arn, ROLE_TASK_EXECUTION);
}

// --- start-up, step by step ---

static void on_registered(void *arg)
{
	struct app *app = arg;
	engine_set_cluster(app->engine, instance_cluster(app->instance));
	endpoint_set_instance(app->endpoint, instance_cluster(app->instance), instance_arn(app->instance));
	struct acs_options options = {
		.loop = app->loop,
		.instance = app->instance,
		.credentials = app->credentials,
		.engine = app->engine,
		.endpoint = app->endpoint,
		.docker_version = docker_server_version(app->docker),
		.insecure = app->config.accept_insecure_cert,
		.on_open = on_acs_open,
		.on_closed = on_acs_closed,
		.arg = app,
	};
	app->acs = acs_new(&options);
	tell_status(app);
	submit_start(app->submit);
	acs_start(app->acs);
}

static void on_register_failed(int exit_code, void *arg)
{
	stop(arg, exit_code);
}

static void on_disk_full(void *arg)
{
	struct app *app = arg;
	engine_make_room(app->engine);
}

static void connect_docker(void *arg);

static void wait_for_docker(struct app *app, const struct docker_error *err)
{
	log_warn("waiting for Docker", "endpoint=%s error=%s", app->config.docker_host, err->message);
	service_status("waiting for Docker: %s", err->message);
	timer_start(&app->docker_retry, backoff_next(&app->docker_backoff));
}

// With it known what ecs-logd takes: it decides a capability.
static void register_instance(void *arg)
{
	struct app *app = arg;
	app->config.logd_runs = logd_drivers(app->logd) != 0;
	service_status("registering in cluster %s", instance_cluster(app->instance));
	instance_register(app->instance);
}

static void on_docker_info(const struct docker_error *err, const struct docker_info *info, void *arg)
{
	struct app *app = arg;
	if (err->failure != DOCKER_OK) {
		wait_for_docker(app, err);
		return;
	}
	if (!task_limits_decide(&app->config, app->loop, info, app->engine, &app->cgroups)) {
		stop(app, EXIT_TERMINAL);
		return;
	}
	CRASH_POINT("recovery.docker-known");
	// Recovery does not wait for the control plane; reports do.
	engine_start(app->engine, NULL, NULL);
	if (logd_ask(app->logd, register_instance, app))
		register_instance(app);
}

static void on_docker(const struct docker_error *err, void *arg)
{
	struct app *app = arg;
	if (err->failure == DOCKER_REFUSED) {
		log_critical("Docker Engine cannot be used", "endpoint=%s error=%s", app->config.docker_host,
			     err->message);
		stop(app, EXIT_TERMINAL);
		return;
	}
	if (err->failure != DOCKER_OK) {
		wait_for_docker(app, err);
		return;
	}
	log_info("Docker Engine", "version=%s api=%s", docker_server_version(app->docker),
		 docker_api_version(app->docker));
	docker_info(app->docker, on_docker_info, app);
}

static void connect_docker(void *arg)
{
	struct app *app = arg;
	docker_connect(app->docker, on_docker, app);
}

static const struct task_credentials *execution_role(const char *id, void *arg)
{
	struct app *app = arg;
	return endpoint_get(app->endpoint, id);
}

static void make_registry(struct app *app)
{
	_cleanup_free_ char *user_agent = aws_user_agent(app->config.os_family);
	app->registry = registry_new(&(struct registry_options){.loop = app->loop,
								.http = app->http,
								.credentials = app->credentials,
								.region = instance_region(app->instance),
								.user_agent = user_agent,
								.insecure = app->config.accept_insecure_cert,
								.auth_type = app->config.engine_auth_type,
								.auth_data = app->config.engine_auth_data,
								.role = execution_role,
								.arg = app});
}

static struct image_settings image_settings(const struct config *config)
{
	return (struct image_settings){
		.disabled = config->image_cleanup_disabled || config->pull_behavior == PULL_PREFER_CACHED,
		.untracked = config->untracked_image_cleanup,
		.interval_ms = config->image_cleanup_interval_ms,
		.min_age_ms = config->image_cleanup_age_ms,
		.untracked_min_age_ms = config->untracked_image_cleanup_age_ms,
		.untracked_container_age_ms = config->task_cleanup_wait_ms,
		.images_per_cycle = config->images_deleted_per_cycle,
		.containers_per_cycle = config->untracked_containers_deleted_per_cycle,
		.excluded = &config->image_cleanup_exclusions,
		.disk_high = (unsigned)config->image_disk_high_percent,
		.disk_low = (unsigned)config->image_disk_low_percent,
		.inodes_high = (unsigned)config->image_inodes_high_percent,
		.inodes_low = (unsigned)config->image_inodes_low_percent,
	};
}

static bool make_engine(struct app *app)
{
	struct error err = {0};
	make_registry(app);
	struct engine_options options = {
		.loop = app->loop,
		.docker = app->docker,
		.store = app->store,
		.registry = app->registry,
		.logd = app->logd,
		.cluster = instance_cluster(app->instance),
		.region = instance_region(app->instance),
		.task_iam_role = app->config.task_iam_role,
		.pull_behavior = (int)app->config.pull_behavior,
		.pull_timeout_ms = app->config.image_pull_timeout_ms,
		.manifest_timeout_ms = app->config.manifest_pull_timeout_ms,
		.stop_timeout_ms = app->config.container_stop_timeout_ms,
		.cleanup_wait_ms = app->config.task_cleanup_wait_ms,
		.cleanup_jitter_ms = app->config.task_cleanup_jitter_ms,
		.port_first = app->config.dynamic_port_first,
		.port_last = app->config.dynamic_port_last,
		.images = image_settings(&app->config),
		.host_cpu = host_cpu_units(),
		.host_memory_mib = host_memory_mib() - app->config.reserved_memory_mib,
		.reserved_tcp = &app->config.reserved_tcp,
		.reserved_udp = &app->config.reserved_udp,
		.exclude_ipv6_bindings = app->config.exclude_ipv6_port_binding != NO,
		.cgroup_cpu_period_us = app->config.cgroup_cpu_period_us,
		.task_pids_limit = app->config.task_pids_limit,
		.cgroup_v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0,
		// An instance that was registered and has a database without a past has lost one.
		.rebuild = store_needs_rebuild(app->store) && instance_arn(app->instance),
		.on_report = on_report,
		.on_task_changed = on_task_changed,
		.on_task_stopped = on_task_stopped,
		.on_task_forgotten = on_task_forgotten,
		.role_needed = role_needed,
		.on_docker = on_docker_state,
		.arg = app,
	};
	app->engine = engine_new(&options);
	if (engine_load(app->engine, &err) < 0) {
		log_critical("state cannot be loaded", "error=%s", err.message);
		stop(app, EXIT_ERROR); // what is damaged was set aside before: this disk may be read later
		return false;
	}
	if (app->takeover)
		takeover_give_lost(app->takeover, instance_arn(app->instance), app->engine);
	if (instance_state_discarded(app->instance)) // also without ECS_CHECKPOINT
		engine_discard(app->engine);
	else
		engine_each_task(app->engine, expect_credentials, app);
	return true;
}

// Of another EC2 instance nothing is taken over; what a killed start had written is forgotten with all else.
static bool take_over(struct app *app)
{
	struct error err = {0};
	if (!app->takeover || instance_state_discarded(app->instance))
		return true;
	if (takeover_write(app->takeover, app->store, &err) < 0) {
		log_critical("the official agent's state cannot be taken over", "error=%s", err.message);
		stop(app, EXIT_ERROR);
		return false;
	}
	if (instance_save(app->instance, &err) == 0)
		takeover_end(app->store);
	else
		log_warn("the identity taken over is not saved in a file of its own yet", "error=%s", err.message);
	return true;
}

static void on_identified(void *arg)
{
	struct app *app = arg;
	bool taken = take_over(app);
	bool engine = taken && make_engine(app);
	app->takeover = takeover_free(app->takeover);
	if (!engine)
		return;
	app->submit = submit_new(app->loop, app->instance, app->engine);
	engine_each_task(app->engine, on_task_changed,
			 app); // what is not pushed before the start is gone from /v1/tasks
	endpoint_start(app->endpoint);
	connect_docker(app);
}

static void on_endpoint(bool connected, void *arg)
{
	(void)arg;
	if (connected)
		log_info("ecs-endpoint holds everything", NULL);
	else
		log_warn("ecs-endpoint is away", NULL);
}

static void on_returned(const struct task_credentials *credentials, void *arg)
{
	struct app *app = arg;
	if (credentials->role != ROLE_TASK_EXECUTION)
		return;
	log_info("execution role credentials came back from ecs-endpoint", "task=%s", credentials->task_arn);
	engine_set_credentials_id(app->engine, credentials->task_arn, true, credentials->id);
}

static bool make_endpoint(struct app *app, struct error *err)
{
	_cleanup_free_ char *own = xasprintf("%s/ecs-endpoint.sock", app->config.run_dir);
	struct endpoint_options options = {
		.loop = app->loop,
		.socket = str_empty(app->config.endpoint_socket) ? own : app->config.endpoint_socket,
		.spawner_fd = app->spawner_fd,
		.audit_log_path = app->config.audit_log_disabled ? NULL : app->config.audit_log_file,
		.rps_steady = app->config.metadata_rps_steady,
		.rps_burst = app->config.metadata_rps_burst,
		.on_connected = on_endpoint,
		.on_returned = on_returned,
		.arg = app,
	};
	app->endpoint = endpoint_new(&options, err);
	return app->endpoint != NULL;
}

static void on_logd(void *arg)
{
	struct app *app = arg;
	if (app->engine)
		engine_tell_logd(app->engine);
}

static void make_logd(struct app *app)
{
	app->logd = logd_new(&(struct logd_options){.loop = app->loop,
						    .http = app->docker_http,
						    .drivers = app->config.native_logging,
						    .plugin_socket = app->config.log_plugin_socket,
						    .socket = app->config.logd_socket,
						    .docker_config_file = app->config.docker_config_file,
						    .on_connected = on_logd,
						    .arg = app});
}

static void on_signal(int signal, unsigned events, void *arg)
{
	struct app *app = arg;
	(void)events;
	log_info("stopping; containers keep running", "signal=%s", strsignal(signal));
	service_stopping();
	stop(app, EXIT_OK);
}

// A pidfd for each container, a socket for each call: the usual soft limit of 1024 is for programs that use select().
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			log_warn("descriptor limit not raised", "error=%s", strerror(errno));
	}
}

// What is needed to read EC2 user data, the last source of the configuration.
static bool make_base(struct app *app, struct error *err)
{
	if (!(app->loop = loop_new(app->config.clock_scale, err)))
		return false;
	confine_watch(app->loop);
	app->on_term = signal_watch_new(app->loop, SIGTERM, on_signal, app);
	app->on_int = signal_watch_new(app->loop, SIGINT, on_signal, app);
	timer_init(&app->docker_retry, app->loop, connect_docker, app);
	app->docker_backoff = BACKOFF(500, 10000, 1.5, 0.2); // a local socket: asking often costs nothing
	if (!(app->http = http_client_new(app->loop, err)) || !(app->docker_http = http_client_new(app->loop, err)))
		return false;
	if (!app->config.external)
		app->imds = imds_new(app->loop, app->http);
	return true;
}

static bool make(struct app *app, struct error *err)
{
	const struct config *config = &app->config;
	app->credentials = config->external ? credentials_chain_external(app->loop, config->rotating_credentials_file,
									 config->rotating_credentials_profile)
					    : credentials_chain_new(app->loop, app->imds);
	struct docker_options docker_options = {
		.loop = app->loop,
		.http = app->docker_http,
		.endpoint = config->docker_host,
		.create_timeout_ms = config->container_create_timeout_ms,
		.start_timeout_ms = config->container_start_timeout_ms,
		.pull_timeout_ms = config->image_pull_timeout_ms,
		.pull_inactivity_ms = config->image_pull_inactivity_ms,
		.manifest_timeout_ms = config->manifest_pull_timeout_ms,
	};
	app->docker = docker_new(&docker_options);
	if (!(app->store = store_open(config->data_dir, err)) ||
	    takeover_begin(config, app->store, &app->takeover, err) < 0 || !make_endpoint(app, err))
		return false;
	audit_log_start(&app->audit_log, app->loop, config, app->endpoint);
	make_logd(app);
	struct instance_options instance_options = {
		.loop = app->loop,
		.http = app->http,
		.imds = app->imds,
		.credentials = app->credentials,
		.config = config,
		.docker = app->docker,
		.previous = app->takeover ? takeover_identity(app->takeover) : NULL,
		.on_registered = on_registered,
		.on_failed = on_register_failed,
		.on_disk_full = on_disk_full,
		.arg = app,
	};
	app->instance = instance_new(&instance_options);
	return true;
}

static void on_configured(int exit_code, void *arg)
{
	struct app *app = arg;
	struct error err = {0};
	if (exit_code) {
		stop(app, exit_code);
		return;
	}
	if (app->config.external)
		app->imds = imds_free(app->imds); // by user data; what the environment has made external has none
	service_status(app->imds ? "asking instance metadata who this is" : "starting as an external instance");
	if (!make(app, &err)) {
		log_critical("start-up failed", "error=%s", err.message);
		stop(app, EXIT_ERROR);
		return;
	}
	instance_identify(app->instance, on_identified);
}

static void on_no_user_data(void *arg)
{
	on_configured(EXIT_OK, arg);
}

static void read_user_data(struct app *app)
{
	if (!app->imds) {
		log_info("external instance: instance metadata is not asked for anything", NULL);
		loop_defer(app->loop, on_no_user_data, app);
		return;
	}
	service_status("reading EC2 user data");
	app->user_data = (struct user_data){.imds = app->imds,
					    .config = &app->config,
					    .cloud_init_result = CLOUD_INIT_RESULT,
					    .done = on_configured,
					    .arg = app};
	user_data_read(&app->user_data);
}

static void tear_down(struct app *app)
{
	app->acs = acs_free(app->acs);
	app->submit = submit_free(app->submit);
	app->instance = instance_free(app->instance);
	app->engine = engine_free(app->engine);
	audit_log_stop(&app->audit_log);
	app->cgroups = cgroups_close(app->cgroups);
	app->logd = logd_free(app->logd);
	app->registry = registry_free(app->registry);
	app->endpoint = endpoint_free(app->endpoint);
	app->docker = docker_free(app->docker);
	app->credentials = credentials_chain_free(app->credentials);
	app->imds = imds_free(app->imds);
	app->http = http_client_free(app->http);
	app->docker_http = http_client_free(app->docker_http);
	app->takeover = takeover_free(app->takeover);
	app->store = store_close(app->store);
	timer_done(&app->docker_retry);
	watch_free(app->on_term);
	watch_free(app->on_int);
	confine_watch_end();
	service_watch_end();
	app->loop = loop_free(app->loop);
	if (app->spawner_fd >= 0)
		close(app->spawner_fd);
	config_free(&app->config);
	curl_global_cleanup();
	log_close();
}

// --- start ---

static bool start_spawner(struct app *app, struct error *err)
{
	if (!str_empty(app->config.endpoint_socket))
		return true; // a service manager runs it
	_cleanup_free_ char *program = program_find("ecs-endpoint");
	if (!program) {
		error_set(err, ENOENT, "ecs-endpoint is neither beside ecsd nor in %s", ecsd_libexecdir);
		return false;
	}
	struct spawner_options options = {
		.run_dir = app->config.run_dir,
		.program = program,
		.audit_log_path = app->config.audit_log_disabled ? NULL : app->config.audit_log_file,
		.user = "ecs-endpoint",
	};
	app->spawner_fd = spawner_start(&options, err);
	return app->spawner_fd >= 0;
}

int main(int argc, char **argv)
{
	static struct app app = {.spawner_fd = -1};
	struct error err = {0};
	struct arguments arguments;
	if (arguments_parse(argc, argv, &arguments, &err) < 0) {
		fprintf(stderr, "ecsd: %s\n", err.message);
		arguments_usage(stderr);
		return EXIT_TERMINAL;
	}
	int code = command_answer(&arguments);
	if (code >= 0)
		return code;
	signal(SIGPIPE, SIG_IGN);
	service_open();
	code = startup_configure(&app.config, &arguments, &err);
	if (code > 0)
		return EXIT_OK;
	if (code < 0) {
		log_critical("cannot start", "error=%s exit_code=%d", err.message, EXIT_ERROR);
		service_status("cannot start: %s", err.message);
		config_free(&app.config);
		return EXIT_ERROR;
	}
	if (arguments.command == COMMAND_ATTRIBUTES || arguments.command == COMMAND_HANDBACK_CHECK) {
		code = arguments.command == COMMAND_ATTRIBUTES ? command_attributes(&app.config)
							       : handback_check(app.config.data_dir, stdout);
		config_free(&app.config);
		return code;
	}
	log_info("ecsd starts", "version=%s commit=%s", ecsd_version, ecsd_commit);
	// Forked while the process is still small and has no thread, socket or secret.
	if (!start_spawner(&app, &err)) {
		log_critical("ecs-endpoint cannot be started", "error=%s", err.message);
		service_status("ecs-endpoint cannot be started: %s", err.message);
		return EXIT_ERROR;
	}
	raise_descriptor_limit();
	// Root's files are its own; the one right is for what an operator has given to somebody else (data, logs, Docker's socket).
	confine(&(struct confine_options){
		.kept = CAP_DAC_OVERRIDE, .filter = app.config.syscall_filter, .switch_name = "ECSD_SYSCALL_FILTER"});
	curl_global_init(CURL_GLOBAL_DEFAULT);
	app.exit_code = EXIT_ERROR;
	if (make_base(&app, &err)) {
		// All that follows waits for others (instance metadata, Docker, ECS), who may be waiting for us.
		service_ready();
		service_watch(app.loop);
		read_user_data(&app);
		loop_run(app.loop);
	} else {
		log_critical("start-up failed", "error=%s", err.message);
	}
	code = app.exit_code;
	if (code != EXIT_OK)
		service_status("ended with exit code %d: %s", code, log_last_critical());
	tear_down(&app);
	return code;
}
