// A whole ACS session: messages in any order, commits, confirmations of ecs-endpoint, ends and reconnections, with engine
// and endpoint faked. An acknowledgement needs the commit and the confirmations first; no secret is ever logged or sent.
// Input: lines; the first letter says what happens, the rest is the message.
#include "agent/control/acs.c"
#include "common/log.h"
#include "fuzz_time.h"
#include <sys/mman.h>

#define TASKS_MAX 64
#define WAITING_MAX (ACS_PENDING_MAX * 4)

static struct {
	struct task *tasks[TASKS_MAX];
	size_t task_count;
	struct waiting {
		void (*done)(void *arg);
		void *arg;
	} commits[WAITING_MAX], holds[WAITING_MAX];
	size_t commit_count, hold_count;
	bool full, fails;
	unsigned opened;
	struct buf sent;
} world;

// --- fakes ---

const char *instance_arn(const struct instance *instance)
{
	(void)instance;
	return "arn:aws:ecs:us-west-2:123456789012:container-instance/lab/1";
}
const char *instance_cluster(const struct instance *instance)
{
	(void)instance;
	return "lab";
}
const char *instance_region(const struct instance *instance)
{
	(void)instance;
	return "us-west-2";
}
const char *instance_user_agent(const struct instance *instance)
{
	(void)instance;
	return "agent";
}
int64_t instance_wall_ms(const struct instance *instance)
{
	(void)instance;
	return wall_ms();
}
int64_t instance_manifest_sequence(const struct instance *instance)
{
	(void)instance;
	return 0;
}
int instance_set_manifest_sequence(struct instance *instance, int64_t value, struct error *err)
{
	(void)instance, (void)value;
	return world.full ? error_set(err, ENOSPC, "full") : 0;
}
void instance_poll_endpoint(struct instance *instance,
			    void (*done)(const char *acs, const char *telemetry, const struct error *err, void *arg),
			    void *arg)
{
	(void)instance;
	struct error err = {0};
	error_set(&err, EIO, "no");
	done(world.fails ? NULL : "https://acs.example/", NULL, world.fails ? &err : NULL, arg);
}
void instance_poll_endpoint_cancel(struct instance *instance, void *arg)
{
	(void)instance, (void)arg;
}
void credentials_chain_get(struct credentials_chain *chain,
			   void (*done)(const struct aws_credentials *credentials, const struct error *err, void *arg),
			   void *arg)
{
	(void)chain;
	done(&(struct aws_credentials){.access_key_id = (char *)"AKIA", .secret_access_key = (char *)"own"}, NULL, arg);
}
void credentials_chain_cancel(struct credentials_chain *chain, void *arg)
{
	(void)chain, (void)arg;
}
struct websocket *websocket_open(struct loop *loop, const struct websocket_options *options,
				 const struct websocket_callbacks *callbacks, void *arg)
{
	(void)loop, (void)callbacks, (void)arg;
	CHECK(str_starts(options->url, "https://acs.example/ws?"));
	world.opened++;
	return (struct websocket *)&world;
}
int websocket_send(struct websocket *ws, const char *text, size_t len)
{
	(void)ws;
	struct error err = {0};
	_cleanup_json_ json_object *frame = json_parse(text, len, &err);
	CHECK(json_object_is_type(frame, json_type_object) && json_get_string(frame, "type"));
	CHECK(json_object_is_type(json_get(frame, "message"), json_type_object));
	buf_append(&world.sent, text, len);
	buf_append(&world.sent, "\n", 1);
	return 0;
}
void websocket_close(struct websocket *ws, int code, const char *reason)
{
	(void)ws, (void)code, (void)reason;
}
struct websocket *websocket_free(struct websocket *ws)
{
	(void)ws;
	return NULL;
}
struct task *engine_task(const struct engine *engine, const char *task_arn)
{
	(void)engine;
	for (size_t i = 0; i < world.task_count; i++)
		if (str_equal(world.tasks[i]->arn, task_arn))
			return world.tasks[i];
	return NULL;
}
void engine_add_task(struct engine *engine, struct task *task)
{
	struct task *known = engine_task(engine, task->arn);
	if (known && task->desired > known->desired)
		known->desired = task->desired;
	if (known || world.task_count == TASKS_MAX)
		task_free(task);
	else
		world.tasks[world.task_count++] = task;
}
void engine_report_refused(struct engine *engine, const char *task_arn, const char *reason)
{
	(void)engine, (void)task_arn; // "" for a task without one, as the reference reports it
	check_reason(reason);
}
bool engine_stop_task(struct engine *engine, const char *task_arn)
{
	struct task *task = engine_task(engine, task_arn);
	if (task)
		task->known = task->desired = TASK_STOPPED;
	return task;
}
bool engine_set_credentials_id(struct engine *engine, const char *task_arn, bool execution, const char *id)
{
	struct task *task = engine_task(engine, task_arn);
	CHECK(task && !str_empty(id));
	str_replace(execution ? &task->execution_credentials_id : &task->credentials_id, id);
	return true;
}
void engine_each_task(const struct engine *engine, void (*visit)(const struct task *task, void *arg), void *arg)
{
	(void)engine;
	for (size_t i = 0; i < world.task_count; i++)
		visit(world.tasks[i], arg);
}
bool engine_limits_tasks(const struct engine *engine)
{
	(void)engine;
	return true;
}
bool engine_accepts_tasks(const struct engine *engine)
{
	(void)engine;
	return !world.full;
}
static void forget(struct waiting *list, size_t *count, void *arg)
{
	size_t kept = 0;
	for (size_t i = 0; i < *count; i++)
		if (list[i].arg != arg)
			list[kept++] = list[i];
	*count = kept;
}
void engine_after_commit(struct engine *engine, void (*done)(void *arg), void *arg)
{
	(void)engine;
	CHECK(world.commit_count < WAITING_MAX);
	world.commits[world.commit_count++] = (struct waiting){done, arg};
}
void engine_after_commit_cancel(struct engine *engine, void *arg)
{
	(void)engine;
	forget(world.commits, &world.commit_count, arg);
}
int endpoint_put(struct endpoint *endpoint, const struct task_credentials *credentials, void (*held)(void *arg),
		 void *arg, struct error *err)
{
	(void)endpoint;
	CHECK(!str_empty(credentials->id) && !str_empty(credentials->task_arn) && credentials->secret_access_key);
	if (strlen(credentials->secret_access_key) > 512)
		return error_set(err, EMSGSIZE, "too large");
	CHECK(world.hold_count < WAITING_MAX);
	if (held)
		world.holds[world.hold_count++] = (struct waiting){held, arg};
	return 0;
}
void endpoint_cancel(struct endpoint *endpoint, void *arg)
{
	(void)endpoint;
	forget(world.holds, &world.hold_count, arg);
}
void task_credentials_free(struct task_credentials *credentials)
{
	char *const texts[] = {credentials->id,
			       credentials->task_arn,
			       credentials->role_arn,
			       credentials->access_key_id,
			       credentials->secret_access_key,
			       credentials->session_token,
			       credentials->expiration};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
}

// --- secrets ---

static int log_fd = -1;

static void open_log(void)
{
	if (log_fd >= 0)
		return;
	struct error err = {0};
	CHECK((log_fd = memfd_create("log", MFD_CLOEXEC)) >= 0);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", log_fd);
	CHECK(log_open(&(struct log_options){.level = LOG_NONE, .file_level = LOG_DEBUG, .path = path}, &err) == 0);
}

// Texts of the input: those that are secrets by their member's name, and all others.
struct texts {
	const char *secrets[64];
	size_t count;
	struct buf others;
};

static void collect(struct texts *texts, json_object *value, const char *name)
{
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			buf_printf(&texts->others, "%s\n", key);
			collect(texts, member, key);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			collect(texts, json_object_array_get_idx(value, i), NULL);
	} else {
		const char *text = json_object_get_string(value);
		bool secret = name && (!strcasecmp(name, "secretAccessKey") || !strcasecmp(name, "sessionToken"));
		if (secret && text && strlen(text) >= 8 && texts->count < ARRAY_SIZE(texts->secrets))
			texts->secrets[texts->count++] = text;
		else
			buf_printf(&texts->others, "%s\n", text ? text : "");
	}
}

static void check_secret(const char *secret, const struct buf *others, const char *log, size_t log_len)
{
	size_t len = strlen(secret);
	if (others->len && memmem(others->data, others->len, secret, len))
		return; // said elsewhere, too
	CHECK(!world.sent.len || !memmem(world.sent.data, world.sent.len, secret, len));
	CHECK(!memmem(log, log_len, secret, len));
}

static void check_secrets(const char *input)
{
	struct texts texts = {0};
	json_object *frames[64];
	size_t frame_count = 0, len = 0;
	_cleanup_free_ char *copy = xstrdup(input);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", log_fd);
	_cleanup_free_ char *log = read_file(path, (size_t)64 << 20, &len);
	char *rest = copy;
	CHECK(log);
	for (char *line; frame_count < ARRAY_SIZE(frames) && (line = strsep(&rest, "\n"));) {
		json_object *frame = *line ? json_parse(line + 1, strlen(line + 1), NULL) : NULL;
		if (frame)
			collect(&texts, frames[frame_count++] = frame, NULL);
		else
			buf_printf(&texts.others, "%s\n", line);
	}
	for (size_t i = 0; i < texts.count && !rest; i++)
		check_secret(texts.secrets[i], &texts.others, log, len);
	for (size_t i = 0; i < frame_count; i++)
		json_object_put(frames[i]);
	buf_free(&texts.others);
	CHECK(ftruncate(log_fd, 0) == 0);
}

// --- the session ---

static bool waits(void *arg)
{
	for (size_t i = 0; i < world.commit_count; i++)
		if (world.commits[i].arg == arg)
			return true;
	for (size_t i = 0; i < world.hold_count; i++)
		if (world.holds[i].arg == arg)
			return true;
	return false;
}

static void next(struct waiting *list, size_t *count)
{
	if (*count == 0)
		return;
	struct waiting first = list[0];
	size_t sent = world.sent.len;
	memmove(list, list + 1, --*count * sizeof(*list));
	bool early = waits(first.arg);
	first.done(first.arg);
	CHECK(!early || world.sent.len == sent); // not before the last thing it waits for
}

static void end(struct acs *acs, const char *text)
{
	struct websocket_end ended = {.opened = acs->open, .body = ""};
	int64_t code = 0;
	if (parse_int64(text, &code) && code >= 1000 && code < 5000) {
		ended.close_code = (int)code;
	} else if (*text && acs->open) {
		ended.eof = true;
	} else if (*text) {
		ended.http_status = 400;
		ended.body = text;
	}
	error_set(&ended.error, ECONNRESET, "reset");
	ended.result = ended.eof || ended.close_code || ended.http_status ? 0 : -ECONNRESET;
	on_end(&ended, acs);
	CHECK(!acs->open && acs->pending_count == 0 && !acs->pending && timer_running(&acs->reconnect));
	CHECK(world.commit_count == 0 && world.hold_count == 0);
	connect_start(acs); // the delay is over
	if (acs->ws)
		on_open(acs);
}

static void receive(struct acs *acs, const char *text, size_t len, bool binary)
{
	_cleanup_json_ json_object *frame = json_parse(text, len, NULL);
	size_t sent = world.sent.len;
	on_message(text, len, binary, acs);
	// A payload is acknowledged after the commit, which comes later.
	if (str_equal(json_get_string(frame, "type"), "PayloadMessage"))
		CHECK(world.sent.len == sent);
}

static void act(struct acs *acs, char *line)
{
	size_t len = strlen(line);
	if (len == 0)
		return;
	switch (line[0]) {
	case 'C':
		while (world.commit_count)
			next(world.commits, &world.commit_count);
		break;
	case 'H':
		next(world.holds, &world.hold_count);
		break;
	case 'F':
		world.full = !world.full;
		break;
	case 'N':
		world.fails = !world.fails;
		break;
	case 'E':
		end(acs, line + 1);
		break;
	case 'A':
		if (acs->open)
			on_max_age(acs);
		break;
	default:
		if (!acs->open)
			return;
		receive(acs, line + 1, len - 1, line[0] == 'B');
	}
	CHECK(acs->pending_count <= ACS_PENDING_MAX && (acs->pending_count == 0) == !acs->pending);
	CHECK(acs->open || acs->pending_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop();
	_cleanup_free_ char *input = fuzz_text(data, size), *copy = xstrdup(input);
	char *rest = copy;
	open_log();
	world.full = world.fails = false;
	world.task_count = world.opened = 0;
	buf_clear(&world.sent);
	struct acs *acs = acs_new(&(struct acs_options){.loop = loop, .docker_version = "20.10"});
	connect_start(acs);
	on_open(acs);
	for (char *line; (line = strsep(&rest, "\n"));)
		act(acs, line);
	acs_free(acs);
	CHECK(world.commit_count == 0 && world.hold_count == 0);
	for (size_t i = 0; i < world.task_count; i++)
		task_free(world.tasks[i]);
	check_secrets(input);
	return 0;
}
