// control/acs_messages.c: addresses, bounds of what is decoded, what may be logged of it.
#include "common/util.h"
#include "common/websocket.h"
#include "control/acs_messages.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_url(void **state)
{
	struct acs_address address = {
		.endpoint = "http://h", .cluster = "a b", .instance_arn = "i", .docker_version = ""};
	struct acs_url_parts parts;
	struct error err;
	char *url;

	(void)state;
	url = acs_url(&address, &err);
	assert_string_equal(strchr(url, '&'),
			    "&agentVersion=1.105.1&clusterArn=a%20b&containerInstanceArn=i&protocolVersion=2"
			    "&sendCredentials=false&seqNum=1");
	acs_url_split(url, &parts);
	assert_int_equal(parts.host_len, 1);
	assert_int_equal(parts.path_len, 3);
	assert_memory_equal(parts.path, "/ws", 3);
	free(url);
	for (size_t i = 0; i < 5; i++) {
		address.endpoint = (const char *[]){"", "ftp://h", "https://", "https://h?x", NULL}[i];
		assert_null(acs_url(&address, &err));
	}
}

static void test_too_many(void **state)
{
	struct buf text = {0};
	struct acs_message message;
	struct error err;

	(void)state;
	buf_printf(&text, "{\"type\":\"PayloadMessage\",\"message\":{\"tasks\":[null");
	for (int i = 0; i < ACS_PAYLOAD_TASKS_MAX; i++)
		buf_printf(&text, ",{}");
	buf_printf(&text, "]}}");
	assert_int_equal(acs_message_decode(text.data, text.len, &message, &err), -E2BIG);
	assert_int_equal(acs_message_decode(text.data, WEBSOCKET_MESSAGE_MAX + 1, &message, &err), -EMSGSIZE);
	buf_free(&text);
}

static void test_excerpt(void **state)
{
	char out[ACS_EXCERPT_MAX + 1], text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	acs_excerpt(text, sizeof(text), out);
	assert_int_equal(strlen(out), ACS_EXCERPT_MAX);
	acs_excerpt("x\n\"SecretAccessKey\":\"k\"", 23, out);
	assert_string_equal(out, "x?\"");
	acs_excerpt("{\"roleCredentials\":{", 20, out);
	assert_string_equal(out, "{\"");
	acs_excerpt("{\"IAMRoleCredentialsMessage\"}", 29, out);
	assert_string_equal(out, "{\"IAMRoleCredentialsMessage\"}");
	memcpy(text + ACS_EXCERPT_MAX - 3, "secretAccessKey", 15);
	acs_excerpt(text, sizeof(text), out);
	assert_int_equal(strlen(out), ACS_EXCERPT_MAX - 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_excerpt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
