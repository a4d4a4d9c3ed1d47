// A destination in the place of all three, which does what a test says. One is open at a time. Instead of the real ones: nothing
// else may be called of theirs.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/destination.h"

struct destination {
	struct spool *spool;
};
static struct {
	struct destination *open; // NULL: none is
	unsigned opens, wakes, flushes, asks;
	void (*answer)(const struct error *refusal, void *arg);
	void *arg;
	char tag[32]; // it was opened with
	bool wrong;   // check() fails
} fake;

static inline int fake_check(const struct stream_settings *settings, struct error *err)
{
	(void)settings;
	return fake.wrong ? error_set(err, EINVAL, "wrong") : 0;
}

static inline struct destination *fake_open(const struct destination_host *host, const struct stream_settings *settings,
					    struct spool *from, struct delivery *delivery)
{
	(void)host, (void)delivery;
	assert_null(fake.open);
	fake.open = xcalloc(1, sizeof(*fake.open));
	fake.open->spool = from;
	fake.opens++;
	snprintf(fake.tag, sizeof(fake.tag), "%s", settings->tag);
	return fake.open;
}

static inline void fake_ask(struct destination *d, void (*answer)(const struct error *refusal, void *arg), void *arg)
{
	assert_ptr_equal(d, fake.open);
	fake.asks++;
	fake.answer = answer;
	fake.arg = arg;
}

static inline void fake_wake(struct destination *d)
{
	assert_ptr_equal(d, fake.open);
	fake.wakes++;
}

static inline void fake_flush(struct destination *d)
{
	assert_ptr_equal(d, fake.open);
	fake.flushes++;
}

static inline struct destination *fake_free(struct destination *d)
{
	assert_ptr_equal(d, fake.open);
	fake.open = NULL;
	fake.answer = NULL; // it answers no more
	free(d);
	return NULL;
}

static inline void answer(const struct error *refusal)
{
	void (*callback)(const struct error *, void *) = TAKE(fake.answer);

	assert_non_null(callback);
	callback(refusal, fake.arg);
}

const struct destination_class destination_awslogs = {.driver = "awslogs",
						      .check = fake_check,
						      .open = fake_open,
						      .ask = fake_ask,
						      .wake = fake_wake,
						      .flush = fake_flush,
						      .free = fake_free},
			       destination_fluentd = {.driver = "fluentd",
						      .open = fake_open,
						      .wake = fake_wake,
						      .flush = fake_flush,
						      .free = fake_free},
			       destination_syslog = {.driver = "syslog",
						     .open = fake_open,
						     .wake = fake_wake,
						     .flush = fake_flush,
						     .free = fake_free};
