// Error answers of the Docker daemon, of any kind: their texts become reasons that ECS is told.
// Input: a byte that chooses status and content type, then the body.
#include "docker/docker_internal.h"
#include "fuzz.h"

static bool as_json;

static const char *header(const struct http_response *response, const char *name)
{
	(void)response;
	if (strcasecmp(name, "Content-Type") != 0)
		return NULL;
	return as_json ? "application/json" : "text/plain";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct docker_operation operation = {"CannotCreateContainerError", "created"};
	static const long codes[] = {304, 400, 404, 409, 500, 502, 503, 504};
	if (size < 1)
		return 0;
	_cleanup_free_ char *body = fuzz_text(data + 1, size - 1);
	struct http_response response = {
		.status = codes[data[0] % 8], .body = body, .body_len = size - 1, .sent = true, .header = header};
	struct docker_error err;
	as_json = data[0] & 8;
	docker_error_from(&err, NULL, &operation, 240000, &response);
	CHECK(err.failure != DOCKER_OK && str_equal(err.name, operation.error_name) && !err.timeout);
	CHECK(strlen(err.message) < sizeof(err.message));
	if (response.status >= 400)
		CHECK(str_starts(err.message, "Error response from daemon: "));
	// Cut between two characters; bytes that are none are replaced when ECS is told (fuzz_report_text.c).
	if (is_utf8(body))
		CHECK(is_utf8(err.message));
	return 0;
}
