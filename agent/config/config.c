#include "config/config.h"
#include "common/util.h"
#include "config/config_parse.h"
#include "config/option.h"
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES ((size_t)1 << 20) // of the JSON file
#define PROMETHEUS_PORT "51680"
#define EXTERNAL_WITHOUT_REGION "AWS_DEFAULT_REGION has to be set when running on external capacity"

struct load {
	struct config *config;
	const char *(*get)(const char *name);
	struct error fatal; // texts of all fatal errors so far
};

static void apply(struct load *load, const struct option *o, const char *text, enum config_source source);
static void apply_json(struct load *load, const struct json_setting *settings, size_t count, enum config_source source);
static bool external_without_region(const char *(*get)(const char *name));
static void read_config_file(struct load *load);
static void finish(struct load *load);
static void add_fatal(struct load *load, const char *text);

static void warn(const char *variable, const char *text)
{
	log_warn("configuration", "variable=%s warning=%s", variable, text);
}

int config_load(struct config *config, const char *(*get)(const char *name), struct error *err)
{
	struct load load = {.config = config, .get = get};

	*config = (struct config){0};
	if (external_without_region(get))
		return error_set(err, EINVAL, EXTERNAL_WITHOUT_REGION);
	for (size_t i = 0; i < config_option_count; i++)
		apply(&load, &config_options[i], config_options[i].fallback, FROM_DEFAULT);
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		const char *text = o->flags & NO_VARIABLE || o->state == NO_EFFECT ? NULL : get(o->name);
		if (text && (*text || o->flags & KEEP_EMPTY))
			apply(&load, o, text, FROM_ENVIRONMENT);
	}
	read_config_file(&load);
	finish(&load);
	if (!load.fatal.code)
		return 0;
	config_free(config);
	return error_set(err, EINVAL, "%s", load.fatal.message);
}

int config_merge_user_data(struct config *config, const char *text, struct error *err)
{
	struct load load = {.config = config};
	struct error problem = {0};
	_cleanup_json_ json_object *whole = json_parse(text, strlen(text), &problem);
	json_object *settings =
		json_object_is_type(whole, json_type_object) ? json_get(whole, "ECSAgentConfiguration") : NULL;
	struct json_setting *list;
	size_t count;

	if (!settings)
		return 0;
	// One value of a wrong kind drops the whole (configuration.md §10, 11).
	if (!json_object_is_type(settings, json_type_object)) {
		log_debug("user data: ECSAgentConfiguration is no JSON object", NULL);
		return 0;
	}
	if (config_json_settings(settings, &list, &count, &problem) < 0) {
		log_debug("user data is ignored", "error=%s", problem.message);
		return 0;
	}
	apply_json(&load, list, count, FROM_USER_DATA);
	config_json_settings_free(list, count);
	finish(&load);
	return load.fatal.code ? error_set(err, EINVAL, "%s", load.fatal.message) : 0;
}

void config_free(struct config *config)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		if (o->offset == NO_MEMBER)
			continue;
		void *member = (char *)config + o->offset;
		if (o->type->storage == OWNED_TEXT) { // one member may be of two rows
			if (o->flags & SECRET)
				secret_free(*(char **)member);
			else
				free(*(char **)member);
			*(char **)member = NULL;
		} else if (o->type->storage == OWNED_LIST) {
			config_strings_free(member);
		}
	}
	*config = (struct config){0};
}

// --- one value ---

static unsigned char *given(const struct load *load, const struct option *o)
{
	return &load->config->given[o - config_options];
}

static bool matters(const struct option *o, const char *text)
{
	bool value, fallback = false;

	if (o->flags & QUIET)
		return false;
	if (config_parse_bool(text, &value, NULL) == 0 &&
	    (o->type->form == FORM_BOOL || o->type->form == FORM_TRISTATE)) {
		config_parse_bool(o->matters ? o->matters : o->fallback, &fallback, NULL);
		return o->matters ? value == fallback : value != fallback;
	}
	int64_t ns, fallback_ns;
	if (o->type->form == FORM_DURATION && config_parse_duration(text, &ns, NULL) == 0 &&
	    config_parse_duration(o->fallback, &fallback_ns, NULL) == 0)
		return ns != fallback_ns;
	return o->matters ? strcasecmp(text, o->matters) == 0 : strcmp(text, o->fallback) != 0;
}

// What is said of a value that was accepted, but that ecsd does not act upon.
static void check_state(const struct value *v)
{
	const struct option *o = v->option;

	if (o->state != LATER || v->source == FROM_DEFAULT || !matters(o, v->text))
		return;
	_cleanup_free_ char *text = xasprintf("%s=%s is ignored: %s is not supported by this version of ecsd",
					      value_label(v), o->flags & SECRET ? "[redacted]" : v->text, o->detail);
	warn(value_label(v), text);
}

static void apply(struct load *load, const struct option *o, const char *text, enum config_source source)
{
	union {
		struct json_strings list;
		char *text;
		uint64_t number;
	} scratch = {{0}};
	bool here = o->offset == NO_MEMBER;
	void *member = here ? (void *)&scratch : (char *)load->config + o->offset;
	struct value value = {o, text, source};
	struct error err = {0};

	int r = o->type->parse(&value, member, &err);
	if (here && o->type->storage == OWNED_TEXT)
		secret_free(scratch.text);
	else if (here && o->type->storage == OWNED_LIST)
		config_strings_free(&scratch.list);
	if (source == FROM_DEFAULT) {
		if (r < 0 && *text)
			abort(); // a mistake in the table
		return;
	}
	if (r == -ENOTSUP || (r < 0 && o->flags & FATAL)) {
		add_fatal(load, err.message);
		return;
	}
	if (r < 0)
		warn(value_label(&value), err.message);
	if (r == VALUE_SET || r == -ERANGE) {
		*given(load, o) = (unsigned char)source;
		check_state(&value);
	}
}

static void add_fatal(struct load *load, const char *text)
{
	struct error before = load->fatal;

	if (before.code)
		error_set(&load->fatal, EINVAL, "%s; %s", before.message, text);
	else
		error_set(&load->fatal, EINVAL, "%s", text);
}

// --- JSON ---

static const struct option *find(const char *name)
{
	for (size_t i = 0; i < config_option_count; i++)
		if (strcmp(config_options[i].name, name) == 0)
			return &config_options[i];
	abort(); // a mistake in the table
}

// Fills what no stronger source gave. In one object each key is its own; of two that fill one member, the key of the
// variable is the stronger.
static void apply_json(struct load *load, const struct json_setting *settings, size_t count, enum config_source source)
{
	for (size_t i = 0; i < count; i++) {
		const struct option *o = settings[i].option;
		bool old_cluster = strcmp(o->name, "ClusterArn") == 0;

		if (*given(load, o) || (o->unless && *given(load, find(o->unless))) || o->state == NO_EFFECT ||
		    (old_cluster && (source != FROM_FILE || !*settings[i].text)))
			continue;
		if (old_cluster)
			log_warn("Use of deprecated configuration key", "key=ClusterArn message=%s",
				 "Please use Cluster instead");
		if (*settings[i].text)
			apply(load, o, settings[i].text, source);
		if (old_cluster)
			*given(load, find(o->unless)) = *given(load, o);
	}
}

static char *read_regular(const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		error_set(err, EINVAL, "read %s: not a regular file", path);
		return NULL;
	}
	char *text = read_file(path, FILE_MAX_BYTES, NULL);
	if (!text)
		error_set_errno(err, errno, "read %s", path);
	return text;
}

static void read_config_file(struct load *load)
{
	const char *path = load->config->config_file;
	struct error err = {0};
	_cleanup_free_ char *text = read_regular(path, &err);
	struct json_setting *settings;
	size_t count;

	if (err.code) {
		log_error("Unable to read cfg file", "path=%s err=%s", path, err.message);
		add_fatal(load, err.message);
	}
	if (!text || !text[strspn(text, " \t\r\n")])
		return;
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), &err);
	if (object && !json_object_is_type(object, json_type_object))
		error_set(&err, EINVAL,
			  "json: cannot unmarshal a value that is no object into Go value of type Config");
	if (err.code || config_json_settings(object, &settings, &count, &err) < 0) {
		log_error("Error reading cfg json data", "path=%s err=%s", path, err.message);
		add_fatal(load, err.message);
		return;
	}
	apply_json(load, settings, count, FROM_FILE);
	config_json_settings_free(settings, count);
}

// --- what depends on several values ---

// Said alone, before anything else is looked at (configuration.md §7).
static bool external_without_region(const char *(*get)(const char *name))
{
	const char *external = get("ECS_EXTERNAL"), *region = get("AWS_DEFAULT_REGION");
	bool on;

	return external && config_parse_bool(external, &on, NULL) == 0 && on &&
	       (!region || !region[strspn(region, " \t\r\n")]);
}

static bool contains(const struct json_strings *list, const char *item)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], item) == 0)
			return true;
	return false;
}

static void check_watermarks(const char *what, int64_t *high, int64_t *low)
{
	if (*high > *low && *low > 0)
		return;
	if (*high || *low) {
		_cleanup_free_ char *text =
			xasprintf("ECSD_IMAGE_%s_HIGH_PERCENT=%lld and ..._LOW_PERCENT=%lld: expected 0 < "
				  "low < high, both are taken as 0",
				  what, (long long)*high, (long long)*low);
		_cleanup_free_ char *name = xasprintf("ECSD_IMAGE_%s_HIGH_PERCENT", what);
		warn(name, text);
	}
	*high = *low = 0;
}

static void finish(struct load *load)
{
	struct config *c = load->config;

	if (c->external) {
		c->no_iid = true;
		if (str_empty(c->region)) // by the JSON file or user data; by the environment it has ended already
			add_fatal(load, EXTERNAL_WITHOUT_REGION);
	}
	if (c->prometheus_metrics && !contains(&c->reserved_tcp, PROMETHEUS_PORT)) {
		c->reserved_tcp.items =
			xreallocarray(c->reserved_tcp.items, c->reserved_tcp.count + 1, sizeof(*c->reserved_tcp.items));
		c->reserved_tcp.items[c->reserved_tcp.count++] = xstrdup(PROMETHEUS_PORT);
	}
	if (c->log_level_on_instance == LOG_LEVEL_UNSET)
		c->log_level_on_instance = str_empty(c->log_driver) ? c->log_level : LOG_NONE;
	check_watermarks("DISK", &c->image_disk_high_percent, &c->image_disk_low_percent);
	check_watermarks("INODES", &c->image_inodes_high_percent, &c->image_inodes_low_percent);
	if (load->get && contains(&c->logging_drivers, "awsfirelens")) // once
		warn("ECS_AVAILABLE_LOGGING_DRIVERS", "awsfirelens: FireLens is not supported by this version of ecsd");
}
