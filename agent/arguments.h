// The command line, in the syntax of Go's flag package: -x, --x, -x=value, -x value; booleans -k, -k=false
// (control-plane.md §2.1). -help-config and what follows it are ours.
#pragma once

#include "common/error.h"
#include "common/log.h"
#include <stdbool.h>
#include <stdio.h>

enum command {
	COMMAND_RUN,
	COMMAND_HELP,
	COMMAND_VERSION,
	COMMAND_LICENSE,
	COMMAND_HEALTHCHECK,
	COMMAND_WINDOWS_SERVICE,
	COMMAND_ATTRIBUTES,
	COMMAND_HANDBACK_CHECK,
	COMMAND_HELP_CONFIG,
	COMMAND_HELP_CONFIG_TSV,
	COMMAND_HELP_CAPABILITIES,
	COMMAND_PACKAGED_DEFAULTS,
	COMMAND_CONFIG_MANUAL,
};

struct arguments {
	enum command command;
	bool insecure;                                  // -k
	bool blackhole_imds;                            // -blackhole-ec2-metadata
	enum log_level level_driver, level_on_instance; // LOG_LEVEL_UNSET: not given
};

// Fails with the texts of Go's package; the caller exits 5. A word that is no log level is said on standard error and
// changes nothing.
int arguments_parse(int argc, char **argv, struct arguments *arguments, struct error *err);
void arguments_usage(FILE *out);
