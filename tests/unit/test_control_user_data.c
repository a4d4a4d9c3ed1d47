// EC2 user data: settings in it, and the cloud-init guard. The metadata service is faked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/util.h"
#include "control/user_data.h"

static const char *answer;
static long answer_status;

void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg)
{
	struct error err = {.code = ENOENT, .message = "imds"};

	(void)imds;
	assert_string_equal(path, "user-data");
	done(answer, answer_status, answer ? NULL : &err, arg);
}

static const char *get(const char *name)
{
	(void)name;
	return NULL;
}

static int code = -1;
static void on_done(int exit_code, void *arg)
{
	(void)arg;
	code = exit_code;
}

static void test_user_data(void **state)
{
	static const char none[] = "{\"v1\":{\"datasource\":\"DataSourceNone\",\"errors\":[]}}";
	static const struct {
		const char *body;
		long status;
		const char *result; // cloud-init's; NULL: no file
		int code;
		const char *cluster;
	} cases[] = {
		{"{\"ECSAgentConfiguration\":{\"Cluster\":\"ud\"}}", 200, NULL, 0, "ud"},
		{"{\"ECSAgentConfiguration\":{\"AvailableLoggingDrivers\":[\"zz\"]}}", 200, NULL, 1, ""},
		{NULL, 404, none, 0, ""},
		{NULL, 0, none, 0, ""},
		{NULL, 500, none, 0, ""},
		{"", 200, none, 0, ""},
		{"#cloud-config", 200, none, 5, ""},
		{"#cloud-config", 200, "{\"v1\":{\"datasource\":\"DataSourceEc2Local\"}}", 0, ""},
		{"#cloud-config", 200, "{\"v1\":{}}", 0, ""},
		{"#cloud-config", 200, "{\"v1\":7}", 0, ""},
		{"#cloud-config", 200, "{\"v1\":", 0, ""},
		{"#cloud-config", 200, "", 0, ""},
		{"#cloud-config", 200, NULL, 0, ""},
	};
	char path[] = "/tmp/ecsd-test-result-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config config;
		struct user_data read = {.config = &config, .cloud_init_result = path, .done = on_done};
		assert_int_equal(config_load(&config, get, NULL), 0);
		unlink(path);
		if (cases[i].result)
			assert_int_equal(write_file_atomic(path, cases[i].result, strlen(cases[i].result), 0600), 0);
		answer = cases[i].body;
		answer_status = cases[i].status;
		code = -1;
		user_data_read(&read);
		if (code != cases[i].code)
			fail_msg("case %zu: exit code %d", i, code);
		assert_string_equal(config.cluster, cases[i].cluster);
		config_free(&config);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_user_data)};

	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
