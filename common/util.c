#include "common/crash_point.h"
#include "common/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

static void *checked(void *p, size_t size)
{
	if (!p && size > 0) {
		// No formatting, no logger: both may need memory.
		static const char text[] = "out of memory\n";
		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
		abort();
	}
	return p;
}

void *xmalloc(size_t size)
{
	return checked(malloc(size ? size : 1), 1);
}

void *xcalloc(size_t count, size_t size)
{
	return checked(calloc(count ? count : 1, size ? size : 1), 1);
}

void *xrealloc(void *p, size_t size)
{
	return checked(realloc(p, size ? size : 1), 1);
}

void *xreallocarray(void *p, size_t count, size_t size)
{
	return checked(reallocarray(p, count ? count : 1, size ? size : 1), 1);
}

char *xstrdup(const char *s)
{
	return s ? checked(strdup(s), 1) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	return s ? checked(strndup(s, n), 1) : NULL;
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return checked(len < 0 ? NULL : text, 1);
}

void *xmemdup(const void *p, size_t size)
{
	void *copy = xmalloc(size);

	if (size > 0)
		memcpy(copy, p, size);
	return copy;
}

void str_replace(char **s, const char *value)
{
	// Copied before the old text goes: value may be part of it.
	char *copy = xstrdup(value);

	free(*s);
	*s = copy;
}

bool str_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_starts(const char *s, const char *prefix)
{
	return s && strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t len = s ? strlen(s) : 0, want = strlen(suffix);

	return s && len >= want && memcmp(s + len - want, suffix, want) == 0;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

char *str_trim(char *s)
{
	size_t len;

	while (is_space(*s))
		s++;
	len = strlen(s);
	while (len > 0 && is_space(s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

// Digits only, at least one; strtoull alone would take white space and signs.
static bool parse_digits(const char *s, uint64_t *value)
{
	uint64_t v = 0;

	if (!s || !*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
	}
	*value = v;
	return true;
}

bool parse_int64(const char *s, int64_t *value)
{
	bool negative = s && *s == '-';
	uint64_t v;

	if (!parse_digits(s && (*s == '-' || *s == '+') ? s + 1 : s, &v))
		return false;
	if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return false;
	*value = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

bool parse_uint64(const char *s, uint64_t *value)
{
	return parse_digits(s && *s == '+' ? s + 1 : s, value);
}

size_t utf8_length(const char *s, size_t left)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t len = 0;

	if (left == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] < 0xf5)
		len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (len == 0 || len > left)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	// Overlong forms, surrogates, and what lies beyond U+10FFFF.
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool utf8_valid(const char *s)
{
	for (size_t left = strlen(s), n; left > 0; s += n, left -= n)
		if ((n = utf8_length(s, left)) == 0)
			return false;
	return true;
}

void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

// --- buffer ---

static int reserve(struct buf *b, size_t more)
{
	size_t need, cap;

	if (__builtin_add_overflow(b->len, more, &need) || (b->max > 0 && need > b->max) || need > SSIZE_MAX / 2)
		return -EMSGSIZE;
	if (need < b->cap)
		return 0;
	cap = b->cap ? b->cap : 64;
	while (cap <= need)
		cap *= 2;
	b->data = xrealloc(b->data, cap);
	b->cap = cap;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	int r = reserve(b, len);

	if (r < 0)
		return r;
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	int len, r;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return -EINVAL;
	r = reserve(b, (size_t)len);
	if (r < 0)
		return r;
	va_start(args, format);
	vsnprintf(b->data + b->len, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
	return 0;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

char *buf_take(struct buf *b)
{
	char *text = b->data ? b->data : xstrdup("");

	b->data = NULL;
	b->len = b->cap = 0;
	return text;
}

// --- random ---

void random_bytes(void *p, size_t len)
{
	unsigned char *out = p;

	while (len > 0) {
		ssize_t n = getrandom(out, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		// Ids and masks must be unpredictable: no fallback.
		if (n < 0) {
			perror("getrandom");
			abort();
		}
		out += n;
		len -= (size_t)n;
	}
}

double random_unit(void)
{
	uint64_t bits;

	random_bytes(&bits, sizeof(bits));
	return (double)(bits >> 11) * 0x1p-53; // as many bits as a double holds, so that 1 is never reached
}

void random_hex(char *out, size_t digits)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[32];

	for (size_t i = 0; i < digits; i++) {
		size_t at = i % (2 * sizeof(bytes));

		if (at == 0)
			random_bytes(bytes, sizeof(bytes));
		out[i] = hex[at % 2 ? bytes[at / 2] & 15 : bytes[at / 2] >> 4];
	}
	out[digits] = '\0';
}

void random_uuid(char out[37])
{
	unsigned char b[16];

	random_bytes(b, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		 b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

// --- wall clock ---

uint64_t fnv1a(uint64_t sum, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * UINT64_C(1099511628211);
	return sum;
}

int64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

// Splits into whole seconds (rounded down, also before 1970) and the date; years outside 0..9999 have no RFC 3339 form.
static int split_time(int64_t ms, struct tm *tm)
{
	static const int64_t year_0 = -62167219200, year_9999_end = 253402300799;
	int64_t seconds = ms / 1000 - (ms % 1000 < 0);
	time_t t = (time_t)(seconds < year_0 ? year_0 : seconds > year_9999_end ? year_9999_end : seconds);

	gmtime_r(&t, tm);
	return (int)((ms % 1000 + 1000) % 1000);
}

void format_rfc3339(int64_t ms, char out[32])
{
	struct tm tm;
	int len;

	split_time(ms, &tm);
	// %Y of strftime does not pad: Docker's zero time has the year 0001.
	len = snprintf(out, 32, "%04u", ((unsigned)tm.tm_year + 1900) % 10000);
	strftime(out + len, 32 - (size_t)len, "-%m-%dT%H:%M:%SZ", &tm);
}

void format_rfc3339_ms(int64_t ms, char out[40])
{
	struct tm tm;
	unsigned fraction = (unsigned)split_time(ms, &tm) % 1000;

	format_rfc3339(ms, out);
	// Over the "Z" at the end.
	snprintf(out + strlen(out) - 1, 8, ".%03uZ", fraction);
}

// Reads exactly `digits` digits and the character after them (0: any); moves *s past both.
static bool take_number(const char **s, int digits, char after, int *value)
{
	int v = 0;

	for (int i = 0; i < digits; i++) {
		if (!isdigit((unsigned char)(*s)[i]))
			return false;
		v = v * 10 + ((*s)[i] - '0');
	}
	*s += digits;
	if (after && toupper((unsigned char)**s) != after)
		return false;
	if (after)
		(*s)++;
	*value = v;
	return true;
}

// ".678901234": milliseconds, the rest is dropped.
static bool take_fraction(const char **s, int *ms)
{
	int scale = 100;

	*ms = 0;
	if (**s != '.')
		return true;
	(*s)++;
	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++, scale /= 10)
		*ms += (**s - '0') * scale;
	return true;
}

// "Z" or "+hh:mm": minutes east of UTC; must be the end of the text.
static bool take_offset(const char **s, int *minutes)
{
	int hour, minute, sign = **s == '-' ? -1 : 1;

	*minutes = 0;
	if (**s == 'Z' || **s == 'z')
		return (*s)[1] == '\0';
	if (**s != '+' && **s != '-')
		return false;
	(*s)++;
	if (!take_number(s, 2, ':', &hour) || !take_number(s, 2, 0, &minute) || **s || hour > 23 || minute > 59)
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

bool parse_rfc3339(const char *s, int64_t *ms)
{
	int year, month, day, hour, minute, second, fraction, offset;
	struct tm tm = {0};

	if (!s || !take_number(&s, 4, '-', &year) || !take_number(&s, 2, '-', &month) ||
	    !take_number(&s, 2, 'T', &day) || !take_number(&s, 2, ':', &hour) || !take_number(&s, 2, ':', &minute) ||
	    !take_number(&s, 2, 0, &second) || !take_fraction(&s, &fraction) || !take_offset(&s, &offset))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
	    second > 60)
		return false;
	tm = (struct tm){.tm_year = year - 1900,
			 .tm_mon = month - 1,
			 .tm_mday = day,
			 .tm_hour = hour,
			 .tm_min = minute,
			 .tm_sec = second};
	*ms = ((int64_t)timegm(&tm) - (int64_t)offset * 60) * 1000 + fraction;
	return true;
}

// --- files ---

static int read_all(int fd, struct buf *b)
{
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (buf_append(b, chunk, (size_t)n) < 0)
			return -EFBIG;
	}
}

char *read_file(const char *path, size_t max, size_t *len)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); // a FIFO holds up nobody
	// A ceiling of 0 would mean none to the buffer.
	struct buf b = {.max = max ? max : 1};
	int r;

	if (fd < 0)
		return NULL;
	r = read_all(fd, &b);
	if (r == 0 && b.len > max)
		r = -EFBIG;
	if (r < 0) {
		buf_free(&b);
		errno = -r;
		return NULL;
	}
	if (len)
		*len = b.len;
	return buf_take(&b);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_temporary(const char *path, const void *data, size_t len, unsigned mode)
{
	_cleanup_close_ int fd = -1;
	int r;

	// One fixed name, so that what a crash left behind is used up and does not pile up.
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
	if (fd < 0)
		return -errno;
	// The umask is not to weaken what the caller asked for.
	if (fchmod(fd, (mode_t)mode) < 0)
		return -errno;
	r = write_all(fd, data, len);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static char *parent_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

// Makes the name of a file durable, not only its content.
static int sync_parent(const char *path)
{
	_cleanup_free_ char *directory = parent_directory(path);
	// NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not know the cleanup attribute
	_cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int write_file_atomic(const char *path, const void *data, size_t len, unsigned mode)
{
	_cleanup_free_ char *temporary = xasprintf("%s.tmp", path);
	int r = write_temporary(temporary, data, len, mode);

	CRASH_POINT("file.written");
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	CRASH_POINT("file.renamed");
	if (r < 0) {
		(void)unlink(temporary);
		return r;
	}
	return sync_parent(path);
}

static int make_one(const char *path, unsigned mode)
{
	struct stat st;

	if (mkdir(path, (mode_t)mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

// Makes each directory that leads to the last component; the text is changed and restored on the way.
static int make_parents(char *path, unsigned mode)
{
	for (char *p = path + 1; *p; p++) {
		int r;

		if (*p != '/')
			continue;
		*p = '\0';
		r = make_one(path, mode);
		*p = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

int make_directory(const char *path, unsigned mode)
{
	_cleanup_free_ char *copy = NULL;
	int r;

	if (str_empty(path))
		return -EINVAL;
	copy = xstrdup(path);
	r = make_parents(copy, mode);
	return r < 0 ? r : make_one(copy, mode); // NOLINT(clang-analyzer-unix.Malloc): as in sync_parent
}
