#include "http_connection.h"
#include "common/util.h"
#include "common/wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define READ_SIZE (HTTP_HEAD_MAX * 2)
#define ANSWER_HEAD_MAX \
	(HTTP_HEAD_MAX * 4) // X-Forwarded-For and Location come from the request, three bytes each at worst
#define LINGER_READS 16     // a turn
#define TURN_ANSWERS 4      // to one client: those who send many requests at once do not hold up the others

static void on_ready(int fd, unsigned events, void *arg);
static void on_readable(struct http_connection *c);
static bool take_requests(struct http_connection *c, const char *data, size_t len);
static int take_body(struct http_connection *c, const char *data, size_t len);
static bool answer(struct http_connection *c);
static void redirect(const struct http_request *request, const char *clean, bool with_body, struct http_reply *reply);
static bool refuse(struct http_connection *c, int status, const char *detail);
static bool send_reply(struct http_connection *c, const struct http_reply *reply);
static bool send_bytes(struct http_connection *c, const char *head, size_t head_len, const char *body, size_t body_len);
static bool on_writable(struct http_connection *c);
static bool answered(struct http_connection *c);
static void keep(struct http_connection *c, const char *data, size_t len);
static const char *date_now(void);

void http_connection_new(struct http_pool *pool, int fd, const struct sockaddr_in *from)
{
	struct http_connection *c = xcalloc(1, sizeof(*c));
	char ip[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &from->sin_addr, ip, sizeof(ip));
	snprintf(c->remote, sizeof(c->remote), "%s:%u", ip, (unsigned)ntohs(from->sin_port));
	c->pool = pool;
	c->fd = fd;
	c->address = from->sin_addr.s_addr;
	c->deadline = loop_now(pool->loop) + HTTP_TIMEOUT_MS;
	c->watch = watch_new(pool->loop, fd, LOOP_READ, on_ready, c);
	TAILQ_INSERT_TAIL(&pool->connections, c, link);
	pool->count++;
}

void http_connection_free(struct http_connection *c)
{
	TAILQ_REMOVE(&c->pool->connections, c, link);
	c->pool->count--;
	c->pool->queued -= c->out_len;
	watch_free(c->watch);
	close(c->fd);
	wire_free(c->in, c->in_len);
	wire_free(c->out, c->out_len);
	free(c);
}

bool http_connection_idle(const struct http_connection *c)
{
	return c->state != WRITING;
}

static void on_ready(int fd, unsigned events, void *arg)
{
	(void)fd;
	struct http_connection *c = arg;
	if (c->state == WRITING && (events & LOOP_WRITE)) {
		if (!on_writable(c))
			http_connection_free(c);
	} else if (events & LOOP_READ) {
		on_readable(c);
	}
}

static void on_readable(struct http_connection *c)
{
	static char bytes[READ_SIZE];
	unsigned reads = 0;
	ssize_t n;
	do // what comes after an answer that closes is thrown away
		n = recv(c->fd, bytes, sizeof(bytes), 0);
	while (n > 0 && c->state == LINGERING && ++reads < LINGER_READS);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || (c->state == READING && !take_requests(c, bytes, (size_t)n)))
		http_connection_free(c);
}

// Takes as many requests as are there. False: the connection is to go.
static bool take_requests(struct http_connection *c, const char *data, size_t len)
{
	_cleanup_free_ char *joined = NULL;
	if (c->in && !c->in_body) { // the head goes on
		joined = xmalloc(c->in_len + len);
		memcpy(joined, c->in, c->in_len);
		memcpy(joined + c->in_len, data, len);
		data = joined;
		len += c->in_len;
		wire_free(TAKE(c->in), c->in_len);
		c->in_len = 0;
	}
	for (unsigned answers = 0; len > 0 && c->state == READING;) {
		if (answers == TURN_ANSWERS) { // goes on in the next turn, when the socket is seen to be writable
			c->state = WRITING;
			watch_set(c->watch, LOOP_WRITE);
			break;
		}
		if (!c->in_body) {
			int used = http_parse_head(data, len, &c->head);
			if (used == 0) {
				keep(c, data, len);
				return true;
			}
			if (used < 0)
				return refuse(c, -used, c->head.detail);
			if (!c->head.chunked && c->head.content_length > HTTP_BODY_MAX)
				return refuse(c, 413, NULL);
			bool body = c->head.chunked || c->head.content_length > 0;
			c->close_after = !c->head.keep_alive;
			if (body && c->head.expect_continue) { // the body is not wanted: answered without it
				c->close_after = true;
				body = false;
			}
			if (!body) {
				if (!answer(c))
					return false;
				answers++;
				data += used;
				len -= (size_t)used;
				continue;
			}
			// The head is kept while the body passes by; it is parsed again for its new place.
			keep(c, data, (size_t)used);
			http_parse_head(c->in, c->in_len, &c->head);
			c->in_body = true;
			c->body_left = c->head.content_length;
			c->chunks = (struct http_chunks){0};
			data += used;
			len -= (size_t)used;
		}
		int used = take_body(c, data, len);
		if (used < 0)
			return refuse(c, -used, NULL);
		data += used;
		len -= (size_t)used;
		if (c->head.chunked ? c->chunks.state != CHUNK_DONE : c->body_left > 0)
			return true;
		char *head = TAKE(c->in);
		size_t head_len = c->in_len;
		c->in_len = 0;
		c->in_body = false;
		bool ok = answer(c);
		wire_free(head, head_len);
		if (!ok)
			return false;
		answers++;
	}
	if (len > 0 && c->state == WRITING)
		keep(c, data, len);
	return true;
}

static int take_body(struct http_connection *c, const char *data, size_t len)
{
	if (c->head.chunked)
		return http_chunks_feed(&c->chunks, data, len);
	size_t n = len < c->body_left ? len : (size_t)c->body_left;
	c->body_left -= n;
	return (int)n;
}

static bool answer(struct http_connection *c)
{
	static char path[HTTP_HEAD_MAX + 1], clean[HTTP_HEAD_MAX + 2];
	struct http_request request = {.head = &c->head,
				       .path = path,
				       .address = c->address,
				       .remote = c->remote,
				       .now_ms = loop_now(c->pool->loop)};
	struct http_reply reply = {.status = 200};
	const struct text *target = &c->head.target, *method = &c->head.method;
	if (target->len == 1 && target->data[0] == '*' && method->len == 7 && memcmp(method->data, "OPTIONS", 7) == 0)
		return send_reply(c, &reply); // asks about the server as a whole
	if (!http_parse_target(*target, path, &request.path_len, &request.query))
		return refuse(c, 400, NULL);
	size_t clean_len = http_clean_path(path, request.path_len, clean);
	if (clean_len != request.path_len || memcmp(clean, path, clean_len) != 0) {
		request.path = clean;
		request.path_len = clean_len;
		redirect(&request, clean, c->pool->handler.redirect_body, &reply);
	} else {
		c->pool->handler.handle(&request, &reply, c->pool->handler.arg);
	}
	return send_reply(c, &reply);
}

static void redirect(const struct http_request *request, const char *clean, bool with_body, struct http_reply *reply)
{
	static char location[ANSWER_HEAD_MAX], body[ANSWER_HEAD_MAX * 6];
	size_t n = http_escape_path(clean, request->path_len, location);
	// Go's mux leaves out a '?' with nothing behind it, gorilla's keeps it.
	if (request->query.data && (request->query.len || !with_body)) {
		location[n++] = '?';
		memcpy(location + n, request->query.data, request->query.len);
		location[n + request->query.len] = 0;
	}
	*reply = (struct http_reply){.status = 301, .location = location};
	struct text method = request->head->method;
	bool get = method.len == 3 && memcmp(method.data, "GET", 3) == 0;
	if (!with_body || !(get || (method.len == 4 && memcmp(method.data, "HEAD", 4) == 0)))
		return;
	reply->content_type = "text/html; charset=utf-8";
	if (!get)
		return;
	char *p = stpcpy(body, "<a href=\"");
	for (const char *l = location; *l; l++) {
		static const char special[] = "&<>\"'";
		static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
		const char *found = strchr(special, *l);
		p = found ? stpcpy(p, entity[found - special]) : (*p = *l, p + 1);
	}
	p = stpcpy(p, "\">Moved Permanently</a>.\n\n");
	reply->body = body;
	reply->body_len = (size_t)(p - body);
}

// Answers what is not HTTP as Go's server does, and closes.
static bool refuse(struct http_connection *c, int status, const char *detail)
{
	char text[512];
	int n = snprintf(
		text, sizeof(text),
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%d %s%s%s",
		status, http_status_text(status), status, http_status_text(status), detail ? ": " : "",
		detail ? detail : "");
	c->close_after = true;
	return send_bytes(c, text, (size_t)n, NULL, 0);
}

static bool send_reply(struct http_connection *c, const struct http_reply *reply)
{
	static char head[ANSWER_HEAD_MAX];
	bool is_head = c->head.method.len == 4 && memcmp(c->head.method.data, "HEAD", 4) == 0;
	char *p = head, *end = head + sizeof(head);
#define PUT(...) p += snprintf(p, (size_t)(end - p), __VA_ARGS__)
	PUT("HTTP/1.%d %d %s\r\n", c->head.minor > 0, reply->status, http_status_text(reply->status));
	// The reference's headers, in its order: those set by handlers by name, then its library's own.
	if (reply->content_type && !reply->type_last)
		PUT("Content-Type: %s\r\n", reply->content_type);
	if (reply->location)
		PUT("Location: %s\r\n", reply->location);
	if (reply->nosniff)
		PUT("X-Content-Type-Options: nosniff\r\n");
	if (reply->rate_headers)
		PUT("X-Rate-Limit-Duration: 1\r\nX-Rate-Limit-Limit: %u.00\r\n"
		    "X-Rate-Limit-Request-Forwarded-For: %.*s\r\nX-Rate-Limit-Request-Remote-Addr: %s\r\n",
		    reply->rate_limit, (int)c->head.forwarded_for.len, c->head.forwarded_for.data, c->remote);
	PUT("Date: %s\r\n", date_now());
	if (!is_head || reply->body_len)
		PUT("Content-Length: %zu\r\n", reply->body_len);
	if (reply->content_type && reply->type_last)
		PUT("Content-Type: %s\r\n", reply->content_type);
	if (c->close_after && c->head.minor > 0)
		PUT("Connection: close\r\n");
	else if (!c->close_after && c->head.asked_keep_alive)
		PUT("Connection: keep-alive\r\n");
	PUT("\r\n");
#undef PUT
	return send_bytes(c, head, (size_t)(p - head), reply->body, is_head ? 0 : reply->body_len);
}

static bool send_bytes(struct http_connection *c, const char *head, size_t head_len, const char *body, size_t body_len)
{
	struct iovec iov[2] = {{(void *)head, head_len}, {(void *)body, body_len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = body_len ? 2 : 1};
	ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	size_t sent = n < 0 ? 0 : (size_t)n, total = head_len + body_len;
	if (sent == total)
		return answered(c);
	if (c->pool->queued + total - sent > HTTP_QUEUED_MAX)
		return false;
	c->out_len = total - sent;
	c->out = xmalloc(c->out_len);
	size_t of_head = sent < head_len ? head_len - sent : 0;
	memcpy(c->out, head + head_len - of_head, of_head);
	if (body_len)
		memcpy(c->out + of_head, body + body_len - (c->out_len - of_head), c->out_len - of_head);
	c->out_sent = 0;
	c->pool->queued += c->out_len;
	c->state = WRITING;
	c->deadline = loop_now(c->pool->loop) + HTTP_TIMEOUT_MS;
	watch_set(c->watch, LOOP_WRITE);
	return true;
}

static bool on_writable(struct http_connection *c)
{
	ssize_t n = c->out ? send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL) : 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_sent += (size_t)n;
	if (c->out_sent < c->out_len)
		return true;
	c->pool->queued -= c->out_len;
	wire_free(TAKE(c->out), c->out_len);
	c->out_len = 0;
	watch_set(c->watch, LOOP_READ);
	if (!answered(c))
		return false;
	if (!c->in)
		return true;
	char *in = TAKE(c->in); // requests that came while the answer was being sent
	size_t len = c->in_len;
	c->in_len = 0;
	bool ok = take_requests(c, in, len);
	wire_free(in, len);
	return ok;
}

static bool answered(struct http_connection *c)
{
	uint64_t now = loop_now(c->pool->loop);
	if (c->close_after) {
		c->state = LINGERING;
		c->deadline = now + HTTP_LINGER_MS;
		return shutdown(c->fd, SHUT_WR) == 0;
	}
	c->state = READING;
	c->deadline = now + HTTP_TIMEOUT_MS;
	TAILQ_REMOVE(&c->pool->connections, c, link);
	TAILQ_INSERT_TAIL(&c->pool->connections, c, link);
	return true;
}

// At most one read beyond the longest head, so bounded.
static void keep(struct http_connection *c, const char *data, size_t len)
{
	wire_free(c->in, c->in_len);
	c->in = xmemdup(data, len);
	c->in_len = len;
}

static const char *date_now(void)
{
	static char text[32];
	static time_t made;
	time_t now = time(NULL);
	if (now != made) {
		struct tm tm;
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		made = now;
	}
	return text;
}
