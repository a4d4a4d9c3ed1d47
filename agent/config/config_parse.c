#include "config/config_parse.h"
#include "common/util.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>

#define LIST_MAX 1024   // elements of a list; more ports or drivers than any host has use for
#define TEXT_MAX 131072 // the kernel's limit for one environment variable

static char *trimmed_copy(const char *text)
{
	char *copy = xstrdup(text), *start = str_trim(copy);

	memmove(copy, start, strlen(start) + 1);
	return copy;
}

int config_parse_bool(const char *text, bool *value, struct error *err)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {
		{"1", true},  {"t", true},  {"T", true},  {"TRUE", true},   {"true", true},   {"True", true},
		{"0", false}, {"f", false}, {"F", false}, {"FALSE", false}, {"false", false}, {"False", false},
	};
	_cleanup_free_ char *trimmed = trimmed_copy(text);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(trimmed, words[i].text) == 0) {
			*value = words[i].value;
			return 0;
		}
	return error_set(err, EINVAL, "strconv.ParseBool: parsing \"%s\": invalid syntax", trimmed);
}

// --- durations ---

static const struct {
	const char *name;
	int64_t ns;
} units[] = {
	{"ns", 1},       {"us", 1000},      {"\xc2\xb5s", 1000},      {"\xce\xbcs", 1000},
	{"ms", 1000000}, {"s", 1000000000}, {"m", 60 * 1000000000LL}, {"h", 3600 * 1000000000LL},
};

// One "number+unit" at *text, added to *total. 0, -EINVAL (err filled), -ERANGE.
static int add_part(const char **text, const char *whole, int64_t *total, struct error *err)
{
	const char *p = *text;
	int64_t number = 0, unit = 0;
	double fraction = 0, scale = 1;
	bool digits = false;

	for (; isdigit((unsigned char)*p); p++, digits = true)
		if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *p - '0', &number))
			return -ERANGE;
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++, digits = true) {
			scale /= 10;
			fraction += scale * (*p - '0');
		}
	if (!digits)
		return error_set(err, EINVAL, "time: invalid duration \"%s\"", whole);
	size_t len = strcspn(p, ".0123456789");
	if (len == 0)
		return error_set(err, EINVAL, "time: missing unit in duration \"%s\"", whole);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == len && strncmp(units[i].name, p, len) == 0)
			unit = units[i].ns;
	if (!unit)
		return error_set(err, EINVAL, "time: unknown unit \"%.*s\" in duration \"%s\"",
				 (int)(len < INT_MAX ? len : INT_MAX), p, whole);
	*text = p + len;
	if (__builtin_mul_overflow(number, unit, &number) ||
	    __builtin_add_overflow(number, (int64_t)(fraction * (double)unit + 0.5), &number) ||
	    __builtin_add_overflow(*total, number, total))
		return -ERANGE;
	return 0;
}

int config_parse_duration(const char *text, int64_t *nanoseconds, struct error *err)
{
	const char *p = text;
	bool negative = *p == '-';
	int64_t total = 0;

	if (*p == '-' || *p == '+')
		p++;
	if (strcmp(p, "0") == 0) {
		*nanoseconds = 0;
		return 0;
	}
	if (!*p)
		return error_set(err, EINVAL, "time: invalid duration \"%s\"", text);
	while (*p) {
		int r = add_part(&p, text, &total, err);
		if (r == -ERANGE)
			return error_set(err, EINVAL, "time: invalid duration \"%s\"", text);
		if (r < 0)
			return r;
	}
	*nanoseconds = negative ? -total : total;
	return 0;
}

char *config_format_duration(int64_t nanoseconds)
{
	int64_t ms = nanoseconds / 1000000, s = ms / 1000, fraction = ms % 1000;
	char seconds[32];

	if (ms > -1000 && ms < 1000)
		return nanoseconds % 1000000 ? xasprintf("%gms", (double)nanoseconds / 1e6)
		       : ms                  ? xasprintf("%lldms", (long long)ms)
					     : xstrdup("0s");
	if (fraction)
		snprintf(seconds, sizeof(seconds), "%gs", (double)llabs(s % 60) + (double)llabs(fraction) / 1000.0);
	else
		snprintf(seconds, sizeof(seconds), "%llds", llabs(s % 60));
	const char *sign = ms < 0 ? "-" : "";
	s = llabs(s);
	if (s >= 3600)
		return xasprintf("%s%lldh%lldm%s", sign, (long long)(s / 3600), (long long)(s / 60 % 60), seconds);
	if (s >= 60)
		return xasprintf("%s%lldm%s", sign, (long long)(s / 60), seconds);
	return xasprintf("%s%s", sign, seconds);
}

// --- JSON ---

static json_object *first_value(const char *text, struct error *err)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	size_t len = strnlen(text, TEXT_MAX);

	if (!tokener)
		abort();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	json_object *value =
		json_tokener_parse_ex(tokener, text, (int)len + 1); // with the final NUL, which ends a number
	enum json_tokener_error problem = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	if (problem == json_tokener_success)
		return value;
	error_set(err, EINVAL, "%s", json_tokener_error_desc(problem));
	json_object_put(value);
	return NULL;
}

static char *list_element(json_object *item, bool ports, struct error *err)
{
	if (!ports) {
		if (json_object_is_type(item, json_type_string))
			return xstrdup(json_object_get_string(item));
		error_set(err, EINVAL, "%s is not a string",
			  json_object_to_json_string_ext(item, JSON_C_TO_STRING_PLAIN));
		return NULL;
	}
	int64_t port = json_object_get_int64(item);
	if (json_object_is_type(item, json_type_int) && port >= 0 && port <= UINT16_MAX)
		return xasprintf("%lld", (long long)port);
	error_set(err, EINVAL, "%s is not a port number", json_object_to_json_string_ext(item, JSON_C_TO_STRING_PLAIN));
	return NULL;
}

int config_parse_list(const char *text, bool ports, struct json_strings *list, struct error *err)
{
	struct error problem = {0};
	_cleanup_json_ json_object *value = first_value(text, &problem);

	*list = (struct json_strings){0};
	if (problem.code)
		return error_set(err, EINVAL, "%s", problem.message);
	if (!value) // null
		return 0;
	if (!json_object_is_type(value, json_type_array))
		return error_set(err, EINVAL, "not a list");
	size_t count = json_object_array_length(value);
	if (count > LIST_MAX)
		return error_set(err, E2BIG, "more than %d elements", LIST_MAX);
	list->items = xcalloc(count ? count : 1, sizeof(*list->items));
	for (size_t i = 0; i < count; i++) {
		char *element = list_element(json_object_array_get_idx(value, i), ports, &problem);
		if (element)
			list->items[list->count++] = element;
	}
	return problem.code ? error_set(err, EINVAL, "%s", problem.message) : 0;
}

int config_parse_map(const char *text, char **json, struct error *err)
{
	struct error problem = {0};
	_cleanup_json_ json_object *value = json_parse(text, strlen(text), &problem);
	_cleanup_json_ json_object *out = json_object_new_object();

	if (problem.code)
		return error_set(err, EINVAL, "%s", problem.message);
	if (value && !json_object_is_type(value, json_type_object))
		return error_set(err, EINVAL, "not a JSON object");
	if (value) {
		json_object_object_foreach(value, name, member)
		{
			if (member && !json_object_is_type(member, json_type_string))
				return error_set(err, EINVAL, "the value of \"%s\" is not a string", name);
			json_add_string(out, name, member ? json_object_get_string(member) : "");
		}
	}
	free(*json);
	*json = xstrdup(json_object_object_length(out) ? json_text(out) : "");
	return 0;
}

void config_strings_free(struct json_strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct json_strings){0};
}

// --- ports ---

static bool parse_port(const char *text, size_t len, uint16_t *port)
{
	_cleanup_free_ char *copy = xstrndup(text, len);
	uint64_t value;

	if (!parse_uint64(copy, &value) || value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

int config_parse_port_range(const char *text, uint16_t *first, uint16_t *last, struct error *err)
{
	size_t len = strcspn(text, "-");
	const char *end = text[len] ? text + len + 1 : text;
	uint16_t a, b;

	if (!parse_port(text, len, &a) || !parse_port(end, strlen(end), &b) || b < a)
		return error_set(err, EINVAL, "\"%s\" is not a range of ports like 49153-65535", text);
	*first = a;
	*last = b;
	return 0;
}
