// The two logs on the instance: ecsd's own and the audit log of credentials requests, which ecs-endpoint writes.
#pragma once

#include "arguments.h"
#include "common/loop.h"
#include "config/config.h"
#include "endpoint/endpoint.h"

// ecsd's log by configuration; levels on the command line are the stronger. Without its file it goes to standard error.
void logs_open(const struct config *config, const struct arguments *arguments);

// Rolls the audit log over by the settings of the agent's log: by size only if that is the type, else by the hour
// (configuration.md, ECS_LOG_ROLLOVER_TYPE). It is looked at twice a minute, and opened anew for ecs-endpoint.
struct audit_log {
	struct rolling_file file;
	struct endpoint *endpoint;
	struct timer timer;
};
void audit_log_start(struct audit_log *log, struct loop *loop, const struct config *config, struct endpoint *endpoint);
void audit_log_stop(struct audit_log *log);
bool audit_log_roll(struct audit_log *log, int64_t wall_ms); // what the timer does; true: rolled over (tests)
