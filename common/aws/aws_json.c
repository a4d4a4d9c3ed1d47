#include "common/aws/aws_json.h"
#include "common/aws/sigv4.h"
#include "common/log.h"
#include "common/util.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

// control-plane.md §1.3
#define CONNECT_TIMEOUT_MS 30000
#define CALL_TIMEOUT_MS 42000
// The token bucket that limits retries (control-plane.md §1.4).
#define TOKENS_MAX 500
#define TOKENS_RETRY 5
#define TOKENS_TIMEOUT 10
// The SDK takes a signature's refusal for a matter of clocks if they differ by more. Services allow five minutes.
#define CLOCK_SKEW_MS (4 * 60000)
#define DATE_MAX 253402300799 // the end of the year 9999

struct policy {
	int attempts;
	uint64_t (*delay_ms)(int failed);
};

struct aws_client {
	struct loop *loop;
	struct http_client *http;
	struct credentials_chain *credentials;
	char *region, *url, *host, *path, *service, *target_prefix, *user_agent;
	bool insecure;
	uint64_t timeout_ms;
	int tokens[AWS_RETRY_SUBMIT + 1]; // the reference has a client, and so a bucket, for each policy
	struct aws_call *calls;
	int64_t service_booted_ms; // when this host booted, by the service's clock; 0: ours is gone by
};

struct aws_call {
	struct aws_call *next;
	struct aws_client *client;
	char *operation, *body;
	size_t body_len;
	struct http_header headers[AWS_EXTRA_HEADERS_MAX];
	enum aws_retry retry;
	void (*done)(const struct aws_response *response, void *arg);
	void *arg;
	char invocation_id[37];
	int attempt;   // counts from 1
	int paid;      // tokens taken for this attempt
	bool resigned; // credentials were thrown away once on this call's account
	struct http_call *http;
	struct timer next_attempt;
};

static void start_attempt(void *arg);
static void on_credentials(const struct aws_credentials *credentials, const struct error *err, void *arg);
static void on_response(const struct http_response *http, void *arg);
static void call_free(struct aws_call *call);
static void finish(struct aws_call *call, struct aws_response *response);
static void split_endpoint(struct aws_client *client, const char *endpoint);
static uint64_t standard_delay(int failed);
static uint64_t submit_delay(int failed);

static const struct policy policies[] = {
	[AWS_RETRY_STANDARD] = {3, standard_delay},
	[AWS_RETRY_NONE] = {298, submit_delay}, // the caller repeats; the number is only told to the service
	[AWS_RETRY_ONCE] = {1, standard_delay},
	[AWS_RETRY_SUBMIT] = {298, submit_delay},
};

struct aws_client *aws_client_new(const struct aws_client_options *options)
{
	struct aws_client *client = xcalloc(1, sizeof(*client));

	client->loop = options->loop;
	client->http = options->http;
	client->credentials = options->credentials;
	client->region = xstrdup(options->region);
	client->service = xstrdup(options->service);
	client->target_prefix = xstrdup(options->target_prefix);
	client->user_agent = xstrdup(options->user_agent);
	client->insecure = options->insecure;
	client->timeout_ms = options->timeout_ms ? options->timeout_ms : CALL_TIMEOUT_MS;
	for (size_t i = 0; i < ARRAY_SIZE(client->tokens); i++)
		client->tokens[i] = TOKENS_MAX;
	split_endpoint(client, options->endpoint);
	return client;
}

struct aws_client *aws_client_free(struct aws_client *client)
{
	if (!client)
		return NULL;
	while (client->calls)
		aws_call_cancel(client->calls);
	free(client->region);
	free(client->url);
	free(client->host);
	free(client->path);
	free(client->service);
	free(client->target_prefix);
	free(client->user_agent);
	free(client);
	return NULL;
}

// Nobody sets this clock: what is learnt with it stays right when the host's wall clock is put right.
static int64_t since_boot_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t aws_client_wall_ms(const struct aws_client *client)
{
	return client->service_booted_ms ? client->service_booted_ms + since_boot_ms() : wall_ms();
}

static struct aws_call *call_new(struct aws_client *client, const char *operation, char *body, size_t body_len,
				 enum aws_retry retry, void (*done)(const struct aws_response *response, void *arg),
				 void *arg)
{
	struct aws_call *call = xcalloc(1, sizeof(*call));

	call->client = client;
	call->next = client->calls;
	client->calls = call;
	call->operation = xstrdup(operation);
	call->body = body;
	call->body_len = body_len;
	call->retry = retry;
	call->done = done;
	call->arg = arg;
	call->attempt = 1;
	random_uuid(call->invocation_id);
	timer_init(&call->next_attempt, client->loop, start_attempt, call);
	timer_start(&call->next_attempt, 0);
	return call;
}

struct aws_call *aws_client_call(struct aws_client *client, const char *operation, json_object *body,
				 enum aws_retry retry, void (*done)(const struct aws_response *response, void *arg),
				 void *arg)
{
	const char *text = body ? json_text(body) : "{}";

	return call_new(client, operation, xstrdup(text), strlen(text), retry, done, arg);
}

struct aws_call *aws_client_attempt(struct aws_client *client, const char *operation, json_object *body,
				    const char *invocation_id, int attempt,
				    void (*done)(const struct aws_response *response, void *arg), void *arg)
{
	struct aws_call *call = aws_client_call(client, operation, body, AWS_RETRY_NONE, done, arg);

	call->attempt = attempt;
	snprintf(call->invocation_id, sizeof(call->invocation_id), "%s", invocation_id);
	return call;
}

struct aws_call *aws_client_send(struct aws_client *client, const struct aws_request *request,
				 void (*done)(const struct aws_response *response, void *arg), void *arg)
{
	struct aws_call *call =
		call_new(client, request->operation, request->body, request->body_len, AWS_RETRY_ONCE, done, arg);

	memcpy(call->headers, request->headers, sizeof(call->headers));
	return call;
}

void aws_call_cancel(struct aws_call *call)
{
	if (!call)
		return;
	credentials_chain_cancel(call->client->credentials, call);
	http_cancel(call->http);
	call_free(call);
}

// --- an attempt ---

// credentials_chain_get may call back at once, and that may end the call.
static void start_attempt(void *arg)
{
	struct aws_call *call = arg;

	credentials_chain_get(call->client->credentials, on_credentials, call);
}

// The headers that are signed are those the reference signs (transcripts/README.md, ECS API); curl adds
// Content-Length by itself.
static void send_signed(struct aws_call *call, const struct aws_credentials *credentials)
{
	struct aws_client *client = call->client;
	char length[24], attempts[48];
	_cleanup_free_ char *target = xasprintf("%s.%s", client->target_prefix, call->operation);
	struct sigv4_result signature;

	snprintf(length, sizeof(length), "%zu", call->body_len);
	snprintf(attempts, sizeof(attempts), "attempt=%d; max=%d", call->attempt, policies[call->retry].attempts);
	struct http_header headers[7 + AWS_EXTRA_HEADERS_MAX + SIGV4_EXTRA_HEADERS_MAX] = {
		{"Content-Length", length}, // signed, not sent from here
		{"Amz-Sdk-Invocation-Id", call->invocation_id},
		{"Amz-Sdk-Request", attempts},
		{"Content-Type", "application/x-amz-json-1.1"},
		{"X-Amz-Target", target},
	};
	size_t count = 5;
	for (size_t i = 0; i < AWS_EXTRA_HEADERS_MAX && call->headers[i].name; i++)
		headers[count++] = call->headers[i];
	struct sigv4_request to_sign = {.method = "POST",
					.host = client->host,
					.path = client->path,
					.headers = headers,
					.header_count = count,
					.body = call->body,
					.body_len = call->body_len,
					.region = client->region,
					.service = client->service,
					.wall_ms = aws_client_wall_ms(client),
					.double_encode_path = true};
	sigv4_sign_headers(&to_sign, credentials, &signature);
	for (size_t i = 0; i < signature.header_count; i++)
		headers[count++] = (struct http_header){signature.headers[i].name, signature.headers[i].value};
	headers[0] = (struct http_header){"User-Agent", client->user_agent};
	headers[count++] = (struct http_header){"Accept-Encoding", "gzip"};

	struct http_request request = {.method = "POST",
				       .url = client->url,
				       .headers = headers,
				       .header_count = count,
				       .body = call->body,
				       .body_len = call->body_len,
				       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
				       .timeout_ms = client->timeout_ms,
				       .insecure = client->insecure};
	call->http = http_send(client->http, &request, on_response, call);
	sigv4_result_free(&signature);
}

static void on_credentials(const struct aws_credentials *credentials, const struct error *err, void *arg)
{
	struct aws_call *call = arg;

	if (credentials) {
		send_signed(call, credentials);
		return;
	}
	struct aws_response response = {.error = *err, .transient = true};
	finish(call, &response);
}

// --- answers ---

static bool one_of(const char *text, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, list[i]) == 0)
			return true;
	return false;
}

static bool retryable(const struct aws_response *response)
{
	static const char *const codes[] = {
		"RequestTimeout",
		"RequestTimeoutException",
		"Throttling",
		"ThrottlingException",
		"ThrottledException",
		"RequestThrottledException",
		"TooManyRequestsException",
		"ProvisionedThroughputExceededException",
		"TransactionInProgressException",
		"RequestLimitExceeded",
		"BandwidthLimitExceeded",
		"LimitExceededException",
		"RequestThrottled",
		"SlowDown",
		"PriorRequestNotComplete",
		"EC2ThrottledException",
	};

	return response->status == 500 || response->status == 502 || response->status == 503 ||
	       response->status == 504 || one_of(response->error_code, codes, ARRAY_SIZE(codes));
}

static bool is_timeout(const char *code)
{
	return strcmp(code, "RequestTimeout") == 0 || strcmp(code, "RequestTimeoutException") == 0;
}

// The service does not know or no longer accepts what the request was signed with.
static bool credentials_refused(const char *code)
{
	static const char *const codes[] = {"ExpiredTokenException", "UnrecognizedClientException",
					    "InvalidSignatureException"};

	return one_of(code, codes, ARRAY_SIZE(codes));
}

// Whether the request was refused for its time. If the answer's Date shows that the clocks differ, the service's is
// gone by from now on, as with the SDK.
static bool clock_refused(struct aws_call *call, const struct http_response *http, const struct aws_response *response)
{
	static const char *const certain[] = {"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"};
	static const char *const possible[] = {"InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"};
	struct aws_client *client = call->client;
	bool certainly = one_of(response->error_code, certain, ARRAY_SIZE(certain));
	const char *date = http->header(http, "Date");
	time_t theirs = date ? curl_getdate(date, NULL) : -1;

	if (!certainly && !one_of(response->error_code, possible, ARRAY_SIZE(possible)))
		return false;
	if (theirs < 0 || theirs > DATE_MAX ||
	    llabs((int64_t)theirs * 1000 - aws_client_wall_ms(client)) <= CLOCK_SKEW_MS)
		return certainly;
	client->service_booted_ms = (int64_t)theirs * 1000 - since_boot_ms();
	log_error("the clock of this host is wrong: requests are signed with the time of the service",
		  "service=%s service_time=%s ahead_s=%lld operation=%s error=%s", client->service, date,
		  (long long)(theirs - wall_ms() / 1000), call->operation, response->error.message);
	return true;
}

// "com.amazonaws.ecs#ClientException:http://..." -> "ClientException"
static void bare_code(const char *text, char *out, size_t size)
{
	size_t len = strcspn(text, ":");
	const char *mark = memchr(text, '#', len);

	if (mark) {
		len -= (size_t)(mark + 1 - text);
		text = mark + 1;
	}
	if (len == 0)
		snprintf(out, size, "UnknownError"); // "" means that no answer came
	else
		snprintf(out, size, "%.*s", (int)(len < size ? len : size), text);
}

static void read_error(const struct http_response *http, struct aws_response *response)
{
	_cleanup_json_ json_object *body = json_parse(http->body, http->body_len, NULL);
	if (!body)
		body = json_object_new_object(); // a proxy's page, say
	const char *code = http->header(http, "X-Amzn-ErrorType"), *message = json_get_string(body, "message");
	if (str_empty(code))
		code = json_get_string(body, "__type");
	if (str_empty(code))
		code = json_get_string(body, "code");
	bare_code(str_empty(code) ? "UnknownError" : code, response->error_code, sizeof(response->error_code));
	snprintf(response->message, sizeof(response->message), "%s", message ? message : "");
	if (*response->message)
		error_set(&response->error, EREMOTEIO, "%s: %s", response->error_code, response->message);
	else
		error_set(&response->error, EREMOTEIO, "%s (HTTP %ld)", response->error_code, http->status);
	response->transient = retryable(response);
	if (json_object_is_type(body, json_type_object))
		response->details = TAKE(body);
}

static void read_success(const struct http_response *http, struct aws_response *response)
{
	struct error err;

	response->body = http->body_len ? json_parse(http->body, http->body_len, &err) : json_object_new_object();
	if (response->body && json_object_is_type(response->body, json_type_object))
		return;
	error_set(&response->error, EPROTO, "unusable answer: %s", response->body ? "not a JSON object" : err.message);
	json_object_put(response->body);
	response->body = NULL;
}

// A timeout costs more than another failure.
static bool take_tokens(struct aws_call *call, bool timeout)
{
	int *tokens = &call->client->tokens[call->retry], cost = timeout ? TOKENS_TIMEOUT : TOKENS_RETRY;

	if (*tokens < cost)
		return false;
	*tokens -= cost;
	call->paid = cost;
	return true;
}

static void give_tokens(struct aws_call *call)
{
	int *tokens = &call->client->tokens[call->retry];

	*tokens += call->attempt == 1 ? 1 : call->paid;
	if (*tokens > TOKENS_MAX)
		*tokens = TOKENS_MAX;
}

// Arms the next attempt, or says no.
static bool try_again(struct aws_call *call, struct aws_response *response, bool timeout)
{
	const struct policy *policy = &policies[call->retry];

	if (!response->transient || call->retry == AWS_RETRY_NONE || call->attempt >= policy->attempts)
		return false;
	if (!take_tokens(call, timeout)) {
		error_wrap(&response->error, "failed to get rate limit token, too many retries");
		return false;
	}
	uint64_t delay = policy->delay_ms(call->attempt++);
	log_debug("ECS call failed, trying again", "operation=%s attempt=%d delay_ms=%llu reason=%s", call->operation,
		  call->attempt, (unsigned long long)delay, response->error.message);
	timer_start(&call->next_attempt, delay);
	return true;
}

static void on_response(const struct http_response *http, void *arg)
{
	struct aws_call *call = arg;
	struct aws_response response = {.status = http->result < 0 ? 0 : http->status, .sent = http->sent};
	bool timeout = false, clock = false;

	call->http = NULL;
	const char *request_id = http->result < 0 ? NULL : http->header(http, "X-Amzn-RequestId");
	snprintf(response.request_id, sizeof(response.request_id), "%s", request_id ? request_id : "");
	if (http->result < 0) {
		response.error = http->error;
		response.transient = http->result != -EMSGSIZE; // the same answer would come again
		timeout = http->result == -ETIMEDOUT;
	} else if (http->status >= 200 && http->status < 300) {
		give_tokens(call);
		read_success(http, &response);
	} else {
		read_error(http, &response);
		timeout = is_timeout(response.error_code);
		clock = clock_refused(call, http, &response);
		response.transient |= clock;
	}
	if (!clock && credentials_refused(response.error_code) && !call->resigned) {
		log_info("credentials refused, asking for new ones", "operation=%s reason=%s", call->operation,
			 response.error.message);
		call->resigned = true;
		credentials_chain_invalidate(call->client->credentials);
		timer_start(&call->next_attempt, 0);
		json_object_put(response.details);
		return;
	}
	if (try_again(call, &response, timeout))
		json_object_put(response.details);
	else
		finish(call, &response);
}

// The callback is the last thing: it may free the client.
static void finish(struct aws_call *call, struct aws_response *response)
{
	void (*done)(const struct aws_response *, void *) = call->done;
	void *arg = call->arg;

	response->attempts = call->attempt;
	if (!response->body)
		error_wrap(&response->error, "%s", call->operation);
	call_free(call);
	done(response, arg);
	json_object_put(response->body);
	json_object_put(response->details);
}

char *aws_sdk_error(const char *service_id, const char *operation, const struct aws_response *response,
		    const char *const *modelled)
{
	_cleanup_free_ char *attempts =
		response->transient && response->attempts > 1
			? xasprintf("exceeded maximum number of attempts, %d, ", response->attempts)
			: xstrdup("");
	const char *why = response->error.message; // without the operation, which finish() put in front
	if (str_starts(why, operation) && str_starts(why + strlen(operation), ": "))
		why += strlen(operation) + 2;
	if (!response->status)
		return xasprintf("operation error %s: %s, %shttps response error StatusCode: 0, RequestID: , request "
				 "send failed, %s",
				 service_id, operation, attempts, why);
	bool known = false;
	for (; *modelled; modelled++)
		known |= str_equal(*modelled, response->error_code);
	if (str_empty(response->error_code))
		return xasprintf("operation error %s: %s, %s", service_id, operation, why);
	return xasprintf("operation error %s: %s, %shttps response error StatusCode: %ld, RequestID: %s, %s%s: %s",
			 service_id, operation, attempts, response->status, response->request_id,
			 known ? "" : "api error ", response->error_code, response->message);
}

static void call_free(struct aws_call *call)
{
	for (struct aws_call **p = &call->client->calls; *p; p = &(*p)->next)
		if (*p == call) {
			*p = call->next;
			break;
		}
	timer_done(&call->next_attempt);
	free(call->operation);
	free(call->body);
	free(call);
}

// --- delays ---

// Uniform in [0, 2^n) s; a flat 20 s behind the fourth failure (control-plane.md §1.4).
static uint64_t standard_delay(int failed)
{
	return failed > 4 ? 20000 : (uint64_t)(random_unit() * 1000.0 * (double)(1 << failed));
}

// 2^n × a whole number of 30 to 59 ms; 5 minutes behind the 13th failure (state-changes.md §6.1).
static uint64_t submit_delay(int failed)
{
	return failed > 13 ? 300000 : (uint64_t)(30 + (int)(random_unit() * 30.0)) << failed;
}

// --- endpoint ---

// curl leaves a default port out of the Host header, and the signature has to cover what is sent.
static void split_endpoint(struct aws_client *client, const char *endpoint)
{
	const char *host = strstr(endpoint, "://");
	const char *port = strncasecmp(endpoint, "https:", 6) == 0 ? ":443" : ":80";

	host = host ? host + 3 : endpoint;
	size_t len = strcspn(host, "/");
	client->path = xstrdup(host[len] ? host + len : "/");
	client->url = xasprintf("%.*s%s", (int)(host + len - endpoint), endpoint, client->path);
	client->host = xstrndup(host, len);
	if (str_ends(client->host, port))
		client->host[len - strlen(port)] = '\0';
}
