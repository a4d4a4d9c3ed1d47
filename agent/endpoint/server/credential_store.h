// The credentials that are served, by id, in memory only; wiped when they go. An id that is known to be
// alive but has none yet is "pending" (answered 503, an unknown one 400: credentials-endpoint.md §4).
#pragma once

#include <stdbool.h>
#include <stddef.h>

// The texts of a PUT message.
struct credential_texts {
	const char *id, *task_arn, *role, *role_arn, *access_key_id, *secret_access_key, *session_token, *expiration;
};

struct credential {
	struct credential_texts texts; // id, task_arn and role only while pending
	bool pending, execution_role;
	char *body; // the answer to a request for it; NULL while pending
	size_t body_len;
};

struct credential_store;
struct credential_store *credential_store_new(void);
struct credential_store *credential_store_free(struct credential_store *store);

const struct credential *credential_get(const struct credential_store *store, const char *id); // NULL: unknown
void credential_put(struct credential_store *store, const struct credential_texts *texts);     // inserts or replaces
void credential_remove(struct credential_store *store, const char *id);

// A refill by a newly connected ecsd: begin, then expect and put for all that is alive, then end, which drops
// everything else. Without an end nothing is dropped.
void credential_refill_begin(struct credential_store *store);
void credential_expect(struct credential_store *store, const char *id, const char *task_arn, const char *role);
size_t credential_refill_end(struct credential_store *store); // number of ids dropped
// Held credentials that were expected, not put, since the last begin.
void credential_each_returned(const struct credential_store *store, void (*visit)(const struct credential *, void *arg),
			      void *arg);
size_t credential_count(const struct credential_store *store);
