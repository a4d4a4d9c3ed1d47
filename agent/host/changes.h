// What the kernel tells of changes to nf_tables, in this network namespace.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>

// A non-blocking netlink socket, or a negative errno. Needs CAP_NET_ADMIN; what was read of later does not.
int changes_open(struct error *err);
// Reads all there is. True: something was deleted that may have been ours, or messages were lost.
bool changes_read(int fd);
// The same of one datagram of the socket: rules, chains or tables of IPv4 or IPv6 (not those of the families inet, bridge
// etc., which iptables does not use) were deleted.
bool changes_matter(const void *datagram, size_t len);
