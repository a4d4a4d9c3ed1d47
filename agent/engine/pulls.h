// The way of a container to its image: login, digest, pull (docker-mapping.md §21). fetch.c does the work, shared by
// all containers that want the same; here is what its results mean for one of them.
#pragma once

#include "engine/engine_internal.h"

void pulls_start(struct container_ref *ref, enum operation operation); // OP_LOGIN, OP_MANIFEST, OP_PULL
// The container has got to a known status: what only the way to it needed goes.
void pulls_advanced(struct container *container, enum container_status status);
// Facts that reconcile() asks for and that others hold: role credentials, images pulled before.
void pulls_refresh_facts(struct engine *engine, struct task *task);
// Ends whatever call is under way for the container, without an answer.
void pulls_cancel_call(struct container *container);
