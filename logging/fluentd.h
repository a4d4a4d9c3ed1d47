// What the operator of a host says about the fluentd servers its containers log to, beyond the options of Docker's driver:
// shared key, certificates, batches. From the environment of ecs-logd, ECS_LOGD_FLUENTD_...
//
//   SHARED_KEY, SHARED_KEY_FILE   the servers at tcp:// and tls:// addresses ask for it; FILE: a file that holds it
//   USERNAME, PASSWORD, PASSWORD_FILE   for servers that have users besides
//   CA, CERT, KEY                 PEM files for tls://: an authority besides the system's, a client certificate
//   MODE                          forward (any server), packed, gzip: how more than one record is sent
//   ACK                           true: ask for acknowledgements whatever fluentd-request-ack says
//   STRICT_START                  true: a container whose server cannot be reached does not start
#pragma once

#include "common/error.h"
#include "logging/forward.h"

#define FLUENTD_SECRET_MAX 4096 // bytes of a file with a key or a password

struct fluentd_settings {
	char *shared_key, *username, *password; // NULL: none
	char *ca_file, *cert_file, *key_file;   // NULL: none
	enum forward_mode mode;
	bool ack, strict_start;
};
// From the environment. 0, or a negative errno with a text that names the variable, and never a secret.
int fluentd_settings_read(struct fluentd_settings *settings, struct error *err);
void fluentd_settings_free(struct fluentd_settings *settings); // its members; wipes the secrets

// Before attempt 0, 1, 2, ... to connect: retry_wait_ms x 0, 1, 1, 2, 3, 5, 7, 11, ..., at most 60 s. Without jitter.
uint64_t fluentd_retry_ms(unsigned attempt, int64_t retry_wait_ms);
