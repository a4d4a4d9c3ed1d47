// Where the ECS API of a region and other services are, and by what name the agent speaks to it.
#include "common/aws/aws_json.h"
#include "common/util.h"
#include "common/version.h"
#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <strings.h>

#define REGION_MAX 63 // it becomes a label of a host name

struct partition {
	const char *regions, *suffix, *dual_stack_suffix;
};

// control-plane.md §5.2
#define DIGITS "-[[:alnum:]_]+-[[:digit:]]+$"
static const struct partition partitions[] = {
	{"^(us|eu|ap|sa|ca|me|af|il|mx)" DIGITS, "amazonaws.com", "api.aws"},
	{"^cn" DIGITS, "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"^us-gov" DIGITS, "amazonaws.com", "api.aws"},
	{"^us-iso" DIGITS, "c2s.ic.gov", "api.aws.ic.gov"},
	{"^us-isob" DIGITS, "sc2s.sgov.gov", "api.aws.scloud"},
	{"^eu-isoe" DIGITS, "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
	{"^us-isof" DIGITS, "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
	{"^eusc-(de)" DIGITS, "amazonaws.eu", "api.amazonwebservices.eu"},
};

static const struct partition *find_partition(const char *region);
static bool check_region(const char *region, struct error *err);
static bool is_true(const char *text);
static char *check_custom(const char *url, const char *origin, bool needs_scheme, struct error *err);

char *aws_ecs_endpoint(const char *region, const char *backend_host, const char *(*get)(const char *name),
		       struct error *err)
{
	bool fips = is_true(get("AWS_USE_FIPS_ENDPOINT")), dual_stack = is_true(get("AWS_USE_DUALSTACK_ENDPOINT"));
	bool ignore = is_true(get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"));
	const char *service = ignore ? NULL : get("AWS_ENDPOINT_URL_ECS"),
		   *global = ignore ? NULL : get("AWS_ENDPOINT_URL");
	const char *custom = NULL, *origin = NULL;

	// The service's own variable replaces even ECS_BACKEND_HOST, the general one does not.
	if (!str_empty(service)) {
		custom = service;
		origin = "AWS_ENDPOINT_URL_ECS";
	} else if (!str_empty(backend_host)) {
		custom = backend_host;
		origin = "ECS_BACKEND_HOST";
	} else if (!str_empty(global)) {
		custom = global;
		origin = "AWS_ENDPOINT_URL";
	}
	if (custom) {
		if (fips || dual_stack) {
			error_set(err, EINVAL, "%s=%s cannot be used together with %s=true", origin, custom,
				  fips ? "AWS_USE_FIPS_ENDPOINT" : "AWS_USE_DUALSTACK_ENDPOINT");
			return NULL;
		}
		return check_custom(custom, origin, !str_equal(origin, "ECS_BACKEND_HOST"), err);
	}

	if (!check_region(region, err))
		return NULL;
	const struct partition *partition = find_partition(region);
	return xasprintf("https://ecs%s.%s.%s", fips ? "-fips" : "", region,
			 dual_stack ? partition->dual_stack_suffix : partition->suffix);
}

char *aws_service_endpoint(enum aws_service service, const char *region, const char *override,
			   const char *(*get)(const char *name), struct error *err)
{
	static const struct {
		const char *variable, *plain, *fips, *dual_stack, *override;
	} names[] = {
		[AWS_ECR] = {"AWS_ENDPOINT_URL_ECR", "api.ecr", "ecr-fips", "ecr", "endpointOverride"},
		[AWS_SECRETS_MANAGER] = {"AWS_ENDPOINT_URL_SECRETS_MANAGER", "secretsmanager", "secretsmanager-fips",
					 "secretsmanager", "endpointOverride"},
		[AWS_CLOUDWATCH_LOGS] = {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "logs", "logs-fips", "logs",
					 "awslogs-endpoint"},
	};
	bool fips = is_true(get("AWS_USE_FIPS_ENDPOINT")), dual_stack = is_true(get("AWS_USE_DUALSTACK_ENDPOINT"));
	bool ignore = is_true(get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"));
	const char *custom = ignore ? NULL : get(names[service].variable);

	if (!str_empty(override))
		return check_custom(override, names[service].override, false, err);
	if (!str_empty(custom))
		return check_custom(custom, names[service].variable, true, err);
	custom = ignore ? NULL : get("AWS_ENDPOINT_URL");
	if (!str_empty(custom))
		return check_custom(custom, "AWS_ENDPOINT_URL", true, err);
	if (!check_region(region, err))
		return NULL;
	const struct partition *partition = find_partition(region);
	return xasprintf("https://%s.%s.%s",
			 fips         ? names[service].fips
			 : dual_stack ? names[service].dual_stack
				      : names[service].plain,
			 region, dual_stack ? partition->dual_stack_suffix : partition->suffix);
}

char *aws_user_agent(const char *os_family)
{
	return xasprintf("Amazon ECS Agent - v" AGENT_COMPATIBLE_VERSION
			 " (%s) (linux%s%s) (+http://aws.amazon.com/ecs/)",
			 ecsd_commit, str_empty(os_family) ? "" : "; ", str_empty(os_family) ? "" : os_family);
}

static const struct partition *find_partition(const char *region)
{
	for (size_t i = 0; i < ARRAY_SIZE(partitions); i++) {
		regex_t regex;
		if (regcomp(&regex, partitions[i].regions, REG_EXTENDED | REG_NOSUB) != 0)
			continue;
		bool match = regexec(&regex, region, 0, NULL, 0) == 0;
		regfree(&regex);
		if (match)
			return &partitions[i];
	}
	// Each partition's pseudo-region is an exact name.
	for (size_t i = 0; i < ARRAY_SIZE(partitions); i++) {
		static const char *const global[] = {"aws-global",       "aws-cn-global",    "aws-us-gov-global",
						     "aws-iso-global",   "aws-iso-b-global", "aws-iso-e-global",
						     "aws-iso-f-global", "aws-eusc-global"};
		if (strcmp(region, global[i]) == 0)
			return &partitions[i];
	}
	return &partitions[0];
}

static bool check_region(const char *region, struct error *err)
{
	size_t len = strlen(region);
	bool good = len > 0 && len <= REGION_MAX;

	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)region[i]) || region[i] == '-';
	if (!good)
		error_set(err, EINVAL, "\"%.80s\" is not a name of a region", region);
	return good;
}

static bool is_true(const char *text)
{
	return text && strcasecmp(text, "true") == 0;
}

// Gives scheme://host[:port][/path] without a final slash.
static char *check_custom(const char *url, const char *origin, bool needs_scheme, struct error *err)
{
	bool has_scheme = str_starts(url, "http://") || str_starts(url, "https://");
	_cleanup_free_ char *full = xasprintf("%s%s", has_scheme ? "" : "https://", url);
	const char *host = strstr(full, "://") + 3;
	bool good = (has_scheme || !needs_scheme) && strcspn(host, "/") > 0 && !strpbrk(host, "?#@");

	for (const char *p = host; *p && good; p++)
		good = isgraph((unsigned char)*p);
	if (!good) {
		error_set(err, EINVAL, "%s=%s is not an endpoint like https://host[:port]", origin, url);
		return NULL;
	}
	for (size_t n = strlen(full); full[n - 1] == '/'; n--)
		full[n - 1] = '\0';
	return TAKE(full);
}
