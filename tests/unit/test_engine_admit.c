// Host resources: what a task needs, and who waits. Pure.
#include "engine/admit.h"

#include "common/util.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct task *decode(const char *text)
{
	json_object *object = json_parse(text, strlen(text), NULL);
	struct task *task;
	char *reason;
	assert_non_null(object);
	if (task_decode(object, true, &task, &reason) != TASK_ACCEPTED)
		fail_msg("%s: %s", text, reason);
	json_object_put(object);
	return task;
}

#define TASK(members, containers)                                                                      \
	"{\"arn\":\"arn:aws:ecs:us-west-2:123456789012:task/c/1\",\"family\":\"f\",\"version\":\"1\"," \
	"\"desiredStatus\":\"RUNNING\"" members ",\"containers\":[" containers "]}"

static void test_need(void **state)
{
	(void)state;
	static const struct {
		const char *text, *need; // "cpu memory ports"
	} cases[] = {
		{TASK("", "{\"name\":\"a\",\"image\":\"i\",\"cpu\":10,\"memory\":64}"), "10 64"},
		{TASK("", "{\"name\":\"a\",\"image\":\"i\",\"cpu\":10,\"memory\":64},"
			  "{\"name\":\"b\",\"image\":\"i\",\"cpu\":5,\"memory\":32}"),
		 "15 96"},
		// the task's own figures win
		{TASK(",\"cpu\":0.25,\"memory\":512", "{\"name\":\"a\",\"image\":\"i\",\"cpu\":10,\"memory\":64}"),
		 "256 512"},
		{TASK(",\"cpu\":1.9999", "{\"name\":\"a\",\"image\":\"i\",\"cpu\":10,\"memory\":64}"), "2047 64"},
		// a reservation counts instead of the limit; 0 is none
		{TASK("", "{\"name\":\"a\",\"image\":\"i\",\"memory\":64,\"dockerConfig\":{\"hostConfig\":"
			  "\"{\\\"MemoryReservation\\\":16777216}\"}},"
			  "{\"name\":\"b\",\"image\":\"i\",\"memory\":8,\"dockerConfig\":{\"hostConfig\":"
			  "\"{\\\"MemoryReservation\\\":0}\"}}"),
		 "0 24"},
		// static ports only
		{TASK("", "{\"name\":\"a\",\"image\":\"i\",\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080},"
			  "{\"containerPort\":81},{\"containerPort\":53,\"hostPort\":53,\"protocol\":\"udp\"}]}"),
		 "0 0 8080/tcp 53/udp"},
		{TASK("", "{\"name\":\"a\",\"image\":\"i\"}"), "0 0"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task *task = decode(cases[i].text);
		struct host_need need;
		struct buf out = {0};
		admit_need(task, &need);
		buf_printf(&out, "%lld %lld", (long long)need.cpu, (long long)need.memory_mib);
		for (size_t p = 0; p < need.port_count; p++)
			buf_printf(&out, " %u/%s", need.ports[p].port, need.ports[p].udp ? "udp" : "tcp");
		assert_string_equal(out.data, cases[i].need);
		buf_free(&out);
		free(need.ports);
		task_free(task);
	}
}

static void test_state_of_a_new_or_loaded_task(void **state)
{
	(void)state;
	static const struct {
		const char *launch;
		enum task_status known, desired;
		enum container_status first, second;
		enum host_state expected;
	} cases[] = {
		{"EC2", TASK_NONE, TASK_RUNNING, CONTAINER_NONE, CONTAINER_NONE, HOST_WAITS},
		{"FARGATE", TASK_NONE, TASK_RUNNING, CONTAINER_NONE, CONTAINER_NONE, HOST_NONE},
		{"EXTERNAL", TASK_NONE, TASK_RUNNING, CONTAINER_NONE, CONTAINER_NONE, HOST_WAITS},
		// comes to be stopped, never began
		{"EC2", TASK_NONE, TASK_STOPPED, CONTAINER_NONE, CONTAINER_NONE, HOST_NONE},
		// after a restart
		{"EC2", TASK_NONE, TASK_RUNNING, CONTAINER_MANIFEST_PULLED, CONTAINER_NONE, HOST_HOLDS},
		{"EC2", TASK_NONE, TASK_RUNNING, CONTAINER_NONE, CONTAINER_CREATED, HOST_HOLDS},
		{"EC2", TASK_RUNNING, TASK_RUNNING, CONTAINER_RUNNING, CONTAINER_STOPPED, HOST_HOLDS},
		{"EC2", TASK_RUNNING, TASK_STOPPED, CONTAINER_RUNNING, CONTAINER_RUNNING, HOST_HOLDS},
		{"EC2", TASK_STOPPED, TASK_STOPPED, CONTAINER_STOPPED, CONTAINER_STOPPED, HOST_NONE},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task *task = decode(TASK("", "{\"name\":\"a\",\"image\":\"i\",\"memory\":8},"
						    "{\"name\":\"b\",\"image\":\"i\",\"memory\":8}"));
		struct host_need need;
		str_replace(&task->launch_type, cases[i].launch);
		task->known = cases[i].known;
		task->desired = cases[i].desired;
		task->containers[0].known = cases[i].first;
		task->containers[1].known = cases[i].second;
		admit_need(task, &need);
		if (admit_state(task, &need) != cases[i].expected)
			fail_msg("case %zu: %d", i, (int)admit_state(task, &need));
		need.memory_mib = 0; // without needs there is no queue
		assert_int_equal(admit_state(task, &need), HOST_NONE);
		free(need.ports);
		task_free(task);
	}
}

// A host of 1000 CPU units and 100 MiB with TCP port 22 and UDP port 53 reserved. A row is a queue: each task is
// "<state><cpu>,<memory>[,<port>[u]]" with - not subject, w waits, h holds; out the same letters, n: never.
static void test_queue(void **state)
{
	(void)state;
	static const struct {
		const char *what, *tasks, *expected;
	} cases[] = {
		{"all fit", "w100,10 w100,10", "hh"},
		{"exactly full", "h500,50 w500,50", "hh"},
		{"one unit too many", "h500,50 w501,50", "hw"},
		{"one MiB too many", "h500,50 w1,51", "hw"},
		{"first in, first out: a small one does not overtake", "h900,10 w200,10 w1,1", "hww"},
		{"released", "-900,10 w200,10 w1,1", "-hh"},
		{"the holder may be younger", "w600,10 h600,10", "wh"},
		{"a head that can never fit fails and holds nobody up", "w1001,1 w1,1", "nh"},
		{"so does one in the middle", "h900,10 w200,10 w1,101 w1,1", "hwnw"},
		{"a stopping head is let through", "-1001,1 w1,1", "-h"},
		{"same static port: the second waits", "h1,1,8080 w1,1,8080", "hw"},
		{"both new", "w1,1,8080 w1,1,8080 w1,1", "hww"},
		{"same number, other protocol", "h1,1,8080 w1,1,8080u", "hh"},
		{"reserved", "w1,1,22 w1,1,53u w1,1,53 w1,1,22u", "nnhh"},
		{"overcommitted after a restart: nothing new, nothing lost", "h900,90 h900,90 w1,1 w2000,1", "hhwn"},
		{"nothing subject", "-1,1", "-"},
	};
	static const char *const ports[] = {"22"}, *const udp_ports[] = {"53"};
	const struct json_strings tcp = {(char **)ports, 1}, udp = {(char **)udp_ports, 1};
	static struct host_totals totals;
	admit_totals(&totals, 1000, 100, &tcp, &udp);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct host_need needs[8] = {{0}};
		struct host_port port[8];
		struct host_ask asks[8];
		size_t count = 0;
		_cleanup_free_ char *copy = xstrdup(cases[i].tasks);
		char *save = NULL;
		for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
			long long cpu = 0, memory = 0;
			unsigned number = 0;
			char letter = 0;
			int fields = sscanf(word + 1, "%lld,%lld,%u%c", &cpu, &memory, &number, &letter);
			needs[count] = (struct host_need){.cpu = cpu, .memory_mib = memory};
			if (fields >= 3) {
				port[count] = (struct host_port){(uint16_t)number, letter == 'u'};
				needs[count].ports = &port[count];
				needs[count].port_count = 1;
			}
			asks[count] = (struct host_ask){&needs[count], *word == '-'   ? HOST_NONE
								       : *word == 'w' ? HOST_WAITS
										      : HOST_HOLDS};
			count++;
		}
		char got[9] = "";
		schedule_host(&totals, asks, count);
		for (size_t k = 0; k < count; k++)
			got[k] = "-whn"[asks[k].state];
		if (!str_equal(got, cases[i].expected))
			fail_msg("%s: %s, expected %s", cases[i].what, got, cases[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_need),
		cmocka_unit_test(test_state_of_a_new_or_loaded_task),
		cmocka_unit_test(test_queue),
	};
	return cmocka_run_group_tests_name("engine: host resources", tests, NULL, NULL);
}
