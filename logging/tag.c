#include "logging/tag.h"

#include "common/util.h"
#include "logging/attributes.h"
#include "logging/template.h"

#define SHORT_ID 12 // characters

struct context {
	const struct log_info *info;
	const char *hostname;
	struct json_map attributes; // when the template has asked for them
	bool selected;
};

static int get_field(void *arg, struct text name, const struct value *args, size_t count, struct arena *arena,
		     struct value *value, struct error *err);
static char *make_valid(char *text);

int tag_render(const char *template, enum log_driver driver, const struct log_info *info, const char *hostname,
	       char **tag, struct error *err)
{
	struct context context = {.info = info, .hostname = hostname};
	struct template_root root = {get_field, &context};
	char *text;
	int r;

	if (str_empty(template))
		template = driver == LOG_AWSLOGS ? "{{.FullID}}" : "{{.ID}}";
	r = template_render(template, &root, &text, err);
	attributes_free(&context.attributes);
	if (r == 0)
		*tag = make_valid(text);
	return r;
}

static char *make_valid(char *text)
{
	struct buf out = {0};

	if (utf8_valid(text))
		return text;
	for (const char *p = text; *p;) {
		size_t n = utf8_length(p, strlen(p));

		buf_append(&out, n ? p : "\uFFFD", n ? n : 3);
		p += n ? n : 1;
	}
	free(text);
	return buf_take(&out);
}

// --- fields ---

static int no_memory(struct error *err)
{
	return error_set(err, EINVAL, "it takes more than 1 MiB of memory");
}

// What is behind the first colon, and of that 12 characters.
static struct value short_id(const char *id)
{
	const char *colon = id ? strchr(id, ':') : NULL;

	id = colon ? colon + 1 : id;
	return value_text(id ? id : "", id ? strnlen(id, SHORT_ID) : 0);
}

static int make_list(const struct json_strings *strings, struct arena *arena, struct value *value, struct error *err)
{
	struct text *items = arena_alloc(arena, strings->count * sizeof(*items));

	if (!items)
		return no_memory(err);
	for (size_t i = 0; i < strings->count; i++)
		items[i] = (struct text){strings->items[i], strlen(strings->items[i])};
	*value = (struct value){.kind = VALUE_LIST, .list = {items, strings->count, !strings->items}};
	return 0;
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct text *)a)->s, ((const struct text *)b)->s);
}

static int make_map(const struct json_map *map, struct arena *arena, struct value *value, struct error *err)
{
	struct text *items = arena_alloc(arena, map->count * 2 * sizeof(*items));

	if (!items)
		return no_memory(err);
	for (size_t i = 0; i < map->count; i++) {
		items[2 * i] = (struct text){map->items[i].name, strlen(map->items[i].name)};
		items[2 * i + 1] = (struct text){map->items[i].value, strlen(map->items[i].value)};
	}
	qsort(items, map->count, 2 * sizeof(*items), compare_pairs);
	*value = (struct value){.kind = VALUE_MAP, .list = {items, map->count, !map->items}};
	return 0;
}

// The program and its arguments with a space between two.
static int make_command(const struct log_info *info, struct arena *arena, struct value *value, struct error *err)
{
	struct buf out = {.max = TEMPLATE_MAX};
	size_t len;
	int r = buf_printf(&out, "%s", info->container_entrypoint ? info->container_entrypoint : "");

	for (size_t i = 0; i < info->container_args.count && r == 0; i++)
		r = buf_printf(&out, " %s", info->container_args.items[i]);
	len = out.len;
	*value = value_text(buf_take(&out), len);
	return arena_take(arena, (void *)value->text.s, len + 1) && r == 0 ? 0 : no_memory(err);
}

static const struct field {
	const char *name;
	enum { STRING, SHORT_STRING, STRINGS, MAP, TIME, OTHER } kind;
	bool method;   // for error texts
	size_t offset; // in struct log_info
} fields[] = {
	{"ID", SHORT_STRING, true, offsetof(struct log_info, container_id)},
	{"FullID", STRING, true, offsetof(struct log_info, container_id)},
	{"ImageID", SHORT_STRING, true, offsetof(struct log_info, container_image_id)},
	{"ImageFullID", STRING, true, offsetof(struct log_info, container_image_id)},
	{"ImageName", STRING, true, offsetof(struct log_info, container_image_name)},
	{"Name", OTHER, true, 0},
	{"Command", OTHER, true, 0},
	{"Hostname", OTHER, true, 0},
	{"ExtraAttributes", OTHER, true, 0},
	{"Config", MAP, false, offsetof(struct log_info, config)},
	{"ContainerID", STRING, false, offsetof(struct log_info, container_id)},
	{"ContainerName", STRING, false, offsetof(struct log_info, container_name)},
	{"ContainerEntrypoint", STRING, false, offsetof(struct log_info, container_entrypoint)},
	{"ContainerArgs", STRINGS, false, offsetof(struct log_info, container_args)},
	{"ContainerImageID", STRING, false, offsetof(struct log_info, container_image_id)},
	{"ContainerImageName", STRING, false, offsetof(struct log_info, container_image_name)},
	{"ContainerCreated", TIME, false, offsetof(struct log_info, container_created)},
	{"ContainerEnv", STRINGS, false, offsetof(struct log_info, container_env)},
	{"ContainerLabels", MAP, false, offsetof(struct log_info, container_labels)},
	{"LogPath", STRING, false, offsetof(struct log_info, log_path)},
	{"DaemonName", STRING, false, offsetof(struct log_info, daemon_name)},
};

static int check_arguments(const struct field *field, const struct value *args, size_t count, struct error *err)
{
	bool attributes = strcmp(field->name, "ExtraAttributes") == 0;

	if (!field->method && count > 0)
		return error_set(err, EINVAL, "%s has arguments but cannot be invoked as function", field->name);
	if (count != (attributes ? 1 : 0))
		return error_set(err, EINVAL, "wrong number of args for %s: want %d got %zu", field->name, attributes,
				 count);
	if (count > 0 && args[0].kind != VALUE_NIL && args[0].kind != VALUE_NONE)
		return error_set(err, EINVAL, "%s takes nil, not %s", field->name, value_type(&args[0]));
	return 0;
}

static int get_other(struct context *context, char initial, struct arena *arena, struct value *value, struct error *err)
{
	const char *name = context->info->container_name;

	switch (initial) {
	case 'N':
		*value = value_string(name && *name == '/' ? name + 1 : name);
		return 0;
	case 'H':
		*value = value_string(context->hostname);
		return 0;
	case 'C':
		return make_command(context->info, arena, value, err);
	default: // ExtraAttributes
		if (!context->selected && attributes_select(context->info, &context->attributes, err) < 0)
			return -EINVAL;
		context->selected = true;
		return make_map(&context->attributes, arena, value, err);
	}
}

static int get_field(void *arg, struct text name, const struct value *args, size_t count, struct arena *arena,
		     struct value *value, struct error *err)
{
	struct context *context = arg;
	const struct field *field = fields, *end = fields + ARRAY_SIZE(fields);
	const void *member;

	while (field < end && (strlen(field->name) != name.len || memcmp(field->name, name.s, name.len) != 0))
		field++;
	if (field == end)
		return error_set(err, EINVAL, "can't evaluate field %.*s in type *logger.Info",
				 (int)(name.len < 80 ? name.len : 80), name.s);
	if (check_arguments(field, args, count, err) < 0)
		return -EINVAL;
	member = (const char *)context->info + field->offset;
	switch (field->kind) {
	case STRING:
		*value = value_string(*(char *const *)member);
		return 0;
	case SHORT_STRING:
		*value = short_id(*(char *const *)member);
		return 0;
	case STRINGS:
		return make_list(member, arena, value, err);
	case MAP:
		return make_map(member, arena, value, err);
	case TIME:
		*value = value_string(*(char *const *)member ? *(char *const *)member : "0001-01-01T00:00:00Z");
		value->kind = VALUE_TIME;
		return 0;
	default:
		return get_other(context, *field->name, arena, value, err);
	}
}
