// EC2 user data, read before anything that depends on the configuration is made: agent settings in it
// (configuration.md §1.1) and the cloud-init guard (control-plane.md §3 step 4).
#pragma once

#include "common/aws/imds.h"
#include "config/config.h"

#define CLOUD_INIT_RESULT "/var/lib/cloud/data/result.json"

struct user_data {
	struct imds *imds;
	struct config *config;
	const char *cloud_init_result; // CLOUD_INIT_RESULT, but in tests
	// exit_code 0: go on; else end with it, the reason is logged.
	void (*done)(int exit_code, void *arg);
	void *arg;
};
// The structure stays the caller's until done; imds_free cancels. done never runs inside the call.
void user_data_read(struct user_data *read);
