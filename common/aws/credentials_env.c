#include "common/aws/credentials_provider.h"
#include "common/util.h"
#include <errno.h>

// The second names are accepted by the reference's SDK as well (configuration.md §4).
static const char *first_of(const char *name, const char *other)
{
	const char *value = getenv(name);

	return str_empty(value) ? getenv(other) : value;
}

static void start(struct credentials_fetch *fetch)
{
	const char *key = first_of("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY");
	const char *secret = first_of("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY");
	const char *token = getenv("AWS_SESSION_TOKEN");

	if (str_empty(key) || str_empty(secret)) {
		struct error err;
		error_set(&err, ENOENT, "%s is not set",
			  str_empty(key) ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
		fetch->done(fetch, NULL, &err);
		return;
	}
	struct aws_credentials credentials = {.access_key_id = xstrdup(key),
					      .secret_access_key = xstrdup(secret),
					      .session_token = str_empty(token) ? NULL : xstrdup(token)};
	fetch->done(fetch, &credentials, NULL);
}

const struct credentials_provider credentials_provider_env = {.name = "environment", .start = start};
