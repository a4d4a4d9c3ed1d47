// CloudWatch Logs in this process, and streams of the awslogs destination that ship to it.
#pragma once

#include "test_aws_server.h"

#include "common/json.h"
#include "common/log.h"
#include "logging/cloudwatch.h"
#include "logging/destination.h"
#include "logging/event_text.h"
#include "logging/put_batch.h"
#include "test_log_records.h"
#include "test_tree.h"

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

static inline json_object *read_request(struct evhttp_request *request)
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

static inline void put(json_object *body)
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

static inline struct rule *find_rule(const char *operation, const char *text)
{
	for (size_t i = 0; i < RULES_MAX; i++)
		if (rules[i].times > 0 && (!rules[i].operation || str_equal(rules[i].operation, operation)) &&
		    (!rules[i].poison || strstr(text, rules[i].poison))) {
			rules[i].times--;
			return &rules[i];
		}
	return NULL;
}

static inline void reply_error(struct evhttp_request *request, int status, const char *code, const char *body)
{
	if (code)
		evhttp_add_header(evhttp_request_get_output_headers(request), "x-amzn-errortype", code);
	server_reply(request, status, body ? body : "{\"message\":\"said the test\"}");
}

static inline void serve(struct server *s, struct evhttp_request *request)
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

static inline const char *variable(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		if (variables[i][0] && str_equal(variables[i][0], name))
			return variables[i][1];
	return NULL;
}

static inline void set_variable(const char *name, const char *value)
{
	size_t i = 0;

	while (variables[i][0] && !str_equal(variables[i][0], name))
		i++;
	variables[i][0] = name;
	variables[i][1] = value;
}

static inline int setup(void **state)
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
static inline int setup_real_time(void **state)
{
	scale = 1;
	int r = setup(state);
	scale = SCALE;
	return r;
}

static inline void on_append(void *arg)
{
	struct stream *s = arg;

	if (s->destination)
		destination_awslogs.wake(s->destination);
}

// A stream with what ECS always sets.
static inline struct stream *add_stream(void)
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

static inline void open_stream(struct stream *s)
{
	s->destination = destination_awslogs.open(&host, &s->settings, s->spool, &s->delivery);
	assert_non_null(s->destination);
}

static inline struct stream *open_one(void)
{
	struct stream *s = add_stream();

	open_stream(s);
	return s;
}

static inline void close_stream(struct stream *s)
{
	s->destination = s->destination ? destination_awslogs.free(s->destination) : NULL;
}

static inline int teardown(void **state)
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

static inline void append(struct stream *s, const struct record *record)
{
	struct buf b = {0};

	put_record(&b, record);
	assert_int_equal(
		spool_append(s->spool, 1, b.data, b.len, 1, record->time_ns, record->time_ns, SPOOL_FULL_REFUSE), 0);
	buf_free(&b);
}

static inline void line_at(struct stream *s, int64_t ms, const char *text)
{
	append(s, &(struct record){.time_ns = ms * 1000000, .line = text, .len = strlen(text)});
}

static inline void line(struct stream *s, const char *text)
{
	line_at(s, now_ms, text);
}

// Many lines in few appends: their numbers, with a text behind.
static inline void numbers(struct stream *s, unsigned from, unsigned to, const char *rest)
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

static inline void expect_numbers(unsigned to, const char *rest)
{
	struct buf expected = {0};

	for (unsigned i = 0; i < to; i++)
		buf_printf(&expected, "%u%s|", i, rest);
	assert_string_equal(service.arrived.data, expected.data);
	buf_free(&expected);
}

static bool (*condition)(void);

static inline void look(void *arg)
{
	(void)arg;
	if (condition())
		loop_stop(server.loop);
}

static inline void wait_for(bool (*what)(void))
{
	condition = what;
	loop_set_turn_end(server.loop, look, NULL);
	if (!what())
		assert_int_equal(loop_run(server.loop), 0);
	loop_set_turn_end(server.loop, NULL, NULL);
}

static inline bool all_delivered(void)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (streams[i].spool && spool_head(streams[i].spool) != spool_tail(streams[i].spool))
			return false;
	return true;
}

static inline bool answered(void)
{
	return streams[0].answers > 0;
}

static inline bool troubled(void)
{
	return streams[0].delivery.trouble;
}

static inline void on_answer(const struct error *refusal, void *arg)
{
	struct stream *s = arg;

	s->answers++;
	s->refusal = refusal ? *refusal : (struct error){0};
}

static inline void expect_arrived(const char *text)
{
	assert_string_equal(service.arrived.data ? service.arrived.data : "", text);
}

static inline void expect_calls(const char *text)
{
	assert_string_equal(service.calls.data ? service.calls.data : "", text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
