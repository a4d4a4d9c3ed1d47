#include "takeover/official_task.h"

#include "common/util.h"
#include "engine/report.h"
#include "engine/store.h"
#include "takeover/official_record.h"

// --- statuses ---

static int bad_status(const char *whose, const char *member, const char *text, struct error *err)
{
	return error_set(err, EBADMSG, "%s: %s is \"%s\", which is no status that is known", whose, member, text);
}

static int read_task_status(const char *arn, const char *member, const char *text, enum task_status *status,
			    struct error *err)
{
	*status = TASK_NONE;
	return str_empty(text) || task_status_parse(text, status) ? 0 : bad_status(arn, member, text, err);
}

// Old files have UNKNOWN and DEAD. A pause container's RESOURCES_PROVISIONED is RUNNING here: nothing else is done to it.
static int read_container_status(const char *name, const char *member, const char *text, enum container_status *status,
				 struct error *err)
{
	*status = str_equal(text, "DEAD") ? CONTAINER_STOPPED : CONTAINER_NONE;
	if (!str_empty(text) && !str_equal(text, "DEAD") && !str_equal(text, "UNKNOWN") &&
	    !container_status_parse(text, status))
		return bad_status(name, member, text, err);
	if (*status == CONTAINER_RESOURCES_PROVISIONED)
		*status = CONTAINER_RUNNING;
	return 0;
}

// --- facts ---

static int64_t time_of(const char *text)
{
	int64_t ms;
	return text && parse_rfc3339(text, &ms) && ms > 0 ? ms : 0; // Go's zero time is year 1
}

static void take_bindings(struct container *c, const struct saved_container *facts)
{
	const struct saved_binding *from = facts->bindings.items;
	c->bindings = xcalloc(facts->bindings.count + 1, sizeof(*c->bindings));
	for (size_t i = 0; i < facts->bindings.count; i++) {
		if (from[i].container_port == 0)
			continue; // of a port range
		struct port_binding *b = &c->bindings[c->binding_count++];
		b->container_port = from[i].container_port;
		b->host_port = from[i].host_port;
		snprintf(b->protocol, sizeof(b->protocol), "%s", from[i].protocol ? from[i].protocol : "tcp");
		snprintf(b->bind_ip, sizeof(b->bind_ip), "%s", from[i].bind_ip ? from[i].bind_ip : "");
	}
	for (size_t p = 0; p < c->port_count; p++) {
		for (size_t i = 0; i < c->binding_count && c->host_ports[p] == 0; i++) {
			if (c->bindings[i].container_port == c->ports[p].container_port &&
			    str_equal(c->bindings[i].protocol, c->ports[p].protocol))
				c->host_ports[p] = c->bindings[i].host_port;
		}
	}
}

static void take_text(char **to, const char *text)
{
	if (!str_empty(text))
		str_replace(to, text);
}

// started_ms stays 0: a container that the official agent has started again by a restart policy has another start now than
// the one that was saved, and is none that somebody else has started (observe.c).
static int take_container(struct container *c, const struct official_source *source, const struct task *task,
			  enum container_status *sent, struct error *err)
{
	const struct saved_container *facts = &source->facts;
	int r = read_container_status(c->name, "KnownStatus", facts->known, &c->known, err);
	if (r == 0)
		r = read_container_status(c->name, "desiredStatus", facts->desired, &c->desired, err);
	if (r == 0)
		r = read_container_status(c->name, "SentStatus", facts->sent, sent, err);
	if (r < 0)
		return r;
	if (task->desired == TASK_STOPPED)
		c->desired = CONTAINER_STOPPED;
	else if (task->desired == TASK_RUNNING && c->desired < CONTAINER_RUNNING)
		c->desired = CONTAINER_RUNNING;
	take_text(&c->docker_id, source->docker.docker_id);
	if (!c->docker_id)
		take_text(&c->docker_id, facts->runtime_id);
	take_text(&c->docker_name, source->docker.docker_name);
	take_text(&c->image_id, facts->image_id);
	take_text(&c->image_digest, facts->image_digest);
	c->has_exit_code = facts->has_exit_code;
	c->exit_code = facts->exit_code;
	if (facts->error && !str_empty(facts->error->name))
		container_set_error(c, facts->error->name, facts->error->error ? facts->error->error : "");
	take_bindings(c, facts);
	bool made = c->known >= CONTAINER_CREATED && c->known < CONTAINER_STOPPED;
	if (made && !c->docker_id && !c->docker_name) { // nobody knows which one it was
		container_set_error(c, "ContainerVanishedError", "No container matching saved ID found");
		c->known = c->desired = CONTAINER_STOPPED;
	}
	return 0;
}

static int take_facts(const struct official_record *record, struct official_task *out, struct error *err)
{
	const struct saved_task *saved = &record->task;
	struct task *task = out->task;
	int r = read_task_status(task->arn, "KnownStatus", saved->known, &task->known, err);
	if (r == 0)
		r = read_task_status(task->arn, "SentStatus", saved->sent, &out->sent, err);
	if (r < 0)
		return r;
	take_text(&task->credentials_id, saved->credentials_id);
	take_text(&task->execution_credentials_id, saved->execution_credentials_id);
	task->known_ms = time_of(saved->known_at);
	if (task->known_ms == 0)
		task->known_ms = wall_ms(); // the clean-up wait begins somewhere
	task->pull_started_ms = time_of(saved->pull_started_at);
	task->pull_stopped_ms = time_of(saved->pull_stopped_at);
	task->execution_stopped_ms = time_of(saved->execution_stopped_at);
	out->containers_sent = xcalloc(task->container_count + 1, sizeof(*out->containers_sent));
	for (size_t i = 0; r == 0 && i < task->container_count; i++)
		r = take_container(&task->containers[i], &record->sources[i], task, &out->containers_sent[i], err);
	return r;
}

int official_task_read(json_object *object, json_object *(*container_record)(const char *key, void *arg), void *arg,
		       const char *watch, struct official_task *out, struct error *err)
{
	struct official_record read;
	*out = (struct official_task){0};
	int r = official_record_read(&read, object, container_record, arg, err);
	if (r == 0 && !read.task.internal) {
		out->task = official_record_task(&read, watch, err);
		r = out->task ? take_facts(&read, out, err) : -EBADMSG;
	}
	official_record_free(&read);
	if (r == 0)
		return 0;
	official_task_free(out);
	if (err)
		err->code = EBADMSG;
	return -EBADMSG;
}

void official_task_free(struct official_task *task)
{
	task_free(task->task);
	free(task->containers_sent);
	*task = (struct official_task){0};
}

// --- what ECS does not know yet ---

int official_task_unsent(const struct official_task *official, int (*visit)(struct transition *transition, void *arg),
			 void *arg)
{
	const struct task *task = official->task;
	int r = 0;
	// After a task's STOPPED nothing of it is taken any more.
	for (size_t i = 0; r == 0 && official->sent != TASK_STOPPED && i < task->container_count; i++) {
		const struct container *c = &task->containers[i];
		if (c->known <= official->containers_sent[i] || !report_tells_container(c, c->known))
			continue;
		_cleanup_free_ char *reason = report_container_reason(c);
		r = visit(&(struct transition){.task_arn = task->arn,
					       .container = c->name,
					       .status = (int)c->known,
					       .reason = reason,
					       .has_exit_code = c->has_exit_code,
					       .exit_code = c->exit_code,
					       .at_ms = task->known_ms},
			  arg);
	}
	if (r == 0 && task->known > official->sent && report_tells_task(task, task->known))
		r = visit(&(struct transition){.task_arn = task->arn,
					       .status = (int)task->known,
					       .at_ms = task->known_ms},
			  arg);
	return r;
}
