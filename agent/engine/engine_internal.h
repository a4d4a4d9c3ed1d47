// Shared by the files of the engine; nobody else includes it.
//
//   engine.c      tasks in memory, what the control plane asks
//   admit.c       who waits for the host's resources
//   image_cycle.c removes images that nobody uses, as images.c decides
//   turn.c        the turn's end: reconcile, grant (slots.c), commit (commit.c), effects
//   operations.c  starts operations on Docker and takes their answers
//   pulls.c       login, digest and pull of a container's image; fetch.c shares them, pulled.c remembers them
//   observe.c     what Docker says about a container, from inspect, events, process exits and lists
//   task_cgroup.c limits of a task as a whole
//   task_logs.c   what ecs-logd is asked and told about containers
//   reports.c     transitions and the reports made of them
//   rebuild.c     tasks from Docker's labels when the database was lost
#pragma once

#include "engine/engine.h"
#include "engine/pulled.h"
#include "engine/reconcile.h"
#include "engine/schedule.h"

struct entry;
struct image_cycle;

// A container as callbacks know it: stable as long as its task is.
struct container_ref {
	struct engine *engine;
	struct entry *entry;
	size_t index;
};

// A transition in memory until ECS has accepted it.
struct record {
	int64_t id;
	ssize_t container; // index; -1: the task's own status
	int status;
	char *reason;
	bool has_exit_code;
	int32_t exit_code;
	int64_t at_ms;
	bool stored;
};

struct entry {
	struct engine *engine;
	struct task *task;
	struct container_ref *refs;
	struct record *records;
	size_t record_count;
	bool refused; // only a report: the task was not taken (its task struct holds nothing but the ARN)
	bool touched; // facts changed: reconcile at the end of the turn
	bool waiting; // wants a slot
	bool changed; // for introspection
	bool notify;  // has new transitions: tell submit after the commit
	bool forget;
	bool rebuilt, rebuilt_running; // from Docker's labels; with a container that runs
	bool remove_cgroup;            // once the facts are on disk
	bool told_stopped;
	bool kept;             // cleaned up, but for its execution role's credentials
	bool left_images;      // which are those of no task for it, from when it is kept on
	struct host_need need; // of the host's resources (admit.h)
	enum host_state host;
	bool admitted;    // out of the queue in this turn: decide again
	bool queue_told;  // logged that it waits
	uint64_t wake_at; // loop time, 0: none
	int64_t mark_id;  // reported up to here, to be written; 0: nothing to write
	char *mark_refused;
};

struct after_commit {
	void (*done)(void *arg);
	void *arg;
};

struct engine {
	struct engine_options o;
	struct entry **entries; // by sequence
	size_t count;
	uint64_t last_sequence;
	int64_t last_transition;
	uint16_t last_port;
	struct cgroups *cgroups; // borrowed; NULL: none
	bool limit_tasks;        // new tasks get a cgroup
	bool ready, commit_failed;
	int commit_error;        // of the last commit, told already; 0: it worked
	bool rebuilt;            // nothing is left to rebuild: to be written
	bool docker_away;        // the event stream is cut
	bool reopened;           // the event stream was: the next list answer clears all waiting
	struct host_totals host; // what tasks may have
	struct image_cycle *images;
	struct after_commit *after;
	size_t after_count;
	struct timer wake, resync, retry, trim;
	void (*on_ready)(void *arg);
	void *on_ready_arg;
	struct docker_call *list_call;
	struct task **lost; // until the rebuild
	size_t lost_count;
	struct fetch *fetches; // fetch.c
	struct pulled *pulled; // pulled.c
};

enum {
	RETRY_LIST_MS = 1000, // after a list call that failed when one is needed
	// After which a start call that had no answer has either taken effect or never will: one more, after a container that
	// lives for a moment has ended, would start it again. Docker holds the container for itself from the call's first
	// moments on, so that this is only the way of the request to it.
	START_SETTLE_MS = 1000,
	CONFLICTS_MAX = 8,        // "name in use" in a row: then it is something else
	VERDICT_MS = 200,         // in which Docker has noted why the kernel killed a process
	RESYNC_MS = 60 * 1000,    // how often Docker's list is compared with what is known
	RETRY_COMMIT_MS = 1000,   // after a commit that failed
	ROLE_LOOK_MS = 30 * 1000, // whether credentials that are kept are still needed
	// Tasks that are kept for them: as many as a busy host ends within the hours for which they are valid. A few KiB each.
	KEPT_MAX = 1000,
	TRIM_MS = 2 * 1000, // of quiet after which the memory of a burst goes back to the kernel
	UNKNOWN_BACKOFF_MIN_MS = 200,
	UNKNOWN_BACKOFF_MAX_MS = 10 * 1000,
};

// engine.c
struct entry *engine_entry(const struct engine *engine, const char *task_arn);
struct entry *engine_insert(struct engine *engine, struct task *task); // takes the task
void engine_remove(struct engine *engine, struct entry *entry);        // frees it
void engine_set_desired_stopped(struct task *task);
void engine_touch(struct entry *entry);
void engine_touch_waiting(struct engine *engine);
static inline struct container *ref_container(const struct container_ref *ref)
{
	return &ref->entry->task->containers[ref->index];
}

// turn.c, commit.c
// The task's known status follows from its containers'; a step that is passed at once is recorded all the same.
void engine_update_known(struct engine *engine, struct entry *entry);
void engine_turn_end(void *engine);
void engine_wake_due(void *engine);
void engine_retry_commit(void *engine);
void engine_trim(void *engine);

// reports.c
void engine_record_task(struct engine *engine, struct entry *entry, enum task_status status);
void engine_record_container(struct engine *engine, struct entry *entry, size_t index, enum container_status status);
void record_done(struct record *record);

// operations.c
void engine_operate(struct container_ref *ref, enum operation operation);
void engine_fail_container(struct container_ref *ref, const char *name, const char *text); // error, desired STOPPED
struct container *engine_finish(struct container_ref *ref);                                // its operation has ended
void engine_back_off(struct container_ref *ref);   // nothing is known: ask again later
void engine_stop_stray(struct container_ref *ref); // it runs although it is known STOPPED

// observe.c
void engine_advance(struct container_ref *ref, enum container_status status);
void engine_observe(struct container_ref *ref, const struct docker_container *info);
void engine_observe_missing(struct container_ref *ref);
void engine_release_process(struct container *container); // pidfd and its watch
void engine_watch_docker(struct engine *engine);
void engine_resync(void *engine); // compares Docker's list with what is known

// task_logs.c
// True: what the create request needs to know of ecs-logd is known. False: done comes later, with the container.
bool engine_ask_logd(struct container_ref *ref, void (*done)(void *arg));
void engine_tell_stopping(struct container_ref *ref); // a stop is about to go out
void engine_tell_exited(struct container_ref *ref);   // its process is gone
// Nothing of the task is left but its record and its execution role's credentials: whether ecs-logd still signs with them.
bool engine_keeps(struct entry *entry);

// rebuild.c
void engine_rebuild(struct engine *engine, const struct docker_summary *list, size_t count);
