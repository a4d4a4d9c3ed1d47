// The steps of a turn's end, in their order: turn.c decides, slots.c grants, commit.c writes, turn.c lets effects go.
#pragma once

#include "engine/engine_internal.h"

// Operations that reconcile() asks for in this turn.
struct plan {
	struct container_ref *ref;
	enum operation operation;
	bool held;    // by image clean-up: no slot is taken
	bool granted; // by turn_grant: may start once the facts are on disk
};
struct plans {
	struct plan *items;
	size_t count, capacity;
};

void turn_grant(struct engine *engine, struct plans *plans);
bool turn_entry_dirty(const struct entry *entry); // something of it differs from disk
bool turn_commit(struct engine *engine);          // false: nothing was written, and nothing may be done
