// Lists of a container's row as JSON: port bindings and host ports. Pure.
#pragma once

#include "engine/task.h"

json_object *store_encode_bindings(const struct container *container); // [["0.0.0.0",80,32768,"tcp"],...]
json_object *store_encode_ports(const struct container *container);    // [32768,0]
// Malformed text leaves the container as it is.
void store_decode_bindings(const char *text, struct container *container);
void store_decode_ports(const char *text, struct container *container);
