// Logins of Amazon ECR registries: GetAuthorizationToken with a cache (docker-mapping.md §22). Tokens are secret; they
// are held in memory only.
#pragma once

#include "common/aws/credentials.h"
#include "common/http.h"
#include "common/loop.h"

#define ECR_CACHE_MAX 100 // tokens kept, the least recently used goes first

struct ecr;
struct ecr_call;

struct ecr_options {
	struct loop *loop;
	struct http_client *http;
	struct credentials_chain *credentials; // the agent's own
	const char *user_agent;                // copied
	bool insecure;                         // -k
};
struct ecr *ecr_new(const struct ecr_options *options);
struct ecr *ecr_free(struct ecr *ecr); // cancels calls; returns NULL

struct ecr_ask {
	const char *region, *registry_id, *endpoint; // endpoint: override, NULL: the region's
	const char *image;                           // for error texts
	const char *role;                          // what the token may be shared by; NULL: the agent's own credentials
	const struct aws_credentials *credentials; // of that role
};
struct ecr_login {
	const char *username, *password, *server;
};
// From the cache, or from the service. Asks for the same token at the same time are one request. The callback runs
// once, never inside the call; on failure login is NULL and why is the text users see. Both borrowed.
struct ecr_call *ecr_get(struct ecr *ecr, const struct ecr_ask *ask,
			 void (*done)(const struct ecr_login *login, const char *why, void *arg), void *arg);
void ecr_cancel(struct ecr_call *call); // NULL is fine
// The registry did not take the token: the next ask goes to the service.
void ecr_forget(struct ecr *ecr, const struct ecr_ask *ask);
