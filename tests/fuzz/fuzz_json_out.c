// ecs-endpoint's writer of JSON strings: whatever the text, one JSON string comes out.
#include "agent/endpoint/server/json_out.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	size_t max = json_out_max(text);
	_cleanup_free_ char *out = xmalloc(max);
	size_t len = (size_t)(json_out_string(out, text) - out);
	CHECK(len >= 2 && len <= max && out[0] == '"' && out[len - 1] == '"');
	_cleanup_json_ json_object *value = json_parse(out, len, NULL);
	CHECK(json_object_is_type(value, json_type_string));
	if (is_utf8(text))
		CHECK(strcmp(json_object_get_string(value), text) == 0);
	CHECK(!memchr(out, '<', len) && !memchr(out, '>', len) && !memchr(out, '&', len));
	return 0;
}
