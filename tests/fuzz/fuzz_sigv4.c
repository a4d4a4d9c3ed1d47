// Canonical requests of any path, query and header. Input: lines for path, query, header values and body.
#include "common/aws/sigv4.h"
#include "fuzz.h"

static const struct aws_credentials credentials = {
	.access_key_id = "AKIDEXAMPLE", .secret_access_key = "secret", .session_token = "token"};

static void check_lines(const char *canonical, const char *path_end)
{
	// No text of the request adds a line of its own: the path and the query are encoded.
	CHECK(path_end && path_end > canonical);
	size_t lines = 0;
	for (const char *c = canonical; *c; c++)
		lines += *c == '\n';
	// method, path, query, host + x-amz-date + token + two given headers, empty, signed headers, hash
	CHECK(lines == 3 + 5 + 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *rest = text, *part[4];
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		part[i] = rest ? strsep(&rest, "\n") : "";
	struct http_header headers[] = {{"X-One", part[2]}, {"x-TWO", part[3]}, {"X-one", part[2]}};
	struct sigv4_request request = {.method = "GET",
					.host = "example.amazonaws.com",
					.path = part[0],
					.query = part[1],
					.headers = headers,
					.header_count = ARRAY_SIZE(headers),
					.body = rest,
					.body_len = rest ? strlen(rest) : 0,
					.region = "us-east-1",
					.service = "service",
					.wall_ms = 1440938160000,
					.double_encode_path = true,
					.expires_s = 60};
	struct sigv4_result one, two, query;
	sigv4_sign_headers(&request, &credentials, &one);
	sigv4_sign_headers(&request, &credentials, &two);
	CHECK(strlen(one.signature) == 64 && strcmp(one.signature, two.signature) == 0);
	CHECK(one.header_count <= SIGV4_EXTRA_HEADERS_MAX && str_starts(one.canonical_request, "GET\n/"));
	check_lines(one.canonical_request, strchr(one.canonical_request, '\n'));
	sigv4_sign_query(&request, &credentials, &query);
	CHECK(strlen(query.signature) == 64 && strstr(query.query, "X-Amz-Signature="));
	sigv4_result_free(&one);
	sigv4_result_free(&two);
	sigv4_result_free(&query);
	request.keep_path = true;
	request.double_encode_path = false;
	sigv4_sign_headers(&request, &credentials, &one);
	sigv4_result_free(&one);
	return 0;
}
