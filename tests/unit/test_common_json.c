#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "common/util.h"

struct port {
	uint16_t host;
	bool host_set;
};
struct container {
	char *name;
	uint32_t memory;
	int32_t exit_code;
	double cpu;
	bool essential;
	struct json_list ports;
	struct json_strings command;
	struct json_map environment;
	json_object *raw;
};
struct task {
	char *arn;
	int64_t seq;
	struct json_list containers;
	struct container *first;
};

static const struct json_field port_fields[] = {{.name = "hostPort",
						 .go_name = "HostPort",
						 .kind = JSON_UINT16,
						 .offset = offsetof(struct port, host),
						 .present = offsetof(struct port, host_set)},
						JSON_END};
static const struct json_table port_table = {"PortMapping", sizeof(struct port), port_fields};
static const struct json_field container_fields[] = {
	JSON_FIELD(struct container, "name", name, JSON_STRING),
	{.name = "memory",
	 .go_name = "Memory",
	 .kind = JSON_UINT32,
	 .offset = offsetof(struct container, memory),
	 .present = SIZE_MAX},
	JSON_FIELD(struct container, "exitCode", exit_code, JSON_INT32),
	JSON_FIELD(struct container, "cpu", cpu, JSON_DOUBLE),
	JSON_FIELD(struct container, "essential", essential, JSON_BOOL),
	JSON_SUB(struct container, "portMappings", ports, JSON_LIST, &port_table),
	JSON_FIELD(struct container, "command", command, JSON_STRING_LIST),
	JSON_FIELD(struct container, "environment", environment, JSON_STRING_MAP),
	JSON_FIELD(struct container, "raw", raw, JSON_RAW),
	JSON_END};
static const struct json_table container_table = {"Container", sizeof(struct container), container_fields};
static const struct json_field task_fields[] = {JSON_REQUIRED(struct task, "arn", arn, JSON_STRING),
						JSON_FIELD(struct task, "seq", seq, JSON_INT64),
						{.name = "containers",
						 .go_name = "Containers",
						 .kind = JSON_LIST,
						 .offset = offsetof(struct task, containers),
						 .present = SIZE_MAX,
						 .table = &container_table},
						JSON_SUB(struct task, "first", first, JSON_OBJECT, &container_table),
						JSON_END};
static const struct json_table task_table = {"Task", sizeof(struct task), task_fields};

static int decode(const char *text, struct task *task, struct error *err)
{
	json_object *object = json_parse(text, strlen(text), err);
	int r;

	assert_non_null(object);
	r = json_decode(&task_table, object, task, err);
	json_object_put(object);
	return r;
}

static void test_decode(void **state)
{
	struct task task;
	struct error err;
	struct container *c;

	(void)state;
	assert_int_equal(
		decode("{\"ARN\":\"a\\u00e9\",\"seq\":-9223372036854775808,\"unknown\":[{}],\"containers\":["
		       "{\"name\":\"one\",\"Memory\":4294967295,\"exitCode\":-1,\"cpu\":0.5,\"essential\":true,"
		       "\"portMappings\":[{\"hostPort\":65535},{\"hostPort\":null},{}],\"command\":[\"sh\",null,\"\"],"
		       "\"environment\":{\"B\":\"2\",\"A\":\"1\",\"N\":null},\"raw\":{\"x\":[1]}},"
		       "{\"cpu\":3,\"command\":[],\"name\":null}],\"first\":{\"name\":\"f\"}}",
		       &task, &err),
		0);
	assert_string_equal(task.arn, "aé");
	assert_true(task.seq == INT64_MIN);
	assert_int_equal(task.containers.count, 2);
	c = task.containers.items;
	assert_string_equal(c->name, "one");
	assert_int_equal(c->memory, UINT32_MAX);
	assert_int_equal(c->exit_code, -1);
	assert_true(c->cpu == 0.5);
	assert_true(c->essential);
	assert_int_equal(c->ports.count, 3);
	assert_int_equal(((struct port *)c->ports.items)[0].host, 65535);
	assert_true(((struct port *)c->ports.items)[0].host_set);
	assert_false(((struct port *)c->ports.items)[1].host_set);
	assert_int_equal(c->command.count, 3);
	assert_string_equal(c->command.items[0], "sh");
	assert_string_equal(c->command.items[1], "");
	assert_int_equal(c->environment.count, 3);
	assert_string_equal(c->environment.items[0].name, "B");
	assert_string_equal(json_map_get(&c->environment, "A"), "1");
	assert_string_equal(json_map_get(&c->environment, "N"), "");
	assert_null(json_map_get(&c->environment, "a"));
	assert_string_equal(json_text(c->raw), "{\"x\":[1]}");
	assert_true(c[1].cpu == 3 && c[1].name == NULL && c[1].command.count == 0);
	assert_string_equal(task.first->name, "f");
	json_decode_free(&task_table, &task);
	json_decode_free(&task_table, &task);
}

static void test_names(void **state)
{
	static const struct {
		const char *text, *name;
	} cases[] = {
		{"{\"arn\":\"x\",\"Arn\":\"y\"}", "x"}, // exact match first, wherever it stands
		{"{\"Arn\":\"y\",\"arn\":\"x\"}", "x"},
		{"{\"ARN\":\"y\",\"Arn\":\"z\"}", "z"}, // otherwise the last
		{"{\"arn\":\"x\",\"arn\":\"y\"}", "y"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task task;
		struct error err;

		assert_int_equal(decode(cases[i].text, &task, &err), 0);
		assert_string_equal(task.arn, cases[i].name);
		json_decode_free(&task_table, &task);
	}
}

static void test_decode_errors(void **state)
{
#define UNMARSHAL "json: cannot unmarshal "
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"{}", "json: field Task.arn is required but missing"},
		{"{\"arn\":null}", "json: field Task.arn is required but missing"},
		{"{\"arn\":\"\"}", "json: field Task.arn is required but empty"},
		{"{\"arn\":1}", UNMARSHAL "number 1 into Go struct field Task.arn of type string"},
		{"{\"arn\":true}", UNMARSHAL "bool into Go struct field Task.arn of type string"},
		{"{\"arn\":{}}", UNMARSHAL "object into Go struct field Task.arn of type string"},
		{"{\"arn\":\"a\\u0000b\"}", "json: field Task.arn holds a NUL character"},
		{"{\"arn\":\"a\",\"seq\":\"1\"}", UNMARSHAL "string into Go struct field Task.seq of type int64"},
		{"{\"arn\":\"a\",\"seq\":1.0}", UNMARSHAL "number 1.0 into Go struct field Task.seq of type int64"},
		{"{\"arn\":\"a\",\"seq\":1e3}", UNMARSHAL "number 1e3 into Go struct field Task.seq of type int64"},
		{"{\"arn\":\"a\",\"seq\":9223372036854775808}",
		 UNMARSHAL "number 9223372036854775808 into Go struct field Task.seq of type int64"},
		{"{\"arn\":\"a\",\"seq\":99999999999999999999999}",
		 UNMARSHAL "number 18446744073709551615 into Go struct field Task.seq of type int64"},
		{"{\"arn\":\"a\",\"containers\":{}}",
		 UNMARSHAL "object into Go struct field Task.Containers of type []Container"},
		{"{\"arn\":\"a\",\"containers\":[null]}",
		 UNMARSHAL "null into Go struct field Task.Containers of type Container"},
		{"{\"arn\":\"a\",\"containers\":[{\"memory\":-5}]}",
		 UNMARSHAL "number -5 into Go struct field Container.Containers.Memory of type uint"},
		{"{\"arn\":\"a\",\"containers\":[{\"memory\":4294967296}]}",
		 UNMARSHAL "number 4294967296 into Go struct field Container.Containers.Memory of type uint"},
		{"{\"arn\":\"a\",\"containers\":[{\"name\":\"x\"},{\"portMappings\":[{\"hostPort\":65536}]}]}",
		 UNMARSHAL
		 "number 65536 into Go struct field PortMapping.Containers.portMappings.HostPort of type uint16"},
		{"{\"arn\":\"a\",\"containers\":[{\"exitCode\":2147483648}]}",
		 UNMARSHAL "number 2147483648 into Go struct field Container.Containers.exitCode of type int32"},
		{"{\"arn\":\"a\",\"first\":{\"cpu\":\"1\"}}",
		 UNMARSHAL "string into Go struct field Container.first.cpu of type float64"},
		{"{\"arn\":\"a\",\"first\":{\"cpu\":1e999}}",
		 UNMARSHAL "number 1e999 into Go struct field Container.first.cpu of type float64"},
		{"{\"arn\":\"a\",\"first\":{\"essential\":\"true\"}}",
		 UNMARSHAL "string into Go struct field Container.first.essential of type bool"},
		{"{\"arn\":\"a\",\"first\":[]}", UNMARSHAL "array into Go struct field Task.first of type Container"},
		{"{\"arn\":\"a\",\"first\":{\"command\":\"sh\"}}",
		 UNMARSHAL "string into Go struct field Container.first.command of type []string"},
		{"{\"arn\":\"a\",\"first\":{\"command\":[\"sh\",1]}}",
		 UNMARSHAL "number 1 into Go struct field Container.first.command of type string"},
		{"{\"arn\":\"a\",\"first\":{\"environment\":[]}}",
		 UNMARSHAL "array into Go struct field Container.first.environment of type map[string]string"},
		{"{\"arn\":\"a\",\"first\":{\"environment\":{\"A\":\"1\",\"B\":{}}}}",
		 UNMARSHAL "object into Go struct field Container.first.environment of type string"},
		{"\"text\"", UNMARSHAL "string into Go value of type Task"},
		{"5", UNMARSHAL "number 5 into Go value of type Task"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static const struct task zero;
		struct task task;
		struct error err;

		assert_true(decode(cases[i].text, &task, &err) < 0);
		assert_string_equal(err.message, cases[i].message);
		assert_memory_equal(&task, &zero, sizeof(task));
	}
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {
		{"{}", true},
		{" \n{ \"a\" : [ 1 , 2.5 , \"x\" , true , null ] } \n", true},
		{"5", true},
		{"-0.5e-3", true},
		{"\"x\"", true},
		{"18446744073709551615", true},
		{"\"NaN Infinity \\\" // \\u0000\"", true},
		{"{\"a\":\"\\u0000\"}", true},
		{"{\"a\\u0000b\":1}", false},
		{"{\"a\\u0000b\" \n:1}", false},
		{"{\"a\\\\u0000b\":1}", true},
		{"\"\\ud83d\\ude00\"", true},
		{"", false},
		{" ", false},
		{"null", false},
		{"{", false},
		{"{}x", false},
		{"{} {}", false},
		{"[1,]", false},
		{"{\"a\":1,}", false},
		{"{'a':1}", false},
		{"{a:1}", false},
		{"[NaN]", false},
		{"[Infinity]", false},
		{"[-Infinity]", false},
		{"[nan]", false},
		{"[True]", false},
		{"[01]", false},
		{"[+1]", false},
		{"[1.]", false},
		{"[.5]", false},
		{"[1e]", false},
		{"[-]", false},
		{"[1] // c", false},
		{"[/* c */1]", false},
		{"\"\xff\"", false},
		{"\"\xc0\x80\"", false},
		{"\"\n\"", false},
		{"\"\\x41\"", false},
		{"[123456789012345678901234567890]", true}, // saturated, and refused where an integer is decoded
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		// Without a NUL behind it, so that a parser that reads on is caught.
		char *text = xmemdup(cases[i].text, strlen(cases[i].text));
		json_object *object = json_parse(text, strlen(cases[i].text), &err);

		if ((object != NULL) != cases[i].ok)
			print_error("case %zu: %s: %s\n", i, cases[i].text, err.message);
		assert_int_equal(object != NULL, cases[i].ok);
		assert_int_equal(err.code != 0, !cases[i].ok);
		json_object_put(object);
		free(text);
	}
	assert_null(json_parse("[1\0]", 4, NULL));
}

static void test_depth(void **state)
{
	(void)state;
	for (int depth = JSON_DEPTH_MAX - 2; depth < JSON_DEPTH_MAX + 200; depth++) {
		struct buf text = {0};
		struct error err = {0};
		json_object *object;

		for (int i = 0; i < depth; i++)
			buf_append(&text, "[", 1);
		for (int i = 0; i < depth; i++)
			buf_append(&text, "]", 1);
		object = json_parse(text.data, text.len, &err);
		assert_int_equal(object != NULL, depth <= JSON_DEPTH_MAX);
		json_object_put(object);
		buf_free(&text);
	}
}

static void test_get_and_build(void **state)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	(void)state;
	json_add_string(o, "url", "http://a/b");
	json_add_string(o, "none", NULL);
	json_add_int(o, "n", INT64_MIN);
	json_add_bool(o, "b", true);
	json_add(o, "null", NULL);
	assert_string_equal(json_text(o),
			    "{\"url\":\"http://a/b\",\"n\":-9223372036854775808,\"b\":true,\"null\":null}");
	assert_string_equal(json_get_string(o, "URL"), "http://a/b");
	assert_null(json_get_string(o, "n"));
	assert_null(json_get(o, "null"));
	assert_null(json_get(o, "missing"));
	assert_null(json_get(NULL, "x"));
	assert_null(json_get(json_get(o, "n"), "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode), cmocka_unit_test(test_names), cmocka_unit_test(test_decode_errors),
		cmocka_unit_test(test_parse),  cmocka_unit_test(test_depth), cmocka_unit_test(test_get_and_build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
