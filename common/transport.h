// What http.c and websocket.c share, and nobody else uses: a curl multi handle on the project's loop, and the
// rules for TLS, certificates, proxies and error texts (control-plane.md §1.3, §1.5).
#pragma once

#include "error.h"
#include "loop.h"
#include <curl/curl.h>

struct transport {
	struct loop *loop;
	CURLM *multi;
	struct event *timer;
	bool busy;                // curl is on the stack: no handle may be added, removed or freed
	void (*after)(void *arg); // curl has just worked and has left the stack; may end the transport
	void *arg;
};

int transport_init(struct transport *transport, struct loop *loop, void (*after)(void *arg), void *arg,
		   struct error *err);
void transport_done(struct transport *transport); // all easy handles must be out of it

// Options that all our transfers have. *proxied tells whether a proxy is used. 0 or a negative errno for a URL
// that is none.
int transport_setup(CURL *easy, const char *url, bool insecure, bool no_proxy, bool *proxied, struct error *err);

// The proxy that the environment wants for an http:// or https:// URL; NULL: none. Caller frees.
char *transport_proxy_for(const char *url);

// "host:port" of a URL, for texts. Caller frees.
char *transport_target(const char *url);

// Turns curl's result into an errno and a text. `connected`: the failure came after the connection was there.
// `detail` is curl's own error buffer. Returns the negative errno.
int transport_error(struct error *err, CURL *easy, CURLcode code, const char *target, bool proxied, bool connected,
		    const char *detail);
