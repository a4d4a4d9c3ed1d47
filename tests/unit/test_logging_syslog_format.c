// The bytes of syslog messages, against texts written by hand after logging.md §6.2 to §6.4.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "logging/syslog_format.h"

#include <time.h>

#define NS INT64_C(1000000000)
#define T0 (INT64_C(1700000000) * NS + 123456789) // 2023-11-14T22:13:20.123456789Z

static void set_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

static struct stream_settings settings_with(int format, unsigned facility)
{
	struct stream_settings settings = {.tag = (char *)"web/1234", .hostname = (char *)"host-1", .pid = 4711};

	settings.options.syslog.format = format;
	settings.options.syslog.facility = facility;
	return settings;
}

static void expect(const struct stream_settings *settings, bool octets, enum syslog_severity severity, int64_t time_ns,
		   const char *text, size_t len, const char *expected, size_t expected_len)
{
	struct syslog_format format;
	struct buf out = {0};

	syslog_format_init(&format, settings);
	format.octet_counting = octets;
	syslog_format_append(&format, &out, severity, time_ns, text, len);
	if (out.len != expected_len || memcmp(out.data, expected, out.len) != 0)
		fail_msg("got %.*s instead of %s", (int)out.len, out.data, expected);
	buf_free(&out);
	syslog_format_done(&format);
}

#define EXPECT(settings, octets, severity, time, text, expected) \
	expect(settings, octets, severity, time, text, sizeof(text) - 1, expected, sizeof(expected) - 1)

static void test_golden(void **state)
{
	static const struct {
		const char *zone;
		int format;
		unsigned facility;
		enum syslog_severity severity;
		int64_t time_ns;
		const char *expected;
	} cases[] = {
		{"UTC", LOG_FORMAT_UNIX, 3, SYSLOG_INFO, T0, "<30>Nov 14 22:13:20 web/1234[4711]: hello\n"},
		{"UTC", LOG_FORMAT_RFC3164, 3, SYSLOG_ERR, T0, "<27>Nov 14 22:13:20 host-1 web/1234[4711]: hello\n"},
		{"UTC", LOG_FORMAT_RFC5424, 16, SYSLOG_INFO, T0,
		 "<134>1 2023-11-14T22:13:20Z host-1 web/1234 4711 web/1234 - hello\n"},
		{"UTC", LOG_FORMAT_RFC5424MICRO, 23, SYSLOG_WARNING, T0,
		 "<188>1 2023-11-14T22:13:20.123456Z host-1 web/1234 4711 web/1234 - hello\n"},
		{"UTC", LOG_FORMAT_UNIX, 0, SYSLOG_INFO, 0, "<6>Jan  1 00:00:00 web/1234[4711]: hello\n"},
		{"UTC", LOG_FORMAT_RFC5424MICRO, 0, SYSLOG_ERR, -1,
		 "<3>1 1969-12-31T23:59:59.999999Z host-1 web/1234 4711 web/1234 - hello\n"},
		{"UTC", LOG_FORMAT_RFC5424MICRO, 1, SYSLOG_INFO, 1700000000 * NS + 42000,
		 "<14>1 2023-11-14T22:13:20.000042Z host-1 web/1234 4711 web/1234 - hello\n"},
		{"UTC", LOG_FORMAT_RFC5424MICRO, 1, SYSLOG_INFO, INT64_MAX,
		 "<14>1 2262-04-11T23:47:16.854775Z host-1 web/1234 4711 web/1234 - hello\n"},
		{"UTC", LOG_FORMAT_RFC5424MICRO, 1, SYSLOG_INFO, INT64_MIN,
		 "<14>1 1677-09-21T00:12:43.145224Z host-1 web/1234 4711 web/1234 - hello\n"},
		// The zone as it was at the record's time: winter and summer.
		{"CET-1CEST,M3.5.0,M10.5.0/3", LOG_FORMAT_UNIX, 3, SYSLOG_INFO, T0,
		 "<30>Nov 14 23:13:20 web/1234[4711]: hello\n"},
		{"CET-1CEST,M3.5.0,M10.5.0/3", LOG_FORMAT_RFC5424, 3, SYSLOG_INFO, T0,
		 "<30>1 2023-11-14T23:13:20+01:00 host-1 web/1234 4711 web/1234 - hello\n"},
		{"CET-1CEST,M3.5.0,M10.5.0/3", LOG_FORMAT_RFC5424, 3, SYSLOG_INFO, 1688000000 * NS,
		 "<30>1 2023-06-29T02:53:20+02:00 host-1 web/1234 4711 web/1234 - hello\n"},
		{"NST3:30", LOG_FORMAT_RFC5424MICRO, 3, SYSLOG_INFO, T0,
		 "<30>1 2023-11-14T18:43:20.123456-03:30 host-1 web/1234 4711 web/1234 - hello\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stream_settings settings = settings_with(cases[i].format, cases[i].facility);

		set_zone(cases[i].zone);
		expect(&settings, false, cases[i].severity, cases[i].time_ns, "hello", 5, cases[i].expected,
		       strlen(cases[i].expected));
	}
}

static void test_texts(void **state)
{
	struct stream_settings unix_format = settings_with(LOG_FORMAT_UNIX, 3),
			       rfc = settings_with(LOG_FORMAT_RFC5424, 3);

	(void)state;
	set_zone("UTC");
	// Bytes are unchanged, and one newline ends each message.
	EXPECT(&unix_format, false, SYSLOG_INFO, 0, "a\0b\r\x1b[0m\xff\xc3(",
	       "<30>Jan  1 00:00:00 web/1234[4711]: a\0b\r\x1b[0m\xff\xc3(\n");
	EXPECT(&unix_format, false, SYSLOG_INFO, 0, "ended\n", "<30>Jan  1 00:00:00 web/1234[4711]: ended\n");
	// LEN counts the newline, not itself.
	EXPECT(&rfc, true, SYSLOG_INFO, 0, "hello",
	       "65 <30>1 1970-01-01T00:00:00Z host-1 web/1234 4711 web/1234 - hello\n");
	EXPECT(&rfc, true, SYSLOG_INFO, 0, "hello\n",
	       "65 <30>1 1970-01-01T00:00:00Z host-1 web/1234 4711 web/1234 - hello\n");
	EXPECT(&unix_format, true, SYSLOG_INFO, 0, "hello", "42 <30>Jan  1 00:00:00 web/1234[4711]: hello\n");
	unix_format.tag = (char *)"";
	EXPECT(&unix_format, false, SYSLOG_INFO, 0, "x", "<30>Jan  1 00:00:00 /usr/bin/dockerd[4711]: x\n");
	rfc.hostname = NULL;
	EXPECT(&rfc, false, SYSLOG_INFO, 0, "x", "<30>1 1970-01-01T00:00:00Z localhost web/1234 4711 web/1234 - x\n");
}

// One after another from the same stream: the second that is remembered must be the right one.
static void test_sequence(void **state)
{
	struct stream_settings settings = settings_with(LOG_FORMAT_RFC5424MICRO, 3);
	static const struct {
		int64_t time_ns;
		const char *stamp;
	} cases[] = {
		{T0, "2023-11-14T22:13:20.123456Z"},
		{T0 + 1000, "2023-11-14T22:13:20.123457Z"},
		{T0 + NS, "2023-11-14T22:13:21.123456Z"},
		{T0, "2023-11-14T22:13:20.123456Z"},
		{T0 + 86400 * NS, "2023-11-15T22:13:20.123456Z"},
		{0, "1970-01-01T00:00:00.000000Z"},
	};
	struct syslog_format format;

	(void)state;
	set_zone("UTC");
	syslog_format_init(&format, &settings);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = {0};

		syslog_format_append(&format, &out, SYSLOG_INFO, cases[i].time_ns, "x", 1);
		assert_memory_equal(out.data + 6, cases[i].stamp, strlen(cases[i].stamp));
		buf_free(&out);
	}
	syslog_format_done(&format);
}

static void test_cut(void **state)
{
	static const struct {
		const char *text;
		size_t max;
		const char *cut;
	} cases[] = {
		{"hello\n", 6, "hello\n"},
		{"hello\n", 100, "hello\n"},
		{"hello\n", 5, "hell\n"},
		{"hello\n", 1, "\n"},
		{"hello\n", 0, ""},
		{"a\xc3\xa4z\n", 4, "a\xc3\xa4\n"},
		{"a\xc3\xa4z\n", 3, "a\n"},
		{"a\xe2\x82\xaczz\n", 5, "a\xe2\x82\xac\n"},
		{"a\xe2\x82\xaczz\n", 4, "a\n"},
		{"a\xe2\x82\xaczz\n", 3, "a\n"},
		{"\xf0\x9f\x98\x80zz\n", 4, "\n"},
		{"\xf0\x9f\x98\x80zz\n", 5, "\xf0\x9f\x98\x80\n"},
		// What is no character is cut anywhere.
		{"\x80\x80\x80\x80\x80\x80\n", 4, "\x80\x80\x80\n"},
		{"a\xc3zzz\n", 3, "a\xc3\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[32];
		size_t len = strlen(cases[i].text), left;

		memcpy(text, cases[i].text, len);
		left = syslog_format_cut(text, len, cases[i].max);
		assert_int_equal(left, strlen(cases[i].cut));
		assert_memory_equal(text, cases[i].cut, left);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
