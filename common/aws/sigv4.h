// AWS Signature Version 4 on OpenSSL, in header and query form.
// Tested with every case of AWS's public test suite (tests/unit/sigv4) and against botocore's signer.
#pragma once

#include "common/aws/credentials.h"
#include "common/error.h"
#include "common/http.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGV4_EXTRA_HEADERS_MAX 4 // X-Amz-Date, X-Amz-Security-Token, X-Amz-Content-Sha256, Authorization

struct sigv4_request {
	const char *method;
	const char *host;                  // value of the Host header
	const char *path;                  // absolute path as it will be sent; "" means "/"
	const char *query;                 // without '?', as it will be sent; "" or NULL: none
	const struct http_header *headers; // the headers to sign, without Host; X-Amz-Date etc. are added by the signer
	size_t header_count;
	const void *body;
	size_t body_len;
	const char *region, *service;
	int64_t wall_ms;         // time of signing
	bool keep_path;          // do not normalise . and .. (S3); default: normalise
	bool double_encode_path; // URI-encode the path once more (all services but S3)
	bool sign_body_header;   // add and sign X-Amz-Content-Sha256
	bool omit_session_token; // add X-Amz-Security-Token after signing
	uint32_t expires_s;      // query form only: X-Amz-Expires
};

struct sigv4_result {
	char *canonical_request, *string_to_sign; // for tests and debugging
	char signature[65];
	struct {
		char *name, *value;
	} headers[SIGV4_EXTRA_HEADERS_MAX]; // header form: to add to the request
	size_t header_count;
	char *query; // query form: the complete query string with the signature
};

void sigv4_sign_headers(const struct sigv4_request *request, const struct aws_credentials *credentials,
			struct sigv4_result *result);
void sigv4_sign_query(const struct sigv4_request *request, const struct aws_credentials *credentials,
		      struct sigv4_result *result);
void sigv4_result_free(struct sigv4_result *result);
