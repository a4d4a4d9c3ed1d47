// Patterns of log options and the lines they meet: the first line is the pattern, the rest the text.
#include "fuzz.h"
#include "logging/regex.h"

static int answer(const char *pattern, const char *text, size_t len)
{
	struct error err = {0};
	struct regex *regex = regex_compile(pattern, &err);
	int r;

	if (!regex) {
		CHECK(err.code == EINVAL && str_starts(err.message, "error parsing regexp: "));
		check_reason(err.message);
		return -EINVAL;
	}
	r = regex_matches(regex, text, len);
	CHECK(r == 0 || r == 1 || r == -E2BIG);
	CHECK(regex_matches(regex, text, len) == r); // nothing is left of the first time
	regex_free(regex);
	return r;
}

// A text is found in itself, and between others.
static void check_quoted(const char *text)
{
	_cleanup_free_ char *pattern = xasprintf("\\Q%s\\E", text), *around = xasprintf("(%s%s", text, text);
	int r;

	if (!is_utf8(text) || strlen(pattern) > REGEX_PATTERN_MAX || strstr(text, "\\E") || str_ends(text, "\\"))
		return;
	r = answer(pattern, around, strlen(around));
	CHECK(r == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	size_t len = end ? (size_t)(end - data) : size;
	_cleanup_free_ char *pattern = fuzz_text(data, len), *text = NULL, *quoted = NULL, *strftime = NULL;

	len += end ? 1 : 0;
	text = fuzz_bytes(data + len, size - len);
	quoted = fuzz_text(data + len, size - len);
	answer(pattern, text, size - len);
	check_quoted(quoted);
	strftime = regex_from_strftime(pattern);
	answer(strftime, text, size - len);
	return 0;
}
