#include "logging/lines.h"

#include "common/util.h"
#include "logging/event_text.h"
#include "logging/notice.h"

#define NOTICES (LINES_SLOTS - 1) // the slot of losses
#define NOWHERE UINT64_MAX
#define PIECES 4  // a character whose end has not come began in one of the three before the newest
#define ID_MAX 64 // of a line in pieces: 64 hex digits (logging.md §1.7)

// A record's part of the text of half a line.
struct piece {
	struct lines_place place;
	size_t len;
	int64_t time_ns; // all of a line have the same, from Docker
};

// A line of which the end has not come.
struct half {
	bool open;
	struct buf text;
	size_t judged, effective; // bytes of text whose effective length is known, and that
	struct lines_place start;
	struct piece pieces[PIECES]; // that are not empty, the newest first
	int64_t time_ns;             // of the piece in which it begins
	char id[ID_MAX];
	size_t id_len;
	int32_t ordinal;
};

// A line, or as much of one as goes into an event.
struct unit {
	const char *text;
	char *owned; // text, if it is not the item's
	size_t len, effective;
	int64_t time_ns;
	unsigned slot;
	struct lines_place start;
	bool ended; // the line does
};

// Lines collected for one event (multiline).
struct group {
	bool open;
	struct buf text;
	size_t effective;
	int64_t time_ns;
	uint32_t lines;
	uint64_t since, last;                 // items
	struct lines_place from[LINES_SLOTS]; // where its first line of each source begins; NOWHERE: none
};

struct pending {
	struct lines_event event;
	char *owned;
	struct lines_place from[LINES_SLOTS];
};

struct lines {
	struct lines_options options;
	struct lines_mark mark; // of the last restart
	uint64_t next;          // position of the next item
	struct half halves[NOTICES];
	struct group group;
	struct pending *pending;
	size_t first, count, room; // of pending: not taken are those from first on
};

static void feed_record(struct lines *lines, const struct spool_item *item);
static void feed_loss(struct lines *lines, const struct spool_item *item);
static void finish_all(struct lines *lines);
static void group_emit(struct lines *lines);
static void nowhere(struct lines_place *from);

void lines_mark_set(struct lines_mark *mark, uint64_t position)
{
	for (size_t i = 0; i < LINES_SLOTS; i++)
		mark->from[i] = (struct lines_place){position, 0};
}

uint64_t lines_mark_position(const struct lines_mark *mark)
{
	uint64_t position = mark->from[0].position;

	for (size_t i = 1; i < LINES_SLOTS; i++)
		if (mark->from[i].position < position)
			position = mark->from[i].position;
	return position;
}

struct lines *lines_new(const struct lines_options *options)
{
	struct lines *lines = xcalloc(1, sizeof(*lines));

	lines->options = *options;
	return lines;
}

struct lines *lines_free(struct lines *lines)
{
	struct lines_mark mark = {0};

	if (!lines)
		return NULL;
	lines_restart(lines, &mark);
	free(lines->pending);
	free(lines);
	return NULL;
}

void lines_restart(struct lines *lines, const struct lines_mark *mark)
{
	lines->mark = *mark;
	lines->next = lines_mark_position(mark);
	while (lines->first < lines->count)
		lines_take(lines);
	for (size_t i = 0; i < NOTICES; i++) {
		buf_free(&lines->halves[i].text);
		lines->halves[i].open = false;
	}
	buf_free(&lines->group.text);
	lines->group.open = false;
}

void lines_feed(struct lines *lines, const struct spool_item *item)
{
	lines->next = item->position + 1;
	switch (item->kind) {
	case SPOOL_RECORD:
		feed_record(lines, item);
		break;
	case SPOOL_LOSS:
		feed_loss(lines, item);
		break;
	case SPOOL_END:
		finish_all(lines);
		group_emit(lines);
		break;
	}
}

bool lines_peek(struct lines *lines, struct lines_event *event)
{
	if (lines->first == lines->count)
		return false;
	*event = lines->pending[lines->first].event;
	return true;
}

void lines_take(struct lines *lines)
{
	free(lines->pending[lines->first].owned);
	if (++lines->first == lines->count)
		lines->first = lines->count = 0;
}

void lines_settle(struct lines *lines)
{
	for (size_t i = lines->first; i < lines->count; i++) {
		struct pending *pending = &lines->pending[i];

		if (!pending->owned)
			pending->event.text = pending->owned = xmemdup(pending->event.text, pending->event.len);
	}
	if (lines->count == 0) {
		free(lines->pending);
		lines->pending = NULL;
		lines->room = 0;
	}
	if (!lines->group.open)
		buf_free(&lines->group.text);
	for (size_t i = 0; i < NOTICES; i++)
		if (!lines->halves[i].open)
			buf_free(&lines->halves[i].text);
}

bool lines_collecting(const struct lines *lines, uint64_t *since)
{
	*since = lines->group.since;
	return lines->group.open;
}

void lines_cut(struct lines *lines)
{
	group_emit(lines);
}

void lines_mark(const struct lines *lines, struct lines_mark *mark)
{
	for (unsigned slot = 0; slot < LINES_SLOTS; slot++) {
		struct lines_place *from = &mark->from[slot];

		// Events of a source are in the order of its records: the first that is not taken counts.
		*from = (struct lines_place){NOWHERE, 0};
		for (size_t i = lines->first; i < lines->count && from->position == NOWHERE; i++)
			*from = lines->pending[i].from[slot];
		if (from->position == NOWHERE && lines->group.open)
			*from = lines->group.from[slot];
		if (from->position == NOWHERE && slot < NOTICES && lines->halves[slot].open)
			*from = lines->halves[slot].start;
		if (from->position == NOWHERE)
			*from = (struct lines_place){lines->next, 0};
		const struct lines_place *least = &lines->mark.from[slot];
		if (from->position < least->position ||
		    (from->position == least->position && from->offset < least->offset))
			*from = *least;
	}
}

size_t lines_memory(const struct lines *lines)
{
	size_t bytes = lines->group.text.cap;

	for (size_t i = 0; i < NOTICES; i++)
		bytes += lines->halves[i].text.cap;
	for (size_t i = lines->first; i < lines->count; i++)
		bytes += lines->pending[i].owned ? lines->pending[i].event.len : 0;
	return bytes;
}

// --- events ---

static void nowhere(struct lines_place *from)
{
	for (size_t i = 0; i < LINES_SLOTS; i++)
		from[i] = (struct lines_place){NOWHERE, 0};
}

static struct pending *add_pending(struct lines *lines)
{
	if (lines->count == lines->room) {
		lines->room = lines->room ? lines->room * 2 : 4;
		lines->pending = xreallocarray(lines->pending, lines->room, sizeof(*lines->pending));
	}
	struct pending *pending = &lines->pending[lines->count++];
	nowhere(pending->from);
	return pending;
}

static void group_emit(struct lines *lines)
{
	struct group *group = &lines->group;

	if (!group->open)
		return;
	group->open = false;
	if (group->text.len == 0)
		return;
	struct pending *pending = add_pending(lines);
	memcpy(pending->from, group->from, sizeof(pending->from));
	pending->event = (struct lines_event){.time_ns = group->time_ns,
					      .len = group->text.len,
					      .effective = group->effective,
					      .lines = group->lines,
					      .last = group->last};
	pending->owned = buf_take(&group->text);
	pending->event.text = pending->owned;
}

// Whether a line cannot belong to what is collected already, whatever it says.
static bool too_late(const struct lines *lines, const struct unit *unit)
{
	int64_t age_ns;

	return __builtin_sub_overflow(unit->time_ns, lines->group.time_ns, &age_ns) ||
	       age_ns / 1000000 >= lines->options.interval_ms || age_ns / 1000000 <= -lines->options.interval_ms;
}

// Docker's algorithm (logging.md §4.7) with the time of the first line. An event that is full goes without its last newline,
// which Docker sends as an event of its own.
static void collect(struct lines *lines, const struct unit *unit)
{
	struct group *group = &lines->group;

	if (group->open && (unit->effective > lines->options.limit - group->effective || too_late(lines, unit) ||
			    lines->options.begins(unit->text, unit->len, lines->options.arg)))
		group_emit(lines);
	if (!group->open) {
		buf_clear(&group->text);
		group->open = true;
		group->effective = group->lines = 0;
		group->time_ns = unit->time_ns;
		group->since = unit->start.position;
		nowhere(group->from);
	}
	if (group->from[unit->slot].position == NOWHERE)
		group->from[unit->slot] = unit->start;
	buf_append(&group->text, unit->text, unit->len);
	group->effective += unit->effective;
	group->last = lines->next - 1;
	group->lines++;
	if (unit->ended && group->effective < lines->options.limit) {
		buf_append(&group->text, "\n", 1);
		group->effective++;
	}
}

static void add_unit(struct lines *lines, struct unit *unit)
{
	if (lines->options.begins) {
		collect(lines, unit);
		free(unit->owned);
		return;
	}
	if (unit->len == 0) {
		free(unit->owned);
		return;
	}
	struct pending *pending = add_pending(lines);
	pending->from[unit->slot] = unit->start;
	pending->owned = unit->owned;
	pending->event = (struct lines_event){.time_ns = unit->time_ns,
					      .text = unit->text,
					      .len = unit->len,
					      .effective = unit->effective,
					      .lines = 1,
					      .last = lines->next - 1};
}

// --- lines in pieces ---

// Gives what is judged as a unit; the rest stays.
static void cut(struct lines *lines, unsigned slot, bool ended)
{
	struct half *half = &lines->halves[slot];
	size_t len = half->judged, left = half->text.len - len;
	struct buf rest = {0};

	buf_append(&rest, half->text.data + len, left);
	struct unit unit = {.owned = buf_take(&half->text),
			    .len = len,
			    .effective = half->effective,
			    .time_ns = half->time_ns,
			    .slot = slot,
			    .start = half->start,
			    .ended = ended};
	unit.text = unit.owned;
	half->text = rest;
	half->judged = half->effective = 0;
	for (size_t i = 0; i < PIECES && left > 0; i++) {
		const struct piece *piece = &half->pieces[i];
		size_t here = left < piece->len ? left : piece->len;

		half->start = (struct lines_place){piece->place.position, piece->place.offset + piece->len - here};
		half->time_ns = piece->time_ns;
		left -= here;
	}
	add_unit(lines, &unit);
}

// Gives units as long as there is more than one's worth. final: no more comes, or a character may end in the next piece.
static void judge(struct lines *lines, unsigned slot, bool final)
{
	struct half *half = &lines->halves[slot];

	for (;;) {
		const char *text = half->text.data + half->judged;
		size_t left = half->text.len - half->judged, effective;

		if (!final)
			left -= event_text_unfinished(text, left);
		size_t bytes = event_text_prefix(text, left, lines->options.limit - half->effective, &effective);
		half->judged += bytes;
		half->effective += effective;
		if (bytes == left)
			return;
		cut(lines, slot, false);
	}
}

static void finish(struct lines *lines, unsigned slot)
{
	struct half *half = &lines->halves[slot];

	if (!half->open)
		return;
	half->open = false;
	if (half->text.len > 0)
		judge(lines, slot, true);
	cut(lines, slot, true);
}

// In the order of their times, which reading again does not change.
static void finish_all(struct lines *lines)
{
	for (;;) {
		struct half *oldest = NULL;

		for (size_t i = 0; i < NOTICES; i++) {
			struct half *half = &lines->halves[i];

			if (half->open && (!oldest || half->time_ns < oldest->time_ns))
				oldest = half;
		}
		if (!oldest)
			return;
		finish(lines, (unsigned)(oldest - lines->halves));
	}
}

static bool continues(const struct half *half, const struct record *record)
{
	return half->open && record->partial && record->id_len == half->id_len &&
	       (half->id_len == 0 || memcmp(record->id, half->id, half->id_len) == 0) &&
	       (int64_t)record->ordinal - 1 == half->ordinal;
}

static void append(struct lines *lines, unsigned slot, const struct record *record, const struct piece *piece)
{
	struct half *half = &lines->halves[slot];

	if (!half->open) {
		buf_clear(&half->text);
		half->open = true;
		half->judged = half->effective = 0;
		half->start = piece->place;
		memset(half->pieces, 0, sizeof(half->pieces));
		half->time_ns = record->time_ns;
		half->id_len = record->partial && record->id_len <= ID_MAX ? record->id_len : 0;
		if (half->id_len > 0)
			memcpy(half->id, record->id, half->id_len);
	}
	if (piece->len > 0) {
		memmove(&half->pieces[1], &half->pieces[0], sizeof(half->pieces) - sizeof(half->pieces[0]));
		half->pieces[0] = *piece;
	}
	half->ordinal = record->partial ? record->ordinal : 0;
	buf_append(&half->text, record->line + piece->place.offset, piece->len);
	judge(lines, slot, false);
}

// Half a line whose end does not come is let go.
static void look_at_halves(struct lines *lines, const struct spool_item *item)
{
	for (unsigned slot = 0; slot < NOTICES; slot++) {
		struct half *half = &lines->halves[slot];
		int64_t age_ns;

		if (!half->open || continues(half, &item->record))
			continue;
		if (item->position - half->start.position >= LINES_WAIT_RECORDS ||
		    __builtin_sub_overflow(item->record.time_ns, half->time_ns, &age_ns) ||
		    age_ns / 1000000 >= LINES_WAIT_MS)
			finish(lines, slot);
	}
}

static void feed_record(struct lines *lines, const struct spool_item *item)
{
	const struct record *record = &item->record;
	unsigned slot = record->source;
	const struct lines_place *from = &lines->mark.from[slot];
	struct half *half = &lines->halves[slot];
	struct piece piece = {{item->position, 0}, record->len, record->time_ns};

	look_at_halves(lines, item);
	if (item->position < from->position)
		return;
	if (item->position == from->position) {
		piece.place.offset = from->offset < record->len ? from->offset : record->len;
		piece.len -= piece.place.offset;
	}
	if (half->open && !continues(half, record))
		finish(lines, slot); // its end is missing: the engine's queue drops
	if (!record->partial && piece.len <= lines->options.limit) {
		const char *text = record->line + piece.place.offset;
		size_t effective = event_text_length(text, piece.len);

		if (effective <= lines->options.limit) {
			struct unit unit = {text, NULL, piece.len, effective, record->time_ns, slot, piece.place, true};
			add_unit(lines, &unit);
			return;
		}
	}
	append(lines, slot, record, &piece);
	if (!record->partial || record->last)
		finish(lines, slot);
}

static void feed_loss(struct lines *lines, const struct spool_item *item)
{
	char text[NOTICE_MAX];

	if (lines->options.silent || item->position < lines->mark.from[NOTICES].position)
		return;
	group_emit(lines);
	size_t len = notice_text(&item->loss, text, sizeof(text));
	struct pending *pending = add_pending(lines);
	pending->from[NOTICES] = (struct lines_place){item->first, 0};
	pending->owned = xmemdup(text, len);
	pending->event = (struct lines_event){.time_ns = item->loss.last_ns,
					      .text = pending->owned,
					      .len = len,
					      .effective = len,
					      .last = item->position};
}
