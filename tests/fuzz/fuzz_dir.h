// A directory of its own for a target whose code reads and writes files; in memory where there is such a place.
#pragma once

#include "fuzz.h"
#include <dirent.h>

static char fuzz_dir_path[64];

static inline void fuzz_dir_empty(void)
{
	DIR *directory = opendir(fuzz_dir_path);
	for (struct dirent *entry; directory && (entry = readdir(directory));)
		if (entry->d_type == DT_REG || entry->d_type == DT_SOCK)
			unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
}

static inline void fuzz_dir_remove(void)
{
	fuzz_dir_empty();
	rmdir(fuzz_dir_path);
}

static inline const char *fuzz_dir(void)
{
	if (*fuzz_dir_path)
		return fuzz_dir_path;
	snprintf(fuzz_dir_path, sizeof(fuzz_dir_path), "%s/ecsd-fuzz.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(fuzz_dir_path));
	atexit(fuzz_dir_remove);
	return fuzz_dir_path;
}
