#include "table.h"
#include "common/util.h"

static size_t hash(const char *key);
static void grow(struct table *table);

void *table_get(const struct table *table, const char *key)
{
	if (table->count == 0)
		return NULL;
	struct table_node *node = table->slots[hash(key) & (table->slot_count - 1)];
	while (node && strcmp(node->key, key) != 0)
		node = node->next;
	return node;
}

void table_put(struct table *table, void *value)
{
	struct table_node *node = value;
	if (table->count >= table->slot_count)
		grow(table);
	struct table_node **slot = &table->slots[hash(node->key) & (table->slot_count - 1)];
	node->next = *slot;
	*slot = node;
	table->count++;
}

void *table_take(struct table *table, const char *key)
{
	if (table->count == 0)
		return NULL;
	struct table_node **link = &table->slots[hash(key) & (table->slot_count - 1)];
	while (*link && strcmp((*link)->key, key) != 0)
		link = &(*link)->next;
	struct table_node *node = *link;
	if (node) {
		*link = node->next;
		table->count--;
	}
	return node;
}

void table_sweep(struct table *table, int (*visit)(void *node, void *arg), void *arg)
{
	for (size_t i = 0; i < table->slot_count; i++) {
		struct table_node **link = &table->slots[i];
		while (*link) {
			struct table_node *node = *link, *next = node->next;
			if (visit(node, arg)) {
				*link = next;
				table->count--;
			} else {
				link = &node->next;
			}
		}
	}
}

void table_free(struct table *table)
{
	free(table->slots);
	*table = (struct table){0};
}

static size_t hash(const char *key) // FNV-1a
{
	uint64_t h = 0xcbf29ce484222325;
	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 0x100000001b3;
	return (size_t)(h ^ (h >> 32));
}

static void grow(struct table *table)
{
	size_t count = table->slot_count ? table->slot_count * 2 : 64;
	struct table_node **slots = xcalloc(count, sizeof(struct table_node *));
	for (size_t i = 0; i < table->slot_count; i++)
		for (struct table_node *node = table->slots[i], *next; node; node = next) {
			next = node->next;
			struct table_node **slot = &slots[hash(node->key) & (count - 1)];
			node->next = *slot;
			*slot = node;
		}
	free(table->slots);
	table->slots = slots;
	table->slot_count = count;
}
