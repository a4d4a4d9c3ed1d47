// A registry login kept in AWS Secrets Manager: GetSecretValue with a task's execution role (task-engine.md §15.3).
#pragma once

#include "common/aws/credentials.h"
#include "common/http.h"
#include "common/loop.h"

struct secret_login;

struct secret_login_ask {
	struct loop *loop;
	struct http_client *http;
	const char *region, *secret; // secret: ARN or name
	const char *user_agent;
	bool insecure; // -k
	struct aws_credentials credentials;
};
// The callback runs once, never inside the call; on failure username is NULL and why is the task's reason. All borrowed.
struct secret_login *secret_login_get(const struct secret_login_ask *ask,
				      void (*done)(const char *username, const char *password, const char *why,
						   void *arg),
				      void *arg);
void secret_login_cancel(struct secret_login *login); // NULL is fine
