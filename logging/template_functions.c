// The functions that a template may call: those of Go's text/template without `call`, and Docker's (logging.md §2.1).
#include "logging/template.h"

#include <ctype.h>

// What is given to a function. Results go to *result; text may be made in `out`, which then is the result.
struct call {
	struct value *args;
	size_t count;
	struct arena *arena;
	struct value *result;
	struct buf out;
	bool made; // the result is in `out`
	struct error *err;
};

// --- texts ---

static int print_result(struct call *call, int r)
{
	call->made = true;
	if (r == -EMSGSIZE)
		return error_set(call->err, EINVAL, "longer than %d bytes", TEMPLATE_MAX);
	return r < 0 ? error_set(call->err, EINVAL, "this value cannot be printed") : 0;
}

static int do_print(struct call *call)
{
	return print_result(call, value_print_all(call->args, call->count, &call->out));
}

static int do_println(struct call *call)
{
	int r = 0;

	for (size_t i = 0; i < call->count && r == 0; i++) {
		if (i > 0)
			r = buf_append(&call->out, " ", 1);
		if (r == 0)
			r = value_print(&call->args[i], &call->out);
	}
	return print_result(call, r == 0 ? buf_append(&call->out, "\n", 1) : r);
}

static int do_printf(struct call *call)
{
	call->made = true;
	return value_printf(call->args, call->count, &call->out, call->err);
}

static int do_json(struct call *call)
{
	return print_result(call, value_json(&call->args[0], &call->out));
}

// What html, js and urlquery escape: the arguments as print has them. ASCII only where Go needs its tables.
static int escape(struct call *call, bool ascii, int (*one)(char c, struct buf *out))
{
	struct buf text = {.max = TEMPLATE_MAX};
	int r;

	for (size_t i = 0; i < call->count; i++) {
		if (call->args[i].kind == VALUE_NIL)
			call->args[i] = value_string("<no value>");
	}
	r = value_print_all(call->args, call->count, &text);
	for (size_t i = 0; i < text.len && r == 0; i++) {
		if (ascii && text.data[i] & 0x80) {
			buf_free(&text);
			return error_set(call->err, EINVAL, "only ASCII is supported here");
		}
		r = one(text.data[i], &call->out);
	}
	buf_free(&text);
	return print_result(call, r);
}

static int escape_html(char c, struct buf *out)
{
	static const char from[] = "\"'&<>";
	static const char *const to[] = {"&#34;", "&#39;", "&amp;", "&lt;", "&gt;"};
	const char *found = c ? strchr(from, c) : NULL;

	if (!c)
		return buf_printf(out, "\uFFFD");
	return found ? buf_printf(out, "%s", to[found - from]) : buf_append(out, &c, 1);
}

static int escape_js(char c, struct buf *out)
{
	if ((unsigned char)c < 0x20 || strchr("<>&=", c))
		return buf_printf(out, "\\u%04X", (unsigned)c);
	return strchr("\\\"'", c) ? buf_printf(out, "\\%c", c) : buf_append(out, &c, 1);
}

static int escape_query(char c, struct buf *out)
{
	if (c == ' ')
		return buf_append(out, "+", 1);
	if (isalnum((unsigned char)c) || (c && strchr("-_.~", c)))
		return buf_append(out, &c, 1);
	return buf_printf(out, "%%%02X", (unsigned char)c);
}

static int do_html(struct call *call)
{
	return escape(call, false, escape_html);
}

static int do_js(struct call *call)
{
	return escape(call, true, escape_js);
}

static int do_urlquery(struct call *call)
{
	return escape(call, false, escape_query);
}

// --- Docker's ---

// -1 lower, 0 title, 1 upper.
static int change_case(struct call *call, int how)
{
	struct text text = call->args[0].text;
	bool begins = true;

	call->made = true;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.s[i];

		if (c & 0x80)
			return error_set(call->err, EINVAL, "only ASCII is supported here");
		if (how > 0 || (how == 0 && begins))
			c = (char)toupper((unsigned char)c);
		else if (how < 0)
			c = (char)tolower((unsigned char)c);
		begins = !isalnum((unsigned char)c) && c != '_';
		if (buf_append(&call->out, &c, 1) < 0)
			return print_result(call, -EMSGSIZE);
	}
	return 0;
}

static int do_title(struct call *call)
{
	return change_case(call, 0);
}

static int do_lower(struct call *call)
{
	return change_case(call, -1);
}

static int do_upper(struct call *call)
{
	return change_case(call, 1);
}

static int do_pad(struct call *call)
{
	struct text text = call->args[0].text;
	int r = 0;

	for (int i = 1; i <= 2 && text.len > 0; i++) {
		if (call->args[i].number < 0)
			return error_set(call->err, EINVAL, "negative Repeat count");
		for (int64_t n = 0; n < call->args[i].number && r == 0; n++)
			r = buf_append(&call->out, " ", 1);
		if (i == 1 && r == 0)
			r = buf_append(&call->out, text.s, text.len);
	}
	return print_result(call, r);
}

static int do_truncate(struct call *call)
{
	struct text text = call->args[0].text;

	if (call->args[1].number < 0)
		return error_set(call->err, EINVAL, "slice bounds out of range");
	if ((uint64_t)call->args[1].number < text.len)
		text.len = (size_t)call->args[1].number;
	*call->result = value_text(text.s, text.len);
	return 0;
}

// Length of the next part and of the separator behind it. An empty separator parts characters.
static size_t part(struct text rest, struct text separator, size_t *behind)
{
	const char *found;

	if (separator.len == 0) {
		size_t n = utf8_length(rest.s, rest.len);

		*behind = 0;
		return n ? n : rest.len ? 1 : 0;
	}
	found = memmem(rest.s, rest.len, separator.s, separator.len);
	*behind = found ? separator.len : 0;
	return found ? (size_t)(found - rest.s) : rest.len;
}

static int do_split(struct call *call)
{
	struct text rest, separator = call->args[1].text;
	size_t count = 0, behind = 1;
	struct text *items = NULL;

	// Counted, then filled.
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1)
			items = arena_alloc(call->arena, count * sizeof(*items));
		if (pass == 1 && !items)
			return error_set(call->err, EINVAL, "too many parts");
		rest = call->args[0].text;
		count = 0;
		for (behind = 1; separator.len ? behind > 0 : rest.len > 0; count++) {
			size_t len = part(rest, separator, &behind);

			if (items)
				items[count] = (struct text){rest.s, len};
			rest.s += len + behind;
			rest.len -= len + behind;
		}
	}
	*call->result = (struct value){.kind = VALUE_LIST, .list = {items, count, false}};
	return 0;
}

static int do_join(struct call *call)
{
	int r = 0;

	for (size_t i = 0; i < call->args[0].list.count && r == 0; i++) {
		const struct text *item = &call->args[0].list.items[i];

		if (i > 0)
			r = buf_append(&call->out, call->args[1].text.s, call->args[1].text.len);
		if (r == 0)
			r = buf_append(&call->out, item->s, item->len);
	}
	return print_result(call, r);
}

// --- lists and maps ---

static int do_len(struct call *call)
{
	const struct value *value = &call->args[0];

	if (value->kind != VALUE_STRING && value->kind != VALUE_LIST && value->kind != VALUE_MAP)
		return error_set(call->err, EINVAL, "len of type %s", value_type(value));
	*call->result = value_int((int64_t)(value->kind == VALUE_STRING ? value->text.len : value->list.count));
	return 0;
}

static int index_one(struct call *call, const struct value *index, struct value *value)
{
	size_t size = value->kind == VALUE_STRING ? value->text.len : value->list.count;
	const struct text *found;

	if (value->kind == VALUE_MAP) {
		if (index->kind != VALUE_STRING)
			return error_set(call->err, EINVAL, "value has type %s; should be string", value_type(index));
		found = value_get(value, index->text);
		*value = found ? value_text(found->s, found->len) : value_text("", 0);
		return 0;
	}
	if (value->kind != VALUE_STRING && value->kind != VALUE_LIST)
		return error_set(call->err, EINVAL, "can't index item of type %s", value_type(value));
	if (index->kind != VALUE_INT)
		return error_set(call->err, EINVAL, "cannot index slice/array with type %s", value_type(index));
	if (index->number < 0 || (uint64_t)index->number >= size)
		return error_set(call->err, EINVAL, "index out of range: %lld", (long long)index->number);
	if (value->kind == VALUE_STRING)
		*value = value_int((unsigned char)value->text.s[index->number]);
	else
		*value = value_text(value->list.items[index->number].s, value->list.items[index->number].len);
	return 0;
}

static int do_index(struct call *call)
{
	*call->result = call->args[0];
	if (call->result->kind == VALUE_NONE)
		return error_set(call->err, EINVAL, "index of untyped nil");
	for (size_t i = 1; i < call->count; i++) {
		if (index_one(call, &call->args[i], call->result) < 0)
			return -EINVAL;
	}
	return 0;
}

static int do_slice(struct call *call)
{
	struct value *value = call->result;
	size_t size, bounds[3] = {0};

	*value = call->args[0];
	if (value->kind != VALUE_STRING && value->kind != VALUE_LIST)
		return error_set(call->err, EINVAL, "can't slice item of type %s", value_type(value));
	if (call->count > 4 || (call->count == 4 && value->kind == VALUE_STRING))
		return error_set(call->err, EINVAL, "too many slice indexes: %zu", call->count - 1);
	size = value->kind == VALUE_STRING ? value->text.len : value->list.count;
	bounds[1] = bounds[2] = size;
	for (size_t i = 1; i < call->count; i++) {
		if (call->args[i].kind != VALUE_INT)
			return error_set(call->err, EINVAL, "cannot index slice/array with type %s",
					 value_type(&call->args[i]));
		if (call->args[i].number < 0 || (uint64_t)call->args[i].number > size)
			return error_set(call->err, EINVAL, "index out of range: %lld",
					 (long long)call->args[i].number);
		bounds[i - 1] = (size_t)call->args[i].number;
	}
	if (bounds[0] > bounds[1] || bounds[1] > bounds[2])
		return error_set(call->err, EINVAL, "invalid slice index: %zu > %zu",
				 bounds[bounds[0] > bounds[1] ? 0 : 1], bounds[bounds[0] > bounds[1] ? 1 : 2]);
	if (value->kind == VALUE_STRING)
		*value = value_text(value->text.s + bounds[0], bounds[1] - bounds[0]);
	else
		value->list.items += bounds[0];
	if (value->kind == VALUE_LIST)
		value->list.count = bounds[1] - bounds[0];
	return 0;
}

// --- logic and comparison ---

static int do_not(struct call *call)
{
	*call->result = value_bool(!value_true(&call->args[0]));
	return 0;
}

static int compare(const struct value *a, const struct value *b)
{
	size_t len = a->text.len < b->text.len ? a->text.len : b->text.len;
	int order;

	if (a->kind == VALUE_INT)
		return a->number < b->number ? -1 : a->number > b->number;
	order = memcmp(a->text.s, b->text.s, len);
	return order ? order : a->text.len < b->text.len ? -1 : a->text.len > b->text.len;
}

// A value that is missing equals only another one.
static int equal(struct call *call, const struct value *a, const struct value *b, bool *same)
{
	*same = false;
	if (a->kind == VALUE_NONE || b->kind == VALUE_NONE) {
		*same = a->kind == b->kind;
		return 0;
	}
	if (a->kind > VALUE_STRING || b->kind > VALUE_STRING)
		return error_set(call->err, EINVAL, "non-comparable type %s",
				 value_type(a->kind > VALUE_STRING ? a : b));
	if (a->kind != b->kind)
		return error_set(call->err, EINVAL, "incompatible types for comparison");
	*same = a->kind == VALUE_BOOL ? a->boolean == b->boolean : compare(a, b) == 0;
	return 0;
}

static int do_eq(struct call *call)
{
	bool same = false;

	if (call->count == 1)
		return error_set(call->err, EINVAL, "missing argument for comparison");
	for (size_t i = 1; i < call->count && !same; i++) {
		if (equal(call, &call->args[0], &call->args[i], &same) < 0)
			return -EINVAL;
	}
	*call->result = value_bool(same);
	return 0;
}

static int do_ne(struct call *call)
{
	bool same;

	if (equal(call, &call->args[0], &call->args[1], &same) < 0)
		return -EINVAL;
	*call->result = value_bool(!same);
	return 0;
}

static int order(struct call *call, int *r)
{
	const struct value *a = &call->args[0], *b = &call->args[1];

	if ((a->kind != VALUE_INT && a->kind != VALUE_STRING) || (b->kind != VALUE_INT && b->kind != VALUE_STRING))
		return error_set(call->err, EINVAL, "invalid type for comparison");
	if (a->kind != b->kind)
		return error_set(call->err, EINVAL, "incompatible types for comparison");
	*r = compare(a, b);
	return 0;
}

static int do_lt(struct call *call)
{
	int r = 0, failed = order(call, &r);

	*call->result = value_bool(r < 0);
	return failed;
}

static int do_le(struct call *call)
{
	int r = 0, failed = order(call, &r);

	*call->result = value_bool(r <= 0);
	return failed;
}

static int do_gt(struct call *call)
{
	int r = 0, failed = order(call, &r);

	*call->result = value_bool(r > 0);
	return failed;
}

static int do_ge(struct call *call)
{
	int r = 0, failed = order(call, &r);

	*call->result = value_bool(r >= 0);
	return failed;
}

// --- the table ---

// Parameters: s string, i integer, l list of strings, a anything (missing is nil), v anything (nil is missing). A star:
// any number of the last one, none included.
static const struct function {
	const char *name, *parameters;
	int (*run)(struct call *call); // NULL: the renderer's own, because it does not evaluate all arguments
} functions[] = {
	{"and", "vv*", NULL},         {"or", "vv*", NULL},
	{"not", "v", do_not},         {"eq", "vv*", do_eq},
	{"ne", "vv", do_ne},          {"lt", "vv", do_lt},
	{"le", "vv", do_le},          {"gt", "vv", do_gt},
	{"ge", "vv", do_ge},          {"len", "v", do_len},
	{"index", "vv*", do_index},   {"slice", "vv*", do_slice},
	{"print", "a*", do_print},    {"println", "a*", do_println},
	{"printf", "sa*", do_printf}, {"html", "a*", do_html},
	{"js", "a*", do_js},          {"urlquery", "a*", do_urlquery},
	{"json", "a", do_json},       {"split", "ss", do_split},
	{"join", "ls", do_join},      {"title", "s", do_title},
	{"lower", "s", do_lower},     {"upper", "s", do_upper},
	{"pad", "sii", do_pad},       {"truncate", "si", do_truncate},
};

static const struct function *find(struct text name)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (strlen(functions[i].name) == name.len && memcmp(functions[i].name, name.s, name.len) == 0)
			return &functions[i];
	}
	return NULL;
}

bool function_known(struct text name)
{
	return find(name) != NULL;
}

static int check_argument(char parameter, struct value *value, struct error *err)
{
	static const char letters[] = "sil";
	static const enum value_kind kinds[] = {VALUE_STRING, VALUE_INT, VALUE_LIST};
	const char *letter = strchr(letters, parameter);
	struct value expected;

	// Go gives nil for a list, and for nothing else that has a type.
	if (parameter == 'l' && (value->kind == VALUE_NONE || value->kind == VALUE_NIL))
		*value = (struct value){.kind = VALUE_LIST, .list.null = true};
	if (letter) {
		expected.kind = kinds[letter - letters];
		return value->kind == expected.kind
			       ? 0
			       : error_set(err, EINVAL, "wrong type for value; expected %s; got %s",
					   value_type(&expected), value_type(value));
	}
	if (value->kind == VALUE_NONE || value->kind == VALUE_NIL)
		value->kind = parameter == 'a' ? VALUE_NIL : VALUE_NONE;
	return 0;
}

static int check_arguments(const struct function *function, struct value *args, size_t count, struct error *err)
{
	size_t parameters = strcspn(function->parameters, "*");
	bool any = function->parameters[parameters];
	size_t least = any ? parameters - 1 : parameters;

	if (count < least || (!any && count > parameters))
		return error_set(err, EINVAL, "wrong number of args for %s: want %s%zu got %zu", function->name,
				 any ? "at least " : "", least, count);
	for (size_t i = 0; i < count; i++) {
		if (check_argument(function->parameters[i < parameters ? i : parameters - 1], &args[i], err) < 0) {
			error_wrap(err, "error calling %s", function->name);
			return -EINVAL;
		}
	}
	return 0;
}

int function_call(struct text name, struct value *args, size_t count, struct arena *arena, struct value *result,
		  struct error *err)
{
	const struct function *function = find(name);
	struct call call = {.args = args,
			    .count = count,
			    .arena = arena,
			    .result = result,
			    .out = {.max = TEMPLATE_MAX},
			    .err = err};
	size_t len;

	if (!function->run) // and, or as an argument, without arguments of their own
		return error_set(err, EINVAL, "wrong number of args for %s: want at least 1 got %zu", function->name,
				 count);
	if (check_arguments(function, args, count, err) < 0)
		return -EINVAL;
	if (function->run(&call) < 0) {
		buf_free(&call.out);
		error_wrap(err, "error calling %s", function->name);
		return -EINVAL;
	}
	if (!call.made)
		return 0;
	len = call.out.len;
	*result = value_text(buf_take(&call.out), len);
	if (!arena_take(arena, (void *)result->text.s, len + 1))
		return error_set(err, EINVAL, "error calling %s: it takes more than 1 MiB of memory", function->name);
	return 0;
}
