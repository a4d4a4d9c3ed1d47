// Hash table from text keys to values that the caller owns. Keys are put in only by ecsd, so the hash
// needs no secret; look-ups with any bytes are fine.
#pragma once

#include <stddef.h>

struct table_node {
	struct table_node *next;
	const char *key;
}; // first member of a value; key owned by the value
struct table {
	struct table_node **slots;
	size_t slot_count, count;
};

void *table_get(const struct table *table, const char *key);
void table_put(struct table *table, void *node);        // its key must not be in the table yet
void *table_take(struct table *table, const char *key); // out of the table; NULL: not there
// Calls visit for each value; those for which it returns true are taken out (and are the callback's).
void table_sweep(struct table *table, int (*visit)(void *node, void *arg), void *arg);
void table_free(struct table *table); // the slots, not the values
