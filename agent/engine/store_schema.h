// The tables of the state database (store.h), and whether what is in them is what was written.
//
// SQLite finds broken pages, but has no checksum: a bit that flips in a status or an id would be believed. So each
// row carries a sum of its columns, and `integrity_check` at the start compares it (a CHECK constraint).
#pragma once

#include <sqlite3.h>
#include <stdbool.h>

// Checks all that is there, then makes what is not. Returns an SQLite code. *damage (to be freed): what was found to be
// wrong, with SQLITE_OK; else untouched.
int store_schema_make(sqlite3 *db, char **damage);
int store_schema_needs_rebuild(sqlite3 *db, bool *needed);
char *store_schema_meta(sqlite3 *db, const char *key); // value of a row of `meta`, caller frees; NULL: none
