// Log options of a task definition or of `docker run`: a driver's name in the first line, then one "key=value" a line.
#include "common/log_options.h"
#include "fuzz.h"

#define PAIRS_MAX 64

static void check_address(const struct log_address *address)
{
	bool path = address->scheme == LOG_UNIX || address->scheme == LOG_UNIXGRAM;

	if (address->scheme == LOG_LOCAL_SYSLOG) {
		CHECK(!address->host && !address->path);
		return;
	}
	CHECK(path == !str_empty(address->path) && !path == !str_empty(address->host));
	CHECK(!path || strlen(address->path) < 108);
	CHECK(path || (address->port <= 65535 && !strpbrk(address->host, " /?#")));
}

static void check_options(const struct log_opts *options)
{
	const struct log_options_fluentd *fluentd = &options->fluentd;

	if (options->driver == LOG_AWSLOGS) {
		CHECK(!str_empty(options->awslogs.group) && !options->labels && !options->env);
		CHECK(options->awslogs.flush_interval_s > 0 && options->awslogs.flush_interval_s <= 365 * 24 * 3600);
		CHECK(!options->awslogs.datetime_format || !options->awslogs.multiline_pattern);
	} else if (options->driver == LOG_FLUENTD) {
		check_address(&fluentd->address);
		CHECK(fluentd->retry_wait_ms > 0 && fluentd->write_timeout_ms >= 0 && fluentd->read_timeout_ms >= 0);
		CHECK(fluentd->max_retries > 0 && fluentd->buffer_limit > 0);
		CHECK(fluentd->reconnect_interval_ms == 0 ||
		      (fluentd->reconnect_interval_ms >= 100 && fluentd->reconnect_interval_ms <= 10000));
	} else {
		check_address(&options->syslog.address);
		CHECK(options->syslog.facility < 24 && options->syslog.format <= LOG_FORMAT_RFC5424MICRO);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size);
	struct json_pair pairs[PAIRS_MAX];
	struct json_map config = {.items = pairs};
	struct log_opts options;
	struct error err = {0};
	enum log_driver driver = LOG_AWSLOGS;
	char *rest = input;

	log_driver_parse(strsep(&rest, "\n"), &driver);
	while (rest && config.count < PAIRS_MAX) {
		char *value = strsep(&rest, "\n"), *key = strsep(&value, "=");

		if (value)
			pairs[config.count++] = (struct json_pair){key, value};
	}
	if (log_options_parse(driver, &config, &options, &err) < 0) {
		CHECK(err.code == EINVAL);
		check_reason(err.message);
		return 0;
	}
	CHECK(options.driver == driver);
	check_options(&options);
	log_options_free(&options);
	return 0;
}
