#include "common/error.h"

#include "common/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int positive(int code);
static int store(struct error *err, int code, const char *text);

int error_set(struct error *err, int code, const char *format, ...)
{
	// Formatted aside first: the arguments may point into err->message itself.
	char text[ERROR_MESSAGE_MAX + 4];
	va_list args;

	if (!err)
		return -positive(code);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return store(err, code, text);
}

int error_set_errno(struct error *err, int code, const char *format, ...)
{
	char text[ERROR_MESSAGE_MAX + 4], reason_buffer[128];
	va_list args;
	size_t len;

	if (!err)
		return -positive(code);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s", strerror_r(code, reason_buffer, sizeof(reason_buffer)));
	return store(err, code, text);
}

int error_wrap(struct error *err, const char *format, ...)
{
	char text[ERROR_MESSAGE_MAX + 4];
	va_list args;
	size_t len;

	// Without an error object the code is not known here; callers that pass NULL keep their own.
	if (!err)
		return -EIO;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s", err->message);
	return store(err, err->code, text);
}

void error_join(struct error *all, const struct error *one)
{
	char text[2 * ERROR_MESSAGE_MAX + 4];

	if (!all->code) {
		*all = *one;
		return;
	}
	snprintf(text, sizeof(text), "%s; %s", all->message, one->message);
	store(all, all->code, text);
}

static int positive(int code)
{
	return code == 0 ? EINVAL : abs(code);
}

// Whole characters only: texts come from outside, and "%.100s" cuts anywhere.
static int store(struct error *err, int code, const char *text)
{
	char *out = err->message, *end = out + ERROR_MESSAGE_MAX - 1;

	for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
		n = utf8_length(text, left);
		if (out + (n ? n : 1) > end)
			break;
		memcpy(out, n ? text : "?", n ? n : 1);
		n = n ? n : 1;
		out += n;
	}
	*out = '\0';
	err->code = positive(code);
	return -err->code;
}
