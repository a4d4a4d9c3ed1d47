// The ACS session with everything around it faked: addresses, decoding of every malformed frame in
// shared/transcripts/bad-messages.jsonl, what is acknowledged and when, and the delays between connections.
#include "test_control_acs_fakes.h"

#define ENVELOPE "\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"" INSTANCE "\""
#define ACK                                                                                                   \
	"{\"type\":\"AckRequest\",\"message\":{\"cluster\":\"" CLUSTER "\",\"containerInstance\":\"" INSTANCE \
	"\",\"messageId\":\"m\"}}"

// --- a session ---

static struct acs *acs;
static unsigned opened; // on_open

static void on_open(void *arg)
{
	(*(unsigned *)arg)++;
}

static int setup(void **state)
{
	struct acs_options options = {
		.loop = &fake_loop, .docker_version = "20.10.24+dfsg1", .on_open = on_open, .arg = &opened};

	(void)state;
	opened = 0;
	sent_count = commit_count = hold_count = task_count = 0;
	opens = frees = endpoint_asked = 0;
	events[0] = ws_close_reason[0] = '\0';
	accepts = true;
	save_fails = endpoint_fails = false;
	manifest_saved = -2;
	acs = acs_new(&options);
	acs_start(acs);
	fake_advance(0);
	ws_callbacks->on_open(ws_arg);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	acs_free(acs);
	for (size_t i = 0; i < task_count; i++)
		task_free(tasks[i]);
	assert_int_equal(fake_timers_running(), 0);
	assert_int_equal(commit_count + hold_count, 0);
	return 0;
}

static void receive(const char *text)
{
	ws_callbacks->on_message(text, strlen(text), false, ws_arg);
}

static void expect_sent(const char *text)
{
	assert_true(sent_count > 0);
	assert_string_equal(sent[0], text);
	sent_count--;
	memmove(sent, sent + 1, sizeof(sent[0]) * sent_count);
}

static void expect_events(const char *text)
{
	assert_string_equal(events, text);
	events[0] = '\0';
}

static void end_with(int close_code, bool eof, long http_status, const char *body)
{
	struct websocket_end end = {.opened = !http_status,
				    .close_code = close_code,
				    .eof = eof,
				    .http_status = http_status,
				    .body = body ? body : ""};

	if (!close_code && !eof)
		error_set(&end.error, ECONNRESET, "reset");
	end.result = close_code || eof || http_status ? 0 : -ECONNRESET;
	ws_callbacks->on_end(&end, ws_arg);
}

// Milliseconds until the next connection attempt.
static uint64_t next_open(void)
{
	uint64_t start = fake_loop.now;
	unsigned before = opens;

	while (opens == before && fake_loop.now - start < 2 * 3600000)
		fake_advance(1);
	return fake_loop.now - start - 1;
}

// --- tests: address ---

static void test_url(void **state)
{
	const char *want = "https://acs.example:8443/acs/"
			   "ws?agentHash=deadbeef&agentVersion=1.105.1&clusterArn=lab&containerInstanceArn="
			   "arn%3Aaws%3Aecs%3Aus-west-2%3A123456789012%3Acontainer-instance%2Flab%2F1&dockerVersion="
			   "DockerVersion%3A%2020.10.24%2Bdfsg1&protocolVersion=2&sendCredentials=true&seqNum=1";

	(void)state;
	// The commit differs from build to build.
	assert_memory_equal(ws_url, want, strlen("https://acs.example:8443/acs/ws?agentHash="));
	assert_string_equal(strchr(ws_url, '&'), strchr(want, '&'));
	assert_non_null(
		strstr(ws_authorization, "/us-west-2/ecs/aws4_request, SignedHeaders=host;x-amz-date, Signature="));
}

// --- tests: decoding ---

static void test_malformed(void **state)
{
	static const char *const frames[] = {
		// bad-messages.jsonl
		"not json",
		"{}",
		"[]",
		"{\"type\":\"NoSuchMessage\",\"message\":{}}",
		"{\"type\":\"PayloadMessage\"}",
		"{\"type\":\"PayloadMessage\",\"message\":\"x\"}",
		"{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":5}}",
		// more of the kind
		"",
		"null",
		"5",
		"\"x\"",
		"{\"type\":5,\"message\":{}}",
		"{\"type\":\"\",\"message\":{}}",
		"{\"type\":\"HeartbeatMessage\",\"message\":[]}",
		"{\"type\":\"PayloadMessage\",\"message\":{\"tasks\":{}}}",
		"{\"type\":\"PayloadMessage\",\"message\":{\"tasks\":[5]}}",
		"{\"PayloadMessage\":\"x\"}",
		"{\"ServerException\":5}",
		"{\"ServerException\":\"a\",\"BadRequestException\":\"b\"}",
		"{\"type\":\"TaskManifestMessage\",\"message\":{\"tasks\":[null]}}",
		"{\"type\":\"IAMRoleCredentialsMessage\",\"message\":{\"roleCredentials\":\"x\"}}",
		// a type error in a member that nobody reads
		"{\"type\":\"HeartbeatMessage\",\"message\":{\"healthy\":\"yes\"}}",
		"{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":\"m\"," ENVELOPE ",\"generatedAt\":\"now\"}}",
		"{\"type\":\"TaskManifestMessage\",\"message\":{\"timeline\":\"1\"}}",
		"{\"type\":\"TaskStopVerificationAck\",\"message\":{\"generatedAt\":[]}}",
		"{\"type\":\"StageUpdateMessage\",\"message\":{\"messageId\":\"m\",\"updateInfo\":\"x\"}}",
		"{\"type\":\"AttachTaskNetworkInterfacesMessage\",\"message\":{\"elasticNetworkInterfaces\":[null]}}",
		"{\"type\":\"AttachInstanceNetworkInterfacesMessage\",\"message\":{\"waitTimeoutMs\":\"1\"}}",
		"{\"type\":\"ConfirmAttachmentMessage\",\"message\":{\"attachment\":[]}}",
		"{\"type\":\"ServerException\",\"message\":{\"message\":5}}",
	};
	struct acs_message message;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		struct error err = {0};

		assert_true(acs_message_decode(frames[i], strlen(frames[i]), &message, &err) < 0);
		assert_true(err.code > 0 && err.message[0]);
		acs_message_free(&message);
		receive(frames[i]);
	}
	// Recognised, and nothing is done.
	receive("{\"type\":\"ErrorMessage\",\"message\":{\"message\":\"lab error\"}}");
	receive("{\"ServerException\":\"oops\"}");
	receive("{\"type\":\"CloseMessage\",\"message\":{\"message\":\"ConnectionExpired: Reconnect to continue\"}}");
	receive("{\"type\":\"AckRequest\",\"message\":{}}");
	receive("{\"type\":\"AttachTaskNetworkInterfacesMessage\",\"message\":{\"messageId\":\"m\"}}");
	// Payloads without one of the three members.
	receive("{\"type\":\"PayloadMessage\",\"message\":{" ENVELOPE ",\"tasks\":[]}}");
	receive("{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":\"m\",\"containerInstanceArn\":\"" INSTANCE
		"\"}}");
	receive("{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":\"m\",\"clusterArn\":\"" CLUSTER
		"\",\"tasks\":[]}}");
	commit();
	assert_int_equal(sent_count, 0);
	assert_true(acs_connected(acs));
	expect_events("");
}

// --- tests: answers ---

static void test_heartbeat_and_updates(void **state)
{
	(void)state;
	receive("{\"type\":\"HeartbeatMessage\",\"message\":{\"messageId\":\"h\",\"healthy\":true}}");
	expect_sent("{\"type\":\"HeartbeatAckRequest\",\"message\":{\"messageId\":\"h\"}}");
	ws_callbacks->on_message("{\"Type\":\"HeartbeatMessage\",\"Message\":{}}", 40, true, ws_arg);
	expect_sent("{\"type\":\"HeartbeatAckRequest\",\"message\":{}}");
	receive("{\"type\":\"StageUpdateMessage\",\"message\":{\"messageId\":\"u\",\"clusterArn\":\"c\","
		"\"containerInstanceArn\":\"i\"}}");
	expect_sent("{\"type\":\"NackRequest\",\"message\":{\"cluster\":\"c\",\"containerInstance\":\"i\","
		    "\"messageId\":\"u\","
		    "\"reason\":\"Updates are disabled\"}}");
	receive("{\"type\":\"PerformUpdateMessage\",\"message\":{\"messageId\":\"p\",\"updateInfo\":{\"location\":"
		"\"https://u\",\"signature\":\"0\"}}}");
	expect_sent("{\"type\":\"NackRequest\",\"message\":{\"messageId\":\"p\",\"reason\":\"Updates are disabled\"}}");
	receive("{\"type\":\"PerformUpdateMessage\",\"message\":{}}");
	receive("{\"type\":\"StageUpdateMessage\",\"message\":{\"messageId\":\"\"}}");
	assert_int_equal(sent_count, 0);
}

#define CONTAINERS \
	"\"containers\":[{\"name\":\"m\",\"image\":\"busybox:test\",\"essential\":true,\"cpu\":10,\"memory\":64}]"
#define ROLE(id)                                                                                           \
	"{\"credentialsId\":\"" id "\",\"roleArn\":\"r\",\"accessKeyId\":\"a\",\"secretAccessKey\":\"s\"," \
	"\"sessionToken\":\"t\",\"expiration\":\"2026-01-01T00:00:00Z\"}"
#define TASK_OBJECT(id, desired, more)                                                             \
	"{\"arn\":\"" TASK id "\",\"family\":\"f\",\"version\":\"1\",\"desiredStatus\":\"" desired \
	"\"," CONTAINERS more "}"
#define PAYLOAD(tasks)                                                                                              \
	"{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":\"m\"," ENVELOPE ",\"seqNum\":1,\"tasks\":[" tasks \
	"]}}"
#define ROLE_ACK(id)                                                                      \
	"{\"type\":\"IAMRoleCredentialsAckRequest\",\"message\":{\"credentialsId\":\"" id \
	"\",\"expiration\":\"2026-01-01T00:00:00Z\",\"messageId\":\"m\"}}"

static void test_payload(void **state)
{
	(void)state;
	receive(PAYLOAD(""));
	assert_int_equal(sent_count, 0);
	commit();
	expect_sent(ACK);

	// Acknowledged only when on disk and held, role first.
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING",
				    ",\"executionRoleCredentials\":" ROLE("e1") ",\"roleCredentials\":" ROLE("r1"))));
	expect_events("put(r1,0)put(e1,1)add(1)");
	assert_string_equal(tasks[0]->credentials_id, "r1");
	assert_string_equal(tasks[0]->execution_credentials_id, "e1");
	hold();
	commit();
	assert_int_equal(sent_count, 0);
	hold();
	expect_sent(ROLE_ACK("r1"));
	expect_sent(ROLE_ACK("e1"));
	expect_sent(ACK);

	// A duplicate is acknowledged again; held may come before the commit.
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING", ",\"roleCredentials\":" ROLE("r1"))));
	expect_events("put(r1,0)set(r1)add(1,known)");
	hold();
	assert_int_equal(sent_count, 0);
	commit();
	expect_sent(ROLE_ACK("r1"));
	expect_sent(ACK);

	// Tasks to stop come first; their credentials are acknowledged, nobody waits for them.
	receive(PAYLOAD(TASK_OBJECT("2", "RUNNING", "") "," TASK_OBJECT(
		"1", "STOPPED",
		",\"roleCredentials\":" ROLE("r1")) "," TASK_OBJECT("3", "STOPPED",
								    ",\"roleCredentials\":" ROLE("r3"))));
	expect_events("put(r1,0)set(r1)add(1,known)add(3)add(2)");
	commit();
	expect_sent(ROLE_ACK("r1"));
	expect_sent(ROLE_ACK("r3"));
	expect_sent(ACK);

	// Known and stopped: nothing is stored any more.
	tasks[0]->known = TASK_STOPPED;
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING", ",\"roleCredentials\":" ROLE("r1"))));
	expect_events("add(1,known)");
	commit();
	expect_sent(ROLE_ACK("r1"));
	expect_sent(ACK);
	assert_int_equal(sent_count, 0);
}

static void test_payload_refused(void **state)
{
	(void)state;
	// One task that cannot be loaded: reported, the others run, no acknowledgement.
	receive(PAYLOAD("null," TASK_OBJECT("1", "BOGUS", "") "," TASK_OBJECT("2", "RUNNING",
									      ",\"roleCredentials\":" ROLE("r2"))));
	expect_events("refused(1|UnrecogniedTaskError: Error loading task - Unrecognized TaskStatus)put(r2,0)add(2)");
	commit();
	assert_int_equal(sent_count, 0);
	assert_int_equal(hold_count, 0);
	// Of another container instance, both without a trace.
	static const char *const strangers[][2] = {
		{CLUSTER, INSTANCE "2"}, {CLUSTER, "2"}, {CLUSTER "2", INSTANCE "2"}};
	for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
		static const char *const bodies[] = {
			"PayloadMessage\",\"message\":{\"tasks\":[" TASK_OBJECT("9", "RUNNING", "") "]",
			"TaskManifestMessage\",\"message\":{\"timeline\":5,\"tasks\":[]"};
		for (size_t k = 0; k < ARRAY_SIZE(bodies); k++) {
			_cleanup_free_ char *text = xasprintf("{\"type\":\"%s,\"messageId\":\"m\",\"clusterArn\":\"%"
							      "s\",\"containerInstanceArn\":\"%s\"}}",
							      bodies[k], strangers[i][0], strangers[i][1]);
			receive(text);
		}
	}
	expect_events("");
	commit();
	assert_int_equal(sent_count, 0);
	assert_int_equal(manifest_saved, -2);
	receive(PAYLOAD(TASK_OBJECT("3", "RUNNING", ",\"roleCredentials\":{}")));
	expect_events("refused(3|UnrecogniedTaskError: Error loading task - CredentialsId is empty)");
	receive(PAYLOAD(TASK_OBJECT("3", "RUNNING", ",\"roleCredentials\":[]")));
	expect_events("refused(3|UnrecogniedTaskError: Error loading task - role credentials are not an object)");
	commit();
	assert_int_equal(sent_count, 0);
	// A feature that is not there: reported, acknowledged, credentials not kept.
	receive(PAYLOAD(TASK_OBJECT("4", "RUNNING", ",\"networkMode\":\"awsvpc\",\"roleCredentials\":" ROLE("r4"))));
	assert_non_null(strstr(events, "refused(4|"));
	assert_null(strstr(events, "put("));
	events[0] = '\0';
	commit();
	expect_sent(ROLE_ACK("r4"));
	expect_sent(ACK);
	// A known task is not reported as stopped for a payload that does not read well.
	receive(PAYLOAD(TASK_OBJECT("2", "BOGUS", "")));
	expect_events("");
	// Full disk: known tasks still stop, new ones wait for a later delivery.
	accepts = false;
	receive(PAYLOAD(
		TASK_OBJECT("5", "RUNNING", ",\"roleCredentials\":" ROLE("r5")) "," TASK_OBJECT("2", "STOPPED", "")));
	expect_events("add(2,known)");
	commit();
	assert_int_equal(sent_count, 0);
}

static void test_connection_lost(void **state)
{
	(void)state;
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING", ",\"roleCredentials\":" ROLE("r1"))));
	end_with(0, false, 0, NULL);
	assert_false(acs_connected(acs));
	assert_int_equal(commit_count + hold_count, 0);
	next_open();
	ws_callbacks->on_open(ws_arg);
	assert_int_equal(sent_count, 0);
	assert_non_null(strstr(ws_url, "&sendCredentials=false&"));
}

static void test_credentials(void **state)
{
#define REFRESH(task, type)                                                                                 \
	"{\"type\":\"IAMRoleCredentialsMessage\",\"message\":{\"messageId\":\"m\",\"taskArn\":\"" TASK task \
	"\",\"roleType\":\"" type "\",\"roleCredentials\":" ROLE("x") "}}"
	(void)state;
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING", "")));
	commit();
	expect_sent(ACK);
	expect_events("add(1)");
	receive(REFRESH("unknown", "TaskApplication"));
	receive(REFRESH("1", "TaskBogus"));
	receive("{\"type\":\"IAMRoleCredentialsMessage\",\"message\":{\"messageId\":\"m\",\"taskArn\":\"" TASK
		"1\",\"roleType\":\"TaskApplication\"}}");
	receive("{\"type\":\"IAMRoleCredentialsMessage\",\"message\":{\"taskArn\":\"" TASK
		"1\",\"roleType\":\"TaskApplication\",\"roleCredentials\":" ROLE("x") "}}");
	commit();
	expect_events("");
	assert_int_equal(sent_count, 0);
	receive(REFRESH("1", "TaskExecution"));
	expect_events("put(x,1)set(x)");
	commit();
	assert_int_equal(sent_count, 0);
	hold();
	expect_sent(ROLE_ACK("x"));
	tasks[0]->known = TASK_STOPPED;
	receive(REFRESH("1", "TaskApplication"));
	commit();
	expect_events("");
	expect_sent(ROLE_ACK("x"));
	assert_int_equal(sent_count, 0);
}

static void test_manifest(void **state)
{
#define MANIFEST(id, timeline, tasks)                                                                                 \
	"{\"type\":\"TaskManifestMessage\",\"message\":{\"messageId\":\"" id "\"," ENVELOPE ",\"timeline\":" timeline \
	",\"tasks\":[" tasks "]}}"
#define STOP(id, task)                                                           \
	"{\"type\":\"TaskStopVerificationAck\",\"message\":{\"messageId\":\"" id \
	"\",\"stopTasks\":[{\"taskArn\":\"" TASK task "\"}]}}"
	(void)state;
	receive(PAYLOAD(TASK_OBJECT("1", "RUNNING", "") "," TASK_OBJECT("2", "RUNNING",
									"") "," TASK_OBJECT("3", "STOPPED", "")));
	commit();
	expect_sent(ACK);
	expect_events("add(3)add(1)add(2)");
	save_fails = true;
	receive(MANIFEST("m", "1000", ""));
	assert_int_equal(sent_count, 0);
	save_fails = false;
	receive(MANIFEST("m", "1000",
			 "{\"taskArn\":\"" TASK "1\",\"desiredStatus\":\"RUNNING\"},{\"taskArn\":\"" TASK
			 "2\",\"desiredStatus\":\"STOPPED\"}"));
	assert_int_equal(manifest_saved, 1000);
	expect_sent(ACK);
	expect_sent("{\"type\":\"TaskStopVerificationMessage\",\"message\":{\"messageId\":\"m\",\"stopCandidates\":[{"
		    "\"desiredStatus\":"
		    "\"STOPPED\",\"taskArn\":\"" TASK "2\",\"taskClusterArn\":\"" CLUSTER "\"}]}}");
	receive(MANIFEST("m0", "1000", "")); // not newer
	receive(STOP("m0", "2"));            // not the last manifest
	receive("{\"type\":\"TaskStopVerificationAck\",\"message\":{}}");
	expect_events("");
	receive(STOP("m", "2"));
	expect_events("stop(2)");
	receive(STOP("m", "1")); // once only
	expect_events("");
	receive(MANIFEST("m", "1001", "{\"taskArn\":\"" TASK "1\",\"desiredStatus\":\"RUNNING\"}"));
	expect_sent(ACK);
	assert_int_equal(sent_count, 0); // no candidate
	// A payload's seqNum moves the number in memory only.
	receive("{\"type\":\"PayloadMessage\",\"message\":{\"messageId\":\"m\"," ENVELOPE ",\"seqNum\":2000}}");
	commit();
	expect_sent(ACK);
	receive(MANIFEST("m", "1500", ""));
	assert_int_equal(sent_count, 0);
	assert_int_equal(manifest_saved, 1001);
}

static void test_manifest_numbers(void **state)
{
#define BARE_MANIFEST "{\"type\":\"TaskManifestMessage\",\"message\":{\"messageId\":\"m\"," ENVELOPE "}}"
	(void)state;
	// Nothing saved: 0 is remembered, and neither 0 nor a manifest without a number is newer.
	receive(BARE_MANIFEST);
	receive(MANIFEST("m", "0", ""));
	receive(MANIFEST("m", "-5", ""));
	receive("{\"type\":\"TaskManifestMessage\",\"message\":{" ENVELOPE ",\"timeline\":1}}"); // no id
	assert_int_equal(sent_count, 0);
	assert_int_equal(manifest_saved, -2);
	receive(MANIFEST("m", "1", ""));
	expect_sent(ACK);
	receive(MANIFEST("m", "1", "")); // equal
	receive(STOP("other", "1"));
	assert_int_equal(sent_count, 0);
	// The number and the id outlive the connection.
	end_with(1000, false, 0, NULL);
	next_open();
	ws_callbacks->on_open(ws_arg);
	receive(MANIFEST("m0", "1", ""));
	assert_int_equal(sent_count, 0);
	receive(STOP("m", "gone")); // unknown tasks are no concern
	expect_events("stop(gone)");
	// An absent ARN of cluster or instance is left out of the answer.
	receive("{\"type\":\"TaskManifestMessage\",\"message\":{\"messageId\":\"m\",\"timeline\":9223372036854775807}"
		"}");
	expect_sent("{\"type\":\"AckRequest\",\"message\":{\"messageId\":\"m\"}}");
	receive(MANIFEST("m", "9223372036854775808", "")); // no number of 64 bits
	assert_int_equal(sent_count, 0);
	assert_int_equal(manifest_saved, INT64_MAX);
}

static int setup_discarded(void **state)
{
	int r;

	manifest_initial = -1;
	r = setup(state);
	manifest_initial = 0;
	return r;
}

static void test_manifest_after_discarded_state(void **state)
{
	(void)state;
	receive(BARE_MANIFEST);
	expect_sent(ACK);
	assert_int_equal(manifest_saved, 0);
	receive(MANIFEST("m", "0", ""));
	assert_int_equal(sent_count, 0);
}

// Valid or not, nothing is acknowledged while nothing can be attached.
static void test_attachments(void **state)
{
#define ENI                                                                                               \
	"{\"macAddress\":\"02:00:00:00:00:09\",\"ec2Id\":\"eni-1\",\"ipv4Addresses\":[{\"primary\":true," \
	"\"privateAddress\":\"10.0.0.9\"}],\"subnetGatewayIpv4Address\":\"10.0.0.1/24\"}"
#define ATTACH(type, more) \
	"{\"type\":\"" type "\",\"message\":{\"messageId\":\"a\"," ENVELOPE ",\"waitTimeoutMs\":60000" more "}}"
	(void)state;
	receive(ATTACH("AttachTaskNetworkInterfacesMessage",
		       ",\"taskArn\":\"" TASK "1\",\"elasticNetworkInterfaces\":[" ENI "]"));
	receive(ATTACH("AttachInstanceNetworkInterfacesMessage", ",\"elasticNetworkInterfaces\":[" ENI "]"));
	receive(ATTACH("AttachTaskNetworkInterfacesMessage", ""));
	receive(ATTACH("ConfirmAttachmentMessage",
		       ",\"attachment\":{\"attachmentArn\":\"arn:aws:ecs:us-west-2:123456789012:attachment/"
		       "1\",\"attachmentProperties\":[{\"name\":\"resourceType\",\"value\":\"ElasticBlockStorage\"},{"
		       "\"name\":\"volumeID\",\"value\":\"vol-1\"},{\"name\":\"deviceName\",\"value\":\"/dev/"
		       "sdf\"}]}"));
	receive("{\"type\":\"ConfirmAttachmentMessage\",\"message\":{}}");
	assert_int_equal(sent_count, 0);
	assert_true(acs_connected(acs));
	expect_events("");
}

// --- tests: connections ---

static void test_delays(void **state)
{
	uint64_t delay;

	(void)state;
	assert_int_equal(opened, 1);
	// Clean ends after a minute: at once. Before: backoff, 250 ms growing by half, up to 20 % more.
	fake_advance(60000);
	end_with(1000, false, 0, NULL);
	assert_true(next_open() <= 1);
	ws_callbacks->on_open(ws_arg);
	end_with(0, true, 0, NULL);
	delay = next_open();
	assert_in_range(delay, 249, 301);
	ws_callbacks->on_open(ws_arg);
	end_with(1008, false, 0, NULL);
	delay = next_open();
	assert_in_range(delay, 374, 451);
	end_with(0, false, 500, "oops");
	delay = next_open();
	assert_in_range(delay, 561, 676);
	// A session of two minutes has reset the backoff.
	ws_callbacks->on_open(ws_arg);
	for (int i = 0; i < 6; i++) {
		fake_advance(20000);
		receive("{\"type\":\"HeartbeatMessage\",\"message\":{}}");
	}
	end_with(1013, false, 0, NULL);
	delay = next_open();
	assert_in_range(delay, 249, 301);
	// Deregistered: an hour, and the backoff is as before.
	end_with(0, false, 400, "{\"InactiveInstanceException\":\"gone\"}");
	delay = next_open();
	assert_in_range(delay, 3599999, 3600000);
	end_with(0, false, 400, "{\"type\":\"AccessDeniedException\",\"message\":{\"message\":\"no\"}}");
	delay = next_open();
	assert_in_range(delay, 374, 451);
	assert_int_equal(opened, 4); // a refused handshake opens nothing
	// The address cannot be had.
	endpoint_fails = true;
	end_with(0, false, 0, NULL);
	fake_advance(5000);
	assert_true(endpoint_asked > 9);
	endpoint_fails = false;
}

static void test_timers(void **state)
{
	unsigned before = frees;

	(void)state;
	fake_advance(59999);
	assert_int_equal(frees, before);
	fake_advance(60002); // 1 min + U[0, 1 min) without a message
	assert_int_equal(frees, before + 1);
	fake_advance(1000);
	ws_callbacks->on_open(ws_arg);
	before = frees;
	for (int i = 0; i < 43; i++) { // 36 minutes of heartbeats: the age limit comes
		fake_advance(50000);
		if (!ws_close_reason[0])
			receive("{\"type\":\"HeartbeatMessage\",\"message\":{}}");
		sent_count = 0;
	}
	fake_advance(200000);
	assert_string_equal(ws_close_reason, "ConnectionExpired: Reconnect to continue");
	assert_int_equal(frees, before + 1); // and a peer that does not answer is dropped
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_url),
		T(test_malformed),
		T(test_heartbeat_and_updates),
		T(test_payload),
		T(test_payload_refused),
		T(test_connection_lost),
		T(test_credentials),
		T(test_manifest),
		T(test_delays),
		T(test_timers),
		T(test_manifest_numbers),
		T(test_attachments),
		cmocka_unit_test_setup_teardown(test_manifest_after_discarded_state, setup_discarded, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
