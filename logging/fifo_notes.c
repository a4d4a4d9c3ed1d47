#include "logging/fifo_notes.h"

#include "common/log.h"
#include "common/util.h"

#include <dirent.h>

#define NOTE_MAX ((size_t)1 << 20)
#define TORN ".tmp"

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

uint32_t fifo_number(const char *path)
{
	const char *name = name_of(path);
	uint64_t sum = fnv1a(FNV1A_START, name, strlen(name));

	return (uint32_t)(sum ^ sum >> 32);
}

int fifo_note(const char *directory, const char *path, const char *container_id, json_object *settings,
	      struct error *err)
{
	_cleanup_free_ char *file = xasprintf("%s/%s", directory, name_of(path));
	_cleanup_json_ json_object *note = json_object_new_object();
	const char *text;
	int r;

	json_add_string(note, "File", path);
	json_add_string(note, "Container", container_id);
	json_add(note, "Settings", json_object_get(settings));
	text = json_text(note);
	r = write_file_atomic(file, text, strlen(text), 0600);
	return r < 0 ? error_set_errno(err, -r, "cannot note in %s which log is read", directory) : 0;
}

void fifo_forget(const char *directory, const char *path)
{
	_cleanup_free_ char *file = xasprintf("%s/%s", directory, name_of(path));

	if (unlink(file) < 0 && errno != ENOENT)
		log_warn("cannot remove a note", "file=%s error=%s", file, strerror(errno));
}

static void read_note(const char *directory, const char *name,
		      void (*found)(const char *, const char *, json_object *, void *), void *arg)
{
	_cleanup_free_ char *file = xasprintf("%s/%s", directory, name);
	_cleanup_json_ json_object *note = NULL;
	_cleanup_free_ char *text = NULL;
	struct error err = {0};
	size_t len = 0;

	text = read_file(file, NOTE_MAX, &len);
	if (!text)
		error_set_errno(&err, errno, "cannot be read");
	else
		note = json_parse(text, len, &err);
	if (note && (!json_get_string(note, "File") || !json_get_string(note, "Container")))
		error_set(&err, EINVAL, "\"File\" and \"Container\" expected");
	if (err.code) {
		log_error("a note of which log is read is damaged", "file=%s error=%s", file, err.message);
		unlink(file);
		return;
	}
	found(json_get_string(note, "File"), json_get_string(note, "Container"), json_get(note, "Settings"), arg);
}

// What write_file_atomic leaves when it does not come to its end: the FIFO was never read, or its note is there as well.
static bool is_torn(const char *name)
{
	size_t len = strlen(name);

	return len > strlen(TORN) && strcmp(name + len - strlen(TORN), TORN) == 0;
}

void fifo_each(const char *directory, void (*found)(const char *, const char *, json_object *, void *), void *arg)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort); // the directory changes while it is walked

	if (count < 0) {
		log_error("cannot list the logs that were read before", "directory=%s error=%s", directory,
			  strerror(errno));
		return;
	}
	for (int i = 0; i < count; i++) {
		if (is_torn(entries[i]->d_name))
			fifo_forget(directory, entries[i]->d_name);
		else if (entries[i]->d_name[0] != '.')
			read_note(directory, entries[i]->d_name, found, arg);
		free(entries[i]);
	}
	free(entries);
}
