#include "host/host.h"

#include "common/log.h"
#include "host/docker_bridge.h"
#include "host/route.h"
#include "host/sysctl.h"

#define ROUTE_LOCALNET "net/ipv4/conf/all/route_localnet"
#define ROUTE_LOCALNET_DEFAULT "net/ipv4/conf/default/route_localnet"

static const char *bridge_of(const struct host *host);
static int prepare(struct host *host, struct error *err);
static int found_localnet(const struct host *host, int *value, struct error *err);
static int settle_localnet(bool mend, const struct findings *findings, struct error *err);
static int settle_accept_ra(const char *bridge, bool mend, const struct findings *findings, struct error *err);
static int settle_route(struct host *host, bool mend, const struct findings *findings, struct error *err);
static int undo_localnet(const struct host *host, struct error *err);
static int undo_rules(const struct host *host, struct error *err);

int host_open(struct host *host, struct error *err)
{
	return packet_filter_open(&host->filter, err);
}

void host_close(struct host *host)
{
	packet_filter_close(&host->filter);
	host_config_free(&host->config);
	config_files_free(&host->files.files);
}

bool host_ask_docker(struct host *host)
{
	const char *before = bridge_of(host);
	char name[IF_NAMESIZE];
	struct error err;

	if (!host->config.docker_socket)
		return false;
	if (docker_bridge_ask(host->config.docker_socket, name, &err) < 0) {
		log_debug("Docker does not say which its default bridge is", "reason=%s", err.message);
		return false;
	}
	bool other = !before || strcmp(before, name) != 0;
	if (other)
		log_info("Docker's default bridge", "bridge=%s", *name ? name : "none");
	else if (!host->bridge_known)
		log_debug("Docker's default bridge", "bridge=%s", name);
	host->bridge_known = true;
	memcpy(host->bridge, name, sizeof(name));
	return other;
}

static int done(const struct error *all, struct error *err)
{
	return all->code ? error_set(err, all->code, "%s", all->message) : 0;
}

int host_settle(struct host *host, unsigned flags, const struct findings *findings, struct error *err)
{
	bool mend = flags & HOST_MEND;
	_cleanup_close_ int lock = host_state_lock(err);
	struct error all = {0}, one;

	if (lock < 0)
		return lock;
	int r = host_state_load(&host->state, err);
	if (r == 0 && mend)
		r = prepare(host, err);
	if (r < 0)
		return r;
	const char *bridge = bridge_of(host);
	if (!(flags & HOST_WITHOUT_RULES) &&
	    packet_filter_settle(&host->filter, &host->config, bridge, mend, findings, &one) < 0)
		error_join(&all, &one);
	// Not without the rule that keeps others out.
	if (settle_localnet(mend && !all.code, findings, &one) < 0)
		error_join(&all, &one);
	if (bridge && settle_accept_ra(bridge, mend, findings, &one) < 0)
		error_join(&all, &one);
	if (settle_route(host, mend, findings, &one) < 0)
		error_join(&all, &one);
	return done(&all, err);
}

void host_note(enum finding finding, const char *text, void *arg)
{
	struct buf *texts = arg;

	if (finding != IN_PLACE)
		(void)buf_printf(texts, "%s%s", texts->len ? "; " : "", text);
}

int host_set_up(struct host *host, struct error *err)
{
	struct buf texts = {0};

	int r = host_settle(host, HOST_MEND, &(struct findings){host_note, &texts}, err);
	if (r == 0)
		log_info("the host is set up", "changed=%s", texts.len ? texts.data : "nothing");
	buf_free(&texts);
	return r;
}

int host_undo(struct host *host, struct error *err)
{
	_cleanup_close_ int lock = host_state_lock(err);
	struct error all = {0}, one;

	if (lock < 0)
		return lock;
	int r = host_state_load(&host->state, err);
	if (r < 0)
		return r;
	if (undo_localnet(host, &one) < 0)
		error_join(&all, &one);
	if (host->state.route && credentials_route_delete(&one) < 0)
		error_join(&all, &one);
	if (undo_rules(host, &one) < 0)
		error_join(&all, &one);
	if (!all.code && host_state_remove(&one) < 0)
		error_join(&all, &one);
	return done(&all, err);
}

// --- bridge and state ---

static const char *bridge_of(const struct host *host)
{
	if (host->bridge_known)
		return *host->bridge ? host->bridge : NULL;
	return *host->state.bridge ? host->state.bridge : DOCKER_BRIDGE_DEFAULT;
}

// Before anything is changed: what has to be known to undo it is on record, and a rule for another bridge is gone.
static int prepare(struct host *host, struct error *err)
{
	const char *bridge = bridge_of(host), *name = bridge ? bridge : "";
	struct host_state *state = &host->state;

	if (state->exists && strcmp(state->bridge, name) == 0)
		return 0;
	int r = 0;
	if (*state->bridge)
		r = packet_filter_delete(&host->filter, RULE_INTROSPECTION_BRIDGE, state->bridge, err);
	if (r == 0 && !state->exists)
		r = found_localnet(host, &state->route_localnet, err);
	if (r < 0)
		return r;
	state->exists = true;
	memmove(state->bridge, name, strlen(name) + 1);
	return host_state_save(state, err);
}

// --- sysctls ---

// What route_localnet is to be in the end if nothing is on record.
static int found_localnet(const struct host *host, int *value, struct error *err)
{
	int r = sysctl_read(ROUTE_LOCALNET, value, err);

	if (r < 0 || *value != 1)
		return r;
	r = packet_filter_has(&host->filter, RULE_CREDENTIALS_BRIDGE, IP_V4, NULL, err);
	return r > 0 ? sysctl_read(ROUTE_LOCALNET_DEFAULT, value, err) : r;
}

static int settle_sysctl(const char *name, int wanted, bool mend, const struct findings *findings, struct error *err)
{
	int value;
	int r = sysctl_read(name, &value, err);

	if (r < 0)
		return r;
	_cleanup_free_ char *text = xasprintf("%s = %d", name, wanted);
	for (char *p = text; *p; p++)
		if (*p == '/')
			*p = '.';
	findings->found(value == wanted ? IN_PLACE : MISSING, text, findings->arg);
	return mend && value != wanted ? sysctl_write(name, wanted, err) : 0;
}

static int settle_localnet(bool mend, const struct findings *findings, struct error *err)
{
	return settle_sysctl(ROUTE_LOCALNET, 1, mend, findings, err);
}

static int settle_accept_ra(const char *bridge, bool mend, const struct findings *findings, struct error *err)
{
	_cleanup_free_ char *name = xasprintf("net/ipv6/conf/%s/accept_ra", bridge);
	struct error problem;

	int r = settle_sysctl(name, 0, mend, findings, &problem);
	if (r == -ENOENT) // no IPv6, or no bridge yet
		return 0;
	return r < 0 ? error_set(err, problem.code, "%s", problem.message) : 0;
}

static int undo_localnet(const struct host *host, struct error *err)
{
	int value = host->state.route_localnet, now;
	int r = sysctl_read(ROUTE_LOCALNET, &now, err);

	if (r == 0 && !host->state.exists)
		r = found_localnet(host, &value, err);
	return r < 0 || now == value ? r : sysctl_write(ROUTE_LOCALNET, value, err);
}

// --- route ---

static int settle_route(struct host *host, bool mend, const struct findings *findings, struct error *err)
{
	int exists = credentials_route_exists(err);

	if (exists < 0)
		return exists;
	findings->found(exists ? IN_PLACE : MISSING, "a route to 169.254.170.2", findings->arg);
	if (exists || !mend)
		return 0;
	host->state.route = true;
	int r = host_state_save(&host->state, err);
	if (r == 0)
		r = credentials_route_add(err);
	if (r <= 0)
		return r;
	host->state.route = false; // somebody else's
	return host_state_save(&host->state, err);
}

// --- rules ---

static int undo_rules(const struct host *host, struct error *err)
{
	struct error all = {0}, one;

	for (enum rule_id id = 0; id < RULES; id++)
		if (packet_filter_delete(&host->filter, id, DOCKER_BRIDGE_DEFAULT, &one) < 0)
			error_join(&all, &one);
	if (*host->state.bridge && strcmp(host->state.bridge, DOCKER_BRIDGE_DEFAULT) != 0 &&
	    packet_filter_delete(&host->filter, RULE_INTROSPECTION_BRIDGE, host->state.bridge, &one) < 0)
		error_join(&all, &one);
	return done(&all, err);
}
