// What Docker says of a container, and what labels and env options select of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/attributes.h"
#include "logging/info.h"

#define ID "abcdef01234567890abcdef01234567890abcdef01234567890abcdef0123456"

static int decode(const char *text, struct log_info *info, struct error *err)
{
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), err);

	assert_non_null(object);
	return log_info_decode(object, info, err);
}

static void test_decode(void **state)
{
	struct log_info info;
	struct error err = {0};

	(void)state;
	// As dockerd 26.1 sends it, with keys that are not known.
	assert_int_equal(
		decode("{\"Config\":{\"x-ecs-driver\":\"syslog\",\"mode\":\"non-blocking\"},\"ContainerID\":\"" ID "\","
		       "\"ContainerName\":\"/a1\",\"ContainerEntrypoint\":\"/bin/sh\",\"ContainerArgs\":[\"-c\",\"a "
		       "\\u003e b\"],"
		       "\"ContainerImageID\":\"sha256:00\",\"ContainerImageName\":\"busybox\","
		       "\"ContainerCreated\":\"2024-01-02T03:04:05.678Z\",\"ContainerEnv\":[\"A=1\"],"
		       "\"ContainerLabels\":{\"l\":\"v\"},\"LogPath\":\"\",\"DaemonName\":\"docker\",\"New\":[1]}",
		       &info, &err),
		0);
	assert_string_equal(json_map_get(&info.config, "x-ecs-driver"), "syslog");
	assert_string_equal(info.container_id, ID);
	assert_string_equal(info.container_name, "/a1");
	assert_string_equal(info.container_entrypoint, "/bin/sh");
	assert_string_equal(info.container_args.items[1], "a > b");
	assert_string_equal(info.container_image_id, "sha256:00");
	assert_string_equal(info.container_image_name, "busybox");
	assert_string_equal(info.container_created, "2024-01-02T03:04:05.678Z");
	assert_string_equal(info.container_env.items[0], "A=1");
	assert_string_equal(json_map_get(&info.container_labels, "l"), "v");
	assert_string_equal(info.log_path, "");
	assert_string_equal(info.daemon_name, "docker");
	log_info_free(&info);

	// Null and absent are empty.
	assert_int_equal(
		decode("{\"Config\":null,\"ContainerArgs\":null,\"ContainerEnv\":null,\"ContainerLabels\":null,"
		       "\"ContainerID\":\"" ID "\"}",
		       &info, &err),
		0);
	assert_int_equal(info.config.count + info.container_args.count + info.container_env.count, 0);
	assert_null(info.container_name);
	log_info_free(&info);
}

static void test_malformed(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"{}", "ContainerID"},
		{"{\"ContainerID\":\"\"}", "ContainerID"},
		{"{\"ContainerID\":\"abc\"}", "ContainerID is \"abc\", 64 hexadecimal digits were expected"},
		{"{\"ContainerID\":\"" ID "0\"}", "ContainerID"},
		{"{\"ContainerID\":\"../../../../../../../../../../../../../../../../../../etc/passwd00\"}",
		 "ContainerID"},
		{"{\"ContainerID\":5}", "ContainerID"},
		{"{\"ContainerID\":\"" ID "\",\"Config\":[]}", "Config"},
		{"{\"ContainerID\":\"" ID "\",\"Config\":{\"a\":1}}", "Config"},
		{"{\"ContainerID\":\"" ID "\",\"ContainerEnv\":\"SECRET\"}", "ContainerEnv"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct log_info info, empty = {0};
		struct error err = {0};

		assert_true(decode(cases[i].text, &info, &err) < 0);
		if (!strstr(err.message, cases[i].error) || strstr(err.message, "SECRET"))
			fail_msg("%s: %s", cases[i].text, err.message);
		assert_memory_equal(&info, &empty, sizeof(empty));
	}
}

// Labels a=la, b=lb, a.c=lac; variables a=ea, B=x=y, E=, a=ea2, NOEQ.
static int select_from(const char *option, const char *value, const char *option2, const char *value2, char *text,
		       size_t size, struct error *err)
{
	struct json_pair config[] = {{(char *)option, (char *)value}, {(char *)option2, (char *)value2}};
	struct json_pair labels[] = {
		{(char *)"a", (char *)"la"}, {(char *)"b", (char *)"lb"}, {(char *)"a.c", (char *)"lac"}};
	char *env[] = {(char *)"a=ea", (char *)"B=x=y", (char *)"E=", (char *)"a=ea2", (char *)"NOEQ"};
	struct log_info info = {.config = {config, option2 ? 2 : 1},
				.container_labels = {labels, ARRAY_SIZE(labels)},
				.container_env = {env, ARRAY_SIZE(env)}};
	struct json_map attributes;
	int r = attributes_select(&info, &attributes, err);

	*text = '\0';
	for (size_t i = 0; i < attributes.count; i++)
		snprintf(text + strlen(text), size - strlen(text), "%s=%s;", attributes.items[i].name,
			 attributes.items[i].value);
	attributes_free(&attributes);
	return r;
}

static void test_select(void **state)
{
	static const struct {
		const char *option, *value, *option2, *value2, *result;
	} cases[] = {
		{"tag", "a", NULL, NULL, ""},
		{"labels", "", NULL, NULL, ""},
		{"labels", "b,a", NULL, NULL, "b=lb;a=la;"},
		{"labels", "a, b,,none,", NULL, NULL, "a=la;"}, // not trimmed
		{"labels", "a,a", NULL, NULL, "a=la;"},
		{"labels-regex", "a", NULL, NULL, "a=la;a.c=lac;"},
		{"labels-regex", "^(a|b)$", NULL, NULL, "a=la;b=lb;"},
		{"labels", "b", "labels-regex", ".", "b=lb;a=la;a.c=lac;"},
		{"env", "a,E,B,NOEQ", NULL, NULL, "a=ea2;E=;B=x=y;"},
		{"env-regex", "(?i)b|e", NULL, NULL, "B=x=y;E=;"},
		{"env", "a", "labels", "a", "a=ea2;"}, // env beats labels
		{"env-regex", "^a$", "labels", "b,a", "b=lb;a=ea2;"},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};

		if (select_from(cases[i].option, cases[i].value, cases[i].option2, cases[i].value2, text, sizeof(text),
				&err) < 0)
			fail_msg("%s: %s", cases[i].value, err.message);
		assert_string_equal(text, cases[i].result);
	}
}

static void test_select_refused(void **state)
{
	struct error err = {0};
	struct json_pair config[] = {{(char *)"env-regex", (char *)"("}};
	struct log_info bare = {.config = {config, 1}};
	struct json_map attributes;
	char text[256];

	(void)state;
	assert_int_equal(select_from("labels-regex", "(", NULL, NULL, text, sizeof(text), &err), -EINVAL);
	assert_string_equal(err.message,
			    "invalid value for labels-regex: error parsing regexp: missing closing ): `(`");
	assert_int_equal(select_from("env-regex", "a**", NULL, NULL, text, sizeof(text), &err), -EINVAL);
	assert_non_null(strstr(err.message, "invalid value for env-regex: "));
	// Without variables Docker does not look at it.
	assert_int_equal(attributes_select(&bare, &attributes, &err), 0);
	attributes_free(&attributes);
}

static void test_select_bounds(void **state)
{
	struct json_pair config[] = {{(char *)"labels-regex", (char *)"."}, {(char *)"labels", NULL}};
	struct json_pair *labels = xcalloc(ATTRIBUTES_MAX + 1, sizeof(*labels));
	struct log_info info = {.config = {config, 1}, .container_labels = {labels, ATTRIBUTES_MAX}};
	struct json_map attributes;
	struct error err = {0};
	char names[ATTRIBUTE_NAMES_MAX + 2] = "";

	(void)state;
	for (size_t i = 0; i <= ATTRIBUTES_MAX; i++)
		labels[i] = (struct json_pair){xasprintf("l%zu", i), (char *)"v"};
	assert_int_equal(attributes_select(&info, &attributes, &err), 0);
	assert_int_equal(attributes.count, ATTRIBUTES_MAX);
	attributes_free(&attributes);
	info.container_labels.count++;
	assert_int_equal(attributes_select(&info, &attributes, &err), -E2BIG);
	assert_int_equal(attributes.count, 0);
	memset(names, 'x', ATTRIBUTE_NAMES_MAX + 1);
	config[1].value = names;
	info.config.count = 2;
	assert_int_equal(attributes_select(&info, &attributes, &err), -E2BIG);
	assert_non_null(strstr(err.message, "invalid value for labels: longer than 16384 bytes"));
	for (size_t i = 0; i <= ATTRIBUTES_MAX; i++)
		free(labels[i].name);
	free(labels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode),        cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_select),        cmocka_unit_test(test_select_refused),
		cmocka_unit_test(test_select_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
