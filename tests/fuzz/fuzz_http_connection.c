// A connection to ecs-endpoint, with credentials and tasks stored: pipelined requests, bodies, slow arrival and slow
// readers. However the bytes come, the same answers go out, and a secret only to who names its id. Input: a byte that
// chooses the cuts, one for the port and the reader's speed, then the bytes of the connection.
#include <time.h>
#define time(out) ((void)(out), (time_t)1440938160)
#include "agent/endpoint/server/http_connection.c"
#undef time
#include "agent/endpoint/server/served.h"
#include "fuzz_loop.h"

#define ID "1295a26b-1757-4d20-88b1-f86e80045c9f"
#define PENDING "77777777-0000-4d20-88b1-f86e80045c9f"
#define SECRET "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
#define TASK_ARN "arn:aws:ecs:us-west-2:123456789012:task/lab/1"
#define ANSWERS_MAX ((size_t)32 << 20)

enum { INTROSPECTION = 1, SLOW_READER = 2, TEN_TASKS = 4 };

static struct served served;

static void fill(unsigned flags)
{
	served = (struct served){.credentials = credential_store_new(),
				 .tasks = task_store_new(),
				 .limiter = rate_limiter_new(1000000000, 1000000000),
				 .cluster = xstrdup("lab"),
				 .instance_arn = xstrdup(""),
				 .version = xstrdup("v<1>"),
				 .filled = true,
				 .audit_fd = -1};
	credential_refill_begin(served.credentials);
	credential_expect(served.credentials, PENDING, TASK_ARN, WIRE_ROLE_TASK);
	credential_put(served.credentials, &(struct credential_texts){ID, TASK_ARN, WIRE_ROLE_EXECUTION, "arn:role",
								      "AKIA", SECRET, "token\"\n", "2026-01-01"});
	for (unsigned i = 0; i < (flags & TEN_TASKS ? 10 : 1); i++) {
		_cleanup_free_ char *arn = i ? xasprintf("arn:%u", i) : xstrdup(TASK_ARN);
		_cleanup_free_ char *json = xasprintf("{\"Arn\":\"%s\",\"Containers\":[]}", arn);
		_cleanup_free_ char *docker_id = xasprintf("dead%02ubeef00112233", i);
		task_store_put(served.tasks, arn, json, (const char *const[]){docker_id}, 1);
	}
}

static void empty(void)
{
	credential_store_free(served.credentials);
	task_store_free(served.tasks);
	rate_limiter_free(served.limiter);
	free(served.cluster);
	free(served.instance_arn);
	free(served.version);
}

// Turns of the loop as they come when the client reads now and then.
static void step(struct http_pool *pool, int client, struct buf *answers)
{
	for (unsigned i = 0; pool->count && i < 100000; i++) {
		struct http_connection *c = TAILQ_FIRST(&pool->connections);
		if (c->state != WRITING) {
			on_ready(c->fd, LOOP_READ, c);
			return;
		}
		fuzz_drain(client, answers);
		on_ready(c->fd, LOOP_WRITE, c);
	}
}

static void check_answers(const struct buf *answers, const char *data, size_t len)
{
	const char *secret = answers->len ? memmem(answers->data, answers->len, SECRET, strlen(SECRET)) : NULL;
	CHECK(answers->len == 0 || str_starts(answers->data, "HTTP/1."));
	if (!secret)
		return;
	// The id may be percent-encoded.
	_cleanup_free_ char *plain = xmalloc(len + 1);
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		char hex[3] = {i + 2 < len ? data[i + 1] : 0, i + 2 < len ? data[i + 2] : 0, 0};
		if (data[i] == '%' && sscanf(hex, "%2x", &byte) == 1) {
			plain[n++] = (char)byte;
			i += 2;
		} else {
			plain[n++] = data[i];
		}
	}
	CHECK(memmem(plain, n, ID, strlen(ID)) ||
	      memmem(plain, n, SECRET, strlen(SECRET))); // or the client's own words
}

static void run(const char *data, size_t len, unsigned flags, struct cutter *cutter, struct buf *answers)
{
	struct http_pool pool = {.loop = fuzz_loop(1)};
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(54321), .sin_addr.s_addr = 0x020011ac};
	int pair[2], before = fuzz_free_fd();
	TAILQ_INIT(&pool.connections);
	pool.handler = (struct http_handler){.handle = flags & INTROSPECTION ? serve_introspection : serve_credentials,
					     .redirect_body = flags & INTROSPECTION,
					     .arg = &served};
	fill(flags);
	fuzz_pair(pair);
	if (flags & SLOW_READER)
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
	http_connection_new(&pool, pair[0], &from);
	for (size_t at = 0; at < len && pool.count;) {
		size_t n = cutter ? cut(cutter, len - at) : len - at;
		n = n < READ_SIZE ? n : READ_SIZE;
		if (send(pair[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			break;
		at += n;
		step(&pool, pair[1], answers);
		if (!(flags & SLOW_READER))
			fuzz_drain(pair[1], answers);
		CHECK(pool.count <= 1 && pool.queued <= HTTP_QUEUED_MAX && answers->len <= ANSWERS_MAX);
		if (pool.count)
			CHECK(TAILQ_FIRST(&pool.connections)->in_len <= HTTP_HEAD_MAX + READ_SIZE);
	}
	shutdown(pair[1], SHUT_WR);
	for (unsigned i = 0; i < 4; i++)
		step(&pool, pair[1], answers);
	CHECK(pool.count == 0 && pool.queued == 0); // the end of the client's bytes ends the connection
	fuzz_drain(pair[1], answers);
	close(pair[1]);
	empty();
	CHECK(fuzz_free_fd() == before);
	check_answers(answers, data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = {0}, pieces = {0};
	if (size < 2)
		return 0;
	struct cutter cutter = {data[0]};
	_cleanup_free_ char *bytes = fuzz_bytes(data + 2, size - 2);
	run(bytes, size - 2, data[1], NULL, &whole);
	run(bytes, size - 2, data[1], &cutter, &pieces);
	CHECK(whole.len == pieces.len && (whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
