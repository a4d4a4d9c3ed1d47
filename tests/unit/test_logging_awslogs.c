// The awslogs destination against CloudWatch Logs in this process: batches, start-up, multiline, and that a failure loses and
// repeats nothing.
#include "test_awslogs_bed.h"

// --- batches ---

static void after_the_interval(void **state)
{
	struct stream *s = open_one();

	(void)state;
	line(s, "a");
	line(s, "");
	line(s, "b\xff");
	wait_for(all_delivered);
	expect_calls("SP");
	expect_arrived("a|b\xef\xbf\xbd|");
	assert_int_equal(s->delivery.lines, 2);
	assert_int_equal(s->delivery.bytes, 3);
	assert_false(service.gzip);
	assert_false(service.emf);
	assert_int_equal(service.first_ms, now_ms);
}

static void full_batches_at_once(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	s->settings.options.awslogs.flush_interval_s = 3600; // the watchdog would come first
	open_stream(s);
	numbers(s, 0, 20000, " a line of some length, as a program may write it");
	wait_for(all_delivered);
	assert_true(service.batches >= 2);
	assert_true(service.gzip);
	expect_numbers(20000, " a line of some length, as a program may write it");
}

static void flush_does_not_wait(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	s->settings.options.awslogs.flush_interval_s = 3600;
	open_stream(s);
	line(s, "a");
	destination_awslogs.flush(s->destination);
	wait_for(all_delivered);
	expect_arrived("a|");
}

static void compression_can_be_switched_off(void **state)
{
	struct stream *s = open_one();

	(void)state;
	set_variable("ECS_LOGD_AWSLOGS_GZIP", "false");
	numbers(s, 0, 1000, " some text");
	wait_for(all_delivered);
	assert_false(service.gzip);
	expect_numbers(1000, " some text");
}

static void embedded_metrics(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	s->settings.options.awslogs.emf = true;
	open_stream(s);
	line(s, "{}");
	wait_for(all_delivered);
	assert_true(service.emf);
}

static void pieces_and_losses(void **state)
{
	struct stream *s = open_one();
	struct record piece = {
		.time_ns = now_ms * 1000000, .line = "ab", .len = 2, .partial = true, .id = "x", .id_len = 1};

	(void)state;
	piece.ordinal = 1;
	append(s, &piece);
	spool_lose(s->spool, SPOOL_LOST_DAMAGED, 2, 0, 0, 0);
	piece.ordinal = 2;
	append(s, &piece);
	spool_append_end(s->spool);
	wait_for(all_delivered);
	expect_arrived("abab|ecs-logd: 2 lines dropped (damaged on disk)|"); // which has no time, so it is now
}

// --- start-up ---

static void a_stream_that_got_lines_is_not_made_again(void **state)
{
	struct stream *s = open_one();

	(void)state;
	line(s, "a");
	wait_for(all_delivered);
	close_stream(s);
	cloudwatch = cloudwatch_free(cloudwatch); // as after a restart: nothing is known
	host.cloudwatch = cloudwatch = cloudwatch_new(server.loop, server.client, variable);
	open_stream(s);
	line(s, "b");
	wait_for(all_delivered);
	expect_calls("SPP");
	// Unless a container starts: the error is wanted then.
	close_stream(s);
	open_stream(s);
	service.group = service.stream = false;
	destination_awslogs.ask(s->destination, on_answer, s);
	wait_for(answered);
	assert_int_not_equal(s->refusal.code, 0);
	service.group = true;
	line(s, "c");
	wait_for(all_delivered);
	expect_arrived("a|b|c|");
}

static void the_group_is_made_if_it_may(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	service.group = false;
	s->settings.options.awslogs.create_group = true;
	open_stream(s);
	destination_awslogs.ask(s->destination, on_answer, s);
	wait_for(answered);
	expect_calls("SGS");
	assert_int_equal(s->refusal.code, 0);
	// Once known it is not asked for again.
	close_stream(s);
	open_stream(s);
	line(s, "a");
	wait_for(all_delivered);
	expect_calls("SGSP");
}

static void nothing_is_made_if_it_may_not(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	service.stream = true;
	s->settings.options.awslogs.create_stream = false;
	open_stream(s);
	destination_awslogs.ask(s->destination, on_answer, s);
	line(s, "a");
	wait_for(all_delivered);
	expect_calls("P");
	wait_for(answered);
	assert_int_equal(s->refusal.code, 0);
}

static void answers_at_the_start(void **state)
{
	static const struct {
		struct rule rule;
		const char *region;
		bool external, non_blocking;
		const char *refusal; // what it contains; NULL: not refused
	} cases[] = {
		{.refusal = NULL},
		{{"CreateLogStream", 1, 400, "ResourceAlreadyExistsException", NULL, NULL}, .refusal = NULL},
		{{"CreateLogStream", 9, 400, "ResourceNotFoundException", NULL, NULL},
		 .refusal =
			 "failed to create Cloudwatch log stream: operation error CloudWatch Logs: CreateLogStream, "
			 "https response error StatusCode: 400, RequestID: , ResourceNotFoundException: said the test"},
		{{"CreateLogStream", 9, 400, "ResourceNotFoundException", NULL, NULL}, .non_blocking = true},
		{{"CreateLogStream", 9, 400, "AccessDeniedException", NULL, NULL}, .refusal = "AccessDeniedException"},
		{{"CreateLogStream", 9, 400, "InvalidParameterException", NULL, NULL},
		 .refusal = "InvalidParameterException"},
		{{"CreateLogStream", 9, 400, "UnrecognizedClientException", NULL, NULL}, .refusal = NULL},
		{{"CreateLogStream", 1, 400, "OperationAbortedException", NULL, NULL}, .refusal = NULL},
		{{"CreateLogStream", 9, 400, "ThrottlingException", NULL, NULL}, .refusal = NULL},
		{{"CreateLogStream", 9, 503, NULL, "<html>", NULL}, .refusal = NULL},
		{{"CreateLogStream", 1, -1, NULL, NULL, NULL}, .refusal = NULL}, // closes
		{{"CreateLogStream", 1, 0, NULL, NULL, NULL}, .refusal = NULL},  // never answers
		{.region = "no region", .refusal = "\"no region\" is not a name of a region"},
		{.region = "", .refusal = "cannot determine region for awslogs driver"},
		{.region = "",
		 .external = true,
		 .refusal = "cannot determine region for awslogs driver: AWS_DEFAULT_REGION is not set"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (i > 0)
			setup(NULL);
		struct stream *s = add_stream();
		rules[0] = cases[i].rule;
		s->settings.options.non_blocking = cases[i].non_blocking;
		if (cases[i].external) {
			set_variable("ECS_EXTERNAL", "true");
			cloudwatch_free(cloudwatch);
			host.cloudwatch = cloudwatch = cloudwatch_new(server.loop, server.client, variable);
		}
		if (cases[i].region) {
			set_variable("AWS_ENDPOINT_URL", NULL);
			s->settings.options.awslogs.region = *cases[i].region ? (char *)cases[i].region : NULL;
		}
		open_stream(s);
		uint64_t asked = loop_now(server.loop);
		destination_awslogs.ask(s->destination, on_answer, s);
		assert_int_equal(s->answers, 0);
		wait_for(answered);
		assert_true(loop_now(server.loop) - asked < 30000);
		if (!cases[i].refusal != !s->refusal.code ||
		    (cases[i].refusal && !strstr(s->refusal.message, cases[i].refusal)))
			fail_msg("case %zu: %s", i, s->refusal.code ? s->refusal.message : "not refused");
		if (i + 1 < ARRAY_SIZE(cases))
			teardown(NULL);
	}
}

static void patterns_are_checked(void **state)
{
	struct stream_settings settings = {0};
	struct error err;

	(void)state;
	assert_int_equal(destination_awslogs.check(&settings, &err), 0);
	settings.options.awslogs.multiline_pattern = "^(a|b)";
	assert_int_equal(destination_awslogs.check(&settings, &err), 0);
	settings.options.awslogs.multiline_pattern = "a(";
	assert_int_equal(destination_awslogs.check(&settings, &err), -EINVAL);
	assert_true(str_starts(err.message, "awslogs could not parse multiline pattern key \"a(\": "));
}

// --- multiline ---

static void multiline(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	s->settings.options.awslogs.datetime_format = "%Y-%m";
	open_stream(s);
	line(s, "2026-01 first");
	line(s, "  more");
	line(s, "2026-02 second");
	wait_for(all_delivered); // the last by the timer
	expect_arrived("2026-01 first\n  more\n|2026-02 second\n|");
	line(s, "2026-03 third");
	spool_append_end(s->spool);
	wait_for(all_delivered);
	expect_arrived("2026-01 first\n  more\n|2026-02 second\n|2026-03 third\n|");
}

// --- outage and restart ---

static bool nearly_over(void)
{
	return rules[0].times == 5 && troubled() && pool_used(pool) == 0;
}

static void an_outage_costs_no_memory(void **state)
{
	(void)state;
	service.stream = true;
	rules[0] = (struct rule){NULL, 40, 503, NULL, "", NULL};
	for (size_t i = 0; i < STREAMS_MAX; i++) {
		struct stream *s = open_one();
		for (unsigned n = 0; n < 30; n++)
			line(s, s->name);
	}
	wait_for(nearly_over);
	assert_int_equal(pool_used(pool), 0);
	wait_for(all_delivered);
	assert_int_equal(service.events, 30 * STREAMS_MAX);
	// While it was away one at a time tried: no stream alone has made all the attempts.
	assert_true(service.calls.len < 40 + 3 * STREAMS_MAX + 1);
}

static bool held(void)
{
	return server.held_count > 0;
}

static void a_restart_loses_nothing(void **state)
{
	struct stream *s = open_one();
	struct record piece = {
		.time_ns = now_ms * 1000000, .line = "end", .len = 3, .partial = true, .id = "x", .id_len = 1};

	(void)state;
	rules[0] = (struct rule){"PutLogEvents", 1, 0, NULL, NULL, NULL};
	numbers(s, 0, 10, "");
	piece.ordinal = 1;
	append(s, &piece);
	wait_for(held);
	close_stream(s);
	assert_int_equal(pool_used(pool), 0);
	open_stream(s);
	piece.ordinal = 2;
	piece.last = true;
	append(s, &piece);
	wait_for(all_delivered);
	expect_arrived("0|1|2|3|4|5|6|7|8|9|endend|");
}

static bool first_is_confirmed(void)
{
	return spool_head(streams[0].spool) == 1;
}

static bool granted;
static void on_granted(void *arg)
{
	(void)arg;
	granted = true;
}
static bool is_granted(void)
{
	return granted;
}

static void half_a_line_is_given_back_when_others_wait(void **state)
{
	struct stream *s = open_one();
	_cleanup_free_ char *text = xcalloc(1, 100001);
	struct record piece = {
		.time_ns = now_ms * 1000000, .line = text, .len = 100000, .partial = true, .id = "x", .id_len = 1};
	struct pool_user other = {.granted = on_granted};

	(void)state;
	memset(text, 'x', 100000);
	line(s, "a");
	piece.ordinal = 1;
	append(s, &piece);
	wait_for(first_is_confirmed);
	assert_true(pool_used(pool) >= 100000);
	granted = false;
	assert_false(pool_take(pool, &other, POOL_BYTES - 1));
	wait_for(is_granted);
	pool_leave(pool, &other);
	assert_int_equal(pool_used(pool), 0);
	piece.ordinal = 2;
	piece.last = true;
	append(s, &piece);
	wait_for(all_delivered);
	assert_int_equal(service.arrived.len, 200003);
}

static void credentials_of_a_task(void **state)
{
	struct stream *s = add_stream();

	(void)state;
	set_variable("ECS_LOGD_CREDENTIALS_BASE", server.url);
	s->settings.options.awslogs.credentials_endpoint = "/v2/credentials/abc";
	open_stream(s);
	line(s, "a");
	wait_for(all_delivered);
	assert_string_equal(service.key, "AKIATASK");
	struct stream *other = open_one();
	line(other, "b");
	wait_for(all_delivered);
	assert_string_equal(service.key, "AKIAHOST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_the_interval),
		cmocka_unit_test_setup_teardown(full_batches_at_once, setup_real_time, teardown),
		TEST(flush_does_not_wait),
		TEST(compression_can_be_switched_off),
		TEST(embedded_metrics),
		TEST(pieces_and_losses),
		TEST(a_stream_that_got_lines_is_not_made_again),
		TEST(the_group_is_made_if_it_may),
		TEST(nothing_is_made_if_it_may_not),
		TEST(answers_at_the_start),
		TEST(patterns_are_checked),
		TEST(multiline),
		TEST(an_outage_costs_no_memory),
		TEST(a_restart_loses_nothing),
		TEST(half_a_line_is_given_back_when_others_wait),
		TEST(credentials_of_a_task),
	};

	return cmocka_run_group_tests_name("logging_awslogs", tests, NULL, NULL);
}
