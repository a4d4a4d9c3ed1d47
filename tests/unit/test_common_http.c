// The HTTP client against a libevent server on the same loop: requests, bodies, streams, time-outs, proxies.
#include "test_http_server.h"

static void test_get(void **state)
{
	struct http_request request = get("/a/../b?c=%20d");
	struct result *result = fetch(&request);

	(void)state;
	assert_int_equal(result->code, 0);
	assert_int_equal(result->status, 200);
	assert_true(result->sent);
	assert_string_equal(result->answer, "forty two");
	assert_true(str_starts(result->body, "GET /a/../b?c=%20d\nHost: 127.0.0.1:"));
	// Nothing that was not asked for.
	assert_null(strstr(result->body, "Accept"));
	assert_null(strstr(result->body, "User-Agent"));
	assert_null(strstr(result->body, "Content"));
}

static void test_post(void **state)
{
	static const struct http_header headers[] = {{"X-Amz-Target", "A.B"}, {"Empty", ""}, {"Content-Type", "a/b"}};
	struct http_request request = get("/");
	char body[3000];
	struct result *result;

	(void)state;
	memset(body, 'b', sizeof(body));
	request.method = "POST";
	request.headers = headers;
	request.header_count = ARRAY_SIZE(headers);
	request.body = body;
	request.body_len = 1500; // beyond curl's own limit for "Expect: 100-continue"
	result = fetch(&request);
	assert_non_null(strstr(result->body, "Content-Length: 1500\n"));
	assert_non_null(strstr(result->body, "X-Amz-Target: A.B\n"));
	assert_non_null(strstr(result->body, "Empty: \n"));
	assert_non_null(strstr(result->body, "Content-Type: a/b\n"));
	assert_null(strstr(result->body, "Expect"));
	assert_null(strstr(result->body, "Transfer-Encoding"));
	assert_non_null(strstr(result->body, "\n\nbbbbbb"));
	request.body = NULL;
	request.header_count = 0;
	result = fetch(&request);
	assert_true(str_starts(result->body, "POST"));
	assert_non_null(strstr(result->body, "Content-Length: 0\n"));
	assert_null(strstr(result->body, "Content-Type"));
	request.method = "PUT";
	assert_true(str_starts(fetch(&request)->body, "PUT"));
	request.method = "DELETE";
	result = fetch(&request);
	assert_true(str_starts(result->body, "DELETE"));
	assert_null(strstr(result->body, "Content-Length"));
	request.method = "HEAD";
	assert_int_equal(fetch(&request)->status, 200);
}

static void test_reuse(void **state)
{
	struct http_request request = get("/");

	(void)state;
	for (int i = 0; i < 5; i++)
		fetch(&request);
	assert_int_equal(connections, 1);
	for (size_t i = 0; i < 4; i++)
		send_one(&request, i);
	run(4);
	assert_int_equal(connections, 4);
	assert_int_equal(requests, 9);
}

// A request that gets no answer on a connection that was used before is sent again by curl, unless it must not be.
static void test_once(void **state)
{
	struct http_request use = get("/"), cut = {.method = "POST", .url = get("/cut").url, .once = true};

	(void)state;
	fetch(&use);
	requests = 0;
	assert_int_equal(fetch(&cut)->code, -ECONNRESET);
	assert_int_equal(requests, 1);
	fetch(&use); // the first connection is still there, the other one is not kept
	cut.url = use.url;
	fetch(&cut);
	assert_int_equal(connections, 3);
}

static void test_unix_socket(void **state)
{
	struct http_request request = {.method = "GET", .url = "http://docker/v1.41/info", .unix_socket = unix_path};
	struct result *result;
	char text[128];

	(void)state;
	setenv("HTTP_PROXY", "http://127.0.0.1:1", 1);
	result = fetch(&request);
	assert_true(str_starts(result->body, "GET /v1.41/info\nHost: docker\n"));
	fetch(&request);
	assert_int_equal(connections, 1);
	request.unix_socket = "/tmp/no/such.sock";
	result = fetch(&request);
	assert_int_equal(result->code, -ENOENT);
	assert_string_equal(result->message, "connect to unix:///tmp/no/such.sock: no such file or directory");
	assert_false(result->sent);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	request.unix_socket = text;
	assert_int_equal(fetch(&request)->code, -ENAMETOOLONG);
}

// A port that refuses: bound, not listened on, then closed.
static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	getsockname(fd, (struct sockaddr *)&address, &len);
	close(fd);
	return ntohs(address.sin_port);
}

static void test_failures(void **state)
{
	static const struct http_header bad = {"X", "a\r\nInjected: 1"};
	struct http_request request = {.method = "GET"};
	char url[64], text[128];
	struct result *result;
	int port = free_port();

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
	snprintf(text, sizeof(text), "connect to 127.0.0.1:%d: connection refused", port);
	request.url = url;
	result = fetch(&request);
	assert_int_equal(result->code, -ECONNREFUSED);
	assert_string_equal(result->message, text);
	assert_false(result->sent);
	request.url = "ftp://host/";
	assert_int_equal(fetch(&request)->code, -EINVAL);
	request.url = "http://[/";
	assert_int_equal(fetch(&request)->code, -EINVAL);
	request.url = "http://no-such-host.invalid/";
	result = fetch(&request);
	assert_int_equal(result->code, -EHOSTUNREACH);
	assert_string_equal(result->message, "connect to no-such-host.invalid:80: cannot resolve the host name");
	request = get("/");
	request.headers = &bad;
	request.header_count = 1;
	assert_int_equal(fetch(&request)->code, -EINVAL);
	// TLS against a server that speaks none.
	snprintf(url, sizeof(url), "https%s", base_url + 4);
	request = (struct http_request){.method = "GET", .url = url};
	result = fetch(&request);
	assert_int_equal(result->code, -EPROTO);
	assert_false(result->sent);
	assert_int_equal(requests, 0);
}

static void test_bodies(void **state)
{
	static const struct http_header accept_gzip = {"accept-encoding", "gzip"};
	struct http_request request = get("/404");
	struct result *result = fetch(&request);

	(void)state;
	assert_int_equal(result->code, 0);
	assert_int_equal(result->status, 404);
	assert_string_equal(result->body, "nothing here");
	request = get("/redirect");
	assert_int_equal(fetch(&request)->status, 302);
	request = get("/big");
	assert_int_equal(fetch(&request)->body_len, 1 << 20);
	request.max_body = 1 << 20;
	assert_int_equal(fetch(&request)->code, 0);
	request.max_body = (1 << 20) - 1;
	result = fetch(&request);
	assert_int_equal(result->code, -EMSGSIZE);
	assert_true(result->sent);
	assert_non_null(strstr(result->message, "larger than 1048575 bytes"));
	request = get("/gzip");
	assert_int_equal(fetch(&request)->body_len, 25);
	request.headers = &accept_gzip;
	request.header_count = 1;
	assert_string_equal(fetch(&request)->body, "hello");
	request = get("/");
	request.headers = &accept_gzip;
	request.header_count = 1;
	assert_non_null(strstr(fetch(&request)->body, "Accept-Encoding: gzip\n"));
}

static void test_stream(void **state)
{
	struct http_request request = get("/stream");
	struct result *result;

	(void)state;
	request.on_data = on_data;
	request.on_headers = on_headers;
	request.idle_timeout_ms = 2000;
	result = fetch(&request);
	assert_int_equal(result->code, 0);
	assert_int_equal(result->headers_count, 1);
	assert_int_equal(result->headers_status, 200);
	assert_string_equal(result->data, "chunk0;chunk1;chunk2;");
	assert_int_equal(result->body_len, 0);
	// What is no success is collected.
	request = get("/404");
	request.on_data = on_data;
	result = fetch(&request);
	assert_int_equal(result->data_count, 0);
	assert_string_equal(result->body, "nothing here");
	request = get("/big404");
	request.on_data = on_data;
	request.max_body = 1000;
	assert_int_equal(fetch(&request)->code, -EMSGSIZE);
}

static int refuse_data(const char *data, size_t len, void *arg)
{
	(void)data, (void)len, (void)arg;
	return 1;
}

static void test_stream_refused(void **state)
{
	struct http_request request = get("/big");

	(void)state;
	request.on_data = refuse_data;
	assert_int_equal(fetch(&request)->code, -ECANCELED);
}

static void test_timeouts(void **state)
{
	struct http_request request = get("/hold");
	struct result *result;
	uint64_t began = loop_now(loop);

	(void)state;
	request.timeout_ms = 500;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIMEDOUT);
	assert_true(result->sent);
	assert_non_null(strstr(result->message, "timed out after 500 ms"));
	assert_true(loop_now(loop) - began >= 500);
	request.timeout_ms = 0;
	request.idle_timeout_ms = 500;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIME);
	assert_non_null(strstr(result->message, "nothing received for 500 ms"));
	request = get("/stuck");
	request.idle_timeout_ms = 500;
	request.on_data = on_data;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIME);
	assert_string_equal(result->data, "first");
}

static void test_connect_timeout(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct http_request request = {.method = "GET", .connect_timeout_ms = 500};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct result *result;
	char url[64];

	(void)state;
	// TLS to a peer that never answers: connected by TCP, but not yet by the call's meaning.
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&address, &len);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", ntohs(address.sin_port));
	request.url = url;
	result = fetch(&request);
	assert_int_equal(result->code, -ETIMEDOUT);
	assert_false(result->sent);
	assert_non_null(strstr(result->message, "connect to 127.0.0.1:"));
	close(fd);
}

// --- proxies ---

static void test_proxy_rules(void **state)
{
	static const struct {
		const char *http, *https, *no, *url, *proxy;
	} cases[] = {
		{NULL, NULL, NULL, "http://a.com/", NULL},
		{"p:1", NULL, NULL, "http://a.com/", "p:1"},
		{"p:1", NULL, NULL, "https://a.com/", "p:1"}, // the fall-back
		{"p:1", "q:2", NULL, "https://a.com/", "q:2"},
		{"p:1", "q:2", NULL, "http://a.com/", "p:1"},
		{NULL, "q:2", NULL, "http://a.com/", NULL},
		{"p:1", NULL, NULL, "http://localhost/", NULL},
		{"p:1", NULL, NULL, "http://localhost.a/", "p:1"},
		{"p:1", NULL, NULL, "http://127.9.9.9/", NULL},
		{"p:1", NULL, NULL, "http://[::1]:80/", NULL},
		{"p:1", NULL, NULL, "http://[::2]/", "p:1"},
		{"p:1", NULL, "*", "http://a.com/", NULL},
		{"p:1", NULL, "foo.com", "http://foo.com/", NULL},
		{"p:1", NULL, "foo.com", "http://bar.FOO.com/", NULL},
		{"p:1", NULL, "foo.com", "http://barfoo.com/", "p:1"},
		{"p:1", NULL, ".foo.com", "http://foo.com/", "p:1"},
		{"p:1", NULL, ".foo.com", "http://a.foo.com/", NULL},
		{"p:1", NULL, "*.foo.com", "http://a.foo.com/", NULL},
		{"p:1", NULL, "*.foo.com", "http://foo.com/", "p:1"},
		{"p:1", NULL, " x.com , FOO.com:8080 ", "http://foo.com:8080/", NULL},
		{"p:1", NULL, "foo.com:8080", "http://foo.com/", "p:1"},
		{"p:1", NULL, "foo.com:443", "https://foo.com/", NULL},
		{"p:1", NULL, "169.254.169.254,169.254.170.2,/var/run/docker.sock", "http://169.254.169.254/latest",
		 NULL},
		{"p:1", NULL, "169.254.169.254", "http://169.254.169.25/", "p:1"},
		{"p:1", NULL, "10.0.0.0/8", "http://10.200.3.4/", NULL},
		{"p:1", NULL, "10.0.0.0/8", "http://11.0.0.1/", "p:1"},
		{"p:1", NULL, "10.0.0.0/9", "http://10.128.0.1/", "p:1"},
		{"p:1", NULL, "10.0.0.0/33", "http://10.0.0.1/", "p:1"},
		{"p:1", NULL, "0.0.0.0/0", "http://8.8.8.8/", NULL},
		{"p:1", NULL, "0.0.0.0/0", "http://[fd00::1]/", "p:1"},
		{"p:1", NULL, "fd00::/8", "http://[fd00:ec2::254]/", NULL},
		{"p:1", NULL, "[fd00::1]:80", "http://[fd00::1]/", NULL},
		{"p:1", NULL, "fd00::1", "http://[fd00::1]/", NULL},
		{"p:1", NULL, ",,:80,", "http://a.com/", "p:1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *proxy;

		setenv("HTTP_PROXY", cases[i].http ? cases[i].http : "", 1);
		setenv("HTTPS_PROXY", cases[i].https ? cases[i].https : "", 1);
		setenv("NO_PROXY", cases[i].no ? cases[i].no : "", 1);
		proxy = transport_proxy_for(cases[i].url);
		if (!str_equal(proxy, cases[i].proxy))
			print_error("case %zu: %s\n", i, proxy);
		assert_true(str_equal(proxy, cases[i].proxy));
		free(proxy);
	}
	setenv("http_proxy", "lower:1", 1);
	setenv("HTTP_PROXY", "", 1);
	setenv("NO_PROXY", "", 1);
	setenv("no_proxy", "b.com", 1);
	free(transport_proxy_for("http://b.com/"));
	assert_null(transport_proxy_for("http://b.com/"));
}

static void test_proxy_used(void **state)
{
	struct http_request request = {.method = "GET", .url = "http://far.away.invalid/path"};
	char text[128];
	int port = free_port();

	(void)state;
	setenv("HTTP_PROXY", base_url, 1);
	assert_true(str_starts(fetch(&request)->body, "GET http://far.away.invalid/path\nHost: far.away.invalid\n"));
	request.no_proxy = true;
	assert_int_equal(fetch(&request)->code, -EHOSTUNREACH);
	request.no_proxy = false;
	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	setenv("HTTP_PROXY", text, 1);
	assert_int_equal(fetch(&request)->code, -ECONNREFUSED);
	assert_string_equal(results[0].message, "connect to far.away.invalid:80 through a proxy: connection refused");
	// The server takes CONNECT for a request of an unknown kind and refuses it.
	setenv("HTTP_PROXY", base_url, 1);
	request.url = "https://far.away.invalid/";
	assert_true(fetch(&request)->code < 0);
	assert_false(results[0].sent);
}

static void test_url_encode(void **state)
{
	static const struct {
		const char *in, *plain, *slash;
	} cases[] = {{"", "", ""},
		     {"aZ09-._~", "aZ09-._~", "aZ09-._~"},
		     {"a/b c", "a%2Fb%20c", "a/b%20c"},
		     {"é+&=", "%C3%A9%2B%26%3D", "%C3%A9%2B%26%3D"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *plain = url_encode(cases[i].in, false), *slash = url_encode(cases[i].in, true);

		assert_string_equal(plain, cases[i].plain);
		assert_string_equal(slash, cases[i].slash);
		free(plain);
		free(slash);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unix_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeouts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connect_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy_used, setup, teardown),
		cmocka_unit_test(test_url_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
