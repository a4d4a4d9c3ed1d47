// Mutations: known mistakes, put between the engine's files by the linker (--wrap), for the self-test. Each has the
// invariant that must find it; together they name every invariant.
#pragma once

enum mutation {
	MUTATION_NONE,
	STATUS_FALLS,       // a status falls back
	TWO_OPERATIONS,     // a container that is busy gets another operation
	NAME_FORGOTTEN,     // the name of the first create call is dropped when nothing is found
	DEPENDENCIES_MET,   // dependency_check() always says yes
	UNKNOWN_IS_GONE,    // no answer to an inspect counts as "no such container"
	CREATED_IS_RUNNING, // a start is believed before Docker was asked
	STARTED_AGAIN,      // an end is taken for "never started"
	STOPPED_UNWANTED,   // something is stopped that nobody wants stopped
	EXIT_CODE_LOST,     // 0 is told whatever it was
	LAST_ERROR,         // a later error replaces the first
	ESSENTIAL_IGNORED,  // the task goes on
	RUNNING_AFTER_END,  // RUNNING is recorded after STOPPED
	TOLD_TOO_MUCH,      // STOPPED is recorded for a task that runs
	COMMIT_LIES,        // a commit that did not happen
	TASK_NOT_WRITTEN,   // the task's own row is forgotten
	ALL_GRANTED,        // schedule() refuses nobody
	LAST_FIRST,         // schedule() serves the last one first
	SAME_PORT,          // schedule_port() always picks the first
	ALL_ADMITTED,       // schedule_host() lets everybody in
	NO_CLEANUP_WAIT,    // clean-up at once
	WAKE_NOW,           // "later" means now
	NO_CREATE,          // create is never asked for
	NO_STOP,            // dependency_may_stop() always says no
	ROWS_LEFT,          // a forgotten task stays on disk
	MUTATIONS
};
struct mutation_info {
	const char *name, *invariant;
};
extern const struct mutation_info mutations[MUTATIONS];

// The disk, as SQLite has it.
void hooks_clear_disk(void);
int hooks_rows(void); // of tasks, containers and transitions
