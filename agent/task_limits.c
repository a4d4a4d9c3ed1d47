#include "task_limits.h"

#include "common/log.h"
#include <inttypes.h>

static bool root_failed(struct config *config, const struct error *err)
{
	if (config->task_cpu_mem_limit == YES) {
		log_critical("Unable to initialize cgroup root for ECS", "error=%s", err->message);
		return false;
	}
	log_warn("Disabling TaskCPUMemLimit because agent is unable to setup '/ecs' cgroup", "error=%s", err->message);
	config->task_cpu_mem_limit = NO;
	return true;
}

static bool old_tasks_fit(struct config *config, const struct engine *engine)
{
	size_t without = engine_tasks_without_limits(engine);
	if (without == 0)
		return true;
	if (config->task_cpu_mem_limit == YES) {
		log_critical("App: unable to load old tasks because TaskCPUMemLimits setting is incompatible with old "
			     "state.",
			     "tasks=%zu", without);
		return false;
	}
	log_warn("App: disabling TaskCPUMemLimit.", "tasks_without_limits=%zu", without);
	config->task_cpu_mem_limit = NO;
	return true;
}

bool task_limits_decide(struct config *config, struct loop *loop, const struct docker_info *info, struct engine *engine,
			struct cgroups **cgroups)
{
	struct error err = {0};
	struct cgroups_options options = {
		.loop = loop,
		.docker_driver = info->cgroup_driver,
		.docker_version = info->cgroup_version,
		.path = config->cgroup_path,
	};
	*cgroups = cgroups_open(&options, &err);
	bool wanted = config->task_cpu_mem_limit != NO;
	if (wanted && (!*cgroups || cgroups_make_root(*cgroups, &err) < 0) && !root_failed(config, &err))
		return false;
	if (config->task_cpu_mem_limit != NO && !old_tasks_fit(config, engine))
		return false;
	if (config->task_cpu_mem_limit != NO) {
		config->task_cpu_mem_limit = YES;
		log_info("limits of tasks are on", "driver=%s cpu_period_us=%" PRIu64 " pids=%" PRId64,
			 cgroups_name(*cgroups), config->cgroup_cpu_period_us, config->task_pids_limit);
	}
	engine_set_cgroups(engine, *cgroups, config->task_cpu_mem_limit == YES);
	return true;
}
