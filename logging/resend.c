#include "logging/resend.h"

static struct resend_mark *mark_at(struct resend *resend, unsigned index);
static void make_coarser(struct resend *resend);

void resend_init(struct resend *resend, uint64_t position)
{
	*resend = (struct resend){
		.far = RESEND_NEAR, .coarse = 1, .arrived = {.position = position}, .given = {.position = position}};
}

void resend_given(struct resend *resend, uint64_t now, size_t wire, uint64_t position, uint64_t lines, uint64_t bytes)
{
	struct resend_mark *given = &resend->given, *last = mark_at(resend, resend->count - 1);
	const struct resend_mark *before = resend->count > 1 ? mark_at(resend, resend->count - 2) : &resend->arrived;

	given->wire += wire;
	given->position = position;
	given->lines += lines;
	given->bytes += bytes;
	given->since = given->time = now;
	if (resend->count > 0 && last->wire - before->wire < resend->coarse * RESEND_STEP &&
	    now - last->since < resend->coarse * RESEND_STEP_MS) {
		given->since = last->since;
		*last = *given;
		return;
	}
	if (resend->count == 0)
		resend->coarse = 1;
	else if (resend->count == RESEND_MARKS)
		make_coarser(resend);
	else if (resend->count < RESEND_MARKS / 4 && resend->coarse > 1)
		resend->coarse /= 2;
	resend->count++;
	*mark_at(resend, resend->count - 1) = *given;
}

bool resend_waits(const struct resend *resend)
{
	return resend->count > 0;
}

static const struct resend_mark *oldest(const struct resend *resend)
{
	return &resend->marks[resend->first];
}

static uint64_t behind(const struct resend *resend)
{
	return resend->given.wire - oldest(resend)->wire;
}

bool resend_ripe(const struct resend *resend, uint64_t now)
{
	return resend->count > 0 && (behind(resend) >= resend->far || now - oldest(resend)->time >= RESEND_MS ||
				     resend->given.wire == resend->arrived.wire);
}

bool resend_would_confirm(const struct resend *resend, const struct resend_look *look)
{
	uint64_t wire = resend->given.wire, near = 2 * (uint64_t)look->window_most, after;

	if (resend->count == 0)
		return false;
	if (wire == resend->arrived.wire)
		return true; // nothing of it needed a message
	if (behind(resend) < look->unacknowledged)
		return false;
	after = behind(resend) - look->unacknowledged;
	if (look->at_end || after >= resend->far)
		return true;
	if (look->now - oldest(resend)->time < RESEND_MS)
		return false;
	return look->window >= look->window_most / 2 || after >= (near > RESEND_NEAR ? near : RESEND_NEAR);
}

void resend_confirm(struct resend *resend, const struct resend_look *look)
{
	while (resend_would_confirm(resend, look)) {
		resend->arrived = *oldest(resend);
		resend->first = (resend->first + 1) % RESEND_MARKS;
		resend->count--;
	}
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
	resend->coarse *= 2;
	for (unsigned i = 0; i < resend->count; i++) {
		uint64_t since = mark_at(resend, 2 * i)->since;

		*mark_at(resend, i) = *mark_at(resend, 2 * i + 1);
		mark_at(resend, i)->since = since;
	}
}
