#include "arguments.h"
#include "common/util.h"
#include "config/config_parse.h"
#include <errno.h>

struct parsed {
	bool version, license, healthcheck, attributes, handback_check, windows_service, help, help_capabilities,
		packaged_defaults, config_manual;
	bool insecure, blackhole_imds;
	const char *level, *level_driver, *level_on_instance, *help_config;
};

static const struct flag {
	const char *name;
	enum { BOOLEAN, VALUE, OPTIONAL_VALUE } kind;
	size_t offset;
	const char *help;
} flags[] = {
	{"version", BOOLEAN, offsetof(struct parsed, version), "print the version and exit"},
	{"license", BOOLEAN, offsetof(struct parsed, license), "print the licence notice and exit"},
	{"healthcheck", BOOLEAN, offsetof(struct parsed, healthcheck),
	 "ask the introspection endpoint; exit 0 if it answers, else 1"},
	{"loglevel", VALUE, offsetof(struct parsed, level),
	 "debug, info, warn, error, crit or none; stronger than the next two"},
	{"loglevel-driver", VALUE, offsetof(struct parsed, level_driver), "the same for standard error"},
	{"loglevel-on-instance", VALUE, offsetof(struct parsed, level_on_instance), "the same for ECS_LOGFILE"},
	{"ecs-attributes", BOOLEAN, offsetof(struct parsed, attributes),
	 "print the capabilities as name<TAB>value and exit"},
	{"handback-check", BOOLEAN, offsetof(struct parsed, handback_check),
	 "say whether the official agent can have this instance back; exit 0 if so, else 1"},
	{"k", BOOLEAN, offsetof(struct parsed, insecure), "do not verify TLS certificates"},
	{"blackhole-ec2-metadata", BOOLEAN, offsetof(struct parsed, blackhole_imds),
	 "never ask the instance metadata service"},
	{"windows-service", BOOLEAN, offsetof(struct parsed, windows_service), "not on this system: exit 1"},
	{"help-config", OPTIONAL_VALUE, offsetof(struct parsed, help_config),
	 "list all variables and exit; -help-config=tsv for programs"},
	{"help-capabilities", BOOLEAN, offsetof(struct parsed, help_capabilities), "list all capabilities and exit"},
	{"print-packaged-defaults", BOOLEAN, offsetof(struct parsed, packaged_defaults),
	 "print what ecs-init gives the agent as an environment file and exit"},
	{"print-config-manual", BOOLEAN, offsetof(struct parsed, config_manual),
	 "print the manual page ecs.config(5) and exit"},
	{"help", BOOLEAN, offsetof(struct parsed, help), "print this and exit"},
	{"h", BOOLEAN, offsetof(struct parsed, help), NULL},
};

void arguments_usage(FILE *out)
{
	fprintf(out, "usage: ecsd [flags]\n");
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].help)
			fprintf(out, "  -%-24s %s\n", flags[i].name, flags[i].help);
	fprintf(out, "Configuration is read from the environment (ECS_*, AWS_*), a JSON file and EC2 user data:\n"
		     "`ecsd -help-config` lists it.\n");
}

static const struct flag *find(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0)
			return &flags[i];
	return NULL;
}

// One argument, and the next where it is the value.
static int parse_flag(char **argv, int *at, struct parsed *parsed, struct error *err)
{
	const char *name = argv[*at] + (argv[*at][1] == '-' ? 2 : 1), *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const char *value = equals ? equals + 1 : NULL;
	const struct flag *flag = find(name, len);

	if (len == 0 || *name == '-')
		return error_set(err, EINVAL, "bad flag syntax: %s", argv[*at]);
	if (!flag)
		return error_set(err, EINVAL, "flag provided but not defined: -%.*s", (int)len, name);
	void *member = (char *)parsed + flag->offset;
	if (flag->kind == BOOLEAN) {
		*(bool *)member = true;
		if (value && (*value == ' ' || config_parse_bool(value, member, NULL) < 0))
			return error_set(err, EINVAL, "invalid boolean value \"%s\" for -%s: parse error", value,
					 flag->name);
		return 0;
	}
	if (!value && flag->kind == VALUE && !(value = argv[++*at]))
		return error_set(err, EINVAL, "flag needs an argument: -%s", flag->name);
	*(const char **)member = value ? value : "";
	return 0;
}

static enum log_level level_of(const char *flag, const char *text)
{
	enum log_level level = LOG_LEVEL_UNSET;

	if (!str_empty(text) && !log_level_parse(text, &level))
		fprintf(stderr, "ecsd: -%s \"%s\" is ignored: expected debug, info, warn, error, crit or none\n", flag,
			text);
	return level;
}

static enum command command_of(const struct parsed *parsed, const char **bad)
{
	*bad = NULL;
	if (parsed->help)
		return COMMAND_HELP;
	if (parsed->license)
		return COMMAND_LICENSE;
	if (parsed->version)
		return COMMAND_VERSION;
	if (parsed->healthcheck)
		return COMMAND_HEALTHCHECK;
	if (parsed->help_config && strcmp(parsed->help_config, "tsv") == 0)
		return COMMAND_HELP_CONFIG_TSV;
	if (parsed->help_config) {
		*bad = *parsed->help_config ? parsed->help_config : NULL;
		return COMMAND_HELP_CONFIG;
	}
	if (parsed->help_capabilities)
		return COMMAND_HELP_CAPABILITIES;
	if (parsed->packaged_defaults)
		return COMMAND_PACKAGED_DEFAULTS;
	if (parsed->config_manual)
		return COMMAND_CONFIG_MANUAL;
	if (parsed->windows_service)
		return COMMAND_WINDOWS_SERVICE;
	if (parsed->handback_check)
		return COMMAND_HANDBACK_CHECK;
	return parsed->attributes ? COMMAND_ATTRIBUTES : COMMAND_RUN;
}

int arguments_parse(int argc, char **argv, struct arguments *arguments, struct error *err)
{
	struct parsed parsed = {0};
	const char *bad;
	int at = 1;

	*arguments = (struct arguments){0};
	for (; at < argc; at++) {
		if (argv[at][0] != '-' || !argv[at][1])
			break;
		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		int r = parse_flag(argv, &at, &parsed, err);
		if (r < 0)
			return r;
	}
	if (at < argc) // the official agent ignores it; a mistyped flag should be noticed
		return error_set(err, EINVAL, "unexpected argument \"%s\"", argv[at]);
	arguments->command = command_of(&parsed, &bad);
	if (bad)
		return error_set(err, EINVAL, "invalid value \"%s\" for -help-config: expected tsv", bad);
	arguments->insecure = parsed.insecure;
	arguments->blackhole_imds = parsed.blackhole_imds;
	enum log_level both = level_of("loglevel", parsed.level);
	bool set = !str_empty(parsed.level);
	arguments->level_driver = set ? both : level_of("loglevel-driver", parsed.level_driver);
	arguments->level_on_instance = set ? both : level_of("loglevel-on-instance", parsed.level_on_instance);
	return 0;
}
