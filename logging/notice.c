#include "logging/notice.h"

#include "common/util.h"

#include <inttypes.h>

static const char *reason_text(enum spool_loss_reason reason);

size_t notice_text(const struct spool_loss *loss, char *out, size_t size)
{
	char from[40], to[40], count[64] = "lines", between[100] = "", bytes[40] = "";

	if (loss->lines)
		snprintf(count, sizeof(count), "%" PRIu64 " line%s", loss->lines, loss->lines == 1 ? "" : "s");
	if (loss->first_ns > 0 && loss->last_ns > 0) {
		format_rfc3339_ms(loss->first_ns / 1000000, from);
		format_rfc3339_ms(loss->last_ns / 1000000, to);
		snprintf(between, sizeof(between), ", from %s to %s", from, to);
	}
	if (loss->bytes)
		snprintf(bytes, sizeof(bytes), "%" PRIu64 " bytes, ", loss->bytes);
	int len =
		snprintf(out, size, "ecs-logd: %s dropped%s (%s%s)", count, between, bytes, reason_text(loss->reason));
	return (size_t)len < size ? (size_t)len : size - 1;
}

static const char *reason_text(enum spool_loss_reason reason)
{
	switch (reason) {
	case SPOOL_LOST_FULL:
		return "the disk space for logs was used up";
	case SPOOL_LOST_GARBAGE:
		return "Docker's log stream was not readable";
	case SPOOL_LOST_DAMAGED:
		return "damaged on disk";
	case SPOOL_LOST_BY_DOCKER:
		return "Docker dropped them before they were logged: mode=non-blocking";
	}
	return "the reason is not known";
}
