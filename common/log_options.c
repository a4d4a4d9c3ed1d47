#include "common/log_options.h"

#include "common/util.h"

#include <sys/un.h>

#define FLUENTD_PORT 24224
#define SYSLOG_PORT 514 // of TLS too (logging.md §6.1)
#define YEAR_S (365 * 24 * 3600)

static const char *const driver_names[] = {
	[LOG_AWSLOGS] = "awslogs", [LOG_FLUENTD] = "fluentd", [LOG_SYSLOG] = "syslog"};

static int check_common(const struct json_map *config, struct log_opts *options, struct error *err);
static int check_keys(enum log_driver driver, const struct json_map *config, struct error *err);
static int parse_awslogs(const struct json_map *config, struct log_options_awslogs *awslogs, struct error *err);
static int parse_fluentd(const struct json_map *config, struct log_options_fluentd *fluentd, struct error *err);
static int parse_syslog(const struct json_map *config, struct log_options_syslog *syslog, struct error *err);
static char *copy(const struct json_map *config, const char *key);

const char *log_driver_name(enum log_driver driver)
{
	return driver_names[driver];
}

bool log_driver_parse(const char *name, enum log_driver *driver)
{
	for (size_t i = 0; i < ARRAY_SIZE(driver_names); i++) {
		if (str_equal(name, driver_names[i])) {
			*driver = (enum log_driver)i;
			return true;
		}
	}
	return false;
}

int log_options_driver(const struct json_map *config, enum log_driver *driver, struct error *err)
{
	const char *name = json_map_get(config, LOG_OPTION_DRIVER);

	if (str_empty(name))
		return error_set(err, EINVAL, "must specify a value for log opt '%s': awslogs, fluentd or syslog",
				 LOG_OPTION_DRIVER);
	if (!log_driver_parse(name, driver))
		return error_set(err, EINVAL,
				 "invalid value '%s' for log opt '%s': awslogs, fluentd or syslog was expected", name,
				 LOG_OPTION_DRIVER);
	return 0;
}

int log_options_parse(enum log_driver driver, const struct json_map *config, struct log_opts *options,
		      struct error *err)
{
	int r;

	*options = (struct log_opts){.driver = driver};
	r = check_common(config, options, err);
	if (r == 0)
		r = check_keys(driver, config, err);
	if (r == 0 && driver == LOG_AWSLOGS)
		r = parse_awslogs(config, &options->awslogs, err);
	else if (r == 0 && driver == LOG_FLUENTD)
		r = parse_fluentd(config, &options->fluentd, err);
	else if (r == 0)
		r = parse_syslog(config, &options->syslog, err);
	if (r < 0) {
		log_options_free(options);
		return r;
	}
	options->tag = copy(config, "tag");
	options->labels = copy(config, "labels");
	options->labels_regex = copy(config, "labels-regex");
	options->env = copy(config, "env");
	options->env_regex = copy(config, "env-regex");
	return 0;
}

void log_options_free(struct log_opts *options)
{
	struct log_options_awslogs *awslogs = &options->awslogs;
	char **const common[] = {&options->tag, &options->labels, &options->labels_regex, &options->env,
				 &options->env_regex};
	char **const of_awslogs[] = {&awslogs->group,
				     &awslogs->stream,
				     &awslogs->region,
				     &awslogs->endpoint,
				     &awslogs->datetime_format,
				     &awslogs->multiline_pattern,
				     &awslogs->credentials_endpoint};
	char **const of_syslog[] = {&options->syslog.ca_cert, &options->syslog.cert, &options->syslog.key};
	struct log_address *address =
		options->driver == LOG_FLUENTD ? &options->fluentd.address : &options->syslog.address;

	for (size_t i = 0; i < ARRAY_SIZE(common); i++)
		free(*common[i]);
	for (size_t i = 0; i < ARRAY_SIZE(of_awslogs) && options->driver == LOG_AWSLOGS; i++)
		free(*of_awslogs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(of_syslog) && options->driver == LOG_SYSLOG; i++)
		free(*of_syslog[i]);
	if (options->driver != LOG_AWSLOGS) {
		free(address->host);
		free(address->path);
	}
	*options = (struct log_opts){0};
}

// --- values: absent and empty ones leave the default that is in *value ---

static char *copy(const struct json_map *config, const char *key)
{
	const char *value = json_map_get(config, key);

	return str_empty(value) ? NULL : xstrdup(value);
}

// prefix: what the driver's text has in front of the parser's reason.
static int get_bool(const struct json_map *config, const char *key, const char *prefix, bool *value, struct error *err)
{
	const char *text = json_map_get(config, key);

	if (str_empty(text) || log_parse_bool(text, value))
		return 0;
	return error_set(err, EINVAL,
			 "%s '%s': strconv.ParseBool: parsing \"%s\": invalid syntax; true or false was expected",
			 prefix, key, text);
}

static int get_positive(const struct json_map *config, const char *key, int64_t *value, struct error *err)
{
	const char *text = json_map_get(config, key);
	int64_t number;

	if (str_empty(text))
		return 0;
	if (!parse_int64(text, &number) || number <= 0)
		return error_set(err, EINVAL, "must specify a positive integer for log opt '%s': %s", key, text);
	*value = number;
	return 0;
}

static int get_size(const struct json_map *config, const char *key, int64_t *bytes, struct error *err)
{
	const char *text = json_map_get(config, key);

	if (str_empty(text) || log_parse_size(text, bytes))
		return 0;
	return error_set(err, EINVAL, "invalid value for %s: invalid size: '%s'; a number with k, m or g was expected",
			 key, text);
}

// In milliseconds, rounded up or down; negative ones only where the caller refuses them.
static int get_duration(const struct json_map *config, const char *key, bool up, int64_t *ms, struct error *err)
{
	const char *text = json_map_get(config, key);
	int64_t ns;

	if (str_empty(text))
		return 0;
	if (!log_parse_duration(text, &ns))
		return error_set(err, EINVAL,
				 "invalid value for %s: value must be a duration: time: invalid duration \"%s\"; "
				 "numbers with ms, s, m or h were expected",
				 key, text);
	if (ns < 0)
		return error_set(err, EINVAL,
				 "invalid value for %s: value must be a duration that is non-negative, not \"%s\"", key,
				 text);
	*ms = ns / 1000000 + (up && ns % 1000000 ? 1 : 0);
	return 0;
}

// --- options of all drivers (moby daemon/logger/factory.go, cache/validate.go; logging.md §1.10), and ours ---

static int check_common(const struct json_map *config, struct log_opts *options, struct error *err)
{
	const char *mode = json_map_get(config, "mode"), *text = json_map_get(config, "max-buffer-size");
	bool disabled;
	int64_t size = 0;

	options->non_blocking = str_equal(mode, "non-blocking");
	if (!options->non_blocking && !str_empty(mode) && !str_equal(mode, "blocking"))
		return error_set(err, EINVAL, "logger: logging mode not supported: %s", mode);
	if (text && !options->non_blocking)
		return error_set(err, EINVAL,
				 "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
	if (text && !log_parse_size(text, &size))
		return error_set(err, EINVAL, "error parsing option max-buffer-size: invalid size: '%s'", text);
	text = json_map_get(config, "cache-disabled");
	if (!str_empty(text) && !log_parse_bool(text, &disabled))
		return error_set(err, EINVAL, "invalid value for option cache-disabled: %s", text);
	size = 0;
	if (get_size(config, LOG_OPTION_SPOOL_MAX, &size, err) < 0)
		return -EINVAL;
	options->spool_max = (uint64_t)size;
	return 0;
}

static int check_keys(enum log_driver driver, const struct json_map *config, struct error *err)
{
	static const char *const any[] = {"mode",
					  "max-buffer-size",
					  "cache-disabled",
					  "cache-max-size",
					  "cache-max-file",
					  "cache-compress",
					  "tag",
					  NULL};
	static const char *const attributes[] = {"labels", "labels-regex", "env", "env-regex", NULL};
	static const char *const awslogs[] = {"awslogs-group",
					      "awslogs-stream",
					      "awslogs-create-group",
					      "awslogs-create-stream",
					      "awslogs-region",
					      "awslogs-endpoint",
					      "awslogs-datetime-format",
					      "awslogs-multiline-pattern",
					      "awslogs-credentials-endpoint",
					      "awslogs-force-flush-interval-seconds",
					      "awslogs-max-buffered-events",
					      "awslogs-format",
					      NULL};
	static const char *const fluentd[] = {"fluentd-address",
					      "fluentd-async",
					      "fluentd-async-connect",
					      "fluentd-async-reconnect-interval",
					      "fluentd-buffer-limit",
					      "fluentd-max-retries",
					      "fluentd-request-ack",
					      "fluentd-retry-wait",
					      "fluentd-sub-second-precision",
					      "fluentd-write-timeout",
					      "fluentd-read-timeout",
					      NULL};
	static const char *const syslog[] = {
		"syslog-address",  "syslog-facility", "syslog-format",          "syslog-tls-ca-cert",
		"syslog-tls-cert", "syslog-tls-key",  "syslog-tls-skip-verify", NULL};
	static const char *const *const of_driver[] = {
		[LOG_AWSLOGS] = awslogs, [LOG_FLUENTD] = fluentd, [LOG_SYSLOG] = syslog};
	// awslogs takes no labels and no env (logging.md §2.2).
	const char *const *lists[] = {any, of_driver[driver], driver == LOG_AWSLOGS ? NULL : attributes};

	for (size_t i = 0; i < config->count; i++) {
		const char *key = config->items[i].name;
		bool known = str_starts(key, LOG_OPTION_OURS);

		for (size_t l = 0; l < ARRAY_SIZE(lists) && !known; l++) {
			for (const char *const *name = lists[l]; name && *name && !known; name++)
				known = strcmp(key, *name) == 0;
		}
		if (!known)
			return error_set(err, EINVAL, "unknown log opt '%s' for %s log driver", key,
					 driver_names[driver]);
	}
	return 0;
}

// --- awslogs: in the order of the checks of logging.md §4.1 ---

static int check_formats(const struct json_map *config, bool *emf, struct error *err)
{
	// Presence counts, even of an empty value.
	bool datetime = json_map_get(config, "awslogs-datetime-format");
	bool pattern = json_map_get(config, "awslogs-multiline-pattern");
	const char *format = json_map_get(config, "awslogs-format");

	if (datetime && pattern)
		return error_set(err, EINVAL,
				 "you cannot configure log opt 'awslogs-datetime-format' and "
				 "'awslogs-multiline-pattern' at the same time");
	*emf = !str_empty(format);
	if (*emf && strcmp(format, "json/emf") != 0)
		return error_set(err, EINVAL, "unsupported log format '%s'", format);
	if (*emf && (datetime || pattern))
		return error_set(
			err, EINVAL,
			"you cannot configure log opt 'awslogs-datetime-format' or 'awslogs-multiline-pattern' "
			"when log opt 'awslogs-format' is set to 'json/emf'");
	return 0;
}

static int parse_awslogs(const struct json_map *config, struct log_options_awslogs *awslogs, struct error *err)
{
	static const char invalid[] = "must specify valid value for log opt";

	awslogs->create_stream = true;
	awslogs->flush_interval_s = 5;
	awslogs->max_buffered_events = 4096;
	if (str_empty(json_map_get(config, "awslogs-group")))
		return error_set(err, EINVAL, "must specify a value for log opt 'awslogs-group'");
	if (get_bool(config, "awslogs-create-group", invalid, &awslogs->create_group, err) < 0 ||
	    get_bool(config, "awslogs-create-stream", invalid, &awslogs->create_stream, err) < 0 ||
	    get_positive(config, "awslogs-force-flush-interval-seconds", &awslogs->flush_interval_s, err) < 0 ||
	    get_positive(config, "awslogs-max-buffered-events", &awslogs->max_buffered_events, err) < 0 ||
	    check_formats(config, &awslogs->emf, err) < 0)
		return -EINVAL;
	if (awslogs->flush_interval_s > YEAR_S)
		awslogs->flush_interval_s = YEAR_S;
	awslogs->group = copy(config, "awslogs-group");
	awslogs->stream = copy(config, "awslogs-stream");
	awslogs->region = copy(config, "awslogs-region");
	awslogs->endpoint = copy(config, "awslogs-endpoint");
	awslogs->datetime_format = copy(config, "awslogs-datetime-format");
	awslogs->multiline_pattern = copy(config, "awslogs-multiline-pattern");
	awslogs->credentials_endpoint = copy(config, "awslogs-credentials-endpoint");
	return 0;
}

// --- addresses ---

// default_host: of an address without one.
static int set_network(struct log_address *address, enum log_scheme scheme, struct log_url *url,
		       const char *default_host, unsigned default_port, struct error *err)
{
	uint64_t port = default_port;

	if (!str_empty(url->port) && (!parse_uint64(url->port, &port) || port > 65535))
		return error_set(err, EINVAL, "invalid port: \"%s\", 0 to 65535 was expected", url->port);
	address->scheme = scheme;
	address->port = (unsigned)port;
	address->host = str_empty(url->host) ? xstrdup(default_host) : TAKE(url->host);
	return 0;
}

static int set_unix(struct log_address *address, enum log_scheme scheme, struct log_url *url, struct error *err)
{
	if (url->path[strspn(url->path, "/")] == '\0')
		return error_set(err, EINVAL, "path is empty");
	if (strlen(url->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(err, EINVAL, "path is longer than %zu bytes",
				 sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	address->scheme = scheme;
	address->path = TAKE(url->path);
	return 0;
}

static int decode_fluentd_address(const char *text, struct log_address *address, struct error *err)
{
	_cleanup_free_ char *whole = strstr(text, "://") ? xstrdup(text) : xasprintf("tcp://%s", text);
	struct log_url url;
	int r = log_parse_url(whole, &url, err);

	if (r < 0)
		return r;
	if (str_equal(url.scheme, "unix"))
		r = set_unix(address, LOG_UNIX, &url, err);
	else if (!str_equal(url.scheme, "tcp") && !str_equal(url.scheme, "tls"))
		r = error_set(err, EINVAL, "unsupported scheme: '%s', tcp, tls or unix was expected", url.scheme);
	else if (*url.path)
		r = error_set(err, EINVAL, "should not contain a path element");
	else
		r = set_network(address, str_equal(url.scheme, "tls") ? LOG_TLS : LOG_TCP, &url, "127.0.0.1",
				FLUENTD_PORT, err);
	log_url_free(&url);
	return r;
}

static int decode_syslog_address(const char *text, struct log_address *address, struct error *err)
{
	static const struct {
		const char *name;
		enum log_scheme scheme;
	} schemes[] = {{"udp", LOG_UDP},
		       {"tcp", LOG_TCP},
		       {"tcp+tls", LOG_TLS},
		       {"unix", LOG_UNIX},
		       {"unixgram", LOG_UNIXGRAM}};
	struct log_url url;
	size_t i = 0;
	int r = log_parse_url(text, &url, err);

	if (r < 0)
		return r;
	while (i < ARRAY_SIZE(schemes) && !str_equal(schemes[i].name, url.scheme))
		i++;
	if (i == ARRAY_SIZE(schemes))
		r = error_set(err, EINVAL, "unsupported scheme: '%s', udp, tcp, tcp+tls, unix or unixgram was expected",
			      url.scheme);
	else if (schemes[i].scheme == LOG_UNIX || schemes[i].scheme == LOG_UNIXGRAM)
		r = set_unix(address, schemes[i].scheme, &url, err);
	else // a path on network schemes is ignored (logging.md §6.1)
		r = set_network(address, schemes[i].scheme, &url, "localhost", SYSLOG_PORT, err);
	log_url_free(&url);
	return r;
}

// --- fluentd ---

static int get_reconnect_interval(const struct json_map *config, int64_t *ms, struct error *err)
{
	static const char key[] = "fluentd-async-reconnect-interval";
	int64_t ns = 0;
	const char *text = json_map_get(config, key);

	if (str_empty(text))
		return 0;
	if (!log_parse_duration(text, &ns))
		return error_set(err, EINVAL, "invalid value for %s: time: invalid duration \"%s\"", key, text);
	if (ns != 0 && (ns < INT64_C(100000000) || ns > INT64_C(10000000000)))
		return error_set(err, EINVAL, "invalid value for %s: value (\"%s\") must be between 100ms and 10s", key,
				 text);
	*ms = ns / 1000000;
	return 0;
}

static int get_async(const struct json_map *config, const char *prefix, bool *async, struct error *err)
{
	if (!str_empty(json_map_get(config, "fluentd-async")) &&
	    !str_empty(json_map_get(config, "fluentd-async-connect")))
		return error_set(
			err, EINVAL,
			"conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'");
	if (get_bool(config, "fluentd-async", prefix, async, err) < 0)
		return -EINVAL;
	return get_bool(config, "fluentd-async-connect", prefix, async, err);
}

static int get_max_retries(const struct json_map *config, int64_t *retries, struct error *err)
{
	const char *text = json_map_get(config, "fluentd-max-retries");
	uint64_t number;

	if (str_empty(text))
		return 0;
	// Go's ParseUint takes no sign.
	if (*text == '+' || !parse_uint64(text, &number))
		return error_set(err, EINVAL,
				 "invalid fluentd-max-retries: strconv.ParseUint: parsing \"%s\": invalid syntax",
				 text);
	if (number > INT32_MAX)
		return error_set(err, EINVAL,
				 "invalid fluentd-max-retries: value out of range: %s, 0 to %d was expected", text,
				 INT32_MAX);
	*retries = number ? (int64_t)number : 13; // logging.md §5.1
	return 0;
}

static int parse_fluentd(const struct json_map *config, struct log_options_fluentd *fluentd, struct error *err)
{
	static const char invalid[] = "invalid value for log opt";
	const char *address = json_map_get(config, "fluentd-address");

	fluentd->buffer_limit = 1 << 20;
	fluentd->retry_wait_ms = 1000;
	fluentd->max_retries = INT32_MAX;
	if (!address)
		address = "";
	if (decode_fluentd_address(address, &fluentd->address, err) < 0) {
		error_wrap(err, "invalid fluentd-address (%s)", address);
		return -EINVAL;
	}
	if (get_size(config, "fluentd-buffer-limit", &fluentd->buffer_limit, err) < 0 ||
	    get_duration(config, "fluentd-retry-wait", false, &fluentd->retry_wait_ms, err) < 0 ||
	    get_max_retries(config, &fluentd->max_retries, err) < 0 ||
	    get_async(config, invalid, &fluentd->async, err) < 0 ||
	    get_reconnect_interval(config, &fluentd->reconnect_interval_ms, err) < 0 ||
	    get_bool(config, "fluentd-sub-second-precision", invalid, &fluentd->sub_second, err) < 0 ||
	    get_bool(config, "fluentd-request-ack", invalid, &fluentd->request_ack, err) < 0 ||
	    get_duration(config, "fluentd-write-timeout", true, &fluentd->write_timeout_ms, err) < 0 ||
	    get_duration(config, "fluentd-read-timeout", true, &fluentd->read_timeout_ms, err) < 0)
		return -EINVAL;
	// What the client library makes of zeros (logging.md §5.1).
	if (fluentd->buffer_limit == 0)
		fluentd->buffer_limit = 8192;
	if (fluentd->retry_wait_ms == 0)
		fluentd->retry_wait_ms = 500;
	return 0;
}

// --- syslog ---

static int get_facility(const struct json_map *config, unsigned *facility, struct error *err)
{
	static const char *const names[] = {"kern",   "user",   "mail",   "daemon", "auth",     "syslog",
					    "lpr",    "news",   "uucp",   "cron",   "authpriv", "ftp",
					    NULL,     NULL,     NULL,     NULL,     "local0",   "local1",
					    "local2", "local3", "local4", "local5", "local6",   "local7"};
	const char *text = json_map_get(config, "syslog-facility");
	int64_t number;

	if (str_empty(text))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (str_equal(text, names[i])) {
			*facility = i;
			return 0;
		}
	}
	if (!parse_int64(text, &number) || number < 0 || number > 23)
		return error_set(err, EINVAL,
				 "invalid syslog facility: '%s'; a name like daemon or 0 to 23 was expected", text);
	*facility = (unsigned)number;
	return 0;
}

static int parse_syslog(const struct json_map *config, struct log_options_syslog *syslog, struct error *err)
{
	static const char *const formats[] = {"", "rfc3164", "rfc5424", "rfc5424micro"};
	const char *address = json_map_get(config, "syslog-address"), *format = json_map_get(config, "syslog-format");
	const char *skip = json_map_get(config, "syslog-tls-skip-verify");
	unsigned i = 0;

	syslog->facility = 3;
	syslog->address.scheme = LOG_LOCAL_SYSLOG;
	if (!str_empty(address) && decode_syslog_address(address, &syslog->address, err) < 0) {
		error_wrap(err, "invalid syslog-address (%s)", address);
		return -EINVAL;
	}
	if (get_facility(config, &syslog->facility, err) < 0)
		return -EINVAL;
	while (i < ARRAY_SIZE(formats) && !str_equal(format ? format : "", formats[i]))
		i++;
	if (i == ARRAY_SIZE(formats))
		return error_set(err, EINVAL,
				 "Invalid syslog format: '%s'; rfc3164, rfc5424 or rfc5424micro was expected", format);
	syslog->format = i;
	// Docker's driver looks at the key alone, so that "false" turns the check off; here it means what it says.
	syslog->skip_verify = skip && (!log_parse_bool(skip, &syslog->skip_verify) || syslog->skip_verify);
	if (get_bool(config, LOG_OPTION_OCTET_COUNTING, "invalid value for log opt", &syslog->octet_counting, err) < 0)
		return -EINVAL;
	syslog->ca_cert = copy(config, "syslog-tls-ca-cert");
	syslog->cert = copy(config, "syslog-tls-cert");
	syslog->key = copy(config, "syslog-tls-key");
	return 0;
}
