// The address of the ACS session as DiscoverPollEndpoint gives it.
#pragma once

#include "common/error.h"

// 0 if a session can be opened at it: http(s) or ws(s), with a host, without query and fragment. Else -EINVAL and err.
int acs_endpoint_check(const char *endpoint, struct error *err);
