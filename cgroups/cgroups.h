// The cgroup of each task: the parent that Docker puts the task's containers under, with the limits of the task as a
// whole. Knows nothing of Docker's API, of ECS or of `struct task`.
//
// Which driver works is chosen by what Docker itself says of the host (GET /info: CgroupDriver, CgroupVersion):
//
//   Docker says     here          the task's cgroup
//   cgroupfs, 1     v1.c          /ecs/<id> in every hierarchy; limits in cpu, memory, pids
//   cgroupfs, 2     v2.c          /ecs/<id>
//   systemd, 2      systemd.c     ecstasks-<id>.slice, a transient unit asked of systemd over D-Bus
//
// Anything else (systemd on v1, no driver) is an error of cgroups_open. Names, files, values and texts are those of
// cgroups-and-resources.md; each number's source is named where it stands.
//
// Nothing here keeps state: what exists is what the kernel says. Making a cgroup that exists is harmless, removing one
// that does not exist succeeds. There is no list of leftovers: the caller asks for the removal of ids that it knows to be
// its own and finished, and of nothing else.
//
// Times are loop time. Files are written at once (a few system calls in a file system without a disk); systemd is never
// waited for in place.
#pragma once

#include "cgroups/limits.h"
#include "common/error.h"
#include "common/loop.h"
#include <stdbool.h>

#define CGROUPS_PATH "/sys/fs/cgroup"                 // default of ECS_CGROUP_PATH
#define CGROUPS_SYSTEMD_SOCKET "/run/systemd/private" // systemd's own socket, for root; needs no message bus

struct cgroups;
struct cgroups_call;

struct cgroups_options {
	struct loop *loop;
	const char *docker_driver;  // CgroupDriver of GET /info: "cgroupfs", "systemd"
	const char *docker_version; // CgroupVersion: "1", "2"; NULL or "" (Docker before 20.10): "1"
	const char *path;           // v1: hierarchies mounted below it are used; v2: the tree. NULL: CGROUPS_PATH
	const char *mountinfo;      // v1: NULL: /proc/self/mountinfo
	const char *systemd_socket; // systemd: NULL: CGROUPS_SYSTEMD_SOCKET, and the system bus if it is not there
};

// NULL and err if no driver fits or the tree is not there. Changes nothing.
struct cgroups *cgroups_open(const struct cgroups_options *options, struct error *err);
// Cancels all calls; returns NULL; NULL is fine.
struct cgroups *cgroups_close(struct cgroups *cgroups);
const char *cgroups_name(const struct cgroups *cgroups); // "cgroup v1", for logs

// What all tasks' cgroups are made in (/ecs, or the controllers that slices need); to be called before cgroups_create.
// It is left in place for ever. Fails if tasks' cgroups could not be made in it (a read-only mount, a missing controller).
int cgroups_make_root(struct cgroups *cgroups, struct error *err);

// HostConfig.CgroupParent of the containers; caller frees. id: the last part of the task's ARN.
char *cgroups_parent(const struct cgroups *cgroups, const char *id);

// Makes the cgroup, or sets the limits of one that exists. Reports in a later turn, never from inside. err is NULL on
// success. An id that is not a plain name is refused (EINVAL).
struct cgroups_call *cgroups_create(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits,
				    void (*done)(const struct error *err, void *arg), void *arg);
// Removes it with what is left inside it, in every hierarchy (runc makes the path everywhere and never removes the
// parent). err->code EBUSY: processes are in it (or systemd is): try again later; nothing was killed.
struct cgroups_call *cgroups_remove(struct cgroups *cgroups, const char *id,
				    void (*done)(const struct error *err, void *arg), void *arg);
void cgroups_call_cancel(struct cgroups_call *call); // no callback follows; NULL is fine

// Reads back what the kernel has. -EUCLEAN: a value is not what was asked for; err names file, value and expectation.
int cgroups_check(struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits, struct error *err);
