#include "logging/connection_tls.h"

#include "common/loop.h"
#include "common/util.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20" // of TLS 1.2; §6.1

// A file as it was when it was read: one that was renewed since counts as another.
struct stamp {
	dev_t device;
	ino_t inode;
	struct timespec changed;
};

enum { CA, CERT, KEY, FILES };

struct shared {
	SSL_CTX *context;
	unsigned users;
	bool skip_verify;
	char *names[FILES];
	struct stamp stamps[FILES];
	LIST_ENTRY(shared) next;
};

struct tls {
	struct shared *shared;
	SSL *ssl;
	char *host;
	bool broken; // nothing may be sent any more
};

static LIST_HEAD(, shared) all_shared = LIST_HEAD_INITIALIZER(all_shared);

static struct shared *shared_get(const struct connection_options *options, struct error *err);
static void shared_put(struct shared *shared);
static SSL_CTX *make_context(const struct connection_options *options, struct error *err);
static int expect_name(SSL *ssl, const char *host, bool skip_verify);
static int explain(struct tls *tls, int result, struct error *err);

struct tls *tls_new(const struct connection_options *options, int fd, struct error *err)
{
	struct shared *shared = shared_get(options, err);
	struct tls *tls;

	if (!shared)
		return NULL;
	signal(SIGPIPE, SIG_IGN); // OpenSSL writes with write(2)
	tls = xcalloc(1, sizeof(*tls));
	tls->shared = shared;
	tls->host = xstrdup(options->host);
	tls->ssl = SSL_new(shared->context);
	if (!tls->ssl || !SSL_set_fd(tls->ssl, fd) || expect_name(tls->ssl, tls->host, options->skip_verify) < 0) {
		error_set(err, EINVAL, "no certificate can be for %s", tls->host);
		tls->broken = true;
		return tls_free(tls);
	}
	SSL_set_connect_state(tls->ssl);
	return tls;
}

struct tls *tls_free(struct tls *tls)
{
	if (!tls)
		return NULL;
	ERR_clear_error();
	if (!tls->broken && SSL_is_init_finished(tls->ssl))
		SSL_shutdown(tls->ssl);
	ERR_clear_error();
	SSL_free(tls->ssl);
	shared_put(tls->shared);
	free(tls->host);
	free(tls);
	return NULL;
}

int tls_handshake(struct tls *tls, unsigned *events, struct error *err)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_do_handshake(tls->ssl);
	if (r == 1)
		return 1;
	switch (SSL_get_error(tls->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		*events = LOOP_READ;
		return 0;
	case SSL_ERROR_WANT_WRITE:
		*events = LOOP_WRITE;
		return 0;
	default:
		return explain(tls, r, err);
	}
}

ssize_t tls_write(struct tls *tls, const void *data, size_t len, struct error *err)
{
	int r, why;

	ERR_clear_error();
	errno = 0;
	r = SSL_write(tls->ssl, data, (int)(len < TLS_RECORD_MAX ? len : TLS_RECORD_MAX));
	if (r > 0)
		return r;
	why = SSL_get_error(tls->ssl, r);
	return why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ ? -EAGAIN : explain(tls, r, err);
}

ssize_t tls_read(struct tls *tls, void *data, size_t size, struct error *err)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_read(tls->ssl, data, (int)size);
	if (r > 0)
		return r;
	switch (SSL_get_error(tls->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return explain(tls, r, err);
	}
}

bool tls_peer_ended(struct tls *tls)
{
	char byte;
	int r, why;

	ERR_clear_error();
	r = SSL_peek(tls->ssl, &byte, 1);
	if (r > 0)
		return false;
	why = SSL_get_error(tls->ssl, r);
	return why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
}

int tls_check_files(const struct connection_options *options, struct error *err)
{
	SSL_CTX *context = make_context(options, err);

	if (!context)
		return -EINVAL;
	SSL_CTX_free(context);
	return 0;
}

// --- what certificates and rules connections share ---

static struct stamp stamp_of(const char *path)
{
	struct stat st;

	if (!path || stat(path, &st) < 0)
		return (struct stamp){0};
	return (struct stamp){.device = st.st_dev, .inode = st.st_ino, .changed = st.st_mtim};
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

static struct shared *shared_find(const char *const names[FILES], const struct stamp stamps[FILES], bool skip_verify)
{
	struct shared *shared;

	LIST_FOREACH (shared, &all_shared, next) {
		bool same = shared->skip_verify == skip_verify;

		for (int i = 0; same && i < FILES; i++)
			same = str_equal(shared->names[i], names[i]) && same_stamp(&shared->stamps[i], &stamps[i]);
		if (same)
			return shared;
	}
	return NULL;
}

static struct shared *shared_get(const struct connection_options *options, struct error *err)
{
	const char *names[FILES] = {options->ca_file, options->cert_file, options->key_file};
	struct stamp stamps[FILES];
	struct shared *shared;
	SSL_CTX *context;

	for (int i = 0; i < FILES; i++)
		stamps[i] = stamp_of(names[i]);
	shared = shared_find(names, stamps, options->skip_verify);
	if (shared) {
		shared->users++;
		return shared;
	}
	context = make_context(options, err);
	if (!context)
		return NULL;
	shared = xcalloc(1, sizeof(*shared));
	shared->context = context;
	shared->users = 1;
	shared->skip_verify = options->skip_verify;
	for (int i = 0; i < FILES; i++)
		shared->names[i] = xstrdup(names[i]);
	memcpy(shared->stamps, stamps, sizeof(stamps));
	LIST_INSERT_HEAD(&all_shared, shared, next);
	return shared;
}

static void shared_put(struct shared *shared)
{
	if (--shared->users > 0)
		return;
	LIST_REMOVE(shared, next);
	SSL_CTX_free(shared->context);
	for (int i = 0; i < FILES; i++)
		free(shared->names[i]);
	free(shared);
}

// Called by OpenSSL for an encrypted key, for which it would ask the terminal.
static int no_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer, (void)size, (void)writing;
	*(bool *)arg = true;
	return -1;
}

static const char *ssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	return reason ? reason : "not valid";
}

static int check_readable(const char *what, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 ? 0 : error_set_errno(err, errno, "cannot read the %s %s", what, path);
}

static int load_key(SSL_CTX *context, const struct connection_options *options, struct error *err)
{
	const char *cert = options->cert_file, *key = options->key_file;
	bool encrypted = false;
	int r;

	if (!cert && !key)
		return 0;
	if (!cert || !key)
		return error_set(err, EINVAL, "a TLS %s needs a %s as well: %s", cert ? "certificate" : "key",
				 cert ? "key" : "certificate", cert ? cert : key);
	r = check_readable("TLS certificate", cert, err);
	if (r == 0)
		r = check_readable("TLS key", key, err);
	if (r < 0)
		return r;
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
		return error_set(err, EINVAL, "the TLS certificate %s cannot be used: %s", cert, ssl_reason());
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(context, no_password);
	SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
	r = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
	SSL_CTX_set_default_passwd_cb(context, NULL);
	if (encrypted)
		return error_set(err, EINVAL, "the TLS key %s is encrypted, which is not supported", key);
	if (r != 1 && ERR_GET_REASON(ERR_peek_error()) != X509_R_KEY_VALUES_MISMATCH)
		return error_set(err, EINVAL, "the TLS key %s cannot be used: %s", key, ssl_reason());
	if (r != 1 || SSL_CTX_check_private_key(context) != 1)
		return error_set(err, EINVAL, "the TLS key %s does not belong to the certificate %s", key, cert);
	return 0;
}

static int load_authorities(SSL_CTX *context, const char *file, struct error *err)
{
	int r;

	// A host without any roots can still have the options' own.
	SSL_CTX_set_default_verify_paths(context);
	if (!file)
		return 0;
	r = check_readable("TLS CA certificate", file, err);
	if (r < 0)
		return r;
	ERR_clear_error();
	if (SSL_CTX_load_verify_locations(context, file, NULL) != 1)
		return error_set(err, EINVAL, "the TLS CA certificate %s cannot be used: %s", file, ssl_reason());
	return 0;
}

static SSL_CTX *make_context(const struct connection_options *options, struct error *err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int r = 0;

	if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(context, CIPHERS) != 1) {
		SSL_CTX_free(context);
		error_set(err, ENOTSUP, "OpenSSL cannot speak TLS 1.2 with ECDHE and AES-GCM: %s", ssl_reason());
		return NULL;
	}
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
	SSL_CTX_set_options(context,
			    SSL_OP_IGNORE_UNEXPECTED_EOF); // the end of a log server, whether it says so or not
#endif
	SSL_CTX_set_verify(context, options->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	ERR_clear_error();
	if (!options->skip_verify)
		r = load_authorities(context, options->ca_file, err);
	if (r == 0)
		r = load_key(context, options, err);
	ERR_clear_error();
	if (r < 0) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

// --- names and words ---

static int expect_name(SSL *ssl, const char *host, bool skip_verify)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	_cleanup_free_ char *name = xstrdup(host);
	unsigned char address[sizeof(struct in6_addr)];
	size_t len;

	name[strcspn(name, "%")] = '\0'; // an IPv6 address's scope is no part of a name
	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
		return skip_verify || X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? 0 : -EINVAL;
	len = strlen(name);
	if (len > 1 && name[len - 1] == '.')
		name[len - 1] = '\0';
	// As Go, and so Docker's driver: a common name is no host name.
	X509_VERIFY_PARAM_set_hostflags(param,
					X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (!skip_verify && X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
		return -EINVAL;
	return SSL_set_tlsext_host_name(ssl, name) == 1 ? 0 : -EINVAL;
}

static int explain_certificate(const struct tls *tls, long verdict, struct error *err)
{
	switch (verdict) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return error_set(err, EPROTO, "its certificate has expired");
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return error_set(err, EPROTO, "its certificate is not valid yet");
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return error_set(err, EPROTO, "its certificate is not for %s", tls->host);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		return error_set(err, EPROTO, "its certificate is signed by no authority that is trusted here (%s)",
				 X509_verify_cert_error_string(verdict));
	default:
		return error_set(err, EPROTO, "its certificate is not valid: %s",
				 X509_verify_cert_error_string(verdict));
	}
}

static const char *words_for(int reason)
{
	switch (reason) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return "it does not speak TLS 1.2 or later";
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
		return "it does not speak TLS";
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
		return "it wants a client certificate, or ciphers that are not allowed here";
#ifdef SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "it wants a client certificate";
#endif
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
		return "it does not trust the authority of our certificate";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
		return "it refuses our certificate";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
		return "our certificate has expired";
	default:
		return ERR_reason_error_string(ERR_peek_error());
	}
}

static int explain(struct tls *tls, int result, struct error *err)
{
	int why = SSL_get_error(tls->ssl, result), code = errno;
	long verdict = SSL_get_verify_result(tls->ssl);
	const char *words;

	tls->broken = true;
	if (why == SSL_ERROR_SYSCALL && code != 0)
		return error_set_errno(err, code, "the connection is lost");
	if (ERR_peek_error() == 0)
		return error_set(err, ECONNRESET, "it has closed the connection");
	if (!tls->shared->skip_verify && verdict != X509_V_OK)
		return explain_certificate(tls, verdict, err);
	words = words_for(ERR_GET_REASON(ERR_peek_error()));
	return error_set(err, EPROTO, "%s", words ? words : "it breaks the protocol");
}
