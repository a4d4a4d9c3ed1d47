// Whether ecs-logd answers where Docker would ask it: one question on its plugin socket (logging.md §1.4).
#pragma once

#include "common/http.h"
#include <stdbool.h>

#define LOG_PLUGIN_ANSWER_MS 1000 // loop time; later is no answer

// done and arg are the caller's to set; done is never called inside log_plugin_ask. why: for the log, why it does not
// answer; NULL if it does.
struct log_plugin_question {
	struct http_call *call; // NULL: none under way
	void (*done)(bool answers, const char *why, void *arg);
	void *arg;
};
void log_plugin_ask(struct log_plugin_question *question, struct http_client *http, const char *socket_path);
void log_plugin_cancel(struct log_plugin_question *question); // no `done` follows

// Whether a body says that the one who sent it is a log driver.
bool log_plugin_implements(const char *body, size_t len);
