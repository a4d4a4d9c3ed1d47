// Log lines with hostile values, through log_format and the path of log_event. Input: a byte that chooses the room,
// then the values, separated by newlines.
#include "common/log.c"
#include "fuzz.h"

static void check_line(const char *line, size_t len, size_t room, bool json)
{
	CHECK(len < room && strlen(line) == len && is_utf8(line));
	for (const char *c = line; *c; c++)
		CHECK((unsigned char)*c >= ' ' && *c != 127);
	if (!json || room < 256)
		return;
	_cleanup_json_ json_object *object = json_parse(line, len, NULL);
	CHECK(json_object_is_type(object, json_type_object));
	CHECK(str_equal(json_get_string(object, "level"), "info") && json_get_string(object, "time"));
}

// As log_event, but into memory.
__attribute__((format(printf, 5, 6))) static void event(size_t room, bool json, const char *message, const char *value,
							const char *format, ...)
{
	char text[FIELDS_TEXT_MAX];
	struct field fields[FIELDS_MAX];
	_cleanup_free_ char *out = xmalloc(room + 1);
	va_list args;
	va_start(args, format);
	size_t count = format_fields(text, sizeof(text), fields, format, args);
	va_end(args);
	size_t len = make_line(&(struct line){.out = out, .size = room, .json = json}, LOG_INFO, "ecsd", 1440938160000,
			       message, fields, count);
	check_line(out, len, room, json);
	if (!json || room < LINE_MAX_BYTES - 1 || strlen(value) > 256 || !is_utf8(value))
		return;
	// A short value comes back from the line as it went in.
	_cleanup_json_ json_object *object = json_parse(out, len, NULL);
	CHECK(str_equal(json_get_string(object, "one"), value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	_cleanup_free_ char *text = fuzz_text(data + 1, size - 1);
	size_t room = data[0] < 64 ? 256 + 16u * data[0] : LINE_MAX_BYTES - 1;
	char *rest = text, *one = strsep(&rest, "\n"), *two = rest ? rest : "";
	for (unsigned json = 0; json < 2; json++) {
		event(room, json, "a message", one, "one=%s number=%d two=%s", one, -5, two);
		event(room, json, one, two, "one=%s %s", two, one);
	}
	// log_format with any room at all; to keep the separator out of values is its callers' part.
	for (size_t i = 0; i + 1 < size; i++)
		if (text[i] == SEPARATOR)
			text[i] = ' ';
	_cleanup_free_ char *fields = xasprintf("one=%s%ctwo=%s", one, SEPARATOR, two);
	for (unsigned json = 0; json < 2; json++) {
		char line[128];
		size_t small = data[0] & 127;
		size_t len = log_format(line, small, json, LOG_INFO, "ecsd", 0, "a message", fields);
		if (small)
			CHECK(len < small && strlen(line) == len && is_utf8(line));
	}
	return 0;
}
