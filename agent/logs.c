#include "logs.h"
#include "common/util.h"
#include <libgen.h>
#include <sys/stat.h>

#define AUDIT_LOOK_MS 30000

void logs_open(const struct config *config, const struct arguments *arguments)
{
	struct log_options options = {
		.level = arguments->level_driver != LOG_LEVEL_UNSET ? arguments->level_driver : config->log_level,
		.file_level = arguments->level_on_instance != LOG_LEVEL_UNSET ? arguments->level_on_instance
									      : config->log_level_on_instance,
		.json = config->log_json,
		.path = config->log_file,
		.roll = config->log_roll,
		.program = "ecsd",
	};

	if (!str_empty(config->log_file)) {
		_cleanup_free_ char *directory = xstrdup(config->log_file);
		make_directory(dirname(directory), 0755); // if that fails, opening does too
	}
	struct error err;
	if (log_open(&options, &err) == 0)
		return;
	options.path = NULL;
	log_open(&options, NULL);
	log_error("there is no log file: the log goes to standard error only, until a restart", "error=%s",
		  err.message);
}

static void on_timer(void *arg)
{
	struct audit_log *log = arg;

	audit_log_roll(log, wall_ms());
	timer_start(&log->timer, AUDIT_LOOK_MS);
}

void audit_log_start(struct audit_log *log, struct loop *loop, const struct config *config, struct endpoint *endpoint)
{
	*log = (struct audit_log){.file = {.path = config->audit_log_file, .roll = config->log_roll},
				  .endpoint = endpoint};
	if (log->file.roll.type == LOG_ROLL_NONE)
		log->file.roll.type = LOG_ROLL_HOURLY;
	timer_init(&log->timer, loop, on_timer, log);
	if (!config->audit_log_disabled)
		on_timer(log);
}

void audit_log_stop(struct audit_log *log)
{
	if (log->timer.loop)
		timer_done(&log->timer);
}

bool audit_log_roll(struct audit_log *log, int64_t wall_ms)
{
	struct stat st;

	if (stat(log->file.path, &st) < 0)
		return false;
	log->file.size = st.st_size;
	if (!rolling_file_roll(&log->file, wall_ms))
		return false;
	endpoint_reopen_audit_log(log->endpoint);
	return true;
}
