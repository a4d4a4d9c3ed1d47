// The task objects of /v1/tasks as JSON texts made by ecsd, by ARN and by Docker id (introspection.md §5).
#pragma once

#include <stddef.h>

struct task_store;
struct task_store *task_store_new(void);
struct task_store *task_store_free(struct task_store *store);

void task_store_put(struct task_store *store, const char *arn, const char *json, const char *const *docker_ids,
		    size_t docker_id_count); // inserts, or replaces as a whole
void task_store_remove(struct task_store *store, const char *arn);
// A refill: what was put before begin and not again since is dropped at the end.
void task_store_refill_begin(struct task_store *store);
void task_store_refill_end(struct task_store *store);

// JSON text or NULL. By prefix, *matches is the number of containers that match; the text is only given for one.
const char *task_store_by_arn(const struct task_store *store, const char *arn);
const char *task_store_by_docker_id(const struct task_store *store, const char *id);
const char *task_store_by_prefix(const struct task_store *store, const char *prefix, size_t *matches);
// Body of the list form; valid until the store changes.
const char *task_store_list(struct task_store *store, size_t *len);
