// Answers of the Docker daemon about containers: create, inspect, list.
#include "agent/docker/containers.c"
#include "fuzz.h"

static void on_create(const struct docker_error *err, const char *id, void *arg)
{
	(void)arg;
	CHECK(err->failure == DOCKER_OK ? !str_empty(id) : !id);
}

static void on_inspect(const struct docker_error *err, const struct docker_container *container, void *arg)
{
	(void)arg;
	CHECK((err->failure == DOCKER_OK) == (container != NULL));
	if (!container)
		return;
	CHECK(!str_empty(container->id) && container->name && container->image_id && container->state_error);
	CHECK(container->created_text && container->started_text && container->ip_address);
	CHECK(json_object_is_type(container->labels, json_type_object));
	CHECK(container->port_count <= DOCKER_PORTS_MAX && container->mount_count <= DOCKER_MOUNTS_MAX);
	for (size_t i = 0; i < container->port_count; i++) {
		CHECK(str_equal(container->ports[i].protocol, "tcp") || str_equal(container->ports[i].protocol, "udp"));
		CHECK(is_utf8(container->ports[i].bind_ip)); // ECS is told
	}
	for (size_t i = 0; i < container->mount_count; i++)
		CHECK(container->mounts[i].name && container->mounts[i].source && container->mounts[i].destination);
}

static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	(void)arg;
	CHECK((err->failure == DOCKER_OK) == (list != NULL));
	for (size_t i = 0; i < count; i++)
		CHECK(!str_empty(list[i].id) && list[i].name && list[i].state &&
		      json_object_is_type(list[i].labels, json_type_object));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct docker_error ok = {.failure = DOCKER_OK, .name = ""};
	_cleanup_free_ char *text = fuzz_bytes(data, size);
	_cleanup_json_ json_object *body = json_parse(text, size, NULL);
	if (!body)
		return 0;
	finish_create(&(struct docker_call){.operation = &op_create, .done.create = on_create}, &ok, body);
	finish_inspect(&(struct docker_call){.operation = &op_inspect, .done.inspect = on_inspect}, &ok, body);
	finish_list(&(struct docker_call){.operation = &op_list, .done.list = on_list}, &ok, body);
	return 0;
}
