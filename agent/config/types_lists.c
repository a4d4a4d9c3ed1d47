// Types that are lists and objects.
#include "common/log_options.h"
#include "common/util.h"
#include "config/config_parse.h"
#include "config/option.h"
#include <arpa/inet.h>
#include <errno.h>

// An empty list is not given (configuration.md §10, 2); what could be read of a bad one counts.
static int parse_list(const struct value *v, bool ports, const char *example, void *member, struct error *err)
{
	struct json_strings *current = member, list;
	struct error problem;

	if (!*v->text || !v->text[strspn(v->text, " \t\r\n")])
		return VALUE_EMPTY;
	int r = config_parse_list(v->text, ports, &list, &problem);
	bool some = list.count > 0;
	if (some) {
		config_strings_free(current);
		*current = list;
	} else {
		config_strings_free(&list);
	}
	if (r == 0)
		return some ? VALUE_SET : VALUE_EMPTY;
	return error_set(err, some ? ERANGE : EINVAL,
			 "Invalid format for \"%s\" environment variable; expected a JSON array like %s. err %s",
			 value_label(v), example, problem.message);
}

static int parse_ports(const struct value *v, void *member, struct error *err)
{
	return parse_list(v, true, "[1,2,3]", member, err);
}

static int parse_strings(const struct value *v, void *member, struct error *err)
{
	return parse_list(v, false, "[\"efsAuth\"]", member, err);
}

static int parse_drivers(const struct value *v, void *member, struct error *err)
{
	// control-plane.md §8.1, row 14
	static const char *const known[] = {"json-file", "syslog",     "journald",  "gelf", "fluentd",    "awslogs",
					    "splunk",    "logentries", "sumologic", "none", "awsfirelens"};
	struct buf unknown = {.max = 512};
	int r = parse_list(v, false, "[\"json-file\",\"syslog\"]", member, err);
	const struct json_strings *list = member;

	for (size_t i = 0; i < list->count; i++) {
		bool found = false;
		for (size_t j = 0; j < ARRAY_SIZE(known) && !found; j++)
			found = strcmp(list->items[i], known[j]) == 0;
		if (!found)
			buf_printf(&unknown, "%s%s", unknown.len ? ", " : "", list->items[i]);
	}
	if (unknown.len) // ENOTSUP: fatal, while bad JSON is not
		r = error_set(err, ENOTSUP, "Invalid logging drivers: %s", unknown.data);
	buf_free(&unknown);
	return r;
}

// A boolean for all, or a list of the drivers.
static int parse_native(const struct value *v, void *member, struct error *err)
{
	static const enum log_driver drivers[] = {LOG_AWSLOGS, LOG_FLUENTD, LOG_SYSLOG};
	struct error problem = {0};
	struct json_strings list = {0};
	unsigned bits = 0;
	bool all;

	if (!v->text[strspn(v->text, " \t\r\n")])
		return VALUE_EMPTY;
	if (config_parse_bool(v->text, &all, NULL) == 0) {
		for (size_t i = 0; all && i < ARRAY_SIZE(drivers); i++)
			bits |= LOG_DRIVER_BIT(drivers[i]);
		*(unsigned *)member = bits;
		return VALUE_SET;
	}
	config_parse_list(v->text, false, &list, &problem);
	for (size_t i = 0; i < list.count; i++) {
		enum log_driver driver;
		if (log_driver_parse(list.items[i], &driver))
			bits |= LOG_DRIVER_BIT(driver);
		else if (!problem.code)
			error_set(&problem, EINVAL, "\"%s\" is none of awslogs, fluentd, syslog", list.items[i]);
	}
	config_strings_free(&list);
	if (problem.code)
		return error_set(err, EINVAL,
				 "Invalid format for \"%s\"; expected a boolean or a JSON array like "
				 "[\"awslogs\",\"syslog\"]. err %s",
				 value_label(v), problem.message);
	*(unsigned *)member = bits;
	return VALUE_SET;
}

// "a,b": items as they are, white space included.
static int parse_commas(const struct value *v, void *member, struct error *err)
{
	struct json_strings *list = member;
	size_t count = 1;

	if (!*v->text)
		return VALUE_EMPTY;
	if (v->source == FROM_FILE || v->source == FROM_USER_DATA) // in JSON it is a list
		return parse_list(v, false, "[\"image\"]", member, err);
	for (const char *p = v->text; *p; p++)
		count += *p == ',';
	config_strings_free(list);
	list->items = xcalloc(count, sizeof(*list->items));
	for (const char *p = v->text;; p++) {
		size_t len = strcspn(p, ",");
		list->items[list->count++] = xstrndup(p, len);
		p += len;
		if (!*p)
			return VALUE_SET;
	}
}

static int parse_map(const struct value *v, void *member, struct error *err)
{
	struct error problem;

	if (!*v->text) {
		str_replace(member, "");
		return VALUE_EMPTY;
	}
	if (config_parse_map(v->text, member, &problem) == 0)
		return **(char **)member ? VALUE_SET : VALUE_EMPTY;
	return error_set(err, EINVAL, "Invalid format for %s. Expected a json hash: %s", value_label(v),
			 problem.message);
}

static bool is_cidr(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);
	char *slash = strchr(copy, '/');
	unsigned char address[16];
	uint64_t bits;

	if (!slash)
		return false;
	*slash++ = '\0';
	int family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	return inet_pton(family, copy, address) == 1 && parse_uint64(slash, &bits) &&
	       bits <= (family == AF_INET ? 32 : 128);
}

// Strict: a bad list ends the program.
static int parse_routes(const struct value *v, void *member, struct error *err)
{
	struct json_strings *list = member;
	struct error problem = {0};
	_cleanup_json_ json_object *whole = json_parse(v->text, strlen(v->text), &problem);

	if (!*v->text)
		return VALUE_EMPTY;
	if (!problem.code && whole)
		config_parse_list(v->text, false, list, &problem);
	for (size_t i = 0; i < list->count && !problem.code; i++)
		if (!is_cidr(list->items[i]))
			error_set(&problem, EINVAL, "invalid CIDR address: %s", list->items[i]);
	if (!problem.code)
		return list->count ? VALUE_SET : VALUE_EMPTY;
	return error_set(err, EINVAL, "Invalid format for %s, expected a json array of CIDRs: %s", value_label(v),
			 problem.message);
}

#define TYPE(id, shown, parser, json, where) const struct type config_##id = {shown, parse_##parser, json, where}
TYPE(ports, "JSON list", ports, FORM_PORTS, OWNED_LIST);
TYPE(drivers, "JSON list", drivers, FORM_STRINGS, OWNED_LIST);
TYPE(strings, "JSON list", strings, FORM_STRINGS, OWNED_LIST);
TYPE(native, "boolean or JSON list", native, FORM_RAW, IN_PLACE);
TYPE(commas, "list a,b", commas, FORM_STRINGS, OWNED_LIST);
TYPE(map, "JSON object", map, FORM_MAP, OWNED_TEXT);
TYPE(labels, "JSON object", map, FORM_MAP, OWNED_TEXT);
TYPE(routes, "JSON list", routes, FORM_STRINGS, OWNED_LIST);
