// ECS_ENGINE_AUTH_DATA: the first line is the type, the second an image reference, the rest the logins.
#include "docker/engine_auth.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *image = strchr(text, '\n');
	char *logins = image ? strchr(image + 1, '\n') : NULL;
	if (!logins)
		return 0;
	*image++ = '\0';
	*logins++ = '\0';
	struct engine_auth *auth = engine_auth_new(text, logins);
	CHECK(auth);
	json_object *found = engine_auth_for(auth, image);
	CHECK(!found || json_object_is_type(found, json_type_object));
	json_object_put(found);
	engine_auth_free(auth);
	return 0;
}
