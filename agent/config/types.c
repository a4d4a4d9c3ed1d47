// The types of values: what each accepts, and the words of its warnings.
#include "common/util.h"
#include "config/config_parse.h"
#include "config/option.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>

#define NS_IN_MS 1000000LL
#define NS_IN_US 1000LL
#define CLOCK_SCALE_MAX 100000.0
#define BYTES_IN_MB 1000000.0 // of ECS_LOG_MAX_FILE_SIZE_MB

const char *value_label(const struct value *value)
{
	return value->source == FROM_FILE || value->source == FROM_USER_DATA ? value->option->json
									     : value->option->name;
}

char *option_bounds(const struct option *o)
{
	const struct type *type = o->type;

	if (type == &config_duration && o->min) {
		_cleanup_free_ char *min = config_format_duration(o->min * NS_IN_MS);
		return xasprintf("%s or more", min);
	}
	if (type == &config_period)
		return xasprintf("%dms to %dms", (int)o->min, (int)o->max);
	if (o->max == INT32_MAX)
		return xasprintf("%lld or more", (long long)o->min);
	if (o->max)
		return xasprintf("%lld to %lld", (long long)o->min, (long long)o->max);
	if (type == &config_ports || type == &config_range)
		return xstrdup("0 to 65535");
	return xstrdup(o->words ? o->words : "");
}

static int parse_text(const struct value *v, void *member, struct error *err)
{
	(void)err;
	str_replace(member, v->text);
	return *v->text ? VALUE_SET : VALUE_EMPTY;
}

static int parse_trimmed(const struct value *v, void *member, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(v->text);
	struct value trimmed = {v->option, str_trim(copy), v->source};

	if (!*trimmed.text && v->source != FROM_DEFAULT)
		return VALUE_EMPTY;
	return parse_text(&trimmed, member, err);
}

// What the official agent's container calls /data and /log are directories of the host (configuration.md §2).
static int parse_path(const struct value *v, void *member, struct error *err)
{
	static const struct {
		const char *inside, *host;
	} mounts[] = {{"/data", "/var/lib/ecs/data"}, {"/log", "/var/log/ecs"}};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		size_t len = strlen(mounts[i].inside);
		if (!str_starts(v->text, mounts[i].inside) || (v->text[len] != '\0' && v->text[len] != '/'))
			continue;
		const char *rest = v->text[len] && v->text[len + 1] ? v->text + len : "";
		_cleanup_free_ char *path = xasprintf("%s%s", mounts[i].host, rest);
		str_replace(member, path);
		return VALUE_SET;
	}
	return parse_text(v, member, err);
}

// A bad boolean counts as not given.
static int parse_boolean(const struct value *v, bool *value, struct error *err)
{
	struct error problem;

	if (!*v->text)
		return VALUE_EMPTY;
	if (config_parse_bool(v->text, value, &problem) == 0)
		return VALUE_SET;
	return error_set(err, EINVAL, "Invalid format for \"%s\", expected a boolean. err %s", value_label(v),
			 problem.message);
}

// Plain: "false" is no different from nothing, so that a weaker source can say "true".
static int parse_bool(const struct value *v, void *member, struct error *err)
{
	bool value;
	int r = parse_boolean(v, &value, err);

	if (r != VALUE_SET)
		return r;
	if (!value && v->source != FROM_DEFAULT)
		return VALUE_EMPTY;
	*(bool *)member = value;
	return VALUE_SET;
}

// Three states, of which the member keeps two, because the default is known.
static int parse_flag(const struct value *v, void *member, struct error *err)
{
	return parse_boolean(v, member, err);
}

static int parse_tristate(const struct value *v, void *member, struct error *err)
{
	bool value;
	int r = parse_boolean(v, &value, err);

	if (r == VALUE_SET)
		*(enum tristate *)member = value ? YES : NO;
	else if (v->source == FROM_DEFAULT)
		*(enum tristate *)member = UNSET;
	return r;
}

static int parse_nanoseconds(const struct value *v, int64_t *ns, struct error *err)
{
	struct error problem;

	if (config_parse_duration(v->text, ns, &problem) == 0)
		return 0;
	return error_set(err, EINVAL, "Could not parse duration value: %s for Environment Variable %s : %s", v->text,
			 value_label(v), problem.message);
}

// Rounded up: a positive time must not become "none".
static uint64_t round_up(int64_t ns, int64_t unit)
{
	return (uint64_t)(ns / unit + (ns % unit != 0));
}

static int parse_duration(const struct value *v, void *member, struct error *err)
{
	const struct option *o = v->option;
	bool json = v->source == FROM_FILE || v->source == FROM_USER_DATA;
	int64_t ns, default_ns = 0, min_ns = json && o->flags & ENV_ONLY_MIN ? 0 : o->min * NS_IN_MS;
	int r = parse_nanoseconds(v, &ns, err);

	if (r < 0)
		return r;
	if (ns == 0)
		return VALUE_EMPTY;
	config_parse_duration(o->fallback, &default_ns, NULL);
	bool low = ns < min_ns;
	if (low && json && o->flags & JSON_FATAL_MIN) {
		_cleanup_free_ char *shown = config_format_duration(ns);
		return error_set(err, ENOTSUP, "config: invalid value for %s: %s", o->detail, shown);
	}
	if (low)
		ns = o->flags & TO_DEFAULT || min_ns == 0 ? default_ns : min_ns;
	*(uint64_t *)member = round_up(ns, NS_IN_MS);
	if (!low)
		return VALUE_SET;
	_cleanup_free_ char *min = config_format_duration(min_ns), *used = config_format_duration(ns);
	return error_set(err, ERANGE, "%s=%s is less than the minimum of %s, %s is used", value_label(v), v->text, min,
			 used);
}

// Microseconds; out of bounds counts as not given.
static int parse_period(const struct value *v, void *member, struct error *err)
{
	const struct option *o = v->option;
	int64_t ns;

	if (!*v->text)
		return VALUE_EMPTY;
	int r = parse_nanoseconds(v, &ns, err);
	if (r < 0)
		return r;
	if (ns == 0)
		return VALUE_EMPTY;
	if (o->max && (ns < o->min * NS_IN_MS || ns > o->max * NS_IN_MS))
		return error_set(err, EINVAL, "%s=%s is not within %dms and %dms, %s is used", value_label(v), v->text,
				 (int)o->min, (int)o->max, o->fallback);
	*(uint64_t *)member = round_up(ns, NS_IN_US);
	return VALUE_SET;
}

static int parse_int(const struct value *v, void *member, struct error *err)
{
	const struct option *o = v->option;
	_cleanup_free_ char *copy = xstrdup(v->text), *bounds = NULL;
	char *text = str_trim(copy);
	int64_t value;

	if (!*text)
		return VALUE_EMPTY;
	bool number = parse_int64(text, &value);
	if (number && value == 0 && !(o->flags & KEEP_EMPTY)) {
		if (v->source == FROM_DEFAULT)
			*(int64_t *)member = 0;
		return VALUE_EMPTY;
	}
	if (number && (!o->max || (value >= o->min && value <= o->max))) {
		*(int64_t *)member = value;
		return VALUE_SET;
	}
	bounds = option_bounds(o);
	return error_set(err, EINVAL, "%s=%s is not a whole number%s%s, %s is used", value_label(v), v->text,
			 *bounds ? ", " : "", bounds, o->fallback);
}

static int parse_memory(const struct value *v, void *member, struct error *err)
{
	uint64_t value;

	if (!isdigit((unsigned char)*v->text) || !parse_uint64(v->text, &value) || value > UINT16_MAX)
		return error_set(
			err, EINVAL,
			"Invalid format for \"%s\" environment variable; expected unsigned integer. err \"%s\" is "
			"not a number from 0 to 65535",
			value_label(v), v->text);
	*(int64_t *)member = (int64_t)value;
	return value ? VALUE_SET : VALUE_EMPTY;
}

static int parse_level(const struct value *v, void *member, struct error *err)
{
	if (!*v->text)
		return VALUE_EMPTY;
	if (log_level_parse(v->text, member))
		return VALUE_SET;
	return error_set(err, EINVAL, "%s=%s is not one of crit, error, warn, info, debug, none", value_label(v),
			 v->text);
}

static int parse_format(const struct value *v, void *member, struct error *err)
{
	*(bool *)member = strcmp(v->text, "json") == 0;
	if (*(bool *)member || strcmp(v->text, "logfmt") == 0)
		return VALUE_SET;
	return error_set(err, EINVAL, "%s=%s is neither logfmt nor json", value_label(v), v->text);
}

// Any other word means by the hour (init-and-host-setup.md §11.3).
static int parse_roll(const struct value *v, void *member, struct error *err)
{
	(void)err;
	*(enum log_roll_type *)member = strcmp(v->text, "size") == 0   ? LOG_ROLL_SIZE
					: strcmp(v->text, "none") == 0 ? LOG_ROLL_NONE
								       : LOG_ROLL_HOURLY;
	return VALUE_SET;
}

static int parse_megabytes(const struct value *v, void *member, struct error *err)
{
	char *end;
	double value = strtod(v->text, &end);

	if (end == v->text || *end || !isfinite(value) || value < 0.001 || value > 1e6)
		return error_set(err, EINVAL, "%s=%s is not a number of megabytes from 0.001 to 1000000, %s is used",
				 value_label(v), v->text, v->option->fallback);
	*(int64_t *)member = (int64_t)(value * BYTES_IN_MB);
	return VALUE_SET;
}

// One of the option's words; in JSON its number.
static int parse_words(const struct value *v, void *member, struct error *err)
{
	bool json = v->source == FROM_FILE || v->source == FROM_USER_DATA;
	int64_t number = -1;
	int i = 0;

	if (json)
		parse_int64(v->text, &number);
	for (const char *word = v->option->words; word; i++) {
		size_t len = strcspn(word, "|");
		if (json ? i == number : strlen(v->text) == len && strncmp(v->text, word, len) == 0) {
			*(unsigned *)member = (unsigned)i;
			return i ? VALUE_SET : VALUE_EMPTY;
		}
		word = word[len] ? word + len + 1 : NULL;
	}
	struct buf list = {.max = 256};
	for (const char *p = v->option->words; p && *p; p++)
		buf_append(&list, *p == '|' ? ", " : p, *p == '|' ? 2 : 1);
	int r = error_set(err, EINVAL, "%s=%s is not one of %s", value_label(v), v->text, list.data);
	buf_free(&list);
	return r;
}

static bool read_rate(char *text, uint32_t *rate)
{
	int64_t value;

	if (!parse_int64(str_trim(text), &value) || value <= 0 || value > INT32_MAX)
		return false;
	*rate = (uint32_t)value;
	return true;
}

// Both members, or neither.
static int parse_rps(const struct value *v, void *member, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(v->text);
	char *comma = strchr(copy, ',');
	uint32_t steady, burst, *members = member;

	_Static_assert(offsetof(struct config, metadata_rps_burst) ==
			       offsetof(struct config, metadata_rps_steady) + sizeof(uint32_t),
		       "two in a row");
	if (comma)
		*comma++ = '\0';
	if (!comma || !read_rate(copy, &steady) || !read_rate(comma, &burst))
		return error_set(err, EINVAL, "%s=%s is not \"steady,burst\", two whole numbers above 0",
				 value_label(v), v->text);
	members[0] = steady;
	members[1] = burst;
	return VALUE_SET;
}

// One of the two, in JSON.
static int parse_rate(const struct value *v, void *member, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(v->text);

	if (!*copy || strcmp(copy, "0") == 0)
		return VALUE_EMPTY;
	if (read_rate(copy, member))
		return VALUE_SET;
	return error_set(err, EINVAL, "%s=%s is not a whole number above 0", value_label(v), v->text);
}

// The default is the kernel's own range, else IANA's dynamic ports.
static int parse_range(const struct value *v, void *member, struct error *err)
{
	uint16_t *members = member;
	struct error problem;

	_Static_assert(offsetof(struct config, dynamic_port_last) ==
			       offsetof(struct config, dynamic_port_first) + sizeof(uint16_t),
		       "two in a row");
	if (!*v->text) {
		_cleanup_free_ char *kernel = read_file("/proc/sys/net/ipv4/ip_local_port_range", 64, NULL);
		unsigned first, last;
		bool good =
			kernel && sscanf(kernel, "%u %u", &first, &last) == 2 && first <= last && last <= UINT16_MAX;
		members[0] = good ? (uint16_t)first : 49153;
		members[1] = good ? (uint16_t)last : 65535;
		return VALUE_SET;
	}
	if (config_parse_port_range(v->text, &members[0], &members[1], &problem) == 0)
		return VALUE_SET;
	return error_set(err, EINVAL, "Invalid dynamicHostPortRange value from config: %s (%s)", problem.message,
			 value_label(v));
}

static int parse_docker(const struct value *v, void *member, struct error *err)
{
	if (!str_starts(v->text, "unix:///"))
		return error_set(err, EINVAL, "%s=%s: only Unix sockets (unix:///path) are supported", value_label(v),
				 v->text);
	return parse_text(v, member, err);
}

static int parse_scale(const struct value *v, void *member, struct error *err)
{
	char *end;
	double value = strtod(v->text, &end);

	if (end == v->text || *end || !isfinite(value) || value <= 0 || value > CLOCK_SCALE_MAX)
		return error_set(err, EINVAL, "%s=%s is not a number above 0 and up to %.0f", value_label(v), v->text,
				 CLOCK_SCALE_MAX);
	*(double *)member = value;
	return VALUE_SET;
}

#define TYPE(id, shown, parser, json, where) const struct type config_##id = {shown, parse_##parser, json, where}
TYPE(text, "text", text, FORM_STRING, OWNED_TEXT);
TYPE(trimmed, "text", trimmed, FORM_STRING, OWNED_TEXT);
TYPE(path, "path", path, FORM_STRING, OWNED_TEXT);
TYPE(bool, "boolean", bool, FORM_BOOL, IN_PLACE);
TYPE(flag, "boolean", flag, FORM_TRISTATE, IN_PLACE);
TYPE(tristate, "boolean", tristate, FORM_TRISTATE, IN_PLACE);
TYPE(duration, "duration", duration, FORM_DURATION, IN_PLACE);
TYPE(period, "duration", period, FORM_DURATION, IN_PLACE);
TYPE(int, "number", int, FORM_INT, IN_PLACE);
TYPE(memory, "MiB", memory, FORM_UINT16, IN_PLACE);
TYPE(level, "level", level, FORM_STRING, IN_PLACE);
TYPE(format, "logfmt|json", format, FORM_STRING, IN_PLACE);
TYPE(words, "word", words, FORM_INT, IN_PLACE);
TYPE(rps, "steady,burst", rps, FORM_STRING, IN_PLACE);
TYPE(rate, "number", rate, FORM_INT, IN_PLACE);
TYPE(range, "first-last", range, FORM_STRING, IN_PLACE);
TYPE(docker, "URL", docker, FORM_STRING, OWNED_TEXT);
TYPE(scale, "number", scale, FORM_STRING, IN_PLACE);
TYPE(megabytes, "megabytes", megabytes, FORM_STRING, IN_PLACE);
TYPE(roll, "word", roll, FORM_STRING, IN_PLACE);
TYPE(object, "JSON object", text, FORM_OBJECT, OWNED_TEXT);
TYPE(raw, "JSON", text, FORM_RAW, OWNED_TEXT);
