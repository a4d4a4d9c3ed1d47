// Grammars of the values of Docker's log options (logging.md, appendix A): as Go's own parsers take them, which Docker
// uses. Functions that return bool give false for what is malformed or out of range and leave the result alone.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>

bool log_parse_bool(const char *text, bool *value);              // A.1
bool log_parse_size(const char *text, int64_t *bytes);           // A.3, binary multiples: "10m", "1.5 GiB"
bool log_parse_duration(const char *text, int64_t *nanoseconds); // A.4: "1m30s", "-0.5s", "0"

// A.6, decoded. Members are NULL where the URL has no such part.
struct log_url {
	char *scheme; // lower case; "" if there is none
	char *host;   // "" if empty; of [v6] without the brackets
	char *port;   // digits, perhaps ""
	char *path;   // "" if empty
};
// 0, or -EINVAL with the reason alone ("missing protocol scheme"); the caller knows whose value it is.
int log_parse_url(const char *text, struct log_url *url, struct error *err);
void log_url_free(struct log_url *url); // its members
