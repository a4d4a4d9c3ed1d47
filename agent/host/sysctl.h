// Sysctls that are whole numbers.
#pragma once

#include "common/error.h"

// name as a path below /proc/sys: "net/ipv4/conf/all/route_localnet". 0 or a negative errno (-ENOENT: there is none).
int sysctl_read(const char *name, int *value, struct error *err);
int sysctl_write(const char *name, int value, struct error *err);
