// <data_dir>/instance.json: who this container instance is to ECS.
#include "common/json.h"
#include "common/log.h"
#include "common/util.h"
#include "control/instance.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { IDENTITY_FILE_MAX = 65536, KEPT_FILE_MAX = 16 << 20 };

static const struct json_field identity_fields[] = {
	JSON_FIELD(struct instance_identity, "containerInstanceArn", arn, JSON_STRING),
	JSON_FIELD(struct instance_identity, "cluster", cluster, JSON_STRING),
	JSON_FIELD(struct instance_identity, "ec2InstanceId", ec2_instance_id, JSON_STRING),
	JSON_FIELD(struct instance_identity, "availabilityZone", availability_zone, JSON_STRING),
	JSON_FIELD(struct instance_identity, "taskManifestSequence", manifest_sequence, JSON_INT64),
	JSON_END,
};
static const struct json_table identity_table = {"instance.json", sizeof(struct instance_identity), identity_fields};

static json_object *encode(const struct instance_identity *identity)
{
	json_object *object = json_object_new_object();

	json_add_string(object, "containerInstanceArn", identity->arn);
	json_add_string(object, "cluster", identity->cluster);
	json_add_string(object, "ec2InstanceId", identity->ec2_instance_id);
	json_add_string(object, "availabilityZone", identity->availability_zone);
	json_add_int(object, "taskManifestSequence", identity->manifest_sequence);
	return object;
}

char *instance_identity_text(const struct instance_identity *identity)
{
	_cleanup_json_ json_object *object = encode(identity);

	return xstrdup(json_text(object));
}

int instance_identity_parse(const char *text, struct instance_identity *identity, struct error *err)
{
	struct error why;
	_cleanup_json_ json_object *object = json_parse(text, strlen(text), &why);

	memset(identity, 0, sizeof(*identity));
	if (!object || json_decode(&identity_table, object, identity, &why) < 0)
		return error_set(err, EBADMSG, "the identity taken over cannot be read: %s", why.message);
	return 0;
}

// A flipped bit in the ARN would be somebody else's.
static void sum_of(const struct instance_identity *identity, char out[17])
{
	_cleanup_json_ json_object *object = encode(identity);
	const char *text = json_text(object);

	snprintf(out, 17, "%016" PRIx64, fnv1a(FNV1A_START, text, strlen(text)));
}

static int damaged(struct instance_identity *identity, const char *path, const char *what, struct error *err)
{
	instance_identity_free(identity);
	return error_set(err, EBADMSG, "%s is damaged: %s", path, what);
}

// -EBADMSG: damaged; -ENOENT: absent; any other: it cannot be read now.
static int read_identity(const char *path, struct instance_identity *identity, struct error *err)
{
	size_t len;
	_cleanup_free_ char *text = read_file(path, IDENTITY_FILE_MAX, &len);
	_cleanup_json_ json_object *object = NULL;
	struct error why;
	char sum[17];

	memset(identity, 0, sizeof(*identity));
	if (!text && errno == EFBIG)
		return damaged(identity, path, "it is too large", err);
	if (!text)
		return error_set_errno(err, errno, "cannot read %s", path);
	object = json_parse(text, len, &why);
	if (!object)
		return damaged(identity, path, why.message, err);
	if (!json_object_is_type(object, json_type_object))
		return damaged(identity, path, "not a JSON object", err);
	if (json_decode(&identity_table, object, identity, &why) < 0)
		return damaged(identity, path, why.message, err);
	if (str_empty(identity->arn) || str_empty(identity->cluster))
		return damaged(identity, path, "it has no containerInstanceArn or no cluster", err);
	sum_of(identity, sum);
	if (json_get_string(object, "sum") && !str_equal(json_get_string(object, "sum"), sum)) // none: an older file
		return damaged(identity, path, "its checksum does not fit", err);
	return 0;
}

// What is damaged is kept for the operator. Copied, not renamed: there is no moment without the file, which would mean a
// new instance. *kept is its name; NULL if it could not be kept.
static void keep_damaged(const char *path, char **kept)
{
	_cleanup_free_ char *name = xasprintf("%s.corrupt-%" PRId64, path, wall_ms() / 1000);
	size_t len;
	_cleanup_free_ char *content = read_file(path, KEPT_FILE_MAX, &len);
	int r = content ? 0 : -errno;

	if (r == 0 && access(name, F_OK) < 0)
		r = write_file_atomic(name, content, len, 0600);
	if (r < 0)
		log_warn("the damaged file cannot be kept", "file=%s error=%s", name, strerror(-r));
	else
		*kept = TAKE(name);
}

int instance_identity_load(const char *data_dir, struct instance_identity *identity, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/instance.json", data_dir);
	_cleanup_free_ char *copy = xasprintf("%s/instance.json.copy", data_dir);
	_cleanup_free_ char *kept = NULL;
	struct error copy_err;
	int r = read_identity(path, identity, err), copy_r;

	if (r == 0 || r == -ENOENT) // absent: never registered, or the operator wants a new instance
		return 0;
	copy_r = read_identity(copy, identity, &copy_err);
	if (copy_r == 0) {
		if (r == -EBADMSG)
			keep_damaged(path, &kept);
		log_error("the instance's identity is read from its copy; registration writes both anew",
			  "error=%s copy=%s aside=%s", err->message, copy, kept ? kept : "");
		return 0;
	}
	// What cannot be read now may be read later; a new registration could not be taken back.
	if (r != -EBADMSG)
		return r;
	if (copy_r != -EBADMSG && copy_r != -ENOENT) {
		*err = copy_err;
		return copy_r;
	}
	keep_damaged(path, &kept);
	log_error("the instance's identity is lost: registering as a new container instance",
		  "error=%s copy_error=%s aside=%s", err->message, copy_err.message, kept ? kept : "");
	return 0;
}

int instance_identity_save(const char *data_dir, const struct instance_identity *identity, struct error *err)
{
	_cleanup_json_ json_object *object = encode(identity);
	static const char *const names[] = {"instance.json.copy", "instance.json"}; // what is read first comes last
	char sum[17];

	sum_of(identity, sum);
	json_add_string(object, "sum", sum);
	const char *text = json_text(object);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", data_dir, names[i]);
		int r = write_file_atomic(path, text, strlen(text), 0600);

		if (r < 0)
			return error_set_errno(err, -r, "cannot save the instance's identity in %s", path);
	}
	return 0;
}

void instance_identity_free(struct instance_identity *identity)
{
	json_decode_free(&identity_table, identity);
	memset(identity, 0, sizeof(*identity));
}
