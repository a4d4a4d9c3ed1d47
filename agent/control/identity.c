// <data_dir>/instance.json: who this container instance is to ECS.
#include "common/json.h"
#include "common/log.h"
#include "common/util.h"
#include "control/instance.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { IDENTITY_FILE_MAX = 65536 };

static const struct json_field identity_fields[] = {
	JSON_FIELD(struct instance_identity, "containerInstanceArn", arn, JSON_STRING),
	JSON_FIELD(struct instance_identity, "cluster", cluster, JSON_STRING),
	JSON_FIELD(struct instance_identity, "ec2InstanceId", ec2_instance_id, JSON_STRING),
	JSON_FIELD(struct instance_identity, "availabilityZone", availability_zone, JSON_STRING),
	JSON_FIELD(struct instance_identity, "taskManifestSequence", manifest_sequence, JSON_INT64),
	JSON_END,
};
static const struct json_table identity_table = {"instance.json", sizeof(struct instance_identity), identity_fields};

static int set_aside(const char *path, const char *why, struct error *err);

int instance_identity_load(const char *data_dir, struct instance_identity *identity, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/instance.json", data_dir);
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_object *object = NULL;
	struct error why;
	size_t len;

	memset(identity, 0, sizeof(*identity));
	text = read_file(path, IDENTITY_FILE_MAX, &len);
	if (!text && errno == ENOENT)
		return 0;
	if (!text && errno != EFBIG)
		return error_set_errno(err, errno, "cannot read %s", path);
	if (!text)
		return set_aside(path, "it is too large", err);
	object = json_parse(text, len, &why);
	if (!object)
		return set_aside(path, why.message, err);
	if (!json_object_is_type(object, json_type_object))
		return set_aside(path, "not a JSON object", err);
	if (json_decode(&identity_table, object, identity, &why) < 0)
		return set_aside(path, why.message, err);
	if (str_empty(identity->arn) || str_empty(identity->cluster)) {
		instance_identity_free(identity);
		return set_aside(path, "it has no containerInstanceArn or no cluster", err);
	}
	return 0;
}

// A file that cannot be understood is kept for the operator; the instance registers as a new one.
static int set_aside(const char *path, const char *why, struct error *err)
{
	_cleanup_free_ char *aside = xasprintf("%s.corrupt-%" PRId64, path, wall_ms() / 1000);

	if (rename(path, aside) < 0)
		return error_set_errno(err, errno, "%s is corrupt (%s) and cannot be renamed", path, why);
	log_warn("saved instance identity is corrupt: renamed aside, registering as a new container instance",
		 "file=%s reason=%s", aside, why);
	return 0;
}

int instance_identity_save(const char *data_dir, const struct instance_identity *identity, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/instance.json", data_dir);
	_cleanup_json_ json_object *object = json_object_new_object();
	const char *text;
	int r;

	json_add_string(object, "containerInstanceArn", identity->arn);
	json_add_string(object, "cluster", identity->cluster);
	json_add_string(object, "ec2InstanceId", identity->ec2_instance_id);
	json_add_string(object, "availabilityZone", identity->availability_zone);
	json_add_int(object, "taskManifestSequence", identity->manifest_sequence);
	text = json_text(object);
	r = write_file_atomic(path, text, strlen(text), 0600);
	if (r < 0)
		return error_set_errno(err, -r, "cannot save the instance's identity in %s", path);
	return 0;
}

void instance_identity_free(struct instance_identity *identity)
{
	json_decode_free(&identity_table, identity);
	memset(identity, 0, sizeof(*identity));
}
