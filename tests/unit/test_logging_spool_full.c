// The spool without room: its limits, a full or broken disk, what is dropped and how that is told; and the thread that
// syncs. Calls that reach the disk go through this file, which makes them fail or wait.
#include "test_spool_bed.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

static struct {
	int write_error;    // of every pwritev
	size_t write_part;  // bytes that are written before it fails
	int truncate_error; // of every ftruncate
	atomic_int sync_error;
	atomic_bool sync_waits;
	atomic_uint syncs;
	atomic_bool signals_open;     // a thread that syncs can be interrupted by SIGTERM
	unsigned free_percent, looks; // 0: as it is
} disk;

static pthread_t main_thread;

#define REAL(name)                     \
	static __typeof__(name) *real; \
	if (!real)                     \
	real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	REAL(pwritev);
	if (!disk.write_error)
		return real(fd, iov, count, offset);
	if (disk.write_part) {
		struct iovec part = {.iov_base = iov[0].iov_base,
				     .iov_len = disk.write_part < iov[0].iov_len ? disk.write_part : iov[0].iov_len};
		disk.write_part = 0;
		return real(fd, &part, 1, offset);
	}
	errno = disk.write_error;
	return -1;
}

int ftruncate(int fd, off_t size)
{
	REAL(ftruncate);
	errno = disk.truncate_error;
	return disk.truncate_error ? -1 : real(fd, size);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	sigset_t blocked;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGTERM) || pthread_equal(pthread_self(), main_thread))
		disk.signals_open = true;
	disk.syncs++;
	while (disk.sync_waits)
		usleep(1000);
	errno = disk.sync_error;
	return disk.sync_error ? -1 : real(fd);
}

int fstatvfs(int fd, struct statvfs *vfs)
{
	REAL(fstatvfs);
	disk.looks++;
	int r = real(fd, vfs);
	if (disk.free_percent)
		vfs->f_bavail = vfs->f_blocks * disk.free_percent / 100;
	return r;
}

static int setup(void **state)
{
	memset(&disk, 0, sizeof(disk));
	main_thread = pthread_self();
	return bed_setup(state);
}

// A second passes in a hundredth of one.
static int setup_fast(void **state)
{
	int r = setup(state);
	loop_free(loop);
	loop = loop_new(100, NULL);
	return r;
}

static const struct spool_limits small = {.container_bytes = 1 << 20, .total_bytes = (uint64_t)1 << 40};

// Until it is full; returns the number of lines.
static uint64_t fill(uint64_t n)
{
	while (add(n, 10, 1000, SPOOL_FULL_REFUSE) == 0)
		n += 10;
	return n;
}

static unsigned called;
static void count_call(void *arg)
{
	(void)arg;
	called++;
}
static void call_and_stop(void *arg)
{
	called++;
	loop_stop(arg);
}

static void refuses_and_tells_of_room(void **state)
{
	(void)state;
	open_spool(&small);
	called = 0;
	spool_on_room(spool, count_call, NULL);
	uint64_t n = fill(0);
	assert_true(spool_bytes(spool) <= small.container_bytes);
	assert_true(spool_bytes(spool) > small.container_bytes - 20000);
	assert_int_equal(spool_tail(spool), n);
	assert_false(spool_has_room(spool));
	assert_int_equal(add(n, 10, 1000, SPOOL_FULL_REFUSE), -ENOSPC);
	turn();
	assert_int_equal(called, 0);
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 0, n);
	spool_reader_free(reader);
	spool_confirm(spool, n / 2);
	assert_true(spool_has_room(spool));
	turn();
	turn();
	assert_int_equal(called, 1);
	assert_int_equal(add(n, 10, 1000, SPOOL_FULL_REFUSE), 0);
	// A limit of its own.
	spool_set_limit(spool, 100);
	assert_int_equal(add(n + 10, 10, 1000, SPOOL_FULL_REFUSE), -ENOSPC);
	spool_set_limit(spool, 0);
	turn();
	assert_int_equal(called, 2);
	assert_int_equal(add(n + 10, 10, 1000, SPOOL_FULL_REFUSE), 0);
}

// However small the limit, or large the batch: with all delivered it is taken.
static void an_empty_spool_takes_any_batch(void **state)
{
	(void)state;
	open_spool(&small);
	spool_set_limit(spool, 1000);
	for (uint64_t n = 0; n < 20; n += 4) {
		assert_int_equal(add(n, 4, 50000, SPOOL_FULL_REFUSE), 0);
		assert_int_equal(add(n + 4, 4, 50000, SPOOL_FULL_REFUSE), -ENOSPC);
		assert_false(spool_has_room(spool));
		spool_confirm(spool, n + 4);
		assert_true(spool_has_room(spool));
	}
	assert_true(spool_bytes(spool) < 250000);
}

static void all_together(void **state)
{
	(void)state;
	const struct spool_limits limits = {.container_bytes = 1 << 20, .total_bytes = 1 << 20};
	open_spool(&limits);
	struct spool *first = spool;
	uint64_t n = fill(0);
	spool = spool_open(store, "other", NULL);
	called = 0;
	spool_on_room(spool, count_call, NULL);
	assert_int_equal(add(0, 10, 2000, SPOOL_FULL_REFUSE), -ENOSPC);
	spool_confirm(first, n);
	turn();
	assert_int_equal(called, 1);
	assert_int_equal(add(0, 10, 2000, SPOOL_FULL_REFUSE), 0);
	// One that is removed makes room as well.
	n = fill(10);
	struct spool *other = spool;
	spool = first;
	spool_on_room(spool, count_call, NULL);
	assert_int_equal(add(n, 500, 100, SPOOL_FULL_REFUSE), -ENOSPC);
	spool_remove(other);
	turn();
	assert_int_equal(called, 2);
	assert_int_equal(add(n, 500, 100, SPOOL_FULL_REFUSE), 0);
}

static void drops_oldest(void **state)
{
	(void)state;
	struct spool_item item;
	open_spool(&small);
	struct spool_reader *behind = spool_reader_new(spool), *ahead = spool_reader_new(spool);
	uint64_t n = fill(0);
	expect_lines(behind, 0, 15);
	expect_lines(ahead, 0, n - 5);
	for (uint64_t end = n + 200; n < end; n += 10)
		assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	assert_true(spool_bytes(spool) <= small.container_bytes);
	assert_int_equal(spool_head(spool), 0);
	// One that stands in what was dropped goes on behind it, and is told of what it has not seen.
	assert_true(spool_reader_next(behind, &item));
	assert_int_equal(item.kind, SPOOL_LOSS);
	assert_int_equal(item.loss.reason, SPOOL_LOST_FULL);
	uint64_t kept = item.position + 1;
	assert_true(kept >= 100 && kept < 400);
	assert_int_equal(item.loss.lines, kept - 15);
	assert_int_equal(item.loss.last_ns, TIME_0 + (int64_t)(kept - 1) * 1000000000);
	// Read again, it is the same loss: it stands for many numbers.
	assert_int_equal(item.first, 15);
	spool_reader_seek(behind, item.first);
	assert_int_equal(expect_loss(behind, SPOOL_LOST_FULL, kept - 15).last_ns, item.loss.last_ns);
	expect_lines(behind, kept, n);
	expect_lines(ahead, kept > n - 205 ? kept : n - 205, n);
	spool_reader_seek(behind, 0);
	for (int again = 0; again < 2; again++) {
		struct spool_loss loss = expect_loss(behind, SPOOL_LOST_FULL, kept);
		assert_int_equal(loss.first_ns, TIME_0);
		assert_int_equal(loss.last_ns, TIME_0 + (int64_t)(kept - 1) * 1000000000);
		assert_true(loss.bytes > kept * 1000 && loss.bytes < kept * 1100);
		expect_lines(behind, kept, n);
		expect_nothing(behind);
		spool_reader_free(behind);
		assert_int_equal(spool_oldest_ns(spool), TIME_0);
		if (!again) {
			spool_reader_free(ahead);
			open_again(&small);
			assert_int_equal(spool_head(spool), 0);
		}
		behind = spool_reader_new(spool);
	}
	// Once it is confirmed it is told no more, and the next drop begins there.
	spool_confirm(spool, kept);
	for (uint64_t end = n + 300; n < end; n += 10)
		assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	spool_reader_seek(behind, 0);
	assert_true(spool_reader_next(behind, &item));
	assert_int_equal(item.kind, SPOOL_LOSS);
	assert_int_equal(item.loss.lines, item.position + 1 - kept);
	assert_int_equal(item.loss.first_ns, TIME_0 + (int64_t)kept * 1000000000);
	expect_lines(behind, item.position + 1, n);
	spool_reader_free(behind);
}

// Losses that were told inside of what is dropped count as well.
static void dropped_losses_are_counted(void **state)
{
	(void)state;
	struct spool_item item;
	open_spool(&small);
	spool_lose(spool, SPOOL_LOST_BY_DOCKER, 1000, 5, 1, 2);
	uint64_t n = fill(0);
	for (uint64_t end = n + 200; n < end; n += 10)
		assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	struct spool_reader *reader = spool_reader_new(spool);
	assert_true(spool_reader_next(reader, &item));
	// The loss was item 0.
	assert_int_equal(item.loss.lines, item.position + 1000);
	assert_int_equal(item.loss.first_ns, 1);
	expect_lines(reader, item.position, n);
	spool_reader_free(reader);
}

static void drops_newest_behind_the_reserve(void **state)
{
	(void)state;
	struct spool_item item;
	open_spool(&small);
	uint64_t n = fill(0), kept = n;
	for (;; n += 10) {
		assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_NEWEST), 0);
		kept = spool_tail(spool);
		if (kept == n)
			break;
	}
	n += 10;
	assert_true(spool_bytes(spool) > small.container_bytes + SPOOL_RESERVE - 20000);
	assert_true(spool_bytes(spool) <= small.container_bytes + SPOOL_RESERVE);
	assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_NEWEST), 0);
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 0, kept);
	assert_false(spool_reader_next(reader, &item));
	spool_confirm(spool, kept);
	turn();
	// With room again it is told without anybody asking.
	struct spool_loss loss = expect_loss(reader, SPOOL_LOST_FULL, 20);
	assert_int_equal(loss.first_ns, TIME_0 + (int64_t)kept * 1000000000);
	assert_int_equal(loss.last_ns, TIME_0 + (int64_t)(kept + 19) * 1000000000);
	assert_int_equal(add(n + 10, 1, 10, SPOOL_FULL_DROP_NEWEST), 0);
	expect_line(reader, n + 10);
	spool_reader_free(reader);
}

static void free_space_floor(void **state)
{
	(void)state;
	const struct spool_limits limits = {
		.container_bytes = (uint64_t)1 << 40, .total_bytes = (uint64_t)1 << 40, .free_percent = 10};
	open_spool(&limits);
	disk.free_percent = 50;
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(add(i, 1, 10, SPOOL_FULL_REFUSE), 0);
	assert_true(disk.looks < 10);
	disk.free_percent = 9;
	uint64_t n = 100;
	while (add(n, 10, 9000, SPOOL_FULL_REFUSE) == 0) {
		n += 10;
		assert_true(n < 1000); // 4 MiB
	}
	assert_int_equal(add(n, 1, 10, SPOOL_FULL_DROP_NEWEST), 0);
	assert_int_equal(spool_tail(spool), n);
	// As much as it writes it gives back.
	uint64_t bytes = spool_bytes(spool);
	assert_int_equal(add(n, 10, 9000, SPOOL_FULL_DROP_OLDEST), 0);
	assert_true(spool_tail(spool) > n && spool_bytes(spool) < bytes);
	disk.free_percent = 11;
	called = 0;
	spool_on_room(spool, call_and_stop, loop);
	while (!called)
		assert_int_equal(loop_run(loop), 0);
	assert_true(spool_has_room(spool));
}

// --- the disk fails ---

static void failed_writes(void **state)
{
	(void)state;
	static const int errors[] = {ENOSPC, EIO, EROFS, EDQUOT};
	open_spool(&small);
	uint64_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		for (size_t part = 0; part < 100; part += 33) {
			for (int truncate = 0; truncate < 2; truncate++) {
				assert_int_equal(add(n, 3, 50, SPOOL_FULL_REFUSE), 0);
				uint64_t bytes = spool_bytes(spool);
				disk.write_error = errors[i];
				disk.write_part = part;
				disk.truncate_error = truncate ? EIO : 0;
				assert_int_equal(add(n + 3, 5, 90, SPOOL_FULL_REFUSE), -errors[i]);
				// No more is tried for a second.
				assert_int_equal(add(n + 3, 5, 90, SPOOL_FULL_REFUSE), -ENOSPC);
				assert_false(spool_has_room(spool));
				assert_int_equal(spool_tail(spool), n + 3);
				assert_int_equal(spool_bytes(spool), bytes);
				disk.write_error = 0;
				disk.truncate_error = 0;
				n += 3;
				if (part == 33) {
					open_again(&small); // what is behind is torn, and cut
				} else {
					called = 0;
					spool_on_room(spool, call_and_stop, loop);
					while (!called)
						assert_int_equal(loop_run(loop), 0);
				}
			}
		}
	}
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 0, n);
	expect_nothing(reader);
	spool_reader_free(reader);
}

static void what_a_failing_disk_drops_is_told(void **state)
{
	(void)state;
	open_spool(&small);
	assert_int_equal(add(0, 3, 50, SPOOL_FULL_DROP_OLDEST), 0);
	disk.write_error = EIO;
	assert_int_equal(add(3, 4, 50, SPOOL_FULL_DROP_OLDEST), 0);
	assert_int_equal(add(7, 4, 50, SPOOL_FULL_DROP_NEWEST), 0);
	assert_int_equal(spool_append_end(spool) < 0, true);
	assert_int_equal(spool_tail(spool), 3);
	disk.write_error = 0;
	called = 0;
	spool_on_room(spool, call_and_stop, loop);
	while (!called)
		assert_int_equal(loop_run(loop), 0);
	struct spool_reader *reader = spool_reader_new(spool);
	struct spool_item item;
	expect_lines(reader, 0, 3);
	expect_loss(reader, SPOOL_LOST_FULL, 8);
	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.kind, SPOOL_END);
	expect_nothing(reader);
	spool_reader_free(reader);
}

// The disk is full before the limits are: the oldest goes for the newest.
static void full_disk_drops_oldest(void **state)
{
	(void)state;
	open_spool(&small);
	uint64_t n = fill(0) / 2;
	spool = spool_remove(spool);
	spool = spool_open(store, ID, NULL);
	for (uint64_t i = 0; i < n; i += 10)
		assert_int_equal(add(i, 10, 1000, SPOOL_FULL_REFUSE), 0);
	disk.write_error = ENOSPC;
	assert_int_equal(add(n, 10, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	disk.write_error = 0;
	struct spool_reader *reader = spool_reader_new(spool);
	struct spool_item item;
	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.kind, SPOOL_LOSS);
	// It did not help: not all of it was given up in vain.
	assert_true(item.position < n / 2);
	expect_lines(reader, item.position + 1, n);
	spool_reader_free(reader);
}

// What has been delivered is kept for as long as a segment is small; not when it is in the way.
static void what_is_confirmed_makes_room(void **state)
{
	(void)state;
	static const int errors[] = {ENOSPC, EDQUOT};
	uint64_t n = 0;
	open_spool(&small);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++, n += 3) {
		assert_int_equal(add(n, 3, 50, SPOOL_FULL_REFUSE), 0);
		spool_confirm(spool, n + 3);
		assert_true(spool_bytes(spool) > 0);
		disk.write_error = errors[i];
		assert_int_equal(add(n + 3, 3, 50, SPOOL_FULL_REFUSE), -errors[i]);
		disk.write_error = 0;
		assert_int_equal(spool_bytes(spool), 0);
		spool_store_sync(store);
		spool = spool_close(spool);
		spool = spool_open(store, ID, NULL);
		assert_int_equal(spool_bytes(spool), 0);
	}
}

// --- the thread ---

static void run_until_synced(unsigned syncs)
{
	while (disk.syncs < syncs) {
		turn();
		usleep(1000);
	}
}

static size_t open_files(void)
{
	size_t count = 0;
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *entry; d && (entry = readdir(d));) {
		_cleanup_free_ char *path = xasprintf("/proc/self/fd/%s", entry->d_name);
		char target[256] = "";
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		count += n > 0 && strstr(target, directory) != NULL;
	}
	if (d)
		closedir(d);
	return count;
}

static void syncs_a_second_later_and_holds_nothing(void **state)
{
	(void)state;
	open_spool(&no_limits);
	assert_int_equal(open_files(), 1); // the store's directory
	assert_int_equal(add(0, 3, 50, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(disk.syncs, 0);
	run_until_synced(1);
	spool_store_sync(store);
	assert_int_equal(open_files(), 1);
	assert_false(disk.signals_open);
	unsigned before = disk.syncs;
	spool_store_sync(store);
	assert_int_equal(disk.syncs, before);
	// 4 MiB do not wait for the second.
	for (uint64_t n = 3; n < 900; n += 3)
		assert_int_equal(add(n, 3, 10000, SPOOL_FULL_REFUSE), 0);
	while (disk.syncs < before + 2)
		usleep(1000);
	// What is delivered needs no sync.
	spool_store_sync(store);
	spool_confirm(spool, spool_tail(spool));
	spool_store_sync(store);
	before = disk.syncs;
	assert_int_equal(add(900, 3, 50, SPOOL_FULL_REFUSE), 0);
	spool_confirm(spool, spool_tail(spool));
	spool_store_sync(store);
	assert_int_equal(disk.syncs, before + 1); // the cursor
	assert_int_equal(open_files(), 1);
	struct spool_reader *reader = spool_reader_new(spool);
	assert_int_equal(add(903, 3, 50, SPOOL_FULL_REFUSE), 0);
	expect_lines(reader, 903, 906);
	spool_reader_rest(reader);
	spool_store_sync(store);
	assert_int_equal(open_files(), 1);
	spool_reader_free(reader);
}

static void a_slow_disk_holds_up_nobody(void **state)
{
	(void)state;
	open_spool(&no_limits);
	disk.sync_waits = true;
	struct spool_reader *reader = spool_reader_new(spool);
	for (uint64_t n = 0; n < 1500; n += 3)
		assert_int_equal(add(n, 3, 10000, SPOOL_FULL_REFUSE), 0);
	expect_lines(reader, 0, 1500);
	spool_confirm(spool, 1500);
	spool_reader_free(reader);
	spool = spool_close(spool);
	spool = spool_open(store, ID, NULL);
	assert_int_equal(spool_head(spool), 1500);
	disk.sync_waits = false;
}

static void after_a_failed_sync_comes_a_new_segment(void **state)
{
	(void)state;
	char *paths[8];
	open_spool(&no_limits);
	assert_int_equal(add(0, 3, 50, SPOOL_FULL_REFUSE), 0);
	disk.sync_error = EIO;
	spool_store_sync(store);
	disk.sync_error = 0;
	assert_int_equal(add(3, 3, 50, SPOOL_FULL_REFUSE), 0);
	size_t count = segment_files(paths, ARRAY_SIZE(paths));
	assert_int_equal(count, 2);
	free_paths(paths, count);
	assert_int_equal(add(6, 3, 50, SPOOL_FULL_REFUSE), 0);
	spool_confirm(spool, 1);
	disk.sync_error = EIO;
	spool_store_sync(store);
	spool_store_sync(store);
	disk.sync_error = 0;
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 1, 9);
	expect_nothing(reader);
	spool_reader_free(reader);
	// Told by the loop, if it runs.
	assert_int_equal(add(9, 3, 50, SPOOL_FULL_REFUSE), 0);
	disk.sync_error = EIO;
	run_until_synced(disk.syncs + 1);
	spool = spool_close(spool); // before it was told
	disk.sync_error = 0;
}

static void callbacks(void **state)
{
	(void)state;
	unsigned appended = 0;
	open_spool(&no_limits);
	called = 0;
	spool_on_append(spool, count_call, &appended);
	for (uint64_t n = 0; n < 5; n++)
		assert_int_equal(add(n, 1, 10, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(called, 0);
	turn();
	assert_int_equal(called, 1);
	spool_on_append(spool, NULL, NULL);
	spool_on_confirm(spool, count_call, NULL);
	spool_confirm(spool, 2);
	spool_confirm(spool, 2);
	spool_confirm(spool, 1);
	turn();
	assert_int_equal(called, 2);
	// Closed before it is told.
	spool_confirm(spool, 3);
	spool = spool_close(spool);
	turn();
	assert_int_equal(called, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_teardown)
#define FAST(name) cmocka_unit_test_setup_teardown(name, setup_fast, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(refuses_and_tells_of_room),
		TEST(an_empty_spool_takes_any_batch),
		TEST(all_together),
		TEST(drops_oldest),
		TEST(dropped_losses_are_counted),
		TEST(drops_newest_behind_the_reserve),
		TEST(free_space_floor),
		FAST(failed_writes),
		FAST(what_a_failing_disk_drops_is_told),
		TEST(full_disk_drops_oldest),
		TEST(what_is_confirmed_makes_room),
		TEST(syncs_a_second_later_and_holds_nothing),
		TEST(a_slow_disk_holds_up_nobody),
		TEST(after_a_failed_sync_comes_a_new_segment),
		TEST(callbacks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
