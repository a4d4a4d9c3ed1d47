// Images that this agent has pulled, by the name tasks use: with pull behaviour `once` they are not pulled again, also
// after a restart (docker-mapping.md §21.1). On disk in a table of its own, written with the turn that learned of it.
#pragma once

#include "engine/engine.h"

enum { PULLED_MAX = 4096 }; // names kept; the oldest is forgotten, which costs a pull at most

struct pulled;

struct pulled *pulled_free(struct pulled *pulled); // NULL is fine; returns NULL
bool engine_image_pulled(const struct engine *engine, const char *image);
void engine_note_pulled(struct engine *engine, const char *image);
void engine_forget_pulled(struct engine *engine, const char *image); // it was removed from this instance

// --- commit.c, engine.c ---
int pulled_load(struct engine *engine, struct error *err);
bool pulled_dirty(const struct engine *engine);
int pulled_write(struct engine *engine, struct error *err); // within the turn's transaction
void pulled_written(struct engine *engine);                 // it was committed
void pulled_unwritten(struct engine *engine);               // the database is a new one
