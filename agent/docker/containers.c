// Container operations of the Docker Engine API.
#include "docker/docker_internal.h"
#include "common/log.h"
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>

// Deadlines of whole calls (docker-mapping.md §2).
#define STOP_EXTRA_MS (2 * 60 * 1000)
#define INSPECT_TIMEOUT_MS (30 * 1000)
#define REMOVE_TIMEOUT_MS (5 * 60 * 1000)
#define LIST_TIMEOUT_MS (10 * 60 * 1000)

static const struct docker_operation op_create = {"CannotCreateContainerError", "created"};
static const struct docker_operation op_start = {"CannotStartContainerError", "started"};
static const struct docker_operation op_stop = {"CannotStopContainerError", "stopped"};
static const struct docker_operation op_inspect = {"CannotInspectContainerError", "inspecting"};
static const struct docker_operation op_remove = {"CannotRemoveContainerError", "removing"};
static const struct docker_operation op_list = {"CannotListContainersError", "listing"};

static void finish_create(struct docker_call *call, const struct docker_error *err, json_object *body);
static void finish_inspect(struct docker_call *call, const struct docker_error *err, json_object *body);
static void finish_list(struct docker_call *call, const struct docker_error *err, json_object *body);

struct docker_call *docker_create(struct docker *docker, const char *name, json_object *body,
				  void (*done)(const struct docker_error *err, const char *id, void *arg), void *arg)
{
	_cleanup_free_ char *encoded = url_encode(name, false);
	_cleanup_free_ char *path = xasprintf("/containers/create?name=%s", encoded);
	return docker_call_new(docker,
			       &(struct docker_request){.operation = &op_create,
							.method = "POST",
							.path = path,
							.timeout_ms = docker_options_of(docker)->create_timeout_ms,
							.wants_json = true,
							.body = json_text(body),
							.finish = finish_create,
							.done.create = done,
							.arg = arg});
}

// Calls on one container that answer nothing of interest.
static struct docker_call *container_call(struct docker *docker, const struct docker_operation *operation,
					  const char *method, const char *id, const char *suffix, uint64_t timeout_ms,
					  void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	_cleanup_free_ char *encoded = url_encode(id, false);
	_cleanup_free_ char *path = xasprintf("/containers/%s%s", encoded, suffix);
	return docker_call_new(docker, &(struct docker_request){.operation = operation,
								.method = method,
								.path = path,
								.timeout_ms = timeout_ms,
								.finish = docker_finish_plain,
								.done.plain = done,
								.arg = arg});
}

struct docker_call *docker_start(struct docker *docker, const char *id,
				 void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	return container_call(docker, &op_start, "POST", id, "/start", docker_options_of(docker)->start_timeout_ms,
			      done, arg);
}

struct docker_call *docker_stop(struct docker *docker, const char *id, uint64_t timeout_s,
				void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	_cleanup_free_ char *suffix = xasprintf("/stop?t=%" PRIu64, timeout_s);
	return container_call(docker, &op_stop, "POST", id, suffix, timeout_s * 1000 + STOP_EXTRA_MS, done, arg);
}

struct docker_call *docker_remove(struct docker *docker, const char *id,
				  void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	return container_call(docker, &op_remove, "DELETE", id, "?v=1", REMOVE_TIMEOUT_MS, done, arg);
}

struct docker_call *docker_inspect(struct docker *docker, const char *id_or_name,
				   void (*done)(const struct docker_error *err,
						const struct docker_container *container, void *arg),
				   void *arg)
{
	_cleanup_free_ char *encoded = url_encode(id_or_name, false);
	_cleanup_free_ char *path = xasprintf("/containers/%s/json", encoded);
	return docker_call_new(docker, &(struct docker_request){.operation = &op_inspect,
								.method = "GET",
								.path = path,
								.timeout_ms = INSPECT_TIMEOUT_MS,
								.max_body = DOCKER_INSPECT_MAX,
								.wants_json = true,
								.finish = finish_inspect,
								.done.inspect = done,
								.arg = arg});
}

struct docker_call *docker_list(struct docker *docker, const char *label,
				void (*done)(const struct docker_error *err, const struct docker_summary *list,
					     size_t count, void *arg),
				void *arg)
{
	_cleanup_free_ char *path = xstrdup("/containers/json?all=1");
	if (label) {
		_cleanup_json_ json_object *filters = json_object_new_object();
		json_object *labels = json_object_new_array();
		json_object_array_add(labels, json_object_new_string(label));
		json_add(filters, "label", labels);
		_cleanup_free_ char *encoded = url_encode(json_text(filters), false);
		free(path);
		path = xasprintf("/containers/json?all=1&filters=%s", encoded);
	}
	return docker_call_new(docker, &(struct docker_request){.operation = &op_list,
								.method = "GET",
								.path = path,
								.timeout_ms = LIST_TIMEOUT_MS,
								.max_body = DOCKER_LIST_MAX,
								.wants_json = true,
								.finish = finish_list,
								.done.list = done,
								.arg = arg});
}

void docker_container_free(struct docker_container *container)
{
	free(container->id);
	free(container->name);
	free(container->image_id);
	free(container->state_error);
	free(container->created_text);
	free(container->started_text);
	free(container->ports);
	for (size_t i = 0; i < container->mount_count; i++) {
		free(container->mounts[i].name);
		free(container->mounts[i].source);
		free(container->mounts[i].destination);
	}
	free(container->mounts);
	free(container->ip_address);
	json_object_put(container->labels);
	*container = (struct docker_container){0};
}

// --- answers ---

static void unreadable(struct docker_error *err, const struct docker_call *call, const char *what)
{
	*err = (struct docker_error){.failure = DOCKER_UNKNOWN, .name = call->operation->error_name};
	docker_error_text(err, "cannot read the answer of the Docker daemon: %s", what);
}

static void finish_create(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_error bad;
	const char *id = body ? json_get_string(body, "Id") : NULL;
	if (err->failure == DOCKER_OK && str_empty(id)) {
		unreadable(&bad, call, "no container ID");
		err = &bad;
	}
	json_object *warnings = body ? json_get(body, "Warnings") : NULL;
	if (json_object_is_type(warnings, json_type_array))
		for (size_t i = 0; i < json_object_array_length(warnings); i++)
			log_info("docker warns about a container", "id=%s text=%s", id ? id : "",
				 json_object_get_string(json_object_array_get_idx(warnings, i)));
	call->done.create(err, err->failure == DOCKER_OK ? id : NULL, call->arg);
}

static char *text_of(json_object *object, const char *name)
{
	const char *text = json_get_string(object, name);
	return xstrdup(text ? text : "");
}

static json_object *object_of(json_object *object, const char *name)
{
	json_object *value = json_get(object, name);
	return json_object_is_type(value, json_type_object) ? value : NULL;
}

static bool flag_of(json_object *object, const char *name)
{
	return json_object_get_boolean(json_get(object, name));
}

// Wall clock, or 0 for Docker's zero time and anything unreadable.
static int64_t time_of(const char *text)
{
	int64_t ms = 0;
	return text && parse_rfc3339(text, &ms) && ms > 0 ? ms : 0;
}

enum docker_health docker_health_parse(const char *text)
{
	if (str_equal(text, "starting"))
		return HEALTH_STARTING;
	if (str_equal(text, "healthy"))
		return HEALTH_HEALTHY;
	if (str_equal(text, "unhealthy"))
		return HEALTH_UNHEALTHY;
	return HEALTH_NONE;
}

static void decode_state(struct docker_container *container, json_object *state)
{
	if (!state) {
		container->state_error = xstrdup("");
		container->started_text = xstrdup("");
		return;
	}
	container->running = flag_of(state, "Running");
	container->dead = flag_of(state, "Dead");
	container->oom_killed = flag_of(state, "OOMKilled");
	container->exit_code = json_object_get_int(json_get(state, "ExitCode"));
	container->state_error = text_of(state, "Error");
	container->pid = json_object_get_int64(json_get(state, "Pid"));
	container->started_text = text_of(state, "StartedAt");
	container->started_ms = time_of(container->started_text);
	container->started = container->started_ms > 0;
	container->finished_ms = time_of(json_get_string(state, "FinishedAt"));
	container->finished = container->finished_ms > 0;
	json_object *health = object_of(state, "Health");
	container->health = docker_health_parse(health ? json_get_string(health, "Status") : NULL);
}

// "80/tcp" with [{"HostIp": "0.0.0.0", "HostPort": "8080"}, ...]; null when the port is exposed only.
static void decode_port(struct docker_container *container, const char *port, json_object *bindings)
{
	char *slash = strchr(port, '/');
	_cleanup_free_ char *digits = xstrndup(port, slash ? (size_t)(slash - port) : strlen(port));
	const char *protocol = slash ? slash + 1 : "tcp";
	uint64_t container_port, host_port;
	if (!json_object_is_type(bindings, json_type_array))
		return;
	if ((!str_equal(protocol, "tcp") && !str_equal(protocol, "udp")) || !parse_uint64(digits, &container_port) ||
	    container_port > UINT16_MAX) {
		log_warn("port of a container ignored", "id=%s port=%s", container->id, port);
		return;
	}
	size_t count = json_object_array_length(bindings);
	for (size_t i = 0; i < count && container->port_count < DOCKER_PORTS_MAX; i++) {
		json_object *binding = json_object_array_get_idx(bindings, i);
		if (!json_object_is_type(binding, json_type_object) ||
		    !parse_uint64(json_get_string(binding, "HostPort") ?: "", &host_port) || host_port > UINT16_MAX)
			continue;
		// Grown by doubling: a range of ports on two address families is 131070 entries.
		if ((container->port_count & (container->port_count - 1)) == 0)
			container->ports =
				xreallocarray(container->ports, container->port_count ? container->port_count * 2 : 1,
					      sizeof(*container->ports));
		const char *ip = json_get_string(binding, "HostIp");
		if (ip && strlen(ip) >= sizeof(container->ports->bind_ip))
			continue; // no address
		struct docker_port_binding *out = &container->ports[container->port_count++];
		*out = (struct docker_port_binding){(uint16_t)container_port, (uint16_t)host_port, "", ""};
		memcpy(out->protocol, protocol, sizeof("tcp"));
		snprintf(out->bind_ip, sizeof(out->bind_ip), "%s", ip ? ip : "");
	}
}

static void decode_network(struct docker_container *container, json_object *network)
{
	const char *ip = network ? json_get_string(network, "IPAddress") : NULL;
	json_object *networks = network ? object_of(network, "Networks") : NULL;
	json_object *bridge = networks ? object_of(networks, "bridge") : NULL;
	if (str_empty(ip) && bridge) // newer daemons tell it there only
		ip = json_get_string(bridge, "IPAddress");
	container->ip_address = xstrdup(ip ? ip : "");
	json_object *ports = network ? object_of(network, "Ports") : NULL;
	if (!ports)
		return;
	json_object_object_foreach(ports, name, bindings)
	{
		decode_port(container, name, bindings);
	}
}

static void decode_mounts(struct docker_container *container, json_object *mounts)
{
	size_t count = json_object_is_type(mounts, json_type_array) ? json_object_array_length(mounts) : 0;
	if (count > DOCKER_MOUNTS_MAX)
		count = DOCKER_MOUNTS_MAX;
	container->mounts = xcalloc(count ? count : 1, sizeof(*container->mounts));
	for (size_t i = 0; i < count; i++) {
		json_object *mount = json_object_array_get_idx(mounts, i);
		if (json_object_is_type(mount, json_type_object))
			container->mounts[container->mount_count++] = (struct docker_mount){
				text_of(mount, "Name"), text_of(mount, "Source"), text_of(mount, "Destination")};
	}
}

static json_object *labels_of(json_object *object)
{
	json_object *labels = object ? object_of(object, "Labels") : NULL;
	return labels ? json_object_get(labels) : json_object_new_object();
}

// What says whether a container runs or has ended must be there as Docker writes it: nothing follows from its absence.
static bool state_is_readable(json_object *state)
{
	return state && json_object_is_type(json_get(state, "Running"), json_type_boolean) &&
	       json_object_is_type(json_get(state, "ExitCode"), json_type_int) && json_get_string(state, "StartedAt") &&
	       json_get_string(state, "FinishedAt");
}

static void finish_inspect(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_container container = {0};
	struct docker_error bad;
	if (err->failure == DOCKER_OK &&
	    (!json_object_is_type(body, json_type_object) || str_empty(json_get_string(body, "Id")) ||
	     !state_is_readable(object_of(body, "State")))) {
		unreadable(&bad, call, "no container ID or state");
		err = &bad;
	}
	if (err->failure != DOCKER_OK) {
		call->done.inspect(err, NULL, call->arg);
		return;
	}
	const char *name = json_get_string(body, "Name");
	container.id = text_of(body, "Id");
	container.name = xstrdup(name ? name + (*name == '/') : "");
	container.image_id = text_of(body, "Image");
	container.created_text = text_of(body, "Created");
	container.created_ms = time_of(container.created_text);
	container.labels = labels_of(object_of(body, "Config"));
	decode_state(&container, object_of(body, "State"));
	decode_network(&container, object_of(body, "NetworkSettings"));
	decode_mounts(&container, json_get(body, "Mounts"));
	call->done.inspect(err, &container, call->arg);
	docker_container_free(&container);
}

// A linked container is also listed under "/<other>/<alias>" for each link; its own name has one slash.
static const char *own_name(json_object *names)
{
	size_t count = json_object_is_type(names, json_type_array) ? json_object_array_length(names) : 0;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));
		if (name && *name == '/' && !strchr(name + 1, '/'))
			return name + 1;
	}
	return "";
}

static void finish_list(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_error bad;
	if (err->failure == DOCKER_OK && !json_object_is_type(body, json_type_array)) {
		unreadable(&bad, call, "no list");
		err = &bad;
	}
	if (err->failure != DOCKER_OK) {
		call->done.list(err, NULL, 0, call->arg);
		return;
	}
	size_t length = json_object_array_length(body), count = 0;
	struct docker_summary *list = xcalloc(length ? length : 1, sizeof(*list));
	for (size_t i = 0; i < length; i++) {
		json_object *item = json_object_array_get_idx(body, i);
		if (!json_object_is_type(item, json_type_object) || str_empty(json_get_string(item, "Id")))
			continue;
		list[count++] = (struct docker_summary){
			.id = text_of(item, "Id"),
			.name = xstrdup(own_name(json_get(item, "Names"))),
			.state = text_of(item, "State"),
			.image_id = text_of(item, "ImageID"),
			.labels = labels_of(item),
			.created_s = json_object_get_int64(json_get(item, "Created")),
		};
	}
	call->done.list(err, list, count, call->arg);
	for (size_t i = 0; i < count; i++) {
		free(list[i].id);
		free(list[i].name);
		free(list[i].state);
		free(list[i].image_id);
		json_object_put(list[i].labels);
	}
	free(list);
}
