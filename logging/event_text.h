// Texts as CloudWatch Logs counts and takes them (logging.md §4.6): UTF-8, in which each byte that is no part of a valid
// character becomes U+FFFD and so counts three.
#pragma once

#include "common/util.h"
#include <stddef.h>

// Effective bytes of an event: 256 KiB less the 26 that each one costs (§4.4); and by an operator's choice what the service
// takes since April 2025, when one event fills a request.
#define EVENT_TEXT_MAX ((size_t)262118)
#define EVENT_TEXT_MAX_TODAY ((size_t)1048550)

// The effective length of a whole text.
size_t event_text_length(const char *text, size_t len);
// Bytes of the longest prefix of whole characters whose effective length, which goes to *effective, is at most limit.
size_t event_text_prefix(const char *text, size_t len, size_t limit, size_t *effective);
// Bytes at the end of a text, at most three, that may be the beginning of a character whose rest has yet to come.
size_t event_text_unfinished(const char *text, size_t len);
// Appends the text as a JSON string with its quotes (at most six bytes for each of the text and two).
void event_text_append_json(struct buf *out, const char *text, size_t len);
