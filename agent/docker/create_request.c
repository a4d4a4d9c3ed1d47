// From a task's container to Docker's create request: the members the agent fills in, in the order of the
// pipeline of docker-mapping.md §4.
#include "docker/create_request.h"
#include "docker/docker_internal.h"
#include "docker/log_config.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

#define CPU_SHARES_MIN 2 // docker-mapping.md §7: 0 and 1 become 2
#define CPU_SHARES_MAX 262144
#define MEMORY_MIN_BYTES (4LL << 20)
#define NAME_HEX_DIGITS 20 // §10

static int build_host_config(json_object *host, const struct task *task, const struct container *container,
			     const struct create_context *context, struct error *err);
static int build_config(json_object *config, const struct task *task, const struct container *container,
			const struct create_context *context, struct error *err);

json_object *create_request_build(const struct task *task, const struct container *container,
				  const struct create_context *context, const char **name, struct error *err)
{
	_cleanup_json_ json_object *host = json_object_new_object();
	_cleanup_json_ json_object *config = json_object_new_object();
	if (build_host_config(host, task, container, context, err) < 0) {
		*name = "HostConfigError";
		return NULL;
	}
	if (log_config_apply(host, task, container, context, name, err) < 0)
		return NULL;
	if (build_config(config, task, container, context, err) < 0) {
		*name = "DockerClientConfigError";
		return NULL;
	}
	json_add(config, "HostConfig", TAKE(host));
	json_add(config, "NetworkingConfig", json_object_new_object());
	return TAKE(config);
}

char *create_request_name(const struct task *task, const struct container *container)
{
	struct buf filtered = {0};
	char hex[NAME_HEX_DIGITS + 1];
	for (const char *c = container->name; *c; c++)
		if (isalnum((unsigned char)*c) || *c == '-')
			buf_append(&filtered, c, 1);
	random_hex(hex, NAME_HEX_DIGITS);
	_cleanup_free_ char *name = buf_take(&filtered);
	return xasprintf("ecs-%s-%s-%s-%s", task->family, task->version, name, hex);
}

json_object *rebuild_label(const struct task *task, const struct container *container)
{
	static const char *const conditions[] = {
		[DEPENDS_CREATE] = "CREATE",   [DEPENDS_START] = "START",     [DEPENDS_COMPLETE] = "COMPLETE",
		[DEPENDS_SUCCESS] = "SUCCESS", [DEPENDS_HEALTHY] = "HEALTHY", [DEPENDS_INVALID] = "INVALID",
	};
	json_object *label = json_object_new_object();
	json_add_int(label, "v", 1);
	json_add_bool(label, "essential", container->essential);
	json_add_int(label, "stopTimeout", container->stop_timeout_s);
	json_add_string(label, "credentialsId", task->credentials_id);
	json_add_string(label, "executionCredentialsId", task->execution_credentials_id);
	json_add_int(label, "sequence", (int64_t)task->sequence);
	json_add_bool(label, "health", container->health_check_docker);
	json_add_bool(label, "cgroup", task->in_cgroup);
	json_add(label, "cpu", json_object_new_double(task->cpu));
	json_add_int(label, "memory", task->memory);
	json_object *containers = json_object_new_array();
	for (size_t i = 0; i < task->container_count; i++) {
		const struct container *other = &task->containers[i];
		json_object *item = json_object_new_object(), *depends = json_object_new_array();
		json_add_string(item, "name", other->name);
		json_add_bool(item, "essential", other->essential);
		json_add_int(item, "cpu", other->cpu);
		for (size_t k = 0; k < other->depends_on_count; k++) {
			json_object *pair = json_object_new_array();
			json_object_array_add(pair, json_object_new_string(other->depends_on[k].container));
			json_object_array_add(pair, json_object_new_string(conditions[other->depends_on[k].condition]));
			json_object_array_add(depends, pair);
		}
		json_add(item, "dependsOn", depends);
		json_object_array_add(containers, item);
	}
	json_add(label, "containers", containers);
	return label;
}

// --- ports (§14) ---

static int parse_range(const char *text, uint64_t *first, uint64_t *last)
{
	const char *dash = strchr(text, '-');
	_cleanup_free_ char *start = xstrndup(text, dash ? (size_t)(dash - text) : strlen(text));
	if (!parse_uint64(start, first) || !parse_uint64(dash ? dash + 1 : text, last) || *first == 0 ||
	    *first > *last || *last > UINT16_MAX)
		return -EINVAL;
	return 0;
}

// Calls add for each port of a mapping with its host port.
static int each_port(const struct container *container, size_t index, json_object *object,
		     void (*add)(json_object *object, const char *port, uint64_t host_port), struct error *err)
{
	const struct port_mapping *mapping = &container->ports[index];
	uint64_t host = container->host_ports && container->host_ports[index] ? container->host_ports[index]
									      : mapping->host_port;
	uint64_t first = mapping->container_port, last = first;
	if (!str_empty(mapping->container_port_range) && parse_range(mapping->container_port_range, &first, &last) < 0)
		return error_set(err, EINVAL, "invalid container port range: %s", mapping->container_port_range);
	if (host == 0 || host + (last - first) > UINT16_MAX)
		return error_set(err, EADDRNOTAVAIL, "a host port is unavailable");
	for (uint64_t port = first; port <= last; port++) {
		_cleanup_free_ char *name =
			xasprintf("%" PRIu64 "/%s", port, str_empty(mapping->protocol) ? "tcp" : mapping->protocol);
		add(object, name, host + (port - first));
	}
	return 0;
}

static void add_exposed(json_object *object, const char *port, uint64_t host_port)
{
	(void)host_port;
	json_add(object, port, json_object_new_object());
}

static void add_binding(json_object *object, const char *port, uint64_t host_port)
{
	json_object *list, *binding = json_object_new_object();
	_cleanup_free_ char *text = xasprintf("%" PRIu64, host_port);
	json_add_string(binding, "HostPort", text);
	if (!json_object_object_get_ex(object, port, &list)) {
		list = json_object_new_array();
		json_add(object, port, list);
	}
	json_object_array_add(list, binding);
}

// --- HostConfig (§9, §13) ---

static int add_links(json_object *host, const struct task *task, const struct container *container, struct error *err)
{
	json_object *links = json_object_new_array();
	if (container->links.count)
		json_add(host, "Links", links);
	else
		json_object_put(links);
	for (size_t i = 0; i < container->links.count; i++) {
		const char *link = container->links.items[i], *colon = strchr(link, ':');
		_cleanup_free_ char *name = xstrndup(link, colon ? (size_t)(colon - link) : strlen(link));
		if (colon && strchr(colon + 1, ':'))
			return error_set(err, EINVAL, "Invalid link format");
		const struct container *target = task_container(task, name);
		if (!target || str_empty(target->docker_name))
			return error_set(err, ENOENT, "Link target not available: %s", name);
		_cleanup_free_ char *text = xasprintf("%s:%s", target->docker_name, colon ? colon + 1 : name);
		json_object_array_add(links, json_object_new_string(text));
	}
	return 0;
}

static int add_volumes_from(json_object *host, const struct task *task, const struct container *container,
			    struct error *err)
{
	json_object *list = json_object_new_array();
	json_add(host, "VolumesFrom", list);
	for (size_t i = 0; i < container->volumes_from_count; i++) {
		const struct volumes_from *from = &container->volumes_from[i];
		const struct container *target = task_container(task, from->source_container);
		if (!target || str_empty(target->docker_name))
			return error_set(err, ENOENT, "Volume target not available: %s", from->source_container);
		_cleanup_free_ char *text = xasprintf("%s%s", target->docker_name, from->read_only ? ":ro" : "");
		json_object_array_add(list, json_object_new_string(text));
	}
	return 0;
}

static const struct volume *find_volume(const struct task *task, const char *name)
{
	for (size_t i = 0; i < task->volume_count; i++)
		if (str_equal(task->volumes[i].name, name))
			return &task->volumes[i];
	return NULL;
}

static int add_binds(json_object *host, const struct task *task, const struct container *container, struct error *err)
{
	json_object *binds = json_object_new_array();
	json_add(host, "Binds", binds);
	for (size_t i = 0; i < container->mount_count; i++) {
		const struct mount_point *mount = &container->mounts[i];
		const struct volume *volume = find_volume(task, mount->source_volume);
		if (!volume)
			return error_set(err, ENOENT, "Invalid volume referenced: %s", mount->source_volume ?: "");
		const char *source = str_empty(volume->source_path) ? volume->docker_name : volume->source_path;
		if (str_empty(source) || str_empty(mount->container_path))
			return error_set(err, EINVAL, "Unable to resolve volume mounts; invalid path: %s %s; %s -> %s",
					 container->name, mount->source_volume, source ?: "",
					 mount->container_path ?: "");
		_cleanup_free_ char *text =
			xasprintf("%s:%s%s", source, mount->container_path, mount->read_only ? ":ro" : "");
		json_object_array_add(binds, json_object_new_string(text));
	}
	return 0;
}

static int add_port_bindings(json_object *host, const struct container *container, struct error *err)
{
	json_object *bindings = json_object_new_object();
	json_add(host, "PortBindings", bindings);
	for (size_t i = 0; i < container->port_count; i++) {
		int r = each_port(container, i, bindings, add_binding, err);
		if (r < 0)
			return error_wrap(err, "error retrieving docker port map");
	}
	return 0;
}

static void add_resources(json_object *host, const struct container *container)
{
	int64_t shares = container->cpu, memory = (int64_t)container->memory << 20;
	if (shares < CPU_SHARES_MIN)
		shares = CPU_SHARES_MIN;
	if (shares > CPU_SHARES_MAX)
		shares = CPU_SHARES_MAX;
	if (memory > 0 && memory < MEMORY_MIN_BYTES)
		memory = MEMORY_MIN_BYTES;
	json_add_int(host, "Memory", memory);
	json_add_int(host, "CpuShares", shares);
}

// The reference creates with an API version at which the daemon fills in these two itself (docker-mapping.md
// §1): with the version spoken here they would be private.
static void add_namespaces(json_object *host, const struct task *task, const struct create_context *context)
{
	if (str_equal(task->pid_mode, "host"))
		json_add_string(host, "PidMode", task->pid_mode);
	if (str_equal(task->ipc_mode, "host") || str_equal(task->ipc_mode, "none"))
		json_add_string(host, "IpcMode", task->ipc_mode);
	if (str_empty(json_get_string(host, "IpcMode")))
		json_add_string(host, "IpcMode", "shareable");
	if (!context->cgroup_v2 && str_empty(json_get_string(host, "CgroupnsMode")))
		json_add_string(host, "CgroupnsMode", "host");
}

static int build_host_config(json_object *host, const struct task *task, const struct container *container,
			     const struct create_context *context, struct error *err)
{
	int r = add_links(host, task, container, err);
	if (r >= 0)
		r = add_port_bindings(host, container, err);
	if (r >= 0)
		r = add_volumes_from(host, task, container, err);
	if (r >= 0)
		r = add_binds(host, task, container, err);
	if (r < 0)
		return r;
	add_resources(host, container);
	if (container->docker_host_config) {
		r = overlay_host_config(host, container->docker_host_config, err);
		if (r < 0)
			return error_wrap(err, "Unable to decode given host config");
	}
	add_namespaces(host, task, context);
	if (context->cgroup_parent)
		json_add_string(host, "CgroupParent", context->cgroup_parent);
	// As Docker's client library does for the versions the reference speaks (§1).
	json_add_bool(host, "AutoRemove", false);
	json_object_object_del(host, "KernelMemory");
	return 0;
}

// --- Config (§6, §12) ---

static json_object *string_list(const struct json_strings *strings)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < strings->count; i++)
		json_object_array_add(list, json_object_new_string(strings->items[i]));
	return list;
}

static bool in_image(const struct create_context *context, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; context->image_env && i < context->image_env->count; i++) {
		const char *entry = context->image_env->items[i];
		if (str_starts(entry, name) && (entry[len] == '=' || entry[len] == '\0'))
			return true;
	}
	return false;
}

static void add_variable(json_object *env, const char *name, const char *value)
{
	_cleanup_free_ char *text = xasprintf("%s=%s", name, value ?: "");
	json_object_array_add(env, json_object_new_string(text));
}

static json_object *environment(const struct task *task, const struct container *container,
				const struct create_context *context)
{
	static const char role[] = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
	static const char *const regions[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
	json_object *env = json_object_new_array();
	_cleanup_free_ char *uri = context->task_iam_role && !str_empty(task->credentials_id)
					   ? xasprintf("/v2/credentials/%s", task->credentials_id)
					   : NULL;
	bool region = str_empty(context->region), uri_set = false;
	for (size_t i = 0; i < container->environment.count; i++) {
		const struct json_pair *pair = &container->environment.items[i];
		bool replaced = uri && strcmp(pair->name, role) == 0;
		uri_set = uri_set || replaced;
		add_variable(env, pair->name, replaced ? uri : pair->value);
	}
	if (uri && !uri_set)
		add_variable(env, role, uri);
	for (size_t i = 0; i < ARRAY_SIZE(regions); i++)
		region = region || json_map_get(&container->environment, regions[i]) || in_image(context, regions[i]);
	for (size_t i = 0; i < ARRAY_SIZE(regions) && !region; i++)
		add_variable(env, regions[i], context->region);
	return env;
}

static void add_labels(json_object *config, const struct task *task, const struct container *container,
		       const struct create_context *context)
{
	json_object *labels;
	_cleanup_json_ json_object *rebuild = rebuild_label(task, container);
	if (!json_object_object_get_ex(config, "Labels", &labels)) {
		labels = json_object_new_object();
		json_add(config, "Labels", labels);
	}
	json_add_string(labels, LABEL_TASK_ARN, task->arn);
	json_add_string(labels, LABEL_CONTAINER_NAME, container->name);
	json_add_string(labels, LABEL_FAMILY, task->family);
	json_add_string(labels, LABEL_VERSION, task->version);
	json_add_string(labels, LABEL_CLUSTER, context->cluster);
	json_add_string(labels, LABEL_ECSD, json_text(rebuild));
}

static int build_config(json_object *config, const struct task *task, const struct container *container,
			const struct create_context *context, struct error *err)
{
	json_add_string(config, "Image", container->image);
	// An empty list differs from none: an empty entry point clears the image's.
	if (container->command.items)
		json_add(config, "Cmd", string_list(&container->command));
	if (container->entry_point.items)
		json_add(config, "Entrypoint", string_list(&container->entry_point));
	json_add(config, "Env", environment(task, container, context));
	json_object *exposed = json_object_new_object();
	json_add(config, "ExposedPorts", exposed);
	for (size_t i = 0; i < container->port_count; i++) {
		int r = each_port(container, i, exposed, add_exposed, err);
		if (r < 0)
			return error_wrap(err, "error resolving docker exposed ports for container");
	}
	if (container->docker_config) {
		int r = overlay_config(config, container->docker_config, err);
		if (r < 0)
			return error_wrap(err,
					  "Unable decode given docker config"); // "to" is missing in the reference too
	}
	if (container->health_check_docker && !json_get(config, "Healthcheck"))
		return error_set(err, EINVAL, "docker health check is nil while container health check type is DOCKER");
	add_labels(config, task, container, context);
	return 0;
}
