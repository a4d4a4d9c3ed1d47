#include "host/state.h"

#include "common/util.h"
#include "host/rules.h"
#include <fcntl.h>
#include <sys/file.h>

#define STATE_FILE HOST_STATE_DIRECTORY "/state"
#define LOCK_FILE HOST_STATE_DIRECTORY "/lock"
#define STATE_MAX 256
_Static_assert(IF_NAMESIZE == 16, "%15s below");

int host_state_lock(struct error *err)
{
	int r = make_directory(HOST_STATE_DIRECTORY, 0755);
	if (r < 0)
		return error_set_errno(err, -r, "cannot make the directory %s", HOST_STATE_DIRECTORY);
	int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", LOCK_FILE);
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fd;
	r = error_set_errno(err, errno, "cannot lock %s", LOCK_FILE);
	close(fd);
	return r;
}

int host_state_load(struct host_state *state, struct error *err)
{
	_cleanup_free_ char *text = read_file(STATE_FILE, STATE_MAX, NULL);
	char bridge[IF_NAMESIZE] = "";
	int localnet, route;

	*state = (struct host_state){0};
	if (!text)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot read %s", STATE_FILE);
	if (sscanf(text, "ROUTE_LOCALNET=%d ROUTE=%d BRIDGE=%15s", &localnet, &route, bridge) < 2 ||
	    (*bridge && !bridge_name_valid(bridge)))
		return error_set(err, EINVAL, "%s is not what was written there: \"%s\"", STATE_FILE, text);
	state->exists = true;
	state->route_localnet = localnet;
	state->route = route;
	memcpy(state->bridge, bridge, sizeof(bridge));
	return 0;
}

int host_state_save(const struct host_state *state, struct error *err)
{
	_cleanup_free_ char *text = xasprintf("ROUTE_LOCALNET=%d\nROUTE=%d\nBRIDGE=%s\n", state->route_localnet,
					      state->route, state->bridge);
	int r = write_file_atomic(STATE_FILE, text, strlen(text), 0600);

	return r < 0 ? error_set_errno(err, -r, "cannot write %s", STATE_FILE) : 0;
}

int host_state_remove(struct error *err)
{
	if (unlink(STATE_FILE) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove %s", STATE_FILE);
	return 0;
}
