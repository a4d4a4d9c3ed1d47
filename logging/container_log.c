#include "logging/container_log.h"

#include "common/log.h"
#include "common/util.h"
#include "logging/fifo_notes.h"

#include <sys/queue.h>

struct question {
	void (*answer)(const struct error *refusal, void *arg);
	void *arg;
	STAILQ_ENTRY(question) next;
};

struct fifo {
	struct stream *stream;
	LIST_ENTRY(fifo) next;
};

struct container_log {
	const struct container_log_host *host;
	struct loop *loop;
	struct spool *spool;
	bool configured;
	struct stream_settings settings;
	const struct destination_class *class;
	struct destination *destination; // NULL until there is something to ask or to ship
	struct delivery delivery;
	struct stream_counters counters;
	LIST_HEAD(, fifo) fifos;
	STAILQ_HEAD(questions, question) questions;
	struct timer linger_timer;
};

static const struct destination_class *class_of(enum log_driver driver);
static void open_destination(struct container_log *log);
static void close_destination(struct container_log *log);
static void ask(struct container_log *log);
static void answer_all(struct container_log *log, const struct error *refusal);
static struct fifo *find(const struct container_log *log, const char *path);
static void drop_fifo(struct container_log *log, struct fifo *fifo);
static void see_if_idle(void *arg);
static void on_append(void *arg);
static void on_room(void *arg);
static void on_confirm(void *arg);
static void on_linger(void *arg);
static void on_stream_end(struct stream *stream, void *arg);

struct container_log *container_log_open(const struct container_log_host *host, const char *container_id,
					 struct error *err)
{
	struct spool *spool = spool_open(host->spools, container_id, err);
	struct container_log *log;

	if (!spool)
		return NULL;
	log = xcalloc(1, sizeof(*log));
	log->host = host;
	log->loop = host->destinations.loop;
	log->spool = spool;
	LIST_INIT(&log->fifos);
	STAILQ_INIT(&log->questions);
	timer_init(&log->linger_timer, log->loop, on_linger, log);
	spool_on_append(spool, on_append, log);
	spool_on_room(spool, on_room, log);
	spool_on_confirm(spool, on_confirm, log);
	see_if_idle(log); // nothing may come of it
	return log;
}

static void free_parts(struct container_log *log)
{
	struct fifo *fifo;

	answer_all(log, NULL);
	while ((fifo = LIST_FIRST(&log->fifos))) {
		// NOLINTNEXTLINE(clang-analyzer-unix.Malloc): LIST_REMOVE has moved the head
		stream_free(fifo->stream);
		LIST_REMOVE(fifo, next);
		free(fifo);
	}
	close_destination(log);
	if (log->configured) {
		delivery_done(&log->delivery);
		stream_settings_free(&log->settings);
	}
	timer_done(&log->linger_timer);
}

struct container_log *container_log_close(struct container_log *log)
{
	if (!log)
		return NULL;
	free_parts(log);
	spool_close(log->spool);
	free(log);
	return NULL;
}

struct container_log *container_log_remove(struct container_log *log)
{
	free_parts(log);
	spool_remove(log->spool);
	free(log);
	return NULL;
}

bool container_log_configured(const struct container_log *log)
{
	return log->configured;
}

const char *container_log_id(const struct container_log *log)
{
	return spool_container_id(log->spool);
}

// --- how it is shipped ---

static const struct destination_class *class_of(enum log_driver driver)
{
	switch (driver) {
	case LOG_AWSLOGS:
		return &destination_awslogs;
	case LOG_FLUENTD:
		return &destination_fluentd;
	case LOG_SYSLOG:
	default:
		return &destination_syslog;
	}
}

static void adopt(struct container_log *log, struct stream_settings *settings)
{
	close_destination(log);
	if (log->configured)
		stream_settings_free(&log->settings);
	else
		delivery_init(&log->delivery, log->loop, log_driver_name(settings->options.driver),
			      container_log_id(log));
	log->configured = true;
	log->settings = *settings;
	log->class = class_of(settings->options.driver);
	log->delivery.driver = log_driver_name(settings->options.driver);
	spool_set_limit(log->spool, settings->options.spool_max);
}

int container_log_set(struct container_log *log, struct stream_settings *settings, struct error *err)
{
	const struct destination_class *class = class_of(settings->options.driver);
	_cleanup_json_ json_object *saved = NULL,
				   *before = log->configured ? stream_settings_save(&log->settings) : NULL;
	struct error disk = {0};
	int r = class->check ? class->check(settings, err) : 0;

	if (r < 0) {
		stream_settings_free(settings);
		return r;
	}
	if (log->configured) { // what syslog lines carry stays the same over restarts
		settings->pid = log->settings.pid;
	}
	saved = stream_settings_save(settings);
	if (before && json_object_equal(before, saved)) {
		stream_settings_free(settings);
		return 0;
	}
	// A full disk is no reason to refuse: the FIFO's note has the settings too, for as long as the host runs.
	if (spool_store_settings(log->spool, saved, &disk) < 0)
		log_error("cannot store how logs are to be shipped", "container=%s error=%s", container_log_id(log),
			  disk.message);
	adopt(log, settings);
	if (!STAILQ_EMPTY(&log->questions)) // the destination that was asked is gone
		ask(log);
	on_append(log);
	return 0;
}

int container_log_restore(struct container_log *log, struct error *err)
{
	_cleanup_json_ json_object *saved = spool_settings(log->spool);
	struct stream_settings settings;
	int r;

	if (!saved)
		return error_set(err, ENOENT, "nothing says how the logs of container %s are to be shipped",
				 container_log_id(log));
	r = stream_settings_load(&settings, saved, err);
	if (r < 0)
		return r;
	adopt(log, &settings);
	on_append(log);
	return 0;
}

static void open_destination(struct container_log *log)
{
	if (!log->destination && log->configured)
		log->destination =
			log->class->open(&log->host->destinations, &log->settings, log->spool, &log->delivery);
}

static void close_destination(struct container_log *log)
{
	if (log->destination)
		log->destination = log->class->free(log->destination);
}

static void on_answer(const struct error *refusal, void *arg)
{
	answer_all(arg, refusal);
}

static void answer_all(struct container_log *log, const struct error *refusal)
{
	struct questions asked = STAILQ_HEAD_INITIALIZER(asked);
	struct question *question;

	STAILQ_CONCAT(&asked, &log->questions);
	while ((question = STAILQ_FIRST(&asked))) {
		STAILQ_REMOVE_HEAD(&asked, next);
		question->answer(refusal, question->arg);
		free(question);
	}
}

static void ask(struct container_log *log)
{
	if (!log->class->ask) {
		answer_all(log, NULL);
		return;
	}
	open_destination(log);
	log->class->ask(log->destination, on_answer, log);
}

bool container_log_must_ask(const struct container_log *log)
{
	return log->class->ask && !log->settings.options.non_blocking;
}

void container_log_ask(struct container_log *log, void (*answer)(const struct error *, void *), void *arg)
{
	bool asking = !STAILQ_EMPTY(&log->questions);
	struct question *question;

	question = xcalloc(1, sizeof(*question));
	*question = (struct question){.answer = answer, .arg = arg};
	STAILQ_INSERT_TAIL(&log->questions, question, next);
	if (!asking)
		ask(log);
}

// --- FIFOs ---

static struct fifo *find(const struct container_log *log, const char *path)
{
	struct fifo *fifo;

	LIST_FOREACH (fifo, &log->fifos, next)
		if (str_equal(stream_path(fifo->stream), path))
			return fifo;
	return NULL;
}

bool container_log_has(const struct container_log *log, const char *path)
{
	return find(log, path);
}

bool container_log_is_read(const struct container_log *log)
{
	return !LIST_EMPTY(&log->fifos);
}

int container_log_add(struct container_log *log, const char *path, bool again, struct error *err)
{
	struct stream_options options = {.path = path,
					 .number = fifo_number(path),
					 .blocking = !log->settings.options.non_blocking,
					 .watched = log->settings.of_task,
					 .again = again};
	_cleanup_json_ json_object *settings = stream_settings_save(&log->settings);
	struct stream *stream;
	struct fifo *fifo;
	int r;

	if (!again) {
		r = fifo_note(log->host->run_dir, path, container_log_id(log), settings, err);
		if (r < 0)
			return r;
	}
	stream = stream_open(log->host->streams, &options, log->spool, &log->counters, on_stream_end, log, err);
	if (!stream) {
		fifo_forget(log->host->run_dir, path);
		return -err->code;
	}
	fifo = xcalloc(1, sizeof(*fifo));
	fifo->stream = stream;
	LIST_INSERT_HEAD(&log->fifos, fifo, next);
	timer_stop(&log->linger_timer);
	return 0;
}

static void drop_fifo(struct container_log *log, struct fifo *fifo)
{
	fifo_forget(log->host->run_dir, stream_path(fifo->stream));
	stream_free(fifo->stream);
	LIST_REMOVE(fifo, next);
	free(fifo);
	see_if_idle(log);
}

void container_log_end(struct container_log *log)
{
	// A log without a line has no end either: `docker logs` of a stopped container begins and ends one.
	if (container_log_shipped(log))
		return;
	spool_append_end(log->spool);
	container_log_flush(log); // as Docker's own drivers do at a close (§4.5, §4.7)
}

static void end_fifo(struct container_log *log, struct fifo *fifo)
{
	container_log_end(log);
	drop_fifo(log, fifo);
}

void container_log_stop(struct container_log *log, const char *path)
{
	struct fifo *fifo = find(log, path);

	if (!fifo)
		return;
	stream_drain(fifo->stream);
	end_fifo(log, fifo);
}

void container_log_refuse(struct container_log *log, const char *path)
{
	struct fifo *fifo = find(log, path);

	if (fifo)
		drop_fifo(log, fifo);
}

static void on_stream_end(struct stream *stream, void *arg)
{
	struct container_log *log = arg;
	struct fifo *fifo = find(log, stream_path(stream));

	stream_drain(stream);
	end_fifo(log, fifo);
}

void container_log_release(struct container_log *log)
{
	struct fifo *fifo;

	LIST_FOREACH (fifo, &log->fifos, next)
		stream_release(fifo->stream);
}

static void on_room(void *arg)
{
	struct container_log *log = arg;
	struct fifo *fifo;

	LIST_FOREACH (fifo, &log->fifos, next)
		stream_room(fifo->stream);
}

// --- shipping ---

static void on_append(void *arg)
{
	struct container_log *log = arg;

	if (container_log_shipped(log))
		return;
	timer_stop(&log->linger_timer);
	open_destination(log);
	if (log->destination)
		log->class->wake(log->destination);
}

static void on_confirm(void *arg)
{
	see_if_idle(arg);
}

static void see_if_idle(void *arg)
{
	struct container_log *log = arg;

	if (LIST_EMPTY(&log->fifos) && container_log_shipped(log))
		timer_start(&log->linger_timer, CONTAINER_LOG_LINGER_MS);
	else
		timer_stop(&log->linger_timer);
}

static void on_linger(void *arg)
{
	struct container_log *log = arg;

	log->host->idle(log, log->host->arg);
}

void container_log_flush(struct container_log *log)
{
	if (log->destination && !container_log_shipped(log))
		log->class->flush(log->destination);
}

bool container_log_shipped(const struct container_log *log)
{
	return container_log_waiting(log) == 0;
}

uint64_t container_log_waiting(const struct container_log *log)
{
	return spool_tail(log->spool) - spool_head(log->spool);
}

// The socket of a router is .../firelens/TASK/socket/fluent.sock, and its directory goes when the task is cleaned up (§3.3). Where
// .../firelens itself is not there, it is not shown to us (jail.h).
bool container_log_abandoned(const struct container_log *log)
{
	static const char place[] = "/firelens/";
	const struct log_address *address = &log->settings.options.fluentd.address;
	const char *task;

	if (!log->configured || log->settings.options.driver != LOG_FLUENTD || address->scheme != LOG_UNIX)
		return false;
	task = strstr(address->path, place);
	if (!task)
		return false;
	_cleanup_free_ char *root = xstrndup(address->path, (size_t)(task - address->path) + strlen(place));
	_cleanup_free_ char *directory = xstrndup(address->path, (size_t)(strrchr(address->path, '/') - address->path));
	return access(root, F_OK) == 0 && access(directory, F_OK) < 0 && errno == ENOENT;
}

const char *container_log_credentials_id(const struct container_log *log)
{
	static const char place[] = "/v2/credentials/";
	const char *uri;

	if (!log->configured || log->settings.options.driver != LOG_AWSLOGS)
		return NULL;
	uri = log->settings.options.awslogs.credentials_endpoint;
	return uri && str_starts(uri, place) && uri[strlen(place)] ? uri + strlen(place) : NULL;
}

int64_t container_log_oldest_ns(const struct container_log *log)
{
	return container_log_shipped(log) ? 0 : spool_oldest_ns(log->spool);
}

// --- figures ---

json_object *container_log_status(const struct container_log *log)
{
	json_object *status = log->configured ? delivery_status(&log->delivery) : json_object_new_object();
	int64_t oldest = container_log_oldest_ns(log);
	const struct fifo *fifo;
	int open = 0;

	LIST_FOREACH (fifo, &log->fifos, next)
		open++;
	json_add_string(status, "Container", container_log_id(log));
	json_add_int(status, "OpenStreams", open);
	json_add_int(status, "Lines", (int64_t)log->counters.lines);
	json_add_int(status, "Bytes", (int64_t)log->counters.bytes);
	json_add_int(status, "DroppedLines", (int64_t)spool_dropped(log->spool));
	json_add_int(status, "GarbageBytes", (int64_t)log->counters.garbage);
	json_add_int(status, "DroppedByDocker", (int64_t)log->counters.gaps);
	json_add_int(status, "Stalls", (int64_t)log->counters.stalls);
	json_add_int(status, "StalledMs", (int64_t)log->counters.stalled_ms);
	json_add_int(status, "SpoolBytes", (int64_t)spool_bytes(log->spool));
	json_add_int(status, "WaitingLines", (int64_t)container_log_waiting(log));
	if (oldest) {
		char text[40];

		format_rfc3339_ms(oldest / 1000000, text);
		json_add_string(status, "Oldest", text);
	}
	return status;
}

void container_log_add_totals(const struct container_log *log, struct log_totals *totals)
{
	int64_t oldest = container_log_oldest_ns(log);

	totals->lines += log->counters.lines;
	totals->bytes += log->counters.bytes;
	totals->shipped += log->delivery.lines;
	totals->retried += log->delivery.retries;
	totals->dropped += spool_dropped(log->spool) + log->delivery.lost;
	totals->spool_bytes += spool_bytes(log->spool);
	if (oldest && (!totals->oldest_ns || oldest < totals->oldest_ns))
		totals->oldest_ns = oldest;
}
