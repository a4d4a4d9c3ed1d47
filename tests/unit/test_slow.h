// Under valgrind (tests/valgrind.sh says that it is) a program is some 30 times slower: a test whose clock runs faster than
// the real one makes it slower there, and one that does the same at a thousand places takes some of them.
#pragma once

#include <stdbool.h>
#include <stdlib.h>

static inline bool under_valgrind(void)
{
	return getenv("ECSD_UNDER_VALGRIND") != NULL;
}
