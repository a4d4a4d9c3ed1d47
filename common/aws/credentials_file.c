// The shared credentials file of AWS tools: INI with one section for each profile. And the same kind of file on an external
// instance, where the SSM agent writes new credentials into it before the old ones expire, without saying when that is.
#include "common/aws/credentials_provider.h"
#include "common/util.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <strings.h>

#define FILE_MAX ((size_t)64 << 10)
#define ROTATION_MS 60000 // control-plane.md §6

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

static int load(const char *path, const char *profile, struct aws_credentials *credentials, struct error *err)
{
	size_t len;
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

static void give(struct credentials_fetch *fetch, const char *path, const char *profile)
{
	struct aws_credentials credentials = {0};
	struct error err;

	if (load(path, profile, &credentials, &err) == 0) {
		fetch->done(fetch, &credentials, NULL);
		return;
	}
	aws_credentials_free(&credentials);
	fetch->done(fetch, NULL, &err);
}

static void give_none(struct credentials_fetch *fetch, const char *why)
{
	struct error err;

	error_set(&err, ENOENT, "%s", why);
	fetch->done(fetch, NULL, &err);
}

static void start_shared(struct credentials_fetch *fetch)
{
	_cleanup_free_ char *path = find_file();

	if (path)
		give(fetch, path, find_profile());
	else
		give_none(fetch, "no home directory and no AWS_SHARED_CREDENTIALS_FILE");
}

// Without a name it would be the SSM agent's, once more and with another profile: the official agent's container has
// another home.
static void start_named(struct credentials_fetch *fetch)
{
	const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE");

	if (str_empty(path))
		give_none(fetch, "AWS_SHARED_CREDENTIALS_FILE is not set");
	else
		give(fetch, path, find_profile());
}

static void start_rotating(struct credentials_fetch *fetch)
{
	give(fetch, fetch->file, fetch->profile);
}

#define SHARED "shared credentials file"
const struct credentials_provider credentials_provider_file = {.name = SHARED, .start = start_shared};
const struct credentials_provider credentials_provider_named_file = {
	.name = SHARED, .again_after_ms = ROTATION_MS, .start = start_named};
const struct credentials_provider credentials_provider_rotating = {
	.name = "credentials file of the SSM agent", .again_after_ms = ROTATION_MS, .start = start_rotating};
