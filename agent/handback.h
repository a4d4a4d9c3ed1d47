// `ecsd -handback-check`: whether the official agent can have this instance back (docs/MIGRATION.md). It knows nothing of what
// ecsd did, so nothing may run, and nothing may wait to be told to ECS.
//
// ecsd may run meanwhile: its database is locked, so a copy is looked at.
#pragma once

#include <stdio.h>

// Prints what stands in the way, or that it is safe. 0: safe; 1: not, or it cannot be told.
int handback_check(const char *data_dir, FILE *out);
