#include "logging/resend.h"

void resend_init(struct resend *resend, uint64_t position)
{
	*resend = (struct resend){.arrived = {.position = position}, .given = {.position = position}};
}

void resend_given(struct resend *resend, size_t wire, uint64_t position, uint64_t lines, uint64_t bytes)
{
	struct resend_mark *given = &resend->given;
	unsigned last = (resend->first + resend->count + RESEND_MARKS - 1) % RESEND_MARKS;

	given->wire += wire;
	given->position = position;
	given->lines += lines;
	given->bytes += bytes;
	// The last mark grows until it is large enough, and beyond when there is no place for another.
	if (resend->count > 0) {
		const struct resend_mark *before =
			resend->count > 1 ? &resend->marks[(last + RESEND_MARKS - 1) % RESEND_MARKS] : &resend->arrived;

		if (resend->count == RESEND_MARKS || resend->marks[last].wire - before->wire < RESEND_MARK_BYTES) {
			resend->marks[last] = *given;
			return;
		}
	}
	resend->marks[(last + 1) % RESEND_MARKS] = *given;
	resend->count++;
}

bool resend_waits(const struct resend *resend)
{
	return resend->count > 0;
}

bool resend_confirm(struct resend *resend, size_t unacknowledged, bool quiet)
{
	uint64_t wire = resend->given.wire, acknowledged = wire > unacknowledged ? wire - unacknowledged : 0;
	bool all = unacknowledged == 0 && (quiet || wire == resend->arrived.wire), moved = false;

	while (resend->count > 0) {
		const struct resend_mark *mark = &resend->marks[resend->first];

		if (!all && mark->wire + RESEND_WINDOW > acknowledged)
			break;
		resend->arrived = *mark;
		resend->first = (resend->first + 1) % RESEND_MARKS;
		resend->count--;
		moved = true;
	}
	return moved;
}

uint64_t resend_rewind(struct resend *resend)
{
	uint64_t lines = resend->given.lines - resend->arrived.lines;

	resend->arrived.wire = 0;
	resend->given = resend->arrived;
	resend->first = resend->count = 0;
	return lines;
}
