#include "logging/regex_translate.h"

#include "logging/regex.h"

#include <ctype.h>

#define REPEAT_MAX 1000   // of a count, and of the product of nested ones (RE2)
#define DEPTH_MAX 200     // of groups; PCRE2 takes 250
#define RUNE_MAX 0x10FFFF // Unicode's

// Flags (?imsU).
#define FLAG_FOLD 1u
#define FLAG_LINES 2u
#define FLAG_DOT_ALL 4u
#define FLAG_LAZY 8u

struct range {
	uint32_t from, to;
};

enum atom {
	ATOM_NONE,   // nothing to repeat: start of a branch
	ATOM_SINGLE, // one character or class
	ATOM_GROUP,  // in parentheses
	ATOM_OTHER,  // is put into parentheses to be repeated: assertions, what is repeated already
};

// What the translator knows of the group it is in.
struct frame {
	enum atom atom;   // the last one of the branch
	size_t start;     // where that begins in `out`
	unsigned repeat;  // greatest product of nested counts in the last atom
	unsigned product; // the same of the whole group so far
	unsigned flags;   // in force
	bool folds_out;   // flag i as it stands in `out` at the group's start
	const char *text; // the group in the pattern, for errors
};

struct translator {
	const char *pattern, *p;
	struct buf *out;
	struct frame frames[DEPTH_MAX + 1];
	size_t depth;
	bool folds;           // flag i as it stands in `out` here
	const char *repeated; // the repetition just before p: another one may not follow
	struct error *err;
};

static const struct range digit[] = {{'0', '9'}};
static const struct range space_perl[] = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
static const struct range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};

static int next(struct translator *t);

int regex_translate(const char *pattern, struct buf *out, struct error *err)
{
	struct translator t = {.pattern = pattern, .p = pattern, .out = out, .err = err};
	int r = 0;

	if (strlen(pattern) > REGEX_PATTERN_MAX)
		return error_set(err, EINVAL, "error parsing regexp: longer than %d bytes", REGEX_PATTERN_MAX);
	if (!utf8_valid(pattern))
		return error_set(err, EINVAL, "error parsing regexp: invalid UTF-8");
	t.frames[0] = (struct frame){.product = 1, .repeat = 1};
	while (r == 0 && *t.p)
		r = next(&t);
	if (r == 0 && t.depth > 0)
		r = error_set(err, EINVAL, "error parsing regexp: missing closing ): `%s`", pattern);
	return r;
}

static struct frame *top(struct translator *t)
{
	return &t->frames[t->depth];
}

static int fail(struct translator *t, const char *reason, const char *from, const char *to)
{
	return error_set(t->err, EINVAL, "error parsing regexp: %s: `%.*s`", reason, (int)(to - from), from);
}

static void emit(struct translator *t, const char *text)
{
	buf_append(t->out, text, strlen(text));
}

// A new atom begins in `out`. Flag i is set where it has to change, as late as this, so that it never stands between an
// atom and its repetition.
static void begin_atom(struct translator *t, enum atom atom)
{
	struct frame *f = top(t);
	bool fold = f->flags & FLAG_FOLD;

	if (atom == ATOM_SINGLE && fold != t->folds) {
		emit(t, fold ? "(?i)" : "(?-i)");
		t->folds = fold;
	}
	f->atom = atom;
	f->start = t->out->len;
	f->repeat = 1;
}

static void emit_char(struct translator *t, uint32_t c)
{
	if (c < 0x80 && isalnum((int)c))
		buf_printf(t->out, "%c", (char)c);
	else
		buf_printf(t->out, "\\x{%x}", c);
}

// Surrogates are no characters of a text: a literal one matches nothing.
static void emit_literal(struct translator *t, uint32_t c)
{
	begin_atom(t, ATOM_SINGLE);
	if (c >= 0xD800 && c <= 0xDFFF)
		emit(t, "\\P{Any}");
	else
		emit_char(t, c);
}

static void emit_assertion(struct translator *t, const char *text)
{
	begin_atom(t, ATOM_OTHER);
	emit(t, text);
}

// The text is UTF-8, as was checked.
static uint32_t take_rune(const char **p)
{
	const unsigned char *s = (const unsigned char *)*p;
	size_t n = utf8_length(*p, strlen(*p));
	uint32_t c = n == 1 ? s[0] : s[0] & (0xFFu >> (n + 1));

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3F);
	*p += n;
	return c;
}

// --- groups ---

static int open_group(struct translator *t, const char *from, unsigned flags)
{
	struct frame *f;

	if (t->depth == DEPTH_MAX)
		return fail(t, "expression nests too deeply", t->pattern, t->pattern + strlen(t->pattern));
	begin_atom(t, ATOM_GROUP);
	emit(t, "(?:");
	f = &t->frames[++t->depth];
	*f = (struct frame){.product = 1, .repeat = 1, .flags = flags, .folds_out = t->folds, .text = from};
	return 0;
}

static unsigned larger(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static int close_group(struct translator *t)
{
	struct frame inner = *top(t);

	if (t->depth == 0)
		return fail(t, "unexpected )", t->pattern, t->pattern + strlen(t->pattern));
	emit(t, ")");
	t->depth--;
	t->folds = inner.folds_out; // PCRE2's flags end with the group, too
	top(t)->repeat = larger(inner.product, inner.repeat);
	t->p++;
	return 0;
}

// (?P<name> and (?<name>; false: not one of these or a bad name.
static bool take_name(const char **p)
{
	const char *name = *p + (**p == 'P' ? 1 : 0);
	size_t len;

	if (*name++ != '<')
		return false;
	for (len = 0; isalnum((unsigned char)name[len]) || name[len] == '_'; len++)
		;
	*p = name + len + 1;
	return len > 0 && name[len] == '>';
}

// What stands between "(?" and its ":" or ")".
static int take_flags(struct translator *t, const char *from)
{
	static const char letters[] = "imsU";
	unsigned flags = top(t)->flags;
	bool minus = false, seen = true;
	const char *p = from + 2, *letter;

	for (; *p && *p != ':' && *p != ')'; p++) {
		if (*p == '-' && !minus) {
			minus = true;
			seen = false;
			continue;
		}
		letter = strchr(letters, *p);
		if (!letter)
			break;
		seen = true;
		flags = minus ? flags & ~(1u << (letter - letters)) : flags | 1u << (letter - letters);
	}
	if ((*p != ':' && *p != ')') || !seen) {
		if (*p)
			take_rune(&p);
		return fail(t, "invalid or unsupported Perl syntax", from, p);
	}
	t->p = p + 1;
	if (*p == ':')
		return open_group(t, from, flags);
	top(t)->flags = flags;
	return 0;
}

static int take_paren(struct translator *t)
{
	const char *from = t->p, *p = from + 2;

	if (from[1] != '?') {
		t->p++;
		return open_group(t, from, top(t)->flags);
	}
	if (*p == '<' && (p[1] == '=' || p[1] == '!'))
		return fail(t, "invalid or unsupported Perl syntax", from, p + 2);
	if (*p == '<' || (*p == 'P' && p[1] == '<')) {
		if (!take_name(&p))
			return fail(t, "invalid named capture", from,
				    from + strcspn(from, ">") + (strchr(from, '>') ? 1 : 0));
		t->p = p;
		return open_group(t, from, top(t)->flags);
	}
	return take_flags(t, from);
}

// --- repetitions ---

static int repeat(struct translator *t, const char *from, const char *quantifier)
{
	struct frame *f = top(t);
	size_t tail;

	if (*t->p == '?')
		t->p++;
	if (t->repeated)
		return fail(t, "invalid nested repetition operator", t->repeated, t->p);
	if (f->atom == ATOM_NONE)
		return fail(t, "missing argument to repetition operator", from, t->p);
	if (f->atom == ATOM_OTHER) {
		tail = t->out->len - f->start;
		emit(t, "(?:"); // for its room
		memmove(t->out->data + f->start + 3, t->out->data + f->start, tail);
		memcpy(t->out->data + f->start, "(?:", 3);
		emit(t, ")");
	}
	emit(t, quantifier);
	f->atom = ATOM_OTHER;
	t->repeated = from;
	return 0;
}

// A number without leading zeros; -1: there is none. Large ones are all alike.
static int take_count(const char **p)
{
	int n = 0;

	if (!isdigit((unsigned char)**p) || (**p == '0' && isdigit((unsigned char)(*p)[1])))
		return -1;
	for (; isdigit((unsigned char)**p); (*p)++)
		n = n > REPEAT_MAX ? n : n * 10 + (**p - '0');
	return n;
}

// At "{". What is no repetition is literal.
static int take_braces(struct translator *t)
{
	const char *from = t->p, *p = from + 1;
	struct frame *f = top(t);
	int least = take_count(&p), most = least, counts;
	char quantifier[32];

	if (least >= 0 && *p == ',') {
		p++;
		most = *p == '}' ? -1 : take_count(&p);
		if (most < 0 && *p != '}')
			least = -1;
	}
	if (least < 0 || *p != '}') {
		t->p = from + 1;
		t->repeated = NULL;
		emit_literal(t, '{');
		return 0;
	}
	t->p = ++p;
	if (least > REPEAT_MAX || most > REPEAT_MAX || (most >= 0 && least > most))
		return fail(t, "invalid repeat count", from, p);
	if (most < 0)
		snprintf(quantifier, sizeof(quantifier), "{%d,}", least);
	else
		snprintf(quantifier, sizeof(quantifier), "{%d,%d}", least, most);
	counts = most < 0 ? least : most;
	if (repeat(t, from, quantifier) < 0)
		return -EINVAL;
	if (most == 0)
		f->repeat = 1;
	else if (counts > 1)
		f->repeat *= (unsigned)counts;
	if (f->repeat > REPEAT_MAX)
		return fail(t, "invalid repeat count", from, t->p);
	return 0;
}

// --- classes ---

static void emit_range(struct translator *t, uint32_t from, uint32_t to)
{
	if (from <= to)
		buf_printf(t->out, "\\x{%x}-\\x{%x}", from, to);
}

// Ranges are in order. With flag i the opposite is that of the folded set: U+017F is an s, U+212A a k.
static void emit_ranges(struct translator *t, const struct range *ranges, size_t count, bool negated)
{
	bool letters = ranges[count - 1].from <= 'k' && ranges[count - 1].to >= 's';
	uint32_t from = 0;

	for (size_t i = 0; i < count; i++) {
		if (negated && ranges[i].from > 0)
			emit_range(t, from, ranges[i].from - 1);
		else if (!negated)
			emit_range(t, ranges[i].from, ranges[i].to);
		from = ranges[i].to + 1;
	}
	if (negated && letters && top(t)->flags & FLAG_FOLD) {
		emit_range(t, from, 0x17E);
		emit_range(t, 0x180, 0x2129);
		from = 0x212B;
	}
	if (negated)
		emit_range(t, from, RUNE_MAX);
}

// \d \s \w and their opposites, for the inside of a class. False: p is not at one.
static bool take_perl(struct translator *t)
{
	char c = t->p[0] == '\\' ? t->p[1] : '\0';

	if (c == 'd' || c == 'D')
		emit_ranges(t, digit, ARRAY_SIZE(digit), c == 'D');
	else if (c == 's' || c == 'S')
		emit_ranges(t, space_perl, ARRAY_SIZE(space_perl), c == 'S');
	else if (c == 'w' || c == 'W')
		emit_ranges(t, word, ARRAY_SIZE(word), c == 'W');
	else
		return false;
	t->p += 2;
	return true;
}

// At "[:": [:alpha:] or [:^alpha:]. 0: there is no ":]", so it is something else; 1: taken.
static int take_named(struct translator *t)
{
	enum { ALPHA = 1, LOWER = 7, UPPER = 11 };
	static const struct {
		const char *name;
		size_t count;
		struct range ranges[4];
	} names[] = {
		{"alnum", 3, {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
		{"alpha", 2, {{'A', 'Z'}, {'a', 'z'}}},
		{"ascii", 1, {{0, 0x7F}}},
		{"blank", 2, {{'\t', '\t'}, {' ', ' '}}},
		{"cntrl", 2, {{0, 0x1F}, {0x7F, 0x7F}}},
		{"digit", 1, {{'0', '9'}}},
		{"graph", 1, {{'!', '~'}}},
		{"lower", 1, {{'a', 'z'}}},
		{"print", 1, {{' ', '~'}}},
		{"punct", 4, {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
		{"space", 2, {{'\t', '\r'}, {' ', ' '}}},
		{"upper", 1, {{'A', 'Z'}}},
		{"word", 4, {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
		{"xdigit", 3, {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
	};
	const char *end = strstr(t->p + 2, ":]"), *name = t->p + 2;
	bool negated = *name == '^';

	if (!end)
		return 0;
	name += negated ? 1 : 0;
	for (size_t i = 0; i < ARRAY_SIZE(names) && end > name; i++) {
		if (strlen(names[i].name) == (size_t)(end - name) &&
		    strncmp(names[i].name, name, (size_t)(end - name)) == 0) {
			bool both = top(t)->flags & FLAG_FOLD && (i == LOWER || i == UPPER);

			emit_ranges(t, names[both ? ALPHA : i].ranges, names[both ? ALPHA : i].count, negated);
			t->p = end + 2;
			return 1;
		}
	}
	return fail(t, "invalid character class range", t->p, end + 2);
}

// At \p or \P: a category or a script. PCRE2 knows the scripts; its own categories (Any, L&, Xan) are not RE2's.
static int take_unicode(struct translator *t)
{
	static const char categories[][3] = {"C",  "Cc", "Cf", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
					     "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf",
					     "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};
	const char *from = t->p, *name = from + 2;
	bool negated = from[1] == 'P', cased;
	int len = 1;

	if (*name == '{') {
		name++;
		negated ^= *name == '^';
		name += *name == '^' ? 1 : 0;
		len = (int)strcspn(name, "}");
		if (!name[len])
			return fail(t, "invalid character class range", from, name + len);
	}
	t->p = name + len + (from[2] == '{' ? 1 : 0);
	if (!*name)
		return fail(t, "invalid character class range", from, name);
	if (len == 3 && strncmp(name, "Any", 3) == 0) {
		emit(t, negated ? "\\P{Any}" : "\\p{Any}");
		return 0;
	}
	cased = top(t)->flags & FLAG_FOLD && len == 2 && *name == 'L' && strchr("ult", name[1]);
	for (size_t i = 0; i < ARRAY_SIZE(categories); i++) {
		if (strlen(categories[i]) == (size_t)len && strncmp(categories[i], name, (size_t)len) == 0) {
			buf_printf(t->out, "\\%c{%s}", negated ? 'P' : 'p', cased ? "L&" : categories[i]);
			return 0;
		}
	}
	for (int i = 0; i < len; i++) {
		if (!isalpha((unsigned char)name[i]) && name[i] != '_')
			len = 0;
	}
	if (len < 3)
		return fail(t, "invalid character class range", from, t->p);
	buf_printf(t->out, "\\%c{sc:%.*s}", negated ? 'P' : 'p', len, name);
	return 0;
}

static bool at_unicode(const struct translator *t)
{
	return t->p[0] == '\\' && (t->p[1] == 'p' || t->p[1] == 'P');
}

// --- escapes of one character ---

static int take_hex(struct translator *t, const char *from, uint32_t *c)
{
	const char *p = from + 2;
	size_t digits = 0;
	bool braces = *p == '{';

	*c = 0;
	for (p += braces ? 1 : 0; isxdigit((unsigned char)*p) && (braces || digits < 2) && *c <= RUNE_MAX;
	     p++, digits++)
		*c = *c * 16 +
		     (uint32_t)(isdigit((unsigned char)*p) ? *p - '0' : tolower((unsigned char)*p) - 'a' + 10);
	if (digits == 0 || (!braces && digits < 2) || (braces && *p != '}') || *c > RUNE_MAX)
		return fail(t, "invalid escape sequence", from, p);
	t->p = p + (braces ? 1 : 0);
	return 0;
}

// At a backslash.
static int take_escape(struct translator *t, uint32_t *c)
{
	static const char names[] = "afnrtv", values[] = "\a\f\n\r\t\v";
	const char *from = t->p, *p = from + 1, *name;

	if (!*p)
		return fail(t, "trailing backslash at end of expression", p, p);
	if (*p == 'x')
		return take_hex(t, from, c);
	// \1 to \7 are octal only with a second digit: alone they would refer back.
	if (*p == '0' || (*p >= '1' && *p <= '7' && p[1] >= '0' && p[1] <= '7')) {
		*c = 0;
		for (int i = 0; i < 3 && *p >= '0' && *p <= '7'; i++)
			*c = *c * 8 + (uint32_t)(*p++ - '0');
		t->p = p;
		return 0;
	}
	name = strchr(names, *p);
	if (name)
		*c = (uint32_t)values[name - names];
	else if ((unsigned char)*p < 0x80 && !isalnum((unsigned char)*p))
		*c = (uint32_t)*p;
	else
		return take_rune(&p), fail(t, "invalid escape sequence", from, p);
	t->p = p + 1;
	return 0;
}

// --- [...] ---

static int take_class_char(struct translator *t, const char *start, uint32_t *c)
{
	if (!*t->p)
		return fail(t, "missing closing ]", start, t->p);
	if (*t->p == '\\')
		return take_escape(t, c);
	*c = take_rune(&t->p);
	return 0;
}

// One character or a range of them. Surrogates are left out: no text has them.
static int take_range(struct translator *t, const char *start)
{
	const char *from = t->p;
	struct range range = {0};

	if (take_class_char(t, start, &range.from) < 0)
		return -EINVAL;
	range.to = range.from;
	if (t->p[0] == '-' && t->p[1] && t->p[1] != ']') {
		t->p++;
		if (take_class_char(t, start, &range.to) < 0)
			return -EINVAL;
		if (range.to < range.from)
			return fail(t, "invalid character class range", from, t->p);
	}
	if (range.from >= 0xD800 && range.from <= 0xDFFF)
		range.from = 0xE000;
	if (range.to >= 0xD800 && range.to <= 0xDFFF)
		range.to = 0xD7FF;
	emit_range(t, range.from, range.to);
	return 0;
}

static int take_class(struct translator *t)
{
	const char *start = t->p++;
	size_t inside;
	int r = 0;

	begin_atom(t, ATOM_SINGLE);
	emit(t, *t->p == '^' ? "[^" : "[");
	t->p += *t->p == '^' ? 1 : 0;
	inside = t->out->len;
	for (bool first = true; r == 0 && (*t->p != ']' || first); first = false) {
		int named = t->p[0] == '[' && t->p[1] == ':' ? take_named(t) : 0;

		if (named != 0)
			r = named < 0 ? named : 0;
		else if (at_unicode(t))
			r = take_unicode(t);
		else if (!take_perl(t))
			r = take_range(t, start);
	}
	if (r < 0)
		return r;
	t->p++;
	// Only surrogates: nothing, or with ^ everything.
	if (t->out->len == inside)
		emit(t, "\\P{Any}");
	emit(t, "]");
	return 0;
}

// --- the rest ---

// \Q...\E: every character literal; to the end if there is no \E.
static void take_quoted(struct translator *t)
{
	const char *end = strstr(t->p + 2, "\\E");

	t->p += 2;
	while (*t->p && t->p != end)
		emit_literal(t, take_rune(&t->p));
	t->p += end ? 2 : 0;
}

// At a backslash outside of a class.
static int take_backslash(struct translator *t)
{
	static const char *const assertions[] = {"A", "\\A", "b", "\\b", "B", "\\B", "z", "\\z"};
	uint32_t c;

	for (size_t i = 0; i < ARRAY_SIZE(assertions); i += 2) {
		if (t->p[1] == *assertions[i]) {
			t->p += 2;
			emit_assertion(t, assertions[i + 1]);
			return 0;
		}
	}
	if (t->p[1] == 'Q') {
		take_quoted(t);
		return 0;
	}
	if (at_unicode(t)) {
		begin_atom(t, ATOM_SINGLE);
		return take_unicode(t);
	}
	if (t->p[1] && strchr("dDsSwW", t->p[1])) {
		begin_atom(t, ATOM_SINGLE);
		emit(t, "[");
		take_perl(t);
		emit(t, "]");
		return 0;
	}
	if (take_escape(t, &c) < 0)
		return -EINVAL;
	emit_literal(t, c);
	return 0;
}

static int take_operator(struct translator *t)
{
	const char *from = t->p++;
	struct frame *f = top(t);
	char quantifier[2] = {*from};

	switch (*from) {
	case '*':
	case '+':
	case '?':
		return repeat(t, from, quantifier);
	case '|':
		emit(t, "|");
		f->atom = ATOM_NONE;
		return 0;
	case '.':
		begin_atom(t, ATOM_SINGLE);
		emit(t, f->flags & FLAG_DOT_ALL ? "." : "[^\\x{a}]");
		return 0;
	case '^':
		emit_assertion(t, f->flags & FLAG_LINES ? "(?m:^)" : "\\A");
		return 0;
	default: // '$'
		emit_assertion(t, f->flags & FLAG_LINES ? "(?m:$)" : "\\z");
		return 0;
	}
}

static int next(struct translator *t)
{
	const char *repeated = t->repeated;
	struct frame *f = top(t);
	int r;

	f->product = larger(f->product, f->repeat);
	if (*t->p == '{')
		r = take_braces(t);
	else if (strchr("*+?|.^$", *t->p))
		r = take_operator(t);
	else if (*t->p == '(')
		r = take_paren(t);
	else if (*t->p == ')')
		r = close_group(t);
	else if (*t->p == '[')
		r = take_class(t);
	else if (*t->p == '\\')
		r = take_backslash(t);
	else
		emit_literal(t, take_rune(&t->p)), r = 0;
	// Only what comes right behind a repetition repeats it once more.
	if (t->repeated == repeated)
		t->repeated = NULL;
	return r;
}
