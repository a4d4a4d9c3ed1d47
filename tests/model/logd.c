// agent/logd/logd.h without ecs-logd: it takes every log it may, and is always asked first.
#include "logd/logd.h"
#include "common/log_options.h"
#include "docker/log_config.h"
#include "world.h"

static void (*answer)(void *arg); // the engine has but one

bool logd_ask(struct logd *logd, void (*done)(void *arg), void *arg)
{
	(void)logd;
	answer = done;
	loop_defer(model_loop(), done, arg);
	return false;
}

void logd_ask_cancel(struct logd *logd, void *arg)
{
	(void)logd;
	if (answer)
		loop_defer_cancel(model_loop(), answer, arg);
}

unsigned logd_drivers(const struct logd *logd)
{
	(void)logd;
	return LOG_DRIVER_BIT(LOG_SYSLOG);
}

const struct log_defaults *logd_docker_defaults(const struct logd *logd)
{
	static const struct log_defaults none;
	(void)logd;
	return &none;
}

void logd_docker_started(struct logd *logd)
{
	(void)logd;
}

static void told(const char *docker_id)
{
	if (!*docker_id)
		violated("LOGD_KNOWS", "a container without an id");
}

void logd_stopping(struct logd *logd, const char *docker_id)
{
	(void)logd;
	told(docker_id);
}

void logd_exited(struct logd *logd, const char *docker_id)
{
	(void)logd;
	told(docker_id);
}
