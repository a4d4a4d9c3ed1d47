// dockerConfig.config and .hostConfig of the payload: Go's syntax check and its error texts, and the overlay.
#include "docker/docker_internal.h"
#include "fuzz.h"

static void check_overlay(const char *text, const char *base,
			  int (*overlay)(json_object *config, const char *text, struct error *err))
{
	_cleanup_json_ json_object *once = json_parse(base, strlen(base), NULL);
	struct error err = {0};
	int r = overlay(once, text, &err);
	CHECK(is_utf8(json_text(once)));
	if (r < 0) {
		check_reason(err.message);
		return;
	}
	CHECK(err.code == 0);
	// The same text over the result changes nothing: lists are replaced, maps are merged.
	_cleanup_free_ char *before = xstrdup(json_text(once));
	CHECK(overlay(once, text, &err) == 0);
	_cleanup_json_ json_object *again = json_parse(before, strlen(before), NULL);
	CHECK(again && json_object_equal(once, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	size_t len = strlen(text);
	struct error err = {0};
	_cleanup_json_ json_object *parsed = json_parse(text, len, NULL);
	if (go_json_check(text, len, &err) < 0) {
		check_reason(err.message);
		// Go is the stricter of the two.
		CHECK(!parsed);
	}
	check_overlay(text,
		      "{\"Image\":\"busybox\",\"Cmd\":[\"sh\"],\"Env\":[\"A=b\"],\"ExposedPorts\":{\"80/tcp\":{}}}",
		      overlay_config);
	check_overlay(text,
		      "{\"Links\":[\"a:b\"],\"Binds\":[\"/a:/b\"],\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"1\"}]},"
		      "\"Memory\":4194304,\"CpuShares\":2,\"VolumesFrom\":[]}",
		      overlay_host_config);
	return 0;
}
