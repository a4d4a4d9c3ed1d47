// A directory that a test has made goes with all that is in it.
#pragma once

#include "common/util.h"
#include <dirent.h>
#include <unistd.h>

static inline void remove_tree(const char *path)
{
	DIR *d = opendir(path);
	for (struct dirent *entry; d && (entry = readdir(d));) {
		_cleanup_free_ char *below = xasprintf("%s/%s", path, entry->d_name);
		if (str_equal(entry->d_name, ".") || str_equal(entry->d_name, ".."))
			continue;
		if (entry->d_type == DT_DIR)
			remove_tree(below);
		else
			unlink(below);
	}
	if (d)
		closedir(d);
	rmdir(path);
}
