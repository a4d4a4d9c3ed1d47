// cgroup v2 with Docker's systemd driver: ecstasks-<id>.slice, a transient unit that systemd makes when asked over
// D-Bus (cgroups-and-resources.md §5.4). Limits are the unit's properties; files are only read, and the controllers
// turned on as the official agent does.
//
// A request is a method call, whose answer names a job, and the signal JobRemoved with the job's result. Nothing is
// waited for in place: the connection is watched by the loop, each request has JOB_TIMEOUT_MS. A connection that
// breaks fails the requests under way; the next request opens a new one.

#include "cgroups/driver.h"

#include "common/log.h"
#include "common/util.h"
#include <poll.h>
#include <systemd/sd-bus.h>

#define JOB_TIMEOUT_MS (30 * 1000) // cgroups-and-resources.md §5.4
#define NAME "org.freedesktop.systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define PATH "/org/freedesktop/systemd1"
#define TOP "ecstasks.slice"

struct systemd {
	struct cgroups *cgroups;
	char *socket;
	sd_bus *bus; // NULL: not connected
	struct watch *watch;
};

// A request under way.
struct request {
	struct cgroups_call *call;
	char *unit, *path; // path: of the slice in the tree
	sd_bus_slot *slot; // the method call without an answer
	char *job;         // the job that is waited for
	bool again;        // UnitExists was answered: the unit is only started
	struct timer timer;
};

static void request_end(struct request *request, const struct error *err);

static struct systemd *systemd_of(const struct request *request)
{
	return request->call->cgroups->state;
}
static const struct cgroup_dir *tree_of(const struct request *request)
{
	return &request->call->cgroups->dirs[0];
}

// --- names ---

static char *parent(const char *id)
{
	return xasprintf("ecstasks-%s.slice", id);
}

// systemd nests a slice at each dash of its name: ecstasks-a-b.slice is ecstasks.slice/ecstasks-a.slice/ecstasks-a-b.slice.
static char *slice_path(const char *id)
{
	struct buf path = {0};
	_cleanup_free_ char *name = xasprintf("ecstasks-%s", id);
	for (const char *p = strchr(name, '-'); p; p = strchr(p + 1, '-'))
		buf_printf(&path, "%.*s.slice/", (int)(p - name), name);
	buf_printf(&path, "%s.slice", name);
	return buf_take(&path);
}

// --- connection ---

static void disconnect(struct systemd *systemd, const char *why)
{
	struct cgroups_call *call = systemd->cgroups->calls;
	struct error err = {0};
	systemd->watch = watch_free(systemd->watch);
	systemd->bus = sd_bus_close_unref(systemd->bus);
	error_set(&err, ECONNRESET, "connection to systemd: %s", why);
	while (call) {
		struct cgroups_call *next = call->next;
		if (call->state)
			request_end(call->state, &err);
		call = next;
	}
}

// Lets the library do what there is to do; to be called after anything that may have queued a message.
static void pump(struct systemd *systemd)
{
	int r;
	while (systemd->bus && (r = sd_bus_process(systemd->bus, NULL)) != 0) {
		if (r < 0) {
			disconnect(systemd, strerror(-r));
			return;
		}
	}
	int events = systemd->bus ? sd_bus_get_events(systemd->bus) : 0;
	if (systemd->watch && events >= 0)
		watch_set(systemd->watch, (events & POLLIN ? LOOP_READ : 0U) | (events & POLLOUT ? LOOP_WRITE : 0U));
}

static void on_ready(int fd, unsigned events, void *arg)
{
	(void)fd;
	(void)events;
	pump(arg);
}

static int on_job_removed(sd_bus_message *message, void *arg, sd_bus_error *error);

// systemd's own socket needs no message bus and no Subscribe call; where it is not reachable (in a container), the bus.
static int open_bus(struct systemd *systemd, sd_bus **ret)
{
	_cleanup_free_ char *address = xasprintf("unix:path=%s", systemd->socket);
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_unref(bus);
		return sd_bus_open_system(ret) < 0 ? r : 1;
	}
	*ret = bus;
	return 0;
}

static int connect_bus(struct systemd *systemd, struct error *err)
{
	if (systemd->bus && sd_bus_is_open(systemd->bus) > 0)
		return 0;
	disconnect(systemd, "closed");
	int r = open_bus(systemd, &systemd->bus);
	if (r < 0)
		return error_set_errno(err, -r, "connect to systemd at %s", systemd->socket);
	bool message_bus = r > 0;
	r = sd_bus_match_signal_async(systemd->bus, NULL, message_bus ? NAME : NULL, PATH, MANAGER, "JobRemoved",
				      on_job_removed, NULL, systemd);
	if (r >= 0 && message_bus)
		r = sd_bus_call_method_async(systemd->bus, NULL, NAME, PATH, MANAGER, "Subscribe", NULL, NULL, NULL);
	int fd = r >= 0 ? sd_bus_get_fd(systemd->bus) : r;
	if (fd < 0) {
		systemd->bus = sd_bus_close_unref(systemd->bus);
		return error_set_errno(err, -fd, "connect to systemd");
	}
	systemd->watch = watch_new(systemd->cgroups->loop, fd, LOOP_READ | LOOP_WRITE, on_ready, systemd);
	return 0;
}

// --- requests ---

static void request_free(struct request *request)
{
	request->call->state = NULL;
	sd_bus_slot_unref(request->slot);
	timer_done(&request->timer);
	free(request->unit);
	free(request->path);
	free(request->job);
	free(request);
}

static void request_end(struct request *request, const struct error *err)
{
	struct cgroups_call *call = request->call;
	request_free(request);
	cgroups_finish(call, err);
}

static void cancel(struct cgroups_call *call)
{
	request_free(call->state);
}

static void on_timeout(void *arg)
{
	struct request *request = arg;
	struct error err = {0};
	// For a removal "busy" means: try again.
	error_set(&err, request->call->removing ? EBUSY : ETIMEDOUT, "systemd has not %s %s in %d s",
		  request->call->removing ? "stopped" : "started", request->unit, JOB_TIMEOUT_MS / 1000);
	request_end(request, &err);
}

static struct request *request_new(struct cgroups_call *call)
{
	struct request *request = xcalloc(1, sizeof(*request));
	request->call = call;
	request->unit = parent(call->id);
	request->path = slice_path(call->id);
	call->state = request;
	timer_init(&request->timer, call->cgroups->loop, on_timeout, request);
	timer_start(&request->timer, JOB_TIMEOUT_MS);
	return request;
}

// The slice is there: the controllers of the limits must be too.
static void created(struct request *request)
{
	struct error err = {0};
	const struct cgroup_dir *tree = tree_of(request);
	v2_enable(tree, "");
	v2_enable(tree, TOP);
	request_end(request, v2_require(tree, request->path, &request->call->limits, &err) < 0 ? &err : NULL);
}

static void removed(struct request *request)
{
	struct error err = {0};
	request_end(request, cgroup_rmdir(tree_of(request), request->path, &err) < 0 ? &err : NULL);
}

static void job_done(struct request *request, const char *result)
{
	struct error err = {0};
	bool done = str_equal(result, "done");
	if (request->call->removing) {
		if (done) {
			removed(request);
			return;
		}
		error_set(&err, EBUSY, "stopping systemd unit `%s`: got `%s`", request->unit, result);
	} else {
		if (done) {
			created(request);
			return;
		}
		sd_bus_call_method_async(systemd_of(request)->bus, NULL, NAME, PATH, MANAGER, "ResetFailedUnit", NULL,
					 NULL, "s", request->unit);
		error_set(&err, EIO, "error creating systemd unit `%s`: got `%s`", request->unit, result);
	}
	request_end(request, &err);
}

static int on_job_removed(sd_bus_message *message, void *arg, sd_bus_error *error)
{
	struct systemd *systemd = arg;
	uint32_t id;
	const char *job, *unit, *result;
	(void)error;
	if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) < 0)
		return 0;
	for (struct cgroups_call *call = systemd->cgroups->calls, *next; call; call = next) {
		struct request *request = call->state;
		next = call->next;
		if (request && str_equal(request->job, job))
			job_done(request, result);
	}
	return 0;
}

static int on_answer(sd_bus_message *message, void *arg, sd_bus_error *error);

static void send_request(struct request *request, sd_bus_message *message, int r)
{
	struct systemd *systemd = systemd_of(request);
	struct error err = {0};
	request->slot = sd_bus_slot_unref(request->slot);
	if (r >= 0)
		r = sd_bus_call_async(systemd->bus, &request->slot, message, on_answer, request, UINT64_MAX);
	sd_bus_message_unref(message);
	if (r < 0) {
		error_set_errno(&err, -r, "ask systemd for %s", request->unit);
		request_end(request, &err);
	}
}

static sd_bus_message *new_message(const struct request *request, const char *method, int *r)
{
	sd_bus_message *message = NULL;
	*r = sd_bus_message_new_method_call(systemd_of(request)->bus, &message, NAME, PATH, MANAGER, method);
	return message;
}

// Start or stop a unit that exists.
static void send_simple(struct request *request, const char *method)
{
	int r;
	sd_bus_message *message = new_message(request, method, &r);
	if (r >= 0)
		r = sd_bus_message_append(message, "ss", request->unit, "replace");
	send_request(request, message, r);
}

static int append_limits(sd_bus_message *m, const struct cgroup_limits *limits)
{
	int r = 0;
	if (limits->memory_bytes)
		r = sd_bus_message_append(m, "(sv)", "MemoryMax", "t", limits->memory_bytes);
	if (r >= 0 && limits->cpu_shares)
		r = sd_bus_message_append(m, "(sv)", "CPUWeight", "t", cgroup_cpu_weight(limits->cpu_shares));
	if (r >= 0 && limits->cpu_period_us)
		r = sd_bus_message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t", cgroup_quota_per_second(limits));
	if (r >= 0 && limits->pids)
		r = sd_bus_message_append(m, "(sv)(sv)", "TasksAccounting", "b", 1, "TasksMax", "t", limits->pids);
	return r;
}

static void send_start_transient(struct request *request)
{
	int r;
	sd_bus_message *m = new_message(request, "StartTransientUnit", &r);
	_cleanup_free_ char *description = xasprintf("cgroup %s", request->unit);
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", request->unit, "replace");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description,
					  "DefaultDependencies", "b", 0, "MemoryAccounting", "b", 1, "CPUAccounting",
					  "b", 1, "IOAccounting", "b", 1, "Wants", "as", 1, "system.slice");
	if (r >= 0)
		r = append_limits(m, &request->call->limits);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_append(m, "a(sa(sv))", 0);
	send_request(request, m, r);
}

static void refused(struct request *request, const sd_bus_error *why)
{
	struct error err = {0};
	if (!request->call->removing && !request->again && str_equal(why->name, NAME ".UnitExists")) {
		request->again = true; // it is being started, for another container of the task
		send_simple(request, "StartUnit");
		return;
	}
	if (request->call->removing && str_equal(why->name, NAME ".NoSuchUnit")) {
		removed(request); // a directory without its unit
		return;
	}
	error_set(&err, EIO, "systemd refuses %s: %s", request->unit, why->message ? why->message : why->name);
	request_end(request, &err);
}

static int on_answer(sd_bus_message *message, void *arg, sd_bus_error *error)
{
	struct request *request = arg;
	const char *job;
	(void)error;
	request->slot = sd_bus_slot_unref(request->slot);
	const sd_bus_error *why = sd_bus_message_get_error(message);
	if (why) {
		refused(request, why);
		return 0;
	}
	if (sd_bus_message_read(message, "o", &job) < 0) {
		struct error err = {0};
		error_set(&err, EPROTO, "systemd's answer for %s names no job", request->unit);
		request_end(request, &err);
		return 0;
	}
	str_replace(&request->job, job);
	return 0;
}

// --- the driver ---

static void systemd_close(struct cgroups *cgroups)
{
	struct systemd *systemd = cgroups->state;
	if (!systemd)
		return;
	watch_free(systemd->watch);
	sd_bus_close_unref(systemd->bus);
	free(systemd->socket);
	free(systemd);
}

static int systemd_open(struct cgroups *cgroups, const struct cgroups_options *options, struct error *err)
{
	struct systemd *systemd = xcalloc(1, sizeof(*systemd));
	systemd->cgroups = cgroups;
	systemd->socket = xstrdup(options->systemd_socket ? options->systemd_socket : CGROUPS_SYSTEMD_SOCKET);
	cgroups->state = systemd;
	return v2_open(cgroups, options, err);
}

static int make_root(struct cgroups *cgroups, struct error *err)
{
	v2_enable(&cgroups->dirs[0], "");
	int r = v2_require(&cgroups->dirs[0], "system.slice", NULL, err);
	if (r == 0)
		r = connect_bus(cgroups->state, err);
	if (r == 0)
		pump(cgroups->state);
	return r;
}

static void start_request(struct cgroups_call *call)
{
	struct systemd *systemd = call->cgroups->state;
	struct error err = {0};
	if (connect_bus(systemd, &err) < 0) {
		cgroups_finish(call, &err);
		return;
	}
	struct request *request = request_new(call);
	if (call->removing)
		send_simple(request, "StopUnit");
	else
		send_start_transient(request);
	pump(systemd);
}

static void create(struct cgroups_call *call)
{
	_cleanup_free_ char *path = slice_path(call->id);
	struct error err = {0};
	if (!cgroup_exists(&call->cgroups->dirs[0], path)) {
		start_request(call);
		return;
	}
	int r = v2_require(&call->cgroups->dirs[0], path, &call->limits, &err);
	cgroups_finish(call, r < 0 ? &err : NULL);
}

// Stopping a slice stops what is in it: only an empty one is stopped.
static void remove_task(struct cgroups_call *call)
{
	const struct cgroup_dir *tree = &call->cgroups->dirs[0];
	_cleanup_free_ char *path = slice_path(call->id);
	char events[CGROUP_VALUE_MAX];
	struct error err = {0};
	if (!cgroup_exists(tree, path)) {
		cgroups_finish(call, NULL);
		return;
	}
	if (cgroup_read(tree, path, "cgroup.events", events, NULL) == 0 && strstr(events, "populated 1")) {
		error_set(&err, EBUSY, "%s/%s is in use", tree->path, path);
		cgroups_finish(call, &err);
		return;
	}
	start_request(call);
}

static int check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = slice_path(id);
	uint64_t weight = limits->cpu_shares ? cgroup_cpu_weight(limits->cpu_shares) : 0;
	uint64_t period = limits->cpu_period_us ? 1000000 : 0;
	return v2_check(&cgroups->dirs[0], path, weight, cgroup_quota_per_second(limits), period, limits, err);
}

const struct cgroup_driver cgroup_driver_systemd = {
	.name = "cgroup v2 with systemd",
	.docker_driver = "systemd",
	.docker_version = "2",
	.open = systemd_open,
	.close = systemd_close,
	.make_root = make_root,
	.parent = parent,
	.create = create,
	.remove = remove_task,
	.cancel = cancel,
	.check = check,
};
