#include "logging/syslog.h"

#include "common/backoff.h"
#include "common/util.h"
#include "logging/notice.h"
#include "logging/resend.h"
#include "logging/syslog_format.h"

#include <sys/stat.h>

#define BATCH_BYTES ((size_t)64 << 10) // of messages made at a time; the last may go beyond
#define BATCH_MESSAGES 512U
#define TURN_BYTES ((size_t)256 << 10) // sent in one turn of the loop; then others have theirs
// What is taken from the pool while there is something to send: the reader's batch and ours.
#define POOL_HELD (SPOOL_BATCH_MAX + BATCH_BYTES + BATCH_MESSAGES * sizeof(struct message))
#define EMPTY_COST ((size_t)4 << 10) // a batch of which nothing is sent, in such bytes
#define LOCAL_FIRST "/dev/log"
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define BACKOFF_JITTER 0.25
#define LOOK_MS 1000 // between looks at what has arrived, while something is under way
#define IDLE_MS 100  // after which the peer's end is looked for before writing
#define PROBE_MS 250 // after a refusal one datagram goes alone, and so long a new refusal is waited for

struct message {
	uint64_t first, position; // of the spool: where to read it again, and what confirms it
	size_t end;               // in the batch's text
	size_t bytes;             // the container wrote
	bool line;                // and not a notice, nor the end of a stream
};

struct destination {
	const struct destination_host *host;
	const struct log_options_syslog *options;
	struct spool *spool;
	struct spool_reader *reader;
	struct delivery *delivery;
	struct syslog_format format;

	struct connection *connection;
	bool open, datagrams;
	unsigned local;         // index of the local socket to try
	unsigned address_index; // for UDP, which address of the name
	struct backoff backoff;
	struct timer retry; // runs: no attempt before
	bool refused;       // by a receiver of datagrams: the next one is a probe
	struct timer probe; // runs: a probe's answer is waited for

	struct pool_user memory;
	struct buf text; // messages that are made and not sent
	struct message *messages;
	unsigned count, next;
	bool pump_deferred;

	struct resend resend;
	uint64_t now, written_at; // loop time: of this turn, and when something was written
	struct timer look;
};

static void pump(void *arg);
static void pump_deferred(void *arg);
static void pump_soon(struct destination *d);
static void on_look(void *arg);
static void on_reclaim(void *arg);
static void confirm(struct destination *d, bool at_end);
static bool send_stream(struct destination *d);
static bool send_datagrams(struct destination *d);
static void forget_batch(struct destination *d);
static void give_memory(struct destination *d);
static struct connection_options make_options(const struct log_options_syslog *syslog);

static int syslog_check(const struct stream_settings *settings, struct error *err)
{
	const struct log_options_syslog *syslog = &settings->options.syslog;
	const struct log_address *address = &syslog->address;
	struct connection_options options = make_options(syslog);
	struct stat st;

	if (address->path && stat(address->path, &st) < 0)
		return error_set_errno(err, errno, "syslog-address: there must be a socket at %s", address->path);
	return address->scheme == LOG_TLS ? connection_check_files(&options, err) : 0;
}

static struct destination *syslog_open(const struct destination_host *host, const struct stream_settings *settings,
				       struct spool *spool, struct delivery *delivery)
{
	struct destination *d = xcalloc(1, sizeof(*d));

	d->host = host;
	d->options = &settings->options.syslog;
	d->spool = spool;
	d->delivery = delivery;
	d->reader = spool_reader_new(spool);
	d->backoff = BACKOFF(BACKOFF_MIN_MS, BACKOFF_MAX_MS, 2, BACKOFF_JITTER);
	d->memory = (struct pool_user){.granted = pump, .reclaim = on_reclaim, .arg = d};
	syslog_format_init(&d->format, settings);
	resend_init(&d->resend, spool_reader_position(d->reader));
	timer_init(&d->retry, host->loop, pump, d);
	timer_init(&d->probe, host->loop, pump, d);
	timer_init(&d->look, host->loop, on_look, d);
	pump_soon(d);
	return d;
}

static void syslog_wake(struct destination *d)
{
	// While it connects or is not to, there is nothing to do.
	if (!timer_running(&d->retry) && (d->open || !d->connection))
		pump_soon(d);
}

static struct destination *syslog_free(struct destination *d)
{
	if (!d)
		return NULL;
	// An end in order is no reset: what the peer's kernel has will be read.
	confirm(d, true);
	d->connection = connection_free(d->connection);
	loop_defer_cancel(d->host->loop, pump_deferred, d);
	timer_done(&d->retry);
	timer_done(&d->probe);
	timer_done(&d->look);
	give_memory(d);
	pool_leave(d->host->pool, &d->memory);
	spool_reader_free(d->reader);
	syslog_format_done(&d->format);
	free(d);
	return NULL;
}

const struct destination_class destination_syslog = {
	.driver = "syslog",
	.check = syslog_check,
	.open = syslog_open,
	.wake = syslog_wake,
	.flush = syslog_wake,
	.free = syslog_free,
};

bool syslog_local_socket(unsigned index, enum connection_kind *kind, const char **path)
{
	static const char *const paths[] = {LOCAL_FIRST, "/var/run/syslog", "/var/run/log"};

	if (index >= 2 * ARRAY_SIZE(paths))
		return false;
	*kind = index < ARRAY_SIZE(paths) ? CONNECTION_UNIXGRAM : CONNECTION_UNIX;
	*path = paths[index % ARRAY_SIZE(paths)];
	return true;
}

// --- the connection ---

static void connect_now(struct destination *d);

static struct connection_options make_options(const struct log_options_syslog *syslog)
{
	static const enum connection_kind kinds[] = {
		[LOG_TCP] = CONNECTION_TCP,           [LOG_TLS] = CONNECTION_TLS,
		[LOG_UDP] = CONNECTION_UDP,           [LOG_UNIX] = CONNECTION_UNIX,
		[LOG_UNIXGRAM] = CONNECTION_UNIXGRAM, [LOG_LOCAL_SYSLOG] = CONNECTION_UNIXGRAM,
	};

	return (struct connection_options){.kind = kinds[syslog->address.scheme],
					   .host = syslog->address.host,
					   .port = syslog->address.port,
					   .path = syslog->address.path,
					   .ca_file = syslog->ca_cert,
					   .cert_file = syslog->cert,
					   .key_file = syslog->key,
					   .skip_verify = syslog->skip_verify};
}

static void on_open(void *arg)
{
	struct destination *d = arg;

	d->open = true;
	pump(d);
}

static bool try_next_local(struct destination *d)
{
	enum connection_kind kind;
	const char *path;

	if (d->options->address.scheme != LOG_LOCAL_SYSLOG || !syslog_local_socket(d->local + 1, &kind, &path))
		return false;
	d->local++;
	connect_now(d);
	return true;
}

static void on_end(const struct error *err, void *arg)
{
	struct destination *d = arg;
	bool was_open = d->open, more;
	struct error reason;

	d->connection = connection_free(d->connection);
	d->open = false;
	d->refused = was_open && d->datagrams;
	d->address_index++;
	timer_stop(&d->look);
	timer_stop(&d->probe);
	forget_batch(d);
	give_memory(d);
	d->delivery->duplicates += resend_rewind(&d->resend);
	spool_reader_seek(d->reader, d->resend.arrived.position);
	if (!was_open && try_next_local(d))
		return;
	reason = *err;
	if (d->options->address.scheme == LOG_LOCAL_SYSLOG && !was_open)
		error_wrap(&reason, "this host has no syslog at %s and the like", LOCAL_FIRST);
	d->local = 0;
	more = d->resend.arrived.position < spool_tail(d->spool);
	// A peer that leaves while nothing is to be sent is no trouble.
	if (more || err->code)
		delivery_failed(d->delivery, &reason);
	timer_start(&d->retry, backoff_next(&d->backoff));
}

static void connect_now(struct destination *d)
{
	static const struct connection_callbacks callbacks = {.on_open = on_open, .on_drain = pump, .on_end = on_end};
	struct connection_options options = make_options(d->options);

	if (d->options->address.scheme == LOG_LOCAL_SYSLOG)
		syslog_local_socket(d->local, &options.kind, &options.path);
	options.address_index = d->address_index;
	d->datagrams = options.kind == CONNECTION_UDP || options.kind == CONNECTION_UNIXGRAM;
	d->resend.far = options.kind == CONNECTION_TCP || options.kind == CONNECTION_TLS ? RESEND_FAR : RESEND_NEAR;
	// RFC 5425 for TLS; elsewhere lines, unless asked for (§6.4).
	d->format.octet_counting =
		!d->datagrams && (d->options->octet_counting || (options.kind == CONNECTION_TLS && d->format.iso_time));
	d->connection = connection_open(d->host->loop, &options, &callbacks, d);
}

// --- from the spool to messages ---

static void append_item(struct destination *d, const struct spool_item *item)
{
	struct message *message = &d->messages[d->count++];

	*message = (struct message){.first = item->first, .position = item->position};
	if (item->kind == SPOOL_RECORD) {
		const struct record *record = &item->record;

		message->line = true;
		message->bytes = record->len;
		if (record->len > 0) // §6.3: an empty line is not sent
			syslog_format_append(&d->format, &d->text,
					     record->source == RECORD_STDERR ? SYSLOG_ERR : SYSLOG_INFO,
					     record->time_ns, record->line, record->len);
	} else if (item->kind == SPOOL_LOSS && !d->host->silent) {
		char text[NOTICE_MAX];
		size_t len = notice_text(&item->loss, text, sizeof(text));
		int64_t time_ns = item->loss.last_ns > 0 ? item->loss.last_ns : wall_ms() * 1000000;

		syslog_format_append(&d->format, &d->text, SYSLOG_WARNING, time_ns, text, len);
	}
	message->end = d->text.len;
}

static void fill_batch(struct destination *d)
{
	struct spool_item item;

	buf_clear(&d->text);
	d->count = d->next = 0;
	while (d->count < BATCH_MESSAGES && d->text.len < BATCH_BYTES && spool_reader_next(d->reader, &item))
		append_item(d, &item);
}

// What is not sent of it is read again when it is needed.
static void forget_batch(struct destination *d)
{
	if (d->next < d->count)
		spool_reader_seek(d->reader, d->messages[d->next].first);
	d->count = d->next = 0;
}

static bool take_memory(struct destination *d)
{
	if (d->memory.wanted > 0 || (d->memory.held == 0 && !pool_take(d->host->pool, &d->memory, POOL_HELD)))
		return false;
	if (!d->messages)
		d->messages = xcalloc(BATCH_MESSAGES, sizeof(*d->messages));
	return true;
}

static void give_memory(struct destination *d)
{
	forget_batch(d);
	spool_reader_rest(d->reader);
	buf_free(&d->text);
	free(d->messages);
	d->messages = NULL;
	pool_give(d->host->pool, &d->memory, d->memory.held);
}

// Others wait for memory, and this one for its peer or its turn.
static void on_reclaim(void *arg)
{
	give_memory(arg);
}

// --- sending ---

static size_t start_of(const struct destination *d, unsigned message)
{
	return message > 0 ? d->messages[message - 1].end : 0;
}

static void given(struct destination *d)
{
	const struct message *message = &d->messages[d->next];

	resend_given(&d->resend, d->now, message->end - start_of(d, d->next), message->position + 1, message->line,
		     message->bytes);
	d->next++;
}

// Passes over what needs no message. True if one that does is next.
static bool skip_empty(struct destination *d)
{
	while (d->next < d->count && d->messages[d->next].end == start_of(d, d->next))
		given(d);
	return d->next < d->count;
}

static void pump_soon(struct destination *d)
{
	if (d->pump_deferred)
		return;
	d->pump_deferred = true;
	loop_defer(d->host->loop, pump_deferred, d);
}

static void pump_deferred(void *arg)
{
	struct destination *d = arg;

	d->pump_deferred = false;
	pump(d);
}

// Sends what there is, as far as the peer takes it and until others should have their turn.
static void pump(void *arg)
{
	struct destination *d = arg;
	size_t done = 0;

	if (timer_running(&d->retry) || timer_running(&d->probe) || (d->connection && !d->open)) {
		give_memory(d);
		return;
	}
	if (!take_memory(d))
		return;
	d->now = loop_now(d->host->loop);
	if (d->open && d->now - d->written_at >= IDLE_MS && connection_peer_ended(d->connection))
		return; // on_end follows
	while (done < TURN_BYTES) {
		if (d->next == d->count)
			fill_batch(d);
		if (d->count == 0) {
			give_memory(d); // nothing more to send
			break;
		}
		done += d->text.len - start_of(d, d->next) + EMPTY_COST;
		if (!skip_empty(d))
			continue;
		if (!d->open) {
			give_memory(d); // others can use it while this one waits
			connect_now(d);
			break;
		}
		if (!(d->datagrams ? send_datagrams(d) : send_stream(d)))
			break; // on_drain follows, or on_end, or the probe's timer
	}
	confirm(d, false);
	if (done >= TURN_BYTES && d->next == d->count)
		pump_soon(d);
}

// False: the peer takes no more for now, or has gone.
static bool send_stream(struct destination *d)
{
	size_t from = start_of(d, d->next), len = d->text.len - from, taken, upto;

	if (connection_unsent(d->connection) > 0)
		return false;
	taken = connection_offer(d->connection, d->text.data + from, len);
	upto = from + taken;
	if (taken > 0)
		d->written_at = d->now;
	while (d->next < d->count && d->messages[d->next].end <= upto)
		given(d);
	// What is left of a message goes before all others; the connection keeps it.
	if (d->next < d->count && start_of(d, d->next) < upto) {
		connection_send(d->connection, d->text.data + upto, d->messages[d->next].end - upto, NULL);
		given(d);
	}
	return taken == len;
}

// 0, or a negative errno as connection_send. Cuts it to what the path carries.
static int send_datagram(struct destination *d, char *data, size_t len)
{
	size_t fits = 0, left = len;
	int r;

	while ((r = connection_send(d->connection, data, left, &fits)) == -EMSGSIZE) {
		left = syslog_format_cut(data, left, fits);
		if (left == 0) {
			delivery_gave_up(d->delivery, 1, "no datagram is small enough for its way");
			return 0;
		}
	}
	if (r == 0 && left < len)
		d->delivery->cut++;
	return r;
}

static bool send_datagrams(struct destination *d)
{
	while (skip_empty(d)) {
		size_t from = start_of(d, d->next);

		if (send_datagram(d, d->text.data + from, d->messages[d->next].end - from) < 0)
			return false;
		d->written_at = d->now;
		given(d);
		if (d->refused) {
			d->refused = false;
			timer_start(&d->probe, PROBE_MS);
			return false;
		}
	}
	return true;
}

// --- what has arrived ---

static void confirm(struct destination *d, bool at_end)
{
	struct resend_mark before = d->resend.arrived;
	const struct resend_mark *now = &d->resend.arrived;
	struct resend_look look = {.now = loop_now(d->host->loop), .at_end = at_end};

	if (at_end || resend_ripe(&d->resend, look.now)) {
		if (d->open) {
			look.unacknowledged = connection_unacknowledged(d->connection);
			connection_window(d->connection, &look.window, &look.window_most);
		}
		if (resend_would_confirm(&d->resend, &look)) {
			if (d->open && connection_peer_ended(d->connection))
				return; // on_end follows
			resend_confirm(&d->resend, &look);
			spool_confirm(d->spool, now->position);
		}
	}
	if (now->lines > before.lines) {
		backoff_reset(&d->backoff);
		delivery_arrived(d->delivery, now->lines - before.lines, now->bytes - before.bytes);
	}
	if (resend_waits(&d->resend) && !at_end && !timer_running(&d->look))
		timer_start(&d->look, LOOK_MS);
}

static void on_look(void *arg)
{
	confirm(arg, false);
}
