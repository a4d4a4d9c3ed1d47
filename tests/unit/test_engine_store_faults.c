// The store on a disk that fails at every single change, and that loses power: what was committed is there, what failed is
// there as a whole or not at all, and work goes on when the disk does.
#include "common/sanitizer.h"
#include "common/log.h"
#include "engine/store_wal.h"
#include "test_fault_vfs.h"
#include "test_slow.h"
#include "test_store_workload.h"

static char *expected[WORKLOAD_TURNS + 1]; // after so many turns
static unsigned all_calls, calls_after[WORKLOAD_TURNS + 1];
static unsigned step; // between the changes that fail

static struct store *open_store(void)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		fail_msg("%s", err.message);
	return store;
}

static void expect_text(struct store *store, int turns)
{
	struct error err = {0};
	_cleanup_free_ char *text = store_text(store, &err);
	if (!text)
		fail_msg("%s", err.message);
	assert_string_equal(text, expected[turns]);
}

// The mark for a rebuild, the last line, is as it was when the store was opened.
static void expect_rows(struct store *store, int turns)
{
	_cleanup_free_ char *text = store_text(store, NULL);
	assert_non_null(text);
	assert_memory_equal(text, expected[turns], strlen(expected[turns]) - strlen("0\n"));
}

// What every turn leaves, on a disk that works.
static int learn(void **state)
{
	if (make_directory_for_test(state) < 0)
		return -1;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	fault_vfs_register();
	fault_vfs_reset(1);
	struct store *store = open_store();
	for (int turn = 0; turn <= WORKLOAD_TURNS; turn++) {
		struct error err = {0};
		assert_true(turn == 0 || commit_turn(store, turn - 1, &err) == 0);
		store_close(store);
		store = open_store();
		expected[turn] = store_text(store, &err);
		assert_true(turn == 0 || strcmp(expected[turn], expected[turn - 1]) != 0);
	}
	store_close(store);
	// The same without opening in between: how many changes there are.
	fault_vfs_reset(1);
	store = open_store();
	calls_after[0] = disk.calls;
	for (int turn = 0; turn < WORKLOAD_TURNS; turn++) {
		assert_int_equal(commit_turn(store, turn, NULL), 0);
		calls_after[turn + 1] = disk.calls;
	}
	store_close(store);
	all_calls = disk.calls;
	print_message("%u changes of the disk\n", all_calls);
	return 0;
}

static int forget(void **state)
{
	for (int turn = 0; turn <= WORKLOAD_TURNS; turn++)
		free(expected[turn]);
	fault_vfs_reset(0);
	return remove_directory(state);
}

// --- the error is told ---

static void expect_error(const struct error *err, int r, enum fault_kind kind)
{
	static const int codes[] = {[FAULT_FULL] = ENOSPC, [FAULT_IO] = EIO, [FAULT_READ_ONLY] = EROFS};
	_cleanup_free_ char *start = xasprintf("%s/ecsd.db: ", directory);
	_cleanup_free_ char *end = xasprintf(" (%s)", strerror(codes[kind]));
	if (r != -codes[kind] || !str_starts(err->message, start) || !str_ends(err->message, end))
		fail_msg("fault %d: %d: %s", kind, r, err->message);
}

// Turns from `turn` on until all are done or one fails; returns how many are done.
static int work(struct store *store, int turn, enum fault_kind kind)
{
	for (; turn < WORKLOAD_TURNS; turn++) {
		struct error err = {0};
		int r = commit_turn(store, turn, &err);
		if (r == 0)
			continue;
		expect_error(&err, r, kind);
		assert_true(disk.hit);
		break;
	}
	return turn;
}

// Opening may meet the fault as well.
static struct store *try_open(enum fault_kind kind)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		expect_error(&err, -err.code, kind);
	return store;
}

// Each change fails once, or from then on until it is noticed; the agent goes on.
static void test_each_change_fails(void **state)
{
	(void)state;
	unsigned noticed = 0;
	for (int kind = FAULT_FULL; kind <= FAULT_READ_ONLY; kind++) {
		for (unsigned at = 1; at <= all_calls; at += kind == FAULT_IO ? step : 3 * step) {
			fault_vfs_reset(at);
			fault_vfs_fail(at, kind, (at + (unsigned)kind) % 2);
			struct store *store = try_open(kind);
			int done = store ? work(store, 0, kind) : 0;
			noticed += !store || done < WORKLOAD_TURNS;
			fault_vfs_fail(0, kind, false); // the disk is well again
			if (!store)
				store = open_store();
			if (done > 0)
				expect_rows(store, done); // nothing of the turn that failed
			assert_int_equal(work(store, done, kind), WORKLOAD_TURNS);
			store_close(store);
			store = open_store();
			expect_text(store, WORKLOAD_TURNS);
			store_close(store);
		}
	}
	assert_true(noticed > all_calls / step); // a harness that injects nothing finds nothing
}

// Whoever is killed writes nothing more: closing would.
static void power_off(struct store *store)
{
	fault_vfs_fail(disk.calls + 1, FAULT_IO, true);
	disk.off = true;
	store_close(store);
	disk.off = false;
	fault_vfs_fail(0, FAULT_IO, false);
}

static void lose_power(enum fault_loss loss)
{
	fault_vfs_power_loss(loss);
	_cleanup_free_ char *name = xasprintf("%s/ecsd.db-wal", directory);
	const struct vfs_file *log = vfs_find(name);
	if (log && log->now.len)
		assert_false(store_wal_is_damaged(log->now.data, log->now.len)); // it is only cut
}

// After a failed turn, power is lost or the agent killed: what was promised is there, the failed turn as a whole or not.
static void stop_after_failure(enum fault_kind kind, enum fault_loss loss, unsigned at)
{
	fault_vfs_reset(at);
	fault_vfs_fail(at, kind, true);
	struct store *store = try_open(kind);
	int done = store ? work(store, 0, kind) : 0;
	power_off(store);
	lose_power(loss);
	store = open_store();
	struct error err = {0};
	_cleanup_free_ char *text = store_text(store, &err);
	if (!text)
		fail_msg("%s", err.message);
	bool after = done < WORKLOAD_TURNS && strcmp(text, expected[done + 1]) == 0;
	if (!after && strcmp(text, expected[done]) != 0)
		fail_msg("fault %d at %u, loss %d: %d turns are done, there is\n%s", kind, at, loss, done, text);
	assert_int_equal(work(store, done + after, kind), WORKLOAD_TURNS);
	store_close(store);
	store = open_store();
	expect_text(store, WORKLOAD_TURNS);
	store_close(store);
}

static void test_stopped_after_failure(void **state)
{
	(void)state;
	for (int loss = LOSE_NOTHING; loss <= LOSE_SOME; loss++)
		for (unsigned at = 1; at <= all_calls; at += loss == LOSE_SOME ? step : 2 * step)
			stop_after_failure(at % 3 ? FAULT_IO : FAULT_FULL, loss, at);
}

// Some syncs fail and work goes on; then power is lost. A sync that fails leaves nothing that a later one could bring back.
static void test_power_loss_after_failed_syncs(void **state)
{
	(void)state;
	for (unsigned at = 1; at <= all_calls; at += 2 * step) {
		fault_vfs_reset(at);
		fault_vfs_fail(at, FAULT_IO, false);
		struct store *store = try_open(FAULT_IO);
		if (!store)
			store = open_store();
		int done = work(store, 0, FAULT_IO), stop = done + 1 + (int)at % 5;
		for (; done < stop && done < WORKLOAD_TURNS; done++)
			assert_int_equal(commit_turn(store, done, NULL), 0);
		power_off(store);
		lose_power(at % 4 ? LOSE_SOME : LOSE_ALL);
		store = open_store();
		expect_text(store, done);
		store_close(store);
	}
}

static void test_power_loss_after_each_commit(void **state)
{
	(void)state;
	for (int stop = 0; stop <= WORKLOAD_TURNS; stop++) {
		for (uint64_t seed = 0; seed < (step > 1 ? 2 : 10); seed++) {
			fault_vfs_reset(seed + 1);
			struct store *store = open_store();
			assert_int_equal(calls_after[0], disk.calls);
			for (int turn = 0; turn < stop; turn++)
				assert_int_equal(commit_turn(store, turn, NULL), 0);
			power_off(store);
			lose_power(seed == 0 ? LOSE_ALL : LOSE_SOME);
			store = open_store();
			expect_text(store, stop);
			store_close(store);
		}
	}
}

// A log that cannot be folded in is no reason to refuse a commit; it is told once.
static void test_failed_checkpoint_is_told(void **state)
{
	(void)state;
	_cleanup_free_ char *path = xasprintf("%s/log", directory);
	struct log_options options = {.level = LOG_NONE, .file_level = LOG_ERROR, .path = path};
	unsigned told = 0;
	for (unsigned at = all_calls / 2; at <= all_calls && !told; at++) {
		fault_vfs_reset(at);
		fault_vfs_fail(at, FAULT_IO, false);
		unlink(path);
		assert_int_equal(log_open(&options, NULL), 0);
		struct store *store = try_open(FAULT_IO);
		int done = store ? work(store, 0, FAULT_IO) : 0;
		store_close(store);
		log_open(&(struct log_options){.level = LOG_NONE}, NULL);
		_cleanup_free_ char *text = read_file(path, 1 << 20, NULL);
		if (!text || !strstr(text, "the database's log cannot be folded in; it grows until that works again"))
			continue;
		assert_int_equal(done, WORKLOAD_TURNS);
		assert_non_null(strstr(text, "ecsd.db: checkpoint: disk I/O error (Input/output error)"));
		told++;
	}
	assert_true(told > 0);
}

int main(void)
{
	// The made-up disk copies itself for each fault: minutes. Store and damage have their other tests there.
	if (WITH_ADDRESS_SANITIZER)
		return 0;
	step = under_valgrind() ? 19 : 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_change_fails),
		cmocka_unit_test(test_stopped_after_failure),
		cmocka_unit_test(test_power_loss_after_failed_syncs),
		cmocka_unit_test(test_power_loss_after_each_commit),
		cmocka_unit_test(test_failed_checkpoint_is_told),
	};
	return cmocka_run_group_tests_name("engine: store, faults", tests, learn, forget);
}
