#include "engine/task.h"

#include <ctype.h>

#include "common/util.h"

static const char *const container_names[] = {"NONE",    "MANIFEST_PULLED",       "PULLED", "CREATED",
					      "RUNNING", "RESOURCES_PROVISIONED", "STOPPED"};
// PULLED of a task is internal (task-engine.md §2.1); it has a name here so that it can be stored.
static const char *const task_names[] = {"NONE", "MANIFEST_PULLED", "PULLED", "CREATED", "RUNNING", "STOPPED"};
static const char *const operation_names[] = {"none",   "registry-login", "manifest", "image-inspect", "pull",
					      "create", "start",          "stop",     "inspect",       "remove"};

const char *container_status_name(enum container_status status)
{
	return container_names[status];
}

const char *task_status_name(enum task_status status)
{
	return task_names[status];
}

const char *operation_name(enum operation operation)
{
	return operation_names[operation];
}

bool container_status_parse(const char *name, enum container_status *status)
{
	for (size_t i = 0; i < ARRAY_SIZE(container_names); i++) {
		if (str_equal(name, container_names[i])) {
			*status = (enum container_status)i;
			return true;
		}
	}
	return false;
}

bool task_status_parse(const char *name, enum task_status *status)
{
	if (str_equal(name, "UNKNOWN"))
		name = "NONE";
	else if (str_equal(name, "DEAD"))
		name = "STOPPED";
	for (size_t i = 0; i < ARRAY_SIZE(task_names); i++) {
		if (i != TASK_PULLED && str_equal(name, task_names[i])) {
			*status = (enum task_status)i;
			return true;
		}
	}
	return false;
}

const char *task_status_wire(enum task_status status)
{
	return status == TASK_RUNNING || status == TASK_STOPPED ? task_names[status] : "PENDING";
}

const char *container_status_wire(enum container_status status)
{
	switch (status) {
	case CONTAINER_STOPPED:
		return "STOPPED";
	case CONTAINER_RUNNING:
	case CONTAINER_RESOURCES_PROVISIONED:
		return "RUNNING";
	default:
		return "PENDING";
	}
}

enum task_status task_status_of_container(enum container_status status)
{
	switch (status) {
	case CONTAINER_MANIFEST_PULLED:
	case CONTAINER_PULLED:
		return TASK_MANIFEST_PULLED;
	case CONTAINER_CREATED:
		return TASK_CREATED;
	case CONTAINER_RUNNING:
	case CONTAINER_RESOURCES_PROVISIONED:
		return TASK_RUNNING;
	case CONTAINER_STOPPED:
		return TASK_STOPPED;
	default:
		return TASK_NONE;
	}
}

struct task *task_new(void)
{
	return xcalloc(1, sizeof(struct task));
}

static void strings_free(struct json_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct json_strings){0};
}

static void container_done(struct container *c)
{
	char *const texts[] = {c->name,
			       c->image,
			       c->container_arn,
			       c->docker_config,
			       c->docker_host_config,
			       c->docker_api_version,
			       c->docker_name,
			       c->docker_id,
			       c->image_id,
			       c->image_digest,
			       c->error.name,
			       c->error.text,
			       c->created_text,
			       c->started_text,
			       c->registry_auth.region,
			       c->registry_auth.registry_id,
			       c->registry_auth.endpoint_override,
			       c->registry_auth.secret};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	secret_free(c->registry_login);
	strings_free(&c->command);
	strings_free(&c->entry_point);
	strings_free(&c->links);
	for (size_t i = 0; i < c->environment.count; i++) {
		free(c->environment.items[i].name);
		free(c->environment.items[i].value);
	}
	free(c->environment.items);
	for (size_t i = 0; i < c->depends_on_count; i++)
		free(c->depends_on[i].container);
	free(c->depends_on);
	for (size_t i = 0; i < c->port_count; i++) {
		free(c->ports[i].container_port_range);
		free(c->ports[i].protocol);
	}
	free(c->ports);
	for (size_t i = 0; i < c->mount_count; i++) {
		free(c->mounts[i].source_volume);
		free(c->mounts[i].container_path);
	}
	free(c->mounts);
	for (size_t i = 0; i < c->volumes_from_count; i++)
		free(c->volumes_from[i].source_container);
	free(c->volumes_from);
	free(c->bindings);
	free(c->host_ports);
	if (c->image_env) {
		strings_free(c->image_env);
		free(c->image_env);
	}
	for (size_t i = 0; i < c->docker_mount_count; i++) {
		free(c->docker_mounts[i].name);
		free(c->docker_mounts[i].source);
		free(c->docker_mounts[i].destination);
	}
	free(c->docker_mounts);
}

void task_set_stored(struct task *task)
{
	task->stored = true;
	if (!task->definition)
		return;
	task->definition_text = xstrdup(json_text(task->definition));
	json_object_put(TAKE(task->definition));
}

struct task *task_free(struct task *task)
{
	if (!task)
		return NULL;
	char *const texts[] = {task->arn,
			       task->id,
			       task->family,
			       task->version,
			       task->network_mode,
			       task->service_name,
			       task->launch_type,
			       task->pid_mode,
			       task->ipc_mode,
			       task->credentials_id,
			       task->execution_credentials_id,
			       task->reason,
			       task->watch_only};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < task->volume_count; i++) {
		free(task->volumes[i].name);
		free(task->volumes[i].type);
		free(task->volumes[i].source_path);
		free(task->volumes[i].docker_name);
	}
	free(task->volumes);
	for (size_t i = 0; i < task->container_count; i++)
		container_done(&task->containers[i]);
	free(task->containers);
	json_object_put(task->definition);
	free(task->definition_text);
	free(task);
	return NULL;
}

struct container *task_container(const struct task *task, const char *name)
{
	for (size_t i = 0; i < task->container_count; i++) {
		if (str_equal(task->containers[i].name, name))
			return &task->containers[i];
	}
	return NULL;
}

// White space collapsed, first letter large (user-visible-reasons.md §2).
void task_set_reason(struct task *task, const char *text)
{
	struct buf out = {0};
	if (!str_empty(task->reason))
		return;
	for (const char *c = text; *c; c++) {
		bool space = isspace((unsigned char)*c);
		if (!space || (out.len > 0 && out.data[out.len - 1] != ' '))
			buf_append(&out, space ? " " : c, 1);
	}
	if (out.len > 0 && out.data[out.len - 1] == ' ')
		out.data[--out.len] = '\0';
	if (out.len > 0)
		out.data[0] = (char)toupper((unsigned char)out.data[0]);
	free(task->reason);
	task->reason = buf_take(&out);
	task->dirty = true;
}

void container_set_error(struct container *container, const char *name, const char *text)
{
	if (container->error.name)
		return;
	container->error.name = xstrdup(name);
	container->error.text = xstrdup(text);
	container->dirty = true;
}
