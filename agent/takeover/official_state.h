// What the official agent has on disk: <data dir>/agent.db (control-plane.md §15, task-engine.md §23). It is read, never
// written, moved or removed. All of it can be read, or nothing is taken: half a state would be a task that nobody watches.
#pragma once

#include "control/instance.h"
#include "engine/images.h"
#include "takeover/official_task.h"

struct official_pulled { // by pull behaviour once
	char *image;
	int64_t at_ms; // wall clock
};

struct official_state {
	char *agent_version;
	struct instance_identity identity;
	struct official_task *tasks; // all have a task
	size_t task_count;
	size_t own_tasks; // of the official agent's own, left alone
	struct image_set images;
	struct official_pulled *pulled;
	size_t pulled_count;
};

// Errors: -ENOENT there is no state of an agent that has registered; -EWOULDBLOCK the official agent runs; -EBADMSG,
// -ENOTSUP damaged, or of a version that is not known; else the file cannot be read now. Texts name file and place.
// watch: official_task.h.
int official_state_read(const char *path, const char *watch, struct official_state *state, struct error *err);
void official_state_free(struct official_state *state); // what it holds
