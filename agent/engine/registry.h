// Logins of registries for the containers of tasks (docker-mapping.md §22): from the configuration, from ECR with the
// agent's own or the task's execution role, or from Secrets Manager. Logins are secret: in memory only, never logged.
#pragma once

#include "common/aws/credentials.h"
#include "common/http.h"
#include "common/loop.h"
#include "endpoint/endpoint.h"
#include "engine/task.h"

struct registry;
struct registry_call;

struct registry_options {
	struct loop *loop;
	struct http_client *http;
	struct credentials_chain *credentials; // the agent's own
	const char *region;                    // copied; for payloads that name none
	const char *user_agent;                // copied
	bool insecure;                         // -k
	const char *auth_type, *auth_data;     // ECS_ENGINE_AUTH_*
	// Credentials of an execution role by their id, NULL while they are not known. Borrowed.
	const struct task_credentials *(*role)(const char *id, void *arg);
	void *arg;
};
struct registry *registry_new(const struct registry_options *options);
struct registry *registry_free(struct registry *registry); // cancels calls; returns NULL; NULL is fine

// Whether the credentials that the task's execution role gives are here.
bool registry_role_known(const struct registry *registry, const struct task *task);
// Containers with equal identities and equal references may share a download. It names the login, it does not hold it.
char *registry_identity(const struct registry *registry, const struct task *task, const struct container *container);

// login: Docker's AuthConfig, NULL for none. On failure error_name is not NULL, and text is what users see. All borrowed.
typedef void (*registry_done)(json_object *login, const char *error_name, const char *text, void *arg);
// The login to give to Docker for the container's image. The callback runs once, never inside the call.
struct registry_call *registry_login(struct registry *registry, const struct task *task,
				     const struct container *container, registry_done done, void *arg);
// Reads the secret of a container of type asm; text is then the task's reason. The answer goes to
// container->registry_login as text.
struct registry_call *registry_read_secret(struct registry *registry, const struct task *task,
					   const struct container *container, registry_done done, void *arg);
void registry_cancel(struct registry_call *call); // NULL is fine
// The registry refused the login: one from a cache is not used again. Whether there was one.
bool registry_forget(struct registry *registry, const struct task *task, const struct container *container);
