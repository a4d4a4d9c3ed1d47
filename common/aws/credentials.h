// The credentials ecsd itself signs with (control-plane.md §6): a chain of providers made of one
// interface: environment, shared file, IMDS role. The first that has a key and a secret wins; its answer
// is cached until shortly before expiry, or for a minute if it comes from a file that others keep up to date. Task
// credentials are another matter (endpoint/).
#pragma once

#include "common/error.h"
#include "common/http.h"
#include "common/loop.h"
#include <stdint.h>

struct aws_credentials {
	char *access_key_id, *secret_access_key, *session_token; // session_token NULL when there is none
	int64_t expires_wall_ms;                                 // 0: never
};
void aws_credentials_free(struct aws_credentials *credentials); // wipes the secret; frees members only

struct imds;
struct credentials_chain;

// imds may be NULL (never asked). Borrows loop and imds.
struct credentials_chain *credentials_chain_new(struct loop *loop, struct imds *imds);
// Where the SSM agent keeps the credentials of an external instance up to date (ECS Anywhere). ecs-init shows the official
// agent that directory as /rotatingcreds.
#define CREDENTIALS_ROTATING_FILE "/root/.aws/credentials"
#define CREDENTIALS_ROTATING_PROFILE "default"
// Of an external instance: environment, the file that the SSM agent writes, the shared file if AWS_SHARED_CREDENTIALS_FILE
// names one; never IMDS. Files are read again every minute. When one cannot be read, or has no credentials, those of
// before are given until the service has refused them. file, profile: copied; NULL or "": the two above.
struct credentials_chain *credentials_chain_external(struct loop *loop, const char *file, const char *profile);
// Asks one URL for them, as containers get theirs: a document with AccessKeyId, SecretAccessKey, Token and Expiration (absent:
// they never expire), logging.md §4.11. Borrows http; url is copied. Never through a proxy.
struct credentials_chain *credentials_chain_http(struct http_client *http, const char *url);
// Gives these credentials (copied) and never asks anybody: those of a task's execution role.
struct credentials_chain *credentials_chain_fixed(const struct aws_credentials *credentials);
struct credentials_chain *credentials_chain_free(struct credentials_chain *chain);
// Gives credentials that are fresh now: from the cache at once (the callback runs inside the call), or after
// asking the providers. On failure credentials is NULL and err says what each provider answered. Borrowed during
// the callback. If a refresh fails while old credentials have not expired, the old ones are given.
void credentials_chain_get(struct credentials_chain *chain,
			   void (*done)(const struct aws_credentials *credentials, const struct error *err, void *arg),
			   void *arg);
void credentials_chain_cancel(struct credentials_chain *chain, void *arg); // no callback with this arg follows
void credentials_chain_invalidate(struct credentials_chain *chain);        // next get asks the providers again
