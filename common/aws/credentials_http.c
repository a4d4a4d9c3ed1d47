// Credentials that a local server gives, as the ECS agent gives a task's (logging.md §4.11).
#include "common/aws/credentials_provider.h"
#include "common/json.h"
#include "common/util.h"
#include <errno.h>

#define ANSWER_MAX 65536
#define TIMEOUT_MS 5000

static int parse(const struct http_response *response, struct aws_credentials *credentials, struct error *err)
{
	_cleanup_json_ json_object *object = json_parse(response->body, response->body_len, err);

	if (response->status != 200) {
		const char *code = json_get_string(object, "code"), *message = json_get_string(object, "message");
		return error_set(err, EACCES, "HTTP %ld%s%s%s%s", response->status, code ? ", " : "", code ? code : "",
				 message ? ": " : "", message ? message : "");
	}
	if (!object)
		return error_wrap(err, "credentials");
	const char *key = json_get_string(object, "AccessKeyId"), *secret = json_get_string(object, "SecretAccessKey");
	const char *token = json_get_string(object, "Token"), *expiration = json_get_string(object, "Expiration");
	int64_t expires = 0;
	if (str_empty(key) || str_empty(secret))
		return error_set(err, EPROTO, "credentials without AccessKeyId or SecretAccessKey");
	if (!str_empty(expiration) && !parse_rfc3339(expiration, &expires))
		return error_set(err, EPROTO, "credentials without a proper Expiration");
	*credentials = (struct aws_credentials){.access_key_id = xstrdup(key),
						.secret_access_key = xstrdup(secret),
						.session_token = str_empty(token) ? NULL : xstrdup(token),
						.expires_wall_ms = expires};
	return 0;
}

static void on_answer(const struct http_response *response, void *arg)
{
	struct credentials_fetch *fetch = arg;
	struct aws_credentials credentials;
	struct error problem;

	fetch->call = NULL;
	if (response->result < 0)
		fetch->done(fetch, NULL, &response->error);
	else if (parse(response, &credentials, &problem) < 0)
		fetch->done(fetch, NULL, &problem);
	else
		fetch->done(fetch, &credentials, NULL);
}

static void start(struct credentials_fetch *fetch)
{
	struct http_request request = {.method = "GET",
				       .url = fetch->url,
				       .connect_timeout_ms = TIMEOUT_MS,
				       .timeout_ms = TIMEOUT_MS,
				       .max_body = ANSWER_MAX,
				       .no_proxy = true};

	fetch->call = http_send(fetch->http, &request, on_answer, fetch);
}

static void cancel(struct credentials_fetch *fetch)
{
	http_cancel(fetch->call);
	fetch->call = NULL;
}

const struct credentials_provider credentials_provider_http = {
	.name = "credentials endpoint", .start = start, .cancel = cancel};
