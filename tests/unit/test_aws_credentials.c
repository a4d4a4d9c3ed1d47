// The chain of credentials providers: what each reads, which wins, refresh and failure.
#include "test_aws_server.h"

#include "common/aws/credentials.h"
#include "common/aws/imds.h"
#include <errno.h>

static struct server server;
static struct imds *imds;
static struct credentials_chain *chain;
static char file_path[] = "/tmp/ecsd-test-credentials-XXXXXX";
static struct {
	size_t count;
	char key[64], secret[64], token[64];
	struct error err;
} got;
static size_t wanted;
static bool looping;
static const char *role_list;
static const char *role_answer; // %s: the time of expiry
static int64_t role_lifetime_ms;
static int role_status;

static void answer(struct server *s, struct evhttp_request *request)
{
	const char *path = evhttp_request_get_uri(request);

	(void)s;
	if (strcmp(path, "/latest/api/token") == 0) {
		server_reply(request, 200, "token");
	} else if (str_ends(path, "/security-credentials/")) {
		server_reply(request, role_list ? 200 : 404, role_list ? role_list : "");
	} else {
		char expires[32], body[1024];
		format_rfc3339(wall_ms() + role_lifetime_ms, expires);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(body, sizeof(body), role_answer, expires);
#pragma GCC diagnostic pop
		server_reply(request, role_status, body);
	}
}

static void on_got(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)arg;
	memset(got.key, 0, sizeof(got.key));
	if (credentials) {
		snprintf(got.key, sizeof(got.key), "%s", credentials->access_key_id);
		snprintf(got.secret, sizeof(got.secret), "%s", credentials->secret_access_key);
		snprintf(got.token, sizeof(got.token), "%s",
			 credentials->session_token ? credentials->session_token : "");
		got.err = (struct error){0};
	} else {
		got.err = *err;
	}
	if (++got.count == wanted && looping)
		loop_stop(server.loop);
}

static void run(void)
{
	looping = true;
	loop_run(server.loop);
	looping = false;
}

static void get(void)
{
	wanted = got.count + 1;
	credentials_chain_get(chain, on_got, NULL);
	if (got.count < wanted)
		run();
	assert_int_equal(got.count, wanted);
}

static void write_file(const char *text)
{
	assert_int_equal(write_file_atomic(file_path, text, strlen(text), 0600), 0);
}

static void clear_environment(void)
{
	static const char *const variables[] = {"AWS_ACCESS_KEY_ID",  "AWS_ACCESS_KEY",    "AWS_SECRET_ACCESS_KEY",
						"AWS_SECRET_KEY",     "AWS_SESSION_TOKEN", "AWS_PROFILE",
						"AWS_DEFAULT_PROFILE"};
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
}

static int setup(void **state)
{
	(void)state;
	clear_environment();
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials", 1);
	memset(&got, 0, sizeof(got));
	server_start(&server, 5, answer);
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url, 1);
	role_list = "my-role\nother";
	role_answer = "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s3\",\"Token\":\"t\","
		      "\"Expiration\":\"%s\"}";
	role_status = 200;
	role_lifetime_ms = 3600 * 1000;
	imds = imds_new(server.loop, server.client);
	chain = credentials_chain_new(server.loop, imds);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chain = credentials_chain_free(chain);
	imds = imds_free(imds);
	server_stop(&server);
	return 0;
}

static void environment_wins(void **state)
{
	(void)state;
	setenv("AWS_ACCESS_KEY_ID", "AKIA", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s1", 1);
	get();
	assert_string_equal(got.key, "AKIA");
	assert_string_equal(got.token, "");
	setenv("AWS_SESSION_TOKEN", "t1", 1);
	get();
	assert_string_equal(got.token, ""); // these do not expire: kept
	credentials_chain_invalidate(chain);
	get();
	assert_string_equal(got.token, "t1");
	assert_int_equal(server.count, 0);
	clear_environment();
	setenv("AWS_ACCESS_KEY", "AKIB", 1);
	setenv("AWS_SECRET_KEY", "s2", 1);
	credentials_chain_invalidate(chain);
	get();
	assert_string_equal(got.key, "AKIB");
	assert_string_equal(got.secret, "s2");
}

static void shared_file(void **state)
{
	(void)state;
	static const struct {
		const char *profile, *text, *key, *secret, *token;
	} cases[] = {
		{NULL, "[default]\naws_access_key_id = A1\naws_secret_access_key=B1\n", "A1", "B1", ""},
		{NULL,
		 "# c\n; c\n[other]\naws_access_key_id=X\n[ default ]\r\nAWS_ACCESS_KEY_ID=A2 # c\r\n"
		 "aws_secret_access_key = B/2+x=# ; c\r\naws_session_token=T\r\n",
		 "A2", "B/2+x=#", "T"},
		{"work",
		 "[default]\naws_access_key_id=X\naws_secret_access_key=Y\n[work]\ns3 =\n  aws_access_key_id = nested\n"
		 "aws_access_key_id=A3\naws_secret_access_key=B3",
		 "A3", "B3", ""},
		{NULL, "[default]\naws_access_key_id=X\n[default]\naws_access_key_id=A4\naws_secret_access_key=B4\n",
		 "A4", "B4", ""},
	};

	setenv("AWS_SHARED_CREDENTIALS_FILE", file_path, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (cases[i].profile)
			setenv("AWS_PROFILE", cases[i].profile, 1);
		else
			unsetenv("AWS_PROFILE");
		write_file(cases[i].text);
		credentials_chain_invalidate(chain);
		get();
		assert_string_equal(got.key, cases[i].key);
		assert_string_equal(got.secret, cases[i].secret);
		assert_string_equal(got.token, cases[i].token);
	}
	assert_int_equal(server.count, 0);
}

static void shared_file_under_home(void **state)
{
	(void)state;
	char home[] = "/tmp/ecsd-test-home-XXXXXX";
	assert_non_null(mkdtemp(home));
	_cleanup_free_ char *directory = xasprintf("%s/.aws", home), *path = xasprintf("%s/.aws/credentials", home);
	_cleanup_free_ char *old_home = xstrdup(getenv("HOME"));
	static const char text[] = "[default]\naws_access_key_id=H\naws_secret_access_key=I\n";

	assert_int_equal(make_directory(directory, 0700), 0);
	assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
	unsetenv("AWS_SHARED_CREDENTIALS_FILE");
	setenv("HOME", home, 1);
	get();
	assert_string_equal(got.key, "H");
	if (old_home)
		setenv("HOME", old_home, 1);
	unlink(path);
	rmdir(directory);
	rmdir(home);
}

static void every_failure_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *file, *wanted;
	} cases[] = {
		{"[x]\n", "no profile default in "},
		{"[default]\naws_access_key_id=A\n", "has no aws_secret_access_key"},
		{"[default]\naws_access_key_id=\naws_secret_access_key=B\n", "has no aws_access_key_id"},
	};

	role_list = NULL;
	get();
	assert_int_equal(got.err.code, EACCES);
	assert_string_equal(
		got.err.message,
		"no credentials found: environment: AWS_ACCESS_KEY_ID is not set; shared credentials file: cannot read "
		"/nonexistent/credentials: No such file or directory; instance role: the instance has no role");
	setenv("AWS_SHARED_CREDENTIALS_FILE", file_path, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_file(cases[i].file);
		get();
		if (!strstr(got.err.message, cases[i].wanted))
			fail_msg("%s", got.err.message);
	}
	_cleanup_free_ char *large = xmalloc(70001);
	memset(large, '#', 70000);
	large[70000] = '\0';
	write_file(large);
	get();
	assert_non_null(strstr(got.err.message, "cannot read"));
}

static void role_of_the_instance(void **state)
{
	(void)state;
	wanted = 3; // asked together: one question
	for (int i = 0; i < 3; i++)
		credentials_chain_get(chain, on_got, NULL);
	run();
	assert_string_equal(got.key, "ASIA");
	assert_string_equal(got.secret, "s3");
	assert_string_equal(got.token, "t");
	assert_int_equal(server.count, 3);
	assert_string_equal(server.seen[2].path, "/latest/meta-data/iam/security-credentials/my-role");
	get();
	assert_int_equal(server.count, 3);
}

static void bad_role_answers(void **state)
{
	(void)state;
	static const struct {
		const char *list, *body, *wanted;
	} cases[] = {
		{"", "", "role's name"},
		{"../../user-data", "", "role's name"},
		{"r", "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"no\"}",
		 "AssumeRoleUnauthorizedAccess: no"},
		{"r", "<html>", "role credentials"},
		{"r", "{\"Code\":\"Success\",\"Expiration\":\"%s\"}", "without AccessKeyId"},
		{"r", "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\"}", "Expiration"},
		{"r", "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"soon\"}",
		 "Expiration"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		role_list = cases[i].list;
		role_answer = cases[i].body;
		get();
		if (!strstr(got.err.message, cases[i].wanted))
			fail_msg("case %zu: %s", i, got.err.message);
	}
}

static const char *url_body;
static int url_status;

static void answer_url(struct server *s, struct evhttp_request *request)
{
	(void)s;
	assert_string_equal(evhttp_request_get_uri(request), "/v2/credentials/an-id");
	assert_string_equal(server_header(request, "Authorization"), "");
	server_reply(request, url_status, url_body);
}

// What the ECS agent serves to containers, good and bad.
static void from_a_url(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *body, *wanted; // wanted: of the error
	} cases[] = {
		{404, "{\"code\":\"InvalidIdInRequest\",\"message\":\"ID not found\"}",
		 "credentials endpoint: HTTP 404, InvalidIdInRequest: ID not found"},
		{503, "<html>", "credentials endpoint: HTTP 503"},
		{200, "<html>", "credentials endpoint: credentials: "},
		{200, "{}", "without AccessKeyId"},
		{200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"soon\"}", "Expiration"},
		{200,
		 "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":\"C\",\"RoleArn\":\"R\","
		 "\"Expiration\":\"2099-01-01T00:00:00Z\"}",
		 NULL},
	};
	_cleanup_free_ char *url = xasprintf("%s/v2/credentials/an-id", server.url);

	credentials_chain_free(chain);
	chain = credentials_chain_http(server.client, url);
	server.answer = answer_url;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		url_status = cases[i].status;
		url_body = cases[i].body;
		get();
		if (cases[i].wanted && !strstr(got.err.message, cases[i].wanted))
			fail_msg("case %zu: %s", i, got.err.message);
	}
	assert_string_equal(got.key, "A");
	assert_string_equal(got.token, "C");
	size_t before = server.count;
	get(); // kept
	assert_int_equal(server.count, before);
	credentials_chain_invalidate(chain);
	url_body = "{\"AccessKeyId\":\"NEW\",\"SecretAccessKey\":\"B\"}"; // never expires
	get();
	assert_string_equal(got.key, "NEW");
}

static void refreshed_before_expiry(void **state)
{
	(void)state;
	role_lifetime_ms = 4 * 60 * 1000; // within the five minutes
	get();
	size_t before = server.count;
	role_answer = "{\"Code\":\"Success\",\"AccessKeyId\":\"NEW\",\"SecretAccessKey\":\"s\",\"Expiration\":\"%s\"}";
	role_lifetime_ms = 3600 * 1000;
	get();
	assert_string_equal(got.key, "NEW");
	assert_int_equal(server.count, before + 2);
}

static void failed_refresh_keeps_the_old(void **state)
{
	(void)state;
	role_lifetime_ms = 4 * 60 * 1000;
	get();
	role_status = 403;
	get();
	assert_string_equal(got.key, "ASIA");
	size_t before = server.count;
	get(); // not asked again at once
	assert_string_equal(got.key, "ASIA");
	assert_int_equal(server.count, before);
	credentials_chain_invalidate(chain); // but not what the service has refused
	get();
	assert_int_equal(got.err.code, EACCES);
}

static void expired_are_not_given(void **state)
{
	(void)state;
	role_lifetime_ms = -1000;
	get(); // the provider's word is taken once
	role_status = 403;
	get();
	assert_int_equal(got.err.code, EACCES);
}

static void on_never(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)credentials, (void)err, (void)arg;
	fail_msg("a cancelled question was answered");
}

static void on_free_chain(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)err, (void)arg;
	chain = credentials_chain_free(chain);
	assert_string_equal(credentials->access_key_id, "ASIA");
	loop_stop(server.loop);
}

static void on_cancel_other(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)err;
	assert_non_null(credentials);
	credentials_chain_cancel(chain, arg);
}

static void cancel_and_free(void **state)
{
	(void)state;
	int mark, other;
	credentials_chain_get(chain, on_never, &mark);
	credentials_chain_get(chain, on_cancel_other, &other);
	credentials_chain_get(chain, on_never, &other);
	credentials_chain_get(chain, on_free_chain, NULL);
	credentials_chain_get(chain, on_never, &mark);
	credentials_chain_cancel(chain, &mark);
	loop_run(server.loop);
	assert_null(chain);
	chain = credentials_chain_new(server.loop, imds);
	credentials_chain_get(chain, on_never, NULL); // freed with a question under way
}

static int asked_again;
static void on_ask_again(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)credentials, (void)arg;
	assert_true(err != NULL || asked_again > 0);
	if (asked_again++ == 0) {
		setenv("AWS_ACCESS_KEY_ID", "LATE", 1);
		setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
		credentials_chain_get(chain, on_ask_again, NULL);
	} else {
		assert_string_equal(credentials->access_key_id, "LATE");
	}
}

static void asking_in_the_answer(void **state)
{
	(void)state;
	chain = credentials_chain_free(chain);
	chain = credentials_chain_new(server.loop, NULL); // without instance metadata all answers come at once
	credentials_chain_get(chain, on_ask_again, NULL);
	assert_int_equal(asked_again, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(environment_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_file, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_file_under_home, setup, teardown),
		cmocka_unit_test_setup_teardown(every_failure_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(role_of_the_instance, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_role_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(from_a_url, setup, teardown),
		cmocka_unit_test_setup_teardown(refreshed_before_expiry, setup, teardown),
		cmocka_unit_test_setup_teardown(failed_refresh_keeps_the_old, setup, teardown),
		cmocka_unit_test_setup_teardown(expired_are_not_given, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_and_free, setup, teardown),
		cmocka_unit_test_setup_teardown(asking_in_the_answer, setup, teardown),
	};
	int fd = mkstemp(file_path);

	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
	unlink(file_path);
	return failed;
}
