// Whether tasks get limits as a whole (ECS_ENABLE_TASK_CPU_MEM_LIMIT, cgroups-and-resources.md §3): decided once, when
// Docker has said how it uses cgroups.
#pragma once

#include "cgroups/cgroups.h"
#include "config/config.h"
#include "docker/docker.h"
#include "engine/engine.h"

// Opens the driver (*cgroups; NULL if there is none: then tasks of an earlier time keep theirs), makes the root, tells
// the engine, and leaves YES or NO in config->task_cpu_mem_limit, which the capabilities follow. false:
// ECS_ENABLE_TASK_CPU_MEM_LIMIT=true cannot be had, which is logged; ecsd is to end with exit code 5.
bool task_limits_decide(struct config *config, struct loop *loop, const struct docker_info *info, struct engine *engine,
			struct cgroups **cgroups);
