#include "endpoint.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"
#include "common/wire.h"
#include "endpoint_link.h"
#include "common/version.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>

// Of one set of credentials, so that it fits in a message with room to spare.
#define CREDENTIALS_MAX (WIRE_MESSAGE_MAX / 2)
// A service manager's socket takes connections while there is nobody behind it: then somebody should look at why.
#define ANSWER_MS 10000

struct entry {
	struct entry *next;
	struct task_credentials credentials; // id, task_arn and role only while !known
	bool known;                          // not only expected
};

struct task {
	struct task *next;
	char *arn;
	const char **fields; // of the message, arn and json among them
	size_t count;
};

struct waiter {
	struct waiter *next;
	void (*held)(void *arg);
	void *arg;
	uint64_t token; // of the SYNC that answers it, 0: none sent on this connection
};

struct endpoint {
	struct endpoint_options options;
	struct endpoint_link *link;
	char *socket, *audit_log_path, *cluster, *instance_arn;
	struct entry *entries;
	struct task *tasks;
	struct waiter *waiters;
	uint64_t token;      // of the last SYNC
	uint64_t fill_token; // of the one that ended the refill on this connection
	bool up;             // greeted: changes are sent as they happen
	bool connected;      // told so to ecsd
	bool returned;       // what was held from before has been given back
	struct timer answer; // runs from the connection to its greeting
};

static void on_up(void *arg);
static void on_message(const struct wire_message *message, void *arg);
static void on_down(void *arg);
static void no_answer(void *arg);
static void push_all(struct endpoint *endpoint);
static void push_credentials(struct endpoint *endpoint, const struct task_credentials *credentials);
static void push_instance(struct endpoint *endpoint);
static void push_sync(struct endpoint *endpoint);
static void on_hello(struct endpoint *endpoint, const struct wire_message *message);
static void on_synced(struct endpoint *endpoint, uint64_t token);
static void on_returned(struct endpoint *endpoint, const struct wire_message *message);
static struct entry **find_entry(const struct endpoint *endpoint, const char *id);
static struct entry *make_entry(struct endpoint *endpoint, const char *id);
static struct task **find_task(struct endpoint *endpoint, const char *task_arn);
static void drop_task(struct task **link);
static const char *role_text(enum role_type role);

static const struct endpoint_link_callbacks link_callbacks = {on_up, on_message, on_down};

struct endpoint *endpoint_new(const struct endpoint_options *options, struct error *err)
{
	if (str_empty(options->socket)) {
		error_set(err, EINVAL, "no path of the socket of ecs-endpoint");
		return NULL;
	}
	struct endpoint *endpoint = xcalloc(1, sizeof(*endpoint));
	endpoint->options = *options;
	endpoint->audit_log_path = xstrdup(options->audit_log_path);
	endpoint->socket = xstrdup(options->socket);
	timer_init(&endpoint->answer, options->loop, no_answer, endpoint);
	endpoint->link =
		endpoint_link_new(options->loop, options->socket, options->spawner_fd, &link_callbacks, endpoint);
	return endpoint;
}

struct endpoint *endpoint_free(struct endpoint *endpoint)
{
	if (!endpoint)
		return NULL;
	endpoint_link_free(endpoint->link);
	timer_done(&endpoint->answer);
	for (struct entry *entry = endpoint->entries, *next; entry; entry = next) {
		next = entry->next;
		task_credentials_free(&entry->credentials);
		free(entry);
	}
	while (endpoint->tasks)
		drop_task(&endpoint->tasks);
	for (struct waiter *waiter = endpoint->waiters, *next; waiter; waiter = next) {
		next = waiter->next;
		free(waiter);
	}
	free(endpoint->socket);
	free(endpoint->audit_log_path);
	free(endpoint->cluster);
	free(endpoint->instance_arn);
	free(endpoint);
	return NULL;
}

void task_credentials_free(struct task_credentials *credentials)
{
	secret_free(credentials->id); // whoever knows it can read the rest
	free(credentials->task_arn);
	free(credentials->role_arn);
	secret_free(credentials->access_key_id);
	secret_free(credentials->secret_access_key);
	secret_free(credentials->session_token);
	free(credentials->expiration);
	*credentials = (struct task_credentials){0};
}

void endpoint_set_instance(struct endpoint *endpoint, const char *cluster, const char *instance_arn)
{
	str_replace(&endpoint->cluster, cluster);
	str_replace(&endpoint->instance_arn, instance_arn);
	if (endpoint->up)
		push_instance(endpoint);
}

void endpoint_expect(struct endpoint *endpoint, const char *id, const char *task_arn, enum role_type role)
{
	if (str_empty(id) || *find_entry(endpoint, id))
		return;
	struct entry *entry = make_entry(endpoint, id);
	entry->credentials.task_arn = xstrdup(task_arn);
	entry->credentials.role = role;
	if (endpoint->up)
		endpoint_link_send(endpoint->link, WIRE_EXPECT, (const char *[]){id, task_arn, role_text(role)}, 3, -1);
}

void endpoint_start(struct endpoint *endpoint)
{
	endpoint_link_start(endpoint->link);
}

int endpoint_put(struct endpoint *endpoint, const struct task_credentials *credentials, void (*held)(void *arg),
		 void *arg, struct error *err)
{
	if (str_empty(credentials->id)) // texts of credentials-endpoint.md §5
		return error_set(err, EINVAL, "CredentialsId is empty");
	if (str_empty(credentials->task_arn))
		return error_set(err, EINVAL, "task ARN is empty");
	const char *const texts[] = {credentials->id,
				     credentials->task_arn,
				     credentials->role_arn,
				     credentials->access_key_id,
				     credentials->secret_access_key,
				     credentials->session_token,
				     credentials->expiration};
	size_t size = 0;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		size += texts[i] ? strlen(texts[i]) : 0;
	if (size > CREDENTIALS_MAX)
		return error_set(err, EMSGSIZE, "credentials of %zu bytes are larger than %zu", size, CREDENTIALS_MAX);
	struct entry *entry = *find_entry(endpoint, credentials->id);
	if (!entry)
		entry = make_entry(endpoint, credentials->id);
	struct task_credentials copy = {.id = xstrdup(credentials->id),
					.task_arn = xstrdup(credentials->task_arn),
					.role_arn = xstrdup(credentials->role_arn),
					.access_key_id = xstrdup(credentials->access_key_id),
					.secret_access_key = xstrdup(credentials->secret_access_key),
					.session_token = xstrdup(credentials->session_token),
					.expiration = xstrdup(credentials->expiration),
					.role = credentials->role};
	task_credentials_free(&entry->credentials); // after the copy: it may be what the caller passed
	entry->credentials = copy;
	entry->known = true;
	struct waiter *waiter = NULL;
	if (held) {
		struct waiter **last = &endpoint->waiters;
		while (*last)
			last = &(*last)->next;
		waiter = *last = xcalloc(1, sizeof(*waiter));
		*waiter = (struct waiter){.held = held, .arg = arg};
	}
	CRASH_POINT("credentials.before-push");
	if (endpoint->up) {
		push_credentials(endpoint, &entry->credentials);
		CRASH_POINT("credentials.pushed");
		if (waiter) {
			push_sync(endpoint);
			waiter->token = endpoint->token;
		}
	}
	return 0;
}

void endpoint_cancel(struct endpoint *endpoint, void *arg)
{
	for (struct waiter **link = &endpoint->waiters; *link;) {
		struct waiter *waiter = *link;
		if (waiter->arg == arg) {
			*link = waiter->next;
			free(waiter);
		} else {
			link = &waiter->next;
		}
	}
}

void endpoint_remove(struct endpoint *endpoint, const char *id)
{
	struct entry **link = id ? find_entry(endpoint, id) : NULL, *entry = link ? *link : NULL;
	if (!entry)
		return;
	*link = entry->next;
	if (endpoint->up)
		endpoint_link_send(endpoint->link, WIRE_REMOVE, (const char *[]){entry->credentials.id}, 1, -1);
	task_credentials_free(&entry->credentials); // last: id may be its own
	free(entry);
}

const struct task_credentials *endpoint_get(const struct endpoint *endpoint, const char *id)
{
	const struct entry *entry = id ? *find_entry(endpoint, id) : NULL;
	return entry && entry->known ? &entry->credentials : NULL;
}

bool endpoint_holds(const struct endpoint *endpoint, const char *id)
{
	const struct task_credentials *credentials = endpoint_get(endpoint, id);
	int64_t expires;
	if (!credentials)
		return !endpoint->returned;
	return str_empty(credentials->expiration) || !parse_rfc3339(credentials->expiration, &expires) ||
	       expires > wall_ms();
}

void endpoint_set_task(struct endpoint *endpoint, const char *task_arn, const char *json, const char *const *docker_ids,
		       size_t docker_id_count)
{
	struct task **link = find_task(endpoint, task_arn);
	struct task *task = xcalloc(1, sizeof(*task));
	task->arn = xstrdup(task_arn);
	task->count = docker_id_count + 2;
	task->fields = xcalloc(task->count, sizeof(char *));
	task->fields[0] = task->arn;
	task->fields[1] = xstrdup(json);
	for (size_t i = 0; i < docker_id_count; i++)
		task->fields[i + 2] = xstrdup(docker_ids[i]);
	if (*link)
		drop_task(link);
	task->next = *link;
	*link = task;
	if (endpoint->up && !endpoint_link_send(endpoint->link, WIRE_TASK, task->fields, task->count, -1))
		log_warn("task is too large for introspection", "task=%s containers=%zu", task_arn, docker_id_count);
}

void endpoint_remove_task(struct endpoint *endpoint, const char *task_arn)
{
	struct task **link = find_task(endpoint, task_arn);
	if (!*link)
		return;
	if (endpoint->up)
		endpoint_link_send(endpoint->link, WIRE_TASK_REMOVE, (const char *[]){task_arn}, 1, -1);
	drop_task(link);
}

void endpoint_reopen_audit_log(struct endpoint *endpoint)
{
	int fd = -1;
	if (endpoint->audit_log_path) {
		_cleanup_free_ char *directory = xstrdup(endpoint->audit_log_path);
		make_directory(dirname(directory), 0755); // if that fails, opening does too
		fd = open(endpoint->audit_log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0) { // ecs-endpoint goes on with what it has
			log_error("cannot open audit log", "path=%s error=%s", endpoint->audit_log_path,
				  strerror(errno));
			return;
		}
	}
	endpoint_link_send(endpoint->link, WIRE_AUDIT, NULL, 0, fd);
}

static void on_up(void *arg)
{
	struct endpoint *endpoint = arg;
	char version[16], oldest[16];
	snprintf(version, sizeof(version), "%d", WIRE_VERSION);
	snprintf(oldest, sizeof(oldest), "%d", WIRE_VERSION_MIN);
	endpoint_link_send(endpoint->link, WIRE_HELLO, (const char *[]){version, oldest, ecsd_version}, 3, -1);
	timer_start(&endpoint->answer, ANSWER_MS);
}

static void no_answer(void *arg)
{
	struct endpoint *endpoint = arg;
	log_warn("ecs-endpoint does not answer, waiting on", "socket=%s", endpoint->socket);
}

static void on_message(const struct wire_message *message, void *arg)
{
	struct endpoint *endpoint = arg;
	uint64_t token;
	if (message->type == WIRE_HELLO && !endpoint->up)
		on_hello(endpoint, message);
	else if (!endpoint->up)
		endpoint_link_drop(endpoint->link);
	else if (message->type == WIRE_SYNCED && wire_number(message, 0, &token))
		on_synced(endpoint, token);
	else if (message->type == WIRE_RETURNED)
		on_returned(endpoint, message);
}

static void on_down(void *arg)
{
	struct endpoint *endpoint = arg;
	bool was = endpoint->connected;
	timer_stop(&endpoint->answer);
	endpoint->up = endpoint->connected = false;
	for (struct waiter *waiter = endpoint->waiters; waiter; waiter = waiter->next)
		waiter->token = 0;
	if (was && endpoint->options.on_connected)
		endpoint->options.on_connected(false, endpoint->options.arg);
}

static void on_hello(struct endpoint *endpoint, const struct wire_message *message)
{
	uint64_t version;
	if (!wire_number(message, 0, &version) || version < WIRE_VERSION_MIN) { // then it ends itself (wire.h)
		log_warn("ecs-endpoint is of another time", "version=%s needed=%d", wire_text(message, 0),
			 WIRE_VERSION_MIN);
		endpoint_link_drop(endpoint->link);
		return;
	}
	endpoint->up = true;
	timer_stop(&endpoint->answer);
	push_all(endpoint);
}

// The endpoint drops what is not named between its greeting and EXPECT_END, so a new one and one that has
// served for weeks get the same.
static void push_all(struct endpoint *endpoint)
{
	for (struct entry *entry = endpoint->entries; entry; entry = entry->next) {
		const struct task_credentials *c = &entry->credentials;
		if (entry->known)
			push_credentials(endpoint, c);
		else
			endpoint_link_send(endpoint->link, WIRE_EXPECT,
					   (const char *[]){c->id, c->task_arn, role_text(c->role)}, 3, -1);
	}
	CRASH_POINT("refill.half");
	endpoint_link_send(endpoint->link, WIRE_EXPECT_END, NULL, 0, -1);
	push_instance(endpoint);
	char steady[16], burst[16];
	snprintf(steady, sizeof(steady), "%u", endpoint->options.rps_steady);
	snprintf(burst, sizeof(burst), "%u", endpoint->options.rps_burst);
	endpoint_link_send(endpoint->link, WIRE_LIMITS, (const char *[]){steady, burst}, 2, -1);
	endpoint_reopen_audit_log(endpoint);
	for (struct task *task = endpoint->tasks; task; task = task->next)
		endpoint_link_send(endpoint->link, WIRE_TASK, task->fields, task->count, -1);
	CRASH_POINT("refill.before-end");
	push_sync(endpoint);
	endpoint->fill_token = endpoint->token;
	for (struct waiter *waiter = endpoint->waiters; waiter; waiter = waiter->next)
		waiter->token = endpoint->token;
}

static void push_credentials(struct endpoint *endpoint, const struct task_credentials *c)
{
	endpoint_link_send(endpoint->link, WIRE_PUT,
			   (const char *[]){c->id, c->task_arn, role_text(c->role), c->role_arn, c->access_key_id,
					    c->secret_access_key, c->session_token, c->expiration},
			   8, -1);
}

static void push_instance(struct endpoint *endpoint)
{
	// introspection.md §4
	_cleanup_free_ char *version = xasprintf("Amazon ECS Agent - v%s (%s)", AGENT_COMPATIBLE_VERSION, ecsd_commit);
	if (endpoint->cluster || endpoint->instance_arn)
		endpoint_link_send(endpoint->link, WIRE_INSTANCE,
				   (const char *[]){endpoint->cluster, endpoint->instance_arn, version}, 3, -1);
}

static void push_sync(struct endpoint *endpoint)
{
	char token[24];
	snprintf(token, sizeof(token), "%llu", (unsigned long long)++endpoint->token);
	endpoint_link_send(endpoint->link, WIRE_SYNC, (const char *[]){token}, 1, -1);
}

static void on_synced(struct endpoint *endpoint, uint64_t token)
{
	if (!endpoint->connected && token >= endpoint->fill_token) {
		CRASH_POINT("refill.done");
		endpoint->connected = endpoint->returned = true;
		endpoint_link_healthy(endpoint->link);
		log_info("connected to ecs-endpoint", NULL);
		if (endpoint->options.on_connected)
			endpoint->options.on_connected(true, endpoint->options.arg);
	}
	for (struct waiter **link = &endpoint->waiters; *link;) {
		struct waiter *waiter = *link;
		if (waiter->token == 0 || waiter->token > token) {
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		struct waiter done = *waiter;
		free(waiter);
		done.held(done.arg);
		link = &endpoint->waiters; // the callback may have changed the list
	}
}

static void on_returned(struct endpoint *endpoint, const struct wire_message *message)
{
	struct entry *entry = *find_entry(endpoint, wire_text(message, 0));
	if (!entry || entry->known || !*wire_text(message, 1))
		return; // removed, or replaced by newer ones, since it was asked for
	enum role_type role = entry->credentials.role;
	task_credentials_free(&entry->credentials);
	entry->credentials = (struct task_credentials){.id = xstrdup(wire_text(message, 0)),
						       .task_arn = xstrdup(wire_text(message, 1)),
						       .role_arn = xstrdup(wire_text(message, 3)),
						       .access_key_id = xstrdup(wire_text(message, 4)),
						       .secret_access_key = xstrdup(wire_text(message, 5)),
						       .session_token = xstrdup(wire_text(message, 6)),
						       .expiration = xstrdup(wire_text(message, 7)),
						       .role = role};
	entry->known = true;
	if (endpoint->options.on_returned)
		endpoint->options.on_returned(&entry->credentials, endpoint->options.arg);
}

// A host has two ids for each of a few hundred tasks at most: a list will do.
static struct entry **find_entry(const struct endpoint *endpoint, const char *id)
{
	struct entry **link = (struct entry **)&endpoint->entries;
	while (*link && strcmp((*link)->credentials.id, id) != 0)
		link = &(*link)->next;
	return link;
}

static struct entry *make_entry(struct endpoint *endpoint, const char *id)
{
	struct entry *entry = xcalloc(1, sizeof(*entry));
	entry->credentials.id = xstrdup(id);
	entry->next = endpoint->entries;
	endpoint->entries = entry;
	return entry;
}

static struct task **find_task(struct endpoint *endpoint, const char *task_arn)
{
	struct task **link = &endpoint->tasks;
	while (*link && strcmp((*link)->arn, task_arn) != 0)
		link = &(*link)->next;
	return link;
}

static void drop_task(struct task **link)
{
	struct task *task = *link;
	*link = task->next;
	for (size_t i = 0; i < task->count; i++)
		free((char *)task->fields[i]); // arn is the first
	free(task->fields);
	free(task);
}

static const char *role_text(enum role_type role)
{
	return role == ROLE_TASK_EXECUTION ? WIRE_ROLE_EXECUTION : WIRE_ROLE_TASK;
}
