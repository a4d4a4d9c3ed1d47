#include "logging/connection.h"

#include "common/util.h"
#include "logging/connection_dial.h"
#include "logging/connection_tls.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define WRITE_EARLY ((size_t)32 << 10) // so many queued bytes go out at once; fewer at the end of the turn
#define READ_BYTES TLS_RECORD_MAX
#define STALL_LOOKS 8   // looks at what the peer has taken, in the time after which it counts as stalled
#define UDP4_MAX 65507U // what a packet's 16-bit length leaves
#define UDP6_MAX 65527U // IPv6 does not count its own header
#define UDP4_HEADERS 28U
#define UDP6_HEADERS 48U
#define UNIX_OVERHEAD 32U // the kernel takes so much of a socket's buffer for itself

enum state { DIALLING, OPEN, ENDING, ENDED };

struct connection {
	struct loop *loop;
	struct connection_options options; // with texts of our own
	struct connection_callbacks callbacks;
	void *arg;
	char *target; // for texts: "host:port" or the path
	enum state state;
	bool *gone; // set when it is freed within a callback

	struct dial *dial;
	int fd;
	struct watch *watch;
	struct tls *tls;
	struct stat path_stat; // Unix datagrams: of the receiver's path when it opened
	struct error error;    // why it ends

	char *queue;
	size_t queue_start, queue_len, queue_cap;
	uint64_t sent;
	size_t window_most;
	bool refused;     // on_drain is owed
	size_t drain_at;  // when no more than this waits
	bool write_waits; // a write at the end of the turn is deferred

	struct timer stall;
	uint64_t taken, taken_at; // bytes that the peer had taken, and when that last grew (loop time)
};

static void on_dialled(int fd, struct tls *tls, const struct error *err, void *arg);
static void on_event(int fd, unsigned events, void *arg);
static void write_deferred(void *arg);
static void tell_end(void *arg);
static void on_stall_look(void *arg);
static size_t write_now(struct connection *connection, const char *data, size_t len, size_t *held);
static void write_queue(struct connection *connection);
static void queue_bytes(struct connection *connection, const void *data, size_t len);
static int send_datagram(struct connection *connection, const void *data, size_t len, size_t *fits);
static void watch_for(struct connection *connection);
static uint64_t bytes_taken(const struct connection *connection);
static bool receiver_lives(const struct connection *connection);
static void fail_lost(struct connection *connection, int code);
static bool is_stream(const struct connection *connection);
static bool is_unix(const struct connection *connection);
static void drop_socket(struct connection *connection);

struct connection *connection_open(struct loop *loop, const struct connection_options *options,
				   const struct connection_callbacks *callbacks, void *arg)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	struct connection_options *own = &c->options;

	c->loop = loop;
	c->callbacks = *callbacks;
	c->arg = arg;
	c->fd = -1;
	*own = *options;
	own->host = xstrdup(options->host);
	own->path = xstrdup(options->path);
	own->ca_file = xstrdup(options->ca_file);
	own->cert_file = xstrdup(options->cert_file);
	own->key_file = xstrdup(options->key_file);
	if (own->connect_timeout_ms == 0)
		own->connect_timeout_ms = CONNECTION_CONNECT_MS;
	if (own->stall_timeout_ms == 0)
		own->stall_timeout_ms = CONNECTION_STALL_MS;
	if (is_unix(c))
		c->target = xstrdup(own->path);
	else
		c->target = xasprintf(strchr(own->host, ':') ? "[%s]:%u" : "%s:%u", own->host, own->port);
	timer_init(&c->stall, loop, on_stall_look, c);
	c->dial = dial_start(loop, own, c->target, on_dialled, c);
	return c;
}

struct connection *connection_free(struct connection *c)
{
	if (!c)
		return NULL;
	if (c->gone)
		*c->gone = true;
	drop_socket(c);
	dial_free(c->dial);
	loop_defer_cancel(c->loop, write_deferred, c);
	loop_defer_cancel(c->loop, tell_end, c);
	timer_done(&c->stall);
	free(c->queue);
	free((char *)c->options.host);
	free((char *)c->options.path);
	free((char *)c->options.ca_file);
	free((char *)c->options.cert_file);
	free((char *)c->options.key_file);
	free(c->target);
	free(c);
	return NULL;
}

int connection_send(struct connection *c, const void *data, size_t len, size_t *fits)
{
	if (c->state != OPEN)
		return -ENOTCONN;
	if (!is_stream(c))
		return send_datagram(c, data, len, fits);
	if (c->queue_len > TLS_RECORD_MAX && c->queue_len + len > CONNECTION_QUEUE_MAX) {
		c->refused = true;
		c->drain_at = CONNECTION_QUEUE_MAX / 2;
		watch_for(c);
		return -EAGAIN;
	}
	queue_bytes(c, data, len);
	if (c->queue_len >= WRITE_EARLY) {
		write_queue(c);
	} else if (!c->write_waits) {
		c->write_waits = true;
		loop_defer(c->loop, write_deferred, c);
	}
	return 0;
}

size_t connection_offer(struct connection *c, const void *data, size_t len)
{
	size_t n = 0, held = 0;

	if (c->state != OPEN || !is_stream(c))
		return 0;
	if (c->queue_len == 0)
		n = write_now(c, data, len, &held);
	if (held > 0) {
		queue_bytes(c, (const char *)data + n, held);
		n += held;
	}
	if (n < len) {
		c->refused = true;
		c->drain_at = 0;
	}
	watch_for(c);
	return n;
}

uint64_t connection_sent(const struct connection *c)
{
	return c->sent;
}

size_t connection_unsent(const struct connection *c)
{
	return c->queue_len;
}

size_t connection_unacknowledged(const struct connection *c)
{
	int waits = 0;

	if (c->fd >= 0 && ioctl(c->fd, SIOCOUTQ, &waits) < 0)
		waits = 0;
	return c->queue_len + (size_t)waits;
}

void connection_window(struct connection *c, size_t *now, size_t *most)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	*now = *most = 0;
	if (c->fd < 0 || !is_stream(c) || is_unix(c) || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof(info.tcpi_snd_wnd)) // Linux before 5.4
		return;
	*now = info.tcpi_snd_wnd;
	if (c->window_most < *now)
		c->window_most = *now;
	*most = c->window_most;
}

bool connection_peer_ended(struct connection *c)
{
	char byte;
	ssize_t n;

	if (c->state != OPEN)
		return c->state > OPEN;
	if (c->options.kind == CONNECTION_UDP)
		return false;
	if (c->options.kind == CONNECTION_UNIXGRAM) {
		if (!receiver_lives(c))
			fail_lost(c, ECONNREFUSED);
		return c->state > OPEN;
	}
	if (c->tls)
		return tls_peer_ended(c->tls);
	n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

int connection_check_files(const struct connection_options *options, struct error *err)
{
	return tls_check_files(options, err);
}

static bool is_unix(const struct connection *c)
{
	return c->options.kind == CONNECTION_UNIX || c->options.kind == CONNECTION_UNIXGRAM;
}

static bool is_stream(const struct connection *c)
{
	return c->options.kind != CONNECTION_UDP && c->options.kind != CONNECTION_UNIXGRAM;
}

static void drop_socket(struct connection *c)
{
	c->tls = tls_free(c->tls);
	c->watch = watch_free(c->watch);
	cleanup_close(&c->fd);
	c->fd = -1;
}

// --- the end ---

static void fail(struct connection *c, const struct error *err)
{
	if (c->state >= ENDING)
		return;
	c->error = *err;
	c->state = ENDING;
	c->watch = watch_free(c->watch); // the socket stays: what it still holds may be asked for
	timer_stop(&c->stall);
	loop_defer(c->loop, tell_end, c);
}

static void tell_end(void *arg)
{
	struct connection *c = arg;
	struct error err = c->error; // it is to be read also when the connection has been freed

	c->state = ENDED;
	drop_socket(c);
	c->callbacks.on_end(&err, c->arg);
}

static void fail_lost(struct connection *c, int code)
{
	struct error err;

	if (code == EAGAIN)
		return;
	if (!is_stream(c) && code == ECONNREFUSED)
		error_set(&err, code, "nobody receives at %s", c->target);
	else if (code == ETIMEDOUT)
		error_set(&err, code, "%s does not answer any more", c->target);
	else
		error_set_errno(&err, code, "the connection to %s is lost", c->target);
	fail(c, &err);
}

static void fail_tls(struct connection *c, struct error *err)
{
	error_wrap(err, "TLS with %s", c->target);
	fail(c, err);
}

static void fail_ended(struct connection *c)
{
	struct error err;

	error_set(&err, ECONNRESET, "%s has closed the connection", c->target);
	err.code = 0;
	fail(c, &err);
}

// --- the beginning, and what arrives ---

static void on_dialled(int fd, struct tls *tls, const struct error *err, void *arg)
{
	struct connection *c = arg;

	if (fd < 0)
		fail(c, err); // which is the dial's
	c->dial = dial_free(c->dial);
	if (fd < 0)
		return;
	c->fd = fd;
	c->tls = tls;
	c->state = OPEN;
	c->watch = watch_new(c->loop, fd, LOOP_READ, on_event, c);
	connection_window(c, &(size_t){0}, &(size_t){0}); // the largest may be that of the beginning
	if (c->options.kind == CONNECTION_UNIXGRAM && stat(c->options.path, &c->path_stat) < 0)
		c->path_stat = (struct stat){0};
	c->callbacks.on_open(c->arg); // may free it
}

static void receive(struct connection *c)
{
	char data[READ_BYTES];
	struct error err = {0};
	ssize_t n = c->tls ? tls_read(c->tls, data, sizeof(data), &err) : recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0) {
		if (c->callbacks.on_data)
			c->callbacks.on_data(data, (size_t)n, c->arg);
	} else if (n == 0) {
		if (is_stream(c))
			fail_ended(c);
	} else if (!c->tls) {
		fail_lost(c, errno);
	} else if (n != -EAGAIN) {
		fail_tls(c, &err);
	}
}

static void drain(struct connection *c)
{
	if (c->state != OPEN || !c->refused || c->queue_len > c->drain_at)
		return;
	c->refused = false;
	if (c->callbacks.on_drain)
		c->callbacks.on_drain(c->arg);
}

static void on_event(int fd, unsigned events, void *arg)
{
	struct connection *c = arg;
	bool gone = false;

	(void)fd;
	c->gone = &gone;
	if (events & LOOP_READ)
		receive(c);
	if (!gone && c->state == OPEN && events & LOOP_WRITE) {
		write_queue(c);
		drain(c);
	}
	if (gone)
		return;
	c->gone = NULL;
	if (c->state == OPEN)
		watch_for(c);
}

static void watch_for(struct connection *c)
{
	bool waits = c->queue_len > 0 || c->refused;

	if (c->watch)
		watch_set(c->watch, waits && !c->write_waits ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	if (c->state != OPEN || timer_running(&c->stall) || (!waits && connection_unacknowledged(c) == 0))
		return;
	c->taken = bytes_taken(c);
	c->taken_at = loop_now(c->loop);
	timer_start(&c->stall, c->options.stall_timeout_ms / STALL_LOOKS);
}

// --- writing ---

static void queue_bytes(struct connection *c, const void *data, size_t len)
{
	if (c->queue_start > 0 && c->queue_start + c->queue_len + len > c->queue_cap) {
		memmove(c->queue, c->queue + c->queue_start, c->queue_len);
		c->queue_start = 0;
	}
	if (c->queue_len + len > c->queue_cap) {
		size_t cap = c->queue_cap ? c->queue_cap : 4096;

		while (cap < c->queue_len + len)
			cap *= 2;
		c->queue = xrealloc(c->queue, cap);
		c->queue_cap = cap;
	}
	memcpy(c->queue + c->queue_start + c->queue_len, data, len);
	c->queue_len += len;
}

// Gives bytes to the kernel, and returns how many it took. *held: of those after them, how many TLS wants to see again first.
static size_t write_now(struct connection *c, const char *data, size_t len, size_t *held)
{
	size_t done = 0;

	*held = 0;
	while (done < len) {
		struct error err = {0};
		size_t left = len - done;
		ssize_t n = c->tls ? tls_write(c->tls, data + done, left, &err)
				   : send(c->fd, data + done, left, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (c->tls && n == -EAGAIN)
			*held = left < TLS_RECORD_MAX ? left : TLS_RECORD_MAX;
		else if (c->tls)
			fail_tls(c, &err);
		else
			fail_lost(c, errno);
		break;
	}
	c->sent += done;
	return done;
}

static void write_queue(struct connection *c)
{
	size_t held, n;

	if (c->queue_len == 0)
		return;
	n = write_now(c, c->queue + c->queue_start, c->queue_len, &held);
	c->queue_start += n;
	c->queue_len -= n;
	if (c->queue_len > 0)
		return;
	// An idle connection holds no memory.
	free(c->queue);
	c->queue = NULL;
	c->queue_start = c->queue_cap = 0;
}

static void write_deferred(void *arg)
{
	struct connection *c = arg;

	c->write_waits = false;
	if (c->state != OPEN)
		return;
	write_queue(c);
	watch_for(c);
}

// The largest datagram that the socket's path takes.
static size_t datagram_max(const struct connection *c)
{
	int value = 0, mtu = 0;
	socklen_t len = sizeof(value), mtu_len = sizeof(mtu), domain_len = sizeof(int);
	int domain = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len);
	if (domain == AF_UNIX) {
		getsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &value, &len);
		return value > (int)UNIX_OVERHEAD ? (size_t)value - UNIX_OVERHEAD : 0;
	}
	// Packets are cut on the way, unless the host forbids it.
	if (domain == AF_INET6) {
		getsockopt(c->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &value, &len);
		getsockopt(c->fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &mtu_len);
		return value == IPV6_PMTUDISC_DO && mtu > (int)UDP6_HEADERS ? (size_t)mtu - UDP6_HEADERS : UDP6_MAX;
	}
	getsockopt(c->fd, IPPROTO_IP, IP_MTU_DISCOVER, &value, &len);
	getsockopt(c->fd, IPPROTO_IP, IP_MTU, &mtu, &mtu_len);
	return value == IP_PMTUDISC_DO && mtu > (int)UDP4_HEADERS ? (size_t)mtu - UDP4_HEADERS : UDP4_MAX;
}

static int send_datagram(struct connection *c, const void *data, size_t len, size_t *fits)
{
	if (send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
		c->sent += len;
		return 0;
	}
	switch (errno) {
	case EMSGSIZE:
		if (fits) {
			size_t most = datagram_max(c);

			*fits = most < len ? most : len / 2;
		}
		return -EMSGSIZE;
	case EAGAIN:
		c->refused = true;
		c->drain_at = 0;
		watch_for(c);
		return -EAGAIN;
	default:
		fail_lost(c, errno);
		return -ENOTCONN;
	}
}

// The kernel tells nothing when the receiver of Unix datagrams closes its socket, and what it had not read is gone from our
// buffer as if it had: so another socket is tried, and whether the path is still the same socket's.
static bool receiver_lives(const struct connection *c)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat now;

	if (fd < 0)
		return true; // not known
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", c->options.path);
	return connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && stat(c->options.path, &now) == 0 &&
	       now.st_dev == c->path_stat.st_dev && now.st_ino == c->path_stat.st_ino;
}

// What the peer has taken, less what the kernel needs for the rest: of use in comparison only.
static uint64_t bytes_taken(const struct connection *c)
{
	return c->sent - (connection_unacknowledged(c) - c->queue_len);
}

// A peer that takes nothing, be it there or not.
static void on_stall_look(void *arg)
{
	struct connection *c = arg;
	uint64_t now = loop_now(c->loop), taken = bytes_taken(c);
	const struct linger nothing = {.l_onoff = 1};
	struct error err;

	if (!c->refused && connection_unacknowledged(c) == 0)
		return;
	if ((int64_t)(taken - c->taken) > 0)
		c->taken_at = now;
	c->taken = taken;
	if (now - c->taken_at < c->options.stall_timeout_ms) {
		timer_start(&c->stall, c->options.stall_timeout_ms / STALL_LOOKS);
		return;
	}
	// What the kernel holds will be sent again on another connection, and must not come out of this one later.
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &nothing, sizeof(nothing));
	error_set(&err, ETIMEDOUT, "%s has taken nothing for %" PRIu64 " s", c->target,
		  c->options.stall_timeout_ms / 1000);
	fail(c, &err);
}
