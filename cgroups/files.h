// Small files below a directory descriptor; private to cgroups/. Errors name the whole path.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>

#define CGROUP_VALUE_MAX 256 // a value; a list of controllers is the longest

struct cgroup_dir {
	int fd;            // O_PATH
	char *path;        // for messages
	char *controllers; // v1: the mount's options, "rw,cpu,cpuacct"
};
int cgroup_dir_open(struct cgroup_dir *dir, const char *path, struct error *err);
void cgroup_dir_close(struct cgroup_dir *dir);

// One write call, to a file that exists.
int cgroup_write(const struct cgroup_dir *dir, const char *path, const char *file, const char *value,
		 struct error *err);
// Trimmed text; path may be "".
int cgroup_read(const struct cgroup_dir *dir, const char *path, const char *file, char value[CGROUP_VALUE_MAX],
		struct error *err);
// Writes unless the file has the value already.
int cgroup_set(const struct cgroup_dir *dir, const char *path, const char *file, const char *value, struct error *err);
// -EUCLEAN if the file has another value.
int cgroup_expect(const struct cgroup_dir *dir, const char *path, const char *file, const char *value,
		  struct error *err);
bool cgroup_exists(const struct cgroup_dir *dir, const char *path);
// 0 also if it exists. Mode 0755.
int cgroup_mkdir(const struct cgroup_dir *dir, const char *path, struct error *err);
// Removes a cgroup and those inside it, innermost first. 0 also if there is none; -EBUSY if processes are left.
int cgroup_rmdir(const struct cgroup_dir *dir, const char *path, struct error *err);
// Whether a list of words has the word; separators are space and comma.
bool cgroup_has_word(const char *list, const char *word);
