// Sends state changes to ECS (state-changes.md §4-6): one call at a time for a task, at most 10 in
// all, built from the facts when sent; retried until ECS accepts them or refuses them for good.
#pragma once

#include "control/instance.h"
#include "engine/engine.h"

struct submit;
struct submit *submit_new(struct loop *loop, struct instance *instance, struct engine *engine);
struct submit *submit_free(struct submit *submit);
void submit_start(struct submit *submit);                        // after registration
void submit_notify(struct submit *submit, const char *task_arn); // engine's on_report
// ECS can be reached again: reports that wait long because it could not be are sent now, and fall back to the long wait
// if that fails too.
void submit_retry_now(struct submit *submit);
// The request body for a state change (pure; tests). exclude: bindings with "::" are left out by the engine already.
json_object *submit_build(const char *cluster, const struct state_change *change);
