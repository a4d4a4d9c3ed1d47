// What the way from a FIFO to the spool costs (docs/PERFORMANCE.md): a stand-in for dockerd writes one record per write(2) into a
// FIFO; the reader on its own core (a) decodes and discards, (b) is that of ecs-logd (logging/stream.h) with a spool that is
// synced as configured, by a thread on the same core.
//
//   spool_bench DIRECTORY [SECONDS]     for lines of 100 bytes and of 1 KiB: their size, lines/s and CPU seconds for a million
//                                       lines of (a), the same of (b), and how many times as fast (b) was

#include "common/util.h"
#include "logging/spool.h"
#include "logging/stream.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define BEHIND \
	64 // turns of the loop that are not confirmed: a destination some way behind, so that all has to be synced
#define ROUNDS 8 // of both by turns: what else the machine does meets both

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

static int open_fifo(const char *path)
{
	if (mkfifo(path, 0600) < 0)
		die(path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_SETPIPE_SZ, STREAM_PIPE_BYTES) < 0)
		die(path);
	return fd;
}

// Bytes of the whole records at the start of what was read.
static size_t walk(const char *data, size_t len, uint64_t *lines)
{
	struct record record;
	size_t at = 0, used;

	while (record_next(data + at, len - at, &used, &record) == RECORD_OK) {
		(*lines)++;
		at += used;
	}
	return at;
}

static uint64_t discard(int fifo, double end)
{
	static char data[STREAM_PIPE_BYTES];
	uint64_t lines = 0;
	size_t have = 0;

	while (now() < end) {
		ssize_t n = read(fifo, data + have, SPOOL_BATCH_MAX);
		if (n <= 0)
			die("read");
		have += (size_t)n;
		size_t done = walk(data, have, &lines);
		memmove(data, data + done, have - done);
		have -= done;
	}
	return lines;
}

struct bench {
	struct loop *loop;
	struct streams *streams;
	struct spool_store *store;
	struct spool *spool;
	uint32_t fifos;
	uint64_t turns, tails[BEHIND];
};

static void on_append(void *arg)
{
	struct bench *bench = arg;

	bench->tails[bench->turns++ % BEHIND] = spool_tail(bench->spool);
	spool_confirm(bench->spool, bench->tails[bench->turns % BEHIND]);
}

static void on_time(void *arg)
{
	loop_stop(arg);
}

static void on_end(struct stream *stream, void *arg)
{
	(void)stream, (void)arg;
	errno = EPIPE;
	die("FIFO");
}

static uint64_t spool_it(struct bench *bench, const char *fifo, double seconds)
{
	struct stream_options options = {.path = fifo, .number = ++bench->fifos, .blocking = true};
	struct stream_counters counters = {0};
	struct error err = {0};
	struct timer timer;
	struct stream *stream = stream_open(bench->streams, &options, bench->spool, &counters, on_end, bench, &err);

	if (!stream) {
		fprintf(stderr, "%s\n", err.message);
		exit(1);
	}
	timer_init(&timer, bench->loop, on_time, bench->loop);
	timer_start(&timer, (uint64_t)(seconds * 1000));
	loop_run(bench->loop);
	timer_done(&timer);
	stream_free(stream);
	if (counters.garbage || counters.stalls) {
		fprintf(stderr, "not all was read: %ju bytes of garbage, %ju stalls\n", (uintmax_t)counters.garbage,
			(uintmax_t)counters.stalls);
		exit(1);
	}
	return counters.lines;
}

struct figures {
	double lines, seconds, cpu;
};

// Reads a new FIFO for a while, and adds what that was to the figures.
static void measure(struct bench *bench, const char *path, size_t size, double seconds, bool spooled,
		    struct figures *figures)
{
	int fifo = open_fifo(path);
	pid_t writer = start_writer(path, size);
	double begin = now(), cpu = cpu_seconds();

	figures->lines += (double)(spooled ? spool_it(bench, path, seconds) : discard(fifo, begin + seconds));
	figures->seconds += now() - begin;
	figures->cpu += cpu_seconds() - cpu;
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	close(fifo);
	unlink(path);
}

static void compare(struct bench *bench, const char *directory, size_t size, double seconds)
{
	_cleanup_free_ char *path = xasprintf("%s/fifo", directory);
	struct figures of[2] = {0};
	double rates[2];

	for (int i = 0; i < 2 * ROUNDS; i++)
		measure(bench, path, size, seconds / ROUNDS, i % 2, &of[i % 2]);
	for (int i = 0; i < 2; i++)
		rates[i] = of[i].lines / of[i].seconds;
	printf("%zu  %.0f %.3f  %.0f %.3f  %.3f\n", size, rates[0], of[0].cpu * 1e6 / of[0].lines, rates[1],
	       of[1].cpu * 1e6 / of[1].lines, rates[1] / rates[0]);
}

int main(int argc, char **argv)
{
	const struct spool_limits limits = {
		.container_bytes = (uint64_t)256 << 20, .total_bytes = (uint64_t)4 << 30, .free_percent = 10};
	struct bench bench = {0};
	double seconds = argc > 2 ? atof(argv[2]) : 6;
	struct error err = {0};

	if (argc < 2) {
		fprintf(stderr, "usage: spool_bench DIRECTORY [SECONDS]\n");
		return 2;
	}
	_cleanup_free_ char *directory = xasprintf("%s/spool", argv[1]);
	pin(1); // the thread that syncs as well
	bench.loop = loop_new(1, &err);
	bench.streams = bench.loop ? streams_new(bench.loop, &err) : NULL;
	bench.store = bench.streams ? spool_store_open(bench.loop, directory, &limits, &err) : NULL;
	bench.spool = bench.store ? spool_open(bench.store, "bench", &err) : NULL;
	if (!bench.spool) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	spool_on_append(bench.spool, on_append, &bench);
	compare(&bench, argv[1], 100, seconds);
	compare(&bench, argv[1], 1024, seconds);
	spool_remove(bench.spool);
	spool_store_free(bench.store);
	streams_free(bench.streams);
	loop_free(bench.loop);
	return 0;
}
