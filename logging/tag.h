// The tag of a log: what the option `tag`, a Go template, makes of what Docker says of the container (logging.md §2.1).
// The template language is template.h's.
#pragma once

#include "common/error.h"
#include "common/log_options.h"
#include "logging/info.h"

// template: NULL or "" is the driver's default: the whole container id for awslogs, its first 12 characters for the
// others. hostname: what {{.Hostname}} is. Caller frees *tag, which may be empty and is UTF-8: bytes of a character
// that the template has cut are U+FFFD. 0, or -EINVAL with a text that says what is wrong with the template and where.
int tag_render(const char *template, enum log_driver driver, const struct log_info *info, const char *hostname,
	       char **tag, struct error *err);
