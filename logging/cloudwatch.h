// What all awslogs streams share: CloudWatch Logs endpoints with their credentials, when to call them after a failure, which
// streams are known to exist, and what the service's answers mean.
//
// A service is an endpoint with one set of credentials. While it fails, one call at a time tries it, with growing pauses, on
// behalf of all streams that use it.
#pragma once

#include "common/aws/aws_json.h"
#include "common/error.h"
#include "common/http.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct cloudwatch;
struct cloudwatch_service;

// get: the environment. AWS_REGION, AWS_DEFAULT_REGION; AWS_ENDPOINT_URL_CLOUDWATCH_LOGS, AWS_ENDPOINT_URL and the like
// (aws_json.h); ECS_LOGD_CREDENTIALS_BASE: what comes before a task's awslogs-credentials-endpoint (http://169.254.170.2);
// ECS_LOGD_AWSLOGS_GZIP=false: request bodies go uncompressed; ECS_LOGD_AWSLOGS_MAX_EVENT=1048550: events may be as long
// as the service allows today, and not as long as Docker makes them. ECS_EXTERNAL=true: instance metadata is asked
// neither for the region nor for credentials; ECSD_ROTATING_CREDENTIALS_FILE and ECS_ALTERNATE_CREDENTIAL_PROFILE are those
// of ecsd. All but loop, http and get are its own.
struct cloudwatch *cloudwatch_new(struct loop *loop, struct http_client *http, const char *(*get)(const char *name));
struct cloudwatch *cloudwatch_free(struct cloudwatch *cloudwatch); // its services must be released before; returns NULL
bool cloudwatch_gzip(const struct cloudwatch *cloudwatch);
size_t cloudwatch_max_event(const struct cloudwatch *cloudwatch); // effective bytes (event_text.h)

// The region of streams that name none. Embedded in its owner; the callback runs once, never inside this call.
struct cloudwatch_region {
	struct cloudwatch *cloudwatch;
	void (*done)(const char *region, const struct error *err, void *arg); // NULL and err: cannot be found out
	void *arg;
};
void cloudwatch_find_region(struct cloudwatch *cloudwatch, struct cloudwatch_region *ask);
void cloudwatch_region_cancel(struct cloudwatch_region *ask);

// endpoint: of awslogs-endpoint, NULL: the region's. credentials: awslogs-credentials-endpoint, NULL: the instance's own.
// They are kept as long as one service that uses them is. NULL and err if there can be no such endpoint.
struct cloudwatch_service *cloudwatch_service_get(struct cloudwatch *cloudwatch, const char *region,
						  const char *endpoint, const char *credentials, struct error *err);
struct cloudwatch_service *cloudwatch_service_release(struct cloudwatch_service *service); // returns NULL
int64_t cloudwatch_wall_ms(const struct cloudwatch_service *service); // the service's clock, as far as it is known
void cloudwatch_renew(struct cloudwatch_service *service);            // the next call has new credentials

// Turns: before each call its owner asks for one, and says afterwards how it was. Embedded; zero-initialise, set go and arg.
struct cloudwatch_turn {
	void (*go)(void *arg); // the turn that was not free has come; in a turn of the loop of its own
	void *arg;
	bool waiting;
	TAILQ_ENTRY(cloudwatch_turn) link;
};
bool cloudwatch_turn_take(struct cloudwatch_service *service, struct cloudwatch_turn *turn); // false: go follows
enum cloudwatch_reached { CLOUDWATCH_REACHED, CLOUDWATCH_FAILED, CLOUDWATCH_NOT_CALLED };
void cloudwatch_turn_done(struct cloudwatch_service *service, struct cloudwatch_turn *turn,
			  enum cloudwatch_reached how);
void cloudwatch_turn_leave(struct cloudwatch_service *service, struct cloudwatch_turn *turn); // not interested any more

// One attempt. body is taken. gzip: it is compressed. emf: with x-amzn-logs-format (§4.8). Cancel with aws_call_cancel.
struct aws_call *cloudwatch_call(struct cloudwatch_service *service, const char *operation, char *body, size_t len,
				 bool gzip, bool emf, void (*done)(const struct aws_response *response, void *arg),
				 void *arg);

// What to do about an answer (logging.md §4.9).
enum cloudwatch_verdict {
	CLOUDWATCH_ACCEPTED,
	CLOUDWATCH_RETRY,       // the service is away or busy: when it is back, by turns
	CLOUDWATCH_RETRY_TOKEN, // once more at once, with the sequence token of the answer
	CLOUDWATCH_SPLIT,       // less at a time
	CLOUDWATCH_MISSING,     // the stream or its group does not exist
	CLOUDWATCH_EXISTS,      // it does already
	CLOUDWATCH_RENEW,       // the credentials are refused: once more with new ones, then as HOLD
	CLOUDWATCH_HOLD,        // refused; after a while again
};
enum cloudwatch_verdict cloudwatch_judge(const struct aws_response *response);
// rejectedLogEventsInfo of an accepted batch of count events (§4.10): not taken are those before `old` and those from
// `new_from` on. What makes no sense is put right: old <= new_from <= count.
void cloudwatch_rejected(json_object *body, size_t count, size_t *old, size_t *new_from);
// As Docker reports what went wrong with a call at a container's start. Caller frees.
char *cloudwatch_error(const char *operation, const struct aws_response *response);

// Streams that exist; a limited number is remembered.
bool cloudwatch_known(const struct cloudwatch_service *service, const char *group, const char *stream);
void cloudwatch_know(struct cloudwatch_service *service, const char *group, const char *stream, bool exists);
