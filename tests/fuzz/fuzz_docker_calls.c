// Answers of the Docker daemon to each kind of call, as HTTP answers with status and headers: what the caller is told is
// whole, and "unknown" is never told as "done". Input: a byte that chooses the cuts of streams, a string of letters for the
// calls up to a newline, then a script of answers (fuzz_http.h).
#include "docker/docker.h"
#include "fuzz_http.h"

static struct docker *docker;
static unsigned under_way;
static struct docker_error last;

static void note(const struct docker_error *err)
{
	CHECK(under_way-- > 0);
	CHECK(err->failure != DOCKER_OK || !*err->message);
	CHECK(err->failure == DOCKER_OK || err->failure == DOCKER_NOT_MODIFIED || *err->message);
	CHECK(!err->timeout || err->failure == DOCKER_UNKNOWN);
	CHECK(strlen(err->message) < sizeof(err->message) && err->name);
	CHECK(err->status == 0 || (err->status >= 200 && err->status < 600));
	last = *err;
}
static void on_plain(const struct docker_error *err, void *arg)
{
	(void)arg;
	note(err);
}
static void on_connect(const struct docker_error *err, void *arg)
{
	(void)arg;
	note(err);
	CHECK(err->failure != DOCKER_OK || (docker_speaks(docker, DOCKER_API_VERSION_MIN) &&
					    (!docker_speaks(docker, "1.48") || *docker_api_version(docker) == '\0')));
}
static void on_info(const struct docker_error *err, const struct docker_info *info, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == (info != NULL));
	if (info)
		CHECK(info->root && info->cgroup_driver && info->cgroup_version);
}
static void on_create(const struct docker_error *err, const char *id, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == !str_empty(id));
}
static void on_inspect(const struct docker_error *err, const struct docker_container *container, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == (container != NULL));
}
static void on_list(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == (list != NULL) && (list || count == 0));
}
static void on_image(const struct docker_error *err, const struct docker_image *image, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == (image != NULL));
}
static void on_json(const struct docker_error *err, json_object *list, void *arg)
{
	(void)arg;
	note(err);
	CHECK(err->failure != DOCKER_OK || json_object_is_type(list, json_type_array));
}
static void on_manifest(const struct docker_error *err, const struct docker_manifest *manifest, void *arg)
{
	(void)arg;
	note(err);
	CHECK((err->failure == DOCKER_OK) == (manifest != NULL));
	if (!manifest)
		return;
	CHECK(!str_empty(manifest->digest));
	struct error why = {0};
	_cleanup_free_ char *canonical = docker_canonical("busybox:1", manifest->digest, &why);
	CHECK(canonical ? strchr(canonical, '@') != NULL : why.code != 0);
}
static void on_progress(const char *status, void *arg)
{
	(void)arg;
	CHECK(is_utf8(status));
}

static void call(char letter)
{
	static const char id[] = "dead/../be ef?", image[] = "registry.example:5000/a/b:tag";
	_cleanup_json_ json_object *body = json_object_new_object();
	under_way++;
	switch (letter) {
	case 'v':
		docker_connect(docker, on_connect, NULL);
		break;
	case 'g':
		docker_ping(docker, 1000, on_plain, NULL);
		break;
	case 'i':
		docker_info(docker, on_info, NULL);
		break;
	case 'c':
		docker_create(docker, "name", body, on_create, NULL);
		break;
	case 's':
		docker_start(docker, id, on_plain, NULL);
		break;
	case 'k':
		docker_stop(docker, id, 30, on_plain, NULL);
		break;
	case 'n':
		docker_inspect(docker, id, on_inspect, NULL);
		break;
	case 'r':
		docker_remove(docker, id, on_plain, NULL);
		break;
	case 'l':
		docker_list(docker, "label", on_list, NULL);
		break;
	case 'I':
		docker_image_inspect(docker, image, on_image, NULL);
		break;
	case 'L':
		docker_image_list(docker, on_json, NULL);
		break;
	case 'R':
		docker_image_remove(docker, image, on_plain, NULL);
		break;
	case 'p':
		docker_pull(docker, image, NULL, on_progress, on_plain, NULL);
		break;
	case 'm':
		docker_manifest(docker, image, NULL, on_manifest, NULL);
		break;
	case 't':
		docker_image_tag(docker, "source", image, on_plain, NULL);
		break;
	case 'V':
		docker_volume_remove(docker, "volume", on_plain, NULL);
		break;
	case 'x': // cancelled at once
		docker_call_cancel(docker_list(docker, NULL, on_list, NULL));
		under_way--;
		break;
	default:
		under_way--;
	}
}

// No answer of the daemon can end a request line early.
static void on_request(const struct http_request *request)
{
	CHECK(str_starts(request->url, "http://api.moby.localhost/") && !strpbrk(request->url, " \r\n\t"));
	for (const char *c = request->url; *c; c++)
		CHECK(*c > ' ' && *c <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop();
	if (size < 1)
		return 0;
	_cleanup_free_ char *text = fuzz_text(data + 1, size - 1);
	char *script = text;
	const char *letters = strsep(&script, "\n");
	fuzz_http_start(loop, script);
	fuzz_http.cutter = (struct cutter){data[0]};
	fuzz_http.on_request = on_request;
	docker = docker_new(&(struct docker_options){
		.loop = loop, .endpoint = "unix:///nowhere", .pull_timeout_ms = 1000, .pull_inactivity_ms = 60000});
	under_way = 0;
	for (size_t i = 0; letters[i] && i < 32; i++) {
		call(letters[i]);
		while (under_way)
			CHECK(fuzz_turn(loop));
	}
	docker_free(docker);
	CHECK(!fuzz_http.calls);
	return 0;
}
