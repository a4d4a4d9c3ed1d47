"""A writer of bbolt files (format version 2): small buckets inline, larger ones as a leaf page, and those with many entries
as leaves below a branch."""

import struct

PAGE_SIZE = 4096
BRANCH, LEAF, META, FREELIST = 1, 2, 4, 16
INLINE_MAX = PAGE_SIZE // 4
ENTRIES_MAX = 8      # of a leaf page
MAGIC, VERSION = 0xED0CDAED, 2


def fnv64a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def _leaf(entries, bucket=0):
    """A leaf's bytes behind the page header: its elements, then keys and values."""
    table, content = b"", b""
    start = 16 * len(entries)
    for number, (key, value) in enumerate(entries):
        position = start - 16 * number + len(content)
        table += struct.pack("<IIII", bucket, position, len(key), len(value))
        content += key + value
    return table + content


def _branch(entries):
    table, content = b"", b""
    start = 16 * len(entries)
    for number, (key, page) in enumerate(entries):
        table += struct.pack("<IIQ", start - 16 * number + len(content), len(key), page)
        content += key
    return table + content


class _Pages:
    def __init__(self):
        self.data = bytearray(3 * PAGE_SIZE)
        self._header(0, 2, FREELIST, 0, 0)

    def _header(self, _, number, flags, count, overflow):
        struct.pack_into("<QHHI", self.data, number * PAGE_SIZE, number, flags, count, overflow)

    @property
    def count(self):
        return len(self.data) // PAGE_SIZE

    def add(self, flags, count, content):
        number, size = self.count, 16 + len(content)
        pages = -(-size // PAGE_SIZE)
        self.data += bytes(pages * PAGE_SIZE)
        self._header(0, number, flags, count, pages - 1)
        start = number * PAGE_SIZE + 16
        self.data[start:start + len(content)] = content
        return number

    def meta(self, number, root, transaction, version=VERSION):
        body = struct.pack("<IIIIQQQQQ", MAGIC, version, PAGE_SIZE, 0, root, 0, 2, self.count, transaction)
        self._header(0, number, META, 0, 0)
        struct.pack_into("<56sQ", self.data, number * PAGE_SIZE + 16, body, fnv64a(body))


def _bucket(pages, entries):
    """The value of a bucket's entry in the root: its page, or itself."""
    content = _leaf(entries)
    if 16 + len(content) <= INLINE_MAX:
        return struct.pack("<QQ", 0, 0) + struct.pack("<QHHI", 0, LEAF, len(entries), 0) + content
    parts = [entries[i:i + ENTRIES_MAX] for i in range(0, len(entries), ENTRIES_MAX)]
    leaves = [(part[0][0], pages.add(LEAF, len(part), _leaf(part))) for part in parts]
    root = leaves[0][1] if len(leaves) == 1 else pages.add(BRANCH, len(leaves), _branch(leaves))
    return struct.pack("<QQ", root, 0)


def write(path, buckets, version=VERSION):
    """buckets: {name: {key: value}}, all bytes."""
    pages = _Pages()
    values = [(name, _bucket(pages, sorted(buckets[name].items()))) for name in sorted(buckets)]
    root = pages.add(LEAF, len(values), _leaf(values, bucket=1))
    pages.meta(0, root, 2, version)
    pages.meta(1, root, 3, version)
    with open(path, "wb") as file:
        file.write(pages.data)
