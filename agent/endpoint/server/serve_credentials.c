// Port 51679: credentials by id (credentials-endpoint.md).
#include "audit.h"
#include "common/log.h"
#include "common/util.h"
#include "served.h"

#define V1_PATH "/v1/credentials"
#define V2_PREFIX "/v2/credentials/"
#define UNKNOWN_PATHS "" // all of them share a bucket for each address, so that guessing is limited too

static bool find_id(const struct http_request *request, char *id, unsigned *version);
static void audit(const struct served *served, const struct http_request *request, int status,
		  const struct credential *credential);
static void reply_error(struct http_reply *reply, int status, const char *code, unsigned version, const char *what);

void serve_credentials(const struct http_request *request, struct http_reply *reply, void *arg)
{
	struct served *served = arg;
	static char id[HTTP_HEAD_MAX + 1];
	unsigned version = 0;
	bool route = find_id(request, id, &version);
	const struct credential *credential = route ? credential_get(served->credentials, id) : NULL;
	reply->rate_headers = true;
	reply->rate_limit = rate_limiter_steady(served->limiter);
	log_debug("request", "method=%.*s from=%s", (int)request->head->method.len, request->head->method.data,
		  request->remote);
	if (!rate_limiter_allow(served->limiter, request->address,
				credential || (route && version == 1) ? request->path : UNKNOWN_PATHS,
				request->now_ms)) {
		static const char text[] = "You have reached maximum request limit.";
		reply->status = 429;
		reply->content_type = "text/plain; charset=utf-8";
		reply->body = text;
		reply->body_len = sizeof(text) - 1;
		audit(served, request, reply->status, NULL);
		return;
	}
	if (!route) {
		static const char text[] = "404 page not found\n";
		reply->status = 404;
		reply->content_type = "text/plain; charset=utf-8";
		reply->nosniff = true;
		reply->body = text;
		reply->body_len = sizeof(text) - 1;
		return;
	}
	reply->content_type = "application/json";
	if (!*id) {
		reply_error(reply, 400, "NoIdInRequest", version, "No Credential ID in the request");
	} else if (!credential && served->filled) {
		reply_error(reply, 400, "InvalidIdInRequest", version, "Credentials not found");
	} else if (!credential || credential->pending) {
		reply_error(reply, 503, "CredentialsUninitialized", version, "Credentials uninitialized for ID");
	} else {
		reply->body = credential->body;
		reply->body_len = credential->body_len;
	}
	audit(served, request, reply->status, reply->status == 200 ? credential : NULL);
}

// False: not a route. An id with a NUL byte inside is none that ecsd could have put.
static bool find_id(const struct http_request *request, char *id, unsigned *version)
{
	size_t prefix = strlen(V2_PREFIX), len = 0;
	if (request->path_len == strlen(V1_PATH) && strcmp(request->path, V1_PATH) == 0) {
		*version = 1;
		if (!http_query_get(request->query, "id", id, &len))
			len = 0;
	} else if (request->path_len >= prefix && memcmp(request->path, V2_PREFIX, prefix) == 0 &&
		   !memchr(request->path, '\n', request->path_len)) { // the reference's pattern stops at a line end
		*version = 2;
		len = request->path_len - prefix;
		memcpy(id, request->path + prefix, len);
	} else {
		return false;
	}
	for (size_t i = 0; i < len; i++)
		if (!id[i])
			id[i] = '\x1f';
	id[len] = 0;
	return true;
}

static void audit(const struct served *served, const struct http_request *request, int status,
		  const struct credential *credential)
{
	struct audit_record record = {.wall_ms = wall_ms(),
				      .status = status,
				      .source = request->remote,
				      .path = {request->path, request->path_len},
				      .user_agent = request->head->user_agent,
				      .cluster = served->cluster,
				      .instance_arn = served->instance_arn};
	if (credential) {
		record.task_arn = credential->texts.task_arn;
		record.event_type = credential->execution_role ? "GetCredentialsExecutionRole" : "GetCredentials";
	}
	audit_write(served->audit_fd, &record);
}

static void reply_error(struct http_reply *reply, int status, const char *code, unsigned version, const char *what)
{
	static char body[256];
	reply->status = status;
	reply->body_len = (size_t)snprintf(
		body, sizeof(body), "{\"code\":\"%s\",\"message\":\"CredentialsV%uRequest: %s\",\"HTTPErrorCode\":%d}",
		code, version, what, status);
	reply->body = body;
}
