#include "common/aws/credentials.h"
#include "common/aws/credentials_provider.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>

// Credentials that expire are replaced so long before (control-plane.md §6).
#define REFRESH_AHEAD_MS ((int64_t)5 * 60 * 1000)
// After a failed refresh the old credentials serve at least so long before the providers are asked again.
#define REFRESH_PAUSE_MS ((int64_t)30 * 1000)

static const struct credentials_provider *const of_instance[] = {&credentials_provider_env, &credentials_provider_file,
								 &credentials_provider_imds, NULL};
static const struct credentials_provider *const of_external[] = {
	&credentials_provider_env, &credentials_provider_rotating, &credentials_provider_named_file, NULL};
static const struct credentials_provider *const of_url[] = {&credentials_provider_http, NULL};

struct waiter {
	struct waiter *next;
	void (*done)(const struct aws_credentials *credentials, const struct error *err, void *arg);
	void *arg;
};

struct credentials_chain {
	struct loop *loop;                                   // NULL: of providers that do not look at it
	const struct credentials_provider *const *providers; // NULL at the end
	char *url, *file, *profile;
	struct aws_credentials current; // access_key_id NULL: none
	int64_t ask_after_ms;           // wall time from which the providers are asked again; INT64_MAX: never
	uint64_t read_again;            // loop time from which current is asked for again; UINT64_MAX: never for that
	bool invalid;                   // current was refused by the service
	bool fixed;                     // nobody else is ever asked
	bool asking;
	size_t provider; // being asked
	struct credentials_fetch fetch;
	struct buf reasons;     // what each provider answered, this time
	struct waiter *waiting; // for the answer under way
	struct waiter *deliver; // being told now
	bool *freed;            // set when the chain goes while it delivers
};

static void begin(struct credentials_chain *chain);
static void ask(struct credentials_chain *chain);
static void on_fetched(struct credentials_fetch *fetch, struct aws_credentials *credentials, const struct error *err);
static void waiters_free(struct waiter **list, const void *arg, bool all);

struct credentials_chain *credentials_chain_new(struct loop *loop, struct imds *imds)
{
	struct credentials_chain *chain = xcalloc(1, sizeof(*chain));

	chain->loop = loop; // times are looked at when credentials are wanted: no timer is needed
	chain->providers = of_instance;
	chain->fetch = (struct credentials_fetch){.imds = imds, .done = on_fetched};
	chain->reasons.max = ERROR_MESSAGE_MAX;
	return chain;
}

struct credentials_chain *credentials_chain_external(struct loop *loop, const char *file, const char *profile)
{
	struct credentials_chain *chain = credentials_chain_new(loop, NULL);

	chain->providers = of_external;
	chain->file = xstrdup(str_empty(file) ? CREDENTIALS_ROTATING_FILE : file);
	chain->profile = xstrdup(str_empty(profile) ? CREDENTIALS_ROTATING_PROFILE : profile);
	chain->fetch.file = chain->file;
	chain->fetch.profile = chain->profile;
	return chain;
}

struct credentials_chain *credentials_chain_http(struct http_client *http, const char *url)
{
	struct credentials_chain *chain = credentials_chain_new(NULL, NULL);

	chain->providers = of_url;
	chain->url = xstrdup(url);
	chain->fetch.http = http;
	chain->fetch.url = chain->url;
	return chain;
}

struct credentials_chain *credentials_chain_fixed(const struct aws_credentials *credentials)
{
	struct credentials_chain *chain = credentials_chain_new(NULL, NULL);

	chain->fixed = true;
	chain->ask_after_ms = INT64_MAX;
	chain->read_again = UINT64_MAX;
	chain->current = (struct aws_credentials){.access_key_id = xstrdup(credentials->access_key_id),
						  .secret_access_key = xstrdup(credentials->secret_access_key),
						  .session_token = xstrdup(credentials->session_token)};
	return chain;
}

struct credentials_chain *credentials_chain_free(struct credentials_chain *chain)
{
	if (!chain)
		return NULL;
	if (chain->asking && chain->providers[chain->provider]->cancel)
		chain->providers[chain->provider]->cancel(&chain->fetch);
	waiters_free(&chain->waiting, NULL, true);
	waiters_free(&chain->deliver, NULL, true);
	if (chain->freed)
		*chain->freed = true;
	aws_credentials_free(&chain->current);
	buf_free(&chain->reasons);
	free(chain->url);
	free(chain->file);
	free(chain->profile);
	free(chain);
	return NULL;
}

static bool is_fresh(const struct credentials_chain *chain)
{
	return chain->current.access_key_id && !chain->invalid && wall_ms() < chain->ask_after_ms &&
	       (chain->read_again == UINT64_MAX || loop_now(chain->loop) < chain->read_again);
}

void credentials_chain_get(struct credentials_chain *chain,
			   void (*done)(const struct aws_credentials *credentials, const struct error *err, void *arg),
			   void *arg)
{
	if (is_fresh(chain)) {
		done(&chain->current, NULL, arg);
		return;
	}
	struct waiter **end = &chain->waiting;
	while (*end)
		end = &(*end)->next;
	*end = xmalloc(sizeof(**end));
	**end = (struct waiter){.done = done, .arg = arg};
	if (!chain->asking && !chain->freed) // while answers are given out, the next question waits for the end of that
		begin(chain);
}

void credentials_chain_cancel(struct credentials_chain *chain, void *arg)
{
	waiters_free(&chain->waiting, arg, false);
	waiters_free(&chain->deliver, arg, false);
}

void credentials_chain_invalidate(struct credentials_chain *chain)
{
	chain->invalid = !chain->fixed;
}

void aws_credentials_free(struct aws_credentials *credentials)
{
	secret_free(credentials->access_key_id);
	secret_free(credentials->secret_access_key);
	secret_free(credentials->session_token);
	*credentials = (struct aws_credentials){0};
}

static void waiters_free(struct waiter **list, const void *arg, bool all)
{
	while (*list) {
		struct waiter *waiter = *list;
		if (all || waiter->arg == arg) {
			*list = waiter->next;
			free(waiter);
		} else {
			list = &waiter->next;
		}
	}
}

static void begin(struct credentials_chain *chain)
{
	chain->asking = true;
	chain->provider = 0;
	buf_clear(&chain->reasons);
	ask(chain);
}

// A provider may answer inside this call.
static void ask(struct credentials_chain *chain)
{
	chain->providers[chain->provider]->start(&chain->fetch);
}

// Tells everyone who waits. A callback may ask again, cancel others, or free the chain; what is given is
// therefore a copy.
static void deliver(struct credentials_chain *chain, const struct error *err)
{
	_cleanup_(aws_credentials_free) struct aws_credentials given = {
		.access_key_id = xstrdup(chain->current.access_key_id),
		.secret_access_key = xstrdup(chain->current.secret_access_key),
		.session_token = xstrdup(chain->current.session_token),
		.expires_wall_ms = chain->current.expires_wall_ms,
	};
	bool freed = false;

	chain->deliver = TAKE(chain->waiting);
	// cppcheck-suppress autoVariables ; reset below before freed goes
	chain->freed = &freed;
	while (!freed && chain->deliver) {
		struct waiter *waiter = chain->deliver;
		chain->deliver = waiter->next;
		waiter->done(err ? NULL : &given, err, waiter->arg);
		free(waiter);
	}
	if (freed)
		return;
	chain->freed = NULL;
	if (chain->waiting)
		begin(chain);
}

static void accept(struct credentials_chain *chain, struct aws_credentials *credentials)
{
	const struct credentials_provider *provider = chain->providers[chain->provider];
	bool changed =
		chain->current.access_key_id && !str_equal(chain->current.access_key_id, credentials->access_key_id);

	aws_credentials_free(&chain->current);
	chain->current = *credentials;
	chain->invalid = false;
	chain->ask_after_ms =
		credentials->expires_wall_ms ? credentials->expires_wall_ms - REFRESH_AHEAD_MS : INT64_MAX;
	chain->read_again = provider->again_after_ms ? loop_now(chain->loop) + provider->again_after_ms : UINT64_MAX;
	if (changed)
		log_info("credentials have changed", "provider=%s", provider->name);
	else
		log_debug("credentials obtained", "provider=%s", provider->name);
	deliver(chain, NULL);
}

static void give_up(struct credentials_chain *chain)
{
	struct error err;
	int64_t now = wall_ms(), end = chain->current.expires_wall_ms ? chain->current.expires_wall_ms : INT64_MAX;

	error_set(&err, EACCES, "no credentials found: %s", chain->reasons.data ? chain->reasons.data : "");
	if (chain->current.access_key_id && !chain->invalid && now < end) {
		log_warn(end < INT64_MAX ? "credentials not refreshed, the old ones are still good"
					 : "credentials not refreshed, the old ones serve until they are refused",
			 "reason=%s", err.message);
		if (chain->read_again < UINT64_MAX) {
			chain->read_again = loop_now(chain->loop) + REFRESH_PAUSE_MS;
		} else {
			chain->ask_after_ms = now + REFRESH_PAUSE_MS;
			if (chain->ask_after_ms > end)
				chain->ask_after_ms = end;
		}
		deliver(chain, NULL);
		return;
	}
	aws_credentials_free(&chain->current);
	deliver(chain, &err);
}

static void on_fetched(struct credentials_fetch *fetch, struct aws_credentials *credentials, const struct error *err)
{
	struct credentials_chain *chain =
		(struct credentials_chain *)((char *)fetch - offsetof(struct credentials_chain, fetch));

	if (credentials) {
		chain->asking = false;
		accept(chain, credentials);
		return;
	}
	buf_printf(&chain->reasons, "%s%s: %.300s", chain->provider ? "; " : "",
		   chain->providers[chain->provider]->name, err->message);
	if (chain->providers[++chain->provider]) {
		ask(chain);
		return;
	}
	chain->asking = false;
	give_up(chain);
}
