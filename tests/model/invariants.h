// What must hold whatever happens. Each has a name, which is what a failing sequence is shrunk for and what the
// self-test (hooks.h) must be able to break, and the source of the rule. Checked after every turn of the loop, at every
// call to Docker, at every message to ECS and at the end.
//
//   STATUS_GROWS      known and desired statuses of containers and tasks never fall, nor below what ECS was told, not
//                     even over a kill (task-engine.md §2.1, §10)
//   ONE_IN_FLIGHT     at most one operation on a container; no call is cancelled twice (ARCHITECTURE, "Facts")
//   CREATED_ONCE      no create call once the container's id was on disk; never two containers of one name and task
//   DEPENDENCIES      no create and no start before what dependsOn, volumesFrom and links demand (task-engine.md §6.2)
//   NOT_WHILE_RUNNING known STOPPED only if the container does not run: unknown is not stopped (task-engine.md §8.1)
//   RUNNING_IS_TRUE   known RUNNING only if it was started
//   NO_RESTART        a container that is known to have been started is not started again
//   STOP_IS_WANTED    a stop call only for a container whose desired status, or known status, is STOPPED
//   EXIT_CODE_IS_TRUE the exit code ECS is told is one it had, or 143 of one that was never started (§7.5), and is told
//   FIRST_ERROR       the first error of a container is kept (task-engine.md §7.1)
//   ESSENTIAL         an essential container that stopped stops the task (task-engine.md §5)
//   REPORT_ORDER      what ECS is told of a task and its containers only grows (state-changes.md §2)
//   REPORT_IS_TRUE    ECS is told what is known; STOPPED of a task only when nothing of it runs
//   COMMIT_FIRST      no create, start, remove or report before the facts it rests on are on disk (ARCHITECTURE)
//   DURABLE           an acknowledged task survives a kill until it is cleaned up
//   SLOTS             calls under way never exceed the bound, stuck ones (5 s) apart, nor the hard cap (schedule.h)
//   FIFO              slots and shares of the host are given first in, first out (task-engine.md §9)
//   PORTS             no host port is given twice
//   HOST              what tasks hold of the host is never more than it has (task-engine.md §9)
//   CLEANUP           a container goes after its task is STOPPED, ECS was told and the clean-up wait is over; a task is
//                     forgotten when nothing of it is left (task-engine.md §12)
//   NO_BUSY_LOOP      rounds of reconcile() in a turn, turns without cause and timers are bounded; no wake-up in the past
//   LAUNCHES          when faults have ceased, what can run runs
//   ENDS              when faults have ceased, tasks that are to stop stop, are reported, cleaned up and forgotten
//   NOTHING_LEFT      then nothing of them is in Docker, on disk, or in the loop
#pragma once

#include "world.h"

extern const char *const invariant_names[];
extern const size_t invariant_count;

const char *call_name(enum call_kind kind);

// --- from docker.c ---
void check_call(const struct docker_call *call);
void check_created(const struct box *box);
void check_remove_refused(const struct docker_call *call);
bool mutate_answer(const struct docker_call *call, struct docker_error *err); // hooks.c

// --- from world.c ---
void check_turn(void);      // after the turn's end
void check_idle(void);      // nothing is left to do at this moment
void check_restarted(void); // what was loaded is what was on disk
void check_told(const struct state_change *change, int task);
void check_forgotten(const struct task *task);
void check_launched(void);
void check_empty(void);

// --- from hooks.c ---
extern const struct schedule_limits model_limits; // fewer slots than there are, so that a few tasks fill them
void check_schedule(const struct schedule_ask *asks, size_t count);
void check_host(const struct host_ask *before, const struct host_ask *after, size_t count);
