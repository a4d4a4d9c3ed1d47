#include "logging/fluentd.h"

#include "common/log_options.h"

#define PREFIX "ECS_LOGD_FLUENTD_"

static void read_text(const char *name, char **value);
static int read_secret(const char *name, char **value, struct error *err);
static int read_bool(const char *name, bool *value, struct error *err);
static int read_mode(enum forward_mode *mode, struct error *err);

int fluentd_settings_read(struct fluentd_settings *settings, struct error *err)
{
	*settings = (struct fluentd_settings){0};
	read_text(PREFIX "USERNAME", &settings->username);
	read_text(PREFIX "CA", &settings->ca_file);
	read_text(PREFIX "CERT", &settings->cert_file);
	read_text(PREFIX "KEY", &settings->key_file);
	int r = read_secret(PREFIX "SHARED_KEY", &settings->shared_key, err);
	if (r == 0)
		r = read_secret(PREFIX "PASSWORD", &settings->password, err);
	if (r == 0)
		r = read_bool(PREFIX "ACK", &settings->ack, err);
	if (r == 0)
		r = read_bool(PREFIX "STRICT_START", &settings->strict_start, err);
	if (r == 0)
		r = read_mode(&settings->mode, err);
	if (r == 0 && !settings->cert_file != !settings->key_file)
		r = error_set(err, EINVAL,
			      PREFIX "CERT and " PREFIX "KEY: only one of them is set; expected both or none");
	if (r == 0 && settings->username && !settings->shared_key)
		r = error_set(err, EINVAL, PREFIX "USERNAME is set without " PREFIX "SHARED_KEY; servers ask for both");
	if (r < 0)
		fluentd_settings_free(settings);
	return r;
}

void fluentd_settings_free(struct fluentd_settings *settings)
{
	secret_free(settings->shared_key);
	secret_free(settings->password);
	free(settings->username);
	free(settings->ca_file);
	free(settings->cert_file);
	free(settings->key_file);
	*settings = (struct fluentd_settings){0};
}

// "" counts as not set, as in all of ecsd's environment.
static void read_text(const char *name, char **value)
{
	const char *text = getenv(name);

	if (!str_empty(text))
		*value = xstrdup(text);
}

static int read_secret(const char *name, char **value, struct error *err)
{
	_cleanup_free_ char *file_name = xasprintf("%s_FILE", name);
	const char *path = getenv(file_name);
	size_t len;

	read_text(name, value);
	if (str_empty(path))
		return 0;
	if (*value)
		return error_set(err, EINVAL, "%s and %s are both set; expected one of them", name, file_name);
	*value = read_file(path, FLUENTD_SECRET_MAX, &len);
	if (!*value)
		return error_set_errno(err, errno, "cannot read %s=%s (a file of at most %d bytes)", file_name, path,
				       FLUENTD_SECRET_MAX);
	while (len > 0 && ((*value)[len - 1] == '\n' || (*value)[len - 1] == '\r'))
		(*value)[--len] = '\0';
	if (len == 0 || strlen(*value) != len)
		return error_set(err, EINVAL, "the file %s=%s is empty or holds a NUL; expected one line", file_name,
				 path);
	return 0;
}

static int read_bool(const char *name, bool *value, struct error *err)
{
	const char *text = getenv(name);

	if (str_empty(text) || log_parse_bool(text, value))
		return 0;
	return error_set(err, EINVAL, "%s=%s is not understood; expected true or false", name, text);
}

static int read_mode(enum forward_mode *mode, struct error *err)
{
	static const char *const names[] = {"forward", "packed", "gzip"}; // as enum forward_mode
	const char *text = getenv(PREFIX "MODE");

	if (str_empty(text))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (str_equal(text, names[i])) {
			*mode = (enum forward_mode)i;
			return 0;
		}
	}
	return error_set(err, EINVAL, PREFIX "MODE=%s is not understood; expected forward, packed or gzip", text);
}
