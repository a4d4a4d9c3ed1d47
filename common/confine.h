// What ecsd and ecs-logd give up at their start, before they read anything from outside: all capabilities but one, and the
// system calls that they have no use for (executing, tracing, mounting, opening files by handle, ...).
//
// A refused call fails with EPERM and is logged once, as "refused system call"; it does not end the process: a library's new
// version must not take the host's tasks off ECS, or its containers' logs. Two exceptions: calls by another architecture's
// table, and calls refused while SIGSYS is blocked, kill; nothing of ours does either.
#pragma once

#include "common/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/capability.h>

struct confine_options {
	cap_value_t kept; // stays in use if the process has it
	const int *calls; // allowed besides those that loop, files, outgoing connections and threads need
	size_t call_count;
	bool filter;             // false: capabilities only, with a warning
	const char *switch_name; // the setting that says so, for the warning
};
// Without threads. What the host does not allow is warned about, and the program goes on. Best called with all limits and
// files set up that need more rights.
void confine(const struct confine_options *options);
// Has refused calls logged, those before it too.
void confine_watch(struct loop *loop);
void confine_watch_end(void); // before the loop goes; logs what has been refused until now
