// A fluentd server in the process of a test, on the test's own loop: it keeps the numbers of the lines it was sent, and does
// what the test says.
#pragma once

#include "test_spool_bed.h"

#include "common/log.h"
#include "logging/forward.h"
#include <arpa/inet.h>
#include <msgpack.h>
#include <openssl/evp.h>
#include <sys/socket.h>

#define SCALE 100.0 // a minute of the protocol passes in 0.6 s
#define LIMIT_MS 20000
#define LINES_MAX 60000
#define CHUNKS_MAX 4096
#define PEERS_MAX 64

struct chunk_seen {
	unsigned peer; // the how manieth connection, from 0
	uint64_t first, count;
	char id[64]; // "" if no acknowledgement was wanted
	bool acked;
};

struct server {
	int fd;
	unsigned port;
	struct watch *watch;
	struct server_peer {
		int fd;
		struct watch *watch;
		struct buf in;
		bool logged_in;
	} peers[PEERS_MAX];
	unsigned accepted;
	uint64_t accepted_at[PEERS_MAX]; // loop time

	uint64_t *lines; // in the order in which they came
	unsigned line_count;
	struct chunk_seen *chunks;
	unsigned chunk_count;
	char last_log[512], last_source[16], last_tag[64];
	unsigned pings;

	const char *shared_key; // NULL: no login
	const char *username, *password;
	bool no_keepalive;
	void (*on_accept)(struct server_peer *peer);
	void (*on_chunk)(struct server_peer *peer, struct chunk_seen *chunk); // NULL: acknowledges
};

static struct server server;

static inline void peer_close(struct server_peer *peer, bool reset)
{
	if (peer->fd < 0)
		return;
	if (reset)
		setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	peer->watch = watch_free(peer->watch);
	close(take_fd(&peer->fd));
	buf_free(&peer->in);
}

static inline void peer_write(struct server_peer *peer, const void *data, size_t len)
{
	if (peer->fd >= 0)
		assert_int_equal(send(peer->fd, data, len, MSG_NOSIGNAL), len);
}

static inline void peer_ack(struct server_peer *peer, const char *id)
{
	char text[80] = "\x81\xa3"
			"ack\xd9";
	size_t len = strlen(id);

	text[6] = (char)len;
	memcpy(text + 7, id, len);
	peer_write(peer, text, 7 + len);
}

static inline void ack_chunk(struct server_peer *peer, struct chunk_seen *chunk)
{
	chunk->acked = true;
	if (*chunk->id)
		peer_ack(peer, chunk->id);
}

static inline void copy_text(char *out, size_t size, const msgpack_object *object)
{
	size_t len = object->via.str.size < size - 1 ? object->via.str.size : size - 1;

	assert_int_equal(object->type, MSGPACK_OBJECT_STR);
	memcpy(out, object->via.str.ptr, len);
	out[len] = '\0';
}

static inline const msgpack_object *map_get(const msgpack_object *map, const char *name)
{
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_str *key = &map->via.map.ptr[i].key.via.str;
		if (key->size == strlen(name) && memcmp(key->ptr, name, key->size) == 0)
			return &map->via.map.ptr[i].val;
	}
	return NULL;
}

static inline uint64_t take_record(const msgpack_object *record)
{
	copy_text(server.last_log, sizeof(server.last_log), map_get(record, "log"));
	copy_text(server.last_source, sizeof(server.last_source), map_get(record, "source"));
	if (str_starts(server.last_log, "ecs-logd"))
		return UINT64_MAX;
	assert_true(server.line_count < LINES_MAX);
	return server.lines[server.line_count++] = strtoull(server.last_log, NULL, 10);
}

static inline void sha512_hex(char hex[129], const char *const parts[], size_t count)
{
	unsigned char sum[64];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_DigestInit_ex(context, EVP_sha512(), NULL);
	for (size_t i = 0; i < count; i++)
		EVP_DigestUpdate(context, parts[i], strlen(parts[i]));
	EVP_DigestFinal_ex(context, sum, NULL);
	EVP_MD_CTX_free(context);
	for (size_t i = 0; i < sizeof(sum); i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

#define NONCE "0123456789abcdef"
#define AUTH "fedcba9876543210"
static inline void take_ping(struct server_peer *peer, const msgpack_object_array *ping)
{
	char hostname[128], salt[64], digest[130], username[64], user_digest[130], expected[129], answer[512];

	assert_int_equal(ping->size, 6);
	copy_text(hostname, sizeof(hostname), &ping->ptr[1]);
	copy_text(salt, sizeof(salt), &ping->ptr[2]);
	copy_text(digest, sizeof(digest), &ping->ptr[3]);
	copy_text(username, sizeof(username), &ping->ptr[4]);
	copy_text(user_digest, sizeof(user_digest), &ping->ptr[5]);
	server.pings++;
	sha512_hex(expected, (const char *const[]){salt, hostname, NONCE, server.shared_key}, 4);
	bool ok = strcmp(digest, expected) == 0;
	if (server.username) {
		sha512_hex(expected, (const char *const[]){AUTH, server.username, server.password}, 3);
		ok = ok && strcmp(username, server.username) == 0 && strcmp(user_digest, expected) == 0;
	}
	sha512_hex(expected, (const char *const[]){salt, "server", NONCE, server.shared_key}, 4);
	peer->logged_in = ok;
	int len = ok ? snprintf(answer, sizeof(answer), "\x95\xa4PONG\xc3\xa0\xa6server\xd9\x80%s", expected)
		     : snprintf(answer, sizeof(answer), "\x95\xa4PONG\xc2\xb3shared_key mismatch\xa0\xa0");
	peer_write(peer, answer, (size_t)len);
	if (!ok)
		peer_close(peer, false);
}

static inline void take_object(struct server_peer *peer, const msgpack_object *object)
{
	const msgpack_object_array *array = &object->via.array;
	const msgpack_object *option, *id;

	assert_int_equal(object->type, MSGPACK_OBJECT_ARRAY);
	if (server.shared_key && !peer->logged_in) {
		take_ping(peer, array);
		return;
	}
	assert_true(server.chunk_count < CHUNKS_MAX);
	struct chunk_seen *chunk = &server.chunks[server.chunk_count++];
	*chunk = (struct chunk_seen){.peer = (unsigned)(peer - server.peers)};
	copy_text(server.last_tag, sizeof(server.last_tag), &array->ptr[0]);
	if (array->size == 4) {
		chunk->first = take_record(&array->ptr[2]);
		chunk->count = 1;
	} else {
		const msgpack_object_array *entries = &array->ptr[1].via.array;
		chunk->count = entries->size;
		assert_int_equal(map_get(&array->ptr[2], "size")->via.u64, entries->size);
		for (uint32_t i = 0; i < entries->size; i++) {
			uint64_t number = take_record(&entries->ptr[i].via.array.ptr[1]);
			if (i == 0)
				chunk->first = number;
		}
	}
	option = &array->ptr[array->size - 1];
	if ((id = map_get(option, "chunk")))
		copy_text(chunk->id, sizeof(chunk->id), id);
	(server.on_chunk ? server.on_chunk : ack_chunk)(peer, chunk);
	if (server.no_keepalive)
		peer_close(peer, false);
}

static inline void on_peer(int fd, unsigned events, void *arg)
{
	struct server_peer *peer = arg;
	static char bytes[65536];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	(void)events;
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			peer_close(peer, false);
		return;
	}
	buf_append(&peer->in, bytes, (size_t)n);
	for (;;) {
		msgpack_unpacked unpacked;
		size_t used = 0;
		msgpack_unpacked_init(&unpacked);
		int r = peer->in.len ? msgpack_unpack_next(&unpacked, peer->in.data, peer->in.len, &used) : 0;
		assert_int_not_equal(r, MSGPACK_UNPACK_PARSE_ERROR);
		if (r == MSGPACK_UNPACK_SUCCESS)
			take_object(peer, &unpacked.data);
		msgpack_unpacked_destroy(&unpacked);
		if (r != MSGPACK_UNPACK_SUCCESS || peer->fd < 0)
			break;
		memmove(peer->in.data, peer->in.data + used, peer->in.len - used);
		peer->in.len -= used;
	}
}

static inline void on_connection(int fd, unsigned events, void *arg)
{
	struct server_peer *peer = &server.peers[server.accepted];
	static const char helo[] = "\x92\xa4HELO\x83\xa5nonce\xc4\x10" NONCE "\xa4"
				   "auth";

	(void)events;
	(void)arg;
	assert_true(server.accepted < PEERS_MAX);
	peer->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(peer->fd >= 0);
	server.accepted_at[server.accepted++] = loop_now(loop);
	peer->watch = watch_new(loop, peer->fd, LOOP_READ, on_peer, peer);
	if (server.shared_key) {
		peer_write(peer, helo, sizeof(helo) - 1);
		if (server.username)
			peer_write(peer, "\xc4\x10" AUTH, 18);
		else
			peer_write(peer, "\xa0", 1);
		peer_write(peer, server.no_keepalive ? "\xa9keepalive\xc2" : "\xa9keepalive\xc3", 11);
	}
	if (server.on_accept)
		server.on_accept(peer);
}

// port 0: of the kernel's choice.
static inline void server_listen(unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	assert_int_equal(bind(server.fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(server.fd, 64), 0);
	getsockname(server.fd, (struct sockaddr *)&in, &len);
	server.port = ntohs(in.sin_port);
	server.watch = watch_new(loop, server.fd, LOOP_READ, on_connection, NULL);
}

static inline void server_unlisten(void)
{
	server.watch = watch_free(server.watch);
	close(take_fd(&server.fd));
}

static inline void server_new(void)
{
	memset(&server, 0, sizeof(server));
	for (unsigned i = 0; i < PEERS_MAX; i++)
		server.peers[i].fd = -1;
	server.lines = xcalloc(LINES_MAX, sizeof(*server.lines));
	server.chunks = xcalloc(CHUNKS_MAX, sizeof(*server.chunks));
	server_listen(0);
}

static inline void server_free(void)
{
	for (unsigned i = 0; i < server.accepted; i++)
		peer_close(&server.peers[i], false);
	if (server.watch)
		server_unlisten();
	free(server.lines);
	free(server.chunks);
}

// Lines that came first at their place: 0..count-1 without a gap; returns how many came again.
static inline unsigned expect_all(uint64_t count)
{
	uint64_t next = 0;
	unsigned again = 0;

	for (unsigned i = 0; i < server.line_count; i++) {
		if (server.lines[i] == next)
			next++;
		else if (server.lines[i] < next)
			again++;
		else
			fail_msg("line %" PRIu64 " where %" PRIu64 " was expected", server.lines[i], next);
	}
	assert_int_equal(next, count);
	return again;
}
