// Tasks and the host's resources: what a task needs, whether it is subject to the queue, and the queue itself
// (task-engine.md §9). schedule_host() decides.
#pragma once

#include "common/json.h"
#include "engine/schedule.h"
#include "engine/task.h"

struct engine;
struct entry;

// Figures as registered; the lists hold decimal texts, as configuration has them.
void admit_totals(struct host_totals *totals, int64_t cpu, int64_t memory_mib, const struct json_strings *tcp,
		  const struct json_strings *udp);
// What the payload asks of the host. Caller frees need->ports.
void admit_need(const struct task *task, struct host_need *need);
// Where a task stands when it comes into memory: from the control plane, or from disk with its containers' statuses.
enum host_state admit_state(const struct task *task, const struct host_need *need);

void admit_entry(struct entry *entry);  // sets need and state of a new entry
void admit_holder(struct entry *entry); // it turned out to have containers: no queue
// Examines the queue. true: some entries are marked `admitted` and must be decided about (again).
bool admit_queue(struct engine *engine);
