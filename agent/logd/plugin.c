#include "logd/plugin.h"
#include "common/json.h"
#include "common/util.h"

#define ANSWER_MAX ((size_t)64 << 10)

static void on_answer(const struct http_response *response, void *arg);

void log_plugin_ask(struct log_plugin_question *question, struct http_client *http, const char *socket_path)
{
	static const struct http_header headers[] = {{"Accept", "application/vnd.docker.plugins.v1.2+json"}};
	struct http_request request = {
		.method = "POST",
		.url = "http://plugin.moby.localhost/Plugin.Activate",
		.unix_socket = socket_path,
		.headers = headers,
		.header_count = ARRAY_SIZE(headers),
		.body = "",
		.timeout_ms = LOG_PLUGIN_ANSWER_MS,
		.max_body = ANSWER_MAX,
		.once = true, // at the door: a connection from before says nothing of the socket
	};
	question->call = http_send(http, &request, on_answer, question);
}

void log_plugin_cancel(struct log_plugin_question *question)
{
	http_cancel(TAKE(question->call));
}

bool log_plugin_implements(const char *body, size_t len)
{
	_cleanup_json_ json_object *object = json_parse(body, len, NULL);
	json_object *list = json_get(object, "Implements");
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i);
		if (json_object_is_type(item, json_type_string) && str_equal(json_object_get_string(item), "LogDriver"))
			return true;
	}
	return false;
}

static void on_answer(const struct http_response *response, void *arg)
{
	struct log_plugin_question *question = arg;
	char status[64];
	const char *why = NULL;
	question->call = NULL;
	if (response->result < 0) {
		why = response->error.message;
	} else if (response->status != 200) {
		snprintf(status, sizeof(status), "HTTP status %ld", response->status);
		why = status;
	} else if (!log_plugin_implements(response->body, response->body_len)) {
		why = "it is no log driver";
	}
	question->done(!why, why, question->arg);
}
