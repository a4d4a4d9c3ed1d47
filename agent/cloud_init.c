#include "cloud_init.h"
#include "common/log.h"
#include "common/util.h"
#include <inttypes.h>
#include <sys/stat.h>

#define LOOK_MS 500

static bool exists(const char *directory, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, name);
	struct stat st;

	return lstat(path, &st) == 0; // result.json is a link, to a file that may be gone again
}

bool cloud_init_busy(const char *run_dir)
{
	return exists(run_dir, "enabled") && !exists(run_dir, "disabled") && !exists(run_dir, "result.json");
}

static bool is_over(struct cloud_init *wait)
{
	if (!cloud_init_busy(wait->run_dir)) {
		log_info("cloud-init has finished", NULL);
		return true;
	}
	const char *reason = wait->skip(wait->arg);
	if (reason) {
		log_info("not waiting for cloud-init", "reason=%s", reason);
		return true;
	}
	if (wait->warned || loop_now(wait->loop) - wait->since < wait->limit_ms)
		return false;
	wait->warned = true;
	if (wait->cluster_known(wait->arg)) {
		log_error("cloud-init has not finished, going on with the configuration as it is", "waited_ms=%" PRIu64,
			  wait->limit_ms);
		return true;
	}
	log_error("cloud-init has not finished and no cluster is configured, waiting on", "waited_ms=%" PRIu64,
		  wait->limit_ms);
	return false;
}

static void look(void *arg)
{
	struct cloud_init *wait = arg;

	if (is_over(wait))
		wait->done(wait->arg);
	else
		timer_start(&wait->timer, LOOK_MS);
}

void cloud_init_wait(struct cloud_init *wait)
{
	wait->since = loop_now(wait->loop);
	wait->warned = false;
	timer_init(&wait->timer, wait->loop, look, wait);
	timer_start(&wait->timer, 0);
}

void cloud_init_stop(struct cloud_init *wait)
{
	if (wait->timer.loop)
		timer_done(&wait->timer);
	wait->timer.loop = NULL;
}
