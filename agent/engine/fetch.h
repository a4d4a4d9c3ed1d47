// What containers fetch from outside before they can be created: a login from Secrets Manager, the digest of an image,
// the image itself. Containers that want the same at the same time share one fetch (users want one download, not
// forty): it is keyed by what is fetched and by whose login. A container that no longer wants it leaves; when the last
// one leaves, the fetch is cancelled. One that comes after the end starts another.
//
// A fetch does its own retries (docker-mapping.md §3); a container in it stays in flight meanwhile.
#pragma once

#include "engine/engine_internal.h"

struct fetch_result {
	struct docker_error err; // failure DOCKER_OK, or name and message of the error
	const char *digest;      // OP_MANIFEST; NULL: of a kind that has no digest
	const char *login;       // OP_LOGIN: Docker's AuthConfig; secret
};

// The container joins the fetch for its operation (OP_LOGIN, OP_MANIFEST, OP_PULL), or starts it. done runs once, not
// inside the call, unless the container leaves.
void fetch_join(struct container_ref *ref, enum operation operation,
		void (*done)(struct container_ref *ref, const struct fetch_result *result));
// call: container->call of a container that has joined.
void fetch_leave(void *call);

bool fetch_is(enum operation operation); // done by this file
// What the operation of the container is shared by. Caller frees.
char *fetch_key(const struct container_ref *ref, enum operation operation);
bool fetch_runs(const struct engine *engine, const char *key);
// Of the containers that share a fetch one counts against the bound on pulls.
bool fetch_counts(const void *call);

// An error that another attempt would meet again.
bool fetch_is_hopeless(const struct docker_error *err);
