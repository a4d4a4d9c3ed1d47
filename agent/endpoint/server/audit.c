#include "audit.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>
#include <inttypes.h>

#define CREDENTIALS_PREFIX "/v2/credentials/"

struct out {
	char *p, *end;
};

static void put(struct out *out, const char *text, size_t len);
static void put_word(struct out *out, const char *text);
static void put_quoted(struct out *out, struct text text);

size_t audit_format(char *line, const struct audit_record *record)
{
	struct out out = {line, line + AUDIT_LINE_MAX - 1};
	char head[64];
	format_rfc3339(record->wall_ms, head);
	put_word(&out, head);
	snprintf(head, sizeof(head), "%d", record->status);
	put_word(&out, head);
	put_word(&out, record->source);
	struct text path = record->path;
	size_t prefix = strlen(CREDENTIALS_PREFIX);
	if (path.len >= prefix && memcmp(path.data, CREDENTIALS_PREFIX, prefix) == 0)
		path.len = prefix - 1; // the id after it opens the door to the credentials
	put_quoted(&out, path);
	put(&out, " ", 1);
	put_quoted(&out, record->user_agent);
	put(&out, " ", 1);
	put_word(&out, str_empty(record->task_arn) ? "-" : record->task_arn);
	if (record->event_type) {
		put_word(&out, record->event_type);
		put_word(&out, "2");
		put_word(&out, str_empty(record->cluster) ? "-" : record->cluster);
		put_word(&out, str_empty(record->instance_arn) ? "-" : record->instance_arn);
		out.p--;
	}
	*out.p++ = '\n';
	return (size_t)(out.p - line);
}

void audit_write(int fd, const struct audit_record *record)
{
	static char line[1 + AUDIT_LINE_MAX] = "\n";
	static int failing;
	static uint64_t lost;
	static bool cut; // only the start of a line was written: the next one begins anew
	if (fd < 0)
		return;
	const char *start = line + !cut;
	size_t len = audit_format(line + 1, record) + cut;
	ssize_t n;
	do
		n = write(fd, start, len); // one write with O_APPEND: lines stay whole
	while (n < 0 && errno == EINTR);
	int error = n == (ssize_t)len ? 0 : n < 0 ? errno : ENOSPC;
	lost += error != 0;
	if (n > 0)
		cut = error != 0;
	if (error && error != failing)
		log_error("the audit log cannot be written: requests are served all the same, their lines are lost",
			  "error=%s", strerror(error));
	if (!error && lost > 0) {
		log_warn("the audit log is written again", "lines_lost=%" PRIu64, lost);
		lost = 0;
	}
	failing = error;
}

static void put(struct out *out, const char *text, size_t len)
{
	size_t room = (size_t)(out->end - out->p);
	if (len > room)
		len = room;
	memcpy(out->p, text, len);
	out->p += len;
}

static void put_word(struct out *out, const char *text)
{
	put(out, text, strlen(text));
	put(out, " ", 1);
}

// What a container sends must not end the line or the quotes; anything printable stays as it came.
static void put_quoted(struct out *out, struct text text)
{
	static const char hex[] = "0123456789abcdef";
	put(out, "\"", 1);
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		if (c == '"' || c == '\\')
			put(out, (char[]){'\\', (char)c}, 2);
		else if (c < ' ' || c == 127)
			put(out, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
		else
			put(out, text.data + i, 1);
	}
	put(out, "\"", 1);
}
