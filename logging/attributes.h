// The labels and environment variables of a container that go with its log: what the options labels, labels-regex, env
// and env-regex select (logging.md §2.2).
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "logging/info.h"

#define ATTRIBUTES_MAX 1024            // of one container: more are refused
#define ATTRIBUTE_NAMES_MAX (16 << 10) // bytes of the options labels and env

// Name and value of each, in the order of their first selection; each name once, and env beats labels. The four options
// are taken from info->config. 0, or a negative errno for a regular expression that is none and for too much;
// *attributes is then empty.
int attributes_select(const struct log_info *info, struct json_map *attributes, struct error *err);
void attributes_free(struct json_map *attributes); // its members; wipes the values
