#include "engine/pulled.h"

#include "common/util.h"
#include "engine/engine_internal.h"

struct name {
	char *image;
	int64_t at_ms; // wall clock
	bool stored, gone;
};

struct pulled {
	struct name *names; // oldest first
	size_t count;
};

struct pulled *pulled_free(struct pulled *pulled)
{
	if (!pulled)
		return NULL;
	for (size_t i = 0; i < pulled->count; i++)
		free(pulled->names[i].image);
	free(pulled->names);
	free(pulled);
	return NULL;
}

static struct pulled *table(struct engine *engine)
{
	if (!engine->pulled)
		engine->pulled = xcalloc(1, sizeof(*engine->pulled));
	return engine->pulled;
}

static struct name *find(const struct engine *engine, const char *image)
{
	for (size_t i = 0; engine->pulled && i < engine->pulled->count; i++) {
		if (str_equal(engine->pulled->names[i].image, image))
			return &engine->pulled->names[i];
	}
	return NULL;
}

static void append(struct engine *engine, const char *image, int64_t at_ms, bool stored)
{
	struct pulled *pulled = table(engine);
	pulled->names = xreallocarray(pulled->names, pulled->count + 1, sizeof(*pulled->names));
	pulled->names[pulled->count++] = (struct name){.image = xstrdup(image), .at_ms = at_ms, .stored = stored};
}

bool engine_image_pulled(const struct engine *engine, const char *image)
{
	const struct name *name = find(engine, image);
	return name && !name->gone;
}

void engine_note_pulled(struct engine *engine, const char *image)
{
	struct name *name = find(engine, image);
	if (name && !name->gone)
		return;
	if (name)
		*name = (struct name){.image = name->image, .at_ms = wall_ms()};
	else
		append(engine, image, wall_ms(), false);
	size_t kept = 0;
	for (size_t i = engine->pulled->count; i-- > 0;) {
		struct name *other = &engine->pulled->names[i];
		if (!other->gone && ++kept > PULLED_MAX)
			*other = (struct name){.image = other->image, .gone = true};
	}
	loop_wake(engine->o.loop);
}

void engine_forget_pulled(struct engine *engine, const char *image)
{
	struct name *name = find(engine, image);
	if (!name || name->gone)
		return;
	name->gone = true;
	name->stored = false;
	loop_wake(engine->o.loop);
}

// --- disk ---

static void loaded(const char *image, int64_t at_ms, void *arg)
{
	append(arg, image, at_ms, true);
}

int pulled_load(struct engine *engine, struct error *err)
{
	return store_load_pulled(engine->o.store, loaded, engine, err);
}

bool pulled_dirty(const struct engine *engine)
{
	for (size_t i = 0; engine->pulled && i < engine->pulled->count; i++) {
		if (!engine->pulled->names[i].stored)
			return true;
	}
	return false;
}

int pulled_write(struct engine *engine, struct error *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && engine->pulled && i < engine->pulled->count; i++) {
		const struct name *name = &engine->pulled->names[i];
		if (!name->stored)
			r = store_put_pulled(engine->o.store, name->image, name->gone ? -1 : name->at_ms, err);
	}
	return r;
}

void pulled_unwritten(struct engine *engine)
{
	for (size_t i = 0; engine->pulled && i < engine->pulled->count; i++)
		engine->pulled->names[i].stored = false;
}

void pulled_written(struct engine *engine)
{
	struct pulled *pulled = engine->pulled;
	size_t kept = 0;
	for (size_t i = 0; pulled && i < pulled->count; i++) {
		struct name *name = &pulled->names[i];
		if (name->gone) {
			free(name->image);
			continue;
		}
		name->stored = true;
		pulled->names[kept++] = *name;
	}
	if (pulled)
		pulled->count = kept;
}
