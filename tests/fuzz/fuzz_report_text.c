// What ECS is told as a reason: any bytes become UTF-8 of at most 1024 bytes.
#include "agent/control/submit.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t limits[] = {1024, 255, 5};
	_cleanup_free_ char *in = fuzz_text(data, size);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		_cleanup_json_ json_object *out = text(in, limits[i]);
		const char *got = json_object_get_string(out);
		CHECK(strlen(got) <= limits[i] && is_utf8(got));
		if (is_utf8(in)) // cut between two characters, otherwise as it was
			CHECK(strncmp(in, got, strlen(got)) == 0 &&
			      (strlen(in) <= limits[i] ? strlen(got) == strlen(in) : strlen(got) + 4 > limits[i]));
		_cleanup_json_ json_object *parsed = json_parse(json_text(out), strlen(json_text(out)), NULL);
		CHECK(parsed && json_object_equal(parsed, out));
	}
	return 0;
}
