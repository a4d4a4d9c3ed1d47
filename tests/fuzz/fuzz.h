// What the fuzz targets share. A target is one file fuzz_<parser>.c with LLVMFuzzerTestOneInput: `make fuzz` links it
// with libFuzzer, `make check` with replay.c, which runs the corpus (tests/fuzz/corpus/<parser>) through it once.
//
// Where a decoder is static, the target includes its .c file: the object then defines the same functions as
// the library's member, which is so left out.
#pragma once

#include "common/json.h"
#include "common/util.h"
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); // setup.c

// An invariant; in force whatever the build.
#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

// The input as a C string that ends where the input ends, so that AddressSanitizer sees a byte read too many.
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = xmalloc(size + 1);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

// A copy without the NUL at its end.
static inline char *fuzz_bytes(const uint8_t *data, size_t size)
{
	char *bytes = xmalloc(size);
	if (size)
		memcpy(bytes, data, size);
	return bytes;
}

static inline bool is_utf8(const char *text)
{
	for (size_t left = strlen(text); left > 0;) {
		size_t n = utf8_length(text, left);
		if (n == 0)
			return false;
		text += n;
		left -= n;
	}
	return true;
}

// What ECS is told is UTF-8 and never without a text.
static inline void check_reason(const char *text)
{
	CHECK(!str_empty(text));
	CHECK(is_utf8(text));
}

// Lengths of the pieces a stream is cut into: all of one length for some seeds, mixed for the others.
struct cutter {
	unsigned seed;
};
static inline size_t cut(struct cutter *cutter, size_t left)
{
	size_t piece = cutter->seed & 31;
	if (cutter->seed >= 32) {
		cutter->seed = cutter->seed * 1103515245u + 12345u;
		piece = (cutter->seed >> 16) & ((cutter->seed >> 28) & 1 ? 7 : 127);
		cutter->seed |= 32;
	}
	piece++;
	return piece < left ? piece : left;
}
