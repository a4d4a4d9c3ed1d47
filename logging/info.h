// `Info` of a StartLogging request (logging.md §1.4): what Docker says of the container whose log begins. It holds the
// environment, with its secrets: it lives as long as the request and goes nowhere else.
#pragma once

#include "common/error.h"
#include "common/json.h"

struct log_info {
	struct json_map config; // all log-opts
	char *container_id, *container_name, *container_entrypoint, *container_image_id, *container_image_name;
	char *container_created, *log_path, *daemon_name;
	struct json_strings container_args, container_env;
	struct json_map container_labels;
};

// Absent members are empty: strings NULL, as lists and maps that were null. Only container_id is required, 64 hex
// digits. 0 or a negative errno; *info is then empty. Error texts hold no value of the environment.
int log_info_decode(json_object *object, struct log_info *info, struct error *err);
void log_info_free(struct log_info *info); // its members; wipes the environment
