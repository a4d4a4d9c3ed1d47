// The name of Docker's default bridge, from Docker: the network of driver bridge whose option com.docker.network.bridge.
// default_bridge is true (init-and-host-setup.md §2). One question in HTTP/1.0, whose answer ends with the connection:
// all that ecs-host wants of Docker, so it needs no HTTP client.
#pragma once

#include "common/error.h"
#include <net/if.h>
#include <stddef.h>

#define DOCKER_BRIDGE_DEFAULT "docker0" // as long as Docker has not been asked

// Waits two seconds at most. name: "" if Docker has no default bridge. 0, or a negative errno: Docker does not answer, or
// not this.
int docker_bridge_ask(const char *socket_path, char name[IF_NAMESIZE], struct error *err);
// The whole answer, with its HTTP head; NUL-terminated beyond len.
int docker_bridge_parse(const char *answer, size_t len, char name[IF_NAMESIZE], struct error *err);
