// The shared credentials file of AWS tools: INI with one section for each profile.
#include "common/aws/credentials_provider.h"
#include "common/util.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <strings.h>

#define FILE_MAX ((size_t)64 << 10)

static char *find_file(void)
{
	const char *set = getenv("AWS_SHARED_CREDENTIALS_FILE"), *home = getenv("HOME");

	if (!str_empty(set))
		return xstrdup(set);
	if (str_empty(home)) { // a system service has no HOME
		const struct passwd *user = getpwuid(getuid());
		home = user ? user->pw_dir : NULL;
	}
	return str_empty(home) ? NULL : xasprintf("%s/.aws/credentials", home);
}

static const char *find_profile(void)
{
	static const char *const names[] = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!str_empty(getenv(names[i])))
			return getenv(names[i]);
	return "default";
}

// "value # comment" gives "value"; a mark inside a word is part of the value.
static void cut_comment(char *value)
{
	for (char *p = value; *p; p++)
		if ((*p == ' ' || *p == '\t') && (p[1] == '#' || p[1] == ';')) {
			*p = '\0';
			return;
		}
}

static void set_member(struct aws_credentials *credentials, const char *name, const char *value)
{
	const struct {
		const char *name;
		char **member;
	} members[] = {
		{"aws_access_key_id", &credentials->access_key_id},
		{"aws_secret_access_key", &credentials->secret_access_key},
		{"aws_session_token", &credentials->session_token},
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (strcasecmp(name, members[i].name) == 0) {
			secret_free(*members[i].member);
			*members[i].member = *value ? xstrdup(value) : NULL;
		}
}

// Says whether the profile is there. The text is cut up on the way.
static bool parse(char *text, const char *profile, struct aws_credentials *credentials)
{
	bool inside = false, seen = false;
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));) {
		// An indented line continues a nested setting that does not concern us.
		if (*line == ' ' || *line == '\t' || *line == '#' || *line == ';')
			continue;
		line = str_trim(line);
		if (*line == '[') {
			line[strcspn(line, "]")] = '\0';
			inside = strcmp(str_trim(line + 1), profile) == 0;
			seen = seen || inside;
			continue;
		}
		char *value = strchr(line, '=');
		if (!inside || !value)
			continue;
		*value++ = '\0';
		cut_comment(value);
		set_member(credentials, str_trim(line), str_trim(value));
	}
	return seen;
}

static int load(struct aws_credentials *credentials, struct error *err)
{
	_cleanup_free_ char *path = find_file();
	const char *profile = find_profile();
	size_t len;

	if (!path)
		return error_set(err, ENOENT, "no home directory and no AWS_SHARED_CREDENTIALS_FILE");
	char *text = read_file(path, FILE_MAX, &len);
	if (!text)
		return error_set_errno(err, errno, "cannot read %s", path);
	bool seen = parse(text, profile, credentials);
	OPENSSL_cleanse(text, len);
	free(text);
	if (!seen)
		return error_set(err, ENOENT, "no profile %s in %s", profile, path);
	if (!credentials->access_key_id || !credentials->secret_access_key)
		return error_set(err, EINVAL, "profile %s in %s has no %s", profile, path,
				 credentials->access_key_id ? "aws_secret_access_key" : "aws_access_key_id");
	return 0;
}

static void start(struct credentials_fetch *fetch)
{
	struct aws_credentials credentials = {0};
	struct error err;

	if (load(&credentials, &err) == 0) {
		fetch->done(fetch, &credentials, NULL);
		return;
	}
	aws_credentials_free(&credentials);
	fetch->done(fetch, NULL, &err);
}

const struct credentials_provider credentials_provider_file = {.name = "shared credentials file", .start = start};
