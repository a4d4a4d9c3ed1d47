// Go's JSON error texts, and the payload's Docker JSON laid over a request (docker-mapping.md §5).
#include "docker/docker_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void test_syntax_errors(void **state)
{
	// The texts are those of Go's encoding/json; the first two are recorded (fail-hostconfig-json, fail-config-json).
	static const struct {
		const char *text, *error; // NULL: valid
	} cases[] = {
		{"{not json", "invalid character 'n' looking for beginning of object key string"},
		{"[1", "unexpected end of JSON input"},
		{"", "unexpected end of JSON input"},
		{"  ", "unexpected end of JSON input"},
		{"{\"a\":", "unexpected end of JSON input"},
		{"\"abc", "unexpected end of JSON input"},
		{"nope", "invalid character 'o' in literal null (expecting 'u')"},
		{"tru", "invalid character ' ' in literal true (expecting 'e')"},
		{"fALSE", "invalid character 'A' in literal false (expecting 'a')"},
		{"x", "invalid character 'x' looking for beginning of value"},
		{"[1,]", "invalid character ']' looking for beginning of value"},
		{"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"},
		{"{\"a\" 1}", "invalid character '1' after object key"},
		{"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"},
		{"[1 2]", "invalid character '2' after array element"},
		{"{} {}", "invalid character '{' after top-level value"},
		{"{}}", "invalid character '}' after top-level value"},
		{"\"a\nb\"", "invalid character '\\n' in string literal"},
		{"\"\\x\"", "invalid character 'x' in string escape code"},
		{"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"},
		{"-", "invalid character ' ' in numeric literal"},
		{"-a", "invalid character 'a' in numeric literal"},
		{"1.x", "invalid character 'x' after decimal point in numeric literal"},
		{"1e+", "invalid character ' ' in exponent of numeric literal"},
		{"01", "invalid character '1' after top-level value"},
		{"'a'", "invalid character '\\'' looking for beginning of value"},
		{"\\", "invalid character '\\\\' looking for beginning of value"},
		{"\x01", "invalid character '\\x01' looking for beginning of value"},
		{"\xc3\xa9", "invalid character '\xc3\x83' looking for beginning of value"},
		{"\x80", "invalid character '\\u0080' looking for beginning of value"},
		{"{\"a\":[1,-2.5e-3,true,false,null,\"x\\u00e9\\n\"],\"b\":{}}", NULL},
		{" [ ] ", NULL},
		{"0", NULL},
		{"-0.5E+1 ", NULL},
		{"null", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		int r = go_json_check(cases[i].text, strlen(cases[i].text), &err);
		assert_string_equal(err.message, cases[i].error ? cases[i].error : "");
		assert_int_equal(r < 0, cases[i].error != NULL);
	}
}

static void test_depth(void **state)
{
	char text[JSON_DEPTH_MAX + 2];
	struct error err = {0};
	(void)state;
	memset(text, '[', JSON_DEPTH_MAX + 1);
	assert_true(go_json_check(text, JSON_DEPTH_MAX + 1, &err) < 0);
	assert_string_equal(err.message, "exceeded max depth");
}

struct overlay_case {
	const char *base, *text, *result, *error;
};

static void check(const struct overlay_case *c, int (*overlay)(json_object *, const char *, struct error *))
{
	struct error err = {0};
	_cleanup_json_ json_object *base = json_tokener_parse(c->base);
	int r = overlay(base, c->text, &err);
	assert_string_equal(err.message, c->error ? c->error : "");
	assert_int_equal(r < 0, c->error != NULL);
	if (c->result)
		assert_string_equal(json_text(base), c->result);
}

static void test_host_config(void **state)
{
	static const struct overlay_case cases[] = {
		// absent, scalar, scalar null
		{"{\"Memory\":5}", "{}", "{\"Memory\":5}", NULL},
		{"{\"Memory\":5}", "{\"Memory\":7}", "{\"Memory\":7}", NULL},
		{"{\"Memory\":5}", "{\"Memory\":null}", "{\"Memory\":5}", NULL},
		{"{\"Memory\":5}", "null", "{\"Memory\":5}", NULL},
		// list replaced, emptied
		{"{\"Binds\":[\"a\"]}", "{\"Binds\":[\"b\",\"c\"]}", "{\"Binds\":[\"b\",\"c\"]}", NULL},
		{"{\"Binds\":[\"a\"]}", "{\"Binds\":null}", "{}", NULL},
		{"{}", "{\"Dns\":[null,\"8.8.8.8\"]}", "{\"Dns\":[\"\",\"8.8.8.8\"]}", NULL},
		// map merged, emptied
		{"{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"1\"}],\"81/tcp\":[{\"HostPort\":\"2\"}]}}",
		 "{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"9\"}],\"82/udp\":null}}",
		 "{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"9\"}],\"81/tcp\":[{\"HostPort\":\"2\"}],\"82/"
		 "udp\":null}}",
		 NULL},
		{"{\"PortBindings\":{\"80/tcp\":[]}}", "{\"PortBindings\":null}", "{}", NULL},
		{"{}", "{\"Sysctls\":{\"a\":null,\"b\":\"1\"}}", "{\"Sysctls\":{\"a\":\"\",\"b\":\"1\"}}", NULL},
		// nested struct merged
		{"{\"LogConfig\":{\"Type\":\"x\",\"Config\":{\"a\":\"1\"}}}",
		 "{\"logconfig\":{\"config\":{\"b\":\"2\"}}}",
		 "{\"LogConfig\":{\"Type\":\"x\",\"Config\":{\"a\":\"1\",\"b\":\"2\"}}}", NULL},
		// names without regard to case; both spellings: the later wins
		{"{\"Memory\":5}", "{\"memory\":6,\"cpuSHARES\":3}", "{\"Memory\":6,\"CpuShares\":3}", NULL},
		{"{}", "{\"Memory\":6,\"memory\":8}", "{\"Memory\":8}", NULL},
		// string slices take one string
		{"{}", "{\"CapAdd\":\"ALL\",\"CapDrop\":[\"A\",null]}",
		 "{\"CapAdd\":[\"ALL\"],\"CapDrop\":[\"A\",\"\"]}", NULL},
		// pointers
		{"{}", "{\"Init\":true,\"PidsLimit\":7}", "{\"Init\":true,\"PidsLimit\":7}", NULL},
		{"{\"Init\":true}", "{\"Init\":null}", "{}", NULL},
		// unknown members go on
		{"{}", "{\"NewThing\":{\"x\":[1]}}", "{\"NewThing\":{\"x\":[1]}}", NULL},
		// lists of structs
		{"{}", "{\"Ulimits\":[{\"name\":\"nofile\",\"Soft\":1,\"Hard\":2}]}",
		 "{\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":2}]}", NULL},
		// errors
		{"{}", "{not json", NULL, "invalid character 'n' looking for beginning of object key string"},
		{"{}", "", NULL, "unexpected end of JSON input"},
		{"{}", "[]", NULL, "json: cannot unmarshal array into Go value of type container.HostConfig"},
		{"{}", "\"x\"", NULL, "json: cannot unmarshal string into Go value of type container.HostConfig"},
		{"{}", "{\"Memory\":\"1\"}", NULL,
		 "json: cannot unmarshal string into Go struct field HostConfig.Memory of type int64"},
		{"{}", "{\"memory\":1.5}", NULL,
		 "json: cannot unmarshal number 1.5 into Go struct field HostConfig.Memory of type int64"},
		{"{}", "{\"BlkioWeight\":65536}", NULL,
		 "json: cannot unmarshal number 65536 into Go struct field HostConfig.BlkioWeight of type uint16"},
		{"{}", "{\"BlkioWeight\":-1}", NULL,
		 "json: cannot unmarshal number -1 into Go struct field HostConfig.BlkioWeight of type uint16"},
		{"{}", "{\"NetworkMode\":1}", NULL,
		 "json: cannot unmarshal number into Go struct field HostConfig.NetworkMode of type "
		 "container.NetworkMode"},
		{"{}", "{\"LogConfig\":{\"Config\":{\"a\":1}}}", NULL,
		 "json: cannot unmarshal number into Go struct field LogConfig.LogConfig.Config of type string"},
		{"{}", "{\"Ulimits\":[{\"Hard\":\"x\"}]}", NULL,
		 "json: cannot unmarshal string into Go struct field Ulimit.Ulimits.Hard of type int64"},
		{"{}", "{\"Binds\":\"a\"}", NULL,
		 "json: cannot unmarshal string into Go struct field HostConfig.Binds of type []string"},
		{"{}", "{\"CapAdd\":[1]}", NULL,
		 "json: cannot unmarshal array into Go struct field HostConfig.CapAdd of type string"},
		// the first of two
		{"{}", "{\"Memory\":true,\"Binds\":1}", NULL,
		 "json: cannot unmarshal bool into Go struct field HostConfig.Memory of type int64"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(&cases[i], overlay_host_config);
}

static void test_config(void **state)
{
	static const struct overlay_case cases[] = {
		{"{\"Env\":[\"A=1\"]}", "{\"env\":[\"B=2\"]}", "{\"Env\":[\"B=2\"]}", NULL},
		{"{\"Cmd\":[\"a\"]}", "{\"Cmd\":\"b c\"}", "{\"Cmd\":[\"b c\"]}", NULL},
		{"{\"Cmd\":[\"a\"]}", "{\"Cmd\":null}", "{}", NULL},
		{"{\"ExposedPorts\":{\"80/tcp\":{}}}", "{\"ExposedPorts\":{\"81/tcp\":{\"x\":1}}}",
		 "{\"ExposedPorts\":{\"80/tcp\":{},\"81/tcp\":{}}}", NULL},
		{"{\"Labels\":{\"a\":\"1\"}}", "{\"Labels\":{\"a\":\"2\",\"B\":\"3\"}}",
		 "{\"Labels\":{\"a\":\"2\",\"B\":\"3\"}}", NULL},
		{"{}", "{\"Healthcheck\":{\"test\":[\"CMD\"],\"Interval\":30000000000}}",
		 "{\"Healthcheck\":{\"Test\":[\"CMD\"],\"Interval\":30000000000}}", NULL},
		{"{}", "[1", NULL, "unexpected end of JSON input"},
		{"{}", "{\"Labels\":{\"a\":1}}", NULL,
		 "json: cannot unmarshal number into Go struct field Config.Labels of type string"},
		{"{}", "{\"Cmd\":7}", NULL,
		 "json: cannot unmarshal number into Go struct field Config.Cmd of type string"},
		{"{}", "{\"Healthcheck\":{\"Test\":\"x\"}}", NULL,
		 "json: cannot unmarshal string into Go struct field HealthConfig.Healthcheck.Test of type []string"},
		{"{}", "{\"Healthcheck\":{\"Interval\":\"30s\"}}", NULL,
		 "json: cannot unmarshal string into Go struct field HealthConfig.Healthcheck.Interval of type "
		 "time.Duration"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(&cases[i], overlay_config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syntax_errors),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_host_config),
		cmocka_unit_test(test_config),
	};
	return cmocka_run_group_tests_name("docker overlay", tests, NULL, NULL);
}
