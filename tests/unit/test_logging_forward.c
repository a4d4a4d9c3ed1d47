#include "logging/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <msgpack.h>
#include <zlib.h>

#define CONTAINER "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct json_pair no_pairs[1];
static const struct json_map no_attributes = {no_pairs, 0};

static struct record line_record(const char *line, int64_t time_ns)
{
	return (struct record){
		.source = RECORD_STDOUT, .time_ns = time_ns, .line = line, .len = strlen(line), .id = ""};
}

static char *hex_of(const void *data, size_t len)
{
	const unsigned char *bytes = data;
	char *hex = xcalloc(1, 2 * len + 1);

	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02X", bytes[i]);
	return hex;
}

// What a server reads, as text: ["tag", [[1, {...}]], {...}].
static char *text_of(const char *data, size_t len)
{
	msgpack_unpacked unpacked;
	size_t offset = 0;
	char *text = xcalloc(1, 65536);

	msgpack_unpacked_init(&unpacked);
	assert_int_equal(msgpack_unpack_next(&unpacked, data, len, &offset), MSGPACK_UNPACK_SUCCESS);
	assert_int_equal(offset, len);
	msgpack_object_print_buffer(text, 65536, unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	return text;
}

// --- encoding: the bytes of Docker's own client (logging.md §5.3) ---
static void assert_lone(const struct record *record, bool sub_second, const char *id, const char *expected)
{
	struct forward_fields *fields = forward_fields_new("c", "/n", &no_attributes);
	struct forward_chunk chunk;
	size_t len;

	forward_chunk_begin(&chunk, FORWARD_LISTS, "docker.x");
	forward_chunk_add(&chunk, fields, record, sub_second);
	const char *data = forward_chunk_end(&chunk, "docker.x", id, &len);
	_cleanup_free_ char *hex = hex_of(data, len);
	assert_string_equal(hex, expected);
	forward_chunk_free(&chunk);
	forward_fields_free(fields);
}

#define TAG_HEX "A8646F636B65722E78"
#define OWN_HEX                                                                                                \
	"AC636F6E7461696E65725F6964A163" /* container_id: c */ "AE636F6E7461696E65725F6E616D65A22F6E" /* /n */ \
	"A6736F75726365A67374646F7574" /* source: stdout */

static void test_one_record_is_a_message(void **state)
{
	(void)state;
	struct record record = line_record("hi", INT64_C(1700000000123456789));
	assert_lone(&record, false, NULL,
		    "94" TAG_HEX "D26553F100"
		    "84" OWN_HEX "A36C6F67A26869"
		    "80");
	assert_lone(&record, true, NULL,
		    "94" TAG_HEX "D7006553F100075BCD15"
		    "84" OWN_HEX "A36C6F67A26869"
		    "80");
	assert_lone(&record, false, "AAAAAAAAAAAAAAAAAAAAAA==",
		    "94" TAG_HEX "D26553F100"
		    "84" OWN_HEX "A36C6F67A26869"
		    "81A56368756E6BB8414141414141414141414141414141414141414141413D3D");
	// After 2038 seconds have 64 bits; before 1970 they are negative, rounded down.
	record.time_ns = INT64_C(2147483648) * 1000000000;
	assert_lone(&record, false, NULL,
		    "94" TAG_HEX "D30000000080000000"
		    "84" OWN_HEX "A36C6F67A26869"
		    "80");
	record.time_ns = -1;
	assert_lone(&record, false, NULL,
		    "94" TAG_HEX "D2FFFFFFFF"
		    "84" OWN_HEX "A36C6F67A26869"
		    "80");
	assert_lone(&record, true, NULL,
		    "94" TAG_HEX "D700FFFFFFFF3B9AC9FF"
		    "84" OWN_HEX "A36C6F67A26869"
		    "80");
}

static void test_pieces(void **state)
{
	(void)state;
	struct record record = line_record("x", INT64_C(1700000000000000000));
	record.partial = true;
	record.id = "id";
	record.id_len = 2;
	record.ordinal = 12;
	const char *until_last = "94" TAG_HEX "D26553F100"
				 "88" OWN_HEX "A36C6F67A178"
				 "AF7061727469616C5F6D657373616765A474727565"
				 "AA7061727469616C5F6964A26964"
				 "AF7061727469616C5F6F7264696E616CA23132"
				 "AC7061727469616C5F6C617374";
	_cleanup_free_ char *more = xasprintf("%sA566616C736580", until_last);
	_cleanup_free_ char *last = xasprintf("%sA47472756580", until_last);
	assert_lone(&record, false, NULL, more);
	record.last = true;
	assert_lone(&record, false, NULL, last);
}

static void test_bytes_are_left_alone(void **state)
{
	(void)state;
	struct forward_fields *fields = forward_fields_new("c", "/n", &no_attributes);
	// The lengths around which the encoding of strings changes.
	static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 16384, 65535, 65536};
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct forward_chunk chunk;
		size_t len, line_len = lengths[i];
		_cleanup_free_ char *line = xmalloc(line_len + 1);
		for (size_t k = 0; k < line_len; k++)
			line[k] = (char)(255 - k); // NUL, CR, invalid UTF-8 among them
		struct record record = {.line = line, .len = line_len, .id = "", .source = RECORD_STDERR};
		forward_chunk_begin(&chunk, FORWARD_LISTS, "");
		forward_chunk_add(&chunk, fields, &record, true);
		assert_true(chunk.bytes.len - chunk.room <= forward_fields_bound(fields, line_len));
		const char *data = forward_chunk_end(&chunk, "", NULL, &len);
		size_t header = line_len < 32 ? 1 : line_len < 256 ? 2 : line_len < 65536 ? 3 : 5;
		assert_memory_equal(data + len - 1 - line_len, line, line_len);
		assert_memory_equal(data + len - 1 - line_len - header - 4, "\xa3log", 4);
		forward_chunk_free(&chunk);
	}
	forward_fields_free(fields);
}

static void test_attributes(void **state)
{
	(void)state;
	static const struct {
		struct json_pair pairs[4];
		size_t count;
		bool partial;
		const char *expected;
	} cases[] = {
		{{{(char *)"a.b", (char *)"c d"}, {(char *)"E", (char *)""}},
		 2,
		 false,
		 "[\"t\", -1, {\"container_id\"=>\"c\", \"container_name\"=>\"/n\", \"a.b\"=>\"c d\", \"E\"=>\"\", "
		 "\"source\"=>\"stdout\", \"log\"=>\"x\"}, {}]"},
		{{{(char *)"log", (char *)"mine"},
		  {(char *)"source", (char *)"s"},
		  {(char *)"container_id", (char *)"i"},
		  {(char *)"container_name", (char *)"n"}},
		 4,
		 false,
		 "[\"t\", -1, {\"log\"=>\"mine\", \"source\"=>\"s\", \"container_id\"=>\"i\", "
		 "\"container_name\"=>\"n\"}, {}]"},
		{{{(char *)"partial_id", (char *)"mine"}},
		 1,
		 false,
		 "[\"t\", -1, {\"container_id\"=>\"c\", \"container_name\"=>\"/n\", \"partial_id\"=>\"mine\", "
		 "\"source\"=>\"stdout\", \"log\"=>\"x\"}, {}]"},
		{{{(char *)"partial_id", (char *)"mine"}},
		 1,
		 true,
		 "[\"t\", -1, {\"container_id\"=>\"c\", \"container_name\"=>\"/n\", \"source\"=>\"stdout\", "
		 "\"log\"=>\"x\", \"partial_message\"=>\"true\", \"partial_id\"=>\"\", \"partial_ordinal\"=>\"0\", "
		 "\"partial_last\"=>\"false\"}, {}]"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_map attributes = {(struct json_pair *)cases[i].pairs, cases[i].count};
		struct forward_fields *fields = forward_fields_new("c", "/n", &attributes);
		struct record record = line_record("x", -1);
		struct forward_chunk chunk;
		size_t len;
		record.partial = cases[i].partial;
		forward_chunk_begin(&chunk, FORWARD_LISTS, "t");
		forward_chunk_add(&chunk, fields, &record, false);
		const char *data = forward_chunk_end(&chunk, "t", NULL, &len);
		_cleanup_free_ char *text = text_of(data, len);
		assert_string_equal(text, cases[i].expected);
		forward_chunk_free(&chunk);
		forward_fields_free(fields);
	}
}

static char *unpack(const char *data, size_t len, bool gzip)
{
	char *out = xcalloc(1, 65536);
	z_stream stream = {
		.next_in = (Bytef *)data, .avail_in = (uInt)len, .next_out = (Bytef *)out, .avail_out = 65535};

	if (!gzip) {
		memcpy(out, data, len);
		return out;
	}
	assert_int_equal(inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	inflateEnd(&stream);
	return out;
}

static void test_many_records(void **state)
{
	(void)state;
	const char *one =
		"[1, {\"container_id\"=>\"c\", \"container_name\"=>\"/n\", \"source\"=>\"stdout\", \"log\"=>\"a\"}]";
	const char *two =
		"[2, {\"container_id\"=>\"c\", \"container_name\"=>\"/n\", \"source\"=>\"stdout\", \"log\"=>\"b\"}]";
	static const struct {
		enum forward_mode mode;
		const char *option;
	} cases[] = {{FORWARD_LISTS, "{\"size\"=>2, \"chunk\"=>\"id\"}"},
		     {FORWARD_PACKED, "{\"size\"=>2, \"chunk\"=>\"id\"}"},
		     {FORWARD_GZIP, "{\"size\"=>2, \"compressed\"=>\"gzip\", \"chunk\"=>\"id\"}"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct forward_fields *fields = forward_fields_new("c", "/n", &no_attributes);
		struct record a = line_record("a", 1000000000), b = line_record("b", 2000000000);
		struct forward_chunk chunk;
		size_t len, offset = 0;
		forward_chunk_begin(&chunk, cases[i].mode, "t");
		forward_chunk_add(&chunk, fields, &a, false);
		forward_chunk_add(&chunk, fields, &b, false);
		const char *data = forward_chunk_end(&chunk, "t", "id", &len);
		msgpack_unpacked unpacked;
		msgpack_unpacked_init(&unpacked);
		assert_int_equal(msgpack_unpack_next(&unpacked, data, len, &offset), MSGPACK_UNPACK_SUCCESS);
		assert_int_equal(offset, len);
		const msgpack_object_array *array = &unpacked.data.via.array;
		assert_int_equal(array->size, 3);
		char option[256] = "";
		msgpack_object_print_buffer(option, sizeof(option), array->ptr[2]);
		assert_string_equal(option, cases[i].option);
		if (cases[i].mode == FORWARD_LISTS) {
			_cleanup_free_ char *text = text_of(data, len);
			_cleanup_free_ char *expected = xasprintf("[\"t\", [%s, %s], %s]", one, two, option);
			assert_string_equal(text, expected);
		} else {
			const msgpack_object_bin *bin = &array->ptr[1].via.bin;
			_cleanup_free_ char *entries = unpack(bin->ptr, bin->size, cases[i].mode == FORWARD_GZIP);
			size_t half = 60; // of each record
			_cleanup_free_ char *first = text_of(entries, half), *second = text_of(entries + half, half);
			assert_string_equal(first, one);
			assert_string_equal(second, two);
		}
		msgpack_unpacked_destroy(&unpacked);
		forward_chunk_free(&chunk);
		forward_fields_free(fields);
	}
}

static void test_large_chunks(void **state)
{
	(void)state;
	struct forward_fields *fields = forward_fields_new(CONTAINER, "/name", &no_attributes);
	static const unsigned counts[] = {15, 16, 65535, 65536};
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct forward_chunk chunk;
		struct record record = line_record("line", 0);
		size_t len, offset = 0;
		forward_chunk_begin(&chunk, FORWARD_LISTS, "a tag of more than thirty-one bytes, as people have");
		for (unsigned k = 0; k < counts[i]; k++)
			forward_chunk_add(&chunk, fields, &record, true);
		const char *data =
			forward_chunk_end(&chunk, "a tag of more than thirty-one bytes, as people have", NULL, &len);
		msgpack_unpacked unpacked;
		msgpack_unpacked_init(&unpacked);
		assert_int_equal(msgpack_unpack_next(&unpacked, data, len, &offset), MSGPACK_UNPACK_SUCCESS);
		assert_int_equal(offset, len);
		assert_int_equal(unpacked.data.via.array.ptr[1].via.array.size, counts[i]);
		msgpack_unpacked_destroy(&unpacked);
		forward_chunk_free(&chunk);
	}
	forward_fields_free(fields);
}

static void test_chunk_ids(void **state)
{
	(void)state;
	char a[FORWARD_ID_LEN + 1], b[FORWARD_ID_LEN + 1];
	forward_chunk_id(CONTAINER, 7, 3, a);
	assert_int_equal(strlen(a), FORWARD_ID_LEN);
	assert_string_equal(a + 22, "==");
	forward_chunk_id(CONTAINER, 7, 3, b);
	assert_string_equal(a, b);
	forward_chunk_id(CONTAINER, 7, 4, b);
	assert_string_not_equal(a, b);
	forward_chunk_id(CONTAINER, 8, 3, b);
	assert_string_not_equal(a, b);
	forward_chunk_id("b", 7, 3, b);
	assert_string_not_equal(a, b);
}

// --- answers ---
#define BYTES(text) (text), sizeof(text) - 1
static const struct answer_case {
	const char *what, *data;
	size_t len;
	int result;
	enum forward_answer_kind kind;
	const char *error; // a part of it
} answer_cases[] = {
	{"ack",
	 BYTES("\x81\xa3"
	       "ack\xb8"
	       "AAAAAAAAAAAAAAAAAAAAAA=="),
	 1, FORWARD_ACK, NULL},
	{"ack among others",
	 BYTES("\x82\xa1x\x90\xa3"
	       "ack\xb8"
	       "AAAAAAAAAAAAAAAAAAAAAA=="),
	 1, FORWARD_ACK, NULL},
	{"ack in binary",
	 BYTES("\x81\xc4\x03"
	       "ack\xc4\x18"
	       "AAAAAAAAAAAAAAAAAAAAAA=="),
	 1, FORWARD_ACK, NULL},
	{"nothing", BYTES(""), 0, FORWARD_OTHER, NULL},
	{"half an ack",
	 BYTES("\x81\xa3"
	       "ack\xb8"
	       "AAAA"),
	 0, FORWARD_OTHER, NULL},
	{"half a header", BYTES("\xda\x01"), 0, FORWARD_OTHER, NULL},
	{"a number", BYTES("H"), 1, FORWARD_OTHER, NULL},
	{"nil", BYTES("\xc0"), 1, FORWARD_OTHER, NULL},
	{"an empty map", BYTES("\x80"), 1, FORWARD_OTHER, NULL},
	{"an empty array", BYTES("\x90"), 1, FORWARD_OTHER, NULL},
	{"extension", BYTES("\xc7\x02\x05xx"), 1, FORWARD_OTHER, NULL},
	{"HELO",
	 BYTES("\x92\xa4HELO\x83\xa5nonce\xc4\x02\x00\xff\xa4"
	       "auth\xa0\xa9keepalive\xc2"),
	 1, FORWARD_HELO, NULL},
	{"HELO without options", BYTES("\x91\xa4HELO"), -EBADMSG, FORWARD_OTHER, "no options"},
	{"HELO with a number", BYTES("\x92\xa4HELO\x81\xa5nonce\x01"), -EBADMSG, FORWARD_OTHER, "nonce"},
	{"PONG",
	 BYTES("\x95\xa4PONG\xc3\xa0\xa1h\xa1"
	       "d"),
	 1, FORWARD_PONG, NULL},
	{"short PONG", BYTES("\x92\xa4PONG\xc3"), -EBADMSG, FORWARD_OTHER, "PONG"},
	{"PONG of numbers", BYTES("\x95\xa4PONG\xc3\x01\x02\x03\x04"), -EBADMSG, FORWARD_OTHER, "PONG"},
	{"no msgpack", BYTES("\xc1"), -EBADMSG, FORWARD_OTHER, "0xc1"},
	{"a map of four billion", BYTES("\xdf\xff\xff\xff\xff"), -EMSGSIZE, FORWARD_OTHER, "8192"},
	{"an array of four billion", BYTES("\xdd\xff\xff\xff\xff"), -EMSGSIZE, FORWARD_OTHER, "8192"},
	{"a text of four billion", BYTES("\xdb\xff\xff\xff\xff"), -EMSGSIZE, FORWARD_OTHER, "8192"},
	{"a text of 8192", BYTES("\xda\x20\x00"), -EMSGSIZE, FORWARD_OTHER, "8192"},
	{"nested as deep as may be", BYTES("\x91\x91\x91\x91\x91\x91\x91\x01"), 1, FORWARD_OTHER, NULL},
	{"nested deeper", BYTES("\x91\x91\x91\x91\x91\x91\x91\x91\x01"), -EMSGSIZE, FORWARD_OTHER, "nested"},
};

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answer_cases); i++) {
		const struct answer_case *c = &answer_cases[i];
		struct forward_answer answer;
		struct error err = {0};
		size_t used;
		_cleanup_free_ char *data = xmemdup(c->data, c->len + 1);
		int r = forward_answer_decode(data, c->len, &used, &answer, &err);
		if (r != c->result)
			fail_msg("%s: %d and not %d (%s)", c->what, r, c->result, err.message);
		assert_int_equal(used, r == 1 ? c->len : 0);
		if (r == 1)
			assert_int_equal(answer.kind, c->kind);
		if (c->error && !strstr(err.message, c->error))
			fail_msg("%s: %s", c->what, err.message);
		if (r == 1 && answer.kind == FORWARD_ACK)
			assert_string_equal(answer.ack, "AAAAAAAAAAAAAAAAAAAAAA==");
		// Any part of it is incomplete, and what follows it is left alone.
		for (size_t part = 0; r == 1 && part < c->len; part++)
			assert_int_equal(forward_answer_decode(data, part, &used, &answer, NULL), 0);
		data[c->len] = '\xc1';
		if (r == 1) {
			assert_int_equal(forward_answer_decode(data, c->len + 1, &used, &answer, NULL), 1);
			assert_int_equal(used, c->len);
		}
	}
}

static void test_foreign_acks(void **state)
{
	(void)state;
	struct forward_answer answer;
	size_t used;
	// One byte longer than ours, and no text.
	assert_int_equal(forward_answer_decode(BYTES("\x81\xa3"
						     "ack\xb9"
						     "AAAAAAAAAAAAAAAAAAAAAA==A"),
					       &used, &answer, NULL),
			 1);
	assert_int_equal(answer.kind, FORWARD_ACK);
	assert_string_equal(answer.ack, "");
	assert_int_equal(forward_answer_decode(BYTES("\x81\xa3"
						     "ack\x01"),
					       &used, &answer, NULL),
			 1);
	assert_int_equal(answer.kind, FORWARD_ACK);
	assert_string_equal(answer.ack, "");
}

// --- handshake: digests computed with Python's hashlib ---
static const struct forward_answer helo = {
	.kind = FORWARD_HELO, .nonce = {"0123456789abcdef", 16}, .auth = {"fedcba9876543210", 16}};
static const char salt[] = "00112233445566778899aabbccddeeff";
static const char key_digest[] = "284d1b300ac97e11f1db34f416c91c61cdeeaceb1a1b7a8e644c03c90511f051"
				 "be1dc1a6488a4dea5babec56e7ba978eb30a93af3bdbd30de8eab6b16ac88c28";
static const char password_digest[] = "ca90e843c3d32491721352a130f7f10c9d3031c6e2ef9c9d0ed3a454219d40d8"
				      "fe24869e5b90bda9aac0b0cbca8eede10954d368e69e7bf49d369e27ccd0c323";
static const char server_digest[] = "2088ad36984e203f1cd455142bee8d69607cc4c6f972806c811b783ada6d565b"
				    "202a0491862e49c940b4e306c39c66574a76c9b71276b9f139098fb63d8fcecf";

static void test_ping(void **state)
{
	(void)state;
	struct forward_login login = {.hostname = "client", .shared_key = "secret key"};
	struct forward_answer without_user = helo;
	struct error err;
	struct buf out = {0};

	without_user.auth.len = 0;
	assert_int_equal(forward_ping(&login, &without_user, salt, &out, &err), 0);
	_cleanup_free_ char *plain = text_of(out.data, out.len);
	_cleanup_free_ char *expected =
		xasprintf("[\"PING\", \"client\", \"%s\", \"%s\", \"\", \"\"]", salt, key_digest);
	assert_string_equal(plain, expected);
	buf_clear(&out);
	assert_int_equal(forward_ping(&login, &helo, salt, &out, &err), -EACCES);
	assert_non_null(strstr(err.message, "user name"));
	login.username = "user";
	login.password = "pass";
	buf_clear(&out);
	assert_int_equal(forward_ping(&login, &helo, salt, &out, &err), 0);
	_cleanup_free_ char *with_user = text_of(out.data, out.len);
	_cleanup_free_ char *expected_user = xasprintf("[\"PING\", \"client\", \"%s\", \"%s\", \"user\", \"%s\"]", salt,
						       key_digest, password_digest);
	assert_string_equal(with_user, expected_user);
	buf_free(&out);
}

static void test_pong(void **state)
{
	(void)state;
	struct forward_login login = {.hostname = "client", .shared_key = "secret key"};
	struct forward_answer pong = {.kind = FORWARD_PONG, .ok = true, .hostname = "server"};
	struct error err;

	memcpy(pong.digest, server_digest, sizeof(server_digest));
	assert_int_equal(forward_check_pong(&login, &helo, &pong, salt, &err), 0);
	login.shared_key = "another key";
	assert_int_equal(forward_check_pong(&login, &helo, &pong, salt, &err), -EACCES);
	assert_non_null(strstr(err.message, "does not know the shared key"));
	assert_null(strstr(err.message, "another"));
	login.shared_key = "secret key";
	pong.digest[127] = '\0';
	assert_int_equal(forward_check_pong(&login, &helo, &pong, salt, &err), -EACCES);
	login.hostname = "server";
	assert_int_equal(forward_check_pong(&login, &helo, &pong, salt, &err), -EACCES);
	assert_non_null(strstr(err.message, "our own host name"));
	pong.ok = false;
	snprintf(pong.reason, sizeof(pong.reason), "shared_key mismatch");
	assert_int_equal(forward_check_pong(&login, &helo, &pong, salt, &err), -EACCES);
	assert_non_null(strstr(err.message, "shared_key mismatch"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_record_is_a_message),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_bytes_are_left_alone),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_many_records),
		cmocka_unit_test(test_large_chunks),
		cmocka_unit_test(test_chunk_ids),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_foreign_acks),
		cmocka_unit_test(test_ping),
		cmocka_unit_test(test_pong),
	};
	return cmocka_run_group_tests_name("logging/forward", tests, NULL, NULL);
}
