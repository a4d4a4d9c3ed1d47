// Docker's awslogs driver as a destination (logging.md §4).
//
// One batch is under way for each stream. It begins at a mark (lines.h): when it has been accepted, the mark moves
// on and the spool is confirmed; when not, everything read is forgotten and read again from the mark, so that an outage
// costs no memory. Reading, encoding and compressing a batch happens in one turn of the loop, in memory of which only the
// compressed body is kept until the answer.
#include "logging/cloudwatch.h"
#include "logging/destination.h"
#include "logging/event_text.h"
#include "logging/lines.h"
#include "logging/put_batch.h"
#include "logging/regex.h"

#include "common/log.h"
#include "common/util.h"

#define ASK_MS 5000
#define HOLD_MS 60000
#define OLDEST_MS (INT64_C(14) * 24 * 3600000) // §4.4
#define NEWEST_MS (INT64_C(2) * 3600000)       // §4.4
#define BYTES_MIN ((size_t)16 << 10)           // of a batch after timeouts
#define SUSPECTS_MAX 8                         // see suspect()

// What the stream waits for.
enum state {
	IDLE,   // items, or the flush timer
	REGION, // to be found out
	TURN,   // the service has failed (cloudwatch.h)
	POOL,   // memory
	CALL,   // an answer
	PAUSE,  // refused: later
};

struct destination {
	const struct destination_host *host;
	const struct log_options_awslogs *options;
	const char *stream; // its name
	bool non_blocking;
	struct spool *spool;
	struct delivery *delivery;
	struct cloudwatch_region region;
	struct cloudwatch_service *service; // NULL: the region is not known yet
	struct cloudwatch_turn turn;
	struct aws_call *call;
	enum state state;
	struct timer flush, pause;
	bool due;        // send what there is
	bool made;       // the stream exists, or is not ours to make
	bool group_made; // the group was missing and has been made
	bool missing;    // the stream was made again because it was missing, and nothing was accepted since
	bool renewed;    // the credentials were refused and replaced, and nothing was accepted since
	bool proven;     // the service knows these names: it can only mean the events when it refuses some
	char *token;     // the sequence token that the service asked for; NULL: it does not, as today
	bool token_tried;

	struct regex *pattern;
	bool pattern_failed; // it took too much work for a line, which was logged
	struct lines *lines;
	struct spool_reader *reader;
	bool reread;             // before anything else: lines and reader go to the mark
	struct lines_mark mark;  // behind what was accepted
	struct lines_mark after; // behind the batch
	struct put_batch batch;
	struct pool_user memory;
	size_t batch_memory;          // that a batch under way needs
	size_t max_events, max_bytes; // of a batch: less than the service's after refusals and timeouts
	uint64_t spool_bytes;         // when the last batch was read
	int64_t hold_ms;              // the next event is so far in the future; 0: not
	uint64_t last;                // item behind which nothing of the batch comes
	uint64_t old_lines;           // of the batch's part of the spool, too old to be sent
	uint64_t collecting;          // the item an open event begins with, and
	uint64_t collecting_since;    // when it was first seen: loop time, 0: none is
	// A batch of which the newer part was refused for its times: of the items before again_last those older than again_ms
	// are done. 0: none.
	uint64_t again_last;
	int64_t again_ms;
	// Events that were refused one by one, from that mark on.
	unsigned suspects;
	uint64_t suspect_lines;
	struct lines_mark suspect_mark;

	void (*answer)(const struct error *refusal, void *arg); // of ask(); NULL: nobody waits
	void *answer_arg;
	struct timer ask;
};

static int awslogs_check(const struct stream_settings *settings, struct error *err);
static struct destination *awslogs_open(const struct destination_host *host, const struct stream_settings *settings,
					struct spool *spool, struct delivery *delivery);
static void awslogs_ask(struct destination *d, void (*answer)(const struct error *refusal, void *arg), void *arg);
static void awslogs_wake(struct destination *d);
static void awslogs_flush(struct destination *d);
static struct destination *awslogs_free(struct destination *d);
static struct regex *compile_pattern(const struct log_options_awslogs *options, struct error *err);
static bool begins_event(const char *text, size_t len, void *arg);
static void advance(void *arg);
static void on_flush_timer(void *arg);
static void on_pause_timer(void *arg);
// It is not refused, as far as is known in time. The answer may be the end of the destination: later.
static void answer_soon(struct destination *d)
{
	if (d->answer)
		timer_start(&d->ask, 0);
}

static void on_ask_timer(void *arg);
static void on_turn(void *arg);
static void on_memory(void *arg);
static void on_reclaim(void *arg);
static void on_region(const char *region, const struct error *err, void *arg);
static void make_stream(struct destination *d);
static void send_batch(struct destination *d);

const struct destination_class destination_awslogs = {
	.driver = "awslogs",
	.check = awslogs_check,
	.open = awslogs_open,
	.ask = awslogs_ask,
	.wake = awslogs_wake,
	.flush = awslogs_flush,
	.free = awslogs_free,
};

static int awslogs_check(const struct stream_settings *settings, struct error *err)
{
	struct error problem = {0};
	struct regex *pattern = compile_pattern(&settings->options.awslogs, &problem);

	regex_free(pattern);
	if (!problem.code)
		return 0;
	if (err)
		*err = problem;
	return -problem.code;
}

static struct destination *awslogs_open(const struct destination_host *host, const struct stream_settings *settings,
					struct spool *spool, struct delivery *delivery)
{
	struct destination *d = xcalloc(1, sizeof(*d));
	const struct log_options_awslogs *options = &settings->options.awslogs;

	d->host = host;
	d->options = options;
	d->stream = str_empty(options->stream) ? settings->tag : options->stream;
	d->non_blocking = settings->options.non_blocking;
	d->spool = spool;
	d->delivery = delivery;
	d->turn = (struct cloudwatch_turn){.go = on_turn, .arg = d};
	d->memory = (struct pool_user){.granted = on_memory, .reclaim = on_reclaim, .arg = d};
	d->region = (struct cloudwatch_region){.done = on_region, .arg = d};
	timer_init(&d->flush, host->loop, on_flush_timer, d);
	timer_init(&d->pause, host->loop, on_pause_timer, d);
	timer_init(&d->ask, host->loop, on_ask_timer, d);
	d->pattern = compile_pattern(options, NULL);
	struct lines_options how = {.limit = cloudwatch_max_event(host->cloudwatch),
				    .begins = d->pattern ? begins_event : NULL,
				    .arg = d,
				    .interval_ms = options->flush_interval_s * 1000};
	d->lines = lines_new(&how);
	d->reader = spool_reader_new(spool);
	lines_mark_set(&d->mark, spool_head(spool));
	d->reread = true;
	d->max_events = PUT_BATCH_EVENTS;
	d->max_bytes = PUT_BATCH_BYTES;
	d->made = !options->create_stream;
	d->due = spool_tail(spool) > spool_head(spool);
	loop_defer(host->loop, advance, d);
	return d;
}

static struct destination *awslogs_free(struct destination *d)
{
	if (!d)
		return NULL;
	loop_defer_cancel(d->host->loop, advance, d);
	aws_call_cancel(d->call);
	if (d->service)
		cloudwatch_turn_leave(d->service, &d->turn);
	cloudwatch_service_release(d->service);
	cloudwatch_region_cancel(&d->region);
	timer_done(&d->flush);
	timer_done(&d->pause);
	timer_done(&d->ask);
	put_batch_free(&d->batch);
	lines_free(d->lines);
	spool_reader_free(d->reader);
	pool_leave(d->host->pool, &d->memory);
	regex_free(d->pattern);
	free(d->token);
	free(d);
	return NULL;
}

static void awslogs_wake(struct destination *d)
{
	// The spool grows by more than the messages, and loses what is confirmed: only about when there is a full batch.
	if (spool_tail(d->spool) - spool_reader_position(d->reader) >= d->max_events ||
	    spool_bytes(d->spool) >= d->spool_bytes + d->max_bytes)
		d->due = true;
	else if (!timer_running(&d->flush))
		timer_start(&d->flush, (uint64_t)d->options->flush_interval_s * 1000);
	if (d->due)
		advance(d);
}

static void awslogs_flush(struct destination *d)
{
	d->due = true;
	advance(d);
}

// The time of the batch, or of an event that is collected.
static void on_flush_timer(void *arg)
{
	awslogs_flush(arg);
}

// --- the question at a container's start (R-4.3) ---

static void answer(struct destination *d, const struct error *refusal)
{
	void (*callback)(const struct error *, void *) = TAKE(d->answer);

	timer_stop(&d->ask);
	if (callback)
		callback(refusal, d->answer_arg);
}

static void on_ask_timer(void *arg)
{
	answer(arg, NULL);
}

static void awslogs_ask(struct destination *d, void (*callback)(const struct error *refusal, void *arg), void *arg)
{
	d->answer = callback;
	d->answer_arg = arg;
	timer_start(&d->ask, d->non_blocking ? 0 : ASK_MS);
}

// --- states ---

// Goes on if nothing is waited for.
static void advance(void *arg)
{
	struct destination *d = arg;

	if (d->state != IDLE)
		return;
	if (!d->service) {
		d->state = REGION;
		if (str_empty(d->options->region))
			cloudwatch_find_region(d->host->cloudwatch, &d->region);
		else
			on_region(d->options->region, NULL, d);
		return;
	}
	if (!d->made && cloudwatch_known(d->service, d->options->group, d->stream)) {
		d->made = d->proven = true;
	}
	if (d->made)
		answer_soon(d);
	if (d->made && !d->due)
		return;
	if (cloudwatch_turn_take(d->service, &d->turn))
		on_turn(d);
	else
		d->state = TURN;
}

static void on_turn(void *arg)
{
	struct destination *d = arg;

	d->state = IDLE;
	if (!d->made) {
		make_stream(d);
	} else if (pool_take(d->host->pool, &d->memory, PUT_BATCH_WORK)) {
		send_batch(d);
	} else {
		d->state = POOL;
	}
}

static void on_memory(void *arg)
{
	struct destination *d = arg;

	d->state = IDLE;
	send_batch(d);
}

// Everything read and not accepted is read again later.
static void forget(struct destination *d)
{
	lines_restart(d->lines, &d->mark);
	spool_reader_rest(d->reader);
	d->reread = true;
}

// Gives back all but what the batch under way and unfinished events need.
static void keep_memory(struct destination *d)
{
	size_t bytes = d->batch_memory + lines_memory(d->lines);

	if (bytes < d->memory.held)
		pool_give(d->host->pool, &d->memory, d->memory.held - bytes);
}

// Half lines and an event that is collected can be read again.
static void on_reclaim(void *arg)
{
	struct destination *d = arg;

	forget(d);
	keep_memory(d);
}

static void go_on(struct destination *d)
{
	d->state = IDLE;
	loop_defer_cancel(d->host->loop, advance, d);
	loop_defer(d->host->loop, advance, d);
}

static void pause_for(struct destination *d, uint64_t ms)
{
	d->state = PAUSE;
	timer_start(&d->pause, ms);
}

static void on_pause_timer(void *arg)
{
	struct destination *d = arg;

	d->state = IDLE;
	d->due = true;
	advance(d);
}

static void on_region(const char *region, const struct error *err, void *arg)
{
	struct destination *d = arg;
	struct error problem;

	if (region)
		d->service = cloudwatch_service_get(d->host->cloudwatch, region, d->options->endpoint,
						    d->options->credentials_endpoint, &problem);
	else
		problem = *err;
	if (d->service) {
		go_on(d);
		return;
	}
	delivery_failed(d->delivery, &problem);
	pause_for(d, HOLD_MS);
	answer(d, &problem);
}

// --- making the stream (§4.3) ---

static void on_made(const struct aws_response *response, const char *operation, void *arg);

static void on_stream_made(const struct aws_response *response, void *arg)
{
	on_made(response, "CreateLogStream", arg);
}

static void on_group_made(const struct aws_response *response, void *arg)
{
	on_made(response, "CreateLogGroup", arg);
}

static void call_create(struct destination *d, bool group)
{
	_cleanup_json_ json_object *body = json_object_new_object();

	json_add_string(body, "logGroupName", d->options->group);
	if (!group)
		json_add_string(body, "logStreamName", d->stream);
	const char *text = json_text(body);
	d->state = CALL;
	d->call = cloudwatch_call(d->service, group ? "CreateLogGroup" : "CreateLogStream", xstrdup(text), strlen(text),
				  false, d->options->emf, group ? on_group_made : on_stream_made, d);
}

static void make_stream(struct destination *d)
{
	d->group_made = false;
	call_create(d, false);
}

// Refused, not just away. A container that starts now is told so, as far as it is certain.
static void refused(struct destination *d, const char *operation, const struct aws_response *response, bool certain)
{
	struct error problem;
	_cleanup_free_ char *text = cloudwatch_error(operation, response);

	delivery_failed(d->delivery, &response->error);
	pause_for(d, HOLD_MS);
	error_set(&problem, EREMOTEIO, "failed to create Cloudwatch log %s: %s",
		  strcmp(operation, "CreateLogGroup") == 0 ? "group" : "stream", text);
	if (certain)
		answer(d, &problem);
	else
		answer_soon(d);
}

static void on_made(const struct aws_response *response, const char *operation, void *arg)
{
	struct destination *d = arg;
	bool group = strcmp(operation, "CreateLogGroup") == 0;
	enum cloudwatch_verdict verdict = cloudwatch_judge(response);

	d->call = NULL;
	// A group that was made a moment ago may not be seen everywhere yet.
	if (verdict == CLOUDWATCH_MISSING && d->group_made)
		verdict = CLOUDWATCH_RETRY;
	cloudwatch_turn_done(d->service, &d->turn,
			     verdict == CLOUDWATCH_RETRY ? CLOUDWATCH_FAILED : CLOUDWATCH_REACHED);
	if (verdict == CLOUDWATCH_ACCEPTED || verdict == CLOUDWATCH_EXISTS) {
		if (group) {
			d->group_made = true;
			call_create(d, false);
			return;
		}
		cloudwatch_know(d->service, d->options->group, d->stream, true);
		d->made = d->proven = true;
		go_on(d);
	} else if (verdict == CLOUDWATCH_RETRY) {
		delivery_failed(d->delivery, &response->error);
		go_on(d);
		answer_soon(d);
	} else if (verdict == CLOUDWATCH_MISSING && !group && d->options->create_group) {
		call_create(d, true);
	} else if (verdict == CLOUDWATCH_RENEW && !d->renewed) {
		d->renewed = true;
		cloudwatch_renew(d->service);
		go_on(d);
	} else {
		refused(d, operation, response, verdict != CLOUDWATCH_RENEW);
	}
}

// --- a batch ---

enum fit { TAKEN, SKIPPED, FULL };

static enum fit take_event(struct destination *d, const struct lines_event *event)
{
	int64_t now = cloudwatch_wall_ms(d->service), time_ms = event->time_ns / 1000000;

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

// Reads events until the batch is full (true) or nothing is left.
static bool fill_batch(struct destination *d)
{
	struct lines_event event;
	struct spool_item item;

	do {
		do {
			while (lines_peek(d->lines, &event)) {
				if (take_event(d, &event) == FULL)
					return true;
				lines_take(d->lines);
			}
			if (!spool_reader_next(d->reader, &item))
				break;
			lines_feed(d->lines, &item);
		} while (true);
	} while (cut_by_time(d));
	return false;
}

static void read_batch(struct destination *d)
{
	if (d->reread) {
		lines_restart(d->lines, &d->mark);
		spool_reader_seek(d->reader, lines_mark_position(&d->mark));
		d->reread = false;
	}
	put_batch_start(&d->batch, d->options->group, d->stream, d->max_events, d->max_bytes);
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
	if (d->suspects == 0)
		spool_confirm(d->spool, lines_mark_position(&d->mark));
	d->spool_bytes = spool_bytes(d->spool);
}

// Events that were refused and are not the service's only trouble.
static void give_up_suspects(struct destination *d)
{
	if (d->suspects == 0)
		return;
	d->suspects = 0;
	delivery_gave_up(d->delivery, d->suspect_lines, "CloudWatch Logs refuses them as invalid");
	d->max_events = PUT_BATCH_EVENTS;
}

// Nothing to send: lines without text, or not the time for them.
static void nothing_to_send(struct destination *d)
{
	int64_t hold_ms = d->hold_ms;

	put_batch_free(&d->batch);
	cloudwatch_turn_done(d->service, &d->turn, CLOUDWATCH_NOT_CALLED);
	if (d->proven)
		give_up_suspects(d);
	done_to_here(d);
	keep_memory(d);
	if (hold_ms) {
		struct error err;
		error_set(&err, ETIME,
			  "the time of the next line is more than 2 h ahead of CloudWatch's: the clock of this host is "
			  "wrong");
		delivery_failed(d->delivery, &err);
		pause_for(d, hold_ms < HOLD_MS ? (uint64_t)hold_ms + 1 : HOLD_MS);
		return;
	}
	d->state = IDLE;
}

static void on_put(const struct aws_response *response, void *arg);

static void send_batch(struct destination *d)
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
	keep_memory(d);
	d->state = CALL;
	d->call = cloudwatch_call(d->service, "PutLogEvents", body, len, gzip, d->options->emf, on_put, d);
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
	forget(d);
	pause_for(d, wait < 5000 ? 5000 : wait < HOLD_MS ? (uint64_t)wait : HOLD_MS);
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
	d->max_events += d->max_events / 4 + 1;
	d->max_bytes += d->max_bytes / 4;
	give_up_suspects(d);
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
	done_to_here(d);
	if (spool_tail(d->spool) > spool_reader_position(d->reader))
		awslogs_wake(d);
	go_on(d);
}

// A single event was refused. It is its own fault only if others are taken: so the next ones are tried, each alone. When
// one is accepted those before it are given up; when none of several is, something else is wrong and all wait.
static void suspect(struct destination *d, const struct error *err)
{
	if (d->suspects == 0) {
		d->suspect_mark = d->mark;
		d->suspect_lines = 0;
	}
	d->suspects++;
	d->max_events = 1;
	d->suspect_lines += d->batch.lines;
	d->mark = d->after;
	d->due = true;
	if (d->suspects < SUSPECTS_MAX) {
		go_on(d);
		return;
	}
	d->suspects = 0;
	d->mark = d->suspect_mark;
	forget(d);
	delivery_failed(d->delivery, err);
	pause_for(d, HOLD_MS);
}

static void split(struct destination *d, const struct error *err)
{
	if (d->batch.count == 1) {
		suspect(d, err);
		return;
	}
	delivery_failed(d->delivery, err);
	d->max_events = d->batch.count / 2;
	forget(d);
	go_on(d);
}

// Repeats it at once, the first time; afterwards it waits.
static void once_more(struct destination *d, bool *tried, const struct error *err)
{
	delivery_failed(d->delivery, err);
	if (*tried)
		pause_for(d, HOLD_MS);
	else
		go_on(d);
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
	forget(d);
	switch (verdict) {
	case CLOUDWATCH_RETRY:
		// A slow line takes less in the time of a call.
		if (response->error.code == ETIMEDOUT && d->max_bytes > BYTES_MIN)
			d->max_bytes /= 2;
		if (response->sent && !response->status)
			d->delivery->duplicates += d->batch.lines;
		delivery_failed(d->delivery, &response->error);
		go_on(d);
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
		pause_for(d, HOLD_MS);
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
	keep_memory(d);
}

// --- multiline ---

// NULL: there is none, or it is not valid (err).
static struct regex *compile_pattern(const struct log_options_awslogs *options, struct error *err)
{
	_cleanup_free_ char *pattern = options->datetime_format ? regex_from_strftime(options->datetime_format)
								: xstrdup(options->multiline_pattern);
	struct error problem;

	if (str_empty(pattern))
		return NULL;
	struct regex *regex = regex_compile(pattern, &problem);
	if (!regex)
		error_set(err, EINVAL, "awslogs could not parse multiline pattern key \"%s\": %s", pattern,
			  problem.message);
	return regex;
}

// A line for which the pattern takes too much work begins no event.
static bool begins_event(const char *text, size_t len, void *arg)
{
	struct destination *d = arg;
	int r = regex_matches(d->pattern, text, len);

	if (r < 0 && !d->pattern_failed) {
		d->pattern_failed = true;
		log_warn("a multiline pattern takes too much work for a line, which so begins no event",
			 "container=%s bytes=%zu", d->delivery->container_id, len);
	}
	return r > 0;
}
