// The reader of bbolt files: files of the official agent, and every field of them damaged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "takeover/bolt.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#define SMOKE "tests/data/official-state/smoke.db"
#define LARGE "tests/data/official-state/register-imds.db"
enum { PAGE = 4096 }; // of both files

static int count_entries(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
			 struct error *err)
{
	(void)err;
	assert_true(key_len > 0 && key && value);
	assert_true(value_len == 0 || value[value_len - 1] == '}' || value[value_len - 1] == '"');
	++*(int *)arg;
	return 0;
}

static int entries(struct bolt *bolt, const char *bucket, struct error *err)
{
	int count = 0;
	int r = bolt_each(bolt, bucket, count_entries, &count, err);
	return r < 0 ? r : count;
}

static void test_files(void **state)
{
	(void)state;
	static const struct {
		const char *path, *bucket;
		int entries;
	} cases[] = {
		{SMOKE, "tasks", 1},    {SMOKE, "containers", 1},     {SMOKE, "images", 1},
		{SMOKE, "metadata", 6}, {SMOKE, "eniattachments", 0}, {SMOKE, "resattachments", 0},
		{LARGE, "tasks", 31},   {LARGE, "containers", 38},    {LARGE, "images", 1},
		{LARGE, "metadata", 6}, {LARGE, "resattachments", 0}, {LARGE, "nothing", -ENOENT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		struct bolt *bolt = bolt_open(cases[i].path, &err);
		assert_non_null(bolt);
		if (entries(bolt, cases[i].bucket, &err) != cases[i].entries)
			fail_msg("%s: %s: %s", cases[i].path, cases[i].bucket, err.message);
		bolt_close(bolt);
	}
}

static int stop_at_once(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
			struct error *err)
{
	(void)key, (void)key_len, (void)value, (void)value_len, (void)err;
	++*(int *)arg;
	return -EINTR;
}

static void test_visit_ends(void **state)
{
	(void)state;
	struct error err = {0};
	struct bolt *bolt = bolt_open(LARGE, &err);
	int count = 0;
	assert_int_equal(bolt_each(bolt, "tasks", stop_at_once, &count, &err), -EINTR);
	assert_int_equal(count, 1);
	bolt_close(bolt);
}

// --- damage ---

static char *load(const char *path, size_t *len)
{
	char *data = read_file(path, 1 << 20, len);
	assert_non_null(data);
	return data;
}

static void put(char *at, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		at[i] = (char)(value >> 8 * i);
}

static uint64_t get(const char *at, size_t width)
{
	uint64_t value = 0;
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t)(unsigned char)at[i] << 8 * i;
	return value;
}

static void seal(char *data, size_t meta_page) // its checksum
{
	char *meta = data + meta_page * PAGE + 16;
	put(meta + 56, fnv1a(FNV1A_START, meta, 56), 8);
}

// The root bucket's page: a leaf with one entry for each bucket.
static char *root_page(char *data)
{
	size_t newest = get(data + 16 + 48, 8) > get(data + PAGE + 16 + 48, 8) ? 0 : PAGE;
	return data + get(data + newest + 16 + 16, 8) * PAGE;
}

static char *element(char *page, size_t i)
{
	return page + 16 + 16 * i;
}

static char *bucket_value(char *data, const char *name)
{
	char *page = root_page(data);
	for (size_t i = 0; i < get(page + 10, 2); i++) {
		char *e = element(page, i), *key = e + get(e + 4, 4);
		if (get(e + 8, 4) == strlen(name) && memcmp(key, name, strlen(name)) == 0)
			return key + get(e + 8, 4);
	}
	fail();
	return NULL;
}

static char *bucket_page(char *data, const char *name)
{
	return data + get(bucket_value(data, name), 8) * PAGE;
}

static int read_tasks(char *data, size_t len, struct error *err) // takes data
{
	struct bolt *bolt = bolt_parse("file", data, len, err);
	int r = bolt ? entries(bolt, "tasks", err) : -err->code;
	bolt_close(bolt);
	return r;
}

enum where { META0, META1, BOTH, ROOT, TASKS, TASKS_ELEMENT, TASKS_CHILD };

static const struct damage {
	const char *what;
	enum where where;
	size_t offset, width;
	uint64_t value;
	int result; // of reading the tasks: their number or an error
	const char *text;
} damages[] = {
	{"magic of the older meta page", META1, 0, 4, 0, 31, NULL},
	{"magic of the newer meta page", META0, 0, 4, 0, 31, NULL}, // what was before its transaction
	{"checksum of the newer meta page", META0, 56, 8, 1, 31, NULL},
	{"magic of both", BOTH, 0, 4, 0, -EBADMSG, "file: no bbolt file: neither meta page is valid"},
	{"version of both", BOTH, 4, 4, 3, -ENOTSUP, "file: bbolt file of format version 3, only 2 is known"},
	{"page size of both", BOTH, 8, 4, 4097, -EBADMSG, "neither meta page is valid"},
	{"page size 0", BOTH, 8, 4, 0, -EBADMSG, "neither meta page is valid"},
	{"root page is a meta page", BOTH, 16, 8, 1, -EBADMSG, "page 1 is referred to, which no bucket can have"},
	{"root page beyond the end", BOTH, 16, 8, 100000, -EBADMSG, "page 100000 is referred to, which"},
	{"root page huge", BOTH, 16, 8, UINT64_MAX, -EBADMSG, "is referred to, which no bucket can have"},
	{"high water mark too low", BOTH, 40, 8, 3, -EBADMSG, "which no bucket can have"},
	{"number of the root page", ROOT, 0, 8, 77, -EBADMSG, "has another number in its header"},
	{"flags of the root page", ROOT, 8, 2, 0x10, -EBADMSG, "is neither branch nor leaf"},
	{"count of the root page", ROOT, 10, 2, 0xffff, -EBADMSG, "counts more entries than fit"},
	{"count of the root page too low", ROOT, 10, 2, 0, -ENOENT, "file: there is no bucket tasks"},
	{"overflow of the root page", ROOT, 12, 4, 1000000, -EBADMSG, "overflows beyond the end of the file"},
	{"overflow of the root page, largest", ROOT, 12, 4, UINT32_MAX, -EBADMSG, "overflows beyond the end"},
	{"flags of a bucket's page", TASKS, 8, 2, 3, -EBADMSG, "is neither branch nor leaf"},
	{"an empty branch", TASKS, 10, 2, 0, -EBADMSG, "is an empty branch"},
	{"position of a key", TASKS_ELEMENT, 0, 4, UINT32_MAX, -EBADMSG, "has an entry outside of itself"},
	{"position of a key within the table", TASKS_ELEMENT, 0, 4, 0, -EBADMSG, "has an entry outside of itself"},
	{"length of a key", TASKS_ELEMENT, 4, 4, UINT32_MAX, -EBADMSG, "has a key of an impossible length"},
	{"length 0 of a key", TASKS_ELEMENT, 4, 4, 0, -EBADMSG, "has a key of an impossible length"},
	{"a branch to the freelist", TASKS_ELEMENT, 8, 8, 1, -EBADMSG, "which no bucket can have"},
	{"flags of an entry", TASKS_CHILD, 0, 4, 2, -EBADMSG, "has an entry with unknown flags"},
	{"a bucket in a bucket", TASKS_CHILD, 0, 4, 1, -EBADMSG, "file: damaged: bucket tasks holds a bucket"},
	{"position of a value", TASKS_CHILD, 4, 4, 0xfffff0, -EBADMSG, "has an entry outside of itself"},
	{"length of a value's key", TASKS_CHILD, 8, 4, 40000, -EBADMSG, "has a key of an impossible length"},
	{"length of a value", TASKS_CHILD, 12, 4, 0x1000000, -EBADMSG, "has an entry outside of itself"},
	{"length of a value, huge", TASKS_CHILD, 12, 4, UINT32_MAX, -EBADMSG, "has a value that is too large"},
};

static char *place(char *data, enum where where)
{
	switch (where) {
	case META0:
	case BOTH:
		return data + 16;
	case META1:
		return data + PAGE + 16;
	case ROOT:
		return root_page(data);
	case TASKS:
		return bucket_page(data, "tasks");
	case TASKS_ELEMENT:
		return element(bucket_page(data, "tasks"), 0);
	default: {
		char *branch = element(bucket_page(data, "tasks"), 0);
		return element(data + get(branch + 8, 8) * PAGE, 0);
	}
	}
}

static void test_damage(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *d = &damages[i];
		struct error err = {0};
		size_t len;
		char *data = load(LARGE, &len);
		put(place(data, d->where) + d->offset, d->value, d->width);
		if (d->where == BOTH) {
			put(data + PAGE + 16 + d->offset, d->value, d->width);
			seal(data, 0);
			seal(data, 1);
		}
		int r = read_tasks(data, len, &err);
		if (r != d->result || (d->text && !strstr(err.message, d->text)))
			fail_msg("%s: %d, %s", d->what, r, err.message);
	}
}

static void test_inline_damage(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		size_t offset, width;
		uint64_t value;
		const char *text;
	} cases[] = {
		{"flags", 16 + 8, 2, 1, "inline bucket images is no leaf"},
		{"unknown flags", 16 + 8, 2, 0, "is neither branch nor leaf"},
		{"count", 16 + 10, 2, 0xffff, "counts more entries than fit"},
		{"position", 32 + 4, 4, 0xffff, "has an entry outside of itself"},
		{"value", 32 + 12, 4, 0xffff, "has an entry outside of itself"},
		{"another page", 0, 8, 1, "page 1 is referred to, which no bucket can have"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		size_t len;
		char *data = load(LARGE, &len), *value = bucket_value(data, "images");
		put(value + cases[i].offset, cases[i].value, cases[i].width);
		struct bolt *bolt = bolt_parse("file", data, len, &err);
		assert_int_equal(entries(bolt, "images", &err), -EBADMSG);
		if (!strstr(err.message, cases[i].text))
			fail_msg("%s: %s", cases[i].what, err.message);
		bolt_close(bolt);
	}
}

static void test_short_bucket_value(void **state)
{
	(void)state;
	struct error err = {0};
	size_t len;
	char *data = load(LARGE, &len), *page = root_page(data);
	for (size_t i = 0; i < get(page + 10, 2); i++)
		put(element(page, i) + 12, 15, 4);
	assert_int_equal(read_tasks(data, len, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "tasks is no bucket"));
}

// A branch that leads to a page above itself, or to the same page twice.
static void test_cycles(void **state)
{
	(void)state;
	for (int again = 0; again < 2; again++) {
		struct error err = {0};
		size_t len;
		char *data = load(LARGE, &len), *branch = bucket_page(data, "tasks");
		uint64_t to = again ? get(element(branch, 0) + 8, 8) : get(branch, 8);
		put(element(branch, 1) + 8, to, 8);
		assert_int_equal(read_tasks(data, len, &err), -EBADMSG);
		assert_non_null(strstr(err.message, "is referred to twice"));
	}
}

static void test_keys_in_no_order(void **state)
{
	(void)state;
	struct error err = {0};
	size_t len;
	char *data = load(LARGE, &len), *branch = bucket_page(data, "tasks");
	uint64_t first = get(element(branch, 0) + 8, 8), second = get(element(branch, 1) + 8, 8);
	put(element(branch, 0) + 8, second, 8);
	put(element(branch, 1) + 8, first, 8);
	assert_int_equal(read_tasks(data, len, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "has its keys in no order"));
}

// A chain of branches with one entry each, deeper than any tree.
static void test_depth(void **state)
{
	(void)state;
	enum { PAGES = 40 };
	struct error err = {0};
	char *data = xcalloc(PAGES, PAGE), *meta = data + 16;
	put(meta, 0xED0CDAED, 4);
	put(meta + 4, 2, 4);
	put(meta + 8, PAGE, 4);
	put(meta + 16, 2, 8);
	put(meta + 40, PAGES, 8);
	seal(data, 0);
	for (size_t i = 2; i < PAGES; i++) {
		char *page = data + i * PAGE;
		put(page, i, 8);
		put(page + 8, 1, 2);
		put(page + 10, 1, 2);
		put(page + 16, 16, 4);
		put(page + 20, 1, 4);
		put(page + 24, i + 1, 8);
	}
	assert_int_equal(read_tasks(data, (size_t)PAGES * PAGE, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "lies too deep in its tree"));
}

// Of every length: an error, or all that there is.
static void test_truncated(void **state)
{
	(void)state;
	size_t len, whole = 0;
	free(load(SMOKE, &len));
	for (size_t cut = 0; cut <= len; cut += cut < 2 * PAGE + 256 ? 7 : 511) {
		struct error err = {0};
		char *data = load(SMOKE, &len);
		int r = read_tasks(data, cut, &err);
		if (r < 0)
			assert_true(r == -EBADMSG && *err.message);
		else
			assert_int_equal(r, 1);
		whole += r == 1;
	}
	assert_true(whole > 0);
}

// --- files ---

static void test_no_file(void **state)
{
	(void)state;
	struct error err = {0};
	assert_null(bolt_open("/nonexistent/agent.db", &err));
	assert_int_equal(err.code, ENOENT);
	assert_false(bolt_in_use("/nonexistent/agent.db"));
	assert_null(bolt_open("/dev/null", &err));
	assert_string_equal(err.message, "/dev/null is no regular file");
	assert_null(bolt_open("tests", &err));
	assert_string_equal(err.message, "tests is no regular file");
}

// bbolt's own lock, held by another process.
static void test_lock(void **state)
{
	(void)state;
	struct error err = {0};
	size_t len;
	char path[] = "/tmp/ecsd-bolt.XXXXXX", byte;
	int ready[2], fd = mkstemp(path);
	_cleanup_free_ char *data = load(SMOKE, &len);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int own = open(path, O_RDWR);
		flock(own, LOCK_EX);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_true(bolt_in_use(path));
	assert_null(bolt_open(path, &err));
	assert_int_equal(err.code, EWOULDBLOCK);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_false(bolt_in_use(path));
	struct bolt *bolt = bolt_open(path, &err);
	assert_non_null(bolt);
	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1); // and ours keeps the official agent away
	bolt_close(bolt);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	close(fd);
	close(ready[0]);
	close(ready[1]);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_visit_ends),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_inline_damage),
		cmocka_unit_test(test_short_bucket_value),
		cmocka_unit_test(test_cycles),
		cmocka_unit_test(test_keys_in_no_order),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_lock),
	};
	return cmocka_run_group_tests_name("takeover: bbolt files", tests, NULL, NULL);
}
