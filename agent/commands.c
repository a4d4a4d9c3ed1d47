#include "commands.h"
#include "common/http.h"
#include "common/license.h"
#include "common/loop.h"
#include "common/util.h"
#include "control/instance.h"
#include "docker/docker.h"
#include "endpoint/ports.h"
#include "logd/plugin.h"
#include "common/version.h"
#include <curl/curl.h>

#define HEALTHCHECK_TIMEOUT_MS 25000

// One question, and the loop that runs until it is answered.
struct question {
	struct loop *loop;
	struct http_client *http;
	struct docker *docker;
	struct config *config; // for attributes
	struct log_plugin_question plugin;
	bool answered;
};

static void print_version(void);
static int healthcheck(void);
static bool question_open(struct question *question);
static int question_close(struct question *question);

static void on_docker(const struct docker_error *err, void *arg);
static void on_plugin(bool answers, const char *why, void *arg);

int command_answer(const struct arguments *arguments)
{
	switch (arguments->command) {
	case COMMAND_HELP:
		arguments_usage(stdout);
		return 0;
	case COMMAND_VERSION:
		print_version();
		return 0;
	case COMMAND_LICENSE:
		fputs(license_notice, stdout);
		return 0;
	case COMMAND_HEALTHCHECK:
		return healthcheck();
	case COMMAND_HELP_CONFIG:
		config_print_help(stdout);
		return 0;
	case COMMAND_HELP_CONFIG_TSV:
		config_print_tsv(stdout);
		return 0;
	case COMMAND_HELP_CAPABILITIES:
		capabilities_print(stdout);
		return 0;
	case COMMAND_PACKAGED_DEFAULTS:
		config_print_packaged_defaults(stdout);
		return 0;
	case COMMAND_CONFIG_MANUAL:
		config_print_manual(stdout);
		return 0;
	case COMMAND_WINDOWS_SERVICE:
		fprintf(stderr, "ecsd: there are no Windows services here\n");
		return 1;
	case COMMAND_RUN:
	case COMMAND_ATTRIBUTES:
	case COMMAND_HANDBACK_CHECK:
		break;
	}
	return -1;
}

int command_attributes(struct config *config)
{
	struct question question = {.config = config, .plugin = {.done = on_plugin, .arg = &question}};

	if (question_open(&question)) {
		struct docker_options options = {
			.loop = question.loop, .http = question.http, .endpoint = config->docker_host};
		question.docker = docker_new(&options);
		docker_connect(question.docker, on_docker, &question);
		loop_run(question.loop);
	}
	if (question.answered) {
		_cleanup_json_ json_object *list = instance_capabilities(
			config, docker_api_version_min(question.docker), docker_api_version_max(question.docker));
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			json_object *attribute = json_object_array_get_idx(list, i);
			const char *value = json_get_string(attribute, "value");
			printf("%s\t%s\n", json_get_string(attribute, "name"), value ? value : "");
		}
	}
	return question_close(&question);
}

static void print_version(void)
{
	printf("Amazon ECS Agent:\n    Version: %s\n    Commit: %s\necsd %s\n", AGENT_COMPATIBLE_VERSION, ecsd_commit,
	       ecsd_version);
}

static bool question_open(struct question *question)
{
	struct error err = {0};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	if ((question->loop = loop_new(1, &err)) && (question->http = http_client_new(question->loop, &err)))
		return true;
	fprintf(stderr, "ecsd: %s\n", err.message);
	return false;
}

static int question_close(struct question *question)
{
	docker_free(question->docker);
	http_client_free(question->http);
	loop_free(question->loop);
	curl_global_cleanup();
	return question->answered ? 0 : 1;
}

static void on_health(const struct http_response *response, void *arg)
{
	struct question *question = arg;

	question->answered = response->result == 0;
	if (!question->answered)
		fprintf(stderr, "ecsd: health check [HEAD] failed: %s\n", response->error.message);
	loop_stop(question->loop);
}

static int healthcheck(void)
{
	struct question question = {0};
	const char *host = getenv("ECS_AGENT_HEALTHCHECK_HOST");
	_cleanup_free_ char *url =
		xasprintf("http://%s:%d/v1/metadata", str_empty(host) ? "localhost" : host, INTROSPECTION_PORT);
	struct http_request request = {
		.method = "HEAD", .url = url, .timeout_ms = HEALTHCHECK_TIMEOUT_MS, .no_proxy = true};

	if (question_open(&question)) {
		http_send(question.http, &request, on_health, &question);
		loop_run(question.loop);
	}
	return question_close(&question);
}

static void on_docker(const struct docker_error *err, void *arg)
{
	struct question *question = arg;

	question->answered = err->failure == DOCKER_OK;
	if (!question->answered)
		fprintf(stderr, "ecsd: %s\n", err->message);
	if (question->answered && question->config->native_logging)
		log_plugin_ask(&question->plugin, question->http, question->config->log_plugin_socket);
	else
		loop_stop(question->loop);
}

static void on_plugin(bool answers, const char *why, void *arg)
{
	struct question *question = arg;

	(void)why; // an attribute that is not there says enough
	question->config->logd_runs = answers;
	loop_stop(question->loop);
}
