// ECR tokens: one request for all who ask at the same time, the cache and its limits, broken answers.
#include "test_aws_server.h"

#include "common/aws/aws_json.h"
#include "aws/ecr.h"

static struct server server;
static struct ecr *ecr;
static struct credentials_chain *chain;
static char answer[2048];
static int status;
static size_t waiting;
static char got[4096]; // all answers, one a line

static void on_request(struct server *s, struct evhttp_request *request)
{
	(void)s;
	evhttp_add_header(evhttp_request_get_output_headers(request), "x-amzn-RequestId", "r-1");
	server_reply(request, status, answer);
}

static int setup(void **state)
{
	(void)state;
	server_start(&server, 10, on_request);
	chain = credentials_chain_fixed(
		&(struct aws_credentials){.access_key_id = (char *)"AKID", .secret_access_key = (char *)"s"});
	ecr = ecr_new(&(struct ecr_options){
		.loop = server.loop, .http = server.client, .credentials = chain, .user_agent = "test"});
	*got = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ecr = ecr_free(ecr);
	chain = credentials_chain_free(chain);
	server_stop(&server);
	return 0;
}

static void on_login(const struct ecr_login *login, const char *why, void *arg)
{
	size_t len = strlen(got);
	(void)arg;
	if (login)
		snprintf(got + len, sizeof(got) - len, "%s %s %s\n", login->username, login->password, login->server);
	else
		snprintf(got + len, sizeof(got) - len, "%s\n", why);
	if (--waiting == 0)
		loop_stop(server.loop);
}

static struct ecr_ask ask_of(const char *role, const char *registry)
{
	static const struct aws_credentials keys = {.access_key_id = (char *)"ASIA", .secret_access_key = (char *)"t"};
	return (struct ecr_ask){.region = "us-west-2",
				.registry_id = registry,
				.endpoint = server.url,
				.image = "i:1",
				.role = role,
				.credentials = role ? &keys : NULL};
}

static void ask(const char *role, const char *registry)
{
	struct ecr_ask it = ask_of(role, registry);
	waiting++;
	ecr_get(ecr, &it, on_login, NULL);
}

static void expect(const char *text, size_t requests)
{
	loop_run(server.loop);
	assert_string_equal(got, text);
	assert_int_equal(server.count, requests);
	*got = '\0';
}

// QVdTOnBhOnNz: "AWS:pa:ss"
static void good(int64_t lifetime_s)
{
	status = 200;
	snprintf(answer, sizeof(answer),
		 "{\"authorizationData\":[{\"authorizationToken\":\"QVdTOnBhOnNz\",\"proxyEndpoint\":\"https://p\","
		 "\"expiresAt\":%lld.5}]}",
		 (long long)(wall_ms() / 1000 + lifetime_s));
}

static void one_request_for_all(void **state)
{
	(void)state;
	good(12 * 3600);
	ask(NULL, "1");
	ask(NULL, "1");
	expect("AWS pa:ss https://p\nAWS pa:ss https://p\n", 1);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 1);
	ask("role", "1"); // another role, another registry: other tokens
	expect("AWS pa:ss https://p\n", 2);
	ask(NULL, "2");
	expect("AWS pa:ss https://p\n", 3);
	struct ecr_ask it = ask_of(NULL, "1");
	ecr_forget(ecr, &it);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 4);
}

static void a_token_near_its_end_is_not_reused(void **state)
{
	(void)state;
	good(29 * 60);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 1);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 2);
	good(61 * 60);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 3);
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 3);
}

static void cache_has_a_limit(void **state)
{
	(void)state;
	good(12 * 3600);
	for (int i = 0; i <= ECR_CACHE_MAX; i++) {
		char registry[16];
		snprintf(registry, sizeof(registry), "%d", i);
		ask(NULL, registry);
		loop_run(server.loop);
	}
	*got = '\0';
	ask(NULL, "1"); // was used least recently but for "0"
	expect("AWS pa:ss https://p\n", ECR_CACHE_MAX + 1);
	ask(NULL, "0");
	expect("AWS pa:ss https://p\n", ECR_CACHE_MAX + 2);
}

static void broken_answers(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *answer, *want;
	} cases[] = {
		{200, "{}", "unexpected number of results in AuthorizationData (0)\n"},
		{200, "{\"authorizationData\":7}", "unexpected number of results in AuthorizationData (0)\n"},
		{200, "{\"authorizationData\":[{},{}]}", "unexpected number of results in AuthorizationData (2)\n"},
		{200, "{\"authorizationData\":[null]}",
		 "ecr auth: missing AuthorizationData in ECR response for i:1\n"},
		{200, "{\"authorizationData\":[{\"proxyEndpoint\":\"p\"}]}",
		 "ecr auth: AuthorizationData is nil for i:1\n"},
		{200, "{\"authorizationData\":[{\"authorizationToken\":\"*\",\"proxyEndpoint\":\"p\"}]}",
		 "ecr auth: the authorization token for i:1 cannot be read\n"},
		{400, "{\"__type\":\"AccessDeniedException\",\"message\":\"no\"}",
		 "operation error ECR: GetAuthorizationToken, https response error StatusCode: 400, RequestID: r-1, "
		 "api "
		 "error AccessDeniedException: no\n"},
		{400, "{\"__type\":\"InvalidParameterException\",\"message\":\"bad\"}",
		 "operation error ECR: GetAuthorizationToken, https response error StatusCode: 400, RequestID: r-1, "
		 "InvalidParameterException: bad\n"},
		{500, "{\"__type\":\"ServerException\",\"message\":\"x\"}",
		 "operation error ECR: GetAuthorizationToken, exceeded maximum number of attempts, 3, https response "
		 "error StatusCode: 500, RequestID: r-1, ServerException: x\n"},
	};
	size_t requests = 0;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		status = cases[i].status;
		snprintf(answer, sizeof(answer), "%s", cases[i].answer);
		ask(NULL, "1");
		requests += status == 500 ? 3 : 1;
		expect(cases[i].want, requests);
	}
}

static void cancelled_asks_hear_nothing(void **state)
{
	(void)state;
	good(12 * 3600);
	struct ecr_ask it = ask_of(NULL, "1");
	ecr_cancel(ecr_get(ecr, &it, on_login, NULL));
	ask(NULL, "1");
	expect("AWS pa:ss https://p\n", 1);
	ecr_cancel(ecr_get(ecr, &it, on_login, NULL)); // from the cache
	ecr_get(ecr, &it, on_login, NULL);             // ecr_free cancels it
}

static const char *nothing(const char *name)
{
	(void)name;
	return NULL;
}

static void endpoints(void **state)
{
	(void)state;
	static const struct {
		enum aws_service service;
		const char *region, *override, *want;
	} cases[] = {
		{AWS_ECR, "us-west-2", NULL, "https://api.ecr.us-west-2.amazonaws.com"},
		{AWS_ECR, "cn-north-1", "", "https://api.ecr.cn-north-1.amazonaws.com.cn"},
		{AWS_ECR, "us-west-2", "ecr.test:8443", "https://ecr.test:8443"},
		{AWS_ECR, "us-west-2", "http://ecr.test/", "http://ecr.test"},
		{AWS_SECRETS_MANAGER, "eu-west-1", NULL, "https://secretsmanager.eu-west-1.amazonaws.com"},
		{AWS_CLOUDWATCH_LOGS, "eu-west-1", NULL, "https://logs.eu-west-1.amazonaws.com"},
		{AWS_CLOUDWATCH_LOGS, "us-isob-east-1", "", "https://logs.us-isob-east-1.sc2s.sgov.gov"},
		{AWS_CLOUDWATCH_LOGS, "eusc-de-east-1", NULL, "https://logs.eusc-de-east-1.amazonaws.eu"},
		{AWS_CLOUDWATCH_LOGS, "eu-west-1", "http://10.0.0.1:8080", "http://10.0.0.1:8080"},
		{AWS_ECR, "evil.example/", NULL, NULL},
		{AWS_ECR, "", NULL, NULL},
		{AWS_ECR, "us-west-2", "https://user@host", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err;
		_cleanup_free_ char *found =
			aws_service_endpoint(cases[i].service, cases[i].region, cases[i].override, nothing, &err);
		assert_true(str_equal(found, cases[i].want));
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {T(one_request_for_all),         T(a_token_near_its_end_is_not_reused),
					   T(cache_has_a_limit),           T(broken_answers),
					   T(cancelled_asks_hear_nothing), cmocka_unit_test(endpoints)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
