// Spool items become events. Input: limit and options, a seed for where reading stops and begins again, then items: a byte
// of flags, one for the time, the ordinal and the length, and the text.
// Held against: stops change nothing; no byte is lost or added but newlines of multiline; no event is too large.
#include "fuzz.h"
#include "logging/event_text.h"
#include "logging/lines.h"

#define ITEMS_MAX 512

struct totals {
	size_t bytes[256]; // how often each occurs
};

static struct spool_item items[ITEMS_MAX];
static size_t count;

static bool begins(const char *text, size_t len, void *arg)
{
	(void)arg;
	return len > 0 && text[0] == 'B';
}

static void read_items(const char *data, size_t size)
{
	static const char ids[] = "xy";
	int64_t ms = 1000;

	for (count = 0; count < ITEMS_MAX && size >= 4; count++) {
		unsigned char flags = (unsigned char)data[0];
		size_t len = (unsigned char)data[3] < size - 4 ? (unsigned char)data[3] : size - 4;
		struct spool_item *item = &items[count];

		*item = (struct spool_item){.position = count, .first = count, .kind = SPOOL_RECORD};
		ms += (signed char)data[1] * 100;
		if (flags >> 4 == 15)
			item->kind = flags & 1 ? SPOOL_END : SPOOL_LOSS;
		item->loss = (struct spool_loss){.reason = SPOOL_LOST_FULL, .lines = 1, .last_ns = ms * 1000000};
		item->record = (struct record){.source = (enum record_source)((flags & 3) % 3),
					       .time_ns = ms * 1000000,
					       .line = data + 4,
					       .len = len,
					       .partial = flags & 4,
					       .last = flags & 8,
					       .id = &ids[flags >> 4 & 1],
					       .id_len = 1,
					       .ordinal = data[2]};
		data += 4 + len;
		size -= 4 + len;
	}
}

static void add(struct totals *totals, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		totals->bytes[(unsigned char)text[i]]++;
}

// The events as one text, each with its time; read with stops if seed is not 0.
static char *read_events(const struct lines_options *options, unsigned seed, struct totals *totals)
{
	struct lines *lines = lines_new(options);
	struct lines_mark mark;
	struct lines_event event;
	struct buf out = {0};
	unsigned stops = seed ? 200 : 0;

	lines_mark_set(&mark, 0);
	lines_restart(lines, &mark);
	for (size_t at = 0; at < count;) {
		lines_feed(lines, &items[at++]);
		while (lines_peek(lines, &event)) {
			seed = seed * 1103515245u + 12345u;
			if (stops > 0 && (seed >> 16 & 3) == 0) {
				stops--;
				lines_settle(lines);
				lines_mark(lines, &mark);
				lines_restart(lines, &mark);
				at = lines_mark_position(&mark);
				CHECK(at <= count);
				break;
			}
			CHECK(event.effective == event_text_length(event.text, event.len));
			CHECK(event.effective <= options->limit || event.lines == 0);
			CHECK(event.len > 0 && event.last < count);
			buf_printf(&out, "%lld %u %zu ", (long long)event.time_ns, event.lines, event.len);
			buf_append(&out, event.text, event.len);
			if (event.lines > 0)
				add(totals, event.text, event.len);
			lines_take(lines);
		}
	}
	lines_settle(lines);
	lines_mark(lines, &mark);
	CHECK(lines_mark_position(&mark) <= count);
	lines_free(lines);
	buf_append(&out, "", 1);
	return buf_take(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct totals in = {0}, out = {0}, again = {0};

	if (size < 2)
		return 0;
	struct lines_options options = {
		.limit = 4 + (data[0] & 127), .begins = data[0] & 128 ? begins : NULL, .interval_ms = 5000};
	_cleanup_free_ char *text = fuzz_bytes(data + 2, size - 2);
	read_items(text, size - 2);
	if (count > 0) // so that nothing stays behind
		items[count - 1].kind = SPOOL_END;
	for (size_t i = 0; i < count; i++)
		if (items[i].kind == SPOOL_RECORD)
			add(&in, items[i].record.line, items[i].record.len);
	_cleanup_free_ char *once = read_events(&options, 0, &out);
	_cleanup_free_ char *stopped = read_events(&options, 1 + data[1], &again);
	CHECK(strcmp(once, stopped) == 0);
	for (size_t i = 0; i < 256; i++)
		CHECK(i == '\n' && options.begins ? out.bytes[i] >= in.bytes[i] : out.bytes[i] == in.bytes[i]);
	return 0;
}
