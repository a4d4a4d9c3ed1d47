// Docker Engine API client on the Unix socket, asynchronous.
//
// One version negotiation (GET /version) instead of a probe for each version. Errors carry the names
// and texts that ECS users see (user-visible-reasons.md §3): `name` is e.g. "CannotCreateContainerError",
// the message e.g. "Error response from daemon: ...".
#pragma once

#include "common/error.h"
#include "common/http.h"
#include "common/json.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCKER_API_VERSION_MIN "1.24" // oldest spoken
#define DOCKER_API_VERSION_MAX "1.47" // newest tested

struct docker;
struct docker_call;

enum docker_failure {
	DOCKER_OK,
	DOCKER_UNKNOWN,      // no answer, cut connection, time-out, 5xx of a daemon that shuts down: nothing is known
	DOCKER_REFUSED,      // the daemon answered with an error: it did not happen
	DOCKER_NOT_FOUND,    // 404: no such container / image
	DOCKER_CONFLICT,     // 409: name in use (create), or wrong state
	DOCKER_NOT_MODIFIED, // 304: already started / already stopped
};

struct docker_error {
	enum docker_failure failure;
	bool timeout;       // DOCKER_UNKNOWN because the deadline passed
	long status;        // of the daemon's answer, 0: none, or an error inside a stream
	const char *name;   // ECS error name, static storage
	char message[1024]; // without the name
};

struct docker_options {
	struct loop *loop;
	struct http_client *http;
	const char *endpoint;                         // unix:///path
	uint64_t create_timeout_ms, start_timeout_ms; // configured; the others are the page's (docker-mapping.md §2)
	uint64_t pull_timeout_ms, pull_inactivity_ms;
	uint64_t manifest_timeout_ms;
};
struct docker *docker_new(const struct docker_options *options);
struct docker *docker_free(struct docker *docker); // cancels everything; returns NULL

// --- connection ---
// Negotiates the API version; needed before any other call but ping. done: err->failure DOCKER_OK, or why not
// (a daemon whose versions do not overlap: DOCKER_REFUSED).
struct docker_call *docker_connect(struct docker *docker, void (*done)(const struct docker_error *err, void *arg),
				   void *arg);
const char *docker_server_version(const struct docker *docker);       // "20.10.24+dfsg1"; "" before docker_connect
const char *docker_api_version(const struct docker *docker);          // spoken, "1.41"
bool docker_speaks(const struct docker *docker, const char *version); // at least this version is spoken
const char *docker_api_version_max(const struct docker *docker);      // the daemon's newest
const char *docker_api_version_min(const struct docker *docker);      // the daemon's oldest
struct docker_call *docker_ping(struct docker *docker, uint64_t timeout_ms,
				void (*done)(const struct docker_error *err, void *arg), void *arg);

// What the daemon says of its host. Texts are "" if it does not say (CgroupVersion: before 20.10).
struct docker_info {
	const char *root;                           // DockerRootDir, on the daemon's side
	const char *cgroup_driver, *cgroup_version; // "cgroupfs"/"systemd"/"none", "1"/"2"
};
struct docker_call *docker_info(struct docker *docker,
				void (*done)(const struct docker_error *err, const struct docker_info *info, void *arg),
				void *arg);

// --- containers ---
struct docker_port_binding {
	uint16_t container_port, host_port;
	char protocol[4];
	char bind_ip[46];
};
struct docker_mount {
	char *name, *source, *destination;
};

// What is kept of an inspect answer; everything else (health output, environment) is dropped on reading.
struct docker_container {
	char *id, *name; // name without the leading '/'
	char *image_id;
	bool running, dead, oom_killed;
	bool started;                                // StartedAt is not the zero time
	bool finished;                               // FinishedAt is not the zero time
	int exit_code;                               // of the last run; meaningful when !running && finished
	char *state_error;                           // State.Error, "" if none
	int64_t pid;                                 // 0 when not running
	int64_t created_ms, started_ms, finished_ms; // wall clock, 0 when zero or unknown
	char *created_text, *started_text;           // as Docker wrote them (nanoseconds), for introspection
	enum docker_health { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY } health;
	struct docker_port_binding *ports;
	size_t port_count;
	struct docker_mount *mounts;
	size_t mount_count;
	char *ip_address;    // bridge address, "" if none
	json_object *labels; // object of strings
};
void docker_container_free(struct docker_container *container); // members only

struct docker_call *docker_create(struct docker *docker, const char *name, json_object *body,
				  void (*done)(const struct docker_error *err, const char *id, void *arg), void *arg);
struct docker_call *docker_start(struct docker *docker, const char *id,
				 void (*done)(const struct docker_error *err, void *arg), void *arg);
// timeout_s: grace period given to Docker; the call itself may take 2 minutes longer.
struct docker_call *docker_stop(struct docker *docker, const char *id, uint64_t timeout_s,
				void (*done)(const struct docker_error *err, void *arg), void *arg);
struct docker_call *docker_inspect(struct docker *docker, const char *id_or_name,
				   void (*done)(const struct docker_error *err,
						const struct docker_container *container, void *arg),
				   void *arg);
struct docker_call *docker_remove(struct docker *docker, const char *id,
				  void (*done)(const struct docker_error *err, void *arg), void *arg);

struct docker_summary {
	char *id, *name, *state;
	char *image_id; // "sha256:..."
	json_object *labels;
	int64_t created_s;
};
// All containers, running or not, that have the label (NULL: all).
struct docker_call *docker_list(struct docker *docker, const char *label,
				void (*done)(const struct docker_error *err, const struct docker_summary *list,
					     size_t count, void *arg),
				void *arg);

// --- images and volumes ---
struct docker_image {
	char *id;
	struct json_strings repo_digests, env; // env: KEY=VALUE
	int64_t size;                          // bytes
};
struct docker_call *docker_image_inspect(struct docker *docker, const char *reference,
					 void (*done)(const struct docker_error *err, const struct docker_image *image,
						      void *arg),
					 void *arg);
struct docker_call *docker_image_list(struct docker *docker,
				      void (*done)(const struct docker_error *err, json_object *list, void *arg),
				      void *arg);
struct docker_call *docker_image_remove(struct docker *docker, const char *reference,
					void (*done)(const struct docker_error *err, void *arg), void *arg);
// auth: JSON of Docker's AuthConfig or NULL (an empty object is sent). progress (may be NULL) gets a line now and then
// and must not cancel the call.
struct docker_call *docker_pull(struct docker *docker, const char *reference, json_object *auth,
				void (*progress)(const char *status, void *arg),
				void (*done)(const struct docker_error *err, void *arg), void *arg);
// What the registry says about a reference, without a pull (needs API 1.35). auth as for docker_pull.
struct docker_manifest {
	const char *digest;     // "sha256:..."
	const char *media_type; // "" if not told
};
struct docker_call *docker_manifest(struct docker *docker, const char *reference, json_object *auth,
				    void (*done)(const struct docker_error *err, const struct docker_manifest *manifest,
						 void *arg),
				    void *arg);
// Gives the local image `source` the name `target` (repository[:tag]) as well.
struct docker_call *docker_image_tag(struct docker *docker, const char *source, const char *target,
				     void (*done)(const struct docker_error *err, void *arg), void *arg);
// "repository@digest" of a reference, its tag taken off; NULL and err for a reference that cannot be parsed. Caller frees.
char *docker_canonical(const char *reference, const char *digest, struct error *err);
struct docker_call *docker_volume_remove(struct docker *docker, const char *name,
					 void (*done)(const struct docker_error *err, void *arg), void *arg);

// No callback follows; NULL is fine. A call is gone as soon as its callback has begun: not to be cancelled there.
void docker_call_cancel(struct docker_call *call);

// --- events ---
enum docker_event_kind {
	DOCKER_EVENT_CREATE,
	DOCKER_EVENT_START,
	DOCKER_EVENT_DIE,
	DOCKER_EVENT_STOP,
	DOCKER_EVENT_OOM,
	DOCKER_EVENT_HEALTH,
	DOCKER_EVENT_DESTROY,
	DOCKER_EVENT_OTHER
};
struct docker_event {
	enum docker_event_kind kind;
	const char *id;   // container
	const char *name; // Actor attribute
	int64_t time_ns;
	bool has_exit_code;
	int exit_code;             // die
	enum docker_health health; // DOCKER_EVENT_HEALTH
	json_object *attributes;   // labels and more; borrowed
};
struct docker_events {
	const char *label; // only containers with this label
	void (*on_event)(const struct docker_event *event, void *arg);
	void (*on_open)(void *arg); // (re)opened, with `since` the last event seen: the caller lists containers now
	void (*on_lost)(const struct docker_error *err,
			void *arg); // reconnecting: at once, then 0.5 s..5 s x1.5 jitter 0.2
	void *arg;
};
// Opens the stream and keeps it open until docker_events_stop / docker_free.
void docker_events_start(struct docker *docker, const struct docker_events *events);
void docker_events_stop(struct docker *docker);

// Timeout text of ECS: "Could not transition to created; timed out after waiting 4m0s".
void docker_timeout_text(char *out, size_t size, const char *transition, uint64_t timeout_ms);
