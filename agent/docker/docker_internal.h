// Shared by the files of agent/docker only.
#pragma once

#include "docker/docker.h"
#include "common/util.h"

#define DOCKER_SMALL_BODY_MAX ((size_t)1 << 20)    // answers of a few members: create, version, ping
#define DOCKER_INSPECT_MAX ((size_t)16 << 20)      // inspect answers carry environment, labels and five health outputs
#define DOCKER_LIST_MAX ((size_t)64 << 20)         // lists: about 2 KiB for each container, many with large labels
#define DOCKER_STREAM_OBJECT_MAX ((size_t)4 << 20) // one event or progress line; an event repeats all labels
#define DOCKER_PORTS_MAX ((size_t)1 << 18)         // every TCP and UDP port on both address families
#define DOCKER_MOUNTS_MAX ((size_t)4096)

// What a kind of call is named in errors: the ECS error name, and the transition in a time-out text.
struct docker_operation {
	const char *error_name, *transition;
};

// How a call goes to its caller: err is never NULL; body is NULL unless err->failure is DOCKER_OK and the answer is JSON.
typedef void (*docker_finish)(struct docker_call *call, const struct docker_error *err, json_object *body);

union docker_done {
	void (*plain)(const struct docker_error *err, void *arg);
	void (*info)(const struct docker_error *err, const struct docker_info *info, void *arg);
	void (*create)(const struct docker_error *err, const char *id, void *arg);
	void (*inspect)(const struct docker_error *err, const struct docker_container *container, void *arg);
	void (*list)(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg);
	void (*image)(const struct docker_error *err, const struct docker_image *image, void *arg);
	void (*json)(const struct docker_error *err, json_object *list, void *arg);
	void (*manifest)(const struct docker_error *err, const struct docker_manifest *manifest, void *arg);
};

// A JSON object at a time out of a stream cut anywhere.
struct docker_stream {
	struct buf buf;
	unsigned depth;
	bool in_string, escaped;
};
// Calls on_object for each complete object. 0, a negative errno for text that is no JSON object or too long an
// object, or the non-zero value on_object has returned.
int docker_stream_feed(struct docker_stream *stream, const char *data, size_t len,
		       int (*on_object)(json_object *object, void *arg), void *arg);
void docker_stream_done(struct docker_stream *stream);

struct docker_pull;

struct docker_call {
	struct docker *docker;
	struct docker_call *next, **link; // list of the calls under way
	struct http_call *http;
	const struct docker_operation *operation;
	uint64_t timeout_ms;
	bool wants_json;
	docker_finish finish;
	union docker_done done;
	void *arg;
	struct docker_error failed; // of a call that could not even be sent, until the loop's next turn
	struct docker_pull *pull;   // docker_pull only
};

struct docker_request {
	const struct docker_operation *operation;
	const char *method;
	const char *path; // after the version: "/containers/json"
	bool unversioned;
	uint64_t timeout_ms;                                     // 0: none
	size_t max_body;                                         // 0: DOCKER_SMALL_BODY_MAX
	bool wants_json;                                         // the answer is JSON
	const char *body;                                        // JSON or NULL
	struct http_header header;                               // one more header; name NULL: none
	int (*on_data)(const char *data, size_t len, void *arg); // streamed body; arg is the call
	docker_finish finish;
	union docker_done done;
	void *arg;
};
struct docker_call *docker_call_new(struct docker *docker, const struct docker_request *request);
// A call that fails in the next turn of the loop without having been sent.
struct docker_call *docker_call_refused(struct docker *docker, const struct docker_request *request,
					const char *message);
// For docker_finish functions of calls whose callback takes the error alone.
void docker_finish_plain(struct docker_call *call, const struct docker_error *err, json_object *body);
// Fills err from an answer of any kind.
void docker_error_from(struct docker_error *err, const struct docker *docker, const struct docker_operation *operation,
		       uint64_t timeout_ms, const struct http_response *response);
// Sets the message, cut to its size at a character boundary.
void docker_error_text(struct docker_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// URL of a path (with query) for the version spoken; caller frees.
char *docker_url(const struct docker *docker, const char *path, bool unversioned);
const char *docker_socket(const struct docker *docker);
const struct docker_options *docker_options_of(const struct docker *docker);
struct docker_event_stream;
struct docker_event_stream **docker_event_stream_of(struct docker *docker);

// Ends a call whose HTTP call is over or cancelled.
void docker_call_complete(struct docker_call *call, const struct docker_error *err);
void docker_pull_free(struct docker_pull *pull); // NULL is fine
enum docker_health docker_health_parse(const char *text);

// --- image references (images.c) ---
struct docker_reference {
	char *repository, *tag; // tag: the digest if the reference has one, else the tag, else "latest"
};
int docker_reference_parse(const char *text, struct docker_reference *reference, struct error *err);
void docker_reference_done(struct docker_reference *reference);
// Value of X-Registry-Auth: URL-safe base64 with padding, as Go's client writes it. A secret: release with secret_free.
char *docker_registry_auth(json_object *auth);
// A registry that is out of order makes the daemon answer 503; that is not the daemon's own trouble.
void docker_registry_answer(struct docker_error *err);
// Text of a failed pull as users see it: ECR layer URLs taken out, then a hint in front (user-visible-reasons.md §4).
char *docker_pull_text(const char *image, const char *raw);

// --- payload JSON laid over a request (go_json.c, config_overlay.c) ---
// Strict syntax check with the error texts of Go's encoding/json.
int go_json_check(const char *text, size_t len, struct error *err);
// Decodes text on top of an object of Docker's Config / HostConfig by the rules of docker-mapping.md §5.
// On failure err has the text of Go's decoder and the object may be partly changed.
int overlay_config(json_object *config, const char *text, struct error *err);
int overlay_host_config(json_object *host_config, const char *text, struct error *err);
