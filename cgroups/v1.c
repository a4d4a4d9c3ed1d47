// cgroup v1 (or hybrid) with Docker's cgroupfs driver: /ecs/<id> in each hierarchy.
//
// Limits need three hierarchies only; runc makes the path in all others, so removal goes through every one that is
// mounted, the unified one of a hybrid host and named ones included.

#include "cgroups/driver.h"

#include "common/util.h"
#include <inttypes.h>
#include <fcntl.h>
#include <unistd.h>

#define MOUNTINFO_MAX ((size_t)16 << 20) // hosts with many containers have many mounts
#define HIERARCHIES_MAX 64               // the kernel has 13 controllers, and named ones are few
#define ROOT "ecs"                       // cgroups-and-resources.md §1

// pids may be missing (kernels before 4.3) as long as it is not limited.
static const struct {
	const char *controller;
	bool optional;
} needed[] = {{"cpu", false}, {"memory", false}, {"pids", true}};

// --- mounts ---

// "\040" and the like, in place.
static void unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

static bool below(const char *path, const char *top)
{
	size_t len = strlen(top);
	while (len > 1 && top[len - 1] == '/')
		len--;
	return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/' || len == 1);
}

// id parent device root mount-point options [optional fields] - type source super-options (proc(5))
static bool parse_mount(char *line, const char *top, char **device, char **point, char **options)
{
	char *fields[64], *save, *dash = NULL;
	size_t count = 0, separator = 0;
	for (char *word = strtok_r(line, " ", &save); word && count < ARRAY_SIZE(fields);
	     word = strtok_r(NULL, " ", &save)) {
		if (count > 5 && !dash && str_equal(word, "-")) {
			dash = word;
			separator = count;
		}
		fields[count++] = word;
	}
	if (!dash || separator + 3 >= count)
		return false;
	const char *type = fields[separator + 1];
	if ((!str_equal(type, "cgroup") && !str_equal(type, "cgroup2")) || !str_equal(fields[3], "/"))
		return false; // a part of a hierarchy, bound somewhere, is no hierarchy
	unescape(fields[4]);
	*device = fields[2];
	*point = fields[4];
	*options = fields[separator + 3];
	return below(fields[4], top);
}

static int add_hierarchy(struct cgroups *cgroups, const char *point, const char *options, struct error *err)
{
	struct cgroup_dir dir;
	int r = cgroup_dir_open(&dir, point, err);
	if (r < 0)
		return r;
	dir.controllers = xstrdup(options);
	cgroups->dirs = xreallocarray(cgroups->dirs, cgroups->dir_count + 1, sizeof(dir));
	cgroups->dirs[cgroups->dir_count++] = dir;
	return 0;
}

static const struct cgroup_dir *hierarchy_of(const struct cgroups *cgroups, const char *controller)
{
	for (size_t i = 0; i < cgroups->dir_count; i++) {
		if (cgroup_has_word(cgroups->dirs[i].controllers, controller))
			return &cgroups->dirs[i];
	}
	return NULL;
}

static int v1_open(struct cgroups *cgroups, const struct cgroups_options *options, struct error *err)
{
	const char *file = options->mountinfo ? options->mountinfo : "/proc/self/mountinfo";
	const char *top = options->path ? options->path : CGROUPS_PATH;
	char *seen[HIERARCHIES_MAX] = {NULL}, *save;
	_cleanup_free_ char *text = read_file(file, MOUNTINFO_MAX, NULL);
	if (!text)
		return error_set_errno(err, errno, "read %s", file);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *device, *point, *mount_options;
		if (!parse_mount(line, top, &device, &point, &mount_options))
			continue;
		bool known = cgroups->dir_count == HIERARCHIES_MAX;
		for (size_t i = 0; i < cgroups->dir_count && !known; i++)
			known = str_equal(seen[i], device);
		if (known)
			continue;
		seen[cgroups->dir_count] = device;
		int r = add_hierarchy(cgroups, point, mount_options, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!needed[i].optional && !hierarchy_of(cgroups, needed[i].controller))
			return error_set(err, ENOENT, "no cgroup hierarchy with the controller %s is mounted below %s",
					 needed[i].controller, top);
	}
	return 0;
}

// --- the tree ---

static char *v1_parent(const char *id)
{
	return xasprintf("/" ROOT "/%s", id);
}

static int v1_make_root(struct cgroups *cgroups, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		const struct cgroup_dir *dir = hierarchy_of(cgroups, needed[i].controller);
		int r = dir ? cgroup_mkdir(dir, ROOT, err) : 0;
		if (r < 0)
			return r;
		if (!dir)
			continue;
		// It may exist on a read-only mount.
		if (faccessat(dir->fd, ROOT, W_OK, AT_EACCESS) < 0)
			return error_set_errno(err, errno, "%s/" ROOT " is not writable", dir->path);
	}
	return 0;
}

// Calls act for each value of the limits, in the order in which they are to be written (cgroups-and-resources.md §5.3).
static int each_setting(const struct cgroups *cgroups, const char *path, const struct cgroup_limits *limits,
			int (*act)(const struct cgroup_dir *dir, const char *path, const char *file, const char *value,
				   struct error *err),
			struct error *err)
{
	const struct {
		const char *controller, *file;
		uint64_t value; // 0: not set
	} settings[] = {
		{"cpu", "cpu.shares", limits->cpu_shares},
		{"cpu", "cpu.cfs_period_us", limits->cpu_period_us},
		{"cpu", "cpu.cfs_quota_us", limits->cpu_period_us ? limits->cpu_quota_us : 0},
		{"memory", "memory.limit_in_bytes", limits->memory_bytes},
		{"pids", "pids.max", limits->pids},
	};
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct cgroup_dir *dir = hierarchy_of(cgroups, settings[i].controller);
		char value[32];
		if (settings[i].value == 0)
			continue;
		if (!dir)
			return error_set(err, ENOTSUP, "this host cannot limit %s", settings[i].controller);
		snprintf(value, sizeof(value), "%" PRIu64, settings[i].value);
		int r = act(dir, path, settings[i].file, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int v1_apply(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", id);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		const struct cgroup_dir *dir = hierarchy_of(cgroups, needed[i].controller);
		if (!dir)
			continue;
		int r = cgroup_mkdir(dir, ROOT, err);
		if (r == 0)
			r = cgroup_mkdir(dir, path, err);
		if (r < 0)
			return r;
	}
	// Before there is a child; a kernel that always counts children's memory (5.11 on) takes only 1.
	int r = cgroup_set(hierarchy_of(cgroups, "memory"), path, "memory.use_hierarchy", "1", err);
	if (r < 0)
		return r;
	return each_setting(cgroups, path, limits, cgroup_set, err);
}

static void v1_create(struct cgroups_call *call)
{
	struct error err = {0};
	cgroups_finish(call, v1_apply(call->cgroups, call->id, &call->limits, &err) < 0 ? &err : NULL);
}

static void v1_remove(struct cgroups_call *call)
{
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", call->id);
	struct error first = {0};
	for (size_t i = 0; i < call->cgroups->dir_count; i++) {
		struct error err = {0};
		if (cgroup_rmdir(&call->cgroups->dirs[i], path, &err) < 0 && (!first.code || err.code == EBUSY))
			first = err;
	}
	cgroups_finish(call, first.code ? &first : NULL);
}

static int v1_check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(ROOT "/%s", id);
	return each_setting(cgroups, path, limits, cgroup_expect, err);
}

const struct cgroup_driver cgroup_driver_v1 = {
	.name = "cgroup v1",
	.docker_driver = "cgroupfs",
	.docker_version = "1",
	.open = v1_open,
	.make_root = v1_make_root,
	.parent = v1_parent,
	.create = v1_create,
	.remove = v1_remove,
	.check = v1_check,
};
