#include "engine/engine_internal.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "docker/create_request.h"
#include "engine/image_cycle.h"
#include "engine/task_cgroup.h"
#include "engine/pulls.h"
#include "logd/logd.h"
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// --- known status ---

void engine_advance(struct container_ref *ref, enum container_status status)
{
	struct container *c = ref_container(ref);
	struct task *task = ref->entry->task;
	if (status <= c->known)
		return;
	c->failures = 0; // progress: the next time-out waits briefly again
	log_info("container", "task=%s container=%s known=%s desired=%s", task->arn, c->name,
		 container_status_name(status), container_status_name(c->desired));
	c->known = status;
	c->dirty = true;
	pulls_advanced(c, status);
	if (status == CONTAINER_STOPPED) {
		pulls_cancel_call(c); // a pull that nobody waits for
		c->in_flight = OP_NONE;
		c->must_inspect = false;
		engine_release_process(c);
		engine_touch_waiting(ref->engine);
		if (c->essential && task->execution_stopped_ms == 0) {
			task->execution_stopped_ms = wall_ms();
			task->dirty = true;
		}
	}
	engine_record_container(ref->engine, ref->entry, ref->index, status);
	engine_update_known(ref->engine, ref->entry);
	engine_touch(ref->entry);
}

// --- the container's process: its exit is seen even if Docker's event is lost or late ---

void engine_release_process(struct container *container)
{
	container->pidfd_watch = watch_free(container->pidfd_watch);
	if (container->pidfd >= 0)
		close(container->pidfd);
	container->pidfd = -1;
	container->pid = 0;
	container->exit_seen = false;
}

static void on_process_exit(int fd, unsigned events, void *arg)
{
	struct container_ref *ref = arg;
	struct container *c = ref_container(ref);
	(void)fd;
	(void)events;
	watch_set(c->pidfd_watch, 0);
	c->exit_seen = true;
	c->must_inspect = true;
	engine_tell_exited(ref); // Docker says so only when its log has been read to the end
	engine_touch(ref->entry);
}

// The process id comes from an answer that may be old: the process must be in the container's cgroup.
static bool process_is_containers(int64_t pid, const char *docker_id)
{
	_cleanup_free_ char *path = xasprintf("/proc/%" PRId64 "/cgroup", pid);
	_cleanup_free_ char *text = read_file(path, 65536, NULL);
	return text && strstr(text, docker_id);
}

static void watch_process(struct container_ref *ref, int64_t pid)
{
	struct container *c = ref_container(ref);
	if (pid <= 0 || pid == c->pid || !c->docker_id)
		return;
	engine_release_process(c);
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0) { // gone already: the event comes, once its log has been read
		if (errno == ESRCH)
			engine_tell_exited(ref);
		return;
	}
	// Descriptors are for Docker and ECS first; without one, the event and the list tell of the exit.
	struct rlimit limit = {0};
	bool scarce = getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd >= limit.rlim_cur / 2;
	if (scarce || !process_is_containers(pid, c->docker_id)) {
		close(fd);
		return;
	}
	c->pid = pid;
	c->pidfd = fd;
	c->pidfd_watch = watch_new(ref->engine->o.loop, fd, LOOP_READ, on_process_exit, ref);
}

// --- what an inspect answer says ---

static void take_text(struct container *c, char **member, const char *value)
{
	if (str_equal(*member, value))
		return;
	str_replace(member, value);
	c->dirty = true;
}

static void take_time(struct container *c, int64_t *member, int64_t value)
{
	c->dirty |= *member != value;
	*member = value;
}

// Taken once, never replaced later (state-changes.md §8.2).
static void take_ports(struct container *c, const struct docker_container *info)
{
	if (c->binding_count > 0 || info->port_count == 0)
		return;
	free(c->bindings);
	c->bindings = xcalloc(info->port_count, sizeof(*c->bindings));
	c->binding_count = info->port_count;
	c->dirty = true;
	for (size_t i = 0; i < info->port_count; i++) {
		struct port_binding *b = &c->bindings[i];
		b->container_port = info->ports[i].container_port;
		b->host_port = info->ports[i].host_port;
		memcpy(b->protocol, info->ports[i].protocol, sizeof(b->protocol));
		memcpy(b->bind_ip, info->ports[i].bind_ip, sizeof(b->bind_ip));
	}
}

static void take_mounts(struct container *c, const struct docker_container *info)
{
	if (c->docker_mounts || info->mount_count == 0)
		return;
	c->docker_mounts = xcalloc(info->mount_count, sizeof(*c->docker_mounts));
	for (size_t i = 0; i < info->mount_count; i++) {
		c->docker_mounts[i].name = xstrdup(info->mounts[i].name);
		c->docker_mounts[i].source = xstrdup(info->mounts[i].source);
		c->docker_mounts[i].destination = xstrdup(info->mounts[i].destination);
	}
	c->docker_mount_count = info->mount_count;
}

static void take_metadata(struct container *c, const struct docker_container *info)
{
	if (!c->docker_id)
		take_text(c, &c->docker_id, info->id);
	if (!c->docker_name)
		take_text(c, &c->docker_name, info->name);
	if (!c->image_id)
		take_text(c, &c->image_id, info->image_id);
	str_replace(&c->created_text, info->created_text); // not stored
	str_replace(&c->started_text, info->started_text);
	take_time(c, &c->created_ms, info->created_ms);
	take_time(c, &c->started_ms, info->started ? info->started_ms : 0);
	take_time(c, &c->finished_ms, info->finished ? info->finished_ms : 0);
	if (!info->running && info->finished && (!c->has_exit_code || c->exit_code != info->exit_code)) {
		c->has_exit_code = true;
		c->exit_code = info->exit_code;
		c->dirty = true;
	}
	take_ports(c, info);
	take_mounts(c, info);
}

static void take_health(struct container *c, enum docker_health health)
{
	if (!c->health_check_docker)
		return;
	if (health == HEALTH_HEALTHY)
		c->health = CONTAINER_HEALTHY;
	else if (health == HEALTH_UNHEALTHY)
		c->health = CONTAINER_UNHEALTHY;
}

static void observe_running(struct container_ref *ref, const struct docker_container *info)
{
	struct container *c = ref_container(ref);
	bool gone = c->exit_seen && info->pid == c->pid;
	engine_advance(ref, CONTAINER_RUNNING);
	engine_read_back_limits(ref->entry, ref->engine);
	if (!gone) {
		watch_process(ref, info->pid);
		return;
	}
	// The process has ended, Docker is still busy with it: the exit code is Docker's to tell.
	c->must_inspect = true;
	engine_back_off(ref);
}

// Docker notes the kernel's out-of-memory kill by an event of its own, which may come after the exit: a kill that nobody
// asked for is looked at once more.
static bool verdict_may_come(struct container_ref *ref, const struct docker_container *info)
{
	struct container *c = ref_container(ref);
	if (info->oom_killed || info->exit_code != 128 + SIGKILL || c->desired == CONTAINER_STOPPED || c->looked_twice)
		return false;
	c->looked_twice = true;
	c->must_inspect = true;
	c->not_before = loop_now(ref->engine->o.loop) + VERDICT_MS;
	return true;
}

static void observe_ended(struct container_ref *ref, const struct docker_container *info)
{
	struct container *c = ref_container(ref);
	if (verdict_may_come(ref, info))
		return;
	// Docker's flag says that the kernel has killed some process of the container. It is a verdict only on a container
	// that no longer runs, and that did not end well.
	if (info->oom_killed && info->exit_code != 0)
		container_set_error(c, "OutOfMemoryError", "Container killed due to memory usage");
	else if (!str_empty(info->state_error))
		container_set_error(c, "DockerStateError", info->state_error);
	// It ran, if only for a moment: ECS is told so, with the exit code (state-changes.md §8.1). Not when it was to
	// stop anyway: after a rebuild that would raise the dead.
	if (info->started && c->known == CONTAINER_CREATED && c->desired != CONTAINER_STOPPED)
		engine_advance(ref, CONTAINER_RUNNING);
	engine_advance(ref, CONTAINER_STOPPED);
}

// Its end was seen, or it has another start than the one that ECS was told of.
static bool started_again(const struct container *c, const struct docker_container *info)
{
	bool other_start = c->known == CONTAINER_RUNNING && c->started_ms && info->started_ms != c->started_ms;
	return info->running && (c->looked_twice || other_start);
}

void engine_observe(struct container_ref *ref, const struct docker_container *info)
{
	struct container *c = ref_container(ref);
	if (c->known == CONTAINER_STOPPED)
		return;
	bool again = started_again(c, info);
	take_metadata(c, info);
	take_health(c, info->health);
	engine_touch(ref->entry);
	engine_advance(ref, CONTAINER_CREATED);
	c->start_unknown = false;
	// A container that never started is started (again): State.Error then tells of a start call that was cut off, by
	// a kill of ours or of the daemon. A start that the daemon refuses has its own answer.
	if (again) {
		engine_advance(ref, CONTAINER_STOPPED);
		engine_stop_stray(ref);
	} else if (info->running) {
		observe_running(ref, info);
	} else if (info->started || info->dead || c->known >= CONTAINER_RUNNING) {
		// Also one that ran, and of which Docker says now that it never did: a daemon that was killed had not written
		// it down. Nobody knows its exit code.
		observe_ended(ref, info);
	}
}

void engine_observe_missing(struct container_ref *ref)
{
	struct container *c = ref_container(ref);
	engine_touch(ref->entry);
	if (!c->docker_id)
		return; // only a name was on disk: the create call had not happened
	log_error("container is gone from Docker", "task=%s container=%s docker_id=%s", ref->entry->task->arn, c->name,
		  c->docker_id);
	container_set_error(c, "ContainerVanishedError", "No container matching saved ID found");
	engine_advance(ref, CONTAINER_STOPPED);
}

// --- events ---

static struct container_ref *find_container(struct engine *engine, const char *docker_id, const char *docker_name)
{
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		for (size_t k = 0; k < entry->task->container_count; k++) {
			const struct container *c = &entry->task->containers[k];
			if (c->docker_id ? str_equal(c->docker_id, docker_id)
					 : docker_name && str_equal(c->docker_name, docker_name))
				return &entry->refs[k];
		}
	}
	return NULL;
}

static void on_event(const struct docker_event *event, void *arg)
{
	struct engine *engine = arg;
	struct container_ref *ref = find_container(engine, event->id, event->name);
	if (!ref)
		return;
	struct container *c = ref_container(ref);
	if (c->known == CONTAINER_STOPPED) {
		if (event->kind == DOCKER_EVENT_START)
			engine_stop_stray(ref);
		return;
	}
	switch (event->kind) {
	case DOCKER_EVENT_START:
		if (c->known == CONTAINER_RUNNING || c->in_flight == OP_START || c->checks_start)
			return; // our own start, inspected anyway
		c->must_inspect = true;
		break;
	case DOCKER_EVENT_DIE:
	case DOCKER_EVENT_DESTROY:
		if (c->in_flight == OP_STOP)
			return; // inspected when the stop call has ended
		c->must_inspect = true;
		break;
	case DOCKER_EVENT_HEALTH:
		take_health(c, event->health);
		break;
	case DOCKER_EVENT_OOM:
		log_warn("a process of the container was killed for lack of memory", "task=%s container=%s",
			 ref->entry->task->arn, c->name);
		return;
	default:
		return;
	}
	if (!c->looked_twice)
		c->not_before = 0; // Docker speaks: no reason to wait
	engine_touch(ref->entry);
}

// --- list: what was missed while the event stream was away ---

static const struct docker_summary *find_summary(const struct docker_summary *list, size_t count,
						 const struct container *c)
{
	for (size_t i = 0; i < count; i++) {
		if (c->docker_id ? str_equal(list[i].id, c->docker_id) : str_equal(list[i].name, c->docker_name))
			return &list[i];
	}
	return NULL;
}

static bool runs(const struct docker_summary *found)
{
	return found && (str_equal(found->state, "running") || str_equal(found->state, "paused") ||
			 str_equal(found->state, "restarting"));
}

static bool agrees(const struct docker_summary *found, const struct container *c)
{
	return (c->known == CONTAINER_RUNNING && runs(found)) ||
	       (c->known == CONTAINER_CREATED && found && str_equal(found->state, "created"));
}

static void compare(struct container_ref *ref, const struct docker_summary *list, size_t count, bool reopened)
{
	struct container *c = ref_container(ref);
	if (!c->docker_id && !c->docker_name)
		return;
	const struct docker_summary *found = find_summary(list, count, c);
	if (c->known == CONTAINER_STOPPED) {
		if (runs(found))
			engine_stop_stray(ref);
		return;
	}
	if (reopened) {
		uint64_t settled = loop_now(ref->engine->o.loop) + START_SETTLE_MS;
		c->failures = 0;
		c->not_before = !c->start_unknown ? 0 : c->not_before < settled ? c->not_before : settled;
		engine_touch(ref->entry);
	}
	// Health comes in events, and one may have been missed.
	bool stale_health = reopened && c->health_check_docker && c->known == CONTAINER_RUNNING;
	if (c->in_flight != OP_NONE && c->in_flight != OP_STOP)
		return; // its answer tells
	if (!agrees(found, c) || stale_health) {
		c->must_inspect = true;
		engine_touch(ref->entry);
	}
}

static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	struct engine *engine = arg;
	engine->list_call = NULL;
	bool failed = err->failure != DOCKER_OK;
	timer_start(&engine->resync, failed && engine->reopened ? RETRY_LIST_MS : RESYNC_MS);
	if (failed) {
		log_warn("Docker does not list containers", "error=%s", err->message);
		return;
	}
	CRASH_POINT("recovery.listed");
	for (size_t i = 0; i < engine->count; i++) {
		for (size_t k = 0; k < engine->entries[i]->task->container_count; k++)
			compare(&engine->entries[i]->refs[k], list, count, engine->reopened);
	}
	engine->reopened = false;
}

void engine_resync(void *arg)
{
	struct engine *engine = arg;
	if (!engine->list_call)
		engine->list_call = docker_list(engine->o.docker, LABEL_TASK_ARN, on_list, engine);
}

static void on_negotiated(const struct docker_error *err, void *arg)
{
	(void)arg;
	if (err->failure != DOCKER_OK)
		log_warn("Docker does not tell its version", "error=%s", err->message);
}

static void on_open(void *arg)
{
	struct engine *engine = arg;
	if (engine->ready) { // perhaps after an upgrade of the daemon
		log_info("Docker's event stream is open again", NULL);
		docker_connect(engine->o.docker, on_negotiated, engine);
	}
	engine->reopened = true;
	engine->docker_away = false;
	if (engine->o.on_docker)
		engine->o.on_docker(true, engine->o.arg);
	if (engine->o.logd)
		logd_docker_started(engine->o.logd);
	docker_call_cancel(engine->list_call); // an answer from before the reopening is no answer
	engine->list_call = NULL;
	engine_resync(engine);
	if (engine->ready)
		return;
	engine->ready = true;
	image_cycle_start(engine->images);
	for (size_t i = 0; i < engine->count; i++)
		engine_touch(engine->entries[i]);
	if (engine->on_ready)
		engine->on_ready(engine->on_ready_arg);
}

static void on_lost(const struct docker_error *err, void *arg)
{
	struct engine *engine = arg;
	if (engine->docker_away) // every failed attempt comes here
		return;
	log_warn("Docker's event stream is cut; reopening", "error=%s", err->message);
	engine->docker_away = true;
	if (engine->o.on_docker)
		engine->o.on_docker(false, engine->o.arg);
}

void engine_watch_docker(struct engine *engine)
{
	struct docker_events events = {
		.label = LABEL_TASK_ARN, .on_event = on_event, .on_open = on_open, .on_lost = on_lost, .arg = engine};
	docker_events_start(engine->o.docker, &events);
}
