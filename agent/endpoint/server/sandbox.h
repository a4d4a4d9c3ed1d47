// Gives up everything ecs-endpoint can do besides answering on the descriptors it was handed. Two layers, each of which
// keeps a taken-over process in by itself as far as the kernel lets it: rights, then a filter of system calls.
#pragma once

#include "common/error.h"
#include <sys/types.h>

struct sandbox_options {
	uid_t uid;
	gid_t gid;             // (uid_t)-1: stay who we are (not started as root)
	const char *empty_dir; // where a directory to be shut up in can be made and removed again; NULL: nowhere
	unsigned descriptors;  // most descriptors needed
};
// User, groups, capabilities, root directory, resource limits; memory that is neither dumped nor
// shown to other processes of the user.
int sandbox_drop_rights(const struct sandbox_options *options, struct error *err);
// From now on any system call but those that serving needs kills the process: it holds credentials and parses what
// containers send, so one that does anything else is not to go on, and ecsd has a fresh one filled at once.
int sandbox_install_filter(struct error *err);
