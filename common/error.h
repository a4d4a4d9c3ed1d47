// The one error type. A function that can fail for a reason an operator should read takes a
// `struct error *err` last, leaves it untouched on success, and on failure fills it and returns a
// negative errno. Making and returning an error is one statement:
//
//     return error_set(err, ECONNREFUSED, "cannot reach Docker at %s", endpoint);
//
// A caller that adds context on the way up:
//
//     return error_wrap(err, "register container instance");
//
// A function logs its error or returns it, never both. `err` may be NULL where the text is not wanted.
#pragma once

#include <errno.h>
#include <stddef.h>

#define ERROR_MESSAGE_MAX 1280 // longer than the 1024 bytes ECS takes of a reason

struct error {
	int code;                        // positive errno
	char message[ERROR_MESSAGE_MAX]; // fit for an operator; UTF-8; cut at the end if too long
};

// Fills err (if not NULL) and returns -code. A code of 0 is turned into EINVAL.
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// As error_set, with ": <strerror(code)>" added.
int error_set_errno(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " in front of the message and returns the code again, negative.
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Adds one failure to those before it, which were gone on after: "first; second". The code is the first's.
void error_join(struct error *all, const struct error *one);
