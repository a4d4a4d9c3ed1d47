// One row of the table of variables, and what a type of value is; private to agent/config.
#pragma once

#include "config/config.h"
#include <stddef.h>

// Whence a value comes, strongest first in precedence but for the default.
enum config_source { FROM_DEFAULT, FROM_ENVIRONMENT, FROM_FILE, FROM_USER_DATA };

enum option_state {
	WORKS,
	LATER,     // a value that matters is warned about; `detail` names the feature
	NO_EFFECT, // nothing to do for ecsd; `detail` says why
};

// The JSON a key of the configuration file takes (configuration.md §5).
enum json_form {
	FORM_STRING,
	FORM_TRISTATE, // true, false, 1, 0
	FORM_BOOL,
	FORM_DURATION, // nanoseconds
	FORM_INT,
	FORM_UINT16,
	FORM_STRINGS,
	FORM_PORTS,
	FORM_MAP,
	FORM_OBJECT, // nothing in it counts
	FORM_RAW,
};

enum option_flags {
	KEEP_EMPTY = 1,      // set to nothing is a value of its own
	FATAL = 2,           // a bad value ends the program
	TO_DEFAULT = 4,      // a number out of bounds becomes the default, not the bound
	ENV_ONLY_MIN = 8,    // the minimum is not looked at in JSON
	JSON_FATAL_MIN = 16, // below the minimum in JSON ends the program; `detail` names the setting
	SECRET = 32,         // never shown
	QUIET = 64,          // LATER, but no value of it matters today
	HOST_VALUE = 128,    // the packaged default depends on the host: `packaged` describes it
	NO_VARIABLE = 256,   // a key of the JSON file only; `name` is that key
};

#define NO_MEMBER SIZE_MAX

struct option;
struct value {
	const struct option *option;
	const char *text;
	enum config_source source;
};

// A parser writes the member only with something usable. Besides an error:
enum { VALUE_SET = 0, VALUE_EMPTY = 1 }; // empty: valid, and counts as not given (configuration.md §1.1)
// An error of code ERANGE is a warning, and the member has what is used instead; ENOTSUP is fatal for any option.
struct type {
	const char *name;
	int (*parse)(const struct value *value, void *member, struct error *err);
	enum json_form form;
	enum { IN_PLACE, OWNED_TEXT, OWNED_LIST } storage;
};

struct option {
	const char *name;
	const char *json; // key in the JSON file and in user data; NULL: none
	const struct type *type;
	size_t offset;        // in struct config; NO_MEMBER: only checked here
	const char *fallback; // the bare agent's default, in the variable's own syntax; "": nothing
	const char *packaged; // what ecs-init supplies on a host, with host paths; NULL: the bare default
	enum option_state state;
	const char *help;
	const char *detail;
	int64_t min, max;    // durations: milliseconds; max 0: none
	const char *words;   // WORDS: in the order of their numbers, separated by |
	const char *matters; // LATER: the value that matters; NULL: what differs from the default
	const char *unless;  // variable whose presence hides this key
	unsigned flags;
};

extern const struct option config_options[];
extern const size_t config_option_count;
#define OPTION_NAME_MAX 80

extern const struct type config_text, config_trimmed, config_path, config_bool, config_flag, config_tristate,
	config_duration, config_period, config_int, config_memory, config_ports, config_drivers, config_strings,
	config_commas, config_map, config_labels, config_routes, config_level, config_format, config_words, config_rps,
	config_rate, config_range, config_docker, config_scale, config_megabytes, config_roll, config_object,
	config_raw, config_native;

// The variable's name, or the key where the value came from JSON.
const char *value_label(const struct value *value);
// "1s or more", "1 to 4194304", "": what numbers are accepted. Caller frees.
char *option_bounds(const struct option *option);
// A default in host terms: container paths are the host's. Caller frees.
char *option_shown(const struct option *option, const char *text);

// The members of an object as texts in the variables' own syntax, by the table. Unknown keys are ignored, null and
// absent keys too. A value of a wrong kind fails with the text of Go's decoder.
struct json_setting {
	const struct option *option;
	char *text;
};
int config_json_settings(json_object *object, struct json_setting **settings, size_t *count, struct error *err);
void config_json_settings_free(struct json_setting *settings, size_t count);
