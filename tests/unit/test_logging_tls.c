// TLS connections to log servers: OpenSSL servers on a thread, with certificates made for this run.
#define SCALE 5.0 // hands are shaken within a second, also on a busy machine
#include "test_logging_connection.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/stat.h>

// Takes the place of the C library's: nothing may ask a name server. All names are 127.0.0.1.
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	static struct sockaddr_in in = {.sin_family = AF_INET};
	static struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	static struct addrinfo four = {
		.ai_family = AF_INET, .ai_addr = (struct sockaddr *)&in, .ai_addrlen = sizeof(in)};
	static struct addrinfo six = {
		.ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&in6, .ai_addrlen = sizeof(in6)};

	(void)service;
	if (inet_pton(AF_INET6, name, &in6.sin6_addr) == 1) {
		*found = &six;
		return 0;
	}
	*found = &four;
	if (inet_pton(AF_INET, name, &in.sin_addr) == 1)
		return 0;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return hints->ai_flags & AI_NUMERICHOST ? EAI_NONAME : 0;
}

void freeaddrinfo(struct addrinfo *found)
{
	(void)found;
}

// --- certificates ---

static char directory[] = "/tmp/connection_tls.XXXXXX";
static long serial = 1;

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};
static struct identity authority, other_authority, server, expired, no_name, early, client, stranger;

static const char *file(const char *name)
{
	static char paths[4][64];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
}

// Valid from `from` to `to`, seconds from now. names: subject alternative names; NULL: an authority. issuer NULL: itself.
static struct identity make(const char *common_name, const char *names, long from, long to,
			    const struct identity *issuer)
{
	struct identity made = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};
	X509_NAME *name = X509_get_subject_name(made.cert);

	X509_set_version(made.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(made.cert), from);
	X509_gmtime_adj(X509_getm_notAfter(made.cert), to);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_issuer_name(made.cert, issuer ? X509_get_subject_name(issuer->cert) : name);
	X509_set_pubkey(made.cert, made.key);
	if (!issuer)
		add_extension(made.cert, NID_basic_constraints, "critical,CA:TRUE");
	if (names)
		add_extension(made.cert, NID_subject_alt_name, names);
	X509_sign(made.cert, issuer ? issuer->key : made.key, EVP_sha256());
	return made;
}

static void identity_free(struct identity *identity)
{
	X509_free(identity->cert);
	EVP_PKEY_free(identity->key);
}

static void write_cert(const char *name, const struct identity *identity)
{
	FILE *to = fopen(file(name), "w");

	PEM_write_X509(to, identity->cert);
	fclose(to);
}

static void write_key(const char *name, const struct identity *identity, const char *password)
{
	FILE *to = fopen(file(name), "w");

	PEM_write_PrivateKey(to, identity->key, password ? EVP_aes_256_cbc() : NULL, NULL, 0, NULL, (void *)password);
	fclose(to);
}

static int group_setup(void **state)
{
	static const char names[] = "DNS:localhost,DNS:logs.test,IP:127.0.0.1,IP:::1";
	FILE *junk;

	(void)state;
	assert_non_null(mkdtemp(directory));
	authority = make("authority", NULL, -3600, 3600, NULL);
	other_authority = make("other authority", NULL, -3600, 3600, NULL);
	server = make("server", names, -3600, 3600, &authority);
	expired = make("expired", names, -7200, -3600, &authority);
	early = make("early", names, 3600, 7200, &authority);
	no_name = make("localhost", "DNS:elsewhere.test,IP:192.0.2.1", -3600, 3600, &authority);
	client = make("client", "DNS:client", -3600, 3600, &authority);
	stranger = make("stranger", "DNS:stranger", -3600, 3600, &other_authority);
	write_cert("ca.pem", &authority);
	write_cert("other-ca.pem", &other_authority);
	write_cert("client.pem", &client);
	write_key("client.key", &client, NULL);
	write_key("encrypted.key", &client, "secret");
	write_cert("stranger.pem", &stranger);
	write_key("stranger.key", &stranger, NULL);
	junk = fopen(file("junk.pem"), "w");
	fputs("no certificate\n", junk);
	fclose(junk);
	setenv("SSL_CERT_FILE", "/dev/null", 1); // no roots but those that a test names
	setenv("SSL_CERT_DIR", "/dev/null", 1);
	return 0;
}

static int group_teardown(void **state)
{
	static const char *const names[] = {"ca.pem",        "other-ca.pem", "client.pem",   "client.key",
					    "encrypted.key", "stranger.pem", "stranger.key", "junk.pem"};

	(void)state;
	identity_free(&authority);
	identity_free(&other_authority);
	identity_free(&server);
	identity_free(&expired);
	identity_free(&early);
	identity_free(&no_name);
	identity_free(&client);
	identity_free(&stranger);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(file(names[i]));
	return rmdir(directory);
}

// --- the server ---

static struct {
	int listener;
	unsigned port;
	pthread_t thread;
	SSL_CTX *context;
	bool plain;    // writes something that is no TLS
	bool silent;   // accepts, and says nothing
	bool greets;   // sends a word as soon as hands are shaken
	size_t pause;  // reads so many bytes, then waits for `go`
	size_t expect; // ends after so many bytes
	// what it has seen
	size_t received;
	int version;
	bool shook_hands;
	bool damaged;
} peer;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool go;

static unsigned char byte_at(uint64_t i)
{
	return (unsigned char)(i * 2654435761U >> 13);
}

static void wait_for_go(void)
{
	pthread_mutex_lock(&mutex);
	while (!go)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void say_go(void)
{
	pthread_mutex_lock(&mutex);
	go = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void read_all(SSL *ssl)
{
	unsigned char data[20000];
	int n;

	while (peer.received < peer.expect && (n = SSL_read(ssl, data, sizeof(data))) > 0) {
		for (int i = 0; i < n; i++)
			peer.damaged |= data[i] != byte_at(peer.received + (size_t)i);
		peer.received += (size_t)n;
		if (peer.pause && peer.received >= peer.pause) {
			peer.pause = 0;
			wait_for_go();
		}
	}
}

static void *serve(void *arg)
{
	int fd = accept(peer.listener, NULL, NULL);
	SSL *ssl;
	char byte;

	(void)arg;
	if (fd < 0)
		return NULL; // nobody has come
	if (peer.silent) {
		wait_for_go();
		close(fd);
		return NULL;
	}
	if (peer.plain) {
		// All that the client says is read first, or its end would be a reset.
		assert_int_equal(send(fd, "220 ready\r\n", 11, MSG_NOSIGNAL), 11);
		while (recv(fd, &byte, 1, 0) > 0)
			continue;
		close(fd);
		return NULL;
	}
	ssl = SSL_new(peer.context);
	SSL_set_fd(ssl, fd);
	peer.shook_hands = SSL_accept(ssl) == 1;
	if (peer.shook_hands) {
		peer.version = SSL_version(ssl);
		if (peer.greets)
			SSL_write(ssl, "hello", 5);
		read_all(ssl);
		SSL_shutdown(ssl);
	}
	shutdown(fd, SHUT_WR);
	while (recv(fd, &byte, 1, 0) > 0)
		continue;
	SSL_free(ssl);
	close(fd);
	return NULL;
}

struct server_options {
	const struct identity *identity; // NULL: `server`
	int min, max;                    // versions; 0: any
	const char *ciphers;             // of TLS 1.2
	bool wants_client;
	const char *address; // NULL: 127.0.0.1
};

static void start(const struct server_options *options)
{
	const struct identity *identity = options->identity ? options->identity : &server;
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (options->max && options->max < TLS1_2_VERSION) {
		SSL_CTX_set_security_level(context, 0);
		SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
	}
	SSL_CTX_set_min_proto_version(context, options->min);
	SSL_CTX_set_max_proto_version(context, options->max);
	if (options->ciphers)
		assert_int_equal(SSL_CTX_set_cipher_list(context, options->ciphers), 1);
	SSL_CTX_use_certificate(context, identity->cert);
	SSL_CTX_use_PrivateKey(context, identity->key);
	if (options->wants_client) {
		SSL_CTX_load_verify_locations(context, file("ca.pem"), NULL);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	peer.context = context;
	peer.port = 0;
	peer.listener = listening(options->address ? options->address : "127.0.0.1", &peer.port);
	go = false;
	pthread_create(&peer.thread, NULL, serve, NULL);
}

static void finish(void)
{
	say_go();
	shutdown(peer.listener, SHUT_RDWR); // ends accept(2)
	pthread_join(peer.thread, NULL);
	close(peer.listener);
	SSL_CTX_free(peer.context);
	memset(&peer, 0, sizeof(peer));
}

// The end of `got.error` after "TLS with host:port".
static const char *reason(void)
{
	const char *text = strstr(got.error.message, ": ");

	assert_true(str_starts(got.error.message, "TLS with "));
	assert_non_null(text);
	return text + 2;
}

// --- tests ---

static struct connection_options plain_options(void)
{
	static char ca[64];

	snprintf(ca, sizeof(ca), "%s", file("ca.pem"));
	return (struct connection_options){
		.kind = CONNECTION_TLS, .host = "localhost", .port = peer.port, .ca_file = ca};
}

// Sends all of `bytes` numbered bytes, as whole or in offers, and waits until the peer has ended in order.
static void send_numbered(size_t bytes, bool offers)
{
	_cleanup_free_ unsigned char *data = xmalloc(bytes);
	size_t done = 0;

	for (size_t i = 0; i < bytes; i++)
		data[i] = byte_at(i);
	if (!offers)
		assert_int_equal(connection_send(connection, data, bytes, NULL), 0);
	while (offers && done < bytes) {
		done += connection_offer(connection, data + done, bytes - done);
		assert_true(connection_unsent(connection) <= 16384);
		if (done < bytes) {
			say_go();
			got.drained = 0;
			run_until(got.drained);
		}
	}
	say_go();
	run_until(got.ended);
	assert_int_equal(got.error.code, 0);
	assert_int_equal(connection_sent(connection), bytes);
	assert_int_equal(peer.received, bytes);
	assert_false(peer.damaged);
}

static void test_exchange(void **state)
{
	static const struct {
		const char *host, *address;
		struct server_options server;
		int version;
		bool offers, client;
	} cases[] = {
		{"localhost", "127.0.0.1", {0}, TLS1_3_VERSION, false, false},
		{"localhost", "127.0.0.1", {.max = TLS1_2_VERSION}, TLS1_2_VERSION, true, false},
		{"logs.test.", "127.0.0.1", {0}, TLS1_3_VERSION, true, false},
		{"127.0.0.1", "127.0.0.1", {0}, TLS1_3_VERSION, true, false},
		{"::1", "::1", {.address = "::1"}, TLS1_3_VERSION, false, false},
		{"localhost", "127.0.0.1", {.wants_client = true}, TLS1_3_VERSION, false, true},
		{"localhost", "127.0.0.1", {.wants_client = true, .max = TLS1_2_VERSION}, TLS1_2_VERSION, true, true},
		{"localhost",
		 "127.0.0.1",
		 {.max = TLS1_2_VERSION, .ciphers = "ECDHE+CHACHA20"},
		 TLS1_2_VERSION,
		 false,
		 false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connection_options options;
		char cert[64], key[64];

		peer.greets = true;
		peer.expect = 3000000;
		peer.pause = 1;
		start(&cases[i].server);
		options = plain_options();
		options.host = cases[i].host;
		if (cases[i].client) {
			snprintf(cert, sizeof(cert), "%s", file("client.pem"));
			snprintf(key, sizeof(key), "%s", file("client.key"));
			options.cert_file = cert;
			options.key_file = key;
		}
		open_with(&options);
		run_until(got.opened && got.len == 5);
		assert_memory_equal(got.data, "hello", 5);
		assert_false(connection_peer_ended(connection));
		send_numbered(3000000, cases[i].offers);
		assert_int_equal(peer.version, cases[i].version);
		connection = connection_free(connection);
		finish();
	}
}

static void test_refusals(void **state)
{
	static const struct {
		struct server_options server;
		const char *ca, *client, *host, *reason;
	} cases[] = {
		{{0},
		 NULL,
		 NULL,
		 "localhost",
		 "its certificate is signed by no authority that is trusted here (unable to get local issuer "
		 "certificate)"},
		{{0},
		 "other-ca.pem",
		 NULL,
		 "localhost",
		 "its certificate is signed by no authority that is trusted here (unable to get local issuer "
		 "certificate)"},
		{{.identity = &authority},
		 NULL,
		 NULL,
		 "localhost",
		 "its certificate is signed by no authority that is trusted here (self-signed certificate)"},
		{{.identity = &no_name}, "ca.pem", NULL, "localhost", "its certificate is not for localhost"},
		{{.identity = &no_name}, "ca.pem", NULL, "127.0.0.1", "its certificate is not for 127.0.0.1"},
		{{.identity = &expired}, "ca.pem", NULL, "localhost", "its certificate has expired"},
		{{.identity = &early}, "ca.pem", NULL, "localhost", "its certificate is not valid yet"},
		{{.max = TLS1_1_VERSION}, "ca.pem", NULL, "localhost", "it does not speak TLS 1.2 or later"},
		{{.max = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-SHA"},
		 "ca.pem",
		 NULL,
		 "localhost",
		 "it wants a client certificate, or ciphers that are not allowed here"},
		{{.wants_client = true}, "ca.pem", NULL, "localhost", "it wants a client certificate"},
		{{.wants_client = true},
		 "ca.pem",
		 "stranger",
		 "localhost",
		 "it does not trust the authority of our certificate"},
		{{0}, "none.pem", NULL, "localhost", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connection_options options;
		char ca[64] = "", cert[64], key[64];

		peer.expect = 1;
		start(&cases[i].server);
		options = plain_options();
		options.host = cases[i].host;
		if (cases[i].ca)
			snprintf(ca, sizeof(ca), "%s", file(cases[i].ca));
		options.ca_file = cases[i].ca ? ca : NULL;
		if (cases[i].client) {
			snprintf(cert, sizeof(cert), "%s/%s.pem", directory, cases[i].client);
			snprintf(key, sizeof(key), "%s/%s.key", directory, cases[i].client);
			options.cert_file = cert;
			options.key_file = key;
		}
		open_with(&options);
		run_until(got.ended);
		if (cases[i].reason)
			assert_string_equal(reason(), cases[i].reason);
		else
			assert_non_null(strstr(reason(), "No such file or directory"));
		assert_true(got.error.code == EPROTO || !cases[i].reason);
		// With TLS 1.3 the server looks at the client's certificate after the client thinks that hands are shaken.
		assert_true(got.opened == 0 || cases[i].server.wants_client);
		connection = connection_free(connection);
		finish();
	}
}

static void test_skip_verify(void **state)
{
	static const struct identity *const identities[] = {&expired, &no_name, &stranger};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
		struct connection_options options;

		peer.expect = 100;
		start(&(struct server_options){.identity = identities[i]});
		options = plain_options();
		options.skip_verify = true;
		options.ca_file = "/none/such"; // not looked at
		open_with(&options);
		run_until(got.opened);
		send_numbered(100, false);
		connection = connection_free(connection);
		finish();
	}
}

static void test_no_tls(void **state)
{
	struct connection_options options;

	(void)state;
	peer.plain = true;
	start(&(struct server_options){0});
	options = plain_options();
	open_with(&options);
	run_until(got.ended);
	assert_string_equal(reason(), "it does not speak TLS");
	connection = connection_free(connection);
	finish();

	peer.silent = true;
	start(&(struct server_options){0});
	options = plain_options();
	options.host = "127.0.0.1";
	open_with(&options);
	run_until(got.ended);
	assert_non_null(strstr(got.error.message, "no answer in TLS within 5 s"));
	assert_int_equal(got.error.code, ETIMEDOUT);
	connection = connection_free(connection);
	finish();
}

// The end is seen whether the peer says so in TLS or only closes.
static void test_peer_end(void **state)
{
	struct connection_options options;

	(void)state;
	peer.expect = 1;
	start(&(struct server_options){0});
	options = plain_options();
	open_with(&options);
	run_until(got.opened);
	assert_false(connection_peer_ended(connection));
	assert_int_equal(connection_send(connection, "\0", 1, NULL), 0);
	run_until(got.ended);
	assert_int_equal(got.error.code, 0);
	assert_non_null(strstr(got.error.message, " has closed the connection"));
	connection = connection_free(connection);
	finish();
}

static void test_files(void **state)
{
	static const struct {
		const char *ca, *cert, *key, *text; // "%d" in the text: the directory
	} cases[] = {
		{NULL, NULL, NULL, NULL},
		{"ca.pem", "client.pem", "client.key", NULL},
		{"none.pem", NULL, NULL, "cannot read the TLS CA certificate %d/none.pem: No such file or directory"},
		{"junk.pem", NULL, NULL,
		 "the TLS CA certificate %d/junk.pem cannot be used: no certificate or crl found"},
		{NULL, "client.pem", NULL, "a TLS certificate needs a key as well: %d/client.pem"},
		{NULL, NULL, "client.key", "a TLS key needs a certificate as well: %d/client.key"},
		{NULL, "client.pem", "none.key", "cannot read the TLS key %d/none.key: No such file or directory"},
		{NULL, "none.pem", "client.key",
		 "cannot read the TLS certificate %d/none.pem: No such file or directory"},
		{NULL, "junk.pem", "client.key", "the TLS certificate %d/junk.pem cannot be used: no start line"},
		{NULL, "client.pem", "encrypted.key",
		 "the TLS key %d/encrypted.key is encrypted, which is not supported"},
		{NULL, "client.pem", "stranger.key",
		 "the TLS key %d/stranger.key does not belong to the certificate %d/client.pem"},
		{NULL, "client.pem", "junk.pem", "the TLS key %d/junk.pem cannot be used: unsupported"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char ca[64], cert[64], key[64];
		struct connection_options options = {.kind = CONNECTION_TLS};
		struct error err = {0};
		struct buf text = {0};

		snprintf(ca, sizeof(ca), "%s/%s", directory, cases[i].ca ? cases[i].ca : "");
		snprintf(cert, sizeof(cert), "%s/%s", directory, cases[i].cert ? cases[i].cert : "");
		snprintf(key, sizeof(key), "%s/%s", directory, cases[i].key ? cases[i].key : "");
		options.ca_file = cases[i].ca ? ca : NULL;
		options.cert_file = cases[i].cert ? cert : NULL;
		options.key_file = cases[i].key ? key : NULL;
		for (const char *s = cases[i].text; s && *s; s++) {
			if (str_starts(s, "%d")) {
				buf_append(&text, directory, strlen(directory));
				s++;
			} else {
				buf_append(&text, s, 1);
			}
		}
		assert_int_equal(connection_check_files(&options, &err) == 0, cases[i].text == NULL);
		assert_string_equal(err.message, text.data ? text.data : "");
		buf_free(&text);
	}
}

// A file that was replaced is read anew by the next connection.
static void test_renewed_file(void **state)
{
	char ca[64];

	(void)state;
	snprintf(ca, sizeof(ca), "%s/renewed.pem", directory);
	for (int renewed = 0; renewed < 2; renewed++) {
		struct connection_options options;

		unlink(ca);
		write_cert("renewed.pem", renewed ? &other_authority : &authority);
		peer.expect = 1;
		start(&(struct server_options){0});
		options = plain_options();
		options.ca_file = ca;
		open_with(&options);
		run_until(renewed ? got.ended : got.opened);
		if (renewed)
			assert_non_null(strstr(reason(), "no authority that is trusted here"));
		connection = connection_free(connection);
		finish();
	}
	unlink(ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_skip_verify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renewed_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
