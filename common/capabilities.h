// Rights that a program of root's gives up for good: for itself and for whatever it executes.
#pragma once

#include <stddef.h>
#include <sys/capability.h>

// Keeps, of those named, the capabilities that the process has; takes all others out of every set, the bounding set among
// them, and sets no_new_privs. Without threads. May be called again with fewer. 0 or -errno.
int capabilities_keep(const cap_value_t *kept, size_t count);
