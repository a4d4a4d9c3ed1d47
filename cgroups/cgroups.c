#include "cgroups/driver.h"

#include "common/util.h"

#define ID_MAX 200 // characters; ECS's are 32 or 36. With a prefix and a suffix it is still a name of a file

static const struct cgroup_driver *const drivers[] = {&cgroup_driver_v1, &cgroup_driver_v2, &cgroup_driver_systemd};

static void on_finished(void *arg);

struct cgroups *cgroups_open(const struct cgroups_options *options, struct error *err)
{
	const char *version = str_empty(options->docker_version) ? "1" : options->docker_version;
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		const struct cgroup_driver *driver = drivers[i];
		if (!str_equal(driver->docker_driver, options->docker_driver) ||
		    !str_equal(driver->docker_version, version))
			continue;
		struct cgroups *cgroups = xcalloc(1, sizeof(*cgroups));
		cgroups->driver = driver;
		cgroups->loop = options->loop;
		if (driver->open(cgroups, options, err) < 0)
			return cgroups_close(cgroups);
		return cgroups;
	}
	error_set(err, ENOTSUP, "Docker's cgroup driver \"%s\" on cgroup version %s is not supported",
		  options->docker_driver ? options->docker_driver : "", version);
	return NULL;
}

struct cgroups *cgroups_close(struct cgroups *cgroups)
{
	if (!cgroups)
		return NULL;
	for (struct cgroups_call *call = cgroups->calls, *next; call; call = next) {
		next = call->next;
		cgroups_call_cancel(call);
	}
	if (cgroups->driver->close)
		cgroups->driver->close(cgroups);
	for (size_t i = 0; i < cgroups->dir_count; i++)
		cgroup_dir_close(&cgroups->dirs[i]);
	free(cgroups->dirs);
	free(cgroups);
	return NULL;
}

const char *cgroups_name(const struct cgroups *cgroups)
{
	return cgroups->driver->name;
}

int cgroups_make_root(struct cgroups *cgroups, struct error *err)
{
	return cgroups->driver->make_root(cgroups, err);
}

char *cgroups_parent(const struct cgroups *cgroups, const char *id)
{
	return cgroups->driver->parent(id);
}

// One component of a path, and of a unit's name in systemd; nothing that points anywhere else.
static bool plain_name(const char *id)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
	size_t len = strlen(id);
	return len > 0 && len <= ID_MAX && strspn(id, allowed) == len && id[0] != '.' && id[0] != '-' &&
	       id[len - 1] != '-' && !strstr(id, "--");
}

static struct cgroups_call *call_new(struct cgroups *cgroups, const char *id, bool removing,
				     void (*done)(const struct error *err, void *arg), void *arg)
{
	struct cgroups_call *call = xcalloc(1, sizeof(*call));
	call->cgroups = cgroups;
	call->id = xstrdup(id);
	call->removing = removing;
	call->done = done;
	call->arg = arg;
	call->next = cgroups->calls;
	call->link = &cgroups->calls;
	if (call->next)
		call->next->link = &call->next;
	cgroups->calls = call;
	return call;
}

static bool refused(struct cgroups_call *call)
{
	struct error err = {0};
	if (plain_name(call->id))
		return false;
	error_set(&err, EINVAL, "\"%s\" cannot be the name of a cgroup", call->id);
	cgroups_finish(call, &err);
	return true;
}

struct cgroups_call *cgroups_create(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits,
				    void (*done)(const struct error *err, void *arg), void *arg)
{
	struct cgroups_call *call = call_new(cgroups, id, false, done, arg);
	call->limits = *limits;
	if (!refused(call))
		cgroups->driver->create(call);
	return call;
}

struct cgroups_call *cgroups_remove(struct cgroups *cgroups, const char *id,
				    void (*done)(const struct error *err, void *arg), void *arg)
{
	struct cgroups_call *call = call_new(cgroups, id, true, done, arg);
	if (!refused(call))
		cgroups->driver->remove(call);
	return call;
}

int cgroups_check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	if (!plain_name(id))
		return error_set(err, EINVAL, "\"%s\" cannot be the name of a cgroup", id);
	return cgroups->driver->check(cgroups, id, limits, err);
}

// --- calls ---

static void call_free(struct cgroups_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	if (call->state)
		call->cgroups->driver->cancel(call);
	free(call->id);
	free(call);
}

void cgroups_call_cancel(struct cgroups_call *call)
{
	if (!call)
		return;
	loop_defer_cancel(call->cgroups->loop, on_finished, call);
	call_free(call);
}

void cgroups_finish(struct cgroups_call *call, const struct error *err)
{
	call->failed = err != NULL;
	if (err)
		call->err = *err;
	loop_defer(call->cgroups->loop, on_finished, call);
}

static void on_finished(void *arg)
{
	struct cgroups_call *call = arg;
	struct error err = call->err;
	bool failed = call->failed;
	void (*done)(const struct error *err, void *arg) = call->done;
	void *done_arg = call->arg;
	call_free(call);
	done(failed ? &err : NULL, done_arg);
}
