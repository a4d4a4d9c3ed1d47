// Memory, strings, time, random numbers and cleanup attributes used everywhere.
//
// Allocation failure ends the program with a message: all state that matters is on disk and the
// service manager restarts the process.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t count, size_t size);
char *xstrdup(const char *s); // NULL stays NULL
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *xmemdup(const void *p, size_t size);

// Replaces *s by a copy of value (which may be NULL or part of *s).
void str_replace(char **s, const char *value);
bool str_equal(const char *a, const char *b); // NULL equals NULL only
static inline bool str_empty(const char *s)   // NULL or ""
{
	return !s || !*s;
}
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
// Trims ASCII white space in place; returns the new start inside s.
char *str_trim(char *s);
// Strict decimal numbers: optional sign, digits, nothing else. false on any other text or overflow.
bool parse_int64(const char *s, int64_t *value);
bool parse_uint64(const char *s, uint64_t *value);
// Bytes of the well-formed UTF-8 character at s, of which `left` bytes exist; 0 if there is none.
size_t utf8_length(const char *s, size_t left);
bool utf8_valid(const char *s);

// Overwrites memory in a way the compiler keeps, then frees it. For secrets.
void secret_free(char *s);

// --- cleanup attributes ---
#define _cleanup_(f) __attribute__((cleanup(f)))
static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)
// Moves ownership out of a variable that has a cleanup attribute.
#define TAKE(p)                            \
	__extension__({                    \
		__typeof__(p) take_ = (p); \
		(p) = NULL;                \
		take_;                     \
	})
static inline int take_fd(int *fd)
{
	int r = *fd;
	*fd = -1;
	return r;
}

// --- growing byte buffer with a ceiling ---
// Always NUL-terminated beyond `len`. Zero-initialise with a ceiling: `struct buf b = {.max = 65536};`
// A max of 0 means no ceiling (only for data of our own making).
struct buf {
	char *data;
	size_t len, cap, max;
};
// 0, or -EMSGSIZE when the ceiling would be passed (the buffer is then unchanged).
int buf_append(struct buf *b, const void *data, size_t len);
int buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b); // empties, keeps the memory
void buf_free(struct buf *b);
char *buf_take(struct buf *b); // the text, now the caller's ("" if empty); the buffer is empty afterwards

// --- random ---
void random_bytes(void *p, size_t len);
double random_unit(void);                  // uniform in [0, 1)
void random_hex(char *out, size_t digits); // lower case, out has digits + 1 bytes
void random_uuid(char out[37]);            // version 4, lower case

// --- checksum: any single changed byte changes it; no protection against intent ---
#define FNV1A_START UINT64_C(14695981039346656037)
uint64_t fnv1a(uint64_t sum, const void *data, size_t len); // of what went before, and then this

// For limits of time where there is no loop (loop_now() in loop.h): milliseconds, never set back.
int64_t monotonic_ms(void);

// --- wall clock (never scaled) ---
int64_t wall_ms(void);                                 // milliseconds since 1970, UTC
void format_rfc3339(int64_t wall_ms, char out[32]);    // 2026-01-02T03:04:05Z
void format_rfc3339_ms(int64_t wall_ms, char out[40]); // 2026-01-02T03:04:05.678Z
// Parses RFC 3339 with optional fraction and offset; false if malformed. Docker's zero time
// (0001-01-01T00:00:00Z) gives a negative number.
bool parse_rfc3339(const char *s, int64_t *wall_ms);

// --- files ---
// Reads a whole file of at most max bytes; NUL-terminated, caller frees. NULL with errno set (EFBIG when larger).
char *read_file(const char *path, size_t max, size_t *len);
// Replaces a file: temporary file beside it, write, fsync, rename, fsync of the directory. 0 or -errno.
int write_file_atomic(const char *path, const void *data, size_t len, unsigned mode);
// Creates a directory and its parents. 0 or -errno; an existing directory is fine.
int make_directory(const char *path, unsigned mode);
