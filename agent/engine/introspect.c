#include "engine/introspect.h"

#include "common/util.h"

// Go's time form: up to nine fractional digits, trailing zeros removed.
static void add_time(json_object *o, const char *name, const char *text)
{
	if (str_empty(text) || str_starts(text, "0001-"))
		return;
	_cleanup_free_ char *copy = xstrdup(text);
	size_t len = strlen(copy);
	char *dot = strchr(copy, '.');
	if (dot && copy[len - 1] == 'Z') {
		size_t end = len - 1;
		while (copy[end - 1] == '0')
			end--;
		if (copy[end - 1] == '.')
			end--;
		copy[end] = 'Z';
		copy[end + 1] = '\0';
	}
	json_add_string(o, name, copy);
}

static void add_port(json_object *ports, uint16_t container_port, const char *protocol, uint16_t host_port)
{
	json_object *port = json_object_new_object();
	if (container_port)
		json_add_int(port, "ContainerPort", container_port);
	if (!str_empty(protocol))
		json_add_string(port, "Protocol", protocol);
	if (host_port)
		json_add_int(port, "HostPort", host_port);
	json_object_array_add(ports, port);
}

static void add_ports(json_object *o, const struct container *c)
{
	json_object *ports = json_object_new_array();
	for (size_t i = 0; i < c->binding_count; i++)
		add_port(ports, c->bindings[i].container_port, c->bindings[i].protocol, c->bindings[i].host_port);
	for (size_t i = 0; c->binding_count == 0 && i < c->port_count; i++)
		add_port(ports, c->ports[i].container_port, c->ports[i].protocol, c->ports[i].host_port);
	if (json_object_array_length(ports) > 0)
		json_add(o, "Ports", ports);
	else
		json_object_put(ports);
}

static void add_volumes(json_object *o, const struct container *c)
{
	if (c->docker_mount_count == 0)
		return;
	json_object *volumes = json_object_new_array();
	for (size_t i = 0; i < c->docker_mount_count; i++) {
		json_object *volume = json_object_new_object();
		json_add_string(volume, "DockerName",
				str_empty(c->docker_mounts[i].name) ? NULL : c->docker_mounts[i].name);
		json_add_string(volume, "Source",
				str_empty(c->docker_mounts[i].source) ? NULL : c->docker_mounts[i].source);
		json_add_string(volume, "Destination",
				str_empty(c->docker_mounts[i].destination) ? NULL : c->docker_mounts[i].destination);
		json_object_array_add(volumes, volume);
	}
	json_add(o, "Volumes", volumes);
}

static json_object *container_object(const struct container *c)
{
	json_object *o = json_object_new_object();
	json_add_string(o, "DockerId", c->docker_id ? c->docker_id : "");
	json_add_string(o, "DockerName", c->docker_name);
	json_add_string(o, "Name", c->name);
	json_add_string(o, "Image", c->image);
	json_add_string(o, "ImageID", c->image_id ? c->image_id : "");
	add_time(o, "CreatedAt", c->created_text);
	add_time(o, "StartedAt", c->started_text);
	add_ports(o, c);
	add_volumes(o, c);
	return o;
}

// '<', '>' and '&' stand only inside strings; they are escaped as the official agent's encoder does.
static char *escape_html(const char *json)
{
	struct buf out = {0};
	for (const char *p = json; *p; p++) {
		if (*p == '<' || *p == '>' || *p == '&')
			buf_printf(&out, "\\u%04x", (unsigned)*p);
		else
			buf_append(&out, p, 1);
	}
	return buf_take(&out);
}

char *introspect_task(const struct task *task)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const char *known = task_status_wire(task->known), *desired = task_status_wire(task->desired);
	bool blank = (str_equal(known, "STOPPED") && !str_equal(desired, "STOPPED")) ||
		     (str_equal(known, "RUNNING") && str_equal(desired, "PENDING"));
	json_add_string(o, "Arn", task->arn);
	if (!blank)
		json_add_string(o, "DesiredStatus", desired);
	json_add_string(o, "KnownStatus", known);
	json_add_string(o, "Family", task->family);
	json_add_string(o, "Version", task->version);
	json_object *containers = json_object_new_array();
	for (size_t i = 0; i < task->container_count; i++) {
		if (task->containers[i].docker_name && !task->containers[i].internal)
			json_object_array_add(containers, container_object(&task->containers[i]));
	}
	json_add(o, "Containers", containers);
	return escape_html(json_text(o));
}
