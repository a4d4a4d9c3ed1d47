#include "engine/images.h"

#include "common/util.h"

// --- names ---

static void strings_add(struct json_strings *strings, char *item)
{
	strings->items = xreallocarray(strings->items, strings->count + 1, sizeof(char *));
	strings->items[strings->count++] = item;
}

static void strings_free(struct json_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct json_strings){0};
}

static bool strings_have(const struct json_strings *strings, const char *item)
{
	for (size_t i = 0; i < strings->count; i++) {
		if (str_equal(strings->items[i], item))
			return true;
	}
	return false;
}

char *images_canonical(const char *reference)
{
	const char *p = reference;
	static const char *const defaults[] = {"docker.io/", "index.docker.io/", "library/"};
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		if (str_starts(p, defaults[i]))
			p += strlen(defaults[i]);
	}
	const char *at = strchr(p, '@'), *slash = strrchr(p, '/');
	if (at && slash > at)
		slash = NULL;
	const char *colon = strchr(slash ? slash : p, ':');
	if (at) {
		size_t repository = (size_t)((colon && colon < at ? colon : at) - p);
		return xasprintf("%.*s%s", (int)repository, p, at);
	}
	return colon ? xstrdup(p) : xasprintf("%s:latest", p);
}

// One of the names, as Docker or a user writes them, is the canonical one.
static bool names_have(const struct json_strings *names, const char *canonical)
{
	for (size_t i = 0; i < names->count; i++) {
		_cleanup_free_ char *name = images_canonical(names->items[i]);
		if (str_equal(name, canonical))
			return true;
	}
	return false;
}

// --- the set ---

struct image *images_find(const struct image_set *set, const char *id)
{
	for (size_t i = 0; id && i < set->count; i++) {
		if (!set->items[i].gone && str_equal(set->items[i].id, id))
			return &set->items[i];
	}
	return NULL;
}

static void take_name_from_others(struct image_set *set, const char *id, const char *name)
{
	for (size_t i = 0; i < set->count; i++) {
		struct image *image = &set->items[i];
		size_t kept = 0;
		for (size_t k = 0; !str_equal(image->id, id) && k < image->names.count; k++) {
			if (str_equal(image->names.items[k], name)) {
				free(image->names.items[k]);
				image->dirty = true;
			} else {
				image->names.items[kept++] = image->names.items[k];
			}
		}
		if (!str_equal(image->id, id))
			image->names.count = kept;
	}
}

static struct image *add_image(struct image_set *set, const char *id)
{
	for (size_t i = 0; i < set->count; i++) {
		if (str_equal(set->items[i].id, id)) { // gone, and back before its row was deleted
			set->items[i].gone = false;
			return &set->items[i];
		}
	}
	set->items = xreallocarray(set->items, set->count + 1, sizeof(*set->items));
	set->items[set->count] = (struct image){.id = xstrdup(id)};
	return &set->items[set->count++];
}

struct image *images_use(struct image_set *set, const char *id, const char *name, int64_t size, int64_t now_ms)
{
	char *canonical = images_canonical(name);
	struct image *image = images_find(set, id);
	if (!image) {
		image = add_image(set, id);
		image->pulled_ms = now_ms;
	}
	take_name_from_others(set, id, canonical);
	if (strings_have(&image->names, canonical))
		free(canonical);
	else
		strings_add(&image->names, canonical);
	if (size > 0)
		image->size = size;
	image->last_used_ms = now_ms;
	image->dirty = true;
	return image;
}

void images_touch(struct image_set *set, const char *id, int64_t now_ms)
{
	struct image *image = images_find(set, id);
	if (!image)
		return;
	image->last_used_ms = now_ms;
	image->dirty = true;
}

void images_forget(struct image_set *set, const char *id)
{
	struct image *image = images_find(set, id);
	if (!image)
		return;
	image->gone = image->dirty = true;
	strings_free(&image->names);
}

bool images_dirty(const struct image_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->items[i].dirty)
			return true;
	}
	return false;
}

static void image_done(struct image *image)
{
	free(image->id);
	strings_free(&image->names);
}

void images_written(struct image_set *set)
{
	size_t kept = 0;
	for (size_t i = 0; i < set->count; i++) {
		struct image *image = &set->items[i];
		if (image->gone) {
			image_done(image);
			continue;
		}
		image->dirty = false;
		set->items[kept++] = *image;
	}
	set->count = kept;
}

void images_free(struct image_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		image_done(&set->items[i]);
	free(set->items);
	*set = (struct image_set){0};
}

// --- the decision ---

static struct image_removal *add_removal(struct image_removals *out, int kind, const char *id)
{
	if (out->count == out->capacity) {
		out->capacity = out->capacity ? out->capacity * 2 : 8;
		out->items = xreallocarray(out->items, out->capacity, sizeof(*out->items));
	}
	struct image_removal *removal = &out->items[out->count++];
	*removal = (struct image_removal){.id = xstrdup(id)};
	removal->kind = kind;
	return removal;
}

void image_removals_free(struct image_removals *removals)
{
	for (size_t i = 0; i < removals->count; i++) {
		free(removals->items[i].id);
		strings_free(&removals->items[i].names);
	}
	free(removals->items);
	*removals = (struct image_removals){0};
}

// What no setting can make go: the agent's own images.
static const char *const always_excluded[] = {"amazon/amazon-ecs-pause:0.1.0", "amazon/amazon-ecs-agent:latest"};

static bool excluded_name(const struct image_settings *settings, const char *name)
{
	_cleanup_free_ char *canonical = images_canonical(name);
	for (size_t i = 0; i < ARRAY_SIZE(always_excluded); i++) {
		if (str_equal(canonical, always_excluded[i]))
			return true;
	}
	for (size_t i = 0; settings->excluded && i < settings->excluded->count; i++) {
		_cleanup_free_ char *item = xstrdup(settings->excluded->items[i]); // "a, b" has a blank
		_cleanup_free_ char *other = images_canonical(str_trim(item));
		if (str_equal(canonical, other))
			return true;
	}
	return false;
}

static bool excluded_any(const struct image_settings *settings, const struct json_strings *names)
{
	for (size_t i = 0; i < names->count; i++) {
		if (excluded_name(settings, names->items[i]))
			return true;
	}
	return false;
}

bool images_wanted(const struct image_want *wants, size_t count, const char *id, const struct json_strings *names)
{
	for (size_t i = 0; i < count; i++) {
		if (wants[i].id && str_equal(wants[i].id, id))
			return true;
		if (!wants[i].reference)
			continue;
		_cleanup_free_ char *canonical = images_canonical(wants[i].reference);
		if (names_have(names, canonical))
			return true;
	}
	return false;
}

static bool chosen_container(const struct image_removals *out, const char *id)
{
	for (size_t i = 0; i < out->count; i++) {
		if (out->items[i].kind == REMOVE_CONTAINER && str_equal(out->items[i].id, id))
			return true;
	}
	return false;
}

// By a container that stays, by a task, or by the operator's word.
static bool kept(const struct image_facts *facts, const struct image_settings *settings,
		 const struct image_removals *out, const struct image_listed *listed)
{
	for (size_t i = 0; i < facts->container_count; i++) {
		const struct image_container *c = &facts->containers[i];
		if (str_equal(c->image_id, listed->id) && !chosen_container(out, c->id))
			return true;
	}
	return excluded_any(settings, &listed->tags) || excluded_any(settings, &listed->digests) ||
	       images_wanted(facts->wants, facts->want_count, listed->id, &listed->tags) ||
	       images_wanted(facts->wants, facts->want_count, listed->id, &listed->digests);
}

static bool older(const struct image_facts *facts, int64_t since_ms, int64_t now_ms, uint64_t age_ms)
{
	return (double)(now_ms - since_ms) * facts->scale >= (double)age_ms;
}

static const struct image_listed *find_listed(const struct image_facts *facts, const char *id)
{
	for (size_t i = 0; i < facts->listed_count; i++) {
		if (str_equal(facts->listed[i].id, id))
			return &facts->listed[i];
	}
	return NULL;
}

static void copy_matching(struct json_strings *to, const struct json_strings *from,
			  const struct json_strings *canonical)
{
	for (size_t i = 0; i < from->count; i++) {
		_cleanup_free_ char *name = images_canonical(from->items[i]);
		if (strings_have(canonical, name))
			strings_add(to, xstrdup(from->items[i]));
	}
}

struct candidate {
	const struct image *image; // NULL: untracked
	const struct image_listed *listed;
	int64_t order;
};

static int by_order(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	return (x->order > y->order) - (x->order < y->order);
}

// An image of ours goes by the names we know; one that has lost all its names goes by its id. Names that others have
// given it stay, and then so does the image: it is no longer ours.
static bool remove_tracked(const struct candidate *candidate, struct image_removals *out)
{
	const struct image_listed *listed = candidate->listed;
	struct json_strings names = {0};
	copy_matching(&names, &listed->tags, &candidate->image->names);
	if (listed->tags.count == 0)
		copy_matching(&names, &listed->digests, &candidate->image->names);
	bool foreign = names.count == 0 && listed->tags.count > 0;
	add_removal(out, foreign ? FORGET_IMAGE : REMOVE_IMAGE, listed->id)->names = names;
	return !foreign;
}

static int64_t choose_tracked(const struct image_facts *facts, const struct image_settings *settings,
			      enum image_mode mode, int64_t now_ms, struct image_removals *out)
{
	struct candidate *candidates = xcalloc(facts->known->count + 1, sizeof(*candidates));
	size_t count = 0;
	for (size_t i = 0; i < facts->known->count; i++) {
		const struct image *image = &facts->known->items[i];
		const struct image_listed *listed = find_listed(facts, image->id);
		if (image->gone)
			continue;
		if (!listed && !images_wanted(facts->wants, facts->want_count, image->id, &image->names))
			add_removal(out, FORGET_IMAGE, image->id);
		if (!listed || kept(facts, settings, out, listed) || excluded_any(settings, &image->names))
			continue;
		if (mode == IMAGES_PERIODIC && !older(facts, image->pulled_ms, now_ms, settings->min_age_ms))
			continue;
		candidates[count++] = (struct candidate){image, listed, image->last_used_ms};
	}
	qsort(candidates, count, sizeof(*candidates), by_order);
	int64_t removed = 0;
	for (size_t i = 0; i < count && (mode == IMAGES_RELIEF || removed < settings->images_per_cycle); i++)
		removed += remove_tracked(&candidates[i], out);
	free(candidates);
	return removed;
}

static void choose_containers(const struct image_facts *facts, const struct image_settings *settings, int64_t now_ms,
			      struct image_removals *out)
{
	int64_t removed = 0;
	for (size_t i = 0; i < facts->container_count; i++) {
		const struct image_container *c = &facts->containers[i];
		bool idle =
			str_equal(c->state, "exited") || str_equal(c->state, "dead") || str_equal(c->state, "created");
		if (settings->containers_per_cycle >= 0 && removed >= settings->containers_per_cycle)
			break;
		if (c->of_task || !idle || c->finished_ms == 0 ||
		    !older(facts, c->finished_ms, now_ms, settings->untracked_container_age_ms))
			continue;
		add_removal(out, REMOVE_CONTAINER, c->id);
		removed++;
	}
}

static void choose_untracked(const struct image_facts *facts, const struct image_settings *settings,
			     enum image_mode mode, int64_t now_ms, int64_t removed, struct image_removals *out)
{
	struct candidate *candidates = xcalloc(facts->listed_count + 1, sizeof(*candidates));
	size_t count = 0;
	for (size_t i = 0; i < facts->listed_count; i++) {
		const struct image_listed *listed = &facts->listed[i];
		if (images_find(facts->known, listed->id) || kept(facts, settings, out, listed) ||
		    !older(facts, listed->created_ms, now_ms, settings->untracked_min_age_ms))
			continue;
		candidates[count++] =
			(struct candidate){NULL, listed, mode == IMAGES_RELIEF ? listed->created_ms : listed->size};
	}
	qsort(candidates, count, sizeof(*candidates), by_order);
	for (size_t i = 0; i < count && (mode == IMAGES_RELIEF || removed < settings->images_per_cycle); i++) {
		const struct image_listed *listed = candidates[i].listed;
		struct image_removal *removal = add_removal(out, REMOVE_IMAGE, listed->id);
		for (size_t k = 0; k < listed->tags.count; k++)
			strings_add(&removal->names, xstrdup(listed->tags.items[k]));
		for (size_t k = 0; listed->tags.count == 0 && k < listed->digests.count; k++)
			strings_add(&removal->names, xstrdup(listed->digests.items[k]));
		removed++;
	}
	free(candidates);
}

void images_choose(const struct image_facts *facts, const struct image_settings *settings, enum image_mode mode,
		   int64_t now_ms, struct image_removals *out)
{
	*out = (struct image_removals){0};
	if (settings->disabled)
		return;
	int64_t removed = choose_tracked(facts, settings, mode, now_ms, out);
	if (!settings->untracked)
		return;
	if (mode == IMAGES_PERIODIC)
		choose_containers(facts, settings, now_ms, out);
	choose_untracked(facts, settings, mode, now_ms, removed, out);
}

// --- watermarks ---

static bool above(uint64_t used, uint64_t available, unsigned high, unsigned low, bool relieving)
{
	double total = (double)used + (double)available;
	if (high == 0 || total <= 0) // off, or a file system that does not count it
		return false;
	double percent = (double)used / total * 100;
	return relieving ? percent >= low : percent > high;
}

bool images_need_room(const struct disk_use *use, const struct image_settings *settings, bool relieving)
{
	return above(use->used_bytes, use->free_bytes, settings->disk_high, settings->disk_low, relieving) ||
	       above(use->used_inodes, use->free_inodes, settings->inodes_high, settings->inodes_low, relieving);
}
