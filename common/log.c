#include "common/log.h"

#include "common/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/stat.h>

#define FIELDS_MAX 32        // words of one format
#define FIELDS_TEXT_MAX 8192 // of all values together; more is cut with CUT_MARK
#define LINE_MAX_BYTES 16384 // of a finished line, after escaping
#define CUT_MARK "..."
#define SEPARATOR '\x1f' // between the words given to log_format

// One key and its value as they lie in a formatted text.
struct field {
	const char *key, *value;
	size_t key_len, value_len;
	bool cut; // the end of the value is missing
};

// A line under construction. `full` is set by the first piece that does not fit; nothing is added from then on
// but what closes the line, for which RESERVE bytes are always kept.
struct line {
	char *out;
	size_t size, len;
	bool json, full;
};
#define RESERVE (sizeof(CUT_MARK "\"}"))

static struct {
	enum log_level level, file_level;
	bool json;
	int fd;
	char *path;
	struct rolling_file file;
	char program[32];
	char critical[ERROR_MESSAGE_MAX];
} state = {.level = LOG_WARN, .file_level = LOG_NONE, .fd = -1};

static size_t make_line(struct line *line, enum log_level level, const char *program, long long wall,
			const char *message, const struct field *fields, size_t count);
static void write_line(enum log_level level, const char *text, size_t len);
static void write_file(const char *text, size_t len);
static int open_file(const char *path);
static size_t format_fields(char *text, size_t size, struct field *fields, const char *format, va_list args);
static size_t split_fields(const char *text, struct field *fields);

int log_open(const struct log_options *options, struct error *err)
{
	int fd = -1;

	if (!str_empty(options->path)) {
		fd = open_file(options->path);
		if (fd < 0)
			return error_set_errno(err, errno, "cannot open log file %s", options->path);
	}
	char *path = fd < 0 ? NULL : xstrdup(options->path); // may be our own
	log_close();
	if (fd >= 0) {
		struct stat st = {0};

		fstat(fd, &st);
		state.path = path;
		state.file = (struct rolling_file){.path = path, .roll = options->roll, .size = st.st_size};
	}
	state.fd = fd;
	state.level = options->level;
	state.file_level = fd < 0                                   ? LOG_NONE
			   : options->file_level == LOG_LEVEL_UNSET ? options->level
								    : options->file_level;
	state.json = options->json;
	snprintf(state.program, sizeof(state.program), "%s", options->program ? options->program : "");
	return 0;
}

void log_close(void)
{
	if (state.fd >= 0)
		close(state.fd);
	state.fd = -1;
	state.file_level = LOG_NONE;
	free(state.path);
	state.path = NULL;
}

const char *log_last_critical(void)
{
	return state.critical;
}

static void keep_critical(const char *message, const struct field *fields, size_t count)
{
	size_t len = (size_t)snprintf(state.critical, sizeof(state.critical), "%s", message);

	for (size_t i = 0; i < count; i++)
		if (len < sizeof(state.critical) && fields[i].key_len == 5 && memcmp(fields[i].key, "error", 5) == 0)
			snprintf(state.critical + len, sizeof(state.critical) - len, ": %.*s", (int)fields[i].value_len,
				 fields[i].value);
}

bool log_enabled(enum log_level level)
{
	return level >= state.level || level >= state.file_level;
}

bool log_level_parse(const char *text, enum log_level *level)
{
	static const struct {
		const char *name;
		enum log_level level;
	} names[] = {{"debug", LOG_DEBUG}, {"info", LOG_INFO},     {"warn", LOG_WARN},         {"warning", LOG_WARN},
		     {"error", LOG_ERROR}, {"crit", LOG_CRITICAL}, {"critical", LOG_CRITICAL}, {"none", LOG_NONE}};

	for (size_t i = 0; text && i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(text, names[i].name) == 0) {
			*level = names[i].level;
			return true;
		}
	}
	return false;
}

size_t log_format(char *out, size_t size, bool json, enum log_level level, const char *program, long long wall,
		  const char *message, const char *fields)
{
	struct field list[FIELDS_MAX];
	size_t count = fields ? split_fields(fields, list) : 0;

	return make_line(&(struct line){.out = out, .size = size, .json = json}, level, program, wall, message, list,
			 count);
}

void log_event(enum log_level level, const char *message, const char *format, ...)
{
	int saved = errno; // a log call must not change what the caller is about to look at
	char text[FIELDS_TEXT_MAX], out[LINE_MAX_BYTES];
	struct field fields[FIELDS_MAX];
	size_t count = 0, len;
	va_list args;

	if (!log_enabled(level))
		return;
	if (format) {
		va_start(args, format);
		count = format_fields(text, sizeof(text), fields, format, args);
		va_end(args);
	}
	if (level == LOG_CRITICAL)
		keep_critical(message, fields, count);
	len = make_line(&(struct line){.out = out, .size = sizeof(out) - 1, .json = state.json}, level, state.program,
			wall_ms(), message, fields, count);
	out[len++] = '\n';
	write_line(level, out, len);
	errno = saved;
}

// --- output ---

static void write_to(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		// A full disk or a closed pipe must not stop the agent; there is nowhere left to tell it.
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void write_line(enum log_level level, const char *text, size_t len)
{
	if (level >= state.level)
		write_to(STDERR_FILENO, text, len);
	if (level >= state.file_level)
		write_file(text, len);
}

static void write_file(const char *text, size_t len)
{
	if (rolling_file_roll(&state.file, wall_ms())) {
		int fd = open_file(state.path);

		if (fd >= 0) { // else the renamed one is gone on with
			close(state.fd);
			state.fd = fd;
		}
	}
	write_to(state.fd, text, len);
	state.file.size += (int64_t)len;
}

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

// --- taking fields apart ---

// The words of a format are separated by single spaces. Values may hold anything, spaces too, so the place
// of each value in the finished text is not searched for: it is computed, by formatting the
// first word alone, the first two, and so on, and comparing lengths. Words are few and log lines are rare.
static size_t format_fields(char *text, size_t size, struct field *fields, const char *format, va_list args)
{
	size_t count = 0, start = 0, format_len = strlen(format);
	char prefix[512];
	va_list copy;

	va_copy(copy, args);
	vsnprintf(text, size, format, copy);
	va_end(copy);
	for (size_t at = 0; at < format_len && format_len < sizeof(prefix) && count < FIELDS_MAX;) {
		const char *word = format + at, *equals = strchr(word, '=');
		size_t end = at + strcspn(word, " ");
		size_t key_len = equals && equals < format + end ? (size_t)(equals - word) : 0;
		struct field *field = &fields[count++];
		int len;

		memcpy(prefix, format, end);
		prefix[end] = '\0';
		va_copy(copy, args);
		len = vsnprintf(NULL, 0, prefix, copy);
		va_end(copy);
		// What lies beyond the buffer is lost: the value that ends there gets the mark, later ones are dropped.
		if (len < 0 || start + key_len + 1 >= size)
			return count - 1;
		field->key = word;
		field->key_len = key_len;
		field->value = text + start + (key_len ? key_len + 1 : 0);
		field->cut = (size_t)len >= size;
		field->value_len = (field->cut ? size - 1 : (size_t)len) - (size_t)(field->value - text);
		start = (size_t)len + 1;
		at = end + 1;
	}
	return count;
}

static size_t split_fields(const char *text, struct field *fields)
{
	size_t count = 0;

	while (*text && count < FIELDS_MAX) {
		size_t len = strcspn(text, (char[]){SEPARATOR, '\0'});
		const char *equals = memchr(text, '=', len);
		size_t key_len = equals ? (size_t)(equals - text) : 0;
		const char *value = equals ? equals + 1 : text;

		fields[count++] = (struct field){
			.key = text, .key_len = key_len, .value = value, .value_len = len - (size_t)(value - text)};
		text += len + (text[len] == SEPARATOR);
	}
	return count;
}

// --- building the line ---

static bool put(struct line *line, const char *text, size_t len)
{
	if (line->full || line->len + len + RESERVE > line->size) {
		line->full = true;
		return false;
	}
	memcpy(line->out + line->len, text, len);
	line->len += len;
	return true;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

// Characters that could fake a second line or drive a terminal: C0, DEL, C1, and U+2028 and U+2029.
static bool is_control(const unsigned char *p, size_t len)
{
	return p[0] < 0x20 || p[0] == 0x7f || (len == 2 && p[0] == 0xc2 && p[1] < 0xa0) ||
	       (len == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9));
}

// Writes one character of a quoted value; returns the bytes taken from it, 0 when the line is full.
static size_t put_character(struct line *line, const unsigned char *p, size_t left)
{
	size_t len = utf8_length((const char *)p, left);
	char escape[8];

	if (len > 0 && !is_control(p, len) && *p != '"' && *p != '\\')
		return put(line, (const char *)p, len) ? len : 0;
	if (*p == '"' || *p == '\\')
		snprintf(escape, sizeof(escape), "\\%c", *p);
	else if (*p == '\n')
		snprintf(escape, sizeof(escape), "\\n");
	else if (*p == '\t')
		snprintf(escape, sizeof(escape), "\\t");
	else if (!line->json)
		snprintf(escape, sizeof(escape), "\\x%02x", *p);
	else // JSON has no bytes, only characters: one that is none becomes U+FFFD
		snprintf(escape, sizeof(escape), "\\u%04x",
			 len == 0   ? 0xfffd
			 : len == 3 ? 0x2000 + (p[2] & 0x3f)
			 : len == 2 ? p[1]
				    : p[0]);
	if (!put(line, escape, strlen(escape)))
		return 0;
	return line->json && len > 0 ? len : 1;
}

static bool needs_quotes(const char *value, size_t len)
{
	for (size_t i = 0; i < len;) {
		const unsigned char *p = (const unsigned char *)value + i;
		size_t n = utf8_length((const char *)p, len - i);

		if (n == 0 || is_control(p, n) || strchr(" \"=\\", *p))
			return true;
		i += n;
	}
	return len == 0;
}

static void put_value(struct line *line, const char *value, size_t len, bool cut)
{
	bool quoted = line->json || cut || needs_quotes(value, len);

	if (quoted && !put(line, "\"", 1))
		return;
	for (size_t i = 0; i < len;) {
		size_t n = quoted ? put_character(line, (const unsigned char *)value + i, len - i)
				  : (put(line, value, len) ? len : 0);

		if (n == 0)
			break;
		i += n;
	}
	// These bytes come out of the reserve.
	if (cut || line->full) {
		memcpy(line->out + line->len, CUT_MARK, sizeof(CUT_MARK) - 1);
		line->len += sizeof(CUT_MARK) - 1;
		line->full = true;
	}
	if (quoted)
		line->out[line->len++] = '"';
}

static void put_pair(struct line *line, const char *key, size_t key_len, const char *value, size_t value_len, bool cut)
{
	size_t before = line->len;

	// A pair is there with key and at least the start of its value, or not at all.
	if (line->full)
		return;
	put_text(line, line->len > line->json ? (line->json ? "," : " ") : "");
	if (line->json)
		put(line, "\"", 1);
	put(line, key, key_len);
	put_text(line, line->json ? "\":" : "=");
	if (line->full || line->len + 1 + RESERVE > line->size)
		line->len = before, line->full = true;
	else
		put_value(line, value, value_len, cut);
}

static void put_string(struct line *line, const char *key, const char *value)
{
	put_pair(line, key, strlen(key), value, strlen(value), false);
}

static size_t make_line(struct line *line, enum log_level level, const char *program, long long wall,
			const char *message, const struct field *fields, size_t count)
{
	static const char *const names[] = {"?", "debug", "info", "warn", "error", "critical", "?"};
	char stamp[32];

	if (line->size <= RESERVE) {
		if (line->size > 0)
			line->out[0] = '\0';
		return 0;
	}
	format_rfc3339(wall, stamp);
	if (line->json)
		put(line, "{", 1);
	put_string(line, "level", (unsigned)level < ARRAY_SIZE(names) ? names[level] : "?");
	put_string(line, "time", stamp);
	put_string(line, "msg", message);
	if (!str_empty(program))
		put_string(line, "prog", program);
	for (size_t i = 0; i < count; i++) {
		const char *key = fields[i].key_len ? fields[i].key : "text";

		put_pair(line, key, fields[i].key_len ? fields[i].key_len : 4, fields[i].value, fields[i].value_len,
			 fields[i].cut);
	}
	if (line->json)
		line->out[line->len++] = '}';
	line->out[line->len] = '\0';
	return line->len;
}
