#include "logging/resolve.h"

#include "common/util.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#define STACK_BYTES ((size_t)512 << 10) // what modules of the C library's name service may need

struct resolve { // one that waits
	struct lookup *lookup;
	void (*callback)(const struct resolve_answer *answer, void *arg);
	void *arg;
	TAILQ_ENTRY(resolve) next;
};
TAILQ_HEAD(waiting, resolve);

struct lookup {
	char *host;
	struct loop *loop;    // of those who wait; NULL: nobody does
	struct watch *watch;  // of `done`; NULL: nobody waits
	int done;             // eventfd, written once by the thread as its last step
	pthread_t thread;     // it alone touches `answer` until `done`
	struct waiting queue; // belongs to the loop, as all but `answer`
	struct resolve_answer answer;
	LIST_ENTRY(lookup) next;
};

static LIST_HEAD(, lookup) lookups = LIST_HEAD_INITIALIZER(lookups);

static void reap(void);
static struct lookup *join_lookup(struct loop *loop, const char *host);
static struct lookup *start_lookup(struct loop *loop, const char *host);
static void on_done(int fd, unsigned events, void *arg);
static void take_answer(const char *host, int flags, struct resolve_answer *answer);

struct resolve *resolve_start(struct loop *loop, const char *host,
			      void (*callback)(const struct resolve_answer *answer, void *arg), void *arg)
{
	struct resolve *resolve;
	struct lookup *lookup;

	reap();
	lookup = join_lookup(loop, host);
	if (!lookup)
		lookup = start_lookup(loop, host);
	if (!lookup)
		return NULL;
	resolve = xcalloc(1, sizeof(*resolve));
	*resolve = (struct resolve){.lookup = lookup, .callback = callback, .arg = arg};
	TAILQ_INSERT_TAIL(&lookup->queue, resolve, next);
	return resolve;
}

struct resolve *resolve_cancel(struct resolve *resolve)
{
	struct lookup *lookup;

	if (!resolve)
		return NULL;
	lookup = resolve->lookup;
	TAILQ_REMOVE(&lookup->queue, resolve, next);
	free(resolve);
	if (TAILQ_EMPTY(&lookup->queue)) {
		lookup->watch = watch_free(lookup->watch);
		lookup->loop = NULL;
	}
	return NULL;
}

bool resolve_number(const char *host, struct resolve_answer *answer)
{
	take_answer(host, AI_NUMERICHOST, answer);
	return answer->failure == NULL;
}

static void lookup_free(struct lookup *lookup)
{
	watch_free(lookup->watch);
	pthread_join(lookup->thread, NULL); // it has written `done`, and does nothing after that
	close(lookup->done);
	free(lookup->host);
	free(lookup);
}

static bool is_done(const struct lookup *lookup)
{
	uint64_t count;

	return read(lookup->done, &count, sizeof(count)) == sizeof(count);
}

// Forgets what nobody waits for any more and is done.
static void reap(void)
{
	struct lookup *lookup = LIST_FIRST(&lookups), *next;

	for (; lookup; lookup = next) {
		next = LIST_NEXT(lookup, next);
		if (lookup->loop || !is_done(lookup))
			continue;
		LIST_REMOVE(lookup, next);
		lookup_free(lookup);
	}
}

static struct lookup *join_lookup(struct loop *loop, const char *host)
{
	struct lookup *lookup;

	LIST_FOREACH (lookup, &lookups, next) {
		if (strcmp(lookup->host, host) != 0 || (lookup->loop && lookup->loop != loop))
			continue;
		lookup->loop = loop;
		if (!lookup->watch)
			lookup->watch = watch_new(loop, lookup->done, LOOP_READ, on_done, lookup);
		return lookup;
	}
	return NULL;
}

static void *thread_main(void *arg)
{
	struct lookup *lookup = arg;

	take_answer(lookup->host, AI_ADDRCONFIG, &lookup->answer);
	eventfd_write(lookup->done, 1);
	return NULL;
}

// Signals are the loop's; SIGSYS must stay, or a system call that a filter refuses would end the process.
static int start_thread(struct lookup *lookup)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&lookup->thread, &attributes, thread_main, lookup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return r;
}

static struct lookup *start_lookup(struct loop *loop, const char *host)
{
	struct lookup *lookup = xcalloc(1, sizeof(*lookup));
	int r;

	lookup->host = xstrdup(host);
	lookup->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = lookup->done < 0 ? errno : start_thread(lookup);
	if (r != 0) {
		cleanup_close(&lookup->done);
		free(lookup->host);
		free(lookup);
		errno = r;
		return NULL;
	}
	lookup->loop = loop;
	lookup->watch = watch_new(loop, lookup->done, LOOP_READ, on_done, lookup);
	TAILQ_INIT(&lookup->queue);
	LIST_INSERT_HEAD(&lookups, lookup, next);
	return lookup;
}

static void on_done(int fd, unsigned events, void *arg)
{
	struct lookup *lookup = arg;
	struct resolve *resolve;

	(void)fd, (void)events;
	// A callback may cancel others, and ask for this name anew: that is a new lookup.
	lookup->watch = watch_free(lookup->watch);
	LIST_REMOVE(lookup, next);
	while ((resolve = TAILQ_FIRST(&lookup->queue))) {
		TAILQ_REMOVE(&lookup->queue, resolve, next);
		resolve->callback(&lookup->answer, resolve->arg);
		free(resolve);
	}
	lookup_free(lookup);
}

static void take_answer(const char *host, int flags, struct resolve_answer *answer)
{
	struct addrinfo hints = {.ai_flags = flags, .ai_socktype = SOCK_STREAM}, *found = NULL;
	int r = getaddrinfo(host, NULL, &hints, &found);

	answer->count = 0;
	answer->failure = r == 0 ? NULL : gai_strerror(r);
	for (struct addrinfo *a = found; r == 0 && a && answer->count < RESOLVE_MAX; a = a->ai_next) {
		if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
			memcpy(&answer->addresses[answer->count++], a->ai_addr, a->ai_addrlen);
	}
	if (!answer->failure && answer->count == 0)
		answer->failure = "it has no address";
	if (r == 0)
		freeaddrinfo(found);
}
