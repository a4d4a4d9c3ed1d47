// Answers of CloudWatch Logs and of a credentials endpoint. Input: a line with the HTTP status, a line with the
// X-Amzn-ErrorType header, the body.
#include "common/aws/aws_json.c"
#include "common/aws/credentials_http.c"
#include "fuzz.h"
#include "logging/cloudwatch.h"

static const char *error_type;
static unsigned given;

static const char *header(const struct http_response *response, const char *name)
{
	(void)response;
	return strcasecmp(name, "X-Amzn-ErrorType") == 0 ? error_type : NULL;
}

static void on_credentials_done(struct credentials_fetch *fetch, struct aws_credentials *credentials,
				const struct error *err)
{
	(void)fetch;
	given++;
	CHECK((credentials == NULL) == (err != NULL));
	if (!credentials) {
		CHECK(*err->message);
		return;
	}
	CHECK(!str_empty(credentials->access_key_id) && !str_empty(credentials->secret_access_key));
	aws_credentials_free(credentials);
}

static void check_rejected(json_object *body)
{
	static const size_t counts[] = {1, 10, PTRDIFF_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		size_t old, new_from;

		cloudwatch_rejected(body, counts[i], &old, &new_from);
		CHECK(old <= new_from && new_from <= counts[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *type = memchr(text, '\n', size),
	     *body = type ? memchr(type + 1, '\n', size - (size_t)(type + 1 - text)) : NULL;
	if (!body)
		return 0;
	*type++ = *body++ = '\0';
	error_type = type;
	struct http_response http = {.status = 200 + labs(strtol(text, NULL, 10) % 400),
				     .body = body,
				     .body_len = size - (size_t)(body - text),
				     .header = header};
	struct aws_response response = {.status = http.status, .sent = true};

	if (http.status < 300)
		read_success(&http, &response);
	else
		read_error(&http, &response);
	enum cloudwatch_verdict verdict = cloudwatch_judge(&response);
	// Nothing counts as accepted without a word of the service, and no refusal is without a text.
	CHECK(verdict != CLOUDWATCH_ACCEPTED || response.body ||
	      str_equal(response.error_code, "DataAlreadyAcceptedException"));
	CHECK(verdict == CLOUDWATCH_ACCEPTED || *response.error.message);
	CHECK(http.status < 500 || verdict == CLOUDWATCH_RETRY || *response.error_code);
	check_rejected(response.body);
	check_rejected(response.details);
	_cleanup_free_ char *said = cloudwatch_error("CreateLogStream", &response);
	CHECK(!str_empty(said));
	json_object_put(response.body);
	json_object_put(response.details);

	struct credentials_fetch fetch = {.done = on_credentials_done};
	given = 0;
	CHECK(credentials_provider_http.cancel);
	on_answer(&http, &fetch);
	CHECK(given == 1);
	return 0;
}
