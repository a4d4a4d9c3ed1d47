// Images: what is known of each image that tasks have used, and the decision which images (and which stopped containers
// of others) may go (task-engine.md §13). Pure: it asks neither Docker nor a clock; image_cycle.c does the rest.
//
// Never chosen, in whatever mode: an image that a container known to Docker is made from, one that a task's container
// uses or still needs, and one with an excluded name.
#pragma once

#include "common/json.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_settings {
	bool disabled;  // ECS_DISABLE_IMAGE_CLEANUP, or pull behaviour prefer-cached: nothing is ever removed
	bool untracked; // ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP
	uint64_t interval_ms, min_age_ms, untracked_min_age_ms;
	uint64_t untracked_container_age_ms; // the clean-up wait of tasks
	int64_t images_per_cycle;
	int64_t containers_per_cycle;        // negative: no limit
	const struct json_strings *excluded; // ECS_EXCLUDE_UNTRACKED_IMAGE; borrowed
	// Watermarks in percent used, 0 (both): off; else low < high. Above high, images go until it is below low.
	unsigned disk_high, disk_low, inodes_high, inodes_low;
};

// One image that tasks have used. Names are in canonical form. Times: wall clock.
struct image {
	char *id; // "sha256:..."
	struct json_strings names;
	int64_t size; // bytes
	int64_t pulled_ms, last_used_ms;
	bool dirty; // differs from its row
	bool gone;  // the row is to be deleted, and then this
};
struct image_set {
	struct image *items;
	size_t count;
};
// A container uses the image under this name. The name is taken from any other image. Returns the image until the
// next call.
struct image *images_use(struct image_set *set, const char *id, const char *name, int64_t size, int64_t now_ms);
struct image *images_find(const struct image_set *set, const char *id); // NULL if there is none, or it is gone
void images_touch(struct image_set *set, const char *id, int64_t now_ms);
void images_forget(struct image_set *set, const char *id);
bool images_dirty(const struct image_set *set);
void images_written(struct image_set *set); // all rows are on disk; drops those that are gone
void images_free(struct image_set *set);

// Repository and tag or digest without what Docker adds by itself: "docker.io/library/x", "x" and "x:latest" are one.
// With a digest the tag does not count. Caller frees.
char *images_canonical(const char *reference);

// --- the decision ---

struct image_listed { // from Docker's list of images
	char *id;
	struct json_strings tags, digests; // as Docker writes them, without "<none>"
	int64_t size, created_ms;
};
struct image_container { // from Docker's list of containers
	char *id, *image_id, *state;
	bool of_task;        // of a known task
	int64_t finished_ms; // untracked ones: when it ended, or was created if it never ran; 0: not known
};
struct image_want {            // of a container of a known task
	const char *reference; // it is still to be pulled or created: NULL otherwise
	const char *id;        // NULL: not known yet
};
struct image_facts {
	const struct image_set *known;
	const struct image_listed *listed;
	size_t listed_count;
	const struct image_container *containers;
	size_t container_count;
	const struct image_want *wants;
	size_t want_count;
	double scale; // of ages: loop milliseconds in a millisecond of wall clock
};

enum image_mode {
	IMAGES_PERIODIC, // old ones, a few a cycle; untracked containers and images if that is on
	IMAGES_RELIEF,   // room is needed: all unused ones, to be removed one after the other until there is enough
};

struct image_removal {
	enum { REMOVE_IMAGE, REMOVE_CONTAINER, FORGET_IMAGE } kind;
	char *id;
	struct json_strings names; // of an image: deleted one after the other; none: by id
};
struct image_removals {
	struct image_removal *items;
	size_t count, capacity;
};
void images_choose(const struct image_facts *facts, const struct image_settings *settings, enum image_mode mode,
		   int64_t now_ms, struct image_removals *out);
void image_removals_free(struct image_removals *removals);
bool images_wanted(const struct image_want *wants, size_t count, const char *id, const struct json_strings *names);

// --- watermarks ---

struct disk_use {
	uint64_t used_bytes, free_bytes; // free: to root's programs and others alike, as df counts
	uint64_t used_inodes, free_inodes;
};
// relieving: room is being made already, so low counts instead of high.
bool images_need_room(const struct disk_use *use, const struct image_settings *settings, bool relieving);
