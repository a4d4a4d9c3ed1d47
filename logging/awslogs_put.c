// Batches of the awslogs destination: which events go into one, and what is done about the service's answer.
#include "logging/awslogs_private.h"

#include "common/util.h"

#define OLDEST_MS (INT64_C(14) * 24 * 3600000) // §4.4
#define NEWEST_MS (INT64_C(2) * 3600000)       // §4.4
#define BYTES_MIN ((size_t)16 << 10)           // of a batch after timeouts
#define ITEMS_MAX 65536                        // read in one turn of the loop: most of them may have no text
#define REFUSED "CloudWatch Logs refuses them as invalid"
#define ROUNDS_MAX 5   // see suspect()
#define SUSPECTS_MAX 8 // see suspect()

enum fit { TAKEN, SKIPPED, FULL };

static void read_batch(struct destination *d);
static void nothing_to_send(struct destination *d);
static void on_put(const struct aws_response *response, void *arg);
static void next_trial(struct destination *d);

void awslogs_schedule(struct destination *d)
{
	// The spool grows by more than the messages, and loses what is confirmed: only about when there is a full batch.
	if (spool_tail(d->spool) - spool_reader_position(d->reader) >= d->max_events ||
	    spool_bytes(d->spool) >= d->spool_bytes + d->max_bytes)
		d->due = true;
	else if (!timer_running(&d->flush))
		timer_start(&d->flush, (uint64_t)d->options->flush_interval_s * 1000);
}

void awslogs_send(struct destination *d)
{
	bool gzip = cloudwatch_gzip(d->host->cloudwatch);
	size_t len;

	read_batch(d);
	if (d->batch.count == 0) {
		nothing_to_send(d);
		return;
	}
	char *body = put_batch_finish(&d->batch, d->token, &gzip, &len);
	// The call has one copy, the connection another.
	d->batch_memory = len * 2 + d->batch.room * sizeof(*d->batch.events);
	awslogs_keep_memory(d);
	d->state = CALL;
	d->call = cloudwatch_call(d->service, "PutLogEvents", body, len, gzip, d->options->emf, on_put, d);
}

void awslogs_forget(struct destination *d)
{
	lines_restart(d->lines, &d->mark);
	spool_reader_rest(d->reader);
	d->reread = true;
}

void awslogs_keep_memory(struct destination *d)
{
	size_t bytes = d->batch_memory + lines_memory(d->lines);

	if (bytes < d->memory.held)
		pool_give(d->host->pool, &d->memory, d->memory.held - bytes);
}

// --- reading a batch ---

static enum fit take_event(struct destination *d, const struct lines_event *event)
{
	int64_t now = d->now_ms, time_ms = event->time_ns / 1000000;

	if (time_ms <= 0) // a loss of which nothing is known
		time_ms = now;
	if (event->last < d->again_last && time_ms < d->again_ms)
		return SKIPPED;
	if (time_ms < now - OLDEST_MS) {
		d->old_lines += event->lines;
		return SKIPPED;
	}
	if (time_ms > now + NEWEST_MS) {
		// Ahead even of the clock that gave it this time: that has been set back since.
		if (time_ms > wall_ms() + NEWEST_MS) {
			time_ms = now;
		} else {
			d->hold_ms = time_ms - now - NEWEST_MS;
			return FULL;
		}
	}
	if (!put_batch_add(&d->batch, time_ms, event->text, event->len, event->effective, event->lines))
		return FULL;
	d->last = event->last;
	return TAKEN;
}

// An event that is collected ends when nothing has followed for the interval.
static bool cut_by_time(struct destination *d)
{
	uint64_t since, now = loop_now(d->host->loop), interval = (uint64_t)d->options->flush_interval_s * 1000;

	if (!lines_collecting(d->lines, &since)) {
		d->collecting_since = 0;
		return false;
	}
	if (!d->collecting_since || d->collecting != since) {
		d->collecting = since;
		d->collecting_since = now;
	}
	if (now - d->collecting_since < interval) {
		timer_start(&d->flush, interval - (now - d->collecting_since));
		return false;
	}
	lines_cut(d->lines);
	return true;
}

// Reads events until the batch is full, or it is enough for one turn of the loop (true), or nothing is left.
static bool fill_batch(struct destination *d)
{
	struct lines_event event;
	struct spool_item item;
	unsigned items = 0;

	for (;;) {
		while (lines_peek(d->lines, &event)) {
			if (take_event(d, &event) == FULL)
				return true;
			lines_take(d->lines);
		}
		if (items++ == ITEMS_MAX)
			return true;
		if (spool_reader_next(d->reader, &item))
			lines_feed(d->lines, &item);
		else if (!cut_by_time(d))
			return false;
	}
}

static void read_batch(struct destination *d)
{
	if (d->reread) {
		lines_restart(d->lines, &d->mark);
		spool_reader_seek(d->reader, lines_mark_position(&d->mark));
		d->reread = false;
	}
	put_batch_start(&d->batch, d->options->group, d->stream, d->max_events, d->max_bytes);
	d->now_ms = cloudwatch_wall_ms(d->service);
	d->hold_ms = 0;
	d->old_lines = 0;
	d->due = fill_batch(d);
	lines_mark(d->lines, &d->after);
	lines_settle(d->lines);
	spool_reader_rest(d->reader);
	d->spool_bytes = spool_bytes(d->spool);
}

// Everything before the mark is done.
static void done_to_here(struct destination *d)
{
	if (d->old_lines)
		delivery_gave_up(d->delivery, d->old_lines, "they are older than 14 days");
	d->mark = d->after;
	spool_confirm(d->spool, lines_mark_position(&d->mark));
	d->spool_bytes = spool_bytes(d->spool);
}

// All that were refused one by one wait, and are tried again.
static void hold_suspects(struct destination *d, const struct error *err)
{
	d->suspects = 0;
	d->mark = d->suspect_mark;
	awslogs_forget(d);
	delivery_failed(d->delivery, err);
	awslogs_pause(d, AWSLOGS_HOLD_MS);
}

// No event has come to compare those with that are refused. They get a few minutes.
static void no_witness(struct destination *d)
{
	struct error err;

	if (d->proven && ++d->rounds >= ROUNDS_MAX) {
		delivery_gave_up(d->delivery, d->suspect_lines, REFUSED);
		d->suspects = d->rounds = 0;
		done_to_here(d);
		awslogs_go_on(d);
		return;
	}
	error_set(&err, EINVAL, REFUSED);
	hold_suspects(d, &err);
}

static void wait_for_time(struct destination *d)
{
	struct error err;

	error_set(&err, ETIME,
		  "the time of the next line is more than 2 h ahead of CloudWatch's: the clock of this host is wrong");
	delivery_failed(d->delivery, &err);
	awslogs_pause(d, d->hold_ms < AWSLOGS_HOLD_MS ? (uint64_t)d->hold_ms + 1 : AWSLOGS_HOLD_MS);
}

// Lines without text, or not the time for them.
static void nothing_to_send(struct destination *d)
{
	put_batch_free(&d->batch);
	cloudwatch_turn_done(d->service, &d->turn, CLOUDWATCH_NOT_CALLED);
	if (d->suspects > 0 && !d->due) {
		no_witness(d);
	} else {
		if (d->suspects == 0)
			done_to_here(d);
		if (d->hold_ms)
			wait_for_time(d);
		else
			awslogs_go_on(d);
	}
	awslogs_keep_memory(d);
}

// --- answers to a batch ---

// Part of it is too new: what is older is done, the rest is sent again when its time has come.
static void keep_new(struct destination *d, size_t new_from)
{
	struct error err;
	int64_t now = cloudwatch_wall_ms(d->service), wait = d->batch.events[new_from].time_ms - now - NEWEST_MS;

	d->again_ms = d->batch.events[new_from].time_ms;
	d->again_last = d->last;
	error_set(&err, ETIME, "CloudWatch Logs takes no lines that are more than 2 h in the future");
	delivery_failed(d->delivery, &err);
	awslogs_forget(d);
	awslogs_pause(d, wait < 5000 ? 5000 : wait < AWSLOGS_HOLD_MS ? (uint64_t)wait : AWSLOGS_HOLD_MS);
}

static void on_accepted(struct destination *d, json_object *body)
{
	size_t old, new_from, count = d->batch.count;
	uint64_t old_lines = 0, new_lines = 0;
	const char *token = json_get_string(body, "nextSequenceToken");

	if (!token)
		token = json_get_string(body, "expectedSequenceToken"); // of an answer that it was accepted already

	cloudwatch_rejected(body, count, &old, &new_from);
	for (size_t i = 0; i < old; i++)
		old_lines += d->batch.events[i].lines;
	for (size_t i = new_from; i < count; i++)
		new_lines += d->batch.events[i].lines;
	d->missing = d->renewed = d->token_tried = false;
	d->proven = true;
	if (d->token && token)
		str_replace(&d->token, token);
	// Slowly: where a limit was found, trying more costs a call in vain.
	d->max_events += d->max_events / 16 + 1;
	d->max_bytes += d->max_bytes / 16;
	if (d->max_events > PUT_BATCH_EVENTS)
		d->max_events = PUT_BATCH_EVENTS;
	if (d->max_bytes > PUT_BATCH_BYTES)
		d->max_bytes = PUT_BATCH_BYTES;
	delivery_arrived(d->delivery, d->batch.lines - old_lines - new_lines, d->batch.text_bytes);
	if (old_lines)
		delivery_gave_up(d->delivery, old_lines,
				 "they are older than CloudWatch Logs or the log group keeps them");
	if (new_from < count) {
		keep_new(d, new_from);
		return;
	}
	d->again_last = 0;
	if (d->trials > 0) {
		next_trial(d);
		return;
	}
	if (d->suspects > 0) {
		d->trials = d->suspects;
		d->suspects = 0;
		d->resume = d->after;
		d->mark = d->suspect_mark;
		d->max_events = 1;
		d->due = true;
		awslogs_forget(d);
		awslogs_go_on(d);
		return;
	}
	done_to_here(d);
	if (spool_tail(d->spool) > spool_reader_position(d->reader))
		awslogs_schedule(d);
	awslogs_go_on(d);
}

// One of those that are tried once more is done with.
static void next_trial(struct destination *d)
{
	d->mark = d->after;
	d->max_events = 1;
	if (--d->trials == 0) {
		d->mark = d->resume;
		d->max_events = PUT_BATCH_EVENTS;
		d->rounds = 0;
		awslogs_forget(d);
	}
	spool_confirm(d->spool, lines_mark_position(&d->mark));
	d->due = true;
	awslogs_go_on(d);
}

// A single event was refused. It is its own fault only if others are taken: so the next ones are tried, each alone. Once one
// is accepted the refused ones are tried again, out of order, and given up if that is to no avail; when none of several is
// accepted, something else is wrong and all wait.
static void suspect(struct destination *d, const struct error *err)
{
	if (d->trials > 0) {
		delivery_gave_up(d->delivery, d->batch.lines, REFUSED);
		next_trial(d);
		return;
	}
	if (d->suspects++ == 0) {
		d->suspect_mark = d->mark;
		d->suspect_lines = 0;
	}
	d->suspect_lines += d->batch.lines;
	d->max_events = 1;
	d->mark = d->after;
	if (d->suspects < SUSPECTS_MAX)
		awslogs_go_on(d);
	else
		hold_suspects(d, err);
}

static void split(struct destination *d, const struct error *err)
{
	if (d->batch.count == 1) {
		suspect(d, err);
		return;
	}
	delivery_failed(d->delivery, err);
	d->max_events = d->batch.count / 2;
	awslogs_forget(d);
	awslogs_go_on(d);
}

// Repeats it at once, the first time; afterwards it waits.
static void once_more(struct destination *d, bool *tried, const struct error *err)
{
	delivery_failed(d->delivery, err);
	if (*tried)
		awslogs_pause(d, AWSLOGS_HOLD_MS);
	else
		awslogs_go_on(d);
	*tried = true;
}

static void on_failed(struct destination *d, enum cloudwatch_verdict verdict, const struct aws_response *response)
{
	const char *token;

	d->due = true;
	if (verdict == CLOUDWATCH_SPLIT) {
		split(d, &response->error);
		return;
	}
	awslogs_forget(d);
	switch (verdict) {
	case CLOUDWATCH_RETRY:
		// A slow line takes less in the time of a call.
		if (response->error.code == ETIMEDOUT && response->sent && d->max_bytes > BYTES_MIN)
			d->max_bytes /= 2;
		if (response->sent && !response->status)
			d->delivery->duplicates += d->batch.lines;
		delivery_failed(d->delivery, &response->error);
		awslogs_go_on(d);
		break;
	case CLOUDWATCH_RETRY_TOKEN:
		token = json_get_string(response->details, "expectedSequenceToken");
		str_replace(&d->token, token);
		once_more(d, &d->token_tried, &response->error);
		break;
	case CLOUDWATCH_MISSING:
		cloudwatch_know(d->service, d->options->group, d->stream, false);
		d->made = !d->options->create_stream;
		d->missing |= d->made;
		once_more(d, &d->missing, &response->error);
		break;
	case CLOUDWATCH_RENEW:
		cloudwatch_renew(d->service);
		once_more(d, &d->renewed, &response->error);
		break;
	default:
		delivery_failed(d->delivery, &response->error);
		awslogs_pause(d, AWSLOGS_HOLD_MS);
	}
}

static void on_put(const struct aws_response *response, void *arg)
{
	struct destination *d = arg;
	enum cloudwatch_verdict verdict = cloudwatch_judge(response);

	d->call = NULL;
	cloudwatch_turn_done(d->service, &d->turn,
			     verdict == CLOUDWATCH_RETRY ? CLOUDWATCH_FAILED : CLOUDWATCH_REACHED);
	if (verdict == CLOUDWATCH_ACCEPTED)
		on_accepted(d, response->body ? response->body : response->details);
	else
		on_failed(d, verdict, response);
	put_batch_free(&d->batch);
	d->batch_memory = 0;
	awslogs_keep_memory(d);
}
