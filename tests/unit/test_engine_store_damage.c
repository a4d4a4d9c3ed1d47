// A database that was cut or in which bits flipped: either everything in it is as it was written, or it is set aside and a
// rebuild begins. Never a crash, and never a value that nobody wrote.
#include "common/log.h"
#include "engine/store_wal.h"
#include "test_store_workload.h"
#include <glob.h>

enum { TURNS = 11, PAGE = 4096, WAL_HEADER = 32, WAL_FRAME = 24 + PAGE, FLIPS = 800, WAL_FLIPS = 250 };

static char *expected[TURNS + 1]; // after so many turns
static char *whole, *wal_base, *wal;
static size_t whole_len, wal_base_len, wal_len;
static size_t commit_end[TURNS + 1]; // bytes of the log after so many turns
static uint64_t seed = 20260101;

static size_t pick(size_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (size_t)(seed >> 11) % below;
}

static char *read_database(const char *suffix, size_t *len)
{
	_cleanup_free_ char *path = xasprintf("%s/ecsd.db%s", directory, suffix);
	return read_file(path, 1 << 24, len);
}

static void write_database(const char *suffix, const char *data, size_t len)
{
	_cleanup_free_ char *path = xasprintf("%s/ecsd.db%s", directory, suffix);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	fclose(file);
}

static size_t found_files(const char *pattern, bool remove)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, pattern);
	glob_t found = {0};
	size_t count = glob(path, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	for (size_t i = 0; remove && i < count; i++)
		unlink(found.gl_pathv[i]);
	globfree(&found);
	return count;
}

static struct store *open_store(void)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		fail_msg("%s", err.message);
	return store;
}

// `whole` is what a stopped agent leaves; `wal_base` and `wal` what a killed one does.
static int learn(void **state)
{
	struct error err = {0};
	if (make_directory_for_test(state) < 0)
		return -1;
	workload_filler = 700;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	struct store *store = open_store();
	store_close(store);
	wal_base = read_database("", &wal_base_len);
	store = open_store();
	for (int turn = 0; turn <= TURNS; turn++) {
		assert_true(turn == 0 || commit_turn(store, turn - 1, &err) == 0);
		expected[turn] = store_text(store, &err);
		free(wal);
		wal = read_database("-wal", &wal_len);
		commit_end[turn] = wal_len;
	}
	store_close(store);
	whole = read_database("", &whole_len);
	print_message("database %zu bytes, log %zu bytes\n", whole_len, wal_len);
	return wal_len > 8 * WAL_FRAME && whole_len > 8 * PAGE ? 0 : -1;
}

static int forget(void **state)
{
	for (int turn = 0; turn <= TURNS; turn++)
		free(expected[turn]);
	free(whole);
	free(wal_base);
	free(wal);
	return remove_directory(state);
}

// Opens what is there; how many turns it holds, or -1: it was set aside and the new one wants a rebuild.
static int outcome(const char *what, size_t at)
{
	struct error err = {0};
	struct store *store = store_open(directory, &err);
	if (!store)
		fail_msg("%s at %zu: %s", what, at, err.message);
	_cleanup_free_ char *text = store_text(store, &err);
	if (!text)
		fail_msg("%s at %zu: %s", what, at, err.message);
	int turns = -1;
	if (found_files("ecsd.db.corrupt-*", true) > 0) {
		assert_string_equal(text, "rebuild 1\n");
	} else {
		// The last line is the mark for a rebuild, as it was when the store was opened.
		size_t len = strlen(text) - strlen("0\n");
		for (turns = TURNS; turns >= 0; turns--)
			if (strncmp(text, expected[turns], len) == 0 && expected[turns][len + 2] == '\0')
				break;
		if (turns < 0)
			fail_msg("%s at %zu is believed:\n%s", what, at, text);
	}
	// What was accepted can be written to.
	if (commit_turn(store, turns < 0 ? 0 : turns, &err) < 0)
		fail_msg("%s at %zu: %s", what, at, err.message);
	store_close(store);
	found_files("ecsd.db*", true);
	return turns;
}

static void flip(char *data, size_t bit)
{
	data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
}

static int with_database(const char *what, char *data, size_t len, size_t at)
{
	write_database("", data, len);
	return outcome(what, at);
}

static void test_flipped_database(void **state)
{
	(void)state;
	int aside = 0;
	// Each bit of the file's header, then some of the rest.
	for (size_t i = 0; i < 800 + FLIPS; i++) {
		size_t bit = i < 800 ? i : pick(whole_len * 8);
		flip(whole, bit);
		int turns = with_database("flip", whole, whole_len, bit);
		flip(whole, bit);
		if (turns != -1 && turns != TURNS)
			fail_msg("a flip at %zu gives the state of turn %d", bit, turns);
		aside += turns < 0;
	}
	print_message("%d of %d set aside\n", aside, 800 + FLIPS);
	assert_in_range(aside, 1, 800 + FLIPS - 1);
}

static void test_cut_database(void **state)
{
	(void)state;
	for (size_t len = 0; len < whole_len; len += PAGE) {
		size_t lens[] = {len, len + 1, len + pick(PAGE)};
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			int turns = with_database("cut", whole, lens[i], lens[i]);
			// Less than a header is a new database: it has nothing to set aside, and wants a rebuild.
			assert_int_equal(turns, lens[i] < 512 ? 0 : -1);
		}
	}
}

static int with_log(const char *what, size_t len, size_t at)
{
	write_database("", wal_base, wal_base_len);
	write_database("-wal", wal, len);
	return outcome(what, at);
}

// A log that ends early is what a power loss leaves: all turns that are whole are there.
static void test_cut_log(void **state)
{
	(void)state;
	for (size_t len = 0; len <= wal_len; len += len < WAL_HEADER ? WAL_HEADER : WAL_FRAME / 2) {
		int turns = with_log("cut log", len, len), whole_turns = TURNS;
		assert_false(store_wal_is_damaged(wal, len));
		while (whole_turns > 0 && commit_end[whole_turns] > len)
			whole_turns--;
		assert_int_equal(turns, whole_turns);
	}
}

static void test_flipped_log(void **state)
{
	(void)state;
	int aside = 0;
	for (size_t i = 0; i < WAL_HEADER * 8 + WAL_FLIPS; i++) {
		size_t bit = i < (size_t)WAL_HEADER * 8 ? i : pick(wal_len * 8);
		flip(wal, bit);
		int turns = with_log("log flip", wal_len, bit);
		flip(wal, bit);
		// The last turns may be lost: it looks as if a power loss had cut them (store_wal.h).
		if (turns != -1 && turns < TURNS - 2)
			fail_msg("a flip in the log at bit %zu gives the state of turn %d", bit, turns);
		aside += turns < 0;
	}
	print_message("%d of %d set aside\n", aside, WAL_HEADER * 8 + WAL_FLIPS);
	assert_true(aside > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flipped_database),
		cmocka_unit_test(test_cut_database),
		cmocka_unit_test(test_cut_log),
		cmocka_unit_test(test_flipped_log),
	};
	return cmocka_run_group_tests_name("engine: store, damage", tests, learn, forget);
}
