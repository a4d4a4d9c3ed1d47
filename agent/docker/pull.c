// Image pull: progress stream, time limits and the texts of failures.
#include "docker/docker_internal.h"
#include <errno.h>
#include <regex.h>

#define PULL_BEGIN_TIMEOUT_MS (5 * 60 * 1000) // until the first progress line (docker-mapping.md §2)
#define PROGRESS_INTERVAL_MS 1000             // between two lines given to the caller

static const struct docker_operation op_pull = {"CannotPullContainerError", "pulled"};

struct docker_pull {
	struct docker_call *call;
	char *image;
	struct docker_stream stream;
	struct timer silence; // runs out when no progress comes for too long
	bool begun;           // a progress line has come
	enum { PULL_GOING, PULL_FAILED, PULL_NOT_BEGUN, PULL_SILENT, PULL_GARBLED } state;
	struct docker_error failure; // PULL_FAILED: what the stream said
	uint64_t last_progress;      // loop time of the last line given to the caller
	void (*progress)(const char *status, void *arg);
};

static void finish_pull(struct docker_call *call, const struct docker_error *err, json_object *body);
static int on_pull_data(const char *data, size_t len, void *arg);
static void on_silence(void *arg);

struct docker_call *docker_pull(struct docker *docker, const char *reference, json_object *auth,
				void (*progress)(const char *status, void *arg),
				void (*done)(const struct docker_error *err, void *arg), void *arg)
{
	const struct docker_options *options = docker_options_of(docker);
	struct docker_reference parsed;
	struct error why = {0};
	struct docker_request request = {
		.operation = &op_pull,
		.method = "POST",
		.timeout_ms = options->pull_timeout_ms,
		.on_data = on_pull_data,
		.finish = docker_finish_plain,
		.done.plain = done,
		.arg = arg,
	};
	if (docker_reference_parse(reference, &parsed, &why) < 0)
		return docker_call_refused(docker, &request, why.message);
	_cleanup_free_ char *repository = url_encode(parsed.repository, false);
	_cleanup_free_ char *tag = url_encode(parsed.tag, false);
	_cleanup_free_ char *path = xasprintf("/images/create?fromImage=%s&tag=%s", repository, tag);
	docker_reference_done(&parsed);
	char *secret = docker_registry_auth(auth);
	request.path = path;
	request.header = (struct http_header){"X-Registry-Auth", secret};
	request.finish = finish_pull;
	struct docker_call *call = docker_call_new(docker, &request);
	secret_free(secret);

	struct docker_pull *pull = xcalloc(1, sizeof(*pull));
	pull->call = call;
	pull->image = xstrdup(reference);
	pull->progress = progress;
	timer_init(&pull->silence, options->loop, on_silence, pull);
	timer_start(&pull->silence, PULL_BEGIN_TIMEOUT_MS);
	call->pull = pull;
	return call;
}

void docker_pull_free(struct docker_pull *pull)
{
	if (!pull)
		return;
	timer_done(&pull->silence);
	docker_stream_done(&pull->stream);
	free(pull->image);
	free(pull);
}

// --- progress ---

static int on_progress(json_object *object, void *arg)
{
	struct docker_pull *pull = arg;
	const struct docker_options *options = docker_options_of(pull->call->docker);
	pull->begun = true;
	const char *error = json_get_string(object, "error");
	if (!str_empty(error)) {
		pull->state = PULL_FAILED;
		pull->failure = (struct docker_error){.failure = DOCKER_REFUSED, .name = op_pull.error_name};
		docker_error_text(&pull->failure, "%s", error);
		return -ECANCELED;
	}
	uint64_t now = loop_now(options->loop);
	const char *status = json_get_string(object, "status");
	if (pull->progress && status && (!pull->last_progress || now - pull->last_progress >= PROGRESS_INTERVAL_MS)) {
		pull->last_progress = now;
		const char *layer = json_get_string(object, "id");
		_cleanup_free_ char *line = layer ? xasprintf("%s: %s", layer, status) : xstrdup(status);
		pull->progress(line, pull->call->arg);
	}
	return 0;
}

static int on_pull_data(const char *data, size_t len, void *arg)
{
	struct docker_call *call = arg;
	struct docker_pull *pull = call->pull;
	int r = docker_stream_feed(&pull->stream, data, len, on_progress, pull);
	if (r < 0 && pull->state == PULL_GOING)
		pull->state = PULL_GARBLED;
	timer_start(&pull->silence,
		    pull->begun ? docker_options_of(call->docker)->pull_inactivity_ms : PULL_BEGIN_TIMEOUT_MS);
	return r;
}

static void on_silence(void *arg)
{
	struct docker_pull *pull = arg;
	struct docker_call *call = pull->call;
	pull->state = pull->begun ? PULL_SILENT : PULL_NOT_BEGUN;
	http_cancel(call->http);
	call->http = NULL;
	docker_call_complete(call, &(struct docker_error){.failure = DOCKER_OK});
}

// --- result ---

static void finish_pull(struct docker_call *call, const struct docker_error *err, json_object *body)
{
	struct docker_pull *pull = call->pull;
	struct docker_error out = *err;
	(void)body;
	if (err->failure == DOCKER_OK && pull->state == PULL_GOING && pull->stream.depth > 0)
		pull->state = PULL_GARBLED; // ended within a line
	switch (pull->state) {
	case PULL_GOING:
		docker_registry_answer(&out);
		break;
	case PULL_FAILED:
		out = pull->failure;
		break;
	case PULL_NOT_BEGUN:
		out = (struct docker_error){.failure = DOCKER_UNKNOWN, .timeout = true, .name = "DockerTimeoutError"};
		docker_timeout_text(out.message, sizeof(out.message), "pullBegin", PULL_BEGIN_TIMEOUT_MS);
		break;
	case PULL_SILENT:
		// The request is given up: an ordinary failed pull, which is tried again as such.
		out = (struct docker_error){.failure = DOCKER_REFUSED, .name = op_pull.error_name};
		docker_error_text(&out, "inactivity time exceeded timeout while pulling image");
		break;
	case PULL_GARBLED:
		out = (struct docker_error){.failure = DOCKER_UNKNOWN, .name = op_pull.error_name};
		docker_error_text(&out, "cannot read the progress of the pull from the Docker daemon");
		break;
	}
	if (out.failure != DOCKER_OK && !out.timeout) {
		_cleanup_free_ char *text = docker_pull_text(pull->image, out.message);
		docker_error_text(&out, "%s", text);
	}
	call->done.plain(&out, call->arg);
}

// --- texts (user-visible-reasons.md §4) ---

static char *redact_ecr_urls(const char *image, const char *raw)
{
	regex_t regex;
	regmatch_t match;
	struct buf out = {0};
	if (regcomp(&regex, "\"?https[^[:space:]]+starport-layer-bucket[^[:space:]]+", REG_EXTENDED) != 0)
		return xstrdup(raw);
	while (regexec(&regex, raw, 1, &match, 0) == 0) {
		buf_append(&out, raw, (size_t)match.rm_so);
		buf_printf(&out, "REDACTED ECR URL related to %s", image);
		raw += match.rm_eo;
	}
	regfree(&regex);
	buf_append(&out, raw, strlen(raw));
	return buf_take(&out);
}

static const char *hint_of(const char *text)
{
	const char *user = strstr(text, "denied: User: ");
	// One character at least for the user's ARN between the two.
	if (user && strstr(user + strlen("denied: User: ") + (user[strlen("denied: User: ")] != '\0'),
			   " is not authorized to perform: ecr:BatchGetImage on resource"))
		return "The task can\u2019t pull the image. Check that the role has the permissions to pull images "
		       "from "
		       "the registry. ";
	if (strstr(text, "denied: requested access to the resource is denied"))
		return "The task can\u2019t pull the image. Check whether the image exists. ";
	if (strstr(text, "request canceled while waiting for connection"))
		return "The task can\u2019t pull the image. Check your network configuration. ";
	return "";
}

char *docker_pull_text(const char *image, const char *raw)
{
	_cleanup_free_ char *text = redact_ecr_urls(image, raw);
	return xasprintf("%s%s", hint_of(text), text);
}
