#include "common/json.h"

#include "common/util.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <strings.h>

#define PATH_MAX_TEXT 512 // of a field's path in an error text

// Where in the message the decoder is, for error texts.
struct place {
	const struct place *up; // NULL for the root
	const struct json_table *table;
	const struct json_field *field; // of `table`
};

static int scan(const char *text, size_t len, struct error *err);
static int decode_object(const struct json_table *table, json_object *object, void *out, const struct place *up,
			 struct error *err);

static _Noreturn void out_of_memory(void)
{
	static const char text[] = "out of memory\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	abort();
}

json_object *json_parse(const char *text, size_t len, struct error *err)
{
	struct json_tokener *tokener;
	enum json_tokener_error status;
	json_object *object;

	if (len > INT_MAX) {
		error_set(err, EMSGSIZE, "invalid JSON: larger than 2 GiB");
		return NULL;
	}
	if (scan(text, len, err) < 0)
		return NULL;
	tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (!tokener)
		out_of_memory();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, (int)len);
	status = json_tokener_get_error(tokener);
	// A number at the very end is complete only when something follows it.
	if (status == json_tokener_continue && len > 0) {
		object = json_tokener_parse_ex(tokener, "", 1);
		status = json_tokener_get_error(tokener);
	}
	if (status != json_tokener_success) {
		error_set(err, EBADMSG, "invalid JSON: %s at byte %zu",
			  status == json_tokener_continue ? "unexpected end" : json_tokener_error_desc(status),
			  json_tokener_get_parse_end(tokener));
		json_object_put(object);
		object = NULL;
	} else if (!object) {
		error_set(err, EBADMSG, "invalid JSON: null where a value is expected");
	}
	json_tokener_free(tokener);
	return object;
}

int json_decode(const struct json_table *table, json_object *object, void *out, struct error *err)
{
	return decode_object(table, object, out, NULL, err);
}

static void free_member(const struct json_field *field, void *member)
{
	struct json_list *list = member;
	struct json_strings *strings = member;
	struct json_map *map = member;

	switch (field->kind) {
	case JSON_STRING:
		free(*(char **)member);
		break;
	case JSON_OBJECT:
		if (*(void **)member)
			json_decode_free(field->table, *(void **)member);
		free(*(void **)member);
		break;
	case JSON_LIST:
		for (size_t i = 0; i < list->count; i++)
			json_decode_free(field->table, (char *)list->items + i * field->table->size);
		free(list->items);
		break;
	case JSON_STRING_LIST:
		for (size_t i = 0; i < strings->count; i++)
			free(strings->items[i]);
		free(strings->items);
		break;
	case JSON_STRING_MAP:
		for (size_t i = 0; i < map->count; i++) {
			free(map->items[i].name);
			free(map->items[i].value);
		}
		free(map->items);
		break;
	case JSON_RAW:
		json_object_put(*(json_object **)member);
		break;
	default:
		break;
	}
}

void json_decode_free(const struct json_table *table, void *out)
{
	for (const struct json_field *field = table->fields; field->name; field++)
		free_member(field, (char *)out + field->offset);
	memset(out, 0, table->size);
}

const char *json_map_get(const struct json_map *map, const char *name)
{
	for (size_t i = 0; i < map->count; i++) {
		if (strcmp(map->items[i].name, name) == 0)
			return map->items[i].value;
	}
	return NULL;
}

json_object *json_get(json_object *object, const char *name)
{
	json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object))
		return NULL;
	if (json_object_object_get_ex(object, name, &value))
		return value;
	json_object_object_foreach(object, key, other)
	{
		// The last one wins, as with names that are wholly the same.
		if (strcasecmp(key, name) == 0)
			value = other;
	}
	return value;
}

// A C string cannot carry a NUL; what follows it would silently be lost.
static bool has_nul(json_object *string)
{
	return memchr(json_object_get_string(string), '\0', (size_t)json_object_get_string_len(string));
}

const char *json_get_string(json_object *object, const char *name)
{
	json_object *value = json_get(object, name);

	return json_object_is_type(value, json_type_string) && !has_nul(value) ? json_object_get_string(value) : NULL;
}

static json_object *checked(json_object *object)
{
	if (!object)
		out_of_memory();
	return object;
}

void json_add_string(json_object *o, const char *name, const char *value)
{
	if (value)
		json_add(o, name, checked(json_object_new_string(value)));
}

void json_add_int(json_object *o, const char *name, int64_t value)
{
	json_add(o, name, checked(json_object_new_int64(value)));
}

void json_add_bool(json_object *o, const char *name, bool value)
{
	json_add(o, name, checked(json_object_new_boolean(value)));
}

const char *json_text(json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

// --- what json-c lets through ---

// Even when strict, json-c takes NaN, Infinity, "1.", "01", overlong UTF-8, strings in single quotes or with line
// breaks, and it cuts a member's name at an escaped NUL, which would turn it into another name. All are found here, before it sees the text. This is no parser: what
// else is no JSON is left to json-c. (Integers beyond 64 bits it saturates; see integer_in.)
static bool digit_at(const char *text, size_t len, size_t i)
{
	return i < len && text[i] >= '0' && text[i] <= '9';
}

// "01", "-.5", ".5": a number begins with 0 alone or with another digit, after an optional minus.
static bool bad_number_start(const char *text, size_t len, size_t i)
{
	bool begins = i == 0 || strchr("{}[]:, \t\r\n", text[i - 1]);

	if (!begins || !strchr("-.0123456789", text[i]))
		return false;
	if (text[i] == '-')
		i++;
	return !digit_at(text, len, i) || (text[i] == '0' && digit_at(text, len, i + 1));
}

static int scan(const char *text, size_t len, struct error *err)
{
	bool in_string = false, nul = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '\0')
			return error_set(err, EBADMSG, "invalid JSON: NUL byte at byte %zu", i);
		if (!in_string) {
			if (c == '"')
				in_string = true, nul = false;
			else if (!strchr("{}[]:,-+.0123456789eEtrufalsn \t\r\n", c))
				return error_set(err, EBADMSG,
						 (unsigned char)c < 0x80
							 ? "invalid JSON: unexpected '%c' at byte %zu"
							 : "invalid JSON: unexpected byte 0x%02hhx at byte %zu",
						 c, i);
			else if (c == '.' && (i + 1 == len || text[i + 1] < '0' || text[i + 1] > '9'))
				return error_set(err, EBADMSG, "invalid JSON: digit expected at byte %zu", i + 1);
			else if (bad_number_start(text, len, i))
				return error_set(err, EBADMSG, "invalid JSON: not a number at byte %zu", i);
		} else if ((unsigned char)c < ' ') {
			return error_set(err, EBADMSG, "invalid JSON: control character in a string at byte %zu", i);
		} else if ((unsigned char)c >= 0x80) {
			size_t n = utf8_length(text + i, len - i);

			if (n == 0)
				return error_set(err, EBADMSG, "invalid JSON: not UTF-8 at byte %zu", i);
			i += n - 1;
		} else if (c == '\\') {
			nul = nul || (len - i > 5 && memcmp(text + i, "\\u0000", 6) == 0);
			i++;
		} else if (c == '"') {
			size_t next = i + 1;

			in_string = false;
			while (nul && next < len && strchr(" \t\r\n", text[next]))
				next++;
			if (nul && next < len && text[next] == ':')
				return error_set(err, EBADMSG, "invalid JSON: NUL in a member's name at byte %zu", i);
		}
	}
	return 0;
}

// --- errors ---

static void path_append(const struct place *place, struct buf *path)
{
	if (place->up) {
		path_append(place->up, path);
		(void)buf_append(path, ".", 1);
	}
	// The path of a hostile depth is cut, not grown without bound.
	(void)buf_printf(path, "%s", place->field->go_name ? place->field->go_name : place->field->name);
}

// What encoding/json calls a value: numbers alone are shown.
static const char *value_word(json_object *value, char *out, size_t size)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return "null";
	case json_type_boolean:
		return "bool";
	case json_type_int:
	case json_type_double:
		snprintf(out, size, "number %s", json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
		return out;
	case json_type_object:
		return "object";
	case json_type_array:
		return "array";
	default:
		return "string";
	}
}

static int type_error(const struct place *place, json_object *value, const char *type, struct error *err)
{
	struct buf path = {.max = PATH_MAX_TEXT};
	char word[64];
	int r;

	path_append(place, &path);
	r = error_set(err, EBADMSG, "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
		      value_word(value, word, sizeof(word)), place->table->name, path.data ? path.data : "", type);
	buf_free(&path);
	return r;
}

static int field_error(const struct place *place, struct error *err, const char *what)
{
	struct buf path = {.max = PATH_MAX_TEXT};
	int r;

	path_append(place, &path);
	r = error_set(err, EBADMSG, "json: field %s.%s %s", place->table->name, path.data ? path.data : "", what);
	buf_free(&path);
	return r;
}

// --- decoding one member ---

static int decode_text(const struct place *place, json_object *value, char **out, struct error *err)
{
	if (!json_object_is_type(value, json_type_string))
		return type_error(place, value, "string", err);
	if (has_nul(value))
		return field_error(place, err, "holds a NUL character");
	*out = xstrdup(json_object_get_string(value));
	return 0;
}

// json-c holds integers as int64_t or, beyond, uint64_t: a getter of the wrong sign saturates.
static bool integer_in(json_object *value, int64_t min, int64_t max)
{
	int64_t v;

	if (!json_object_is_type(value, json_type_int))
		return false;
	v = json_object_get_int64(value);
	if (v == INT64_MAX && json_object_get_uint64(value) > (uint64_t)INT64_MAX)
		return false;
	return v >= min && v <= max;
}

static int decode_number(const struct place *place, json_object *value, void *out, struct error *err)
{
	static const struct {
		const char *go;
		int64_t min, max;
	} ranges[] = {[JSON_INT64] = {"int64", INT64_MIN, INT64_MAX},
		      [JSON_UINT32] = {"uint", 0, UINT32_MAX},
		      [JSON_UINT16] = {"uint16", 0, UINT16_MAX},
		      [JSON_INT32] = {"int32", INT32_MIN, INT32_MAX}};
	enum json_kind kind = place->field->kind;
	int64_t v;

	if (!integer_in(value, ranges[kind].min, ranges[kind].max))
		return type_error(place, value, ranges[kind].go, err);
	v = json_object_get_int64(value);
	if (kind == JSON_INT64)
		*(int64_t *)out = v;
	else if (kind == JSON_UINT32)
		*(uint32_t *)out = (uint32_t)v;
	else if (kind == JSON_UINT16)
		*(uint16_t *)out = (uint16_t)v;
	else
		*(int32_t *)out = (int32_t)v;
	return 0;
}

static int decode_double(const struct place *place, json_object *value, double *out, struct error *err)
{
	if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
		return type_error(place, value, "float64", err);
	*out = json_object_get_double(value);
	// 1e999 parses as infinity.
	return isfinite(*out) ? 0 : type_error(place, value, "float64", err);
}

static int decode_bool(const struct place *place, json_object *value, bool *out, struct error *err)
{
	if (!json_object_is_type(value, json_type_boolean))
		return type_error(place, value, "bool", err);
	*out = json_object_get_boolean(value);
	return 0;
}

static int decode_pointer(const struct place *place, json_object *value, void **out, struct error *err)
{
	const struct json_table *table = place->field->table;

	if (!json_object_is_type(value, json_type_object))
		return type_error(place, value, table->name, err);
	*out = xcalloc(1, table->size);
	return decode_object(table, value, *out, place, err);
}

static int decode_list(const struct place *place, json_object *value, struct json_list *out, struct error *err)
{
	const struct json_table *table = place->field->table;
	char type[128];
	size_t count;

	snprintf(type, sizeof(type), "[]%s", table->name);
	if (!json_object_is_type(value, json_type_array))
		return type_error(place, value, type, err);
	count = json_object_array_length(value);
	out->items = xcalloc(count, table->size);
	for (size_t i = 0; i < count; i++) {
		json_object *element = json_object_array_get_idx(value, i);
		int r = 0;

		if (!json_object_is_type(element, json_type_object))
			return type_error(place, element, table->name, err);
		r = decode_object(table, element, (char *)out->items + i * table->size, place, err);
		if (r < 0)
			return r;
		out->count++;
	}
	return 0;
}

static int decode_strings(const struct place *place, json_object *value, struct json_strings *out, struct error *err)
{
	size_t count;

	if (!json_object_is_type(value, json_type_array))
		return type_error(place, value, "[]string", err);
	count = json_object_array_length(value);
	out->items = xcalloc(count, sizeof(*out->items));
	for (size_t i = 0; i < count; i++) {
		json_object *element = json_object_array_get_idx(value, i);
		int r = 0;

		// Go leaves an element that is null at its zero value.
		if (element)
			r = decode_text(place, element, &out->items[i], err);
		else
			out->items[i] = xstrdup("");
		if (r < 0)
			return r;
		out->count++;
	}
	return 0;
}

static int decode_map(const struct place *place, json_object *value, struct json_map *out, struct error *err)
{
	size_t count;

	if (!json_object_is_type(value, json_type_object))
		return type_error(place, value, "map[string]string", err);
	count = (size_t)json_object_object_length(value);
	out->items = xcalloc(count, sizeof(*out->items));
	json_object_object_foreach(value, name, element)
	{
		struct json_pair *pair = &out->items[out->count];
		int r = 0;

		if (element)
			r = decode_text(place, element, &pair->value, err);
		else
			pair->value = xstrdup("");
		if (r < 0)
			return r;
		pair->name = xstrdup(name);
		out->count++;
	}
	return 0;
}

static int decode_member(const struct place *place, json_object *value, void *member, struct error *err)
{
	switch (place->field->kind) {
	case JSON_STRING:
		return decode_text(place, value, member, err);
	case JSON_INT64:
	case JSON_UINT32:
	case JSON_UINT16:
	case JSON_INT32:
		return decode_number(place, value, member, err);
	case JSON_DOUBLE:
		return decode_double(place, value, member, err);
	case JSON_BOOL:
		return decode_bool(place, value, member, err);
	case JSON_OBJECT:
		return decode_pointer(place, value, member, err);
	case JSON_LIST:
		return decode_list(place, value, member, err);
	case JSON_STRING_LIST:
		return decode_strings(place, value, member, err);
	case JSON_STRING_MAP:
		return decode_map(place, value, member, err);
	case JSON_RAW:
		*(json_object **)member = json_object_get(value);
		return 0;
	}
	return error_set(err, EINVAL, "json: table %s has a field of unknown kind", place->table->name);
}

static int decode_field(const struct place *place, json_object *object, char *out, struct error *err)
{
	const struct json_field *field = place->field;
	json_object *value = json_get(object, field->name);
	int r;

	if (!value)
		return field->required ? field_error(place, err, "is required but missing") : 0;
	r = decode_member(place, value, out + field->offset, err);
	if (r < 0)
		return r;
	if (field->required && field->kind == JSON_STRING && !**(char **)(out + field->offset))
		return field_error(place, err, "is required but empty");
	if (field->present != SIZE_MAX)
		*(bool *)(out + field->present) = true;
	return 0;
}

static int decode_object(const struct json_table *table, json_object *object, void *out, const struct place *up,
			 struct error *err)
{
	struct place place = {.up = up, .table = table};

	memset(out, 0, table->size);
	// No object at all is the message's `null`: all of it absent.
	if (object && !json_object_is_type(object, json_type_object)) {
		char word[64];

		return error_set(err, EBADMSG, "json: cannot unmarshal %s into Go value of type %s",
				 value_word(object, word, sizeof(word)), table->name);
	}
	for (place.field = table->fields; place.field->name; place.field++) {
		int r = decode_field(&place, object, out, err);

		if (r < 0) {
			json_decode_free(table, out);
			return r;
		}
	}
	return 0;
}
