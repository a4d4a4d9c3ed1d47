// The audit log: one line for each request for credentials and each throttled request (credentials-endpoint.md §7).
#pragma once

#include "http_parse.h"
#include <stdint.h>

#define AUDIT_LINE_MAX (HTTP_HEAD_MAX * 8) // path and user agent, each byte escaped at worst

struct audit_record {
	int64_t wall_ms;
	int status;
	const char *source; // ip:port
	struct text path, user_agent;
	// Both NULL for failures: the line then ends after six fields and a space, as the reference's does (§7, quirk).
	const char *task_arn, *event_type;
	const char *cluster, *instance_arn; // "" is written as "-"
};

// Writes the line, its newline included, into out (room for AUDIT_LINE_MAX) and returns its length.
size_t audit_format(char *out, const struct audit_record *record);
// fd -1: no audit log. A failing write is logged once; when writing works again, how many lines are lost.
void audit_write(int fd, const struct audit_record *record);
