#include "logging/cloudwatch.h"

#include "common/aws/credentials.h"
#include "common/aws/imds.h"
#include "common/log.h"
#include "common/log_values.h"
#include "common/util.h"
#include "common/version.h"
#include "logging/event_text.h"

#include <errno.h>
#include <strings.h>

#define TARGET "Logs_20140328"                  // logging.md §4.4
#define CREDENTIALS_BASE "http://169.254.170.2" // §4.11
#define CALL_TIMEOUT_MS 30000                   // a peer that does not answer is noticed so soon (§9 row 4)
#define PAUSE_MIN_MS 200.0                      // as what follows
#define PAUSE_MAX_MS 60000.0
#define KNOWN_MAX 1024

// Credentials that several services may use.
struct source {
	LIST_ENTRY(source) link;
	struct credentials_chain *chain;
	char *uri; // NULL: the instance's
	unsigned users;
};

struct cloudwatch_service {
	LIST_ENTRY(cloudwatch_service) link;
	struct cloudwatch *cloudwatch;
	char *region, *endpoint, *url; // endpoint: as asked for, NULL if none
	struct source *source;
	struct aws_client *client;
	unsigned users;
	unsigned failures;             // since the last call that reached it
	struct cloudwatch_turn *probe; // the one that tries it while it fails
	struct timer pause;
	TAILQ_HEAD(turns, cloudwatch_turn) waiting;
};

struct cloudwatch {
	struct loop *loop;
	struct http_client *http;
	const char *(*get)(const char *name);
	struct imds *imds;         // NULL: an external instance, where nobody may ask it anything
	char *region, *user_agent; // region NULL: not known yet
	LIST_HEAD(sources, source) sources;
	LIST_HEAD(services, cloudwatch_service) services;
	uint64_t known[KNOWN_MAX]; // sums of what exists
	size_t known_next;
};

static struct source *source_get(struct cloudwatch *cloudwatch, const char *uri);
static void source_release(struct source *source);
static void on_region(const char *body, long status, const struct error *err, void *arg);
static void find_region_later(void *arg);
static void next_turn(void *arg);

struct cloudwatch *cloudwatch_new(struct loop *loop, struct http_client *http, const char *(*get)(const char *name))
{
	struct cloudwatch *cloudwatch = xcalloc(1, sizeof(*cloudwatch));
	const char *region = get("AWS_REGION"), *external = get("ECS_EXTERNAL");
	bool is_external = false;

	cloudwatch->loop = loop;
	cloudwatch->http = http;
	cloudwatch->get = get;
	if (external)
		log_parse_bool(external, &is_external);
	if (!is_external)
		cloudwatch->imds = imds_new(loop, http);
	cloudwatch->user_agent = xasprintf("ecs-logd/%s", ecsd_version);
	if (str_empty(region))
		region = get("AWS_DEFAULT_REGION");
	cloudwatch->region = str_empty(region) ? NULL : xstrdup(region);
	LIST_INIT(&cloudwatch->sources);
	LIST_INIT(&cloudwatch->services);
	return cloudwatch;
}

struct cloudwatch *cloudwatch_free(struct cloudwatch *cloudwatch)
{
	if (!cloudwatch)
		return NULL;
	imds_free(cloudwatch->imds);
	free(cloudwatch->region);
	free(cloudwatch->user_agent);
	free(cloudwatch);
	return NULL;
}

bool cloudwatch_gzip(const struct cloudwatch *cloudwatch)
{
	const char *value = cloudwatch->get("ECS_LOGD_AWSLOGS_GZIP");

	return !value || strcasecmp(value, "false") != 0;
}

size_t cloudwatch_max_event(const struct cloudwatch *cloudwatch)
{
	const char *value = cloudwatch->get("ECS_LOGD_AWSLOGS_MAX_EVENT");
	uint64_t bytes;

	if (str_empty(value) || !parse_uint64(value, &bytes) || bytes < EVENT_TEXT_MAX)
		return EVENT_TEXT_MAX;
	return bytes < EVENT_TEXT_MAX_TODAY ? bytes : EVENT_TEXT_MAX_TODAY;
}

void cloudwatch_find_region(struct cloudwatch *cloudwatch, struct cloudwatch_region *ask)
{
	ask->cloudwatch = cloudwatch;
	if (cloudwatch->region || !cloudwatch->imds)
		loop_defer(cloudwatch->loop, find_region_later, ask);
	else
		imds_get(cloudwatch->imds, "meta-data/placement/region", on_region, ask);
}

void cloudwatch_region_cancel(struct cloudwatch_region *ask)
{
	if (!ask->cloudwatch)
		return;
	loop_defer_cancel(ask->cloudwatch->loop, find_region_later, ask);
	if (ask->cloudwatch->imds)
		imds_cancel(ask->cloudwatch->imds, ask);
}

struct cloudwatch_service *cloudwatch_service_get(struct cloudwatch *cloudwatch, const char *region,
						  const char *endpoint, const char *credentials, struct error *err)
{
	struct cloudwatch_service *service;

	if (str_empty(credentials))
		credentials = NULL;
	LIST_FOREACH (service, &cloudwatch->services, link)
		if (str_equal(service->region, region) && str_equal(service->endpoint, endpoint) &&
		    str_equal(service->source->uri, credentials)) {
			service->users++;
			return service;
		}
	char *url = aws_service_endpoint(AWS_CLOUDWATCH_LOGS, region, endpoint, cloudwatch->get, err);
	if (!url)
		return NULL;
	service = xcalloc(1, sizeof(*service));
	service->cloudwatch = cloudwatch;
	service->region = xstrdup(region);
	service->endpoint = xstrdup(endpoint);
	service->url = url;
	service->source = source_get(cloudwatch, credentials);
	service->users = 1;
	TAILQ_INIT(&service->waiting);
	timer_init(&service->pause, cloudwatch->loop, next_turn, service);
	struct aws_client_options options = {.loop = cloudwatch->loop,
					     .http = cloudwatch->http,
					     .credentials = service->source->chain,
					     .region = region,
					     .endpoint = url,
					     .service = "logs",
					     .target_prefix = TARGET,
					     .user_agent = cloudwatch->user_agent,
					     .timeout_ms = CALL_TIMEOUT_MS};
	service->client = aws_client_new(&options);
	LIST_INSERT_HEAD(&cloudwatch->services, service, link);
	return service;
}

struct cloudwatch_service *cloudwatch_service_release(struct cloudwatch_service *service)
{
	if (!service || --service->users > 0)
		return NULL;
	loop_defer_cancel(service->cloudwatch->loop, next_turn, service);
	timer_done(&service->pause);
	LIST_REMOVE(service, link);
	aws_client_free(service->client);
	source_release(service->source);
	free(service->region);
	free(service->endpoint);
	free(service->url);
	free(service);
	return NULL;
}

int64_t cloudwatch_wall_ms(const struct cloudwatch_service *service)
{
	return aws_client_wall_ms(service->client);
}

void cloudwatch_renew(struct cloudwatch_service *service)
{
	credentials_chain_invalidate(service->source->chain);
}

struct aws_call *cloudwatch_call(struct cloudwatch_service *service, const char *operation, char *body, size_t len,
				 bool gzip, bool emf, void (*done)(const struct aws_response *response, void *arg),
				 void *arg)
{
	struct aws_request request = {.operation = operation, .body = body, .body_len = len};
	size_t count = 0;

	if (gzip)
		request.headers[count++] = (struct http_header){"Content-Encoding", "gzip"};
	if (emf)
		request.headers[count] = (struct http_header){"x-amzn-logs-format", "json/emf"};
	return aws_client_send(service->client, &request, done, arg);
}

bool cloudwatch_turn_take(struct cloudwatch_service *service, struct cloudwatch_turn *turn)
{
	if (service->failures == 0)
		return true;
	if (!service->probe && !timer_running(&service->pause) && TAILQ_EMPTY(&service->waiting)) {
		service->probe = turn;
		return true;
	}
	turn->waiting = true;
	TAILQ_INSERT_TAIL(&service->waiting, turn, link);
	return false;
}

void cloudwatch_turn_done(struct cloudwatch_service *service, struct cloudwatch_turn *turn, enum cloudwatch_reached how)
{
	bool probing = service->probe == turn;

	if (probing)
		service->probe = NULL;
	if (how == CLOUDWATCH_FAILED) {
		// A call that was under way when the failures began tells nothing new.
		if (!probing && service->failures > 0)
			return;
		double most = PAUSE_MIN_MS * (double)(UINT64_C(1) << (service->failures < 20 ? service->failures : 20));
		service->failures++;
		timer_start(&service->pause, (uint64_t)(random_unit() * (most < PAUSE_MAX_MS ? most : PAUSE_MAX_MS)));
		return;
	}
	if (how == CLOUDWATCH_REACHED) {
		service->failures = 0;
		timer_stop(&service->pause);
	}
	if (service->failures == 0 || probing) {
		loop_defer_cancel(service->cloudwatch->loop, next_turn, service);
		loop_defer(service->cloudwatch->loop, next_turn, service);
	}
}

void cloudwatch_turn_leave(struct cloudwatch_service *service, struct cloudwatch_turn *turn)
{
	if (turn->waiting) {
		TAILQ_REMOVE(&service->waiting, turn, link);
		turn->waiting = false;
	}
	if (service->probe == turn)
		cloudwatch_turn_done(service, turn, CLOUDWATCH_NOT_CALLED);
}

static bool one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

enum cloudwatch_verdict cloudwatch_judge(const struct aws_response *response)
{
	static const struct {
		enum cloudwatch_verdict verdict;
		const char *codes[8];
	} table[] = {
		{CLOUDWATCH_ACCEPTED, {"DataAlreadyAcceptedException"}},
		{CLOUDWATCH_EXISTS, {"ResourceAlreadyExistsException"}},
		{CLOUDWATCH_MISSING, {"ResourceNotFoundException"}},
		{CLOUDWATCH_RETRY_TOKEN, {"InvalidSequenceTokenException"}},
		{CLOUDWATCH_RETRY, {"ServiceUnavailableException", "ServiceUnavailable", "OperationAbortedException"}},
		{CLOUDWATCH_SPLIT, {"InvalidParameterException", "ValidationException", "SerializationException"}},
		{CLOUDWATCH_RENEW,
		 {"UnrecognizedClientException", "ExpiredToken", "ExpiredTokenException", "InvalidSignatureException",
		  "SignatureDoesNotMatch", "InvalidClientTokenId"}},
	};

	if (response->body)
		return CLOUDWATCH_ACCEPTED;
	if (response->transient || !*response->error_code || response->status == 408 || response->status == 429)
		return CLOUDWATCH_RETRY;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (one_of(response->error_code, table[i].codes))
			return table[i].verdict;
	if (response->status == 413)
		return CLOUDWATCH_SPLIT;
	return response->status >= 500 ? CLOUDWATCH_RETRY : CLOUDWATCH_HOLD;
}

// An index of the answer; fallback if it is not there.
static size_t read_index(json_object *info, const char *name, size_t count, size_t fallback)
{
	json_object *value = json_get(info, name);

	if (!json_object_is_type(value, json_type_int))
		return fallback;
	int64_t index = json_object_get_int64(value);
	return index < 0 ? 0 : (uint64_t)index < count ? (size_t)index : count;
}

void cloudwatch_rejected(json_object *body, size_t count, size_t *old, size_t *new_from)
{
	json_object *info = json_get(body, "rejectedLogEventsInfo");
	size_t too_old = read_index(info, "tooOldLogEventEndIndex", count, 0);
	size_t expired = read_index(info, "expiredLogEventEndIndex", count, 0);

	*old = too_old > expired ? too_old : expired;
	*new_from = read_index(info, "tooNewLogEventStartIndex", count, count);
	if (*new_from < *old)
		*new_from = *old;
}

char *cloudwatch_error(const char *operation, const struct aws_response *response)
{
	// Those of the two create calls' models.
	static const char *const modelled[] = {"InvalidParameterException",
					       "LimitExceededException",
					       "OperationAbortedException",
					       "ResourceAlreadyExistsException",
					       "ResourceNotFoundException",
					       "ServiceUnavailableException",
					       NULL};

	return aws_sdk_error("CloudWatch Logs", operation, response, modelled);
}

// What a stream is known by: never 0.
static uint64_t known_sum(const struct cloudwatch_service *service, const char *group, const char *stream)
{
	const char *const parts[] = {service->url, service->region, service->source->uri ? service->source->uri : "",
				     group, stream};
	uint64_t sum = FNV1A_START;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		sum = fnv1a(sum, parts[i], strlen(parts[i]) + 1);
	return sum ? sum : 1;
}

bool cloudwatch_known(const struct cloudwatch_service *service, const char *group, const char *stream)
{
	uint64_t sum = known_sum(service, group, stream);

	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (service->cloudwatch->known[i] == sum)
			return true;
	return false;
}

void cloudwatch_know(struct cloudwatch_service *service, const char *group, const char *stream, bool exists)
{
	struct cloudwatch *cloudwatch = service->cloudwatch;
	uint64_t sum = known_sum(service, group, stream);

	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (cloudwatch->known[i] == sum) {
			if (!exists)
				cloudwatch->known[i] = 0;
			return;
		}
	if (exists)
		cloudwatch->known[cloudwatch->known_next++ % KNOWN_MAX] = sum;
}

// --- credentials ---

static struct credentials_chain *instance_credentials(const struct cloudwatch *cloudwatch)
{
	return cloudwatch->imds
		       ? credentials_chain_new(cloudwatch->loop, cloudwatch->imds)
		       : credentials_chain_external(cloudwatch->loop, cloudwatch->get("ECSD_ROTATING_CREDENTIALS_FILE"),
						    cloudwatch->get("ECS_ALTERNATE_CREDENTIAL_PROFILE"));
}

static struct source *source_get(struct cloudwatch *cloudwatch, const char *uri)
{
	struct source *source;

	LIST_FOREACH (source, &cloudwatch->sources, link)
		if (str_equal(source->uri, uri)) {
			source->users++;
			return source;
		}
	source = xcalloc(1, sizeof(*source));
	source->users = 1;
	source->uri = xstrdup(uri);
	if (uri) {
		const char *base = cloudwatch->get("ECS_LOGD_CREDENTIALS_BASE");
		_cleanup_free_ char *url = xasprintf("%s%s", str_empty(base) ? CREDENTIALS_BASE : base, uri);
		source->chain = credentials_chain_http(cloudwatch->http, url);
	} else {
		source->chain = instance_credentials(cloudwatch);
	}
	LIST_INSERT_HEAD(&cloudwatch->sources, source, link);
	return source;
}

static void source_release(struct source *source)
{
	if (--source->users > 0)
		return;
	LIST_REMOVE(source, link);
	credentials_chain_free(source->chain);
	free(source->uri);
	free(source);
}

// --- region ---

static void find_region_later(void *arg)
{
	struct cloudwatch_region *ask = arg;
	const char *region = ask->cloudwatch->region;
	struct error err = {0};

	if (!region)
		error_set(&err, ENOENT,
			  "cannot determine region for awslogs driver: AWS_DEFAULT_REGION is not set, and an external "
			  "instance has no instance metadata");
	ask->done(region, region ? NULL : &err, ask->arg);
}

static void on_region(const char *body, long status, const struct error *err, void *arg)
{
	struct cloudwatch_region *ask = arg;
	struct error problem;

	(void)status;
	if (!body) {
		error_set(&problem, err->code, "cannot determine region for awslogs driver: %s", err->message);
		ask->done(NULL, &problem, ask->arg);
		return;
	}
	_cleanup_free_ char *text = xstrdup(body);
	str_replace(&ask->cloudwatch->region, str_trim(text));
	ask->done(ask->cloudwatch->region, NULL, ask->arg);
}

// --- turns ---

// While the service fails one that waits tries it; otherwise all go on, each in a turn of the loop of its own.
static void next_turn(void *arg)
{
	struct cloudwatch_service *service = arg;
	struct cloudwatch_turn *turn = TAILQ_FIRST(&service->waiting);
	bool failing = service->failures > 0;

	if (!turn || (failing && (service->probe || timer_running(&service->pause))))
		return;
	TAILQ_REMOVE(&service->waiting, turn, link);
	turn->waiting = false;
	if (failing)
		service->probe = turn;
	else if (!TAILQ_EMPTY(&service->waiting))
		loop_defer(service->cloudwatch->loop, next_turn, service);
	turn->go(turn->arg);
}
