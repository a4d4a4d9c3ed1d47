// Log options of Docker's drivers: what is taken, what it becomes, what is refused and with which words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log_options.h"
#include "common/util.h"

#define PAIRS_MAX 12

// "key=value" words; NULL ends.
struct config {
	struct json_map map;
	struct json_pair pairs[PAIRS_MAX];
};

static void config_set(struct config *config, const char *const *words)
{
	*config = (struct config){0};
	config->map.items = config->pairs;
	for (size_t i = 0; words[i]; i++) {
		size_t key = strcspn(words[i], "=");

		assert_true(i < PAIRS_MAX);
		config->pairs[i].name = xstrndup(words[i], key);
		config->pairs[i].value = xstrdup(words[i] + key + 1);
		config->map.count++;
	}
}

static void config_free(struct config *config)
{
	for (size_t i = 0; i < config->map.count; i++) {
		free(config->pairs[i].name);
		free(config->pairs[i].value);
	}
}

static int parse(enum log_driver driver, const char *const *words, struct log_opts *options, struct error *err)
{
	struct config config;
	int r;

	config_set(&config, words);
	r = log_options_parse(driver, &config.map, options, err);
	config_free(&config);
	return r;
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_bool(void **state)
{
	static const struct {
		const char *text;
		int value; // -1: malformed
	} cases[] = {{"1", 1}, {"t", 1},     {"T", 1},    {"TRUE", 1},   {"true", 1},  {"True", 1},
		     {"0", 0}, {"f", 0},     {"F", 0},    {"FALSE", 0},  {"false", 0}, {"False", 0},
		     {"", -1}, {"tRUE", -1}, {"yes", -1}, {"true ", -1}, {"2", -1},    {NULL, -1}};
	bool value;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(log_parse_bool(cases[i].text, &value), cases[i].value >= 0);
		if (cases[i].value >= 0)
			assert_int_equal(value, cases[i].value);
	}
}

static void test_size(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes; // -1: malformed
	} cases[] = {{"0", 0},
		     {"32", 32},
		     {"32b", 32},
		     {"32B", 32},
		     {"32k", 32 << 10},
		     {"32K", 32 << 10},
		     {"32kb", 32 << 10},
		     {"32KiB", 32 << 10},
		     {"32 kib", 32 << 10},
		     {"1.5m", 3 << 19},
		     {".5k", 512},
		     {"5.", 5},
		     {"1g", 1 << 30},
		     {"2t", INT64_C(2) << 40},
		     {"3p", INT64_C(3) << 50},
		     {"10 ", 10},
		     {"8191p", INT64_C(8191) << 50},
		     {"8192p", -1},
		     {"", -1},
		     {"k", -1},
		     {".", -1},
		     {"hello", -1},
		     {"-32", -1},
		     {" 32", -1},
		     {"32  k", -1},
		     {"32kk", -1},
		     {"32bb", -1},
		     {"32kibb", -1},
		     {"32kx", -1},
		     {"32x", -1},
		     {"3.2.1", -1},
		     {"32k ", -1},
		     {NULL, -1}};
	int64_t bytes;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(log_parse_size(cases[i].text, &bytes), cases[i].bytes >= 0);
		if (cases[i].bytes >= 0)
			assert_int_equal(bytes, cases[i].bytes);
	}
}

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t ns;
	} cases[] = {{"0", true, 0},
		     {"+0", true, 0},
		     {"-0", true, 0},
		     {"0s", true, 0},
		     {"5s", true, 5000000000},
		     {"1m30s", true, 90000000000},
		     {"0.5s", true, 500000000},
		     {".5s", true, 500000000},
		     {"5.s", true, 5000000000},
		     {"0.3s", true, 300000000},
		     {"100ms", true, 100000000},
		     {"7us", true, 7000},
		     {"7\u00b5s", true, 7000},
		     {"7\u03bcs", true, 7000},
		     {"9ns", true, 9},
		     {"-1.5h", true, -5400000000000},
		     {"1h1h", true, 7200000000000},
		     {"", false, 0},
		     {"-", false, 0},
		     {"1", false, 0},
		     {"s", false, 0},
		     {".s", false, 0},
		     {"1d", false, 0},
		     {"1 s", false, 0},
		     {"1s ", false, 0},
		     {"--1s", false, 0},
		     {"3000000h", false, 0},
		     {NULL, false, 0}};
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(log_parse_duration(cases[i].text, &ns), cases[i].ok);
		if (cases[i].ok)
			assert_int_equal(ns, cases[i].ns);
	}
}

static void test_url(void **state)
{
	static const struct {
		const char *text, *scheme, *host, *port, *path, *error;
	} cases[] = {
		{"tcp://h:1/p", "tcp", "h", "1", "/p", NULL},
		{"TCP+tls://h", "tcp+tls", "h", NULL, "", NULL},
		{"udp://[::1]", "udp", "::1", NULL, "", NULL},
		{"udp://[::1]:514", "udp", "::1", "514", "", NULL},
		{"udp://[fe80::1%25en0]:1", "udp", "fe80::1%en0", "1", "", NULL},
		{"tcp://u:p@h:", "tcp", "h", "", "", NULL},
		{"tcp://h?q=/#f", "tcp", "h", NULL, "", NULL},
		{"unix:///a%20b/c", "unix", "", NULL, "/a b/c", NULL},
		{"unix:///s.sock:80", "unix", "", NULL, "/s.sock:80", NULL},
		{"unix://a/b", "unix", "a", NULL, "/b", NULL},
		{"unix:/a", "unix", NULL, NULL, "/a", NULL},
		{"mail:x", "mail", NULL, NULL, "", NULL},
		{"just text", "", NULL, NULL, "just text", NULL},
		{"", "", NULL, NULL, "", NULL},
		{"://", NULL, NULL, NULL, NULL, "missing protocol scheme"},
		{"1.2.3.4:5", NULL, NULL, NULL, NULL, "first path segment in URL cannot contain colon"},
		{"tcp://h:x", NULL, NULL, NULL, NULL, "invalid port \":x\" after host"},
		{"tcp://h:-1", NULL, NULL, NULL, NULL, "invalid port \":-1\" after host"},
		{"tcp://[::1]x", NULL, NULL, NULL, NULL, "invalid port \"x\" after host"},
		{"tcp://[::1", NULL, NULL, NULL, NULL, "missing ']' in host"},
		{"tcp://::1", NULL, NULL, NULL, NULL, "too many colons in address"},
		{"tcp://a b", NULL, NULL, NULL, NULL, "invalid character ' ' in host name"},
		{"tcp://a%41", NULL, NULL, NULL, NULL, "invalid URL escape"},
		{"unix:///%", NULL, NULL, NULL, NULL, "invalid URL escape"},
		{"unix:///%4", NULL, NULL, NULL, NULL, "invalid URL escape"},
		{"unix:///%00", NULL, NULL, NULL, NULL, "invalid URL escape"},
		{"tcp://h\n", NULL, NULL, NULL, NULL, "invalid control character in URL"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		struct log_url url = {0};
		int r = log_parse_url(cases[i].text, &url, &err);

		if (cases[i].error) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(err.message, cases[i].error));
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(url.scheme, cases[i].scheme);
		assert_true(str_equal(url.host, cases[i].host));
		assert_true(str_equal(url.port, cases[i].port));
		assert_string_equal(url.path, cases[i].path);
		log_url_free(&url);
	}
}

static void test_defaults(void **state)
{
	struct log_opts options;

	(void)state;
	assert_int_equal(parse(LOG_AWSLOGS, WORDS("awslogs-group=g"), &options, NULL), 0);
	assert_string_equal(options.awslogs.group, "g");
	assert_null(options.awslogs.stream);
	assert_null(options.tag);
	assert_false(options.awslogs.create_group);
	assert_true(options.awslogs.create_stream);
	assert_int_equal(options.awslogs.flush_interval_s, 5);
	assert_int_equal(options.awslogs.max_buffered_events, 4096);
	assert_false(options.non_blocking);
	assert_int_equal(options.spool_max, 0);
	log_options_free(&options);

	assert_int_equal(parse(LOG_FLUENTD, WORDS("fluentd-address="), &options, NULL), 0);
	assert_int_equal(options.fluentd.address.scheme, LOG_TCP);
	assert_string_equal(options.fluentd.address.host, "127.0.0.1");
	assert_int_equal(options.fluentd.address.port, 24224);
	assert_false(options.fluentd.async || options.fluentd.request_ack || options.fluentd.sub_second);
	assert_int_equal(options.fluentd.reconnect_interval_ms, 0);
	assert_int_equal(options.fluentd.retry_wait_ms, 1000);
	assert_int_equal(options.fluentd.write_timeout_ms, 0);
	assert_int_equal(options.fluentd.read_timeout_ms, 0);
	assert_int_equal(options.fluentd.max_retries, INT32_MAX);
	assert_int_equal(options.fluentd.buffer_limit, 1 << 20);
	log_options_free(&options);

	assert_int_equal(parse(LOG_SYSLOG, WORDS("mode="), &options, NULL), 0);
	assert_int_equal(options.syslog.address.scheme, LOG_LOCAL_SYSLOG);
	assert_int_equal(options.syslog.facility, 3);
	assert_int_equal(options.syslog.format, LOG_FORMAT_UNIX);
	assert_false(options.syslog.skip_verify || options.syslog.octet_counting);
	assert_null(options.syslog.ca_cert);
	log_options_free(&options);
}

static void test_all_set(void **state)
{
	struct log_opts options;

	(void)state;
	assert_int_equal(
		parse(LOG_AWSLOGS,
		      WORDS("awslogs-group=g", "awslogs-stream=s", "awslogs-region=r", "awslogs-endpoint=e",
			    "awslogs-create-group=true", "awslogs-create-stream=false", "awslogs-format=json/emf",
			    "awslogs-force-flush-interval-seconds=7", "awslogs-max-buffered-events=9", "tag={{.Name}}",
			    "awslogs-credentials-endpoint=/v2/credentials/1", "x-ecs-spool-max-size=8m"),
		      &options, NULL),
		0);
	assert_string_equal(options.awslogs.stream, "s");
	assert_string_equal(options.awslogs.region, "r");
	assert_string_equal(options.awslogs.endpoint, "e");
	assert_string_equal(options.awslogs.credentials_endpoint, "/v2/credentials/1");
	assert_string_equal(options.tag, "{{.Name}}");
	assert_true(options.awslogs.create_group && !options.awslogs.create_stream && options.awslogs.emf);
	assert_int_equal(options.awslogs.flush_interval_s, 7);
	assert_int_equal(options.awslogs.max_buffered_events, 9);
	assert_int_equal(options.spool_max, 8 << 20);
	log_options_free(&options);

	assert_int_equal(
		parse(LOG_FLUENTD,
		      WORDS("fluentd-address=tls://h", "fluentd-async=1", "fluentd-async-reconnect-interval=2s",
			    "fluentd-buffer-limit=8k", "fluentd-retry-wait=250ms", "fluentd-max-retries=5",
			    "fluentd-request-ack=t", "fluentd-sub-second-precision=T", "fluentd-write-timeout=1us",
			    "fluentd-read-timeout=1.5s", "labels=a,b", "env-regex=^X"),
		      &options, NULL),
		0);
	assert_int_equal(options.fluentd.address.scheme, LOG_TLS);
	assert_true(options.fluentd.async && options.fluentd.request_ack && options.fluentd.sub_second);
	assert_int_equal(options.fluentd.reconnect_interval_ms, 2000);
	assert_int_equal(options.fluentd.buffer_limit, 8192);
	assert_int_equal(options.fluentd.retry_wait_ms, 250);
	assert_int_equal(options.fluentd.max_retries, 5);
	assert_int_equal(options.fluentd.write_timeout_ms, 1); // not 0, which means none
	assert_int_equal(options.fluentd.read_timeout_ms, 1500);
	assert_string_equal(options.labels, "a,b");
	assert_string_equal(options.env_regex, "^X");
	assert_null(options.env);
	log_options_free(&options);

	assert_int_equal(
		parse(LOG_SYSLOG,
		      WORDS("syslog-address=tcp+tls://[::1]", "syslog-facility=local7", "syslog-format=rfc5424micro",
			    "syslog-tls-ca-cert=ca", "syslog-tls-cert=c", "syslog-tls-key=k", "labels-regex=l",
			    "x-ecs-syslog-octet-counting=true", "x-ecs-anything=1", "mode=non-blocking",
			    "max-buffer-size=10m", "cache-disabled=true"),
		      &options, NULL),
		0);
	assert_int_equal(options.syslog.address.scheme, LOG_TLS);
	assert_string_equal(options.syslog.address.host, "::1");
	assert_int_equal(options.syslog.address.port, 514);
	assert_int_equal(options.syslog.facility, 23);
	assert_int_equal(options.syslog.format, LOG_FORMAT_RFC5424MICRO);
	assert_string_equal(options.syslog.key, "k");
	assert_true(options.syslog.octet_counting && options.non_blocking);
	log_options_free(&options);
}

static void test_values(void **state)
{
	static const struct {
		const char *skip;
		bool verify;
	} skips[] = {{"syslog-tls-skip-verify=", false},    {"syslog-tls-skip-verify=true", false},
		     {"syslog-tls-skip-verify=yes", false}, {"syslog-tls-skip-verify=false", true},
		     {"syslog-tls-skip-verify=0", true},    {"syslog-facility=daemon", true}};
	struct log_opts options;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(skips); i++) {
		assert_int_equal(parse(LOG_SYSLOG, WORDS(skips[i].skip), &options, NULL), 0);
		assert_int_equal(options.syslog.skip_verify, !skips[i].verify);
		log_options_free(&options);
	}
	// Zeros, as the client library reads them; the alias of fluentd-async.
	assert_int_equal(parse(LOG_FLUENTD,
			       WORDS("fluentd-retry-wait=0.9ms", "fluentd-max-retries=0", "fluentd-buffer-limit=0",
				     "fluentd-async-connect=true", "fluentd-async="),
			       &options, NULL),
			 0);
	assert_int_equal(options.fluentd.retry_wait_ms, 500);
	assert_int_equal(options.fluentd.max_retries, 13);
	assert_int_equal(options.fluentd.buffer_limit, 8192);
	assert_true(options.fluentd.async);
	log_options_free(&options);
	assert_int_equal(parse(LOG_AWSLOGS,
			       WORDS("awslogs-group=g", "awslogs-create-group=", "awslogs-create-stream=",
				     "awslogs-force-flush-interval-seconds=+99999999999", "awslogs-datetime-format=%Y"),
			       &options, NULL),
			 0);
	assert_true(options.awslogs.create_stream);
	assert_int_equal(options.awslogs.flush_interval_s, 365 * 24 * 3600);
	assert_string_equal(options.awslogs.datetime_format, "%Y");
	log_options_free(&options);
}

static void test_addresses(void **state)
{
	static const struct {
		enum log_driver driver;
		const char *option;
		enum log_scheme scheme;
		const char *host;
		unsigned port;
		const char *path;
	} cases[] = {
		{LOG_FLUENTD, "fluentd-address=192.168.1.1", LOG_TCP, "192.168.1.1", 24224, NULL},
		{LOG_FLUENTD, "fluentd-address=192.168.1.1:", LOG_TCP, "192.168.1.1", 24224, NULL},
		{LOG_FLUENTD, "fluentd-address=example.com:65535", LOG_TCP, "example.com", 65535, NULL},
		{LOG_FLUENTD, "fluentd-address=[::1]", LOG_TCP, "::1", 24224, NULL},
		{LOG_FLUENTD, "fluentd-address=[::1]:123", LOG_TCP, "::1", 123, NULL},
		{LOG_FLUENTD, "fluentd-address=:123", LOG_TCP, "127.0.0.1", 123, NULL},
		{LOG_FLUENTD, "fluentd-address=tcp://", LOG_TCP, "127.0.0.1", 24224, NULL},
		{LOG_FLUENTD, "fluentd-address=tls://example.com", LOG_TLS, "example.com", 24224, NULL},
		{LOG_FLUENTD, "fluentd-address=unix:///some/socket.sock:80", LOG_UNIX, NULL, 0, "/some/socket.sock:80"},
		{LOG_SYSLOG, "syslog-address=udp://1.2.3.4", LOG_UDP, "1.2.3.4", 514, NULL},
		{LOG_SYSLOG, "syslog-address=tcp://1.2.3.4:1/ignored", LOG_TCP, "1.2.3.4", 1, NULL},
		{LOG_SYSLOG, "syslog-address=udp://[::1]", LOG_UDP, "::1", 514, NULL},
		{LOG_SYSLOG, "syslog-address=tcp+tls://[::1]:6514", LOG_TLS, "::1", 6514, NULL},
		{LOG_SYSLOG, "syslog-address=udp://", LOG_UDP, "localhost", 514, NULL},
		{LOG_SYSLOG, "syslog-address=unix:///dev/log", LOG_UNIX, NULL, 0, "/dev/log"},
		{LOG_SYSLOG, "syslog-address=unixgram:///dev/log", LOG_UNIXGRAM, NULL, 0, "/dev/log"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct log_opts options;
		const struct log_address *address =
			cases[i].driver == LOG_FLUENTD ? &options.fluentd.address : &options.syslog.address;

		assert_int_equal(parse(cases[i].driver, WORDS(cases[i].option), &options, NULL), 0);
		assert_int_equal(address->scheme, cases[i].scheme);
		assert_true(str_equal(address->host, cases[i].host));
		assert_true(str_equal(address->path, cases[i].path));
		if (cases[i].host)
			assert_int_equal(address->port, cases[i].port);
		log_options_free(&options);
	}
}

static void test_refused(void **state)
{
#define GROUP "awslogs-group=g"
	static const struct {
		enum log_driver driver;
		const char *words[5];
		const char *text; // somewhere in the message
	} cases[] = {
		// In the order of logging.md §4.1.
		{LOG_AWSLOGS, {"labels=x"}, "unknown log opt 'labels' for awslogs log driver"},
		{LOG_AWSLOGS, {GROUP, "max-size=1m"}, "unknown log opt 'max-size' for awslogs log driver"},
		{LOG_AWSLOGS, {"awslogs-create-group=maybe"}, "must specify a value for log opt 'awslogs-group'"},
		{LOG_AWSLOGS, {"awslogs-group="}, "must specify a value for log opt 'awslogs-group'"},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-create-stream=maybe", "awslogs-create-group=perhaps"},
		 "must specify valid value for log opt 'awslogs-create-group': strconv.ParseBool: parsing \"perhaps\": "
		 "invalid syntax"},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-create-stream=maybe"},
		 "must specify valid value for log opt 'awslogs-create-stream': strconv.ParseBool: parsing \"maybe\""},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-force-flush-interval-seconds=0"},
		 "must specify a positive integer for log opt 'awslogs-force-flush-interval-seconds': 0"},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-max-buffered-events=1.5"},
		 "must specify a positive integer for log opt 'awslogs-max-buffered-events': 1.5"},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-datetime-format=", "awslogs-multiline-pattern="},
		 "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same "
		 "time"},
		{LOG_AWSLOGS, {GROUP, "awslogs-format=emf"}, "unsupported log format 'emf'"},
		{LOG_AWSLOGS,
		 {GROUP, "awslogs-format=json/emf", "awslogs-multiline-pattern="},
		 "you cannot configure log opt 'awslogs-datetime-format' or 'awslogs-multiline-pattern' when log opt "
		 "'awslogs-format' is set to 'json/emf'"},
		// All drivers, before their own.
		{LOG_AWSLOGS, {"mode=off"}, "logger: logging mode not supported: off"},
		{LOG_SYSLOG,
		 {"max-buffer-size=1m"},
		 "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{LOG_SYSLOG,
		 {"mode=non-blocking", "max-buffer-size="},
		 "error parsing option max-buffer-size: invalid size: ''"},
		{LOG_SYSLOG, {"cache-disabled=maybe"}, "invalid value for option cache-disabled: maybe"},
		{LOG_SYSLOG, {"x-ecs-spool-max-size=-1"}, "invalid value for x-ecs-spool-max-size: invalid size: '-1'"},
		// fluentd
		{LOG_FLUENTD, {"syslog-address=x"}, "unknown log opt 'syslog-address' for fluentd log driver"},
		{LOG_FLUENTD, {"fluentd-address=://"}, "invalid fluentd-address (://): missing protocol scheme"},
		{LOG_FLUENTD, {"fluentd-address=udp://"}, "unsupported scheme: 'udp'"},
		{LOG_FLUENTD, {"fluentd-address=unixgram://"}, "unsupported scheme: 'unixgram'"},
		{LOG_FLUENTD, {"fluentd-address=tcp+tls://"}, "unsupported scheme: 'tcp+tls'"},
		{LOG_FLUENTD, {"fluentd-address=h/p"}, "should not contain a path element"},
		{LOG_FLUENTD, {"fluentd-address=tls:///"}, "should not contain a path element"},
		{LOG_FLUENTD, {"fluentd-address=corrupted:c"}, "invalid port"},
		{LOG_FLUENTD, {"fluentd-address=tcp://example.com:65536"}, "invalid port"},
		{LOG_FLUENTD, {"fluentd-address=unix://"}, "path is empty"},
		{LOG_FLUENTD, {"fluentd-address=unix:////"}, "path is empty"},
		{LOG_FLUENTD, {"fluentd-buffer-limit=x"}, "fluentd-buffer-limit: invalid size: 'x'"},
		{LOG_FLUENTD,
		 {"fluentd-retry-wait=1"},
		 "fluentd-retry-wait: value must be a duration: time: invalid duration \"1\""},
		{LOG_FLUENTD,
		 {"fluentd-retry-wait=-1s"},
		 "invalid value for fluentd-retry-wait: value must be a duration that is non-negative"},
		{LOG_FLUENTD, {"fluentd-max-retries=+1"}, "strconv.ParseUint: parsing \"+1\": invalid syntax"},
		{LOG_FLUENTD, {"fluentd-max-retries=2147483648"}, "invalid fluentd-max-retries: value out of range"},
		{LOG_FLUENTD, {"fluentd-async=maybe"}, "'fluentd-async': strconv.ParseBool: parsing \"maybe\""},
		{LOG_FLUENTD, {"fluentd-async=true", "fluentd-async-connect=true"}, "conflicting options"},
		{LOG_FLUENTD,
		 {"fluentd-async-reconnect-interval=-1"},
		 "invalid value for fluentd-async-reconnect-interval:"},
		{LOG_FLUENTD,
		 {"fluentd-async-reconnect-interval=-1s"},
		 "invalid value for fluentd-async-reconnect-interval:"},
		{LOG_FLUENTD, {"fluentd-async-reconnect-interval=99ms"}, "must be between 100ms and 10s"},
		{LOG_FLUENTD, {"fluentd-async-reconnect-interval=11s"}, "must be between 100ms and 10s"},
		{LOG_FLUENTD, {"fluentd-request-ack=2"}, "'fluentd-request-ack'"},
		{LOG_FLUENTD, {"fluentd-sub-second-precision=2"}, "'fluentd-sub-second-precision'"},
		{LOG_FLUENTD, {"fluentd-write-timeout=1"}, "invalid value for fluentd-write-timeout:"},
		{LOG_FLUENTD, {"fluentd-read-timeout=-1s"}, "invalid value for fluentd-read-timeout:"},
		// syslog
		{LOG_SYSLOG,
		 {"not-supported-option=a"},
		 "unknown log opt 'not-supported-option' for syslog log driver"},
		{LOG_SYSLOG, {"syslog-address=this is not an uri"}, "unsupported scheme: ''"},
		{LOG_SYSLOG, {"syslog-address=corrupted:42"}, "unsupported scheme: 'corrupted'"},
		{LOG_SYSLOG, {"syslog-address=http://1.2.3.4"}, "unsupported scheme: 'http'"},
		{LOG_SYSLOG, {"syslog-address=udp://::1"}, "invalid syslog-address (udp://::1): too many colons"},
		{LOG_SYSLOG, {"syslog-address=unix://"}, "path is empty"},
		{LOG_SYSLOG, {"syslog-facility=nobody"}, "invalid syslog facility"},
		{LOG_SYSLOG, {"syslog-facility=24"}, "invalid syslog facility"},
		{LOG_SYSLOG, {"syslog-facility=-1"}, "invalid syslog facility"},
		{LOG_SYSLOG, {"syslog-format=json"}, "Invalid syslog format"},
		{LOG_SYSLOG, {"x-ecs-syslog-octet-counting=maybe"}, "'x-ecs-syslog-octet-counting'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct log_opts options, empty = {0};
		struct error err = {0};

		assert_int_equal(parse(cases[i].driver, cases[i].words, &options, &err), -EINVAL);
		if (!strstr(err.message, cases[i].text))
			fail_msg("%s: %s", cases[i].words[0], err.message);
		assert_memory_equal(&options, &empty, sizeof(empty));
	}
}

static void test_long_path(void **state)
{
	char text[256] = "syslog-address=unix:///";
	struct log_opts options;
	size_t start = strlen(text);

	(void)state;
	memset(text + start, 'a', 106); // 107 with the slash
	assert_int_equal(parse(LOG_SYSLOG, WORDS(text), &options, NULL), 0);
	log_options_free(&options);
	text[start + 106] = 'a';
	assert_int_equal(parse(LOG_SYSLOG, WORDS(text), &options, NULL), -EINVAL);
}

static void test_driver(void **state)
{
	struct config config;
	struct error err = {0};
	enum log_driver driver;

	(void)state;
	config_set(&config, WORDS("x-ecs-driver=syslog"));
	assert_int_equal(log_options_driver(&config.map, &driver, &err), 0);
	assert_int_equal(driver, LOG_SYSLOG);
	assert_string_equal(log_driver_name(driver), "syslog");
	config_free(&config);
	config_set(&config, WORDS("x-ecs-driver=gelf"));
	assert_int_equal(log_options_driver(&config.map, &driver, &err), -EINVAL);
	assert_non_null(strstr(err.message, "invalid value 'gelf' for log opt 'x-ecs-driver'"));
	config_free(&config);
	config_set(&config, WORDS("tag=x"));
	assert_int_equal(log_options_driver(&config.map, &driver, &err), -EINVAL);
	assert_non_null(strstr(err.message, "must specify a value for log opt 'x-ecs-driver'"));
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bool),      cmocka_unit_test(test_size),      cmocka_unit_test(test_duration),
		cmocka_unit_test(test_url),       cmocka_unit_test(test_defaults),  cmocka_unit_test(test_all_set),
		cmocka_unit_test(test_values),    cmocka_unit_test(test_addresses), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_path), cmocka_unit_test(test_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
