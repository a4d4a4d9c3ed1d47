// Values as Go's fmt and encoding/json write them.
#include "logging/template.h"

#include <ctype.h>
#include <inttypes.h>

static int print_time(struct text text, struct buf *out);

int value_print(const struct value *value, struct buf *out)
{
	int r;

	switch (value->kind) {
	case VALUE_NONE:
		return buf_append(out, "<no value>", 10);
	case VALUE_NIL:
		return buf_append(out, "<nil>", 5);
	case VALUE_BOOL:
		return buf_printf(out, "%s", value->boolean ? "true" : "false");
	case VALUE_INT:
		return buf_printf(out, "%" PRId64, value->number);
	case VALUE_STRING:
		return buf_append(out, value->text.s, value->text.len);
	case VALUE_TIME:
		return print_time(value->text, out);
	case VALUE_ROOT:
		return -EINVAL;
	default:
		break;
	}
	r = buf_printf(out, value->kind == VALUE_MAP ? "map[" : "[");
	for (size_t i = 0; i < (value->kind == VALUE_MAP ? 2 : 1) * value->list.count && r == 0; i++) {
		const struct text *item = &value->list.items[i];

		if (i > 0)
			r = buf_append(out, value->kind == VALUE_MAP && i % 2 ? ":" : " ", 1);
		if (r == 0)
			r = buf_append(out, item->s, item->len);
	}
	return r == 0 ? buf_append(out, "]", 1) : r;
}

int value_print_all(const struct value *values, size_t count, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++) {
		if (i > 0 && values[i].kind != VALUE_STRING && values[i - 1].kind != VALUE_STRING)
			r = buf_append(out, " ", 1);
		if (r == 0)
			r = value_print(&values[i], out);
	}
	return r;
}

// time.Time's String(): "2024-01-02 03:04:05.678 +0000 UTC" of RFC 3339's "2024-01-02T03:04:05.678Z".
static int print_time(struct text text, struct buf *out)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	size_t at = sizeof(form) - 1, zone;
	const char *s = text.s;

	for (size_t i = 0; i < at; i++) {
		if (i >= text.len || (form[i] == 'd' ? !isdigit((unsigned char)s[i]) : s[i] != form[i]))
			return -EINVAL;
	}
	for (zone = at; zone < text.len && (s[zone] == '.' || isdigit((unsigned char)s[zone])); zone++)
		;
	if (zone > at && s[zone - 1] == '0')
		return -EINVAL; // Go writes no zeros there
	if (buf_append(out, s, 10) < 0 || buf_append(out, " ", 1) < 0 || buf_append(out, s + 11, zone - 11) < 0)
		return -EMSGSIZE;
	if (text.len == zone + 1 && s[zone] == 'Z')
		return buf_printf(out, " +0000 UTC");
	if (text.len != zone + 6 || s[zone + 3] != ':')
		return -EINVAL;
	return buf_printf(out, " %.3s%.2s %.3s%.2s", s + zone, s + zone + 4, s + zone, s + zone + 4);
}

// --- JSON ---

static int json_string(struct text text, struct buf *out)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	int r = buf_append(out, "\"", 1);

	for (size_t i = 0, n; i < text.len && r == 0; i += n) {
		const char *c = text.s + i, *found = *c ? strchr(plain, *c) : NULL;

		n = utf8_length(c, text.len - i);
		if (n == 0)
			r = buf_printf(out, "\\ufffd");
		else if (found)
			r = buf_printf(out, "\\%c", letters[found - plain]);
		else if ((unsigned char)*c < 0x20)
			r = buf_printf(out, "\\u%04x", (unsigned)*c);
		else if (n == 3 && (memcmp(c, "\u2028", 3) == 0 || memcmp(c, "\u2029", 3) == 0))
			r = buf_printf(out, "\\u202%d", c[2] & 0xF);
		else
			r = buf_append(out, c, n);
		n = n ? n : 1;
	}
	return r == 0 ? buf_append(out, "\"", 1) : r;
}

int value_json(const struct value *value, struct buf *out)
{
	bool map = value->kind == VALUE_MAP;
	int r;

	switch (value->kind) {
	case VALUE_NONE:
	case VALUE_NIL:
		return buf_printf(out, "null");
	case VALUE_STRING:
	case VALUE_TIME:
		return json_string(value->text, out);
	case VALUE_LIST:
	case VALUE_MAP:
		break;
	default:
		return value_print(value, out);
	}
	if (value->list.null)
		return buf_printf(out, "null");
	r = buf_append(out, map ? "{" : "[", 1);
	for (size_t i = 0; i < (map ? 2 : 1) * value->list.count && r == 0; i++) {
		if (i > 0)
			r = buf_append(out, map && i % 2 ? ":" : ",", 1);
		if (r == 0)
			r = json_string(value->list.items[i], out);
	}
	return r == 0 ? buf_append(out, map ? "}" : "]", 1) : r;
}

// --- printf ---

struct directive {
	bool left, zeros;
	int width, precision; // -1: none
	char verb;
};

// Characters, an invalid byte being one.
static size_t characters(struct text text, size_t most, size_t *bytes)
{
	size_t count = 0, i = 0;

	for (; i < text.len && count < most; count++) {
		size_t n = utf8_length(text.s + i, text.len - i);

		i += n ? n : 1;
	}
	*bytes = i;
	return count;
}

static int print_padded(struct text text, const struct directive *directive, struct buf *out)
{
	size_t bytes, count = characters(text, SIZE_MAX, &bytes);
	size_t pad = directive->width > 0 && (size_t)directive->width > count ? (size_t)directive->width - count : 0;
	int r = 0;

	if (directive->left)
		r = buf_append(out, text.s, text.len);
	for (; pad > 0 && r == 0; pad--)
		r = buf_append(out, " ", 1);
	if (!directive->left && r == 0)
		r = buf_append(out, text.s, text.len);
	return r;
}

// strconv.Quote of ASCII. What of the rest Go shows as it is takes tables that are not here.
static int quote(struct text text, struct buf *out)
{
	static const char plain[] = "\"\\\a\b\f\n\r\t\v", letters[] = "\"\\abfnrtv";

	buf_append(out, "\"", 1);
	for (size_t i = 0; i < text.len; i++) {
		char c = text.s[i];
		const char *found = c ? strchr(plain, c) : NULL;

		if (c & 0x80)
			return -EINVAL;
		if (found)
			buf_printf(out, "\\%c", letters[found - plain]);
		else if ((unsigned char)c < 0x20 || c == 0x7f)
			buf_printf(out, "\\x%02x", (unsigned)c);
		else
			buf_append(out, &c, 1);
	}
	return buf_append(out, "\"", 1);
}

// %s, %v and %q of one string.
static int print_text(struct text text, const struct directive *directive, struct buf *out)
{
	struct buf quoted = {.max = TEMPLATE_MAX};
	int r = 0;

	if (directive->precision >= 0)
		characters(text, (size_t)directive->precision, &text.len);
	if (directive->verb == 'q') {
		r = quote(text, &quoted);
		text = (struct text){quoted.data, quoted.len};
	}
	if (r == 0)
		r = print_padded(text, directive, out);
	buf_free(&quoted);
	return r;
}

static int print_list(const struct value *value, const struct directive *directive, struct buf *out)
{
	bool map = value->kind == VALUE_MAP;
	int r = buf_printf(out, map ? "map[" : "[");

	for (size_t i = 0; i < (map ? 2 : 1) * value->list.count && r == 0; i++) {
		if (i > 0)
			r = buf_append(out, map && i % 2 ? ":" : " ", 1);
		if (r == 0)
			r = print_text(value->list.items[i], directive, out);
	}
	return r == 0 ? buf_append(out, "]", 1) : r;
}

// -ENOTSUP where Go prints "%!d(string=x)" or this has no answer.
static int print_directive(const struct value *value, const struct directive *directive, struct buf *out)
{
	char digits[32];
	struct buf text = {.max = TEMPLATE_MAX};
	bool d = directive->verb == 'd', v = directive->verb == 'v';
	int r = -ENOTSUP;

	if (directive->zeros && !d)
		return -ENOTSUP;
	if (value->kind == VALUE_STRING && !d)
		return print_text(value->text, directive, out);
	if ((value->kind == VALUE_LIST || value->kind == VALUE_MAP) && !d)
		return print_list(value, directive, out);
	if (value->kind == VALUE_INT && (d || v) && directive->precision < 0) {
		snprintf(digits, sizeof(digits), "%" PRId64, value->number);
		if (directive->zeros && !directive->left)
			return buf_printf(out, "%0*" PRId64, directive->width > 0 ? directive->width : 0,
					  value->number);
		return print_padded((struct text){digits, strlen(digits)}, directive, out);
	}
	// Booleans, nil and times as they are; times are the ones with a text of their own.
	if ((v || (directive->verb == 's' && value->kind == VALUE_TIME)) && directive->precision < 0 &&
	    (directive->width < 0 || value->kind == VALUE_BOOL) && value->kind != VALUE_ROOT &&
	    value->kind != VALUE_INT && value_print(value, &text) == 0)
		r = print_padded((struct text){text.data, text.len}, directive, out);
	buf_free(&text);
	return r;
}

static int take_number(const char **p, const char *end)
{
	int n = 0;

	for (; *p < end && isdigit((unsigned char)**p); (*p)++)
		n = n > TEMPLATE_MAX ? n : n * 10 + (**p - '0');
	return n;
}

// Behind the percent sign.
static void take_directive(const char **p, const char *end, struct directive *directive)
{
	*directive = (struct directive){.width = -1, .precision = -1};
	for (; *p < end && (**p == '-' || **p == '0'); (*p)++) {
		directive->left |= **p == '-';
		directive->zeros |= **p == '0';
	}
	if (*p < end && isdigit((unsigned char)**p))
		directive->width = take_number(p, end);
	if (*p < end && **p == '.') {
		(*p)++;
		directive->precision = take_number(p, end);
	}
	if (*p < end)
		directive->verb = *(*p)++;
}

int value_printf(const struct value *args, size_t count, struct buf *out, struct error *err)
{
	const char *p = args[0].text.s, *end = p + args[0].text.len, *start;
	size_t next = 1;
	struct directive directive;
	int r = 0;

	while (p < end && r == 0) {
		const char *percent = memchr(p, '%', (size_t)(end - p));

		r = buf_append(out, p, (size_t)((percent ? percent : end) - p));
		if (!percent)
			break;
		start = p = percent + 1;
		take_directive(&p, end, &directive);
		if (directive.verb == '%' && p == start + 1) {
			r = r == 0 ? buf_append(out, "%", 1) : r;
			continue;
		}
		if (!directive.verb || !strchr("svdq", directive.verb))
			return error_set(err, EINVAL, "printf: %%s, %%v, %%d and %%q are supported, not \"%%%.*s\"",
					 (int)(p - start < 20 ? p - start : 20), start);
		if (next == count)
			return error_set(err, EINVAL, "printf: no value for \"%%%c\"", directive.verb);
		if (r == 0)
			r = print_directive(&args[next++], &directive, out);
		if (r < 0 && r != -EMSGSIZE)
			return error_set(err, EINVAL, "printf: \"%%%.*s\" of %s is not supported",
					 (int)(p - start < 20 ? p - start : 20), start, value_type(&args[next - 1]));
	}
	if (r == 0 && next < count)
		return error_set(err, EINVAL, "printf: %zu values more than the format has places for", count - next);
	return r < 0 ? error_set(err, EINVAL, "printf: longer than %d bytes", TEMPLATE_MAX) : 0;
}
