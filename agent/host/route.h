// The route that a host without an IPv4 default route needs to send to 169.254.170.2 at all; the packet filter turns what is
// sent towards 127.0.0.1:51679 (init-and-host-setup.md §4.4).
#pragma once

#include "common/error.h"

// 1: the kernel knows a way to 169.254.170.2, 0: it does not, or a negative errno.
int credentials_route_exists(struct error *err);
// 169.254.170.2/32 dev lo scope link. 0, 1 (the same was there already), or a negative errno.
int credentials_route_add(struct error *err);
int credentials_route_delete(struct error *err); // it may be gone
