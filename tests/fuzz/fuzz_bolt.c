// A bbolt file, whatever is in its pages: each entry that is visited lies within it, and a second reading says the same.
// Checksums of meta pages are made to fit, or nothing behind them would ever be reached.
#include "fuzz.h"
#include "takeover/bolt.h"

enum { META_LEN = 56, PAGE_SIZE_AT = 8, HEADER = 16 };

struct seen {
	const char *start, *end;
	size_t count;
	uint64_t sum;
};

static int on_entry(const char *key, size_t key_len, const char *value, size_t value_len, void *arg, struct error *err)
{
	struct seen *seen = arg;
	(void)err;
	CHECK(key_len > 0 && key >= seen->start && value == key + key_len && value + value_len <= seen->end);
	seen->sum = fnv1a(seen->sum, key, key_len + value_len);
	seen->count++;
	return 0;
}

static void seal(char *data, size_t len, size_t at)
{
	if (at + HEADER + META_LEN + sizeof(uint64_t) > len)
		return;
	uint64_t sum = fnv1a(FNV1A_START, data + at + HEADER, META_LEN);
	memcpy(data + at + HEADER + META_LEN, &sum, sizeof(sum));
}

static int read_bucket(const uint8_t *data, size_t size, const char *bucket, struct seen *seen)
{
	struct error err = {0};
	char *copy = fuzz_bytes(data, size);
	uint32_t page_size = 0;
	if (size >= HEADER + PAGE_SIZE_AT + sizeof(page_size))
		memcpy(&page_size, copy + HEADER + PAGE_SIZE_AT, sizeof(page_size));
	seal(copy, size, 0);
	seal(copy, size, page_size);
	struct bolt *bolt = bolt_parse("file", copy, size, &err);
	*seen = (struct seen){.start = copy, .end = copy + size, .sum = FNV1A_START};
	int r = bolt ? bolt_each(bolt, bucket, on_entry, seen, &err) : -err.code;
	CHECK(r == 0 || r == -EBADMSG || r == -ENOTSUP || r == -ENOENT);
	if (r < 0)
		check_reason(err.message);
	bolt_close(bolt);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const buckets[] = {"tasks", "a", "metadata"};
	for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
		struct seen first, second;
		int r = read_bucket(data, size, buckets[i], &first);
		CHECK(read_bucket(data, size, buckets[i], &second) == r);
		CHECK(first.count == second.count && first.sum == second.sum);
	}
	return 0;
}
