// One syslog message as bytes, exactly as Docker's syslog driver writes it (logging.md §6.2, §6.3, §6.4), with the two deliberate
// differences of: the time is the record's own, in the host's time zone as it was at that time, and the PID is the
// stream's.
#pragma once

#include "common/log_options.h"
#include "common/util.h"
#include "logging/settings.h"

enum syslog_severity { SYSLOG_ERR = 3, SYSLOG_WARNING = 4, SYSLOG_INFO = 6 };

struct syslog_format {
	unsigned facility;
	bool iso_time, micro;
	bool octet_counting; // "LEN SP" goes in front; may be changed at any time
	char *middle;        // what is between the time and the text; the same for all messages of a stream
	size_t middle_len;
	int64_t second; // for which `stamp` and `zone` are made
	char stamp[32]; // "Jan  2 15:04:05" or "2026-01-02T15:04:05"
	char zone[8];   // "Z", "+01:00", or "" where the time has none
	size_t stamp_len, zone_len;
};

void syslog_format_init(struct syslog_format *format, const struct stream_settings *settings);
void syslog_format_done(struct syslog_format *format);
// Appends a message with its final newline.
void syslog_format_append(struct syslog_format *format, struct buf *out, enum syslog_severity severity, int64_t time_ns,
			  const char *text, size_t len);
// Where to cut a message of len bytes so that it has at most `max` and ends in a newline, with no character torn: what is left of it,
// the newline included, which is written into it. 0 if max is.
size_t syslog_format_cut(char *message, size_t len, size_t max);
