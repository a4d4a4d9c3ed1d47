#include "common/capabilities.h"

#include "common/util.h"
#include <errno.h>
#include <sys/prctl.h>

static bool contains(const cap_value_t *list, size_t count, cap_value_t cap)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == cap)
			return true;
	return false;
}

int capabilities_keep(const cap_value_t *kept, size_t count)
{
	cap_t now = cap_get_proc(), then = cap_init();
	int r = now && then ? 0 : -errno;

	for (cap_value_t cap = 0; r == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!contains(kept, count, cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EPERM) // not root: nothing to lose
			r = -errno;
	for (size_t i = 0; r == 0 && i < count; i++) {
		cap_flag_value_t has = CAP_CLEAR;
		if (cap_get_flag(now, kept[i], CAP_PERMITTED, &has) < 0 ||
		    (has == CAP_SET && (cap_set_flag(then, CAP_PERMITTED, 1, &kept[i], CAP_SET) < 0 ||
					cap_set_flag(then, CAP_EFFECTIVE, 1, &kept[i], CAP_SET) < 0)))
			r = -errno;
	}
	if (r == 0) {
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		r = cap_set_proc(then) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	}
	cap_free(now);
	cap_free(then);
	return r;
}
