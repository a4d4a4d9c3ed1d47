// Logins of the configuration, digests asked of registries, tags; what is worth another attempt.
#include "test_docker_fake.h"

#include "docker/engine_auth.h"

static void expect_login(const struct engine_auth *auth, const char *image, const char *user)
{
	_cleanup_json_ json_object *login = engine_auth_for(auth, image);
	const char *found = login ? json_get_string(login, "username") : NULL;
	if (!str_equal(found, user))
		fail_msg("%s: %s, not %s", image, found ? found : "none", user ? user : "none");
}

#define LOGIN(user) "{\"username\":\"" user "\",\"password\":\"p\"}"

static void longest_key_of_the_same_host(void **state)
{
	(void)state;
	struct engine_auth *auth = engine_auth_new(
		"docker",
		"{\"https://index.docker.io/v1/\":" LOGIN("hub") ",\"http://reg.tld\":" LOGIN(
			"any") ","
			       "\"reg.tld/team\":" LOGIN("team") ",\"reg.tld:5000\":" LOGIN(
				       "port") ",\"localhost\":" LOGIN("local") ",\"bad\":7,\"team\":" LOGIN("trap") "}");
	expect_login(auth, "busybox", "hub");
	expect_login(auth, "team/busybox:1", "hub");
	expect_login(auth, "docker.io/team/busybox", "hub");
	expect_login(auth, "index.docker.io/busybox", "hub");
	expect_login(auth, "registry-1.docker.io/busybox", "hub");
	expect_login(auth, "reg.tld/busybox:1", "any");
	expect_login(auth, "reg.tld/team/busybox@sha256:00", "team");
	expect_login(auth, "reg.tld:5000/team/busybox", "port");
	expect_login(auth, "localhost/busybox", "local");
	expect_login(auth, "reg.tld.evil/busybox", NULL);
	expect_login(auth, "other.tld/busybox", NULL);
	engine_auth_free(auth);
}

static void dockercfg_entries(void **state)
{
	(void)state;
	// user:pass:word; no colon; not base64; not a string
	struct engine_auth *auth = engine_auth_new("dockercfg", "{\"a.tld\":{\"auth\":\"dXNlcjpwYXNzOndvcmQ=\"},"
								"\"b.tld\":{\"auth\":\"dXNlcg==\"},"
								"\"c.tld\":{\"auth\":\"***\"},\"d.tld\":{\"auth\":1},"
								"\"e.tld\":{},\"f.tld\":[]}");
	_cleanup_json_ json_object *login = engine_auth_for(auth, "a.tld/x");
	assert_string_equal(json_get_string(login, "username"), "user");
	assert_string_equal(json_get_string(login, "password"), "pass:word");
	expect_login(auth, "b.tld/x", NULL);
	expect_login(auth, "c.tld/x", NULL);
	expect_login(auth, "d.tld/x", NULL);
	expect_login(auth, "e.tld/x", NULL);
	engine_auth_free(auth);
}

static void useless_data_gives_no_logins(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
		{NULL, NULL},   {"", "{}"},      {"other", "{}"},       {"docker", NULL},
		{"docker", ""}, {"docker", "["}, {"dockercfg", "[{}]"}, {"docker", "{\"a\":{\"username\":"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct engine_auth *auth = engine_auth_new(cases[i][0], cases[i][1]);
		expect_login(auth, "a/b", NULL);
		expect_login(auth, "a.tld/b", NULL);
		engine_auth_free(auth);
	}
}

// --- the daemon's answers ---

static void on_manifest(const struct docker_error *err, const struct docker_manifest *manifest, void *arg)
{
	struct fake *fake = arg;
	fake->err = *err;
	if (manifest)
		snprintf(fake->text, sizeof(fake->text), "%s %s", manifest->digest, manifest->media_type);
	loop_stop(fake->loop);
}

static void manifest_answers(void **state)
{
	(void)state;
	static const struct {
		const char *answer, *text, *message;
		enum docker_failure failure;
	} cases[] = {
		{ANSWER("200 OK", "{\"Descriptor\":{\"mediaType\":\"m\",\"digest\":\"sha256:1\",\"size\":1}}"),
		 "sha256:1 m", "", DOCKER_OK},
		{ANSWER("200 OK", "{\"Descriptor\":{\"digest\":\"sha256:1\"}}"), "sha256:1 ", "", DOCKER_OK},
		{ANSWER("200 OK", "{\"Descriptor\":{}}"), "", "cannot read the answer of the Docker daemon: no digest",
		 DOCKER_REFUSED},
		{ANSWER("200 OK", "{\"Descriptor\":7}"), "", "cannot read the answer of the Docker daemon: no digest",
		 DOCKER_REFUSED},
		{ANSWER("404 Not Found", "{\"message\":\"manifest unknown\"}"), "",
		 "Error response from daemon: manifest unknown", DOCKER_NOT_FOUND},
		{ANSWER("503 Service Unavailable", "{\"message\":\"unavailable: service unavailable\"}"), "",
		 "Error response from daemon: unavailable: service unavailable", DOCKER_REFUSED},
		{ANSWER("503 Service Unavailable", "{\"message\":\"daemon is shutting down\"}"), "",
		 "Error response from daemon: daemon is shutting down", DOCKER_UNKNOWN},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct step step = {.answer = cases[i].answer};
		struct fake *fake = fake_new(&step, 1, 1);
		_cleanup_json_ json_object *auth = json_object_new_object();
		json_add_string(auth, "username", "u?\?>");
		docker_manifest(fake->docker, "r.tld:5/a b", auth, on_manifest, fake);
		loop_run(fake->loop);
		assert_int_equal(fake->err.failure, cases[i].failure);
		assert_string_equal(fake->text, cases[i].text);
		assert_string_equal(fake->err.message, cases[i].message);
		if (cases[i].failure != DOCKER_OK)
			assert_string_equal(fake->err.name, "CannotPullImageManifestError");
		assert_non_null(strstr(fake->requests[0], "GET /distribution/r.tld%3A5/a%20b/json"));
		// URL-safe base64 of {"username":"u?\?>"}
		assert_non_null(strstr(fake->requests[0], "X-Registry-Auth: eyJ1c2VybmFtZSI6InU_Pz4ifQ=="));
		fake_free(fake);
	}
}

static void tag_call(void **state)
{
	(void)state;
	struct step step = {.answer = ANSWER("201 Created", "")};
	struct fake *fake = fake_new(&step, 1, 1);
	docker_image_tag(fake->docker, "r.tld:5/a@sha256:1", "r.tld:5/a:x", on_plain, fake);
	loop_run(fake->loop);
	assert_int_equal(fake->err.failure, DOCKER_OK);
	assert_non_null(
		strstr(fake->requests[0], "POST /images/r.tld%3A5/a%40sha256%3A1/tag?repo=r.tld%3A5%2Fa&tag=x"));
	fake_free(fake);
}

#define HEX "0123456789012345678901234567890123456789012345678901234567890123"

static void canonical_references(void **state)
{
	(void)state;
	static const struct {
		const char *reference, *digest, *want;
	} cases[] = {
		{"busybox", "sha256:" HEX, "busybox@sha256:" HEX},
		{"r.tld:5/a:1", "sha256:" HEX, "r.tld:5/a@sha256:" HEX},
		{"r.tld:5/A:1", "sha256:" HEX, NULL},
		{"r.tld:5/a:1", "sha256:1", NULL},
		{"r.tld:5/a:1", "x&tag=evil", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err;
		_cleanup_free_ char *found = docker_canonical(cases[i].reference, cases[i].digest, &err);
		assert_true(str_equal(found, cases[i].want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(longest_key_of_the_same_host),
		cmocka_unit_test(dockercfg_entries),
		cmocka_unit_test(useless_data_gives_no_logins),
		cmocka_unit_test(manifest_answers),
		cmocka_unit_test(tag_call),
		cmocka_unit_test(canonical_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
