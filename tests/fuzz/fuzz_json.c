// json_parse and json_decode with a table that has every kind of field.
#include "fuzz.h"

struct inner {
	char *text;
	uint16_t port;
};
struct outer {
	char *text, *must;
	int64_t i64;
	uint32_t u32;
	uint16_t u16;
	int32_t i32;
	double number;
	bool flag, has_flag;
	struct inner *object;
	struct json_list list;
	struct json_strings strings;
	struct json_map map;
	json_object *raw;
};
static const struct json_field inner_fields[] = {
	JSON_FIELD(struct inner, "text", text, JSON_STRING),
	JSON_FIELD(struct inner, "port", port, JSON_UINT16),
	JSON_END,
};
static const struct json_table inner_table = {"Inner", sizeof(struct inner), inner_fields};
static const struct json_field outer_fields[] = {
	JSON_FIELD(struct outer, "text", text, JSON_STRING),
	JSON_FIELD(struct outer, "i64", i64, JSON_INT64),
	JSON_FIELD(struct outer, "u32", u32, JSON_UINT32),
	JSON_FIELD(struct outer, "u16", u16, JSON_UINT16),
	JSON_FIELD(struct outer, "i32", i32, JSON_INT32),
	JSON_FIELD(struct outer, "number", number, JSON_DOUBLE),
	{.name = "flag",
	 .kind = JSON_BOOL,
	 .offset = offsetof(struct outer, flag),
	 .present = offsetof(struct outer, has_flag)},
	JSON_SUB(struct outer, "object", object, JSON_OBJECT, &inner_table),
	JSON_SUB(struct outer, "list", list, JSON_LIST, &inner_table),
	JSON_FIELD(struct outer, "strings", strings, JSON_STRING_LIST),
	JSON_FIELD(struct outer, "map", map, JSON_STRING_MAP),
	JSON_FIELD(struct outer, "raw", raw, JSON_RAW),
	JSON_REQUIRED(struct outer, "must", must, JSON_STRING),
	JSON_END,
};
static const struct json_table outer_table = {"Outer", sizeof(struct outer), outer_fields};

static void check_decode(json_object *object)
{
	static const struct outer zero;
	struct outer out;
	struct error err = {0};
	if (json_decode(&outer_table, object, &out, &err) < 0) {
		CHECK(memcmp(&out, &zero, sizeof(out)) == 0);
		check_reason(err.message);
		return;
	}
	CHECK(!str_empty(out.must));
	CHECK(!out.flag || out.has_flag);
	CHECK(out.strings.count == 0 || out.strings.items[out.strings.count - 1]);
	for (size_t i = 0; i < out.map.count; i++)
		CHECK(json_map_get(&out.map, out.map.items[i].name));
	json_decode_free(&outer_table, &out);
	CHECK(memcmp(&out, &zero, sizeof(out)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_bytes(data, size);
	struct error err = {0};
	_cleanup_json_ json_object *object = json_parse(text, size, &err);
	if (!object) {
		CHECK(err.code == EBADMSG || err.code == EMSGSIZE);
		check_reason(err.message);
		return 0;
	}
	CHECK(err.code == 0);
	// What was understood can be written, and is then understood as the same.
	_cleanup_free_ char *once = xstrdup(json_text(object));
	_cleanup_json_ json_object *again = json_parse(once, strlen(once), &err);
	CHECK(again);
	CHECK(json_object_equal(object, again));
	CHECK(strcmp(once, json_text(again)) == 0);
	check_decode(object);
	return 0;
}
