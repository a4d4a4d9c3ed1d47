// Images: names, what is known of them, which may go, and when the disk is too full. Pure.
#include "engine/images.h"

#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define D "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_canonical(void **state)
{
	(void)state;
	static const struct {
		const char *reference, *expected;
	} cases[] = {
		{"busybox", "busybox:latest"},
		{"busybox:1", "busybox:1"},
		{"docker.io/library/busybox", "busybox:latest"},
		{"index.docker.io/library/busybox:1", "busybox:1"},
		{"library/busybox:latest", "busybox:latest"},
		{"docker.io/me/app:2", "me/app:2"},
		{"reg:5000/app", "reg:5000/app:latest"},
		{"reg:5000/app:2", "reg:5000/app:2"},
		{"app@" D, "app@" D},
		{"app:2@" D, "app@" D},
		{"reg:5000/app:2@" D, "reg:5000/app@" D},
		{"reg:5000/app@" D, "reg:5000/app@" D},
		{"", ":latest"},
		{"@", "@"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *canonical = images_canonical(cases[i].reference);
		assert_string_equal(canonical, cases[i].expected);
	}
}

static void test_names_move(void **state)
{
	(void)state;
	struct image_set set = {0};
	struct image *a = images_use(&set, "A", "app:1", 10, 1000);
	assert_int_equal(a->pulled_ms, 1000);
	images_use(&set, "A", "docker.io/app:1", 0, 2000);
	images_use(&set, "A", "other", 0, 3000);
	a = images_find(&set, "A");
	assert_int_equal(a->names.count, 2);
	assert_int_equal(a->size, 10);
	assert_int_equal(a->pulled_ms, 1000);
	assert_int_equal(a->last_used_ms, 3000);
	assert_true(images_dirty(&set));
	images_written(&set);
	assert_false(images_dirty(&set));
	images_use(&set, "B", "app:1", 20, 4000); // a newer image under the same name
	a = images_find(&set, "A");
	assert_int_equal(a->names.count, 1);
	assert_string_equal(a->names.items[0], "other:latest");
	assert_true(a->dirty);
	images_touch(&set, "A", 5000);
	assert_int_equal(images_find(&set, "A")->last_used_ms, 5000);
	images_touch(&set, "nope", 1);
	images_forget(&set, "A");
	assert_null(images_find(&set, "A"));
	images_use(&set, "A", "app:3", 1, 6000); // back before its row was deleted
	assert_int_equal(images_find(&set, "A")->names.count, 1);
	assert_int_equal(images_find(&set, "A")->pulled_ms, 6000);
	images_forget(&set, "A");
	images_written(&set);
	assert_int_equal(set.count, 1);
	images_free(&set);
}

// --- the decision ---

#define HOUR ((int64_t)3600 * 1000)
#define NOW (100 * HOUR)

// One image, in one line: "<id> <name>[,<name>] <hours since pulled> <hours since last used>" for known ones, and
// "<id> <tag>[,<tag>]|- <digest>|- <hours since creation> <size>" for those in Docker's list;
// "<id> <image id> <state> <t|u> <hours since it ended>" for containers, "<reference>|- <id>|-" for wants.
struct choice {
	const char *what;
	const char *known[8], *listed[8], *containers[8], *wants[4];
	enum image_mode mode;
	struct image_settings settings;
	const char *expected; // "A:name,name c1! A~": image with names (or #), container, forgotten
};

static struct json_strings split(const char *text)
{
	struct json_strings out = {.items = xcalloc(8, sizeof(char *))};
	_cleanup_free_ char *copy = xstrdup(text);
	char *save = NULL;
	for (char *w = strcmp(copy, "-") ? strtok_r(copy, ",", &save) : NULL; w; w = strtok_r(NULL, ",", &save))
		out.items[out.count++] = xstrdup(w);
	return out;
}

static void strings_done(struct json_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
}

static void check(const struct choice *c)
{
	struct image_set set = {0};
	struct image_listed listed[8] = {{0}};
	struct image_container containers[8] = {{0}};
	struct image_want wants[4] = {{0}};
	struct image_facts facts = {
		.known = &set, .listed = listed, .containers = containers, .wants = wants, .scale = 1};
	char ids[32][64];
	size_t used = 0;
	for (size_t i = 0; c->known[i]; i++) {
		char id[32], names[128];
		int pulled, last;
		assert_int_equal(sscanf(c->known[i], "%31s %127s %d %d", id, names, &pulled, &last), 4);
		struct json_strings list = split(names);
		set.items = xreallocarray(set.items, set.count + 1, sizeof(*set.items));
		set.items[set.count++] = (struct image){.id = xstrdup(id),
							.names = list,
							.pulled_ms = NOW - pulled * HOUR,
							.last_used_ms = NOW - last * HOUR};
	}
	for (size_t i = 0; c->listed[i]; i++, facts.listed_count++) {
		char id[32], tags[128], digests[128];
		int created, size;
		assert_int_equal(sscanf(c->listed[i], "%31s %127s %127s %d %d", id, tags, digests, &created, &size), 5);
		listed[i] = (struct image_listed){xstrdup(id), split(tags), split(digests), size, NOW - created * HOUR};
	}
	for (size_t i = 0; c->containers[i]; i++, facts.container_count++) {
		char kind;
		int ended;
		assert_int_equal(sscanf(c->containers[i], "%63s %63s %63s %c %d", ids[used], ids[used + 1],
					ids[used + 2], &kind, &ended),
				 5);
		containers[i] = (struct image_container){ids[used], ids[used + 1], ids[used + 2], kind == 't',
							 ended < 0 ? 0 : NOW - ended * HOUR};
		used += 3;
	}
	for (size_t i = 0; c->wants[i]; i++, facts.want_count++) {
		assert_int_equal(sscanf(c->wants[i], "%63s %63s", ids[used], ids[used + 1]), 2);
		wants[i] = (struct image_want){strcmp(ids[used], "-") ? ids[used] : NULL,
					       strcmp(ids[used + 1], "-") ? ids[used + 1] : NULL};
		used += 2;
	}
	struct image_settings settings = c->settings;
	if (settings.images_per_cycle == 0)
		settings.images_per_cycle = 5;
	if (settings.containers_per_cycle == 0)
		settings.containers_per_cycle = 5;
	settings.min_age_ms = settings.untracked_min_age_ms = HOUR;
	settings.untracked_container_age_ms = 3 * HOUR;
	struct image_removals out;
	images_choose(&facts, &settings, c->mode, NOW, &out);
	struct buf text = {0};
	buf_printf(&text, "%s", "");
	for (size_t i = 0; i < out.count; i++) {
		const struct image_removal *r = &out.items[i];
		buf_printf(&text, "%s%s", i ? " " : "", r->id);
		if (r->kind == REMOVE_IMAGE)
			buf_printf(&text, ":%s", r->names.count ? "" : "#");
		else
			buf_printf(&text, "%s", r->kind == REMOVE_CONTAINER ? "!" : "~");
		for (size_t k = 0; k < r->names.count; k++)
			buf_printf(&text, "%s%s", k ? "," : "", r->names.items[k]);
	}
	if (!str_equal(text.data, c->expected))
		fail_msg("%s: \"%s\", expected \"%s\"", c->what, text.data, c->expected);
	buf_free(&text);
	image_removals_free(&out);
	images_free(&set);
	for (size_t i = 0; i < facts.listed_count; i++) {
		free(listed[i].id);
		strings_done(&listed[i].tags);
		strings_done(&listed[i].digests);
	}
}

static char *const excluded[] = {(char *)" keep ", (char *)"reg:5000/keep:2"};
static const struct json_strings exclusions = {(char **)excluded, 2};

static void test_tracked(void **state)
{
	(void)state;
	static const struct choice cases[] = {
		{.what = "least recently used first",
		 .known = {"A a:1 9 2", "B b:1 9 5", "C c:1 9 3"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1", "C c:1 - 9 1"},
		 .expected = "B:b:1 C:c:1 A:a:1"},
		{.what = "as many as the setting says, no fewer",
		 .known = {"A a:1 9 2", "B b:1 9 5", "C c:1 9 3"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1", "C c:1 - 9 1"},
		 .settings = {.images_per_cycle = 2},
		 .expected = "B:b:1 C:c:1"},
		{.what = "too young since its pull",
		 .known = {"A a:1 0 0", "B b:1 1 0"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1"},
		 .expected = "B:b:1"},
		{.what = "in use by any container, running or not, ours or not",
		 .known = {"A a:1 9 9", "B b:1 9 9", "C c:1 9 9"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1", "C c:1 - 9 1"},
		 .containers = {"c1 A running u 0", "c2 B exited t 9"},
		 .expected = "C:c:1"},
		{.what = "wanted by name, before it is pulled again, and by id",
		 .known = {"A a:1 9 9", "B b:latest 9 9", "C c:1 9 9"},
		 .listed = {"A a:1 - 9 1", "B b:latest - 9 1", "C c:1 - 9 1"},
		 .wants = {"docker.io/library/b -", "- C"},
		 .expected = "A:a:1"},
		{.what = "wanted by digest",
		 .known = {"A a@sha256:1 9 9"},
		 .listed = {"A - a@sha256:1 9 1"},
		 .wants = {"a@sha256:1 -"},
		 .expected = ""},
		{.what = "excluded by its name, by another name of Docker's, and the agent's own",
		 .known = {"A keep:latest 9 9", "B b:1 9 9", "C amazon/amazon-ecs-pause:0.1.0 9 9", "D d:1 9 9"},
		 .listed = {"A keep:latest - 9 1", "B b:1,reg:5000/keep:2 - 9 1",
			    "C amazon/amazon-ecs-pause:0.1.0 - 9 1", "D d:1 - 9 1"},
		 .settings = {.excluded = &exclusions},
		 .expected = "D:d:1"},
		{.what = "several names are one image",
		 .known = {"A a:1,a:2 9 9", "B b:1 9 8"},
		 .listed = {"A a:1,a:2 - 9 1", "B b:1 - 9 1"},
		 .settings = {.images_per_cycle = 1},
		 .expected = "A:a:1,a:2"},
		{.what = "a name that others gave it stays",
		 .known = {"A a:1 9 9", "B b:1 9 9"},
		 .listed = {"A a:1,mine:1 - 9 1", "B mine:2 - 9 1"},
		 .expected = "A:a:1 B~"},
		{.what = "its tag has moved on: by id, or by digest",
		 .known = {"A - 9 9", "B b@sha256:1 9 8"},
		 .listed = {"A - - 9 1", "B - b@sha256:1,other@sha256:1 9 1"},
		 .expected = "A:# B:b@sha256:1"},
		{.what = "Docker has it no more",
		 .known = {"A a:1 9 9", "B b:1 9 9"},
		 .listed = {"B b:1 - 9 1"},
		 .containers = {"c1 B running u 0"},
		 .expected = "A~"},
		{.what = "off",
		 .known = {"A a:1 9 9"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1"},
		 .settings = {.disabled = true, .untracked = true},
		 .expected = ""},
		{.what = "untracked ones are left alone",
		 .known = {NULL},
		 .listed = {"B b:1 - 9 1"},
		 .containers = {"c1 B exited u 9"},
		 .expected = ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(&cases[i]);
}

static void test_untracked(void **state)
{
	(void)state;
	static const struct choice cases[] = {
		{.what = "smallest first, old enough, after the tracked ones",
		 .known = {"A a:1 9 9"},
		 .listed = {"B b:1 - 9 30", "C c:1 - 9 20", "D d:1 - 0 10", "A a:1 - 9 99"},
		 .settings = {.untracked = true},
		 .expected = "A:a:1 C:c:1 B:b:1"},
		{.what = "the number is for both together, and exact",
		 .known = {"A a:1 9 9"},
		 .listed = {"B b:1 - 9 30", "C c:1 - 9 20", "A a:1 - 9 99"},
		 .settings = {.untracked = true, .images_per_cycle = 2},
		 .expected = "A:a:1 C:c:1"},
		{.what = "no name, digests only, excluded",
		 .listed = {"B - - 9 1", "C - x@sha256:1 9 2", "D keep:latest - 9 3"},
		 .settings = {.untracked = true, .excluded = &exclusions},
		 .expected = "B:# C:x@sha256:1"},
		{.what = "containers: ended, dead or never started, old enough, not of a task",
		 .listed = {"B b:1 - 0 1"},
		 .containers = {"c1 X exited u 3", "c2 X dead u 4", "c3 X created u 9", "c4 X running u 9",
				"c5 X exited t 9", "c6 X exited u 2", "c7 X exited u -1"},
		 .settings = {.untracked = true},
		 .expected = "c1! c2! c3!"},
		{.what = "as many containers as the setting says",
		 .containers = {"c1 X exited u 3", "c2 X dead u 4", "c3 X created u 9"},
		 .settings = {.untracked = true, .containers_per_cycle = 2},
		 .expected = "c1! c2!"},
		{.what = "negative: no limit",
		 .containers = {"c1 X exited u 3", "c2 X dead u 4", "c3 X created u 9"},
		 .settings = {.untracked = true, .containers_per_cycle = -1},
		 .expected = "c1! c2! c3!"},
		{.what = "an image goes with its last container, not before",
		 .listed = {"B b:1 - 9 1", "C c:1 - 9 1"},
		 .containers = {"c1 B exited u 9", "c2 C exited u 9", "c3 C running u 0"},
		 .settings = {.untracked = true},
		 .expected = "c1! c2! B:b:1"},
		{.what = "a task is about to use it",
		 .listed = {"B b:1 - 9 1"},
		 .wants = {"b:1 -"},
		 .settings = {.untracked = true},
		 .expected = ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(&cases[i]);
}

static void test_relief(void **state)
{
	(void)state;
	static const struct choice cases[] = {
		{.what = "all unused ones, however young, least recently used first",
		 .known = {"A a:1 0 0", "B b:1 0 2", "C c:1 9 1", "D d:1 9 9"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 9 1", "C c:1 - 9 1", "D d:1 - 9 1"},
		 .containers = {"c1 D exited t 0", "c2 X exited u 9"},
		 .settings = {.images_per_cycle = 1},
		 .mode = IMAGES_RELIEF,
		 .expected = "B:b:1 C:c:1 A:a:1"},
		{.what = "untracked ones only if that is on, and only old ones, oldest first; no containers",
		 .known = {"A a:1 0 0"},
		 .listed = {"A a:1 - 9 1", "B b:1 - 5 1", "C c:1 - 9 9", "D d:1 - 0 1"},
		 .containers = {"c2 X exited u 9"},
		 .settings = {.images_per_cycle = 1, .untracked = true},
		 .mode = IMAGES_RELIEF,
		 .expected = "A:a:1 C:c:1 B:b:1"},
		{.what = "exclusions and wants hold",
		 .known = {"A keep:latest 9 9", "B b:1 9 9"},
		 .listed = {"A keep:latest - 9 1", "B b:1 - 9 1"},
		 .wants = {"b:1 -"},
		 .settings = {.excluded = &exclusions},
		 .mode = IMAGES_RELIEF,
		 .expected = ""},
		{.what = "off",
		 .known = {"A a:1 9 9"},
		 .listed = {"A a:1 - 9 1"},
		 .settings = {.disabled = true},
		 .mode = IMAGES_RELIEF,
		 .expected = ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(&cases[i]);
}

static void test_watermarks(void **state)
{
	(void)state;
	static const struct {
		struct disk_use use;
		struct image_settings settings;
		bool relieving, expected;
	} cases[] = {
		{{85, 15, 0, 0}, {.disk_high = 85, .disk_low = 80}, false, false}, // at the mark is not above it
		{{86, 14, 0, 0}, {.disk_high = 85, .disk_low = 80}, false, true},
		{{80, 20, 0, 0}, {.disk_high = 85, .disk_low = 80}, true, true}, // below is below
		{{79, 21, 0, 0}, {.disk_high = 85, .disk_low = 80}, true, false},
		{{100, 0, 0, 0}, {.disk_high = 0, .disk_low = 0}, false, false}, // off
		{{100, 0, 0, 0}, {.disk_high = 0, .disk_low = 0}, true, false},
		{{10, 90, 75, 25}, {.disk_high = 85, .disk_low = 80, .inodes_high = 70, .inodes_low = 60}, false, true},
		{{10, 90, 65, 35}, {.disk_high = 85, .disk_low = 80, .inodes_high = 70, .inodes_low = 60}, true, true},
		{{10, 90, 55, 45}, {.disk_high = 85, .disk_low = 80, .inodes_high = 70, .inodes_low = 60}, true, false},
		{{10, 90, 0, 0}, {.inodes_high = 70, .inodes_low = 60}, false, false}, // does not count inodes
		{{0, 0, 0, 0}, {.disk_high = 1, .disk_low = 1}, true, false},
		{{UINT64_MAX / 2, 1, 0, 0}, {.disk_high = 99, .disk_low = 90}, false, true},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (images_need_room(&cases[i].use, &cases[i].settings, cases[i].relieving) != cases[i].expected)
			fail_msg("case %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical), cmocka_unit_test(test_names_move), cmocka_unit_test(test_tracked),
		cmocka_unit_test(test_untracked), cmocka_unit_test(test_relief),     cmocka_unit_test(test_watermarks),
	};
	return cmocka_run_group_tests_name("engine: images", tests, NULL, NULL);
}
