#include "engine/task.h"

#include "common/util.h"
#include "engine/dependency.h"

// Bounds on what a task may hold; ECS's own limits are far lower (10 containers a task definition).
enum { TASK_CONTAINERS_MAX = 100, CONTAINER_PORTS_MAX = 200 };

// --- the payload as it is declared; go_names are those of the official agent's error texts ---

struct wire_depends {
	char *container, *condition;
};
struct wire_port {
	uint16_t container_port, host_port;
	char *range;
	json_object *protocol;
};
struct wire_mount {
	char *source_volume, *container_path;
	bool read_only;
};
struct wire_volumes_from {
	char *source_container;
	bool read_only;
};
struct wire_docker_config {
	char *config, *host_config, *version;
};
struct wire_restart_policy {
	bool enabled;
};
struct wire_ecr_auth {
	char *region, *registry_id, *endpoint_override;
	bool use_execution_role;
};
struct wire_asm_auth {
	char *secret, *region;
};
struct wire_registry_auth {
	char *type;
	struct wire_ecr_auth *ecr;
	struct wire_asm_auth *asm_data;
};
struct wire_container {
	char *name, *image, *arn, *health_check_type, *logs_auth_strategy;
	uint32_t cpu, memory, start_timeout, stop_timeout;
	bool essential, internal;
	struct json_strings command, entry_point, links, credential_specs;
	struct json_map environment;
	struct json_list depends_on, ports, mounts, volumes_from, secrets, environment_files, managed_agents;
	struct wire_docker_config *docker_config;
	struct wire_restart_policy *restart_policy;
	struct wire_registry_auth *registry_auth;
	json_object *overrides, *firelens;
};
struct wire_host {
	char *source_path;
};
struct wire_volume {
	char *name, *type, *docker_name;
	struct wire_host *host;
};
struct wire_attachment {
	char *type;
};
struct wire_named {
	char *type;
};
struct wire_task {
	char *arn, *family, *version, *network_mode, *service_name, *launch_type, *pid_mode, *ipc_mode, *watch_only;
	json_object *desired_status;
	double cpu;
	int64_t memory;
	bool in_cgroup;
	struct json_list containers, volumes, attachments, associations, enis;
	struct wire_named *proxy;
};

#define GO(type, text, go, member, json_kind)                                                           \
	{                                                                                               \
		.name = (text), .go_name = (go), .kind = (json_kind), .offset = offsetof(type, member), \
		.present = SIZE_MAX                                                                     \
	}
#define GO_SUB(type, text, go, member, json_kind, sub)                                                  \
	{                                                                                               \
		.name = (text), .go_name = (go), .kind = (json_kind), .offset = offsetof(type, member), \
		.present = SIZE_MAX, .table = (sub)                                                     \
	}

static const struct json_field depends_fields[] = {
	JSON_FIELD(struct wire_depends, "containerName", container, JSON_STRING),
	JSON_FIELD(struct wire_depends, "condition", condition, JSON_STRING),
	JSON_END,
};
static const struct json_table depends_table = {"DependsOn", sizeof(struct wire_depends), depends_fields};

static const struct json_field port_fields[] = {
	GO(struct wire_port, "containerPort", "ContainerPort", container_port, JSON_UINT16),
	GO(struct wire_port, "hostPort", "HostPort", host_port, JSON_UINT16),
	GO(struct wire_port, "containerPortRange", "ContainerPortRange", range, JSON_STRING),
	GO(struct wire_port, "protocol", "Protocol", protocol, JSON_RAW),
	JSON_END,
};
static const struct json_table port_table = {"PortBinding", sizeof(struct wire_port), port_fields};

static const struct json_field mount_fields[] = {
	JSON_FIELD(struct wire_mount, "sourceVolume", source_volume, JSON_STRING),
	JSON_FIELD(struct wire_mount, "containerPath", container_path, JSON_STRING),
	JSON_FIELD(struct wire_mount, "readOnly", read_only, JSON_BOOL),
	JSON_END,
};
static const struct json_table mount_table = {"MountPoint", sizeof(struct wire_mount), mount_fields};

static const struct json_field volumes_from_fields[] = {
	JSON_FIELD(struct wire_volumes_from, "sourceContainer", source_container, JSON_STRING),
	JSON_FIELD(struct wire_volumes_from, "readOnly", read_only, JSON_BOOL),
	JSON_END,
};
static const struct json_table volumes_from_table = {"VolumeFrom", sizeof(struct wire_volumes_from),
						     volumes_from_fields};

static const struct json_field docker_config_fields[] = {
	JSON_FIELD(struct wire_docker_config, "config", config, JSON_STRING),
	JSON_FIELD(struct wire_docker_config, "hostConfig", host_config, JSON_STRING),
	JSON_FIELD(struct wire_docker_config, "version", version, JSON_STRING),
	JSON_END,
};
static const struct json_table docker_config_table = {"DockerConfig", sizeof(struct wire_docker_config),
						      docker_config_fields};

static const struct json_field restart_policy_fields[] = {
	JSON_FIELD(struct wire_restart_policy, "enabled", enabled, JSON_BOOL),
	JSON_END,
};
static const struct json_table restart_policy_table = {"RestartPolicy", sizeof(struct wire_restart_policy),
						       restart_policy_fields};

static const struct json_field ecr_auth_fields[] = {
	JSON_FIELD(struct wire_ecr_auth, "region", region, JSON_STRING),
	JSON_FIELD(struct wire_ecr_auth, "registryId", registry_id, JSON_STRING),
	JSON_FIELD(struct wire_ecr_auth, "endpointOverride", endpoint_override, JSON_STRING),
	JSON_FIELD(struct wire_ecr_auth, "useExecutionRole", use_execution_role, JSON_BOOL),
	JSON_END,
};
static const struct json_table ecr_auth_table = {"ECRAuthData", sizeof(struct wire_ecr_auth), ecr_auth_fields};

static const struct json_field asm_auth_fields[] = {
	JSON_FIELD(struct wire_asm_auth, "credentialsParameter", secret, JSON_STRING),
	JSON_FIELD(struct wire_asm_auth, "region", region, JSON_STRING),
	JSON_END,
};
static const struct json_table asm_auth_table = {"ASMAuthData", sizeof(struct wire_asm_auth), asm_auth_fields};

static const struct json_field registry_auth_fields[] = {
	JSON_FIELD(struct wire_registry_auth, "type", type, JSON_STRING),
	JSON_SUB(struct wire_registry_auth, "ecrAuthData", ecr, JSON_OBJECT, &ecr_auth_table),
	JSON_SUB(struct wire_registry_auth, "asmAuthData", asm_data, JSON_OBJECT, &asm_auth_table),
	JSON_END,
};
static const struct json_table registry_auth_table = {"RegistryAuthenticationData", sizeof(struct wire_registry_auth),
						      registry_auth_fields};

static const struct json_field named_fields[] = {
	JSON_FIELD(struct wire_named, "type", type, JSON_STRING),
	JSON_END,
};
static const struct json_table named_table = {"Association", sizeof(struct wire_named), named_fields};

static const struct json_field container_fields[] = {
	GO(struct wire_container, "name", "Name", name, JSON_STRING),
	GO(struct wire_container, "image", "Image", image, JSON_STRING),
	GO(struct wire_container, "containerArn", "containerArn", arn, JSON_STRING),
	GO(struct wire_container, "cpu", "Cpu", cpu, JSON_UINT32),
	GO(struct wire_container, "memory", "Memory", memory, JSON_UINT32),
	GO(struct wire_container, "startTimeout", "startTimeout", start_timeout, JSON_UINT32),
	GO(struct wire_container, "stopTimeout", "stopTimeout", stop_timeout, JSON_UINT32),
	GO(struct wire_container, "essential", "Essential", essential, JSON_BOOL),
	GO(struct wire_container, "command", "Command", command, JSON_STRING_LIST),
	GO(struct wire_container, "entryPoint", "EntryPoint", entry_point, JSON_STRING_LIST),
	GO(struct wire_container, "links", "Links", links, JSON_STRING_LIST),
	GO(struct wire_container, "environment", "environment", environment, JSON_STRING_MAP),
	GO_SUB(struct wire_container, "dependsOn", "dependsOn", depends_on, JSON_LIST, &depends_table),
	GO_SUB(struct wire_container, "portMappings", "portMappings", ports, JSON_LIST, &port_table),
	GO_SUB(struct wire_container, "mountPoints", "mountPoints", mounts, JSON_LIST, &mount_table),
	GO_SUB(struct wire_container, "volumesFrom", "volumesFrom", volumes_from, JSON_LIST, &volumes_from_table),
	GO_SUB(struct wire_container, "secrets", "secrets", secrets, JSON_LIST, &named_table),
	GO_SUB(struct wire_container, "environmentFiles", "environmentFiles", environment_files, JSON_LIST,
	       &named_table),
	GO_SUB(struct wire_container, "managedAgents", "managedAgents", managed_agents, JSON_LIST, &named_table),
	GO(struct wire_container, "credentialSpecs", "credentialSpecs", credential_specs, JSON_STRING_LIST),
	GO(struct wire_container, "healthCheckType", "healthCheckType", health_check_type, JSON_STRING),
	GO(struct wire_container, "logsAuthStrategy", "logsAuthStrategy", logs_auth_strategy, JSON_STRING),
	GO_SUB(struct wire_container, "dockerConfig", "dockerConfig", docker_config, JSON_OBJECT, &docker_config_table),
	GO_SUB(struct wire_container, "restartPolicy", "restartPolicy", restart_policy, JSON_OBJECT,
	       &restart_policy_table),
	GO(struct wire_container, "overrides", "overrides", overrides, JSON_RAW),
	GO(struct wire_container, "firelensConfiguration", "firelensConfiguration", firelens, JSON_RAW),
	GO_SUB(struct wire_container, "registryAuthentication", "registryAuthentication", registry_auth, JSON_OBJECT,
	       &registry_auth_table),
	// Ours, on disk only: of a task that was taken over.
	JSON_FIELD(struct wire_container, "ecsdInternal", internal, JSON_BOOL),
	JSON_END,
};
static const struct json_table container_table = {"Container", sizeof(struct wire_container), container_fields};

static const struct json_field host_fields[] = {
	JSON_FIELD(struct wire_host, "sourcePath", source_path, JSON_STRING),
	JSON_END,
};
static const struct json_table host_table = {"Host", sizeof(struct wire_host), host_fields};
static const struct json_field volume_fields[] = {
	JSON_FIELD(struct wire_volume, "name", name, JSON_STRING),
	JSON_FIELD(struct wire_volume, "type", type, JSON_STRING),
	// Ours, on disk only: the name drawn for a task-scoped Docker volume.
	JSON_FIELD(struct wire_volume, "ecsdDockerName", docker_name, JSON_STRING),
	JSON_SUB(struct wire_volume, "host", host, JSON_OBJECT, &host_table),
	JSON_END,
};
static const struct json_table volume_table = {"TaskVolume", sizeof(struct wire_volume), volume_fields};

static const struct json_field attachment_fields[] = {
	JSON_FIELD(struct wire_attachment, "attachmentType", type, JSON_STRING),
	JSON_END,
};
static const struct json_table attachment_table = {"Attachment", sizeof(struct wire_attachment), attachment_fields};

static const struct json_field task_fields[] = {
	GO(struct wire_task, "arn", "Arn", arn, JSON_STRING),
	GO(struct wire_task, "family", "Family", family, JSON_STRING),
	GO(struct wire_task, "version", "Version", version, JSON_STRING),
	GO(struct wire_task, "desiredStatus", "DesiredStatus", desired_status, JSON_RAW),
	GO(struct wire_task, "networkMode", "NetworkMode", network_mode, JSON_STRING),
	GO(struct wire_task, "serviceName", "ServiceName", service_name, JSON_STRING),
	GO(struct wire_task, "launchType", "LaunchType", launch_type, JSON_STRING),
	GO(struct wire_task, "pidMode", "PidMode", pid_mode, JSON_STRING),
	GO(struct wire_task, "ipcMode", "IpcMode", ipc_mode, JSON_STRING),
	GO(struct wire_task, "cpu", "Cpu", cpu, JSON_DOUBLE),
	GO(struct wire_task, "memory", "Memory", memory, JSON_INT64),
	// Ours, on disk only: the task was accepted with limits on.
	JSON_FIELD(struct wire_task, "ecsdCgroup", in_cgroup, JSON_BOOL),
	// Ours, on disk only: of a task that was taken over.
	JSON_FIELD(struct wire_task, "ecsdWatchOnly", watch_only, JSON_STRING),
	GO_SUB(struct wire_task, "containers", "Containers", containers, JSON_LIST, &container_table),
	GO_SUB(struct wire_task, "volumes", "volumes", volumes, JSON_LIST, &volume_table),
	GO_SUB(struct wire_task, "attachments", "attachments", attachments, JSON_LIST, &attachment_table),
	GO_SUB(struct wire_task, "associations", "associations", associations, JSON_LIST, &named_table),
	GO_SUB(struct wire_task, "elasticNetworkInterfaces", "ENI", enis, JSON_LIST, &named_table),
	GO_SUB(struct wire_task, "proxyConfiguration", "proxyConfiguration", proxy, JSON_OBJECT, &named_table),
	JSON_END,
};
static const struct json_table task_table = {"Task", sizeof(struct wire_task), task_fields};

// --- conversion: each step moves what it can from the wire struct and says what is wrong ---

// The parts of the override error list read as the official agent's (task-model.md §4.3).
static int decode_overrides(struct container *c, json_object *overrides, struct error *err)
{
	_cleanup_json_ json_object *parsed = NULL;
	json_object *object = overrides;
	if (!object)
		return 0;
	if (json_object_is_type(object, json_type_string)) {
		const char *text = json_object_get_string(object);
		if (str_empty(text))
			return 0;
		struct error inner = {0};
		parsed = json_parse(text, strlen(text), &inner);
		if (!parsed)
			return error_set(
				err, EINVAL,
				"Multiple error:\n\t0: Could not unmarshal ContainerOverrides in any supported way\n"
				"\t1: json: cannot unmarshal string into Go value of type "
				"container.ContainerOverridesCopy\n"
				"\t2: %s",
				inner.message);
		object = parsed;
	}
	if (!json_object_is_type(object, json_type_object))
		return error_set(err, EINVAL,
				 "Could not unmarshal ContainerOverrides into either an object or string respectively");
	json_object *command = NULL;
	json_object_object_foreach(object, key, value)
	{
		if (strcasecmp(key, "command") == 0) {
			command = value;
			continue;
		}
		const char *wrap =
			parsed ? "Multiple error:\n\t0: Could not unmarshal ContainerOverrides in any supported way\n"
				 "\t1: json: cannot unmarshal string into Go value of type "
				 "container.ContainerOverridesCopy\n\t2: "
			       : "";
		return error_set(
			err, EINVAL,
			"%sMultiple error:\n\t0: Error unmarshalling ContainerOverrides\n\t1: Unrecognized key: %s",
			wrap, key);
	}
	if (!command)
		return 0;
	if (!json_object_is_type(command, json_type_array))
		return error_set(err, EINVAL, "overrides.command of container %s: not a list of strings", c->name);
	for (size_t i = 0; i < c->command.count; i++)
		free(c->command.items[i]);
	size_t count = json_object_array_length(command);
	c->command.items = xreallocarray(c->command.items, count + 1, sizeof(char *));
	c->command.count = 0;
	for (size_t i = 0; i < count; i++) {
		json_object *item = json_object_array_get_idx(command, i);
		if (!json_object_is_type(item, json_type_string))
			return error_set(err, EINVAL, "overrides.command of container %s: not a list of strings",
					 c->name);
		c->command.items[c->command.count++] = xstrdup(json_object_get_string(item));
	}
	return 0;
}

static enum depends_condition parse_condition(const char *text)
{
	static const struct {
		const char *text;
		enum depends_condition condition;
	} words[] = {
		{"CREATE", DEPENDS_CREATE},   {"START", DEPENDS_START},     {"COMPLETE", DEPENDS_COMPLETE},
		{"SUCCESS", DEPENDS_SUCCESS}, {"HEALTHY", DEPENDS_HEALTHY},
	};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (str_equal(text, words[i].text))
			return words[i].condition;
	}
	return DEPENDS_INVALID;
}

static void add_dependency(struct container *c, const char *name, enum depends_condition condition)
{
	c->depends_on = xreallocarray(c->depends_on, c->depends_on_count + 1, sizeof(*c->depends_on));
	c->depends_on[c->depends_on_count++] = (struct depends_on){xstrdup(name), condition};
}

static int decode_ports(struct container *c, struct wire_container *wire, struct error *err)
{
	if (wire->ports.count > CONTAINER_PORTS_MAX)
		return error_set(err, E2BIG, "container %s has %zu port mappings, at most %d are accepted", c->name,
				 wire->ports.count, CONTAINER_PORTS_MAX);
	c->ports = xcalloc(wire->ports.count + 1, sizeof(*c->ports));
	c->host_ports = xcalloc(wire->ports.count + 1, sizeof(*c->host_ports));
	struct wire_port *ports = wire->ports.items;
	for (size_t i = 0; i < wire->ports.count; i++) {
		const char *protocol = "tcp";
		if (ports[i].protocol) {
			const char *text = json_object_is_type(ports[i].protocol, json_type_string)
						   ? json_object_get_string(ports[i].protocol)
						   : "";
			if (!str_equal(text, "tcp") && !str_equal(text, "udp"))
				return error_set(err, EINVAL, "TransportProtocol must be \"tcp\" or \"udp\"; Got %s",
						 json_text(ports[i].protocol));
			protocol = text;
		}
		struct port_mapping *p = &c->ports[c->port_count++];
		p->container_port = ports[i].container_port;
		p->host_port = ports[i].host_port;
		p->container_port_range = TAKE(ports[i].range);
		p->protocol = xstrdup(protocol);
		c->host_ports[i] = p->host_port;
	}
	return 0;
}

// Empty lists count as absent (task-model.md §2).
static struct json_strings take_strings(struct json_strings *from)
{
	struct json_strings taken = *from;
	*from = (struct json_strings){0};
	if (taken.count == 0)
		free(TAKE(taken.items));
	return taken;
}

// A type that is not known falls back to the agent's own logins, as in the official agent.
static void decode_registry_auth(struct registry_auth *to, struct wire_registry_auth *wire)
{
	if (!wire)
		return;
	if (str_equal(wire->type, "ecr")) {
		to->type = REGISTRY_ECR;
		to->missing = !wire->ecr;
		if (wire->ecr) {
			to->region = TAKE(wire->ecr->region);
			to->registry_id = TAKE(wire->ecr->registry_id);
			to->endpoint_override = TAKE(wire->ecr->endpoint_override);
			to->use_execution_role = wire->ecr->use_execution_role;
		}
	} else if (str_equal(wire->type, "asm")) {
		to->type = REGISTRY_ASM;
		to->missing = !wire->asm_data;
		if (wire->asm_data) {
			to->region = TAKE(wire->asm_data->region);
			to->secret = TAKE(wire->asm_data->secret);
		}
	}
}

static int decode_container(struct container *c, struct wire_container *wire, struct error *err)
{
	c->pidfd = -1;
	c->name = wire->name ? TAKE(wire->name) : xstrdup("");
	c->image = wire->image ? TAKE(wire->image) : xstrdup("");
	c->container_arn = TAKE(wire->arn);
	c->essential = wire->essential;
	c->internal = wire->internal;
	c->cpu = wire->cpu;
	c->memory = wire->memory;
	c->start_timeout_s = wire->start_timeout;
	c->stop_timeout_s = wire->stop_timeout;
	c->command = take_strings(&wire->command);
	c->entry_point = take_strings(&wire->entry_point);
	c->links = take_strings(&wire->links);
	c->environment = wire->environment;
	wire->environment = (struct json_map){0};
	c->health_check_docker = str_equal(wire->health_check_type, "docker");
	c->logs_by_execution_role = str_equal(wire->logs_auth_strategy, "ExecutionRole");
	decode_registry_auth(&c->registry_auth, wire->registry_auth);
	if (wire->docker_config) {
		c->docker_config = TAKE(wire->docker_config->config);
		c->docker_host_config = TAKE(wire->docker_config->host_config);
		c->docker_api_version = TAKE(wire->docker_config->version);
	}
	struct wire_depends *depends = wire->depends_on.items;
	for (size_t i = 0; i < wire->depends_on.count; i++)
		add_dependency(c, depends[i].container ? depends[i].container : "",
			       parse_condition(depends[i].condition));
	c->mounts = xcalloc(wire->mounts.count + 1, sizeof(*c->mounts));
	struct wire_mount *mounts = wire->mounts.items;
	for (size_t i = 0; i < wire->mounts.count; i++)
		c->mounts[c->mount_count++] = (struct mount_point){TAKE(mounts[i].source_volume),
								   TAKE(mounts[i].container_path), mounts[i].read_only};
	c->volumes_from = xcalloc(wire->volumes_from.count + 1, sizeof(*c->volumes_from));
	struct wire_volumes_from *from = wire->volumes_from.items;
	for (size_t i = 0; i < wire->volumes_from.count; i++)
		c->volumes_from[c->volumes_from_count++] =
			(struct volumes_from){TAKE(from[i].source_container), from[i].read_only};
	int r = decode_ports(c, wire, err);
	return r < 0 ? r : decode_overrides(c, wire->overrides, err);
}

static int decode_volumes(struct task *task, struct wire_task *wire, struct error *err)
{
	task->volumes = xcalloc(wire->volumes.count + 1, sizeof(*task->volumes));
	struct wire_volume *volumes = wire->volumes.items;
	for (size_t i = 0; i < wire->volumes.count; i++) {
		static const char *const known[] = {"host",      "docker",  "efs",       "fsxWindowsFileServer",
						    "amazonebs", "s3files", "attachment"};
		const char *type = str_empty(volumes[i].type) ? "host" : volumes[i].type;
		bool recognised = false;
		for (size_t k = 0; k < ARRAY_SIZE(known); k++)
			recognised |= str_equal(type, known[k]);
		if (str_empty(volumes[i].name))
			return error_set(err, EINVAL, "invalid Volume; must include a name");
		if (!recognised)
			return error_set(err, EINVAL, "unrecognized volume type: \"%s\"", type);
		if (str_equal(type, "host") && !volumes[i].host)
			return error_set(err, EINVAL, "invalid volume: empty volume configuration");
		struct volume *v = &task->volumes[task->volume_count++];
		v->name = TAKE(volumes[i].name);
		v->type = xstrdup(type);
		v->docker_name = TAKE(volumes[i].docker_name);
		if (volumes[i].host) {
			v->has_host = true;
			v->source_path = TAKE(volumes[i].host->source_path);
		}
	}
	return 0;
}

static int decode_status(struct task *task, json_object *status, struct error *err)
{
	if (!status)
		return 0;
	if (!json_object_is_type(status, json_type_string))
		return error_set(err, EINVAL, "TaskStatus must be a string or null");
	if (!task_status_parse(json_object_get_string(status), &task->desired))
		return error_set(err, EINVAL, "Unrecognized TaskStatus");
	return 0;
}

static int decode_task(struct task *task, struct wire_task *wire, struct error *err)
{
	task->arn = wire->arn ? TAKE(wire->arn) : xstrdup("");
	const char *slash = strrchr(task->arn, '/');
	task->id = xstrdup(slash ? slash + 1 : task->arn);
	task->family = wire->family ? TAKE(wire->family) : xstrdup("");
	task->version = wire->version ? TAKE(wire->version) : xstrdup("");
	task->network_mode = wire->network_mode ? TAKE(wire->network_mode) : xstrdup("");
	task->service_name = wire->service_name ? TAKE(wire->service_name) : xstrdup("");
	task->launch_type = wire->launch_type ? TAKE(wire->launch_type) : xstrdup("");
	task->pid_mode = wire->pid_mode ? TAKE(wire->pid_mode) : xstrdup("");
	task->ipc_mode = wire->ipc_mode ? TAKE(wire->ipc_mode) : xstrdup("");
	task->cpu = wire->cpu;
	task->memory = wire->memory;
	task->in_cgroup = wire->in_cgroup;
	task->watch_only = TAKE(wire->watch_only);
	int r = decode_status(task, wire->desired_status, err);
	if (r < 0)
		return r;
	if (wire->containers.count > TASK_CONTAINERS_MAX)
		return error_set(err, E2BIG, "%zu containers, at most %d are accepted", wire->containers.count,
				 TASK_CONTAINERS_MAX);
	r = decode_volumes(task, wire, err);
	task->containers = xcalloc(wire->containers.count + 1, sizeof(*task->containers));
	struct wire_container *containers = wire->containers.items;
	for (size_t i = 0; r == 0 && i < wire->containers.count; i++)
		r = decode_container(&task->containers[task->container_count++], &containers[i], err);
	if (r == 0 && wire->proxy && !str_equal(wire->proxy->type, "APPMESH"))
		return error_set(err, EINVAL, "agent does not support proxy type other than app mesh");
	return r;
}

// --- what is not built yet: refused by name (docs/COMPATIBILITY.md) ---

// The log driver "awsfirelens" is a name for ECS only: the agent would have to turn it into a real one.
static bool logs_by_firelens(const struct wire_container *c)
{
	const char *text = c->docker_config ? c->docker_config->host_config : NULL;
	_cleanup_json_ json_object *host_config = text ? json_parse(text, strlen(text), NULL) : NULL;
	json_object *log_config = host_config ? json_get(host_config, "LogConfig") : NULL;
	return log_config && str_equal(json_get_string(log_config, "Type"), "awsfirelens");
}

static const char *unsupported_in_container(const struct wire_container *c)
{
	if (logs_by_firelens(c))
		return "log driver awsfirelens";
	if (c->secrets.count)
		return "secrets";
	if (c->environment_files.count)
		return "environmentFiles";
	if (c->managed_agents.count)
		return "ECS Exec (managedAgents)";
	if (c->credential_specs.count)
		return "gMSA (credentialSpecs)";
	if (c->firelens)
		return "FireLens (firelensConfiguration)";
	if (c->restart_policy && c->restart_policy->enabled)
		return "restartPolicy";
	struct wire_port *ports = c->ports.items;
	for (size_t i = 0; i < c->ports.count; i++) {
		if (!str_empty(ports[i].range))
			return "containerPortRange";
	}
	return NULL;
}

// Returns a static text or NULL; *container is set to the container that asks for it.
static const char *unsupported_feature(const struct wire_task *wire, const char **container)
{
	*container = NULL;
	if (str_equal(wire->network_mode, "awsvpc") || wire->enis.count)
		return "network mode awsvpc";
	if (str_equal(wire->pid_mode, "task"))
		return "pidMode task";
	if (str_equal(wire->ipc_mode, "task"))
		return "ipcMode task";
	if (wire->proxy)
		return "App Mesh (proxyConfiguration)";
	if (wire->associations.count)
		return "associations (GPU, elastic inference)";
	struct wire_attachment *attachments = wire->attachments.items;
	for (size_t i = 0; i < wire->attachments.count; i++) {
		if (str_equal(attachments[i].type, "serviceconnectdetail"))
			return "Service Connect";
		if (str_equal(attachments[i].type, "amazonebs"))
			return "EBS volumes";
		if (str_equal(attachments[i].type, "s3files"))
			return "S3 Files volumes";
	}
	struct wire_volume *volumes = wire->volumes.items;
	for (size_t i = 0; i < wire->volumes.count; i++) {
		if (!str_empty(volumes[i].type) && !str_equal(volumes[i].type, "host"))
			return "volumes other than host volumes";
	}
	struct wire_container *containers = wire->containers.items;
	for (size_t i = 0; i < wire->containers.count; i++) {
		const char *feature = unsupported_in_container(&containers[i]);
		if (feature) {
			*container = containers[i].name;
			return feature;
		}
	}
	return NULL;
}

static char *describe_unsupported(const struct wire_task *wire)
{
	const char *container, *feature = unsupported_feature(wire, &container);
	return !feature || !container ? xstrdup(feature) : xasprintf("%s of container %s", feature, container);
}

// arn:partition:service:region:account:resource, as the ARN parser of the official agent's library has it.
static const char *arn_problem(const char *arn)
{
	if (!str_starts(arn, "arn:"))
		return "arn: invalid prefix";
	int colons = 0;
	for (const char *p = arn; *p; p++)
		colons += *p == ':';
	return colons < 5 ? "arn: not enough sections" : NULL;
}

static int prepare_container(struct task *task, struct container *c, struct error *err)
{
	if (str_empty(c->name)) // ECS takes no report of it
		return error_set(err, EINVAL, "container %zu has no name", (size_t)(c - task->containers) + 1);
	if (task_container(task, c->name) != c)
		return error_set(err, EINVAL, "container name %s is used twice", c->name);
	for (size_t i = 0; i < c->volumes_from_count; i++) {
		const char *source = c->volumes_from[i].source_container;
		if (!source || !task_container(task, source))
			return error_set(err, EINVAL, "could not find volume source container with name %s",
					 source ? source : "");
		add_dependency(c, source, DEPENDS_CREATE);
	}
	for (size_t i = 0; i < c->links.count; i++) {
		const char *link = c->links.items[i];
		_cleanup_free_ char *name = xstrdup(link);
		char *colon = strchr(name, ':');
		if (colon && strchr(colon + 1, ':'))
			return error_set(err, EINVAL, "invalid link format");
		if (colon)
			*colon = '\0';
		if (!task_container(task, name))
			return error_set(err, EINVAL, "could not find container for link %s", link);
		add_dependency(c, name, DEPENDS_START);
	}
	return 0;
}

// The kernel would not let a container have what its parent has not.
static int check_memory(const struct task *task, struct error *err)
{
	for (size_t i = 0; task->memory > 0 && i < task->container_count; i++) {
		uint32_t memory = task->containers[i].memory;
		if (memory > task->memory)
			return error_set(err, EINVAL,
					 "cgroup resource: unable to build resource spec for task: task memory spec "
					 "builder: container memory limit(%u) greater than task memory limit(%lld)",
					 memory, (long long)task->memory);
	}
	return 0;
}

static int prepare(struct task *task, bool task_limits, struct error *err)
{
	const char *problem = arn_problem(task->arn);
	if (problem)
		return error_set(err, EINVAL, "cgroup resource: unable to determine cgroup root for task: %s", problem);
	if (task_limits && check_memory(task, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < task->container_count; i++) {
		int r = prepare_container(task, &task->containers[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

void task_raise_desired(struct task *task)
{
	enum container_status desired = task->desired == TASK_STOPPED   ? CONTAINER_STOPPED
					: task->desired == TASK_RUNNING ? CONTAINER_RUNNING
					: task->desired == TASK_CREATED ? CONTAINER_CREATED
									: CONTAINER_NONE;
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].desired = desired;
}

static enum task_refusal judge(struct task *task, struct wire_task *wire, bool task_limits, char **reason)
{
	struct error err = {0};
	_cleanup_free_ char *feature = wire->watch_only ? NULL : describe_unsupported(wire);
	if (decode_task(task, wire, &err) < 0) {
		*reason = xasprintf("UnrecogniedTaskError: Error loading task - %s", err.message);
		return TASK_INVALID;
	}
	if (feature) {
		*reason = xasprintf(
			"resource cannot be initialized for task %s: %s: not supported by this version of ecsd",
			task->arn, feature);
		return TASK_UNPREPARED;
	}
	if (prepare(task, task_limits, &err) < 0) {
		*reason = xasprintf("resource cannot be initialized for task %s: %s", task->arn, err.message);
		return TASK_UNPREPARED;
	}
	if (!dependency_resolvable(task)) {
		*reason = xasprintf("Task dependencies cannot be resolved, taskArn: %s", task->arn);
		return TASK_UNRESOLVED;
	}
	task_raise_desired(task);
	return TASK_ACCEPTED;
}

enum task_refusal task_decode(json_object *object, bool task_limits, struct task **ret, char **reason)
{
	*ret = NULL;
	*reason = NULL;
	struct wire_task wire;
	struct error err = {0};
	if (json_decode(&task_table, object, &wire, &err) < 0) {
		*reason = xasprintf("UnrecogniedTaskError: Error loading task - %s", err.message);
		return TASK_INVALID;
	}
	struct task *task = task_new();
	enum task_refusal refusal = judge(task, &wire, task_limits, reason);
	json_decode_free(&task_table, &wire);
	if (refusal != TASK_ACCEPTED) {
		task_free(task);
		return refusal;
	}
	task->definition = task_definition_for_disk(object);
	task->dirty = true;
	*ret = task;
	return TASK_ACCEPTED;
}

char *task_decode_unsupported(json_object *object)
{
	struct wire_task wire;
	if (json_decode(&task_table, object, &wire, NULL) < 0)
		return NULL;
	char *feature = describe_unsupported(&wire);
	json_decode_free(&task_table, &wire);
	return feature;
}

const char *task_decode_arn(json_object *object)
{
	const char *arn = json_get_string(object, "arn");
	return arn ? arn : "";
}

json_object *task_definition_for_disk(json_object *object)
{
	json_object *copy = json_object_new_object();
	json_object_object_foreach(object, key, value)
	{
		if (strcasecmp(key, "roleCredentials") == 0 || strcasecmp(key, "executionRoleCredentials") == 0)
			continue;
		json_object *member = NULL;
		if (value && json_object_deep_copy(value, &member, NULL) != 0)
			abort();
		json_object_object_add(copy, key, member);
	}
	return copy;
}
