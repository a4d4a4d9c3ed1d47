// JSON syntax check that words its errors as Go's encoding/json does, because ECS users read them in
// stopped containers' reasons. A state machine over bytes; the states are those of Go's scanner.
#include "docker/docker_internal.h"
#include <ctype.h>
#include <errno.h>

enum state {
	BEGIN_VALUE,
	BEGIN_VALUE_OR_EMPTY,
	BEGIN_KEY,
	BEGIN_KEY_OR_EMPTY,
	END_VALUE,
	IN_STRING,
	IN_ESCAPE,
	IN_HEX,
	NUMBER_SIGN,
	NUMBER_ZERO,
	NUMBER_INT,
	NUMBER_DOT,
	NUMBER_FRACTION,
	NUMBER_E,
	NUMBER_E_SIGN,
	NUMBER_EXPONENT,
	IN_LITERAL,
};

struct scanner {
	enum state state;
	char stack[JSON_DEPTH_MAX]; // '[' in an array, 'k' after an object's key, 'v' after its value
	unsigned depth;
	unsigned hex;        // digits of \uXXXX still to come
	const char *literal; // true, false, null
	unsigned at;         // in literal
	bool done;           // the top-level value is complete
	const char *context; // of an error
	char literal_context[48];
};

static bool scan(struct scanner *s, unsigned char c);

// As Go's quoteChar: the byte taken as a character.
static void quote(char out[16], unsigned char c)
{
	static const char controls[] = "abtnvfr"; // 7..13
	if (c == '\'')
		snprintf(out, 16, "'\\''");
	else if (c == '"')
		snprintf(out, 16, "'\"'");
	else if (c == '\\')
		snprintf(out, 16, "'\\\\'");
	else if (c >= 7 && c <= 13)
		snprintf(out, 16, "'\\%c'", controls[c - 7]);
	else if (c < 0x20 || c == 0x7f)
		snprintf(out, 16, "'\\x%02x'", c);
	else if (c < 0x7f)
		snprintf(out, 16, "'%c'", c);
	else if (c <= 0xa0 || c == 0xad) // not printable
		snprintf(out, 16, "'\\u%04x'", c);
	else
		snprintf(out, 16, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

int go_json_check(const char *text, size_t len, struct error *err)
{
	struct scanner s = {.state = BEGIN_VALUE};
	char quoted[16];
	for (size_t i = 0; i <= len; i++) {
		// Go's scanner takes the end of the text for one more space, except after the top-level value.
		unsigned char c = i < len ? (unsigned char)text[i] : ' ';
		if (scan(&s, c))
			continue;
		if (!s.context)
			return error_set(err, EINVAL, "exceeded max depth");
		quote(quoted, c);
		return error_set(err, EINVAL, "invalid character %s %s", quoted, s.context);
	}
	if (!s.done)
		return error_set(err, EINVAL, "unexpected end of JSON input");
	return 0;
}

static bool fail(struct scanner *s, const char *context)
{
	s->context = context;
	return false;
}

static bool is_space(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void end_value(struct scanner *s)
{
	s->state = END_VALUE;
	s->done = s->depth == 0;
}

static bool push(struct scanner *s, char kind, enum state state)
{
	if (s->depth == JSON_DEPTH_MAX) {
		s->context = NULL;
		return false;
	}
	s->stack[s->depth++] = kind;
	s->state = state;
	return true;
}

static bool pop(struct scanner *s)
{
	s->depth--;
	end_value(s);
	return true;
}

static bool begin_literal(struct scanner *s, const char *literal)
{
	s->state = IN_LITERAL;
	s->literal = literal;
	s->at = 1;
	return true;
}

static bool begin_value(struct scanner *s, unsigned char c)
{
	if (is_space(c))
		return true;
	switch (c) {
	case '{':
		return push(s, 'k', BEGIN_KEY_OR_EMPTY);
	case '[':
		return push(s, '[', BEGIN_VALUE_OR_EMPTY);
	case '"':
		s->state = IN_STRING;
		return true;
	case '-':
		s->state = NUMBER_SIGN;
		return true;
	case '0':
		s->state = NUMBER_ZERO;
		return true;
	case 't':
		return begin_literal(s, "true");
	case 'f':
		return begin_literal(s, "false");
	case 'n':
		return begin_literal(s, "null");
	default:
		if (!isdigit(c))
			return fail(s, "looking for beginning of value");
		s->state = NUMBER_INT;
		return true;
	}
}

static bool begin_key(struct scanner *s, unsigned char c)
{
	if (is_space(c))
		return true;
	if (s->state == BEGIN_KEY_OR_EMPTY && c == '}')
		return pop(s);
	if (c != '"')
		return fail(s, "looking for beginning of object key string");
	s->state = IN_STRING;
	return true;
}

static bool after_value(struct scanner *s, unsigned char c)
{
	if (is_space(c))
		return true;
	if (s->depth == 0)
		return fail(s, "after top-level value");
	char *kind = &s->stack[s->depth - 1];
	if (*kind == 'k') {
		if (c != ':')
			return fail(s, "after object key");
		*kind = 'v';
		s->state = BEGIN_VALUE;
		return true;
	}
	if (c == ',') {
		s->state = *kind == 'v' ? BEGIN_KEY : BEGIN_VALUE;
		*kind = *kind == 'v' ? 'k' : '[';
		return true;
	}
	if (c == (*kind == 'v' ? '}' : ']'))
		return pop(s);
	return fail(s, *kind == 'v' ? "after object key:value pair" : "after array element");
}

static bool in_string(struct scanner *s, unsigned char c)
{
	if (s->state == IN_STRING) {
		if (c == '"')
			end_value(s);
		else if (c == '\\')
			s->state = IN_ESCAPE;
		else if (c < 0x20)
			return fail(s, "in string literal");
		return true;
	}
	if (s->state == IN_ESCAPE) {
		if (c == 'u') {
			s->state = IN_HEX;
			s->hex = 4;
		} else if (c != '\0' && strchr("bfnrt\\/\"", c)) {
			s->state = IN_STRING;
		} else {
			return fail(s, "in string escape code");
		}
		return true;
	}
	if (!isxdigit(c))
		return fail(s, "in \\u hexadecimal character escape");
	if (--s->hex == 0)
		s->state = IN_STRING;
	return true;
}

static bool in_number(struct scanner *s, unsigned char c)
{
	bool digit = isdigit(c);
	switch (s->state) {
	case NUMBER_SIGN:
		if (!digit)
			return fail(s, "in numeric literal");
		s->state = c == '0' ? NUMBER_ZERO : NUMBER_INT;
		return true;
	case NUMBER_DOT:
		if (!digit)
			return fail(s, "after decimal point in numeric literal");
		s->state = NUMBER_FRACTION;
		return true;
	case NUMBER_E:
		if (c == '+' || c == '-') {
			s->state = NUMBER_E_SIGN;
			return true;
		}
		// fall through
	case NUMBER_E_SIGN:
		if (!digit)
			return fail(s, "in exponent of numeric literal");
		s->state = NUMBER_EXPONENT;
		return true;
	default:
		break;
	}
	if (digit && s->state != NUMBER_ZERO)
		return true;
	if (c == '.' && (s->state == NUMBER_ZERO || s->state == NUMBER_INT)) {
		s->state = NUMBER_DOT;
		return true;
	}
	if ((c == 'e' || c == 'E') && s->state != NUMBER_EXPONENT) {
		s->state = NUMBER_E;
		return true;
	}
	end_value(s);
	return after_value(s, c);
}

static bool in_literal(struct scanner *s, unsigned char c)
{
	if (c != (unsigned char)s->literal[s->at]) {
		snprintf(s->literal_context, sizeof(s->literal_context), "in literal %s (expecting '%c')", s->literal,
			 s->literal[s->at]);
		return fail(s, s->literal_context);
	}
	if (s->literal[++s->at] == '\0')
		end_value(s);
	return true;
}

static bool scan(struct scanner *s, unsigned char c)
{
	switch (s->state) {
	case BEGIN_VALUE_OR_EMPTY:
		if (c == ']')
			return pop(s);
		return begin_value(s, c);
	case BEGIN_VALUE:
		return begin_value(s, c);
	case BEGIN_KEY_OR_EMPTY:
	case BEGIN_KEY:
		return begin_key(s, c);
	case END_VALUE:
		return after_value(s, c);
	case IN_STRING:
	case IN_ESCAPE:
	case IN_HEX:
		return in_string(s, c);
	case IN_LITERAL:
		return in_literal(s, c);
	default:
		return in_number(s, c);
	}
}
