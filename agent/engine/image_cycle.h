// Clean-up of images on Docker, as images.h decides: every ECS_IMAGE_CLEANUP_INTERVAL, and, with watermarks, before a
// pull when the disk is too full. One Docker call at a time, facts asked anew for each cycle.
//
// While one image is being removed, pulls and creates of that image wait (image_cycle_blocks); nothing else does, but
// for pulls while room is made for them (image_cycle_may_pull).
#pragma once

#include "engine/engine_internal.h"
#include "engine/images.h"

struct image_cycle;

struct image_cycle *image_cycle_new(struct engine *engine, const struct image_settings *settings);
struct image_cycle *image_cycle_free(struct image_cycle *cycle);
int image_cycle_load(struct image_cycle *cycle, struct error *err);
void image_cycle_start(struct image_cycle *cycle); // Docker answers, tasks are in memory

// A container's image was inspected: it is about to be used.
void image_cycle_used(struct image_cycle *cycle, const struct container *container, int64_t size);
// The task leaves memory, or nothing of it is left that needs images: they are unused from now on.
void image_cycle_forgotten(struct image_cycle *cycle, const struct task *task);

// The operation must wait: the image that the container needs is being removed.
bool image_cycle_blocks(const struct image_cycle *cycle, const struct container *container);
// false: room is made first; waiting entries are touched when that has ended, with whatever result.
bool image_cycle_may_pull(struct image_cycle *cycle);

// Rows that differ from disk, within the turn's transaction.
bool image_cycle_dirty(const struct image_cycle *cycle);
int image_cycle_write(const struct image_cycle *cycle, struct store *store, struct error *err);
void image_cycle_written(struct image_cycle *cycle);
void image_cycle_unwritten(struct image_cycle *cycle); // the database is a new one
