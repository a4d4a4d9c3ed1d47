#include "common/log_roll.h"
#include "common/util.h"
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <libgen.h>
#include <sys/stat.h>
#include <time.h>

#define ROLLED_MAX 4096 // files looked at in one directory

struct rolled {
	char *suffixes[ROLLED_MAX];
	size_t count;
};

static bool is_number(const char *suffix)
{
	size_t len = strspn(suffix, "0123456789");

	return len > 0 && len < 19 && !suffix[len];
}

static bool is_hour(const char *suffix)
{
	static const char pattern[] = "dddd-dd-dd-dd";

	if (strlen(suffix) != strlen(pattern))
		return false;
	for (size_t i = 0; pattern[i]; i++)
		if (pattern[i] == 'd' ? !isdigit((unsigned char)suffix[i]) : suffix[i] != pattern[i])
			return false;
	return true;
}

// Oldest first: lower numbers, earlier hours.
static int compare(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	uint64_t m, n;

	if (parse_uint64(x, &m) && parse_uint64(y, &n) && m != n)
		return m < n ? -1 : 1;
	return strcmp(x, y);
}

static void find_rolled(const struct rolling_file *file, struct rolled *rolled)
{
	_cleanup_free_ char *directory_copy = xstrdup(file->path), *base_copy = xstrdup(file->path);
	const char *base = basename(base_copy);
	size_t len = strlen(base);
	DIR *directory = opendir(dirname(directory_copy));

	rolled->count = 0;
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory)) && rolled->count < ROLLED_MAX;) {
		if (!str_starts(entry->d_name, base) || entry->d_name[len] != '.')
			continue;
		const char *suffix = entry->d_name + len + 1;
		if (file->roll.type == LOG_ROLL_SIZE ? is_number(suffix) : is_hour(suffix))
			rolled->suffixes[rolled->count++] = xstrdup(suffix);
	}
	closedir(directory);
	qsort(rolled->suffixes, rolled->count, sizeof(*rolled->suffixes), compare);
}

static void remove_oldest(const struct rolling_file *file, const struct rolled *rolled)
{
	int64_t max = file->roll.max_files, count = (int64_t)rolled->count;

	for (size_t i = 0; max > 0 && (int64_t)i < count - max; i++) {
		_cleanup_free_ char *path = xasprintf("%s.%s", file->path, rolled->suffixes[i]);
		unlink(path);
	}
}

// Renames to a name that is free and removes what is too old.
static bool roll_to(struct rolling_file *file, const char *hour)
{
	_cleanup_free_ struct rolled *rolled = xcalloc(1, sizeof(*rolled));
	uint64_t last = 0;

	find_rolled(file, rolled);
	if (rolled->count && !hour)
		parse_uint64(rolled->suffixes[rolled->count - 1], &last);
	_cleanup_free_ char *to =
		hour ? xasprintf("%s.%s", file->path, hour) : xasprintf("%s.%" PRIu64, file->path, last + 1);
	bool done = access(to, F_OK) != 0 && rename(file->path, to) == 0;
	for (size_t i = 0; i < rolled->count; i++)
		free(rolled->suffixes[i]);
	if (done) {
		find_rolled(file, rolled);
		remove_oldest(file, rolled);
		for (size_t i = 0; i < rolled->count; i++)
			free(rolled->suffixes[i]);
	}
	return done;
}

bool rolling_file_roll(struct rolling_file *file, int64_t wall_ms)
{
	time_t now = (time_t)(wall_ms / 1000);
	char hour[sizeof(file->hour)], before[sizeof(file->hour)];
	struct stat st;
	struct tm local;

	if (file->roll.type == LOG_ROLL_NONE)
		return false;
	if (file->roll.type == LOG_ROLL_SIZE) {
		if (file->size < file->roll.max_bytes)
			return false;
		file->size = 0; // if it cannot be renamed now: again after as many bytes
		return roll_to(file, NULL);
	}
	if (!localtime_r(&now, &local) || !strftime(hour, sizeof(hour), "%Y-%m-%d-%H", &local))
		return false;
	if (strcmp(hour, file->hour) == 0)
		return false;
	memcpy(before, file->hour, sizeof(before));
	memcpy(file->hour, hour, sizeof(hour));
	if (!*before || stat(file->path, &st) < 0 || st.st_size == 0 || !roll_to(file, before))
		return false;
	file->size = 0;
	return true;
}
