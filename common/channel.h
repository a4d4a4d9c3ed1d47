// One end of a Unix stream socket that carries the messages of wire.h, on the project's loop: queues
// what is sent, decodes what arrives, passes descriptors along. Queued bytes are wiped once sent.
#pragma once

#include "loop.h"
#include "wire.h"

#define CHANNEL_QUEUE_MAX ((size_t)64 << 20) // bytes waiting for a peer that does not read; more ends the channel

struct channel;

struct channel_callbacks {
	// fd: a descriptor that came along, -1 if none. The callee may take it (and set *fd to -1).
	void (*on_message)(const struct wire_message *message, int *fd, void *arg);
	// Exactly once: 0 for an orderly end, a negative errno otherwise. Never from inside channel_send.
	void (*on_end)(int result, void *arg);
};

// Takes fd (a connected, non-blocking socket). The channel may be freed inside its callbacks.
struct channel *channel_new(struct loop *loop, int fd, const struct channel_callbacks *callbacks, void *arg);
struct channel *channel_free(struct channel *channel); // closes the socket; no callback follows; returns NULL

// pass_fd: sent along, duplicated by the kernel and closed here; -1: none. False when the message is larger than
// wire.h allows (it is then not sent); a channel that has ended swallows it.
bool channel_send(struct channel *channel, unsigned type, const char *const *fields, size_t count, int pass_fd);
// Sends the HELLO that begins a conversation.
void channel_greet(struct channel *channel);
