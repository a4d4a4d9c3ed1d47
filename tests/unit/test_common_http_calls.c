// The HTTP client's calls against a libevent server on the same loop: cancelling, freeing and sending inside of callbacks; and
// kept connections that a scripted peer on a thread closes.
#include "test_http_server.h"

static void test_cancel_outside(void **state)
{
	struct http_request request = get("/");

	(void)state;
	http_cancel(NULL);
	http_cancel(send_one(&request, 0)->call); // before curl has seen it
	request = get("/hold");
	send_one(&request, 1);
	SETTLE_UNTIL(held_count > 0);
	assert_int_equal(held_count, 1);
	http_cancel(results[1].call);
	settle(10);
	assert_int_equal(results[0].count + results[1].count, 0);
	assert_int_equal(requests, 1);
}

static int cancel_in_data(const char *data, size_t len, void *arg)
{
	struct result *result = arg;

	(void)data, (void)len;
	result->data_count++;
	http_cancel(results[0].call);
	http_cancel(results[1].call);
	http_cancel(results[0].call == result->call ? NULL : result->call);
	return 0;
}

static void cancel_in_headers(long status, void *arg)
{
	(void)status, (void)arg;
	http_cancel(results[2].call);
	client = http_client_free(client);
	loop_stop(loop);
}

static void test_cancel_inside(void **state)
{
	struct http_request hold = get("/hold"), big = get("/big");

	(void)state;
	big.on_data = cancel_in_data;
	send_one(&big, 0);
	send_one(&hold, 1);
	SETTLE_UNTIL(results[0].data_count > 0);
	assert_int_equal(results[0].data_count, 1);
	assert_int_equal(results[0].count + results[1].count, 0);
	// The client itself goes while curl is on the stack, with other calls in all states.
	big.on_headers = cancel_in_headers;
	send_one(&hold, 0);
	send_one(&big, 2);
	SETTLE_UNTIL(!client);
	assert_null(client);
	assert_int_equal(results[0].count + results[2].count, 0);
}

static void free_in_done(const struct http_response *response, void *arg)
{
	struct result *result = arg;

	assert_int_equal(response->result, 0);
	result->count++;
	http_cancel(result->call); // its own call: too late, and harmless
	client = http_client_free(client);
	assert_string_equal(response->header(response, "X-Answer"), "forty two"); // still there
	loop_stop(loop);
}

static void test_free_in_done(void **state)
{
	struct http_request request = get("/");

	(void)state;
	memset(results, 0, sizeof(results));
	results[0].call = http_send(client, &request, free_in_done, &results[0]);
	send_one(&request, 1);
	run(9);
	assert_int_equal(results[0].count, 1);
	settle(10);
	assert_int_equal(results[1].count, 0);
}

static int send_in_data(const char *data, size_t len, void *arg)
{
	struct http_request request = get("/");

	(void)data, (void)len, (void)arg;
	if (!results[1].call)
		send_one(&request, 1);
	return 0;
}

static void send_in_done(const struct http_response *response, void *arg)
{
	struct http_request request = get("/");

	assert_int_equal(response->result, 0);
	((struct result *)arg)->count++;
	send_one(&request, 2);
}

static void test_send_inside(void **state)
{
	struct http_request request = get("/stream");

	(void)state;
	memset(results, 0, sizeof(results));
	request.on_data = send_in_data;
	results[0].call = http_send(client, &request, send_in_done, &results[0]);
	run(2);
	assert_int_equal(results[0].count, 1);
	assert_int_equal(results[1].status, 200);
	assert_int_equal(results[2].status, 200);
}

// --- a peer that closes kept-alive connections ---

static void read_request(int fd)
{
	char text[4096];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			return;
		len += (size_t)n;
		text[len] = '\0';
		if (strstr(text, "\r\n\r\n"))
			return;
	}
}

static void *stale_peer(void *arg)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	int fd = accept(*(int *)arg, NULL, NULL);

	// The second request is read, and the connection closed instead of an answer.
	read_request(fd);
	(void)!write(fd, reply, sizeof(reply) - 1);
	read_request(fd);
	close(fd);
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	(void)!write(fd, reply, sizeof(reply) - 1);
	read_request(fd);
	// The third is answered by half: no retry can help.
	(void)!write(fd, reply, sizeof(reply) - 2);
	close(fd);
	// And on a fresh connection by nothing, and by half a head.
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	close(fd);
	fd = accept(*(int *)arg, NULL, NULL);
	read_request(fd);
	(void)!write(fd, reply, strlen("HTTP/1.1 200 OK\r\nContent-Le"));
	close(fd);
	return NULL;
}

static void test_stale_connection(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct http_request request = {.method = "POST", .url = "http://docker/", .body = "x", .body_len = 1};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	pthread_t thread;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_http_stale_%d.sock", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	pthread_create(&thread, NULL, stale_peer, &fd);
	request.unix_socket = path;
	assert_string_equal(fetch(&request)->body, "ok");
	assert_string_equal(fetch(&request)->body, "ok");
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_true(results[0].sent);
	assert_non_null(strstr(results[0].message, "in the middle of the answer"));
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_non_null(strstr(results[0].message, "before an answer came"));
	assert_int_equal(fetch(&request)->code, -ECONNRESET);
	assert_non_null(strstr(results[0].message, "in the middle of the answer"));
	pthread_join(thread, NULL);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cancel_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_in_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_connection, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
