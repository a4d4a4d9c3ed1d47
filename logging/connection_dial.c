#include "logging/connection_dial.h"

#include "common/util.h"
#include "logging/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#define KEEPALIVE_IDLE_S 30 // a peer that vanished while nothing is sent is found after a minute
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3
#define ADDRESS_TEXT (INET6_ADDRSTRLEN + 4)

struct dial {
	struct loop *loop;
	const struct connection_options *options;
	const char *target;
	void (*done)(int fd, struct tls *tls, const struct error *err, void *arg);
	void *arg;
	struct resolve *resolve;
	struct resolve_answer *answer; // NULL: the name is being resolved, or it is a Unix socket
	size_t next;                   // address to try
	char address[ADDRESS_TEXT];    // that is tried, for texts; "" when the target says it already
	int fd;
	struct watch *watch;
	struct tls *tls;       // not NULL: hands are being shaken
	struct timer deadline; // of the name, or of the address that is tried
	uint64_t due, share;   // loop time by which all must be done; how long this address may take
	struct error error;    // of the last failure
};

static void begin(void *arg);
static void on_deadline(void *arg);
static void on_resolved(const struct resolve_answer *answer, void *arg);
static void on_event(int fd, unsigned events, void *arg);
static void try_next(struct dial *dial);
static void drop(struct dial *dial);
static void finish(struct dial *dial);
static bool is_unix(const struct dial *dial);
static bool is_stream(const struct dial *dial);

struct dial *dial_start(struct loop *loop, const struct connection_options *options, const char *target,
			void (*done)(int fd, struct tls *tls, const struct error *err, void *arg), void *arg)
{
	struct dial *dial = xcalloc(1, sizeof(*dial));

	*dial = (struct dial){.loop = loop, .options = options, .target = target, .done = done, .arg = arg, .fd = -1};
	timer_init(&dial->deadline, loop, on_deadline, dial);
	dial->share = options->connect_timeout_ms;
	dial->due = loop_now(loop) + dial->share;
	timer_start(&dial->deadline, dial->share);
	loop_defer(loop, begin, dial);
	return dial;
}

struct dial *dial_free(struct dial *dial)
{
	if (!dial)
		return NULL;
	drop(dial);
	resolve_cancel(dial->resolve);
	loop_defer_cancel(dial->loop, begin, dial);
	timer_done(&dial->deadline);
	free(dial->answer);
	free(dial);
	return NULL;
}

static bool is_unix(const struct dial *dial)
{
	return dial->options->kind == CONNECTION_UNIX || dial->options->kind == CONNECTION_UNIXGRAM;
}

static bool is_stream(const struct dial *dial)
{
	return dial->options->kind != CONNECTION_UDP && dial->options->kind != CONNECTION_UNIXGRAM;
}

static void drop(struct dial *dial)
{
	dial->tls = tls_free(dial->tls);
	dial->watch = watch_free(dial->watch);
	cleanup_close(&dial->fd);
	dial->fd = -1;
}

static void finish(struct dial *dial)
{
	struct error err = dial->error; // it is to be read also when the dial has been freed

	timer_stop(&dial->deadline);
	dial->watch = watch_free(dial->watch);
	dial->done(take_fd(&dial->fd), TAKE(dial->tls), &err, dial->arg);
}

// --- the name ---

static void begin(void *arg)
{
	struct dial *dial = arg;
	_cleanup_free_ struct resolve_answer *number = NULL;

	if (is_unix(dial)) {
		try_next(dial);
		return;
	}
	number = xcalloc(1, sizeof(*number));
	if (resolve_number(dial->options->host, number)) {
		on_resolved(number, dial);
		return;
	}
	dial->resolve = resolve_start(dial->loop, dial->options->host, on_resolved, dial);
	if (!dial->resolve) {
		error_set_errno(&dial->error, errno, "cannot resolve %s", dial->options->host);
		finish(dial);
	}
}

static void on_resolved(const struct resolve_answer *answer, void *arg)
{
	struct dial *dial = arg;

	dial->resolve = NULL;
	if (answer->failure) {
		error_set(&dial->error, EHOSTUNREACH, "cannot resolve %s: %s", dial->options->host, answer->failure);
		finish(dial);
		return;
	}
	dial->answer = xmemdup(answer, sizeof(*answer));
	if (dial->options->kind == CONNECTION_UDP) {
		dial->answer->addresses[0] = answer->addresses[dial->options->address_index % answer->count];
		dial->answer->count = 1;
	}
	try_next(dial);
}

// --- addresses ---

static void set_int(int fd, int level, int name, int value)
{
	// What a kernel does not know makes the connection less good, not useless.
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

// No TCP_USER_TIMEOUT, but a look at what the peer takes (connection.c): to the kernel, a peer is dead that reads
// slowly and has a window smaller than the next segment all the time.
static void set_tcp_options(const struct dial *dial)
{
	set_int(dial->fd, IPPROTO_TCP, TCP_NODELAY, 1); // what belongs together is given together
	set_int(dial->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(dial->fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_int(dial->fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_int(dial->fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

// Of a Unix socket's path; false: there is none left to try.
static bool next_path(struct dial *dial, struct sockaddr_un *to, socklen_t *len)
{
	if (dial->next++ > 0)
		return false;
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(to->sun_path, sizeof(to->sun_path), "%s", dial->options->path);
	*len = sizeof(*to);
	return true;
}

static bool next_address(struct dial *dial, struct sockaddr_storage *to, socklen_t *len)
{
	in_port_t port = htons((uint16_t)dial->options->port);
	char number[INET6_ADDRSTRLEN] = "";

	if (is_unix(dial))
		return next_path(dial, (struct sockaddr_un *)to, len);
	if (dial->next == dial->answer->count)
		return false;
	*to = dial->answer->addresses[dial->next++];
	if (to->ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

		in6->sin6_port = port;
		*len = sizeof(*in6);
		inet_ntop(AF_INET6, &in6->sin6_addr, number, sizeof(number));
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)to;

		in->sin_port = port;
		*len = sizeof(*in);
		inet_ntop(AF_INET, &in->sin_addr, number, sizeof(number));
	}
	dial->address[0] = '\0';
	if (strcmp(number, dial->options->host) != 0)
		snprintf(dial->address, sizeof(dial->address), " (%s)", number);
	return true;
}

// What is left of the time is for this address and those after it.
static void start_deadline(struct dial *dial)
{
	uint64_t now = loop_now(dial->loop), left = dial->due > now ? dial->due - now : 0;

	dial->share = left / (dial->answer ? dial->answer->count - dial->next + 1 : 1);
	timer_start(&dial->deadline, dial->share);
}

static bool address_failed(struct dial *dial, int code)
{
	if (is_unix(dial) && code == EAGAIN)
		error_set(&dial->error, code, "cannot connect to %s: too many wait there already", dial->target);
	else
		error_set_errno(&dial->error, code, "cannot connect to %s%s", dial->target, dial->address);
	return false;
}

// 1: connected. 0: not yet. Negative: failed.
static int connect_to(struct dial *dial, const struct sockaddr_storage *to, socklen_t len)
{
	if (is_unix(dial) && strlen(dial->options->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -ENAMETOOLONG;
	dial->fd =
		socket(to->ss_family, (is_stream(dial) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dial->fd < 0)
		return -errno;
	if (is_stream(dial) && !is_unix(dial))
		set_tcp_options(dial);
	if (connect(dial->fd, (const struct sockaddr *)to, len) == 0)
		return 1;
	return errno == EINPROGRESS ? 0 : -errno;
}

static bool tls_failed(struct dial *dial)
{
	error_wrap(&dial->error, "TLS with %s%s", dial->target, dial->address);
	return false;
}

// False: this address did not do. True: it did, or waits, and the dial may be gone.
static bool shake_hands(struct dial *dial)
{
	unsigned events = 0;
	int r = tls_handshake(dial->tls, &events, &dial->error);

	if (r < 0)
		return tls_failed(dial);
	if (r == 0)
		watch_set(dial->watch, events);
	else
		finish(dial);
	return true;
}

static bool connected(struct dial *dial)
{
	if (dial->options->kind != CONNECTION_TLS) {
		finish(dial);
		return true;
	}
	if (!dial->watch)
		dial->watch = watch_new(dial->loop, dial->fd, LOOP_READ, on_event, dial);
	dial->tls = tls_new(dial->options, dial->fd, &dial->error);
	return dial->tls ? shake_hands(dial) : tls_failed(dial);
}

static bool try_address(struct dial *dial, const struct sockaddr_storage *to, socklen_t len)
{
	int r = connect_to(dial, to, len);

	if (r < 0)
		return address_failed(dial, -r);
	if (r > 0)
		return connected(dial);
	dial->watch = watch_new(dial->loop, dial->fd, LOOP_WRITE, on_event, dial);
	return true;
}

static void try_next(struct dial *dial)
{
	struct sockaddr_storage to = {0};
	socklen_t len;

	drop(dial);
	while (next_address(dial, &to, &len)) {
		start_deadline(dial);
		if (try_address(dial, &to, len))
			return;
		drop(dial);
	}
	finish(dial);
}

static void on_event(int fd, unsigned events, void *arg)
{
	struct dial *dial = arg;
	int code = 0;
	socklen_t len = sizeof(code);
	bool well;

	(void)events;
	if (dial->tls) {
		well = shake_hands(dial);
	} else {
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len);
		well = code == 0 ? connected(dial) : address_failed(dial, code);
	}
	if (!well)
		try_next(dial);
}

static void on_deadline(void *arg)
{
	struct dial *dial = arg;
	double seconds = round((double)dial->share / 100) / 10;

	if (dial->resolve) {
		error_set(&dial->error, ETIMEDOUT, "cannot resolve %s: no answer within %g s", dial->options->host,
			  seconds);
		dial->resolve = resolve_cancel(dial->resolve);
		finish(dial);
		return;
	}
	error_set(&dial->error, ETIMEDOUT, "cannot connect to %s%s: no answer%s within %g s", dial->target,
		  dial->address, dial->tls ? " in TLS" : "", seconds);
	try_next(dial);
}
