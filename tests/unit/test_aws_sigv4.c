// Runs every case of AWS's Signature Version 4 test suite (tests/unit/sigv4) in header and in query form, and
// the signed header sets that ECS sees.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/aws/sigv4.h"
#include "common/json.h"
#include "common/util.h"
#include <dirent.h>
#include <strings.h>

#define SUITE "tests/unit/sigv4"
#define SUITE_CASES 38 // directories copied; fewer means that the test looks in the wrong place
#define HEADERS_MAX 16

struct parsed {
	char *text; // owns all strings below
	char *method, *path, *query, *host;
	struct http_header headers[HEADERS_MAX];
	size_t header_count;
	char *body;
};

static char *load(const char *directory, const char *name)
{
	_cleanup_free_ char *path = xasprintf(SUITE "/%s/%s", directory, name);
	size_t len;
	char *text = read_file(path, 65536, &len);

	if (!text)
		fail_msg("cannot read %s", path);
	return text;
}

// Lines that begin with white space continue the header before them, line break and all.
static void parse_headers(struct parsed *p, char *line)
{
	while (*line) {
		if (*line == '\n') {
			p->body = line + 1;
			return;
		}
		char *end = strchrnul(line, '\n');
		while (*end && (end[1] == ' ' || end[1] == '\t'))
			end = strchrnul(end + 1, '\n');
		bool last = !*end;
		*end = '\0';
		char *value = strchr(line, ':');
		assert_non_null(value);
		*value++ = '\0';
		if (strcasecmp(line, "Host") == 0) {
			p->host = value;
		} else {
			assert_true(p->header_count < HEADERS_MAX);
			p->headers[p->header_count++] = (struct http_header){line, value};
		}
		line = last ? end : end + 1;
	}
}

static void parse_request(struct parsed *p, char *text)
{
	*p = (struct parsed){.text = text, .body = ""};
	char *line_end = strchrnul(text, '\n');
	bool more = *line_end;
	*line_end = '\0';
	p->method = text;
	p->path = strchr(text, ' ');
	assert_non_null(p->path);
	*p->path++ = '\0';
	char *version = strrchr(p->path, ' '); // the path itself may hold a space
	assert_non_null(version);
	*version = '\0';
	p->query = strchr(p->path, '?');
	if (p->query)
		*p->query++ = '\0';
	if (more)
		parse_headers(p, line_end + 1);
}

static void assert_text(const char *directory, const char *file, const char *actual)
{
	_cleanup_free_ char *expected = load(directory, file);

	if (strcmp(str_trim(expected), actual) != 0)
		fail_msg("%s/%s\n--- expected\n%s\n--- actual\n%s", directory, file, expected, actual);
}

// The headers of header-signed-request.txt that the request did not have must be those given by the signer.
static void assert_given_headers(const char *directory, const struct parsed *request, const struct sigv4_result *result)
{
	struct parsed expected;
	parse_request(&expected, load(directory, "header-signed-request.txt"));

	assert_int_equal(expected.header_count, request->header_count + result->header_count);
	for (size_t i = 0; i < result->header_count; i++) {
		bool found = false;
		for (size_t j = 0; j < expected.header_count && !found; j++)
			found = strcasecmp(expected.headers[j].name, result->headers[i].name) == 0 &&
				strcmp(expected.headers[j].value, result->headers[i].value) == 0;
		if (!found)
			fail_msg("%s: header %s: %s is not in the signed request", directory, result->headers[i].name,
				 result->headers[i].value);
	}
	free(expected.text);
}

static void assert_given_query(const char *directory, const struct sigv4_result *result)
{
	struct parsed expected;
	parse_request(&expected, load(directory, "query-signed-request.txt"));
	assert_string_equal(result->query, expected.query);
	free(expected.text);
}

static void run_case(const char *directory, bool query_form)
{
	struct parsed parsed;
	struct sigv4_result result;
	struct error err = {0};
	_cleanup_free_ char *context_text = load(directory, "context.json");
	_cleanup_json_ json_object *context = json_parse(context_text, strlen(context_text), &err);
	int64_t when;

	if (!context)
		fail_msg("%s/context.json: %s", directory, err.message);
	parse_request(&parsed, load(directory, "request.txt"));
	assert_true(parse_rfc3339(json_get_string(context, "timestamp"), &when));
	json_object *keys = json_get(context, "credentials");
	struct aws_credentials credentials = {
		.access_key_id = (char *)json_get_string(keys, "access_key_id"),
		.secret_access_key = (char *)json_get_string(keys, "secret_access_key"),
		.session_token = (char *)json_get_string(keys, "token"),
	};
	struct sigv4_request request = {
		.method = parsed.method,
		.host = parsed.host,
		.path = parsed.path,
		.query = parsed.query,
		.headers = parsed.headers,
		.header_count = parsed.header_count,
		.body = parsed.body,
		.body_len = strlen(parsed.body),
		.region = json_get_string(context, "region"),
		.service = json_get_string(context, "service"),
		.wall_ms = when,
		.keep_path = !json_object_get_boolean(json_get(context, "normalize")),
		.double_encode_path = true,
		.sign_body_header = json_object_get_boolean(json_get(context, "sign_body")),
		.omit_session_token = json_object_get_boolean(json_get(context, "omit_session_token")),
		.expires_s = (uint32_t)json_object_get_int(json_get(context, "expiration_in_seconds")),
	};

	if (query_form)
		sigv4_sign_query(&request, &credentials, &result);
	else
		sigv4_sign_headers(&request, &credentials, &result);
	assert_text(directory, query_form ? "query-canonical-request.txt" : "header-canonical-request.txt",
		    result.canonical_request);
	assert_text(directory, query_form ? "query-string-to-sign.txt" : "header-string-to-sign.txt",
		    result.string_to_sign);
	assert_text(directory, query_form ? "query-signature.txt" : "header-signature.txt", result.signature);
	if (query_form)
		assert_given_query(directory, &result);
	else
		assert_given_headers(directory, &parsed, &result);
	sigv4_result_free(&result);
	free(parsed.text);
}

static void suite_header(void **state)
{
	run_case(*state, false);
}
static void suite_query(void **state)
{
	run_case(*state, true);
}

static const struct aws_credentials example_keys = {.access_key_id = "AKIDEXAMPLE", .secret_access_key = "secret"};

// The set the reference signs for an ECS call (transcripts/README.md).
static void ecs_call_signs_reference_headers(void **state)
{
	(void)state;
	static const struct http_header headers[] = {
		{"X-Amz-Target", "AmazonEC2ContainerServiceV20141113.CreateCluster"},
		{"Content-Type", "application/x-amz-json-1.1"},
		{"Content-Length", "2"},
		{"Amz-Sdk-Request", "attempt=1; max=3"},
		{"Amz-Sdk-Invocation-Id", "8a3e1b64-5e0e-4bb0-8d63-0f3a4c4a1e11"}};
	struct sigv4_request request = {.method = "POST",
					.host = "ecs.us-west-2.amazonaws.com",
					.path = "",
					.headers = headers,
					.header_count = ARRAY_SIZE(headers),
					.body = "{}",
					.body_len = 2,
					.region = "us-west-2",
					.service = "ecs",
					.double_encode_path = true};
	struct aws_credentials keys = example_keys;
	struct sigv4_result result;

	sigv4_sign_headers(&request, &keys, &result);
	assert_non_null(strstr(result.headers[1].value,
			       "SignedHeaders=amz-sdk-invocation-id;amz-sdk-request;content-length;"
			       "content-type;host;x-amz-date;x-amz-target, "));
	sigv4_result_free(&result);
	keys.session_token = "token";
	sigv4_sign_headers(&request, &keys, &result);
	assert_int_equal(result.header_count, 3);
	assert_non_null(strstr(result.headers[2].value, ";host;x-amz-date;x-amz-security-token;x-amz-target, "));
	sigv4_result_free(&result);
}

static void websocket_signs_host_and_date(void **state)
{
	(void)state;
	struct sigv4_request request = {.method = "GET",
					.host = "127.0.0.1:8443",
					.path = "/ws",
					.query = "b=DockerVersion%3A+20.10.24%2Bdfsg1&a=&b=1&c",
					.region = "us-west-2",
					.service = "ecs",
					.double_encode_path = true};
	struct sigv4_result result;

	sigv4_sign_headers(&request, &example_keys, &result);
	assert_string_equal(result.canonical_request,
			    "GET\n/ws\na=&b=1&b=DockerVersion%3A%2020.10.24%2Bdfsg1&c=\nhost:127.0.0.1:8443\n"
			    "x-amz-date:19700101T000000Z\n\nhost;x-amz-date\n"
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sigv4_result_free(&result);
}

static void odd_texts(void **state)
{
	(void)state;
	static const struct {
		const char *path, *query;
		bool keep, encode;
		const char *canonical;
	} cases[] = {
		{"", "", false, true, "GET\n/\n\n"},
		{"/a/../../b/./c/", NULL, false, true, "GET\n/b/c/\n\n"},
		{"/a/b/..", NULL, false, true, "GET\n/a\n\n"},
		{"/a%20b", NULL, false, true, "GET\n/a%2520b\n\n"},
		{"/a%20b//", NULL, true, false, "GET\n/a%20b//\n\n"},
		{"/", "x=%zz&&=v&%4", false, true, "GET\n/\n=v&%254=&x=%25zz\n"},
		{"/", "x=a%00%00b%41", false, true, "GET\n/\nx=a%00%00bA\n"},
		{"/", "a=b=c&a=%3d", false, true, "GET\n/\na=%3D&a=b%3Dc\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sigv4_request request = {.method = "GET",
						.host = "h",
						.path = cases[i].path,
						.query = cases[i].query,
						.region = "r",
						.service = "s",
						.keep_path = cases[i].keep,
						.double_encode_path = cases[i].encode};
		struct sigv4_result result;
		sigv4_sign_headers(&request, &example_keys, &result);
		if (!str_starts(result.canonical_request, cases[i].canonical))
			fail_msg("case %zu:\n%s\n", i, result.canonical_request);
		sigv4_result_free(&result);
	}
}

int main(void)
{
	struct CMUnitTest *tests = NULL;
	size_t count = 0, cases = 0;
	DIR *suite = opendir(SUITE);

	if (!suite) {
		fprintf(stderr, "run me from the project's root: no " SUITE "\n");
		return 1;
	}
	for (struct dirent *entry; (entry = readdir(suite));) {
		if (!strchr(entry->d_name, '-')) // LICENSE, NOTICE
			continue;
		tests = xreallocarray(tests, count + 2, sizeof(*tests));
		char *directory = xstrdup(entry->d_name);
		tests[count++] = (struct CMUnitTest){.name = xasprintf("%s, header", directory),
						     .test_func = suite_header,
						     .initial_state = directory};
		tests[count++] = (struct CMUnitTest){.name = xasprintf("%s, query", directory),
						     .test_func = suite_query,
						     .initial_state = directory};
		cases++;
	}
	closedir(suite);
	if (cases != SUITE_CASES) {
		fprintf(stderr, "%zu cases in " SUITE ", expected %d\n", cases, SUITE_CASES);
		return 1;
	}
	const struct CMUnitTest own[] = {
		cmocka_unit_test(ecs_call_signs_reference_headers),
		cmocka_unit_test(websocket_signs_host_and_date),
		cmocka_unit_test(odd_texts),
	};
	int failed = _cmocka_run_group_tests("sigv4 suite", tests, count, NULL, NULL) +
		     cmocka_run_group_tests_name("sigv4", own, NULL, NULL);
	for (size_t i = 0; i < count; i++) {
		free((char *)tests[i].name);
		if (i % 2)
			free(tests[i].initial_state);
	}
	free(tests);
	return failed;
}
