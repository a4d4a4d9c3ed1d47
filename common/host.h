// What the host has: the figures ECS is told at registration (control-plane.md §7.2) and the ones that the engine
// accounts tasks against (task-engine.md §9) are the same by being read here.
#pragma once

#include <stdint.h>

int64_t host_cpu_units(void);  // 1024 for each processor this process may use
int64_t host_memory_mib(void); // 0 with a logged error if it cannot be read
// What this program is built for, as ECS calls it: "x86_64", "arm64" (control-plane.md §7.3).
const char *host_architecture(void);
