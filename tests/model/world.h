// The model world: what is around the engine when a sequence is played. The engine is the real one, all of agent/engine
// with its store; underneath it stand, put there by the linker, a clock that only the model moves (loop.c), a Docker
// that answers when and how the sequence says (docker.c), a disk that can be full and a process that can be killed
// between any two steps (world.c). Above it is an ECS that remembers what it was told.
//
// What the engine believes is compared with what is so by invariants.c. hooks.c holds the linker's --wrap functions.
#pragma once

#include "engine/engine_internal.h"
#include "engine/turn.h"
#include "sequence.h"

// --- Docker ---

struct box { // a container at Docker
	struct box *next;
	char *id, *name, *image_id;
	json_object *labels;
	int task, container; // indexes; -1: a stranger's
	enum { BOX_CREATED, BOX_RUNNING, BOX_EXITED } state;
	bool started, ended, oom, oom_told;
	bool by_hand; // somebody has started it by hand
	int exit_code;
	int64_t created_ms, started_ms, finished_ms;
	enum docker_health health;
	struct port_binding ports[8];
	size_t port_count;
};

enum call_kind {
	CALL_CREATE,
	CALL_START,
	CALL_STOP,
	CALL_INSPECT,
	CALL_REMOVE,
	CALL_LIST,
	CALL_IMAGE,
	CALL_PULL,
	CALL_MANIFEST,
	CALL_TAG,
	CALL_VOLUME,
	CALL_CONNECT,
	CALL_KINDS
};
struct docker_call {
	struct docker_call *next;
	enum call_kind kind;
	char *target; // id, name or image
	json_object *body;
	void *arg;
	union {
		void (*plain)(const struct docker_error *err, void *arg);
		void (*created)(const struct docker_error *err, const char *id, void *arg);
		void (*inspected)(const struct docker_error *err, const struct docker_container *info, void *arg);
		void (*listed)(const struct docker_error *err, const struct docker_summary *list, size_t count,
			       void *arg);
		void (*image)(const struct docker_error *err, const struct docker_image *image, void *arg);
		void (*manifest)(const struct docker_error *err, const struct docker_manifest *manifest, void *arg);
	} done;
	uint64_t since;
};
struct late { // an effect that is still to come although its call is over
	struct late *next;
	struct docker_call *call;
	uint64_t at;
};
struct box_event {
	struct box_event *next;
	enum docker_event_kind kind;
	char *id, *name;
	int exit_code;
	enum docker_health health;
};

// --- what is true of one container of one task, whatever the engine believes ---

struct truth {
	bool existed, started, ended, healthy;
	bool told_started; // an inspect answer said so to the process that runs now
	uint64_t codes;    // exit codes it had: bit 0: 0, 1: 1, 2: 137, 3: 143
	bool seen_stopped; // known STOPPED to the process that runs now, on disk or not yet
	bool expects_exit; // ended before it was known STOPPED
	// what is on disk
	bool on_disk;
	enum container_status disk_known;
	char *disk_name, *disk_id;
	// what the engine believed last
	enum container_status known, desired;
	char *error;
	// what ECS was told
	enum container_status told;
	bool told_exit;
	int told_exit_code;
};
struct task_truth {
	bool added, acknowledged, finished, refused, stop_asked; // finished: forgotten
	bool on_disk;
	enum task_status disk_known;
	enum task_status known, desired, told;
	bool told_any, gave_up;
	int64_t stopped_ms; // wall clock when it became known STOPPED, 0: not
	bool remove_refused;
	bool report_out; // a message is under way
	int64_t report_last;
	bool wants_report;
	struct truth containers[CONTAINERS_MAX];
};

struct world {
	const struct sequence *sequence;
	uint64_t draws; // state of the generator
	uint64_t now;   // loop time, ms
	uint64_t serial;
	struct engine *engine;
	struct store *store;
	// the loop
	bool woken;
	// Docker
	bool away;      // no daemon: calls get no answer
	bool streaming; // the event stream is open
	bool dead;      // the process was killed: nothing it does from here on has an effect
	struct docker_events events;
	bool watching;
	struct docker_call *calls;
	struct late *late;
	struct box *boxes;
	struct box_event *queue;
	uint8_t taken_ports[8192];
	// disk
	bool disk_full, disk_full_for_all; // for_all: even what the ballast leaves room for
	bool damaged;                      // the next commit says so
	bool uncommitted;                  // the last commit failed
	int crash;                         // enum crash_point + 1 that is armed, 0: none
	int64_t committed_transition, pending_transition;
	// the model's own
	struct task_truth tasks[TASKS_MAX];
	unsigned reconciles;  // in this turn
	bool quiet;           // faults have ceased
	int mutation;         // enum mutation
	const char *violated; // name of the first invariant that broke
	char detail[256];
	FILE *trace; // NULL: none
	uint64_t turns;
};
extern struct world world;

#define WALL_START 1700000000000
static inline int64_t world_wall(void)
{
	return WALL_START + (int64_t)world.now;
}
// Remembers the first violation only.
void violated(const char *invariant, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Plays a sequence from an empty disk to an empty disk. NULL, or the name of the invariant that broke; detail gets why.
const char *world_play(const struct sequence *sequence, int mutation, FILE *trace, char *detail, size_t size);
int world_open(const char *directory); // the real store, on memory of SQLite; directory: of its ballast
void world_close(void);
int world_task_index(const char *arn);       // -1: unknown
int world_container_index(const char *name); // "c<n>"
struct entry *world_entry(int task);         // NULL: not in memory

// loop.c
struct loop *model_loop(void);
void model_loop_reset(void);
bool model_loop_run(void);      // deferred calls and due timers; false: there were none
uint64_t model_loop_next(void); // loop time of the next timer, UINT64_MAX: none

// docker.c
void docker_world_reset(void);
size_t docker_call_count(void);
struct docker_call *docker_call_at(size_t n);
void docker_answer(struct docker_call *call, enum outcome outcome);
bool docker_event_next(bool lost); // false: there is none
void docker_go_away(bool effects); // cuts all calls
void docker_come_back(void);
void docker_forget_client(void); // the process was killed
void docker_settle(uint64_t until);
uint64_t docker_late_next(void);
struct box *docker_box(size_t n, bool running); // the n-th that runs, or does not; NULL: none
struct box *docker_box_of(int task, int container);
void box_exit(struct box *box, int code, bool oom);
void box_start(struct box *box);
void box_remove(struct box *box);
void box_health(struct box *box, bool healthy);
