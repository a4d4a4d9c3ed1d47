// The syslog destination (logging.md §6): see destination.h for what it does, syslog_format.h for the bytes.
//
// TCP, TLS and Unix sockets carry messages without any acknowledgement, so what arrived is reckoned as resend.h says, and for
// datagrams in the same way: a receiver that refuses them or ends is sent its last 64 KiB again when it is back. While nothing
// is to be sent there is no connection attempt, and no memory is held but the connection's.
#pragma once

#include "logging/connection.h"
#include "logging/destination.h"

// The sockets of the host's own syslog, tried in this order when there is no address (§6.1); false: no more.
bool syslog_local_socket(unsigned index, enum connection_kind *kind, const char **path);
