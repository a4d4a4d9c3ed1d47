#include "config/config_files.h"
#include "common/log.h"
#include "common/util.h"
#include <errno.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

static bool is_ours(const struct config_files *files, const char *name)
{
	for (size_t i = 0; i < files->count; i++)
		if (str_equal(files->names[i], name))
			return true;
	return false;
}

// No quotes, no comments, no expansion: "#A=b" is a variable called "#A", which nobody asks for.
static void read_line(struct config_files *files, char *line, const char *path)
{
	char *equals = strchr(line, '=');

	if (!equals || equals == line)
		return;
	*equals = '\0';
	const char *value = equals + 1;
	size_t len = strlen(value);
	bool ours = is_ours(files, line);

	if (!ours && getenv(line))
		return;
	if (*line != '#' && len > 1 && (*value == '"' || *value == '\'') && value[len - 1] == *value)
		log_warn("quotes in a configuration file are part of the value", "variable=%s path=%s", line, path);
	if (setenv(line, value, 1) < 0 || ours)
		return;
	files->names = xreallocarray(files->names, files->count + 1, sizeof(*files->names));
	files->names[files->count++] = xstrdup(line);
}

static void read_one(struct config_files *files, const char *path)
{
	_cleanup_free_ char *text = read_file(path, FILE_MAX_BYTES, NULL);
	char *save = NULL;

	if (!text && errno != ENOENT)
		log_warn("a configuration file cannot be read", "path=%s error=%s", path, strerror(errno));
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		read_line(files, str_trim(line), path);
}

static void forget(struct config_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->names[i]);
	free(files->names);
	files->names = NULL;
	files->count = 0;
}

void config_files_read(struct config_files *files)
{
	_cleanup_free_ char *paths = xstrdup(files->paths ? files->paths : "");
	char *save = NULL;

	for (size_t i = 0; i < files->count; i++)
		unsetenv(files->names[i]);
	forget(files);
	for (char *path = strtok_r(paths, ":", &save); path; path = strtok_r(NULL, ":", &save))
		read_one(files, path);
}

void config_files_free(struct config_files *files)
{
	forget(files);
}
