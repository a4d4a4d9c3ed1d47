// Labels of containers, from which tasks are rebuilt when the database is lost. Input: the text of our own label.
#include "agent/engine/rebuild.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size), *reason = NULL;
	_cleanup_json_ json_object *label = json_parse(text, strlen(text), NULL);
	_cleanup_json_ json_object *labels = json_object_new_object();
	struct task *task;
	if (!json_object_is_type(label, json_type_object))
		return 0;
	json_add_string(labels, LABEL_TASK_ARN, "arn:aws:ecs:us-west-2:123456789012:task/lab/1");
	json_add_string(labels, LABEL_FAMILY, "lab");
	json_add_string(labels, LABEL_VERSION, "1");
	_cleanup_json_ json_object *definition = definition_from_label(labels, label);
	if (task_decode(definition, false, &task, &reason) != TASK_ACCEPTED) {
		check_reason(reason);
		return 0;
	}
	// The label of the rebuilt task describes the same task.
	if (task->container_count > 0) {
		_cleanup_json_ json_object *again = rebuild_label(task, &task->containers[0]);
		_cleanup_json_ json_object *same = definition_from_label(labels, again);
		CHECK(json_object_equal(json_get(definition, "containers"), json_get(same, "containers")) ||
		      task->container_count == json_object_array_length(json_get(same, "containers")));
	}
	task_free(task);
	return 0;
}
