#include "logging/syslog_format.h"

#include <time.h>

#define NS_PER_S INT64_C(1000000000)
// What Docker writes for a tag that is rendered to nothing: the engine's program path (§2.1).
#define EMPTY_TAG "/usr/bin/dockerd"
#define NO_HOSTNAME "localhost" // §6.5

static void set_second(struct syslog_format *format, int64_t second);
static char *put(char *out, const char *data, size_t len);
static char *put_number(char *out, uint64_t number, unsigned digits);

void syslog_format_init(struct syslog_format *format, const struct stream_settings *settings)
{
	const struct log_options_syslog *options = &settings->options.syslog;
	const char *tag = str_empty(settings->tag) ? EMPTY_TAG : settings->tag;
	const char *host = str_empty(settings->hostname) ? NO_HOSTNAME : settings->hostname;
	long long pid = settings->pid;

	*format = (struct syslog_format){.facility = options->facility};
	switch (options->format) {
	case LOG_FORMAT_UNIX:
		format->middle = xasprintf(" %s[%lld]: ", tag, pid);
		break;
	case LOG_FORMAT_RFC3164:
		format->middle = xasprintf(" %s %s[%lld]: ", host, tag, pid);
		break;
	case LOG_FORMAT_RFC5424MICRO:
		format->micro = true;
		__attribute__((fallthrough));
	case LOG_FORMAT_RFC5424:
		format->iso_time = true;
		format->middle = xasprintf(" %s %s %lld %s - ", host, tag, pid, tag);
		break;
	}
	format->middle_len = strlen(format->middle);
	tzset();
	set_second(format, 0);
}

void syslog_format_done(struct syslog_format *format)
{
	free(format->middle);
	format->middle = NULL;
}

void syslog_format_append(struct syslog_format *format, struct buf *out, enum syslog_severity severity, int64_t time_ns,
			  const char *text, size_t len)
{
	int64_t rest = time_ns % NS_PER_S, second = time_ns / NS_PER_S - (rest < 0);
	char head[96], count[32], *end = head, *count_end = count;
	bool newline = len == 0 || text[len - 1] != '\n';

	if (second != format->second)
		set_second(format, second);
	*end++ = '<';
	end = put_number(end, format->facility * 8 + severity, 1);
	end = put(end, ">1 ", format->iso_time ? 3 : 1);
	end = put(end, format->stamp, format->stamp_len);
	if (format->micro) {
		*end++ = '.';
		end = put_number(end, (uint64_t)(rest < 0 ? rest + NS_PER_S : rest) / 1000, 6);
	}
	end = put(end, format->zone, format->zone_len);
	if (format->octet_counting) {
		count_end = put_number(count, (size_t)(end - head) + format->middle_len + len + newline, 1);
		*count_end++ = ' ';
	}
	buf_append(out, count, (size_t)(count_end - count));
	buf_append(out, head, (size_t)(end - head));
	buf_append(out, format->middle, format->middle_len);
	buf_append(out, text, len);
	if (newline)
		buf_append(out, "\n", 1);
}

size_t syslog_format_cut(char *message, size_t len, size_t max)
{
	size_t end, back;

	if (len <= max)
		return len;
	if (max == 0)
		return 0;
	end = max - 1;
	for (back = 1; back < 4 && back <= end; back++) {
		unsigned char c = (unsigned char)message[end - back];

		if ((c & 0xc0) == 0x80)
			continue;
		// A character begins here: is it torn?
		if (utf8_length(message + end - back, len - end + back) > back)
			end -= back;
		break;
	}
	message[end] = '\n';
	return end + 1;
}

static void set_second(struct syslog_format *format, int64_t second)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t time = (time_t)second;
	struct tm tm = {0};
	int n;

	format->second = second;
	localtime_r(&time, &tm); // cannot fail for what fits into 64 bits of nanoseconds
	if (!format->iso_time) {
		n = snprintf(format->stamp, sizeof(format->stamp), "%.3s %2d %02d:%02d:%02d", months + 3 * tm.tm_mon,
			     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		format->stamp_len = (size_t)n;
		return;
	}
	n = snprintf(format->stamp, sizeof(format->stamp), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	format->stamp_len = (size_t)n;
	if (tm.tm_gmtoff == 0) {
		n = snprintf(format->zone, sizeof(format->zone), "Z");
	} else {
		unsigned minutes = (unsigned)labs(tm.tm_gmtoff) / 60;

		n = snprintf(format->zone, sizeof(format->zone), "%c%02u:%02u", tm.tm_gmtoff < 0 ? '-' : '+',
			     minutes / 60 % 100, minutes % 60);
	}
	format->zone_len = (size_t)n;
}

static char *put(char *out, const char *data, size_t len)
{
	memcpy(out, data, len);
	return out + len;
}

// With leading zeros up to so many digits.
static char *put_number(char *out, uint64_t number, unsigned digits)
{
	char text[20];
	unsigned n = 0;

	do {
		text[sizeof(text) - ++n] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0 || n < digits);
	return put(out, text + sizeof(text) - n, n);
}
