#include "logging/attributes.h"

#include "common/util.h"
#include "logging/regex.h"

// A label or variable, where it is.
struct source {
	const char *name;
	size_t len; // of the name
	const char *value;
};
struct sources {
	struct source *items;
	size_t count;
};

static void list_labels(const struct json_map *labels, struct sources *sources);
static void list_env(const struct json_strings *env, struct sources *sources);
static int select_named(const struct sources *from, const struct json_map *config, const char *key,
			struct json_map *attributes, struct error *err);
static int select_matching(const struct sources *from, const struct json_map *config, const char *key,
			   struct json_map *attributes, struct error *err);

int attributes_select(const struct log_info *info, struct json_map *attributes, struct error *err)
{
	struct sources labels = {0}, env = {0};
	int r;

	*attributes = (struct json_map){0};
	list_labels(&info->container_labels, &labels);
	list_env(&info->container_env, &env);
	r = select_named(&labels, &info->config, "labels", attributes, err);
	if (r == 0)
		r = select_matching(&labels, &info->config, "labels-regex", attributes, err);
	// Docker looks at these two only if there are variables.
	if (r == 0 && env.count > 0)
		r = select_named(&env, &info->config, "env", attributes, err);
	if (r == 0 && env.count > 0)
		r = select_matching(&env, &info->config, "env-regex", attributes, err);
	free(labels.items);
	free(env.items);
	if (r < 0)
		attributes_free(attributes);
	return r;
}

void attributes_free(struct json_map *attributes)
{
	for (size_t i = 0; i < attributes->count; i++) {
		free(attributes->items[i].name);
		secret_free(attributes->items[i].value);
	}
	free(attributes->items);
	*attributes = (struct json_map){0};
}

static void list_labels(const struct json_map *labels, struct sources *sources)
{
	sources->items = xcalloc(labels->count, sizeof(*sources->items));
	for (size_t i = 0; i < labels->count; i++) {
		const struct json_pair *label = &labels->items[i];

		sources->items[sources->count++] = (struct source){label->name, strlen(label->name), label->value};
	}
}

// An entry without '=' is no variable. Of several with one name the last wins, as they are selected in this order.
static void list_env(const struct json_strings *env, struct sources *sources)
{
	sources->items = xcalloc(env->count, sizeof(*sources->items));
	for (size_t i = 0; i < env->count; i++) {
		const char *name = env->items[i], *equals = strchr(name, '=');

		if (equals)
			sources->items[sources->count++] = (struct source){name, (size_t)(equals - name), equals + 1};
	}
}

// --- selection ---

static int set(struct json_map *attributes, const struct source *source, struct error *err)
{
	struct json_pair *pair;

	for (size_t i = 0; i < attributes->count; i++) {
		pair = &attributes->items[i];
		if (strncmp(pair->name, source->name, source->len) == 0 && !pair->name[source->len]) {
			secret_free(pair->value);
			pair->value = xstrdup(source->value);
			return 0;
		}
	}
	if (attributes->count == ATTRIBUTES_MAX)
		return error_set(err, E2BIG, "labels and env select more than %d attributes", ATTRIBUTES_MAX);
	if (!attributes->items)
		attributes->items = xcalloc(ATTRIBUTES_MAX, sizeof(*attributes->items));
	pair = &attributes->items[attributes->count++];
	pair->name = xstrndup(source->name, source->len);
	pair->value = xstrdup(source->value);
	return 0;
}

// Names between commas, which are not trimmed.
static int select_named(const struct sources *from, const struct json_map *config, const char *key,
			struct json_map *attributes, struct error *err)
{
	const char *names = json_map_get(config, key);

	if (names && strlen(names) > ATTRIBUTE_NAMES_MAX)
		return error_set(err, E2BIG, "invalid value for %s: longer than %d bytes", key, ATTRIBUTE_NAMES_MAX);
	for (size_t len; !str_empty(names); names += len + (names[len] ? 1 : 0)) {
		len = strcspn(names, ",");
		for (size_t i = 0; i < from->count; i++) {
			const struct source *source = &from->items[i];

			if (source->len == len && memcmp(source->name, names, len) == 0 &&
			    set(attributes, source, err) < 0)
				return -E2BIG;
		}
	}
	return 0;
}

static int select_matching(const struct sources *from, const struct json_map *config, const char *key,
			   struct json_map *attributes, struct error *err)
{
	const char *pattern = json_map_get(config, key);
	struct regex *regex;
	int r = 0;

	if (str_empty(pattern))
		return 0;
	regex = regex_compile(pattern, err);
	if (!regex) {
		error_wrap(err, "invalid value for %s", key);
		return -EINVAL;
	}
	for (size_t i = 0; i < from->count && r == 0; i++) {
		const struct source *source = &from->items[i];

		if (regex_matches(regex, source->name, source->len) > 0)
			r = set(attributes, source, err);
	}
	regex_free(regex);
	return r;
}
