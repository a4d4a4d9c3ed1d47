// The progress of a pull, cut anywhere, and the text of its failure. Input: a byte that chooses the cuts, then
// the stream.
#include "agent/docker/pull.c"
#include "fuzz.h"

static struct docker_error result;
static unsigned lines;

static void on_line(const char *status, void *arg)
{
	(void)arg;
	CHECK(is_utf8(status));
	lines++;
}

static void on_end(const struct docker_error *err, void *arg)
{
	(void)arg;
	result = *err;
}

static int pull(struct docker *docker, const char *data, size_t size, struct cutter *cutter)
{
	struct docker_call call = {.docker = docker, .operation = &op_pull, .done.plain = on_end};
	int r = 0;
	call.pull = xcalloc(1, sizeof(*call.pull));
	*call.pull = (struct docker_pull){.call = &call, .image = xstrdup("busybox:test"), .progress = on_line};
	timer_init(&call.pull->silence, docker_options_of(docker)->loop, on_silence, call.pull);
	for (size_t at = 0; at < size && r == 0;) {
		size_t n = cutter ? cut(cutter, size - at) : size;
		_cleanup_free_ char *piece = fuzz_bytes((const uint8_t *)data + at, n);
		r = on_pull_data(piece, n, &call);
		at += n;
	}
	CHECK((r != 0) == (call.pull->state != PULL_GOING));
	finish_pull(&call, &(struct docker_error){.failure = r ? DOCKER_UNKNOWN : DOCKER_OK}, NULL);
	docker_pull_free(call.pull);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct docker *docker;
	if (size < 1)
		return 0;
	if (!docker)
		docker = docker_new(&(struct docker_options){
			.loop = loop_new(1, NULL), .endpoint = "unix:///nowhere", .pull_inactivity_ms = 60000});
	struct cutter cutter = {data[0]};
	int r = pull(docker, (const char *)data + 1, size - 1, NULL);
	struct docker_error whole = result;
	CHECK(pull(docker, (const char *)data + 1, size - 1, &cutter) == r);
	CHECK(whole.failure == result.failure && strcmp(whole.message, result.message) == 0);
	CHECK(whole.failure != DOCKER_OK || r == 0); // at the end of the stream there is one failure more: half a line
	if (whole.failure != DOCKER_OK)
		check_reason(whole.message);
	return 0;
}
