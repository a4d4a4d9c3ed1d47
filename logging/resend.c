#include "logging/resend.h"

static struct resend_mark *mark_at(struct resend *resend, unsigned index);
static void make_coarser(struct resend *resend);

void resend_init(struct resend *resend, uint64_t position)
{
	*resend = (struct resend){.arrived = {.position = position}, .given = {.position = position}};
}

void resend_given(struct resend *resend, size_t wire, uint64_t position, uint64_t lines, uint64_t bytes)
{
	struct resend_mark *given = &resend->given, *last = mark_at(resend, resend->count - 1);
	const struct resend_mark *before = resend->count > 1 ? mark_at(resend, resend->count - 2) : &resend->arrived;

	given->wire += wire;
	given->position = position;
	given->lines += lines;
	given->bytes += bytes;
	if (resend->count == 0)
		resend->step = RESEND_STEP;
	if (resend->count > 0 && last->wire - before->wire < resend->step) {
		*last = *given;
		return;
	}
	if (resend->count == RESEND_MARKS)
		make_coarser(resend);
	resend->count++;
	*mark_at(resend, resend->count - 1) = *given;
}

bool resend_waits(const struct resend *resend)
{
	return resend->count > 0;
}

bool resend_would_confirm(const struct resend *resend, size_t unacknowledged, bool quiet)
{
	uint64_t wire = resend->given.wire, acknowledged = wire > unacknowledged ? wire - unacknowledged : 0;

	if (resend->count == 0)
		return false;
	if (unacknowledged == 0 && (quiet || wire == resend->arrived.wire))
		return true;
	return resend->marks[resend->first].wire + RESEND_WINDOW <= acknowledged;
}

bool resend_confirm(struct resend *resend, size_t unacknowledged, bool quiet)
{
	bool moved = false;

	while (resend_would_confirm(resend, unacknowledged, quiet)) {
		resend->arrived = *mark_at(resend, 0);
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

static struct resend_mark *mark_at(struct resend *resend, unsigned index)
{
	return &resend->marks[(resend->first + index) % RESEND_MARKS];
}

// Every other mark stands for two.
static void make_coarser(struct resend *resend)
{
	resend->count /= 2;
	resend->step *= 2;
	for (unsigned i = 0; i < resend->count; i++)
		*mark_at(resend, i) = *mark_at(resend, 2 * i + 1);
}
