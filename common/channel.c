#include "channel.h"
#include <errno.h>
#include <sys/socket.h>

struct chunk {
	struct chunk *next;
	char *data;
	size_t len, sent;
	int fd;
};

struct channel {
	struct loop *loop;
	struct watch *watch;
	const struct channel_callbacks *callbacks;
	void *arg;
	struct wire_decoder decoder;
	struct chunk *first, **last;
	size_t queued;
	int fd, received_fd, error;
	bool ended;
	bool busy, freed; // inside on_message; freed there: goes as soon as it is left
};

static void on_ready(int fd, unsigned events, void *arg);
static void receive(struct channel *channel);
static void flush(struct channel *channel);
static void fail(struct channel *channel, int error);
static void report_failure(void *arg);
static void end(struct channel *channel, int result);
static void drop_first(struct channel *channel);

struct channel *channel_new(struct loop *loop, int fd, const struct channel_callbacks *callbacks, void *arg)
{
	struct channel *channel = xcalloc(1, sizeof(*channel));
	channel->loop = loop;
	channel->callbacks = callbacks;
	channel->arg = arg;
	channel->last = &channel->first;
	channel->fd = fd;
	channel->received_fd = -1;
	channel->watch = watch_new(loop, fd, LOOP_READ, on_ready, channel);
	return channel;
}

struct channel *channel_free(struct channel *channel)
{
	if (!channel)
		return NULL;
	if (channel->busy) {
		channel->freed = true;
		return NULL;
	}
	loop_defer_cancel(channel->loop, report_failure, channel);
	watch_free(channel->watch);
	while (channel->first)
		drop_first(channel);
	wire_decoder_free(&channel->decoder);
	if (channel->received_fd >= 0)
		close(channel->received_fd);
	close(channel->fd);
	free(channel);
	return NULL;
}

bool channel_send(struct channel *channel, unsigned type, const char *const *fields, size_t count, int pass_fd)
{
	_cleanup_close_ int fd = pass_fd;
	size_t len;
	char *data = wire_encode(type, fields, count, &len);
	if (!data)
		return false;
	if (channel->ended || channel->error) {
		wire_free(data, len);
		return true;
	}
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));
	*chunk = (struct chunk){.data = data, .len = len, .fd = take_fd(&fd)};
	*channel->last = chunk;
	channel->last = &chunk->next;
	channel->queued += len;
	if (channel->queued > CHANNEL_QUEUE_MAX)
		fail(channel, ENOBUFS);
	else
		flush(channel);
	return true;
}

void channel_greet(struct channel *channel)
{
	char version[16], oldest[16];
	snprintf(version, sizeof(version), "%d", WIRE_VERSION);
	snprintf(oldest, sizeof(oldest), "%d", WIRE_VERSION_MIN);
	channel_send(channel, WIRE_HELLO, (const char *[]){version, oldest, ECSD_VERSION}, 3, -1);
}

static void on_ready(int fd, unsigned events, void *arg)
{
	(void)fd;
	struct channel *channel = arg;
	if (events & LOOP_WRITE)
		flush(channel);
	if (events & LOOP_READ)
		receive(channel);
}

// One read a turn: a peer that never stops sending does not keep the loop to itself.
static void receive(struct channel *channel)
{
	static char bytes[WIRE_FEED_MAX];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	ssize_t n = recvmsg(channel->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end(channel, -errno);
		return;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
			continue;
		if (channel->received_fd >= 0)
			close(channel->received_fd);
		memcpy(&channel->received_fd, CMSG_DATA(c), sizeof(int));
	}
	if (n == 0) {
		end(channel, channel->decoder.len > channel->decoder.used ? -EBADMSG : 0);
		return;
	}
	int r = wire_decoder_feed(&channel->decoder, bytes, (size_t)n);
	explicit_bzero(bytes, (size_t)n);
	struct wire_message message;
	channel->busy = true;
	while (r == 0 && !channel->freed && !channel->ended &&
	       (r = wire_decoder_next(&channel->decoder, &message)) > 0) {
		channel->callbacks->on_message(&message, &channel->received_fd, channel->arg);
		r = 0;
	}
	channel->busy = false;
	if (channel->freed) {
		channel_free(channel);
		return;
	}
	if (r < 0)
		end(channel, r);
}

static void flush(struct channel *channel)
{
	while (channel->first && !channel->ended && !channel->error) {
		struct chunk *chunk = channel->first;
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(sizeof(int))];
		} control = {0};
		struct iovec iov = {.iov_base = chunk->data + chunk->sent, .iov_len = chunk->len - chunk->sent};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		if (chunk->fd >= 0) {
			msg.msg_control = control.space;
			msg.msg_controllen = sizeof(control.space);
			control.align = (struct cmsghdr){
				.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
			memcpy(CMSG_DATA(&control.align), &chunk->fd, sizeof(int));
		}
		ssize_t n = sendmsg(channel->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			fail(channel, errno);
			return;
		}
		if (n < 0)
			break;
		if (chunk->fd >= 0)
			close(take_fd(&chunk->fd));
		chunk->sent += (size_t)n;
		channel->queued -= (size_t)n;
		if (chunk->sent == chunk->len)
			drop_first(channel);
	}
	if (!channel->ended && !channel->error)
		watch_set(channel->watch, channel->first ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void fail(struct channel *channel, int error)
{
	if (channel->error || channel->ended)
		return;
	channel->error = error;
	watch_set(channel->watch, 0);
	loop_defer(channel->loop, report_failure, channel);
}

static void report_failure(void *arg)
{
	struct channel *channel = arg;
	end(channel, -channel->error);
}

static void end(struct channel *channel, int result)
{
	if (channel->ended)
		return;
	channel->ended = true;
	loop_defer_cancel(channel->loop, report_failure, channel);
	watch_set(channel->watch, 0);
	channel->callbacks->on_end(result, channel->arg); // may free the channel
}

static void drop_first(struct channel *channel)
{
	struct chunk *chunk = channel->first;
	channel->first = chunk->next;
	if (!channel->first)
		channel->last = &channel->first;
	if (chunk->fd >= 0)
		close(chunk->fd);
	wire_free(chunk->data, chunk->len);
	free(chunk);
}
