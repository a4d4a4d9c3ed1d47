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

#define GATEWAY4 "\"ipv4Addresses\":[{}],\"subnetGatewayIpv4Address\":\"10.0.0.1/24\""
#define IDS ",\"macAddress\":\"02:00:00:00:00:09\",\"ec2Id\":\"eni-1\""
#define VLAN ",\"interfaceAssociationProtocol\":\"vlan\",\"interfaceVlanProperties\":"

// §12.5.1, in the order of the checks. want NULL: valid.
static const struct {
	const char *members, *want;
} enis[] = {
	{"", "eni message validation: no ipv4 addresses in the message"},
	{"\"ipv4Addresses\":[]", "eni message validation: no ipv4 addresses in the message"},
	{"\"ipv4Addresses\":[{}]", "eni message validation: no subnet gateway ipv4 address in the message"},
	{"\"ipv4Addresses\":[{}],\"subnetGatewayIpv4Address\":\"10.0.0.1\"",
	 "eni message validation: invalid subnet gateway ipv4 address 10.0.0.1"},
	{"\"ipv4Addresses\":[{}],\"subnetGatewayIpv4Address\":\"10.0.0.1/24/1\"",
	 "eni message validation: invalid subnet gateway ipv4 address 10.0.0.1/24/1"},
	{"\"ipv4Addresses\":[{}],\"subnetGatewayIpv4Address\":\"\"",
	 "eni message validation: invalid subnet gateway ipv4 address "},
	{"\"ipv6Addresses\":[{}],\"subnetGatewayIpv4Address\":\"10.0.0.1/24\"",
	 "eni message validation: no subnet gateway ipv6 address in the message"},
	{"\"ipv6Addresses\":[{}],\"subnetGatewayIpv6Address\":\"fe80::1\"",
	 "eni message validation: invalid subnet gateway ipv6 address fe80::1"},
	{GATEWAY4, "eni message validation: empty eni mac address in the message"},
	{GATEWAY4 ",\"macAddress\":null", "eni message validation: empty eni mac address in the message"},
	{GATEWAY4 ",\"macAddress\":\"\"", "eni message validation: empty eni id in the message"},
	{GATEWAY4 IDS ",\"interfaceAssociationProtocol\":\"veth\"", "invalid interface association protocol: veth"},
	{GATEWAY4 IDS ",\"interfaceAssociationProtocol\":\"\"", "invalid interface association protocol: "},
	{GATEWAY4 IDS ",\"interfaceAssociationProtocol\":\"vlan\"", "vlan interface properties missing"},
	{GATEWAY4 IDS VLAN "{\"vlanId\":\"1\"}", "vlan interface properties missing"},
	{GATEWAY4 IDS VLAN "{\"vlanId\":\"\",\"trunkInterfaceMacAddress\":\"m\"}", "vlan interface properties missing"},
	{GATEWAY4 IDS VLAN "{\"vlanId\":\"1\",\"trunkInterfaceMacAddress\":\"m\"}", NULL},
	{GATEWAY4 IDS ",\"interfaceAssociationProtocol\":\"default\"", NULL},
	{GATEWAY4 IDS ",\"domainName\":[\"d\"],\"domainNameServers\":[\"10.0.0.2\"],\"index\":1", NULL},
	{"\"ipv6Addresses\":[{\"address\":\"fd00::2\",\"primary\":true}],"
	 "\"subnetGatewayIpv6Address\":\"fe80::1/64\"" IDS,
	 NULL},
};

static void expect_verdict(int r, const struct error *err, const char *want)
{
	assert_int_equal(r, want ? -EINVAL : 0);
	if (want)
		assert_string_equal(err->message, want);
}

static void test_enis(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(enis); i++) {
		struct acs_message message;
		struct error err = {0};
		_cleanup_free_ char *text = xasprintf("{\"type\":\"AttachInstanceNetworkInterfacesMessage\","
						      "\"message\":{\"messageId\":\"m\",\"clusterArn\":"
						      "\"c\",\"containerInstanceArn\":\"i\",\"waitTimeoutMs\":1,"
						      "\"elasticNetworkInterfaces\":[{" GATEWAY4 IDS "},{%s}]}}",
						      enis[i].members);

		assert_int_equal(acs_message_decode(text, strlen(text), &message, &err), 0);
		assert_int_equal(message.type, ACS_ATTACH_INSTANCE_ENI);
		expect_verdict(acs_attach_eni_check(&message.attach_eni, false, &err), &err, enis[i].want);
		acs_message_free(&message);
	}
}

static void test_attach_members(void **state)
{
	static const struct {
		const char *members, *want;
		bool of_task;
	} rows[] = {
		{"", "no messageId", false},
		{"\"messageId\":\"m\"", "no clusterArn", false},
		{"\"messageId\":\"m\",\"clusterArn\":\"c\"", "no containerInstanceArn", false},
		{"\"messageId\":\"m\",\"clusterArn\":\"c\",\"containerInstanceArn\":\"i\"", "no taskArn", true},
		{"\"messageId\":\"m\",\"clusterArn\":\"c\",\"containerInstanceArn\":\"i\"", "no waitTimeoutMs above 0",
		 false},
		{"\"messageId\":\"m\",\"clusterArn\":\"c\",\"containerInstanceArn\":\"i\",\"taskArn\":\"t\","
		 "\"waitTimeoutMs\":-1",
		 "no waitTimeoutMs above 0", true},
		{"\"messageId\":\"m\",\"clusterArn\":\"c\",\"containerInstanceArn\":\"i\",\"waitTimeoutMs\":1",
		 "no elasticNetworkInterfaces", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct acs_message message;
		struct error err = {0};
		_cleanup_free_ char *text = xasprintf(
			"{\"type\":\"AttachTaskNetworkInterfacesMessage\",\"message\":{%s}}", rows[i].members);

		assert_int_equal(acs_message_decode(text, strlen(text), &message, &err), 0);
		expect_verdict(acs_attach_eni_check(&message.attach_eni, rows[i].of_task, &err), &err, rows[i].want);
		acs_message_free(&message);
	}
}

#define ARN "arn:aws:ecs:us-west-2:123456789012:x/1"
#define PROP(n, v) "{\"name\":\"" n "\",\"value\":\"" v "\"}"
#define RESOURCE "\"messageId\":\"m\",\"clusterArn\":\"" ARN "\",\"containerInstanceArn\":\"" ARN "\""
#define ATTACHMENT(type, properties)                                                         \
	RESOURCE ",\"attachment\":{\"attachmentArn\":\"" ARN "\",\"attachmentType\":\"" type \
		 "\",\"attachmentProperties\":[" properties "]}"
#define EBS                   \
	PROP("volumeId", "v") \
	"," PROP("volumeSizeGib", "1") "," PROP("deviceName", "d") "," PROP("sourceVolumeHostPath", "p")

// §12.6
static void test_resources(void **state)
{
	static const struct {
		const char *members, *want;
	} rows[] = {
		{"", "no messageId"},
		{"\"messageId\":\"m\",\"clusterArn\":\"lab\"", "clusterArn is no ARN"},
		{"\"messageId\":\"m\",\"clusterArn\":\"arn:aws:ecs:us:1\"", "clusterArn is no ARN"},
		{"\"messageId\":\"m\",\"clusterArn\":\"" ARN "\"", "containerInstanceArn is no ARN"},
		{RESOURCE, "no attachment"},
		{RESOURCE ",\"attachment\":{}", "attachmentArn is no ARN"},
		{ATTACHMENT("amazonebs", "{\"name\":\"volumeId\"}"), "attachment property without name or value"},
		{ATTACHMENT("amazonebs", PROP("", "x")), "attachment property without name or value"},
		{ATTACHMENT("amazonebs", EBS), "no attachment property volumeName"},
		{ATTACHMENT("amazonebs", EBS "," PROP("volumeName", "n") "," PROP("fileSystem", "zfs")),
		 "unknown fileSystem zfs"},
		{ATTACHMENT("amazonebs", EBS "," PROP("volumeName", "n") "," PROP("fileSystem", "ext4")), NULL},
		{ATTACHMENT("amazonebs", EBS "," PROP("volumeName", "n")), NULL},
		{ATTACHMENT("other", ""), "unknown resourceType "},
		{ATTACHMENT("other", PROP("resourceType", "Tape")), "unknown resourceType Tape"},
		{ATTACHMENT("other", PROP("resourceType", "ElasticBlockStorage") "," PROP("volumeID", "v")),
		 "no attachment property deviceName"},
		{ATTACHMENT("other", PROP("resourceType",
					  "EphemeralStorage") "," PROP("volumeID", "v") "," PROP("deviceName", "d")),
		 "no attachment property volumeSizeInGiB"},
		{ATTACHMENT("other",
			    PROP("resourceType", "EphemeralStorage") "," PROP("volumeID", "v") "," PROP(
				    "deviceName", "d") "," PROP("volumeSizeInGiB",
								"1") "," PROP("requestedSizeInGiB",
									      "1") "," PROP("resourceID", "r")),
		 NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct acs_message message;
		struct error err = {0};
		_cleanup_free_ char *text =
			xasprintf("{\"type\":\"ConfirmAttachmentMessage\",\"message\":{%s}}", rows[i].members);

		assert_int_equal(acs_message_decode(text, strlen(text), &message, &err), 0);
		expect_verdict(acs_attach_resource_check(&message.attach_resource, &err), &err, rows[i].want);
		acs_message_free(&message);
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
		cmocka_unit_test(test_enis),
		cmocka_unit_test(test_attach_members),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_excerpt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
