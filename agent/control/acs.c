#include "control/acs_private.h"
#include "common/aws/sigv4.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "config/config.h"
#include <errno.h>
#include <inttypes.h>

// control-plane.md §10.3
#define HEARTBEAT_MS 60000.0 // plus U[0, 1 min)
#define MAX_AGE_MS (30 * 60000.0)
#define MAX_AGE_JITTER_MS (5 * 60000.0)
#define READ_TIMEOUT_MS 180000
#define WRITE_TIMEOUT_MS 180000
#define CONNECT_TIMEOUT_MS 30000
#define BACKOFF_RESET_MS 60000.0 // plus U[0, 1 min)
// control-plane.md §10.4
#define INACTIVE_DELAY_MS 3600000
// Ours: a session that ended cleanly before this age is followed by backoff and not by a tight loop (spec/README.md).
#define SHORT_SESSION_MS 60000

#define ACS_HEADERS_MAX (SIGV4_EXTRA_HEADERS_MAX + 1)

static void connect_start(void *arg);
static void on_endpoint(const char *endpoint, const char *telemetry, const struct error *err, void *arg);
static void on_credentials(const struct aws_credentials *credentials, const struct error *err, void *arg);
static void on_open(void *arg);
static void on_message(const char *data, size_t len, bool binary, void *arg);
static void on_end(const struct websocket_end *end, void *arg);
static void on_heartbeat_missed(void *arg);
static void on_max_age(void *arg);
static void on_backoff_reset(void *arg);
static void disconnect(struct acs *acs);
static void retry_later(struct acs *acs, const char *why);
static void retry_in(struct acs *acs, uint64_t delay_ms);

struct acs *acs_new(const struct acs_options *options)
{
	struct acs *acs = xcalloc(1, sizeof(*acs));

	acs->options = *options;
	acs->docker_version = xstrdup(options->docker_version);
	acs->backoff = BACKOFF(250, 120000, 1.5, 0.2); // control-plane.md §10.4
	timer_init(&acs->reconnect, options->loop, connect_start, acs);
	timer_init(&acs->heartbeat, options->loop, on_heartbeat_missed, acs);
	timer_init(&acs->max_age, options->loop, on_max_age, acs);
	timer_init(&acs->backoff_reset, options->loop, on_backoff_reset, acs);
	return acs;
}

void acs_start(struct acs *acs)
{
	acs->manifest_sequence = instance_manifest_sequence(acs->options.instance);
	timer_start(&acs->reconnect, 0);
}

struct acs *acs_free(struct acs *acs)
{
	if (!acs)
		return NULL;
	instance_poll_endpoint_cancel(acs->options.instance, acs);
	credentials_chain_cancel(acs->options.credentials, acs);
	disconnect(acs);
	timer_done(&acs->reconnect);
	timer_done(&acs->heartbeat);
	timer_done(&acs->max_age);
	timer_done(&acs->backoff_reset);
	free(acs->docker_version);
	free(acs->url);
	free(acs->manifest_message_id);
	free(acs);
	return NULL;
}

bool acs_connected(const struct acs *acs)
{
	return acs->open;
}

// --- one attempt: endpoint, credentials, handshake (§10.4, order inside one attempt) ---

static void connect_start(void *arg)
{
	struct acs *acs = arg;

	instance_poll_endpoint(acs->options.instance, on_endpoint, acs);
}

static void on_endpoint(const char *endpoint, const char *telemetry, const struct error *err, void *arg)
{
	struct acs *acs = arg;
	struct error url_err;
	struct acs_address address = {
		.endpoint = endpoint,
		.cluster = instance_cluster(acs->options.instance),
		.instance_arn = instance_arn(acs->options.instance),
		.docker_version = acs->docker_version,
		.send_credentials = !acs->ever_connected,
	};

	(void)telemetry;
	free(acs->url);
	acs->url = NULL;
	if (!err) {
		acs->url = acs_url(&address, &url_err);
		if (!acs->url)
			err = &url_err;
	}
	if (err)
		retry_later(acs, err->message);
	else
		credentials_chain_get(acs->options.credentials, on_credentials, acs);
}

static void on_credentials(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	static const struct websocket_callbacks callbacks = {on_open, on_message, on_end};
	struct acs *acs = arg;
	struct acs_url_parts parts;
	struct sigv4_result signature = {0};
	struct http_header headers[ACS_HEADERS_MAX];
	size_t count = 0;

	if (!credentials) {
		retry_later(acs, err ? err->message : "no credentials");
		return;
	}
	acs_url_split(acs->url, &parts);
	_cleanup_free_ char *host = xstrndup(parts.host, parts.host_len);
	_cleanup_free_ char *path = xstrndup(parts.path, parts.path_len);
	struct sigv4_request request = {
		// §1.6
		.method = "GET",
		.host = host,
		.path = path,
		.query = parts.query,
		.region = instance_region(acs->options.instance),
		.service = "ecs",
		.wall_ms = instance_wall_ms(acs->options.instance),
		.double_encode_path = true,
	};
	sigv4_sign_headers(&request, credentials, &signature);
	headers[count++] = (struct http_header){"User-Agent", instance_user_agent(acs->options.instance)};
	for (size_t i = 0; i < signature.header_count; i++)
		headers[count++] = (struct http_header){signature.headers[i].name, signature.headers[i].value};
	struct websocket_options options = {
		.url = acs->url,
		.headers = headers,
		.header_count = count,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.read_timeout_ms = READ_TIMEOUT_MS,
		.write_timeout_ms = WRITE_TIMEOUT_MS,
		.insecure = acs->options.insecure,
	};
	acs->ws = websocket_open(acs->options.loop, &options, &callbacks, acs);
	sigv4_result_free(&signature);
}

// --- the session ---

static void on_open(void *arg)
{
	struct acs *acs = arg;
	struct acs_url_parts parts;

	acs_url_split(acs->url, &parts);
	log_info("connected to ACS", "host=%.*s send_credentials=%s", (int)parts.host_len, parts.host,
		 acs->ever_connected ? "false" : "true");
	CRASH_POINT("acs.open");
	acs->open = true;
	acs->closing = false;
	acs->ever_connected = true;
	acs->opened_at = loop_now(acs->options.loop);
	timer_start(&acs->heartbeat, (uint64_t)(HEARTBEAT_MS * (1 + random_unit())));
	timer_start(&acs->max_age, (uint64_t)(MAX_AGE_MS + MAX_AGE_JITTER_MS * random_unit()));
	timer_start(&acs->backoff_reset, (uint64_t)(BACKOFF_RESET_MS * (1 + random_unit())));
	if (acs->options.on_open)
		acs->options.on_open(acs->options.arg);
}

static void on_message(const char *data, size_t len, bool binary, void *arg)
{
	struct acs *acs = arg;
	struct acs_message message;
	struct error err;

	if (binary)
		log_debug("binary frame from ACS, read like text", "bytes=%zu", len);
	if (acs_message_decode(data, len, &message, &err) < 0) {
		char excerpt[ACS_EXCERPT_MAX + 1];

		acs_excerpt(data, len, excerpt);
		log_warn("message from ACS dropped", "reason=%s bytes=%zu start=%s", err.message, len, excerpt);
		return;
	}
	if (!acs->closing)
		timer_start(&acs->heartbeat, (uint64_t)(HEARTBEAT_MS * (1 + random_unit())));
	acs_handle(acs, &message);
	acs_message_free(&message);
}

void acs_send(struct acs *acs, json_object *frame)
{
	const char *text = json_text(frame);
	int r = acs->open ? websocket_send(acs->ws, text, strlen(text)) : -ENOTCONN;

	if (r < 0)
		log_warn("answer to ACS not sent", "type=%s error=%s", json_get_string(frame, "type"), strerror(-r));
	json_object_put(frame);
}

// --- how it ends ---

static bool is_clean(const struct websocket_end *end)
{
	return end->opened &&
	       (end->eof || end->close_code == 1000 || end->close_code == 1001 || end->close_code == 1011);
}

// The error a refused handshake carries in its body, as "<TypeName>: <message>" (§10.2).
static void describe_end(const struct websocket_end *end, char *out, size_t size)
{
	struct acs_message refusal = {0};

	if (end->close_code)
		snprintf(out, size, "close code %d", end->close_code);
	else if (end->eof)
		snprintf(out, size, "connection closed without a close frame");
	else
		snprintf(out, size, "%s", end->error.message);
	if (!end->http_status)
		return;
	if (end->body && acs_message_decode(end->body, strlen(end->body), &refusal, NULL) == 0 &&
	    refusal.type == ACS_NOTICE)
		snprintf(out, size, "%s: %s", refusal.name, refusal.notice.text ? refusal.notice.text : "");
	else
		snprintf(out, size, "HTTP %ld: %.300s", end->http_status, end->body ? end->body : "");
	acs_message_free(&refusal);
}

static void lose(struct acs *acs)
{
	bool was_open = acs->open;

	disconnect(acs);
	if (was_open && acs->options.on_closed)
		acs->options.on_closed(acs->options.arg);
}

static void on_end(const struct websocket_end *end, void *arg)
{
	struct acs *acs = arg;
	uint64_t lived = acs->open ? loop_now(acs->options.loop) - acs->opened_at : 0;
	char why[ERROR_MESSAGE_MAX];

	describe_end(end, why, sizeof(why));
	lose(acs);
	if (strstr(why, "InactiveInstanceException")) {
		log_error("ECS says that this container instance is not active any more, trying again in an hour",
			  "instance=%s error=%s", instance_arn(acs->options.instance), why);
		retry_in(acs, INACTIVE_DELAY_MS);
		return;
	}
	if (is_clean(end) && lived >= SHORT_SESSION_MS) {
		log_info("ACS session ended, reconnecting", "reason=%s lived_ms=%" PRIu64, why, lived);
		backoff_reset(&acs->backoff);
		retry_in(acs, 0);
		return;
	}
	retry_later(acs, why);
}

static void on_heartbeat_missed(void *arg)
{
	struct acs *acs = arg;

	lose(acs);
	retry_later(acs, "no message from ACS within the heartbeat time");
}

static void on_max_age(void *arg)
{
	struct acs *acs = arg;

	log_info("ACS session has reached its age limit, reconnecting", NULL);
	acs->closing = true;
	websocket_close(acs->ws, 1000, "ConnectionExpired: Reconnect to continue");
}

static void on_backoff_reset(void *arg)
{
	struct acs *acs = arg;

	backoff_reset(&acs->backoff);
}

// Drops the connection, if there is one, and everything that belongs to it.
static void disconnect(struct acs *acs)
{
	acs->open = false;
	acs->closing = false;
	timer_stop(&acs->heartbeat);
	timer_stop(&acs->max_age);
	timer_stop(&acs->backoff_reset);
	acs_drop_pending(acs);
	acs->ws = websocket_free(acs->ws);
}

static void retry_later(struct acs *acs, const char *why)
{
	uint64_t delay = backoff_next(&acs->backoff);

	log_warn("not connected to ACS, trying again", "reason=%s in_ms=%" PRIu64, why, delay);
	retry_in(acs, delay);
}

static void retry_in(struct acs *acs, uint64_t delay_ms)
{
	timer_start(&acs->reconnect, delay_ms);
}
