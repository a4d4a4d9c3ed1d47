// What instance metadata says about the role: its name, and its credentials document.
#include "common/aws/credentials_imds.c"
#include "fuzz.h"

static char *asked_path;

// In place of imds.c: no call is made.
void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg)
{
	(void)imds, (void)done, (void)arg;
	str_replace(&asked_path, path);
}
void imds_cancel(struct imds *imds, void *arg)
{
	(void)imds, (void)arg;
}

static void on_done(struct credentials_fetch *fetch, struct aws_credentials *credentials, const struct error *err)
{
	(void)fetch;
	CHECK((credentials == NULL) == (err != NULL));
	if (!credentials) {
		check_reason(err->message);
		return;
	}
	CHECK(!str_empty(credentials->access_key_id) && !str_empty(credentials->secret_access_key));
	CHECK(!credentials->session_token || *credentials->session_token);
	aws_credentials_free(credentials);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct credentials_fetch fetch = {.done = on_done};
	_cleanup_free_ char *body = fuzz_text(data, size);
	CHECK(credentials_provider_imds.start);
	on_credentials(body, 200, NULL, &fetch);
	on_roles(body, 200, NULL, &fetch);
	if (asked_path) {
		CHECK(str_starts(asked_path, ROLE_PATH) && !strpbrk(asked_path + strlen(ROLE_PATH), "/ ?#%\r\n"));
		str_replace(&asked_path, NULL);
	}
	return 0;
}
