// The thread that waits for the disk, so that the loop never does.
#include "logging/spool_private.h"

#include "common/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

STAILQ_HEAD(jobs, sync_job);

struct sync {
	struct loop *loop;
	int store_fd;
	void (*failed)(struct sync_job *job, void *arg);
	void *arg;
	pthread_t thread;
	int event_fd; // jobs have failed
	struct watch *watch;
	pthread_mutex_t lock; // of what follows
	pthread_cond_t changed;
	struct jobs queue, failures;
	struct sync_job *running;
	bool ending;
};

static void *run(void *arg);
static void on_failures(int fd, unsigned events, void *arg);
static void tell_failures(struct sync *sync);
static void perform(struct sync *sync, struct sync_job *job);
static void job_free(struct sync_job *job);

struct sync *sync_new(struct loop *loop, int store_fd, void (*failed)(struct sync_job *job, void *arg), void *arg,
		      struct error *err)
{
	struct sync *sync = xcalloc(1, sizeof(*sync));
	sigset_t all, before;
	int r;

	*sync = (struct sync){.loop = loop, .store_fd = store_fd, .failed = failed, .arg = arg};
	STAILQ_INIT(&sync->queue);
	STAILQ_INIT(&sync->failures);
	pthread_mutex_init(&sync->lock, NULL);
	pthread_cond_init(&sync->changed, NULL);
	sync->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (sync->event_fd < 0) {
		r = errno;
	} else {
		sigfillset(&all);
		sigdelset(&all, SIGSYS); // or a system call that a filter refuses would end the process
		pthread_sigmask(SIG_SETMASK, &all, &before);
		r = pthread_create(&sync->thread, NULL, run, sync);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (r) {
		error_set_errno(err, r, "cannot start the thread that syncs the spool");
		if (sync->event_fd >= 0)
			close(sync->event_fd);
		free(sync);
		return NULL;
	}
	sync->watch = watch_new(loop, sync->event_fd, LOOP_READ, on_failures, sync);
	return sync;
}

struct sync *sync_free(struct sync *sync)
{
	if (!sync)
		return NULL;
	pthread_mutex_lock(&sync->lock);
	sync->ending = true;
	pthread_cond_broadcast(&sync->changed);
	pthread_mutex_unlock(&sync->lock);
	pthread_join(sync->thread, NULL);
	tell_failures(sync);
	watch_free(sync->watch);
	close(sync->event_fd);
	pthread_cond_destroy(&sync->changed);
	pthread_mutex_destroy(&sync->lock);
	free(sync);
	return NULL;
}

struct sync_job *sync_job_new(struct spool *spool)
{
	struct sync_job *job = xcalloc(1, sizeof(*job));

	*job = (struct sync_job){.spool = spool, .fd = -1, .cursor_fd = -1, .dir_fd = -1};
	return job;
}

void sync_push(struct sync *sync, struct sync_job *job)
{
	pthread_mutex_lock(&sync->lock);
	STAILQ_INSERT_TAIL(&sync->queue, job, entry);
	pthread_cond_broadcast(&sync->changed);
	pthread_mutex_unlock(&sync->lock);
}

void sync_wait(struct sync *sync)
{
	pthread_mutex_lock(&sync->lock);
	while (sync->running || !STAILQ_EMPTY(&sync->queue))
		pthread_cond_wait(&sync->changed, &sync->lock);
	pthread_mutex_unlock(&sync->lock);
	tell_failures(sync);
}

bool sync_busy(struct sync *sync, const struct spool *spool)
{
	struct sync_job *job;
	bool busy;

	pthread_mutex_lock(&sync->lock);
	busy = sync->running && sync->running->spool == spool;
	STAILQ_FOREACH (job, &sync->queue, entry)
		busy = busy || job->spool == spool;
	pthread_mutex_unlock(&sync->lock);
	return busy;
}

void sync_forget(struct sync *sync, struct spool *spool)
{
	struct sync_job *job;

	pthread_mutex_lock(&sync->lock);
	STAILQ_FOREACH (job, &sync->queue, entry)
		if (job->spool == spool)
			job->spool = NULL;
	STAILQ_FOREACH (job, &sync->failures, entry)
		if (job->spool == spool)
			job->spool = NULL;
	if (sync->running && sync->running->spool == spool)
		sync->running->spool = NULL;
	pthread_mutex_unlock(&sync->lock);
}

static void *run(void *arg)
{
	struct sync *sync = arg;

	pthread_mutex_lock(&sync->lock);
	for (;;) {
		struct sync_job *job = STAILQ_FIRST(&sync->queue);

		if (!job && sync->ending)
			break;
		if (!job) {
			pthread_cond_wait(&sync->changed, &sync->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&sync->queue, entry);
		sync->running = job;
		pthread_mutex_unlock(&sync->lock);
		perform(sync, job);
		pthread_mutex_lock(&sync->lock);
		sync->running = NULL;
		if (job->error) {
			STAILQ_INSERT_TAIL(&sync->failures, job, entry);
			(void)eventfd_write(sync->event_fd, 1);
		} else {
			job_free(job);
		}
		pthread_cond_broadcast(&sync->changed);
	}
	pthread_mutex_unlock(&sync->lock);
	return NULL;
}

static void on_failures(int fd, unsigned events, void *arg)
{
	eventfd_t count;

	(void)events;
	(void)eventfd_read(fd, &count);
	tell_failures(arg);
}

static void tell_failures(struct sync *sync)
{
	for (;;) {
		pthread_mutex_lock(&sync->lock);
		struct sync_job *job = STAILQ_FIRST(&sync->failures);
		if (job)
			STAILQ_REMOVE_HEAD(&sync->failures, entry);
		pthread_mutex_unlock(&sync->lock);
		if (!job)
			return;
		sync->failed(job, sync->arg);
		job_free(job);
	}
}

static void note(struct sync_job *job, int result)
{
	if (result < 0 && !job->error)
		job->error = errno;
}

static void perform(struct sync *sync, struct sync_job *job)
{
	if (job->fd >= 0)
		note(job, fdatasync(job->fd));
	if (job->rename_from) // another one may have taken its place
		(void)renameat(sync->store_fd, job->rename_from, sync->store_fd, job->rename_to);
	if (job->dir_fd >= 0)
		note(job, fsync(job->dir_fd));
	if (job->store_dir)
		note(job, fsync(sync->store_fd));
	if (job->cursor_fd >= 0)
		note(job, fdatasync(job->cursor_fd));
	// Whether or not the cursor got there: what is delivered must not fill the disk.
	if (job->unlink && unlinkat(sync->store_fd, job->unlink, 0) < 0 && errno != ENOENT)
		note(job, -1);
	for (size_t i = 0; i < 3; i++) {
		int fd = i == 0 ? job->fd : i == 1 ? job->cursor_fd : job->dir_fd;

		if (fd >= 0)
			close(fd);
	}
}

static void job_free(struct sync_job *job)
{
	free(job->rename_from);
	free(job->rename_to);
	free(job->unlink);
	free(job);
}
