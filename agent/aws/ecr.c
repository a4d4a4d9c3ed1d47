#include "aws/ecr.h"

#include "common/aws/aws_json.h"
#include "common/json.h"
#include "common/log.h"
#include "common/util.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>

#define TARGET "AmazonEC2ContainerRegistry_V20150921"
#define CALL_TIMEOUT_MS 5000 // of an attempt (docker-mapping.md §22)
#define REUSE_MARGIN_MS \
	((int64_t)30 * 60 * 1000) // a token is reused until so long before its expiry, or up to twice that
#define CACHE_AGE_MAX_MS ((int64_t)12 * 3600 * 1000)
#define TOKEN_MAX 65536

// A token, or the request for it.
struct token {
	struct token *next; // most recently used first
	struct ecr *ecr;
	char *key;
	char *username, *password, *server; // username NULL: not there yet
	int64_t usable_until_ms;            // wall clock
	char *why;                          // the request failed
	char *image;
	struct credentials_chain *credentials; // of a role, while asking
	struct aws_client *client;             // while asking
	struct ecr_call *calls;
};

struct ecr_call {
	struct ecr_call *next;
	struct ecr *ecr;
	struct token *token;
	void (*done)(const struct ecr_login *login, const char *why, void *arg);
	void *arg;
};

struct ecr {
	struct ecr_options options;
	char *user_agent;
	struct token *tokens;
};

static void deliver(void *arg);

struct ecr *ecr_new(const struct ecr_options *options)
{
	struct ecr *ecr = xcalloc(1, sizeof(*ecr));
	ecr->options = *options;
	ecr->user_agent = xstrdup(options->user_agent);
	return ecr;
}

static void end_request(struct token *token)
{
	token->client = aws_client_free(token->client);
	token->credentials = credentials_chain_free(token->credentials);
}

static void token_free(struct ecr *ecr, struct token *token)
{
	end_request(token);
	for (struct ecr_call *call = token->calls, *next; call; call = next) {
		next = call->next;
		loop_defer_cancel(ecr->options.loop, deliver, call);
		free(call);
	}
	free(token->key);
	secret_free(token->username);
	secret_free(token->password);
	free(token->server);
	free(token->why);
	free(token->image);
	free(token);
}

struct ecr *ecr_free(struct ecr *ecr)
{
	if (!ecr)
		return NULL;
	for (struct token *token = ecr->tokens, *next; token; token = next) {
		next = token->next;
		token_free(ecr, token);
	}
	free(ecr->user_agent);
	free(ecr);
	return NULL;
}

// --- cache ---

static char *key_of(const struct ecr_ask *ask)
{
	return xasprintf("%s\n%s\n%s\n%s", ask->role ? ask->role : "", ask->region ? ask->region : "",
			 ask->registry_id ? ask->registry_id : "", ask->endpoint ? ask->endpoint : "");
}

static struct token **find(struct ecr *ecr, const char *key)
{
	struct token **link = &ecr->tokens;
	while (*link && !str_equal((*link)->key, key))
		link = &(*link)->next;
	return link;
}

static bool asking(const struct token *token)
{
	return token->client != NULL;
}

// Drops what is no longer of use, and the least recently used above the limit.
static void prune(struct ecr *ecr)
{
	size_t kept = 0;
	for (struct token **link = &ecr->tokens; *link;) {
		struct token *token = *link;
		bool good = token->username && wall_ms() < token->usable_until_ms && kept < ECR_CACHE_MAX;
		if (good || asking(token) || token->calls) {
			kept += token->username != NULL;
			link = &token->next;
		} else {
			*link = token->next;
			token_free(ecr, token);
		}
	}
}

void ecr_forget(struct ecr *ecr, const struct ecr_ask *ask)
{
	_cleanup_free_ char *key = key_of(ask);
	struct token *token = *find(ecr, key);
	if (token)
		token->usable_until_ms = 0;
	prune(ecr);
}

// --- answers to callers ---

static void deliver(void *arg)
{
	struct ecr_call *call = arg;
	struct ecr *ecr = call->ecr;
	struct token *token = call->token;
	struct ecr_call **link = &token->calls;
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	_cleanup_free_ char *why = xstrdup(token->why);
	void (*done)(const struct ecr_login *, const char *, void *) = call->done;
	void *done_arg = call->arg;
	free(call);
	char *username = xstrdup(token->username), *password = xstrdup(token->password);
	_cleanup_free_ char *server = xstrdup(token->server);
	prune(ecr); // a failed request is not kept once everybody knows
	struct ecr_login login = {username, password, server};
	done(username ? &login : NULL, why, done_arg);
	secret_free(username);
	secret_free(password);
}

static void answer_all(struct ecr *ecr, struct token *token)
{
	for (struct ecr_call *call = token->calls; call; call = call->next)
		loop_defer(ecr->options.loop, deliver, call);
}

void ecr_cancel(struct ecr_call *call)
{
	if (!call)
		return;
	struct ecr *ecr = call->ecr;
	struct ecr_call **link = &call->token->calls;
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	loop_defer_cancel(ecr->options.loop, deliver, call);
	free(call); // a request under way goes on: its token will be wanted
}

// --- the service's answer ---

// "user:password" in base64.
static bool read_token(struct token *token, const char *text)
{
	size_t len = strlen(text);
	if (len == 0 || len > TOKEN_MAX || len % 4)
		return false;
	char *plain = xcalloc(1, len + 1);
	int n = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)text, (int)len);
	char *colon = n > 0 ? strchr(plain, ':') : NULL;
	if (colon) {
		token->username = xstrndup(plain, (size_t)(colon - plain));
		token->password = xstrdup(colon + 1);
	}
	OPENSSL_cleanse(plain, len + 1);
	free(plain);
	return colon != NULL;
}

static char *read_answer(struct token *token, json_object *body)
{
	json_object *list = json_get(body, "authorizationData");
	size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	if (count != 1)
		return xasprintf("unexpected number of results in AuthorizationData (%zu)", count);
	json_object *data = json_object_array_get_idx(list, 0);
	if (!json_object_is_type(data, json_type_object))
		return xasprintf("ecr auth: missing AuthorizationData in ECR response for %s", token->image);
	const char *text = json_get_string(data, "authorizationToken"),
		   *server = json_get_string(data, "proxyEndpoint");
	if (str_empty(text) || str_empty(server))
		return xasprintf("ecr auth: AuthorizationData is nil for %s", token->image);
	if (!read_token(token, text))
		return xasprintf("ecr auth: the authorization token for %s cannot be read", token->image);
	token->server = xstrdup(server);
	json_object *expires = json_get(data, "expiresAt");
	// Compared before it becomes an integer: any number may stand there, and not every one fits.
	double at = expires ? json_object_get_double(expires) * 1000 : 0,
	       latest = (double)(wall_ms() + CACHE_AGE_MAX_MS);
	if (at > latest)
		at = latest;
	token->usable_until_ms =
		(at > 0 ? (int64_t)at : 0) - REUSE_MARGIN_MS - (int64_t)(random_unit() * (double)REUSE_MARGIN_MS);
	return NULL;
}

static void on_answer(const struct aws_response *response, void *arg)
{
	static const char *const modelled[] = {"ServerException", "InvalidParameterException", NULL};
	struct token *token = arg;
	struct ecr *ecr = token->ecr;
	token->why = response->body ? read_answer(token, response->body)
				    : aws_sdk_error("ECR", "GetAuthorizationToken", response, modelled);
	if (token->why)
		log_warn("no ECR login", "image=%s error=%s", token->image, token->why);
	else
		log_debug("ECR login obtained", "server=%s", token->server);
	end_request(token);
	answer_all(ecr, token);
	prune(ecr);
}

static const char *environment(const char *name)
{
	return getenv(name);
}

// Failures before anything was sent are told like any other.
static void ask_service(struct ecr *ecr, struct token *token, const struct ecr_ask *ask)
{
	struct error err = {0};
	_cleanup_free_ char *endpoint =
		aws_service_endpoint(AWS_ECR, ask->region ? ask->region : "", ask->endpoint, environment, &err);
	if (!endpoint) {
		token->why = xasprintf("operation error ECR: GetAuthorizationToken, %s", err.message);
		answer_all(ecr, token);
		return;
	}
	if (ask->role)
		token->credentials = credentials_chain_fixed(ask->credentials);
	token->client = aws_client_new(
		&(struct aws_client_options){.loop = ecr->options.loop,
					     .http = ecr->options.http,
					     .credentials = ask->role ? token->credentials : ecr->options.credentials,
					     .region = ask->region ? ask->region : "",
					     .endpoint = endpoint,
					     .service = "ecr",
					     .target_prefix = TARGET,
					     .user_agent = ecr->user_agent,
					     .insecure = ecr->options.insecure,
					     .timeout_ms = CALL_TIMEOUT_MS});
	_cleanup_json_ json_object *body = json_object_new_object();
	if (!str_empty(ask->registry_id)) {
		json_object *ids = json_object_new_array();
		json_object_array_add(ids, json_object_new_string(ask->registry_id));
		json_add(body, "registryIds", ids);
	}
	aws_client_call(token->client, "GetAuthorizationToken", body, AWS_RETRY_STANDARD, on_answer, token);
}

struct ecr_call *ecr_get(struct ecr *ecr, const struct ecr_ask *ask,
			 void (*done)(const struct ecr_login *login, const char *why, void *arg), void *arg)
{
	prune(ecr);
	_cleanup_free_ char *key = key_of(ask);
	struct token **link = find(ecr, key), *token = *link;
	bool known = token && (asking(token) || (token->username && wall_ms() < token->usable_until_ms));
	if (known) {
		*link = token->next;
	} else {
		token = xcalloc(1, sizeof(*token));
		token->ecr = ecr;
		token->key = TAKE(key);
		token->image = xstrdup(ask->image);
	}
	token->next = ecr->tokens;
	ecr->tokens = token;
	struct ecr_call *call = xcalloc(1, sizeof(*call));
	*call = (struct ecr_call){.next = token->calls, .ecr = ecr, .token = token, .done = done, .arg = arg};
	token->calls = call;
	if (!known)
		ask_service(ecr, token, ask);
	else if (!asking(token))
		loop_defer(ecr->options.loop, deliver, call);
	return call;
}
