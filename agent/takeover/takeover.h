// Take-over from the official agent: the first start on its data directory continues its container instance with its
// tasks (docs/MIGRATION.md). Once: ecsd with a state of its own does not look again.
//
// All that is taken becomes the content of ecsd's new database in one transaction, the instance's identity with it; then
// instance.json is written, and then the identity leaves the database. A kill at any moment leaves nothing or all.
#pragma once

#include "common/error.h"
#include "config/config.h"
#include "control/instance.h"
#include "engine/store.h"
#include <stdbool.h>

struct engine;
struct takeover;

// Reads what there is. 0 with NULL in *ret: there is nothing to take over, or nothing that can be read (logged). An
// error is a reason not to start: the official agent still runs (-EWOULDBLOCK), or its state cannot be read now.
int takeover_begin(const struct config *config, struct store *store, struct takeover **ret, struct error *err);
struct takeover *takeover_free(struct takeover *takeover); // NULL is fine; returns NULL
// For instance_options.previous.
const struct instance_identity *takeover_identity(const struct takeover *takeover);
// Once the instance is identified, and this state is its own: into the database, before engine_load(). An error: the
// database is as it was, and cannot be written now.
// Where ecsd's own database was lost, nothing is written: what takeover_give_lost() gives comes with the rebuild.
int takeover_write(struct takeover *takeover, struct store *store, struct error *err);
// Containers that the official agent has made have no label to rebuild their task from. So after the loss of ecsd's own database
// those of its tasks that had containers are given to the engine, before engine_start(), to be watched and stopped.
void takeover_give_lost(struct takeover *takeover, const char *instance_arn, struct engine *engine);
// The identity is in instance.json.
void takeover_end(struct store *store);
