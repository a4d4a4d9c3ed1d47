// The part of Go's text/template that tags of logs are written in (logging.md §2.1, R-2.1): parsed to a tree, rendered
// from strings, lists and maps. Every result is Go's; what is not known here is an error that names it, never another
// text.
//
// Known: text, comments, {{- and -}}, pipelines, parentheses, fields, variables, if, with, range, else, end; literals
// (strings, characters, integers, true, false, nil); the functions of template_functions.c. Not known: define,
// template, block, break, continue, call, floating-point numbers, range over a number, methods of times.
//
// Bounded: template and result 64 KiB each, nesting 50, 100000 steps, 1 MiB of values on the way.
#pragma once

#include "common/error.h"
#include "common/util.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEMPLATE_MAX (64 << 10) // bytes, of the template and of what is made of it

// --- values ---

struct text {
	const char *s; // not terminated
	size_t len;
};
enum value_kind {
	VALUE_NONE, // of a key that a map does not have: prints as "<no value>"
	VALUE_NIL,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_STRING,
	VALUE_LIST, // of strings
	VALUE_MAP,  // of strings by strings
	VALUE_TIME,
	VALUE_ROOT, // what the template is rendered from: known to template_root alone
};
struct value {
	enum value_kind kind;
	union {
		bool boolean;
		int64_t number;
		struct text text; // of strings; of times as RFC 3339
		struct {
			const struct text *items; // maps: name and value in turn, sorted by name
			size_t count;             // maps: of pairs
			bool null;                // Go's nil: JSON shows the difference
		} list;
	};
};
static inline struct value value_text(const char *s, size_t len)
{
	return (struct value){.kind = VALUE_STRING, .text = {s, len}};
}
static inline struct value value_string(const char *s) // NULL is ""
{
	return value_text(s ? s : "", s ? strlen(s) : 0);
}
static inline struct value value_bool(bool b)
{
	return (struct value){.kind = VALUE_BOOL, .boolean = b};
}
static inline struct value value_int(int64_t n)
{
	return (struct value){.kind = VALUE_INT, .number = n};
}
bool value_true(const struct value *value);                              // as `if` takes it
const char *value_type(const struct value *value);                       // for error texts, in Go's words
const struct text *value_get(const struct value *map, struct text name); // NULL: not there

// --- memory for values, freed as a whole ---

struct arena {
	void **blocks;
	size_t count, bytes;
};
void *arena_take(struct arena *arena, void *block,
		 size_t bytes);                       // takes ownership of what malloc gave; NULL: above the bound
void *arena_alloc(struct arena *arena, size_t bytes); // zeroed; NULL: above the bound
void arena_free(struct arena *arena);

// --- rendering ---

// The value that the template is rendered from.
struct template_root {
	// Field or method of it. args: count of what is given to a method, and that. 0, or a negative errno: no such
	// field, wrong arguments. The value lives in the arena or as long as the root.
	int (*field)(void *arg, struct text name, const struct value *args, size_t count, struct arena *arena,
		     struct value *value, struct error *err);
	void *arg;
};
// Caller frees *result. 0, or -EINVAL with a text like Go's: "template: log-tag:1: function "x" not defined".
int template_render(const char *template, const struct template_root *root, char **result, struct error *err);

// --- between the files of the template ---

// Text as Go's fmt prints it with %v. 0, or -EMSGSIZE above the bound, -EINVAL for what has no text here.
int value_print(const struct value *value, struct buf *out);
// As encoding/json writes it, without HTML escapes.
int value_json(const struct value *value, struct buf *out);
// fmt.Sprint: all values, with a blank between two that are no strings.
int value_print_all(const struct value *values, size_t count, struct buf *out);
int value_printf(const struct value *args, size_t count, struct buf *out, struct error *err); // args[0]: the format

bool function_known(struct text name);
int function_call(struct text name, struct value *args, size_t count, struct arena *arena, struct value *result,
		  struct error *err);

enum node_kind {
	// of a list
	NODE_TEXT,
	NODE_ACTION, // pipe
	NODE_IF,     // pipe, list, otherwise
	NODE_WITH,
	NODE_RANGE,
	// operands
	NODE_DOT,
	NODE_NIL,
	NODE_LITERAL,  // value
	NODE_FIELD,    // fields
	NODE_VARIABLE, // text, fields
	NODE_FUNCTION, // text
	NODE_GROUP,    // pipe, fields: what stands in parentheses
	// their parts
	NODE_COMMAND, // list: operands
	NODE_PIPE,    // list: commands; names
	NODE_NAME,    // text: one field or variable's name
};
struct node {
	enum node_kind kind;
	unsigned line;
	struct text text;
	struct value value;
	struct node *pipe, *list, *otherwise, *fields, *names;
	bool assigns; // a pipe: $x = ..., not $x := ...
	struct node *next;
};
// NULL with the error. Nodes are in the arena and point into the template, which outlives them.
int template_parse(const char *template, struct arena *arena, struct node **list, struct error *err);
