#include "host/rules.h"

#include "common/util.h"
#include <ctype.h>
#include <net/if.h>

#define BRIDGE "<bridge>" // stands for the bridge's name
#define METADATA_V4 "169.254.169.254/32"
#define METADATA_V6 "fd00:ec2::254/128" // networking.md §9.1
#define CRITERIA_MAX 14

// clang-format off
static const struct rule {
	const char *table, *chain;
	bool insert; // at the top; else appended
	const char *criteria[IP_FAMILIES][CRITERIA_MAX];
} rules[RULES] = {
	[RULE_CREDENTIALS_BRIDGE] = {"nat", "PREROUTING", false, {
		{"-p", "tcp", "-d", "169.254.170.2", "--dport", "80", "-j", "DNAT", "--to-destination", "127.0.0.1:51679"}}},
	[RULE_LOCALHOST] = {"filter", "INPUT", true, {
		{"--dst", "127.0.0.0/8", "!", "--src", "127.0.0.0/8", "-m", "conntrack",
		 "!", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "DROP"}}},
	[RULE_INTROSPECTION] = {"filter", "INPUT", true, {
		{"-p", "tcp", "--dport", "51678", "!", "-i", "lo", "-j", "DROP"},
		{"-p", "tcp", "--dport", "51678", "!", "-i", "lo", "-j", "DROP"}}},
	[RULE_INTROSPECTION_BRIDGE] = {"filter", "INPUT", true, {
		{"-p", "tcp", "--dport", "51678", "-i", BRIDGE, "-j", "ACCEPT"},
		{"-p", "tcp", "--dport", "51678", "-i", BRIDGE, "-j", "ACCEPT"}}},
	[RULE_CREDENTIALS_HOST] = {"nat", "OUTPUT", false, {
		{"-p", "tcp", "-d", "169.254.170.2", "--dport", "80", "-j", "REDIRECT", "--to-ports", "51679"}}},
	// The host's own packets are not forwarded, and a restart of Docker puts nothing above what is in mangle.
	[RULE_IMDS] = {"mangle", "FORWARD", true, {
		{"-d", METADATA_V4, "-j", "DROP"},
		{"-d", METADATA_V6, "-j", "DROP"}}},
};
// clang-format on

static bool needs_bridge(enum rule_id id)
{
	return id == RULE_INTROSPECTION_BRIDGE;
}

bool rule_wanted(enum rule_id id, enum ip_family family, const struct host_config *config, const char *bridge)
{
	if (!rules[id].criteria[family][0])
		return false;
	switch (id) {
	case RULE_LOCALHOST:
		return config->localhost_filter;
	case RULE_INTROSPECTION:
		return config->introspection_filter;
	case RULE_INTROSPECTION_BRIDGE:
		return config->introspection_filter && bridge;
	case RULE_IMDS:
		return config->block_imds;
	default:
		return true;
	}
}

bool rule_above(enum rule_id a, enum rule_id b)
{
	return a > b && rules[a].insert && rules[b].insert && strcmp(rules[a].table, rules[b].table) == 0 &&
	       strcmp(rules[a].chain, rules[b].chain) == 0;
}

bool rule_command(enum rule_id id, enum ip_family family, enum rule_action action, const char *program,
		  const char *bridge, const char *argv[RULE_ARGUMENTS_MAX])
{
	const struct rule *rule = &rules[id];
	const char *verb = action == RULE_CHECK ? "-C" : action == RULE_DELETE ? "-D" : rule->insert ? "-I" : "-A";
	const char *const start[] = {program, "-w", IPTABLES_WAIT_S, "-t", rule->table, verb, rule->chain};
	size_t count = ARRAY_SIZE(start);

	if (!rule->criteria[family][0] || (needs_bridge(id) && !bridge))
		return false;
	memcpy(argv, start, sizeof(start));
	for (const char *const *word = rule->criteria[family]; *word; word++)
		argv[count++] = strcmp(*word, BRIDGE) == 0 ? bridge : *word;
	argv[count] = NULL;
	return true;
}

char *rule_text(enum rule_id id, enum ip_family family, const char *bridge)
{
	const char *argv[RULE_ARGUMENTS_MAX];
	struct buf text = {0};

	if (!rule_command(id, family, RULE_ADD, family == IP_V6 ? "ip6tables" : "iptables", bridge, argv))
		return NULL;
	for (size_t i = 0; argv[i]; i++)
		if (i < 1 || i > 2) // without -w
			(void)buf_printf(&text, "%s%s", i > 0 ? " " : "", argv[i]);
	return buf_take(&text);
}

bool bridge_name_valid(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !(i > 0 && strchr("_.-", name[i])))
			return false;
	return len > 0 && len < IF_NAMESIZE;
}
