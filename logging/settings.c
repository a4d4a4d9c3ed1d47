#include "logging/settings.h"

#include "common/util.h"
#include "logging/attributes.h"
#include "logging/info.h"
#include "logging/tag.h"

#define LABEL_TASK "com.amazonaws.ecs.task-arn" // ecsd gives it to its containers

struct saved {
	char *container_id, *container_name, *tag, *hostname, *driver;
	struct json_map attributes, config;
	int64_t pid;
	bool of_task;
};
static const struct json_field saved_fields[] = {JSON_REQUIRED(struct saved, "ContainerID", container_id, JSON_STRING),
						 JSON_FIELD(struct saved, "ContainerName", container_name, JSON_STRING),
						 JSON_FIELD(struct saved, "Tag", tag, JSON_STRING),
						 JSON_FIELD(struct saved, "Hostname", hostname, JSON_STRING),
						 JSON_REQUIRED(struct saved, "Driver", driver, JSON_STRING),
						 JSON_FIELD(struct saved, "Attributes", attributes, JSON_STRING_MAP),
						 JSON_FIELD(struct saved, "Config", config, JSON_STRING_MAP),
						 JSON_FIELD(struct saved, "Pid", pid, JSON_INT64),
						 JSON_FIELD(struct saved, "OfTask", of_task, JSON_BOOL),
						 JSON_END};
static const struct json_table saved_table = {"StreamSettings", sizeof(struct saved), saved_fields};

static int driver_of(const struct json_map *config, enum log_driver *driver, struct error *err);
static char *host_name(void);
static json_object *save_map(const struct json_map *map);
static void move_map(struct json_map *to, struct json_map *from);
static void copy_map(struct json_map *to, const struct json_map *from);
static void free_map(struct json_map *map);

int stream_settings_make(struct stream_settings *settings, const struct log_info *info, struct error *err)
{
	enum log_driver driver = LOG_AWSLOGS;
	int r = driver_of(&info->config, &driver, err);

	*settings = (struct stream_settings){0};
	if (r == 0)
		r = log_options_parse(driver, &info->config, &settings->options, err);
	if (r < 0)
		return r;
	settings->container_id = xstrdup(info->container_id);
	settings->container_name = xstrdup(info->container_name ? info->container_name : "");
	settings->hostname = host_name();
	settings->pid = getpid();
	settings->of_task = json_map_get(&info->container_labels, LABEL_TASK) != NULL;
	copy_map(&settings->config, &info->config);
	r = attributes_select(info, &settings->attributes, err);
	if (r == 0)
		r = tag_render(settings->options.tag, driver, info, settings->hostname, &settings->tag, err);
	if (r < 0)
		stream_settings_free(settings);
	return r;
}

json_object *stream_settings_save(const struct stream_settings *settings)
{
	json_object *saved = json_object_new_object();

	json_add_string(saved, "ContainerID", settings->container_id);
	json_add_string(saved, "ContainerName", settings->container_name);
	json_add_string(saved, "Tag", settings->tag);
	json_add_string(saved, "Hostname", settings->hostname);
	json_add_string(saved, "Driver", log_driver_name(settings->options.driver));
	json_add(saved, "Attributes", save_map(&settings->attributes));
	json_add(saved, "Config", save_map(&settings->config));
	json_add_int(saved, "Pid", settings->pid);
	json_add_bool(saved, "OfTask", settings->of_task);
	return saved;
}

int stream_settings_load(struct stream_settings *settings, json_object *object, struct error *err)
{
	struct saved saved;
	enum log_driver driver;
	int r;

	*settings = (struct stream_settings){0};
	if (!object)
		return error_set(err, EINVAL, "the settings of a log are missing");
	r = json_decode(&saved_table, object, &saved, err);
	if (r < 0)
		return r;
	if (!log_driver_parse(saved.driver, &driver))
		r = error_set(err, EINVAL, "Driver is \"%s\", awslogs, fluentd or syslog was expected", saved.driver);
	if (r == 0)
		r = log_options_parse(driver, &saved.config, &settings->options, err);
	if (r == 0) {
		settings->container_id = TAKE(saved.container_id);
		settings->container_name = TAKE(saved.container_name);
		settings->tag = TAKE(saved.tag);
		settings->hostname = TAKE(saved.hostname);
		settings->pid = saved.pid;
		settings->of_task = saved.of_task;
		move_map(&settings->attributes, &saved.attributes);
		move_map(&settings->config, &saved.config);
	}
	json_decode_free(&saved_table, &saved);
	return r;
}

void stream_settings_free(struct stream_settings *settings)
{
	free(settings->container_id);
	free(settings->container_name);
	free(settings->tag);
	free(settings->hostname);
	attributes_free(&settings->attributes);
	free_map(&settings->config);
	log_options_free(&settings->options);
	*settings = (struct stream_settings){0};
}

// ecsd says which of Docker's drivers the options are of; whoever uses the plugin by hand has to, too.
static int driver_of(const struct json_map *config, enum log_driver *driver, struct error *err)
{
	const char *name = json_map_get(config, LOG_OPTION_DRIVER);

	if (!name)
		return error_set(err, EINVAL,
				 "log opt '" LOG_OPTION_DRIVER "' is missing, awslogs, fluentd or syslog was expected");
	if (!log_driver_parse(name, driver))
		return error_set(err, EINVAL,
				 "log opt '" LOG_OPTION_DRIVER "' is '%s', awslogs, fluentd or syslog was expected",
				 name);
	return 0;
}

static char *host_name(void)
{
	char name[256] = "";

	gethostname(name, sizeof(name) - 1);
	return xstrdup(name);
}

static json_object *save_map(const struct json_map *map)
{
	json_object *object = json_object_new_object();

	for (size_t i = 0; i < map->count; i++)
		json_add_string(object, map->items[i].name, map->items[i].value);
	return object;
}

static void move_map(struct json_map *to, struct json_map *from)
{
	*to = *from;
	*from = (struct json_map){0};
}

static void copy_map(struct json_map *to, const struct json_map *from)
{
	to->items = xcalloc(from->count ? from->count : 1, sizeof(*to->items));
	to->count = from->count;
	for (size_t i = 0; i < from->count; i++)
		to->items[i] = (struct json_pair){xstrdup(from->items[i].name), xstrdup(from->items[i].value)};
}

static void free_map(struct json_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		free(map->items[i].name);
		secret_free(map->items[i].value); // an option can come from a secret
	}
	free(map->items);
	*map = (struct json_map){0};
}
