// fluentd's forward protocol as a destination (logging.md §5).
//
// Without acknowledgements, what was sent counts as arrived when resend.h says so, and after a reset the reader goes back
// to what does.
//
// With acknowledgements, up to FLIGHT_MAX chunks are under way; only their positions are kept. They are read from the
// spool again to be sent again, with the same boundaries and so with the same ids.
//
// Nothing waits for a batch to fill up: what is there is sent, what came in the meantime is the next chunk.
#include "logging/fluentd_private.h"

#include "common/util.h"

#define LOGIN_MS 5000 // for each answer of a server that asks for a shared key
#define START_MS 3000 // a start waits no longer for the first connection
#define RETRY_MAX_MS 60000
#define RETRY_JITTER 0.2

static void on_timer(void *arg);
static void on_ask_timer(void *arg);
static void tell_answer(void *arg);
static void answer(struct destination *d, const struct error *refusal);
static void ready(struct destination *d);
static void idle_or_wait(struct destination *d);

static const struct fluentd_settings no_settings;

static struct destination *fluentd_open(const struct destination_host *host, const struct stream_settings *settings,
					struct spool *spool, struct delivery *delivery)
{
	struct destination *d = xcalloc(1, sizeof(*d));
	const struct log_options_fluentd *options = &settings->options.fluentd;
	// Routers of FireLens and others on Unix sockets have no keys.
	bool remote = options->address.scheme != LOG_UNIX;

	d->loop = host->loop;
	d->pool = host->pool;
	d->silent = host->silent;
	d->settings = settings;
	d->options = options;
	d->site = host->fluentd ? host->fluentd : &no_settings;
	d->acks = options->request_ack || (remote && d->site->ack);
	// Servers on this host, who have its name, must not take us for themselves.
	d->hostname = xasprintf("ecs-logd.%s", settings->hostname ? settings->hostname : "localhost");
	d->login = (struct forward_login){.hostname = d->hostname,
					  .shared_key = remote ? d->site->shared_key : NULL,
					  .username = d->site->username,
					  .password = d->site->password};
	d->spool = spool;
	d->delivery = delivery;
	timer_init(&d->timer, d->loop, on_timer, d);
	timer_init(&d->ask_timer, d->loop, on_ask_timer, d);
	fluentd_send_init(d);
	fluentd_send_soon(d);
	return d;
}

static struct destination *fluentd_free(struct destination *d)
{
	if (!d)
		return NULL;
	connection_free(d->connection);
	loop_defer_cancel(d->loop, tell_answer, d);
	free(d->refusal);
	timer_done(&d->timer);
	timer_done(&d->ask_timer);
	fluentd_send_done(d);
	buf_free(&d->in);
	free(d->hostname);
	free(d);
	return NULL;
}

static void fluentd_ask(struct destination *d, void (*callback)(const struct error *refusal, void *arg), void *arg)
{
	d->answer = callback;
	d->answer_arg = arg;
	d->asked = true;
	if (!d->site->strict_start || d->state == FLUENTD_READY) {
		answer(d, NULL);
		return;
	}
	timer_start(&d->ask_timer, START_MS);
	if (d->state == FLUENTD_IDLE)
		fluentd_connect(d);
}

static void fluentd_flush(struct destination *d)
{
	if (d->state == FLUENTD_WAITING)
		timer_start(&d->timer, 0);
	fluentd_send_soon(d);
}

const struct destination_class destination_fluentd = {
	.driver = "fluentd",
	.open = fluentd_open,
	.ask = fluentd_ask,
	.wake = fluentd_send_soon,
	.flush = fluentd_flush,
	.free = fluentd_free,
};

uint64_t fluentd_retry_ms(unsigned attempt, int64_t retry_wait_ms)
{
	double factor = 1;

	if (attempt == 0)
		return 0;
	for (unsigned i = 1; i < attempt && factor < RETRY_MAX_MS; i++)
		factor *= 1.5;
	double wait = (double)(retry_wait_ms > 0 ? retry_wait_ms : 1) * (double)(int)factor;
	return wait < RETRY_MAX_MS ? (uint64_t)wait : RETRY_MAX_MS;
}

bool fluentd_has_work(const struct destination *d)
{
	return d->under_way || d->flights_sent < d->flying || d->next < spool_tail(d->spool);
}

void fluentd_fail(struct destination *d, const struct error *err)
{
	// A server may close what nobody uses; that is found when there is something to send, and is no trouble.
	bool trouble = err->code != 0 || fluentd_waits(d) || d->under_way || d->attempts > 1;

	if (trouble)
		delivery_failed(d->delivery, err);
	answer(d, err);
	d->connection = connection_free(d->connection); // err may be its
	fluentd_sent_lost(d);
	idle_or_wait(d);
}

void fluentd_renew(struct destination *d)
{
	d->connection = connection_free(d->connection);
	fluentd_sent_lost(d);
	idle_or_wait(d);
}

static void idle_or_wait(struct destination *d)
{
	buf_clear(&d->in);
	if (!fluentd_has_work(d)) {
		d->state = FLUENTD_IDLE;
		timer_stop(&d->timer);
		return;
	}
	double wait = (double)fluentd_retry_ms(d->attempts, d->options->retry_wait_ms);
	d->state = FLUENTD_WAITING;
	timer_start(&d->timer, (uint64_t)(wait * (1 + RETRY_JITTER * random_unit())));
}

// In a turn of its own: who asked may free us.
static void answer(struct destination *d, const struct error *refusal)
{
	timer_stop(&d->ask_timer);
	if (!d->asked)
		return;
	d->asked = false;
	d->refusal = refusal ? xmemdup(refusal, sizeof(*refusal)) : NULL;
	loop_defer(d->loop, tell_answer, d);
}

static void tell_answer(void *arg)
{
	struct destination *d = arg;
	_cleanup_free_ struct error *refusal = TAKE(d->refusal);

	d->answer(refusal, d->answer_arg);
}

static void on_ask_timer(void *arg)
{
	struct destination *d = arg;
	const struct log_address *address = &d->options->address;
	struct error err;

	error_set(&err, ETIMEDOUT, "no connection to the fluentd server at %s within %d s",
		  address->scheme == LOG_UNIX ? address->path : address->host, START_MS / 1000);
	answer(d, &err);
}

// --- connection and login ---
static void on_open(void *arg);
static void on_data(const char *data, size_t len, void *arg);
static void on_end(const struct error *err, void *arg);

void fluentd_connect(struct destination *d)
{
	static const struct connection_callbacks callbacks = {
		.on_open = on_open, .on_data = on_data, .on_drain = fluentd_send, .on_end = on_end};
	const struct log_address *address = &d->options->address;
	struct connection_options options = {
		.kind = address->scheme == LOG_UNIX  ? CONNECTION_UNIX
			: address->scheme == LOG_TLS ? CONNECTION_TLS
						     : CONNECTION_TCP,
		.host = address->host,
		.port = address->port,
		.path = address->path,
		.ca_file = d->site->ca_file,
		.cert_file = d->site->cert_file,
		.key_file = d->site->key_file,
		.stall_timeout_ms = (uint64_t)d->options->write_timeout_ms,
	};

	d->state = FLUENTD_CONNECTING;
	d->attempts++;
	d->one_chunk = d->used = false;
	d->connection = connection_open(d->loop, &options, &callbacks, d);
}

static void on_open(void *arg)
{
	struct destination *d = arg;

	d->opened = loop_now(d->loop);
	if (!d->login.shared_key) {
		ready(d);
		return;
	}
	d->state = FLUENTD_GREETING;
	timer_start(&d->timer, LOGIN_MS);
}

static void ready(struct destination *d)
{
	d->state = FLUENTD_READY;
	timer_stop(&d->timer);
	answer(d, NULL);
	fluentd_send_soon(d);
}

static void on_end(const struct error *err, void *arg)
{
	struct destination *d = arg;
	struct error closed = {0};

	if (err->code != 0) {
		fluentd_fail(d, err);
		return;
	}
	// Had it closed before it read all, there would have been a reset.
	if (d->one_chunk && !d->acks && !d->under_way)
		fluentd_sent_arrived(d);
	snprintf(closed.message, sizeof(closed.message), "the fluentd server has closed the connection");
	fluentd_fail(d, &closed);
}

static void on_timer(void *arg)
{
	struct destination *d = arg;
	struct error err;

	if (d->state == FLUENTD_WAITING) {
		fluentd_connect(d);
	} else if (d->state == FLUENTD_READY) {
		fluentd_sent_look(d);
	} else {
		error_set(&err, ETIMEDOUT, "the fluentd server has not sent %s within %d s; a shared key is set for it",
			  d->state == FLUENTD_GREETING ? "HELO" : "PONG", LOGIN_MS / 1000);
		fluentd_fail(d, &err);
	}
}

static int on_helo(struct destination *d, const struct forward_answer *helo, struct error *err)
{
	struct buf ping = {0};

	if (!d->login.shared_key)
		return error_set(err, EACCES, "the fluentd server wants a shared key and none is set");
	if (d->state != FLUENTD_GREETING)
		return error_set(err, EBADMSG, "the fluentd server greets again");
	d->helo = *helo;
	random_hex(d->salt, FORWARD_SALT_LEN);
	int r = forward_ping(&d->login, helo, d->salt, &ping, err);
	if (r == 0 && (r = connection_send(d->connection, ping.data, ping.len, NULL)) < 0)
		error_set_errno(err, -r, "cannot answer the fluentd server's HELO");
	buf_free(&ping);
	d->state = FLUENTD_LOGIN;
	timer_start(&d->timer, LOGIN_MS);
	return r;
}

static int on_pong(struct destination *d, const struct forward_answer *pong, struct error *err)
{
	if (d->state != FLUENTD_LOGIN)
		return error_set(err, EBADMSG, "the fluentd server answers a login that was none");
	int r = forward_check_pong(&d->login, &d->helo, pong, d->salt, err);
	if (r < 0)
		return r;
	d->one_chunk = !d->helo.keepalive;
	ready(d);
	return 0;
}

static int on_answer(struct destination *d, const struct forward_answer *got, struct error *err)
{
	switch (got->kind) {
	case FORWARD_HELO:
		return on_helo(d, got, err);
	case FORWARD_PONG:
		return on_pong(d, got, err);
	case FORWARD_ACK:
		fluentd_acknowledged(d, got->ack);
		return 0;
	case FORWARD_OTHER:
		break;
	}
	// Who acknowledges nothing may say what it likes; Docker's driver does not listen either.
	if (!d->acks && d->state == FLUENTD_READY)
		return 0;
	return error_set(err, EBADMSG, "the fluentd server has sent what is no part of the forward protocol");
}

static void on_data(const char *data, size_t len, void *arg)
{
	struct destination *d = arg;
	struct forward_answer got;
	struct error err = {0};
	size_t used, at = 0;
	int r;

	buf_append(&d->in, data, len);
	while ((r = forward_answer_decode(d->in.data + at, d->in.len - at, &used, &got, &err)) == 1) {
		at += used;
		r = on_answer(d, &got, &err);
		if (r < 0)
			break;
	}
	if (r == 0) {
		memmove(d->in.data, d->in.data + at, d->in.len - at);
		d->in.len -= at;
	} else if (d->acks || d->state != FLUENTD_READY || err.code == EACCES) {
		fluentd_fail(d, &err);
	} else {
		buf_clear(&d->in);
	}
}
