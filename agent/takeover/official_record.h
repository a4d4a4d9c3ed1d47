// The official agent's record of a task, decoded: what official_record.c reads, official_definition.c and official_task.c make
// a task of. Names match whatever their case, null counts as absent.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "engine/task.h"

struct saved_error {
	char *error, *name;
};
struct saved_binding {
	uint16_t container_port, host_port;
	char *bind_ip, *protocol;
};
struct saved_container {
	char *name, *runtime_id, *image_id, *image_digest, *desired, *known, *sent;
	json_object *internal; // a type's name, in old files a bool
	struct saved_error *error;
	bool has_exit_code;
	int32_t exit_code;
	struct json_list bindings;
};
struct saved_docker_container { // the record around it
	char *docker_id, *docker_name;
	json_object *container;
};
struct saved_service_connect {
	char *container;
};
struct saved_task {
	char *arn, *desired, *known, *sent, *known_at, *pull_started_at, *pull_stopped_at, *execution_stopped_at;
	char *credentials_id, *execution_credentials_id;
	bool internal, limits;
	json_object *containers, *volumes, *resources, *enis, *app_mesh;
	struct saved_service_connect *service_connect;
};

// One container of the task, from its own record or from the copy in the task.
struct official_source {
	struct saved_docker_container docker;
	struct saved_container facts;
	bool internal;
};
struct official_record {
	json_object *object; // borrowed
	struct saved_task task;
	struct official_source *sources; // in the order of the task's Containers
	size_t count;
	bool any_internal;
};

// container_record: official_task.h. What *record holds is to be freed also after an error.
int official_record_read(struct official_record *record, json_object *object,
			 json_object *(*container_record)(const char *key, void *arg), void *arg, struct error *err);
void official_record_free(struct official_record *record);

// official_definition.c: the task with its definition and no facts; NULL if there is no way to make one. watch: official_task.h.
struct task *official_record_task(const struct official_record *record, const char *watch, struct error *err);
