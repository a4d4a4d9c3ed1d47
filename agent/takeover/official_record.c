#include "takeover/official_record.h"

#include "common/util.h"

static const struct json_field error_fields[] = {
	JSON_FIELD(struct saved_error, "error", error, JSON_STRING),
	JSON_FIELD(struct saved_error, "name", name, JSON_STRING),
	JSON_END,
};
static const struct json_table error_table = {"ApplyingError", sizeof(struct saved_error), error_fields};

static const struct json_field binding_fields[] = {
	JSON_FIELD(struct saved_binding, "ContainerPort", container_port, JSON_UINT16),
	JSON_FIELD(struct saved_binding, "HostPort", host_port, JSON_UINT16),
	JSON_FIELD(struct saved_binding, "BindIp", bind_ip, JSON_STRING),
	JSON_FIELD(struct saved_binding, "Protocol", protocol, JSON_STRING),
	JSON_END,
};
static const struct json_table binding_table = {"PortBinding", sizeof(struct saved_binding), binding_fields};

static const struct json_field container_fields[] = {
	JSON_REQUIRED(struct saved_container, "Name", name, JSON_STRING),
	JSON_FIELD(struct saved_container, "RuntimeID", runtime_id, JSON_STRING),
	JSON_FIELD(struct saved_container, "ImageID", image_id, JSON_STRING),
	JSON_FIELD(struct saved_container, "ImageDigest", image_digest, JSON_STRING),
	JSON_FIELD(struct saved_container, "desiredStatus", desired, JSON_STRING),
	JSON_FIELD(struct saved_container, "KnownStatus", known, JSON_STRING),
	JSON_FIELD(struct saved_container, "SentStatus", sent, JSON_STRING),
	JSON_FIELD(struct saved_container, "IsInternal", internal, JSON_RAW),
	JSON_SUB(struct saved_container, "ApplyingError", error, JSON_OBJECT, &error_table),
	{.name = "KnownExitCode",
	 .kind = JSON_INT32,
	 .offset = offsetof(struct saved_container, exit_code),
	 .present = offsetof(struct saved_container, has_exit_code)},
	JSON_SUB(struct saved_container, "KnownPortBindings", bindings, JSON_LIST, &binding_table),
	JSON_END,
};
static const struct json_table container_table = {"Container", sizeof(struct saved_container), container_fields};

static const struct json_field docker_fields[] = {
	JSON_FIELD(struct saved_docker_container, "DockerId", docker_id, JSON_STRING),
	JSON_FIELD(struct saved_docker_container, "DockerName", docker_name, JSON_STRING),
	JSON_FIELD(struct saved_docker_container, "Container", container, JSON_RAW),
	JSON_END,
};
static const struct json_table docker_table = {"DockerContainer", sizeof(struct saved_docker_container), docker_fields};

static const struct json_field service_connect_fields[] = {
	JSON_FIELD(struct saved_service_connect, "containerName", container, JSON_STRING),
	JSON_END,
};
static const struct json_table service_connect_table = {"ServiceConnectConfig", sizeof(struct saved_service_connect),
							service_connect_fields};

static const struct json_field task_fields[] = {
	JSON_REQUIRED(struct saved_task, "Arn", arn, JSON_STRING),
	JSON_FIELD(struct saved_task, "DesiredStatus", desired, JSON_STRING),
	JSON_FIELD(struct saved_task, "KnownStatus", known, JSON_STRING),
	JSON_FIELD(struct saved_task, "SentStatus", sent, JSON_STRING),
	JSON_FIELD(struct saved_task, "KnownTime", known_at, JSON_STRING),
	JSON_FIELD(struct saved_task, "PullStartedAt", pull_started_at, JSON_STRING),
	JSON_FIELD(struct saved_task, "PullStoppedAt", pull_stopped_at, JSON_STRING),
	JSON_FIELD(struct saved_task, "ExecutionStoppedAt", execution_stopped_at, JSON_STRING),
	JSON_FIELD(struct saved_task, "credentialsID", credentials_id, JSON_STRING),
	JSON_FIELD(struct saved_task, "executionCredentialsID", execution_credentials_id, JSON_STRING),
	JSON_FIELD(struct saved_task, "IsInternal", internal, JSON_BOOL),
	JSON_FIELD(struct saved_task, "MemoryCPULimitsEnabled", limits, JSON_BOOL),
	JSON_FIELD(struct saved_task, "Containers", containers, JSON_RAW),
	JSON_FIELD(struct saved_task, "volumes", volumes, JSON_RAW),
	JSON_FIELD(struct saved_task, "resources", resources, JSON_RAW),
	JSON_FIELD(struct saved_task, "ENI", enis, JSON_RAW), // a list, in old files an object
	JSON_FIELD(struct saved_task, "AppMesh", app_mesh, JSON_RAW),
	JSON_SUB(struct saved_task, "ServiceConnectConfig", service_connect, JSON_OBJECT, &service_connect_table),
	JSON_END,
};
static const struct json_table task_table = {"Task", sizeof(struct saved_task), task_fields};

static bool is_internal(json_object *type)
{
	if (json_object_is_type(type, json_type_boolean))
		return json_object_get_boolean(type);
	return json_object_is_type(type, json_type_string) && !str_equal(json_object_get_string(type), "NORMAL");
}

// --- reading ---

static const char *id_of(const char *arn)
{
	const char *slash = strrchr(arn, '/');
	return slash ? slash + 1 : arn;
}

static int read_source(struct official_source *source, const char *task_id, json_object *copy,
		       json_object *(*container_record)(const char *key, void *arg), void *arg, struct error *err)
{
	if (!json_object_is_type(copy, json_type_object))
		return error_set(err, EINVAL, "a container is no JSON object");
	const char *name = json_get_string(copy, "Name");
	_cleanup_free_ char *key = xasprintf("%s-%s", task_id, name ? name : "");
	json_object *record = container_record(key, arg);
	if (record && json_decode(&docker_table, record, &source->docker, err) < 0)
		return error_wrap(err, "container %s", key);
	if (record && !json_object_is_type(source->docker.container, json_type_object))
		return error_set(err, EINVAL, "container %s has no member Container", key);
	if (!record)
		source->docker.container = json_object_get(copy);
	if (json_decode(&container_table, source->docker.container, &source->facts, err) < 0)
		return error_wrap(err, "container %s", key);
	source->internal = is_internal(source->facts.internal);
	return 0;
}

int official_record_read(struct official_record *record, json_object *object,
			 json_object *(*container_record)(const char *key, void *arg), void *arg, struct error *err)
{
	*record = (struct official_record){.object = object};
	if (!json_object_is_type(record->object, json_type_object))
		return error_set(err, EINVAL, "no JSON object");
	int r = json_decode(&task_table, record->object, &record->task, err);
	json_object *list = record->task.containers;
	if (r == 0 && list && !json_object_is_type(list, json_type_array))
		r = error_set(err, EINVAL, "Containers is no list");
	size_t count = r == 0 && list ? json_object_array_length(list) : 0;
	record->sources = xcalloc(count + 1, sizeof(*record->sources));
	while (r == 0 && record->count < count) {
		struct official_source *source = &record->sources[record->count];
		r = read_source(source, id_of(record->task.arn), json_object_array_get_idx(list, record->count++),
				container_record, arg, err);
		record->any_internal |= source->internal;
	}
	return r;
}

void official_record_free(struct official_record *record)
{
	for (size_t i = 0; i < record->count; i++) {
		json_decode_free(&docker_table, &record->sources[i].docker);
		json_decode_free(&container_table, &record->sources[i].facts);
	}
	free(record->sources);
	json_decode_free(&task_table, &record->task);
}
