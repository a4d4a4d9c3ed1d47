// What tests of the spool share: a store in a directory of its own, and numbered lines.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "logging/spool.h"
#include "test_log_records.h"
#include "test_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define ID "abcdef"
#define TIME_0 1700000000000000000
#define FIFO 7

static struct loop *loop;
static char directory[64];
static struct spool_store *store;
static struct spool *spool;
static const struct spool_limits no_limits = {
	.container_bytes = (uint64_t)1 << 40, .total_bytes = (uint64_t)1 << 40, .free_percent = 0};

static inline void stop_loop(void *arg)
{
	loop_stop(arg);
}

// What was deferred until now is done.
static inline void turn(void)
{
	loop_defer(loop, stop_loop, loop);
	assert_int_equal(loop_run(loop), 0);
}

static inline int bed_setup(void **state)
{
	(void)state;
	log_open(&(struct log_options){.level = LOG_NONE}, NULL);
	snprintf(directory, sizeof(directory), "%s/ecsd-spool.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	loop = loop_new(1, NULL);
	return loop && mkdtemp(directory) ? 0 : -1;
}

static inline void close_spool(void)
{
	spool = spool_close(spool);
	store = spool_store_free(store);
}

static inline int bed_teardown(void **state)
{
	(void)state;
	close_spool();
	loop = loop_free(loop);
	remove_tree(directory);
	return 0;
}

static inline void open_spool(const struct spool_limits *limits)
{
	struct error err = {0};
	store = spool_store_open(loop, directory, limits, &err);
	if (store)
		spool = spool_open(store, ID, &err);
	if (!store || !spool)
		fail_msg("%s", err.message);
}

static inline void open_again(const struct spool_limits *limits)
{
	close_spool();
	open_spool(limits);
}

// The text of line `number` is the number, filled up to `size` bytes.
static inline void put_line(struct buf *b, uint64_t number, size_t size)
{
	char text[65536];
	int n = snprintf(text, sizeof(text), "%" PRIu64 " ", number);
	assert_true(size < sizeof(text));
	if ((size_t)n < size)
		memset(text + n, 'x', size - (size_t)n);
	put_record(b, &(struct record){.source = RECORD_STDOUT,
				       .time_ns = TIME_0 + (int64_t)number * 1000000000,
				       .line = text,
				       .len = (size_t)n < size ? size : (size_t)n});
}

// Lines from..from+count-1 as one batch.
static inline int add(uint64_t from, unsigned count, size_t size, enum spool_full when_full)
{
	struct buf b = {0};
	for (unsigned i = 0; i < count; i++)
		put_line(&b, from + i, size);
	int r = spool_append(spool, FIFO, b.data, b.len, count, TIME_0 + (int64_t)from * 1000000000,
			     TIME_0 + (int64_t)(from + count - 1) * 1000000000, when_full);
	buf_free(&b);
	return r;
}

static inline uint64_t line_number(const struct record *record)
{
	char text[24] = {0};
	memcpy(text, record->line, record->len < sizeof(text) - 1 ? record->len : sizeof(text) - 1);
	return strtoull(text, NULL, 10);
}

static inline void expect_line(struct spool_reader *reader, uint64_t number)
{
	struct spool_item item;
	if (!spool_reader_next(reader, &item))
		fail_msg("nothing where line %" PRIu64 " is expected", number);
	if (item.kind != SPOOL_RECORD)
		fail_msg("item %" PRIu64 " is of kind %d, line %" PRIu64 " is expected", item.position, item.kind,
			 number);
	assert_int_equal(line_number(&item.record), number);
	assert_int_equal(item.record.time_ns, TIME_0 + (int64_t)number * 1000000000);
}

static inline void expect_lines(struct spool_reader *reader, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		expect_line(reader, from);
}

static inline void expect_nothing(struct spool_reader *reader)
{
	struct spool_item item;
	assert_false(spool_reader_next(reader, &item));
}

static inline struct spool_loss expect_loss(struct spool_reader *reader, enum spool_loss_reason reason, uint64_t lines)
{
	struct spool_item item;
	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.kind, SPOOL_LOSS);
	assert_int_equal(item.loss.reason, reason);
	assert_int_equal(item.loss.lines, lines);
	return item.loss;
}

// Paths of the segments in their order; returns how many.
static inline int path_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}
static inline size_t segment_files(char *paths[], size_t max)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, ID);
	DIR *d = opendir(path);
	size_t count = 0;
	for (struct dirent *entry; d && (entry = readdir(d));)
		if (str_ends(entry->d_name, ".log")) {
			assert_true(count < max);
			paths[count++] = xasprintf("%s/%s", path, entry->d_name);
		}
	if (d)
		closedir(d);
	qsort(paths, count, sizeof(*paths), path_order);
	return count;
}
static inline void free_paths(char *paths[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
}
