// What runs in a container whose log is measured: writes numbered lines that look like those of a web server, then sleeps.
// Linked statically.
//
//   log_writer COUNT SIZE RATE BLOCK    so many lines (0: without end) of so many bytes, newline included, a second (0: all it
//                                       can), in writes of at least so many bytes (1: each line is one)

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US 1000
#define NUMBER 10 // digits

static const char *const words[] = {
	"GET",       "/api/v1/items/", "200",    "POST",   "/health",  "user=",    "request_id=", "ms",    "upstream",
	"connected", "INFO",           "WARN",   "order",  "checkout", "302",      "HTTP/1.1",    "cache", "miss",
	"10.0.3.",   "bytes=",         "worker", "retry=", "session",  "db.query", "duration",    "404"};

// "0000000042~" and words with numbers between them.
static void make_line(char *line, size_t size, uint64_t number)
{
	static uint32_t seed = 1;
	size_t at = NUMBER + 1;

	for (size_t i = NUMBER; i-- > 0; number /= 10)
		line[i] = (char)('0' + number % 10);
	line[NUMBER] = '~';
	while (at < size - 1) {
		char word[48];

		seed = seed * 1103515245 + 12345;
		size_t len = (size_t)snprintf(word, sizeof(word), " %s%x", // NOLINT: longest word and 4 digits
					      words[(seed >> 16) % (sizeof(words) / sizeof(*words))], seed >> 20);
		if (len > size - 1 - at)
			len = size - 1 - at;
		memcpy(line + at, word, len);
		at += len;
	}
	line[size - 1] = '\n';
}

static void put(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0)
			exit(1);
		data += n;
		len -= (size_t)n;
	}
}

static uint64_t elapsed_ms(void)
{
	static struct timespec begin;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (begin.tv_sec == 0)
		begin = now;
	return (uint64_t)((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000);
}

// Lines are made once: making them must not be what is measured.
#define KEPT 1024

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	uint64_t count = strtoull(argv[1], NULL, 10), rate = strtoull(argv[3], NULL, 10);
	size_t size = strtoul(argv[2], NULL, 10), at_once = strtoul(argv[4], NULL, 10), have = 0;
	char *lines = malloc(KEPT * size), *block = malloc(at_once + size);

	if (!lines || !block || size < 2 * NUMBER)
		return 2;
	for (size_t i = 0; i < KEPT; i++)
		make_line(lines + i * size, size, i);
	elapsed_ms();
	for (uint64_t number = 0; count == 0 || number < count; number++) {
		char *line = block + have;
		uint64_t rest = number;

		memcpy(line, lines + number % KEPT * size, size);
		for (size_t i = NUMBER; i-- > 0; rest /= 10)
			line[i] = (char)('0' + rest % 10);
		have += size;
		if (have >= at_once) {
			put(block, have);
			have = 0;
			while (rate && number * 1000 > elapsed_ms() * rate)
				usleep(PAUSE_US);
		}
	}
	put(block, have);
	for (;;)
		pause();
}
