// cgroup v2 with Docker's cgroupfs driver: /ecs/<id>, controllers turned on at each level above it.

#include "cgroups/driver.h"

#include "common/util.h"
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#define ROOT "ecs"

static const char *const controllers[] = {"cpu", "memory", "pids"};

// --- shared with systemd.c ---

int v2_open(struct cgroups *cgroups, const struct cgroups_options *options, struct error *err)
{
	struct cgroup_dir dir;
	char value[CGROUP_VALUE_MAX];
	int r = cgroup_dir_open(&dir, options->path ? options->path : CGROUPS_PATH, err);
	if (r < 0)
		return r;
	cgroups->dirs = xmemdup(&dir, sizeof(dir));
	cgroups->dir_count = 1;
	return cgroup_read(&dir, "", "cgroup.controllers", value, err);
}

void v2_enable(const struct cgroup_dir *tree, const char *path)
{
	char present[CGROUP_VALUE_MAX];
	if (cgroup_read(tree, path, "cgroup.subtree_control", present, NULL) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		char value[32];
		snprintf(value, sizeof(value), "+%s", controllers[i]);
		if (!cgroup_has_word(present, controllers[i]))
			cgroup_write(tree, path, "cgroup.subtree_control", value, NULL);
	}
}

int v2_require(const struct cgroup_dir *tree, const char *path, const struct cgroup_limits *limits, struct error *err)
{
	char list[CGROUP_VALUE_MAX];
	int r = cgroup_read(tree, path, "cgroup.controllers", list, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(controllers); i++) {
		bool wanted = !str_equal(controllers[i], "pids") || (limits && limits->pids);
		if (wanted && !cgroup_has_word(list, controllers[i]))
			return error_set(err, ENOTSUP,
					 "unable to validate cgroup controllers, did not find %s controller in list "
					 "of controllers=%s",
					 controllers[i], list);
	}
	return r;
}

// systemd chooses a longer period for a small quota: the ratio counts.
static int expect_cpu_max(const struct cgroup_dir *tree, const char *path, uint64_t quota, uint64_t period,
			  struct error *err)
{
	char present[CGROUP_VALUE_MAX];
	uint64_t has_quota, has_period;
	int r = cgroup_read(tree, path, "cpu.max", present, err);
	if (r < 0)
		return r;
	if (sscanf(present, "%" SCNu64 " %" SCNu64, &has_quota, &has_period) == 2 &&
	    has_quota * period == quota * has_period)
		return 0;
	return error_set(err, EUCLEAN, "%s/%s/cpu.max is %s, expected %" PRIu64 " %" PRIu64, tree->path, path, present,
			 quota, period);
}

int v2_check(const struct cgroup_dir *tree, const char *path, uint64_t weight, uint64_t quota, uint64_t period,
	     const struct cgroup_limits *limits, struct error *err)
{
	const struct {
		const char *file;
		uint64_t value;
	} settings[] = {
		{"cpu.weight", weight},
		{"memory.max", limits->memory_bytes},
		{"pids.max", limits->pids},
	};
	int r = period ? expect_cpu_max(tree, path, quota, period, err) : 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(settings); i++) {
		char value[32];
		snprintf(value, sizeof(value), "%" PRIu64, settings[i].value);
		if (settings[i].value)
			r = cgroup_expect(tree, path, settings[i].file, value, err);
	}
	return r;
}

// --- the driver ---

static char *parent(const char *id)
{
	return xasprintf("/" ROOT "/%s", id);
}

static int make_root(struct cgroups *cgroups, struct error *err)
{
	const struct cgroup_dir *tree = &cgroups->dirs[0];
	v2_enable(tree, "");
	int r = cgroup_mkdir(tree, ROOT, err);
	if (r < 0)
		return r;
	if (faccessat(tree->fd, ROOT, W_OK, AT_EACCESS) < 0)
		return error_set_errno(err, errno, "%s/" ROOT " is not writable", tree->path);
	v2_enable(tree, ROOT);
	return v2_require(tree, ROOT, NULL, err);
}

static int set_number(const struct cgroup_dir *tree, const char *path, const char *file, uint64_t number,
		      struct error *err)
{
	char value[32];
	snprintf(value, sizeof(value), "%" PRIu64, number);
	return number ? cgroup_set(tree, path, file, value, err) : 0;
}

static int apply(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	const struct cgroup_dir *tree = &cgroups->dirs[0];
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", id);
	int r = make_root(cgroups, err);
	if (r == 0)
		r = cgroup_mkdir(tree, path, err);
	if (r == 0)
		r = v2_require(tree, path, limits, err);
	if (r < 0)
		return r;
	v2_enable(tree, path); // for the containers' own limits
	if (limits->cpu_shares)
		r = set_number(tree, path, "cpu.weight", cgroup_cpu_weight(limits->cpu_shares), err);
	if (r == 0 && limits->cpu_period_us) {
		char value[64];
		snprintf(value, sizeof(value), "%" PRIu64 " %" PRIu64, limits->cpu_quota_us, limits->cpu_period_us);
		r = cgroup_set(tree, path, "cpu.max", value, err);
	}
	if (r == 0)
		r = set_number(tree, path, "memory.max", limits->memory_bytes, err);
	if (r == 0)
		r = set_number(tree, path, "pids.max", limits->pids, err);
	return r;
}

static void create(struct cgroups_call *call)
{
	struct error err = {0};
	cgroups_finish(call, apply(call->cgroups, call->id, &call->limits, &err) < 0 ? &err : NULL);
}

static void remove_task(struct cgroups_call *call)
{
	struct error err = {0};
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", call->id);
	cgroups_finish(call, cgroup_rmdir(&call->cgroups->dirs[0], path, &err) < 0 ? &err : NULL);
}

static int check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", id);
	uint64_t weight = limits->cpu_shares ? cgroup_cpu_weight(limits->cpu_shares) : 0;
	return v2_check(&cgroups->dirs[0], path, weight, limits->cpu_quota_us, limits->cpu_period_us, limits, err);
}

const struct cgroup_driver cgroup_driver_v2 = {
	.name = "cgroup v2",
	.docker_driver = "cgroupfs",
	.docker_version = "2",
	.open = v2_open,
	.make_root = make_root,
	.parent = parent,
	.create = create,
	.remove = remove_task,
	.check = check,
};
