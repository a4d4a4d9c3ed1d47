// Damage in the middle of SQLite's write-ahead log. SQLite takes the first frame that does not fit for the log's end, as it
// must after a power loss, and so forgets without a word whatever was committed after a flipped bit.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Whether committed turns lie behind a frame that is broken. A power loss breaks the last transaction only, and never the
// header, which is synced before the first frame; so a broken frame with two more commits behind it is damage. That
// the last or the last but one transaction is damaged cannot be told from that.
bool store_wal_is_damaged(const void *log, size_t len);
