#include "http_parse.h"
#include "common/util.h"
#include <strings.h>

static int parse_request_line(struct text line, struct http_head *head);
static int parse_header(struct text name, struct text value, struct http_head *head, bool seen[]);
static bool next_line(const char *data, size_t len, size_t *at, struct text *line);
static bool text_is(struct text t, const char *s);
static bool has_token(struct text list, const char *token);
static struct text trim(struct text t);
static bool is_token(unsigned char c);
static int hex_digit(char c);
static bool unescape(const char *in, size_t len, bool plus, char *out, size_t *out_len);

enum { SEEN_HOST, SEEN_LENGTH, SEEN_ENCODING, SEEN_AGENT, SEEN_FORWARDED, SEEN_CLOSE, SEEN_KEEP, SEEN_COUNT };

int http_parse_head(const char *data, size_t len, struct http_head *head)
{
	*head = (struct http_head){.user_agent = {"", 0}, .forwarded_for = {"", 0}};
	size_t at = 0;
	struct text line;
	bool seen[SEEN_COUNT] = {0};
	size_t limit = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
	int incomplete = len >= HTTP_HEAD_MAX ? -431 : 0;
	do { // an empty line left over from the request before is tolerated (RFC 9112 §2.2)
		if (!next_line(data, limit, &at, &line))
			return incomplete;
	} while (line.len == 0 && at <= 4);
	int r = parse_request_line(line, head);
	if (r < 0)
		return r;
	for (;;) {
		if (!next_line(data, limit, &at, &line))
			return incomplete;
		if (line.len == 0)
			break;
		const char *colon = memchr(line.data, ':', line.len);
		size_t name_len = colon ? (size_t)(colon - line.data) : 0;
		if (name_len == 0) // folded lines among them: they begin with white space
			return -400;
		for (size_t i = 0; i < name_len; i++)
			if (!is_token((unsigned char)line.data[i]))
				return -400;
		struct text value = trim((struct text){colon + 1, line.len - name_len - 1});
		for (size_t i = 0; i < value.len; i++) {
			unsigned char c = (unsigned char)value.data[i];
			if ((c < ' ' && c != '\t') || c == 127)
				return -400;
		}
		r = parse_header((struct text){line.data, name_len}, value, head, seen);
		if (r < 0)
			return r;
	}
	if (head->minor >= 1 && !seen[SEEN_HOST]) {
		head->detail = "missing required Host header";
		return -400;
	}
	// Both framings at once, or chunks in HTTP/1.0, is how requests are smuggled past proxies.
	if (seen[SEEN_ENCODING] && (seen[SEEN_LENGTH] || head->minor == 0))
		return -400;
	head->asked_keep_alive = head->minor == 0 && seen[SEEN_KEEP];
	head->keep_alive = !seen[SEEN_CLOSE] && (head->minor >= 1 || seen[SEEN_KEEP]);
	return (int)at;
}

int http_chunks_feed(struct http_chunks *chunks, const char *data, size_t len)
{
	size_t at = 0;
	while (at < len && chunks->state != CHUNK_DONE) {
		if (chunks->state == CHUNK_DATA) {
			size_t n = len - at < chunks->left ? len - at : (size_t)chunks->left;
			at += n;
			chunks->left -= n;
			if (chunks->left == 0)
				chunks->state = CHUNK_DATA_END;
			continue;
		}
		char c = data[at++];
		if (++chunks->line > HTTP_CHUNK_LINE_MAX)
			return -400;
		if (chunks->state == CHUNK_DATA_END) {
			if (c == '\n') {
				chunks->state = CHUNK_SIZE;
				chunks->line = chunks->digits = 0;
				chunks->extension = false;
			} else if (c != '\r' || chunks->line > 1) {
				return -400;
			}
		} else if (chunks->state == CHUNK_SIZE) {
			if (c == '\n') {
				if (chunks->digits == 0)
					return -400;
				chunks->total += chunks->left;
				if (chunks->total > HTTP_BODY_MAX)
					return -413;
				chunks->state = chunks->left ? CHUNK_DATA : CHUNK_TRAILER;
				chunks->line = 0;
			} else if (!chunks->extension && hex_digit(c) >= 0) {
				if (++chunks->digits > 8)
					return -413;
				chunks->left = chunks->left * 16 + (uint64_t)hex_digit(c);
			} else if (chunks->digits == 0) {
				return -400;
			} else { // CR, or an extension: ignored
				chunks->extension = true;
			}
		} else if (c == '\n') { // trailers are ignored, but they count as body
			bool last = chunks->line == 1 || (chunks->line == 2 && chunks->extension);
			chunks->total += chunks->line;
			chunks->line = 0;
			if (last)
				chunks->state = CHUNK_DONE;
			else if (chunks->total > HTTP_BODY_MAX)
				return -413;
		} else if (chunks->line == 1) {
			chunks->extension = c == '\r';
		}
	}
	return (int)at;
}

bool http_parse_target(struct text target, char *path, size_t *path_len, struct text *query)
{
	const char *p = target.data, *end = p + target.len;
	for (const char *c = p; c < end; c++)
		if ((unsigned char)*c <= ' ' || *c == 127)
			return false;
	if (target.len > 7 && strncasecmp(p, "http://", 7) == 0) {
		p += 7;
		while (p < end && *p != '/' && *p != '?')
			p++;
	} else if (p == end || *p != '/') {
		return false;
	}
	const char *question = memchr(p, '?', (size_t)(end - p));
	*query = question ? (struct text){question + 1, (size_t)(end - question - 1)} : (struct text){NULL, 0};
	if (question)
		end = question;
	return (size_t)(end - p) <= HTTP_HEAD_MAX && unescape(p, (size_t)(end - p), false, path, path_len);
}

size_t http_clean_path(const char *path, size_t len, char *out)
{
	size_t n = 0, i = 0;
	bool slash = len > 0 && path[len - 1] == '/';
	while (i < len) {
		while (i < len && path[i] == '/')
			i++;
		size_t start = i;
		while (i < len && path[i] != '/')
			i++;
		size_t segment = i - start;
		if (segment == 0 || (segment == 1 && path[start] == '.'))
			continue;
		if (segment == 2 && path[start] == '.' && path[start + 1] == '.') {
			while (n > 0 && out[--n] != '/')
				;
			continue;
		}
		out[n++] = '/';
		memcpy(out + n, path + start, segment);
		n += segment;
	}
	if (n == 0 || slash)
		out[n++] = '/';
	out[n] = 0;
	return n;
}

size_t http_escape_path(const char *path, size_t len, char *out)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)path[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (alnum || (c && strchr("-_.~$&+,/:;=@", c))) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	out[n] = 0;
	return n;
}

bool http_query_get(struct text query, const char *key, char *out, size_t *out_len)
{
	const char *p = query.data, *end = p ? p + query.len : p;
	while (p && p <= end) {
		const char *amp = p < end ? memchr(p, '&', (size_t)(end - p)) : NULL;
		const char *stop = amp ? amp : end;
		const char *eq = p < stop ? memchr(p, '=', (size_t)(stop - p)) : NULL;
		const char *name_end = eq ? eq : stop;
		size_t n;
		// A pair with ';' or a broken escape is left out, as the reference's library does.
		if (stop > p && !memchr(p, ';', (size_t)(stop - p)) &&
		    unescape(p, (size_t)(name_end - p), true, out, &n) && n == strlen(key) &&
		    memcmp(out, key, n) == 0 &&
		    unescape(eq ? eq + 1 : stop, eq ? (size_t)(stop - eq - 1) : 0, true, out, out_len))
			return true;
		if (!amp)
			break;
		p = amp + 1;
	}
	return false;
}

const char *http_status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 301:
		return "Moved Permanently";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 413:
		return "Request Entity Too Large";
	case 417:
		return "Expectation Failed";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Unknown";
	}
}

static int parse_request_line(struct text line, struct http_head *head)
{
	const char *space = memchr(line.data, ' ', line.len), *end = line.data + line.len;
	if (!space)
		return -400;
	head->method = (struct text){line.data, (size_t)(space - line.data)};
	const char *target = space + 1, *second = memchr(target, ' ', (size_t)(end - target));
	if (!second || head->method.len == 0)
		return -400;
	for (size_t i = 0; i < head->method.len; i++)
		if (!is_token((unsigned char)head->method.data[i]))
			return -400;
	head->target = (struct text){target, (size_t)(second - target)};
	struct text version = {second + 1, (size_t)(end - second - 1)};
	if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.' ||
	    version.data[5] < '0' || version.data[5] > '9' || version.data[7] < '0' || version.data[7] > '9')
		return -400;
	if (version.data[5] != '1')
		return -505;
	head->minor = (unsigned)(version.data[7] - '0');
	return 0;
}

static int parse_header(struct text name, struct text value, struct http_head *head, bool seen[])
{
	if (text_is(name, "Host")) {
		if (seen[SEEN_HOST]) {
			head->detail = "too many Host headers";
			return -400;
		}
		seen[SEEN_HOST] = true;
	} else if (text_is(name, "Content-Length")) {
		uint64_t n = 0;
		if (value.len == 0 || value.len > 18)
			return -400;
		for (size_t i = 0; i < value.len; i++) {
			if (value.data[i] < '0' || value.data[i] > '9')
				return -400;
			n = n * 10 + (uint64_t)(value.data[i] - '0');
		}
		if (seen[SEEN_LENGTH] && n != head->content_length)
			return -400;
		seen[SEEN_LENGTH] = true;
		head->content_length = n;
	} else if (text_is(name, "Transfer-Encoding")) {
		if (seen[SEEN_ENCODING])
			return -400;
		if (!text_is(value, "chunked"))
			return -501;
		seen[SEEN_ENCODING] = head->chunked = true;
	} else if (text_is(name, "Connection")) {
		seen[SEEN_CLOSE] |= has_token(value, "close");
		seen[SEEN_KEEP] |= has_token(value, "keep-alive");
	} else if (text_is(name, "Expect")) {
		if (!text_is(value, "100-continue"))
			return -417;
		head->expect_continue = true;
	} else if (text_is(name, "User-Agent") && !seen[SEEN_AGENT]) {
		seen[SEEN_AGENT] = true;
		head->user_agent = value;
	} else if (text_is(name, "X-Forwarded-For") && !seen[SEEN_FORWARDED]) {
		seen[SEEN_FORWARDED] = true;
		head->forwarded_for = value;
	}
	return 0;
}

// Line without its end; lines may end with a bare LF.
static bool next_line(const char *data, size_t len, size_t *at, struct text *line)
{
	const char *start = data + *at, *nl = *at < len ? memchr(start, '\n', len - *at) : NULL;
	if (!nl)
		return false;
	*at = (size_t)(nl - data) + 1;
	*line = (struct text){start, (size_t)(nl - start)};
	if (line->len && line->data[line->len - 1] == '\r')
		line->len--;
	return true;
}

static bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && strncasecmp(t.data, s, t.len) == 0;
}

static bool has_token(struct text list, const char *token)
{
	while (list.len) {
		const char *comma = memchr(list.data, ',', list.len);
		size_t n = comma ? (size_t)(comma - list.data) : list.len;
		if (text_is(trim((struct text){list.data, n}), token))
			return true;
		n += comma != NULL;
		list = (struct text){list.data + n, list.len - n};
	}
	return false;
}

static struct text trim(struct text t)
{
	while (t.len && (*t.data == ' ' || *t.data == '\t'))
		t = (struct text){t.data + 1, t.len - 1};
	while (t.len && (t.data[t.len - 1] == ' ' || t.data[t.len - 1] == '\t'))
		t.len--;
	return t;
}

static bool is_token(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool unescape(const char *in, size_t len, bool plus, char *out, size_t *out_len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (in[i] == '%') {
			if (len - i < 3 || hex_digit(in[i + 1]) < 0 || hex_digit(in[i + 2]) < 0)
				return false;
			out[n++] = (char)(hex_digit(in[i + 1]) * 16 + hex_digit(in[i + 2]));
			i += 2;
		} else {
			out[n++] = plus && in[i] == '+' ? ' ' : in[i];
		}
	}
	out[n] = 0;
	*out_len = n;
	return true;
}
