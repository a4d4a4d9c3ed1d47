// JSON strings with the escaping of the reference's encoder (credentials-endpoint.md §1): '<', '>', '&' and
// U+2028/2029 as \uXXXX. Written into memory of the caller's, so that secrets leave no copies behind.
#pragma once

#include <stddef.h>

size_t json_out_max(const char *text);              // most bytes json_out_string writes for it, quotes included
char *json_out_string(char *out, const char *text); // returns the end; adds no NUL
