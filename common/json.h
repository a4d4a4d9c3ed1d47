// JSON messages as tables over json-c: the fields of a message are declared once, with type and
// required/optional, and decoded into a plain struct.
//
// Rules, as the control plane's own decoders have them (task-model.md §2, control-plane.md §11.3):
// names match case-insensitively (an exact match is preferred), `null` counts as absent, unknown
// names are ignored, a value of the wrong type fails the whole message with a text that names the field.
//
//     struct heartbeat { char *message_id; bool healthy; };
//     static const struct json_field heartbeat_fields[] = {
//         JSON_FIELD(struct heartbeat, "messageId", message_id, JSON_STRING),
//         JSON_FIELD(struct heartbeat, "healthy", healthy, JSON_BOOL),
//         JSON_END};
//     static const struct json_table heartbeat_table = {"HeartbeatMessage", sizeof(struct heartbeat), heartbeat_fields};
#pragma once

#include "error.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64 // nesting accepted from outside

enum json_kind {
	JSON_STRING,      // char *            (NULL when absent)
	JSON_INT64,       // int64_t
	JSON_UINT32,      // uint32_t          negative or too large: type error naming Go's "uint"
	JSON_UINT16,      // uint16_t          the same, "uint16"
	JSON_INT32,       // int32_t
	JSON_DOUBLE,      // double
	JSON_BOOL,        // bool
	JSON_OBJECT,      // pointer to a struct of the field's table (NULL when absent)
	JSON_LIST,        // struct json_list of structs of the field's table; a null element is an error
	JSON_STRING_LIST, // struct json_strings
	JSON_STRING_MAP,  // struct json_map, in the message's order
	JSON_RAW,         // struct json_object *, a reference of its own (any type)
};

struct json_list {
	void *items;
	size_t count;
};
struct json_strings {
	char **items;
	size_t count;
};
struct json_pair {
	char *name, *value;
};
struct json_map {
	struct json_pair *items;
	size_t count;
};

struct json_table;
struct json_field {
	const char *name;
	const char *go_name; // the name the official agent's error texts use for the field; NULL: name
	enum json_kind kind;
	bool required;                  // absent or null (or, for strings, empty) fails the message
	size_t offset;                  // of the member
	size_t present;                 // offset of a bool that says whether the field was there; SIZE_MAX: none
	const struct json_table *table; // JSON_OBJECT, JSON_LIST
};
struct json_table {
	const char *name; // type name, for error texts
	size_t size;      // of the struct
	const struct json_field *fields;
};

#define JSON_FIELD(type, text, member, json_kind)                                                          \
	{                                                                                                  \
		.name = (text), .kind = (json_kind), .offset = offsetof(type, member), .present = SIZE_MAX \
	}
#define JSON_REQUIRED(type, text, member, json_kind)                                                     \
	{                                                                                                \
		.name = (text), .kind = (json_kind), .required = true, .offset = offsetof(type, member), \
		.present = SIZE_MAX                                                                      \
	}
#define JSON_SUB(type, text, member, json_kind, sub)                                                        \
	{                                                                                                   \
		.name = (text), .kind = (json_kind), .offset = offsetof(type, member), .present = SIZE_MAX, \
		.table = (sub)                                                                              \
	}
#define JSON_END             \
	{                    \
		.name = NULL \
	}

// Parses a text of len bytes: the whole of it must be one JSON value within JSON_DEPTH_MAX.
// NULL and err on failure. Caller releases with json_object_put.
json_object *json_parse(const char *text, size_t len, struct error *err);

// Decodes an object into *out, which is overwritten (zeroed first). On failure *out is left zeroed.
// Type errors read as the official agent's do: "json: cannot unmarshal number -5 into Go struct field
// Container.Containers.Memory of type uint" (table name, then the path of go_names).
int json_decode(const struct json_table *table, json_object *object, void *out, struct error *err);
void json_decode_free(const struct json_table *table, void *out); // frees what *out holds, not out itself

const char *json_map_get(const struct json_map *map, const char *name); // NULL if absent
// Member of an object by case-insensitive name, exact match first; NULL when absent or null.
json_object *json_get(json_object *object, const char *name);
const char *json_get_string(json_object *object, const char *name); // NULL when absent or no string

// --- building ---
static inline void json_add(json_object *o, const char *name, json_object *value)
{
	json_object_object_add(o, name, value);
}
void json_add_string(json_object *o, const char *name, const char *value); // NULL: not added
void json_add_int(json_object *o, const char *name, int64_t value);
void json_add_bool(json_object *o, const char *name, bool value);
// Compact text without escaped slashes; valid until the object changes or goes.
const char *json_text(json_object *o);

// cleanup attribute
static inline void cleanup_json(json_object **o)
{
	if (*o)
		json_object_put(*o);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))
