// The JSON file and user data: keys of the table, each as a text in its variable's own syntax (configuration.md §5).
#include "common/util.h"
#include "config/option.h"
#include <errno.h>
#include <strings.h>

static const char *const go_types[] = {
	[FORM_STRING] = "string",
	[FORM_TRISTATE] = "bool",
	[FORM_BOOL] = "bool",
	[FORM_DURATION] = "time.Duration",
	[FORM_INT] = "int",
	[FORM_UINT16] = "uint16",
	[FORM_STRINGS] = "[]string",
	[FORM_PORTS] = "[]uint16",
	[FORM_MAP] = "map[string]string",
	[FORM_OBJECT] = "struct",
	[FORM_RAW] = "json.RawMessage",
};

static int mismatch(const struct option *o, json_object *value, const char *type, struct error *err)
{
	static const char *const kinds[] = {
		[json_type_boolean] = "bool",  [json_type_double] = "number", [json_type_int] = "number",
		[json_type_object] = "object", [json_type_array] = "array",   [json_type_string] = "string"};
	json_type kind = json_object_get_type(value);
	bool number = kind == json_type_int || kind == json_type_double;

	return error_set(err, EINVAL, "json: cannot unmarshal %s%s%.40s into Go struct field Config.%s of type %s",
			 kinds[kind], number ? " " : "", number ? json_object_get_string(value) : "", o->json, type);
}

static bool all_strings(json_object *value, bool ports)
{
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		json_object *item = json_object_array_get_idx(value, i);
		int64_t port = json_object_get_int64(item);
		if (ports ? !json_object_is_type(item, json_type_int) || port < 0 || port > UINT16_MAX
			  : !json_object_is_type(item, json_type_string))
			return false;
	}
	return true;
}

static bool all_values_strings(json_object *value)
{
	json_object_object_foreach(value, name, member)
	{
		(void)name;
		if (member && !json_object_is_type(member, json_type_string))
			return false;
	}
	return true;
}

static char *duration_text(int64_t ns)
{
	return ns % 1000000000 == 0 ? xasprintf("%llds", (long long)(ns / 1000000000))
	       : ns % 1000000 == 0  ? xasprintf("%lldms", (long long)(ns / 1000000))
				    : xasprintf("%lldns", (long long)ns);
}

static int text_of(const struct option *o, json_object *value, char **text, struct error *err)
{
	enum json_form form = o->type->form;
	json_type kind = json_object_get_type(value);
	int64_t number = json_object_get_int64(value);
	bool good = false;

	switch (form) {
	case FORM_STRING:
		good = kind == json_type_string;
		break;
	case FORM_TRISTATE:
		good = kind == json_type_boolean || (kind == json_type_int && (number == 0 || number == 1));
		break;
	case FORM_BOOL:
		good = kind == json_type_boolean;
		break;
	case FORM_DURATION:
	case FORM_INT:
		good = kind == json_type_int;
		break;
	case FORM_UINT16:
		good = kind == json_type_int && number >= 0 && number <= UINT16_MAX;
		break;
	case FORM_STRINGS:
	case FORM_PORTS:
		good = kind == json_type_array && all_strings(value, form == FORM_PORTS);
		break;
	case FORM_MAP:
		good = kind == json_type_object && all_values_strings(value);
		break;
	case FORM_OBJECT:
		good = kind == json_type_object;
		break;
	case FORM_RAW:
		good = true;
		break;
	}
	if (!good)
		return mismatch(o, value, go_types[form], err);
	if (form == FORM_DURATION)
		*text = duration_text(number);
	else if (kind == json_type_string && form != FORM_RAW)
		*text = xstrdup(json_object_get_string(value));
	else
		*text = xstrdup(json_text(value));
	return 0;
}

int config_json_settings(json_object *object, struct json_setting **settings, size_t *count, struct error *err)
{
	*settings = xcalloc(config_option_count, sizeof(**settings));
	*count = 0;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *o = &config_options[i];
		json_object *value = o->json ? json_get(object, o->json) : NULL;
		struct json_setting *setting = &(*settings)[*count];

		if (!value)
			continue;
		setting->option = o;
		int r = text_of(o, value, &setting->text, err);
		if (r < 0) {
			config_json_settings_free(*settings, *count);
			*settings = NULL;
			*count = 0;
			return r;
		}
		(*count)++;
	}
	return 0;
}

void config_json_settings_free(struct json_setting *settings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		secret_free(settings[i].text); // one may hold registry logins
	free(settings);
}
