#include "control/user_data.h"
#include "common/log.h"
#include "common/util.h"

#define RESULT_MAX ((size_t)1 << 20)
enum { EXIT_ERROR = 1, EXIT_TERMINAL = 5 }; // control-plane.md §2.2

static void on_user_data(const char *body, long status, const struct error *err, void *arg);

void user_data_read(struct user_data *read)
{
	imds_get(read->imds, "user-data", on_user_data, read);
}

// cloud-init saw no data source though there is user data: what the user wanted (a cluster) was not done.
static bool cloud_init_failed(const char *path)
{
	size_t len;
	_cleanup_free_ char *text = read_file(path, RESULT_MAX, &len);
	_cleanup_json_ json_object *result = text ? json_parse(text, len, NULL) : NULL;

	return str_equal(json_get_string(json_get(result, "v1"), "datasource"), "DataSourceNone");
}

static void on_user_data(const char *body, long status, const struct error *err, void *arg)
{
	struct user_data *read = arg;
	struct error problem;

	if (!body && status != 404)
		log_warn("EC2 user data not available", "error=%s", err->message);
	if (!str_empty(body) && config_merge_user_data(read->config, body, &problem) < 0) {
		error_wrap(&problem, "Error loading config");
		log_critical("cannot start", "error=%s exit_code=%d", problem.message, EXIT_ERROR);
		read->done(EXIT_ERROR, read->arg);
		return;
	}
	if (!str_empty(body) && cloud_init_failed(read->cloud_init_result)) {
		log_critical("cannot start", "error=%s path=%s exit_code=%d",
			     "cloud-init found no data source, so that the instance's user data was not applied",
			     read->cloud_init_result, EXIT_TERMINAL);
		read->done(EXIT_TERMINAL, read->arg);
		return;
	}
	read->done(0, read->arg);
}
