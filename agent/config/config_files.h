// /etc/ecs/ecs.config and its kind: files of NAME=value lines that become environment variables, by the rules of ecs-init's
// parser (configuration.md §2) and not of systemd's EnvironmentFile=, which would take quotes away and could not read them
// again once cloud-init has written them. What the process was started with is the stronger, always.
#pragma once

#include <stddef.h>

struct config_files {
	const char *
		paths; // separated by ':', the strongest last; one that cannot be read counts as empty. NULL or "": none
	char **names;  // of the variables that are the files'
	size_t count;
};
// Reads the files (again): variables that were theirs and are in none of them any more are gone. Without threads.
void config_files_read(struct config_files *files);
void config_files_free(struct config_files *files); // the variables stay
