// The engine's side of task cgroups (cgroups/): which limits a task has, making its cgroup before a container is created,
// reading the limits back once one runs, and removing the cgroup last of all at clean-up. Private to agent/engine, but
// for the tests of task_limits().
#pragma once

#include "cgroups/cgroups.h"
#include "engine/engine_internal.h"

// cgroups-and-resources.md §5.1; only the containers of the task definition count. pids 0: no limit.
struct cgroup_limits task_limits(const struct task *task, uint64_t cpu_period_us, uint64_t pids);

// HostConfig.CgroupParent for the task's containers, NULL if the task is in no cgroup; caller frees.
char *engine_cgroup_parent(const struct engine *engine, const struct task *task);
// Makes the task's cgroup, whether it is there or not: nothing about it is on disk, so a crash cannot leave a wrong fact.
// done is called later, with the container. NULL if this host has no driver any more.
struct cgroups_call *engine_make_cgroup(struct container_ref *ref, void (*done)(const struct error *err, void *arg));
// The task stops with the reason ECS knows for it.
void engine_fail_cgroup(struct container_ref *ref, const char *why);
// Once for each task and process: differences between the kernel and the task are logged.
void engine_read_back_limits(struct entry *entry, const struct engine *engine);
// Clean-up; repeated by reconcile() until it is gone.
void engine_remove_cgroup(struct engine *engine, struct entry *entry);
