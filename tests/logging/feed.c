// Feeds numbered records to a spool and ships them by one destination, without Docker: for tests of destinations against real
// receivers, and for measuring them.
//
//     feed driver=syslog spool=DIR [lines=N] [from=N] [size=N] [rate=N] [batch=N] [scale=N] [linger=ms] [LOG-OPT=VALUE ...]
//
// Appends `lines` records from number `from`, each "NUMBER xxx..." of `size` bytes, at `rate` lines a second (0: as fast as the
// spool takes them) in batches of `batch`, every tenth to stderr. What the spool held before is shipped too. Ends when all is
// confirmed, or at SIGTERM. Then one line of JSON tells what the destination counts, and what it cost; the exit status is 0 if
// nothing waits any more. Options of the log driver are as in a task definition; tag, name and id are fixed.
#include "common/http.h"
#include "common/util.h"
#include "logging/cloudwatch.h"
#include "logging/destination.h"
#include "tests/unit/test_log_records.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#define TICK_MS 10
#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct {
	const char *driver, *spool;
	uint64_t lines, from, size, rate, batch, scale, linger;
} arguments = {.size = 100, .batch = 100, .scale = 1};

static struct loop *loop;
static struct spool_store *store;
static struct spool *spool;
static struct delivery delivery;
static struct stream_settings settings;
static const struct destination_class *class;
static struct destination *destination;
static struct timer tick;
static uint64_t appended;
static bool ended;
static double began_s, done_s;

static double seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static __attribute__((noreturn)) void die(const struct error *err)
{
	fprintf(stderr, "feed: %s\n", err->message);
	exit(2);
}

static bool take_argument(const char *name, const char *value)
{
	const struct {
		const char *name;
		uint64_t *number;
		const char **text;
	} known[] = {
		{"driver", NULL, &arguments.driver}, {"spool", NULL, &arguments.spool},
		{"lines", &arguments.lines, NULL},   {"from", &arguments.from, NULL},
		{"size", &arguments.size, NULL},     {"rate", &arguments.rate, NULL},
		{"batch", &arguments.batch, NULL},   {"scale", &arguments.scale, NULL},
		{"linger", &arguments.linger, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcmp(name, known[i].name) != 0)
			continue;
		if (known[i].text)
			*known[i].text = value;
		else if (!parse_uint64(value, known[i].number))
			die(&(struct error){.message = "a number is no number"});
		return true;
	}
	return false;
}

static void add_option(struct json_map *map, const char *name, const char *value)
{
	map->items = xreallocarray(map->items, map->count + 1, sizeof(*map->items));
	map->items[map->count++] = (struct json_pair){.name = xstrdup(name), .value = xstrdup(value)};
}

static void decode_settings(void)
{
	char hostname[HOST_NAME_MAX + 1] = "";
	enum log_driver driver;
	struct error err = {0};

	gethostname(hostname, sizeof(hostname) - 1);
	settings.container_id = xstrdup(CONTAINER);
	settings.container_name = xstrdup("/feed");
	settings.tag = xstrdup(json_map_get(&settings.config, "tag"));
	if (!settings.tag)
		settings.tag = xstrndup(CONTAINER, 12);
	settings.hostname = xstrdup(hostname);
	settings.pid = 4711;
	if (!arguments.driver || !log_driver_parse(arguments.driver, &driver)) {
		error_set(&err, EINVAL, "driver= must be awslogs, fluentd or syslog");
		die(&err);
	}
	if (log_options_parse(driver, &settings.config, &settings.options, &err) < 0)
		die(&err);
	class = driver == LOG_SYSLOG    ? &destination_syslog
		: driver == LOG_FLUENTD ? &destination_fluentd
					: &destination_awslogs;
	if (class->check && class->check(&settings, &err) < 0)
		die(&err);
}

// Appends the next batch; false when the spool is full.
static bool append_batch(unsigned count)
{
	struct buf records = {0};
	_cleanup_free_ char *line = xmalloc(arguments.size + 32);
	int64_t now = wall_ms() * 1000000;
	int r;

	for (unsigned i = 0; i < count; i++) {
		uint64_t number = arguments.from + appended + i;
		size_t len = (size_t)snprintf(line, 32, "%" PRIu64 " ", number);

		if (len < arguments.size) {
			memset(line + len, 'x', arguments.size - len);
			len = arguments.size;
		}
		put_record(&records, &(struct record){.source = number % 10 == 9 ? RECORD_STDERR : RECORD_STDOUT,
						      .time_ns = now,
						      .line = line,
						      .len = len});
	}
	r = spool_append(spool, 1, records.data, records.len, count, now, now, SPOOL_FULL_REFUSE);
	buf_free(&records);
	if (r == 0)
		appended += count;
	return r == 0;
}

static void finish_if_done(void)
{
	if (appended < arguments.lines || spool_head(spool) != spool_tail(spool))
		return;
	done_s = done_s == 0 ? seconds(CLOCK_MONOTONIC) : done_s;
	if ((seconds(CLOCK_MONOTONIC) - done_s) * 1000 >= (double)arguments.linger)
		loop_stop(loop);
}

static void on_tick(void *arg)
{
	double elapsed = seconds(CLOCK_MONOTONIC) - began_s;
	uint64_t due = arguments.rate ? (uint64_t)(elapsed * (double)arguments.rate) : arguments.lines;
	unsigned batches = 0;

	(void)arg;
	if (due > arguments.lines)
		due = arguments.lines;
	while (appended < due && batches++ < 100) {
		uint64_t count = due - appended;

		if (!append_batch((unsigned)(count < arguments.batch ? count : arguments.batch)))
			break;
	}
	if (appended == arguments.lines && !ended) {
		ended = true;
		spool_append_end(spool);
	}
	finish_if_done();
	timer_start(&tick, appended < due ? 0 : (uint64_t)(TICK_MS * loop_scale(loop)));
}

static void on_append(void *arg)
{
	(void)arg;
	class->wake(destination);
}

static void on_signal(int signal, unsigned events, void *arg)
{
	(void)signal, (void)events, (void)arg;
	loop_stop(loop);
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static void report(void)
{
	json_object *status = delivery_status(&delivery);
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	json_add_int(status, "Appended", (int64_t)appended);
	json_add_int(status, "Waiting", (int64_t)(spool_tail(spool) - spool_head(spool)));
	json_add_int(status, "MaxResidentKiB", usage.ru_maxrss);
	json_object_object_add(status, "Seconds", json_object_new_double(seconds(CLOCK_MONOTONIC) - began_s));
	json_object_object_add(status, "CpuSeconds", json_object_new_double(seconds(CLOCK_PROCESS_CPUTIME_ID)));
	puts(json_object_to_json_string_ext(status, JSON_C_TO_STRING_PLAIN));
	json_object_put(status);
}

static void open_all(struct destination_host *host)
{
	static const struct spool_limits limits = {
		.container_bytes = (uint64_t)256 << 20, .total_bytes = (uint64_t)4 << 30, .free_percent = 0};
	struct error err = {0};

	loop = loop_new((double)arguments.scale, &err);
	store = loop ? spool_store_open(loop, arguments.spool, &limits, &err) : NULL;
	spool = store ? spool_open(store, CONTAINER, &err) : NULL;
	host->loop = loop;
	host->http = spool ? http_client_new(loop, &err) : NULL;
	if (!host->http)
		die(&err);
	host->pool = pool_new(loop, POOL_BYTES);
	host->cloudwatch = cloudwatch_new(loop, host->http, environment);
	delivery_init(&delivery, loop, class->driver, CONTAINER);
	spool_on_append(spool, on_append, NULL);
	destination = class->open(host, &settings, spool, &delivery);
}

int main(int argc, char **argv)
{
	struct destination_host host = {0};
	struct watch *term;
	bool waits;

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			die(&(struct error){.message = "arguments are NAME=VALUE"});
		*value++ = '\0';
		if (!take_argument(argv[i], value))
			add_option(&settings.config, argv[i], value);
	}
	if (!arguments.spool)
		die(&(struct error){.message = "spool= must be a directory"});
	decode_settings();
	open_all(&host);
	term = signal_watch_new(loop, SIGTERM, on_signal, NULL);
	timer_init(&tick, loop, on_tick, NULL);
	began_s = seconds(CLOCK_MONOTONIC);
	timer_start(&tick, 0);
	loop_run(loop);
	destination = class->free(destination);
	report();
	waits = spool_head(spool) != spool_tail(spool);
	timer_done(&tick);
	watch_free(term);
	spool_close(spool);
	spool_store_free(store);
	cloudwatch_free(host.cloudwatch);
	pool_free(host.pool);
	http_client_free(host.http);
	delivery_done(&delivery);
	loop_free(loop);
	return waits ? 1 : 0;
}
