// What Docker says of a container, and the templates it meets: the first line is the template, the rest Info as JSON; what
// is no Info is taken as one that is there always.
#include "fuzz.h"
#include "logging/attributes.h"
#include "logging/tag.h"
#include "logging/template.h"

static const char usual[] =
	"{\"Config\":{\"labels\":\"a,b\",\"env-regex\":\"E\"},"
	"\"ContainerID\":\"abcdef01234567890abcdef01234567890abcdef01234567890abcdef0123456\",\"ContainerName\":\"/"
	"name\","
	"\"ContainerEntrypoint\":\"/bin/sh\",\"ContainerArgs\":[\"-c\",\"x\"],\"ContainerImageName\":\"a/b:c\","
	"\"ContainerCreated\":\"2024-01-02T03:04:05.6Z\",\"ContainerEnv\":[\"E=SECRET\",\"F\"],"
	"\"ContainerLabels\":{\"b\":\"1\",\"a\":\"\\u00e9\"},\"DaemonName\":\"docker\"}";

static void check_tag(const char *template, enum log_driver driver, const struct log_info *info, bool secret)
{
	struct error err = {0};
	char *tag = NULL, *again = NULL;

	if (tag_render(template, driver, info, "host", &tag, &err) < 0) {
		CHECK(err.code == EINVAL && !tag);
		check_reason(err.message);
		CHECK(!secret || strstr(template, "SECRET") || !strstr(err.message, "SECRET"));
		return;
	}
	CHECK(is_utf8(tag) && strlen(tag) <= 3 * TEMPLATE_MAX);
	CHECK(tag_render(template, driver, info, "host", &again, &err) == 0 && strcmp(tag, again) == 0);
	// Text without actions is itself.
	if (!strstr(template, "{{") && *template && is_utf8(template))
		CHECK(strcmp(tag, template) == 0);
	free(tag);
	free(again);
}

static void check_attributes(const struct log_info *info)
{
	struct json_map attributes;
	struct error err = {0};

	if (attributes_select(info, &attributes, &err) < 0) {
		check_reason(err.message);
		CHECK(!attributes.items);
		return;
	}
	CHECK(attributes.count <= ATTRIBUTES_MAX);
	for (size_t i = 0; i < attributes.count; i++) {
		CHECK(attributes.items[i].value);
		for (size_t k = 0; k < i; k++)
			CHECK(strcmp(attributes.items[i].name, attributes.items[k].name) != 0);
	}
	attributes_free(&attributes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input, *template = strsep(&rest, "\n");
	json_object *object = rest ? json_parse(rest, strlen(rest), NULL) : NULL;
	bool given = json_object_is_type(object, json_type_object);
	struct error err = {0};
	struct log_info info;

	if (!given) {
		json_object_put(object);
		object = json_parse(usual, strlen(usual), NULL);
	}
	if (log_info_decode(object, &info, &err) == 0) {
		check_tag(template, size & 1 ? LOG_AWSLOGS : LOG_FLUENTD, &info, !given);
		check_attributes(&info);
	} else {
		CHECK(given);
		check_reason(err.message);
	}
	log_info_free(&info);
	json_object_put(object);
	return 0;
}
