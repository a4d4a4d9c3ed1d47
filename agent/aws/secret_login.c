#include "aws/secret_login.h"

#include "common/aws/aws_json.h"
#include "common/json.h"
#include "common/util.h"

#define CALL_TIMEOUT_MS 5000 // of an attempt

struct secret_login {
	struct loop *loop;
	struct aws_client *client;
	struct credentials_chain *credentials;
	char *secret, *why; // why: nothing could be sent
	void (*done)(const char *username, const char *password, const char *why, void *arg);
	void *arg;
};

static void on_refused(void *arg);
static void on_answer(const struct aws_response *response, void *arg);

static const char *environment(const char *name)
{
	return getenv(name);
}

struct secret_login *secret_login_get(const struct secret_login_ask *ask,
				      void (*done)(const char *username, const char *password, const char *why,
						   void *arg),
				      void *arg)
{
	struct secret_login *login = xcalloc(1, sizeof(*login));
	struct error err = {0};
	*login = (struct secret_login){.loop = ask->loop, .secret = xstrdup(ask->secret), .done = done, .arg = arg};
	_cleanup_free_ char *endpoint = aws_service_endpoint(AWS_SECRETS_MANAGER, ask->region, NULL, environment, &err);
	if (!endpoint) {
		login->why = xasprintf("unable to create ASM client: %s", err.message);
		loop_defer(ask->loop, on_refused, login);
		return login;
	}
	login->credentials = credentials_chain_fixed(&ask->credentials);
	login->client = aws_client_new(&(struct aws_client_options){.loop = ask->loop,
								    .http = ask->http,
								    .credentials = login->credentials,
								    .region = ask->region,
								    .endpoint = endpoint,
								    .service = "secretsmanager",
								    .target_prefix = "secretsmanager",
								    .user_agent = ask->user_agent,
								    .insecure = ask->insecure,
								    .timeout_ms = CALL_TIMEOUT_MS});
	_cleanup_json_ json_object *body = json_object_new_object();
	json_add_string(body, "SecretId", ask->secret);
	aws_client_call(login->client, "GetSecretValue", body, AWS_RETRY_STANDARD, on_answer, login);
	return login;
}

void secret_login_cancel(struct secret_login *login)
{
	if (!login)
		return;
	loop_defer_cancel(login->loop, on_refused, login);
	aws_client_free(login->client);
	credentials_chain_free(login->credentials);
	free(login->secret);
	free(login->why);
	free(login);
}

static void finish(struct secret_login *login, const char *username, const char *password, const char *why)
{
	login->done(username, password, why, login->arg);
	secret_login_cancel(login);
}

static void on_refused(void *arg)
{
	struct secret_login *login = arg;
	finish(login, NULL, NULL, login->why);
}

// The secret is JSON with username and password, their names in any case.
static void read_secret(struct secret_login *login, const char *text)
{
	if (str_empty(text)) {
		finish(login, NULL, NULL, "asm fetching authorization data: empty secrets value");
		return;
	}
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), NULL);
	json_object *user = json_object_is_type(object, json_type_object) ? json_get(object, "username") : NULL;
	json_object *pass = json_object_is_type(object, json_type_object) ? json_get(object, "password") : NULL;
	bool good = json_object_is_type(object, json_type_object) &&
		    (!user || json_object_is_type(user, json_type_string)) &&
		    (!pass || json_object_is_type(pass, json_type_string));
	const char *username = user ? json_object_get_string(user) : NULL;
	const char *password = pass ? json_object_get_string(pass) : NULL;
	if (!good)
		finish(login, NULL, NULL,
		       "asm fetching authorization data: unable to unmarshal secret value, invalid schema");
	else if (str_empty(username))
		finish(login, NULL, NULL, "asm fetching username: AuthorizationData is malformed, empty field");
	else if (str_empty(password))
		finish(login, NULL, NULL, "asm fetching password: AuthorizationData is malformed, empty field");
	else
		finish(login, username, password, NULL);
}

static void on_answer(const struct aws_response *response, void *arg)
{
	static const char *const modelled[] = {"ResourceNotFoundException", "InvalidParameterException",
					       "InvalidRequestException",   "DecryptionFailure",
					       "InternalServiceError",      NULL};
	struct secret_login *login = arg;
	if (response->body) {
		read_secret(login, json_get_string(response->body, "SecretString"));
		return;
	}
	_cleanup_free_ char *error = aws_sdk_error("Secrets Manager", "GetSecretValue", response, modelled);
	_cleanup_free_ char *why = xasprintf("asm fetching secret from the service for %s: %s", login->secret, error);
	finish(login, NULL, NULL, why);
}
