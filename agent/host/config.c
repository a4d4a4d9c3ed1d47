#include "host/config.h"

#include "common/util.h"
#include "config/config_parse.h"

#include <sys/stat.h>

#define FILES "/var/lib/ecs/ecs.config:/etc/ecs/ecs.config" // the strongest last

static int parse_on(const char *text, void *member, struct error *err);
static int parse_off(const char *text, void *member, struct error *err);
static int parse_docker(const char *text, void *member, struct error *err);
static int parse_level(const char *text, void *member, struct error *err);
static int parse_format(const char *text, void *member, struct error *err);
static int parse_scale(const char *text, void *member, struct error *err);

static const struct option {
	const char *name, *standard;
	int (*parse)(const char *text, void *member, struct error *err);
	size_t offset;
	const char *help;
} options[] = {
	{"ECS_SKIP_LOCALHOST_TRAFFIC_FILTER", "false", parse_off, offsetof(struct host_config, localhost_filter),
	 "no rule that keeps other machines from 127.0.0.0/8"},
	{"ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS", "false", parse_off,
	 offsetof(struct host_config, introspection_filter), "no rules that keep other machines from port 51678"},
	{"ECSD_BRIDGE_BLOCK_IMDS", "false", parse_on, offsetof(struct host_config, block_imds),
	 "keep containers on bridges from the instance metadata service"},
	{"DOCKER_HOST", "unix:///var/run/docker.sock", parse_docker, offsetof(struct host_config, docker_socket),
	 "Docker's socket, to ask for its default bridge"},
	{"ECS_LOGLEVEL", "info", parse_level, offsetof(struct host_config, log_level),
	 "debug, info, warn, error, crit or none"},
	{"ECS_LOG_OUTPUT_FORMAT", "logfmt", parse_format, offsetof(struct host_config, log_json), "logfmt or json"},
	{"ECSD_CLOCK_SCALE", "1", parse_scale, offsetof(struct host_config, clock_scale),
	 "for tests: how much faster its clock runs"},
};

// What systemd does with an EnvironmentFile's `A="b"`.
static char *unquoted(const char *text)
{
	size_t len = strlen(text);
	bool quoted = len >= 2 && (*text == '"' || *text == '\'') && text[len - 1] == *text;

	return quoted ? xstrndup(text + 1, len - 2) : xstrdup(text);
}

void host_config_load(struct host_config *config, const char *(*get)(const char *name))
{
	*config = (struct host_config){0};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		const char *given = get(o->name);
		_cleanup_free_ char *text = given ? unquoted(given) : NULL;
		void *member = (char *)config + o->offset;
		struct error err = {0};

		if (o->parse(str_empty(text) ? o->standard : text, member, &err) == 0)
			continue;
		log_warn("configuration", "variable=%s value=%s warning=%s used=%s", o->name, text, err.message,
			 o->standard);
		o->parse(o->standard, member, NULL);
	}
}

void host_config_free(struct host_config *config)
{
	free(config->docker_socket);
	*config = (struct host_config){0};
}

void host_config_help(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		fprintf(out, "  %-39s %s (%s)\n", options[i].name, options[i].help, options[i].standard);
}

// --- files ---

static const char *get_environment(const char *name)
{
	return getenv(name);
}

static uint64_t look_of(const char *paths)
{
	_cleanup_free_ char *copy = xstrdup(paths);
	uint64_t sum = FNV1A_START;
	char *rest = copy, *path;

	while ((path = strsep(&rest, ":"))) {
		struct stat st = {0};
		if (stat(path, &st) < 0)
			st = (struct stat){0};
		sum = fnv1a(sum, &st.st_ino, sizeof(st.st_ino));
		sum = fnv1a(sum, &st.st_size, sizeof(st.st_size));
		sum = fnv1a(sum, &st.st_mtim, sizeof(st.st_mtim));
	}
	return sum;
}

static void read_files(struct host_config_files *files, struct host_config *config)
{
	files->seen = look_of(files->files.paths); // before, so that no change is missed
	config_files_read(&files->files);
	host_config_load(config, get_environment);
}

void host_config_read(struct host_config_files *files, struct host_config *config)
{
	const char *paths = getenv("ECSD_CONFIG_FILES");

	*files = (struct host_config_files){.files = {.paths = str_empty(paths) ? FILES : paths}};
	read_files(files, config);
}

bool host_config_reread(struct host_config_files *files, struct host_config *config)
{
	struct host_config before = *config;

	if (look_of(files->files.paths) == files->seen)
		return false;
	read_files(files, config);
	bool changed = before.localhost_filter != config->localhost_filter ||
		       before.introspection_filter != config->introspection_filter ||
		       before.block_imds != config->block_imds ||
		       !str_equal(before.docker_socket, config->docker_socket);
	host_config_free(&before);
	return changed;
}

// --- values ---

static int parse_on(const char *text, void *member, struct error *err)
{
	return config_parse_bool(text, member, err);
}

static int parse_off(const char *text, void *member, struct error *err)
{
	bool off;
	int r = config_parse_bool(text, &off, err);

	if (r == 0)
		*(bool *)member = !off;
	return r;
}

// ecsd takes no other; what is wrong with it is ecsd's to say.
static int parse_docker(const char *text, void *member, struct error *err)
{
	(void)err;
	*(char **)member = str_starts(text, "unix:///") ? xstrdup(text + strlen("unix://")) : NULL;
	return 0;
}

static int parse_level(const char *text, void *member, struct error *err)
{
	return log_level_parse(text, member)
		       ? 0
		       : error_set(err, EINVAL, "expected debug, info, warn, error, crit or none");
}

static int parse_format(const char *text, void *member, struct error *err)
{
	*(bool *)member = str_equal(text, "json");
	return *(bool *)member || str_equal(text, "logfmt") ? 0 : error_set(err, EINVAL, "expected logfmt or json");
}

static int parse_scale(const char *text, void *member, struct error *err)
{
	char *end;
	double *scale = member;

	*scale = strtod(text, &end);
	return *text && !*end && *scale > 0 ? 0 : error_set(err, EINVAL, "expected a number above 0");
}
