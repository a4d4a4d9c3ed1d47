// Where ecs-logd lives: as a user of its own, with CAP_DAC_READ_SEARCH alone (Docker's FIFOs are root's, mode 0700), and in a
// mount namespace that shows it nothing but what it needs. That right by itself would open any file of the host by its
// handle, whatever the namespace shows: the filter of system calls (common/confine.h) is what keeps it from that.
//
// Shown to read only, without devices or programs: Docker's logging directory, certificates, the resolver's and time zone's files,
// and the places of Unix sockets that logs may go to. To write: the spool and the notes. Where the kernel has Landlock, it
// holds the process to the same files once more, and from Linux 6.12 on keeps it from abstract Unix sockets, which are in
// nobody's namespace of mounts.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct jail_options {
	uid_t uid;
	gid_t gid;
	const char *spool_dir, *run_dir; // to write; given to the user
	const char *logging_dir;
	const char *shown; // further directories, separated by ':'; those that do not exist are left out
};

// Called as root: makes the directories, enters the namespace, becomes the user. Under another user (a service manager has
// done all that) only what is left to do. What the kernel does not offer is warned about; 0, or a negative errno for
// what must not fail: becoming the user.
int jail_enter(const struct jail_options *options, struct error *err);
// And what is given up with common/confine.h, last of all: further rights, and system calls. filter: false leaves these.
void jail_confine(bool filter);
