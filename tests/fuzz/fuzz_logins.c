// Answers of ECR and of Secrets Manager to the question for a registry login, and what is said when there is none. Input: a
// script of answers (fuzz_http.h); its first byte chooses the service.
#include "agent/aws/ecr.c"
#include "aws/secret_login.h"
#include "fuzz_http.h"

#define SECRET "role-secret-not-to-be-told"

static unsigned answered;
static bool said_itself; // the service has said the secret

static void check_why(const char *why)
{
	CHECK(!str_empty(why) && (said_itself || !strstr(why, SECRET)));
	answered++;
}

static void on_ecr(const struct ecr_login *login, const char *why, void *arg)
{
	(void)arg;
	CHECK((login != NULL) == (why == NULL));
	if (!login)
		check_why(why);
	else
		CHECK(login->username && login->password && login->server && ++answered);
}

static void on_secret(const char *username, const char *password, const char *why, void *arg)
{
	(void)arg;
	CHECK((username != NULL) == (why == NULL) && (username != NULL) == (password != NULL));
	if (!username)
		check_why(why);
	else
		CHECK(*username && *password && ++answered);
}

static void wait_for(struct loop *loop, unsigned count)
{
	while (answered < count)
		CHECK(fuzz_turn(loop));
	CHECK(answered == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop();
	static const struct aws_credentials credentials = {.access_key_id = (char *)"AKIA",
							   .secret_access_key = (char *)SECRET};
	if (size < 1)
		return 0;
	_cleanup_free_ char *script = fuzz_text(data + 1, size - 1);
	fuzz_http_start(loop, script);
	answered = 0;
	said_itself = strstr(script, SECRET);
	if (data[0] & 1) {
		secret_login_get(&(struct secret_login_ask){.loop = loop,
							    .http = NULL,
							    .credentials = credentials,
							    .region = "us-west-2",
							    .user_agent = "agent",
							    .secret = "arn:secret"},
				 on_secret, NULL);
		wait_for(loop, 1);
		return 0;
	}
	struct ecr *ecr = ecr_new(&(struct ecr_options){.loop = loop, .user_agent = "agent"});
	struct ecr_ask ask = {.role = "role", .credentials = &credentials, .region = "us-west-2", .image = "image"};
	ecr_get(ecr, &ask, on_ecr, NULL);
	ecr_get(ecr, &ask, on_ecr, NULL); // shares the question
	wait_for(loop, 2);
	ecr_get(ecr, &ask, on_ecr, NULL); // from the cache, or asks anew
	wait_for(loop, 3);
	ecr_forget(ecr, &ask);
	CHECK(!ecr->tokens);
	ecr_free(ecr);
	return 0;
}
