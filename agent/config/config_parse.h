// Syntax of configuration values, as the reference reads them (configuration.md §3); private to agent/config.
// Error texts are those of its log lines.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include <stdbool.h>
#include <stdint.h>

// 1 t T TRUE true True / 0 f F FALSE false False, trimmed.
int config_parse_bool(const char *text, bool *value, struct error *err);
// Go's durations: "1h15m", "1.5h", "90s"; a bare number only if it is 0. Nanoseconds.
int config_parse_duration(const char *text, int64_t *nanoseconds, struct error *err);
// "1h15m0s" as Go writes durations; caller frees.
char *config_format_duration(int64_t nanoseconds);
// The first JSON value of the text must be a list; what follows it is ignored. Elements of a wrong kind are
// left out, with an error; what is good is in *list all the same. Ports become decimal texts.
int config_parse_list(const char *text, bool ports, struct json_strings *list, struct error *err);
// The whole text is one JSON object of strings (null counts as ""). Gives it as compact JSON, "" when it has no members.
int config_parse_map(const char *text, char **json, struct error *err);
// "a-b" or "a", each 0 to 65535.
int config_parse_port_range(const char *text, uint16_t *first, uint16_t *last, struct error *err);
void config_strings_free(struct json_strings *list);
