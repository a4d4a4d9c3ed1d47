// `ecs-host run`: puts everything in place, tells the service manager, and puts back what others take away, until SIGTERM or
// SIGINT.
//
// Rules in nf_tables are looked at when the kernel tells that somebody has deleted rules; what comes within half a second is
// looked at once. Rules of iptables-legacy, sysctls, the route, the configuration's files and Docker's bridge are looked at
// every 30 seconds. After something was put back, the next look waits a second, then two, four and so on up to five
// minutes, so that two programs that do not agree do not fight without end; ten minutes of peace start that anew.
#pragma once

#include "host/host.h"

// READY=1 goes out once all is in place. 0 after a signal, with everything undone; else a negative errno and err: it could
// not be put in place at the start (what could be is left), or not be undone.
int watch_run(struct host *host, struct error *err);
