// ecs.config(5): what is the same in every edition, and the table.
#include "common/util.h"
#include "config/option.h"

static const char head[] = ".\\\" Made by `ecsd -print-config-manual` from the table in agent/config/options.c.\n"
			   ".Dd November 23, 2026\n"
			   ".Dt ECS.CONFIG 5\n"
			   ".Os ecsd\n"
			   ".Sh NAME\n"
			   ".Nm ecs.config\n"
			   ".Nd configuration of the Amazon ECS container agent\n"
			   ".Sh SYNOPSIS\n"
			   ".Pa /etc/ecs/ecs.config\n"
			   ".Sh DESCRIPTION\n"
			   "The variables that\n"
			   ".Xr ecsd 8\n"
			   "knows.\n"
			   "It reads them from the files that its unit names, as ecs-init does: one\n"
			   ".Ar NAME Ns = Ns Ar value\n"
			   "on a line, divided at the first\n"
			   ".Dq = .\n"
			   "There are no comments, no quotes and no expansion; white space around a line is dropped.\n"
			   "Later files win, and what the environment has wins over all of them:\n"
			   ".Pp\n"
			   ".Bl -enum -compact\n"
			   ".It\n"
			   ".Pa /usr/lib/ecsd/ecs.defaults :\n"
			   "what the package sets, as ecs-init does for the official agent\n"
			   ".It\n"
			   ".Pa /var/lib/ecs/ecs.config :\n"
			   "of the instance; written by installers\n"
			   ".It\n"
			   ".Pa /etc/ecs/ecs.config :\n"
			   "the administrator's\n"
			   ".El\n"
			   ".Pp\n"
			   "What these leave open is taken from the JSON file that\n"
			   ".Ev ECS_AGENT_CONFIG_FILE_PATH\n"
			   "names, then from EC2 user data that is a JSON object with a member\n"
			   ".Dq ECSAgentConfiguration ,\n"
			   "then from the defaults.\n"
			   "Keys of the JSON file are given as\n"
			   ".Dq JSON\n"
			   "below.\n"
			   ".Pp\n"
			   "Paths below\n"
			   ".Pa /data\n"
			   "and\n"
			   ".Pa /log\n"
			   "are those of the official agent's container, and mean\n"
			   ".Pa /var/lib/ecs/data\n"
			   "and\n"
			   ".Pa /var/log/ecs .\n"
			   "Durations are written as\n"
			   ".Dq 1h30m\n"
			   "or\n"
			   ".Dq 500ms .\n"
			   "A value that cannot be used is warned about in the log, with what is used instead; a few "
			   "end the program with\n"
			   "exit status 1.\n"
			   "A change counts after\n"
			   ".Dl systemctl restart ecsd\n"
			   "which leaves all containers running.\n";

static const char tail[] = ".Sh FILES\n"
			   ".Bl -tag -width Ds\n"
			   ".It Pa /etc/ecs/ecs.config\n"
			   "The administrator's settings.\n"
			   "No package owns it; it outlives all of them.\n"
			   ".It Pa /etc/ecs/ecs.config.json\n"
			   "The JSON file, with the packaged defaults.\n"
			   ".It Pa /var/lib/ecs/ecs.config\n"
			   "The instance's settings.\n"
			   ".It Pa /usr/lib/ecsd/ecs.defaults\n"
			   "The packaged defaults.\n"
			   ".El\n"
			   ".Sh EXAMPLES\n"
			   ".Bd -literal\n"
			   "ECS_CLUSTER=production\n"
			   "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=1h\n"
			   "ECS_RESERVED_MEMORY=256\n"
			   "ECS_INSTANCE_ATTRIBUTES={\"rack\":\"r7\"}\n"
			   ".Ed\n"
			   ".Sh SEE ALSO\n"
			   ".Xr ecs-logd 8 ,\n"
			   ".Xr ecsd 8\n";

// One line of text: no request, no escape, minus signs that can be copied.
static void print_text(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

static void print_field(FILE *out, const char *label, const char *text)
{
	if (str_empty(text))
		return;
	fprintf(out, "%s: ", label);
	print_text(out, text);
	fprintf(out, ".\n");
}

static void print_option(FILE *out, const struct option *o)
{
	_cleanup_free_ char *bare = option_shown(o, o->fallback), *packaged = option_shown(o, o->packaged),
			    *bounds = option_bounds(o);

	fprintf(out, o->flags & NO_VARIABLE ? ".It JSON key Cm %s\n" : ".It Ev %s\n", o->name);
	if (!str_equal(o->help, "-")) {
		print_text(out, o->help);
		fprintf(out, ".\n.br\n");
	}
	print_field(out, "Type", o->type->name);
	print_field(out, "Values", bounds);
	print_field(out, "Default", bare);
	if (!str_equal(bare, packaged))
		print_field(out, "Packaged default", packaged);
	if (!(o->flags & NO_VARIABLE))
		print_field(out, "JSON", o->json);
	if (o->state != WORKS)
		print_field(out, o->state == LATER ? "Not built yet" : "Why", o->detail);
}

static void print_state(FILE *out, enum option_state state)
{
	fprintf(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < config_option_count; i++)
		if (config_options[i].state == state)
			print_option(out, &config_options[i]);
	fprintf(out, ".El\n");
}

void config_print_manual(FILE *out)
{
	fputs(head, out);
	fprintf(out, ".Sh VARIABLES\n");
	print_state(out, WORKS);
	fprintf(out, ".Sh NOT BUILT YET\n"
		     "These are known and have no effect in this version.\n"
		     "Where that could surprise, the log has a warning.\n");
	print_state(out, LATER);
	fprintf(out, ".Sh WITHOUT EFFECT\n"
		     "These have nothing to change here.\n");
	print_state(out, NO_EFFECT);
	fputs(tail, out);
}
