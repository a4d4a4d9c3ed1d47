#include "logging/logd.h"

#include "common/log.h"
#include "common/util.h"
#include "logging/cloudwatch.h"
#include "logging/fifo_notes.h"
#include "logging/orphans.h"
#include "logging/plugin.h"

#include <inttypes.h>
#include <limits.h>
#include <sys/queue.h>

#define RETENTION_CHECK_MS 600000
#define FLUSH_CHECK_MS 20

struct entry {
	struct logd *logd;
	struct container_log *log;
	LIST_ENTRY(entry) next;
};

// A start that waits for what its destination says.
struct start {
	struct logd *logd;
	struct plugin_request *request;
	char *container_id, *file;
};

struct logd {
	struct loop *loop;
	struct logd_options options;
	char *spool_dir, *run_dir, *logging_dir;
	struct container_log_host host;
	struct http_client *http;
	struct plugin *plugin;
	struct orphans *orphans;
	LIST_HEAD(, entry) entries;
	struct timer retention_timer, flush_timer;
	uint64_t flush_until;
	void (*credentials_changed)(void *arg); // NULL: nobody asks
	void *credentials_arg;
	void (*flushed)(void *arg);
	void *flushed_arg;
	unsigned starts;        // that wait
	bool answering;         // one did when it was last looked
	struct log_totals past; // of logs that are gone
	int64_t began_wall_ms;
	uint64_t began; // loop time
};

static int make_parts(struct logd *logd, struct error *err);
static void go_on(struct logd *logd);
static void on_start(const char *file, const struct log_info *info, struct plugin_request *request, void *arg);
static void on_stop(const char *file, struct plugin_request *request, void *arg);
static json_object *status(void *arg);
static void on_idle(struct container_log *log, void *arg);
static bool known_fifo(const char *path, void *arg);
static void check_retention(void *arg);
static void check_flush(void *arg);

struct logd *logd_new(struct loop *loop, const struct logd_options *options, struct error *err)
{
	static const struct plugin_handlers handlers = {.start = on_start, .stop = on_stop, .status = status};
	struct logd *logd = xcalloc(1, sizeof(*logd));

	logd->loop = loop;
	logd->began = loop_now(loop);
	logd->began_wall_ms = wall_ms();
	logd->options = *options;
	logd->options.spool_dir = logd->spool_dir = xstrdup(options->spool_dir);
	logd->options.run_dir = logd->run_dir = xstrdup(options->run_dir);
	logd->options.logging_dir = logd->logging_dir = xstrdup(options->logging_dir);
	LIST_INIT(&logd->entries);
	timer_init(&logd->retention_timer, loop, check_retention, logd);
	timer_init(&logd->flush_timer, loop, check_flush, logd);
	if (make_parts(logd, err) < 0)
		return logd_free(logd);
	go_on(logd);
	// Docker is served only now: until here its calls wait in the socket's queue.
	logd->plugin = plugin_new(loop, options->plugin_fd, &handlers, logd, err);
	if (!logd->plugin)
		return logd_free(logd);
	logd->orphans = orphans_new(loop, logd->logging_dir, known_fifo, logd);
	timer_start(&logd->retention_timer, RETENTION_CHECK_MS);
	return logd;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static int make_parts(struct logd *logd, struct error *err)
{
	struct destination_host *destinations = &logd->host.destinations;

	logd->host.run_dir = logd->run_dir;
	logd->host.idle = on_idle;
	logd->host.arg = logd;
	destinations->loop = logd->loop;
	destinations->pool = pool_new(logd->loop, POOL_BYTES);
	destinations->http = logd->http = http_client_new(logd->loop, err);
	if (!logd->http)
		return -err->code;
	destinations->cloudwatch = cloudwatch_new(logd->loop, logd->http, environment);
	destinations->fluentd = logd->options.fluentd;
	destinations->silent = logd->options.silent;
	logd->host.streams = streams_new(logd->loop, err);
	if (!logd->host.streams)
		return -err->code;
	logd->host.spools = spool_store_open(logd->loop, logd->spool_dir, &logd->options.limits, err);
	return logd->host.spools ? 0 : -err->code;
}

static void remove_entry(struct entry *entry)
{
	LIST_REMOVE(entry, next);
	free(entry);
}

struct logd *logd_free(struct logd *logd)
{
	struct entry *entry;

	timer_done(&logd->retention_timer);
	timer_done(&logd->flush_timer);
	orphans_free(logd->orphans);
	while ((entry = LIST_FIRST(&logd->entries))) {
		// NOLINTNEXTLINE(clang-analyzer-unix.Malloc): LIST_REMOVE has moved the head
		container_log_close(entry->log);
		remove_entry(entry);
	}
	plugin_free(logd->plugin);
	spool_store_free(logd->host.spools);
	streams_free(logd->host.streams);
	cloudwatch_free(logd->host.destinations.cloudwatch);
	http_client_free(logd->http);
	pool_free(logd->host.destinations.pool);
	free(logd->spool_dir);
	free(logd->run_dir);
	free(logd->logging_dir);
	free(logd);
	return NULL;
}

// --- containers ---

static struct entry *find(const struct logd *logd, const char *container_id)
{
	struct entry *entry;

	LIST_FOREACH (entry, &logd->entries, next)
		if (str_equal(container_log_id(entry->log), container_id))
			return entry;
	return NULL;
}

static struct entry *find_file(const struct logd *logd, const char *file)
{
	struct entry *entry;

	LIST_FOREACH (entry, &logd->entries, next)
		if (container_log_has(entry->log, file))
			return entry;
	return NULL;
}

static struct entry *find_or_open(struct logd *logd, const char *container_id, struct error *err)
{
	struct entry *entry = find(logd, container_id);
	struct container_log *log;

	if (entry)
		return entry;
	log = container_log_open(&logd->host, container_id, err);
	if (!log)
		return NULL;
	entry = xcalloc(1, sizeof(*entry));
	*entry = (struct entry){.logd = logd, .log = log};
	LIST_INSERT_HEAD(&logd->entries, entry, next);
	return entry;
}

// A log has begun, or is gone.
static void tell_credentials(const struct logd *logd)
{
	if (logd->credentials_changed)
		logd->credentials_changed(logd->credentials_arg);
}

// Nothing is to be kept of it.
static void give_up(struct entry *entry)
{
	const struct logd *logd = entry->logd;
	struct log_totals *past = &entry->logd->past;
	bool with_role = container_log_credentials_id(entry->log);

	container_log_add_totals(entry->log, past);
	past->spool_bytes = 0;
	past->oldest_ns = 0;
	container_log_remove(entry->log);
	remove_entry(entry);
	if (with_role)
		tell_credentials(logd);
}

static void on_idle(struct container_log *log, void *arg)
{
	struct entry *entry = find(arg, container_log_id(log));

	log_debug("the log has been shipped", "container=%s", container_log_id(log));
	give_up(entry);
}

static bool known_fifo(const char *path, void *arg)
{
	return find_file(arg, path);
}

// --- after a restart ---

static void found_spool(const char *container_id, void *arg)
{
	struct logd *logd = arg;
	struct error err = {0};
	struct entry *entry = find_or_open(logd, container_id, &err);

	if (!entry || container_log_restore(entry->log, &err) < 0)
		log_error("a log from before cannot be shipped", "container=%s error=%s", container_id, err.message);
}

// What another version has written may not be readable; then what is stored with the spool has to do.
static int set_from_note(struct container_log *log, json_object *saved, struct error *err)
{
	struct stream_settings settings;
	int r = stream_settings_load(&settings, saved, err);

	if (r == 0)
		r = container_log_set(log, &settings, err);
	return container_log_configured(log) ? 0 : r;
}

static void found_note(const char *path, const char *container_id, json_object *settings, void *arg)
{
	struct logd *logd = arg;
	struct error err = {0};
	struct entry *entry = find_or_open(logd, container_id, &err);

	if (!entry || set_from_note(entry->log, settings, &err) < 0 ||
	    container_log_add(entry->log, path, true, &err) < 0) {
		// Most often the FIFO is gone with its container: there is nothing to go on with.
		log_info("a log that was read before is not read on", "container=%s reason=%s", container_id,
			 err.message);
		return;
	}
	log_info("log is read on", "container=%s", container_id);
}

static void go_on(struct logd *logd)
{
	struct entry *entry;

	spool_store_each(logd->host.spools, found_spool, logd);
	fifo_each(logd->run_dir, found_note, logd);
	LIST_FOREACH (entry, &logd->entries, next)
		if (!container_log_is_read(entry->log))
			container_log_end(entry->log);
}

// --- Docker's calls ---

static int check_file(const struct logd *logd, const char *file, struct error *err)
{
	size_t len = strlen(logd->logging_dir);

	if (strncmp(file, logd->logging_dir, len) != 0 || file[len] != '/' || file[len + 1] == '\0' ||
	    file[len + 1] == '.' || strchr(file + len + 1, '/') || strlen(file + len + 1) > NAME_MAX)
		return error_set(err, EINVAL, "File is %s, the path of a FIFO in %s was expected", file,
				 logd->logging_dir);
	return 0;
}

static int begin(struct logd *logd, const char *file, const struct log_info *info, struct entry **entry,
		 struct error *err)
{
	struct stream_settings settings;
	int r = check_file(logd, file, err);

	*entry = find_file(logd, file);
	if (r < 0)
		return r;
	if (*entry && !str_equal(container_log_id((*entry)->log), info->container_id))
		return error_set(err, EEXIST, "%s is the log of another container", file);
	if (*entry)
		return 0;
	r = stream_settings_make(&settings, info, err);
	if (r < 0)
		return r;
	*entry = find_or_open(logd, info->container_id, err);
	if (!*entry) {
		stream_settings_free(&settings);
		return -err->code;
	}
	r = container_log_set((*entry)->log, &settings, err);
	if (container_log_credentials_id((*entry)->log))
		tell_credentials(logd);
	return r < 0 ? r : container_log_add((*entry)->log, file, false, err);
}

static void start_answered(const struct error *refusal, void *arg)
{
	struct start *start = arg;
	struct entry *entry = find(start->logd, start->container_id);

	if (refusal) {
		log_warn("the destination refuses a log", "container=%s reason=%s", start->container_id,
			 refusal->message);
		if (entry)
			container_log_refuse(entry->log, start->file);
	}
	start->logd->starts--;
	plugin_answer(start->request, refusal);
	free(start->container_id);
	free(start->file);
	free(start);
}

static void on_start(const char *file, const struct log_info *info, struct plugin_request *request, void *arg)
{
	struct logd *logd = arg;
	struct error err = {0};
	struct entry *entry;
	struct start *start;

	if (begin(logd, file, info, &entry, &err) < 0) {
		log_warn("a log cannot be read", "container=%s reason=%s", info->container_id, err.message);
		plugin_answer(request, &err);
		return;
	}
	log_info("log is read", "container=%s name=%s", info->container_id,
		 info->container_name ? info->container_name : "");
	if (!container_log_must_ask(entry->log)) {
		plugin_answer(request, NULL);
		return;
	}
	start = xcalloc(1, sizeof(*start));
	*start = (struct start){
		.logd = logd, .request = request, .container_id = xstrdup(info->container_id), .file = xstrdup(file)};
	logd->starts++;
	container_log_ask(entry->log, start_answered, start);
}

static void on_stop(const char *file, struct plugin_request *request, void *arg)
{
	struct logd *logd = arg;
	struct entry *entry = find_file(logd, file);

	if (entry)
		container_log_stop(entry->log, file);
	plugin_answer(request, NULL);
}

static json_object *status(void *arg)
{
	struct logd *logd = arg;
	json_object *object = json_object_new_object(), *list = json_object_new_array();
	struct entry *entry;

	LIST_FOREACH (entry, &logd->entries, next)
		json_object_array_add(list, container_log_status(entry->log));
	json_add(object, "Containers", list);
	json_add_int(object, "SpoolBytes", (int64_t)spool_store_bytes(logd->host.spools));
	json_add_int(object, "PoolBytes", (int64_t)pool_used(logd->host.destinations.pool));
	return object;
}

// --- ecsd's word ---

void logd_release(struct logd *logd, const char *container_id)
{
	struct entry *entry = find(logd, container_id);

	if (entry)
		container_log_release(entry->log);
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t sort_distinct(const char **ids, size_t count)
{
	size_t distinct = 0;

	qsort(ids, count, sizeof(*ids), compare_ids);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || !str_equal(ids[i], ids[i - 1]))
			ids[distinct++] = ids[i];
	return distinct;
}

size_t logd_credentials(const struct logd *logd, const char **ids, size_t max)
{
	size_t count = 0;
	struct entry *entry;

	LIST_FOREACH (entry, &logd->entries, next) {
		const char *id = container_log_credentials_id(entry->log);

		if (!id)
			continue;
		if (count == max)
			count = sort_distinct(ids, count);
		if (count == max)
			break;
		ids[count++] = id;
	}
	return sort_distinct(ids, count);
}

void logd_on_credentials(struct logd *logd, void (*changed)(void *arg), void *arg)
{
	logd->credentials_changed = changed;
	logd->credentials_arg = arg;
}

void logd_on_pause(struct logd *logd, bool (*watched)(void *arg), void *arg)
{
	streams_on_pause(logd->host.streams, watched, arg);
}

void logd_totals(const struct logd *logd, struct log_totals *totals)
{
	struct entry *entry;

	*totals = logd->past;
	LIST_FOREACH (entry, &logd->entries, next)
		container_log_add_totals(entry->log, totals);
}

// --- the end of waiting ---

// The earlier one of what the clock says and of what it would say if it had not been set since the start: a clock
// that jumps makes no log old (§7.4).
static int64_t steady_wall_ms(const struct logd *logd)
{
	int64_t now = wall_ms(), steady = logd->began_wall_ms + (int64_t)(loop_now(logd->loop) - logd->began);

	return now < steady ? now : steady;
}

static void lose(struct entry *entry, const char *why)
{
	uint64_t lines = container_log_waiting(entry->log);

	log_error(why, "container=%s lines=%" PRIu64, container_log_id(entry->log), lines);
	entry->logd->past.dropped += lines;
	give_up(entry);
}

// Logs that nobody writes any more and nobody takes are given up in the end.
static void check_retention(void *arg)
{
	struct logd *logd = arg;
	int64_t limit = (steady_wall_ms(logd) - (int64_t)logd->options.retention_ms) * 1000000;
	struct entry *entry = LIST_FIRST(&logd->entries);

	timer_start(&logd->retention_timer, RETENTION_CHECK_MS);
	while (entry) {
		struct entry *next = LIST_NEXT(entry, next);
		int64_t oldest = container_log_oldest_ns(entry->log);

		if (oldest && !container_log_is_read(entry->log)) {
			if (oldest < limit)
				lose(entry, "a log has waited for too long and is given up");
			else if (container_log_abandoned(entry->log))
				lose(entry, "a log is given up: the task of its FireLens router is cleaned up");
		}
		entry = next;
	}
}

static void check_flush(void *arg)
{
	struct logd *logd = arg;
	bool shipped = true;
	struct entry *entry;

	LIST_FOREACH (entry, &logd->entries, next)
		shipped = shipped && container_log_shipped(entry->log);
	// The answer to a start goes out in the turn after it is given.
	shipped = shipped && !logd->starts && !logd->answering;
	logd->answering = logd->starts > 0;
	if (shipped || loop_now(logd->loop) >= logd->flush_until) {
		logd->flushed(logd->flushed_arg);
		return;
	}
	timer_start(&logd->flush_timer, FLUSH_CHECK_MS);
}

void logd_flush(struct logd *logd, uint64_t limit_ms, void (*done)(void *arg), void *arg)
{
	struct entry *entry;

	logd->flush_until = loop_now(logd->loop) + limit_ms;
	logd->flushed = done;
	logd->flushed_arg = arg;
	LIST_FOREACH (entry, &logd->entries, next)
		container_log_flush(entry->log);
	check_flush(logd);
}
