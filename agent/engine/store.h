// The state store: SQLite (WAL, synchronous=FULL) in the data directory, mode 0600. One transaction
// for each turn of the loop. It holds facts only: no credential and no secret value.
//
// Tables: task, container (one row each, replaced as a whole), image (what tasks have used), pulled (names of images,
// pulled.h), transition (facts in order of occurrence with a `reported` mark), meta. Migrations only add, so that an older
// version can still read.
//
// A full disk is survived: some MiB of ballast beside the database are given up on the first ENOSPC,
// and taken back when there is room again.
#pragma once

#include "common/error.h"
#include "engine/report.h"
#include "engine/task.h"

struct store;

enum { STORE_BALLAST_BYTES = 4 << 20 };

// Errors: -ENOSPC, -EROFS, -EIO as the disk says, -EBADMSG damage; texts name file, operation and cause.
// A commit that failed may still be there after a kill, as a whole.
//
// Opens or creates <data_dir>/ecsd.db. A database that is damaged is renamed to ecsd.db.corrupt-<time>, and a new one made.
struct store *store_open(const char *data_dir, struct error *err);
struct store *store_close(struct store *store);
// Set from the making of a new database until store_mark_rebuilt is committed: a kill in between loses nothing.
bool store_needs_rebuild(const struct store *store);
bool store_disk_full(const struct store *store); // the ballast is gone
void store_reclaim(struct store *store);         // tries to take the ballast back; now and then while disk_full

// --- within one turn: begin, writes, commit ---
int store_begin(struct store *store, struct error *err);
int store_put_task(struct store *store, const struct task *task, struct error *err); // the task's own row
int store_put_container(struct store *store, const struct task *task, size_t index, struct error *err);
int store_delete_task(struct store *store, const char *task_arn, struct error *err); // with containers and transitions
struct transition {
	int64_t id; // order; given by the caller, grows
	const char *task_arn;
	const char *container; // NULL: the task's own status
	int status;            // enum task_status or enum container_status
	const char *reason;    // container: "<name>: <text>"; task: task reason; NULL: none
	bool has_exit_code;
	int32_t exit_code;
	int64_t at_ms; // wall clock
};
int store_put_transition(struct store *store, const struct transition *transition, struct error *err);
// Marks all transitions of the task up to id: reported, or given up with the answer's text.
int store_mark_reported(struct store *store, const char *task_arn, int64_t id, const char *refused_why,
			struct error *err);
int store_mark_rebuilt(struct store *store, struct error *err);
// The identity of the container instance whose tasks were taken over (takeover/), as text, in the same transaction as they:
// until it has a file of its own. NULL removes it.
int store_put_identity(struct store *store, const char *text, struct error *err);
char *store_identity(const struct store *store); // caller frees; NULL: none
int store_put_pulled(struct store *store, const char *image, int64_t at_ms, struct error *err); // at_ms < 0: removes it
struct image;
int store_put_image(struct store *store, const struct image *image, struct error *err);
int store_delete_image(struct store *store, const char *id, struct error *err);
int store_commit(struct store *store, struct error *err); // after a failure: store_rollback
void store_rollback(struct store *store);
// After -EBADMSG: the database is set aside as store_open() does, and a new one made, without any row. If that fails,
// -ENOSPC has given the ballast up, and store_begin() says -EBADMSG until it is called again and works.
int store_renew(struct store *store, const struct error *why, struct error *err);
// After any failed write: -ENOSPC gives the ballast up.
void store_note_failure(struct store *store, int result);

// --- start ---
struct store_visitor {
	void (*task)(struct task *task, void *arg); // ownership passes; containers and their facts are in it
	void (*transition)(const struct transition *transition, void *arg); // unreported ones, in order
	void *arg;
};
// Oldest first.
int store_load_pulled(struct store *store, void (*visit)(const char *image, int64_t at_ms, void *arg), void *arg,
		      struct error *err);
int store_load(struct store *store, const struct store_visitor *visitor, int64_t *last_transition,
	       uint64_t *last_sequence, struct error *err);
struct image_set;
int store_load_images(struct store *store, struct image_set *set, struct error *err);
