// What ecsd gives up once its spawner is forked and before it reads anything from outside: all capabilities but one,
// and the system calls that it has no use for (executing, tracing, mounting, listening, ...).
//
// A refused call fails with EPERM and is logged once, as "refused system call"; it does not end the process, which
// holds Docker's socket anyway, and a library's new version must not take the host's tasks off ECS. Two exceptions:
// calls by another architecture's table, and calls refused while SIGSYS is blocked, kill; nothing of ecsd does either.
#pragma once

#include "common/loop.h"
#include <stdbool.h>

// Without threads. filter false: capabilities only, with a warning. What the host does not allow is warned about, and
// ecsd goes on. Best called with all limits and files set up that need more rights.
void confine(bool filter);
// Has refused calls logged, those before it too.
void confine_watch(struct loop *loop);
void confine_watch_end(void); // before the loop goes; logs what has been refused until now
