// The body of RegisterContainerInstance and the check of what comes back (control-plane.md §7.1-7.3, §7.6). Pure.
#include "common/host.h"
#include "common/util.h"
#include "control/instance_private.h"
#include <errno.h>
#include <inttypes.h>

static json_object *resources(const struct registration *registration, const struct config *config, struct error *err);
static json_object *attributes(const struct registration *registration, const struct config *config);
static json_object *tags(const struct config *config);

json_object *registration_build(const struct registration *registration, const struct config *config, struct error *err)
{
	json_object *total = resources(registration, config, err), *body, *tag_list;

	if (!total)
		return NULL;
	body = json_object_new_object();
	json_add_string(body, "cluster", registration->cluster);
	json_add_string(body, "containerInstanceArn", registration->instance_arn);
	json_add_string(body, "instanceIdentityDocument", registration->document);
	json_add_string(body, "instanceIdentityDocumentSignature", registration->signature);
	json_add(body, "totalResources", total);
	json_add(body, "attributes", attributes(registration, config));
	tag_list = tags(config);
	if (tag_list)
		json_add(body, "tags", tag_list);
	json_add_string(body, "clientToken", registration->client_token);
	return body;
}

static const char *value_of(json_object *attribute)
{
	const char *value = json_get_string(attribute, "value");

	return value ? value : "";
}

bool registration_attributes_match(json_object *sent, json_object *returned, struct error *err)
{
	size_t sent_count = json_object_array_length(sent);
	size_t count = returned ? json_object_array_length(returned) : 0;

	for (size_t i = 0; i < sent_count; i++) {
		json_object *want = json_object_array_get_idx(sent, i);
		const char *name = json_get_string(want, "name");
		bool found = false;

		for (size_t k = 0; k < count && !found; k++) {
			json_object *have = json_object_array_get_idx(returned, k);

			found = str_equal(json_get_string(have, "name"), name) &&
				!strcmp(value_of(have), value_of(want));
		}
		if (!found) {
			error_set(err, EPROTO, "Attribute validation failed: %s", name);
			return false;
		}
	}
	return true;
}

// --- totalResources (§7.2) ---

// The reference leaves out a value of 0.
static void add_integer(json_object *list, const char *name, int64_t value)
{
	json_object *resource = json_object_new_object();

	json_add_string(resource, "name", name);
	json_add_string(resource, "type", "INTEGER");
	if (value)
		json_add_int(resource, "integerValue", value);
	json_object_array_add(list, resource);
}

static void add_set(json_object *list, const char *name, const struct json_strings *values)
{
	json_object *resource = json_object_new_object(), *set = json_object_new_array();

	for (size_t i = 0; i < values->count; i++)
		json_object_array_add(set, json_object_new_string(values->items[i]));
	json_add_string(resource, "name", name);
	json_add_string(resource, "type", "STRINGSET");
	json_add(resource, "stringSetValue", set);
	json_object_array_add(list, resource);
}

static json_object *resources(const struct registration *registration, const struct config *config, struct error *err)
{
	int64_t memory = registration->memory_mib - config->reserved_memory_mib;
	json_object *list;

	if (memory < 0) {
		error_set(
			err, EINVAL,
			"api register-container-instance: reserved memory is higher than available memory on the host, "
			"total memory: %" PRId64 ", reserved: %" PRId64,
			registration->memory_mib, config->reserved_memory_mib);
		return NULL;
	}
	list = json_object_new_array();
	add_integer(list, "CPU", registration->cpu_units);
	add_integer(list, "MEMORY", memory);
	add_set(list, "PORTS", &config->reserved_tcp);
	add_set(list, "PORTS_UDP", &config->reserved_udp);
	return list;
}

// --- attributes (§7.3) and tags (§7.4) ---

// An object of strings, as config.c has validated it; NULL if there is none.
static json_object *string_object(const char *text)
{
	json_object *object = str_empty(text) ? NULL : json_parse(text, strlen(text), NULL);

	if (object && !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		return NULL;
	}
	return object;
}

static void add_pair(json_object *list, const char *key, const char *name, const char *value)
{
	json_object *pair = json_object_new_object();

	json_add_string(pair, key, name);
	json_add_string(pair, "value", value);
	json_object_array_add(list, pair);
}

static json_object *attributes(const struct registration *registration, const struct config *config)
{
	_cleanup_json_ json_object *custom = string_object(config->instance_attributes);
	_cleanup_json_ json_object *known =
		instance_capabilities(config, registration->docker_api_min, registration->docker_api_max);
	json_object *list = json_object_new_array();
	size_t count = json_object_array_length(known);

	if (custom && !registration->instance_arn) {
		json_object_object_foreach(custom, name, value)
		{
			add_pair(list, "name", name, json_object_get_string(value));
		}
	}
	for (size_t i = 0; i < count; i++)
		json_object_array_add(list, json_object_get(json_object_array_get_idx(known, i)));
	add_pair(list, "name", "ecs.os-type", "linux");
	add_pair(list, "name", "ecs.os-family", "LINUX");
	if (!str_empty(config->os_family))
		add_pair(list, "name", "ecs.os-type-detailed", config->os_family);
	if (config->external)
		add_pair(list, "name", "ecs.cpu-architecture", host_architecture());
	if (!str_empty(registration->outpost_arn))
		add_pair(list, "name", "ecs.outpost-arn", registration->outpost_arn);
	return list;
}

static json_object *tags(const struct config *config)
{
	_cleanup_json_ json_object *object = string_object(config->instance_tags);
	json_object *list;

	if (!object || json_object_object_length(object) == 0)
		return NULL;
	list = json_object_new_array();
	json_object_object_foreach(object, name, value)
	{
		add_pair(list, "key", name, json_object_get_string(value));
	}
	return list;
}
