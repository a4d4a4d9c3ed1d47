// Writes numbered lines to standard output at a steady rate, and says how far it got where a kill cannot take it: in a file.
//
//     numbers NAME RATE BYTES STATE
//
// Lines are "NAME 0 xxx", "NAME 1 xxx", ... of BYTES bytes, RATE a second. STATE is a file of struct state, made by whoever
// asks; the program ends when `stop` is set. When it is held up it does not catch up.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 16384

struct state {
	volatile uint64_t written;    // lines that write(2) has taken
	volatile uint64_t longest_ms; // that one write took
	volatile uint64_t stop;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void write_line(struct state *state, const char *line, size_t len)
{
	uint64_t begun = now_ms(), took;

	for (size_t done = 0; done < len;) {
		ssize_t n = write(STDOUT_FILENO, line + done, len - done);

		if (n < 0 && errno != EINTR)
			exit(1);
		done += n < 0 ? 0 : (size_t)n;
	}
	took = now_ms() - begun;
	state->written++;
	if (took > state->longest_ms)
		state->longest_ms = took;
}

int main(int argc, char **argv)
{
	static char line[LINE_MAX_BYTES];
	struct timespec next;
	struct state *state;
	long rate;
	size_t size;
	int fd;

	if (argc != 5)
		return 2;
	rate = atol(argv[2]);
	size = (size_t)atol(argv[3]);
	fd = open(argv[4], O_RDWR | O_CLOEXEC);
	if (rate < 1 || size < 64 || size > sizeof(line) || fd < 0)
		return 2;
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (state == MAP_FAILED)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!state->stop) {
		struct timespec now;

		memset(line, 'x', size);
		line[snprintf(line, size, "%s %llu", argv[1], (unsigned long long)state->written)] = ' ';
		line[size - 1] = '\n';
		write_line(state, line, size);
		next.tv_nsec += 1000000000 / rate;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > next.tv_sec)
			next = now;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return 0;
}
