// A task definition in the names of a payload, as task_decode() reads it, from the official agent's record.
#include "takeover/official_record.h"

#include "common/util.h"

struct member {
	const char *name; // the payload's
	bool watched;     // also of a task that is only watched
};

static const struct member task_members[] = {
	{"arn", true},        {"family", true},      {"version", true},       {"serviceName", true},
	{"launchType", true}, {"networkMode", true}, {"cpu", true},           {"memory", true},
	{"pidMode", false},   {"ipcMode", false},    {"desiredStatus", true}, {"associations", false},
};
static const struct member container_members[] = {
	{"name", true},
	{"image", true},
	{"containerArn", true},
	{"cpu", true},
	{"memory", true},
	{"essential", true},
	{"startTimeout", true},
	{"stopTimeout", true},
	{"portMappings", true},
	{"healthCheckType", true},
	{"command", false},
	{"entryPoint", false},
	{"links", false},
	{"mountPoints", false},
	{"volumesFrom", false},
	{"secrets", false},
	{"environmentFiles", false},
	{"managedAgents", false},
	{"credentialSpecs", false},
	{"logsAuthStrategy", false},
	{"dockerConfig", false},
	{"restartPolicy", false},
	{"overrides", false},
	{"firelensConfiguration", false},
	{"registryAuthentication", false},
};

static void copy_members(json_object *to, json_object *from, const struct member *members, size_t count, bool watched)
{
	for (size_t i = 0; i < count; i++) {
		json_object *value = json_get(from, members[i].name);
		if (value && (members[i].watched || !watched))
			json_add(to, members[i].name, json_object_get(value));
	}
}

// Addresses that only the official agent served. The others it added are the same here, or replaced.
static json_object *environment(json_object *from)
{
	static const char *const served[] = {"ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4",
					     "ECS_AGENT_URI"};
	json_object *to = json_object_new_object();
	json_object_object_foreach(from, name, value)
	{
		bool drop = false;
		for (size_t i = 0; i < ARRAY_SIZE(served); i++)
			drop |= str_equal(name, served[i]);
		if (!drop)
			json_add(to, name, json_object_get(value));
	}
	return to;
}

static void add_dependency(json_object *list, const char *container, const char *condition)
{
	json_object *on = json_object_new_object();
	json_add_string(on, "containerName", container);
	json_add_string(on, "condition", condition);
	json_object_array_add(list, on);
}

// Internal containers depend on nothing, and all others on them: so they stop last (task-model.md §13).
static json_object *dependencies(const struct official_record *record, const struct official_source *source,
				 bool declared)
{
	json_object *list = json_object_new_array();
	json_object *saved = json_get(source->docker.container, "dependsOn");
	if (source->internal)
		return list;
	for (size_t i = 0;
	     declared && json_object_is_type(saved, json_type_array) && i < json_object_array_length(saved); i++)
		json_object_array_add(list, json_object_get(json_object_array_get_idx(saved, i)));
	for (size_t i = 0; i < record->count; i++) {
		if (record->sources[i].internal)
			add_dependency(list, record->sources[i].facts.name, "START");
	}
	return list;
}

static json_object *container_definition(const struct official_record *record, const struct official_source *source,
					 bool watched, bool declared)
{
	json_object *from = source->docker.container, *to = json_object_new_object();
	json_object *env = json_get(from, "environment");
	copy_members(to, from, container_members, ARRAY_SIZE(container_members), watched);
	if (!watched && json_object_is_type(env, json_type_object))
		json_add(to, "environment", environment(env));
	json_add(to, "dependsOn", dependencies(record, source, declared));
	if (source->internal)
		json_add_bool(to, "ecsdInternal", true);
	return to;
}

// A volume without a path is a Docker volume that the official agent has named.
static json_object *volumes(json_object *from)
{
	json_object *to = json_object_new_array();
	for (size_t i = 0; json_object_is_type(from, json_type_array) && i < json_object_array_length(from); i++) {
		json_object *volume = json_object_array_get_idx(from, i), *copy = NULL;
		if (!volume || json_object_deep_copy(volume, &copy, NULL) != 0)
			continue;
		json_object *host = json_get(copy, "host");
		const char *name = host ? json_get_string(host, "hostPath") : NULL;
		if (!str_empty(name))
			json_add_string(copy, "ecsdDockerName", name);
		json_object_array_add(to, copy);
	}
	return to;
}

// Of a watched task: the Docker volumes that were made for it, whatever their driver, for clean-up.
static json_object *made_volumes(json_object *resources)
{
	json_object *to = json_object_new_array();
	json_object *list = resources ? json_get(resources, "dockerVolume") : NULL;
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		json_object *resource = json_object_array_get_idx(list, i);
		json_object *config = resource ? json_get(resource, "dockerVolumeConfiguration") : NULL;
		const char *name = config ? json_get_string(config, "dockerVolumeName") : NULL;
		if (str_empty(name) || !str_equal(json_get_string(config, "scope"), "task"))
			continue;
		json_object *volume = json_object_new_object();
		json_add_string(volume, "name", json_get_string(resource, "name"));
		json_add(volume, "host", json_object_new_object());
		json_add_string(volume, "ecsdDockerName", name);
		json_object_array_add(to, volume);
	}
	return to;
}

static bool has_container(const struct official_record *record, const char *name)
{
	for (size_t i = 0; i < record->count; i++) {
		if (str_equal(record->sources[i].facts.name, name))
			return true;
	}
	return false;
}

static json_object *list_of_one(const char *name, const char *value)
{
	json_object *list = json_object_new_array(), *item = json_object_new_object();
	json_add_string(item, name, value);
	json_object_array_add(list, item);
	return list;
}

// What a payload says otherwise than the saved task does; task_decode_unsupported() then names it.
static void add_features(json_object *definition, const struct official_record *record)
{
	const struct saved_task *task = &record->task;
	bool no_eni = json_object_is_type(task->enis, json_type_array) && json_object_array_length(task->enis) == 0;
	if (task->enis && !no_eni)
		json_add(definition, "elasticNetworkInterfaces", list_of_one("type", "eni"));
	if (task->app_mesh) {
		json_object *proxy = json_object_new_object();
		json_add_string(proxy, "type", "APPMESH");
		json_add(definition, "proxyConfiguration", proxy);
	}
	// There always is a configuration; it means something where its container is there (task-model.md §11).
	if (task->service_connect && has_container(record, task->service_connect->container))
		json_add(definition, "attachments", list_of_one("attachmentType", "serviceconnectdetail"));
}

// watch_only: the feature for which the task is only watched, or NULL. declared: with the dependencies of its task definition.
static json_object *build_definition(const struct official_record *record, const char *watch_only, bool declared)
{
	json_object *definition = json_object_new_object(), *containers = json_object_new_array();
	copy_members(definition, record->object, task_members, ARRAY_SIZE(task_members), watch_only != NULL);
	json_add_bool(definition, "ecsdCgroup", record->task.limits);
	if (watch_only)
		json_add_string(definition, "ecsdWatchOnly", watch_only);
	else
		add_features(definition, record);
	json_add(definition, "volumes",
		 watch_only ? made_volumes(record->task.resources) : volumes(record->task.volumes));
	for (size_t i = 0; i < record->count; i++)
		json_object_array_add(containers,
				      container_definition(record, &record->sources[i], watch_only != NULL, declared));
	json_add(definition, "containers", containers);
	return definition;
}

// The reason that a payload's task would be refused for, without the words around it.
static char *unsupported(const struct official_record *record, json_object *definition, const char *reason)
{
	char *feature = task_decode_unsupported(definition);
	if (feature)
		return feature;
	return xstrdup(record->any_internal ? "containers that the official agent made itself" : reason);
}

static struct task *watched_task(const struct official_record *record, const char *feature, char **reason)
{
	struct task *task = NULL;
	for (int declared = 1; declared >= 0 && !task; declared--) {
		_cleanup_json_ json_object *definition = build_definition(record, feature, declared);
		free(TAKE(*reason));
		task_decode(definition, false, &task, reason);
	}
	return task;
}

struct task *official_record_task(const struct official_record *record, const char *watch, struct error *err)
{
	_cleanup_json_ json_object *definition = build_definition(record, NULL, true);
	_cleanup_free_ char *reason = NULL;
	struct task *task = NULL;
	if (!record->any_internal && !watch && task_decode(definition, false, &task, &reason) == TASK_ACCEPTED)
		return task;
	_cleanup_free_ char *feature = watch ? xstrdup(watch) : unsupported(record, definition, reason);
	if (!(task = watched_task(record, feature, &reason)))
		error_set(err, EBADMSG, "%s", reason);
	return task;
}
