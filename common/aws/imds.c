#include "common/aws/imds.h"
#include "common/log.h"
#include "common/util.h"
#include "common/version.h"
#include <errno.h>
#include <strings.h>

// All from control-plane.md §4.1.
#define CONNECT_TIMEOUT_MS 250
#define RESPONSE_TIMEOUT_MS 500
#define OPERATION_TIMEOUT_MS 5000
#define ATTEMPTS_MAX 5
#define BACKOFF_MAX_MS 1000
#define TOKEN_TTL_S 300
#define TOKEN_MAX 1024 // bytes accepted; EC2's have 56

#define DEFAULT_ENDPOINT "http://169.254.169.254"
#define DEFAULT_ENDPOINT_IPV6 "http://[fd00:ec2::254]"

struct imds_op {
	struct imds_op *next;
	struct imds *imds;
	char *path;
	void (*done)(const char *body, long status, const struct error *err, void *arg);
	void *arg;
	int attempt; // counts from 1
	bool wants_token;
	struct http_call *call;
	struct timer next_attempt, deadline;
	struct error last; // what ended the attempt before
	long last_status;
};

struct imds {
	struct loop *loop;
	struct http_client *http;
	char *endpoint;
	bool disabled, v1_disabled;
	char *token;
	uint64_t token_until; // loop time
	bool without_token;   // the service does not give tokens: v1
	struct http_call *token_call;
	struct imds_op *ops;
};

static void op_attempt(void *arg);
static void op_deadline(void *arg);
static void op_free(struct imds_op *op);
static struct imds_op *op_unlink(struct imds_op *op);

struct imds *imds_new(struct loop *loop, struct http_client *http)
{
	const char *endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
		   *mode = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	const char *disabled = getenv("AWS_EC2_METADATA_DISABLED"),
		   *v1_disabled = getenv("AWS_EC2_METADATA_V1_DISABLED");
	struct imds *imds = xcalloc(1, sizeof(*imds));

	imds->loop = loop;
	imds->http = http;
	imds->disabled = disabled && strcasecmp(disabled, "true") == 0;
	imds->v1_disabled = v1_disabled && strcasecmp(v1_disabled, "true") == 0;
	if (str_empty(endpoint))
		endpoint = mode && strcasecmp(mode, "IPv6") == 0 ? DEFAULT_ENDPOINT_IPV6 : DEFAULT_ENDPOINT;
	imds->endpoint = xstrdup(endpoint);
	for (size_t n = strlen(imds->endpoint); n > 0 && imds->endpoint[n - 1] == '/'; n--)
		imds->endpoint[n - 1] = '\0';
	return imds;
}

struct imds *imds_free(struct imds *imds)
{
	if (!imds)
		return NULL;
	http_cancel(imds->token_call);
	while (imds->ops)
		op_free(op_unlink(imds->ops));
	secret_free(imds->token);
	free(imds->endpoint);
	free(imds);
	return NULL;
}

void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg)
{
	struct imds_op *op = xcalloc(1, sizeof(*op));

	op->next = imds->ops;
	imds->ops = op;
	op->imds = imds;
	op->path = xstrdup(path);
	op->done = done;
	op->arg = arg;
	timer_init(&op->next_attempt, imds->loop, op_attempt, op);
	timer_init(&op->deadline, imds->loop, op_deadline, op);
	timer_start(&op->deadline, OPERATION_TIMEOUT_MS);
	timer_start(&op->next_attempt, 0);
}

void imds_cancel(struct imds *imds, void *arg)
{
	for (struct imds_op *op = imds->ops, *next; op; op = next) {
		next = op->next;
		if (op->arg == arg)
			op_free(op_unlink(op));
	}
}

// --- one operation ---

static struct imds_op *op_unlink(struct imds_op *op)
{
	for (struct imds_op **p = &op->imds->ops; *p; p = &(*p)->next)
		if (*p == op) {
			*p = op->next;
			break;
		}
	return op;
}

static void op_free(struct imds_op *op)
{
	http_cancel(op->call);
	timer_done(&op->next_attempt);
	timer_done(&op->deadline);
	free(op->path);
	free(op);
}

// Ends the operation; nothing of it or of imds is touched after the callback, which may free imds.
static void op_finish(struct imds_op *op, const char *body, long status, const struct error *err)
{
	void (*done)(const char *, long, const struct error *, void *) = op->done;
	void *arg = op->arg;
	struct error copy;

	if (err) {
		copy = *err;
		error_wrap(&copy, "instance metadata %s", op->path);
	}
	op_free(op_unlink(op));
	done(body, status, err ? &copy : NULL, arg);
}

static void op_fail(struct imds_op *op, int code, long status, const char *text)
{
	struct error err;

	error_set(&err, code, "%s", text);
	op_finish(op, NULL, status, &err);
}

static void op_deadline(void *arg)
{
	struct imds_op *op = arg;
	struct error err;

	error_set(&err, ETIMEDOUT, "no answer within %d s%s%s", OPERATION_TIMEOUT_MS / 1000,
		  op->last.code ? "; last: " : "", op->last.code ? op->last.message : "");
	op_finish(op, NULL, op->last_status, &err);
}

// The attempt failed in a way that may pass. err->code and message say how.
static void op_retry(struct imds_op *op, long status, const struct error *err)
{
	op->last = *err;
	op->last_status = status;
	if (op->attempt >= ATTEMPTS_MAX) {
		op_finish(op, NULL, status, err);
		return;
	}
	double span = 1000.0 * (double)(1 << op->attempt);
	timer_start(&op->next_attempt, (uint64_t)(random_unit() * (span < BACKOFF_MAX_MS ? span : BACKOFF_MAX_MS)));
}

static struct http_call *send_request(struct imds *imds, const char *method, const char *path, int attempt,
				      struct http_header header, void (*done)(const struct http_response *, void *),
				      void *arg)
{
	_cleanup_free_ char *url = xasprintf("%s/latest/%s", imds->endpoint, path);
	_cleanup_free_ char *agent = xasprintf("ecsd/%s ft/ec2-imds", ecsd_version);
	char attempts[48];
	snprintf(attempts, sizeof(attempts), "attempt=%d; max=%d", attempt, ATTEMPTS_MAX);
	const struct http_header headers[] = {{"User-Agent", agent}, {"Amz-Sdk-Request", attempts}, header};
	bool put = strcmp(method, "PUT") == 0;
	struct http_request request = {.method = method,
				       .url = url,
				       .headers = headers,
				       .header_count = ARRAY_SIZE(headers) - (header.name ? 0 : 1),
				       .body = put ? "" : NULL,
				       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
				       .timeout_ms = OPERATION_TIMEOUT_MS,
				       .idle_timeout_ms = RESPONSE_TIMEOUT_MS,
				       .max_body = put ? TOKEN_MAX : IMDS_BODY_MAX,
				       .no_proxy = true}; // a link-local address is not reached through a proxy

	return http_send(imds->http, &request, done, arg);
}

static void on_answer(const struct http_response *response, void *arg)
{
	struct imds_op *op = arg;
	struct imds *imds = op->imds;
	struct error err;

	op->call = NULL;
	if (response->result == -EMSGSIZE) { // would come out the same again
		op_finish(op, NULL, 0, &response->error);
		return;
	}
	if (response->result < 0) {
		op_retry(op, 0, &response->error);
		return;
	}
	switch (response->status) {
	case 200:
		// Ids and documents are kept and sent on as JSON; only user data may be anything.
		if (strcmp(op->path, "user-data") != 0 && !utf8_valid(response->body))
			op_fail(op, EBADMSG, 200, "the answer is not UTF-8");
		else
			op_finish(op, response->body, 200, NULL);
		return;
	case 404:
		op_fail(op, ENOENT, 404, "not found (HTTP 404)");
		return;
	case 401: // the token was refused, or v1 is not allowed: tokens from here on
		imds->without_token = false;
		secret_free(imds->token);
		imds->token = NULL;
		break;
	default:
		break;
	}
	error_set(&err, response->status == 401 ? EACCES : EPROTO, "HTTP %ld", response->status);
	if (response->status == 401 || response->status == 429 || response->status >= 500)
		op_retry(op, response->status, &err);
	else
		op_finish(op, NULL, response->status, &err);
}

static void op_send(struct imds_op *op)
{
	struct imds *imds = op->imds;
	struct http_header token = {0};

	if (!imds->without_token)
		token = (struct http_header){"X-Aws-Ec2-Metadata-Token", imds->token};
	op->call = send_request(imds, "GET", op->path, op->attempt, token, on_answer, op);
}

// --- the token, shared by all operations ---

enum token_outcome { TOKEN_READY, TOKEN_TRY_AGAIN, TOKEN_REFUSED };

// Everyone who waits goes on. Nobody is called back from here, as a callback may free imds: operations that
// end do so in a turn of their own.
static void token_outcome(struct imds *imds, enum token_outcome outcome, long status, const struct error *err)
{
	for (struct imds_op *op = imds->ops; op; op = op->next) {
		if (!op->wants_token)
			continue;
		op->wants_token = false;
		if (outcome == TOKEN_READY) {
			op_send(op);
		} else if (outcome == TOKEN_TRY_AGAIN && op->attempt < ATTEMPTS_MAX) {
			op_retry(op, status, err);
		} else {
			op->last = *err;
			op->last_status = status;
			op->attempt = ATTEMPTS_MAX + 1;
			timer_start(&op->next_attempt, 0);
		}
	}
}

static void keep_token(struct imds *imds, const struct http_response *response)
{
	const char *header = response->header(response, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds");
	int64_t ttl;

	if (!header || !parse_int64(header, &ttl) || ttl <= 0 || ttl > 21600) // EC2's longest
		ttl = TOKEN_TTL_S;
	secret_free(imds->token);
	imds->token = xstrdup(response->body);
	imds->token_until = loop_now(imds->loop) + (uint64_t)ttl * 1000;
}

static void fall_back(struct imds *imds, const char *reason)
{
	log_info("instance metadata gives no token, version 1 is used", "reason=%s", reason);
	imds->without_token = true;
	token_outcome(imds, TOKEN_READY, 0, &(struct error){0});
}

static void on_token(const struct http_response *response, void *arg)
{
	struct imds *imds = arg;
	struct error err;

	imds->token_call = NULL;
	if (response->result < 0) {
		if (imds->v1_disabled)
			token_outcome(imds, TOKEN_TRY_AGAIN, 0, &response->error);
		else
			fall_back(imds, response->error.message);
		return;
	}
	if (response->status == 200 && response->body_len > 0 && !response->body[strcspn(response->body, "\r\n")]) {
		keep_token(imds, response);
		token_outcome(imds, TOKEN_READY, 200, &(struct error){0});
		return;
	}
	error_set(&err, EPROTO, "no token for instance metadata: HTTP %ld", response->status);
	bool none = response->status == 403 || response->status == 404 || response->status == 405;
	if (none && !imds->v1_disabled) {
		fall_back(imds, err.message);
		return;
	}
	if (none)
		error_set(&err, EACCES,
			  "no token (HTTP %ld), and AWS_EC2_METADATA_V1_DISABLED forbids to go on without",
			  response->status);
	bool hard = none || response->status == 400;
	token_outcome(imds, hard ? TOKEN_REFUSED : TOKEN_TRY_AGAIN, response->status, &err);
}

// Starts the next attempt, or ends an operation that was told to end in a turn of its own.
static void op_attempt(void *arg)
{
	struct imds_op *op = arg;
	struct imds *imds = op->imds;

	if (imds->disabled) {
		op_fail(op, ENOTSUP, 0, "switched off by AWS_EC2_METADATA_DISABLED");
		return;
	}
	if (op->attempt > ATTEMPTS_MAX) {
		struct error err = op->last;
		op_finish(op, NULL, op->last_status, &err);
		return;
	}
	op->attempt++;
	bool fresh = imds->token && loop_now(imds->loop) < imds->token_until;
	if (imds->without_token || fresh) {
		op_send(op);
		return;
	}
	op->wants_token = true;
	if (!imds->token_call) {
		char ttl[16];
		snprintf(ttl, sizeof(ttl), "%d", TOKEN_TTL_S);
		imds->token_call =
			send_request(imds, "PUT", "api/token", op->attempt,
				     (struct http_header){"X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl}, on_token, imds);
	}
}
