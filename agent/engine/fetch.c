#include "engine/fetch.h"

#include "common/crash_point.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/util.h"
#include "config/config.h"
#include <inttypes.h>

// docker-mapping.md §3
enum { PULL_ATTEMPTS = 5, MANIFEST_ATTEMPTS = 9, TAG_ATTEMPTS = 5, TAG_PAUSE_MS = 100, TAG_TIMEOUT_MS = 30000 };

struct waiter {
	struct waiter *next;
	struct fetch *fetch;
	struct container_ref *ref;
	void (*done)(struct container_ref *ref, const struct fetch_result *result);
};

struct fetch {
	struct fetch *next;
	struct engine *engine;
	enum operation operation;
	char *key;
	char *image, *canonical;      // canonical: by digest, NULL: the image is asked for as it is named
	struct waiter *waiters;       // the first one's task is the one that logs in
	struct registry_call *login;  // under way
	struct docker_call *call;     // under way
	struct timer retry, deadline; // deadline: of everything
	struct backoff backoff, away;
	unsigned attempt, tag_attempt; // from 0
	uint64_t tagging_since;        // loop time, 0: not yet
	bool login_renewed;            // the registry refused a cached login once
};

static void attempt(void *arg);
static void on_deadline(void *arg);
static void start_tag(struct fetch *fetch);

// --- keys ---

bool fetch_is(enum operation operation)
{
	return operation == OP_LOGIN || operation == OP_MANIFEST || operation == OP_PULL;
}

// The digest by which the image is pulled, if it was looked up.
static const char *looked_up(const struct container *c)
{
	return strchr(c->image, '@') ? NULL : c->image_digest;
}

char *fetch_key(const struct container_ref *ref, enum operation operation)
{
	const struct container *c = ref_container(ref);
	_cleanup_free_ char *who = registry_identity(ref->engine->o.registry, ref->entry->task, c);
	if (operation == OP_LOGIN)
		return xasprintf("login\n%s", who);
	const char *digest = operation == OP_PULL ? looked_up(c) : NULL;
	return xasprintf("%s\n%s\n%s\n%s", operation_name(operation), c->image, digest ? digest : "", who);
}

static struct fetch **find(struct engine *engine, const char *key)
{
	struct fetch **link = &engine->fetches;
	while (*link && !str_equal((*link)->key, key))
		link = &(*link)->next;
	return link;
}

bool fetch_runs(const struct engine *engine, const char *key)
{
	for (const struct fetch *fetch = engine->fetches; fetch; fetch = fetch->next) {
		if (str_equal(fetch->key, key))
			return true;
	}
	return false;
}

bool fetch_counts(const void *call)
{
	const struct waiter *waiter = call;
	return !waiter || waiter->fetch->waiters == waiter;
}

// --- joining and leaving ---

static void fetch_free(struct fetch *fetch)
{
	struct fetch **link = &fetch->engine->fetches;
	while (*link && *link != fetch)
		link = &(*link)->next;
	if (*link)
		*link = fetch->next;
	registry_cancel(fetch->login);
	docker_call_cancel(fetch->call);
	timer_done(&fetch->retry);
	timer_done(&fetch->deadline);
	free(fetch->key);
	free(fetch->image);
	free(fetch->canonical);
	free(fetch);
}

static uint64_t deadline_ms(const struct fetch *fetch)
{
	const struct engine_options *o = &fetch->engine->o;
	return fetch->operation == OP_PULL ? o->pull_timeout_ms : o->manifest_timeout_ms;
}

static struct fetch *fetch_new(struct container_ref *ref, enum operation operation, char *key)
{
	struct engine *engine = ref->engine;
	struct fetch *fetch = xcalloc(1, sizeof(*fetch));
	fetch->engine = engine;
	fetch->operation = operation;
	fetch->key = key;
	fetch->image = xstrdup(ref_container(ref)->image);
	fetch->backoff = operation == OP_PULL ? BACKOFF(1100, 5000, 2, 0.2) : BACKOFF(10, 5000, 3, 0.2);
	fetch->away = BACKOFF(UNKNOWN_BACKOFF_MIN_MS, UNKNOWN_BACKOFF_MAX_MS, 2, 0.2);
	timer_init(&fetch->retry, engine->o.loop, attempt, fetch);
	timer_init(&fetch->deadline, engine->o.loop, on_deadline, fetch);
	if (operation != OP_LOGIN && deadline_ms(fetch)) // the call for a secret has its own limits
		timer_start(&fetch->deadline, deadline_ms(fetch));
	timer_start(&fetch->retry, 0);
	fetch->next = engine->fetches;
	engine->fetches = fetch;
	return fetch;
}

void fetch_join(struct container_ref *ref, enum operation operation,
		void (*done)(struct container_ref *ref, const struct fetch_result *result))
{
	char *key = fetch_key(ref, operation);
	struct fetch *fetch = *find(ref->engine, key);
	struct waiter *waiter = xcalloc(1, sizeof(*waiter));
	if (fetch) {
		log_debug("joined", "task=%s container=%s operation=%s image=%s", ref->entry->task->arn,
			  ref_container(ref)->name, operation_name(operation), fetch->image);
		free(key);
	} else {
		fetch = fetch_new(ref, operation, key);
	}
	*waiter = (struct waiter){.fetch = fetch, .ref = ref, .done = done};
	struct waiter **end = &fetch->waiters;
	while (*end)
		end = &(*end)->next;
	*end = waiter;
	ref_container(ref)->call = waiter;
}

void fetch_leave(void *call)
{
	struct waiter *waiter = call;
	struct fetch *fetch = waiter->fetch;
	struct waiter **link = &fetch->waiters;
	while (*link != waiter)
		link = &(*link)->next;
	*link = waiter->next;
	free(waiter);
	if (!fetch->waiters) {
		log_debug("given up: nobody wants it any more", "operation=%s image=%s",
			  operation_name(fetch->operation), fetch->image);
		fetch_free(fetch);
	}
}

// --- the end ---

// Everybody is told. The fetch leaves the table first: who wants the same from now on starts anew.
static void finish(struct fetch *fetch, const struct fetch_result *result)
{
	struct fetch **link = find(fetch->engine, fetch->key);
	*link = fetch->next;
	fetch->next = NULL;
	if (result->err.failure == DOCKER_OK && fetch->operation == OP_PULL)
		engine_note_pulled(fetch->engine, fetch->image);
	while (fetch->waiters) {
		struct waiter *waiter = fetch->waiters;
		fetch->waiters = waiter->next;
		waiter->done(waiter->ref, result);
		free(waiter);
	}
	fetch_free(fetch);
}

static void fail(struct fetch *fetch, const struct docker_error *err)
{
	struct fetch_result result = {.err = *err};
	finish(fetch, &result);
}

static void on_deadline(void *arg)
{
	struct fetch *fetch = arg;
	struct docker_error err = {.failure = DOCKER_REFUSED, .timeout = true, .name = "DockerTimeoutError"};
	docker_timeout_text(err.message, sizeof(err.message),
			    fetch->operation == OP_PULL ? "pulled" : "MANIFEST_PULLED", deadline_ms(fetch));
	fail(fetch, &err);
}

// --- attempts ---

bool fetch_is_hopeless(const struct docker_error *err)
{
	static const char *const texts[] = {"invalid reference format",
					    "manifest unknown",
					    "name unknown",
					    "unauthorized",
					    "denied",
					    "no basic auth credentials",
					    "no matching manifest",
					    "repository does not exist"};
	if (err->failure == DOCKER_NOT_FOUND || err->status == 400 || err->status == 401 || err->status == 403 ||
	    err->status == 404)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strstr(err->message, texts[i]))
			return true;
	}
	return false;
}

// A login that was good when it was cached may not be any more.
static bool login_refused(const struct docker_error *err)
{
	return err->status == 401 || strstr(err->message, "unauthorized") ||
	       strstr(err->message, "authorization token") || strstr(err->message, "no basic auth credentials");
}

static bool renew_login(struct fetch *fetch, const struct docker_error *err)
{
	const struct container_ref *ref = fetch->waiters->ref;
	if (fetch->login_renewed || !login_refused(err) || !fetch->engine->o.registry)
		return false;
	fetch->login_renewed = true;
	return registry_forget(fetch->engine->o.registry, ref->entry->task, ref_container(ref));
}

// Decides whether there is another attempt. true: this one was the last.
static bool was_last(struct fetch *fetch, const struct docker_error *err)
{
	unsigned attempts = fetch->operation == OP_PULL ? PULL_ATTEMPTS : MANIFEST_ATTEMPTS;
	log_warn("attempt failed", "operation=%s image=%s attempt=%u error=%s", operation_name(fetch->operation),
		 fetch->image, fetch->attempt + 1, err->message);
	if (err->failure == DOCKER_UNKNOWN && !err->timeout) {
		// The daemon is away: that is nobody's failed attempt, and its time does not count.
		if (timer_running(&fetch->deadline))
			timer_start(&fetch->deadline, deadline_ms(fetch));
		timer_start(&fetch->retry, backoff_next(&fetch->away));
		return false;
	}
	if (renew_login(fetch, err)) {
		timer_start(&fetch->retry, 0);
		return false;
	}
	if (fetch_is_hopeless(err) || ++fetch->attempt >= attempts)
		return true;
	timer_start(&fetch->retry, backoff_next(&fetch->backoff));
	return false;
}

static void on_manifest(const struct docker_error *err, const struct docker_manifest *manifest, void *arg)
{
	struct fetch *fetch = arg;
	fetch->call = NULL;
	if (err->failure != DOCKER_OK) {
		if (was_last(fetch, err))
			fail(fetch, err);
		return;
	}
	// Schema 1 has no digest that would stay the same (docker-mapping.md §21.2).
	bool old = str_starts(manifest->media_type, "application/vnd.docker.distribution.manifest.v1+");
	struct fetch_result result = {.digest = old ? NULL : manifest->digest};
	log_info("image digest looked up", "image=%s digest=%s media_type=%s", fetch->image, manifest->digest,
		 manifest->media_type);
	finish(fetch, &result);
}

static void on_tagged(const struct docker_error *err, void *arg)
{
	struct fetch *fetch = arg;
	struct fetch_result result = {0};
	fetch->call = NULL;
	if (err->failure == DOCKER_OK) {
		finish(fetch, &result);
		return;
	}
	log_warn("image cannot be tagged", "image=%s attempt=%u error=%s", fetch->image, fetch->tag_attempt + 1,
		 err->message);
	if (err->failure == DOCKER_UNKNOWN && !err->timeout) { // as in was_last
		fetch->tagging_since = loop_now(fetch->engine->o.loop);
		timer_start(&fetch->retry, backoff_next(&fetch->away));
		return;
	}
	if (loop_now(fetch->engine->o.loop) - fetch->tagging_since >= TAG_TIMEOUT_MS) {
		result.err = (struct docker_error){.failure = DOCKER_REFUSED, .name = "DockerTimeoutError"};
		docker_timeout_text(result.err.message, sizeof(result.err.message), "pulled", TAG_TIMEOUT_MS);
	} else if (++fetch->tag_attempt < TAG_ATTEMPTS) {
		timer_start(&fetch->retry, TAG_PAUSE_MS);
		return;
	} else {
		result.err = (struct docker_error){.failure = DOCKER_REFUSED, .name = "CannotPullContainerError"};
		snprintf(result.err.message, sizeof(result.err.message),
			 "failed to tag image '%.200s' as '%.200s': %.500s", fetch->canonical, fetch->image,
			 err->message);
	}
	finish(fetch, &result);
}

static void start_tag(struct fetch *fetch)
{
	if (!fetch->tagging_since)
		fetch->tagging_since = loop_now(fetch->engine->o.loop);
	fetch->call = docker_image_tag(fetch->engine->o.docker, fetch->canonical, fetch->image, on_tagged, fetch);
}

static void on_pulled(const struct docker_error *err, void *arg)
{
	struct fetch *fetch = arg;
	struct fetch_result result = {0};
	CRASH_POINT("pull.answered");
	fetch->call = NULL;
	if (err->failure != DOCKER_OK) {
		if (was_last(fetch, err))
			fail(fetch, err);
		return;
	}
	timer_stop(&fetch->deadline);
	log_info("image pulled", "image=%s by=%s", fetch->image, fetch->canonical ? fetch->canonical : fetch->image);
	if (fetch->canonical)
		start_tag(fetch);
	else
		finish(fetch, &result);
}

static void on_progress(const char *status, void *arg)
{
	struct fetch *fetch = arg;
	log_debug("pulling", "image=%s status=%s", fetch->image, status);
}

static void pull(struct fetch *fetch, json_object *login)
{
	const char *digest = looked_up(ref_container(fetch->waiters->ref));
	struct error why = {0};
	if (digest && !fetch->canonical)
		fetch->canonical = docker_canonical(fetch->image, digest, &why);
	if (digest && !fetch->canonical) {
		struct docker_error err = {.failure = DOCKER_REFUSED, .name = "CannotPullContainerError"};
		snprintf(err.message, sizeof(err.message),
			 "failed to prepare a canonical reference with image '%.300s' and digest '%.200s': %.400s",
			 fetch->image, digest, why.message);
		fail(fetch, &err);
		return;
	}
	CRASH_POINT("pull.before-send");
	fetch->call = docker_pull(fetch->engine->o.docker, fetch->canonical ? fetch->canonical : fetch->image, login,
				  on_progress, on_pulled, fetch);
}

static void with_login(struct fetch *fetch, json_object *login)
{
	if (fetch->operation == OP_MANIFEST)
		fetch->call = docker_manifest(fetch->engine->o.docker, fetch->image, login, on_manifest, fetch);
	else
		pull(fetch, login);
}

// Without a login there is no other attempt: the calls for it have been repeated already.
static void on_login(json_object *login, const char *error_name, const char *text, void *arg)
{
	struct fetch *fetch = arg;
	fetch->login = NULL;
	if (error_name) {
		struct docker_error err = {.failure = DOCKER_REFUSED, .name = error_name};
		snprintf(err.message, sizeof(err.message), "%s", text);
		fail(fetch, &err);
	} else if (fetch->operation == OP_LOGIN) {
		struct fetch_result result = {.login = json_text(login)};
		finish(fetch, &result);
	} else {
		with_login(fetch, login);
	}
}

static void attempt(void *arg)
{
	struct fetch *fetch = arg;
	struct registry *registry = fetch->engine->o.registry;
	const struct container_ref *ref = fetch->waiters->ref;
	const struct task *task = ref->entry->task;
	if (fetch->tagging_since)
		start_tag(fetch);
	else if (!registry)
		with_login(fetch, NULL);
	else if (fetch->operation == OP_LOGIN)
		fetch->login = registry_read_secret(registry, task, ref_container(ref), on_login, fetch);
	else
		fetch->login = registry_login(registry, task, ref_container(ref), on_login, fetch);
}
