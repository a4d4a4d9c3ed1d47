#include "engine/registry.h"

#include "aws/ecr.h"
#include "aws/secret_login.h"
#include "common/util.h"
#include "docker/engine_auth.h"
#include <openssl/sha.h>

struct registry {
	struct registry_options options;
	char *region, *user_agent;
	struct engine_auth *configured;
	struct ecr *ecr;
};

struct registry_call {
	struct registry *registry;
	registry_done done;
	void *arg;
	struct ecr_call *ecr;
	struct secret_login *secret;
	// what is known at once, given in the loop's next turn
	json_object *login;
	const char *error_name;
	char *text;
};

static void on_ready(void *arg);

struct registry *registry_new(const struct registry_options *options)
{
	struct registry *registry = xcalloc(1, sizeof(*registry));
	registry->options = *options;
	registry->region = xstrdup(options->region ? options->region : "");
	registry->user_agent = xstrdup(options->user_agent ? options->user_agent : "");
	registry->configured = engine_auth_new(options->auth_type, options->auth_data);
	registry->ecr = ecr_new(&(struct ecr_options){.loop = options->loop,
						      .http = options->http,
						      .credentials = options->credentials,
						      .user_agent = registry->user_agent,
						      .insecure = options->insecure});
	return registry;
}

struct registry *registry_free(struct registry *registry)
{
	if (!registry)
		return NULL;
	ecr_free(registry->ecr);
	engine_auth_free(registry->configured);
	free(registry->region);
	free(registry->user_agent);
	free(registry);
	return NULL;
}

// --- who asks with what ---

static const struct task_credentials *role_of(const struct registry *registry, const struct task *task)
{
	if (str_empty(task->execution_credentials_id) || !registry->options.role)
		return NULL;
	return registry->options.role(task->execution_credentials_id, registry->options.arg);
}

bool registry_role_known(const struct registry *registry, const struct task *task)
{
	return registry && role_of(registry, task);
}

static struct aws_credentials keys_of(const struct task_credentials *role)
{
	return (struct aws_credentials){.access_key_id = role->access_key_id,
					.secret_access_key = role->secret_access_key,
					.session_token = str_empty(role->session_token) ? NULL : role->session_token};
}

// Tasks of the same role may do the same at a registry, so they share tokens and downloads.
static const char *role_name(const struct task *task, const struct task_credentials *role)
{
	return str_empty(role->role_arn) ? task->execution_credentials_id : role->role_arn;
}

static const char *region_of(const struct registry *registry, const struct registry_auth *auth)
{
	return str_empty(auth->region) ? registry->region : auth->region;
}

static struct ecr_ask ecr_ask(const struct registry *registry, const struct task *task, const struct container *c,
			      const struct task_credentials *role, struct aws_credentials *keys)
{
	struct ecr_ask ask = {.region = region_of(registry, &c->registry_auth),
			      .registry_id = c->registry_auth.registry_id,
			      .endpoint = c->registry_auth.endpoint_override,
			      .image = c->image};
	if (role) {
		*keys = keys_of(role);
		ask.role = role_name(task, role);
		ask.credentials = keys;
	}
	return ask;
}

char *registry_identity(const struct registry *registry, const struct task *task, const struct container *c)
{
	const struct registry_auth *auth = &c->registry_auth;
	const struct task_credentials *role;
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct buf hex = {0};
	if (!registry)
		return xstrdup("engine");
	switch (auth->type) {
	case REGISTRY_ECR:
		role = auth->use_execution_role ? role_of(registry, task) : NULL;
		return xasprintf("ecr\n%s\n%s\n%s\n%s",
				 !auth->use_execution_role ? ""
				 : role                    ? role_name(task, role)
							   : task->arn,
				 region_of(registry, auth), auth->registry_id ? auth->registry_id : "",
				 auth->endpoint_override ? auth->endpoint_override : "");
	case REGISTRY_ASM:
		if (!c->registry_login) // to be read: one secret for all containers of the task that name it
			return xasprintf("asm\n%s\n%s\n%s", task->arn, region_of(registry, auth),
					 auth->secret ? auth->secret : "");
		SHA256((const unsigned char *)c->registry_login, strlen(c->registry_login), digest);
		for (size_t i = 0; i < sizeof(digest); i++)
			buf_printf(&hex, "%02x", digest[i]);
		return buf_take(&hex);
	default:
		return xstrdup("engine");
	}
}

// --- calls ---

static struct registry_call *call_new(struct registry *registry, registry_done done, void *arg)
{
	struct registry_call *call = xcalloc(1, sizeof(*call));
	*call = (struct registry_call){.registry = registry, .done = done, .arg = arg};
	return call;
}

void registry_cancel(struct registry_call *call)
{
	if (!call)
		return;
	loop_defer_cancel(call->registry->options.loop, on_ready, call);
	ecr_cancel(call->ecr);
	secret_login_cancel(call->secret);
	json_object_put(call->login);
	free(call->text);
	free(call);
}

static void on_ready(void *arg)
{
	struct registry_call *call = arg;
	call->done(call->login, call->error_name, call->text, call->arg);
	registry_cancel(call);
}

static struct registry_call *ready(struct registry_call *call, json_object *login, const char *error_name,
				   const char *text)
{
	call->login = login;
	call->error_name = error_name;
	call->text = xstrdup(text);
	loop_defer(call->registry->options.loop, on_ready, call);
	return call;
}

static void on_ecr(const struct ecr_login *token, const char *why, void *arg)
{
	struct registry_call *call = arg;
	call->ecr = NULL;
	if (token) {
		call->login = json_object_new_object();
		json_add_string(call->login, "username", token->username);
		json_add_string(call->login, "password", token->password);
		json_add_string(call->login, "serveraddress", token->server);
	} else {
		call->error_name = "CannotPullECRContainerError";
		call->text = xstrdup(why);
	}
	on_ready(call);
}

static struct registry_call *login_ecr(struct registry_call *call, const struct task *task, const struct container *c)
{
	static const char name[] = "CannotPullECRContainerError";
	struct registry *registry = call->registry;
	const struct task_credentials *role = NULL;
	struct aws_credentials keys;
	if (c->registry_auth.missing)
		return ready(call, NULL, name, "dockerauth: missing container's ecr auth data");
	if (c->registry_auth.use_execution_role) {
		role = role_of(registry, task);
		if (!role)
			return ready(call, NULL, name, "engine ecr credentials: not found");
		if (str_empty(role->access_key_id) || str_empty(role->secret_access_key))
			return ready(call, NULL, name,
				     "container uses execution credentials, but the credentials are empty");
	}
	struct ecr_ask ask = ecr_ask(registry, task, c, role, &keys);
	call->ecr = ecr_get(registry->ecr, &ask, on_ecr, call);
	return call;
}

struct registry_call *registry_login(struct registry *registry, const struct task *task, const struct container *c,
				     registry_done done, void *arg)
{
	struct registry_call *call = call_new(registry, done, arg);
	switch (c->registry_auth.type) {
	case REGISTRY_ECR:
		return login_ecr(call, task, c);
	case REGISTRY_ASM:
		if (!c->registry_login)
			return ready(call, NULL, "CannotPullContainerAuthError",
				     "engine docker private registry credentials: not found");
		return ready(call, json_parse(c->registry_login, strlen(c->registry_login), NULL), NULL, NULL);
	default:
		return ready(call, engine_auth_for(registry->configured, c->image), NULL, NULL);
	}
}

bool registry_forget(struct registry *registry, const struct task *task, const struct container *c)
{
	const struct task_credentials *role = c->registry_auth.use_execution_role ? role_of(registry, task) : NULL;
	struct aws_credentials keys;
	if (c->registry_auth.type != REGISTRY_ECR || (c->registry_auth.use_execution_role && !role))
		return false;
	struct ecr_ask ask = ecr_ask(registry, task, c, role, &keys);
	ecr_forget(registry->ecr, &ask);
	return true;
}

// --- Secrets Manager ---

static void on_secret(const char *username, const char *password, const char *why, void *arg)
{
	struct registry_call *call = arg;
	call->secret = NULL;
	if (username) {
		call->login = json_object_new_object();
		json_add_string(call->login, "username", username);
		json_add_string(call->login, "password", password);
	} else {
		call->error_name = "ResourceInitializationError";
		call->text = xstrdup(why);
	}
	on_ready(call);
}

struct registry_call *registry_read_secret(struct registry *registry, const struct task *task,
					   const struct container *c, registry_done done, void *arg)
{
	struct registry_call *call = call_new(registry, done, arg);
	const struct task_credentials *role = role_of(registry, task);
	if (!role)
		return ready(call, NULL, "ResourceInitializationError",
			     "asm resource: unable to find execution role credentials");
	call->secret = secret_login_get(
		&(struct secret_login_ask){.loop = registry->options.loop,
					   .http = registry->options.http,
					   .region = region_of(registry, &c->registry_auth),
					   .secret = c->registry_auth.secret ? c->registry_auth.secret : "",
					   .user_agent = registry->user_agent,
					   .insecure = registry->options.insecure,
					   .credentials = keys_of(role)},
		on_secret, call);
	return call;
}
