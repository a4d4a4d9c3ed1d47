// What the awslogs destination makes of answers of CloudWatch Logs: every row of the error table, and rejected events.
#include "test_awslogs_bed.h"

// --- errors ---

// Whatever goes wrong: each line arrives once, in order, and the calls are those.
static void the_error_table(void **state)
{
	static const struct {
		struct rule rule;
		const char *calls;
		bool at_once; // without a pause of a minute
		bool below;   // repeated by what is below the destination already
	} cases[] = {
		{{"PutLogEvents", 3, 400, "ThrottlingException", NULL, NULL}, "SPPPP", true, false},
		{{"PutLogEvents", 2, 400, "LimitExceededException", NULL, NULL}, "SPPP", true, false},
		{{"PutLogEvents", 2, 503, "ServiceUnavailableException", NULL, NULL}, "SPPP", true, false},
		{{"PutLogEvents", 2, 500, NULL, "", NULL}, "SPPP", true, false},
		{{"PutLogEvents", 2, 502, NULL, "<html>bad gateway</html>", NULL}, "SPPP", true, false},
		{{"PutLogEvents", 1, 200, NULL, "<html>not the service</html>", NULL}, NULL, true, false},
		{{"PutLogEvents", 1, -1, NULL, NULL, NULL}, "SPP", true, true},
		{{"PutLogEvents", 1, 0, NULL, NULL, NULL}, "SPP", true, false},
		{{"PutLogEvents", 1, 400, "InvalidSequenceTokenException", "{\"expectedSequenceToken\":\"77\"}", NULL},
		 "SPP",
		 true,
		 false},
		{{"PutLogEvents", 1, 400, "AccessDeniedException", NULL, NULL}, "SPP", false, false},
		{{"PutLogEvents", 1, 403, NULL, "<html>a proxy</html>", NULL}, "SPP", false, false},
		{{"PutLogEvents", 1, 400, "UnrecognizedClientException", NULL, NULL}, "SPP", true, true},
		{{"PutLogEvents", 1, 400, "ExpiredTokenException", NULL, NULL}, "SPP", true, true},
		{{"PutLogEvents", 1, 400, "ExpiredToken", NULL, NULL}, "SPP", true, false},
		{{"PutLogEvents", 3, 403, "SignatureDoesNotMatch", NULL, NULL}, "SPPPP", false, false},
		{{"PutLogEvents", 1, 413, NULL, "", NULL}, "SPPP", true, false},
		{{"PutLogEvents", 1, 400, "InvalidParameterException", NULL, NULL}, "SPPP", true, false},
		{{"PutLogEvents", 1, 400, "ResourceNotFoundException", NULL, NULL}, "SPSP", true, false},
		{{"PutLogEvents", 2, 400, "ResourceNotFoundException", NULL, NULL}, "SPSPSP", false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (i > 0)
			setup(NULL);
		struct stream *s = open_one();
		rules[0] = cases[i].rule;
		line(s, "a");
		line(s, "b");
		uint64_t began = loop_now(server.loop);
		wait_for(all_delivered);
		if (cases[i].calls && !str_equal(service.calls.data, cases[i].calls))
			fail_msg("case %zu: calls %s instead of %s", i, service.calls.data, cases[i].calls);
		if (cases[i].rule.status != 200)
			expect_arrived("a|b|");
		assert_true(cases[i].at_once == (loop_now(server.loop) - began < 60000));
		assert_int_equal(s->delivery.lines, 2);
		assert_int_equal(s->delivery.lost, 0);
		assert_null(s->delivery.trouble);
		if (!(s->delivery.retries > 0) != cases[i].below)
			fail_msg("case %zu: %llu retries", i, (unsigned long long)s->delivery.retries);
		if (i + 1 < ARRAY_SIZE(cases))
			teardown(NULL);
	}
}

static void accepted_already(void **state)
{
	struct stream *s = open_one();

	(void)state;
	rules[0] = (struct rule){"PutLogEvents", 1, 400, "DataAlreadyAcceptedException", NULL, NULL};
	line(s, "a");
	wait_for(all_delivered);
	expect_calls("SP");
	assert_int_equal(s->delivery.lines, 1);
}

static bool asked_again(void)
{
	return strstr(service.calls.data, "SS");
}

static void a_missing_group_is_not_made_unasked(void **state)
{
	struct stream *s = open_one();

	(void)state;
	line(s, "a");
	wait_for(all_delivered);
	service.group = service.stream = false;
	buf_clear(&service.calls);
	line(s, "b");
	wait_for(troubled);
	expect_calls("P");
	wait_for(asked_again); // a minute later
	expect_arrived("a|");
	service.group = true;
	wait_for(all_delivered);
	expect_arrived("a|b|");
}

static void one_event_is_refused(void **state)
{
	struct stream *s = open_one();

	(void)state;
	rules[0] = (struct rule){"PutLogEvents", 1000, 400, "InvalidParameterException", NULL, "\"666\""};
	numbers(s, 0, 1000, "");
	wait_for(all_delivered);
	assert_int_equal(service.events, 999);
	assert_null(strstr(service.arrived.data, "|666|"));
	assert_non_null(strstr(service.arrived.data, "|665|667|"));
	assert_int_equal(s->delivery.lost, 1);
	assert_int_equal(s->delivery.lines, 999);
}

static void all_events_are_refused(void **state)
{
	struct stream *s = open_one();

	(void)state;
	rules[0] = (struct rule){"PutLogEvents", 30, 400, "InvalidParameterException", NULL, NULL};
	numbers(s, 0, 20, "");
	wait_for(all_delivered);
	expect_arrived("2|0|1|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|19|");
	assert_int_equal(s->delivery.lost, 0);
}

static void the_last_event_is_refused(void **state)
{
	struct stream *s = open_one();

	(void)state;
	rules[0] = (struct rule){"PutLogEvents", 30, 400, "InvalidParameterException", NULL, "\"9\""};
	numbers(s, 0, 10, "");
	wait_for(all_delivered);
	expect_numbers(9, "");
	assert_int_equal(s->delivery.lost, 1);
}

// --- rejected events ---

static void rejected_events(void **state)
{
	static const struct {
		const char *body;
		unsigned lost, again; // of ten
	} cases[] = {
		{"{\"rejectedLogEventsInfo\":{}}", 0, 0},
		{"{\"rejectedLogEventsInfo\":{\"tooOldLogEventEndIndex\":3}}", 3, 0},
		{"{\"rejectedLogEventsInfo\":{\"expiredLogEventEndIndex\":4,\"tooOldLogEventEndIndex\":2}}", 4, 0},
		{"{\"rejectedLogEventsInfo\":{\"tooNewLogEventStartIndex\":7}}", 0, 3},
		{"{\"rejectedLogEventsInfo\":{\"tooNewLogEventStartIndex\":7,\"tooOldLogEventEndIndex\":1}}", 1, 3},
		{"{\"rejectedLogEventsInfo\":{\"tooOldLogEventEndIndex\":10}}", 10, 0},
		{"{\"rejectedLogEventsInfo\":{\"tooOldLogEventEndIndex\":-5,\"tooNewLogEventStartIndex\":99}}", 0, 0},
		{"{\"rejectedLogEventsInfo\":{\"tooOldLogEventEndIndex\":\"x\"}}", 0, 0},
		{"{\"rejectedLogEventsInfo\":[]}", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (i > 0)
			setup(NULL);
		struct stream *s = open_one();
		struct buf expected = {0};
		rules[0] = (struct rule){"PutLogEvents", 1, 200, NULL, cases[i].body, NULL};
		for (unsigned n = 0; n < 10; n++)
			line_at(s, now_ms + n, (char[]){(char)('0' + n), '\0'});
		wait_for(all_delivered);
		for (unsigned n = 0; n < 10; n++) // the service of the test takes note of all
			buf_printf(&expected, "%u|", n);
		for (unsigned n = 10 - cases[i].again; n < 10; n++)
			buf_printf(&expected, "%u|", n);
		if (!str_equal(service.arrived.data, expected.data))
			fail_msg("case %zu: %s", i, service.arrived.data);
		assert_int_equal(s->delivery.lost, cases[i].lost);
		assert_int_equal(s->delivery.lines, 10 - cases[i].lost);
		buf_free(&expected);
		if (i + 1 < ARRAY_SIZE(cases))
			teardown(NULL);
	}
}

static void times_out_of_the_window(void **state)
{
	struct stream *s = open_one();
	int64_t hour = 3600000;

	(void)state;
	line_at(s, now_ms - 15 * 24 * hour, "too old");
	line_at(s, now_ms - 13 * 24 * hour, "old");
	line_at(s, now_ms, "now");
	line_at(s, now_ms + hour, "soon");
	line_at(s, now_ms + 100 * hour, "of a clock that was set back");
	wait_for(all_delivered);
	assert_int_equal(s->delivery.lost, 1);
	expect_arrived("old|now|of a clock that was set back|soon|");
	assert_true(service.batches >= 2); // more than a day apart
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_error_table),      TEST(accepted_already),        TEST(a_missing_group_is_not_made_unasked),
		TEST(one_event_is_refused), TEST(all_events_are_refused),  TEST(the_last_event_is_refused),
		TEST(rejected_events),      TEST(times_out_of_the_window),
	};

	return cmocka_run_group_tests_name("logging_awslogs_errors", tests, NULL, NULL);
}
