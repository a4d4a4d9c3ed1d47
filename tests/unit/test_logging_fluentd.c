#include "test_logging_fluentd.h"

#include "logging/destination.h"
#include "logging/fluentd.h"

static struct pool *pool;
static struct destination_host host;
static struct stream_settings settings;
static struct fluentd_settings site;
static struct delivery delivery;
static struct destination *destination;
static struct {
	unsigned count;
	bool refused;
	char text[ERROR_MESSAGE_MAX];
} answered;

static double scale = SCALE;

static int setup(void **state)
{
	if (bed_setup(state) < 0)
		return -1;
	loop = loop_free(loop);
	loop = loop_new(scale, NULL);
	pool = pool_new(loop, POOL_BYTES);
	server_new();
	memset(&site, 0, sizeof(site));
	memset(&answered, 0, sizeof(answered));
	settings = (struct stream_settings){.container_id = (char *)ID,
					    .container_name = (char *)"/name",
					    .tag = (char *)"tag",
					    .hostname = (char *)"host"};
	settings.options.driver = LOG_FLUENTD;
	settings.options.fluentd = (struct log_options_fluentd){
		.address = {.scheme = LOG_TCP, .host = (char *)"127.0.0.1", .port = server.port},
		.retry_wait_ms = 1000};
	open_spool(&no_limits);
	delivery_init(&delivery, loop, "fluentd", ID);
	host = (struct destination_host){.loop = loop, .pool = pool, .fluentd = &site};
	return 0;
}

static int setup_scaled(void **state, double slower)
{
	scale = slower;
	int r = setup(state);
	scale = SCALE;
	return r;
}

// Where the time matters in which a server, which is no faster than usual, reads what it was sent.
static int setup_slow(void **state)
{
	return setup_scaled(state, 20);
}

static int setup_slowest(void **state)
{
	return setup_scaled(state, 2);
}

static void open_destination(void)
{
	destination = destination_fluentd.open(&host, &settings, spool, &delivery);
	spool_on_append(spool, (void (*)(void *))destination_fluentd.wake, destination);
}

static void close_destination(void)
{
	spool_on_append(spool, NULL, NULL);
	destination = destination_fluentd.free(destination);
	assert_int_equal(pool_used(pool), 0);
}

static int teardown(void **state)
{
	close_destination();
	server_free();
	delivery_done(&delivery);
	pool = pool_free(pool);
	return bed_teardown(state);
}

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("what was waited for did not happen: %u lines, %u chunks, %u connections, trouble: %s",
		 server.line_count, server.chunk_count, server.accepted, delivery.trouble ? delivery.trouble : "none");
}

#define run_until(condition)                                                   \
	do {                                                                   \
		struct timer limit_, tick_;                                    \
		timer_init(&limit_, loop, too_long, NULL);                     \
		timer_init(&tick_, loop, stop_loop, loop);                     \
		timer_start(&limit_, (uint64_t)(LIMIT_MS * loop_scale(loop))); \
		while (!(condition)) {                                         \
			timer_start(&tick_, (uint64_t)(2 * loop_scale(loop))); \
			loop_run(loop);                                        \
		}                                                              \
		timer_done(&tick_);                                            \
		timer_done(&limit_);                                           \
	} while (0)

static void run_for(uint64_t ms)
{
	uint64_t until = loop_now(loop) + ms;
	run_until(loop_now(loop) >= until);
}

static bool all_confirmed(void)
{
	return spool_head(spool) == spool_tail(spool);
}

static void add_lines(uint64_t from, uint64_t count, size_t size)
{
	for (uint64_t at = 0; at < count; at += 500)
		assert_int_equal(
			add(from + at, (unsigned)(count - at < 500 ? count - at : 500), size, SPOOL_FULL_REFUSE), 0);
}

// --- without acknowledgements ---
static void test_without_ack(void **state)
{
	(void)state;
	open_destination();
	add_lines(0, 20000, 100);
	run_until(server.line_count >= 20000);
	assert_int_equal(expect_all(20000), 0);
	assert_string_equal(server.last_tag, "tag");
	assert_string_equal(server.last_source, "stdout");
	assert_string_equal(server.chunks[0].id, "");
	run_until(all_confirmed());
	assert_int_equal(delivery.lines, 20000);
	assert_int_equal(delivery.bytes, 20000 * 100);
	assert_int_equal(delivery.retries, 0);
	assert_int_equal(server.accepted, 1);
	// A lone line is not held back.
	add_lines(20000, 1, 10);
	run_until(server.line_count >= 20001);
	assert_int_equal(expect_all(20001), 0);
	run_until(all_confirmed());
}

static void reset_after_chunks(struct server_peer *peer, struct chunk_seen *chunk)
{
	(void)chunk;
	if (server.accepted < 6 && server.chunk_count % 7 == 0)
		peer_close(peer, true);
}

static void test_reset_without_ack(void **state)
{
	(void)state;
	server.on_chunk = reset_after_chunks;
	open_destination();
	add_lines(0, 20000, 200);
	run_until(all_confirmed());
	assert_int_equal(server.accepted, 6);
	expect_all(20000);
	assert_true(delivery.duplicates > 0);
	assert_int_equal(delivery.lines, 20000);
	assert_null(delivery.trouble);
}

static void test_server_gone_while_idle(void **state)
{
	(void)state;
	open_destination();
	add_lines(0, 1, 10);
	run_until(all_confirmed());
	peer_close(&server.peers[0], false);
	run_for(5000);
	assert_int_equal(server.accepted, 1); // nobody needs another
	add_lines(1, 1, 10);
	run_until(all_confirmed());
	assert_int_equal(expect_all(2), 0);
	assert_int_equal(delivery.retries, 0);
}

static void test_first_write_into_a_dead_connection(void **state)
{
	(void)state;
	open_destination();
	add_lines(0, 1, 10);
	run_until(all_confirmed());
	peer_close(&server.peers[0], true);
	add_lines(1, 1, 10); // at once, before the end was seen
	run_until(all_confirmed());
	expect_all(2);
}

static void refuse_peer(struct server_peer *peer)
{
	if (server.accepted < 12)
		peer_close(peer, true);
}

static void test_waits_grow(void **state)
{
	(void)state;
	server.on_accept = refuse_peer;
	open_destination();
	add_lines(0, 1, 10);
	run_until(all_confirmed());
	assert_int_equal(server.accepted, 12);
	for (unsigned i = 1; i < 12; i++) {
		uint64_t waited = server.accepted_at[i] - server.accepted_at[i - 1], wanted = fluentd_retry_ms(i, 1000);
		assert_true(waited >= wanted);
		// Jitter, and what a busy machine takes.
		assert_true(waited <= wanted * 12 / 10 + (uint64_t)(200 * SCALE));
	}
	assert_int_equal(delivery.retries, 11);
	assert_null(delivery.trouble);
}

static void test_retry_curve(void **state)
{
	(void)state;
	static const uint64_t seconds[] = {0, 1, 1, 2, 3, 5, 7, 11, 17, 25, 38, 57, 60, 60};
	for (unsigned i = 0; i < ARRAY_SIZE(seconds); i++)
		assert_int_equal(fluentd_retry_ms(i, 1000), seconds[i] * 1000);
	assert_int_equal(fluentd_retry_ms(3, 500), 1000);
	assert_int_equal(fluentd_retry_ms(1, 120000), 60000);
	assert_int_equal(fluentd_retry_ms(0, 120000), 0);
	// As after ninety minutes and years.
	for (unsigned i = 100; i < 3000; i++)
		assert_int_equal(fluentd_retry_ms(i, 1), 60000);
	assert_int_equal(fluentd_retry_ms(UINT_MAX, INT64_MAX), 60000);
}

static void stop_reading(struct server_peer *peer)
{
	watch_set(peer->watch, 0);
}

static void test_stalled_server_keeps_no_memory(void **state)
{
	(void)state;
	struct pool_user other = {0};
	server.on_accept = stop_reading;
	settings.options.fluentd.write_timeout_ms = 100 * 60000;
	open_destination();
	add_lines(0, 20000, 1000);
	run_until(server.accepted == 1);
	run_for(50000);
	// It holds a part of a chunk until somebody needs the memory.
	assert_true(pool_used(pool) > 0);
	other.granted = stop_loop;
	other.arg = loop;
	assert_false(pool_take(pool, &other, POOL_BYTES));
	run_until(other.held == POOL_BYTES);
	assert_int_equal(pool_used(pool), POOL_BYTES);
	watch_set(server.peers[0].watch, LOOP_READ);
	run_for(1000);
	pool_leave(pool, &other);
	run_until(server.line_count >= 20000);
	assert_int_equal(expect_all(20000), 0);
	run_until(all_confirmed());
	assert_int_equal(server.accepted, 1);
}

static void test_stalled_server_is_left(void **state)
{
	(void)state;
	server.on_accept = stop_reading;
	open_destination();
	add_lines(0, 20000, 1000);
	run_until(server.accepted == 2);
	assert_non_null(delivery.trouble);
	server.on_accept = NULL;
	watch_set(server.peers[1].watch, LOOP_READ);
	run_until(all_confirmed());
	expect_all(20000);
}

static void test_renewal(void **state)
{
	(void)state;
	settings.options.fluentd.async = true;
	settings.options.fluentd.reconnect_interval_ms = 5000;
	open_destination();
	for (uint64_t i = 0; i < 40; i++) {
		add_lines(i, 1, 10);
		run_for(500);
	}
	run_until(all_confirmed());
	assert_true(server.accepted >= 3 && server.accepted <= 8);
	assert_int_equal(expect_all(40), 0);
	assert_int_equal(delivery.retries, 0);
}

static void answer_nonsense(struct server_peer *peer)
{
	peer_write(peer, "HTTP/1.1 400 Bad Request\r\n\r\n\xc1\xc1", 30);
}

static void test_nonsense_is_ignored_without_ack(void **state)
{
	(void)state;
	server.on_accept = answer_nonsense;
	open_destination();
	add_lines(0, 10, 10);
	run_until(all_confirmed());
	assert_int_equal(expect_all(10), 0);
	assert_int_equal(server.accepted, 1);
}

static void test_losses_and_ends(void **state)
{
	(void)state;
	open_destination();
	add_lines(0, 1, 10);
	spool_append_end(spool);
	spool_append_end(spool);
	run_until(all_confirmed());
	assert_int_equal(server.line_count, 1);
	spool_append_end(spool);
	run_until(all_confirmed());
	assert_int_equal(server.chunk_count, 1);
	spool_lose(spool, SPOOL_LOST_FULL, 7, 100, TIME_0, TIME_0 + 1000000000);
	add_lines(1, 1, 10);
	run_until(all_confirmed());
	assert_int_equal(expect_all(2), 0);
	assert_int_equal(delivery.lines, 2); // what we say ourselves does not count
	spool_lose(spool, SPOOL_LOST_FULL, 7, 100, TIME_0, TIME_0 + 1000000000);
	spool_append_end(spool);
	run_until(all_confirmed() && str_starts(server.last_log, "ecs-logd: 7 lines dropped"));
	assert_string_equal(server.last_source, "stderr");
}

// --- with acknowledgements ---
static void test_with_ack(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	open_destination();
	add_lines(0, 20000, 100);
	run_until(all_confirmed());
	assert_int_equal(expect_all(20000), 0);
	assert_int_equal(delivery.lines, 20000);
	for (unsigned i = 0; i < server.chunk_count; i++)
		assert_int_equal(strlen(server.chunks[i].id), FORWARD_ID_LEN);
	assert_int_equal(delivery.unknown_acks, 0);
}

static void never_ack(struct server_peer *peer, struct chunk_seen *chunk)
{
	(void)peer;
	(void)chunk;
}

static void test_window_and_late_acks(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	server.on_chunk = never_ack;
	open_destination();
	add_lines(0, 20000, 1000);
	run_until(server.chunk_count >= 16);
	run_for(2000);
	assert_int_equal(server.chunk_count, 16);
	// Late, and the last one first: nothing is confirmed before all that is in front of it.
	for (unsigned i = 16; i-- > 1;)
		ack_chunk(&server.peers[0], &server.chunks[i]);
	run_for(2000);
	assert_int_equal(spool_head(spool), 0);
	server.on_chunk = NULL;
	ack_chunk(&server.peers[0], &server.chunks[0]);
	run_until(all_confirmed());
	assert_int_equal(expect_all(20000), 0);
	assert_int_equal(server.accepted, 1);
}

static void ack_after_the_first(struct server_peer *peer)
{
	(void)peer;
	if (server.accepted == 2)
		server.on_chunk = NULL;
}

static void test_lost_acks(void **state)
{
	(void)state;
	server.on_accept = ack_after_the_first;
	settings.options.fluentd.request_ack = true;
	server.on_chunk = never_ack;
	open_destination();
	add_lines(0, 5000, 1000);
	run_until(server.chunk_count == 16);
	// One in the middle has arrived and is not sent again.
	ack_chunk(&server.peers[0], &server.chunks[5]);
	run_until(server.accepted == 2);
	assert_true(server.accepted_at[1] - server.accepted_at[0] >= 60000);
	run_until(all_confirmed());
	for (unsigned i = 0, again = 16; i < 16; i++) {
		if (i == 5)
			continue;
		assert_string_equal(server.chunks[again].id, server.chunks[i].id);
		assert_int_equal(server.chunks[again].first, server.chunks[i].first);
		assert_int_equal(server.chunks[again].count, server.chunks[i].count);
		again++;
	}
	expect_all(5000);
	assert_int_equal(delivery.lines, 5000);
	assert_true(delivery.duplicates > 0);
	assert_int_equal(delivery.retries, 1);
}

static void ack_wrongly_first(struct server_peer *peer, struct chunk_seen *chunk)
{
	peer_ack(peer, "AAAAAAAAAAAAAAAAAAAAAA==");
	peer_ack(peer, "short");
	ack_chunk(peer, chunk);
	ack_chunk(peer, chunk); // and again
}

static void test_wrong_acks(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	server.on_chunk = ack_wrongly_first;
	open_destination();
	add_lines(0, 1000, 1000);
	run_until(all_confirmed());
	assert_int_equal(expect_all(1000), 0);
	assert_int_equal(delivery.unknown_acks, 3 * server.chunk_count);
	assert_int_equal(server.accepted, 1);
}

static void ack_small(struct server_peer *peer, struct chunk_seen *chunk)
{
	if (chunk->count <= 2)
		ack_chunk(peer, chunk);
}

static void test_chunks_too_large_for_the_server(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	settings.options.fluentd.read_timeout_ms = 2000; // the time for an acknowledgement
	server.on_chunk = ack_small;
	open_destination();
	add_lines(0, 60, 4000);
	run_until(spool_head(spool) > 0);
	server.on_chunk = NULL;
	run_until(all_confirmed());
	expect_all(60);
}

static void test_same_ids_after_a_restart(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	server.on_chunk = never_ack;
	add_lines(0, 5000, 1000);
	open_destination();
	run_until(server.chunk_count == 16);
	close_destination();
	open_destination();
	run_until(server.chunk_count == 32);
	for (unsigned i = 0; i < 16; i++)
		assert_string_equal(server.chunks[i].id, server.chunks[16 + i].id);
	server.on_chunk = NULL;
	for (unsigned i = 16; i < 32; i++)
		ack_chunk(&server.peers[1], &server.chunks[i]);
	run_until(all_confirmed());
	expect_all(5000);
}

static void test_drops_while_waiting_for_acks(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	spool_set_limit(spool, 1 << 20);
	server.on_chunk = never_ack;
	open_destination();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(i * 100, 100, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	run_until(server.chunk_count == 16);
	for (unsigned i = 20; i < 40; i++)
		assert_int_equal(add(i * 100, 100, 1000, SPOOL_FULL_DROP_OLDEST), 0);
	assert_in_range(spool_bytes(spool), 1, 1 << 20);
	peer_close(&server.peers[0], true);
	server.line_count = 0;
	server.on_chunk = NULL;
	run_until(all_confirmed());
	assert_int_equal(server.lines[server.line_count - 1], 3999);
	for (unsigned i = 1; i < server.line_count; i++)
		assert_int_equal(server.lines[i], server.lines[i - 1] + 1);
}

static void test_nonsense_ends_the_connection_with_ack(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	server.on_accept = answer_nonsense;
	open_destination();
	add_lines(0, 1, 10);
	run_until(server.accepted == 2);
	assert_non_null(strstr(delivery.trouble, "no part of the forward protocol"));
	server.on_accept = NULL;
	run_until(all_confirmed());
	assert_null(delivery.trouble);
}

// --- shared key ---
static void with_key(const char *key)
{
	server.shared_key = "right key";
	site.shared_key = (char *)key;
}

static void test_shared_key(void **state)
{
	(void)state;
	with_key("right key");
	open_destination();
	add_lines(0, 1000, 100);
	run_until(all_confirmed());
	assert_int_equal(expect_all(1000), 0);
	assert_int_equal(server.pings, 1);
}

static void test_shared_key_and_user(void **state)
{
	(void)state;
	with_key("right key");
	server.username = site.username = (char *)"user";
	server.password = site.password = (char *)"password";
	settings.options.fluentd.request_ack = true;
	open_destination();
	add_lines(0, 1000, 100);
	run_until(all_confirmed());
	assert_int_equal(expect_all(1000), 0);
}

static void expect_refusal(const char *text)
{
	open_destination();
	add_lines(0, 10, 100);
	run_until(server.accepted == 2);
	assert_non_null(delivery.trouble);
	if (!strstr(delivery.trouble, text))
		fail_msg("%s", delivery.trouble);
	assert_int_equal(server.line_count, 0);
	assert_int_equal(spool_head(spool), 0);
}

static void test_wrong_key(void **state)
{
	(void)state;
	with_key("wrong key");
	expect_refusal("shared_key mismatch");
	assert_null(strstr(delivery.trouble, "wrong key"));
}

static void test_user_missing(void **state)
{
	(void)state;
	with_key("right key");
	server.username = "user";
	server.password = "password";
	expect_refusal("user name");
}

static void test_key_wanted_and_none_set(void **state)
{
	(void)state;
	with_key(NULL);
	server.peers[0].logged_in = server.peers[1].logged_in = true; // what is sent before HELO is seen is no PING
	server.on_chunk = never_ack;
	open_destination();
	add_lines(0, 10, 100);
	run_until(server.accepted == 2);
	assert_non_null(strstr(delivery.trouble, "wants a shared key and none is set"));
	assert_int_equal(spool_head(spool), 0);
}

static void test_key_set_and_none_wanted(void **state)
{
	(void)state;
	site.shared_key = (char *)"key";
	expect_refusal("has not sent HELO");
}

static void test_without_keepalive(void **state)
{
	(void)state;
	with_key("right key");
	server.no_keepalive = true;
	open_destination();
	add_lines(0, 2000, 100);
	run_until(server.line_count >= 2000);
	run_until(all_confirmed());
	assert_int_equal(expect_all(2000), 0);
	assert_int_equal(server.chunk_count, server.accepted);
	assert_int_equal(delivery.retries, 0);
}

static void test_without_keepalive_with_ack(void **state)
{
	(void)state;
	settings.options.fluentd.request_ack = true;
	test_without_keepalive(state);
}

// --- the start of a container ---
static void on_answer(const struct error *refusal, void *arg)
{
	assert_ptr_equal(arg, &answered);
	answered.count++;
	answered.refused = refusal;
	snprintf(answered.text, sizeof(answered.text), "%s", refusal ? refusal->message : "");
}

static void ask(void)
{
	open_destination();
	destination_fluentd.ask(destination, on_answer, &answered);
	assert_int_equal(answered.count, 0);
	run_until(answered.count > 0);
	run_for(10000);
	assert_int_equal(answered.count, 1);
}

static void test_start_does_not_wait(void **state)
{
	(void)state;
	server_unlisten();
	ask();
	assert_false(answered.refused);
}

static void test_strict_start(void **state)
{
	(void)state;
	site.strict_start = true;
	ask();
	assert_false(answered.refused);
	assert_int_equal(server.accepted, 1);
}

static void test_strict_start_refused(void **state)
{
	(void)state;
	site.strict_start = true;
	server_unlisten();
	ask();
	assert_true(answered.refused);
	assert_non_null(strstr(answered.text, "127.0.0.1"));
	assert_non_null(strstr(answered.text, "refused"));
}

static void test_strict_start_without_an_answer(void **state)
{
	(void)state;
	site.strict_start = true;
	site.shared_key = (char *)"key"; // the server does not greet
	uint64_t before = loop_now(loop);
	ask();
	assert_true(answered.refused);
	assert_true(loop_now(loop) - before >= 3000);
	assert_non_null(strstr(answered.text, "within 3 s"));
}

// --- the operator's settings ---
static void test_settings(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *other_name, *other_value, *error;
	} cases[] = {
		{"ACK", "maybe", NULL, NULL, "ECS_LOGD_FLUENTD_ACK=maybe is not understood"},
		{"STRICT_START", "2", NULL, NULL, "ECS_LOGD_FLUENTD_STRICT_START=2"},
		{"MODE", "zip", NULL, NULL, "expected forward, packed or gzip"},
		{"CERT", "/a", NULL, NULL, "only one of them is set"},
		{"KEY", "/a", NULL, NULL, "only one of them is set"},
		{"USERNAME", "u", NULL, NULL, "without ECS_LOGD_FLUENTD_SHARED_KEY"},
		{"SHARED_KEY", "secret", "SHARED_KEY_FILE", "/dev/null", "both set"},
		{"SHARED_KEY_FILE", "/dev/null", NULL, NULL, "is empty"},
		{"SHARED_KEY_FILE", "/nowhere", NULL, NULL, "/nowhere"},
		{"PASSWORD_FILE", "/dev/zero", NULL, NULL, "/dev/zero"},
	};
	struct fluentd_settings got;
	struct error err;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *name = xasprintf("ECS_LOGD_FLUENTD_%s", cases[i].name);
		_cleanup_free_ char *other =
			xasprintf("ECS_LOGD_FLUENTD_%s", cases[i].other_name ? cases[i].other_name : "X");
		setenv(name, cases[i].value, 1);
		setenv(other, cases[i].other_value ? cases[i].other_value : "", 1);
		assert_true(fluentd_settings_read(&got, &err) < 0);
		if (!strstr(err.message, cases[i].error) || strstr(err.message, "secret"))
			fail_msg("%s: %s", name, err.message);
		assert_null(got.shared_key);
		unsetenv(name);
		unsetenv(other);
	}
	_cleanup_free_ char *path = xasprintf("%s/key", directory);
	assert_int_equal(write_file_atomic(path, "the key\n", 8, 0600), 0);
	setenv("ECS_LOGD_FLUENTD_SHARED_KEY_FILE", path, 1);
	setenv("ECS_LOGD_FLUENTD_MODE", "gzip", 1);
	setenv("ECS_LOGD_FLUENTD_ACK", "true", 1);
	setenv("ECS_LOGD_FLUENTD_CA", "", 1);
	assert_int_equal(fluentd_settings_read(&got, &err), 0);
	assert_string_equal(got.shared_key, "the key");
	assert_int_equal(got.mode, FORWARD_GZIP);
	assert_true(got.ack && !got.strict_start);
	assert_null(got.ca_file);
	fluentd_settings_free(&got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_without_ack),
		cmocka_unit_test_setup_teardown(test_reset_without_ack, setup_slowest, teardown),
		TEST(test_server_gone_while_idle),
		TEST(test_first_write_into_a_dead_connection),
		TEST(test_waits_grow),
		TEST(test_retry_curve),
		TEST(test_stalled_server_keeps_no_memory),
		cmocka_unit_test_setup_teardown(test_stalled_server_is_left, setup_slow, teardown),
		TEST(test_renewal),
		TEST(test_nonsense_is_ignored_without_ack),
		TEST(test_losses_and_ends),
		TEST(test_with_ack),
		TEST(test_window_and_late_acks),
		cmocka_unit_test_setup_teardown(test_lost_acks, setup_slow, teardown),
		TEST(test_wrong_acks),
		TEST(test_chunks_too_large_for_the_server),
		TEST(test_same_ids_after_a_restart),
		TEST(test_drops_while_waiting_for_acks),
		TEST(test_nonsense_ends_the_connection_with_ack),
		TEST(test_shared_key),
		TEST(test_shared_key_and_user),
		TEST(test_wrong_key),
		TEST(test_user_missing),
		TEST(test_key_wanted_and_none_set),
		TEST(test_key_set_and_none_wanted),
		TEST(test_without_keepalive),
		TEST(test_without_keepalive_with_ack),
		TEST(test_start_does_not_wait),
		TEST(test_strict_start),
		TEST(test_strict_start_refused),
		TEST(test_strict_start_without_an_answer),
		TEST(test_settings),
	};
	return cmocka_run_group_tests_name("logging/fluentd", tests, NULL, NULL);
}
