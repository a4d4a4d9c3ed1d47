// The WebSocket client against a scripted peer: sessions, how they end, handshakes, freeing, TLS.
#include "test_websocket_peer.h"

// --- a whole session ---

static void say_hello(void)
{
	assert_int_equal(websocket_send(ws, "hello", 5), 0);
}

static void script_session(struct peer *p)
{
	struct buf out = {0};
	char want[128];

	take_request(p);
	EXPECT(str_starts(p->request, "GET /ws?a=b%20c HTTP/1.1\r\nHost: "));
	snprintf(want, sizeof(want), "Host: %s:%d\r\n", p->tls ? "localhost" : "127.0.0.1", p->port);
	EXPECT(strstr(p->request, want));
	EXPECT(strstr(p->request, "\r\nSec-WebSocket-Version: 13\r\n"));
	EXPECT(strlen(p->key) == 24);
	// The first frames come in one piece with the answer; one of them is cut.
	append_accept(p, &out);
	frame_head(&out, TEXT, 5);
	buf_append(&out, "glued", 5);
	frame_head(&out, TEXT, 3);
	buf_append(&out, "cu", 2);
	put(p, out.data, out.len);
	buf_free(&out);
	expect_frame(p, TEXT, "hello", 5); // before the PING, whose answer may overtake
	put(p, "t", 1);
	frame(p, TEXT_FIRST, "frag", 4);
	frame(p, PING, "are you there", 13);
	frame(p, REST_LAST, "mented", 6);
	frame(p, BINARY, "\x01\x00\x02", 3);
	text_frame(p, "");
	expect_frame(p, PONG, "are you there", 13);
	close_frame(p, 1000, "bye");
	expect_close(p, 1000);
	expect_end(p);
}

static void check_session(void)
{
	assert_int_equal(got.opened, 1);
	assert_string_equal(got.log, "glued;cut;fragmented;#\x01;;");
	assert_int_equal(got.ended, 1);
	assert_true(got.end.opened);
	assert_int_equal(got.end.close_code, 1000);
	assert_non_null(strstr(got.end.error.message, "closed by the peer with code 1000: bye"));
}

static void test_session(void **state)
{
	static const struct http_header headers[] = {{"X-Amz-Date", "now"}, {"Host", "wrong"}};
	const struct websocket_options options = {.headers = headers, .header_count = 2};

	(void)state;
	open_action = say_hello;
	session_with(script_session, &options);
	check_session();
	assert_non_null(strstr(peer.request, "\r\nX-Amz-Date: now\r\n"));
	assert_null(strstr(peer.request, "wrong"));
}

static void script_byte_by_byte(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	frame_head(&out, TEXT, 3);
	buf_append(&out, "abc", 3);
	frame_head(&out, CLOSE, 0);
	for (size_t i = 0; i < out.len; i++) {
		put(p, out.data + i, 1);
		usleep(200);
	}
	buf_free(&out);
	expect_frame(p, CLOSE, "", 0); // a close frame without a code is echoed without one
	expect_end(p);
}

static void test_byte_by_byte(void **state)
{
	(void)state;
	session(script_byte_by_byte);
	assert_string_equal(got.log, "abc;");
	assert_int_equal(got.end.close_code, 1005);
}

// --- close codes and other ends ---

static unsigned script_code;
static const char script_reason[] = "because";

static void script_close(struct peer *p)
{
	shake_hands(p);
	close_frame(p, script_code, script_reason);
	expect_close(p, script_code);
	expect_end(p);
}

static void test_close_codes(void **state)
{
	static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
					 1011, 1012, 1013, 1014, 3000, 4000, 4999};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		script_code = codes[i];
		session(script_close);
		assert_non_null(strstr(got.end.error.message, script_reason));
		assert_int_equal(got.end.close_code, codes[i]);
		assert_int_equal(got.end.result, 0);
	}
}

static void script_eof(struct peer *p)
{
	shake_hands(p);
	text_frame(p, "last words");
}

static void script_reset(struct peer *p)
{
	shake_hands(p);
	usleep(5000);
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
}

static void test_abrupt_ends(void **state)
{
	(void)state;
	session(script_eof);
	assert_string_equal(got.log, "last words;");
	assert_true(got.end.eof);
	assert_true(got.end.opened);
	session(script_reset);
	assert_int_equal(got.end.result, -ECONNRESET);
}

// --- handshake ---

static const char *script_text;

static void script_answer(struct peer *p)
{
	take_request(p);
	put_text(p, script_text);
}

static void script_answer_and_wait(struct peer *p)
{
	script_answer(p);
	expect_end(p); // the client knows by itself when it has all
}

static void test_refusals(void **state)
{
	char big[1100], expected_big[1025];
	_cleanup_free_ char *with_big = NULL;
	struct {
		const char *text, *body;
		int status;
		bool complete;
	} cases[] = {
		{"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nforbidden", "forbidden", 403, true},
		{"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "", 400, true},
		{"HTTP/1.1 503 X\r\n\r\nuntil the end", "until the end", 503, false},
		{"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n7;x=y\r\n second\r\n0\r\n\r\n",
		 "first second", 400, true},
		{"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nfirst", "first", 400,
		 false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nshort", "short", 200, false},
		{NULL, expected_big, 500, true},
	};

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	memcpy(expected_big, big, 1024);
	expected_big[1024] = '\0';
	with_big = xasprintf("HTTP/1.1 500 X\r\nContent-Length: 5000\r\n\r\n%s", big);
	cases[ARRAY_SIZE(cases) - 1].text = with_big;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		script_text = cases[i].text;
		session(cases[i].complete ? script_answer_and_wait : script_answer);
		assert_false(got.end.opened);
		assert_int_equal(got.end.http_status, cases[i].status);
		assert_int_equal(got.end.result, 0);
		assert_string_equal(got.body, cases[i].body);
	}
}

static void test_bad_handshakes(void **state)
{
	static const struct {
		const char *text, *message;
		int code;
	} cases[] = {
		{"", "closed during the handshake", ECONNRESET},
		{"HTTP/1.1 101 X\r\nUpgrade: webso", "closed during the handshake", ECONNRESET},
		{"SSH-2.0\r\n\r\n", "not HTTP", EPROTO},
		{"HTTP/1.1 x01\r\n\r\n", "not HTTP", EPROTO},
		{"HTTP/1.1 101 X\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websockets\r\nConnection: upgrade\r\n\r\n", "no upgrade", EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "wrong Sec-WebSocket-Accept",
		 EPROTO},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
		 "wrong Sec-WebSocket-Accept", EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		script_text = cases[i].text;
		session(script_answer);
		assert_int_equal(got.opened, 0);
		assert_int_equal(got.end.result, -cases[i].code);
		assert_non_null(strstr(got.end.error.message, cases[i].message));
	}
}

static void script_endless_head(struct peer *p)
{
	char line[1000];

	take_request(p);
	memset(line, 'x', sizeof(line));
	put_text(p, "HTTP/1.1 101 X\r\n");
	for (int i = 0; i < 20; i++)
		put(p, line, sizeof(line));
	expect_end(p);
}

static void test_endless_head(void **state)
{
	(void)state;
	session(script_endless_head);
	assert_int_equal(got.end.result, -EPROTO);
	assert_non_null(strstr(got.end.error.message, "too long"));
}

static void end_with(const char *url, const struct websocket_options *more, int code)
{
	open_url(url, more);
	run_for(60000, too_long);
	assert_int_equal(got.end.result, -code);
	ws = websocket_free(ws);
}

static void test_no_connection(void **state)
{
	static const struct http_header bad = {"X", "a\nb"};
	const struct websocket_options bad_header = {.headers = &bad, .header_count = 1};

	(void)state;
	peer_start(script_eof); // only for its port
	shutdown(peer.listener, SHUT_RDWR);
	close(peer.listener);
	pthread_join(peer.thread, NULL);
	{
		_cleanup_free_ char *url = xasprintf("ws://127.0.0.1:%d", peer.port);
		_cleanup_free_ char *text = xasprintf("connect to 127.0.0.1:%d: connection refused", peer.port);

		end_with(url, NULL, ECONNREFUSED);
		assert_string_equal(got.end.error.message, text);
		end_with(url, &bad_header, EINVAL);
	}
	end_with("ftp://127.0.0.1/", NULL, EINVAL);
	end_with("no url", NULL, EINVAL);
	end_with("ws://127.0.0.1/a b", NULL, EINVAL);
	end_with("ws://127.0.0.1/a\r\nX: y", NULL, EINVAL);
	end_with("wss://no-such-host.invalid/", NULL, EHOSTUNREACH);
	// Freed or closed before anything has happened.
	open_url("ws://127.0.0.1:1/", NULL);
	ws = websocket_free(ws);
	run_for(10, stop_loop);
	assert_int_equal(got.ended, 0);
	open_url("ws://127.0.0.1:1/", NULL);
	websocket_close(ws, 1000, "changed my mind");
	run_for(60000, too_long);
	assert_int_equal(got.end.result, -ECANCELED);
}

// --- freeing in callbacks ---

static void script_chatter(struct peer *p)
{
	struct buf out = {0};

	take_request(p);
	append_accept(p, &out);
	for (int i = 0; i < 3; i++) {
		frame_head(&out, TEXT, 2);
		buf_append(&out, "hi", 2);
	}
	frame_head(&out, CLOSE, 0);
	put(p, out.data, out.len);
	buf_free(&out);
}

static void test_free_in_callbacks(void **state)
{
	(void)state;
	for (free_where = FREE_IN_OPEN; free_where <= FREE_IN_END; free_where++) {
		session(script_chatter);
		assert_null(ws);
		assert_int_equal(got.opened, 1);
		assert_int_equal(got.messages, free_where == FREE_IN_OPEN ? 0 : free_where == FREE_IN_MESSAGE ? 1 : 3);
		assert_int_equal(got.ended, free_where == FREE_IN_END);
	}
}

// --- TLS ---

static char cert_path[] = "/tmp/test_websocket_XXXXXX";

// A key and a certificate for "localhost", self-signed, made for this run.
static int setup_tls(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	int fd = mkstemp(cert_path);
	FILE *file = fdopen(fd, "w");

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	X509_add_ext(cert, alt, -1);
	X509_sign(cert, key, EVP_sha256());
	PEM_write_X509(file, cert);
	fclose(file);
	peer.tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(peer.tls, cert);
	SSL_CTX_use_PrivateKey(peer.tls, key);
	X509_EXTENSION_free(alt);
	X509_free(cert);
	EVP_PKEY_free(key);
	return setup(state);
}

static int teardown_tls(void **state)
{
	SSL_CTX_free(peer.tls);
	peer.tls = NULL;
	unsetenv("SSL_CERT_FILE");
	unlink(cert_path);
	return teardown(state);
}

// Many small messages in few TLS records: what OpenSSL holds back is read without the socket being readable again.
static void script_tls_burst(struct peer *p)
{
	struct buf out = {0};

	shake_hands(p);
	for (int i = 0; i < 6000; i++) {
		frame_head(&out, TEXT, 3);
		buf_append(&out, "msg", 3);
	}
	put(p, out.data, out.len);
	buf_free(&out);
	expect_frame(p, TEXT, "hello", 5);
	// Then the end of TCP without TLS's close_notify.
}

static void script_tls_notify(struct peer *p)
{
	shake_hands(p);
	SSL_shutdown(p->ssl);
}

static void script_none(struct peer *p)
{
	(void)p;
}

static void test_tls(void **state)
{
	struct websocket_options insecure = {.insecure = true};

	(void)state;
	open_action = say_hello;
	session_with(script_session, &insecure);
	check_session();
	session_with(script_tls_burst, &insecure);
	assert_int_equal(got.messages, 6000);
	assert_true(got.end.eof);
	open_action = NULL;
	session_with(script_tls_notify, &insecure);
	assert_true(got.end.eof);

	session(script_none);
	assert_int_equal(got.end.result, -EPROTO);
	assert_false(got.end.opened);
	// With the certificate trusted, the host verifies although the URL has a port.
	setenv("SSL_CERT_FILE", cert_path, 1);
	session(script_tls_notify);
	assert_true(got.end.opened);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_codes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abrupt_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless_head, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_in_callbacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tls, setup_tls, teardown_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
