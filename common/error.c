#include "common/error.h"

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

// The length of text that fits into the message without leaving half a UTF-8 character at the end.
static size_t fitting_length(const char *text)
{
	size_t len = strlen(text);

	if (len < ERROR_MESSAGE_MAX)
		return len;
	len = ERROR_MESSAGE_MAX - 1;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static int positive(int code)
{
	return code == 0 ? EINVAL : abs(code);
}

static int store(struct error *err, int code, const char *text)
{
	size_t len = fitting_length(text);

	err->code = positive(code);
	memcpy(err->message, text, len);
	err->message[len] = '\0';
	return -err->code;
}
