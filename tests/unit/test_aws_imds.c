// Instance metadata: tokens, the fall-back to version 1, retries, bounds.
#include "test_aws_server.h"
#include "test_slow.h"

#include "common/aws/imds.h"
#include <errno.h>

#define SCALE (under_valgrind() ? 0.5 : 5.0)

static struct server server;
static struct imds *imds;
// How the server behaves: what a token request and the others are answered with, in turn; the last number stays.
// 0: not at all.
static int token_status[4], get_status[8];
static size_t token_count, get_count, tokens_given;
static const char *body;
static struct {
	size_t count;
	char body[128];
	long status;
	struct error err;
} got;
static size_t wanted;

static int next(const int *list, size_t size, size_t *count)
{
	size_t i = (*count)++;

	while (i > 0 && (i >= size || !list[i]))
		i--;
	return list[i];
}

static void answer(struct server *s, struct evhttp_request *request)
{
	bool put = evhttp_request_get_command(request) == EVHTTP_REQ_PUT;
	int status = put ? next(token_status, ARRAY_SIZE(token_status), &token_count)
			 : next(get_status, ARRAY_SIZE(get_status), &get_count);

	if (status == 0) {
		server_hold(s, request);
		return;
	}
	if (!put) {
		server_reply(request, status, body);
		return;
	}
	char token[32];
	tokens_given += status == 200;
	snprintf(token, sizeof(token), "token-%zu", tokens_given);
	assert_string_equal(server_header(request, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"), "300");
	evhttp_add_header(evhttp_request_get_output_headers(request), "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300");
	server_reply(request, status, token);
}

static void on_got(const char *text, long status, const struct error *err, void *arg)
{
	(void)arg;
	snprintf(got.body, sizeof(got.body), "%s", text ? text : "(none)");
	got.status = status;
	got.err = err ? *err : (struct error){0};
	assert_true((text != NULL) == (err == NULL));
	if (++got.count >= wanted)
		loop_stop(server.loop);
}

static int setup(void **state)
{
	(void)state;
	static const char *const variables[] = {"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_V1_DISABLED",
						"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"};
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	memset(token_status, 0, sizeof(token_status));
	memset(get_status, 0, sizeof(get_status));
	memset(&got, 0, sizeof(got));
	token_status[0] = get_status[0] = 200;
	token_count = get_count = tokens_given = 0;
	body = "value";
	server_start(&server, SCALE, answer);
	char url[80];
	snprintf(url, sizeof(url), "%s/", server.url);
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, 1);
	imds = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imds_free(imds);
	server_stop(&server);
	return 0;
}

static void start(void)
{
	imds = imds_new(server.loop, server.client);
}

static void get_and_wait(const char *path)
{
	wanted = got.count + 1;
	imds_get(imds, path, on_got, NULL);
	assert_int_equal(got.count, wanted - 1); // never inside the call
	assert_int_equal(loop_run(server.loop), 0);
	assert_int_equal(got.count, wanted);
}

static void expect_request(size_t i, const char *method, const char *path, const char *token)
{
	assert_true(i < server.count);
	assert_string_equal(server.seen[i].method, method);
	assert_string_equal(server.seen[i].path, path);
	assert_string_equal(server.seen[i].token, token);
}

static void one_token_for_all(void **state)
{
	(void)state;
	start();
	wanted = 3;
	imds_get(imds, "meta-data/mac", on_got, NULL);
	imds_get(imds, "user-data", on_got, NULL);
	imds_get(imds, "dynamic/instance-identity/document", on_got, NULL);
	loop_run(server.loop);
	assert_int_equal(server.count, 4);
	expect_request(0, "PUT", "/latest/api/token", "");
	for (size_t i = 1; i < 4; i++)
		assert_string_equal(server.seen[i].token, "token-1");
	get_and_wait("meta-data/instance-id");
	assert_string_equal(got.body, "value");
	assert_int_equal(got.status, 200);
	expect_request(4, "GET", "/latest/meta-data/instance-id", "token-1");
	assert_string_equal(server.seen[4].attempt, "attempt=1; max=5");
}

static void falls_back_to_v1(void **state)
{
	(void)state;
	static const int statuses[] = {403, 404, 405, 0};
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		token_status[0] = statuses[i];
		token_count = get_count = server.count = 0;
		imds_free(imds);
		start();
		get_and_wait("meta-data/mac");
		assert_string_equal(got.body, "value");
		get_and_wait("meta-data/mac");
		assert_int_equal(server.count, 3);
		expect_request(1, "GET", "/latest/meta-data/mac", "");
		expect_request(2, "GET", "/latest/meta-data/mac", "");
	}
}

static void v1_may_be_forbidden(void **state)
{
	(void)state;
	setenv("AWS_EC2_METADATA_V1_DISABLED", "true", 1);
	token_status[0] = 404;
	start();
	get_and_wait("meta-data/mac");
	assert_int_equal(got.err.code, EACCES);
	assert_non_null(strstr(got.err.message, "AWS_EC2_METADATA_V1_DISABLED"));
	assert_int_equal(got.status, 404);
	assert_int_equal(server.count, 1);
	// No answer is not a refusal: all attempts are made.
	token_status[0] = 0;
	get_and_wait("meta-data/mac");
	assert_true(got.err.code == ETIME || got.err.code == ETIMEDOUT); // the last attempt's end, or the operation's
	assert_true(server.count >= 4 && server.count <= 6);
}

static void bad_request_is_final(void **state)
{
	(void)state;
	token_status[0] = 400;
	start();
	get_and_wait("meta-data/mac");
	assert_int_equal(got.err.code, EPROTO);
	assert_string_equal(got.err.message,
			    "instance metadata meta-data/mac: no token for instance metadata: HTTP 400");
	assert_int_equal(server.count, 1);
}

static void token_server_error_is_retried(void **state)
{
	(void)state;
	token_status[0] = 500;
	token_status[1] = 503;
	token_status[2] = 200;
	start();
	get_and_wait("meta-data/mac");
	assert_string_equal(got.body, "value");
	assert_int_equal(server.count, 4);
	assert_string_equal(server.seen[2].attempt, "attempt=3; max=5");
}

static void refused_token_is_replaced(void **state)
{
	(void)state;
	get_status[1] = 401;
	get_status[2] = 200;
	start();
	get_and_wait("meta-data/mac");
	get_and_wait("meta-data/mac");
	assert_string_equal(got.body, "value");
	assert_int_equal(server.count, 5);
	expect_request(3, "PUT", "/latest/api/token", "");
	expect_request(4, "GET", "/latest/meta-data/mac", "token-2");
}

static void unauthorized_brings_tokens_back(void **state)
{
	(void)state;
	token_status[0] = 404;
	token_status[1] = 200;
	get_status[0] = 401;
	get_status[1] = 200;
	start();
	get_and_wait("meta-data/mac");
	assert_string_equal(got.body, "value");
	expect_request(3, "GET", "/latest/meta-data/mac", "token-1");
}

static void not_found_is_an_answer(void **state)
{
	(void)state;
	get_status[0] = 404;
	start();
	get_and_wait("meta-data/outpost-arn");
	assert_int_equal(got.status, 404);
	assert_int_equal(got.err.code, ENOENT);
	assert_int_equal(server.count, 2);
	get_status[0] = 400; // any other refusal is final as well
	get_and_wait("meta-data/outpost-arn");
	assert_int_equal(got.status, 400);
	assert_int_equal(server.count, 3);
}

static void server_error_is_retried(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++)
		get_status[i] = 500;
	get_status[4] = 200;
	start();
	get_and_wait("meta-data/mac");
	assert_string_equal(got.body, "value");
	assert_string_equal(server.seen[5].attempt, "attempt=5; max=5");
	get_count = 0;
	get_status[4] = 500;
	get_and_wait("meta-data/mac");
	assert_int_equal(got.status, 500);
	assert_string_equal(got.err.message, "instance metadata meta-data/mac: HTTP 500");
	assert_int_equal(server.count, 11);
}

static void silence_ends_in_time(void **state)
{
	(void)state;
	get_status[0] = 0;
	start();
	uint64_t begin = loop_now(server.loop);
	get_and_wait("meta-data/mac");
	assert_true(got.err.code == ETIME || got.err.code == ETIMEDOUT);
	assert_int_equal(got.status, 0);
	assert_true(loop_now(server.loop) - begin <= 5000 + 500);
}

static void nobody_there(void **state)
{
	(void)state;
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	start();
	get_and_wait("meta-data/mac");
	assert_int_equal(got.err.code, ECONNREFUSED);
	assert_int_equal(got.status, 0);
}

static void large_body_is_refused(void **state)
{
	(void)state;
	_cleanup_free_ char *large = xmalloc(IMDS_BODY_MAX + 2);
	memset(large, 'x', IMDS_BODY_MAX + 1);
	large[IMDS_BODY_MAX + 1] = '\0';
	body = large;
	start();
	get_and_wait("user-data");
	assert_int_equal(got.err.code, EMSGSIZE);
	assert_int_equal(server.count, 2);
	body = large + 1;
	get_and_wait("user-data");
	assert_int_equal(got.status, 200);
}

static void bytes_are_for_user_data_only(void **state)
{
	(void)state;
	start();
	body = "i-\377";
	get_and_wait("user-data");
	assert_string_equal(got.body, body);
	get_and_wait("meta-data/instance-id");
	assert_string_equal(got.body, "(none)");
	assert_string_equal(got.err.message, "instance metadata meta-data/instance-id: the answer is not UTF-8");
}

static void disabled(void **state)
{
	(void)state;
	setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
	start();
	get_and_wait("meta-data/mac");
	assert_int_equal(got.err.code, ENOTSUP);
	assert_int_equal(server.count, 0);
}

static void on_never(const char *text, long status, const struct error *err, void *arg)
{
	(void)text, (void)status, (void)err, (void)arg;
	fail_msg("a cancelled operation called back");
}

static void on_free_imds(const char *text, long status, const struct error *err, void *arg)
{
	(void)text, (void)status, (void)err, (void)arg;
	imds = imds_free(imds);
	loop_stop(server.loop);
}

static void cancel_and_free(void **state)
{
	(void)state;
	int mark;
	start();
	imds_get(imds, "meta-data/a", on_never, &mark);
	imds_get(imds, "meta-data/b", on_free_imds, NULL);
	imds_get(imds, "meta-data/c", on_never, &mark);
	imds_cancel(imds, &mark);
	loop_run(server.loop);
	assert_null(imds);
	start(); // freed with operations under way
	imds_get(imds, "meta-data/a", on_never, NULL);
	imds = imds_free(imds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_token_for_all, setup, teardown),
		cmocka_unit_test_setup_teardown(falls_back_to_v1, setup, teardown),
		cmocka_unit_test_setup_teardown(v1_may_be_forbidden, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_request_is_final, setup, teardown),
		cmocka_unit_test_setup_teardown(token_server_error_is_retried, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_token_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(unauthorized_brings_tokens_back, setup, teardown),
		cmocka_unit_test_setup_teardown(not_found_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(server_error_is_retried, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there, setup, teardown),
		cmocka_unit_test_setup_teardown(large_body_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_are_for_user_data_only, setup, teardown),
		cmocka_unit_test_setup_teardown(disabled, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_and_free, setup, teardown),
	};

	return cmocka_run_group_tests_name("imds", tests, NULL, NULL);
}
