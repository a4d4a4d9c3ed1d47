// Runs one destination on a spool of its own, told record by record what to ship (feed.c ships numbered lines).
//
//     ship DIRECTORY DRIVER [KEY=VALUE ...]
//
// KEY=VALUE: the driver's options; tag= is the tag itself, attribute.NAME= a field of fluentd's records. The spool stays in
// DIRECTORY: a program that was killed goes on where it was. Standard input has one JSON object a line:
//
//     {"line": TEXT, "hex": DIGITS instead, "time": NANOSECONDS, "source": "stderr",
//      "partial": ID, "ordinal": N, "last": true}                                     a record
//     {"numbered": COUNT, "size": BYTES}    records "0 xxx", "1 xxx", ... going on from the last
//     {"end": true}  {"flush": true}        the stream ends; all that is there shall go out
//     {"status": true}                      prints a JSON line: head, tail, and what delivery.h counts
//
// After the end of input it runs until all is confirmed, prints the status and exits. ECSD_CLOCK_SCALE makes its time faster.
#include "common/log.h"
#include "common/util.h"
#include "logging/destination.h"
#include "logging/fluentd.h"
#include "tests/unit/test_log_records.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BATCH_BYTES ((size_t)128 << 10)

static struct loop *loop;
static struct spool_store *store;
static struct spool *spool;
static const struct destination_class *class;
static struct destination *destination;
static struct delivery delivery;
static struct stream_settings settings;
static struct buf input;
static struct watch *watch;
static uint64_t next_number;
static bool input_ended;

static __attribute__((noreturn)) void die(const struct error *err)
{
	fprintf(stderr, "ship: %s\n", err->message);
	exit(1);
}

static void print_status(void)
{
	_cleanup_json_ json_object *status = delivery_status(&delivery);

	json_add_int(status, "Head", (int64_t)spool_head(spool));
	json_add_int(status, "Tail", (int64_t)spool_tail(spool));
	printf("%s\n", json_text(status));
	fflush(stdout);
}

static void stop_when_done(void *arg)
{
	(void)arg;
	if (input_ended && spool_head(spool) == spool_tail(spool))
		loop_stop(loop);
}

static void append(const struct buf *records, unsigned count, int64_t time_ns)
{
	int r = spool_append(spool, 0, records->data, records->len, count, time_ns, time_ns, SPOOL_FULL_REFUSE);

	if (r == 0)
		return;
	fprintf(stderr, "ship: the spool takes no more: %s\n", strerror(-r));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void append_numbered(int64_t count, int64_t size)
{
	_cleanup_free_ char *line = xmalloc((size_t)size + 32);
	struct buf records = {0};
	unsigned batch = 0;
	int64_t time_ns = now_ns();

	while (count-- > 0) {
		size_t len = (size_t)snprintf(line, 32, "%" PRIu64 " ", next_number++);
		if (len < (size_t)size) {
			memset(line + len, 'x', (size_t)size - len);
			len = (size_t)size;
		}
		put_record(&records, &(struct record){.time_ns = time_ns++, .line = line, .len = len});
		batch++;
		if (records.len < BATCH_BYTES && count > 0)
			continue;
		append(&records, batch, time_ns);
		buf_clear(&records);
		batch = 0;
	}
	buf_free(&records);
}

static void append_record(json_object *object, const char *line, const char *hex)
{
	const char *source = json_get_string(object, "source"), *id = json_get_string(object, "partial");
	json_object *time = json_get(object, "time");
	struct record record = {.time_ns = time ? json_object_get_int64(time) : now_ns(),
				.source = str_equal(source, "stderr") ? RECORD_STDERR : RECORD_STDOUT};
	struct buf text = {0}, records = {0};

	for (size_t i = 0; hex && hex[i] && hex[i + 1]; i += 2) {
		char byte = (char)strtoul((const char[]){hex[i], hex[i + 1], '\0'}, NULL, 16);
		buf_append(&text, &byte, 1);
	}
	record.line = hex ? text.data : line;
	record.len = hex ? text.len : strlen(line);
	if (id) {
		record.partial = true;
		record.id = id;
		record.id_len = strlen(id);
		record.ordinal = json_object_get_int(json_get(object, "ordinal"));
		record.last = json_object_get_boolean(json_get(object, "last"));
	}
	put_record(&records, &record);
	append(&records, 1, record.time_ns);
	buf_free(&records);
	buf_free(&text);
}

static void take_line(const char *text, size_t len)
{
	struct error err;
	_cleanup_json_ json_object *object = json_parse(text, len, &err);

	if (!object)
		die(&err);
	const char *line = json_get_string(object, "line"), *hex = json_get_string(object, "hex");
	if (line || hex)
		append_record(object, line, hex);
	else if (json_get(object, "numbered"))
		append_numbered(json_object_get_int64(json_get(object, "numbered")),
				json_object_get_int64(json_get(object, "size")));
	else if (json_get(object, "end"))
		spool_append_end(spool);
	else if (json_get(object, "flush"))
		class->flush(destination);
	else if (json_get(object, "status"))
		print_status();
	else
		die(&(struct error){.message = "an input line has none of line, hex, numbered, end, flush, status"});
}

static void on_input(int fd, unsigned events, void *arg)
{
	char bytes[65536];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	size_t start = 0;

	(void)events;
	(void)arg;
	if (n <= 0) {
		input_ended = true;
		watch = watch_free(watch);
		stop_when_done(NULL);
		return;
	}
	buf_append(&input, bytes, (size_t)n);
	for (char *end; (end = memchr(input.data + start, '\n', input.len - start));) {
		size_t len = (size_t)(end - input.data) - start;
		take_line(input.data + start, len);
		start += len + 1;
	}
	memmove(input.data, input.data + start, input.len - start);
	input.len -= start;
}

static void on_append(void *arg)
{
	(void)arg;
	class->wake(destination);
}

static void read_options(enum log_driver driver, int argc, char **argv)
{
	struct json_pair options[64], attributes[64];
	struct json_map config = {options, 0}, *chosen;
	struct error err;

	settings = (struct stream_settings){.container_id = (char *)CONTAINER,
					    .container_name = (char *)"/ship",
					    .tag = (char *)CONTAINER,
					    .hostname = (char *)"ship-host",
					    .pid = getpid(),
					    .attributes = {attributes, 0}};
	for (int i = 0; i < argc && i < 64; i++) {
		char *value = strchr(argv[i], '=');
		if (!value)
			die(&(struct error){.message = "options are KEY=VALUE"});
		*value++ = '\0';
		if (str_equal(argv[i], "tag"))
			settings.tag = value;
		chosen = str_starts(argv[i], "attribute.") ? &settings.attributes : &config;
		chosen->items[chosen->count++] =
			(struct json_pair){argv[i] + (chosen == &config ? 0 : strlen("attribute.")), value};
	}
	if (log_options_parse(driver, &config, &settings.options, &err) < 0)
		die(&err);
	settings.attributes.items = xmemdup(attributes, sizeof(attributes));
}

int main(int argc, char **argv)
{
	const struct spool_limits limits = {.container_bytes = (uint64_t)4 << 30, .total_bytes = (uint64_t)4 << 30};
	const char *scale = getenv("ECSD_CLOCK_SCALE");
	struct fluentd_settings fluentd;
	enum log_driver driver;
	struct error err;

	if (argc < 3 || !log_driver_parse(argv[2], &driver) || driver == LOG_AWSLOGS)
		die(&(struct error){.message = "usage: ship DIRECTORY fluentd|syslog [KEY=VALUE ...]"});
	log_open(&(struct log_options){.program = "ship", .level = LOG_INFO}, NULL);
	signal(SIGPIPE, SIG_IGN);
	read_options(driver, argc - 3, argv + 3);
	class = driver == LOG_FLUENTD ? &destination_fluentd : &destination_syslog;
	loop = loop_new(scale ? strtod(scale, NULL) : 1, &err);
	if (!loop || fluentd_settings_read(&fluentd, &err) < 0 || (class->check && class->check(&settings, &err) < 0) ||
	    !(store = spool_store_open(loop, argv[1], &limits, &err)) || !(spool = spool_open(store, CONTAINER, &err)))
		die(&err);
	struct pool *pool = pool_new(loop, POOL_BYTES);
	struct destination_host host = {.loop = loop, .pool = pool, .fluentd = &fluentd};
	next_number = spool_tail(spool);
	delivery_init(&delivery, loop, argv[2], CONTAINER);
	destination = class->open(&host, &settings, spool, &delivery);
	spool_on_append(spool, on_append, NULL);
	spool_on_confirm(spool, stop_when_done, NULL);
	watch = watch_new(loop, 0, LOOP_READ, on_input, NULL);
	loop_run(loop);
	print_status();
	destination = class->free(destination);
	delivery_done(&delivery);
	spool = spool_close(spool);
	store = spool_store_free(store);
	pool = pool_free(pool);
	loop = loop_free(loop);
	fluentd_settings_free(&fluentd);
	log_options_free(&settings.options);
	free(settings.attributes.items);
	buf_free(&input);
	return 0;
}
