// agent/docker/docker.h and cgroups/cgroups.h without a daemon and a kernel: calls wait until the sequence answers them.
#include "cgroups/cgroups.h"
#include "common/util.h"
#include "docker/create_request.h"
#include "invariants.h"
#include "world.h"

#include <errno.h>

enum { LATE_MAX_MS = 30 * 1000 }; // Docker is done with a call of which nobody waits for the answer any more

#define DIGEST "sha256:0123456789012345678901234567890123456789012345678901234567890123"

static const struct docker_error ok;

// --- boxes ---

static void box_free(struct box *box)
{
	free(box->id);
	free(box->name);
	free(box->image_id);
	json_object_put(box->labels);
	free(box);
}

static struct box *box_find(const char *target)
{
	for (struct box *box = world.boxes; box; box = box->next) {
		if (str_equal(box->id, target) || str_equal(box->name, target))
			return box;
	}
	return NULL;
}

struct box *docker_box_of(int task, int container)
{
	for (struct box *box = world.boxes; box; box = box->next) {
		if (box->task == task && box->container == container)
			return box;
	}
	return NULL;
}

struct box *docker_box(size_t n, bool running)
{
	size_t count = 0;
	for (const struct box *box = world.boxes; box; box = box->next)
		count += box->task >= 0 && (box->state == BOX_RUNNING) == running;
	for (struct box *box = world.boxes; count && box; box = box->next) {
		if (box->task >= 0 && (box->state == BOX_RUNNING) == running && n-- % count == 0)
			return box;
		if (n > count)
			n %= count;
	}
	return NULL;
}

static struct truth *truth_of(const struct box *box)
{
	return box->task < 0 ? NULL : &world.tasks[box->task].containers[box->container];
}

static void emit(const struct box *box, enum docker_event_kind kind)
{
	if (!world.streaming)
		return;
	struct box_event *event = xcalloc(1, sizeof(*event));
	*event = (struct box_event){.kind = kind,
				    .id = xstrdup(box->id),
				    .name = xstrdup(box->name),
				    .exit_code = box->exit_code,
				    .health = box->health};
	struct box_event **end = &world.queue;
	while (*end)
		end = &(*end)->next;
	*end = event;
}

void box_start(struct box *box)
{
	trace("  box %s starts", box->id);
	box->state = BOX_RUNNING;
	box->started = true;
	box->started_ms = world_wall();
	if (truth_of(box))
		truth_of(box)->started = true;
	emit(box, DOCKER_EVENT_START);
}

static uint64_t code_bit(int code)
{
	return code == 0 ? 1 : code == 1 ? 2 : code == 137 ? 4 : code == 143 ? 8 : 16;
}

void box_exit(struct box *box, int code, bool oom)
{
	trace("  box %s ends: %d", box->id, code);
	box->state = BOX_EXITED;
	box->ended = true;
	box->oom = oom;
	box->oom_told = !world.streaming;
	box->exit_code = code;
	box->finished_ms = world_wall();
	if (truth_of(box)) {
		truth_of(box)->ended = true;
		truth_of(box)->codes |= code_bit(code);
	}
	emit(box, DOCKER_EVENT_DIE);
	if (oom)
		emit(box, DOCKER_EVENT_OOM);
}

void box_remove(struct box *box)
{
	trace("  box %s is removed", box->id);
	if (box->state == BOX_RUNNING)
		box_exit(box, 137, false);
	emit(box, DOCKER_EVENT_DESTROY);
	struct box **at = &world.boxes;
	while (*at != box)
		at = &(*at)->next;
	*at = box->next;
	box_free(box);
}

void box_health(struct box *box, bool healthy)
{
	box->health = healthy ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
	if (healthy && truth_of(box))
		truth_of(box)->healthy = true;
	emit(box, DOCKER_EVENT_HEALTH);
}

static void box_take_ports(struct box *box, json_object *host)
{
	json_object *bindings = json_get(host, "PortBindings");
	if (!bindings)
		return;
	json_object_object_foreach(bindings, port, list)
	{
		const char *text = json_get_string(json_object_array_get_idx(list, 0), "HostPort");
		if (box->port_count == ARRAY_SIZE(box->ports))
			return;
		struct port_binding *to = &box->ports[box->port_count++];
		to->container_port = (uint16_t)atoi(port);
		to->host_port = (uint16_t)atoi(text);
		snprintf(to->protocol, sizeof(to->protocol), "%s", strstr(port, "udp") ? "udp" : "tcp");
	}
}

static struct box *box_new(const char *name, json_object *body)
{
	struct box *box = xcalloc(1, sizeof(*box));
	json_object *labels = body ? json_get(body, "Labels") : NULL;
	box->id = xasprintf("id%llu", (unsigned long long)++world.serial);
	box->name = xstrdup(name);
	box->image_id = xstrdup("sha256:i");
	box->labels = labels ? json_object_get(labels) : json_object_new_object();
	box->task = world_task_index(json_get_string(box->labels, LABEL_TASK_ARN));
	box->container = world_container_index(json_get_string(box->labels, LABEL_CONTAINER_NAME));
	box->created_ms = world_wall();
	if (body && json_get(body, "HostConfig"))
		box_take_ports(box, json_get(body, "HostConfig"));
	box->next = world.boxes;
	world.boxes = box;
	trace("  box %s is created: %s, task %d container %d", box->id, name, box->task, box->container);
	if (truth_of(box))
		truth_of(box)->existed = true;
	emit(box, DOCKER_EVENT_CREATE);
	return box;
}

// --- what calls do ---

// A create call that is still at work has reserved the name.
static bool is_reserved(const struct docker_call *call)
{
	for (const struct late *late = world.late; late; late = late->next) {
		if (late->call != call && late->call->kind == CALL_CREATE &&
		    str_equal(late->call->target, call->target))
			return true;
	}
	return false;
}

static enum docker_failure do_create(const struct docker_call *call, char **id)
{
	if (box_find(call->target) || is_reserved(call))
		return DOCKER_CONFLICT;
	const struct box *box = box_new(call->target, call->body);
	if (id)
		*id = xstrdup(box->id);
	check_created(box);
	return DOCKER_OK;
}

static enum docker_failure take_effect(const struct docker_call *call, char **id)
{
	if (call->kind == CALL_CREATE)
		return do_create(call, id);
	if (call->kind >= CALL_LIST)
		return DOCKER_OK;
	struct box *box = box_find(call->target);
	if (!box)
		return DOCKER_NOT_FOUND;
	switch (call->kind) {
	case CALL_START:
		if (box->state == BOX_RUNNING)
			return DOCKER_NOT_MODIFIED;
		box_start(box);
		return DOCKER_OK;
	case CALL_STOP:
		if (box->state != BOX_RUNNING)
			return DOCKER_NOT_MODIFIED;
		box_exit(box, draw(&world.draws, 2) ? 143 : 137, false);
		return DOCKER_OK;
	case CALL_REMOVE:
		if (box->state == BOX_RUNNING)
			return DOCKER_CONFLICT;
		box_remove(box);
		return DOCKER_OK;
	default:
		return DOCKER_OK;
	}
}

static bool has_effect(const struct docker_call *call)
{
	return call->kind <= CALL_STOP || call->kind == CALL_REMOVE;
}

static void call_free(struct docker_call *call)
{
	free(call->target);
	json_object_put(call->body);
	free(call);
}

static bool unlink_call(struct docker_call *call)
{
	struct docker_call **at = &world.calls;
	while (*at && *at != call)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = call->next;
	return true;
}

// Takes the call: its effect comes later.
static void postpone(struct docker_call *call)
{
	struct late *late = xcalloc(1, sizeof(*late));
	*late = (struct late){world.late, call, world.now + (uint64_t)draw(&world.draws, LATE_MAX_MS)};
	world.late = late;
}

void docker_settle(uint64_t until)
{
	for (struct late **at = &world.late; *at;) {
		struct late *late = *at;
		if (late->at > until) {
			at = &late->next;
			continue;
		}
		*at = late->next;
		trace("  late: %s %s", call_name(late->call->kind), late->call->target);
		take_effect(late->call, NULL);
		call_free(late->call);
		free(late);
		at = &world.late;
	}
}

uint64_t docker_late_next(void)
{
	uint64_t next = UINT64_MAX;
	for (const struct late *late = world.late; late; late = late->next) {
		if (late->at < next)
			next = late->at;
	}
	return next;
}

// Cut by the client: whether Docker notices in time is not known.
static void abandon(struct docker_call *call)
{
	if (!has_effect(call) || call->since == 0 || draw(&world.draws, 2)) {
		call_free(call);
	} else if (draw(&world.draws, 2)) {
		take_effect(call, NULL);
		call_free(call);
	} else {
		postpone(call);
	}
}

void docker_call_cancel(struct docker_call *call)
{
	if (call && unlink_call(call))
		abandon(call);
	else if (call)
		violated("ONE_IN_FLIGHT", "a call is cancelled that is over");
}

// --- calls ---

static struct docker_call *call_new(enum call_kind kind, const char *target, void *arg)
{
	struct docker_call *call = xcalloc(1, sizeof(*call));
	*call = (struct docker_call){.kind = kind, .target = xstrdup(target), .arg = arg, .since = world.now};
	if (world.dead)
		call->since = 0; // never sent
	struct docker_call **end = &world.calls;
	while (*end)
		end = &(*end)->next;
	*end = call;
	return call;
}

static struct docker_call *sent(struct docker_call *call)
{
	if (world.dead)
		return call;
	trace("  call %s %s", call_name(call->kind), call->target);
	check_call(call);
	if (world.crash == CRASH_AFTER_CALL + 1 && has_effect(call))
		world.dead = true;
	return call;
}

struct docker_call *docker_create(struct docker *docker, const char *name, json_object *body,
				  void (*done)(const struct docker_error *, const char *, void *), void *arg)
{
	(void)docker;
	struct docker_call *call = call_new(CALL_CREATE, name, arg);
	call->body = json_object_get(body);
	call->done.created = done;
	return sent(call);
}

static struct docker_call *plain(enum call_kind kind, const char *target,
				 void (*done)(const struct docker_error *, void *), void *arg)
{
	struct docker_call *call = call_new(kind, target, arg);
	call->done.plain = done;
	return sent(call);
}

struct docker_call *docker_start(struct docker *docker, const char *id,
				 void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker;
	return plain(CALL_START, id, done, arg);
}

struct docker_call *docker_stop(struct docker *docker, const char *id, uint64_t timeout_s,
				void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker, (void)timeout_s;
	return plain(CALL_STOP, id, done, arg);
}

struct docker_call *docker_remove(struct docker *docker, const char *id,
				  void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker;
	return plain(CALL_REMOVE, id, done, arg);
}

struct docker_call *docker_image_tag(struct docker *docker, const char *source, const char *target,
				     void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker, (void)source;
	return plain(CALL_TAG, target, done, arg);
}

struct docker_call *docker_volume_remove(struct docker *docker, const char *name,
					 void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker;
	return plain(CALL_VOLUME, name, done, arg);
}

struct docker_call *docker_connect(struct docker *docker, void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker;
	return plain(CALL_CONNECT, "", done, arg);
}

struct docker_call *docker_pull(struct docker *docker, const char *reference, json_object *auth,
				void (*progress)(const char *, void *),
				void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker, (void)auth, (void)progress;
	return plain(CALL_PULL, reference, done, arg);
}

struct docker_call *docker_inspect(struct docker *docker, const char *target,
				   void (*done)(const struct docker_error *, const struct docker_container *, void *),
				   void *arg)
{
	(void)docker;
	struct docker_call *call = call_new(CALL_INSPECT, target, arg);
	call->done.inspected = done;
	return sent(call);
}

struct docker_call *docker_list(struct docker *docker, const char *label,
				void (*done)(const struct docker_error *, const struct docker_summary *, size_t,
					     void *),
				void *arg)
{
	(void)docker, (void)label;
	struct docker_call *call = call_new(CALL_LIST, "", arg);
	call->done.listed = done;
	return sent(call);
}

struct docker_call *docker_image_inspect(struct docker *docker, const char *reference,
					 void (*done)(const struct docker_error *, const struct docker_image *, void *),
					 void *arg)
{
	(void)docker;
	struct docker_call *call = call_new(CALL_IMAGE, reference, arg);
	call->done.image = done;
	return sent(call);
}

struct docker_call *docker_manifest(struct docker *docker, const char *reference, json_object *auth,
				    void (*done)(const struct docker_error *, const struct docker_manifest *, void *),
				    void *arg)
{
	(void)docker, (void)auth;
	struct docker_call *call = call_new(CALL_MANIFEST, reference, arg);
	call->done.manifest = done;
	return sent(call);
}

// Of image clean-up, which is off here.
struct docker_call *docker_image_list(struct docker *docker,
				      void (*done)(const struct docker_error *, json_object *, void *), void *arg)
{
	(void)docker, (void)done, (void)arg;
	return NULL;
}

struct docker_call *docker_image_remove(struct docker *docker, const char *reference,
					void (*done)(const struct docker_error *, void *), void *arg)
{
	(void)docker, (void)reference, (void)done, (void)arg;
	return NULL;
}

struct docker_call *docker_info(struct docker *docker,
				void (*done)(const struct docker_error *, const struct docker_info *, void *),
				void *arg)
{
	(void)docker, (void)done, (void)arg;
	return NULL;
}

bool docker_speaks(const struct docker *docker, const char *version)
{
	(void)docker, (void)version;
	return true;
}

char *docker_canonical(const char *reference, const char *digest, struct error *err)
{
	(void)err;
	return xasprintf("%s@%s", reference, digest);
}

void docker_timeout_text(char *out, size_t size, const char *transition, uint64_t timeout_ms)
{
	snprintf(out, size, "%s %llu", transition, (unsigned long long)timeout_ms);
}

// --- answers ---

size_t docker_call_count(void)
{
	size_t count = 0;
	for (const struct docker_call *call = world.calls; call; call = call->next)
		count++;
	return count;
}

struct docker_call *docker_call_at(size_t n)
{
	size_t count = docker_call_count();
	struct docker_call *call = world.calls;
	for (n = count ? n % count : 0; n > 0; n--)
		call = call->next;
	return call;
}

static void answer_inspect(const struct docker_call *call, const struct docker_error *err)
{
	const struct box *box = err->failure == DOCKER_OK ? box_find(call->target) : NULL;
	if (!box) {
		struct docker_error missing = {.failure = DOCKER_NOT_FOUND, .status = 404, .name = "Missing"};
		call->done.inspected(err->failure == DOCKER_OK ? &missing : err, NULL, call->arg);
		return;
	}
	struct docker_container info = {.id = box->id,
					.name = box->name,
					.image_id = box->image_id,
					.running = box->state == BOX_RUNNING,
					.oom_killed = box->oom && box->oom_told,
					.started = box->started,
					.finished = box->ended && box->state != BOX_RUNNING,
					.exit_code = box->state == BOX_RUNNING ? 0 : box->exit_code,
					.state_error = (char *)"",
					.created_ms = box->created_ms,
					.started_ms = box->started_ms,
					.finished_ms = box->state == BOX_RUNNING ? 0 : box->finished_ms,
					.health = box->state == BOX_RUNNING ? box->health : HEALTH_NONE,
					.labels = box->labels};
	struct docker_port_binding ports[ARRAY_SIZE(box->ports)];
	for (size_t i = 0; i < box->port_count && box->state == BOX_RUNNING; i++) {
		ports[i] = (struct docker_port_binding){.container_port = box->ports[i].container_port,
							.host_port = box->ports[i].host_port,
							.bind_ip = "0.0.0.0"};
		memcpy(ports[i].protocol, box->ports[i].protocol, sizeof(ports[i].protocol));
		info.ports = ports;
		info.port_count = i + 1;
	}
	if (truth_of(box) && box->started)
		truth_of(box)->told_started = true;
	call->done.inspected(err, &info, call->arg);
}

static void answer_list(const struct docker_call *call, const struct docker_error *err)
{
	static const char *const states[] = {"created", "running", "exited"};
	struct docker_summary *list = NULL;
	size_t count = 0;
	for (const struct box *box = world.boxes; err->failure == DOCKER_OK && box; box = box->next) {
		if (box->task < 0)
			continue;
		list = xreallocarray(list, count + 1, sizeof(*list));
		list[count++] = (struct docker_summary){.id = box->id,
							.name = box->name,
							.state = (char *)states[box->state],
							.image_id = box->image_id,
							.labels = box->labels};
	}
	call->done.listed(err, list, count, call->arg);
	free(list);
}

static void answer_image(const struct docker_call *call, struct docker_error *err)
{
	char *digest = xasprintf("%.*s@" DIGEST, (int)strcspn(call->target, ":@"), call->target);
	struct docker_image image = {.id = (char *)"sha256:i", .repo_digests = {&digest, 1}, .size = 1};
	if (err->failure == DOCKER_REFUSED)
		err->failure = DOCKER_NOT_FOUND;
	call->done.image(err, err->failure == DOCKER_OK ? &image : NULL, call->arg);
	free(digest);
}

static void tell(struct docker_call *call, struct docker_error *err, const char *id)
{
	const struct docker_manifest manifest = {.digest = DIGEST, .media_type = "v2"};
	switch (call->kind) {
	case CALL_CREATE:
		call->done.created(err, id, call->arg);
		break;
	case CALL_INSPECT:
		answer_inspect(call, err);
		break;
	case CALL_LIST:
		answer_list(call, err);
		break;
	case CALL_IMAGE:
		answer_image(call, err);
		break;
	case CALL_MANIFEST:
		call->done.manifest(err, err->failure == DOCKER_OK ? &manifest : NULL, call->arg);
		break;
	default:
		call->done.plain(err, call->arg);
	}
}

static void conflict(const struct docker_call *call, struct docker_error *err)
{
	err->failure = DOCKER_REFUSED;
	if (call->kind == CALL_CREATE) { // a stranger has the name
		if (!box_find(call->target))
			box_new(call->target, NULL);
		err->failure = DOCKER_CONFLICT;
	} else if (call->kind == CALL_PULL || call->kind == CALL_MANIFEST) {
		err->status = 403; // another attempt would not help
	}
}

void docker_answer(struct docker_call *call, enum outcome outcome)
{
	struct docker_error err = {.failure = DOCKER_UNKNOWN, .name = "CannotDoError", .message = "model"};
	char *id = NULL;
	if (world.away)
		outcome = OUTCOME_LOST;
	unlink_call(call);
	trace("  answer %s %s: %d", call_name(call->kind), call->target, (int)outcome);
	switch (outcome) {
	case OUTCOME_OK:
		err.failure = take_effect(call, &id);
		err.name = err.failure == DOCKER_OK ? NULL : err.name;
		break;
	case OUTCOME_REFUSED_DONE:
		take_effect(call, NULL);
		__attribute__((fallthrough));
	case OUTCOME_REFUSED:
		err.failure = DOCKER_REFUSED;
		err.status = 500;
		if (call->kind == CALL_REMOVE)
			check_remove_refused(call);
		break;
	case OUTCOME_CONFLICT:
		conflict(call, &err);
		if (call->kind == CALL_REMOVE)
			check_remove_refused(call);
		break;
	case OUTCOME_LOST_DONE:
		take_effect(call, NULL);
		break;
	default:
		err.timeout = outcome == OUTCOME_TIMEOUT;
	}
	if (world.mutation && mutate_answer(call, &err))
		trace("  (mutated)");
	if (err.failure == DOCKER_OK)
		err = ok;
	tell(call, &err, id);
	free(id);
	if ((outcome == OUTCOME_LOST_LATE || outcome == OUTCOME_TIMEOUT) && has_effect(call))
		postpone(call);
	else
		call_free(call);
}

// --- events ---

void docker_events_start(struct docker *docker, const struct docker_events *events)
{
	(void)docker;
	world.events = *events;
	world.watching = true;
}

void docker_events_stop(struct docker *docker)
{
	(void)docker;
	world.watching = false;
	world.streaming = false;
}

static void queue_clear(void)
{
	while (world.queue) {
		struct box_event *event = world.queue;
		world.queue = event->next;
		free(event->id);
		free(event->name);
		free(event);
	}
}

bool docker_event_next(bool lost)
{
	struct box_event *event = world.queue;
	if (!event)
		return false;
	world.queue = event->next;
	struct box *box = box_find(event->id);
	if (event->kind == DOCKER_EVENT_OOM && box)
		box->oom_told = true;
	trace("  event %d of %s%s", (int)event->kind, event->id, lost ? " is lost" : "");
	struct docker_event out = {.kind = event->kind,
				   .id = event->id,
				   .name = event->name,
				   .exit_code = event->exit_code,
				   .health = event->health};
	if (!lost && world.streaming)
		world.events.on_event(&out, world.events.arg);
	free(event->id);
	free(event->name);
	free(event);
	return true;
}

void docker_go_away(bool effects)
{
	if (world.away)
		return;
	world.away = true;
	world.streaming = false;
	queue_clear();
	struct docker_error err = {.failure = DOCKER_UNKNOWN, .message = "cut"};
	for (size_t n = docker_call_count(); n > 0 && world.calls; n--) {
		if (effects && has_effect(world.calls))
			take_effect(world.calls, NULL);
		docker_answer(world.calls, OUTCOME_LOST);
	}
	if (world.watching)
		world.events.on_lost(&err, world.events.arg);
}

void docker_come_back(void)
{
	world.away = false;
	if (!world.watching || world.streaming)
		return;
	world.streaming = true;
	world.events.on_open(world.events.arg);
}

void docker_forget_client(void)
{
	world.watching = world.streaming = false;
	queue_clear();
	while (world.calls) {
		struct docker_call *call = world.calls;
		world.calls = call->next;
		abandon(call);
	}
}

void docker_world_reset(void)
{
	queue_clear();
	while (world.calls) {
		struct docker_call *call = world.calls;
		world.calls = call->next;
		call_free(call);
	}
	while (world.late) {
		struct late *late = world.late;
		world.late = late->next;
		call_free(late->call);
		free(late);
	}
	while (world.boxes) {
		struct box *box = world.boxes;
		world.boxes = box->next;
		box_free(box);
	}
}

// --- cgroups: made at once, now and then not ---

struct cgroups_call {
	void (*done)(const struct error *err, void *arg);
	void *arg;
	int code;
};

static void cgroup_answer(void *arg)
{
	struct cgroups_call *call = arg;
	struct error err = {.code = call->code, .message = "model"};
	call->done(call->code ? &err : NULL, call->arg);
	free(call);
}

static struct cgroups_call *cgroup_call(int code, void (*done)(const struct error *, void *), void *arg)
{
	struct cgroups_call *call = xcalloc(1, sizeof(*call));
	*call = (struct cgroups_call){done, arg, code};
	loop_defer(model_loop(), cgroup_answer, call);
	return call;
}

struct cgroups_call *cgroups_create(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits,
				    void (*done)(const struct error *err, void *arg), void *arg)
{
	(void)cgroups, (void)id, (void)limits;
	return cgroup_call(!world.quiet && draw(&world.draws, 20) == 0 ? EIO : 0, done, arg);
}

struct cgroups_call *cgroups_remove(struct cgroups *cgroups, const char *id,
				    void (*done)(const struct error *err, void *arg), void *arg)
{
	(void)cgroups, (void)id;
	return cgroup_call(draw(&world.draws, 3) == 0 ? EBUSY : 0, done, arg);
}

void cgroups_call_cancel(struct cgroups_call *call)
{
	if (!call)
		return;
	loop_defer_cancel(model_loop(), cgroup_answer, call);
	free(call);
}

char *cgroups_parent(const struct cgroups *cgroups, const char *id)
{
	(void)cgroups;
	return xasprintf("/ecs/%s", id);
}

int cgroups_check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err)
{
	(void)cgroups, (void)id, (void)limits, (void)err;
	return 0;
}
