// TLS on a connected socket, for connection.c alone: at least 1.2, with it only ECDHE and AES-GCM or ChaCha20
// (logging.md §6.1). The server is verified against the system's roots (SSL_CERT_FILE and SSL_CERT_DIR replace them, as for
// our HTTP) and the options' CA, and by the name or address that was connected to, which must be a subject alternative name.
//
// What certificates cost in memory and reading is shared by connections with the same files.
#pragma once

#include "common/error.h"
#include "logging/connection.h"
#include <sys/types.h>

#define TLS_RECORD_MAX 16384 // bytes in a record

struct tls;
// fd stays the caller's. NULL and err when the files cannot be used.
struct tls *tls_new(const struct connection_options *options, int fd, struct error *err);
struct tls *tls_free(struct tls *tls); // tells the peer the end if that can be done at once; returns NULL
// 1: done. 0: waits for *events (LOOP_READ, LOOP_WRITE). Negative: failed, in an operator's words.
int tls_handshake(struct tls *tls, unsigned *events, struct error *err);
// At most TLS_RECORD_MAX bytes. How many went out; -EAGAIN: none now, and the same bytes must come again first; else
// failed.
ssize_t tls_write(struct tls *tls, const void *data, size_t len, struct error *err);
// Into at least TLS_RECORD_MAX bytes, or what was read stays in OpenSSL unseen. 0: the peer's end. -EAGAIN: nothing now;
// else failed.
ssize_t tls_read(struct tls *tls, void *data, size_t size, struct error *err);
bool tls_peer_ended(struct tls *tls); // without taking anything
int tls_check_files(const struct connection_options *options, struct error *err);
