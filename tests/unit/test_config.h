// What the tests of the configuration share: an environment, the warnings logged, one member as a text.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "common/util.h"
#include "config/config.h"
#include "config/config_parse.h"

#define ENV_MAX 8

static struct {
	const char *name, *value;
} env[ENV_MAX];
static char log_path[] = "/tmp/ecsd-test-config-XXXXXX";

static const char *get(const char *name)
{
	for (size_t i = 0; i < ENV_MAX && env[i].name; i++)
		if (strcmp(env[i].name, name) == 0)
			return env[i].value;
	return NULL;
}

static void add_env(const char *name, const char *value)
{
	for (size_t i = 0; i < ENV_MAX; i++)
		if (!env[i].name) {
			env[i].name = name;
			env[i].value = value;
			return;
		}
	fail_msg("too many variables");
}

static void set_env(const char *name, const char *value)
{
	memset(env, 0, sizeof(env));
	add_env(name, value);
}

// What was logged since the file was emptied: warnings, and errors with their message, one a line.
static char *logged(void)
{
	struct buf out = {0};
	size_t len;

	char *text = read_file(log_path, 65536, &len), *rest = text;
	assert_non_null(text);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line)
			continue;
		_cleanup_json_ json_object *entry = json_parse(line, strlen(line), NULL);
		const char *warning = json_get_string(entry, "warning"), *error = json_get_string(entry, "err");
		if (warning)
			buf_printf(&out, "%s%s", out.len ? "\n" : "", warning);
		else
			buf_printf(&out, "%s%s, err %s", out.len ? "\n" : "", json_get_string(entry, "msg"),
				   error ? error : json_get_string(entry, "message"));
	}
	free(text);
	return buf_take(&out);
}

// Loads with the variables set.
static int load(struct config *config, char **warnings, struct error *err)
{
	assert_int_equal(truncate(log_path, 0), 0);
	int r = config_load(config, get, err);
	*warnings = logged();
	return r;
}

// One number or text of a configuration, by name.
static char *show(const struct config *c, const char *member)
{
	const struct json_strings *list = NULL;
	const struct {
		const char *name, *value;
	} texts[] = {
		{"cluster", c->cluster},
		{"region", c->region},
		{"rotating_credentials_file", c->rotating_credentials_file},
		{"rotating_credentials_profile", c->rotating_credentials_profile},
		{"backend_host", c->backend_host},
		{"instance_attributes", c->instance_attributes},
		{"instance_tags", c->instance_tags},
		{"os_family", c->os_family},
		{"data_dir", c->data_dir},
		{"run_dir", c->run_dir},
		{"config_file", c->config_file},
		{"log_driver", c->log_driver},
		{"engine_auth_type", c->engine_auth_type},
		{"engine_auth_data", c->engine_auth_data},
		{"cgroup_path", c->cgroup_path},
		{"healthcheck_host", c->healthcheck_host},
		{"log_file", c->log_file},
		{"audit_log_file", c->audit_log_file},
		{"docker_host", c->docker_host},
		{"log_plugin_socket", c->log_plugin_socket},
		{"logd_socket", c->logd_socket},
		{"docker_config_file", c->docker_config_file},
	};
	const struct {
		const char *name;
		double value;
	} numbers[] = {
		{"checkpoint", c->checkpoint},
		{"log_level", c->log_level},
		{"log_json", c->log_json},
		{"audit_log_disabled", c->audit_log_disabled},
		{"reserved_memory", (double)c->reserved_memory_mib},
		{"pull_behavior", c->pull_behavior},
		{"stop_timeout", (double)c->container_stop_timeout_ms},
		{"start_timeout", (double)c->container_start_timeout_ms},
		{"create_timeout", (double)c->container_create_timeout_ms},
		{"pull_timeout", (double)c->image_pull_timeout_ms},
		{"pull_inactivity", (double)c->image_pull_inactivity_ms},
		{"cleanup_wait", (double)c->task_cleanup_wait_ms},
		{"cleanup_jitter", (double)c->task_cleanup_jitter_ms},
		{"port_first", c->dynamic_port_first},
		{"port_last", c->dynamic_port_last},
		{"privileged_disabled", c->privileged_disabled},
		{"selinux", c->selinux_capable},
		{"apparmor", c->apparmor_capable},
		{"exclude_ipv6", c->exclude_ipv6_port_binding},
		{"task_iam_role", c->task_iam_role},
		{"task_iam_role_network_host", c->task_iam_role_network_host},
		{"rps_steady", c->metadata_rps_steady},
		{"rps_burst", c->metadata_rps_burst},
		{"clock_scale", c->clock_scale},
		{"native_logging", c->native_logging},
		{"awslogs_execution_role", c->awslogs_execution_role},
		{"insecure", c->accept_insecure_cert},
		{"external", c->external},
		{"no_iid", c->no_iid},
		{"updates_enabled", c->updates_enabled},
		{"level_on_instance", c->log_level_on_instance},
		{"roll_type", c->log_roll.type},
		{"roll_bytes", (double)c->log_roll.max_bytes},
		{"roll_files", (double)c->log_roll.max_files},
		{"prometheus", c->prometheus_metrics},
		{"upfront", c->pull_dependents_upfront},
		{"manifest_timeout", (double)c->manifest_pull_timeout_ms},
		{"cpu_mem_limit", c->task_cpu_mem_limit},
		{"cpu_period", (double)c->cgroup_cpu_period_us},
		{"pids_limit", (double)c->task_pids_limit},
		{"propagate_memory", c->propagate_memory_limit},
		{"cleanup_disabled", c->image_cleanup_disabled},
		{"cleanup_interval", (double)c->image_cleanup_interval_ms},
		{"cleanup_age", (double)c->image_cleanup_age_ms},
		{"untracked_age", (double)c->untracked_image_cleanup_age_ms},
		{"images_per_cycle", (double)c->images_deleted_per_cycle},
		{"containers_per_cycle", (double)c->untracked_containers_deleted_per_cycle},
		{"untracked_cleanup", c->untracked_image_cleanup},
		{"disk_high", (double)c->image_disk_high_percent},
		{"disk_low", (double)c->image_disk_low_percent},
		{"inodes_high", (double)c->image_inodes_high_percent},
		{"inodes_low", (double)c->image_inodes_low_percent},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, member) == 0)
			return xstrdup(texts[i].value);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(numbers[i].name, member) == 0)
			return xasprintf("%g", numbers[i].value);
	if (strcmp(member, "reserved_tcp") == 0)
		list = &c->reserved_tcp;
	else if (strcmp(member, "reserved_udp") == 0)
		list = &c->reserved_udp;
	else if (strcmp(member, "logging_drivers") == 0)
		list = &c->logging_drivers;
	else if (strcmp(member, "exclusions") == 0)
		list = &c->image_cleanup_exclusions;
	else
		fail_msg("no member %s", member);
	struct buf out = {0};
	for (size_t i = 0; i < list->count; i++)
		buf_printf(&out, "%s%s", i ? " " : "", list->items[i]);
	return buf_take(&out);
}

struct expectation {
	const char *name, *value, *member, *result, *warning;
};

static void check(const struct expectation *e)
{
	struct config config;
	struct error err = {0};
	char *warnings;

	set_env(e->name, e->value);
	if (load(&config, &warnings, &err) < 0)
		fail_msg("%s=%s: %s", e->name, e->value, err.message);
	_cleanup_free_ char *actual = show(&config, e->member);
	if (strcmp(actual, e->result) != 0)
		fail_msg("%s=%s: %s is \"%s\", expected \"%s\"", e->name, e->value, e->member, actual, e->result);
	if (strcmp(warnings, e->warning ? e->warning : "") != 0)
		fail_msg("%s=%s\nwarned:   %s\nexpected: %s", e->name, e->value, warnings,
			 e->warning ? e->warning : "");
	free(warnings);
	config_free(&config);
}

static void check_all(const struct expectation *table, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(&table[i]);
}

static int run_with_log(int (*run)(void))
{
	int fd = mkstemp(log_path);

	if (fd < 0)
		return 1;
	close(fd);
	struct log_options options = {
		.level = LOG_NONE, .file_level = LOG_WARN, .json = true, .path = log_path, .program = "test"};
	if (log_open(&options, NULL) < 0)
		return 1;
	int failed = run();
	log_close();
	unlink(log_path);
	return failed;
}
