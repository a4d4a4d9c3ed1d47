// The payload's own Docker JSON over what the agent has filled in, decoded as Go decodes into a struct
// that already has values (docker-mapping.md §5): the types of Docker's two structures are tables here.
//
// Members that are in no table go to Docker as they came: a newer Docker may know them.
#include "docker/docker_internal.h"
#include <errno.h>
#include <strings.h>

enum go_kind { GO_STRING, GO_BOOL, GO_INT, GO_UINT, GO_POINTER, GO_SLICE, GO_STRSLICE, GO_MAP, GO_STRUCT, GO_ANY };

struct go_member;
struct go_type {
	enum go_kind kind;
	const char *name;                // as Go prints it; a struct's short name is what follows the '.'
	unsigned bits;                   // integers
	const struct go_type *element;   // pointer, slice, map
	const struct go_member *members; // struct, ends with a NULL name
};
struct go_member {
	const char *name; // canonical
	const struct go_type *type;
};

#define STRUCT(id, go, ...)                                                         \
	static const struct go_member id##_members[] = {__VA_ARGS__, {NULL, NULL}}; \
	static const struct go_type id = {.kind = GO_STRUCT, .name = (go), .members = id##_members}
#define DERIVED(id, what, go, of) static const struct go_type id = {.kind = (what), .name = (go), .element = &(of)}
#define NAMED_STRING(id, go) static const struct go_type id = {.kind = GO_STRING, .name = (go)}

NAMED_STRING(t_string, "string");
NAMED_STRING(t_network_mode, "container.NetworkMode");
NAMED_STRING(t_cgroupns_mode, "container.CgroupnsMode");
NAMED_STRING(t_ipc_mode, "container.IpcMode");
NAMED_STRING(t_cgroup_spec, "container.CgroupSpec");
NAMED_STRING(t_pid_mode, "container.PidMode");
NAMED_STRING(t_uts_mode, "container.UTSMode");
NAMED_STRING(t_userns_mode, "container.UsernsMode");
NAMED_STRING(t_isolation, "container.Isolation");
NAMED_STRING(t_restart_mode, "container.RestartPolicyMode");
NAMED_STRING(t_mount_type, "mount.Type");
NAMED_STRING(t_consistency, "mount.Consistency");
static const struct go_type t_bool = {.kind = GO_BOOL, .name = "bool"};
static const struct go_type t_int = {.kind = GO_INT, .name = "int", .bits = 64};
static const struct go_type t_int64 = {.kind = GO_INT, .name = "int64", .bits = 64};
static const struct go_type t_duration = {.kind = GO_INT, .name = "time.Duration", .bits = 64};
static const struct go_type t_uint16 = {.kind = GO_UINT, .name = "uint16", .bits = 16};
static const struct go_type t_uint64 = {.kind = GO_UINT, .name = "uint64", .bits = 64};
static const struct go_type t_any = {.kind = GO_ANY, .name = "interface {}"};
static const struct go_type t_strslice = {.kind = GO_STRSLICE, .name = "string"}; // Go names the element here
static const struct go_member no_members[] = {{NULL, NULL}};
static const struct go_type t_empty = {.kind = GO_STRUCT, .name = "struct {}", .members = no_members};
DERIVED(t_int_p, GO_POINTER, "int", t_int);
DERIVED(t_int64_p, GO_POINTER, "int64", t_int64);
DERIVED(t_bool_p, GO_POINTER, "bool", t_bool);
DERIVED(t_strings, GO_SLICE, "[]string", t_string);
DERIVED(t_string_lists, GO_SLICE, "[][]string", t_strings);
DERIVED(t_string_map, GO_MAP, "map[string]string", t_string);
DERIVED(t_set, GO_MAP, "map[string]struct {}", t_empty);
DERIVED(t_port_set, GO_MAP, "nat.PortSet", t_empty);

STRUCT(t_health, "container.HealthConfig", {"Test", &t_strings}, {"Interval", &t_duration}, {"Timeout", &t_duration},
       {"StartPeriod", &t_duration}, {"StartInterval", &t_duration}, {"Retries", &t_int});
DERIVED(t_health_p, GO_POINTER, "container.HealthConfig", t_health);

STRUCT(t_config, "container.Config", {"Hostname", &t_string}, {"Domainname", &t_string}, {"User", &t_string},
       {"AttachStdin", &t_bool}, {"AttachStdout", &t_bool}, {"AttachStderr", &t_bool}, {"ExposedPorts", &t_port_set},
       {"Tty", &t_bool}, {"OpenStdin", &t_bool}, {"StdinOnce", &t_bool}, {"Env", &t_strings}, {"Cmd", &t_strslice},
       {"Healthcheck", &t_health_p}, {"ArgsEscaped", &t_bool}, {"Image", &t_string}, {"Volumes", &t_set},
       {"WorkingDir", &t_string}, {"Entrypoint", &t_strslice}, {"NetworkDisabled", &t_bool}, {"MacAddress", &t_string},
       {"OnBuild", &t_strings}, {"Labels", &t_string_map}, {"StopSignal", &t_string}, {"StopTimeout", &t_int_p},
       {"Shell", &t_strslice});

STRUCT(t_log_config, "container.LogConfig", {"Type", &t_string}, {"Config", &t_string_map});
STRUCT(t_binding, "nat.PortBinding", {"HostIp", &t_string}, {"HostPort", &t_string});
DERIVED(t_bindings, GO_SLICE, "[]nat.PortBinding", t_binding);
DERIVED(t_port_map, GO_MAP, "nat.PortMap", t_bindings);
STRUCT(t_restart, "container.RestartPolicy", {"Name", &t_restart_mode}, {"MaximumRetryCount", &t_int});
STRUCT(t_weight, "blkiodev.WeightDevice", {"Path", &t_string}, {"Weight", &t_uint16});
DERIVED(t_weights, GO_SLICE, "[]*blkiodev.WeightDevice", t_weight);
STRUCT(t_throttle, "blkiodev.ThrottleDevice", {"Path", &t_string}, {"Rate", &t_uint64});
DERIVED(t_throttles, GO_SLICE, "[]*blkiodev.ThrottleDevice", t_throttle);
STRUCT(t_device, "container.DeviceMapping", {"PathOnHost", &t_string}, {"PathInContainer", &t_string},
       {"CgroupPermissions", &t_string});
DERIVED(t_devices, GO_SLICE, "[]container.DeviceMapping", t_device);
STRUCT(t_device_request, "container.DeviceRequest", {"Driver", &t_string}, {"Count", &t_int}, {"DeviceIDs", &t_strings},
       {"Capabilities", &t_string_lists}, {"Options", &t_string_map});
DERIVED(t_device_requests, GO_SLICE, "[]container.DeviceRequest", t_device_request);
STRUCT(t_ulimit, "units.Ulimit", {"Name", &t_string}, {"Hard", &t_int64}, {"Soft", &t_int64});
DERIVED(t_ulimits, GO_SLICE, "[]*units.Ulimit", t_ulimit);
STRUCT(t_mount, "mount.Mount", {"Type", &t_mount_type}, {"Source", &t_string}, {"Target", &t_string},
       {"ReadOnly", &t_bool}, {"Consistency", &t_consistency});
DERIVED(t_mounts, GO_SLICE, "[]mount.Mount", t_mount);

STRUCT(t_host_config, "container.HostConfig", {"Binds", &t_strings}, {"ContainerIDFile", &t_string},
       {"LogConfig", &t_log_config}, {"NetworkMode", &t_network_mode}, {"PortBindings", &t_port_map},
       {"RestartPolicy", &t_restart}, {"AutoRemove", &t_bool}, {"VolumeDriver", &t_string}, {"VolumesFrom", &t_strings},
       {"ConsoleSize", &t_any}, {"Annotations", &t_string_map}, {"CapAdd", &t_strslice}, {"CapDrop", &t_strslice},
       {"CgroupnsMode", &t_cgroupns_mode}, {"Dns", &t_strings}, {"DnsOptions", &t_strings}, {"DnsSearch", &t_strings},
       {"ExtraHosts", &t_strings}, {"GroupAdd", &t_strings}, {"IpcMode", &t_ipc_mode}, {"Cgroup", &t_cgroup_spec},
       {"Links", &t_strings}, {"OomScoreAdj", &t_int}, {"PidMode", &t_pid_mode}, {"Privileged", &t_bool},
       {"PublishAllPorts", &t_bool}, {"ReadonlyRootfs", &t_bool}, {"SecurityOpt", &t_strings},
       {"StorageOpt", &t_string_map}, {"Tmpfs", &t_string_map}, {"UTSMode", &t_uts_mode},
       {"UsernsMode", &t_userns_mode}, {"ShmSize", &t_int64}, {"Sysctls", &t_string_map}, {"Runtime", &t_string},
       {"Isolation", &t_isolation}, {"Mounts", &t_mounts}, {"MaskedPaths", &t_strings}, {"ReadonlyPaths", &t_strings},
       {"Init", &t_bool_p},
       // embedded Resources
       {"CpuShares", &t_int64}, {"Memory", &t_int64}, {"NanoCpus", &t_int64}, {"CgroupParent", &t_string},
       {"BlkioWeight", &t_uint16}, {"BlkioWeightDevice", &t_weights}, {"BlkioDeviceReadBps", &t_throttles},
       {"BlkioDeviceWriteBps", &t_throttles}, {"BlkioDeviceReadIOps", &t_throttles},
       {"BlkioDeviceWriteIOps", &t_throttles}, {"CpuPeriod", &t_int64}, {"CpuQuota", &t_int64},
       {"CpuRealtimePeriod", &t_int64}, {"CpuRealtimeRuntime", &t_int64}, {"CpusetCpus", &t_string},
       {"CpusetMems", &t_string}, {"Devices", &t_devices}, {"DeviceCgroupRules", &t_strings},
       {"DeviceRequests", &t_device_requests}, {"KernelMemory", &t_int64}, {"KernelMemoryTCP", &t_int64},
       {"MemoryReservation", &t_int64}, {"MemorySwap", &t_int64}, {"MemorySwappiness", &t_int64_p},
       {"OomKillDisable", &t_bool_p}, {"PidsLimit", &t_int64_p}, {"Ulimits", &t_ulimits}, {"CpuCount", &t_int64},
       {"CpuPercent", &t_int64}, {"IOMaximumIOps", &t_uint64}, {"IOMaximumBandwidth", &t_uint64});

// Where in the text decoding is, and the first error: Go goes on after one, but reports only that.
struct decoder {
	const char *struct_name; // innermost struct
	char path[512];          // members from the top, joined by '.'
	size_t path_len;
	struct error *err;
	int result;
};

static int overlay(const struct go_type *type, json_object *base, const char *text, struct error *err);

int overlay_config(json_object *config, const char *text, struct error *err)
{
	return overlay(&t_config, config, text, err);
}

int overlay_host_config(json_object *host_config, const char *text, struct error *err)
{
	return overlay(&t_host_config, host_config, text, err);
}

// --- errors ---

static void mismatch(struct decoder *d, const struct go_type *type, json_object *value)
{
	static const char *const names[] = {
		[json_type_null] = "null",     [json_type_boolean] = "bool",  [json_type_double] = "number",
		[json_type_int] = "number",    [json_type_object] = "object", [json_type_array] = "array",
		[json_type_string] = "string",
	};
	enum json_type kind = json_object_get_type(value);
	bool number =
		(kind == json_type_int || kind == json_type_double) && (type->kind == GO_INT || type->kind == GO_UINT);
	_cleanup_free_ char *what =
		number ? xasprintf("number %s", json_object_get_string(value)) : xstrdup(names[kind]);
	if (d->result < 0)
		return;
	if (d->struct_name)
		d->result = error_set(d->err, EINVAL, "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
				      what, d->struct_name, d->path, type->name);
	else
		d->result = error_set(d->err, EINVAL, "json: cannot unmarshal %s into Go value of type %s", what,
				      type->name);
}

static const char *short_name(const struct go_type *type)
{
	const char *dot = strrchr(type->name, '.');
	return dot ? dot + 1 : type->name;
}

// --- decoding ---
// Each function returns a new reference or NULL for "not set". base is borrowed and may be NULL; value is
// borrowed, NULL for JSON's null.

static json_object *decode(struct decoder *d, const struct go_type *type, json_object *base, json_object *value);

// A value that an element of a list or map has when the text says null.
static json_object *zero(const struct go_type *type)
{
	switch (type->kind) {
	case GO_STRING:
		return json_object_new_string("");
	case GO_BOOL:
		return json_object_new_boolean(false);
	case GO_INT:
	case GO_UINT:
		return json_object_new_int(0);
	case GO_STRUCT:
		return json_object_new_object();
	default:
		return NULL;
	}
}

static json_object *decode_element(struct decoder *d, const struct go_type *type, json_object *value)
{
	json_object *element = decode(d, type, NULL, value);
	return element ? element : zero(type);
}

static bool integer_fits(const struct go_type *type, json_object *value)
{
	int64_t number;
	uint64_t natural;
	const char *text = json_object_get_string(value);
	if (!json_object_is_type(value, json_type_int))
		return false;
	if (type->kind == GO_INT)
		return parse_int64(text, &number);
	return *text != '-' && parse_uint64(text, &natural) && (type->bits == 64 || natural >> type->bits == 0);
}

static json_object *decode_scalar(struct decoder *d, const struct go_type *type, json_object *base, json_object *value)
{
	bool fits = type->kind == GO_STRING ? json_object_is_type(value, json_type_string)
		    : type->kind == GO_BOOL ? json_object_is_type(value, json_type_boolean)
					    : integer_fits(type, value);
	if (fits)
		return json_object_get(value);
	if (value)
		mismatch(d, type, value);
	return json_object_get(base);
}

static json_object *decode_list(struct decoder *d, const struct go_type *type, const struct go_type *element,
				json_object *base, json_object *value)
{
	if (!json_object_is_type(value, json_type_array)) {
		mismatch(d, type, value);
		return json_object_get(base);
	}
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(value); i++)
		json_object_array_add(list, decode_element(d, element, json_object_array_get_idx(value, i)));
	return list;
}

// Docker's string slice: a list of strings or one string. It decodes itself, so that anything else in it makes
// the whole list the wrong type.
static json_object *decode_strslice(struct decoder *d, const struct go_type *type, json_object *base,
				    json_object *value)
{
	if (json_object_is_type(value, json_type_string)) {
		json_object *list = json_object_new_array();
		json_object_array_add(list, json_object_get(value));
		return list;
	}
	bool strings = json_object_is_type(value, json_type_array);
	for (size_t i = 0; strings && i < json_object_array_length(value); i++) {
		json_object *item = json_object_array_get_idx(value, i);
		strings = !item || json_object_is_type(item, json_type_string);
	}
	if (strings)
		return decode_list(d, type, &t_string, base, value);
	mismatch(d, type, value);
	return json_object_get(base);
}

static json_object *decode_map(struct decoder *d, const struct go_type *type, json_object *base, json_object *value)
{
	if (!json_object_is_type(value, json_type_object)) {
		mismatch(d, type, value);
		return json_object_get(base);
	}
	json_object *map = base ? json_object_get(base) : json_object_new_object();
	json_object_object_foreach(value, key, item)
	{
		json_add(map, key, decode_element(d, type->element, item));
	}
	return map;
}

static const struct go_member *find_member(const struct go_type *type, const char *name)
{
	const struct go_member *folded = NULL;
	for (const struct go_member *m = type->members; m->name; m++) {
		if (strcmp(m->name, name) == 0)
			return m;
		if (!folded && strcasecmp(m->name, name) == 0)
			folded = m;
	}
	return folded;
}

static void decode_member(struct decoder *d, const struct go_member *member, json_object *object, json_object *value)
{
	size_t len = d->path_len;
	int n = snprintf(d->path + len, sizeof(d->path) - len, "%s%s", len ? "." : "", member->name);
	d->path_len = n < 0 || (size_t)n >= sizeof(d->path) - len ? len : len + (size_t)n;
	json_object *result = decode(d, member->type, json_object_object_get(object, member->name), value);
	if (result)
		json_add(object, member->name, result);
	else
		json_object_object_del(object, member->name);
	d->path_len = len;
	d->path[len] = '\0';
}

static json_object *decode_struct(struct decoder *d, const struct go_type *type, json_object *base, json_object *value)
{
	if (!json_object_is_type(value, json_type_object)) {
		mismatch(d, type, value);
		return json_object_get(base);
	}
	json_object *object = base ? json_object_get(base) : json_object_new_object();
	const char *outer = d->struct_name;
	d->struct_name = short_name(type);
	json_object_object_foreach(value, name, item)
	{
		const struct go_member *member = find_member(type, name);
		if (member)
			decode_member(d, member, object, item);
		else if (type != &t_empty)
			json_add(object, name, json_object_get(item));
	}
	d->struct_name = outer;
	return object;
}

// Depth is bounded by the tables.
// NOLINTNEXTLINE(misc-no-recursion)
static json_object *decode(struct decoder *d, const struct go_type *type, json_object *base, json_object *value)
{
	switch (type->kind) {
	case GO_STRING:
	case GO_BOOL:
	case GO_INT:
	case GO_UINT:
		return decode_scalar(d, type, base, value);
	case GO_STRUCT:
		return value ? decode_struct(d, type, base, value) : json_object_get(base);
	case GO_POINTER:
		return value ? decode(d, type->element, base, value) : NULL;
	case GO_SLICE:
		return value ? decode_list(d, type, type->element, base, value) : NULL;
	case GO_STRSLICE:
		return value ? decode_strslice(d, type, base, value) : NULL;
	case GO_MAP:
		return value ? decode_map(d, type, base, value) : NULL;
	case GO_ANY:
		break;
	}
	return json_object_get(value);
}

static int overlay(const struct go_type *type, json_object *base, const char *text, struct error *err)
{
	struct decoder d = {.err = err};
	size_t len = strlen(text);
	int r = go_json_check(text, len, err);
	if (r < 0)
		return r;
	// A lone `null` changes nothing; the parser refuses it.
	if (strspn(text, " \t\r\nnul") == len)
		return 0;
	_cleanup_json_ json_object *value = json_parse(text, len, err);
	if (!value)
		return -EINVAL;
	json_object_put(decode(&d, type, base, value)); // base itself, changed
	return d.result;
}
