// Port 51678: what runs here, for operators and sidecars (introspection.md).
#include "common/license.h"
#include "common/log.h"
#include "common/util.h"
#include "json_out.h"
#include "served.h"

#define SHORT_DOCKER_ID 12 // up to this many characters an id is a prefix (introspection.md §5.1)

static const char commands[] = "{\"AvailableCommands\":[\"/v1/metadata\",\"/v1/tasks\",\"/license\"]}";
static const char no_task[] =
	"{\"Arn\":\"\",\"KnownStatus\":\"\",\"Family\":\"\",\"Version\":\"\",\"Containers\":null}";

static void serve_metadata(const struct served *served, struct http_reply *reply);
static void serve_tasks(const struct served *served, const struct http_request *request, struct http_reply *reply);

void serve_introspection(const struct http_request *request, struct http_reply *reply, void *arg)
{
	const struct served *served = arg;
	bool whole = strlen(request->path) == request->path_len;
	log_debug("request", "method=%.*s from=%s", (int)request->head->method.len, request->head->method.data,
		  request->remote);
	if (whole && strcmp(request->path, "/v1/metadata") == 0) {
		serve_metadata(served, reply);
	} else if (whole && strcmp(request->path, "/v1/tasks") == 0) {
		serve_tasks(served, request, reply);
	} else if (whole && strcmp(request->path, "/license") == 0) {
		reply->content_type = "text/plain";
		reply->body = license_notice;
		reply->body_len = strlen(license_notice);
	} else {
		reply->content_type = "text/plain; charset=utf-8";
		reply->type_last = true;
		reply->body = commands;
		reply->body_len = sizeof(commands) - 1;
	}
}

static void serve_metadata(const struct served *served, struct http_reply *reply)
{
	static struct buf body;
	size_t max =
		64 + json_out_max(served->cluster) + json_out_max(served->instance_arn) + json_out_max(served->version);
	_cleanup_free_ char *text = xmalloc(max);
	char *p = json_out_string(stpcpy(text, "{\"Cluster\":"), served->cluster);
	p = stpcpy(p, ",\"ContainerInstanceArn\":");
	p = *served->instance_arn ? json_out_string(p, served->instance_arn) : stpcpy(p, "null");
	p = json_out_string(stpcpy(p, ",\"Version\":"), served->version);
	*p++ = '}';
	buf_clear(&body);
	buf_append(&body, text, (size_t)(p - text));
	reply->content_type = "application/json";
	reply->body = body.data;
	reply->body_len = body.len;
}

static void serve_tasks(const struct served *served, const struct http_request *request, struct http_reply *reply)
{
	static char id[HTTP_HEAD_MAX + 1], arn[HTTP_HEAD_MAX + 1];
	size_t id_len, arn_len, matches = 0;
	bool has_id = http_query_get(request->query, "dockerid", id, &id_len);
	bool has_arn = http_query_get(request->query, "taskarn", arn, &arn_len);
	reply->content_type = "application/json";
	if (!has_id && !has_arn) {
		reply->body = task_store_list(served->tasks, &reply->body_len);
		return;
	}
	const char *json = NULL;
	if (has_id && has_arn)
		reply->status = 400;
	else if (has_arn)
		json = strlen(arn) == arn_len ? task_store_by_arn(served->tasks, arn) : NULL;
	else if (strlen(id) != id_len)
		json = NULL;
	else if (id_len > SHORT_DOCKER_ID)
		json = task_store_by_docker_id(served->tasks, id);
	else
		json = task_store_by_prefix(served->tasks, id, &matches);
	if (matches > 1)
		reply->status = 400;
	else if (!json && reply->status == 200)
		reply->status = 404;
	reply->body = json ? json : no_task;
	reply->body_len = strlen(reply->body);
}
