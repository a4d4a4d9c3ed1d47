// The task engine: owns all tasks, decides by the pure functions reconcile() and schedule(), acts
// through docker/, and keeps every fact on disk before its effects are seen outside.
//
// There is one way in (engine_* calls and Docker's answers and events, all of which change facts and
// mark tasks) and one way out (at the end of each turn: reconcile, commit, then effects).
#pragma once

#include "common/loop.h"
#include "docker/docker.h"
#include "engine/images.h"
#include "engine/registry.h"
#include "engine/report.h"
#include "engine/store.h"
#include "engine/task.h"

struct cgroups;
struct engine;
struct logd;

struct engine_options {
	struct loop *loop;
	struct docker *docker;
	struct store *store;
	struct registry *registry;    // logins; NULL: none
	struct logd *logd;            // takes containers' logs; NULL: nobody does but Docker
	const char *cluster, *region; // copied; cluster may change until engine_start
	bool task_iam_role;
	int pull_behavior;                             // enum pull_behavior of config.h
	uint64_t pull_timeout_ms, manifest_timeout_ms; // of everything that belongs to one; 0: none
	uint64_t stop_timeout_ms, cleanup_wait_ms, cleanup_jitter_ms;
	uint16_t port_first, port_last; // dynamic host ports
	// What this host offers to tasks, as registered: reserved memory is taken off. Lists of decimal texts; not kept.
	int64_t host_cpu, host_memory_mib;
	const struct json_strings *reserved_tcp, *reserved_udp;
	struct image_settings images;
	bool exclude_ipv6_bindings;
	bool cgroup_v2;                // the host's, for the create request
	uint64_t cgroup_cpu_period_us; // of tasks with CPU of their own
	uint64_t task_pids_limit;      // of each task, 0: none
	bool rebuild;                  // the store was lost: tasks are rebuilt from Docker's labels
	// Wiring, see main.c. All called after the commit of the facts they speak of.
	void (*on_report)(const char *task_arn, void *arg);            // the task has something to report
	void (*on_task_changed)(const struct task *task, void *arg);   // for introspection
	void (*on_task_stopped)(const struct task *task, void *arg);   // known STOPPED: application credentials go
	void (*on_task_forgotten)(const struct task *task, void *arg); // cleaned up
	// A task that is cleaned up is forgotten, and its execution role's credentials with it, only once this says no.
	// Asked again now and then. NULL: nobody needs them.
	bool (*role_needed)(const struct task *task, void *arg);
	void (*on_docker)(
		bool there,
		void *arg); // its event stream is open, is cut (not called for the next failed try). NULL: nobody asks
	void *arg;
};

struct engine *engine_new(const struct engine_options *options);
struct engine *engine_free(struct engine *engine);
// Tasks from the store into memory; a rebuild from Docker's labels follows in engine_start if the store was lost.
int engine_load(struct engine *engine, struct error *err);
// For a rebuild: a task that Docker's labels do not tell of (takeover.h), taken. If the labels do know it, it counts all the same.
void engine_give_lost(struct engine *engine, struct task *task);
// Forgets everything loaded, on disk too: the state belongs to another EC2 instance (control-plane.md §7.7).
void engine_discard(struct engine *engine);
void engine_set_cluster(struct engine *engine, const char *cluster);
// Before engine_start: what makes and removes tasks' cgroups on this host (borrowed; NULL: nothing does), and whether new
// tasks get one, and with it the limits of their task definition. A task keeps what it was accepted with.
void engine_set_cgroups(struct engine *engine, struct cgroups *cgroups, bool limit_tasks);
bool engine_limits_tasks(const struct engine *engine);
// Loaded tasks that are not STOPPED and were accepted with limits off.
size_t engine_tasks_without_limits(const struct engine *engine);
// What ecs-logd is to know of containers that are being stopped, or of which Docker has yet to say that they ended.
void engine_tell_logd(const struct engine *engine);
// Opens Docker's event stream, asks about all known containers, then acts. docker_connect must have succeeded.
// on_ready: Docker answers and acting has begun.
void engine_start(struct engine *engine, void (*on_ready)(void *arg), void *arg);
bool engine_ready(const struct engine *engine);

// --- from the control plane ---
// Takes a decoded task. A known ARN only advances the desired status (the new object is freed). Nothing is done on
// Docker before the task is on disk.
void engine_add_task(struct engine *engine, struct task *task);
// Reports STOPPED with a reason for a task that is not kept (refused on decoding). On disk like any other report.
void engine_report_refused(struct engine *engine, const char *task_arn, const char *reason);
// false: no such task.
bool engine_stop_task(struct engine *engine, const char *task_arn);
struct task *engine_task(const struct engine *engine, const char *task_arn);
// The task's credentials have come (again): with those of the execution role what waits for them goes on.
bool engine_set_credentials_id(struct engine *engine, const char *task_arn, bool execution, const char *id);
void engine_each_task(const struct engine *engine, void (*visit)(const struct task *task, void *arg), void *arg);
// Another file of the agent finds the disk full: gives the ballast up (store.h), and takes it back when there is room.
void engine_make_room(struct engine *engine);
// New tasks are refused without acknowledgement while the disk is full.
bool engine_accepts_tasks(const struct engine *engine);
// Calls done once everything changed so far is on disk (in the same turn's end, or later if the disk is full).
void engine_after_commit(struct engine *engine, void (*done)(void *arg), void *arg);
void engine_after_commit_cancel(struct engine *engine, void *arg);

// --- to the control plane: control/submit.c ---
// The next report for the task, or false if there is none to send now. Each message carries one task status, oldest first,
// with the container changes that came before it. batch: also when only container changes are there (the 10-30 s timer).
// None while the report before is not marked on disk; on_report follows.
bool engine_next_report(struct engine *engine, const char *task_arn, bool batch, struct state_change *change);
// ECS has accepted it, or refused it for good (then why is kept in the task's history).
void engine_report_done(struct engine *engine, const char *task_arn, int64_t last_transition, const char *refused_why);
// Visits the ARNs that have unreported transitions.
void engine_each_unreported(const struct engine *engine, void (*visit)(const char *task_arn, void *arg), void *arg);
