// Configuration: lines NAME=value, as an environment.
#include "config/config.h"
#include "config/config_parse.h"
#include "fuzz.h"

#define LINES_MAX 128

static char *variables[LINES_MAX];
static size_t variable_count;

// The last one wins.
static const char *get(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = variable_count; i-- > 0;)
		if (strncmp(variables[i], name, len) == 0 && variables[i][len] == '=')
			return variables[i] + len + 1;
	return NULL;
}

static void check_config(const struct config *config)
{
	CHECK(config->cluster && config->region && config->data_dir && config->run_dir && config->os_family);
	CHECK(str_starts(config->docker_host, "unix:///"));
	CHECK(config->reserved_memory_mib >= 0 && config->reserved_memory_mib <= UINT16_MAX);
	CHECK(config->dynamic_port_first <= config->dynamic_port_last);
	CHECK(config->container_stop_timeout_ms >= 1000 && config->container_start_timeout_ms >= 45000);
	CHECK(config->container_create_timeout_ms >= 60000 && config->image_pull_timeout_ms > 0);
	CHECK(config->image_pull_inactivity_ms >= 60000 && config->task_cleanup_wait_ms >= 1000);
	CHECK(config->metadata_rps_steady > 0 && config->metadata_rps_burst > 0);
	CHECK(config->clock_scale > 0);
	const char *const maps[] = {config->instance_attributes, config->instance_tags};
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		if (str_empty(maps[i]))
			continue;
		_cleanup_json_ json_object *map = json_parse(maps[i], strlen(maps[i]), NULL);
		CHECK(json_object_is_type(map, json_type_object));
	}
	uint64_t port;
	for (size_t i = 0; i < config->reserved_tcp.count; i++)
		CHECK(parse_uint64(config->reserved_tcp.items[i], &port) && port <= UINT16_MAX);
	for (size_t i = 0; i < config->logging_drivers.count; i++)
		CHECK(config->logging_drivers.items[i]);
}

static void check_duration(const char *text)
{
	struct error err = {0};
	int64_t ns, again;
	if (config_parse_duration(text, &ns, &err) < 0) {
		CHECK(err.code);
		return;
	}
	_cleanup_free_ char *formatted = config_format_duration(ns);
	// Only used for times of milliseconds and more, in a text for an operator.
	if (llabs(ns) >= 1000000)
		CHECK(config_parse_duration(formatted, &again, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *rest = text;
	struct config config;
	struct error err = {0};
	variable_count = 0;
	for (char *line; variable_count < LINES_MAX && (line = strsep(&rest, "\n"));)
		variables[variable_count++] = line;
	if (config_load(&config, get, &err) == 0) {
		check_config(&config);
		if (get("USER_DATA") && config_merge_user_data(&config, get("USER_DATA"), &err) == 0)
			check_config(&config);
		config_free(&config);
	} else {
		CHECK(err.code && *err.message);
	}
	for (size_t i = 0; i < variable_count; i++)
		check_duration(variables[i] + strcspn(variables[i], "=") + (strchr(variables[i], '=') != NULL));
	return 0;
}
