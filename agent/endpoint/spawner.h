// A small process, forked before ecsd drops privileges and installs its filter, whose only skill is
// to start ecs-endpoint with its listening sockets and descriptors. ecsd itself executes nothing.
#pragma once

#include "common/error.h"
#include <stdbool.h>

struct spawner_options {
	const char *run_dir;        // made here (0755), as are socket and pid file
	const char *program;        // path of ecs-endpoint
	const char *audit_log_path; // opened for append, 0644 directory made; NULL: disabled
	const char *user;           // "ecs-endpoint"; when there is no such user: nobody
};
// Returns a descriptor: one byte written to it asks for a new ecs-endpoint; a byte with the result (0 or an errno
// value) comes back when it is up. The spawner ends when the descriptor is closed; endpoints it started stay.
int spawner_start(const struct spawner_options *options, struct error *err);

// Path of a program beside this process's own binary, or else in libexecdir; NULL if neither exists. Caller frees.
char *program_find(const char *name);
