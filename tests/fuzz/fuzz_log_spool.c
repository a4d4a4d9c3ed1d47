// A segment of the spool, whatever is in it: read, appended to, and read again. The first byte says whether checksums are
// made right before, as far as batches follow one another.
#include "fuzz_dir.h"
#include "fuzz_loop.h"
#include "logging/spool.h"
#include "logging/spool_segment.h"
#include <sys/stat.h>
#include <xxhash.h>

#define SALT 0x01020304

static uint32_t sum(const void *data, size_t size)
{
	return (uint32_t)XXH3_64bits_withSeed(data, size, SALT);
}

static void make_right(char *file, size_t size)
{
	struct batch batch;
	for (size_t at = 0; size - at >= sizeof(batch);) {
		memcpy(&batch, file + at, sizeof(batch));
		batch.salt = SALT;
		if (batch.len > size - at - sizeof(batch))
			batch.len = (uint32_t)(size - at - sizeof(batch));
		batch.payload_sum = sum(file + at + sizeof(batch), batch.len);
		batch.header_sum = sum(&batch.payload_sum, sizeof(batch) - offsetof(struct batch, payload_sum));
		memcpy(file + at, &batch, sizeof(batch));
		at += sizeof(batch) + batch.len;
	}
}

static void write_segment(const char *directory, const char *file, size_t size)
{
	struct segment segment = {.salt = SALT};
	char name[SEGMENT_NAME_MAX];
	segment_name(&segment, name);
	_cleanup_free_ char *path = xasprintf("%s/one/%s", directory, name);
	_cleanup_free_ char *below = xasprintf("%s/one", directory);
	CHECK(mkdir(below, 0700) == 0);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, file, size) == (ssize_t)size);
	close(fd);
}

// Every number once and in order; returns how many items. Each takes bytes of the file, but for one gap before each batch.
static size_t read_all(struct spool *spool, size_t size)
{
	struct spool_reader *reader = spool_reader_new(spool);
	struct spool_item item;
	uint64_t next = spool_head(spool);
	size_t count = 0;
	for (; spool_reader_next(reader, &item); count++) {
		CHECK(item.position >= next && item.position < spool_tail(spool) && count <= size);
		CHECK(item.position == next || item.kind == SPOOL_LOSS);
		next = item.position + 1;
		if (item.kind == SPOOL_RECORD)
			CHECK(item.record.len <= size);
		if (count % 7 == 0)
			spool_reader_rest(reader);
	}
	CHECK(next == spool_tail(spool));
	spool_reader_free(reader);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct spool_limits limits = {.container_bytes = 1 << 30, .total_bytes = 1 << 30};
	static const char record[] = "\0\0\0\003\032\001x";
	static struct spool_store *store;
	struct loop *loop = fuzz_loop(1);
	if (size == 0 || size > 65536)
		return 0;
	if (!store)
		CHECK((store = spool_store_open(loop, fuzz_dir(), &limits, NULL)));
	_cleanup_free_ char *file = fuzz_bytes(data + 1, --size);
	if (data[0] & 1)
		make_right(file, size);
	write_segment(fuzz_dir(), file, size);
	struct spool *spool = spool_open(store, "one", NULL);
	CHECK(spool);
	size_t count = read_all(spool, size), len;
	(void)spool_last_matches(spool, 1, file, size, &len);
	(void)spool_oldest_ns(spool);
	uint64_t tail = spool_tail(spool);
	CHECK(spool_append(spool, 1, record, sizeof(record) - 1, 1, 0, 0, SPOOL_FULL_DROP_OLDEST) == 0);
	CHECK(spool_tail(spool) == tail + 1 && read_all(spool, size + 64) == count + 1);
	CHECK(spool_last_matches(spool, 1, record, sizeof(record) - 1, &len) && len == sizeof(record) - 1);
	spool_confirm(spool, data[0] & 2 ? tail : tail / 2);
	spool_close(spool);
	spool_store_sync(store);
	spool = spool_open(store, "one", NULL);
	CHECK(spool_head(spool) == (data[0] & 2 ? tail : tail / 2) && spool_tail(spool) == tail + 1);
	read_all(spool, size + 64);
	spool_remove(spool);
	fuzz_turn(loop);
	return 0;
}
