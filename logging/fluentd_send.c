#include "logging/fluentd_private.h"

#include "common/util.h"
#include "logging/notice.h"
#include <inttypes.h>

#define LINE_USUAL 16384 // Docker cuts lines into pieces of so many bytes
#define TURN_CHUNKS 4    // sent before others have their turn
#define LOOK_MS 1000     // between looks at what has arrived
#define RENEW_MS 50      // the same, when only that is waited for

static void granted(void *arg);
static void reclaim(void *arg);
static bool begin_chunk(struct destination *d);
static bool push_chunk(struct destination *d);
static void chunk_sent(struct destination *d);
static void encode(struct destination *d, uint64_t from, uint64_t limit);
static void rest(struct destination *d);
static bool due_for_renewal(const struct destination *d);
static void confirm(struct destination *d, unsigned flights);
static void confirm_arrived(struct destination *d);
static void confirm_written(struct destination *d, bool closed);
static void look_later(struct destination *d);
static uint64_t ack_ms(const struct destination *d);

void fluentd_send_init(struct destination *d)
{
	const struct stream_settings *settings = d->settings;

	d->reader = spool_reader_new(d->spool);
	d->next = spool_head(d->spool);
	d->fields = forward_fields_new(settings->container_id, settings->container_name, &settings->attributes);
	d->chunk_max = CHUNK_BYTES;
	resend_init(&d->resend, d->next);
	d->resend.far = d->options->address.scheme == LOG_UNIX ? RESEND_NEAR : RESEND_FAR;
	d->memory = (struct pool_user){.granted = granted, .reclaim = reclaim, .arg = d};
}

void fluentd_send_done(struct destination *d)
{
	loop_defer_cancel(d->loop, fluentd_send, d);
	forward_chunk_free(&d->chunk);
	pool_leave(d->pool, &d->memory);
	d->reader = spool_reader_free(d->reader);
	d->fields = forward_fields_free(d->fields);
}

void fluentd_send_soon(struct destination *d)
{
	loop_defer_cancel(d->loop, fluentd_send, d);
	loop_defer(d->loop, fluentd_send, d);
}

void fluentd_send(void *arg)
{
	struct destination *d = arg;
	if (d->state == FLUENTD_IDLE && fluentd_has_work(d))
		fluentd_connect(d);
	if (d->state != FLUENTD_READY)
		return;
	// A server that has gone while nothing was sent would swallow the next bytes; on_end follows.
	if (!fluentd_waits(d) && !d->under_way && connection_peer_ended(d->connection))
		return;
	for (unsigned n = 0; n < TURN_CHUNKS && d->state == FLUENTD_READY; n++) {
		if (!d->under_way && !begin_chunk(d))
			break;
		if (!push_chunk(d))
			break;
		if (n + 1 == TURN_CHUNKS)
			fluentd_send_soon(d);
	}
	rest(d);
	if (d->state == FLUENTD_READY)
		look_later(d);
}

void fluentd_sent_lost(struct destination *d)
{
	d->under_way = false;
	forward_chunk_free(&d->chunk);
	pool_leave(d->pool, &d->memory);
	d->flights_sent = 0;
	if (!d->acks) {
		resend_rewind(&d->resend);
		d->next = d->resend.arrived.position;
	}
}

bool fluentd_waits(const struct destination *d)
{
	return d->acks ? d->flying > 0 : resend_waits(&d->resend);
}

void fluentd_sent_arrived(struct destination *d)
{
	confirm_written(d, true);
}

void fluentd_acknowledged(struct destination *d, const char *id)
{
	bool known = false;

	for (unsigned i = 0; *id && i < d->flights_sent && !known; i++) {
		struct flight *flight = &d->flights[i];
		known = !flight->arrived && strcmp(flight->id, id) == 0;
		flight->arrived = flight->arrived || known;
	}
	if (!known) {
		d->delivery->unknown_acks++;
		return;
	}
	d->overdue = 0;
	d->chunk_max = d->chunk_max < CHUNK_BYTES / 2 ? 2 * d->chunk_max : CHUNK_BYTES;
	confirm_arrived(d);
	fluentd_send_soon(d);
}

void fluentd_sent_look(struct destination *d)
{
	uint64_t now = loop_now(d->loop);
	struct error err;

	for (unsigned i = 0; d->acks && i < d->flights_sent; i++) {
		if (d->flights[i].arrived || d->flights[i].due > now)
			continue;
		// A server does not acknowledge a chunk that is too large for it, and would not the next time either.
		if (++d->overdue > 1) {
			d->chunk_max = d->chunk_max > 16 ? d->chunk_max / 16 : 1;
			d->flying = 0;
			d->next = spool_head(d->spool);
		}
		error_set(&err, ETIMEDOUT, "the fluentd server has not acknowledged a chunk within %" PRIu64 " s",
			  ack_ms(d) / 1000);
		fluentd_fail(d, &err);
		return;
	}
	fluentd_send_soon(d);
}

static void granted(void *arg)
{
	fluentd_send(arg);
}

// A chunk that the kernel does not take now is encoded again when it does.
static void reclaim(void *arg)
{
	struct destination *d = arg;

	forward_chunk_free(&d->chunk);
	pool_give(d->pool, &d->memory, d->memory.held);
}

// For a chunk with the slack of its buffer.
static bool have_memory(struct destination *d)
{
	size_t need = 2 * (CHUNK_BYTES + forward_fields_bound(d->fields, LINE_USUAL));

	if (d->memory.held >= need)
		return true;
	return d->memory.wanted == 0 && pool_take(d->pool, &d->memory, need - d->memory.held);
}

static bool may_send(struct destination *d)
{
	if (!fluentd_has_work(d) || (d->acks && d->flights_sent == FLIGHT_MAX))
		return false;
	if (!due_for_renewal(d))
		return have_memory(d);
	if (!fluentd_waits(d))
		fluentd_renew(d);
	return false;
}

static bool due_for_renewal(const struct destination *d)
{
	const struct log_options_fluentd *options = d->options;

	if (d->one_chunk && d->used)
		return true;
	return options->async && options->reconnect_interval_ms > 0 &&
	       loop_now(d->loop) - d->opened >= (uint64_t)options->reconnect_interval_ms;
}

static void add_item(struct destination *d, const struct spool_item *item)
{
	struct flight *sending = &d->sending;
	char notice[NOTICE_MAX];
	struct record record = item->record;

	if (item->kind == SPOOL_END || (item->kind == SPOOL_LOSS && d->silent))
		return;
	if (item->kind == SPOOL_LOSS) {
		const struct spool_loss *loss = &item->loss;
		record = (struct record){.source = RECORD_STDERR, .line = notice, .id = ""};
		record.time_ns = loss->last_ns ? loss->last_ns : wall_ms() * 1000000;
		record.len = notice_text(loss, notice, sizeof(notice));
	} else {
		sending->lines++;
		sending->bytes += record.len;
		sending->repeated += item->position < d->sent_until;
	}
	if (d->chunk.count == 0)
		sending->first = item->first;
	forward_chunk_add(&d->chunk, d->fields, &record, d->options->sub_second);
}

// Items [from, limit), or as many of them as a chunk has.
static void encode(struct destination *d, uint64_t from, uint64_t limit)
{
	struct flight *sending = &d->sending;
	struct spool_item item;

	*sending = (struct flight){.first = from, .next = from};
	forward_chunk_begin(&d->chunk, d->site->mode, d->settings->tag);
	if (spool_reader_position(d->reader) != from)
		spool_reader_seek(d->reader, from);
	while (d->chunk.bytes.len - d->chunk.room < d->chunk_max && spool_reader_position(d->reader) < limit &&
	       spool_reader_next(d->reader, &item)) {
		if (item.position >= limit) // those before it were dropped
			break;
		add_item(d, &item);
		sending->next = spool_reader_position(d->reader);
	}
	if (d->chunk.count == 0) {
		forward_chunk_free(&d->chunk);
		return;
	}
	if (d->acks)
		forward_chunk_id(d->settings->container_id, sending->first, d->chunk.count, sending->id);
	d->bytes = forward_chunk_end(&d->chunk, d->settings->tag, d->acks ? sending->id : NULL, &d->bytes_len);
}

// False: there is nothing to send, or it cannot be sent now.
static bool begin_chunk(struct destination *d)
{
	while (may_send(d)) {
		struct flight *again = d->flights_sent < d->flying ? &d->flights[d->flights_sent] : NULL;

		if (!again || !again->arrived) {
			encode(d, again ? again->first : d->next, again ? again->next : UINT64_MAX);
			if (d->chunk.count > 0) {
				d->under_way = true;
				d->bytes_taken = 0;
				return true;
			}
		}
		if (again) { // arrived, or dropped by the spool, which tells of it
			again->arrived = true;
			d->flights_sent++;
			confirm_arrived(d);
			continue;
		}
		// Ends of streams only: nothing to send, and confirmed with what is before them.
		d->next = d->sending.next;
		if (d->flying > 0)
			d->flights[d->flying - 1].next = d->next;
		else if (!d->acks)
			resend_given(&d->resend, loop_now(d->loop), 0, d->next, 0, 0);
		else
			spool_confirm(d->spool, d->next);
		break;
	}
	return false;
}

// False: the kernel takes no more now.
static bool push_chunk(struct destination *d)
{
	if (!d->chunk.bytes.data) {
		const struct flight before = d->sending;
		size_t len = d->bytes_len;
		struct error err;
		if (!have_memory(d))
			return false;
		encode(d, before.first, before.next);
		if (d->chunk.count == 0 || d->bytes_len != len || d->sending.first != before.first) {
			error_set(&err, ENOSPC, "lines were dropped in the middle of being sent");
			fluentd_fail(d, &err);
			return false;
		}
	}
	d->bytes_taken += connection_offer(d->connection, d->bytes + d->bytes_taken, d->bytes_len - d->bytes_taken);
	if (d->bytes_taken < d->bytes_len)
		return false;
	chunk_sent(d);
	return true;
}

static void chunk_sent(struct destination *d)
{
	struct flight *sending = &d->sending;
	uint64_t now = loop_now(d->loop);

	d->under_way = false;
	forward_chunk_free(&d->chunk);
	d->used = true;
	d->delivery->duplicates += sending->repeated;
	if (sending->next > d->sent_until)
		d->sent_until = sending->next;
	if (!d->acks || d->flights_sent == d->flying)
		d->next = sending->next;
	if (!d->acks) {
		resend_given(&d->resend, now, d->bytes_len, d->next, sending->lines, sending->bytes);
		return;
	}
	sending->due = now + ack_ms(d);
	d->flying += d->flights_sent == d->flying;
	d->flights[d->flights_sent++] = *sending;
}

static void rest(struct destination *d)
{
	if (!d->under_way && d->memory.wanted == 0)
		pool_give(d->pool, &d->memory, d->memory.held);
	spool_reader_rest(d->reader);
}

static void confirm(struct destination *d, unsigned flights)
{
	uint64_t lines = 0, bytes = 0;

	if (flights == 0)
		return;
	for (unsigned i = 0; i < flights; i++) {
		lines += d->flights[i].lines;
		bytes += d->flights[i].bytes;
	}
	spool_confirm(d->spool, d->flights[flights - 1].next);
	d->flying -= flights;
	d->flights_sent -= flights;
	memmove(d->flights, d->flights + flights, d->flying * sizeof(d->flights[0]));
	d->attempts = 0;
	delivery_arrived(d->delivery, lines, bytes);
}

static void confirm_arrived(struct destination *d)
{
	unsigned arrived = 0;

	while (arrived < d->flights_sent && d->flights[arrived].arrived)
		arrived++;
	confirm(d, arrived);
}

// closed: the peer has ended the connection in order, after it had read all.
static void confirm_written(struct destination *d, bool closed)
{
	struct resend_look look = {.now = loop_now(d->loop), .at_end = closed || (due_for_renewal(d) && !d->under_way)};
	const struct resend_mark before = d->resend.arrived, *arrived = &d->resend.arrived;

	if (!look.at_end && !resend_ripe(&d->resend, look.now))
		return;
	if (!closed) {
		look.unacknowledged = connection_unacknowledged(d->connection);
		connection_window(d->connection, &look.window, &look.window_most);
	}
	if (!resend_would_confirm(&d->resend, &look) || (!closed && connection_peer_ended(d->connection)))
		return; // in the latter case on_end follows
	resend_confirm(&d->resend, &look);
	spool_confirm(d->spool, arrived->position);
	if (arrived->lines == before.lines)
		return;
	d->attempts = 0;
	delivery_arrived(d->delivery, arrived->lines - before.lines, arrived->bytes - before.bytes);
}

static uint64_t ack_ms(const struct destination *d)
{
	return d->options->read_timeout_ms > 0 ? (uint64_t)d->options->read_timeout_ms : ACK_MS;
}

// Starts the timer for what has to be looked at next.
static void look_later(struct destination *d)
{
	uint64_t now = loop_now(d->loop), at = UINT64_MAX;

	if (!d->acks) {
		confirm_written(d, false);
		if (!fluentd_waits(d) && due_for_renewal(d) && fluentd_has_work(d))
			fluentd_send_soon(d);
		if (fluentd_waits(d))
			at = now + (due_for_renewal(d) ? RENEW_MS : LOOK_MS);
	}
	for (unsigned i = 0; d->acks && i < d->flights_sent; i++) {
		if (!d->flights[i].arrived && d->flights[i].due < at)
			at = d->flights[i].due;
	}
	if (at == UINT64_MAX)
		timer_stop(&d->timer);
	else if (d->acks || !timer_running(&d->timer) || at < d->timer.due)
		timer_start(&d->timer, at > now ? at - now : 0);
}
