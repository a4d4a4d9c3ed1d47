// Answers of the ECS API, good and bad. Input: the X-Amzn-ErrorType header up to a newline, then the body.
#include "common/aws/aws_json.c"
#include "fuzz.h"

static const char *error_type;

static const char *header(const struct http_response *response, const char *name)
{
	(void)response;
	return strcasecmp(name, "X-Amzn-ErrorType") == 0 ? error_type : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *newline = memchr(text, '\n', size);
	if (!newline)
		return 0;
	*newline = '\0';
	error_type = text;
	struct http_response http = {
		.status = 400, .body = newline + 1, .body_len = size - (size_t)(newline + 1 - text), .header = header};
	struct aws_response bad = {.status = 400}, good = {.status = 200};
	read_error(&http, &bad);
	CHECK(!bad.body && bad.error.code);
	CHECK(*bad.error_code); // empty would say that no answer of the service came
	CHECK(strlen(bad.error_code) < sizeof(bad.error_code) && strlen(bad.message) < sizeof(bad.message));
	read_success(&http, &good);
	CHECK(good.body ? json_object_is_type(good.body, json_type_object) : good.error.code != 0);
	if (!good.body)
		check_reason(good.error.message);
	json_object_put(good.body);
	json_object_put(bad.details);
	return 0;
}
