#include "common/transport.h"

#include "common/util.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <strings.h>

// Connections kept open for reuse, those in use counted. curl's own default follows the number of transfers and would
// drop idle ones too early beside Docker's long streams. What a burst needs beyond that is closed after it.
#define CONNECTIONS_KEPT 16L

static int global_init(struct error *err);
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *watch);
static int on_curl_timer(CURLM *multi, long ms, void *user);
static void on_timer(evutil_socket_t fd, short events, void *arg);
static void set_certificates(CURL *easy);

int transport_init(struct transport *transport, struct loop *loop, void (*after)(void *arg), void *arg,
		   struct error *err)
{
	*transport = (struct transport){.loop = loop, .after = after, .arg = arg};
	if (global_init(err) < 0)
		return -ENOMEM;
	transport->multi = curl_multi_init();
	transport->timer = event_new(loop_base(loop), -1, 0, on_timer, transport);
	if (!transport->multi || !transport->timer) {
		transport_done(transport);
		return error_set(err, ENOMEM, "cannot create a curl handle");
	}
	curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport);
	curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport);
	curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
	curl_multi_setopt(transport->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L); // no limit
	return 0;
}

void transport_done(struct transport *transport)
{
	if (transport->multi)
		curl_multi_cleanup(transport->multi);
	if (transport->timer)
		event_free(transport->timer);
	transport->multi = NULL;
	transport->timer = NULL;
}

int transport_setup(CURL *easy, const char *url, bool insecure, bool no_proxy, bool *proxied, struct error *err)
{
	_cleanup_free_ char *proxy = no_proxy ? NULL : transport_proxy_for(url);

	if (!str_starts(url, "http://") && !str_starts(url, "https://"))
		return error_set(err, EINVAL, "not an HTTP URL: %s", url);
	*proxied = proxy != NULL;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); // paths are signed as they are
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
	// Timeouts by signal would hit the whole process.
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	// Our answer stands alone: "" keeps curl from looking into the environment by its own, different rules.
	curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
	set_certificates(easy);
	return 0;
}

static int global_init(struct error *err)
{
	static bool done;

	if (done)
		return 0;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return error_set(err, ENOMEM, "cannot initialise curl");
	// With CURLOPT_NOSIGNAL curl leaves SIGPIPE to the program, and OpenSSL writes with write(2).
	signal(SIGPIPE, SIG_IGN);
	done = true;
	return 0;
}

// The variables that Go and OpenSSL programs honour; curl's library alone does not.
static void set_certificates(CURL *easy)
{
	const char *file = getenv("SSL_CERT_FILE"), *directory = getenv("SSL_CERT_DIR");

	if (!str_empty(file))
		curl_easy_setopt(easy, CURLOPT_CAINFO, file);
	if (!str_empty(directory))
		curl_easy_setopt(easy, CURLOPT_CAPATH, directory);
}

// --- curl on the loop ---

static void act(struct transport *transport, curl_socket_t fd, int events)
{
	int running;

	transport->busy = true;
	curl_multi_socket_action(transport->multi, fd, events, &running);
	transport->busy = false;
	transport->after(transport->arg); // the last step: the transport may be gone afterwards
}

static void on_socket(int fd, unsigned events, void *arg)
{
	act(arg, fd, (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
	(void)fd, (void)events;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_watch)
{
	struct transport *transport = user;
	struct watch *watch = socket_watch;
	unsigned events = (what & CURL_POLL_IN ? LOOP_READ : 0u) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0u);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		watch_free(watch);
		curl_multi_assign(transport->multi, fd, NULL);
	} else if (watch) {
		watch_set(watch, events);
	} else {
		curl_multi_assign(transport->multi, fd, watch_new(transport->loop, fd, events, on_socket, transport));
	}
	return 0;
}

// In real time: curl reckons with its own clock.
static int on_curl_timer(CURLM *multi, long ms, void *user)
{
	struct transport *transport = user;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)multi;
	if (ms < 0)
		event_del(transport->timer);
	else
		event_add(transport->timer, &tv);
	return 0;
}

// --- proxies ---

// An IP address in either family as 16 bytes (IPv4 mapped), for comparison. prefix_base: bits before an IPv4 one.
struct address {
	unsigned char bytes[16];
	unsigned base;
};

static bool parse_address(const char *text, struct address *address)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	*address = (struct address){.base = 0};
	if (inet_pton(AF_INET6, text, address->bytes) == 1) {
		address->base = memcmp(address->bytes, mapped, sizeof(mapped)) == 0 ? 96 : 0;
		return true;
	}
	memcpy(address->bytes, mapped, sizeof(mapped));
	address->base = 96;
	return inet_pton(AF_INET, text, address->bytes + 12) == 1;
}

static bool is_loopback(const struct address *address)
{
	static const unsigned char one[16] = {[15] = 1};

	return address->base == 96 ? address->bytes[12] == 127 : memcmp(address->bytes, one, sizeof(one)) == 0;
}

static bool same_prefix(const struct address *a, const struct address *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest)) == 0;
}

// "10.0.0.0/8". Returns 1 for a match, 0 for none, -1 if the entry is no CIDR.
static int match_cidr(char *entry, const struct address *ip)
{
	char *slash = strchr(entry, '/');
	struct address network;
	uint64_t bits;
	bool ok;

	if (!slash)
		return -1;
	*slash = '\0';
	ok = parse_address(entry, &network) && parse_uint64(slash + 1, &bits) && bits <= 128 - network.base;
	*slash = '/';
	if (!ok)
		return -1;
	return ip && ip->base == network.base && same_prefix(ip, &network, network.base + (unsigned)bits);
}

// Splits "host:port", "[v6]:port" in place; a bare IPv6 address has no port. Returns the port or "".
static const char *split_port(char **entry)
{
	char *colon = strrchr(*entry, ':'), *bracket = strrchr(*entry, ']');
	const char *port = "";

	if (colon && (bracket ? colon == bracket + 1 : strchr(*entry, ':') == colon)) {
		*colon = '\0';
		port = colon + 1;
	}
	if (**entry == '[' && bracket) {
		(*entry)++;
		*bracket = '\0';
	}
	return port;
}

// "foo.com" matches itself and what is below, ".foo.com" and "*.foo.com" only what is below.
static bool match_domain(const char *entry, const char *host)
{
	size_t host_len = strlen(host), len;

	if (str_starts(entry, "*."))
		entry++;
	if (*entry != '.' && strcmp(entry, host) == 0)
		return true;
	len = strlen(entry);
	if (*entry == '.')
		return str_ends(host, entry);
	return host_len > len && host[host_len - len - 1] == '.' && str_ends(host, entry);
}

// One entry of NO_PROXY, lower case and trimmed. ip: host as an address, NULL if it is a name.
static bool match_entry(char *entry, const char *host, const char *port, const struct address *ip)
{
	struct address own;
	const char *own_port;
	int cidr;

	if (strcmp(entry, "*") == 0)
		return true;
	cidr = match_cidr(entry, ip);
	if (cidr >= 0)
		return cidr;
	own_port = split_port(&entry);
	if (!*entry || (*own_port && strcmp(own_port, port) != 0))
		return false;
	if (parse_address(entry, &own))
		return ip && same_prefix(ip, &own, 128);
	return !ip && match_domain(entry, host);
}

static const char *environment(const char *upper, const char *lower)
{
	const char *value = getenv(upper);

	if (str_empty(value))
		value = getenv(lower);
	return str_empty(value) ? NULL : value;
}

static void lower_case(char *s)
{
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

static bool excluded(const char *host, const char *port)
{
	_cleanup_free_ char *list = xstrdup(environment("NO_PROXY", "no_proxy"));
	struct address address, *ip = parse_address(host, &address) ? &address : NULL;
	char *rest = list, *entry;

	if (strcmp(host, "localhost") == 0 || (ip && is_loopback(ip)))
		return true;
	if (!list)
		return false;
	lower_case(list);
	while ((entry = strsep(&rest, ","))) {
		entry = str_trim(entry);
		if (*entry && match_entry(entry, host, port, ip))
			return true;
	}
	return false;
}

// Host (without brackets, lower case) and port of a URL; false if it is none.
static bool host_and_port(const char *url, char **host, char **port)
{
	CURLU *parts = curl_url();
	char *h = NULL, *p = NULL;
	bool ok = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
		  curl_url_get(parts, CURLUPART_HOST, &h, 0) == CURLUE_OK &&
		  curl_url_get(parts, CURLUPART_PORT, &p, CURLU_DEFAULT_PORT) == CURLUE_OK;

	if (ok) {
		size_t len = strlen(h);

		*host = h[0] == '[' && len > 2 ? xstrndup(h + 1, len - 2) : xstrdup(h);
		*port = xstrdup(p);
		lower_case(*host);
	}
	curl_free(h);
	curl_free(p);
	curl_url_cleanup(parts);
	return ok;
}

char *transport_proxy_for(const char *url)
{
	_cleanup_free_ char *host = NULL, *port = NULL;
	const char *proxy = NULL;

	if (!host_and_port(url, &host, &port))
		return NULL;
	if (str_starts(url, "https://"))
		proxy = environment("HTTPS_PROXY", "https_proxy");
	if (!proxy)
		proxy = environment("HTTP_PROXY", "http_proxy");
	return proxy && !excluded(host, port) ? xstrdup(proxy) : NULL;
}

// --- errors ---

char *transport_target(const char *url)
{
	_cleanup_free_ char *host = NULL, *port = NULL;

	if (!host_and_port(url, &host, &port))
		return xstrdup(url);
	return xasprintf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

// "Connection refused" reads as "connection refused" after a colon.
static const char *reason(int code, char *buffer, size_t size)
{
	char own[128];

	snprintf(buffer, size, "%s", strerror_r(code, own, sizeof(own)));
	buffer[0] = (char)tolower((unsigned char)buffer[0]);
	return buffer;
}

static bool is_tls_error(CURLcode code)
{
	switch (code) {
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_USE_SSL_FAILED:
		return true;
	default:
		return false;
	}
}

// The errno; *text is replaced by the words for it where curl's own are not good enough.
static int translate(CURL *easy, CURLcode code, const char **text, char *buffer, size_t size)
{
	long os_errno = 0, proxy_status = 0;

	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
	curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
	if (proxy_status >= 300) {
		snprintf(buffer, size, "the proxy answered with status %ld", proxy_status);
		*text = buffer;
		return ECONNREFUSED;
	}
	if (is_tls_error(code))
		return EPROTO;
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		*text = "cannot resolve the host name";
		return EHOSTUNREACH;
	case CURLE_COULDNT_RESOLVE_PROXY:
		*text = "cannot resolve the proxy's name";
		return EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		if (os_errno <= 0 && code == CURLE_RECV_ERROR)
			return ECONNRESET; // bad chunks, say: in curl's words
		if (os_errno <= 0)
			os_errno = code == CURLE_COULDNT_CONNECT ? ECONNREFUSED : ECONNRESET;
		*text = reason((int)os_errno, buffer, size);
		return (int)os_errno;
	case CURLE_GOT_NOTHING:
		*text = "connection closed before an answer came";
		return ECONNRESET;
	case CURLE_PARTIAL_FILE:
		*text = "connection closed in the middle of the answer";
		return ECONNRESET;
	case CURLE_OPERATION_TIMEDOUT:
		*text = "timed out";
		return ETIMEDOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_FUNCTION_ARGUMENT:
		return EINVAL;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return EBADMSG;
	case CURLE_OUT_OF_MEMORY:
		return ENOMEM;
	default:
		return EIO;
	}
}

int transport_error(struct error *err, CURL *easy, CURLcode code, const char *target, bool proxied, bool connected,
		    const char *detail)
{
	const char *text = str_empty(detail) ? curl_easy_strerror(code) : detail;
	char buffer[160];
	int number = translate(easy, code, &text, buffer, sizeof(buffer));

	return error_set(err, number, "%s %s%s: %s", connected ? "request to" : "connect to", target,
			 proxied ? " through a proxy" : "", text);
}
