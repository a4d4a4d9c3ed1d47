// The table, printed.
#include "common/util.h"
#include "config/option.h"

static const char *const states[] = {[WORKS] = "works", [LATER] = "later", [NO_EFFECT] = "no effect"};

static const char *state_of(const struct option *o)
{
	return o->state == LATER && !(o->flags & QUIET) ? "later, warned" : states[o->state];
}

static const char *or_dash(const char *text)
{
	return str_empty(text) ? "-" : text;
}

char *option_shown(const struct option *o, const char *text)
{
	char *path = NULL;
	struct value value = {o, text, FROM_DEFAULT};

	if (o->type != &config_path || str_empty(text))
		return xstrdup(text ? text : "");
	o->type->parse(&value, &path, NULL);
	return path;
}

void config_print_help(FILE *out)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		_cleanup_free_ char *bare = option_shown(o, o->fallback), *packaged = option_shown(o, o->packaged);
		_cleanup_free_ char *bounds = option_bounds(o);
		if (o->flags & NO_VARIABLE)
			continue;
		fprintf(out, "%-46s %-12s %-30s %-9s %s", o->name, o->type->name, or_dash(bare), states[o->state],
			o->help);
		if (*bounds)
			fprintf(out, " (%s)", bounds);
		if (*packaged)
			fprintf(out, " (packaged: %s)", packaged);
		if (o->state == LATER || o->state == NO_EFFECT)
			fprintf(out, " [%s: %s]", states[o->state], o->detail);
		fprintf(out, "\n");
	}
}

void config_print_tsv(FILE *out)
{
	fprintf(out, "name\ttype\tbounds\tdefault\tpackaged\tjson\tstate\tdetail\thelp\n");
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		_cleanup_free_ char *bare = option_shown(o, o->fallback), *packaged = option_shown(o, o->packaged);
		_cleanup_free_ char *bounds = option_bounds(o);
		fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o->flags & NO_VARIABLE ? "" : o->name,
			o->type->name, bounds, bare, packaged, o->json ? o->json : "", state_of(o),
			o->state == WORKS ? "" : o->detail, o->help);
	}
}

void config_print_packaged_defaults(FILE *out)
{
	fprintf(out, "# What ecs-init gives the agent on a host; /etc/ecs/ecs.config is the stronger.\n"
		     "# Made by `ecsd -print-packaged-defaults`. Commented: not built yet, or set at installation.\n");
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		_cleanup_free_ char *packaged = option_shown(o, o->packaged);
		if (!*packaged)
			continue;
		const char *mark = o->flags & HOST_VALUE ? "# by host: " : o->state != WORKS ? "# later: " : "";
		fprintf(out, "%s%s=%s\n", mark, o->name, packaged);
	}
}
