// Requests to ecs-endpoint, which any container can send: head, chunked body, target, query, audit line.
// Input: a byte that chooses the cuts, then the bytes of a connection.
#include "agent/endpoint/server/audit.h"
#include "agent/endpoint/server/http_parse.h"
#include "fuzz.h"

static bool inside(struct text text, const char *data, size_t len)
{
	return text.len == 0 || (text.data >= data && text.data + text.len <= data + len);
}

static void check_audit(struct text path, struct text user_agent)
{
	static char line[AUDIT_LINE_MAX];
	struct audit_record record = {.status = 200,
				      .source = "172.17.0.2:54321",
				      .path = path,
				      .user_agent = user_agent,
				      .task_arn = "arn:aws:ecs:us-west-2:123456789012:task/lab/1",
				      .event_type = "GetCredentials",
				      .cluster = "lab",
				      .instance_arn = ""};
	size_t len = audit_format(line, &record);
	CHECK(len <= sizeof(line) && memchr(line, '\n', len) == line + len - 1);
	CHECK(memmem(line, len, "GetCredentials 2 lab -\n", 23));
	for (size_t i = 0; i + 1 < len; i++)
		CHECK((unsigned char)line[i] >= ' ' && line[i] != 127);
}

static void check_target(const struct http_head *head)
{
	static char path[HTTP_HEAD_MAX + 1], value[HTTP_HEAD_MAX + 1];
	size_t len, clean_len, value_len;
	struct text query;
	if (!http_parse_target(head->target, path, &len, &query))
		return;
	CHECK(len <= HTTP_HEAD_MAX && path[len] == '\0');
	CHECK(inside(query, head->target.data, head->target.len));
	_cleanup_free_ char *clean = xmalloc(len + 2), *again = xmalloc(len + 3), *escaped = xmalloc(3 * len + 4);
	clean_len = http_clean_path(path, len, clean);
	CHECK(clean[0] == '/' && clean_len <= len + 1);
	// What is canonical stays so, and comes back from a Location header.
	CHECK(http_clean_path(clean, clean_len, again) == clean_len && memcmp(clean, again, clean_len) == 0);
	size_t escaped_len = http_escape_path(clean, clean_len, escaped);
	_cleanup_free_ char *back = xmalloc(HTTP_HEAD_MAX + 1);
	struct text none;
	if (escaped_len <= HTTP_HEAD_MAX) {
		CHECK(http_parse_target((struct text){escaped, escaped_len}, back, &value_len, &none));
		CHECK(value_len == clean_len && memcmp(back, clean, clean_len) == 0 && !none.data);
	}
	static const char *const keys[] = {"id", "taskarn", "dockerid"};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (http_query_get(query, keys[i], value, &value_len))
			CHECK(value_len < query.len && value[value_len] == '\0');
	check_audit((struct text){clean, clean_len}, head->user_agent);
}

static void check_chunks(const char *data, size_t len, struct cutter cutter)
{
	struct http_chunks whole = {0}, pieces = {0};
	int used = http_chunks_feed(&whole, data, len);
	size_t at = 0;
	CHECK(used <= (int)len && (used == -400 || used == -413 || used >= 0));
	CHECK(used < 0 || used == (int)len || whole.state == CHUNK_DONE);
	while (at < len && pieces.state != CHUNK_DONE) {
		size_t n = cut(&cutter, len - at);
		_cleanup_free_ char *piece = fuzz_bytes((const uint8_t *)data + at, n);
		int r = http_chunks_feed(&pieces, piece, n);
		if (r < 0) {
			CHECK(r == used);
			return;
		}
		at += (size_t)r;
	}
	CHECK((int)at == used && pieces.state == whole.state && pieces.total == whole.total);
	CHECK(whole.total <= HTTP_BODY_MAX + HTTP_CHUNK_LINE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cutter cutter = {size ? data[0] : 0}, chunk_cutter = cutter;
	struct http_head head, early;
	if (size < 1)
		return 0;
	const char *bytes = (const char *)++data;
	size--;
	int r = http_parse_head(bytes, size, &head);
	CHECK(r <= (int)size && r <= HTTP_HEAD_MAX && (r >= 0 || (r <= -400 && r > -600)));
	// The head is read again with each piece: the first answer is the final one.
	for (size_t at = 0; at < size && size <= 4 * HTTP_HEAD_MAX;) {
		at += cut(&cutter, size - at);
		_cleanup_free_ char *sofar = fuzz_bytes((const uint8_t *)bytes, at);
		int now = http_parse_head(sofar, at, &early);
		if (now == 0)
			continue;
		CHECK(now == r && early.minor == head.minor && early.keep_alive == head.keep_alive);
		CHECK(early.chunked == head.chunked && early.content_length == head.content_length);
		break;
	}
	if (r <= 0)
		return 0;
	CHECK(head.method.len > 0 && inside(head.method, bytes, (size_t)r) && inside(head.target, bytes, (size_t)r));
	CHECK(inside(head.user_agent, bytes, (size_t)r) && inside(head.forwarded_for, bytes, (size_t)r));
	CHECK(!head.chunked || head.content_length == 0);
	CHECK(http_status_text(200));
	check_target(&head);
	if (head.chunked)
		check_chunks(bytes + r, size - (size_t)r, chunk_cutter);
	return 0;
}
