// The role of the instance's profile, from instance metadata (control-plane.md §6).
#include "common/aws/credentials_provider.h"
#include "common/aws/imds.h"
#include "common/json.h"
#include "common/util.h"
#include <ctype.h>
#include <errno.h>

#define ROLE_PATH "meta-data/iam/security-credentials/"
#define ROLE_MAX 128 // IAM allows 64

static void fail(struct credentials_fetch *fetch, int code, const char *text)
{
	struct error err;

	error_set(&err, code, "%s", text);
	fetch->done(fetch, NULL, &err);
}

static int parse(const char *body, struct aws_credentials *credentials, struct error *err)
{
	_cleanup_json_ json_object *object = json_parse(body, strlen(body), err);

	if (!object)
		return error_wrap(err, "role credentials");
	const char *code = json_get_string(object, "Code"), *message = json_get_string(object, "Message");
	if (!str_equal(code, "Success"))
		return error_set(err, EACCES, "instance metadata has no role credentials: %s%s%s",
				 code ? code : "no Code", message ? ": " : "", message ? message : "");
	const char *key = json_get_string(object, "AccessKeyId"), *secret = json_get_string(object, "SecretAccessKey");
	const char *token = json_get_string(object, "Token"), *expiration = json_get_string(object, "Expiration");
	int64_t expires;
	if (str_empty(key) || str_empty(secret))
		return error_set(err, EPROTO, "role credentials without AccessKeyId or SecretAccessKey");
	if (str_empty(expiration) || !parse_rfc3339(expiration, &expires))
		return error_set(err, EPROTO, "role credentials without a proper Expiration");
	*credentials = (struct aws_credentials){.access_key_id = xstrdup(key),
						.secret_access_key = xstrdup(secret),
						.session_token = str_empty(token) ? NULL : xstrdup(token),
						.expires_wall_ms = expires};
	return 0;
}

static void on_credentials(const char *body, long status, const struct error *err, void *arg)
{
	struct credentials_fetch *fetch = arg;
	struct aws_credentials credentials;
	struct error problem;

	(void)status;
	if (!body)
		fetch->done(fetch, NULL, err);
	else if (parse(body, &credentials, &problem) < 0)
		fetch->done(fetch, NULL, &problem);
	else
		fetch->done(fetch, &credentials, NULL);
}

// The first line names the role.
static void on_roles(const char *body, long status, const struct error *err, void *arg)
{
	struct credentials_fetch *fetch = arg;
	char role[ROLE_MAX + 1];

	if (status == 404) {
		fail(fetch, ENOENT, "the instance has no role");
		return;
	}
	if (!body) {
		fetch->done(fetch, NULL, err);
		return;
	}
	size_t len = strcspn(body, "\r\n");
	bool good = len > 0 && len <= ROLE_MAX;
	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)body[i]) || strchr("+=,.@_-", body[i]);
	if (!good) {
		fail(fetch, EPROTO, "the role's name in instance metadata is empty or malformed");
		return;
	}
	snprintf(role, sizeof(role), "%.*s", (int)len, body);
	_cleanup_free_ char *path = xasprintf(ROLE_PATH "%s", role);
	imds_get(fetch->imds, path, on_credentials, fetch);
}

static void start(struct credentials_fetch *fetch)
{
	if (fetch->imds)
		imds_get(fetch->imds, ROLE_PATH, on_roles, fetch);
	else
		fail(fetch, ENOTSUP, "instance metadata is not used");
}

static void cancel(struct credentials_fetch *fetch)
{
	if (fetch->imds)
		imds_cancel(fetch->imds, fetch);
}

const struct credentials_provider credentials_provider_imds = {
	.name = "instance role", .start = start, .cancel = cancel};
