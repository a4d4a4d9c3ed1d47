// The awslogs destination against CloudWatch Logs in this process: batches, start-up, every row of the error table, rejected
// events, multiline, and that a failure loses and repeats nothing.
#include "test_aws_server.h"

#include "common/json.h"
#include "common/log.h"
#include "logging/cloudwatch.h"
#include "logging/destination.h"
#include "logging/event_text.h"
#include "logging/put_batch.h"
#include "test_log_records.h"

#include <dirent.h>
#include <zlib.h>

#define SCALE 60 // a second is a minute
#define STREAMS_MAX 8
#define RULES_MAX 6

// What the service does with the next requests of an operation instead of answering well.
struct rule {
	const char *operation; // NULL: any
	int times;
	int status; // 0: never answers; -1: closes
	const char *code, *body;
	const char *poison; // only if the request has this text
};

struct stream {
	char id[65], name[16];
	struct spool *spool;
	struct stream_settings settings;
	struct delivery delivery;
	struct destination *destination;
	unsigned answers;
	struct error refusal;
};

static struct server server;
static struct pool *pool;
static struct cloudwatch *cloudwatch;
static struct spool_store *store;
static struct destination_host host;
static struct stream streams[STREAMS_MAX];
static char directory[64];
static struct rule rules[RULES_MAX];
static struct {
	bool group, stream; // exist
	struct buf calls;   // operations, their initials: G, S, P
	struct buf arrived; // accepted messages, with '|' behind each
	int64_t first_ms;   // of the last batch
	size_t batches, events;
	bool gzip, emf;
	char key[64];
} service;
static int64_t now_ms;
static double scale = SCALE;
static const char *variables[8][2];

// --- the service ---

static json_object *read_request(struct evhttp_request *request)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request);
	size_t len = evbuffer_get_length(buffer), room = (size_t)4 << 20;
	const char *data = (const char *)evbuffer_pullup(buffer, -1);
	_cleanup_free_ char *plain = xmalloc(room);
	z_stream stream = {0};

	service.gzip = str_equal(server_header(request, "Content-Encoding"), "gzip");
	service.emf = str_equal(server_header(request, "x-amzn-logs-format"), "json/emf");
	sscanf(server_header(request, "Authorization"), "AWS4-HMAC-SHA256 Credential=%63[^/]", service.key);
	if (!service.gzip)
		return json_parse(data, len, NULL);
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)data;
	stream.avail_in = (uInt)len;
	stream.next_out = (Bytef *)plain;
	stream.avail_out = (uInt)room;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	inflateEnd(&stream);
	return json_parse(plain, stream.total_out, NULL);
}

static void put(json_object *body)
{
	json_object *events = json_get(body, "logEvents");
	size_t count = json_object_array_length(events), bytes = 0;
	int64_t before = INT64_MIN;

	assert_true(count > 0 && count <= PUT_BATCH_EVENTS);
	for (size_t i = 0; i < count; i++) {
		json_object *event = json_object_array_get_idx(events, i), *message = json_get(event, "message");
		int64_t ms = json_object_get_int64(json_get(event, "timestamp"));

		assert_true(ms >= before);
		before = ms;
		if (i == 0)
			service.first_ms = ms;
		size_t len = (size_t)json_object_get_string_len(message);
		assert_true(len > 0 && len <= EVENT_TEXT_MAX);
		bytes += len + PUT_BATCH_EVENT_COST;
		buf_append(&service.arrived, json_object_get_string(message), len);
		buf_append(&service.arrived, "|", 1);
	}
	assert_true(before - service.first_ms < PUT_BATCH_SPAN_MS);
	assert_true(bytes <= PUT_BATCH_BYTES);
	service.batches++;
	service.events += count;
}

static struct rule *find_rule(const char *operation, const char *text)
{
	for (size_t i = 0; i < RULES_MAX; i++)
		if (rules[i].times > 0 && (!rules[i].operation || str_equal(rules[i].operation, operation)) &&
		    (!rules[i].poison || strstr(text, rules[i].poison))) {
			rules[i].times--;
			return &rules[i];
		}
	return NULL;
}

static void reply_error(struct evhttp_request *request, int status, const char *code, const char *body)
{
	if (code)
		evhttp_add_header(evhttp_request_get_output_headers(request), "x-amzn-errortype", code);
	server_reply(request, status, body ? body : "{\"message\":\"said the test\"}");
}

static void serve(struct server *s, struct evhttp_request *request)
{
	const char *target = server_header(request, "X-Amz-Target");

	s->count = 0; // nobody looks
	if (evhttp_request_get_command(request) == EVHTTP_REQ_GET) {
		server_reply(request, 200,
			     "{\"AccessKeyId\":\"AKIATASK\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
			     "\"Expiration\":\"2099-01-01T00:00:00Z\"}");
		return;
	}
	assert_true(str_starts(target, "Logs_20140328."));
	const char *operation = target + strlen("Logs_20140328.");
	_cleanup_json_ json_object *body = read_request(request);
	assert_non_null(body);
	bool group = str_equal(operation, "CreateLogGroup"), create = group || str_equal(operation, "CreateLogStream");
	buf_append(&service.calls, group ? "G" : create ? "S" : "P", 1);
	assert_string_equal(json_get_string(body, "logGroupName"), "group");
	struct rule *rule = find_rule(operation, json_text(body));
	if (rule && rule->status == 0) {
		server_hold(s, request);
	} else if (rule && rule->status < 0) {
		evhttp_connection_free(evhttp_request_get_connection(request));
	} else if (rule && rule->status == 200) {
		put(body);
		server_reply(request, 200, rule->body);
	} else if (rule) {
		reply_error(request, rule->status, rule->code, rule->body);
	} else if (create && (group ? service.group : service.stream)) {
		reply_error(request, 400, "ResourceAlreadyExistsException", NULL);
	} else if (!group && (!service.group || (!create && !service.stream))) {
		reply_error(request, 400, "ResourceNotFoundException",
			    "{\"message\":\"The specified log group does not exist.\"}");
	} else {
		if (!create)
			put(body);
		service.group |= group;
		service.stream |= create && !group;
		server_reply(request, 200, "{}");
	}
}

// --- the bed ---

static const char *variable(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		if (variables[i][0] && str_equal(variables[i][0], name))
			return variables[i][1];
	return NULL;
}

static void set_variable(const char *name, const char *value)
{
	size_t i = 0;

	while (variables[i][0] && !str_equal(variables[i][0], name))
		i++;
	variables[i][0] = name;
	variables[i][1] = value;
}

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);

	for (struct dirent *entry; d && (entry = readdir(d));) {
		_cleanup_free_ char *below = xasprintf("%s/%s", path, entry->d_name);

		if (str_equal(entry->d_name, ".") || str_equal(entry->d_name, ".."))
			continue;
		if (entry->d_type == DT_DIR)
			remove_tree(below);
		else
			unlink(below);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static int setup(void **state)
{
	static const struct spool_limits limits = {
		.container_bytes = (uint64_t)1 << 40, .total_bytes = (uint64_t)1 << 40, .free_percent = 0};

	(void)state;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	setenv("AWS_ACCESS_KEY_ID", "AKIAHOST", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	unsetenv("AWS_SESSION_TOKEN");
	memset(variables, 0, sizeof(variables));
	memset(rules, 0, sizeof(rules));
	memset(&service, 0, sizeof(service));
	memset(streams, 0, sizeof(streams));
	service.group = true;
	now_ms = wall_ms();
	snprintf(directory, sizeof(directory), "%s/ecsd-awslogs.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(directory));
	server_start(&server, scale, serve);
	set_variable("AWS_ENDPOINT_URL", server.url);
	store = spool_store_open(server.loop, directory, &limits, NULL);
	assert_non_null(store);
	pool = pool_new(server.loop, POOL_BYTES);
	cloudwatch = cloudwatch_new(server.loop, server.client, variable);
	host = (struct destination_host){
		.loop = server.loop, .http = server.client, .pool = pool, .cloudwatch = cloudwatch};
	return 0;
}

// Where so much is sent that a call may take longer than a scaled timeout allows on a busy machine.
static int setup_real_time(void **state)
{
	scale = 1;
	int r = setup(state);
	scale = SCALE;
	return r;
}

static void on_append(void *arg)
{
	struct stream *s = arg;

	if (s->destination)
		destination_awslogs.wake(s->destination);
}

// A stream with what ECS always sets.
static struct stream *add_stream(void)
{
	size_t i = 0;

	while (streams[i].spool)
		i++;
	struct stream *s = &streams[i];
	snprintf(s->id, sizeof(s->id), "%064zu", i);
	snprintf(s->name, sizeof(s->name), "stream%zu", i);
	s->spool = spool_open(store, s->id, NULL);
	assert_non_null(s->spool);
	spool_on_append(s->spool, on_append, s);
	delivery_init(&s->delivery, server.loop, "awslogs", s->id);
	s->settings.container_id = s->id;
	s->settings.tag = s->name;
	s->settings.options.awslogs = (struct log_options_awslogs){
		.group = "group", .region = "eu-west-1", .create_stream = true, .flush_interval_s = 5};
	return s;
}

static void open_stream(struct stream *s)
{
	s->destination = destination_awslogs.open(&host, &s->settings, s->spool, &s->delivery);
	assert_non_null(s->destination);
}

static struct stream *open_one(void)
{
	struct stream *s = add_stream();

	open_stream(s);
	return s;
}

static void close_stream(struct stream *s)
{
	s->destination = s->destination ? destination_awslogs.free(s->destination) : NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < STREAMS_MAX; i++) {
		close_stream(&streams[i]);
		delivery_done(&streams[i].delivery);
		if (streams[i].spool)
			spool_close(streams[i].spool);
	}
	assert_int_equal(pool_used(pool), 0);
	cloudwatch = cloudwatch_free(cloudwatch);
	pool = pool_free(pool);
	store = spool_store_free(store);
	server_stop(&server);
	remove_tree(directory);
	buf_free(&service.calls);
	buf_free(&service.arrived);
	return 0;
}

static void append(struct stream *s, const struct record *record)
{
	struct buf b = {0};

	put_record(&b, record);
	assert_int_equal(
		spool_append(s->spool, 1, b.data, b.len, 1, record->time_ns, record->time_ns, SPOOL_FULL_REFUSE), 0);
	buf_free(&b);
}

static void line_at(struct stream *s, int64_t ms, const char *text)
{
	append(s, &(struct record){.time_ns = ms * 1000000, .line = text, .len = strlen(text)});
}

static void line(struct stream *s, const char *text)
{
	line_at(s, now_ms, text);
}

// Many lines in few appends: their numbers, with a text behind.
static void numbers(struct stream *s, unsigned from, unsigned to, const char *rest)
{
	while (from < to) {
		struct buf b = {0};
		unsigned count = 0;

		for (; from < to && count < 500 && b.len < 100000; from++, count++) {
			_cleanup_free_ char *text = xasprintf("%u%s", from, rest);
			put_record(&b,
				   &(struct record){.time_ns = now_ms * 1000000, .line = text, .len = strlen(text)});
		}
		assert_int_equal(spool_append(s->spool, 1, b.data, b.len, count, 1, 1, SPOOL_FULL_REFUSE), 0);
		buf_free(&b);
	}
}

static void expect_numbers(unsigned to, const char *rest)
{
	struct buf expected = {0};

	for (unsigned i = 0; i < to; i++)
		buf_printf(&expected, "%u%s|", i, rest);
	assert_string_equal(service.arrived.data, expected.data);
	buf_free(&expected);
}

static bool (*condition)(void);

static void look(void *arg)
{
	(void)arg;
	if (condition())
		loop_stop(server.loop);
}

static void wait_for(bool (*what)(void))
{
	condition = what;
	loop_set_turn_end(server.loop, look, NULL);
	if (!what())
		assert_int_equal(loop_run(server.loop), 0);
	loop_set_turn_end(server.loop, NULL, NULL);
}

static bool all_delivered(void)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (streams[i].spool && spool_head(streams[i].spool) != spool_tail(streams[i].spool))
			return false;
	return true;
}

static bool answered(void)
{
	return streams[0].answers > 0;
}

static bool troubled(void)
{
	return streams[0].delivery.trouble;
}

static void on_answer(const struct error *refusal, void *arg)
{
	struct stream *s = arg;

	s->answers++;
	s->refusal = refusal ? *refusal : (struct error){0};
}

static void expect_arrived(const char *text)
{
	assert_string_equal(service.arrived.data ? service.arrived.data : "", text);
}

static void expect_calls(const char *text)
{
	assert_string_equal(service.calls.data ? service.calls.data : "", text);
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
		TEST(the_error_table),
		TEST(accepted_already),
		TEST(a_missing_group_is_not_made_unasked),
		TEST(one_event_is_refused),
		TEST(all_events_are_refused),
		TEST(the_last_event_is_refused),
		TEST(rejected_events),
		TEST(times_out_of_the_window),
		TEST(multiline),
		TEST(an_outage_costs_no_memory),
		TEST(a_restart_loses_nothing),
		TEST(half_a_line_is_given_back_when_others_wait),
		TEST(credentials_of_a_task),
	};

	return cmocka_run_group_tests_name("logging_awslogs", tests, NULL, NULL);
}
