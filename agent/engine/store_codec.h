// Lists in rows as JSON: a container's port bindings and host ports, an image's names. Pure.
#pragma once

#include "engine/task.h"

json_object *store_encode_bindings(const struct container *container); // [["0.0.0.0",80,32768,"tcp"],...]
json_object *store_encode_ports(const struct container *container);    // [32768,0]
json_object *store_encode_strings(const struct json_strings *strings);
void store_decode_strings(const char *text, struct json_strings *strings); // empty if malformed
// Malformed text leaves the container as it is.
void store_decode_bindings(const char *text, struct container *container);
void store_decode_ports(const char *text, struct container *container);
