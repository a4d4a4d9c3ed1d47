// Running another program: no shell, an environment of our own making, its output kept, an end after a limit of time.
#pragma once

#include "common/error.h"
#include <stdbool.h>

#define PROGRAM_OUTPUT_MAX 1024 // of what is kept of the output: more than iptables has to say of an error

// The absolute path of an executable file: in PATH, else in /usr/sbin and /sbin. NULL: there is none. Caller frees.
char *executable_find(const char *name);

// argv[0] is an absolute path; argv ends with NULL. Waits for the end, limit_ms at most; then the program is killed, with its
// children. The exit code, and what was written to standard output and error, on one line, in output (if not NULL). Negative
// errno and err: it could not be started, was killed, or took too long (-ETIMEDOUT).
int program_run(const char *const *argv, unsigned limit_ms, char output[PROGRAM_OUTPUT_MAX], struct error *err);
