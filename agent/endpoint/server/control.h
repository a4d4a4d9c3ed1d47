// ecs-endpoint's end of the socket to ecsd: what arrives there is what is served. One ecsd at a time; a new
// connection replaces the old one, and without any, serving goes on.
#pragma once

#include "common/loop.h"
#include "served.h"
#include <sys/types.h>

struct control;
// listen_fd: a listening, non-blocking Unix socket; taken. owner: the uid that may connect besides root.
struct control *control_new(struct loop *loop, int listen_fd, uid_t owner, struct served *served);
struct control *control_free(struct control *control);
