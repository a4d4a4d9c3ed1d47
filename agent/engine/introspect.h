// The task object of /v1/tasks (introspection.md §5.3), built here because it is facts of the engine; ecs-endpoint serves it.
#pragma once

#include "engine/task.h"

// Compact JSON text; caller frees.
char *introspect_task(const struct task *task);
