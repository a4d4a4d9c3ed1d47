#include "engine/image_cycle.h"

#include "engine/pulled.h"

#include "common/log.h"
#include "common/util.h"
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
	RELIEF_PAUSE_MS = 10 * 1000,   // after making room has ended without enough of it, pulls go on for so long
	RELIEF_MAX_MS = 5 * 60 * 1000, // pulls wait no longer than this
	INSPECTS_MAX = 256,            // untracked containers looked at in one cycle
};

struct image_cycle {
	struct engine *engine;
	struct image_settings settings;
	struct image_set set;
	struct timer timer;    // next periodic cycle
	struct timer guard;    // of making room
	char *root;            // Docker's directory; NULL: watermarks off
	uint64_t relief_ended; // loop time, 0: never

	// the cycle under way
	bool running, want_relief;
	bool expiring; // a stopped task is cleaned up early; its end starts the next round
	enum image_mode mode;
	struct docker_call *call;
	struct image_container *containers;
	size_t container_count, inspected; // index of the next container to ask about
	int64_t *created_ms;
	struct image_listed *listed;
	size_t listed_count;
	struct image_removals removals;
	size_t at, name; // in removals, and in its names
	size_t removed;
	struct image_removal *removing; // Docker works on it
	const struct image_listed *removing_listed;
};

static void begin(struct image_cycle *cycle, enum image_mode mode);
static void next_removal(struct image_cycle *cycle);
static void end(struct image_cycle *cycle);

static struct docker *docker_of(const struct image_cycle *cycle)
{
	return cycle->engine->o.docker;
}

// --- life ---

static void on_timer(void *arg)
{
	struct image_cycle *cycle = arg;
	if (!cycle->running)
		begin(cycle, IMAGES_PERIODIC);
}

static void on_guard(void *arg)
{
	struct image_cycle *cycle = arg;
	log_warn("making room for images takes too long; pulls go on", NULL);
	docker_call_cancel(cycle->call);
	cycle->call = NULL;
	cycle->expiring = false;
	end(cycle);
}

struct image_cycle *image_cycle_new(struct engine *engine, const struct image_settings *settings)
{
	struct image_cycle *cycle = xcalloc(1, sizeof(*cycle));
	cycle->engine = engine;
	cycle->settings = *settings;
	timer_init(&cycle->timer, engine->o.loop, on_timer, cycle);
	timer_init(&cycle->guard, engine->o.loop, on_guard, cycle);
	return cycle;
}

static void strings_done(struct json_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct json_strings){0};
}

static void drop_facts(struct image_cycle *cycle)
{
	for (size_t i = 0; i < cycle->container_count; i++) {
		free(cycle->containers[i].id);
		free(cycle->containers[i].image_id);
		free(cycle->containers[i].state);
	}
	free(TAKE(cycle->containers));
	free(TAKE(cycle->created_ms));
	for (size_t i = 0; i < cycle->listed_count; i++) {
		free(cycle->listed[i].id);
		strings_done(&cycle->listed[i].tags);
		strings_done(&cycle->listed[i].digests);
	}
	free(TAKE(cycle->listed));
	cycle->container_count = cycle->listed_count = 0;
	cycle->inspected = cycle->at = cycle->name = 0;
	cycle->removing = NULL;
	cycle->removing_listed = NULL;
	image_removals_free(&cycle->removals);
}

struct image_cycle *image_cycle_free(struct image_cycle *cycle)
{
	if (!cycle)
		return NULL;
	docker_call_cancel(cycle->call);
	drop_facts(cycle);
	images_free(&cycle->set);
	timer_done(&cycle->timer);
	timer_done(&cycle->guard);
	free(cycle->root);
	free(cycle);
	return NULL;
}

int image_cycle_load(struct image_cycle *cycle, struct error *err)
{
	int r = store_load_images(cycle->engine->o.store, &cycle->set, err);
	// Rows may have been lost, or the database is of an older version.
	for (size_t i = 0; r == 0 && i < cycle->engine->count; i++) {
		const struct task *task = cycle->engine->entries[i]->task;
		for (size_t k = 0; k < task->container_count; k++) {
			const struct container *c = &task->containers[k];
			if (c->image_id && c->image && !images_find(&cycle->set, c->image_id))
				image_cycle_used(cycle, c, 0);
		}
	}
	return r;
}

static void on_info(const struct docker_error *err, const struct docker_info *info, void *arg)
{
	struct image_cycle *cycle = arg;
	const char *root = info ? info->root : "";
	_cleanup_free_ char *containers = xasprintf("%s/containers", root);
	struct stat st;
	cycle->call = NULL;
	if (str_empty(root))
		log_warn("watermarks for images are off: Docker does not tell its root directory", "error=%s",
			 err->message);
	else if (stat(containers, &st) < 0 || !S_ISDIR(st.st_mode)) // another directory may be mounted there
		log_warn("watermarks for images are off: ecsd does not see Docker's root directory", "root=%s error=%s",
			 root, strerror(errno));
	else
		cycle->root = xstrdup(root);
	if (cycle->root)
		log_info("watermarks for images are on", "root=%s disk=%u/%u inodes=%u/%u", root,
			 cycle->settings.disk_high, cycle->settings.disk_low, cycle->settings.inodes_high,
			 cycle->settings.inodes_low);
	if (!cycle->settings.disabled)
		timer_start(&cycle->timer, cycle->settings.interval_ms);
}

void image_cycle_start(struct image_cycle *cycle)
{
	const struct image_settings *settings = &cycle->settings;
	bool watermarks = settings->disk_high > 0 || settings->inodes_high > 0;
	if (settings->disabled) {
		log_info("images are never removed", "why=%s",
			 "ECS_DISABLE_IMAGE_CLEANUP is set, or the pull behavior is prefer-cached");
		if (watermarks)
			log_warn("watermarks for images have no effect", NULL);
		return;
	}
	if (watermarks)
		cycle->call = docker_info(docker_of(cycle), on_info, cycle);
	else
		timer_start(&cycle->timer, settings->interval_ms);
}

// --- facts ---

void image_cycle_used(struct image_cycle *cycle, const struct container *container, int64_t size)
{
	images_use(&cycle->set, container->image_id, container->image, size, wall_ms());
}

void image_cycle_forgotten(struct image_cycle *cycle, const struct task *task)
{
	for (size_t i = 0; i < task->container_count; i++)
		images_touch(&cycle->set, task->containers[i].image_id, wall_ms());
	if (cycle->expiring && task->cleanup_now) {
		cycle->expiring = false;
		begin(cycle, IMAGES_RELIEF);
	}
}

// What containers of known tasks use or still need. Strings are borrowed.
static struct image_want *collect_wants(const struct image_cycle *cycle, size_t *count)
{
	const struct engine *engine = cycle->engine;
	size_t capacity = 1;
	for (size_t i = 0; i < engine->count; i++)
		capacity += engine->entries[i]->task->container_count;
	struct image_want *wants = xcalloc(capacity, sizeof(*wants));
	*count = 0;
	for (size_t i = 0; i < engine->count; i++) {
		const struct task *task = engine->entries[i]->task;
		for (size_t k = 0; k < task->container_count; k++) {
			const struct container *c = &task->containers[k];
			bool exists = (c->docker_id || c->docker_name) && !c->removed;
			bool to_come = c->known < CONTAINER_CREATED || c->in_flight == OP_PULL ||
				       c->in_flight == OP_CREATE || c->in_flight == OP_IMAGE_INSPECT;
			if (exists || to_come)
				wants[(*count)++] = (struct image_want){to_come ? c->image : NULL, c->image_id};
		}
	}
	return wants;
}

static bool of_task(const struct image_cycle *cycle, const struct docker_summary *summary)
{
	const struct engine *engine = cycle->engine;
	for (size_t i = 0; i < engine->count; i++) {
		const struct task *task = engine->entries[i]->task;
		for (size_t k = 0; k < task->container_count; k++) {
			const struct container *c = &task->containers[k];
			if (str_equal(c->docker_id, summary->id) ||
			    (c->docker_name && str_equal(c->docker_name, summary->name)))
				return true;
		}
	}
	return false;
}

static bool disk_use(const struct image_cycle *cycle, struct disk_use *use)
{
	struct statvfs fs;
	if (!cycle->root || statvfs(cycle->root, &fs) < 0)
		return false;
	*use = (struct disk_use){
		.used_bytes = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize,
		.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
		.used_inodes = fs.f_files - fs.f_ffree,
		.free_inodes = fs.f_favail,
	};
	return true;
}

static bool needs_room(const struct image_cycle *cycle, bool relieving)
{
	struct disk_use use;
	return disk_use(cycle, &use) && images_need_room(&use, &cycle->settings, relieving);
}

// --- one cycle: containers, images, untracked containers one by one, decision, removals one by one ---

static void end(struct image_cycle *cycle)
{
	struct engine *engine = cycle->engine;
	bool relief = cycle->mode == IMAGES_RELIEF;
	drop_facts(cycle);
	cycle->running = false;
	timer_stop(&cycle->guard);
	if (cycle->removed > 0)
		log_info("image clean-up", "removed=%zu for_room=%s", cycle->removed, relief ? "true" : "false");
	cycle->removed = 0;
	if (relief) {
		cycle->relief_ended = loop_now(engine->o.loop);
		if (needs_room(cycle, true))
			log_warn("no unused image is left, and Docker's disk is still above the low watermark",
				 "root=%s", cycle->root);
	}
	if (!timer_running(&cycle->timer))
		timer_start(&cycle->timer, cycle->settings.interval_ms);
	if (cycle->want_relief || (!relief && needs_room(cycle, false)))
		begin(cycle, IMAGES_RELIEF);
	engine_touch_waiting(engine);
	loop_wake(engine->o.loop);
}

static void failed(struct image_cycle *cycle, const struct docker_error *err)
{
	log_warn("image clean-up is given up for this time", "error=%s: %s", err->name, err->message);
	end(cycle);
}

static void decide(struct image_cycle *cycle)
{
	size_t want_count;
	struct image_want *wants = collect_wants(cycle, &want_count);
	struct image_facts facts = {
		.known = &cycle->set,
		.listed = cycle->listed,
		.listed_count = cycle->listed_count,
		.containers = cycle->containers,
		.container_count = cycle->container_count,
		.wants = wants,
		.want_count = want_count,
		.scale = loop_scale(cycle->engine->o.loop),
	};
	images_choose(&facts, &cycle->settings, cycle->mode, wall_ms(), &cycle->removals);
	free(wants);
	next_removal(cycle);
}

static void inspect_next(struct image_cycle *cycle);

static void on_inspected(const struct docker_error *err, const struct docker_container *info, void *arg)
{
	struct image_cycle *cycle = arg;
	cycle->call = NULL;
	if (err->failure == DOCKER_UNKNOWN) {
		failed(cycle, err);
		return;
	}
	// One that never ran is as old as its creation; in the reference it counts as very old.
	if (info)
		cycle->containers[cycle->inspected].finished_ms = info->running    ? 0
								  : info->finished ? info->finished_ms
										   : info->created_ms;
	cycle->inspected++;
	inspect_next(cycle);
}

static bool may_be_old(const struct image_cycle *cycle, size_t index)
{
	const struct image_container *c = &cycle->containers[index];
	double age = (double)(wall_ms() - cycle->created_ms[index]) * loop_scale(cycle->engine->o.loop);
	return !c->of_task && !str_equal(c->state, "running") && !str_equal(c->state, "paused") &&
	       age >= (double)cycle->settings.untracked_container_age_ms;
}

static void inspect_next(struct image_cycle *cycle)
{
	bool wanted = cycle->mode == IMAGES_PERIODIC && cycle->settings.untracked;
	while (wanted && cycle->inspected < cycle->container_count && cycle->inspected < INSPECTS_MAX &&
	       !may_be_old(cycle, cycle->inspected))
		cycle->inspected++;
	if (wanted && cycle->inspected < cycle->container_count && cycle->inspected < INSPECTS_MAX)
		cycle->call =
			docker_inspect(docker_of(cycle), cycle->containers[cycle->inspected].id, on_inspected, cycle);
	else
		decide(cycle);
}

static void take_names(struct json_strings *to, json_object *list)
{
	size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	to->items = xcalloc(count + 1, sizeof(char *));
	for (size_t i = 0; i < count; i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(list, i));
		if (name && !strstr(name, "<none>"))
			to->items[to->count++] = xstrdup(name);
	}
}

// Of a time in seconds that Docker gave; 0, "long ago", for one that is none.
static int64_t ms_of(int64_t seconds)
{
	return seconds > 0 && seconds < INT64_MAX / 1000 ? seconds * 1000 : 0;
}

static void on_images(const struct docker_error *err, json_object *list, void *arg)
{
	struct image_cycle *cycle = arg;
	cycle->call = NULL;
	if (err->failure != DOCKER_OK) {
		failed(cycle, err);
		return;
	}
	size_t count = json_object_array_length(list);
	cycle->listed = xcalloc(count + 1, sizeof(*cycle->listed));
	for (size_t i = 0; i < count; i++) {
		json_object *item = json_object_array_get_idx(list, i);
		const char *id = json_object_is_type(item, json_type_object) ? json_get_string(item, "Id") : NULL;
		if (str_empty(id))
			continue;
		struct image_listed *listed = &cycle->listed[cycle->listed_count++];
		listed->id = xstrdup(id);
		listed->size = json_object_get_int64(json_get(item, "Size"));
		listed->created_ms = ms_of(json_object_get_int64(json_get(item, "Created")));
		take_names(&listed->tags, json_get(item, "RepoTags"));
		take_names(&listed->digests, json_get(item, "RepoDigests"));
	}
	inspect_next(cycle);
}

static void on_containers(const struct docker_error *err, const struct docker_summary *list, size_t count, void *arg)
{
	struct image_cycle *cycle = arg;
	cycle->call = NULL;
	if (err->failure != DOCKER_OK) {
		failed(cycle, err);
		return;
	}
	cycle->containers = xcalloc(count + 1, sizeof(*cycle->containers));
	cycle->created_ms = xcalloc(count + 1, sizeof(*cycle->created_ms));
	cycle->container_count = count;
	for (size_t i = 0; i < count; i++) {
		cycle->containers[i] = (struct image_container){
			.id = xstrdup(list[i].id),
			.image_id = xstrdup(list[i].image_id),
			.state = xstrdup(list[i].state),
			.of_task = of_task(cycle, &list[i]),
		};
		cycle->created_ms[i] = ms_of(list[i].created_s);
	}
	cycle->call = docker_image_list(docker_of(cycle), on_images, cycle);
}

static void begin(struct image_cycle *cycle, enum image_mode mode)
{
	cycle->running = true;
	cycle->mode = mode;
	drop_facts(cycle);
	if (mode == IMAGES_RELIEF) {
		cycle->want_relief = false;
		if (!timer_running(&cycle->guard)) {
			log_info("Docker's disk is above the high watermark: unused images are removed", "root=%s",
				 cycle->root);
			timer_start(&cycle->guard, RELIEF_MAX_MS);
		}
	}
	cycle->call = docker_list(docker_of(cycle), NULL, on_containers, cycle);
}

// --- removals ---

static void removal_done(struct image_cycle *cycle, bool success)
{
	struct image_removal *removal = &cycle->removals.items[cycle->at];
	if (success && removal->kind == REMOVE_IMAGE) {
		images_forget(&cycle->set, removal->id);
		cycle->removed++;
	}
	cycle->removing = NULL;
	cycle->removing_listed = NULL;
	cycle->at++;
	cycle->name = 0;
	engine_touch_waiting(cycle->engine);
	loop_wake(cycle->engine->o.loop);
	next_removal(cycle);
}

static void remove_name(struct image_cycle *cycle);

static void on_name_removed(const struct docker_error *err, void *arg)
{
	struct image_cycle *cycle = arg;
	const struct image_removal *removal = &cycle->removals.items[cycle->at];
	const char *name = removal->names.count ? removal->names.items[cycle->name] : removal->id;
	cycle->call = NULL;
	if (err->failure == DOCKER_UNKNOWN) {
		failed(cycle, err);
		return;
	}
	bool gone = err->failure == DOCKER_OK || err->failure == DOCKER_NOT_FOUND ||
		    strcasestr(err->message, "no such image");
	if (gone) {
		log_info("image removed", "image=%s id=%s", name, removal->id);
		engine_forget_pulled(cycle->engine, name);
	} else {
		log_warn("image not removed", "image=%s id=%s error=%s", name, removal->id, err->message);
	}
	if (gone && ++cycle->name < removal->names.count)
		remove_name(cycle);
	else
		removal_done(cycle, gone);
}

static void remove_name(struct image_cycle *cycle)
{
	const struct image_removal *removal = cycle->removing;
	const char *name = removal->names.count ? removal->names.items[cycle->name] : removal->id;
	cycle->call = docker_image_remove(docker_of(cycle), name, on_name_removed, cycle);
}

static void on_container_removed(const struct docker_error *err, void *arg)
{
	struct image_cycle *cycle = arg;
	const struct image_removal *removal = &cycle->removals.items[cycle->at];
	cycle->call = NULL;
	if (err->failure == DOCKER_UNKNOWN) {
		failed(cycle, err);
		return;
	}
	if (err->failure == DOCKER_OK)
		log_info("untracked container removed", "docker_id=%s", removal->id);
	else if (err->failure != DOCKER_NOT_FOUND)
		log_warn("untracked container not removed", "docker_id=%s error=%s", removal->id, err->message);
	removal_done(cycle, true);
}

// Since the decision a task may have come that wants it.
static bool wanted_now(const struct image_cycle *cycle, const struct image_listed *listed)
{
	size_t count;
	struct image_want *wants = collect_wants(cycle, &count);
	bool wanted = images_wanted(wants, count, listed->id, &listed->tags) ||
		      images_wanted(wants, count, listed->id, &listed->digests);
	free(wants);
	return wanted;
}

static const struct image_listed *listed_by_id(const struct image_cycle *cycle, const char *id)
{
	for (size_t i = 0; i < cycle->listed_count; i++) {
		if (str_equal(cycle->listed[i].id, id))
			return &cycle->listed[i];
	}
	return NULL;
}

// Room is still needed and no image can go: the containers of the task that stopped first are removed before their
// time, and with them the claim on their images. Reports go first.
static bool expire_oldest_task(struct image_cycle *cycle)
{
	struct entry *oldest = NULL;
	for (size_t i = 0; i < cycle->engine->count; i++) {
		struct entry *entry = cycle->engine->entries[i];
		const struct task *task = entry->task;
		if (entry->refused || task->known != TASK_STOPPED || task->unreported || task->cleanup_now ||
		    entry->kept)
			continue;
		if (!oldest || task->known_ms < oldest->task->known_ms)
			oldest = entry;
	}
	if (!oldest)
		return false;
	log_info("stopped task is cleaned up before its time: Docker's disk is full", "task=%s", oldest->task->arn);
	oldest->task->cleanup_now = true;
	engine_touch(oldest);
	loop_wake(cycle->engine->o.loop);
	return true;
}

static void next_removal(struct image_cycle *cycle)
{
	bool relief = cycle->mode == IMAGES_RELIEF;
	while (cycle->at < cycle->removals.count) {
		struct image_removal *removal = &cycle->removals.items[cycle->at];
		const struct image_listed *listed = listed_by_id(cycle, removal->id);
		if (relief && !needs_room(cycle, true))
			break;
		if (removal->kind == REMOVE_CONTAINER) {
			cycle->call = docker_remove(docker_of(cycle), removal->id, on_container_removed, cycle);
			return;
		}
		if (removal->kind == FORGET_IMAGE) {
			images_forget(&cycle->set, removal->id);
			loop_wake(cycle->engine->o.loop);
		} else if (listed && !wanted_now(cycle, listed)) {
			cycle->removing = removal;
			cycle->removing_listed = listed;
			remove_name(cycle);
			return;
		}
		cycle->at++;
	}
	if (relief && needs_room(cycle, true) && expire_oldest_task(cycle)) {
		cycle->expiring = true; // image_cycle_forgotten() goes on, or the guard ends it
		return;
	}
	end(cycle);
}

// --- what the engine asks ---

bool image_cycle_blocks(const struct image_cycle *cycle, const struct container *container)
{
	const struct image_listed *listed = cycle->removing_listed;
	if (!listed)
		return false;
	struct image_want want = {container->image, container->image_id};
	return images_wanted(&want, 1, listed->id, &listed->tags) ||
	       images_wanted(&want, 1, listed->id, &listed->digests);
}

bool image_cycle_may_pull(struct image_cycle *cycle)
{
	if (!cycle->root)
		return true;
	if (cycle->running && cycle->mode == IMAGES_RELIEF)
		return false;
	uint64_t now = loop_now(cycle->engine->o.loop);
	if (!needs_room(cycle, false) || (cycle->relief_ended && now - cycle->relief_ended < RELIEF_PAUSE_MS))
		return true;
	if (cycle->running)
		cycle->want_relief = true;
	else
		begin(cycle, IMAGES_RELIEF);
	return false;
}

bool image_cycle_dirty(const struct image_cycle *cycle)
{
	return images_dirty(&cycle->set);
}

int image_cycle_write(const struct image_cycle *cycle, struct store *store, struct error *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < cycle->set.count; i++) {
		const struct image *image = &cycle->set.items[i];
		if (image->dirty)
			r = image->gone ? store_delete_image(store, image->id, err)
					: store_put_image(store, image, err);
	}
	return r;
}

void image_cycle_unwritten(struct image_cycle *cycle)
{
	for (size_t i = 0; i < cycle->set.count; i++)
		cycle->set.items[i].dirty = true;
}

void image_cycle_written(struct image_cycle *cycle)
{
	images_written(&cycle->set);
}
