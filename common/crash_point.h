// Places where the crash campaign (tests/crash) kills the process on purpose. Nothing of this is in a normal build.
//
// With -DECSD_CRASH_POINTS (`make build-crash`) the process ends by SIGKILL at the n-th passage of a point when the
// environment says ECSD_CRASH_AT=<name>:<n>. Its name is written to standard error first.
#pragma once

#ifdef ECSD_CRASH_POINTS
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#define CRASH_POINT_VARIABLE "ECSD_CRASH_AT", // ecs-endpoint gets it too
#else
#define CRASH_POINT(name) ((void)0)
#define CRASH_POINT_VARIABLE
#endif
