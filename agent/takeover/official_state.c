#include "takeover/official_state.h"

#include "common/log.h"
#include "common/util.h"
#include "takeover/bolt.h"

enum { RECORDS_MAX = 100000 }; // of one bucket; an instance runs some hundred tasks at a time

// A bucket's entries, in the order of their keys.
struct records {
	struct record {
		char *key;
		json_object *value;
	} * items;
	size_t count;
	const char *bucket, *path;
};

static int add_record(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
		      struct error *err)
{
	struct records *records = arg;
	struct error why = {0};
	_cleanup_free_ char *name = xstrndup(key, key_len);
	json_object *object = json_parse(value, value_len, &why);
	if (!object)
		return error_set(err, EBADMSG, "%s: %s/%s: %s", records->path, records->bucket, name, why.message);
	if (records->count >= RECORDS_MAX) {
		json_object_put(object);
		return error_set(err, EBADMSG, "%s: %s has more than %d entries", records->path, records->bucket,
				 RECORDS_MAX);
	}
	records->items = xreallocarray(records->items, records->count + 1, sizeof(*records->items));
	records->items[records->count++] = (struct record){TAKE(name), object};
	return 0;
}

static void records_free(struct records *records)
{
	for (size_t i = 0; i < records->count; i++) {
		free(records->items[i].key);
		json_object_put(records->items[i].value);
	}
	free(records->items);
}
#define _cleanup_records_ _cleanup_(records_free)

static int read_bucket(const struct bolt *bolt, const char *path, const char *bucket, struct records *records,
		       struct error *err)
{
	*records = (struct records){.bucket = bucket, .path = path};
	int r = bolt_each(bolt, bucket, add_record, records, err);
	bool complete = r != -ENOENT || str_equal(bucket, "metadata"); // without that one, nobody has got that far
	return complete ? r : error_set(err, EBADMSG, "%s: there is no bucket %s", path, bucket);
}

// --- metadata ---

static const char *metadata(const struct records *records, const char *key)
{
	for (size_t i = 0; i < records->count; i++) {
		json_object *value = records->items[i].value;
		if (str_equal(records->items[i].key, key))
			return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
	}
	return NULL;
}

// The format of the records has no version but the agent's own. Of another major version nothing is known.
static int check_version(const char *path, const char *version, struct error *err)
{
	if (str_empty(version))
		return error_set(err, ENOENT, "%s has no agent-version: no agent has registered with it", path);
	if (!str_starts(version, "1."))
		return error_set(err, ENOTSUP, "%s was written by agent version %s, only versions 1.x are known", path,
				 version);
	return 0;
}

static int read_identity(const struct bolt *bolt, const char *path, struct official_state *state, struct error *err)
{
	_cleanup_records_ struct records records;
	struct instance_identity *identity = &state->identity;
	int r = read_bucket(bolt, path, "metadata", &records, err);
	const char *version = metadata(&records, "agent-version"), *arn = metadata(&records, "container-instance-arn");
	const char *cluster = metadata(&records, "cluster-name"), *id = metadata(&records, "ec2-instance-id");
	const char *sequence = metadata(&records, "task-manifest-seq-num");
	if (r == 0)
		r = check_version(path, version, err);
	if (r < 0)
		return r;
	if (str_empty(arn) || str_empty(cluster))
		return error_set(err, EBADMSG, "%s: metadata has no container-instance-arn or no cluster-name", path);
	if (!str_empty(sequence) && !parse_int64(sequence, &identity->manifest_sequence))
		return error_set(err, EBADMSG, "%s: task-manifest-seq-num is \"%s\", a number was expected", path,
				 sequence);
	state->agent_version = xstrdup(version);
	identity->arn = xstrdup(arn);
	identity->cluster = xstrdup(cluster);
	identity->ec2_instance_id = xstrdup(id ? id : "");
	identity->availability_zone = xstrdup(metadata(&records, "availability-zone"));
	return 0;
}

// --- tasks ---

static int by_key(const void *key, const void *record)
{
	return strcmp(key, ((const struct record *)record)->key);
}

static json_object *find_record(const char *key, void *arg)
{
	const struct records *records = arg;
	const struct record *found =
		records->count ? bsearch(key, records->items, records->count, sizeof(*records->items), by_key) : NULL;
	return found ? found->value : NULL;
}

static int read_tasks(const struct bolt *bolt, const char *path, const char *watch, struct official_state *state,
		      struct error *err)
{
	_cleanup_records_ struct records tasks, containers = {0};
	int r = read_bucket(bolt, path, "tasks", &tasks, err);
	if (r == 0)
		r = read_bucket(bolt, path, "containers", &containers, err);
	state->tasks = xcalloc(tasks.count + 1, sizeof(*state->tasks));
	for (size_t i = 0; r == 0 && i < tasks.count; i++) {
		struct official_task *task = &state->tasks[state->task_count];
		r = official_task_read(tasks.items[i].value, find_record, &containers, watch, task, err);
		if (r == 0 && task->task && !str_equal(task->task->id, tasks.items[i].key)) {
			official_task_free(task);
			r = error_set(err, EBADMSG, "the record is another task's");
		}
		if (r < 0)
			return error_wrap(err, "%s: tasks/%s", path, tasks.items[i].key);
		if (task->task)
			state->task_count++;
		else
			state->own_tasks++;
	}
	return r;
}

// --- images ---

struct saved_image {
	char *id;
	struct json_strings names;
	int64_t size;
};
struct saved_image_state {
	struct saved_image *image;
	char *pulled_at, *last_used_at;
	bool pull_succeeded;
};

static const struct json_field image_fields[] = {
	JSON_REQUIRED(struct saved_image, "ImageID", id, JSON_STRING),
	JSON_FIELD(struct saved_image, "Names", names, JSON_STRING_LIST),
	JSON_FIELD(struct saved_image, "Size", size, JSON_INT64),
	JSON_END,
};
static const struct json_table image_table = {"Image", sizeof(struct saved_image), image_fields};
static const struct json_field image_state_fields[] = {
	JSON_SUB(struct saved_image_state, "Image", image, JSON_OBJECT, &image_table),
	JSON_FIELD(struct saved_image_state, "PulledAt", pulled_at, JSON_STRING),
	JSON_FIELD(struct saved_image_state, "LastUsedAt", last_used_at, JSON_STRING),
	JSON_FIELD(struct saved_image_state, "PullSucceeded", pull_succeeded, JSON_BOOL),
	JSON_END,
};
static const struct json_table image_state_table = {"ImageState", sizeof(struct saved_image_state), image_state_fields};

static int64_t time_of(const char *text)
{
	int64_t ms;
	return text && parse_rfc3339(text, &ms) && ms > 0 ? ms : wall_ms(); // young: kept for now
}

static void take_image(struct official_state *state, const struct saved_image_state *saved)
{
	int64_t pulled_ms = time_of(saved->pulled_at);
	const struct saved_image *image = saved->image;
	for (size_t i = 0; i < image->names.count; i++) {
		struct image *known =
			images_use(&state->images, image->id, image->names.items[i], image->size, pulled_ms);
		known->last_used_ms = time_of(saved->last_used_at);
		if (!saved->pull_succeeded)
			continue;
		state->pulled = xreallocarray(state->pulled, state->pulled_count + 1, sizeof(*state->pulled));
		state->pulled[state->pulled_count++] =
			(struct official_pulled){xstrdup(image->names.items[i]), pulled_ms};
	}
}

static int read_images(const struct bolt *bolt, const char *path, struct official_state *state, struct error *err)
{
	_cleanup_records_ struct records records;
	int r = read_bucket(bolt, path, "images", &records, err);
	for (size_t i = 0; r == 0 && i < records.count; i++) {
		struct saved_image_state saved;
		struct error why = {0};
		json_object *value = records.items[i].value;
		if (!json_object_is_type(value, json_type_object))
			return error_set(err, EBADMSG, "%s: images/%s: no JSON object", path, records.items[i].key);
		if (json_decode(&image_state_table, value, &saved, &why) < 0)
			return error_set(err, EBADMSG, "%s: images/%s: %s", path, records.items[i].key, why.message);
		if (saved.image)
			take_image(state, &saved);
		json_decode_free(&image_state_table, &saved);
	}
	return r;
}

int official_state_read(const char *path, const char *watch, struct official_state *state, struct error *err)
{
	struct error why = {0};
	*state = (struct official_state){0};
	struct bolt *bolt = bolt_open(path, &why);
	int r = bolt ? 0 : -why.code;
	if (r == 0)
		r = read_identity(bolt, path, state, &why);
	if (r == 0)
		r = read_tasks(bolt, path, watch, state, &why);
	if (r == 0)
		r = read_images(bolt, path, state, &why);
	bolt_close(bolt);
	if (r == 0)
		return 0;
	official_state_free(state);
	return error_set(err, -r, "%s", why.message);
}

void official_state_free(struct official_state *state)
{
	free(state->agent_version);
	instance_identity_free(&state->identity);
	for (size_t i = 0; i < state->task_count; i++)
		official_task_free(&state->tasks[i]);
	free(state->tasks);
	images_free(&state->images);
	for (size_t i = 0; i < state->pulled_count; i++)
		free(state->pulled[i].image);
	free(state->pulled);
	*state = (struct official_state){0};
}
