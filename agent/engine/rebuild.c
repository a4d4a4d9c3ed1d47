// The database was lost: what can be known of tasks again from Docker's labels (create_request.h, LABEL_ECSD).
// Container environments and images of containers that do not exist yet are not in the labels: such a container
// counts as vanished. Statuses are found by inspecting and reported again; ECS takes the same state twice.

#include "engine/engine_internal.h"

#include "common/log.h"
#include "common/util.h"
#include "docker/create_request.h"
#include "engine/admit.h"

// A definition that task_decode() reads, from the label's list of the task's containers.
static json_object *definition_from_label(json_object *labels, json_object *label)
{
	json_object *definition = json_object_new_object();
	json_add_string(definition, "arn", json_get_string(labels, LABEL_TASK_ARN));
	json_add_string(definition, "family", json_get_string(labels, LABEL_FAMILY));
	json_add_string(definition, "version", json_get_string(labels, LABEL_VERSION));
	json_add_string(definition, "desiredStatus", "RUNNING");
	json_object *containers = json_object_new_array();
	json_object *list = json_get(label, "containers");
	for (size_t i = 0; list && json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
	     i++) {
		json_object *from = json_object_array_get_idx(list, i);
		json_object *to = json_object_new_object();
		json_add_string(to, "name", json_get_string(from, "name"));
		json_add_bool(to, "essential", json_object_get_boolean(json_get(from, "essential")));
		json_add_int(to, "cpu", json_object_get_int(json_get(from, "cpu")));
		json_object *depends = json_object_new_array();
		json_object *pairs = json_get(from, "dependsOn");
		for (size_t d = 0;
		     pairs && json_object_is_type(pairs, json_type_array) && d < json_object_array_length(pairs); d++) {
			json_object *pair = json_object_array_get_idx(pairs, d);
			if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2)
				continue;
			json_object *on = json_object_new_object();
			json_add_string(on, "containerName",
					json_object_get_string(json_object_array_get_idx(pair, 0)));
			json_add_string(on, "condition", json_object_get_string(json_object_array_get_idx(pair, 1)));
			json_object_array_add(depends, on);
		}
		json_add(to, "dependsOn", depends);
		json_object_array_add(containers, to);
	}
	json_add(definition, "containers", containers);
	json_add_bool(definition, "ecsdCgroup", json_object_get_boolean(json_get(label, "cgroup")));
	json_add(definition, "cpu", json_object_new_double(json_object_get_double(json_get(label, "cpu"))));
	json_add_int(definition, "memory", json_object_get_int64(json_get(label, "memory")));
	return definition;
}

static struct entry *rebuild_task(struct engine *engine, json_object *labels, json_object *label)
{
	_cleanup_json_ json_object *definition = definition_from_label(labels, label);
	_cleanup_free_ char *reason = NULL;
	struct task *task;
	if (task_decode(definition, false, &task, &reason) != TASK_ACCEPTED) {
		log_error("a container's label does not describe a task; left alone", "error=%s", reason);
		return NULL;
	}
	str_replace(&task->credentials_id, json_get_string(label, "credentialsId"));
	str_replace(&task->execution_credentials_id, json_get_string(label, "executionCredentialsId"));
	task->sequence = (uint64_t)json_object_get_int64(json_get(label, "sequence"));
	if (task->sequence > engine->last_sequence)
		engine->last_sequence = task->sequence;
	for (size_t i = 0; i < task->container_count; i++)
		task->containers[i].dirty = true;
	log_info("task rebuilt from Docker's labels", "task=%s", task->arn);
	struct entry *entry = engine_insert(engine, task);
	entry->rebuilt = true;
	return entry;
}

static void rebuild_container(struct engine *engine, const struct docker_summary *summary)
{
	struct error err = {0};
	const char *text = json_get_string(summary->labels, LABEL_ECSD);
	const char *arn = json_get_string(summary->labels, LABEL_TASK_ARN);
	_cleanup_json_ json_object *label = text ? json_parse(text, strlen(text), &err) : NULL;
	if (!arn || !label || !json_object_is_type(label, json_type_object))
		return;
	struct entry *entry = engine_entry(engine, arn);
	if (!entry)
		entry = rebuild_task(engine, summary->labels, label);
	struct container *c =
		entry ? task_container(entry->task, json_get_string(summary->labels, LABEL_CONTAINER_NAME)) : NULL;
	if (!c || c->docker_id)
		return;
	str_replace(&c->docker_id, summary->id);
	str_replace(&c->docker_name, summary->name);
	c->stop_timeout_s = (uint32_t)json_object_get_int(json_get(label, "stopTimeout"));
	c->health_check_docker = json_object_get_boolean(json_get(label, "health"));
	c->must_inspect = true;
	entry->rebuilt_running |= str_equal(summary->state, "running") || str_equal(summary->state, "paused");
	admit_holder(entry);
}

void engine_rebuild(struct engine *engine, const struct docker_summary *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		rebuild_container(engine, &list[i]);
	for (size_t i = 0; i < engine->count; i++) {
		struct entry *entry = engine->entries[i];
		// A task of which nothing runs had ended, or was about to: nothing of it is started now.
		if (entry->rebuilt && !entry->rebuilt_running)
			engine_set_desired_stopped(entry->task);
		for (size_t k = 0; k < entry->task->container_count; k++) {
			struct container *c = &entry->task->containers[k];
			if (c->docker_id || !entry->rebuilt)
				continue;
			engine_fail_container(&entry->refs[k], "ContainerVanishedError",
					      "No container matching saved ID found");
			engine_advance(&entry->refs[k], CONTAINER_STOPPED);
		}
	}
}
