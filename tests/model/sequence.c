#include "sequence.h"

#include "common/util.h"

static const char *const step_names[STEP_KINDS] = {
	"progress",   "add",         "stop",   "answer", "event",      "exit", "oom",    "hand-stop",
	"hand-start", "hand-remove", "health", "away",   "back",       "time", "settle", "crash",
	"disk-full",  "disk-ok",     "damage", "report", "report-end", "port"};
static const char *const outcome_names[OUTCOME_COUNT] = {
	"ok", "refused", "refused-but-done", "lost", "lost-but-done", "lost-late", "timeout", "conflict"};
static const char *const crash_names[CRASH_POINTS] = {"now", "before-commit", "after-commit", "after-a-call"};
static const char *const verdict_names[VERDICT_COUNT] = {"accepted", "refused", "answer-lost", "failed"};
static const char *const link_names[LINK_KINDS] = {"CREATE",  "START", "COMPLETE",    "SUCCESS",
						   "HEALTHY", "BOGUS", "volumesFrom", "links"};

uint64_t draw64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int draw(uint64_t *state, int below)
{
	return (int)(draw64(state) % (uint64_t)below);
}

// From a millisecond over the back-offs to the time-outs, the list's minute and the clean-up wait.
uint64_t time_ms(int b)
{
	static const uint64_t times[] = {1, 30, 220, 1100, 5500, 12000, 31000, 61000, 125000};
	return times[(unsigned)b % ARRAY_SIZE(times)];
}

// --- generation ---

static bool one_in(uint64_t *s, int n)
{
	return draw(s, n) == 0;
}

static void generate_container(struct model_task *task, int index, uint64_t *s)
{
	struct model_container *c = &task->containers[index];
	*c = (struct model_container){.present = 1,
				      .essential = draw(s, 3) > 0,
				      .image = draw(s, 4),
				      .by_digest = one_in(s, 6),
				      .cpu = draw(s, 3) * 128,
				      .memory = 64 + draw(s, 4) * 64,
				      .start_timeout = one_in(s, 3) ? 1 + draw(s, 40) : 0,
				      .stop_timeout = one_in(s, 3) ? 2 + draw(s, 30) : 0,
				      .health = one_in(s, 3)};
	if (one_in(s, 5))
		c->static_port = 1000 + draw(s, 4);
	for (int i = 0; i < index; i++) { // ECS refuses such a task definition
		if (task->containers[i].static_port == c->static_port)
			c->static_port = 0;
	}
	c->udp = one_in(s, 4);
	c->dynamic_ports = one_in(s, 3) ? 1 + draw(s, 3) : 0;
	bool cyclic = one_in(s, 40); // refused on decoding, if it is one
	int wanted = task->container_count > 1 && draw(s, 3) ? draw(s, DEPENDENCIES_MAX + 1) : 0;
	for (int i = 0; i < wanted && (index > 0 || cyclic); i++) {
		int kind = one_in(s, 60) ? LINK_BOGUS : one_in(s, 5) ? LINK_VOLUMES + draw(s, 2) : draw(s, LINK_BOGUS);
		int on = cyclic ? draw(s, task->container_count) : draw(s, index);
		c->links[c->link_count++] = (struct model_link){kind, on};
		if (kind == LINK_HEALTHY && draw(s, 8))
			task->containers[on].health = 1;
	}
}

static void generate_task(struct model_task *task, uint64_t *s)
{
	static const int counts[] = {1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 7, 10};
	*task = (struct model_task){.present = 1, .container_count = counts[draw(s, (int)ARRAY_SIZE(counts))]};
	if (one_in(s, 3))
		task->cpu = 1 + draw(s, 6); // with luck more than there is
	if (one_in(s, 3))
		task->memory = 700 << draw(s, 3);
	task->volume = one_in(s, 5);
	for (int i = 0; i < task->container_count; i++)
		generate_container(task, i, s);
}

static struct step generate_step(const struct sequence *q, uint64_t *s)
{
	static const int weights[STEP_KINDS] = {
		[STEP_PROGRESS] = 30,  [STEP_ADD] = 14,        [STEP_STOP] = 4,    [STEP_ANSWER] = 34,
		[STEP_EVENT] = 10,     [STEP_EXIT] = 6,        [STEP_OOM] = 1,     [STEP_HAND_STOP] = 2,
		[STEP_HAND_START] = 2, [STEP_HAND_REMOVE] = 2, [STEP_HEALTH] = 3,  [STEP_AWAY] = 1,
		[STEP_BACK] = 3,       [STEP_TIME] = 14,       [STEP_SETTLE] = 2,  [STEP_CRASH] = 3,
		[STEP_DISK_FULL] = 1,  [STEP_DISK_OK] = 3,     [STEP_REPORT] = 10, [STEP_REPORT_END] = 12,
		[STEP_PORT] = 1,       [STEP_DAMAGE] = 1,
	};
	int total = 0, kind = 0;
	for (int i = 0; i < STEP_KINDS; i++)
		total += weights[i];
	int at = draw(s, total);
	while (at >= weights[kind])
		at -= weights[kind++];
	struct step step = {.kind = (enum step_kind)kind, .a = draw(s, 16)};
	switch (step.kind) {
	case STEP_ADD:
	case STEP_STOP:
	case STEP_REPORT:
	case STEP_REPORT_END:
		step.a = draw(s, q->task_count);
		step.b = step.kind == STEP_REPORT_END ? (draw(s, 3) ? VERDICT_ACCEPTED : draw(s, VERDICT_COUNT))
						      : draw(s, 2);
		break;
	case STEP_ANSWER:
		step.b = draw(s, 3) ? OUTCOME_OK : draw(s, OUTCOME_COUNT);
		break;
	case STEP_EVENT:
		step.b = one_in(s, 6);
		break;
	case STEP_EXIT:
		step.b = one_in(s, 2) ? 0 : one_in(s, 3) ? 137 : 1;
		break;
	case STEP_CRASH:
		step.b = draw(s, CRASH_POINTS);
		break;
	default:
		step.b = draw(s, 9);
	}
	return step;
}

void sequence_generate(struct sequence *q, uint64_t seed)
{
	uint64_t state = seed, *s = &state;
	*q = (struct sequence){.seed = seed,
			       .pull_behavior = draw(s, 4),
			       .cgroups = one_in(s, 3),
			       .host_cpu = 1024,
			       .host_memory = 2048,
			       .ports = 2 + draw(s, 8),
			       .task_count = 1 + draw(s, one_in(s, 4) ? TASKS_MAX : 3)};
	for (int i = 0; i < q->task_count; i++)
		generate_task(&q->tasks[i], s);
	int wanted = 10 + draw(s, one_in(s, 8) ? STEPS_MAX - 10 : 60);
	q->steps[q->step_count++] = (struct step){STEP_ADD, 0, 0};
	while (q->step_count < wanted)
		q->steps[q->step_count++] = generate_step(q, s);
}

// --- text ---

static void print_container(int t, int i, const struct model_container *c, FILE *out)
{
	fprintf(out,
		"container %d.%d essential=%d image=%d by-digest=%d cpu=%d memory=%d start-timeout=%d stop-timeout=%d "
		"health=%d "
		"static=%d udp=%d dynamic=%d\n",
		t, i, c->essential, c->image, c->by_digest, c->cpu, c->memory, c->start_timeout, c->stop_timeout,
		c->health, c->static_port, c->udp, c->dynamic_ports);
	for (int k = 0; k < c->link_count; k++)
		fprintf(out, "depends %d.%d kind=%d on=%d # %s\n", t, i, c->links[k].kind, c->links[k].on,
			link_names[c->links[k].kind]);
}

void step_print(const struct step *step, FILE *out)
{
	const char *note = "";
	if (step->kind == STEP_ANSWER)
		note = outcome_names[step->b];
	else if (step->kind == STEP_CRASH)
		note = crash_names[step->b];
	else if (step->kind == STEP_REPORT_END)
		note = verdict_names[step->b];
	fprintf(out, "step %s %d %d", step_names[step->kind], step->a, step->b);
	if (step->kind == STEP_TIME)
		fprintf(out, " # %llu ms\n", (unsigned long long)time_ms(step->b));
	else
		fprintf(out, "%s%s\n", note[0] ? " # " : "", note);
}

void sequence_print(const struct sequence *q, FILE *out)
{
	fprintf(out, "sequence %llu pull=%d cgroups=%d cpu=%d memory=%d ports=%d\n", (unsigned long long)q->seed,
		q->pull_behavior, q->cgroups, q->host_cpu, q->host_memory, q->ports);
	for (int t = 0; t < q->task_count; t++) {
		const struct model_task *task = &q->tasks[t];
		if (!task->present)
			continue;
		fprintf(out, "task %d cpu=%d memory=%d volume=%d\n", t, task->cpu, task->memory, task->volume);
		for (int i = 0; i < task->container_count; i++)
			if (task->containers[i].present)
				print_container(t, i, &task->containers[i], out);
	}
	for (int i = 0; i < q->step_count; i++)
		step_print(&q->steps[i], out);
}

static bool read_step(struct sequence *q, const char *line)
{
	struct step step = {0};
	char name[16];
	if (sscanf(line, "step %15s %d %d", name, &step.a, &step.b) != 3 || q->step_count == STEPS_MAX)
		return false;
	for (int i = 0; i < STEP_KINDS; i++) {
		if (str_equal(name, step_names[i])) {
			step.kind = (enum step_kind)i;
			q->steps[q->step_count++] = step;
			return true;
		}
	}
	return false;
}

static bool read_container(struct sequence *q, const char *line)
{
	struct model_container c = {.present = 1};
	int t, i;
	if (sscanf(line,
		   "container %d.%d essential=%d image=%d by-digest=%d cpu=%d memory=%d start-timeout=%d "
		   "stop-timeout=%d "
		   "health=%d static=%d udp=%d dynamic=%d",
		   &t, &i, &c.essential, &c.image, &c.by_digest, &c.cpu, &c.memory, &c.start_timeout, &c.stop_timeout,
		   &c.health, &c.static_port, &c.udp, &c.dynamic_ports) != 13 ||
	    t < 0 || t >= TASKS_MAX || i < 0 || i >= CONTAINERS_MAX)
		return false;
	struct model_task *task = &q->tasks[t];
	task->containers[i] = c;
	if (task->container_count <= i)
		task->container_count = i + 1;
	return true;
}

static bool read_line(struct sequence *q, const char *line)
{
	int t, i;
	struct model_link link;
	struct model_task task = {.present = 1};
	unsigned long long seed;
	if (sscanf(line, "sequence %llu pull=%d cgroups=%d cpu=%d memory=%d ports=%d", &seed, &q->pull_behavior,
		   &q->cgroups, &q->host_cpu, &q->host_memory, &q->ports) == 6) {
		q->seed = seed;
		return true;
	}
	if (sscanf(line, "task %d cpu=%d memory=%d volume=%d", &t, &task.cpu, &task.memory, &task.volume) == 4 &&
	    t >= 0 && t < TASKS_MAX) {
		q->tasks[t] = task;
		if (q->task_count <= t)
			q->task_count = t + 1;
		return true;
	}
	if (sscanf(line, "depends %d.%d kind=%d on=%d", &t, &i, &link.kind, &link.on) == 4 && t >= 0 && t < TASKS_MAX &&
	    i >= 0 && i < CONTAINERS_MAX) {
		struct model_container *c = &q->tasks[t].containers[i];
		if (c->link_count == DEPENDENCIES_MAX || link.kind < 0 || link.kind >= LINK_KINDS || link.on < 0 ||
		    link.on >= CONTAINERS_MAX)
			return false;
		c->links[c->link_count++] = link;
		return true;
	}
	return read_container(q, line) || read_step(q, line);
}

bool sequence_read(struct sequence *q, FILE *in)
{
	char line[256];
	*q = (struct sequence){0};
	while (fgets(line, sizeof(line), in)) {
		if (line[0] != '#' && line[0] != '\n' && !read_line(q, line)) {
			fprintf(stderr, "cannot be read: %s", line);
			return false;
		}
	}
	return true;
}

// --- shrinking ---

struct shrink {
	struct sequence *best;
	bool (*fails)(const struct sequence *sequence, void *arg);
	void *arg;
};

static bool keep_if_failing(struct shrink *s, const struct sequence *candidate)
{
	if (!s->fails(candidate, s->arg))
		return false;
	*s->best = *candidate;
	return true;
}

// Takes out runs of steps, long ones first.
static bool fewer_steps(struct shrink *s)
{
	bool progress = false;
	for (int size = (s->best->step_count + 1) / 2; size > 0; size /= 2) {
		for (int at = 0; at < s->best->step_count;) {
			struct sequence q = *s->best;
			int cut = at + size < q.step_count ? size : q.step_count - at;
			memmove(&q.steps[at], &q.steps[at + cut],
				(size_t)(q.step_count - at - cut) * sizeof(q.steps[0]));
			q.step_count -= cut;
			if (keep_if_failing(s, &q))
				progress = true;
			else
				at += size;
		}
	}
	return progress;
}

static bool set_lower(struct shrink *s, struct sequence *q, int *member)
{
	int was = *member;
	if (was == 0)
		return false;
	*member = 0;
	if (keep_if_failing(s, q))
		return true;
	*member = was;
	return false;
}

static int present_containers(const struct model_task *task)
{
	int count = 0;
	for (int i = 0; i < task->container_count; i++)
		count += task->containers[i].present;
	return count;
}

static bool simpler_container(struct shrink *s, int t, int i)
{
	bool progress = false;
	struct sequence q = *s->best;
	struct model_container *c = &q.tasks[t].containers[i];
	int *const members[] = {&c->present,       &c->link_count,    &c->static_port,  &c->udp,
				&c->dynamic_ports, &c->start_timeout, &c->stop_timeout, &c->health,
				&c->cpu,           &c->memory,        &c->by_digest,    &c->image};
	size_t first = present_containers(&q.tasks[t]) > 1 ? 0 : 1; // a task has at least one
	for (size_t k = first; k < ARRAY_SIZE(members) && c->present; k++)
		progress |= set_lower(s, &q, members[k]);
	while (c->link_count > 1) {
		c->link_count--;
		if (!keep_if_failing(s, &q)) {
			c->link_count++;
			break;
		}
		progress = true;
	}
	return progress;
}

static bool simpler_tasks(struct shrink *s)
{
	bool progress = false;
	for (int t = 0; t < s->best->task_count; t++) {
		struct sequence q = *s->best;
		struct model_task *task = &q.tasks[t];
		if (!task->present)
			continue;
		progress |= set_lower(s, &q, &task->present);
		progress |= set_lower(s, &q, &task->cpu);
		progress |= set_lower(s, &q, &task->memory);
		progress |= set_lower(s, &q, &task->volume);
		for (int i = 0; i < task->container_count && s->best->tasks[t].present; i++)
			if (s->best->tasks[t].containers[i].present)
				progress |= simpler_container(s, t, i);
	}
	struct sequence q = *s->best;
	progress |= set_lower(s, &q, &q.cgroups);
	progress |= set_lower(s, &q, &q.pull_behavior);
	return progress;
}

void sequence_shrink(struct sequence *sequence, bool (*fails)(const struct sequence *sequence, void *arg), void *arg)
{
	struct shrink s = {sequence, fails, arg};
	bool better = true;
	for (int round = 0; round < 8 && better; round++) {
		better = fewer_steps(&s);
		better = simpler_tasks(&s) || better;
	}
}
