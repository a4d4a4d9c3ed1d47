// How the logs of one container are to be shipped: what StartLogging said, reduced to what shipping needs, as it is
// kept beside the spool (R-1.11: derived values only; never the container's environment).
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/log_options.h"
#include <stdbool.h>
#include <stdint.h>

struct stream_settings {
	char *container_id;         // 64 hex digits
	char *container_name;       // with its leading '/', as fluentd records have it
	char *tag;                  // rendered (tag.h)
	char *hostname;             // of the host, when the first stream began
	struct json_map attributes; // of labels and env (attributes.h)
	int64_t pid;                // that syslog lines carry
	bool of_task;               // ecsd's container: it tells when that stops
	struct json_map config;     // the log-opts as they came
	struct log_opts options;    // the same, decoded
};

// From the body of StartLogging. Everything that is certainly wrong is found here: options, tag, patterns. The texts of errors name
// the option, its value and what was expected.
struct log_info;
int stream_settings_make(struct stream_settings *settings, const struct log_info *info, struct error *err);
// As stored with the spool (spool.h), and back.
json_object *stream_settings_save(const struct stream_settings *settings); // caller releases
int stream_settings_load(struct stream_settings *settings, json_object *saved, struct error *err);
void stream_settings_free(struct stream_settings *settings); // its members
