// Which FIFOs are read for which container, noted so that the next process goes on with them. A file for each in a
// directory that is empty after the host restarts, as Docker's FIFOs are gone then; it needs no room on the spool's disk.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include <stdint.h>

// The number a FIFO has in the spool: from its name, which Docker draws at random.
uint32_t fifo_number(const char *path);
// settings borrowed. 0 or a negative errno.
int fifo_note(const char *directory, const char *path, const char *container_id, json_object *settings,
	      struct error *err);
void fifo_forget(const char *directory, const char *path);
// Each note; one that cannot be read is logged and removed. settings borrowed during the call.
void fifo_each(const char *directory,
	       void (*found)(const char *path, const char *container_id, json_object *settings, void *arg), void *arg);
