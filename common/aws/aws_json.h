// Calls of AWS JSON 1.1 services (ECS, ECR, Secrets Manager), signed, with the retry rules and headers of ECS clients
// (control-plane.md §1.3-1.4, state-changes.md §6.1).
#pragma once

#include "common/aws/credentials.h"
#include "common/error.h"
#include "common/http.h"
#include "common/json.h"
#include "common/loop.h"

struct aws_client;
struct aws_call;

struct aws_client_options {
	struct loop *loop;
	struct http_client *http;
	struct credentials_chain *credentials;
	const char *region;        // copied
	const char *endpoint;      // copied; scheme://host[:port]
	const char *service;       // "ecs"
	const char *target_prefix; // "AmazonEC2ContainerServiceV20141113"
	const char *user_agent;    // copied
	bool insecure;             // -k
	uint64_t timeout_ms;       // of an attempt; 0: the ECS client's
};
struct aws_client *aws_client_new(const struct aws_client_options *options);
struct aws_client *aws_client_free(struct aws_client *client); // cancels calls; returns NULL
// The time to sign with: ours, or the service's once it has refused a signature because our clock is wrong.
int64_t aws_client_wall_ms(const struct aws_client *client);

enum aws_retry {
	AWS_RETRY_STANDARD, // 3 attempts, U[0, 2^n) s between them
	AWS_RETRY_NONE,     // one attempt: aws_client_attempt
	AWS_RETRY_ONCE,     // one attempt: aws_client_send
	AWS_RETRY_SUBMIT,   // 298 attempts, 2^n × U{30..59} ms, then 5 min; for the Submit* calls
};

struct aws_response {
	json_object *body;    // NULL on error
	json_object *details; // of an error, the service's answer: an object, or NULL
	char error_code[128]; // "InvalidParameterException" ...; "" when no answer of the service came
	struct error error;   // text for an operator: "<Operation>: <Code>: <message>"
	char message[512];    // the service's own message
	long status;          // HTTP status, 0 if none
	char request_id[64];  // the service's, "" if it gave none
	int attempts;         // made
	bool sent;            // the request may have reached the service
	bool transient;       // the retry rules count it as retryable (attempts were used up)
};

// Sends body (borrowed during the call to this function). The callback runs once, never inside this call;
// response is borrowed, response->body may be kept with json_object_get.
struct aws_call *aws_client_call(struct aws_client *client, const char *operation, json_object *body,
				 enum aws_retry retry, void (*done)(const struct aws_response *response, void *arg),
				 void *arg);
// One attempt of a Submit* call which the caller itself repeats with a body built anew (control/submit.c). attempt counts
// from 1; invocation_id (random_uuid) stays the same for all attempts. Headers say "attempt=<n>; max=298".
struct aws_call *aws_client_attempt(struct aws_client *client, const char *operation, json_object *body,
				    const char *invocation_id, int attempt,
				    void (*done)(const struct aws_response *response, void *arg), void *arg);
// One attempt of any call, with a body that the caller has encoded, and repeats itself.
#define AWS_EXTRA_HEADERS_MAX 2
struct aws_request {
	const char *operation;
	char *body; // taken
	size_t body_len;
	struct http_header headers[AWS_EXTRA_HEADERS_MAX]; // sent and signed as well; constant texts; name NULL: none
};
struct aws_call *aws_client_send(struct aws_client *client, const struct aws_request *request,
				 void (*done)(const struct aws_response *response, void *arg), void *arg);
void aws_call_cancel(struct aws_call *call); // NULL is fine

// The ECS endpoint of a region (control-plane.md §5.2: ECS_BACKEND_HOST, AWS_ENDPOINT_URL_ECS, AWS_ENDPOINT_URL,
// FIPS, dual stack, partitions). Caller frees; NULL and err for contradictory settings.
char *aws_ecs_endpoint(const char *region, const char *backend_host, const char *(*get)(const char *name),
		       struct error *err);
// The endpoint of another service for calls on behalf of tasks. override: of the payload or the log option, scheme
// optional, NULL or "": AWS_ENDPOINT_URL_<service>, AWS_ENDPOINT_URL, else the region's. As above.
enum aws_service { AWS_ECR, AWS_SECRETS_MANAGER, AWS_CLOUDWATCH_LOGS };
char *aws_service_endpoint(enum aws_service service, const char *region, const char *override,
			   const char *(*get)(const char *name), struct error *err);
// What the SDK of the official agent says of a failed call, which is what users see in reasons:
// "operation error ECR: GetAuthorizationToken, https response error StatusCode: 400, RequestID: ..., api error ...".
// modelled: codes of errors that the service's model has (they stand without "api error"), NULL-terminated. Caller frees.
char *aws_sdk_error(const char *service_id, const char *operation, const struct aws_response *response,
		    const char *const *modelled);
// "Amazon ECS Agent - v1.105.1 (<commit>) (linux; LINUX) (+http://aws.amazon.com/ecs/)". Caller frees.
char *aws_user_agent(const char *os_family);
