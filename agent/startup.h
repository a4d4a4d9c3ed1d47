// The configuration as it is when ecsd starts, from files, environment and JSON file, waited for where that is needed.
#pragma once

#include "arguments.h"
#include "config/config.h"

// Reads the files that ECSD_CONFIG_FILES names into the environment (config/config_files.h), waits for cloud-init if that may
// still write them (cloud_init.h; the service manager is told READY=1 before), then loads *config and opens the logs.
// 0: go on. 1: a signal has ended the wait. Negative: err, and the caller exits 1.
int startup_configure(struct config *config, const struct arguments *arguments, struct error *err);
