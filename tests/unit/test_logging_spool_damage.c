// The spool after accidents: torn, flipped, cut and removed files, and random histories with kills, against a model.
#include "test_spool_bed.h"

#define FILES_MAX 64

// The files of the spool, to be put back as they were.
struct snapshot {
	struct {
		char name[64];
		char *data;
		size_t len;
	} files[FILES_MAX];
	size_t count;
};

static void take_snapshot(struct snapshot *s)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, ID);
	DIR *d = opendir(path);
	*s = (struct snapshot){0};
	for (struct dirent *entry; d && (entry = readdir(d));) {
		_cleanup_free_ char *file = xasprintf("%s/%s", path, entry->d_name);
		if (entry->d_type != DT_REG)
			continue;
		assert_true(s->count < FILES_MAX);
		snprintf(s->files[s->count].name, 64, "%.63s", entry->d_name);
		s->files[s->count].data = read_file(file, (size_t)64 << 20, &s->files[s->count].len);
		assert_true(s->files[s->count].data || errno == ENOENT); // confirmed, and removed by the thread
		s->count += s->files[s->count].data != NULL;
	}
	if (d)
		closedir(d);
}

static void put_back(const struct snapshot *s)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, ID);
	remove_tree(path);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < s->count; i++) {
		_cleanup_free_ char *file = xasprintf("%s/%s", path, s->files[i].name);
		int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_int_equal(write(fd, s->files[i].data, s->files[i].len), s->files[i].len);
		close(fd);
	}
}

static void free_snapshot(struct snapshot *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->files[i].data);
	s->count = 0;
}

// The newest segment's place in a snapshot.
static size_t newest(const struct snapshot *s)
{
	size_t found = FILES_MAX;
	for (size_t i = 0; i < s->count; i++)
		if (str_ends(s->files[i].name, ".log") &&
		    (found == FILES_MAX || strcmp(s->files[i].name, s->files[found].name) > 0))
			found = i;
	return found;
}

static void reopen(void)
{
	struct error err = {0};
	spool = spool_open(store, ID, &err);
	if (!spool)
		fail_msg("%s", err.message);
}

static void torn_anywhere(void **state)
{
	(void)state;
	struct snapshot s;
	size_t ends[3];
	open_spool(&no_limits);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(add(i == 0 ? 0 : 2 * i + 1, i == 1 ? 2 : 3, 30, SPOOL_FULL_REFUSE), 0);
		ends[i] = spool_bytes(spool);
	}
	spool = spool_close(spool);
	spool_store_sync(store);
	take_snapshot(&s);
	for (size_t len = 0; len <= ends[2]; len++) {
		uint64_t tail = len < ends[0] ? 0 : len < ends[1] ? 3 : len < ends[2] ? 5 : 8;
		s.files[newest(&s)].len = len;
		put_back(&s);
		reopen();
		assert_int_equal(spool_tail(spool), tail);
		struct spool_reader *reader = spool_reader_new(spool);
		expect_lines(reader, 0, tail);
		expect_nothing(reader);
		assert_int_equal(add(tail, 2, 40, SPOOL_FULL_REFUSE), 0);
		expect_lines(reader, tail, tail + 2);
		spool_reader_free(reader);
		spool = spool_close(spool);
		spool_store_sync(store);
		reopen();
		reader = spool_reader_new(spool);
		expect_lines(reader, 0, tail + 2);
		expect_nothing(reader);
		spool_reader_free(reader);
		spool = spool_close(spool);
		spool_store_sync(store);
	}
	free_snapshot(&s);
}

// Reads all: what is delivered is right, and what is not is told as lost, but for what was at the end.
static void expect_sound(uint64_t lines, size_t where)
{
	struct spool_reader *reader = spool_reader_new(spool);
	struct spool_item item;
	uint64_t next = 0;
	while (spool_reader_next(reader, &item)) {
		if (item.position < next || item.position >= lines + 2)
			fail_msg("byte %zu: item %" PRIu64 " where %" PRIu64 " is next", where, item.position, next);
		if (item.kind == SPOOL_LOSS && item.loss.reason == SPOOL_LOST_DAMAGED) {
			if (item.loss.lines != item.position - next + 1)
				fail_msg("byte %zu: %" PRIu64 " lost", where, item.loss.lines);
		} else if (item.kind == SPOOL_LOSS) {
			assert_int_equal(item.position, lines);
			assert_int_equal(item.loss.reason, SPOOL_LOST_BY_DOCKER);
			assert_int_equal(item.loss.lines, 17);
		} else if (item.kind == SPOOL_END) {
			assert_int_equal(item.position, lines + 1);
		} else if (item.position != next || line_number(&item.record) != next || item.record.len < 30 ||
			   item.record.time_ns != TIME_0 + (int64_t)next * 1000000000) {
			fail_msg("byte %zu: a wrong record %" PRIu64, where, item.position);
		}
		next = item.position + 1;
	}
	assert_int_equal(next, spool_tail(spool));
	spool_reader_free(reader);
}

static void flipped_anywhere(void **state)
{
	(void)state;
	struct snapshot s;
	open_spool(&no_limits);
	assert_int_equal(add(0, 3, 30, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(add(3, 1, 30, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(add(4, 2, 30, SPOOL_FULL_REFUSE), 0);
	spool_lose(spool, SPOOL_LOST_BY_DOCKER, 17, 0, 0, 0);
	assert_int_equal(spool_append_end(spool), 0);
	spool_confirm(spool, 0);
	spool = spool_close(spool);
	spool_store_sync(store);
	take_snapshot(&s);
	for (size_t i = 0; i < s.count; i++) {
		for (size_t byte = 0; byte < s.files[i].len; byte++) {
			for (int bit = 1; bit < 256; bit <<= 3) {
				s.files[i].data[byte] ^= (char)bit;
				put_back(&s);
				reopen();
				expect_sound(6, byte);
				spool = spool_close(spool);
				s.files[i].data[byte] ^= (char)bit;
			}
		}
	}
	free_snapshot(&s);
}

// Sixteen segments of 64 KiB.
static const struct spool_limits small = {.container_bytes = 1 << 19, .total_bytes = (uint64_t)1 << 40};

static uint64_t fill(size_t segments)
{
	char *paths[FILES_MAX];
	uint64_t n = 0;
	for (size_t count = 0; count < segments; n += 5) {
		assert_int_equal(add(n, 5, 1000, SPOOL_FULL_REFUSE), 0);
		count = segment_files(paths, FILES_MAX);
		free_paths(paths, count);
	}
	return n;
}

// What a file is named for.
static uint64_t first_of(const char *path)
{
	return strtoull(strrchr(path, '/') + 1, NULL, 16);
}

static void removed_and_cut_segments(void **state)
{
	(void)state;
	struct snapshot s;
	char *paths[FILES_MAX];
	open_spool(&small);
	uint64_t n = fill(5);
	spool = spool_close(spool);
	spool_store_sync(store);
	take_snapshot(&s);
	size_t count = segment_files(paths, FILES_MAX);
	for (size_t i = 0; i < count; i++) {
		for (int cut = 0; cut < (i + 1 < count ? 2 : 1); cut++) {
			uint64_t from = first_of(paths[i]), to = i + 1 < count ? first_of(paths[i + 1]) : from;
			put_back(&s);
			assert_int_equal(cut ? truncate(paths[i], 30000) : unlink(paths[i]), 0);
			reopen();
			struct spool_reader *reader = spool_reader_new(spool);
			if (i == 0 && !cut) {
				expect_loss(reader, SPOOL_LOST_DAMAGED, to);
			} else {
				// Batches of five lines.
				from += cut ? 25 : 0;
				expect_lines(reader, 0, from);
				if (i + 1 < count)
					expect_loss(reader, SPOOL_LOST_DAMAGED, to - from);
				else
					to = from;
			}
			expect_lines(reader, to, i + 1 < count ? n : to);
			expect_nothing(reader);
			spool_reader_free(reader);
			spool = spool_close(spool);
			spool_store_sync(store);
		}
	}
	free_paths(paths, count);
	free_snapshot(&s);
}

// While the program runs.
static void removed_below_our_feet(void **state)
{
	(void)state;
	char *paths[FILES_MAX];
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, ID);
	open_spool(&small);
	uint64_t n = fill(3);
	spool_store_sync(store);
	size_t count = segment_files(paths, FILES_MAX);
	uint64_t second = first_of(paths[1]), third = first_of(paths[2]);
	assert_int_equal(unlink(paths[1]), 0);
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 0, second);
	expect_loss(reader, SPOOL_LOST_DAMAGED, third - second);
	expect_lines(reader, third, n);
	remove_tree(path);
	assert_int_equal(add(n, 2, 30, SPOOL_FULL_REFUSE), 0);
	expect_lines(reader, n, n + 2);
	spool_confirm(spool, n + 2);
	spool_reader_free(reader);
	free_paths(paths, count);
	open_again(&small);
	assert_int_equal(spool_head(spool), n + 2);
}

// --- random histories ---

#define ITEMS_MAX 20000
static struct model {
	struct {
		enum spool_item_kind kind;
		uint64_t line; // or how many were lost
	} items[ITEMS_MAX];
	uint64_t head, tail, next_line;
} model;

static uint64_t seed;
static uint64_t dice(uint64_t sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % sides;
}

static void model_append(void)
{
	unsigned count = 1 + (unsigned)dice(20);
	assert_int_equal(add(model.next_line, count, dice(4) ? dice(200) : dice(9000), SPOOL_FULL_REFUSE), 0);
	for (unsigned i = 0; i < count; i++)
		model.items[model.tail++] = (__typeof__(model.items[0])){SPOOL_RECORD, model.next_line++};
}

static void model_check(uint64_t from, uint64_t count)
{
	struct spool_reader *reader = spool_reader_new(spool);
	struct spool_item item;
	spool_reader_seek(reader, from);
	assert_int_equal(spool_head(spool), model.head);
	assert_int_equal(spool_tail(spool), model.tail);
	for (; from < model.tail && count > 0; from++, count--) {
		assert_true(spool_reader_next(reader, &item));
		if (item.position != from || item.kind != model.items[from].kind)
			fail_msg("item %" PRIu64 " of kind %d where %" PRIu64 " of kind %d is", item.position,
				 item.kind, from, model.items[from].kind);
		if (item.kind == SPOOL_RECORD)
			assert_int_equal(line_number(&item.record), model.items[from].line);
		if (item.kind == SPOOL_LOSS)
			assert_int_equal(item.loss.lines, model.items[from].line);
		if (dice(40) == 0)
			spool_reader_rest(reader);
	}
	if (from == model.tail)
		assert_false(spool_reader_next(reader, &item));
	spool_reader_free(reader);
}

// The directory as it is at this moment, with a part of what was written last missing.
static void model_kill(void)
{
	struct snapshot s;
	take_snapshot(&s);
	close_spool();
	size_t last = newest(&s);
	bool cut = last < FILES_MAX && dice(2);
	if (cut)
		s.files[last].len = dice(s.files[last].len + 1);
	put_back(&s);
	free_snapshot(&s);
	open_spool(&small);
	uint64_t tail = spool_tail(spool);
	assert_true(tail <= model.tail && tail >= model.head && (cut || tail == model.tail));
	// What is cut off was appended and not synced; numbers behind the cursor go on.
	model.tail = tail;
}

static void history(uint64_t number)
{
	memset(&model, 0, sizeof(model));
	seed = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
	open_spool(&small);
	for (int step = 0; step < 120; step++) {
		switch (dice(12)) {
		case 0:
			model_kill();
			break;
		case 1:
			open_again(&small);
			break;
		case 2:
			spool_lose(spool, SPOOL_LOST_BY_DOCKER, 1 + number, 0, 1, 2);
			model.items[model.tail++] = (__typeof__(model.items[0])){SPOOL_LOSS, 1 + number};
			break;
		case 3:
			assert_int_equal(spool_append_end(spool), 0);
			model.items[model.tail++] = (__typeof__(model.items[0])){SPOOL_END, 0};
			break;
		case 4:
		case 5:
			model.head += dice(model.tail - model.head + 1);
			spool_confirm(spool, model.head);
			break;
		case 6:
			model_check(model.head + dice(model.tail - model.head + 1), dice(100));
			break;
		default:
			if (spool_bytes(spool) < small.container_bytes / 2)
				model_append();
		}
		assert_int_equal(spool_store_bytes(store), spool_bytes(spool));
	}
	model_check(model.head, UINT64_MAX);
	spool = spool_remove(spool);
	close_spool();
}

static void random_histories(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		history(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(torn_anywhere, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(flipped_anywhere, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(removed_and_cut_segments, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(removed_below_our_feet, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(random_histories, bed_setup, bed_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
