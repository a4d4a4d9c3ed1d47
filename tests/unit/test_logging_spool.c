// The spool: what goes in comes out, in order, across restarts; limits, callbacks and small files (logging/spool.h).
#include "test_spool_bed.h"

static void empty(void **state)
{
	(void)state;
	struct spool_item item;
	open_spool(&no_limits);
	struct spool_reader *reader = spool_reader_new(spool);
	assert_false(spool_reader_next(reader, &item));
	assert_int_equal(spool_head(spool), 0);
	assert_int_equal(spool_tail(spool), 0);
	assert_int_equal(spool_bytes(spool), 0);
	assert_int_equal(spool_oldest_ns(spool), 0);
	assert_null(spool_settings(spool));
	assert_true(spool_has_room(spool));
	spool_reader_free(reader);
	// A start and stop without data leaves nothing.
	_cleanup_free_ char *path = xasprintf("%s/%s", directory, ID);
	close_spool();
	assert_int_equal(access(path, F_OK), -1);
}

static void in_order_and_again_after_a_restart(void **state)
{
	(void)state;
	open_spool(&no_limits);
	struct spool_reader *reader = spool_reader_new(spool);
	for (uint64_t i = 0; i < 1000; i += 10)
		assert_int_equal(add(i, 10, 100, SPOOL_FULL_REFUSE), 0);
	expect_lines(reader, 0, 555);
	spool_reader_rest(reader);
	expect_lines(reader, 555, 1000);
	expect_nothing(reader);
	assert_int_equal(add(1000, 1, 20, SPOOL_FULL_REFUSE), 0);
	expect_line(reader, 1000);
	spool_reader_seek(reader, 3);
	expect_lines(reader, 3, 20);
	spool_confirm(spool, 500);
	assert_int_equal(spool_head(spool), 500);
	expect_line(reader, 500); // what is confirmed is passed over
	spool_reader_free(reader);

	open_again(&no_limits);
	assert_int_equal(spool_head(spool), 500);
	assert_int_equal(spool_tail(spool), 1001);
	assert_int_equal(spool_oldest_ns(spool), TIME_0 + (int64_t)500 * 1000000000);
	reader = spool_reader_new(spool);
	expect_lines(reader, 500, 1001);
	expect_nothing(reader);
	assert_int_equal(add(1001, 5, 20, SPOOL_FULL_REFUSE), 0);
	expect_lines(reader, 1001, 1006);
	spool_reader_free(reader);
}

static void many_segments(void **state)
{
	(void)state;
	uint64_t n = 0;
	open_spool(&no_limits);
	struct spool_reader *reader = spool_reader_new(spool);
	while (spool_bytes(spool) < 5 * SPOOL_SEGMENT_MAX) {
		assert_int_equal(add(n, 100, 2000, SPOOL_FULL_REFUSE), 0);
		n += 100;
	}
	expect_lines(reader, 0, n);
	expect_nothing(reader);
	spool_reader_seek(reader, n / 2);
	expect_lines(reader, n / 2, n);
	uint64_t all = spool_bytes(spool);
	spool_confirm(spool, n / 2);
	assert_true(spool_bytes(spool) <= all / 2 + SPOOL_SEGMENT_MAX);
	assert_int_equal(spool_store_bytes(store), spool_bytes(spool));
	spool_confirm(spool, n);
	assert_true(spool_bytes(spool) < SPOOL_SEGMENT_MAX / 4);
	spool_store_sync(store);
	char *paths[16];
	size_t count = segment_files(paths, ARRAY_SIZE(paths));
	assert_true(count <= 1);
	free_paths(paths, count);
	assert_int_equal(add(n, 1, 20, SPOOL_FULL_REFUSE), 0);
	expect_line(reader, n);
	spool_reader_free(reader);
	open_again(&no_limits);
	assert_int_equal(spool_head(spool), n);
	assert_int_equal(spool_tail(spool), n + 1);
}

static void ends_and_losses(void **state)
{
	(void)state;
	struct spool_item item;
	open_spool(&no_limits);
	assert_int_equal(add(0, 2, 20, SPOOL_FULL_REFUSE), 0);
	spool_lose(spool, SPOOL_LOST_GARBAGE, 0, 77, 1, 2);
	assert_int_equal(add(2, 2, 20, SPOOL_FULL_REFUSE), 0);
	spool_lose(spool, SPOOL_LOST_BY_DOCKER, 5, 0, 3, 4);
	assert_int_equal(spool_append_end(spool), 0);
	assert_int_equal(spool_tail(spool), 7);
	open_again(&no_limits);
	struct spool_reader *reader = spool_reader_new(spool);
	expect_lines(reader, 0, 2);
	struct spool_loss loss = expect_loss(reader, SPOOL_LOST_GARBAGE, 0);
	assert_int_equal(loss.bytes, 77);
	assert_int_equal(loss.first_ns, 1);
	assert_int_equal(loss.last_ns, 2);
	expect_lines(reader, 2, 4);
	expect_loss(reader, SPOOL_LOST_BY_DOCKER, 5);
	assert_true(spool_reader_next(reader, &item));
	assert_int_equal(item.kind, SPOOL_END);
	assert_int_equal(item.position, 6);
	expect_nothing(reader);
	spool_reader_free(reader);
}

static void settings(void **state)
{
	(void)state;
	struct error err = {0};
	open_spool(&no_limits);
	for (int i = 0; i < 3; i++) {
		json_object *object = json_object_new_object();
		json_object_object_add(object, "n", json_object_new_int(i));
		assert_int_equal(spool_store_settings(spool, object, &err), 0);
		json_object_put(object);
		// Before and after the thread has put it in its place.
		for (int k = 0; k < 2; k++) {
			object = spool_settings(spool);
			assert_int_equal(json_object_get_int(json_object_object_get(object, "n")), i);
			json_object_put(object);
			spool_store_sync(store);
		}
	}
	struct stat st;
	_cleanup_free_ char *path = xasprintf("%s/%s/settings.json", directory, ID);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	// Half of newer ones does not count.
	_cleanup_free_ char *newer = xasprintf("%s/%s/settings.new", directory, ID);
	assert_int_equal(write_file_atomic(newer, "{\"n\":", 5, 0600), 0);
	open_again(&no_limits);
	json_object *object = spool_settings(spool);
	assert_int_equal(json_object_get_int(json_object_object_get(object, "n")), 2);
	json_object_put(object);
}

static void each_found(const char *container_id, void *arg)
{
	assert_string_equal(container_id, ID);
	++*(int *)arg;
}

static void found_and_removed(void **state)
{
	(void)state;
	int found = 0;
	open_spool(&no_limits);
	assert_int_equal(add(0, 2, 20, SPOOL_FULL_REFUSE), 0);
	close_spool();
	store = spool_store_open(loop, directory, &no_limits, NULL);
	spool_store_each(store, each_found, &found);
	assert_int_equal(found, 1);
	spool = spool_open(store, ID, NULL);
	assert_string_equal(spool_container_id(spool), ID);
	assert_int_equal(spool_tail(spool), 2);
	spool = spool_remove(spool);
	assert_int_equal(spool_store_bytes(store), 0);
	spool_store_each(store, each_found, &found);
	assert_int_equal(found, 1);
	struct error err = {0};
	assert_null(spool_open(store, "../x", &err));
	assert_null(spool_open(store, "", &err));
}

// What a reader that died had appended and not consumed, or consumed in part.
static void the_last_batch_is_known_again(void **state)
{
	(void)state;
	struct buf fifo = {0};
	size_t len = 0, batch, boundary = 0;
	open_spool(&no_limits);
	assert_false(spool_last_matches(spool, FIFO, "x", 1, &len));
	assert_int_equal(add(0, 3, 100, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(add(3, 3, 100, SPOOL_FULL_REFUSE), 0);
	put_line(&fifo, 3, 100);
	boundary = fifo.len;
	put_line(&fifo, 4, 100);
	put_line(&fifo, 5, 100);
	batch = fifo.len;
	// Of another FIFO, and no records: these are not meant.
	assert_int_equal(spool_append(spool, FIFO + 1, fifo.data, boundary, 1, 0, 0, SPOOL_FULL_REFUSE), 0);
	assert_int_equal(spool_append_end(spool), 0);
	put_line(&fifo, 6, 100);
	open_again(&no_limits);
	for (size_t from = 0; from < batch; from++) {
		size_t there = from % 2 ? fifo.len : batch; // what was written to the FIFO since then
		// A few bytes alone prove nothing, unless the next record follows.
		bool found = spool_last_matches(spool, FIFO, fifo.data + from, there - from, &len);
		if (!found || len != batch - from)
			fail_msg("%zu of %zu bytes consumed: %d, %zu bytes", from, batch, found, len);
	}
	assert_false(spool_last_matches(spool, FIFO, fifo.data + batch, fifo.len - batch, &len));
	assert_false(spool_last_matches(spool, FIFO, fifo.data, batch - 1, &len));
	assert_false(spool_last_matches(spool, FIFO + 2, fifo.data, fifo.len, &len));
	assert_true(spool_last_matches(spool, FIFO + 1, fifo.data, fifo.len, &len));
	assert_int_equal(len, boundary);
	// The same text at another time is another line.
	fifo.data[boundary + 4 + 8 + 3] ^= 1;
	assert_false(spool_last_matches(spool, FIFO, fifo.data + boundary, fifo.len - boundary, &len));
	buf_free(&fifo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(in_order_and_again_after_a_restart, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(many_segments, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(ends_and_losses, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(settings, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(found_and_removed, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(the_last_batch_is_known_again, bed_setup, bed_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
