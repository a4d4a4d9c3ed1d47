#include "task_store.h"
#include "common/util.h"

struct task {
	struct task *next;
	char *arn, *json;
	char **docker_ids;
	size_t docker_id_count;
	unsigned generation;
};

struct task_store {
	struct task *first; // a host runs a few hundred tasks at most: a list will do
	struct buf list;    // made on request, empty after a change
	unsigned generation;
};

static struct task **find(struct task_store *store, const char *arn);
static void drop(struct task_store *store, struct task **link);

struct task_store *task_store_new(void)
{
	return xcalloc(1, sizeof(struct task_store));
}

struct task_store *task_store_free(struct task_store *store)
{
	if (!store)
		return NULL;
	while (store->first)
		drop(store, &store->first);
	buf_free(&store->list);
	free(store);
	return NULL;
}

void task_store_put(struct task_store *store, const char *arn, const char *json, const char *const *docker_ids,
		    size_t docker_id_count)
{
	struct task **link = find(store, arn);
	if (*link)
		drop(store, link); // the new one takes its place: the order of the list stays
	struct task *task = xcalloc(1, sizeof(*task));
	task->arn = xstrdup(arn);
	task->json = xstrdup(json);
	task->docker_ids = docker_id_count ? xcalloc(docker_id_count, sizeof(char *)) : NULL;
	for (size_t i = 0; i < docker_id_count; i++)
		task->docker_ids[i] = xstrdup(docker_ids[i]);
	task->docker_id_count = docker_id_count;
	task->generation = store->generation;
	task->next = *link;
	*link = task;
	buf_clear(&store->list);
}

void task_store_remove(struct task_store *store, const char *arn)
{
	struct task **link = find(store, arn);
	if (*link)
		drop(store, link);
}

void task_store_refill_begin(struct task_store *store)
{
	store->generation++;
}

void task_store_refill_end(struct task_store *store)
{
	for (struct task **link = &store->first; *link;)
		if ((*link)->generation != store->generation)
			drop(store, link);
		else
			link = &(*link)->next;
}

const char *task_store_by_arn(const struct task_store *store, const char *arn)
{
	for (const struct task *t = store->first; t; t = t->next)
		if (strcmp(t->arn, arn) == 0)
			return t->json;
	return NULL;
}

const char *task_store_by_docker_id(const struct task_store *store, const char *id)
{
	for (const struct task *t = store->first; t; t = t->next)
		for (size_t i = 0; i < t->docker_id_count; i++)
			if (strcmp(t->docker_ids[i], id) == 0)
				return t->json;
	return NULL;
}

const char *task_store_by_prefix(const struct task_store *store, const char *prefix, size_t *matches)
{
	const char *json = NULL;
	*matches = 0;
	for (const struct task *t = store->first; t; t = t->next)
		for (size_t i = 0; i < t->docker_id_count; i++)
			if (str_starts(t->docker_ids[i], prefix)) {
				++*matches;
				json = t->json;
			}
	return *matches == 1 ? json : NULL;
}

const char *task_store_list(struct task_store *store, size_t *len)
{
	struct buf *b = &store->list;
	if (b->len == 0) {
		buf_append(b, "{\"Tasks\":[", 10);
		for (const struct task *t = store->first; t; t = t->next) {
			buf_append(b, t->json, strlen(t->json));
			if (t->next)
				buf_append(b, ",", 1);
		}
		buf_append(b, "]}", 2);
	}
	*len = b->len;
	return b->data;
}

static struct task **find(struct task_store *store, const char *arn)
{
	struct task **link = &store->first;
	while (*link && strcmp((*link)->arn, arn) != 0)
		link = &(*link)->next;
	return link;
}

static void drop(struct task_store *store, struct task **link)
{
	struct task *task = *link;
	*link = task->next;
	for (size_t i = 0; i < task->docker_id_count; i++)
		free(task->docker_ids[i]);
	free(task->docker_ids);
	free(task->arn);
	free(task->json);
	free(task);
	buf_clear(&store->list);
}
