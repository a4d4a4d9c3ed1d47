// Image references of the payload and image answers of the Docker daemon.
#include "agent/docker/images.c"
#include "fuzz.h"

static void on_image(const struct docker_error *err, const struct docker_image *image, void *arg)
{
	(void)arg;
	CHECK((err->failure == DOCKER_OK) == (image != NULL));
	if (!image)
		return;
	CHECK(!str_empty(image->id) && image->repo_digests.count <= DIGESTS_MAX && image->env.count <= ENV_MAX);
	for (size_t i = 0; i < image->env.count; i++)
		CHECK(image->env.items[i]);
}

static void check_reference(const char *text)
{
	struct docker_reference reference, again;
	struct error err = {0};
	if (docker_reference_parse(text, &reference, &err) < 0) {
		CHECK(!reference.repository && !reference.tag);
		CHECK(err.code && *err.message);
		return;
	}
	CHECK(!str_empty(reference.repository) && !str_empty(reference.tag));
	bool digest = strchr(reference.tag, ':') != NULL;
	_cleanup_free_ char *joined = xasprintf("%s%c%s", reference.repository, digest ? '@' : ':', reference.tag);
	CHECK(docker_reference_parse(joined, &again, &err) == 0);
	CHECK(str_equal(reference.repository, again.repository) && str_equal(reference.tag, again.tag));
	docker_reference_done(&reference);
	docker_reference_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct docker_error ok = {.failure = DOCKER_OK, .name = ""};
	_cleanup_free_ char *text = fuzz_text(data, size);
	_cleanup_json_ json_object *body = json_parse(text, size, NULL);
	if (body)
		finish_image_inspect(&(struct docker_call){.operation = &op_image_inspect, .done.image = on_image}, &ok,
				     body);
	check_reference(text);
	return 0;
}
