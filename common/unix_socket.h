// Unix stream sockets between the project's own programs.
#pragma once

#include "error.h"
#include <stdbool.h>
#include <sys/types.h>

// Connects without waiting; *fd is non-blocking and close-on-exec. 0, or a negative errno and err (ENOENT, ECONNREFUSED:
// nobody listens there; EAGAIN: too many wait to be accepted).
int unix_connect(const char *path, int *fd, struct error *err);
// Who was there when the connection was made: who connected, or, seen from there, who called listen(). False if unknown.
bool unix_peer(int fd, uid_t *uid, pid_t *pid);
