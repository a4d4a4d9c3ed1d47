// The set-up of the host as one thing: rules (packet_filter.h), sysctls and the route. ecs-init's order is turned round where
// that leaves a gap: rules come before route_localnet, which would open 127.0.0.0/8, and go after it.
//
//   net.ipv4.conf.all.route_localnet   1; in the end what was found, kept in the state file. If it was found to be 1 with
//                                      ecs-init's rules, net.ipv4.conf.default.route_localnet, as ecs-init does
//   net.ipv6.conf.<bridge>.accept_ra   0 where there is such a bridge; stays, as with ecs-init: Docker wants it so as well
//   route to 169.254.170.2             only if the kernel knows no way to it; in the end it is deleted if it is ours
#pragma once

#include "common/util.h"
#include "host/packet_filter.h"
#include "host/state.h"

struct host {
	struct host_config config;
	struct host_config_files files;
	struct packet_filter filter;
	struct host_state state;  // as last read or saved
	bool bridge_known;        // Docker has answered
	char bridge[IF_NAMESIZE]; // what it said: its default bridge, "": none
};

// With its configuration read. -ENOENT without iptables.
int host_open(struct host *host, struct error *err);
void host_close(struct host *host);

// Asks Docker for its default bridge, two seconds at most. Without an answer it is what it was before, or docker0. True: it
// is another one now.
bool host_ask_docker(struct host *host);
enum host_flags {
	HOST_MEND = 1,         // put in place what is missing, take away what the configuration does not want
	HOST_WITHOUT_RULES = 2 // sysctls and route only
};
// Looks at everything. As much as possible is done; err has all that did not work.
int host_settle(struct host *host, unsigned flags, const struct findings *findings, struct error *err);
// A findings.found() that joins what is missing or unwanted; arg: a struct buf.
void host_note(enum finding finding, const char *text, void *arg);
// host_settle() with HOST_MEND, and a line of log about what was done.
int host_set_up(struct host *host, struct error *err);
// Undoes everything. What is not there is no error.
int host_undo(struct host *host, struct error *err);
