#include "common/log_values.h"

#include "common/util.h"

#include <ctype.h>
#include <math.h>
#include <strings.h>

#define URL_MAX 4096

static bool scan_number(const char **text, double *value);
static int parse_authority(const char *text, size_t len, struct log_url *url, struct error *err);
static char *unescape(const char *text, size_t len, bool host, struct error *err);

bool log_parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (str_equal(text, yes[i]) || str_equal(text, no[i])) {
			*value = str_equal(text, yes[i]);
			return true;
		}
	}
	return false;
}

bool log_parse_size(const char *text, int64_t *bytes)
{
	static const char units[] = "bkmgtp";
	const char *unit;
	double size;

	if (!text || !scan_number(&text, &size))
		return false;
	if (*text == ' ')
		text++;
	if (*text) {
		unit = strchr(units, tolower((unsigned char)*text));
		if (!unit)
			return false;
		text++;
		if (unit != units && strcasecmp(text, "") != 0 && strcasecmp(text, "b") != 0 &&
		    strcasecmp(text, "ib") != 0)
			return false;
		if (unit == units && *text)
			return false;
		size = ldexp(size, 10 * (int)(unit - units));
	}
	if (size >= 0x1p63)
		return false;
	*bytes = (int64_t)size;
	return true;
}

bool log_parse_duration(const char *text, int64_t *nanoseconds)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ns", 1},   {"us", 1e3}, {"\u00b5s", 1e3}, {"\u03bcs", 1e3},
		     {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},      {"h", 3600e9}};
	double sum = 0, number, sign = 1;

	if (!text)
		return false;
	if (*text == '-' || *text == '+')
		sign = *text++ == '-' ? -1 : 1;
	if (strcmp(text, "0") == 0) {
		*nanoseconds = 0;
		return true;
	}
	if (!*text)
		return false;
	while (*text) {
		size_t len, i;

		if (!scan_number(&text, &number))
			return false;
		len = strcspn(text, ".0123456789");
		for (i = 0; i < ARRAY_SIZE(units); i++) {
			if (strlen(units[i].name) == len && strncmp(units[i].name, text, len) == 0)
				break;
		}
		if (i == ARRAY_SIZE(units))
			return false;
		sum += number * units[i].ns;
		text += len;
	}
	if (sum >= 0x1p63)
		return false;
	// To the nearest: 0.3 s is a little less than that as a binary fraction.
	*nanoseconds = (int64_t)(sign * floor(sum + 1e-3));
	return true;
}

// Decimal digits with at most one point among them; at least one digit.
static bool scan_number(const char **text, double *value)
{
	double number = 0, scale = 1;
	bool digits = false, fraction = false;

	for (;; (*text)++) {
		if (isdigit((unsigned char)**text)) {
			digits = true;
			if (fraction)
				scale *= 10;
			number = number * 10 + (**text - '0');
		} else if (**text == '.' && !fraction) {
			fraction = true;
		} else {
			break;
		}
	}
	*value = number / scale;
	return digits && isfinite(*value);
}

// --- URLs, as Go's net/url divides them ---

// Length of "scheme:" at the start without the colon; 0: there is none. False: a colon with nothing before it.
static bool scan_scheme(const char *text, size_t *len)
{
	*len = 0;
	for (size_t i = 0; text[i]; i++) {
		if (text[i] == ':') {
			*len = i;
			return i > 0;
		}
		if (!isalpha((unsigned char)text[i]) && (i == 0 || !strchr("0123456789+-.", text[i])))
			break;
	}
	return true;
}

int log_parse_url(const char *text, struct log_url *url, struct error *err)
{
	struct log_url parts = {0};
	size_t scheme, len;
	int r = 0;

	if (strlen(text) > URL_MAX)
		return error_set(err, EINVAL, "longer than %d bytes", URL_MAX);
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return error_set(err, EINVAL, "invalid control character in URL");
	}
	if (!scan_scheme(text, &scheme))
		return error_set(err, EINVAL, "missing protocol scheme");
	parts.scheme = xstrndup(text, scheme);
	for (char *p = parts.scheme; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	text += scheme ? scheme + 1 : 0;
	len = strcspn(text, "?#");
	if (*text == '/') {
		if (str_starts(text, "//") && (scheme || !str_starts(text, "///"))) {
			size_t authority = strcspn(text + 2, "/?#");

			r = parse_authority(text + 2, authority, &parts, err);
			text += 2 + authority;
			len -= 2 + authority;
		}
	} else if (scheme) {
		len = 0; // "scheme:whatever" has neither host nor path
	} else if (memchr(text, ':', strcspn(text, "/?#"))) {
		r = error_set(err, EINVAL, "first path segment in URL cannot contain colon");
	}
	if (r == 0) {
		parts.path = unescape(text, len, false, err);
		r = parts.path ? 0 : -EINVAL;
	}
	if (r < 0)
		log_url_free(&parts);
	else
		*url = parts;
	return r;
}

void log_url_free(struct log_url *url)
{
	free(url->scheme);
	free(url->host);
	free(url->port);
	free(url->path);
	*url = (struct log_url){0};
}

// [user@]host[:port]. The user is dropped.
static int parse_authority(const char *text, size_t len, struct log_url *url, struct error *err)
{
	const char *at = memrchr(text, '@', len), *end, *colon;
	bool bracket;

	if (at) {
		len -= (size_t)(at + 1 - text);
		text = at + 1;
	}
	bracket = len > 0 && *text == '[';
	if (bracket) {
		end = memrchr(text, ']', len);
		if (!end)
			return error_set(err, EINVAL, "missing ']' in host");
		colon = end + 1;
		text++;
	} else {
		end = memrchr(text, ':', len);
		colon = end ? end : text + len;
		end = colon;
	}
	len -= (size_t)(colon - text) + (bracket ? 1 : 0);
	if (len > 0 && (*colon != ':' || strspn(colon + 1, "0123456789") < len - 1))
		return error_set(err, EINVAL, "invalid port \"%.*s\" after host", (int)len, colon);
	// Go takes the last colon for the port's; nobody means that by an address that has several.
	if (!bracket && memchr(text, ':', (size_t)(end - text)))
		return error_set(err, EINVAL, "too many colons in address: an IPv6 address is written in brackets");
	url->host = unescape(text, (size_t)(end - text), true, err);
	if (!url->host)
		return -EINVAL;
	if (len > 0)
		url->port = xstrndup(colon + 1, len - 1);
	return 0;
}

static bool allowed_in_host(unsigned char c)
{
	return c >= 0x80 || isalnum(c) || strchr("-_.~!$&'()*+,;=:[]<>\"", c);
}

static char *unescape(const char *text, size_t len, bool host, struct error *err)
{
	struct buf out = {.max = URL_MAX};

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			char digits[3] = {0};

			memcpy(digits, text + i + 1, len - i - 1 < 2 ? len - i - 1 : 2);
			c = (char)strtoul(digits, NULL, 16);
			if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) || !c ||
			    (host && !(c & 0x80) && c != '%')) {
				buf_free(&out);
				error_set(err, EINVAL, "invalid URL escape: %% is followed by two hexadecimal digits");
				return NULL;
			}
			i += 2;
		} else if (host && !allowed_in_host((unsigned char)c)) {
			buf_free(&out);
			error_set(err, EINVAL, "invalid character '%c' in host name", c);
			return NULL;
		}
		buf_append(&out, &c, 1);
	}
	return buf_take(&out);
}
