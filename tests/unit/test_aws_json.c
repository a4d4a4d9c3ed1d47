// Calls of the ECS API against a server in this process: headers, signature, errors, retries, limits; and the
// names of endpoints and of the agent.
#include "test_aws_server.h"

#include "common/aws/aws_json.h"
#include "common/aws/sigv4.h"
#include "common/version.h"
#include <errno.h>
#include <strings.h>
#include <sys/syscall.h>

static struct server server;
static struct credentials_chain *chain;
static struct aws_client *client;
static struct reply {
	int status;
	const char *error_type, *body;
} replies[8]; // in turn; the last stays
static size_t reply_count;
static char seen_key[64];      // access key of the last request
static int64_t server_ahead_s; // of the Date it gives
static int64_t stepped_s;      // by which this host's clock has been set
static int64_t seen_when;      // of the last request's signature
static bool renew_keys;        // a request gets the next one's key changed
static struct {
	size_t count;
	struct aws_response response;
	char *body;
} got;

// The request as it came must be signed as a signer of the same key would have.
static void check_signature(struct evhttp_request *request)
{
	const char *authorization = server_header(request, "Authorization"),
		   *date = server_header(request, "X-Amz-Date");
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request);
	size_t len = evbuffer_get_length(buffer);
	_cleanup_free_ char *body = xstrndup((const char *)evbuffer_pullup(buffer, -1), len);
	char iso[32];
	int64_t when;

	snprintf(iso, sizeof(iso), "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", date, date + 4, date + 6, date + 9, date + 11,
		 date + 13);
	assert_true(parse_rfc3339(iso, &when));
	seen_when = when;
	const char *signed_at = strstr(authorization, "SignedHeaders=");
	assert_non_null(signed_at);
	bool with_token = *server_header(request, "X-Amz-Security-Token");
	const char *expected =
		with_token ? "amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;host;x-amz-date;"
			     "x-amz-security-token;x-amz-target, "
			   : "amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;host;x-amz-date;"
			     "x-amz-target, ";
	assert_true(str_starts(signed_at + 14, expected));

	static const char *const names[] = {"Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "Content-Length",
					    "Content-Type", "X-Amz-Target"};
	struct http_header headers[ARRAY_SIZE(names)];
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		headers[i] = (struct http_header){names[i], server_header(request, names[i])};
	struct sigv4_request again = {.method = "POST",
				      .host = server_header(request, "Host"),
				      .path = evhttp_request_get_uri(request),
				      .headers = headers,
				      .header_count = ARRAY_SIZE(headers),
				      .body = body,
				      .body_len = len,
				      .region = "us-west-2",
				      .service = "ecs",
				      .wall_ms = when,
				      .double_encode_path = true};
	struct aws_credentials credentials = {
		.access_key_id = seen_key, .secret_access_key = "secret", .session_token = with_token ? "token" : NULL};
	struct sigv4_result result;
	sscanf(authorization, "AWS4-HMAC-SHA256 Credential=%63[^/]", seen_key);
	sigv4_sign_headers(&again, &credentials, &result);
	assert_string_equal(authorization, result.headers[result.header_count - 1].value);
	sigv4_result_free(&result);
}

static void answer(struct server *s, struct evhttp_request *request)
{
	struct reply *reply = &replies[reply_count];

	check_signature(request);
	if (reply_count + 1 < ARRAY_SIZE(replies) && replies[reply_count + 1].status)
		reply_count++;
	if (renew_keys)
		setenv("AWS_ACCESS_KEY_ID", "AKIANEW", 1);
	if (reply->status < 0) {
		server_hold(s, request);
		return;
	}
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	if (server_ahead_s) {
		char date[64];
		time_t now = time(NULL) + server_ahead_s;
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
		evhttp_add_header(headers, "Date", date);
	}
	if (reply->error_type)
		evhttp_add_header(headers, "x-amzn-errortype", reply->error_type);
	server_reply(request, reply->status, reply->body);
}

static void on_done(const struct aws_response *response, void *arg)
{
	(void)arg;
	got.count++;
	got.response = *response;
	free(got.body);
	got.body = response->body ? xstrdup(json_text(response->body)) : NULL;
	got.response.body = NULL;
	loop_stop(server.loop);
}

static void start(double scale, const char *endpoint)
{
	server_start(&server, scale, answer);
	chain = credentials_chain_new(server.loop, NULL);
	client = aws_client_new(&(struct aws_client_options){.loop = server.loop,
							     .http = server.client,
							     .credentials = chain,
							     .region = "us-west-2",
							     .endpoint = endpoint ? endpoint : server.url,
							     .service = "ecs",
							     .target_prefix = "AmazonEC2ContainerServiceV20141113",
							     .user_agent = "agent of a test"});
}

static int setup(void **state)
{
	(void)state;
	memset(replies, 0, sizeof(replies));
	memset(&got, 0, sizeof(got));
	reply_count = 0;
	renew_keys = false;
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	setenv("AWS_ACCESS_KEY_ID", "AKIAOLD", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	unsetenv("AWS_SESSION_TOKEN");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	client = aws_client_free(client);
	chain = credentials_chain_free(chain);
	server_stop(&server);
	free(got.body);
	got.body = NULL;
	return 0;
}

static void call_and_wait(enum aws_retry retry)
{
	json_object *body = json_object_new_object();
	size_t before = got.count;

	json_add_string(body, "cluster", "a/b");
	assert_non_null(aws_client_call(client, "CreateCluster", body, retry, on_done, NULL));
	json_object_put(body); // was only borrowed
	assert_int_equal(got.count, before);
	loop_run(server.loop);
	assert_int_equal(got.count, before + 1);
}

static void answer_headers(struct server *s, struct evhttp_request *request)
{
	(void)s;
	assert_string_equal(server_header(request, "X-Amz-Target"), "AmazonEC2ContainerServiceV20141113.CreateCluster");
	assert_string_equal(server_header(request, "Content-Type"), "application/x-amz-json-1.1");
	assert_string_equal(server_header(request, "Accept-Encoding"), "gzip");
	assert_string_equal(server_header(request, "User-Agent"), "agent of a test");
	assert_string_equal(server_header(request, "Content-Length"), "17");
	assert_string_equal(server_header(request, "X-Amz-Security-Token"), "token");
	assert_string_equal(server_header(request, "Expect"), "");
	check_signature(request);
	server_reply(request, 200, "{\"cluster\":{}}");
}

static void a_good_call(void **state)
{
	(void)state;
	setenv("AWS_SESSION_TOKEN", "token", 1);
	start(1, NULL);
	server.answer = answer_headers;
	call_and_wait(AWS_RETRY_STANDARD);
	assert_string_equal(got.body, "{\"cluster\":{}}");
	assert_int_equal(got.response.status, 200);
	assert_string_equal(got.response.error_code, "");
	assert_string_equal(server.seen[0].method, "POST");
	assert_string_equal(server.seen[0].path, "/");
	assert_string_equal(server.seen[0].attempt, "attempt=1; max=3");
	assert_int_equal(strlen(server.seen[0].invocation), 36);
}

static void answer_gzip(struct server *s, struct evhttp_request *request)
{
	static const char packed[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x54\xb2\x32\xac\x05\x00\xaf"
				     "\xac\x1b\x56\x07\x00\x00\x00"; // {"a":1}
	struct evbuffer *buffer = evbuffer_new();

	(void)s;
	evbuffer_add(buffer, packed, sizeof(packed) - 1);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Encoding", "gzip");
	evhttp_send_reply(request, 200, "x", buffer);
	evbuffer_free(buffer);
}

static void a_packed_answer(void **state)
{
	(void)state;
	start(1, NULL);
	server.answer = answer_gzip;
	call_and_wait(AWS_RETRY_STANDARD);
	assert_string_equal(got.body, "{\"a\":1}");
}

static void endpoint_with_path(void **state)
{
	(void)state;
	start(1, NULL);
	_cleanup_free_ char *endpoint = xasprintf("%s/api", server.url);
	aws_client_free(client);
	client = aws_client_new(&(struct aws_client_options){.loop = server.loop,
							     .http = server.client,
							     .credentials = chain,
							     .region = "us-west-2",
							     .endpoint = endpoint,
							     .service = "ecs",
							     .target_prefix = "P",
							     .user_agent = "u"});
	replies[0] = (struct reply){200, NULL, ""};
	call_and_wait(AWS_RETRY_STANDARD);
	assert_string_equal(server.seen[0].path, "/api");
	assert_string_equal(got.body, "{}"); // an empty answer is an empty object
}

static void errors_are_read(void **state)
{
	(void)state;
	static const struct {
		struct reply reply;
		const char *code, *text;
		bool transient;
	} cases[] = {
		{{400, NULL, "{\"__type\":\"ClientException\",\"message\":\"Cluster not found.\"}"},
		 "ClientException",
		 "CreateCluster: ClientException: Cluster not found.",
		 false},
		{{400, NULL, "{\"__type\":\"com.amazonaws.ecs#InvalidParameterException\",\"Message\":\"bad\"}"},
		 "InvalidParameterException",
		 "CreateCluster: InvalidParameterException: bad",
		 false},
		{{400, "AccessDeniedException:http://internal.amazon.com/coral/#x",
		  "{\"__type\":\"Other\",\"message\":\"no\"}"},
		 "AccessDeniedException",
		 "CreateCluster: AccessDeniedException: no",
		 false},
		{{400, NULL, "{\"code\":\"a#B:c\"}"}, "B", "CreateCluster: B (HTTP 400)", false},
		{{400, NULL, "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}"},
		 "ThrottlingException",
		 "CreateCluster: ThrottlingException: Rate exceeded",
		 true},
		{{500, NULL, "{\"__type\":\"ServerException\",\"message\":\"oops\"}"},
		 "ServerException",
		 "CreateCluster: ServerException: oops",
		 true},
		{{503, NULL, "<html>"}, "UnknownError", "CreateCluster: UnknownError (HTTP 503)", true},
		{{403, NULL, "[1]"}, "UnknownError", "CreateCluster: UnknownError (HTTP 403)", false},
		{{302, NULL, ""}, "UnknownError", "CreateCluster: UnknownError (HTTP 302)", false},
	};

	start(100, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t before = server.count;
		replies[0] = cases[i].reply;
		call_and_wait(AWS_RETRY_STANDARD);
		assert_null(got.body);
		assert_string_equal(got.response.error_code, cases[i].code);
		assert_string_equal(got.response.error.message, cases[i].text);
		assert_int_equal(got.response.status, cases[i].reply.status);
		assert_int_equal(got.response.transient, cases[i].transient);
		assert_int_equal(server.count - before, cases[i].transient ? 3 : 1);
	}
	assert_string_equal(got.response.message, "");
	static const char *const unusable[] = {"{\"cluster\":", "[]", "null", "<html>"};
	for (size_t i = 0; i < ARRAY_SIZE(unusable); i++) {
		replies[0] = (struct reply){200, NULL, unusable[i]};
		call_and_wait(AWS_RETRY_STANDARD);
		assert_null(got.body);
		assert_string_equal(got.response.error_code, "");
		assert_false(got.response.transient);
		assert_true(str_starts(got.response.error.message, "CreateCluster: unusable answer: "));
	}
}

static void standard_retries(void **state)
{
	(void)state;
	start(100, NULL);
	replies[0] = replies[1] = (struct reply){500, NULL, "{\"__type\":\"ServerException\"}"};
	replies[2] = (struct reply){200, NULL, "{}"};
	call_and_wait(AWS_RETRY_STANDARD);
	assert_string_equal(got.body, "{}");
	assert_int_equal(server.count, 3);
	assert_string_equal(server.seen[2].attempt, "attempt=3; max=3");
	assert_string_equal(server.seen[0].invocation, server.seen[2].invocation);
	call_and_wait(AWS_RETRY_STANDARD);
	assert_string_not_equal(server.seen[0].invocation, server.seen[3].invocation);
}

static void submit_retries(void **state)
{
	(void)state;
	start(100, NULL);
	for (int i = 0; i < 5; i++)
		replies[i] = (struct reply){500, NULL, ""};
	replies[5] = (struct reply){200, NULL, "{}"};
	uint64_t begin = loop_now(server.loop);
	call_and_wait(AWS_RETRY_SUBMIT);
	assert_string_equal(got.body, "{}");
	assert_int_equal(server.count, 6);
	assert_string_equal(server.seen[5].attempt, "attempt=6; max=298");
	assert_true(loop_now(server.loop) - begin >= 30 * (2 + 4 + 8 + 16 + 32));
}

// 500 tokens, 5 for each retry: 50 calls that fail three times, then calls are tried once.
static void retries_have_a_quota(void **state)
{
	(void)state;
	start(100, NULL);
	replies[0] = (struct reply){500, NULL, "{\"__type\":\"ServerException\",\"message\":\"m\"}"};
	for (int i = 0; i < 60; i++)
		call_and_wait(AWS_RETRY_STANDARD);
	assert_int_equal(server.count, 50 * 3 + 10);
	assert_string_equal(got.response.error.message,
			    "CreateCluster: failed to get rate limit token, too many retries: ServerException: m");
	assert_true(got.response.transient);
	size_t before = server.count;
	call_and_wait(AWS_RETRY_STANDARD);
	assert_int_equal(server.count - before, 1);
	// Five successes pay for one retry, which gives its price back when it succeeds.
	replies[0] = (struct reply){200, NULL, "{}"};
	for (int i = 0; i < 5; i++)
		call_and_wait(AWS_RETRY_STANDARD);
	for (int i = 0; i < 3; i++) {
		reply_count = 0;
		replies[0] = (struct reply){500, NULL, ""};
		replies[1] = (struct reply){200, NULL, "{}"};
		call_and_wait(AWS_RETRY_STANDARD);
		assert_string_equal(got.body, "{}");
	}
	// The other policy has tokens of its own.
	reply_count = 0;
	call_and_wait(AWS_RETRY_SUBMIT);
	assert_string_equal(got.body, "{}");
}

static void refused_credentials_are_replaced(void **state)
{
	(void)state;
	static const char *const bodies[] = {"{\"__type\":\"ExpiredTokenException\"}",
					     "{\"__type\":\"UnrecognizedClientException\"}",
					     "{\"__type\":\"InvalidSignatureException\"}"};
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		setup(NULL);
		start(1, NULL);
		renew_keys = true;
		replies[0] = (struct reply){400, NULL, bodies[i]};
		replies[1] = (struct reply){200, NULL, "{}"};
		call_and_wait(AWS_RETRY_STANDARD);
		assert_string_equal(got.body, "{}");
		assert_string_equal(seen_key, "AKIANEW");
		assert_string_equal(server.seen[1].attempt, "attempt=1; max=3");
		reply_count = 0; // refused again: only one new attempt
		replies[1] = (struct reply){0};
		size_t before = server.count;
		call_and_wait(AWS_RETRY_STANDARD);
		assert_int_equal(server.count - before, 2);
		assert_false(got.response.transient);
		if (i + 1 < ARRAY_SIZE(bodies))
			teardown(NULL);
	}
}

// The service's clock is an hour ahead: told by the Date of a refusal, used from then on.
static void wrong_clocks(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		int64_t ahead_s;
		bool repeated;
	} cases[] = {
		{"{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired\"}", 3600, true},
		{"{\"__type\":\"SignatureDoesNotMatch\"}", -3600, true},
		{"{\"__type\":\"AuthFailure\"}", 600, true},
		{"{\"__type\":\"RequestExpired\"}", 3600, true},
		{"{\"__type\":\"RequestTimeTooSkewed\"}", 60, true}, // certain, but nothing to learn from
		{"{\"__type\":\"SignatureDoesNotMatch\"}", 60, false},
		{"{\"__type\":\"ClientException\"}", 3600, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		start(1000, NULL);
		server_ahead_s = cases[i].ahead_s;
		replies[0] = (struct reply){400, NULL, cases[i].body};
		replies[1] = (struct reply){200, NULL, "{}"};
		call_and_wait(AWS_RETRY_STANDARD);
		assert_int_equal(got.body != NULL, cases[i].repeated);
		assert_int_equal(server.count, cases[i].repeated ? 2 : 1);
		if (cases[i].repeated)
			assert_string_equal(server.seen[1].attempt, "attempt=2; max=3");
		int64_t learnt = aws_client_wall_ms(client) - wall_ms();
		bool differs = llabs(cases[i].ahead_s) > 240 && cases[i].repeated;
		// Half of the smallest difference there is, for a machine that has other things to do.
		assert_true(llabs(learnt - (differs ? cases[i].ahead_s * 1000 : 0)) <= 30000);
		if (cases[i].repeated) // what was learnt is what is signed with
			assert_true(llabs(seen_when - aws_client_wall_ms(client)) <= 30000);
		server_ahead_s = 0;
		if (i + 1 < ARRAY_SIZE(cases))
			teardown(NULL);
	}
}

// In the C library's place.
int clock_gettime(clockid_t id, struct timespec *ts)
{
	long r = syscall(SYS_clock_gettime, id, ts);
	if (id == CLOCK_REALTIME)
		ts->tv_sec += stepped_s;
	return (int)r;
}

// What was learnt while the host's clock was wrong stays right when it is set: nobody may ask the ECS API for hours,
// while each ACS session is signed.
static void clock_is_put_right(void **state)
{
	(void)state;
	start(1000, NULL);
	server_ahead_s = 3600;
	replies[0] = (struct reply){400, NULL, "{\"__type\":\"InvalidSignatureException\"}"};
	replies[1] = (struct reply){200, NULL, "{}"};
	call_and_wait(AWS_RETRY_STANDARD);
	assert_true(llabs(aws_client_wall_ms(client) - wall_ms() - 3600000) <= 1500);
	server_ahead_s = 0;
	stepped_s = 3600;
	assert_true(llabs(aws_client_wall_ms(client) - wall_ms()) <= 1500);
	stepped_s = 0;
}

static void no_credentials(void **state)
{
	(void)state;
	unsetenv("AWS_ACCESS_KEY_ID");
	start(1, NULL);
	call_and_wait(AWS_RETRY_STANDARD);
	assert_int_equal(server.count, 0);
	assert_true(got.response.transient);
	assert_string_equal(got.response.error_code, "");
	assert_true(str_starts(got.response.error.message, "CreateCluster: no credentials found: environment: "));
}

static void nobody_there(void **state)
{
	(void)state;
	start(1000, "http://127.0.0.1:1");
	call_and_wait(AWS_RETRY_STANDARD);
	assert_int_equal(got.response.status, 0);
	assert_string_equal(got.response.error_code, "");
	assert_int_equal(got.response.error.code, ECONNREFUSED);
	assert_true(got.response.transient);
	assert_true(str_starts(got.response.error.message, "CreateCluster: "));
}

static void silence_ends_in_time(void **state)
{
	(void)state;
	start(500, NULL);
	replies[0] = (struct reply){-1, NULL, NULL};
	uint64_t begin = loop_now(server.loop);
	call_and_wait(AWS_RETRY_STANDARD);
	assert_int_equal(got.response.error.code, ETIMEDOUT);
	assert_true(loop_now(server.loop) - begin >= 3 * 42000);
	assert_true(got.response.transient);
}

static void on_never(const struct aws_response *response, void *arg)
{
	(void)response, (void)arg;
	fail_msg("a cancelled call came back");
}

static void on_free_client(const struct aws_response *response, void *arg)
{
	(void)arg;
	assert_non_null(response->body);
	client = aws_client_free(client);
	loop_stop(server.loop);
}

static void cancel_and_free(void **state)
{
	(void)state;
	start(1, NULL);
	replies[0] = (struct reply){200, NULL, "{}"};
	struct aws_call *call = aws_client_call(client, "A", NULL, AWS_RETRY_STANDARD, on_never, NULL);
	aws_client_call(client, "B", NULL, AWS_RETRY_STANDARD, on_free_client, NULL);
	aws_call_cancel(call);
	aws_call_cancel(NULL);
	loop_run(server.loop);
	assert_null(client);
}

// --- names ---

static struct {
	const char *name, *value;
} env[4];

static const char *get(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(env) && env[i].name; i++)
		if (strcmp(env[i].name, name) == 0)
			return env[i].value;
	return NULL;
}

static void endpoints(void **state)
{
	(void)state;
	static const struct {
		const char *region, *backend, *name, *value, *name2, *value2, *url;
	} cases[] = {
		{"us-west-2", "", NULL, NULL, NULL, NULL, "https://ecs.us-west-2.amazonaws.com"},
		{"cn-north-1", NULL, NULL, NULL, NULL, NULL, "https://ecs.cn-north-1.amazonaws.com.cn"},
		{"us-gov-east-1", "", NULL, NULL, NULL, NULL, "https://ecs.us-gov-east-1.amazonaws.com"},
		{"us-iso-east-1", "", NULL, NULL, NULL, NULL, "https://ecs.us-iso-east-1.c2s.ic.gov"},
		{"us-isob-east-1", "", NULL, NULL, NULL, NULL, "https://ecs.us-isob-east-1.sc2s.sgov.gov"},
		{"eu-isoe-west-1", "", NULL, NULL, NULL, NULL, "https://ecs.eu-isoe-west-1.cloud.adc-e.uk"},
		{"us-isof-south-1", "", NULL, NULL, NULL, NULL, "https://ecs.us-isof-south-1.csp.hci.ic.gov"},
		{"eusc-de-east-1", "", NULL, NULL, NULL, NULL, "https://ecs.eusc-de-east-1.amazonaws.eu"},
		{"aws-cn-global", "", NULL, NULL, NULL, NULL, "https://ecs.aws-cn-global.amazonaws.com.cn"},
		{"moon-1", "", NULL, NULL, NULL, NULL, "https://ecs.moon-1.amazonaws.com"},
		{"us-west-2", "", "AWS_USE_FIPS_ENDPOINT", "true", NULL, NULL,
		 "https://ecs-fips.us-west-2.amazonaws.com"},
		{"us-west-2", "", "AWS_USE_DUALSTACK_ENDPOINT", "true", NULL, NULL, "https://ecs.us-west-2.api.aws"},
		{"us-west-2", "", "AWS_USE_DUALSTACK_ENDPOINT", "true", "AWS_USE_FIPS_ENDPOINT", "true",
		 "https://ecs-fips.us-west-2.api.aws"},
		{"us-west-2", "ecs.internal:8443", NULL, NULL, NULL, NULL, "https://ecs.internal:8443"},
		{"us-west-2", "http://127.0.0.1:8080/", NULL, NULL, NULL, NULL, "http://127.0.0.1:8080"},
		{"us-west-2", "http://a", "AWS_ENDPOINT_URL_ECS", "http://b", NULL, NULL, "http://b"},
		{"us-west-2", "http://a", "AWS_ENDPOINT_URL", "http://b", NULL, NULL, "http://a"},
		{"us-west-2", "", "AWS_ENDPOINT_URL", "http://b", NULL, NULL, "http://b"},
		{"us-west-2", "", "AWS_ENDPOINT_URL", "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true",
		 "https://ecs.us-west-2.amazonaws.com"},
		{"us-west-2", "http://a", "AWS_USE_FIPS_ENDPOINT", "true", NULL, NULL, NULL},
		{"us-west-2", "", "AWS_ENDPOINT_URL", "http://a", "AWS_USE_DUALSTACK_ENDPOINT", "true", NULL},
		{"us-west-2", "", "AWS_ENDPOINT_URL", "b.example", NULL, NULL, NULL},
		{"us-west-2", "https://", NULL, NULL, NULL, NULL, NULL},
		{"us-west-2", "user@host", NULL, NULL, NULL, NULL, NULL},
		{"us-west-2", "a b", NULL, NULL, NULL, NULL, NULL},
		{"us-west-2.evil/", "", NULL, NULL, NULL, NULL, NULL},
		{"", "", NULL, NULL, NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		memset(env, 0, sizeof(env));
		env[0].name = cases[i].name;
		env[0].value = cases[i].value;
		env[1].name = cases[i].name2;
		env[1].value = cases[i].value2;
		_cleanup_free_ char *url = aws_ecs_endpoint(cases[i].region, cases[i].backend, get, &err);
		if (!str_equal(url, cases[i].url))
			fail_msg("case %zu: %s (%s)", i, url ? url : "none", err.message);
		assert_true((url != NULL) == (err.code == 0));
	}
}

static void user_agents(void **state)
{
	(void)state;
	_cleanup_free_ char *with = aws_user_agent("LINUX"), *without = aws_user_agent("");
	_cleanup_free_ char *expected =
		xasprintf("Amazon ECS Agent - v1.105.1 (%s) (linux; LINUX) (+http://aws.amazon.com/ecs/)", ecsd_commit);
	_cleanup_free_ char *bare =
		xasprintf("Amazon ECS Agent - v1.105.1 (%s) (linux) (+http://aws.amazon.com/ecs/)", ecsd_commit);
	assert_string_equal(with, expected);
	assert_string_equal(without, bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_good_call, setup, teardown),
		cmocka_unit_test_setup_teardown(a_packed_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(endpoint_with_path, setup, teardown),
		cmocka_unit_test_setup_teardown(errors_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(standard_retries, setup, teardown),
		cmocka_unit_test_setup_teardown(submit_retries, setup, teardown),
		cmocka_unit_test_setup_teardown(retries_have_a_quota, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_credentials_are_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_clocks, setup, teardown),
		cmocka_unit_test_setup_teardown(clock_is_put_right, setup, teardown),
		cmocka_unit_test_setup_teardown(no_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_and_free, setup, teardown),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(user_agents),
	};

	return cmocka_run_group_tests_name("aws_json", tests, NULL, NULL);
}
