// What ecsd does for a flag and then exits; each returns the exit code.
#pragma once

#include "arguments.h"
#include "config/config.h"

// What needs no configuration: -version, -license, -help..., -healthcheck (HEAD http://<host>:51678/v1/metadata: 0 for any
// HTTP answer within 25 s, else 1; control-plane.md §2.1). Returns -1 if the command is none of these.
int command_answer(const struct arguments *arguments);
// The capabilities this host would register with, one a line, name<TAB>value; Docker has to answer.
int command_attributes(struct config *config);
