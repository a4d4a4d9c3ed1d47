#include "docker/engine_auth.h"

#include "common/log.h"
#include "common/util.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>

#define LOGINS_MAX 1024 // registries in the configuration
#define TOKEN_MAX 65536 // characters of one "auth" value
#define HUB "docker.io"
#define HUB_KEY "index.docker.io/v1/"

struct login {
	char *registry;    // without scheme
	json_object *auth; // Docker's AuthConfig
};

struct engine_auth {
	struct login *logins;
	size_t count;
};

static void read_docker(struct engine_auth *auth, const char *registry, json_object *entry);
static void read_dockercfg(struct engine_auth *auth, const char *registry, json_object *entry);
static void add(struct engine_auth *auth, const char *registry, json_object *config);

static void warn(const char *variable, const char *format, const char *what)
{
	_cleanup_free_ char *text = xasprintf(format, what);
	log_warn("configuration", "variable=%s warning=%s", variable, text);
}

struct engine_auth *engine_auth_new(const char *type, const char *data)
{
	struct engine_auth *auth = xcalloc(1, sizeof(*auth));
	bool docker = str_equal(type, "docker");
	if (str_empty(type))
		return auth;
	if (!docker && !str_equal(type, "dockercfg")) {
		warn("ECS_ENGINE_AUTH_TYPE", "Unknown auth configuration: %s", type);
		return auth;
	}
	_cleanup_json_ json_object *map = data ? json_parse(data, strlen(data), NULL) : NULL;
	if (!json_object_is_type(map, json_type_object)) { // what the parser has to say might show some of it
		warn("ECS_ENGINE_AUTH_DATA", "Could not parse '%s' type auth config", type);
		return auth;
	}
	json_object_object_foreach(map, registry, entry)
	{
		const char *name = str_starts(registry, "https://")  ? registry + strlen("https://")
				   : str_starts(registry, "http://") ? registry + strlen("http://")
								     : registry;
		if (!json_object_is_type(entry, json_type_object) || auth->count >= LOGINS_MAX)
			warn("ECS_ENGINE_AUTH_DATA", "the entry of %s is left out: it is not usable", name);
		else if (docker)
			read_docker(auth, name, entry);
		else
			read_dockercfg(auth, name, entry);
	}
	return auth;
}

struct engine_auth *engine_auth_free(struct engine_auth *auth)
{
	if (!auth)
		return NULL;
	for (size_t i = 0; i < auth->count; i++) {
		free(auth->logins[i].registry);
		json_object_put(auth->logins[i].auth);
	}
	free(auth->logins);
	free(auth);
	return NULL;
}

// --- reading ---

static void read_docker(struct engine_auth *auth, const char *registry, json_object *entry)
{
	static const char *const members[] = {"username",      "password",      "auth",         "email",
					      "serveraddress", "identitytoken", "registrytoken"};
	json_object *config = json_object_new_object();
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		json_add_string(config, members[i], json_get_string(entry, members[i]));
	add(auth, registry, config);
}

// {"auth": base64 of "user:password"}
static void read_dockercfg(struct engine_auth *auth, const char *registry, json_object *entry)
{
	const char *token = json_get_string(entry, "auth");
	size_t len = token ? strlen(token) : 0;
	char *plain = len > 0 && len <= TOKEN_MAX && len % 4 == 0 ? xcalloc(1, len + 1) : NULL;
	int n = plain ? EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)token, (int)len) : -1;
	char *colon = n > 0 ? strchr(plain, ':') : NULL;
	if (colon) {
		*colon = '\0';
		json_object *config = json_object_new_object();
		json_add_string(config, "username", plain);
		json_add_string(config, "password", colon + 1);
		add(auth, registry, config);
		*colon = ':';
	} else {
		warn("ECS_ENGINE_AUTH_DATA", "the entry of %s is left out: no base64 of user:password", registry);
	}
	if (plain) {
		OPENSSL_cleanse(plain, len + 1);
		free(plain);
	}
}

static void add(struct engine_auth *auth, const char *registry, json_object *config)
{
	auth->logins = xreallocarray(auth->logins, auth->count + 1, sizeof(*auth->logins));
	auth->logins[auth->count++] = (struct login){xstrdup(registry), config};
}

// --- matching ---

// Length of the registry's host in front of an image's name; 0: none is named, so it is Docker Hub.
static size_t host_length(const char *image)
{
	size_t len = strcspn(image, "/");
	if (!image[len])
		return 0;
	bool host = memchr(image, '.', len) || memchr(image, ':', len) ||
		    (len == strlen("localhost") && str_starts(image, "localhost"));
	return host ? len : 0;
}

static bool is_host(const char *text, size_t len, const char *host)
{
	return strlen(host) == len && strncmp(text, host, len) == 0;
}

static bool on_hub(const char *image)
{
	size_t len = host_length(image);
	return len == 0 || is_host(image, len, HUB) || is_host(image, len, "index." HUB) ||
	       is_host(image, len, "registry-1." HUB);
}

json_object *engine_auth_for(const struct engine_auth *auth, const char *image)
{
	bool hub = on_hub(image);
	size_t host = host_length(image), longest = 0;
	json_object *found = NULL;
	for (size_t i = 0; i < auth->count; i++) {
		const char *registry = auth->logins[i].registry;
		size_t len = strlen(registry);
		if (hub ? !str_equal(registry, HUB_KEY)
			: strcspn(registry, "/") != host || !str_starts(image, registry) || len <= longest)
			continue;
		longest = len;
		found = auth->logins[i].auth;
	}
	return json_object_get(found);
}
