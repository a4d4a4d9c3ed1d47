// The packet-filter rules of a host of ECS (init-and-host-setup.md §4.1), with ecs-init's criteria to the letter, so that its
// copies and ours are the same rules. Pure: what they are, and the iptables command for each.
//
// Rules of one chain that are inserted (at its top) come in the table in the order of insertion: the last is topmost.
#pragma once

#include "host/config.h"

enum ip_family { IP_V4, IP_V6, IP_FAMILIES };

enum rule_id {
	RULE_CREDENTIALS_BRIDGE,   // containers on bridges reach ecs-endpoint at 169.254.170.2:80
	RULE_LOCALHOST,            // with route_localnet on, other machines do not reach 127.0.0.0/8
	RULE_INTROSPECTION,        // port 51678 from this host alone,
	RULE_INTROSPECTION_BRIDGE, // and from Docker's default bridge
	RULE_CREDENTIALS_HOST,     // processes and containers on the host's network reach 169.254.170.2:80
	RULE_IMDS,                 // ours, off by default: nothing is forwarded to the instance metadata service
	RULES,
};

#define RULE_ARGUMENTS_MAX 24
#define IPTABLES_WAIT_S "5" // for the lock that iptables processes share

// Whether the rule is to be there. bridge: Docker's default bridge, NULL if it has none.
bool rule_wanted(enum rule_id id, enum ip_family family, const struct host_config *config, const char *bridge);
// Whether rule a has to be above rule b in a chain of both.
bool rule_above(enum rule_id a, enum rule_id b);

enum rule_action { RULE_CHECK, RULE_ADD, RULE_DELETE };
// The command: program (for argv[0]) and what follows, NULL at the end. False: there is no such rule for the family, or not
// without a bridge. Everything in argv is borrowed.
bool rule_command(enum rule_id id, enum ip_family family, enum rule_action action, const char *program,
		  const char *bridge, const char *argv[RULE_ARGUMENTS_MAX]);
// As one text: "iptables -t nat -A PREROUTING -p tcp ...", the command that adds it. Caller frees; NULL as above.
char *rule_text(enum rule_id id, enum ip_family family, const char *bridge);

// A name that Docker may give its bridge and that means only itself to iptables and as a file name.
bool bridge_name_valid(const char *name);
