#include "host/packet_filter.h"

#include "common/log.h"
#include "common/util.h"
#include "host/program.h"

#define LIMIT_MS 10000 // for one command, of which it may wait IPTABLES_WAIT_S for its lock
#define COPIES_MAX 64  // of one rule, deleted one by one
#define IPV6_SYSCTLS "/proc/sys/net/ipv6"

static int run(const struct packet_filter *filter, enum rule_id id, enum ip_family family, enum rule_action action,
	       const char *bridge, struct error *err);
static int delete_copies(const struct packet_filter *filter, enum rule_id id, enum ip_family family, const char *bridge,
			 struct error *err);

int packet_filter_open(struct packet_filter *filter, struct error *err)
{
	char version[PROGRAM_OUTPUT_MAX];

	*filter = (struct packet_filter){.programs = {executable_find("iptables")}};
	if (!filter->programs[IP_V4])
		return error_set(err, ENOENT,
				 "there is no iptables in PATH, /usr/sbin or /sbin: it has to be installed");
	const char *const argv[] = {filter->programs[IP_V4], "--version", NULL};
	int r = program_run(argv, LIMIT_MS, version, err);
	if (r < 0) {
		packet_filter_close(filter);
		return r;
	}
	filter->notifies = strstr(version, "(nf_tables)"); // the other kind says "(legacy)" or, before 1.8, nothing
	if (access(IPV6_SYSCTLS, F_OK) < 0)
		return 0;
	filter->programs[IP_V6] = executable_find("ip6tables");
	if (!filter->programs[IP_V6])
		log_warn("there is no ip6tables: the host is set up for IPv4 only", NULL);
	return 0;
}

void packet_filter_close(struct packet_filter *filter)
{
	for (size_t i = 0; i < IP_FAMILIES; i++)
		free(filter->programs[i]);
	*filter = (struct packet_filter){0};
}

int packet_filter_has(const struct packet_filter *filter, enum rule_id id, enum ip_family family, const char *bridge,
		      struct error *err)
{
	int r = run(filter, id, family, RULE_CHECK, bridge, err);

	return r < 0 ? r : !r;
}

int packet_filter_delete(const struct packet_filter *filter, enum rule_id id, const char *bridge, struct error *err)
{
	struct error all = {0};

	for (enum ip_family family = 0; family < IP_FAMILIES; family++) {
		struct error one;
		if (filter->programs[family] && delete_copies(filter, id, family, bridge, &one) < 0)
			error_join(&all, &one);
	}
	return all.code ? error_set(err, all.code, "%s", all.message) : 0;
}

// --- one family ---

struct settling {
	const struct packet_filter *filter;
	const char *bridge;
	enum ip_family family;
	bool there[RULES];
	struct error all; // what did not work
};

static void look(struct settling *s, const struct host_config *config, bool wanted[RULES],
		 const struct findings *findings)
{
	for (enum rule_id id = 0; id < RULES; id++) {
		_cleanup_free_ char *text = rule_text(id, s->family, s->bridge);
		struct error err;
		wanted[id] = rule_wanted(id, s->family, config, s->bridge);
		if (!text)
			continue;
		int r = packet_filter_has(s->filter, id, s->family, s->bridge, &err);
		if (r < 0) {
			error_join(&s->all, &err);
			wanted[id] = false; // nothing is known of it, nothing is done
			continue;
		}
		s->there[id] = r;
		if (wanted[id] || s->there[id])
			findings->found(!wanted[id]    ? UNWANTED
					: s->there[id] ? IN_PLACE
						       : MISSING,
					text, findings->arg);
	}
}

static void remove_rule(struct settling *s, enum rule_id id)
{
	struct error err;

	if (delete_copies(s->filter, id, s->family, s->bridge, &err) < 0)
		error_join(&s->all, &err);
	else
		s->there[id] = false;
}

static void add_rule(struct settling *s, enum rule_id id)
{
	struct error err;

	if (run(s->filter, id, s->family, RULE_ADD, s->bridge, &err) < 0)
		error_join(&s->all, &err);
	else
		s->there[id] = true;
}

static void settle_family(struct settling *s, const struct host_config *config, bool mend,
			  const struct findings *findings)
{
	bool wanted[RULES];

	look(s, config, wanted, findings);
	for (enum rule_id id = 0; mend && id < RULES; id++) {
		if (s->there[id] && !wanted[id])
			remove_rule(s, id);
		if (s->there[id] || !wanted[id])
			continue;
		// It comes to the top: what belongs above it has to be put there anew.
		for (enum rule_id above = id + 1; above < RULES; above++)
			if (s->there[above] && rule_above(above, id))
				remove_rule(s, above);
		add_rule(s, id);
	}
}

int packet_filter_settle(const struct packet_filter *filter, const struct host_config *config, const char *bridge,
			 bool mend, const struct findings *findings, struct error *err)
{
	struct error all = {0};

	for (enum ip_family family = 0; family < IP_FAMILIES; family++) {
		struct settling s = {.filter = filter, .bridge = bridge, .family = family};
		if (!filter->programs[family])
			continue;
		settle_family(&s, config, mend, findings);
		if (s.all.code)
			error_join(&all, &s.all);
	}
	return all.code ? error_set(err, all.code, "%s", all.message) : 0;
}

// --- iptables ---

// 0, 1 (check and delete: there is no such rule), or a negative errno.
static int run(const struct packet_filter *filter, enum rule_id id, enum ip_family family, enum rule_action action,
	       const char *bridge, struct error *err)
{
	const char *argv[RULE_ARGUMENTS_MAX];
	char output[PROGRAM_OUTPUT_MAX];

	if (!rule_command(id, family, action, filter->programs[family], bridge, argv))
		return 1;
	int r = program_run(argv, LIMIT_MS, output, err);
	if (r <= 0 || (r == 1 && action != RULE_ADD))
		return r;
	_cleanup_free_ char *text = rule_text(id, family, bridge);
	static const char *const verbs[] = {[RULE_CHECK] = "check", [RULE_ADD] = "add", [RULE_DELETE] = "delete"};
	return error_set(err, EIO, "cannot %s the rule \"%s\": exit code %d: %s", verbs[action], text, r, output);
}

static int delete_copies(const struct packet_filter *filter, enum rule_id id, enum ip_family family, const char *bridge,
			 struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < COPIES_MAX; i++)
		r = run(filter, id, family, RULE_DELETE, bridge, err);
	return r < 0 ? r : 0;
}
