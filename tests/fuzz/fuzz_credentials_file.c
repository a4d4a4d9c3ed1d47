// The shared credentials file.
#include "common/aws/credentials_file.c"
#include "fuzz.h"

static void check_value(const char *value)
{
	CHECK(!value || *value);
	CHECK(!value || !strpbrk(value, "\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const profiles[] = {"default", "other profile", ""};
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		_cleanup_free_ char *text = fuzz_text(data, size);
		struct aws_credentials credentials = {0};
		bool seen = parse(text, profiles[i], &credentials);
		check_value(credentials.access_key_id);
		check_value(credentials.secret_access_key);
		check_value(credentials.session_token);
		CHECK(seen || !credentials.access_key_id);
		aws_credentials_free(&credentials);
	}
	return 0;
}
