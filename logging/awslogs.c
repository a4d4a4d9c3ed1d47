// Docker's awslogs driver as a destination (logging.md §4).
//
// One batch is under way for each stream. It begins at a mark (lines.h): when it has been accepted, the mark moves
// on and the spool is confirmed; when not, everything read is forgotten and read again from the mark, so that an outage
// costs no memory. Reading, encoding and compressing a batch happens in one turn of the loop, in memory of which only the
// compressed body is kept until the answer.
#include "logging/awslogs_private.h"
#include "logging/event_text.h"
#include "logging/regex.h"

#include "common/log.h"
#include "common/util.h"

#define ASK_MS 5000

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
static void on_ask_timer(void *arg);
static void on_turn(void *arg);
static void on_memory(void *arg);
static void on_reclaim(void *arg);
static void on_region(const char *region, const struct error *err, void *arg);
static void make_stream(struct destination *d);

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
				    .silent = host->silent,
				    .interval_ms = options->flush_interval_s * 1000};
	d->lines = lines_new(&how);
	d->reader = spool_reader_new(spool);
	lines_mark_set(&d->mark, spool_head(spool));
	d->reread = true;
	d->max_events = PUT_BATCH_EVENTS;
	d->max_bytes = PUT_BATCH_BYTES;
	// What has got some of it exists, most likely: so a restart does not ask for hundreds of streams at once (§4.3).
	d->made = !options->create_stream || spool_head(spool) > 0;
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
	awslogs_schedule(d);
	if (d->due)
		advance(d);
}

static void awslogs_flush(struct destination *d)
{
	d->due = true;
	advance(d);
}

void awslogs_go_on(struct destination *d)
{
	d->state = IDLE;
	loop_defer_cancel(d->host->loop, advance, d);
	loop_defer(d->host->loop, advance, d);
}

void awslogs_pause(struct destination *d, uint64_t ms)
{
	d->state = PAUSE;
	timer_start(&d->pause,
		    ms + (uint64_t)(random_unit() * (double)ms / 8)); // many streams may have the same trouble
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

// It is not refused, as far as is known in time. The answer may be the end of the destination: later.
static void answer_soon(struct destination *d)
{
	if (d->answer)
		timer_start(&d->ask, 0);
}

static void on_ask_timer(void *arg)
{
	answer(arg, NULL);
}

static void awslogs_ask(struct destination *d, void (*callback)(const struct error *refusal, void *arg), void *arg)
{
	d->answer = callback;
	d->answer_arg = arg;
	d->made = !d->options->create_stream;
	timer_start(&d->ask, d->non_blocking ? 0 : ASK_MS);
	if (d->state == IDLE)
		awslogs_go_on(d);
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
	if (!d->made && cloudwatch_known(d->service, d->options->group, d->stream))
		d->made = d->proven = true;
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
		awslogs_send(d);
	} else {
		d->state = POOL;
	}
}

static void on_memory(void *arg)
{
	struct destination *d = arg;

	d->state = IDLE;
	awslogs_send(d);
}

// Half lines and an event that is collected can be read again.
static void on_reclaim(void *arg)
{
	struct destination *d = arg;

	awslogs_forget(d);
	awslogs_keep_memory(d);
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

	if (err)
		problem = *err;
	else
		d->service = cloudwatch_service_get(d->host->cloudwatch, region, d->options->endpoint,
						    d->options->credentials_endpoint, &problem);
	if (d->service) {
		awslogs_go_on(d);
		return;
	}
	delivery_failed(d->delivery, &problem);
	awslogs_pause(d, AWSLOGS_HOLD_MS);
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
	awslogs_pause(d, AWSLOGS_HOLD_MS);
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
		awslogs_go_on(d);
	} else if (verdict == CLOUDWATCH_RETRY) {
		delivery_failed(d->delivery, &response->error);
		awslogs_go_on(d);
		answer_soon(d);
	} else if (verdict == CLOUDWATCH_MISSING && !group && d->options->create_group) {
		call_create(d, true);
	} else if (verdict == CLOUDWATCH_RENEW && !d->renewed) {
		d->renewed = true;
		cloudwatch_renew(d->service);
		awslogs_go_on(d);
	} else {
		refused(d, operation, response, verdict != CLOUDWATCH_RENEW);
	}
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
