// Task cgroups: values, the file drivers on a copied tree, and the systemd driver against a process that answers as
// systemd does on its private socket.
#include "cgroups/cgroups.h"
#include "common/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include <cmocka.h>

#define ID "0123456789abcdef0123456789abcdef"

static struct loop *loop;
static char top[64];
static bool called;
static struct error result;
static pid_t manager;

// --- values ---

static void test_limits(void **state)
{
	static const struct {
		double vcpus;
		uint64_t period, containers[3];
		uint64_t quota, per_second, shares, weight;
	} cases[] = {
		{0.25, 100000, {512}, 25000, 250000, 0, 0},          // cgroups-and-resources.md §5.1
		{1.333, 100000, {0}, 133300, 1340000, 0, 0},         // the same
		{0.125, 8000, {0}, 1000, 130000, 0, 0},              // the smallest of both
		{192, 100000, {0}, 19200000, 192000000, 0, 0},       // increased-task-cpu-limit
		{0, 100000, {0, 512, UINT64_MAX}, 0, 0, 514, 20},    // the page's example: two containers
		{0, 100000, {0, UINT64_MAX}, 0, 0, 2, 1},            // the same: one
		{0, 100000, {1, 2, 3}, 0, 0, 7, 1},                  // below 2 counts as 2
		{0, 100000, {262144, 5, 1}, 0, 0, 262144, 10000},    // the cap
		{-1, 100000, {UINT64_MAX - 1}, 0, 0, 262144, 10000}, // no CPU at all
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cgroup_limits limits = {0};
		for (size_t k = 0; k < 3 && cases[i].containers[k] != UINT64_MAX; k++)
			cgroup_limits_add_shares(&limits, cases[i].containers[k]);
		cgroup_limits_cpu(&limits, cases[i].vcpus, cases[i].period);
		assert_int_equal(limits.cpu_quota_us, cases[i].quota);
		assert_int_equal(limits.cpu_period_us, cases[i].quota ? cases[i].period : 0);
		assert_int_equal(cgroup_quota_per_second(&limits), cases[i].per_second);
		assert_int_equal(limits.cpu_shares, cases[i].shares);
		if (cases[i].shares)
			assert_int_equal(cgroup_cpu_weight(limits.cpu_shares), cases[i].weight);
	}
	assert_int_equal(cgroup_cpu_weight(0), 1);
	assert_int_equal(cgroup_cpu_weight(UINT64_MAX), 10000);
}

static const struct cgroup_limits quota_limits = {
	.cpu_quota_us = 25000, .cpu_period_us = 100000, .memory_bytes = 64 << 20, .pids = 20};
static const struct cgroup_limits share_limits = {.cpu_shares = 514};

// --- the tree ---

static char *at(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *at(const char *format, ...)
{
	static char path[4][512];
	static unsigned turn;
	char *out = path[turn++ % 4];
	va_list args;
	int n = snprintf(out, 512, "%s/", top);
	va_start(args, format);
	vsnprintf(out + n, 512 - (size_t)n, format, args);
	va_end(args);
	return out;
}

static void put(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
}

static void assert_file(const char *path, const char *text)
{
	_cleanup_free_ char *found = read_file(path, 65536, NULL);
	assert_non_null(found);
	assert_string_equal(str_trim(found), text);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/ecsd-cgroups-XXXXXX");
	loop = loop_new(1, NULL);
	manager = 0;
	return loop && mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf %s", top);
	if (manager > 0) {
		kill(manager, SIGKILL);
		waitpid(manager, NULL, 0);
	}
	loop = loop_free(loop);
	return system(command);
}

static void on_done(const struct error *err, void *arg)
{
	(void)arg;
	called = true;
	result = err ? *err : (struct error){0};
	loop_stop(loop);
}

static void finish(void)
{
	assert_false(called); // never from inside
	assert_int_equal(loop_run(loop), 0);
	assert_true(called);
	called = false;
}

static int create(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits)
{
	cgroups_create(cgroups, id, limits, on_done, NULL);
	finish();
	return result.code;
}

static int destroy(struct cgroups *cgroups, const char *id)
{
	cgroups_remove(cgroups, id, on_done, NULL);
	finish();
	return result.code;
}

// --- v1 ---

// A hybrid host's mounts, one hierarchy twice and a part of another bound elsewhere.
static void make_v1_mounts(void)
{
	static const char *const mounts[][4] = {
		{"0:30", "/", "cpu,cpuacct", "cgroup"}, {"0:31", "/", "memory", "cgroup"},
		{"0:32", "/", "pids", "cgroup"},        {"0:33", "/", "blk io", "cgroup"},
		{"0:34", "/", "unified", "cgroup2"},    {"0:31", "/", "again", "cgroup"},
		{"0:35", "/docker/x", "part", "cgroup"}};
	_cleanup_fclose_ FILE *file = fopen(at("mountinfo"), "w");
	assert_non_null(file);
	fprintf(file, "21 1 0:20 / / rw - ext4 /dev/vda rw\n22 21 0:29 / /elsewhere rw - cgroup cgroup rw,memory\n");
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(at("%s", mounts[i][2]), 0755);
		fprintf(file, "%zu 21 %s %s %s/%s rw,relatime shared:%zu - %s cgroup rw,%s\n", 30 + i, mounts[i][0],
			mounts[i][1], top, str_equal(mounts[i][2], "blk io") ? "blk\\040io" : mounts[i][2], i,
			mounts[i][3], str_equal(mounts[i][2], "blk io") ? "blkio" : mounts[i][2]);
	}
}

// What the kernel makes with a directory.
static void make_v1_task(const char *id)
{
	static const char *const files[][2] = {
		{"cpu,cpuacct", "cpu.shares"},       {"cpu,cpuacct", "cpu.cfs_period_us"},
		{"cpu,cpuacct", "cpu.cfs_quota_us"}, {"memory", "memory.use_hierarchy"},
		{"memory", "memory.limit_in_bytes"}, {"pids", "pids.max"}};
	static const char *const hierarchies[] = {"cpu,cpuacct", "memory", "pids", "blk io", "unified"};
	for (size_t i = 0; i < ARRAY_SIZE(hierarchies); i++) {
		mkdir(at("%s/ecs", hierarchies[i]), 0755);
		mkdir(at("%s/ecs/%s", hierarchies[i], id), 0755);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(at("%s/ecs/%s/%s", files[i][0], id, files[i][1]), "0\n");
}

static void remove_v1_files(const char *id)
{
	_cleanup_free_ char *command = xasprintf("find %s -path '*/ecs/%s/*' -type f -delete", top, id);
	assert_int_equal(system(command), 0);
}

static struct cgroups *open_v1(struct error *err)
{
	struct cgroups_options options = {.loop = loop, .docker_driver = "cgroupfs", .path = top};
	options.mountinfo = at("mountinfo");
	return cgroups_open(&options, err);
}

static void test_v1(void **state)
{
	struct error err = {0};
	(void)state;
	make_v1_mounts();
	struct cgroups *cgroups = open_v1(&err);
	assert_non_null(cgroups);
	assert_string_equal(cgroups_name(cgroups), "cgroup v1");
	assert_int_equal(cgroups_make_root(cgroups, &err), 0);
	assert_true(exists(at("cpu,cpuacct/ecs")) && exists(at("memory/ecs")) && exists(at("pids/ecs")));
	_cleanup_free_ char *parent = cgroups_parent(cgroups, ID);
	assert_string_equal(parent, "/ecs/" ID);

	// In a directory without the kernel's files nothing can be written.
	assert_int_equal(create(cgroups, "other", &quota_limits), ENOENT);
	assert_non_null(strstr(result.message, "memory/ecs/other/memory.use_hierarchy"));

	make_v1_task(ID);
	assert_int_equal(create(cgroups, ID, &quota_limits), 0);
	assert_file(at("cpu,cpuacct/ecs/" ID "/cpu.shares"), "0");
	assert_file(at("cpu,cpuacct/ecs/" ID "/cpu.cfs_period_us"), "100000");
	assert_file(at("cpu,cpuacct/ecs/" ID "/cpu.cfs_quota_us"), "25000");
	assert_file(at("memory/ecs/" ID "/memory.use_hierarchy"), "1");
	assert_file(at("memory/ecs/" ID "/memory.limit_in_bytes"), "67108864");
	assert_file(at("pids/ecs/" ID "/pids.max"), "20");
	assert_int_equal(create(cgroups, ID, &quota_limits), 0); // again
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), 0);
	put(at("memory/ecs/" ID "/memory.limit_in_bytes"), "9223372036854771712\n");
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), -EUCLEAN);
	_cleanup_free_ char *text =
		xasprintf("%s/memory/ecs/" ID "/memory.limit_in_bytes is 9223372036854771712, expected 67108864", top);
	assert_string_equal(err.message, text);
	assert_int_equal(create(cgroups, ID, &share_limits), 0);
	assert_file(at("cpu,cpuacct/ecs/" ID "/cpu.shares"), "514");
	assert_int_equal(cgroups_check(cgroups, ID, &share_limits, &err), 0);

	// A process in it: busy, and nothing of it is lost. Then it goes, everywhere.
	assert_int_equal(destroy(cgroups, ID), EBUSY);
	assert_file(at("pids/ecs/" ID "/pids.max"), "20");
	remove_v1_files(ID);
	mkdir(at("blk io/ecs/" ID "/container"), 0755);
	mkdir(at("blk io/ecs/" ID "/container/inner"), 0755);
	assert_int_equal(destroy(cgroups, ID), 0);
	assert_false(exists(at("memory/ecs/" ID)) || exists(at("blk io/ecs/" ID)) || exists(at("unified/ecs/" ID)));
	assert_true(exists(at("memory/ecs")));
	assert_int_equal(destroy(cgroups, ID), 0);
	cgroups_close(cgroups);
}

static void test_ids(void **state)
{
	static const char *const bad[] = {"", ".", "..", "../docker", "a/b", "a b", "a\nb", "-a", "a-", "a--b", ".a"};
	(void)state;
	make_v1_mounts();
	struct cgroups *cgroups = open_v1(NULL);
	_cleanup_free_ char *long_one = xcalloc(1, 300);
	memset(long_one, 'a', 299);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(create(cgroups, bad[i], &share_limits), EINVAL);
		assert_int_equal(destroy(cgroups, bad[i]), EINVAL);
		assert_int_equal(cgroups_check(cgroups, bad[i], &share_limits, NULL), -EINVAL);
	}
	assert_int_equal(destroy(cgroups, long_one), EINVAL);
	cgroups_close(cgroups);
}

static void test_cancel(void **state)
{
	(void)state;
	make_v1_mounts();
	struct cgroups *cgroups = open_v1(NULL);
	cgroups_call_cancel(cgroups_remove(cgroups, ID, on_done, NULL));
	cgroups_call_cancel(NULL);
	assert_int_equal(destroy(cgroups, "other"), 0); // one answer only
	cgroups_remove(cgroups, ID, on_done, NULL);
	cgroups_close(cgroups);
	assert_false(called);
}

static void test_what_cannot_be_opened(void **state)
{
	static const struct {
		const char *driver, *version, *text;
	} cases[] = {
		{"systemd", "1", "Docker's cgroup driver \"systemd\" on cgroup version 1 is not supported"},
		{"none", "2", "Docker's cgroup driver \"none\" on cgroup version 2 is not supported"},
		{NULL, NULL, "Docker's cgroup driver \"\" on cgroup version 1 is not supported"},
		{"cgroupfs", "3", "Docker's cgroup driver \"cgroupfs\" on cgroup version 3 is not supported"},
		{"cgroupfs", "1", "no cgroup hierarchy with the controller cpu is mounted below "},
		{"cgroupfs", "2", "open "},
		{"systemd", "2", "open "},
	};
	(void)state;
	put(at("mountinfo"), "garbage\n1 2 3 / /x rw -\n - \n22 21 0:29 / /x rw - cgroup cgroup\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		struct cgroups_options options = {.loop = loop, .path = top};
		options.docker_driver = cases[i].driver;
		options.docker_version = cases[i].version;
		options.mountinfo = at("mountinfo");
		assert_null(cgroups_open(&options, &err));
		assert_true(str_starts(err.message, cases[i].text));
	}
	// A file where the root should be made.
	make_v1_mounts();
	put(at("memory/ecs"), "");
	struct error err = {0};
	struct cgroups *cgroups = open_v1(NULL);
	assert_int_equal(create(cgroups, ID, &share_limits), ENOTDIR);
	cgroups_close(cgroups);
	rmdir(at("pids"));
	assert_null(open_v1(&err));
	assert_int_equal(err.code, ENOENT);
}

// An old kernel: no such controller.
static void test_v1_without_pids(void **state)
{
	(void)state;
	make_v1_mounts();
	_cleanup_free_ char *command = xasprintf("sed -i /pids/d %s/mountinfo", top);
	assert_int_equal(system(command), 0);
	struct cgroups *cgroups = open_v1(NULL);
	assert_int_equal(cgroups_make_root(cgroups, NULL), 0);
	make_v1_task(ID);
	assert_int_equal(create(cgroups, ID, &share_limits), 0);
	assert_int_equal(cgroups_check(cgroups, ID, &share_limits, NULL), 0);
	assert_int_equal(create(cgroups, ID, &quota_limits), ENOTSUP);
	assert_string_equal(result.message, "this host cannot limit pids");
	cgroups_close(cgroups);
}

// --- v2 ---

static void make_v2_level(const char *path)
{
	mkdir(at("%s", path), 0755);
	put(at("%s/cgroup.controllers", path), "cpuset cpu io memory pids\n");
	put(at("%s/cgroup.subtree_control", path), "cpuset\n");
}

static void test_v2(void **state)
{
	struct error err = {0};
	(void)state;
	make_v2_level(".");
	make_v2_level("ecs");
	struct cgroups_options options = {
		.loop = loop, .docker_driver = "cgroupfs", .docker_version = "2", .path = top};
	struct cgroups *cgroups = cgroups_open(&options, &err);
	assert_non_null(cgroups);
	assert_int_equal(cgroups_make_root(cgroups, &err), 0);
	assert_file(at("cgroup.subtree_control"), "+pids"); // the last of three writes
	assert_file(at("ecs/cgroup.subtree_control"), "+pids");
	make_v2_level("ecs/" ID);
	assert_int_equal(create(cgroups, ID, &quota_limits), ENOENT); // no cpu.max
	static const char *const files[] = {"cpu.max", "cpu.weight", "memory.max", "pids.max"};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(at("ecs/" ID "/%s", files[i]), "max\n");
	assert_int_equal(create(cgroups, ID, &quota_limits), 0);
	assert_file(at("ecs/" ID "/cpu.max"), "25000 100000");
	assert_file(at("ecs/" ID "/memory.max"), "67108864");
	assert_file(at("ecs/" ID "/pids.max"), "20");
	assert_file(at("ecs/" ID "/cpu.weight"), "max");
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), 0);
	put(at("ecs/" ID "/cpu.max"), "max 100000\n");
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "cpu.max is max 100000, expected 25000 100000"));
	assert_int_equal(create(cgroups, ID, &share_limits), 0);
	assert_file(at("ecs/" ID "/cpu.weight"), "20");
	assert_int_equal(cgroups_check(cgroups, ID, &share_limits, &err), 0);

	put(at("ecs/" ID "/cgroup.controllers"), "cpu memory\n");
	assert_int_equal(create(cgroups, ID, &quota_limits), ENOTSUP);
	assert_string_equal(result.message,
			    "unable to validate cgroup controllers, did not find pids controller in list "
			    "of controllers=cpu memory");
	assert_int_equal(destroy(cgroups, ID), EBUSY);
	_cleanup_free_ char *command = xasprintf("find %s/ecs/" ID " -type f -delete", top);
	assert_int_equal(system(command), 0);
	assert_int_equal(destroy(cgroups, ID), 0);
	assert_false(exists(at("ecs/" ID)));
	put(at("ecs/cgroup.controllers"), "cpu\n");
	assert_int_equal(cgroups_make_root(cgroups, &err), -ENOTSUP);
	cgroups_close(cgroups);
}

// --- systemd ---

// A process that answers on a socket as systemd's manager does, and keeps the copied tree as systemd keeps the real one.
// What a unit's name contains decides what happens: "fail", "hang", "die".
struct unit {
	char name[128];
	char slice[300]; // directory
} units[8];

static struct unit *find_unit(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (str_equal(units[i].name, name))
			return &units[i];
	}
	return NULL;
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
	_cleanup_fclose_ FILE *file = fopen(at("log"), "a");
	va_list args;
	if (!file)
		_exit(2);
	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
}

static int answer_job(sd_bus_message *m, const char *unit, const char *answer)
{
	static uint32_t id;
	_cleanup_free_ char *job = xasprintf("/org/freedesktop/systemd1/job/%u", ++id);
	sd_bus_reply_method_return(m, "o", job);
	if (strstr(unit, "hang"))
		return 1;
	// Somebody else's job first.
	sd_bus_emit_signal(sd_bus_message_get_bus(m), "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
			   "JobRemoved", "uoss", 4711U, "/org/freedesktop/systemd1/job/4711", "x.slice", "failed");
	sd_bus_emit_signal(sd_bus_message_get_bus(m), "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
			   "JobRemoved", "uoss", id, job, unit, answer);
	return 1;
}

static void make_slice(struct unit *unit, const char *name)
{
	struct buf path = {0};
	snprintf(unit->name, sizeof(unit->name), "%s", name);
	for (const char *p = strpbrk(name, "-."); p; p = strpbrk(p + 1, "-.")) {
		buf_printf(&path, "%s%.*s.slice", path.len ? "/" : "", (int)(p - name), name);
		make_v2_level(path.data);
	}
	snprintf(unit->slice, sizeof(unit->slice), "%s", path.data);
	buf_free(&path);
	put(at("%s/cgroup.events", unit->slice), "populated 0\nfrozen 0\n");
}

static void apply_property(const struct unit *unit, const char *name, uint64_t value)
{
	if (str_equal(name, "MemoryMax") || str_equal(name, "TasksMax") || str_equal(name, "CPUWeight")) {
		_cleanup_free_ char *text = xasprintf("%" PRIu64 "\n", value);
		put(at("%s/%s", unit->slice,
		       *name == 'M'   ? "memory.max"
		       : *name == 'T' ? "pids.max"
				      : "cpu.weight"),
		    text);
	} else if (str_equal(name, "CPUQuotaPerSecUSec")) {
		_cleanup_free_ char *text = xasprintf("%" PRIu64 " 100000\n", value / 10);
		put(at("%s/cpu.max", unit->slice), text);
	}
}

static void read_properties(sd_bus_message *m, const struct unit *unit)
{
	sd_bus_message_enter_container(m, 'a', "(sv)");
	while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
		const char *name, *type, *text;
		uint64_t number;
		int boolean;
		sd_bus_message_read(m, "s", &name);
		sd_bus_message_peek_type(m, NULL, &type);
		if (str_equal(type, "t")) {
			sd_bus_message_read(m, "v", "t", &number);
			note(" %s=%" PRIu64, name, number);
			apply_property(unit, name, number);
		} else if (str_equal(type, "b")) {
			sd_bus_message_read(m, "v", "b", &boolean);
			note(" %s=%d", name, boolean);
		} else if (str_equal(type, "s")) {
			sd_bus_message_read(m, "v", "s", &text);
			note(" %s='%s'", name, text);
		} else {
			char **list = NULL;
			sd_bus_message_enter_container(m, 'v', "as");
			sd_bus_message_read_strv(m, &list);
			sd_bus_message_exit_container(m);
			note(" %s=[%s]", name, list && list[0] ? list[0] : "");
		}
		sd_bus_message_exit_container(m);
	}
	sd_bus_message_exit_container(m);
}

static int start_transient(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *name, *mode;
	(void)arg;
	sd_bus_message_read(m, "ss", &name, &mode);
	note("StartTransientUnit %s %s", name, mode);
	if (strstr(name, "die"))
		_exit(0);
	if (find_unit(name)) {
		note("\n");
		return sd_bus_error_set(error, "org.freedesktop.systemd1.UnitExists", "Unit exists.");
	}
	if (strstr(name, "fail")) {
		note("\n");
		return answer_job(m, name, "failed");
	}
	if (strstr(name, "bad"))
		return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "Bad unit.");
	struct unit *unit = find_unit("");
	make_slice(unit, name);
	read_properties(m, unit);
	note("\n");
	return answer_job(m, name, "done");
}

static int start_unit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *name, *mode;
	(void)arg, (void)error;
	sd_bus_message_read(m, "ss", &name, &mode);
	note("StartUnit %s %s\n", name, mode);
	return answer_job(m, name, "done");
}

static int stop_unit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *name, *mode;
	(void)arg;
	sd_bus_message_read(m, "ss", &name, &mode);
	note("StopUnit %s %s\n", name, mode);
	struct unit *unit = find_unit(name);
	if (!unit)
		return sd_bus_error_set(error, "org.freedesktop.systemd1.NoSuchUnit", "Unit not loaded.");
	_cleanup_free_ char *command = xasprintf("rm -rf %s/%s", top, unit->slice);
	if (system(command) != 0)
		_exit(2);
	*unit = (struct unit){0};
	return answer_job(m, name, "done");
}

static int reset_failed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *name;
	(void)arg, (void)error;
	sd_bus_message_read(m, "s", &name);
	note("ResetFailedUnit %s\n", name);
	return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable methods[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", start_transient, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartUnit", "ss", "o", start_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StopUnit", "ss", "o", stop_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ResetFailedUnit", "s", "", reset_failed, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL("JobRemoved", "uoss", 0),
	SD_BUS_VTABLE_END,
};

static void serve(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL), r;
		sd_bus *bus = NULL;
		sd_id128_t id;
		sd_id128_randomize(&id);
		sd_bus_new(&bus);
		sd_bus_set_fd(bus, fd, fd);
		sd_bus_set_server(bus, 1, id);
		sd_bus_set_trusted(bus, 1);
		sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
					 methods, NULL);
		if (sd_bus_start(bus) < 0)
			_exit(3);
		while ((r = sd_bus_process(bus, NULL)) >= 0) {
			if (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
				break;
		}
		sd_bus_close_unref(bus);
	}
}

static void start_manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", at("private"));
	unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	manager = fork();
	assert_true(manager >= 0);
	if (manager == 0)
		serve(fd);
}

static struct cgroups *open_systemd(void)
{
	struct cgroups_options options = {.loop = loop, .docker_driver = "systemd", .docker_version = "2", .path = top};
	make_v2_level(".");
	make_v2_level("system.slice");
	options.systemd_socket = at("private");
	struct cgroups *cgroups = cgroups_open(&options, NULL);
	assert_non_null(cgroups);
	return cgroups;
}

#define UNIT "ecstasks-" ID ".slice"
#define SLICE "ecstasks.slice/" UNIT
#define ACCOUNTING " MemoryAccounting=1 CPUAccounting=1 IOAccounting=1 Wants=[system.slice]"

static void test_systemd(void **state)
{
	struct error err = {0};
	(void)state;
	start_manager();
	struct cgroups *cgroups = open_systemd();
	assert_int_equal(cgroups_make_root(cgroups, &err), 0);
	_cleanup_free_ char *parent = cgroups_parent(cgroups, ID);
	assert_string_equal(parent, UNIT);

	assert_int_equal(create(cgroups, ID, &quota_limits), 0);
	assert_file(at("log"),
		    "StartTransientUnit " UNIT " replace Description='cgroup " UNIT "' DefaultDependencies=0" ACCOUNTING
		    " MemoryMax=67108864 CPUQuotaPerSecUSec=250000 TasksAccounting=1 TasksMax=20");
	assert_file(at("ecstasks.slice/cgroup.subtree_control"), "+pids");
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), 0);
	put(at(SLICE "/cpu.max"), "250000 1000000\n"); // the same share of a longer period
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), 0);
	put(at(SLICE "/pids.max"), "max\n");
	assert_int_equal(cgroups_check(cgroups, ID, &quota_limits, &err), -EUCLEAN);
	unlink(at("log"));
	assert_int_equal(create(cgroups, ID, &quota_limits), 0); // it is there: systemd is not asked
	assert_false(exists(at("log")));

	put(at(SLICE "/cgroup.events"), "populated 1\nfrozen 0\n");
	assert_int_equal(destroy(cgroups, ID), EBUSY); // would kill what runs in it
	assert_false(exists(at("log")));
	put(at(SLICE "/cgroup.events"), "populated 0\nfrozen 0\n");
	assert_int_equal(destroy(cgroups, ID), 0);
	assert_file(at("log"), "StopUnit " UNIT " replace");
	assert_false(exists(at(SLICE)));
	assert_true(exists(at("ecstasks.slice")));
	assert_int_equal(destroy(cgroups, ID), 0);

	unlink(at("log"));
	assert_int_equal(create(cgroups, "a-b", &share_limits), 0);
	assert_file(at("log"), "StartTransientUnit ecstasks-a-b.slice replace Description='cgroup ecstasks-a-b.slice' "
			       "DefaultDependencies=0" ACCOUNTING " CPUWeight=20");
	assert_file(at("ecstasks.slice/ecstasks-a.slice/ecstasks-a-b.slice/cpu.weight"), "20");
	assert_int_equal(cgroups_check(cgroups, "a-b", &share_limits, &err), 0);
	cgroups_close(cgroups);
}

static void test_systemd_trouble(void **state)
{
	struct error err = {0};
	(void)state;
	struct cgroups *cgroups = open_systemd();
	assert_true(cgroups_make_root(cgroups, &err) < 0); // nobody listens, and there is no system bus
	start_manager();
	assert_int_equal(create(cgroups, "fail", &share_limits), EIO);
	assert_string_equal(result.message, "error creating systemd unit `ecstasks-fail.slice`: got `failed`");
	assert_int_equal(create(cgroups, "bad", &share_limits), EIO);
	assert_string_equal(result.message, "systemd refuses ecstasks-bad.slice: Bad unit.");
	assert_int_equal(create(cgroups, ID, &share_limits), 0);
	_cleanup_free_ char *log = read_file(at("log"), 65536, NULL);
	assert_non_null(strstr(log, "ResetFailedUnit ecstasks-fail.slice\n"));

	// The unit is known, its directory not there yet: it is started, and only then asked about.
	unlink(at("log"));
	_cleanup_free_ char *hide = xasprintf("mv %s/" SLICE " %s/aside", top, top);
	assert_int_equal(system(hide), 0);
	assert_int_equal(create(cgroups, ID, &share_limits), ENOENT);
	assert_file(at("log"), "StartTransientUnit " UNIT " replace\nStartUnit " UNIT " replace");

	// A directory without a unit.
	mkdir(at("ecstasks.slice/ecstasks-left.slice"), 0755);
	assert_int_equal(destroy(cgroups, "left"), 0);
	assert_false(exists(at("ecstasks.slice/ecstasks-left.slice")));

	// The connection breaks; the next request makes a new one.
	assert_int_not_equal(create(cgroups, "die", &share_limits), 0);
	waitpid(manager, NULL, 0);
	start_manager();
	assert_int_equal(create(cgroups, "after", &share_limits), 0);
	put(at("system.slice/cgroup.controllers"), "cpu pids\n");
	assert_int_equal(cgroups_make_root(cgroups, &err), -ENOTSUP);
	assert_string_equal(err.message,
			    "unable to validate cgroup controllers, did not find memory controller in list "
			    "of controllers=cpu pids");
	// A request that is still under way when all ends.
	cgroups_create(cgroups, "hang", &share_limits, on_done, NULL);
	cgroups_close(cgroups);
	assert_false(called);
}

static void test_systemd_hangs(void **state)
{
	(void)state;
	loop_free(loop);
	loop = loop_new(200, NULL);
	start_manager();
	struct cgroups *cgroups = open_systemd();
	assert_int_equal(create(cgroups, "hang", &share_limits), ETIMEDOUT);
	assert_string_equal(result.message, "systemd has not started ecstasks-hang.slice in 30 s");
	assert_int_equal(destroy(cgroups, "hang"), EBUSY);
	cgroups_close(cgroups);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test_setup_teardown(test_v1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_opened, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v1_without_pids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_systemd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_systemd_trouble, setup, teardown),
		cmocka_unit_test_setup_teardown(test_systemd_hangs, setup, teardown),
	};
	// No bus but the tests' own.
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
