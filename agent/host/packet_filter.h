// The rules of rules.h in the kernel, by way of the host's own iptables and ip6tables, whichever of their two kinds (-legacy,
// -nft) these are.
//
// A rule counts as there if iptables -C says so. One that is there more than once (ecs-init adds its rules without
// looking) is left so, and all its copies are deleted in the end.
#pragma once

#include "common/error.h"
#include "host/rules.h"

struct packet_filter {
	char *programs[IP_FAMILIES]; // IPv6: NULL if the host has no IPv6 or no ip6tables
	bool notifies;               // the rules are in nf_tables, of whose changes the kernel tells
};

// -ENOENT without iptables. What is missing for IPv6 is warned about and no error.
int packet_filter_open(struct packet_filter *filter, struct error *err);
void packet_filter_close(struct packet_filter *filter);

// How something was found.
enum finding { IN_PLACE, MISSING, UNWANTED };
// Called for each thing that was looked at, before anything is done about it; text is borrowed.
struct findings {
	void (*found)(enum finding finding, const char *text, void *arg);
	void *arg;
};

// Looks, and with `mend` puts in place what is missing, in its order, and deletes what is unwanted: rules that the
// configuration does not ask for. bridge: as in rule_wanted(). All is tried; err has everything that did not work.
int packet_filter_settle(const struct packet_filter *filter, const struct host_config *config, const char *bridge,
			 bool mend, const struct findings *findings, struct error *err);
// 1: the rule is there, 0: it is not, or a negative errno.
int packet_filter_has(const struct packet_filter *filter, enum rule_id id, enum ip_family family, const char *bridge,
		      struct error *err);
// Deletes all copies, for all families. No copy is fine. Those without a bridge are left out if bridge is NULL.
int packet_filter_delete(const struct packet_filter *filter, enum rule_id id, const char *bridge, struct error *err);
