// Gives up everything ecs-endpoint can do besides answering on the descriptors it was handed.
#pragma once

#include "common/error.h"
#include <sys/types.h>

struct sandbox_options {
	uid_t uid;
	gid_t gid;             // (uid_t)-1: stay who we are (not started as root)
	const char *empty_dir; // where a directory to be shut up in can be made and removed again; NULL: nowhere
	unsigned descriptors;  // most descriptors needed
};
int sandbox_enter(const struct sandbox_options *options, struct error *err);
