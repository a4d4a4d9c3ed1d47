#include "engine/store_codec.h"

#include "common/util.h"

json_object *store_encode_bindings(const struct container *container)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < container->binding_count; i++) {
		const struct port_binding *b = &container->bindings[i];
		json_object *item = json_object_new_array();
		json_object_array_add(item, json_object_new_string(b->bind_ip));
		json_object_array_add(item, json_object_new_int(b->container_port));
		json_object_array_add(item, json_object_new_int(b->host_port));
		json_object_array_add(item, json_object_new_string(b->protocol));
		json_object_array_add(list, item);
	}
	return list;
}

json_object *store_encode_ports(const struct container *container)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < container->port_count; i++)
		json_object_array_add(list, json_object_new_int(container->host_ports[i]));
	return list;
}

static json_object *parse_list(const char *text)
{
	json_object *list = text ? json_parse(text, strlen(text), NULL) : NULL;
	if (list && !json_object_is_type(list, json_type_array)) {
		json_object_put(list);
		list = NULL;
	}
	return list;
}

void store_decode_bindings(const char *text, struct container *container)
{
	_cleanup_json_ json_object *list = parse_list(text);
	if (!list)
		return;
	size_t count = json_object_array_length(list);
	struct port_binding *bindings = xcalloc(count + 1, sizeof(*bindings));
	for (size_t i = 0; i < count; i++) {
		json_object *item = json_object_array_get_idx(list, i);
		if (!json_object_is_type(item, json_type_array) || json_object_array_length(item) != 4) {
			free(bindings);
			return;
		}
		const char *ip = json_object_get_string(json_object_array_get_idx(item, 0));
		const char *protocol = json_object_get_string(json_object_array_get_idx(item, 3));
		snprintf(bindings[i].bind_ip, sizeof(bindings[i].bind_ip), "%s", ip ? ip : "");
		snprintf(bindings[i].protocol, sizeof(bindings[i].protocol), "%s", protocol ? protocol : "");
		bindings[i].container_port = (uint16_t)json_object_get_int(json_object_array_get_idx(item, 1));
		bindings[i].host_port = (uint16_t)json_object_get_int(json_object_array_get_idx(item, 2));
	}
	free(container->bindings);
	container->bindings = bindings;
	container->binding_count = count;
}

void store_decode_ports(const char *text, struct container *container)
{
	_cleanup_json_ json_object *list = parse_list(text);
	if (!list || json_object_array_length(list) != container->port_count)
		return;
	for (size_t i = 0; i < container->port_count; i++)
		container->host_ports[i] = (uint16_t)json_object_get_int(json_object_array_get_idx(list, i));
}

json_object *store_encode_strings(const struct json_strings *strings)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < strings->count; i++)
		json_object_array_add(list, json_object_new_string(strings->items[i]));
	return list;
}

void store_decode_strings(const char *text, struct json_strings *strings)
{
	*strings = (struct json_strings){0};
	_cleanup_json_ json_object *list = parse_list(text);
	size_t count = list ? json_object_array_length(list) : 0;
	strings->items = xcalloc(count + 1, sizeof(char *));
	for (size_t i = 0; i < count; i++) {
		json_object *item = json_object_array_get_idx(list, i);
		if (json_object_is_type(item, json_type_string))
			strings->items[strings->count++] = xstrdup(json_object_get_string(item));
	}
}
