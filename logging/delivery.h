// What all destinations have in common: counting, and saying once a minute, not a thousand times, why nothing goes out.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/loop.h"
#include <stdbool.h>
#include <stdint.h>

#define DELIVERY_REPORT_MS 60000 // between two lines about the same trouble

struct delivery {
	struct loop *loop;
	const char *driver, *container_id; // for the log; borrowed
	uint64_t lines, bytes;             // delivered; bytes of what the container wrote
	uint64_t retries;                  // attempts that were repeated
	uint64_t lost;                     // lines given up: refused for good by the destination
	uint64_t duplicates;               // lines sent again that may have arrived before
	uint64_t unknown_acks;             // acknowledgements of nothing that was sent
	uint64_t cut;                      // lines that arrived without their end, as the way carries no more
	char *trouble;                     // why nothing goes out now; NULL: all is well
	uint64_t trouble_since, reported;  // loop time; 0: never
	bool trouble_told;                 // its beginning was logged, so its end will be
	uint64_t lost_reported;            // loop time of the last line about refused lines; 0: never
};

void delivery_init(struct delivery *delivery, struct loop *loop, const char *driver, const char *container_id);
void delivery_done(struct delivery *delivery);
// Lines have arrived. Ends a trouble, which is logged if its beginning was.
void delivery_arrived(struct delivery *delivery, uint64_t lines, uint64_t bytes);
// An attempt failed and will be repeated.
void delivery_failed(struct delivery *delivery, const struct error *err);
// The destination will never take these.
void delivery_gave_up(struct delivery *delivery, uint64_t lines, const char *why);
json_object *delivery_status(const struct delivery *delivery); // caller releases
