// Registry logins of the configuration: ECS_ENGINE_AUTH_TYPE and ECS_ENGINE_AUTH_DATA (docker-mapping.md §22).
// Everything here is secret: it is neither logged nor written anywhere.
#pragma once

#include "common/json.h"

struct engine_auth;

// type: "dockercfg" or "docker"; "" or NULL: none. What cannot be used is warned about in the page's words and left out.
// Never NULL.
struct engine_auth *engine_auth_new(const char *type, const char *data);
struct engine_auth *engine_auth_free(struct engine_auth *auth); // wipes; returns NULL; NULL is fine
// Docker's AuthConfig for an image reference: a new reference, or NULL if there is none.
json_object *engine_auth_for(const struct engine_auth *auth, const char *image);
