#include "docker/log_config.h"
#include "common/aws/aws_json.h"
#include "common/util.h"

#define DEFAULTS_MAX ((size_t)1 << 20) // of daemon.json

struct log_config {
	char *type;
	struct json_map options;
};

static const struct json_field log_config_fields[] = {
	JSON_FIELD(struct log_config, "Type", type, JSON_STRING),
	JSON_FIELD(struct log_config, "Config", options, JSON_STRING_MAP),
	JSON_END,
};
static const struct json_table log_config_table = {"LogConfig", sizeof(struct log_config), log_config_fields};

static const struct json_field defaults_fields[] = {
	JSON_FIELD(struct log_defaults, "log-driver", driver, JSON_STRING),
	JSON_FIELD(struct log_defaults, "log-opts", options, JSON_STRING_MAP),
	JSON_END,
};
static const struct json_table defaults_table = {"daemon.json", sizeof(struct log_defaults), defaults_fields};

static int use_execution_role(json_object *options, const struct task *task, struct error *err);
static void name_stream(json_object *options, const struct task *task, const struct container *container);
static void set_endpoint(json_object *options, const char *region);
static void add_buffer_size(json_object *options);
static void take_out_ours(json_object *options);
static int hand_over(json_object *log_config, json_object *options, enum log_driver driver,
		     const struct create_context *context, struct error *err);

int log_defaults_decode(const char *text, size_t len, struct log_defaults *defaults, struct error *err)
{
	*defaults = (struct log_defaults){0};
	_cleanup_json_ json_object *object = json_parse(text, len, err);
	return object ? json_decode(&defaults_table, object, defaults, err) : -EINVAL;
}

int log_defaults_read(const char *path, struct log_defaults *defaults, struct error *err)
{
	size_t len;
	*defaults = (struct log_defaults){0};
	_cleanup_free_ char *text = read_file(path, DEFAULTS_MAX, &len);
	if (!text)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "read %s", path);
	if (!text[strspn(text, " \t\r\n")]) // as good as none, to Docker too
		return 0;
	int r = log_defaults_decode(text, len, defaults, err);
	return r < 0 ? error_wrap(err, "%s", path) : 0;
}

void log_defaults_free(struct log_defaults *defaults)
{
	json_decode_free(&defaults_table, defaults);
	*defaults = (struct log_defaults){0};
}

bool log_config_driver(const struct container *container, enum log_driver *driver)
{
	const char *text = container->docker_host_config;
	_cleanup_json_ json_object *host_config = text ? json_parse(text, strlen(text), NULL) : NULL;
	const char *type = json_get_string(json_get(host_config, "LogConfig"), "Type");
	return type && log_driver_parse(type, driver);
}

int log_config_apply(json_object *host_config, const struct task *task, const struct container *container,
		     const struct create_context *context, const char **name, struct error *err)
{
	json_object *log_config = json_get(host_config, "LogConfig"), *options;
	enum log_driver driver;
	*name = "HostConfigError";
	if (!log_config && !container->logs_by_execution_role)
		return 0;
	if (!log_config)
		json_add(host_config, "LogConfig", log_config = json_object_new_object());
	if (!(options = json_get(log_config, "Config")))
		json_add(log_config, "Config", options = json_object_new_object());
	if (container->logs_by_execution_role && use_execution_role(options, task, err) < 0)
		return -err->code;
	const char *type = json_get_string(log_config, "Type");
	bool known = type && log_driver_parse(type, &driver);
	if (known && driver == LOG_AWSLOGS) {
		name_stream(options, task, container);
		set_endpoint(options, context->region);
	}
	add_buffer_size(options);
	if (!known)
		return 0;
	*name = "CannotCreateContainerError";
	if (context->native_logging & LOG_DRIVER_BIT(driver))
		return hand_over(log_config, options, driver, context, err);
	take_out_ours(options);
	return 0;
}

// docker-mapping.md §18. The id is enough: ecs-endpoint has the credentials before the task is acknowledged.
static int use_execution_role(json_object *options, const struct task *task, struct error *err)
{
	if (str_empty(task->execution_credentials_id))
		return error_set(err, ENOENT, "No execution credentials set for the task");
	_cleanup_free_ char *uri = xasprintf("/v2/credentials/%s", task->execution_credentials_id);
	json_add_string(options, "awslogs-credentials-endpoint", uri);
	return 0;
}

// The control plane makes the name of the prefix; should it not, no driver knows the key.
static void name_stream(json_object *options, const struct task *task, const struct container *container)
{
	static const char key[] = "awslogs-stream-prefix", stream[] = "awslogs-stream";
	json_object *prefix = json_object_object_get(options, key);
	if (!prefix)
		return;
	_cleanup_free_ char *text = xasprintf("%s/%s/%s", json_object_get_string(prefix), container->name, task->id);
	if (!json_object_object_get(options, stream))
		json_add_string(options, stream, text);
	json_object_object_del(options, key);
}

static const char *no_variables(const char *name)
{
	(void)name;
	return NULL;
}

// logging.md §3.1 #4: regions that the library in Docker's driver does not know.
static void set_endpoint(json_object *options, const char *region)
{
	static const char *const regions[] = {"us-iso-east-1",  "us-iso-west-1",   "us-isob-east-1", "us-isob-west-1",
					      "eu-isoe-west-1", "us-isof-south-1", "us-isof-east-1", "eusc-de-east-1"};
	for (size_t i = 0; i < ARRAY_SIZE(regions); i++) {
		if (!str_equal(region, regions[i]))
			continue;
		_cleanup_free_ char *endpoint =
			aws_service_endpoint(AWS_CLOUDWATCH_LOGS, region, NULL, no_variables, NULL);
		json_add_string(options, "awslogs-endpoint", endpoint);
	}
}

// logging.md §3.1 #5, any driver.
static void add_buffer_size(json_object *options)
{
	json_object *mode = json_object_object_get(options, "mode");
	if (mode && str_equal(json_object_get_string(mode), "non-blocking") &&
	    !json_object_object_get(options, "max-buffer-size"))
		json_add_string(options, "max-buffer-size", "10m");
}

// Docker's own drivers refuse what they do not know; without ecs-logd these mean nothing.
static void take_out_ours(json_object *options)
{
	json_object_object_foreach(options, key, value)
	{
		(void)value;
		if (str_starts(key, LOG_OPTION_OURS))
			json_object_object_del(options, key);
	}
}

// As Docker merges: only where the container names the daemon's own default driver, and the container's options win.
static void merge_defaults(json_object *options, enum log_driver driver, const struct log_defaults *defaults)
{
	if (!defaults || !str_equal(defaults->driver, log_driver_name(driver)))
		return;
	for (size_t i = 0; i < defaults->options.count; i++) {
		const struct json_pair *option = &defaults->options.items[i];
		if (!json_object_object_get(options, option->name))
			json_add_string(options, option->name, option->value ?: "");
	}
}

static int check_options(json_object *log_config, enum log_driver driver, struct error *err)
{
	struct log_config decoded;
	struct log_opts options;
	struct error wrong = {0};
	int r = json_decode(&log_config_table, log_config, &decoded, &wrong);
	if (r == 0)
		r = log_options_parse(driver, &decoded.options, &options, &wrong);
	if (r == 0)
		log_options_free(&options);
	json_decode_free(&log_config_table, &decoded);
	return r < 0 ? error_set(err, wrong.code, "Error response from daemon: %s", wrong.message) : 0;
}

static int hand_over(json_object *log_config, json_object *options, enum log_driver driver,
		     const struct create_context *context, struct error *err)
{
	json_object_object_del(options, LOG_OPTION_DRIVER);
	merge_defaults(options, driver, context->log_defaults);
	int r = check_options(log_config, driver, err);
	if (r < 0)
		return r;
	json_add_string(log_config, "Type", LOG_PLUGIN);
	json_add_string(options, LOG_OPTION_DRIVER, log_driver_name(driver));
	return 0;
}
