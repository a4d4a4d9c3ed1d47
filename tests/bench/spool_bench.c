// What the way from a FIFO to the spool costs (docs/PERFORMANCE.md): a stand-in for dockerd writes one record per write(2) into a
// FIFO; the reader on its own core (a) decodes and discards, (b) copies with tee(2), appends to a spool that is synced
// as configured, and consumes only then.
//
//   spool_bench DIRECTORY [SECONDS]     prints lines/s and CPU of both, and (b) / (a), for lines of 100 bytes and of 1 KiB

#include "common/util.h"
#include "logging/spool.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define PIPE_BYTES (1 << 20)
#define BEHIND 1024          // batches that are not confirmed
#define ROUNDS 8             // of both by turns: what else the machine does meets both

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

// A record of stdout with a line of `size` bytes, as dockerd encodes it.
static size_t make_record(char *out, size_t size)
{
	static const char source[] = "\n\006stdout\020\225\232\227\354\343\237\347\313\027\032";
	size_t n = RECORD_HEADER, message;

	memcpy(out + n, source, sizeof(source) - 1);
	n += sizeof(source) - 1;
	if (size > 0x7f)
		out[n++] = (char)(size | 0x80);
	out[n++] = (char)(size > 0x7f ? size >> 7 : size);
	for (size_t i = 0; i < size; i++)
		out[n++] = (char)(' ' + i * 7 % 90);
	message = n - RECORD_HEADER;
	out[0] = out[1] = 0;
	out[2] = (char)(message >> 8);
	out[3] = (char)message;
	return n;
}

static pid_t start_writer(const char *fifo, size_t size)
{
	static char record[4096];
	size_t len = make_record(record, size);
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(0);
	int fd = open(fifo, O_RDWR);
	if (fd < 0)
		die(fifo);
	while (write(fd, record, len) == (ssize_t)len)
		;
	_exit(1);
}

struct walk {
	size_t len;
	unsigned lines;
	int64_t first_ns, last_ns;
};

// The whole records at the start of what was read.
static struct walk walk(const char *data, size_t len)
{
	struct walk walk = {0};
	struct record record;
	size_t used;

	while (record_next(data + walk.len, len - walk.len, &used, &record) == RECORD_OK) {
		if (walk.lines++ == 0)
			walk.first_ns = record.time_ns;
		walk.last_ns = record.time_ns;
		walk.len += used;
	}
	return walk;
}

static char data[PIPE_BYTES];

static uint64_t discard(int fifo, double end)
{
	uint64_t lines = 0;
	size_t have = 0;

	while (now() < end) {
		ssize_t n = read(fifo, data + have, SPOOL_BATCH_MAX - have);
		if (n <= 0)
			die("read");
		have += (size_t)n;
		struct walk w = walk(data, have);
		memmove(data, data + w.len, have - w.len);
		have -= w.len;
		lines += w.lines;
	}
	return lines;
}

struct copier {
	int fifo, null, copy[2];
	struct loop *loop;
	struct spool_store *store;
	struct spool *spool;
	uint64_t lines, batches, tails[BEHIND];
	double end;
};

static void copy_once(struct copier *c)
{
	ssize_t n = tee(c->fifo, c->copy[1], SPOOL_BATCH_MAX, 0);
	if (n <= 0)
		die("tee");
	n = read(c->copy[0], data, (size_t)n);
	if (n <= 0)
		die("read");
	struct walk w = walk(data, (size_t)n);
	if (w.len == 0)
		return;
	int r = spool_append(c->spool, 1, data, w.len, w.lines, w.first_ns, w.last_ns, SPOOL_FULL_REFUSE);
	if (r < 0) {
		errno = -r;
		die("spool_append");
	}
	for (size_t left = w.len; left > 0;) {
		n = splice(c->fifo, NULL, c->null, NULL, left, 0);
		if (n <= 0)
			die("splice");
		left -= (size_t)n;
	}
	c->lines += w.lines;
	// A destination that is some way behind, so that all has to be synced.
	c->tails[c->batches % BEHIND] = spool_tail(c->spool);
	c->batches++;
	spool_confirm(c->spool, c->tails[c->batches % BEHIND]);
}

static void on_turn(void *arg)
{
	struct copier *c = arg;

	for (int i = 0; i < 4; i++)
		copy_once(c);
	if (now() < c->end)
		loop_defer(c->loop, on_turn, c);
	else
		loop_stop(c->loop);
}

static uint64_t spool_it(struct copier *c, double end)
{
	c->lines = 0;
	c->end = end;
	loop_defer(c->loop, on_turn, c);
	loop_run(c->loop);
	return c->lines;
}

static void measure(struct copier *c, const char *directory, size_t size, double seconds)
{
	_cleanup_free_ char *fifo = xasprintf("%s/fifo", directory);
	double discarded = 0, spooled = 0, discard_cpu = 0, spool_cpu = 0;

	if (mkfifo(fifo, 0600) < 0)
		die(fifo);
	c->fifo = open(fifo, O_RDWR | O_CLOEXEC);
	if (c->fifo < 0 || fcntl(c->fifo, F_SETPIPE_SZ, PIPE_BYTES) < 0)
		die(fifo);
	pid_t writer = start_writer(fifo, size);
	for (int i = 0; i < ROUNDS; i++) {
		double cpu = cpu_seconds();
		discarded += (double)discard(c->fifo, now() + seconds / ROUNDS);
		discard_cpu += cpu_seconds() - cpu;
		// The discarding reader may have stopped inside a record.
		char left[PIPE_BYTES];
		size_t used = 0;
		ssize_t n = tee(c->fifo, c->copy[1], SPOOL_BATCH_MAX, 0);
		n = n > 0 ? read(c->copy[0], left, (size_t)n) : 0;
		struct record record;
		if (n > 0 && record_next(left, (size_t)n, &used, &record) == RECORD_LOST &&
		    read(c->fifo, left, used) < 0)
			die("read");
		cpu = cpu_seconds();
		spooled += (double)spool_it(c, now() + seconds / ROUNDS);
		spool_cpu += cpu_seconds() - cpu;
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	close(c->fifo);
	unlink(fifo);
	printf("%5zu bytes  discard %9.0f lines/s (%.2f CPU s a million)  spool %9.0f (%.2f)  ratio %.2f\n", size,
	       discarded / seconds, discard_cpu * 1e6 / discarded, spooled / seconds, spool_cpu * 1e6 / spooled,
	       spooled / discarded);
}

int main(int argc, char **argv)
{
	const struct spool_limits limits = {
		.container_bytes = (uint64_t)256 << 20, .total_bytes = (uint64_t)4 << 30, .free_percent = 10};
	struct copier c = {.null = open("/dev/null", O_WRONLY | O_CLOEXEC)};
	double seconds = argc > 2 ? atof(argv[2]) : 6;
	struct error err = {0};

	if (argc < 2) {
		fprintf(stderr, "usage: spool_bench DIRECTORY [SECONDS]\n");
		return 2;
	}
	_cleanup_free_ char *directory = xasprintf("%s/spool", argv[1]);
	pin(1); // the thread that syncs as well
	c.loop = loop_new(1, &err);
	c.store = spool_store_open(c.loop, directory, &limits, &err);
	c.spool = c.store ? spool_open(c.store, "bench", &err) : NULL;
	if (!c.spool) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	if (pipe2(c.copy, O_CLOEXEC) < 0 || fcntl(c.copy[1], F_SETPIPE_SZ, PIPE_BYTES) < 0)
		die("pipe");
	measure(&c, argv[1], 100, seconds);
	measure(&c, argv[1], 1024, seconds);
	spool_remove(c.spool);
	spool_store_free(c.store);
	loop_free(c.loop);
	return 0;
}
