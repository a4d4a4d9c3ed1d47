// Passes bytes between an agent and what it talks to, and writes down when each piece passed. It stands where
// times cannot be flattered: on the Docker socket and on the way to the control plane.
//
//   relay STAMPS LINK...      a link: unix:/listen=/target or tcp:PORT=PORT (both on 127.0.0.1)
//
// STAMPS gets a struct stamp for each piece, followed by its bytes. It is written before the piece is passed on: who
// has seen an effect finds the stamp of its cause. One thread; ends with its parent.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum { LINKS_MAX = 4, PAIRS_MAX = 400, PIECE_MAX = 65536 };

struct stamp {
	uint64_t ns; // CLOCK_MONOTONIC
	uint32_t connection, len;
	uint8_t link, from_agent, pad[6];
};

union address {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_in in;
};

struct link {
	int fd;
	union address target;
};

struct pair {
	int fds[2]; // the agent's, the other side's
	uint32_t number;
	uint8_t link;
};

static struct link links[LINKS_MAX];
static struct pair pairs[PAIRS_MAX];
static unsigned link_count, pair_count;
static int stamps;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill_address(union address *address, int family, const char *text)
{
	memset(address, 0, sizeof(*address));
	address->any.sa_family = (sa_family_t)family;
	if (family == AF_UNIX) {
		snprintf(address->un.sun_path, sizeof(address->un.sun_path), "%s", text);
	} else {
		address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address->in.sin_port = htons((uint16_t)atoi(text));
	}
}

static socklen_t size_of(const union address *address)
{
	return address->any.sa_family == AF_UNIX ? sizeof(address->un) : sizeof(address->in);
}

static void add_link(char *text)
{
	char *listen_at = strchr(text, ':'), *target = strchr(text, '=');
	if (!listen_at || !target || link_count == LINKS_MAX) {
		fprintf(stderr, "no link: %s\n", text);
		exit(2);
	}
	*listen_at++ = *target++ = 0;
	int family = strcmp(text, "unix") == 0 ? AF_UNIX : AF_INET;
	union address here;
	fill_address(&here, family, listen_at);
	struct link *link = &links[link_count++];
	fill_address(&link->target, family, target);
	link->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(link->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (link->fd < 0 || bind(link->fd, &here.any, size_of(&here)) < 0 || listen(link->fd, 1024) < 0)
		die(listen_at);
}

static void accept_one(unsigned number)
{
	static uint32_t connections;
	const struct link *link = &links[number];
	int client = accept4(link->fd, NULL, NULL, SOCK_CLOEXEC);
	int server = socket(link->target.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0 || server < 0)
		die("accept");
	if (pair_count == PAIRS_MAX || connect(server, &link->target.any, size_of(&link->target)) < 0) {
		close(client);
		close(server);
		return;
	}
	if (link->target.any.sa_family == AF_INET) {
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	}
	pairs[pair_count++] = (struct pair){.fds = {client, server}, .number = ++connections, .link = (uint8_t)number};
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

// False: the connection is over.
static int pass(const struct pair *pair, int side)
{
	static struct {
		struct stamp stamp;
		char bytes[PIECE_MAX];
	} piece;
	ssize_t n = read(pair->fds[side], piece.bytes, sizeof(piece.bytes));
	if (n <= 0)
		return n < 0 && errno == EINTR;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	piece.stamp = (struct stamp){.ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
				     .connection = pair->number,
				     .len = (uint32_t)n,
				     .link = pair->link,
				     .from_agent = side == 0};
	if (write_all(stamps, (const char *)&piece, sizeof(piece.stamp) + (size_t)n) < 0)
		die("stamps");
	return write_all(pair->fds[!side], piece.bytes, (size_t)n) == 0;
}

static void run(void)
{
	static struct pollfd fds[LINKS_MAX + 2 * PAIRS_MAX];
	for (;;) {
		unsigned polled = pair_count;
		for (unsigned i = 0; i < link_count; i++)
			fds[i] = (struct pollfd){.fd = links[i].fd, .events = POLLIN};
		for (unsigned i = 0; i < 2 * polled; i++)
			fds[link_count + i] = (struct pollfd){.fd = pairs[i / 2].fds[i % 2], .events = POLLIN};
		if (poll(fds, link_count + 2 * polled, -1) < 0 && errno != EINTR)
			die("poll");
		for (unsigned i = polled; i-- > 0;) { // downwards: the last one takes the place of one that went
			const struct pollfd *both = &fds[link_count + 2 * i];
			int ok = (!both[0].revents || pass(&pairs[i], 0)) && (!both[1].revents || pass(&pairs[i], 1));
			if (ok)
				continue;
			close(pairs[i].fds[0]);
			close(pairs[i].fds[1]);
			pairs[i] = pairs[--pair_count];
		}
		for (unsigned i = 0; i < link_count; i++) {
			if (fds[i].revents)
				accept_one(i);
		}
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc < 3) {
		fprintf(stderr, "usage: relay STAMPS LINK...\n");
		return 2;
	}
	stamps = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (stamps < 0)
		die(argv[1]);
	for (int i = 2; i < argc; i++)
		add_link(argv[i]);
	run();
}
