#include "agent/endpoint/server/audit.h"
#include "agent/endpoint/server/http_parse.h"
#include "agent/endpoint/server/json_out.h"
#include "agent/endpoint/server/served.h"
#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GET "GET /x HTTP/1.1\r\n"
#define HOST "Host: h\r\n"

static void test_heads(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int result; // 1: taken whole
		bool keep_alive;
	} cases[] = {
		{GET HOST "\r\n", 1, true},
		{"GET /x HTTP/1.1\nHost: h\n\n", 1, true},
		{"\r\n" GET HOST "\r\n", 1, true},
		{"", 0, false},
		{"GET", 0, false},
		{GET HOST "\r", 0, false},
		{GET "\r\n", -400, false}, // no Host
		{GET HOST HOST "\r\n", -400, false},
		{"GET /x HTTP/1.0\r\n\r\n", 1, false},
		{"GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 1, true},
		{GET HOST "Connection: foo, close\r\n\r\n", 1, false},
		{"GET /x HTTP/2.0\r\n", -505, false},
		{"GET /x HTTP/1.10\r\n", -400, false},
		{"GET /x HTTX/1.1\r\n", -400, false},
		{"GET /x y HTTP/1.1\r\n", -400, false},
		{"GET /x\r\n", -400, false},
		{"G@T /x HTTP/1.1\r\n", -400, false},
		{" GET /x HTTP/1.1\r\n", -400, false},
		{GET "Host : h\r\n\r\n", -400, false},
		{GET HOST " folded\r\n\r\n", -400, false},
		{GET HOST ": x\r\n\r\n", -400, false},
		{GET HOST "no colon\r\n\r\n", -400, false},
		{GET HOST "X: a\001b\r\n\r\n", -400, false},
		{GET HOST "X: a\tb\r\n\r\n", 1, true},
		{GET HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 1, true},
		{GET HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", -400, false},
		{GET HOST "Content-Length: -1\r\n\r\n", -400, false},
		{GET HOST "Content-Length: 0x5\r\n\r\n", -400, false},
		{GET HOST "Content-Length: 99999999999999999999\r\n\r\n", -400, false},
		{GET HOST "Content-Length:\r\n\r\n", -400, false},
		{GET HOST "Transfer-Encoding: chunked\r\n\r\n", 1, true},
		{GET HOST "Transfer-Encoding: gzip\r\n\r\n", -501, false},
		{GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", -400, false},
		{GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -400, false},
		{GET HOST "Expect: 100-continue\r\n\r\n", 1, true},
		{GET HOST "Expect: tea\r\n\r\n", -417, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_head head;
		int want = cases[i].result == 1 ? (int)strlen(cases[i].text) : cases[i].result;
		int got = http_parse_head(cases[i].text, strlen(cases[i].text), &head);
		if (got != want)
			print_error("case %zu: %s", i, cases[i].text);
		assert_int_equal(got, want);
		if (got <= 0)
			continue;
		assert_int_equal(head.keep_alive, cases[i].keep_alive);
		// Every shorter piece asks for more.
		for (size_t n = 0; n < (size_t)got; n++)
			assert_int_equal(http_parse_head(cases[i].text, n, &head), 0);
	}
}

static void test_head_size(void **state)
{
	(void)state;
	struct http_head head;
	char *text = xmalloc(HTTP_HEAD_MAX + 2);
	int n = snprintf(text, HTTP_HEAD_MAX, GET HOST "X: ");
	memset(text + n, 'a', (size_t)(HTTP_HEAD_MAX - n));
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX - 1, &head), 0);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX, &head), -431);
	memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX, &head), HTTP_HEAD_MAX);
	free(text);
}

static void test_head_fields(void **state)
{
	(void)state;
	struct http_head head;
	static const char text[] = "POST /v1?id=a HTTP/1.1\r\nhost: x\r\nUSER-AGENT:  aws cli/2 \r\n"
				   "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 2\r\nContent-Length: 7\r\n\r\n";
	assert_true(http_parse_head(text, sizeof(text) - 1, &head) > 0);
	assert_int_equal(head.method.len, 4);
	assert_int_equal(head.target.len, 8);
	assert_memory_equal(head.user_agent.data, "aws cli/2", head.user_agent.len);
	assert_int_equal(head.user_agent.len, 9);
	assert_memory_equal(head.forwarded_for.data, "10.0.0.1", head.forwarded_for.len);
	assert_int_equal(head.content_length, 7);
}

static void test_targets(void **state)
{
	(void)state;
	static const struct {
		const char *target, *path, *clean, *escaped;
		const char *query; // NULL: none
	} cases[] = {
		{"/v2/credentials/%2e%2e/x", "/v2/credentials/../x", "/v2/x", "/v2/x", NULL},
		{"/v2/credentials//?a=b", "/v2/credentials//", "/v2/credentials/", "/v2/credentials/", "a=b"},
		{"/a/./b/..?", "/a/./b/..", "/a", "/a", ""},
		{"/..", "/..", "/", "/", NULL},
		{"/../../a/", "/../../a/", "/a/", "/a/", NULL},
		{"/a%20b%3f%25", "/a b?%", "/a b?%", "/a%20b%3F%25", NULL},
		{"http://host/v1/tasks?x", "/v1/tasks", "/v1/tasks", "/v1/tasks", "x"},
		{"HTTP://host", "", "/", "/", NULL},
		{"//x", "//x", "/x", "/x", NULL},
		{"x", NULL, NULL, NULL, NULL},
		{"*", NULL, NULL, NULL, NULL},
		{"", NULL, NULL, NULL, NULL},
		{"/a%2", NULL, NULL, NULL, NULL},
		{"/a%zz", NULL, NULL, NULL, NULL},
		{"/a\tb", NULL, NULL, NULL, NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char path[HTTP_HEAD_MAX + 1], clean[HTTP_HEAD_MAX + 2], escaped[256];
		size_t len;
		struct text query;
		bool ok =
			http_parse_target((struct text){cases[i].target, strlen(cases[i].target)}, path, &len, &query);
		assert_int_equal(ok, cases[i].path != NULL);
		if (!ok)
			continue;
		assert_string_equal(path, cases[i].path);
		assert_int_equal(len, strlen(path));
		size_t clean_len = http_clean_path(path, len, clean);
		assert_string_equal(clean, cases[i].clean);
		http_escape_path(clean, clean_len, escaped);
		assert_string_equal(escaped, cases[i].escaped);
		assert_int_equal(query.data != NULL, cases[i].query != NULL);
		if (cases[i].query)
			assert_int_equal(query.len, strlen(cases[i].query));
	}
}

static void test_queries(void **state)
{
	(void)state;
	static const struct {
		const char *query, *value;
	} cases[] = {
		{"id=a", "a"},        {"x=1&id=a%2Fb+c", "a/b c"},
		{"id=a&id=b", "a"},   {"id", ""},
		{"id=", ""},          {"", NULL},
		{"idx=a", NULL},      {"i%64=a", "a"},
		{"&&id=a", "a"},      {"id=%zz&id=b", "b"},
		{"id=a;x&id=b", "b"}, {"=a", NULL},
		{"id=a=b", "a=b"},    {"ID=a", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char out[64];
		size_t len = 99;
		bool ok = http_query_get((struct text){cases[i].query, strlen(cases[i].query)}, "id", out, &len);
		assert_int_equal(ok, cases[i].value != NULL);
		if (ok) {
			assert_string_equal(out, cases[i].value);
			assert_int_equal(len, strlen(out));
		}
	}
	char out[4];
	size_t len;
	assert_false(http_query_get((struct text){NULL, 0}, "id", out, &len));
}

static void test_chunks(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int rest;
	} cases[] = {
		{"0\r\n\r\n", 0},
		{"5\r\nhello\r\n0\r\n\r\nGET", 3},
		{"5;ext=1\r\nhello\r\n0\r\n\r\n", 0},
		{"a\nhello12345\n0\n\n", 0},
		{"0\r\nTrailer: x\r\n\r\n", 0},
		{"\r\n", -400},
		{"x\r\n", -400},
		{"1\r\nhello", -400},
		{"123456789\r\n", -413},
		{"10001\r\n", -413},
		{"5 \r\nhello\r\n0\r\n\r\n", 0},
		{"0\r\nA: b\r\nC: d\r\n\r\nZ", 1},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].text);
		for (size_t piece = 1; piece <= len; piece++) {
			struct http_chunks chunks = {0};
			size_t at = 0;
			int r = 0;
			while (at < len && chunks.state != CHUNK_DONE && r >= 0) {
				r = http_chunks_feed(&chunks, cases[i].text + at, len - at < piece ? len - at : piece);
				at += r > 0 ? (size_t)r : 0;
			}
			if (cases[i].rest < 0) {
				assert_int_equal(r, cases[i].rest);
			} else {
				assert_int_equal(chunks.state, CHUNK_DONE);
				assert_int_equal(len - at, cases[i].rest);
			}
		}
	}
}

static void test_random_requests(void **state)
{
	(void)state;
	static const char alphabet[] = "GET /%2.:; \r\n\r\nHost:HTTP/1.1chunked&=?*\001\377";
	srand(2);
	for (int round = 0; round < 50000; round++) {
		char text[128], path[HTTP_HEAD_MAX + 1], clean[HTTP_HEAD_MAX + 2], escaped[512];
		size_t len = (size_t)rand() % sizeof(text), path_len;
		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		struct http_head head;
		struct text query;
		struct http_chunks chunks = {0};
		http_parse_head(text, len, &head);
		http_chunks_feed(&chunks, text, len);
		if (http_parse_target((struct text){text, len}, path, &path_len, &query)) {
			size_t n = http_clean_path(path, path_len, clean);
			assert_true(n >= 1 && n <= path_len + 1 && clean[0] == '/');
			char again[HTTP_HEAD_MAX + 2];
			assert_int_equal(http_clean_path(clean, n, again), n);
			http_escape_path(clean, n, escaped);
			http_query_get(query, "id", path, &path_len);
		}
	}
}

static void test_audit_lines(void **state)
{
	(void)state;
	char line[AUDIT_LINE_MAX + 1];
	struct audit_record r = {.wall_ms = 1767323045000,
				 .status = 200,
				 .source = "172.17.0.3:51234",
				 .path = {"/v2/credentials/secret-id", 25},
				 .user_agent = {"aws-cli/2.0", 11},
				 .task_arn = "arn:aws:ecs:us-west-2:123456789012:task/default/abc",
				 .event_type = "GetCredentials",
				 .cluster = "default",
				 .instance_arn = "arn:aws:ecs:us-west-2:123456789012:container-instance/default/def"};
	line[audit_format(line, &r)] = 0;
	assert_string_equal(line, "2026-01-02T03:04:05Z 200 172.17.0.3:51234 \"/v2/credentials\" \"aws-cli/2.0\" "
				  "arn:aws:ecs:us-west-2:123456789012:task/default/abc GetCredentials 2 default "
				  "arn:aws:ecs:us-west-2:123456789012:container-instance/default/def\n");
	r.cluster = r.instance_arn = "";
	line[audit_format(line, &r)] = 0;
	assert_true(str_ends(line, " GetCredentials 2 - -\n"));
	r.status = 400;
	r.source = "127.0.0.1:40000";
	r.path = (struct text){"/v1/credentials", 15};
	r.user_agent = (struct text){"", 0};
	r.task_arn = r.event_type = NULL;
	line[audit_format(line, &r)] = 0;
	assert_string_equal(line, "2026-01-02T03:04:05Z 400 127.0.0.1:40000 \"/v1/credentials\" \"\" - \n");
	// What a client sends can neither end the line nor the quotes.
	r.path = (struct text){"/a\n\"\\\177", 6};
	line[audit_format(line, &r)] = 0;
	assert_string_equal(line, "2026-01-02T03:04:05Z 400 127.0.0.1:40000 \"/a\\x0a\\\"\\\\\\x7f\" \"\" - \n");
}

static void test_json_strings(void **state)
{
	(void)state;
	static const struct {
		const char *text, *json;
	} cases[] = {
		{"", "\"\""},
		{"a/b+c==", "\"a/b+c==\""},
		{"<&>\"\\", "\"\\u003c\\u0026\\u003e\\\"\\\\\""},
		{"\n\r\t\001\b\f", "\"\\n\\r\\t\\u0001\\b\\f\""},
		{"\xe2\x80\xa8\xe2\x80\xa9\xc3\xa9", "\"\\u2028\\u2029\xc3\xa9\""},
		{"\xff\xc3", "\"\\ufffd\\ufffd\""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *out = xmalloc(json_out_max(cases[i].text) + 1);
		*json_out_string(out, cases[i].text) = 0;
		assert_string_equal(out, cases[i].json);
		free(out);
	}
}

// Before ecsd has said what there is, no id is unknown: a task asks again after 503, but takes 400 for the last word.
static void test_not_filled_yet(void **state)
{
	(void)state;
	struct served served = {.credentials = credential_store_new(),
				.limiter = rate_limiter_new(1000, 1000),
				.cluster = (char *)"",
				.instance_arn = (char *)"",
				.audit_fd = -1};
	static const char get[] = GET HOST "\r\n", path[] = "/v2/credentials/some-1";
	struct http_head head;
	assert_int_equal(http_parse_head(get, strlen(get), &head), strlen(get));
	struct http_request request = {.head = &head, .path = path, .path_len = strlen(path), .remote = "1.2.3.4:5"};
	struct http_reply reply = {.status = 200};
	serve_credentials(&request, &reply, &served);
	assert_int_equal(reply.status, 503);
	assert_non_null(strstr(reply.body, "\"code\":\"CredentialsUninitialized\""));
	served.filled = true;
	serve_credentials(&request, &reply, &served);
	assert_int_equal(reply.status, 400);
	assert_non_null(strstr(reply.body, "\"code\":\"InvalidIdInRequest\""));
	rate_limiter_free(served.limiter);
	credential_store_free(served.credentials);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),           cmocka_unit_test(test_head_size),
		cmocka_unit_test(test_head_fields),     cmocka_unit_test(test_targets),
		cmocka_unit_test(test_queries),         cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_random_requests), cmocka_unit_test(test_audit_lines),
		cmocka_unit_test(test_json_strings),    cmocka_unit_test(test_not_filled_yet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
