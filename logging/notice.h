// The line that tells in a stream itself that lines of it are missing: what a reader of the logs sees of a loss.
#pragma once

#include "logging/spool.h"
#include <stddef.h>

#define NOTICE_MAX 256 // room for any notice with its NUL

// "ecs-logd: 12 lines dropped, from 2026-01-02T03:04:05.678Z to 2026-01-02T03:04:06.789Z (3456 bytes, the disk space for
// logs was used up)" (R-7.1). What is not known (a count, a time) is left out. Without a newline; NUL-terminated, cut if
// size is less than NOTICE_MAX. Returns its length.
size_t notice_text(const struct spool_loss *loss, char *out, size_t size);
