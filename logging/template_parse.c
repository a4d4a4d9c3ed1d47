// From text to nodes.
#include "logging/template.h"

#include <ctype.h>
#include <stdarg.h>

#define DEPTH_MAX 50
#define VARIABLES_MAX 50

enum token_kind {
	TOKEN_RIGHT, // }}
	TOKEN_DOT,
	TOKEN_FIELD,    // .name
	TOKEN_VARIABLE, // $name
	TOKEN_WORD,
	TOKEN_LITERAL,
	TOKEN_PIPE,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_DECLARE, // :=
	TOKEN_ASSIGN,
	TOKEN_COMMA,
};
struct token {
	enum token_kind kind;
	bool spaced; // white space stood before it
	struct text text;
	struct value value;
};

struct parser {
	const char *p; // behind `token` within an action
	unsigned line, depth;
	struct token token;
	bool trim; // the last action ended with -}}
	struct text variables[VARIABLES_MAX];
	size_t variable_count;
	struct arena *arena;
	struct error *err;
};

// How a list of nodes ended.
enum list_end { LIST_EOF, LIST_END, LIST_ELSE };

static int parse_list(struct parser *parser, struct node **list, enum list_end *end);
static int parse_pipe(struct parser *parser, enum token_kind last, struct node **out);

int template_parse(const char *template, struct arena *arena, struct node **list, struct error *err)
{
	struct parser parser = {.p = template, .line = 1, .arena = arena, .err = err};
	enum list_end end;
	int r;

	if (strlen(template) > TEMPLATE_MAX)
		return error_set(err, EINVAL, "template: log-tag: longer than %d bytes", TEMPLATE_MAX);
	parser.variables[parser.variable_count++] = (struct text){"$", 1};
	r = parse_list(&parser, list, &end);
	if (r == 0 && end != LIST_EOF)
		r = error_set(err, EINVAL, "template: log-tag:%u: unexpected {{%s}}", parser.line,
			      end == LIST_END ? "end" : "else");
	return r;
}

static int fail(struct parser *parser, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct parser *parser, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(parser->err, EINVAL, "template: log-tag:%u: %s", parser->line, text);
}

static struct node *make(struct parser *parser, enum node_kind kind)
{
	struct node *node = arena_alloc(parser->arena, sizeof(*node));

	if (!node) {
		fail(parser, "it takes more than 1 MiB of memory");
		return NULL;
	}
	node->kind = kind;
	node->line = parser->line;
	return node;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word(char c)
{
	return c == '_' || isalnum((unsigned char)c) || (c & 0x80);
}

// --- tokens ---

static int take_number(struct parser *parser)
{
	struct token *token = &parser->token;
	const char *start = parser->p, *p = start + (*start == '+' || *start == '-' ? 1 : 0);
	char digits[80];
	size_t n = 0;
	int base = 10;
	int64_t value;
	char *end;

	while (is_word(*p) || *p == '.')
		p++;
	token->text = (struct text){start, (size_t)(p - start)};
	for (const char *c = start; c < p && n + 1 < sizeof(digits); c++) {
		// Go takes underscores between digits.
		if (*c != '_' || c == start || !isxdigit((unsigned char)c[1]) || c[-1] == '_')
			digits[n++] = *c;
	}
	digits[n] = '\0';
	p = digits + (*digits == '+' || *digits == '-' ? 1 : 0);
	if (p[0] == '0' && p[1]) {
		base = tolower((unsigned char)p[1]) == 'x' ? 16 : tolower((unsigned char)p[1]) == 'b' ? 2 : 8;
		n = base == 8 && tolower((unsigned char)p[1]) != 'o' ? 1 : 2;
		memmove(digits + (p - digits), p + n, strlen(p + n) + 1);
	}
	errno = 0;
	value = isalnum((unsigned char)*p) ? strtoll(digits, &end, base) : (end = digits, 0);
	if (*end || end == digits || errno || strpbrk(p, "xX"))
		return fail(parser, "not an integer, which numbers have to be here: %.*s", (int)token->text.len, start);
	token->kind = TOKEN_LITERAL;
	token->value = value_int(value);
	parser->p = start + token->text.len;
	return 0;
}

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80)
		return (size_t)(*out = (char)c, 1);
	if (c < 0x800)
		return (size_t)(out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3F)), 2);
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

// Behind a backslash. Go's escapes; false: none of them. *byte: it stands for a byte, not for a character.
static bool take_escape(const char **p, char quote, uint32_t *c, bool *byte)
{
	static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
	const char *name = **p ? strchr(names, **p) : NULL;
	int digits = **p == 'x' ? 2 : **p == 'u' ? 4 : **p == 'U' ? 8 : 0, base = 16;

	*byte = digits == 2;
	if (name || (**p == quote && quote)) {
		*c = name ? (uint32_t)values[name - names] : (uint32_t)quote;
		(*p)++;
		return true;
	}
	if (**p >= '0' && **p <= '7') {
		digits = 3;
		base = 8;
		*byte = true;
	} else {
		(*p)++;
	}
	*c = 0;
	for (int i = 0; i < digits; i++, (*p)++) {
		char d = (char)tolower((unsigned char)**p);

		if (!isxdigit((unsigned char)d) || (base == 8 && !strchr("01234567", d)))
			return false;
		*c = *c * (uint32_t)base + (uint32_t)(isdigit((unsigned char)d) ? d - '0' : d - 'a' + 10);
	}
	return digits > 0 && (*byte ? *c <= 0xFF : *c <= 0x10FFFF && (*c < 0xD800 || *c > 0xDFFF));
}

static int take_quoted(struct parser *parser, char quote)
{
	const char *p = parser->p + 1;
	char *out = arena_alloc(parser->arena, strcspn(p, "\n") + 1);
	size_t len = 0;
	uint32_t c;
	bool byte;

	if (!out)
		return fail(parser, "it takes more than 1 MiB of memory");
	while (*p != quote) {
		if (!*p || *p == '\n')
			return fail(parser,
				    quote == '"' ? "unterminated quoted string" : "unterminated character constant");
		if (*p != '\\') {
			out[len++] = *p++;
			continue;
		}
		p++;
		if (!take_escape(&p, quote, &c, &byte))
			return fail(parser, "invalid syntax in a quoted string");
		if (byte)
			out[len++] = (char)c;
		else
			len += put_utf8(out + len, c);
	}
	parser->p = p + 1;
	parser->token.kind = TOKEN_LITERAL;
	parser->token.value = value_text(out, len);
	return 0;
}

// 'x' is the number of the character.
static int take_character(struct parser *parser)
{
	const unsigned char *s;
	uint32_t c;
	size_t n;

	if (take_quoted(parser, '\'') < 0)
		return -EINVAL;
	s = (const unsigned char *)parser->token.value.text.s;
	n = utf8_length((const char *)s, parser->token.value.text.len);
	if (n == 0 || n != parser->token.value.text.len)
		return fail(parser, "malformed character constant");
	c = n == 1 ? s[0] : s[0] & (0xFFu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3F);
	parser->token.value = value_int(c);
	return 0;
}

static int take_raw(struct parser *parser)
{
	const char *end = strchr(parser->p + 1, '`');

	if (!end)
		return fail(parser, "unterminated raw quoted string");
	parser->token.kind = TOKEN_LITERAL;
	parser->token.value = value_text(parser->p + 1, (size_t)(end - parser->p - 1));
	for (; parser->p <= end; parser->p++)
		parser->line += *parser->p == '\n';
	return memchr(parser->token.value.text.s, '\r', parser->token.value.text.len)
		       ? fail(parser, "carriage return in a raw quoted string")
		       : 0;
}

// .name, $name or a word. What follows has to end it.
static int take_name(struct parser *parser, enum token_kind kind)
{
	const char *start = parser->p;

	parser->p += kind == TOKEN_WORD ? 0 : 1;
	while (is_word(*parser->p))
		parser->p++;
	parser->token.kind = kind;
	parser->token.text = (struct text){start, (size_t)(parser->p - start)};
	if (*parser->p && !is_space(*parser->p) && !strchr(".,|:)(", *parser->p) && !str_starts(parser->p, "}}"))
		return fail(parser, "bad character after %.*s", (int)parser->token.text.len, start);
	return 0;
}

// The next token of an action.
static int advance(struct parser *parser)
{
	static const char marks[] = "|(),=";
	static const enum token_kind kinds[] = {TOKEN_PIPE, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA, TOKEN_ASSIGN};
	struct token *token = &parser->token;
	const char *start = parser->p, *mark;

	while (is_space(*parser->p))
		parser->line += *parser->p++ == '\n';
	if (!*parser->p)
		return fail(parser, "unclosed action");
	*token = (struct token){.spaced = parser->p > start, .text = {parser->p, 1}};
	parser->trim = token->spaced && str_starts(parser->p, "-}}");
	if (parser->trim || str_starts(parser->p, "}}")) {
		parser->p += parser->trim ? 3 : 2;
		token->text = (struct text){"}}", 2};
		return 0; // TOKEN_RIGHT
	}
	if (str_starts(parser->p, ":=")) {
		parser->p += 2;
		token->kind = TOKEN_DECLARE;
		return 0;
	}
	mark = strchr(marks, *parser->p);
	if (mark) {
		parser->p++;
		token->kind = kinds[mark - marks];
		return 0;
	}
	if (*parser->p == '"')
		return take_quoted(parser, '"');
	if (*parser->p == '\'')
		return take_character(parser);
	if (*parser->p == '`')
		return take_raw(parser);
	if (*parser->p == '$')
		return take_name(parser, TOKEN_VARIABLE);
	if (isdigit((unsigned char)*parser->p) || (strchr("+-.", *parser->p) && isdigit((unsigned char)parser->p[1])))
		return take_number(parser);
	if (*parser->p == '.' && is_word(parser->p[1]))
		return take_name(parser, TOKEN_FIELD);
	if (*parser->p == '.') {
		parser->p++;
		token->kind = TOKEN_DOT;
		return 0;
	}
	if (is_word(*parser->p))
		return take_name(parser, TOKEN_WORD);
	return fail(parser, "unexpected \"%c\" in an action", *parser->p);
}

static bool at_word(const struct parser *parser, const char *word)
{
	const struct token *token = &parser->token;

	return token->kind == TOKEN_WORD && token->text.len == strlen(word) &&
	       memcmp(token->text.s, word, token->text.len) == 0;
}

static int unexpected(struct parser *parser, const char *where)
{
	const struct token *token = &parser->token;

	if (token->kind == TOKEN_LITERAL)
		return fail(parser, "unexpected literal in %s", where);
	return fail(parser, "unexpected \"%.*s\" in %s", (int)(token->text.len < 80 ? token->text.len : 80),
		    token->text.s, where);
}

// --- operands, commands, pipelines ---

static int parse_name(struct parser *parser, struct node **out)
{
	struct node *node = make(parser, NODE_NAME);

	if (!node)
		return -EINVAL;
	node->text = (struct text){parser->token.text.s + 1, parser->token.text.len - 1};
	*out = node;
	return advance(parser);
}

static int parse_variable(struct parser *parser, struct node **out)
{
	size_t i = parser->variable_count;
	struct text name = parser->token.text;

	while (i > 0 &&
	       (parser->variables[i - 1].len != name.len || memcmp(parser->variables[i - 1].s, name.s, name.len) != 0))
		i--;
	if (i == 0)
		return fail(parser, "undefined variable \"%.*s\"", (int)name.len, name.s);
	*out = make(parser, NODE_VARIABLE);
	if (!*out)
		return -EINVAL;
	(*out)->text = name;
	return advance(parser);
}

static int parse_word(struct parser *parser, struct node **out)
{
	static const char *const others[] = {"block", "break", "call",  "continue", "define", "else",
					     "end",   "if",    "range", "template", "with"};
	struct text name = parser->token.text;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (at_word(parser, others[i]))
			return fail(parser, "{{%s}} is not supported here", others[i]);
	}
	if (at_word(parser, "true") || at_word(parser, "false")) {
		*out = make(parser, NODE_LITERAL);
		if (*out)
			(*out)->value = value_bool(at_word(parser, "true"));
	} else if (at_word(parser, "nil")) {
		*out = make(parser, NODE_NIL);
	} else if (function_known(name)) {
		*out = make(parser, NODE_FUNCTION);
	} else {
		return fail(parser, "function \"%.*s\" not defined", (int)name.len, name.s);
	}
	if (!*out)
		return -EINVAL;
	(*out)->text = name;
	return advance(parser);
}

static int parse_group(struct parser *parser, struct node **out)
{
	*out = make(parser, NODE_GROUP);
	if (!*out || advance(parser) < 0)
		return -EINVAL;
	if (++parser->depth > DEPTH_MAX)
		return fail(parser, "max expression depth exceeded");
	if (parse_pipe(parser, TOKEN_CLOSE, &(*out)->pipe) < 0)
		return -EINVAL;
	parser->depth--;
	return advance(parser);
}

static int parse_term(struct parser *parser, struct node **out)
{
	switch (parser->token.kind) {
	case TOKEN_OPEN:
		return parse_group(parser, out);
	case TOKEN_VARIABLE:
		return parse_variable(parser, out);
	case TOKEN_WORD:
		return parse_word(parser, out);
	case TOKEN_FIELD:
		*out = make(parser, NODE_FIELD);
		return *out ? parse_name(parser, &(*out)->fields) : -EINVAL;
	case TOKEN_DOT:
		*out = make(parser, NODE_DOT);
		return *out ? advance(parser) : -EINVAL;
	case TOKEN_LITERAL:
		*out = make(parser, NODE_LITERAL);
		if (!*out)
			return -EINVAL;
		(*out)->value = parser->token.value;
		return advance(parser);
	default:
		return unexpected(parser, "operand");
	}
}

// A term and the fields that follow it without white space.
static int parse_operand(struct parser *parser, struct node **out)
{
	struct node **field;

	if (parse_term(parser, out) < 0 || !*out)
		return -EINVAL;
	for (field = &(*out)->fields; *field; field = &(*field)->next)
		;
	while (parser->token.kind == TOKEN_FIELD && !parser->token.spaced) {
		if ((*out)->kind != NODE_FIELD && (*out)->kind != NODE_VARIABLE && (*out)->kind != NODE_GROUP)
			return fail(parser, "unexpected . after term");
		if (parse_name(parser, field) < 0 || !*field)
			return -EINVAL;
		field = &(*field)->next;
	}
	return 0;
}

static int parse_command(struct parser *parser, enum token_kind last, bool first, struct node **out)
{
	struct node **operand;

	*out = make(parser, NODE_COMMAND);
	if (!*out)
		return -EINVAL;
	operand = &(*out)->list;
	while (parser->token.kind != last && parser->token.kind != TOKEN_PIPE) {
		if (*operand)
			operand = &(*operand)->next;
		if (operand != &(*out)->list && !parser->token.spaced)
			return unexpected(parser, "operand");
		if (parse_operand(parser, operand) < 0)
			return -EINVAL;
	}
	if (!(*out)->list)
		return fail(parser, "empty command");
	// A value is no function that the one before it could be given to.
	if (!first &&
	    ((*out)->list->kind == NODE_DOT || (*out)->list->kind == NODE_NIL || (*out)->list->kind == NODE_LITERAL))
		return fail(parser, "non executable command in pipeline");
	return 0;
}

// "$x :=", "$x =" and, for range, "$i, $x :=". A variable that something else follows is put back.
static int parse_declarations(struct parser *parser, struct node *pipe, bool range)
{
	struct parser before = *parser;
	struct node **name = &pipe->names;
	size_t count = 0;

	while (parser->token.kind == TOKEN_VARIABLE) {
		struct token variable = parser->token;

		if (advance(parser) < 0)
			return -EINVAL;
		if (parser->token.kind != TOKEN_DECLARE && parser->token.kind != TOKEN_ASSIGN &&
		    !(range && count == 0 && parser->token.kind == TOKEN_COMMA))
			break;
		*name = make(parser, NODE_NAME);
		if (!*name)
			return -EINVAL;
		(*name)->text = variable.text;
		name = &(*name)->next;
		count++;
		if (parser->token.kind != TOKEN_COMMA) {
			pipe->assigns = parser->token.kind == TOKEN_ASSIGN;
			return advance(parser);
		}
		if (advance(parser) < 0)
			return -EINVAL;
	}
	if (count > 0)
		return unexpected(parser, "range");
	*parser = before;
	return 0;
}

// The names that a pipeline has made are known behind it.
static int declare(struct parser *parser, const struct node *pipe)
{
	for (const struct node *name = pipe->names; name; name = name->next) {
		size_t i = parser->variable_count;

		if (!pipe->assigns && parser->variable_count == VARIABLES_MAX)
			return fail(parser, "more than %d variables", VARIABLES_MAX);
		if (!pipe->assigns) {
			parser->variables[parser->variable_count++] = name->text;
			continue;
		}
		while (i > 0 && (parser->variables[i - 1].len != name->text.len ||
				 memcmp(parser->variables[i - 1].s, name->text.s, name->text.len) != 0))
			i--;
		if (i == 0)
			return fail(parser, "undefined variable \"%.*s\"", (int)name->text.len, name->text.s);
	}
	return 0;
}

static int parse_commands(struct parser *parser, enum token_kind last, struct node *pipe)
{
	struct node **command = &pipe->list;

	for (;;) {
		if (parse_command(parser, last, command == &pipe->list, command) < 0)
			return -EINVAL;
		if (parser->token.kind == last)
			return 0;
		command = &(*command)->next;
		if (advance(parser) < 0)
			return -EINVAL;
		if (parser->token.kind == last) // Go lets a last "|" pass
			return 0;
	}
}

// Ends at `last`, which is not yet passed.
static int parse_pipe(struct parser *parser, enum token_kind last, struct node **out)
{
	*out = make(parser, NODE_PIPE);
	return *out ? parse_commands(parser, last, *out) : -EINVAL;
}

// As parse_pipe, with variables: of a whole action. Ends behind }}.
static int parse_action(struct parser *parser, bool range, struct node **out)
{
	*out = make(parser, NODE_PIPE);
	if (!*out || parse_declarations(parser, *out, range) < 0 || parse_commands(parser, TOKEN_RIGHT, *out) < 0)
		return -EINVAL;
	return declare(parser, *out);
}

// --- control structures and lists ---

static int expect_right(struct parser *parser, const char *where)
{
	return parser->token.kind == TOKEN_RIGHT ? 0 : unexpected(parser, where);
}

// At the word if, with or range.
static int parse_control(struct parser *parser, struct node **out)
{
	bool range = at_word(parser, "range"), with = at_word(parser, "with");
	size_t variables = parser->variable_count;
	enum list_end end;
	struct node *node = make(parser, range ? NODE_RANGE : with ? NODE_WITH : NODE_IF);

	if (!node)
		return -EINVAL;
	*out = node;
	if (++parser->depth > DEPTH_MAX)
		return fail(parser, "max expression depth exceeded");
	if (advance(parser) < 0 || parse_action(parser, range, &node->pipe) < 0 ||
	    parse_list(parser, &node->list, &end) < 0)
		return -EINVAL;
	if (end == LIST_ELSE) {
		if ((at_word(parser, "if") && node->kind == NODE_IF) || (at_word(parser, "with") && with)) {
			// It shares our end.
			if (parse_control(parser, &node->otherwise) < 0)
				return -EINVAL;
			end = LIST_END;
		} else if (expect_right(parser, "else") < 0 || parse_list(parser, &node->otherwise, &end) < 0) {
			return -EINVAL;
		}
	}
	if (end != LIST_END)
		return end == LIST_EOF ? fail(parser, "unexpected EOF") : fail(parser, "expected end; found {{else}}");
	parser->depth--;
	parser->variable_count = variables;
	return 0;
}

// Text up to the next {{ or the end, without the white space that trim marks take away.
static int parse_text(struct parser *parser, struct node **out)
{
	const char *start = parser->p, *end = strstr(start, "{{");
	bool trim;

	if (!end)
		end = start + strlen(start);
	trim = str_starts(end, "{{-") && is_space(end[3]);
	for (; parser->p < end; parser->p++)
		parser->line += *parser->p == '\n';
	while (parser->trim && start < end && is_space(*start))
		start++;
	parser->trim = false;
	while (trim && end > start && is_space(end[-1]))
		end--;
	if (start == end)
		return 0;
	*out = make(parser, NODE_TEXT);
	if (!*out)
		return -EINVAL;
	(*out)->text = (struct text){start, (size_t)(end - start)};
	return 0;
}

// Behind {{ and a trim mark: a comment goes up to its }}. False: there is none.
static int parse_comment(struct parser *parser, bool *comment)
{
	const char *end;

	*comment = str_starts(parser->p, "/*");
	if (!*comment)
		return 0;
	end = strstr(parser->p + 2, "*/");
	if (!end)
		return fail(parser, "unclosed comment");
	for (; parser->p < end + 2; parser->p++)
		parser->line += *parser->p == '\n';
	parser->trim = is_space(end[2]) && str_starts(end + 3, "-}}");
	if (!parser->trim && !str_starts(parser->p, "}}"))
		return fail(parser, "comment ends before closing delimiter");
	parser->p += parser->trim ? 4 : 2;
	return 0;
}

// Behind {{: one action, or the end of the list. An empty *out: nothing to render.
static int parse_item(struct parser *parser, struct node **out, enum list_end *end)
{
	bool comment;

	parser->p += parser->p[0] == '-' && is_space(parser->p[1]) ? 1 : 0;
	if (parser->p[-1] == '-' && str_starts(parser->p + 1, "/*"))
		parser->line += *parser->p++ == '\n';
	if (parse_comment(parser, &comment) < 0)
		return -EINVAL;
	if (comment)
		return 0;
	if (advance(parser) < 0)
		return -EINVAL;
	if (at_word(parser, "end") || at_word(parser, "else")) {
		*end = at_word(parser, "end") ? LIST_END : LIST_ELSE;
		if (advance(parser) < 0)
			return -EINVAL;
		return *end == LIST_END ? expect_right(parser, "end") : 0;
	}
	if (at_word(parser, "if") || at_word(parser, "with") || at_word(parser, "range"))
		return parse_control(parser, out);
	*out = make(parser, NODE_ACTION);
	return *out ? parse_action(parser, false, &(*out)->pipe) : -EINVAL;
}

static int parse_list(struct parser *parser, struct node **list, enum list_end *end)
{
	*list = NULL;
	for (*end = LIST_EOF; *end == LIST_EOF;) {
		if (parse_text(parser, list) < 0)
			return -EINVAL;
		if (*list)
			list = &(*list)->next;
		if (!*parser->p)
			return 0;
		parser->p += 2;
		if (parse_item(parser, list, end) < 0)
			return -EINVAL;
		if (*list)
			list = &(*list)->next;
	}
	return 0;
}
