// Nodes are rendered.
#include "logging/template.h"

#include <stdarg.h>

#define STEPS_MAX 100000
#define VALUES_MAX ((size_t)1 << 20) // bytes in the arena: nodes and values
#define ARGS_MAX 32
#define SLOTS_MAX 128 // variables at one time

struct slot {
	struct text name;
	struct value value;
};
struct render {
	const struct template_root *root;
	struct arena *arena;
	struct buf out;
	size_t steps;
	struct slot slots[SLOTS_MAX];
	size_t slot_count;
	unsigned line;
	struct error *err;
};

static int render_list(struct render *render, const struct node *list, const struct value *dot);
static int eval_pipe(struct render *render, const struct node *pipe, const struct value *dot, struct value *value);
static int fail(struct render *render, const char *format, ...) __attribute__((format(printf, 2, 3)));

int template_render(const char *template, const struct template_root *root, char **result, struct error *err)
{
	struct arena arena = {0};
	struct render render = {.root = root, .arena = &arena, .out = {.max = TEMPLATE_MAX}, .err = err};
	struct value dot = {.kind = VALUE_ROOT};
	struct node *list;
	int r = template_parse(template, &arena, &list, err);

	render.slots[render.slot_count++] = (struct slot){{"$", 1}, dot};
	if (r == 0)
		r = render_list(&render, list, &dot);
	arena_free(&arena);
	if (r == 0 && render.out.len > 0 && memchr(render.out.data, '\0', render.out.len))
		r = fail(&render, "the result has a NUL character");
	if (r == 0)
		*result = buf_take(&render.out);
	else
		buf_free(&render.out);
	return r < 0 ? -EINVAL : 0;
}

// --- memory ---

void *arena_take(struct arena *arena, void *block, size_t bytes)
{
	if (arena->bytes + bytes > VALUES_MAX) {
		free(block);
		return NULL;
	}
	if ((arena->count & (arena->count - 1)) == 0)
		arena->blocks = xreallocarray(arena->blocks, arena->count ? 2 * arena->count : 1, sizeof(void *));
	arena->blocks[arena->count++] = block;
	arena->bytes += bytes;
	return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	return bytes > VALUES_MAX ? NULL : arena_take(arena, xcalloc(1, bytes + 1), bytes);
}

void arena_free(struct arena *arena)
{
	for (size_t i = 0; i < arena->count; i++)
		free(arena->blocks[i]);
	free(arena->blocks);
	*arena = (struct arena){0};
}

// --- values ---

bool value_true(const struct value *value)
{
	switch (value->kind) {
	case VALUE_BOOL:
		return value->boolean;
	case VALUE_INT:
		return value->number != 0;
	case VALUE_STRING:
		return value->text.len > 0;
	case VALUE_LIST:
	case VALUE_MAP:
		return value->list.count > 0;
	default:
		return value->kind == VALUE_TIME || value->kind == VALUE_ROOT;
	}
}

const char *value_type(const struct value *value)
{
	static const char *const names[] = {[VALUE_NONE] = "untyped nil",
					    [VALUE_NIL] = "untyped nil",
					    [VALUE_BOOL] = "bool",
					    [VALUE_INT] = "int",
					    [VALUE_STRING] = "string",
					    [VALUE_LIST] = "[]string",
					    [VALUE_MAP] = "map[string]string",
					    [VALUE_TIME] = "time.Time",
					    [VALUE_ROOT] = "*logger.Info"};

	return names[value->kind];
}

const struct text *value_get(const struct value *map, struct text name)
{
	for (size_t i = 0; i < map->list.count; i++) {
		const struct text *pair = &map->list.items[2 * i];

		if (pair->len == name.len && memcmp(pair->s, name.s, name.len) == 0)
			return pair + 1;
	}
	return NULL;
}

// --- evaluation ---

// Puts the place in front of what went wrong.
static int fail(struct render *render, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(render->err, EINVAL, "template: log-tag:%u: %s", render->line, text);
}

static int wrap(struct render *render)
{
	error_wrap(render->err, "template: log-tag:%u", render->line);
	return -EINVAL;
}

static int step(struct render *render)
{
	return ++render->steps > STEPS_MAX ? fail(render, "more than %d steps", STEPS_MAX) : 0;
}

// One field of a value, or a method of the root with what it is given.
static int eval_field(struct render *render, const struct value *receiver, const struct node *field,
		      const struct value *args, size_t count, struct value *value)
{
	const struct text *found;
	int len = (int)(field->text.len < 80 ? field->text.len : 80);

	switch (receiver->kind) {
	case VALUE_ROOT:
		return render->root->field(render->root->arg, field->text, args, count, render->arena, value,
					   render->err) < 0
			       ? wrap(render)
			       : 0;
	case VALUE_MAP:
		if (count > 0)
			return fail(render, "%.*s is not a method but has arguments", len, field->text.s);
		found = value_get(receiver, field->text);
		*value = found ? value_text(found->s, found->len) : (struct value){.kind = VALUE_NONE};
		return 0;
	case VALUE_NONE:
		*value = *receiver;
		return 0;
	default:
		return fail(render, "can't evaluate field %.*s in type %s", len, field->text.s, value_type(receiver));
	}
}

// Only the last of several fields is given the arguments.
static int eval_fields(struct render *render, struct value receiver, const struct node *field, const struct value *args,
		       size_t count, struct value *value)
{
	*value = receiver;
	for (; field; field = field->next) {
		receiver = *value;
		if (eval_field(render, &receiver, field, args, field->next ? 0 : count, value) < 0)
			return -EINVAL;
	}
	return 0;
}

static struct slot *find_slot(struct render *render, struct text name)
{
	size_t i = render->slot_count - 1;

	// The parser has seen to it that there is one; the first is "$".
	while (i > 0 &&
	       (render->slots[i].name.len != name.len || memcmp(render->slots[i].name.s, name.s, name.len) != 0))
		i--;
	return &render->slots[i];
}

// An operand, with what it is given if it is the first of a command.
static int eval_operand(struct render *render, const struct node *node, const struct value *dot, struct value *args,
			size_t count, struct value *value)
{
	if (step(render) < 0)
		return -EINVAL;
	if (count > 0 && (node->kind == NODE_DOT || node->kind == NODE_LITERAL || node->kind == NODE_NIL ||
			  (!node->fields && (node->kind == NODE_GROUP || node->kind == NODE_VARIABLE))))
		return fail(render, "can't give argument to non-function");
	switch (node->kind) {
	case NODE_DOT:
		*value = *dot;
		return 0;
	case NODE_NIL:
		*value = (struct value){.kind = VALUE_NIL};
		return 0;
	case NODE_LITERAL:
		*value = node->value;
		return 0;
	case NODE_FIELD:
		return eval_fields(render, *dot, node->fields, args, count, value);
	case NODE_VARIABLE:
		return eval_fields(render, find_slot(render, node->text)->value, node->fields, args, count, value);
	case NODE_FUNCTION:
		return function_call(node->text, args, count, render->arena, value, render->err) < 0 ? wrap(render) : 0;
	default: // NODE_GROUP
		if (eval_pipe(render, node->pipe, dot, value) < 0)
			return -EINVAL;
		return eval_fields(render, *value, node->fields, args, count, value);
	}
}

static bool equals(struct text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.s, word, text.len) == 0;
}

// and, or: what comes behind the answer is not evaluated.
static int eval_logic(struct render *render, const struct node *operand, bool stop, const struct value *dot,
		      const struct value *final, struct value *value)
{
	if (!operand && !final)
		return fail(render, "wrong number of args for %s: want at least 1 got 0", stop ? "or" : "and");
	for (; operand; operand = operand->next) {
		if (eval_operand(render, operand, dot, NULL, 0, value) < 0)
			return -EINVAL;
		if (value_true(value) == stop)
			return 0;
	}
	if (final)
		*value = *final;
	return 0;
}

// final: the value of the command before, NULL for the first.
static int eval_command(struct render *render, const struct node *command, const struct value *dot,
			const struct value *final, struct value *value)
{
	const struct node *first = command->list;
	struct value args[ARGS_MAX];
	size_t count = 0;

	render->line = command->line;
	if (first->kind == NODE_NIL)
		return fail(render, "nil is not a command");
	if (first->kind == NODE_FUNCTION && (equals(first->text, "and") || equals(first->text, "or")))
		return eval_logic(render, first->next, equals(first->text, "or"), dot, final, value);
	for (const struct node *operand = first->next; operand; operand = operand->next) {
		if (count == ARGS_MAX - 1)
			return fail(render, "more than %d arguments", ARGS_MAX - 1);
		if (eval_operand(render, operand, dot, NULL, 0, &args[count++]) < 0)
			return -EINVAL;
	}
	if (final)
		args[count++] = *final;
	return eval_operand(render, first, dot, args, count, value);
}

static int eval_pipe(struct render *render, const struct node *pipe, const struct value *dot, struct value *value)
{
	struct value final;

	*value = (struct value){0};
	for (const struct node *command = pipe->list; command; command = command->next) {
		final = *value;
		if (eval_command(render, command, dot, command == pipe->list ? NULL : &final, value) < 0)
			return -EINVAL;
	}
	if (value->kind == VALUE_NIL)
		value->kind = VALUE_NONE;
	return 0;
}

static int set_variable(struct render *render, struct text name, bool assigns, const struct value *value)
{
	if (assigns) {
		find_slot(render, name)->value = *value;
		return 0;
	}
	if (render->slot_count == SLOTS_MAX)
		return fail(render, "more than %d variables", SLOTS_MAX);
	render->slots[render->slot_count++] = (struct slot){name, *value};
	return 0;
}

// --- lists of nodes ---

static int render_action(struct render *render, const struct node *pipe, const struct value *dot)
{
	struct value value = {0};

	if (eval_pipe(render, pipe, dot, &value) < 0)
		return -EINVAL;
	if (pipe->names)
		return set_variable(render, pipe->names->text, pipe->assigns, &value);
	switch (value_print(&value, &render->out)) {
	case 0:
		return 0;
	case -EMSGSIZE:
		return fail(render, "the result is longer than %d bytes", TEMPLATE_MAX);
	default:
		return fail(render, "can't print %s", value_type(&value));
	}
}

static int render_turn(struct render *render, const struct node *node, const struct value *key,
		       const struct value *element)
{
	const struct node *name = node->pipe->names;
	size_t slots = render->slot_count;
	int r = 0;

	if (step(render) < 0)
		return -EINVAL;
	if (name && name->next)
		r = set_variable(render, name->text, node->pipe->assigns, key);
	if (r == 0 && name)
		r = set_variable(render, (name->next ? name->next : name)->text, node->pipe->assigns, element);
	if (r == 0)
		r = render_list(render, node->list, element);
	render->slot_count = slots;
	return r;
}

static int render_range(struct render *render, const struct node *node, const struct value *dot)
{
	struct value over = {0};
	size_t count;

	if (eval_pipe(render, node->pipe, dot, &over) < 0)
		return -EINVAL;
	if (over.kind != VALUE_LIST && over.kind != VALUE_MAP && over.kind != VALUE_NONE)
		return fail(render, "range can't iterate over %s", value_type(&over));
	count = over.kind == VALUE_NONE ? 0 : over.list.count;
	for (size_t i = 0; i < count; i++) {
		const struct text *items = over.list.items;
		struct value key = value_int((int64_t)i), element;

		if (over.kind == VALUE_MAP) {
			key = value_text(items[2 * i].s, items[2 * i].len);
			element = value_text(items[2 * i + 1].s, items[2 * i + 1].len);
		} else {
			element = value_text(items[i].s, items[i].len);
		}
		if (render_turn(render, node, &key, &element) < 0)
			return -EINVAL;
	}
	return count == 0 ? render_list(render, node->otherwise, dot) : 0;
}

// if and with: a variable that they make lives in both branches.
static int render_branch(struct render *render, const struct node *node, const struct value *dot)
{
	struct value value = {0};

	if (eval_pipe(render, node->pipe, dot, &value) < 0)
		return -EINVAL;
	if (node->pipe->names && set_variable(render, node->pipe->names->text, node->pipe->assigns, &value) < 0)
		return -EINVAL;
	if (!value_true(&value))
		return render_list(render, node->otherwise, dot);
	return render_list(render, node->list, node->kind == NODE_WITH ? &value : dot);
}

static int render_node(struct render *render, const struct node *node, const struct value *dot)
{
	size_t slots = render->slot_count;
	int r;

	render->line = node->line;
	switch (node->kind) {
	case NODE_TEXT:
		r = buf_append(&render->out, node->text.s, node->text.len);
		return r < 0 ? fail(render, "the result is longer than %d bytes", TEMPLATE_MAX) : 0;
	case NODE_ACTION:
		return render_action(render, node->pipe, dot);
	case NODE_RANGE:
		r = render_range(render, node, dot);
		break;
	default:
		r = render_branch(render, node, dot);
		break;
	}
	render->slot_count = slots;
	return r;
}

static int render_list(struct render *render, const struct node *list, const struct value *dot)
{
	for (; list; list = list->next) {
		if (step(render) < 0 || render_node(render, list, dot) < 0)
			return -EINVAL;
	}
	return 0;
}
