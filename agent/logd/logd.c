#include "logd/logd.h"
#include "common/log.h"
#include "common/util.h"
#include "docker/log_config.h"
#include "logd/log_link.h"
#include "logd/plugin.h"
#include <inttypes.h>

struct waiter {
	struct waiter *next;
	uint64_t question; // whose answer it waits for
	void (*done)(void *arg);
	void *arg;
};

struct logd {
	struct logd_options options;
	char *plugin_socket, *docker_config_file;
	struct log_link *link; // NULL: no driver is ecs-logd's
	struct log_plugin_question question;
	struct waiter *waiters; // in the order of their questions
	uint64_t questions;     // asked so far
	bool answers;           // as it was last asked
	bool asked_before;      // there was an answer, if only "no"
	uint64_t asked_at;      // loop time
	struct log_defaults defaults;
	uint64_t dropped; // lines, as last told
	char **needed;    // ids of credentials, sorted
	size_t needed_count;
	bool needed_known;      // it is connected, and has said so
	uint64_t unknown_since; // loop time since when it is not
};

static void ask(struct logd *logd);
static void on_answer(bool answers, const char *why, void *arg);
static void on_up(void *arg);
static void on_message(const struct wire_message *message, void *arg);
static void on_down(void *arg);
static void on_counters(struct logd *logd, const struct wire_message *message);
static void on_credentials(struct logd *logd, const struct wire_message *message);
static void forget_needed(struct logd *logd);

static const struct log_link_callbacks link_callbacks = {on_up, on_message, on_down};

struct logd *logd_new(const struct logd_options *options)
{
	struct logd *logd = xcalloc(1, sizeof(*logd));
	logd->options = *options;
	logd->plugin_socket = xstrdup(options->plugin_socket);
	logd->docker_config_file = xstrdup(options->docker_config_file);
	logd->question.done = on_answer;
	logd->question.arg = logd;
	logd->unknown_since = loop_now(options->loop);
	if (!options->drivers)
		return logd;
	logd->link = log_link_new(options->loop, options->socket, &link_callbacks, logd);
	log_link_start(logd->link);
	ask(logd);
	return logd;
}

struct logd *logd_free(struct logd *logd)
{
	if (!logd)
		return NULL;
	log_plugin_cancel(&logd->question);
	log_link_free(logd->link);
	while (logd->waiters) {
		struct waiter *waiter = logd->waiters;
		logd->waiters = waiter->next;
		free(waiter);
	}
	forget_needed(logd);
	log_defaults_free(&logd->defaults);
	free(logd->plugin_socket);
	free(logd->docker_config_file);
	free(logd);
	return NULL;
}

bool logd_ask(struct logd *logd, void (*done)(void *arg), void *arg)
{
	bool fresh = logd->answers && loop_now(logd->options.loop) - logd->asked_at < LOGD_FRESH_MS;
	if (!logd->options.drivers || (fresh && !logd->question.call))
		return true;
	if (!logd->question.call)
		ask(logd);
	struct waiter **last = &logd->waiters;
	while (*last)
		last = &(*last)->next;
	*last = xcalloc(1, sizeof(**last));
	**last = (struct waiter){.question = logd->questions, .done = done, .arg = arg};
	return false;
}

void logd_ask_cancel(struct logd *logd, void *arg)
{
	for (struct waiter **link = &logd->waiters; *link;) {
		struct waiter *waiter = *link;
		if (waiter->arg != arg) {
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		free(waiter);
	}
}

unsigned logd_drivers(const struct logd *logd)
{
	return logd->answers ? logd->options.drivers : 0;
}

const struct log_defaults *logd_docker_defaults(const struct logd *logd)
{
	return &logd->defaults;
}

void logd_docker_started(struct logd *logd)
{
	struct error err = {0};
	if (!logd->options.drivers)
		return;
	log_defaults_free(&logd->defaults);
	if (log_defaults_read(logd->docker_config_file, &logd->defaults, &err) < 0)
		log_warn("Docker's configuration cannot be read; options of its default log driver are not known",
			 "error=%s", err.message);
}

void logd_stopping(struct logd *logd, const char *docker_id)
{
	if (logd->link)
		log_link_send(logd->link, WIRE_LOGD_STOPPING, docker_id);
}

void logd_exited(struct logd *logd, const char *docker_id)
{
	if (logd->link)
		log_link_send(logd->link, WIRE_LOGD_EXITED, docker_id);
}

static void ask(struct logd *logd)
{
	logd->questions++;
	log_plugin_ask(&logd->question, logd->options.http, logd->plugin_socket);
}

static void on_answer(bool answers, const char *why, void *arg)
{
	struct logd *logd = arg;
	if (answers && !logd->answers) {
		log_info("ecs-logd takes logs", "socket=%s", logd->plugin_socket);
		log_link_start(logd->link);
	} else if (!answers && (logd->answers || !logd->asked_before)) {
		log_info("ecs-logd does not answer: Docker's own log drivers are used", "socket=%s why=%s",
			 logd->plugin_socket, why);
	}
	logd->answers = answers;
	logd->asked_before = true;
	logd->asked_at = loop_now(logd->options.loop);
	// One of them may ask again, and another one be cancelled.
	for (uint64_t answered = logd->questions; logd->waiters && logd->waiters->question <= answered;) {
		struct waiter *waiter = logd->waiters;
		logd->waiters = waiter->next;
		waiter->done(waiter->arg);
		free(waiter);
	}
}

static void on_up(void *arg)
{
	struct logd *logd = arg;
	logd->dropped = 0;
	logd->options.on_connected(logd->options.arg);
}

static void on_down(void *arg)
{
	struct logd *logd = arg;
	if (logd->needed_known)
		logd->unknown_since = loop_now(logd->options.loop);
	forget_needed(logd);
}

static void on_message(const struct wire_message *message, void *arg)
{
	if (message->type == WIRE_LOGD_COUNTERS)
		on_counters(arg, message);
	else if (message->type == WIRE_LOGD_CREDENTIALS)
		on_credentials(arg, message);
}

// lines in, shipped, dropped, bytes in the spool, age of the oldest there
static void on_counters(struct logd *logd, const struct wire_message *message)
{
	uint64_t counters[5];
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		if (!wire_number(message, i, &counters[i]))
			return;
	bool more = counters[2] > logd->dropped;
	logd->dropped = counters[2];
	log_event(more ? LOG_WARN : LOG_DEBUG, more ? "ecs-logd has dropped log lines" : "ecs-logd",
		  "lines_in=%" PRIu64 " lines_shipped=%" PRIu64 " lines_dropped=%" PRIu64 " spool_bytes=%" PRIu64
		  " oldest_ms=%" PRIu64,
		  counters[0], counters[1], counters[2], counters[3], counters[4]);
}

// --- credentials that it needs ---

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool logd_needs_credentials(const struct logd *logd, const char *id)
{
	if (!logd->link || log_link_absent(logd->link))
		return false;
	if (!logd->needed_known)
		return loop_now(logd->options.loop) - logd->unknown_since < LOGD_AWAY_MS;
	return logd->needed_count > 0 &&
	       bsearch(&id, logd->needed, logd->needed_count, sizeof(*logd->needed), compare_ids);
}

static void on_credentials(struct logd *logd, const struct wire_message *message)
{
	forget_needed(logd);
	logd->needed = xcalloc(message->count + 1, sizeof(*logd->needed));
	for (unsigned i = 0; i < message->count; i++)
		logd->needed[i] = xstrdup(wire_text(message, i));
	logd->needed_count = message->count;
	logd->needed_known = true;
	qsort(logd->needed, logd->needed_count, sizeof(*logd->needed), compare_ids);
	log_debug("ecs-logd needs credentials of tasks", "count=%zu", logd->needed_count);
}

static void forget_needed(struct logd *logd)
{
	for (size_t i = 0; i < logd->needed_count; i++)
		secret_free(logd->needed[i]); // whoever knows one can ask ecs-endpoint
	free(TAKE(logd->needed));
	logd->needed_count = 0;
	logd->needed_known = false;
}
