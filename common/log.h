// Structured logger: one line for each event an operator cares about, as logfmt or JSON.
//
//     log_info("container started", "task=%s container=%s took_ms=%" PRIu64, arn, name, took);
//
// The first argument is the message (constant text). The second is NULL or a printf format made of
// `key=<conversion>` words separated by single spaces; it is checked by the compiler, formatted once,
// and taken apart again so that each value is quoted and escaped properly, whatever is in it.
// Secrets are never passed to the logger.
#pragma once

#include "error.h"
#include "log_roll.h"
#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_UNSET, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL, LOG_NONE };

struct log_options {
	enum log_level level;      // of standard error: lines below it are dropped
	enum log_level file_level; // of the file; unset: as level
	bool json;                 // ECS_LOG_OUTPUT_FORMAT=json; otherwise logfmt
	const char *path;          // ECS_LOGFILE: also appended to this file (mode 0600); NULL or "": none
	struct log_roll roll;      // of the file
	const char *program;       // "ecsd", "ecs-endpoint": the value of the key `prog`
};

// May be called again to change options. Before the first call, warnings and above go to standard error as logfmt.
int log_open(const struct log_options *options, struct error *err);
void log_close(void);
// The last critical line, as "message: error" without its other fields; "" if there was none. For those who tell a service
// manager why a program ends.
const char *log_last_critical(void);
bool log_enabled(enum log_level level);
// "debug", "info", "warn"/"warning", "error", "crit"/"critical", "none" in any case; false for anything else.
bool log_level_parse(const char *text, enum log_level *level);
// Makes one line without the final newline: for tests and for programs that have no file to write to.
// fields: NULL, or `key=value` words separated by '\x1f'. Cut to fit `size`, but always a whole line. Returns its length.
size_t log_format(char *out, size_t size, bool json, enum log_level level, const char *program, long long wall_ms,
		  const char *message, const char *fields);

void log_event(enum log_level level, const char *message, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at_(level, message, ...)                            \
	do {                                                    \
		if (log_enabled(level))                         \
			log_event(level, message, __VA_ARGS__); \
	} while (0)
#define log_debug(message, ...) log_at_(LOG_DEBUG, message, __VA_ARGS__)
#define log_info(message, ...) log_at_(LOG_INFO, message, __VA_ARGS__)
#define log_warn(message, ...) log_at_(LOG_WARN, message, __VA_ARGS__)
#define log_error(message, ...) log_at_(LOG_ERROR, message, __VA_ARGS__)
#define log_critical(message, ...) log_at_(LOG_CRITICAL, message, __VA_ARGS__)
