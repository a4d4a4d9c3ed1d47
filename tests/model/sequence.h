// A sequence: a few task definitions and the events that befall them. It is data: generated from a seed, printed as
// text, read back, and cut down to the least that still fails. Steps speak of "the n-th of what there is" (modulo), so
// that a sequence stays playable whatever is taken out of it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TASKS_MAX = 6, CONTAINERS_MAX = 10, DEPENDENCIES_MAX = 3, STEPS_MAX = 240 };

// How one container comes to depend on another; the last two are what volumesFrom and links amount to.
enum link_kind {
	LINK_CREATE,
	LINK_START,
	LINK_COMPLETE,
	LINK_SUCCESS,
	LINK_HEALTHY,
	LINK_BOGUS,
	LINK_VOLUMES,
	LINK_LINK,
	LINK_KINDS
};
struct model_link {
	int kind, on; // on: container index
};
struct model_container {
	int present, essential, image, by_digest, cpu, memory, start_timeout, stop_timeout, health;
	int static_port, udp, dynamic_ports; // static_port 0: none
	struct model_link links[DEPENDENCIES_MAX];
	int link_count;
};
struct model_task {
	int present, cpu, memory, volume; // cpu: 1/4 vCPU; volume: has a volume of its own
	struct model_container containers[CONTAINERS_MAX];
	int container_count;
};

enum step_kind {
	STEP_PROGRESS, // every call under way is answered with success, every event delivered
	STEP_ADD,      // a: task; its payload comes (again)
	STEP_STOP,     // a: task; ECS wants it stopped
	STEP_ANSWER,   // a: call, b: enum outcome
	STEP_EVENT,    // the oldest event arrives; b: it is lost
	STEP_EXIT,     // a: running container, b: exit code
	STEP_OOM,      // a: running container; b: the event comes late
	STEP_HAND_STOP,
	STEP_HAND_START, // a: container that is not running
	STEP_HAND_REMOVE,
	STEP_HEALTH,    // a: running container, b: healthy or not
	STEP_AWAY,      // Docker is gone: calls are cut (b: whether they took effect), new ones fail
	STEP_BACK,      // and here again
	STEP_TIME,      // b: how long (time_ms)
	STEP_SETTLE,    // what was still at work in Docker after a lost answer takes effect
	STEP_CRASH,     // b: enum crash_point
	STEP_DISK_FULL, // commits fail
	STEP_DISK_OK,
	STEP_DAMAGE,     // the next commit finds the database damaged
	STEP_REPORT,     // a: task; a message is sent to ECS, b: also when only containers changed
	STEP_REPORT_END, // a: task; b: enum verdict
	STEP_PORT,       // a: a dynamic port that somebody else on the host takes
	STEP_KINDS
};
enum outcome {
	OUTCOME_OK,
	OUTCOME_REFUSED,
	OUTCOME_REFUSED_DONE, // an error that is wrong: it did happen
	OUTCOME_LOST,         // no answer, and it did not happen
	OUTCOME_LOST_DONE,    // no answer, but it happened
	OUTCOME_LOST_LATE,    // no answer, and it will happen later
	OUTCOME_TIMEOUT,      // as LOST_LATE, but Docker was slow and not away
	OUTCOME_CONFLICT,
	OUTCOME_COUNT
};
enum crash_point { CRASH_NOW, CRASH_BEFORE_COMMIT, CRASH_AFTER_COMMIT, CRASH_AFTER_CALL, CRASH_POINTS };
enum verdict { VERDICT_ACCEPTED, VERDICT_REFUSED, VERDICT_LOST, VERDICT_FAILED, VERDICT_COUNT };

struct step {
	enum step_kind kind;
	int a, b;
};
struct sequence {
	uint64_t seed;                                            // also of every draw while it is played
	int pull_behavior, cgroups, host_cpu, host_memory, ports; // ports: dynamic ones there are
	struct model_task tasks[TASKS_MAX];
	int task_count;
	struct step steps[STEPS_MAX];
	int step_count;
};

uint64_t draw64(uint64_t *state); // splitmix64
int draw(uint64_t *state, int below);

uint64_t time_ms(int b); // of STEP_TIME
void sequence_generate(struct sequence *sequence, uint64_t seed);
void step_print(const struct step *step, FILE *out);
void sequence_print(const struct sequence *sequence, FILE *out);
bool sequence_read(struct sequence *sequence, FILE *in); // what sequence_print wrote
// Cuts it down as long as `fails` says that it still does.
void sequence_shrink(struct sequence *sequence, bool (*fails)(const struct sequence *sequence, void *arg), void *arg);
