// Regular expressions of log options (multiline patterns, labels-regex, env-regex): the RE2 dialect of Go, which Docker
// uses (logging.md, appendix A.5), on PCRE2's DFA matcher. A pattern is read as RE2 reads it and written anew for PCRE2
// (regex_translate.h), so that nothing else that PCRE2 knows gets through.
//
// A match costs time proportional to the text, within a budget that depends on its length alone (at worst some 4 us for
// a byte, for an ordinary pattern a thousandth), and no memory beyond the stack and a copy of a text that is not UTF-8.
//
// Differences from RE2. Refused or not answered:
// - groups nest at most 200 deep (RE2: 1000), a pattern has at most 4096 bytes, and compiled it fits PCRE2's 64 KiB;
// - no answer (-E2BIG) where some 1000 states have to be followed at once, such as `(a?){1000}`, or 50 through a long
//   text. Matched otherwise:
// - \p takes categories and scripts as PCRE2 names and fills them: names may differ in case, "Han" and "Hani" are both
//   known, and characters are those of its version of Unicode;
// - with (?i), \p{Lu}, \p{Ll} and \p{Lt} are any letter that has a case; other \p are as without it.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>

#define REGEX_PATTERN_MAX 4096 // bytes

struct regex;
// NULL with RE2's text ("error parsing regexp: missing closing ): `(a`") if the pattern is none.
struct regex *regex_compile(const char *pattern, struct error *err);
struct regex *regex_free(struct regex *regex); // returns NULL
// 1: some part of the text matches, 0: none does, -E2BIG: given up, too much work for a text of this length. An invalid
// byte is one character U+FFFD.
int regex_matches(const struct regex *regex, const char *text, size_t len);

// The pattern that awslogs-datetime-format stands for (logging.md §4.7). "" where nothing is left of it: then there is
// no multiline pattern. Caller frees.
char *regex_from_strftime(const char *format);
