// Shared by the files of cgroups/; nobody else includes it.
#pragma once

#include "cgroups/cgroups.h"
#include "cgroups/files.h"

struct cgroups_call {
	struct cgroups *cgroups;
	struct cgroups_call *next, **link; // list of the calls under way
	char *id;
	struct cgroup_limits limits; // create only
	bool removing;
	void (*done)(const struct error *err, void *arg);
	void *arg;
	bool failed;
	struct error err;
	void *state; // the driver's
};

struct cgroup_driver {
	const char *name;
	const char *docker_driver, *docker_version;
	int (*open)(struct cgroups *cgroups, const struct cgroups_options *options, struct error *err);
	void (*close)(struct cgroups *cgroups);
	int (*make_root)(struct cgroups *cgroups, struct error *err);
	char *(*parent)(const char *id);
	// Each ends with cgroups_finish, now or later.
	void (*create)(struct cgroups_call *call);
	void (*remove)(struct cgroups_call *call);
	void (*cancel)(struct cgroups_call *call); // frees call->state; may be NULL
	int (*check)(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err);
};
extern const struct cgroup_driver cgroup_driver_v1, cgroup_driver_v2, cgroup_driver_systemd;

struct cgroups {
	const struct cgroup_driver *driver;
	struct loop *loop;
	struct cgroups_call *calls;
	struct cgroup_dir *dirs; // v1: the hierarchies; v2: one, the tree
	size_t dir_count;
	void *state; // the driver's
};

// err NULL: success. The caller hears of it in a later turn.
void cgroups_finish(struct cgroups_call *call, const struct error *err);

// --- v2.c, also for systemd.c ---
// Turns controllers on below a cgroup (cgroup.subtree_control), each by itself; what is missing shows in v2_require.
void v2_enable(const struct cgroup_dir *tree, const char *path);
// Fails unless cgroup.controllers of the cgroup lists cpu and memory, and pids if it is limited.
int v2_require(const struct cgroup_dir *tree, const char *path, const struct cgroup_limits *limits, struct error *err);
int v2_check(const struct cgroup_dir *tree, const char *path, uint64_t weight, uint64_t quota, uint64_t period,
	     const struct cgroup_limits *limits, struct error *err);
int v2_open(struct cgroups *cgroups, const struct cgroups_options *options, struct error *err);
