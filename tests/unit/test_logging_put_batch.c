// Bodies of PutLogEvents requests: the service's limits to the last byte, order, encoding, compression.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "logging/event_text.h"
#include "logging/put_batch.h"
#include <zlib.h>

static struct put_batch batch;

static int start(void **state)
{
	(void)state;
	put_batch_start(&batch, "group/a", "stream \"b\"", PUT_BATCH_EVENTS, PUT_BATCH_BYTES);
	return 0;
}

static int done(void **state)
{
	(void)state;
	put_batch_free(&batch);
	return 0;
}

static bool add(int64_t time_ms, const char *text)
{
	return put_batch_add(&batch, time_ms, text, strlen(text), event_text_length(text, strlen(text)), 1);
}

// The body as text, uncompressed if it is compressed.
static char *finish(const char *token, bool *gzip)
{
	size_t len;
	char *body = put_batch_finish(&batch, token, gzip, &len);
	z_stream stream = {0};

	if (!*gzip)
		return body;
	char *plain = xmalloc((size_t)8 << 20);
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)body;
	stream.avail_in = (uInt)len;
	stream.next_out = (Bytef *)plain;
	stream.avail_out = (8 << 20) - 1;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	plain[stream.total_out] = '\0';
	inflateEnd(&stream);
	free(body);
	return plain;
}

static void in_order(void **state)
{
	bool gzip = true;

	(void)state;
	assert_true(add(5, "a"));
	assert_true(add(5, "\xff\n"));
	assert_true(add(6, "c"));
	_cleanup_free_ char *body = finish(NULL, &gzip);
	assert_false(gzip); // too little to gain
	assert_string_equal(body,
			    "{\"logGroupName\":\"group/a\",\"logStreamName\":\"stream \\\"b\\\"\",\"logEvents\":["
			    "{\"timestamp\":5,\"message\":\"a\"},{\"timestamp\":5,\"message\":\"\xef\xbf\xbd\\n\"},"
			    "{\"timestamp\":6,\"message\":\"c\"}]}");
	assert_int_equal(batch.lines, 3);
	assert_int_equal(batch.text_bytes, 4);
	assert_int_equal(batch.bytes, 1 + 4 + 1 + 3 * 26);
}

static void out_of_order(void **state)
{
	bool gzip = false;

	(void)state;
	assert_true(add(7, "1"));
	assert_true(add(5, "2"));
	assert_true(add(7, "3"));
	assert_true(add(5, "4"));
	_cleanup_free_ char *body = finish("token", &gzip);
	assert_string_equal(strstr(body, "\"logEvents\""),
			    "\"logEvents\":[{\"timestamp\":5,\"message\":\"2\"},{\"timestamp\":5,\"message\":\"4\"},"
			    "{\"timestamp\":7,\"message\":\"1\"},{\"timestamp\":7,\"message\":\"3\"}],"
			    "\"sequenceToken\":\"token\"}");
	assert_int_equal(batch.events[0].time_ms, 5);
	assert_int_equal(batch.events[3].time_ms, 7);
}

static void ten_thousand_events(void **state)
{
	bool gzip = true;

	(void)state;
	for (size_t i = 0; i < PUT_BATCH_EVENTS; i++)
		assert_true(add(1000, "x"));
	assert_false(add(1000, "x"));
	_cleanup_free_ char *body = finish(NULL, &gzip);
	assert_true(gzip);
	_cleanup_json_ json_object *object = json_parse(body, strlen(body), NULL);
	assert_int_equal(json_object_array_length(json_get(object, "logEvents")), PUT_BATCH_EVENTS);
}

static void a_mebibyte(void **state)
{
	_cleanup_free_ char *text = xcalloc(1, PUT_BATCH_BYTES);

	(void)state;
	memset(text, 'x', EVENT_TEXT_MAX);
	for (unsigned i = 0; i < 3; i++)
		assert_true(add(1, text));
	text[EVENT_TEXT_MAX - 28] = '\0'; // what is left of the fourth's room is for one byte and its cost
	assert_true(add(1, text));
	assert_false(add(1, "xyz"));
	assert_true(add(1, "xy"));
	assert_int_equal(batch.bytes, PUT_BATCH_BYTES);
	assert_false(add(1, ""));
}

static void a_day(void **state)
{
	(void)state;
	assert_true(add(PUT_BATCH_SPAN_MS, "a"));
	assert_true(add(2 * PUT_BATCH_SPAN_MS - 1, "b"));
	assert_false(add(2 * PUT_BATCH_SPAN_MS, "c"));
	assert_true(add(PUT_BATCH_SPAN_MS, "d"));
	assert_false(add(PUT_BATCH_SPAN_MS - 1, "e"));
}

// Bytes that need six in JSON: the body stays bounded though the service counts one.
static void control_characters(void **state)
{
	_cleanup_free_ char *text = xcalloc(1, EVENT_TEXT_MAX_TODAY + 1);
	size_t count = 0;
	bool gzip = false;

	(void)state;
	memset(text, 1, 100000);
	while (add(1, text))
		count++;
	assert_int_equal(count, PUT_BATCH_BODY / 600000);
	assert_true(batch.body.len <= PUT_BATCH_BODY);
	_cleanup_free_ char *body = finish(NULL, &gzip);
	_cleanup_json_ json_object *object = json_parse(body, strlen(body), NULL);
	assert_int_equal(json_object_array_length(json_get(object, "logEvents")), count);
	// The first event is taken, whatever its size.
	put_batch_free(&batch);
	start(NULL);
	memset(text, 1, EVENT_TEXT_MAX_TODAY);
	assert_true(add(1, text));
	assert_false(add(1, "x"));
}

static void halved(void **state)
{
	(void)state;
	put_batch_free(&batch);
	put_batch_start(&batch, "g", "s", 2, 60);
	assert_true(add(1, "a"));
	assert_true(add(1, "b"));
	assert_false(add(1, "c"));
	put_batch_free(&batch);
	put_batch_start(&batch, "g", "s", 10, 1);
	assert_true(add(1, "more than is allowed"));
	assert_false(add(1, ""));
}

// Random bytes do not shrink: they go as they are.
static void incompressible(void **state)
{
	char text[4097];
	bool gzip = true;

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('0' + random_unit() * 60);
	text[sizeof(text) - 1] = '\0';
	assert_true(add(1, text));
	_cleanup_free_ char *body = finish(NULL, &gzip);
	assert_false(gzip);
	assert_non_null(strstr(body, "\"}]}"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),           TEST(out_of_order), TEST(ten_thousand_events), TEST(a_mebibyte), TEST(a_day),
		TEST(control_characters), TEST(halved),       TEST(incompressible),
	};

	return cmocka_run_group_tests_name("logging_put_batch", tests, NULL, NULL);
}
