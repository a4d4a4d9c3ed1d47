// Images and volumes.
#include "docker/docker_internal.h"
#include <regex.h>
#include <errno.h>

// Deadlines of whole calls (docker-mapping.md §2). The reference puts none on inspecting an image; here a
// daemon that never answers must not hold a container for ever.
#define IMAGE_INSPECT_TIMEOUT_MS (10 * 60 * 1000)
#define IMAGE_LIST_TIMEOUT_MS (10 * 60 * 1000)
#define IMAGE_REMOVE_TIMEOUT_MS (3 * 60 * 1000)
#define VOLUME_REMOVE_TIMEOUT_MS (5 * 60 * 1000)

#define REFERENCE_MAX 4096 // characters of an image reference
#define DIGESTS_MAX 4096   // of an image; it has one for each repository it was pulled from
#define ENV_MAX 65536      // variables of an image

static const struct docker_operation op_image_inspect = {"CannotPullImageManifestError", "inspecting image"};
static const struct docker_operation op_image_list = {"CannotListImagesError", "listing"};
static const struct docker_operation op_image_remove = {"CannotRemoveImageError", "removing image"};
static const struct docker_operation op_volume_remove = {"CannotRemoveVolumeError", "removing volume"};

static void finish_image_inspect(struct docker_call *call, const struct docker_error *err, json_object *body);
static void finish_image_list(struct docker_call *call, const struct docker_error *err, json_object *body);

struct docker_call *docker_image_inspect(struct docker *docker, const char *reference,
					 void (*done)(const struct docker_error *err, const struct docker_image *image,
						      void *arg),
					 void *arg)
{
	_cleanup_free_ char *encoded = url_encode(reference, true);
	_cleanup_free_ char *path = xasprintf("/images/%s/json", encoded);
	return docker_call_new(docker, &(struct docker_request){.operation = &op_image_inspect,
								.method = "GET",
								.path = path,
								.timeout_ms = IMAGE_INSPECT_TIMEOUT_MS,
								.max_body = DOCKER_INSPECT_MAX,
								.wants_json = true,
								.finish = finish_image_inspect,
								.done.image = done,
								.arg = arg});
}

struct docker_call *docker_image_list(struct docker *docker,
				      void (*done)(const struct docker_error *err, json_object *list, void *arg),
				      void *arg)
{
	return docker_call_new(docker, &(struct docker_request){.operation = &op_image_list,
								.method = "GET",
								.path = "/images/json",
								.timeout_ms = IMAGE_LIST_TIMEOUT_MS,
								.max_body = DOCKER_LIST_MAX,
								.wants_json = true,
								.finish = finish_image_list,
								.done.json = done,
								.arg = arg});
}

struct docker_call *docker_image_remove(struct docker *docker, const char *reference,
					void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	_cleanup_free_ char *encoded = url_encode(reference, true);
	_cleanup_free_ char *path = xasprintf("/images/%s?noprune=1", encoded);
	return docker_call_new(docker, &(struct docker_request){.operation = &op_image_remove,
								.method = "DELETE",
								.path = path,
								.timeout_ms = IMAGE_REMOVE_TIMEOUT_MS,
								.finish = docker_finish_plain,
								.done.plain = done,
								.arg = arg});
}

struct docker_call *docker_volume_remove(struct docker *docker, const char *name,
					 void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	_cleanup_free_ char *encoded = url_encode(name, false);
	_cleanup_free_ char *path = xasprintf("/volumes/%s", encoded);
	return docker_call_new(docker, &(struct docker_request){.operation = &op_volume_remove,
								.method = "DELETE",
								.path = path,
								.timeout_ms = VOLUME_REMOVE_TIMEOUT_MS,
								.finish = docker_finish_plain,
								.done.plain = done,
								.arg = arg});
}

// --- answers ---

// Borrowed strings of a list; the caller frees the array alone.
static struct json_strings strings_of(json_object *object, const char *name, size_t max)
{
	struct json_strings out = {0};
	json_object *list = object ? json_get(object, name) : NULL;
	size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	out.items = xcalloc(count ? count : 1, sizeof(*out.items));
	for (size_t i = 0; i < count && out.count < max; i++) {
		json_object *item = json_object_array_get_idx(list, i);
		if (json_object_is_type(item, json_type_string))
			out.items[out.count++] = (char *)json_object_get_string(item);
	}
	return out;
}

static void finish_image_inspect(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_error bad;
	const char *id = body ? json_get_string(body, "Id") : NULL;
	if (err->failure == DOCKER_OK && str_empty(id)) {
		bad = (struct docker_error){.failure = DOCKER_UNKNOWN, .name = call->operation->error_name};
		docker_error_text(&bad, "cannot read the answer of the Docker daemon: no image ID");
		err = &bad;
	}
	if (err->failure != DOCKER_OK) {
		call->done.image(err, NULL, call->arg);
		return;
	}
	_cleanup_free_ char *copy = xstrdup(id);
	struct docker_image image = {
		.id = copy,
		.repo_digests = strings_of(body, "RepoDigests", DIGESTS_MAX),
		.env = strings_of(json_get(body, "Config"), "Env", ENV_MAX),
		.size = json_object_get_int64(json_get(body, "Size")),
	};
	call->done.image(err, &image, call->arg);
	free(image.repo_digests.items);
	free(image.env.items);
}

static void finish_image_list(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_error bad;
	if (err->failure == DOCKER_OK && !json_object_is_type(body, json_type_array)) {
		bad = (struct docker_error){.failure = DOCKER_UNKNOWN, .name = call->operation->error_name};
		docker_error_text(&bad, "cannot read the answer of the Docker daemon: no list");
		err = &bad;
	}
	call->done.json(err, err->failure == DOCKER_OK ? body : NULL, call->arg);
}

// --- references ---

// The grammar of Docker's image references (distribution/reference), as one POSIX expression.
#define NAME_PART "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*"
#define DOMAIN_PART "([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
#define DOMAIN "(" DOMAIN_PART "(\\." DOMAIN_PART ")*|\\[[a-fA-F0-9:]+\\])(:[0-9]+)?"
#define TAG "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
#define DIGEST "[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
#define REFERENCE "^(" DOMAIN "/)?" NAME_PART "(/" NAME_PART ")*(:" TAG ")?(@" DIGEST ")?$"

static bool matches(const char *text, const char *expression)
{
	regex_t regex;
	if (regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	bool match = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return match;
}

// Path of the repository without its registry, as Docker writes it in errors.
static char *remote_name(const char *repository)
{
	const char *slash = strchr(repository, '/');
	size_t first = slash ? (size_t)(slash - repository) : 0;
	bool upper = false;
	for (size_t i = 0; i < first; i++)
		upper = upper || (repository[i] >= 'A' && repository[i] <= 'Z');
	bool domain = slash && (memchr(repository, '.', first) || memchr(repository, ':', first) || upper ||
				(first == strlen("localhost") && str_starts(repository, "localhost/")));
	if (domain)
		return xstrdup(slash + 1);
	return xasprintf("%s%s", slash ? "" : "library/", repository);
}

int docker_reference_parse(const char *text, struct docker_reference *reference, struct error *err)
{
	*reference = (struct docker_reference){0};
	if (strlen(text) > REFERENCE_MAX)
		return error_set(err, EINVAL, "invalid reference format");
	const char *at = strchr(text, '@');
	_cleanup_free_ char *name = xstrndup(text, at ? (size_t)(at - text) : strlen(text));
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');
	if (matches(text, "^[a-f0-9]{64}$"))
		return error_set(err, EINVAL,
				 "invalid repository name (%s), cannot specify 64-byte hexadecimal strings", text);
	if (colon)
		*colon = '\0';
	_cleanup_free_ char *remote = remote_name(name);
	for (const char *c = remote; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			return error_set(err, EINVAL,
					 "invalid reference format: repository name (%s) must be lowercase", remote);
	if (!matches(text, REFERENCE))
		return error_set(err, EINVAL, "invalid reference format");
	reference->tag = xstrdup(at ? at + 1 : colon ? colon + 1 : "latest");
	reference->repository = TAKE(name);
	return 0;
}

void docker_reference_done(struct docker_reference *reference)
{
	free(reference->repository);
	free(reference->tag);
	*reference = (struct docker_reference){0};
}
