// Docker's daemon.json over a container's LogConfig, and what a plugin says of itself. Input: daemon.json, a NUL byte,
// LogConfig.
#include "docker/log_config.h"
#include "fuzz.h"
#include "logd/plugin.h"

static const char type_key[] = "Type", options_key[] = "Config";

// Docker decodes LogConfig before this code sees it: a text and an object of texts.
static json_object *host_config(const char *text)
{
	json_object *host = json_object_new_object(), *config = json_object_new_object(),
		    *options = json_object_new_object();
	_cleanup_json_ json_object *parsed = json_parse(text, strlen(text), NULL);
	json_object *given = json_get(parsed, options_key);
	json_add_string(config, type_key, json_get_string(parsed, type_key));
	if (json_object_is_type(given, json_type_object)) {
		json_object_object_foreach(given, name, value)
		{
			if (json_object_is_type(value, json_type_string))
				json_add(options, name, json_object_get(value));
		}
	}
	json_add(config, options_key, options);
	json_add(host, "LogConfig", config);
	return host;
}

static void check_result(json_object *config, json_object *before, enum log_driver driver,
			 const struct log_defaults *defaults)
{
	json_object *options = json_get(config, options_key), *was = json_get(before, options_key);
	CHECK(str_equal(json_get_string(config, type_key), LOG_PLUGIN));
	CHECK(str_equal(json_get_string(options, LOG_OPTION_DRIVER), log_driver_name(driver)));
	bool merged = str_equal(defaults->driver, log_driver_name(driver));
	json_object_object_foreach(options, name, value)
	{
		json_object *old = json_object_object_get(was, name);
		if (old && strcmp(name, LOG_OPTION_DRIVER) != 0 && strcmp(name, "awslogs-endpoint") != 0)
			CHECK(json_object_equal(old, value));
		else if (!old)
			CHECK(merged || str_starts(name, "awslogs-") || strcmp(name, LOG_OPTION_DRIVER) == 0 ||
			      strcmp(name, "max-buffer-size") == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0, size);
	size_t len = end ? (size_t)(end - data) : size;
	_cleanup_free_ char *daemon = fuzz_text(data, len),
			    *text = fuzz_text(end ? end + 1 : data, end ? size - len - 1 : 0);
	struct error err = {0};
	struct log_defaults defaults;
	struct task task = {.id = (char *)"1", .execution_credentials_id = (char *)"2"};
	struct container container = {.name = (char *)"web", .docker_host_config = text};
	enum log_driver driver;
	log_plugin_implements(daemon, strlen(daemon));
	if (log_defaults_decode(daemon, strlen(daemon), &defaults, &err) < 0)
		CHECK(*err.message && !defaults.driver && !defaults.options.count);
	log_config_driver(&container, &driver);
	struct create_context context = {.region = "us-iso-east-1", .native_logging = ~0u, .log_defaults = &defaults};
	_cleanup_json_ json_object *host = host_config(text), *before = host_config(text);
	const char *type = json_get_string(json_get(host, "LogConfig"), type_key), *name = NULL;
	bool ours = type && log_driver_parse(type, &driver);
	err = (struct error){0};
	if (log_config_apply(host, &task, &container, &context, &name, &err) < 0) {
		CHECK(name && ours);
		check_reason(err.message);
	} else if (ours) {
		check_result(json_get(host, "LogConfig"), json_get(before, "LogConfig"), driver, &defaults);
	}
	log_defaults_free(&defaults);
	return 0;
}
