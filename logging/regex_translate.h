// From a pattern in RE2's syntax, as Go's regexp has it, to one for PCRE2 that matches the same texts. What is found is
// not of interest, only whether something is: groups capture nothing and every repetition is greedy.
//
// For PCRE2_UTF | PCRE2_DOTALL | PCRE2_ALT_CIRCUMFLEX with newline LF and without PCRE2_UCP.
#pragma once

#include "common/error.h"
#include "common/util.h"

// Appends to *out. 0, or -EINVAL with RE2's text.
int regex_translate(const char *pattern, struct buf *out, struct error *err);
