#include "json_out.h"
#include "common/util.h"
#include <stdio.h>
#include <string.h>

size_t json_out_max(const char *text)
{
	return strlen(text) * 6 + 2;
}

char *json_out_string(char *out, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)text;
	*out++ = '"';
	while (*p) {
		// The text's NUL is no continuation byte: this never reads past it.
		size_t n = utf8_length((const char *)p, 4);
		if (n == 0) { // not UTF-8: replaced, one byte at a time
			out = stpcpy(out, "\\ufffd");
			p++;
		} else if (n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8) {
			out = stpcpy(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
			p += 3;
		} else if (n > 1) {
			memcpy(out, p, n);
			out += n;
			p += n;
		} else {
			static const char plain[] = "\"\\\n\r\t\b\f", letter[] = "\"\\nrtbf";
			const char *found = strchr(plain, *p);
			if (found) {
				*out++ = '\\';
				*out++ = letter[found - plain];
			} else if (*p < ' ' || *p == '<' || *p == '>' || *p == '&') {
				out = stpcpy(out, "\\u00");
				*out++ = hex[*p >> 4];
				*out++ = hex[*p & 15];
			} else {
				*out++ = (char)*p;
			}
			p++;
		}
	}
	*out++ = '"';
	return out;
}
