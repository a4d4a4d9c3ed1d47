#include "logging/info.h"

#include "common/util.h"

#define CONTAINER_ID 64 // hex digits

static const struct json_field info_fields[] = {
	JSON_FIELD(struct log_info, "Config", config, JSON_STRING_MAP),
	JSON_REQUIRED(struct log_info, "ContainerID", container_id, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerName", container_name, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerEntrypoint", container_entrypoint, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerArgs", container_args, JSON_STRING_LIST),
	JSON_FIELD(struct log_info, "ContainerImageID", container_image_id, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerImageName", container_image_name, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerCreated", container_created, JSON_STRING),
	JSON_FIELD(struct log_info, "ContainerEnv", container_env, JSON_STRING_LIST),
	JSON_FIELD(struct log_info, "ContainerLabels", container_labels, JSON_STRING_MAP),
	JSON_FIELD(struct log_info, "LogPath", log_path, JSON_STRING),
	JSON_FIELD(struct log_info, "DaemonName", daemon_name, JSON_STRING),
	JSON_END,
};
static const struct json_table info_table = {"Info", sizeof(struct log_info), info_fields};

int log_info_decode(json_object *object, struct log_info *info, struct error *err)
{
	int r = json_decode(&info_table, object, info, err);

	if (r < 0)
		return r;
	if (strlen(info->container_id) == CONTAINER_ID &&
	    strspn(info->container_id, "0123456789abcdef") == CONTAINER_ID)
		return 0;
	r = error_set(err, EINVAL, "Info: ContainerID is \"%.80s\", %d hexadecimal digits were expected",
		      info->container_id, CONTAINER_ID);
	log_info_free(info);
	return r;
}

void log_info_free(struct log_info *info)
{
	for (size_t i = 0; i < info->container_env.count; i++)
		secret_free(TAKE(info->container_env.items[i]));
	json_decode_free(&info_table, info);
}
