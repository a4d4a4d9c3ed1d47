// EC2 instance metadata (control-plane.md §4): IMDSv2 with fallback to v1, tokens cached for their
// time to live, 5 attempts, bounds on time and size. AWS_EC2_METADATA_DISABLED, ..._V1_DISABLED,
// AWS_EC2_METADATA_SERVICE_ENDPOINT and ..._ENDPOINT_MODE are honoured.
#pragma once

#include "common/error.h"
#include "common/http.h"
#include "common/loop.h"

#define IMDS_BODY_MAX 65536

struct imds;
struct imds *imds_new(struct loop *loop, struct http_client *http);
struct imds *imds_free(struct imds *imds); // cancels what is under way

// path: "meta-data/instance-id", "dynamic/instance-identity/document", "user-data" (below /latest/).
// The callback runs once. status is the HTTP status of the last attempt (0 if none came); body is NULL
// unless status is 200. A 404 is an answer, not an error: err->code is ENOENT then. Never called inside imds_get.
void imds_get(struct imds *imds, const char *path,
	      void (*done)(const char *body, long status, const struct error *err, void *arg), void *arg);
void imds_cancel(struct imds *imds, void *arg);
