// Rolling log files over, with the names of the official agent (init-and-host-setup.md §11.4): the current file is
// always <path>; by size it becomes <path>.<n>, of which the highest number is the newest; by the hour
// <path>.YYYY-MM-DD-HH, local time. What cannot be renamed is gone on with: no line is lost for it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_roll_type { LOG_ROLL_NONE, LOG_ROLL_SIZE, LOG_ROLL_HOURLY };

struct log_roll {
	enum log_roll_type type;
	int64_t max_bytes; // by size: a file of so many bytes is rolled over before the next write
	int64_t max_files; // rolled files kept; 0 or less: all
};

struct rolling_file {
	const char *path; // borrowed
	struct log_roll roll;
	int64_t size;  // bytes in the current file; the writer keeps it up to date
	char hour[16]; // by the hour: of the first write of this process; "": there was none
};

// Before a write at this time. True: the file was renamed, the writer has to open path anew (size is 0 now).
bool rolling_file_roll(struct rolling_file *file, int64_t wall_ms);
