// What the chain (credentials.c) knows of a source of credentials; private to common/aws.
#pragma once

#include "common/aws/credentials.h"

struct credentials_fetch;

struct credentials_provider {
	const char *name; // for error texts
	// Its source is changed by others: its answer is asked for again after so long (loop time), and serves on if that
	// fails. 0: only expiry counts.
	uint64_t again_after_ms;
	// Calls fetch->done exactly once, inside this call or later, unless cancelled.
	void (*start)(struct credentials_fetch *fetch);
	void (*cancel)(struct credentials_fetch *fetch); // NULL: start never leaves anything under way
};

// One question to one provider.
struct credentials_fetch {
	struct imds *imds; // NULL: not to be asked
	struct http_client *http;
	const char *url;            // of the http provider
	const char *file, *profile; // of the rotating provider
	struct http_call *call;     // its own
	// credentials are the receiver's from here on; NULL on failure, with the reason in err.
	void (*done)(struct credentials_fetch *fetch, struct aws_credentials *credentials, const struct error *err);
};

extern const struct credentials_provider credentials_provider_env, credentials_provider_file, credentials_provider_imds,
	credentials_provider_http, credentials_provider_rotating, credentials_provider_named_file;
