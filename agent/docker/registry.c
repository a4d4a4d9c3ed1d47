// What the daemon asks of registries on our behalf, besides pulls; and names of images.
#include "docker/docker_internal.h"
#include <openssl/evp.h>

#define TAG_TIMEOUT_MS 30000 // docker-mapping.md §2

static const struct docker_operation op_manifest = {"CannotPullImageManifestError", "MANIFEST_PULLED"};
static const struct docker_operation op_tag = {"CannotPullContainerError", "pulled"};

static void finish_manifest(struct docker_call *call, const struct docker_error *err, json_object *body);

char *docker_registry_auth(json_object *auth)
{
	const char *text = auth ? json_text(auth) : "{}";
	size_t len = strlen(text);
	char *out = xmalloc(len / 3 * 4 + 5);
	EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);
	for (char *c = out; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	return out;
}

void docker_registry_answer(struct docker_error *err)
{
	if (err->failure == DOCKER_UNKNOWN && err->status == 503 && !strstr(err->message, "shutting down"))
		err->failure = DOCKER_REFUSED;
}

// The reference goes to the daemon as it is: what is wrong with it is said in the daemon's words.
struct docker_call *docker_manifest(struct docker *docker, const char *reference, json_object *auth,
				    void (*done)(const struct docker_error *err, const struct docker_manifest *manifest,
						 void *arg),
				    void *arg)
{
	_cleanup_free_ char *encoded = url_encode(reference, true);
	_cleanup_free_ char *path = xasprintf("/distribution/%s/json", encoded);
	struct docker_request request = {.operation = &op_manifest,
					 .method = "GET",
					 .path = path,
					 .timeout_ms = docker_options_of(docker)->manifest_timeout_ms,
					 .wants_json = true,
					 .finish = finish_manifest,
					 .done.manifest = done,
					 .arg = arg};
	if (str_empty(reference))
		return docker_call_refused(docker, &request, "invalid reference format");
	char *secret = docker_registry_auth(auth);
	request.header = (struct http_header){"X-Registry-Auth", secret};
	struct docker_call *call = docker_call_new(docker, &request);
	secret_free(secret);
	return call;
}

static void finish_manifest(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_error out = *err;
	json_object *descriptor = body ? json_get(body, "Descriptor") : NULL;
	const char *digest = descriptor ? json_get_string(descriptor, "digest") : NULL;
	const char *media_type = descriptor ? json_get_string(descriptor, "mediaType") : NULL;
	docker_registry_answer(&out);
	if (out.failure == DOCKER_OK && str_empty(digest)) {
		out.failure = DOCKER_REFUSED;
		out.name = op_manifest.error_name;
		docker_error_text(&out, "cannot read the answer of the Docker daemon: no digest");
	}
	if (out.failure != DOCKER_OK) {
		call->done.manifest(&out, NULL, call->arg);
		return;
	}
	struct docker_manifest manifest = {.digest = digest, .media_type = media_type ? media_type : ""};
	call->done.manifest(&out, &manifest, call->arg);
}

struct docker_call *docker_image_tag(struct docker *docker, const char *source, const char *target,
				     void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	struct docker_reference parsed;
	struct error why = {0};
	struct docker_request request = {.operation = &op_tag,
					 .method = "POST",
					 .timeout_ms = TAG_TIMEOUT_MS,
					 .finish = docker_finish_plain,
					 .done.plain = done,
					 .arg = arg};
	if (docker_reference_parse(target, &parsed, &why) < 0)
		return docker_call_refused(docker, &request, why.message);
	_cleanup_free_ char *encoded = url_encode(source, true);
	_cleanup_free_ char *repository = url_encode(parsed.repository, false);
	_cleanup_free_ char *tag = url_encode(parsed.tag, false);
	_cleanup_free_ char *path = xasprintf("/images/%s/tag?repo=%s&tag=%s", encoded, repository, tag);
	docker_reference_done(&parsed);
	request.path = path;
	return docker_call_new(docker, &request);
}

char *docker_canonical(const char *reference, const char *digest, struct error *err)
{
	struct docker_reference parsed;
	if (docker_reference_parse(reference, &parsed, err) < 0)
		return NULL;
	_cleanup_free_ char *canonical = xasprintf("%s@%s", parsed.repository, digest);
	docker_reference_done(&parsed);
	if (docker_reference_parse(canonical, &parsed, err) < 0) // the digest came from outside
		return NULL;
	docker_reference_done(&parsed);
	return TAKE(canonical);
}
