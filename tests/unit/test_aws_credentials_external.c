// The agent's credentials on an external instance (ECS Anywhere): the file that the SSM agent keeps up to date. Time is
// faked, and whoever asks instance metadata or a server fails.
#include "test_control_fakes.h"

#include "common/aws/credentials.h"
#include "common/aws/imds.h"
#include "common/http.h"
#include "common/log.h"
#include <errno.h>

#define ROTATION_MS 60000
#define KEYS(key) "aws_access_key_id = " key "\naws_secret_access_key = s-" key "\naws_session_token = t-" key "\n"

static char file_path[] = "/tmp/ecsd-test-rotating-XXXXXX", named_path[] = "/tmp/ecsd-test-named-XXXXXX";
static struct credentials_chain *chain;
static struct {
	size_t count;
	char key[64], secret[64], token[64];
	struct error err;
} got;

// --- who is not asked ---

void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg)
{
	(void)imds, (void)done, (void)arg;
	fail_msg("instance metadata was asked for %s", path);
}

void imds_cancel(struct imds *imds, void *arg)
{
	(void)imds, (void)arg;
}

struct http_call *http_send(struct http_client *client, const struct http_request *request,
			    void (*done)(const struct http_response *response, void *arg), void *arg)
{
	(void)client, (void)done, (void)arg;
	fail_msg("%s was asked", request->url);
	return NULL;
}

void http_cancel(struct http_call *call)
{
	(void)call;
}

// --- the bed ---

static void write_file(const char *path, const char *text)
{
	assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
}

static void on_got(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	(void)arg;
	memset(got.key, 0, sizeof(got.key));
	got.err = (struct error){0};
	got.count++;
	if (!credentials) {
		got.err = *err;
		return;
	}
	snprintf(got.key, sizeof(got.key), "%s", credentials->access_key_id);
	snprintf(got.secret, sizeof(got.secret), "%s", credentials->secret_access_key);
	snprintf(got.token, sizeof(got.token), "%s", credentials->session_token ? credentials->session_token : "");
}

// Answers come inside the call.
static void get(void)
{
	size_t before = got.count;

	credentials_chain_get(chain, on_got, NULL);
	assert_int_equal(got.count, before + 1);
}

static void expect(const char *key)
{
	get();
	if (!str_equal(got.key, key))
		fail_msg("%s, not %s: %s", got.key, key, got.err.message);
}

static void make_chain(const char *profile)
{
	credentials_chain_free(chain);
	chain = credentials_chain_external(&fake_loop, file_path, profile);
}

static int setup(void **state)
{
	static const char *const variables[] = {
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY",
		"AWS_SESSION_TOKEN", "AWS_PROFILE",    "AWS_DEFAULT_PROFILE",   "AWS_SHARED_CREDENTIALS_FILE"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	make_chain(NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chain = credentials_chain_free(chain);
	return 0;
}

// --- tests ---

// They serve for a minute, then the file is looked at again.
static void test_rotation(void **state)
{
	(void)state;
	write_file(file_path, "[default]\n" KEYS("A1") "[other]\n" KEYS("O1"));
	expect("A1");
	assert_string_equal(got.secret, "s-A1");
	assert_string_equal(got.token, "t-A1");
	write_file(file_path, "[default]\n" KEYS("A2"));
	fake_advance(ROTATION_MS - 1);
	expect("A1");
	fake_advance(1);
	expect("A2");
	write_file(file_path, "[default]\n" KEYS("A3"));
	expect("A2");
	credentials_chain_invalidate(chain); // refused by the service: at once
	expect("A3");
	make_chain("other");
	write_file(file_path, "[default]\n" KEYS("A4") "[other]\n" KEYS("O4"));
	expect("O4");
	make_chain("");
	expect("A4");
}

// While the SSM agent writes it, or when somebody has broken it.
static void test_broken_file(void **state)
{
	static const struct {
		const char *text, *reason; // text NULL: there is no file
	} cases[] = {
		{"", "no profile default in /tmp/ecsd-test-rotating-"},
		{NULL, "cannot read /tmp/ecsd-test-rotating-"},
		{"[default]\naws_access_key_id = B\n", "profile default in /tmp/ecsd-test-rotating-"},
		{"\001\002garbage\377[default", "no profile default in /tmp/ecsd-test-rotating-"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_file(file_path, "[default]\n" KEYS("A"));
		credentials_chain_invalidate(chain);
		expect("A");
		if (cases[i].text)
			write_file(file_path, cases[i].text);
		else
			assert_int_equal(unlink(file_path), 0);
		fake_advance(ROTATION_MS);
		expect("A"); // of before
		credentials_chain_invalidate(chain);
		expect(""); // but not what the service has refused
		assert_int_equal(got.err.code, EACCES);
		_cleanup_free_ char *wanted = xasprintf("; credentials file of the SSM agent: %s", cases[i].reason);
		if (!strstr(got.err.message, wanted))
			fail_msg("case %zu: %s", i, got.err.message);
		write_file(file_path, "[default]\n" KEYS("C")); // mended, it counts at once
		expect("C");
	}
}

// A file that was found broken is looked at again after half a minute.
static void test_broken_file_is_mended(void **state)
{
	(void)state;
	write_file(file_path, "[default]\n" KEYS("A"));
	expect("A");
	write_file(file_path, "");
	for (int i = 0; i < 3; i++) {
		fake_advance(ROTATION_MS);
		expect("A");
	}
	write_file(file_path, "[default]\n" KEYS("D"));
	fake_advance(ROTATION_MS / 2 - 1);
	expect("A");
	fake_advance(1);
	expect("D");
}

static void test_order(void **state)
{
	static const char *const nothing =
		"no credentials found: environment: AWS_ACCESS_KEY_ID is not set; credentials file of the SSM agent: "
		"no "
		"profile ssm in %s; shared credentials file: AWS_SHARED_CREDENTIALS_FILE is not set";

	(void)state;
	make_chain("ssm");
	write_file(file_path, "[default]\n" KEYS("A"));
	get();
	_cleanup_free_ char *wanted = xasprintf(nothing, file_path);
	assert_string_equal(got.err.message, wanted);
	write_file(named_path, "[default]\n" KEYS("N1") "[work]\n" KEYS("N2"));
	setenv("AWS_SHARED_CREDENTIALS_FILE", named_path, 1);
	setenv("AWS_PROFILE", "work", 1);
	expect("N2");
	write_file(file_path, "[ssm]\n" KEYS("S")); // the stronger, as soon as it is there
	fake_advance(ROTATION_MS);
	expect("S");
	setenv("AWS_ACCESS_KEY_ID", "E", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	fake_advance(ROTATION_MS);
	expect("E");
	unsetenv("AWS_ACCESS_KEY_ID");
	fake_advance(10 * ROTATION_MS);
	expect("E"); // these do not change
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_rotation), T(test_broken_file), T(test_broken_file_is_mended),
					   T(test_order)};
	int fds[] = {mkstemp(file_path), mkstemp(named_path)};

	if (fds[0] < 0 || fds[1] < 0)
		return 1;
	close(fds[0]);
	close(fds[1]);
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	int failed = cmocka_run_group_tests_name("credentials of an external instance", tests, NULL, NULL);
	unlink(file_path);
	unlink(named_path);
	return failed;
}
