#include "takeover/bolt.h"

#include "common/util.h"
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

// go.etcd.io/bbolt, internal/common: page.go, meta.go, bucket.go
enum {
	MAGIC = 0,
	VERSION = 4,
	PAGE_SIZE = 8,
	ROOT = 16,
	HIGH_WATER = 40,
	TRANSACTION = 48,
	CHECKSUM = 56,
	META_LEN = 64
};
enum { PAGE_ID = 0, PAGE_FLAGS = 8, PAGE_COUNT = 10, PAGE_OVERFLOW = 12, PAGE_HEADER = 16 };
enum { FLAG_BRANCH = 1, FLAG_LEAF = 2 };
enum { BRANCH_POS = 0, BRANCH_KEY_LEN = 4, BRANCH_PAGE = 8 };
enum { LEAF_FLAGS = 0, LEAF_POS = 4, LEAF_KEY_LEN = 8, LEAF_VALUE_LEN = 12, ELEMENT = 16 };
enum { LEAF_IS_BUCKET = 1 };
enum { BUCKET_ROOT = 0, BUCKET_HEADER = 16 };
#define BOLT_MAGIC 0xED0CDAEDU
#define BOLT_VERSION 2U

struct bolt {
	char *path, *data;
	size_t len, page_size;
	uint64_t pages; // high water mark: no page from here on was ever used
	uint64_t root;
	int fd; // has the lock; -1: none
};

// A run of bytes that hold a page: one page of the file and those that it overflows into, or the inside of a value.
struct node {
	const char *bytes;
	size_t len;
	unsigned flags, count;
	uint64_t id; // 0: inline
};

struct entry {
	const char *key, *value; // value NULL in a branch
	size_t key_len, value_len;
	bool is_bucket;
	uint64_t page; // in a branch
};

// One way through a bucket.
struct walk {
	const struct bolt *bolt;
	int (*visit)(const struct entry *entry, struct walk *walk, struct error *err);
	uint8_t *seen; // a bit for each page
	const char *last_key;
	size_t last_key_len;
	// bolt_each() and its search for the bucket
	const char *name;
	struct entry found;
	int (*caller_visit)(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
			    struct error *err);
	void *arg;
};

static uint16_t u16(const char *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t u32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t u64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

// --- meta pages ---

static bool is_page_size(size_t size)
{
	return size >= BOLT_PAGE_MIN && size <= BOLT_PAGE_MAX && (size & (size - 1)) == 0;
}

// The meta page at offset, or NULL. *version is set where it is whole but of a version that is not ours.
static const char *meta_at(const struct bolt *bolt, size_t offset, uint32_t *version)
{
	if (offset + PAGE_HEADER + META_LEN > bolt->len)
		return NULL;
	const char *meta = bolt->data + offset + PAGE_HEADER;
	if (u32(meta + MAGIC) != BOLT_MAGIC || fnv1a(FNV1A_START, meta, CHECKSUM) != u64(meta + CHECKSUM))
		return NULL;
	if (u32(meta + VERSION) != BOLT_VERSION) {
		*version = u32(meta + VERSION);
		return NULL;
	}
	return is_page_size(u32(meta + PAGE_SIZE)) ? meta : NULL;
}

static int read_meta(struct bolt *bolt, struct error *err)
{
	uint32_t version = BOLT_VERSION;
	const char *best = meta_at(bolt, 0, &version);
	size_t least = best ? u32(best + PAGE_SIZE) : BOLT_PAGE_MIN, most = best ? least : BOLT_PAGE_MAX;
	// Where the first is damaged, the second is at one of the places where it can be.
	for (size_t size = least; size <= most; size *= 2) {
		const char *other = meta_at(bolt, size, &version);
		if (other && u32(other + PAGE_SIZE) == size &&
		    (!best || u64(other + TRANSACTION) > u64(best + TRANSACTION)))
			best = other;
	}
	if (!best && version != BOLT_VERSION)
		return error_set(err, ENOTSUP, "%s: bbolt file of format version %" PRIu32 ", only %u is known",
				 bolt->path, version, BOLT_VERSION);
	if (!best)
		return error_set(err, EBADMSG, "%s: no bbolt file: neither meta page is valid", bolt->path);
	bolt->page_size = u32(best + PAGE_SIZE);
	bolt->root = u64(best + ROOT);
	bolt->pages = u64(best + HIGH_WATER);
	return 0;
}

// --- pages ---

static int damaged(const struct bolt *bolt, uint64_t page, struct error *err, const char *what)
{
	error_set(err, EBADMSG, "%s: damaged: page %" PRIu64 " %s", bolt->path, page, what);
	return -EBADMSG;
}

static int read_header(const struct bolt *bolt, struct node *node, struct error *err)
{
	node->flags = u16(node->bytes + PAGE_FLAGS);
	node->count = u16(node->bytes + PAGE_COUNT);
	if (node->flags != FLAG_BRANCH && node->flags != FLAG_LEAF)
		return damaged(bolt, node->id, err, "is neither branch nor leaf");
	if (node->flags == FLAG_BRANCH && node->count == 0)
		return damaged(bolt, node->id, err, "is an empty branch");
	if (PAGE_HEADER + (size_t)node->count * ELEMENT > node->len)
		return damaged(bolt, node->id, err, "counts more entries than fit");
	return 0;
}

static int find_page(struct walk *walk, uint64_t id, struct node *node, struct error *err)
{
	const struct bolt *bolt = walk->bolt;
	uint64_t last = bolt->len / bolt->page_size;
	if (id < 2 || id >= bolt->pages)
		return damaged(bolt, id, err, "is referred to, which no bucket can have");
	if (id >= last)
		return damaged(bolt, id, err, "lies beyond the end of the file");
	if (walk->seen[id / 8] & (1U << (id % 8)))
		return damaged(bolt, id, err, "is referred to twice");
	walk->seen[id / 8] |= (uint8_t)(1U << (id % 8));
	*node = (struct node){.bytes = bolt->data + id * bolt->page_size, .id = id};
	uint64_t overflow = u32(node->bytes + PAGE_OVERFLOW);
	if (u64(node->bytes + PAGE_ID) != id)
		return damaged(bolt, id, err, "has another number in its header");
	if (overflow >= bolt->pages - id || overflow >= last - id)
		return damaged(bolt, id, err, "overflows beyond the end of the file");
	node->len = (size_t)(overflow + 1) * bolt->page_size;
	return read_header(bolt, node, err);
}

static int read_entry(const struct walk *walk, const struct node *node, unsigned index, struct entry *entry,
		      struct error *err)
{
	size_t at = PAGE_HEADER + (size_t)index * ELEMENT, table_end = PAGE_HEADER + (size_t)node->count * ELEMENT;
	const char *element = node->bytes + at;
	bool leaf = node->flags == FLAG_LEAF;
	uint64_t pos = at + (uint64_t)u32(element + (leaf ? LEAF_POS : BRANCH_POS));
	*entry = (struct entry){
		.key_len = u32(element + (leaf ? LEAF_KEY_LEN : BRANCH_KEY_LEN)),
		.value_len = leaf ? u32(element + LEAF_VALUE_LEN) : 0,
		.is_bucket = leaf && u32(element + LEAF_FLAGS) & LEAF_IS_BUCKET,
		.page = leaf ? 0 : u64(element + BRANCH_PAGE),
	};
	if (leaf && u32(element + LEAF_FLAGS) & ~(uint32_t)LEAF_IS_BUCKET)
		return damaged(walk->bolt, node->id, err, "has an entry with unknown flags");
	if (entry->key_len == 0 || entry->key_len > BOLT_KEY_MAX)
		return damaged(walk->bolt, node->id, err, "has a key of an impossible length");
	if (entry->value_len > BOLT_VALUE_MAX)
		return damaged(walk->bolt, node->id, err, "has a value that is too large");
	if (pos < table_end || pos + entry->key_len + entry->value_len > node->len)
		return damaged(walk->bolt, node->id, err, "has an entry outside of itself");
	entry->key = node->bytes + pos;
	entry->value = leaf ? entry->key + entry->key_len : NULL;
	return 0;
}

// --- buckets ---

static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return r ? r : a_len < b_len ? -1 : a_len > b_len;
}

static int take_entry(struct walk *walk, const struct node *node, const struct entry *entry, struct error *err)
{
	if (walk->last_key && compare(walk->last_key, walk->last_key_len, entry->key, entry->key_len) >= 0)
		return damaged(walk->bolt, node->id, err, "has its keys in no order");
	walk->last_key = entry->key;
	walk->last_key_len = entry->key_len;
	return walk->visit(entry, walk, err);
}

static int walk_page(struct walk *walk, uint64_t id, unsigned depth, struct error *err);

static int walk_node(struct walk *walk, const struct node *node, unsigned depth, struct error *err)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < node->count; i++) {
		struct entry entry;
		if ((r = read_entry(walk, node, i, &entry, err)) < 0)
			return r;
		r = node->flags == FLAG_LEAF ? take_entry(walk, node, &entry, err)
					     : walk_page(walk, entry.page, depth + 1, err);
	}
	return r;
}

static int walk_page(struct walk *walk, uint64_t id, unsigned depth, struct error *err)
{
	struct node node;
	if (depth >= BOLT_DEPTH_MAX)
		return damaged(walk->bolt, id, err, "lies too deep in its tree");
	int r = find_page(walk, id, &node, err);
	return r < 0 ? r : walk_node(walk, &node, depth, err);
}

static int walk_inline(struct walk *walk, const struct entry *bucket, struct error *err)
{
	struct node node = {.bytes = bucket->value + BUCKET_HEADER, .len = bucket->value_len - BUCKET_HEADER};
	if (node.len < PAGE_HEADER)
		return error_set(err, EBADMSG, "%s: damaged: inline bucket %s is cut off", walk->bolt->path,
				 walk->name);
	int r = read_header(walk->bolt, &node, err);
	if (r == 0 && node.flags != FLAG_LEAF)
		r = error_set(err, EBADMSG, "%s: damaged: inline bucket %s is no leaf", walk->bolt->path, walk->name);
	return r < 0 ? r : walk_node(walk, &node, 0, err);
}

static int look_for_bucket(const struct entry *entry, struct walk *walk, struct error *err)
{
	if (compare(entry->key, entry->key_len, walk->name, strlen(walk->name)) != 0)
		return 0;
	if (!entry->is_bucket || entry->value_len < BUCKET_HEADER)
		return error_set(err, EBADMSG, "%s: damaged: %s is no bucket", walk->bolt->path, walk->name);
	walk->found = *entry;
	return 0;
}

static int give_entry(const struct entry *entry, struct walk *walk, struct error *err)
{
	if (entry->is_bucket)
		return error_set(err, EBADMSG, "%s: damaged: bucket %s holds a bucket", walk->bolt->path, walk->name);
	return walk->caller_visit(entry->key, entry->key_len, entry->value, entry->value_len, walk->arg, err);
}

int bolt_each(const struct bolt *bolt, const char *bucket,
	      int (*visit)(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
			   struct error *err),
	      void *arg, struct error *err)
{
	size_t bits = bolt->len / bolt->page_size / 8 + 1;
	_cleanup_free_ uint8_t *seen = xcalloc(1, bits);
	struct walk walk = {.bolt = bolt, .visit = look_for_bucket, .seen = seen, .name = bucket};
	int r = walk_page(&walk, bolt->root, 0, err);
	if (r < 0)
		return r;
	if (!walk.found.value)
		return error_set(err, ENOENT, "%s: there is no bucket %s", bolt->path, bucket);
	struct entry found = walk.found;
	// Pages of the root are no bucket's: the marks stay.
	walk = (struct walk){
		.bolt = bolt, .visit = give_entry, .seen = seen, .name = bucket, .caller_visit = visit, .arg = arg};
	uint64_t root = u64(found.value + BUCKET_ROOT);
	return root ? walk_page(&walk, root, 0, err) : walk_inline(&walk, &found, err);
}

// --- files ---

struct bolt *bolt_parse(const char *path, char *data, size_t len, struct error *err)
{
	struct bolt *bolt = xcalloc(1, sizeof(*bolt));
	*bolt = (struct bolt){.path = xstrdup(path), .data = data, .len = len, .fd = -1};
	return read_meta(bolt, err) < 0 ? bolt_close(bolt) : bolt;
}

static char *read_all(int fd, size_t len)
{
	char *data = xmalloc(len + 1);
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, data + done, len - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n == 0 ? EIO : errno; // shorter than it was a moment ago
			free(data);
			return NULL;
		}
		done += (size_t)n;
	}
	return data;
}

struct bolt *bolt_open(const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set_errno(err, errno, "cannot open %s", path);
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, EBADMSG, "%s is no regular file", path);
		return NULL;
	}
	if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			error_set(err, EWOULDBLOCK, "%s is in use: another process has it open for writing", path);
		else
			error_set_errno(err, errno, "cannot lock %s", path);
		return NULL;
	}
	if (st.st_size > BOLT_FILE_MAX) {
		error_set(err, EBADMSG, "%s has %lld bytes, at most %d are read", path, (long long)st.st_size,
			  BOLT_FILE_MAX);
		return NULL;
	}
	char *data = read_all(fd, (size_t)st.st_size);
	if (!data) {
		error_set_errno(err, errno, "cannot read %s", path);
		return NULL;
	}
	struct bolt *bolt = bolt_parse(path, data, (size_t)st.st_size, err);
	if (bolt)
		bolt->fd = take_fd(&fd);
	return bolt;
}

bool bolt_in_use(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

struct bolt *bolt_close(struct bolt *bolt)
{
	if (!bolt)
		return NULL;
	if (bolt->fd >= 0)
		close(bolt->fd);
	free(bolt->path);
	free(bolt->data);
	free(bolt);
	return NULL;
}
