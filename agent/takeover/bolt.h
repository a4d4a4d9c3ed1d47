// Read-only reader of bbolt files (go.etcd.io/bbolt, file format version 2), in which the official agent keeps its state.
//
// A file is a row of pages. Pages 0 and 1 are meta pages, each with a checksum; the valid one of the later transaction
// counts. A bucket is a tree of branch and leaf pages, or, a small one, a leaf page within the value of its entry
// (inline). Only meta pages have a checksum: of all others, every offset, count and page number is compared with what
// there can be, each page is part of a bucket once at most, and keys ascend.
#pragma once

#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOLT_FILE_MAX = 256 << 20 }; // bytes; thousands of tasks take some 50 MiB
enum { BOLT_DEPTH_MAX = 16 };       // of a tree; with two entries in each branch page more than the file can hold
enum { BOLT_PAGE_MIN = 1024 };      // bbolt takes the machine's page size
enum { BOLT_PAGE_MAX = 64 << 10 };  // the largest page size of a Linux machine
enum { BOLT_KEY_MAX = 32768 };      // bbolt's own limit
#define BOLT_VALUE_MAX (64U << 20)  // far more than a task with all its containers

struct bolt;

// Reads the whole file, with a shared lock held until bolt_close(): bbolt locks a file that it may write exclusively for as
// long as it is open. Errors: -EWOULDBLOCK somebody has it open for writing, -ENOENT there is none, -EBADMSG damaged,
// -ENOTSUP another version of the format, else what the disk says. Texts name the file.
struct bolt *bolt_open(const char *path, struct error *err);
// The same of bytes in memory, which are taken in any case; path is for error texts.
struct bolt *bolt_parse(const char *path, char *data, size_t len, struct error *err);
// Somebody has the file open for writing. false too where that cannot be told.
bool bolt_in_use(const char *path);
struct bolt *bolt_close(struct bolt *bolt); // NULL is fine; returns NULL

// Visits the entries of a bucket of the topmost level, in the order of their keys. visit's negative result ends it and is
// returned. -ENOENT: no such bucket; -EBADMSG: damage, found before or after some visits.
int bolt_each(const struct bolt *bolt, const char *bucket,
	      int (*visit)(const char *key, size_t key_len, const char *value, size_t value_len, void *arg,
			   struct error *err),
	      void *arg, struct error *err);
